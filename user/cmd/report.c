// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* `stakeout report`: what recordings say, for a person or (--json) for a program. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/cmd.h"
#include "cmd/options.h"
#include "cmd/report_export.h"
#include "cmd/report_html.h"
#include "cmd/report_otlp.h"
#include "cmd/usage.h"
#include "judge/objectives.h"
#include "judge/outlooks.h"
#include "judge/trend.h"
#include "lib/log.h"
#include "lib/util.h"
#include "model/recording.h"
#include "sink/folded.h"
#include "sink/json.h"
#include "sink/pprof.h"
#include "sink/terminal.h"

#define PPROF_MODE 0640 /* as a recording's */

struct report_options {
	bool json;
	int hist; /* metric, or -1 */
	int folded; /* enum sample_id, or -1 */
	const char *pprof; /* file, "-": standard output; NULL: none */
	const char *html; /* likewise */
	const char *otlp; /* likewise */
	bool force;
	const char *rules; /* file; NULL: the default ones */
	int width; /* 0: as the terminal */
	const char *agent;
	int export; /* enum export_id, or -1 */
	const char *export_path;
	struct export_options exported;
	const char *only_export; /* the option that only goes with one of them, or NULL */
};

/* "  name   what it is", wrapped at 80 columns. */
static void help_row(const char *name, const char *help)
{
	const int indent = 28, width = 80;
	int column = indent;

	printf("  %-25s", name);
	for (const char *word = help; *word; word += strspn(word, " ")) {
		int len = (int)strcspn(word, " ");

		if (column + len > width) {
			printf("\n%*s", indent - 1, "");
			column = indent;
		}
		printf(" %.*s", len, word);
		column += len + 1;
		word += len;
	}
	putchar('\n');
}

static int help(void)
{
	printf("Usage: stakeout report FILE.. [OPTIONS]\n\n"
	       "Shows what recordings say, one after the other: what should be changed, which\n"
	       "objectives were missed, what got slower or faster and when; then for each agent\n"
	       "where its time went, how long its peers took to answer, what its tools and its\n"
	       "event loop did, how long its waits and how large its transfers were, which code\n"
	       "ran, waited and allocated (where the recording has stacks), memory and sockets;\n"
	       "last what the watching cost and whether anything was missed.\n"
	       "FILE `-` is standard input.\n\n"
	       "  --hist NAME        draw the histogram NAME of each agent, e.g. runq_ns\n"
	       "  --folded [SAMPLES] stacks for flame graphs, one a line; cpu_ns unless named\n"
	       "  --pprof OUT        all stacks as a profile for pprof, into the file OUT (gzip)\n"
	       "  --html OUT         the report as a page for browsers, with charts over time:\n"
	       "                     one file that needs nothing else\n"
	       "  --otlp OUT         OpenTelemetry metrics (OTLP/JSON lines), into the file OUT\n"
	       "  --csv [OUT]        a table: a row an interval and agent; OUT ends in .csv[.gz]\n"
	       "  --rows KIND        with --csv: rows of agents, peers, tools, or the observer\n"
	       "  --hlog OUT         the intervals' histograms as an HdrHistogram log\n"
	       "  --trace OUT        a time line for ui.perfetto.dev (JSON; .gz compresses)\n"
	       "  --from S, --to S   with these three: intervals that lie within, in seconds\n"
	       "  --force            overwrite OUT\n"
	       "  -r, --rules FILE   objectives of one's own, not the default ones (see stakeout\n"
	       "                     check --list)\n"
	       "  --agent ID|NAME    this agent only\n"
	       "  --json             the same figures for programs: one JSON object a file\n"
	       "  --width N          columns, %d to %d (else the terminal's, COLUMNS, or 80)\n"
	       "  -h, --help         this text\n\n"
	       "Samples, and the probe that takes their stacks:\n",
	       TERMINAL_WIDTH_MIN, TERMINAL_WIDTH_MAX);
	for (int i = 0; i < SAMPLE_COUNT; i++) {
		char what[256];

		snprintf(what, sizeof(what), "%s (%s)", sample_infos[i].help, probe_infos[sample_infos[i].probe].name);
		help_row(sample_infos[i].name, what);
	}
	printf("\nHistograms:\n");
	for (int i = 0; i < METRIC_IDS; i++)
		if (metric_infos[i].type == METRIC_HIST)
			help_row(metric_infos[i].name, metric_infos[i].help);
	printf("\nColours are used on a terminal unless NO_COLOR is set. Exit status: 0 done, also\n"
	       "for a recording that was cut off (the report says what is missing); 2 usage, or\n"
	       "a file that can't be read; 5 output could not be written.\n");
	return EXIT_DONE;
}

static int hist_find(const char *name)
{
	int found = metric_find(name), n = 0;
	const char *names[METRIC_IDS];
	char list[1024] = "", hint[128];

	if (found >= 0 && metric_infos[found].type == METRIC_HIST)
		return found;
	for (int i = 0; i < METRIC_IDS; i++) {
		if (metric_infos[i].type != METRIC_HIST)
			continue;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", n ? ", " : "", metric_infos[i].name);
		names[n++] = metric_infos[i].name;
	}
	log_err(0, "no histogram '%s'%s; there are %s", name, name_hint(name, names, n, hint, sizeof(hint)), list);
	return -1;
}

static int sample_named(const char *name)
{
	const char *names[SAMPLE_COUNT];
	char list[256] = "", hint[128];
	int found = sample_find(name);

	if (found >= 0)
		return found;
	for (int i = 0; i < SAMPLE_COUNT; i++) {
		names[i] = sample_infos[i].name;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "", names[i]);
	}
	log_err(0, "no samples '%s'%s; there are %s", name, name_hint(name, names, SAMPLE_COUNT, hint, sizeof(hint)), list);
	return -1;
}

/* Whether the word after --folded is meant as its value, not as the name of a recording: a word like a name, and no file called so. */
static bool is_sample_word(const char *word)
{
	if (!word || sample_find(word) >= 0)
		return word;
	for (const char *c = word; *c; c++)
		if (!isalnum((unsigned char)*c) && *c != '_')
			return false;
	return *word && access(word, F_OK);
}

/* What can't be asked for together. -1 to go on. */
static int check(char **files, int files_len, const struct report_options *o)
{
	int shapes = o->json + (o->hist >= 0) + (o->folded >= 0) + (o->pprof != NULL) + (o->html != NULL) + (o->otlp != NULL) + (o->export >= 0);

	if (!files_len)
		log_err(0, "report needs the name of a recording (see stakeout report --help)");
	else if (o->json && o->hist >= 0 && shapes == 2)
		log_err(0, "--hist and --json exclude each other: the JSON has the figures of all histograms");
	else if (shapes > 1)
		log_err(0, "--json, --hist, --folded, --pprof, --html, --otlp, --csv, --hlog and --trace exclude each other");
	else if (o->html && files_len > 1)
		log_err(0, "--html makes a page of one recording");
	else if (o->pprof && files_len > 1)
		log_err(0, "--pprof makes a profile of one recording (pprof itself adds profiles up)");
	else if (o->otlp && files_len > 1)
		log_err(0, "--otlp tells of one recording");
	else if (o->otlp && !strcmp(files[0], "-"))
		log_err(0, "--otlp reads the recording twice: give it as a file");
	else if (o->export >= 0 && files_len > 1)
		log_err(0, "--%s makes a file of one recording, not of %d", export_formats[o->export].name, files_len);
	else if (o->only_export && o->export < 0)
		log_err(0, "%s goes with --csv, --hlog or --trace only", o->only_export);
	else if (o->exported.rows != ROWS_AGENTS && o->export != EXPORT_CSV)
		log_err(0, "--rows goes with --csv only");
	else if (o->exported.to_s > 0 && o->exported.to_s <= o->exported.from_s)
		log_err(0, "--to %g is not later than --from %g", o->exported.to_s, o->exported.from_s);
	else
		return -1;
	return EXIT_USAGE;
}

/* -1 to go on, or the exit status to end with. */
static int parse(int argc, char **argv, struct report_options *o)
{
	static const struct option rows[] = {
		{ "json", no_argument, NULL, 'j' },	   { "hist", required_argument, NULL, 'H' }, { "agent", required_argument, NULL, 'a' },
		{ "folded", optional_argument, NULL, 'F' }, { "pprof", required_argument, NULL, 'p' }, { "force", no_argument, NULL, 'f' },
		{ "width", required_argument, NULL, 'w' },  { "help", no_argument, NULL, 'h' },	      { "csv", optional_argument, NULL, 'c' },
		{ "hlog", required_argument, NULL, 'l' },   { "trace", required_argument, NULL, 't' }, { "rows", required_argument, NULL, 'k' },
		{ "from", required_argument, NULL, 'b' },   { "to", required_argument, NULL, 'e' },    { "html", required_argument, NULL, 'M' },
		{ "otlp", required_argument, NULL, 'o' },   { "rules", required_argument, NULL, 'r' },  { 0 },
	};
	int c;

	opterr = 0;
	optind = 0; /* getopt's state starts afresh */
	while ((c = getopt_long(argc, argv, ":hr:", rows, NULL)) != -1) {
		switch (c) {
		case 'j':
			o->json = true;
			break;
		case 'H':
			o->hist = hist_find(optarg);
			if (o->hist < 0)
				return EXIT_USAGE;
			break;
		case 'F':
			if (!optarg && is_sample_word(argv[optind]))
				optarg = argv[optind++];
			o->folded = optarg ? sample_named(optarg) : SAMPLE_CPU_NS;
			if (o->folded < 0)
				return EXIT_USAGE;
			break;
		case 'p':
			o->pprof = optarg;
			break;
		case 'M':
			o->html = optarg;
			break;
		case 'o':
			o->otlp = optarg;
			break;
		case 'f':
			o->force = true;
			break;
		case 'a':
			o->agent = optarg;
			break;
		case 'w':
			if (usage_width(optarg, &o->width) >= 0)
				return EXIT_USAGE;
			break;
		case 'c':
		case 'l':
		case 't':
			if (o->export >= 0) {
				log_err(0, "--csv, --hlog and --trace exclude each other, and are given once");
				return EXIT_USAGE;
			}
			if (c == 'c' && !optarg && export_csv_word(argv[optind]))
				optarg = argv[optind++];
			o->export = c == 'c' ? EXPORT_CSV : c == 'l' ? EXPORT_HLOG : EXPORT_TRACE;
			o->export_path = optarg ? optarg : "-";
			break;
		case 'r':
			o->rules = optarg;
			break;
		case 'k':
		case 'b':
		case 'e':
			if (export_option(c == 'k' ? 'r' : c, optarg, &o->exported))
				return EXIT_USAGE;
			o->only_export = c == 'k' ? "--rows" : c == 'b' ? "--from" : "--to";
			break;
		case 'h':
			return help();
		default:
			return usage_bad_option(argv, c);
		}
	}
	return check(argv + optind, argc - optind, o);
}

/* Moves the agents that match to the front, so that a shorter view of the recording shows only them. Returns their number, or -1 after
 * the line that says which there are. */
static int select_agents(struct recording *r, const char *path, const char *wanted)
{
	char list[512] = "";
	int n = 0;

	for (int i = 0; i < r->agents_len; i++) {
		struct recording_agent agent = r->agents[i];

		if (!agent_info_matches(&agent.info, wanted))
			continue;
		r->agents[i] = r->agents[n];
		r->agents[n++] = agent;
	}
	if (n)
		return n;
	for (int i = 0; i < r->agents_len && strlen(list) < sizeof(list) - 100; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%d (%.60s)", i ? ", " : "", r->agents[i].info.id,
			 r->agents[i].info.name);
	log_err(0, "%s: no agent '%s'; there %s%s", path, wanted, r->agents_len ? "are " : "are none", list);
	return -1;
}

/* Whether there are stacks of this kind; else says how to get them. */
static bool stacks_present(const struct recording *r, const char *path, enum sample_id sample)
{
	const struct sample_info *info = &sample_infos[sample];
	bool present[SAMPLE_COUNT], full = info->probe == PROBE_HEAP && info->last;

	pprof_samples(r, present);
	if (present[sample])
		return true;
	if (header_probe_on(&r->header, info->probe, false) && !full)
		log_err(0, "%s: the probe %s was on, but took no stacks of %s", path, probe_infos[info->probe].name, info->name);
	else
		log_err(0, "%s: no stacks of %s; they are recorded with --probe +%s%s", path, info->name, probe_infos[info->probe].name, full ? "=full" : "");
	return false;
}

static int report_folded(const struct recording *r, const char *path, const struct report_options *o)
{
	int err;

	if (!stacks_present(r, path, (enum sample_id)o->folded))
		return EXIT_USAGE;
	err = folded_report(stdout, r, (enum sample_id)o->folded, r->agents_len > 1);
	if (err)
		log_err(err, "write the stacks");
	return err ? EXIT_OUTPUT : EXIT_DONE;
}

/* Leaves no half of a file behind, and never removes a device. */
static void output_remove(const char *path)
{
	struct stat st;

	if (!lstat(path, &st) && S_ISREG(st.st_mode))
		unlink(path);
}

static int report_pprof(const struct recording *r, const char *path, const struct report_options *o)
{
	bool present[SAMPLE_COUNT], out = !strcmp(o->pprof, "-");
	_cleanup_close_ int fd = -1;
	int err;

	if (!pprof_samples(r, present)) {
		log_err(0, "%s: no stacks; they are recorded with --probe +profile, +offcpu, +heap or +heap=full", path);
		return EXIT_USAGE;
	}
	fd = out ? dup(STDOUT_FILENO) : open(o->pprof, O_WRONLY | O_CREAT | O_CLOEXEC | (o->force ? O_TRUNC : O_EXCL), PPROF_MODE);
	if (fd < 0 && errno == EEXIST)
		return log_err(0, "%s is there already; --force overwrites it", o->pprof), EXIT_OUTPUT;
	err = fd < 0 ? -errno : pprof_write(fd, r);
	if (err && fd >= 0 && !out)
		output_remove(o->pprof);
	if (err)
		log_err(err, "cannot write %s", out ? "the profile" : o->pprof);
	return err ? EXIT_OUTPUT : EXIT_DONE;
}

/* What is made of the intervals as they stream by. */
struct over_time {
	struct outlooks outlooks;
	struct html_bins *bins; /* owned; NULL: nobody asks for them */
	const char *agent; /* that objectives are of; NULL: all */
	struct rules *rules; /* owned; NULL: nobody asks for objectives */
	struct objectives *objectives;
	struct trends *trends; /* owned; NULL: nobody asks for them */
};

/* Of the agents that are shown. */
static int objectives_of(struct over_time *t, const struct interval_data *i)
{
	struct interval_data some = *i;
	_cleanup_free_ const struct agent_data **agents = NULL;
	_cleanup_free_ const struct agent_info **infos = NULL;

	if (!t->agent)
		return objectives_interval(t->objectives, i);
	agents = calloc((size_t)i->agents_len + 1, sizeof(const struct agent_data *));
	infos = calloc((size_t)i->agents_len + 1, sizeof(const struct agent_info *));
	if (!agents || !infos)
		return -ENOMEM;
	some.agents = agents;
	some.infos = infos;
	some.agents_len = 0;
	for (int n = 0; n < i->agents_len; n++) {
		if (!agent_info_matches(i->infos[n], t->agent))
			continue;
		agents[some.agents_len] = i->agents[n];
		infos[some.agents_len++] = i->infos[n];
	}
	return objectives_interval(t->objectives, &some);
}

static int over_time_interval(void *ctx, const struct interval_data *i)
{
	struct over_time *t = ctx;
	int err = outlooks_interval(&t->outlooks, i);

	if (!err && t->objectives)
		err = objectives_of(t, i);
	if (!err && t->trends)
		err = trends_interval(t->trends, i);
	return err || !t->bins ? err : html_bins_interval(t->bins, i);
}

static void over_time_fini(struct over_time *t)
{
	outlooks_fini(&t->outlooks);
	if (t->bins)
		html_bins_fini(t->bins);
	free(t->bins);
	objectives_free(t->objectives);
	trends_free(t->trends);
	rules_free(t->rules);
}

/* 0, or the exit status to end with. */
static int over_time_init(struct over_time *t, const struct report_options *o)
{
	char why[512] = "";
	int err = 0;

	*t = (struct over_time){ .agent = o->agent };
	if (o->html)
		t->bins = calloc(1, sizeof(*t->bins));
	if (o->html && !t->bins)
		err = -ENOMEM;
	if (o->hist >= 0 || o->folded >= 0 || o->pprof || o->otlp)
		return err ? log_err(err, "cannot start"), EXIT_USAGE : 0;
	if (o->rules)
		err = rules_load(o->rules, &t->rules, why, sizeof(why));
	else
		t->rules = rules_default();
	if (!err && t->rules)
		t->objectives = objectives_new(t->rules);
	if (t->objectives)
		t->trends = trends_new();
	if (*why)
		log_err(0, "%s", why);
	else if (!t->objectives)
		log_err(err ? err : -ENOMEM, "cannot judge objectives");
	else if (!t->trends)
		log_err(-ENOMEM, "cannot follow trends");
	return t->objectives && t->trends ? 0 : EXIT_USAGE;
}

static int report_show(const struct recording *r, const char *path, const struct report_options *o, const struct over_time *t, bool titled)
{
	struct objective_list objectives = { .len = t->rules ? t->rules->len : 0 };
	struct trend_list trends = {0};
	struct terminal_options to;
	int err = t->objectives ? objectives_judge(t->objectives, &objectives.at) : 0;

	if (!err && t->trends)
		err = trends_judge(t->trends, t->rules, &trends.at, &trends.len);
	if (err)
		return log_err(err, "judge the recording"), EXIT_OUTPUT;
	if (o->folded >= 0)
		return report_folded(r, path, o);
	if (o->pprof)
		return report_pprof(r, path, o);
	if (o->html)
		return report_html(o->html, o->force, r, path, &t->outlooks, &objectives, &trends, t->bins);
	if (o->otlp)
		return report_otlp(o->otlp, o->force, r, path);
	terminal_options_detect(&to, stdout);
	to.hist = o->hist;
	to.title = titled ? path : NULL;
	to.outlooks = &t->outlooks;
	to.objectives = &objectives;
	to.trends = &trends;
	if (o->width)
		to.width = o->width;
	err = o->json ? json_report(stdout, r, path, &t->outlooks, &objectives, &trends) : terminal_report(stdout, r, &to);
	if (err)
		log_err(err, "write the report");
	return err ? EXIT_OUTPUT : EXIT_DONE;
}

static int report_file(const char *path, const struct report_options *o, bool titled)
{
	struct recording *r = NULL, view;
	struct over_time t;
	char why[512] = "";
	int err, n, status = over_time_init(&t, o);

	if (status) {
		over_time_fini(&t);
		return status;
	}
	status = EXIT_USAGE;
	err = recording_read(path, over_time_interval, &t, &r, why, sizeof(why));
	if (err && *why)
		log_err(0, "%s: %s", path, why);
	else if (err)
		log_err(err, "read %s", path);
	n = err ? -1 : o->agent ? select_agents(r, path, o->agent) : r->agents_len;
	if (n >= 0) {
		view = *r;
		view.agents_len = n;
		status = report_show(&view, path, o, &t, titled);
	}
	recording_free(r);
	over_time_fini(&t);
	return status;
}

int cmd_report(int argc, char **argv)
{
	struct report_options o = { .hist = -1, .folded = -1, .export = -1 };
	int status = parse(argc, argv, &o), files = argc - optind;

	if (status >= 0)
		return status;
	o.exported.agent = o.agent;
	if (o.export >= 0)
		return report_export(argv[optind], (enum export_id)o.export, o.export_path, o.force, &o.exported);
	for (int i = optind; i < argc; i++) {
		int one = report_file(argv[i], &o, files > 1);

		if (one == EXIT_OUTPUT)
			return one;
		if (status < 0 || one)
			status = one;
		if (!o.json && o.folded < 0 && i + 1 < argc)
			putchar('\n');
	}
	return status;
}
