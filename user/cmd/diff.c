// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* `stakeout diff`: whether it is worse than before. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/usage.h"
#include "lib/log.h"
#include "lib/outfile.h"
#include "lib/util.h"
#include "sink/diff.h"

struct diff_options {
	struct compare_limits limits;
	struct compare_agents agents;
	char *agent; /* owned: what agents points into */
	struct diff_view view;
	bool json, force;
	const char *junit; /* file, "-": standard output; NULL: none */
	int width; /* 0: as the terminal */
	const char **files[2];
	int files_len[2];
};

static int help(void)
{
	printf("Usage: stakeout diff BASE NEW [OPTIONS]\n"
	       "       stakeout diff --base FILE.. --new FILE.. [OPTIONS]\n\n"
	       "Compares recordings: for each agent, by name, what is degraded, improved or stable,\n"
	       "how large the change is and how sure that is, and which findings went away or came.\n"
	       "A change counts when it lies beyond its limit, when what the intervals of the\n"
	       "recordings vary by does not explain it, and when it is not what so many comparisons\n"
	       "bring about by chance. With several recordings a side, what runs differ by is\n"
	       "allowed for, too. FILE may be compressed (gzip); `-` is standard input.\n\n"
	       "  --base FILE..      the recordings from before\n"
	       "  --new FILE..       the recordings from after\n"
	       "  --limit NAME=N     how much may change: cpu, memory or time (N in percent), errors\n"
	       "                     (in points), or a measure (see below); may be repeated\n"
	       "  --agent NAME       this agent only; BASE=NEW where it has two names\n"
	       "  --all              also show what is stable, and from which size on a change of\n"
	       "                     it would have been seen\n"
	       "  --json             the same figures for programs, as one JSON object\n"
	       "  --junit OUT        also write JUnit XML for CI systems into the file OUT\n"
	       "  --force            overwrite OUT\n"
	       "  --width N          columns, %d to %d (else the terminal's, COLUMNS, or 80)\n"
	       "  -h, --help         this text\n\n"
	       "Measures, with their limits:\n",
	        TERMINAL_WIDTH_MIN, TERMINAL_WIDTH_MAX);
	for (int i = 0; i < MEASURE_COUNT; i++) {
		const struct measure_info *m = &measure_infos[i];

		printf("  %-14s %3g %-7s%s\n", m->name, compare_limit(&compare_defaults, (enum measure_id)i) * 100,
		        m->group == GROUP_ERRORS ? "points" : "%", m->help);
	}
	printf("\nExit status: 0 done; 1 something is degraded; 2 usage, or a file that can't be read;\n"
	       "4 no such agent; 5 OUT could not be written.\n");
	return EXIT_DONE;
}

static int limit_unknown(const char *name)
{
	const char *names[MEASURE_GROUPS + MEASURE_COUNT];
	char list[512] = "", hint[64];
	int n = 0;

	for (int i = 0; i < MEASURE_GROUPS; i++)
		names[n++] = measure_group_names[i];
	for (int i = 0; i < MEASURE_COUNT; i++)
		if (measure_group_find(measure_infos[i].name) < 0)
			names[n++] = measure_infos[i].name;
	for (int i = 0; i < n; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "", names[i]);
	log_err(0, "--limit: nothing is called '%s'%s; there are %s", name, name_hint(name, names, n, hint, sizeof(hint)),
	        list);
	return EXIT_USAGE;
}

/* "cpu=15%". -1 to go on. */
static int limit_parse(const char *text, struct compare_limits *limits)
{
	char copy[64], *value;
	int group, measure;
	double percent;
	size_t len;

	snprintf(copy, sizeof(copy), "%s", text);
	value = strchr(copy, '=');
	if (!value) {
		log_err(0, "--limit %s: want NAME=PERCENT, like cpu=15%%", text);
		return EXIT_USAGE;
	}
	*value++ = '\0';
	group = measure_group_find(copy);
	measure = group < 0 ? measure_find(copy) : -1;
	if (group < 0 && measure < 0)
		return limit_unknown(copy);
	len = strlen(value);
	if (len && value[len - 1] == '%')
		value[len - 1] = '\0';
	if (parse_seconds(value, 0, 1e6, &percent) || !(percent > 0)) {
		log_err(0, "--limit %s: want a number of percent above 0, like %s=15%%", text, copy);
		return EXIT_USAGE;
	}
	if (group >= 0)
		limits->limit[group] = percent / 100;
	else
		limits->measure[measure] = percent / 100;
	return -1;
}

/* A name that has a '=' itself can't be told from BASE=NEW. */
static int agent_parse(const char *text, struct diff_options *o)
{
	char *new;

	free(o->agent);
	o->agent = strdup(text);
	if (!o->agent)
		return log_err(-ENOMEM, "cannot start"), EXIT_USAGE;
	new = strchr(o->agent, '=');
	if (new)
		*new ++ = '\0';
	o->agents = (struct compare_agents){o->agent, new ? new : o->agent};
	return -1;
}

static int file_add(struct diff_options *o, int side, const char *path)
{
	const char **more = reallocarray(o->files[side], (size_t)o->files_len[side] + 1, sizeof(*more));

	if (!more)
		return log_err(-ENOMEM, "cannot start"), EXIT_USAGE;
	o->files[side] = more;
	more[o->files_len[side]++] = path;
	return -1;
}

/* -1 to go on. */
static int check(const struct diff_options *o, int plain)
{
	int inputs = 0;

	for (int side = 0; side < 2; side++)
		for (int i = 0; i < o->files_len[side]; i++)
			inputs += !strcmp(o->files[side][i], "-");
	if (plain < 0)
		log_err(0, "name the recordings as BASE NEW, or behind --base and --new, not both");
	else if (plain && plain != 2)
		log_err(0, "diff compares two recordings, not %d; several a side go behind --base and --new", plain);
	else if (!o->files_len[0] || !o->files_len[1])
		log_err(0, "diff needs recordings from before and after: stakeout diff BASE NEW (see stakeout diff --help)");
	else if (inputs > 1)
		log_err(0, "`-`, standard input, can be named once only");
	else if (o->json && o->junit && !strcmp(o->junit, "-"))
		log_err(0, "--json and --junit - both write to standard output");
	else
		return -1;
	return EXIT_USAGE;
}

/* -1 to go on, or the exit status to end with. */
static int parse(int argc, char **argv, struct diff_options *o)
{
	static const struct option rows[] = {
	        {"base", no_argument, NULL, 'B'},
	        {"new", no_argument, NULL, 'N'},
	        {"limit", required_argument, NULL, 'l'},
	        {"agent", required_argument, NULL, 'a'},
	        {"all", no_argument, NULL, 'A'},
	        {"json", no_argument, NULL, 'j'},
	        {"junit", required_argument, NULL, 'u'},
	        {"force", no_argument, NULL, 'f'},
	        {"width", required_argument, NULL, 'w'},
	        {"help", no_argument, NULL, 'h'},
	        {0},
	};
	int c, side = -1, plain = 0, status = -1;
	bool named = false;

	opterr = 0;
	optind = 0; /* getopt's state starts afresh */
	while (status < 0 && (c = getopt_long(argc, argv, "-:h", rows, NULL)) != -1) {
		switch (c) {
		case 1: /* no option */
			plain += side < 0;
			status = file_add(o, side >= 0 ? side : plain > 1, optarg);
			break;
		case 'B':
		case 'N':
			side = c == 'N';
			named = true;
			break;
		case 'l':
			status = limit_parse(optarg, &o->limits);
			break;
		case 'a':
			status = agent_parse(optarg, o);
			break;
		case 'A':
			o->view.all = true;
			break;
		case 'j':
			o->json = true;
			break;
		case 'u':
			o->junit = optarg;
			break;
		case 'f':
			o->force = true;
			break;
		case 'w':
			if (usage_width(optarg, &o->width) >= 0)
				return EXIT_USAGE;
			break;
		case 'h':
			return help();
		default:
			return usage_bad_option(argv, c);
		}
	}
	for (; status < 0 && optind < argc; optind++) { /* behind -- */
		plain += side < 0;
		status = file_add(o, side >= 0 ? side : plain > 1, argv[optind]);
	}
	return status >= 0 ? status : check(o, named && plain ? -1 : plain);
}

/* ---- reading ---- */

struct reading { /* of one side, in a thread of its own */
	struct compare_side *side;
	const char *const *files;
	int files_len;
	const char *path; /* that could not be read */
	int err;
	char why[512];
	char notes[4096]; /* lines */
};

static void *read_side(void *ctx)
{
	struct reading *r = ctx;

	for (int i = 0; i < r->files_len && !r->err; i++) {
		struct recording *recording = NULL;

		r->path = r->files[i];
		r->err = compare_side_begin(r->side);
		if (!r->err)
			r->err = recording_read(r->path, compare_side_interval, r->side, &recording, r->why, sizeof(r->why));
		if (!r->err)
			r->err = compare_side_end(r->side, recording);
		if (!r->err && *recording->note)
			snprintf(r->notes + strlen(r->notes), sizeof(r->notes) - strlen(r->notes), "%.500s: %.256s\n", r->path,
			        recording->note);
		recording_free(recording);
	}
	return NULL;
}

static void print_notes(char *notes)
{
	char *rest = NULL;

	for (char *line = strtok_r(notes, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		log_err(0, "%s", line);
}

/* -1 to go on. */
static int read_sides(struct reading r[2])
{
	pthread_t thread;
	bool apart = !pthread_create(&thread, NULL, read_side, &r[1]);

	read_side(&r[0]);
	if (apart)
		pthread_join(thread, NULL);
	else
		read_side(&r[1]);
	for (int side = 0; side < 2; side++) {
		print_notes(r[side].notes);
		if (!r[side].err)
			continue;
		if (*r[side].why)
			log_err(0, "%s: %s", r[side].path, r[side].why);
		else
			log_err(r[side].err, "read %s", r[side].path);
		return EXIT_USAGE;
	}
	return -1;
}

/* ---- telling ---- */

static int write_junit(const struct diff_options *o)
{
	struct outfile_options how = {.force = o->force};
	int err;
	struct outfile *out = outfile_open(o->junit, &how, &err);

	if (!out && err == -EEXIST)
		return log_err(0, "%s is there already; --force overwrites it", o->junit), EXIT_OUTPUT;
	if (out)
		err = outfile_end(out, junit_diff(outfile_stream(out), &o->view));
	if (err)
		return log_err(err, "cannot write %s", o->junit), EXIT_OUTPUT;
	return EXIT_DONE;
}

static int tell(const struct diff_options *o)
{
	int status = o->junit ? write_junit(o) : EXIT_DONE, err = 0;
	struct terminal_options to;

	if (status)
		return status;
	if (o->json) {
		err = json_diff(stdout, &o->view);
	} else if (!o->junit || strcmp(o->junit, "-")) {
		terminal_options_detect(&to, stdout);
		if (o->width)
			to.width = o->width;
		err = terminal_diff(stdout, &o->view, &to);
	}
	if (err)
		return log_err(err, "write the comparison"), EXIT_OUTPUT;
	return o->view.c->counts[VERDICT_DEGRADED] ? EXIT_MISSED : EXIT_DONE;
}

static int diff(struct diff_options *o)
{
	struct comparisons *c = NULL;
	struct reading r[2] = {0};
	int status, err = 0;

	for (int i = 0; i < 2; i++) {
		r[i] = (struct reading){.side = compare_side_new(), .files = o->files[i], .files_len = o->files_len[i]};
		err = r[i].side ? err : -ENOMEM;
	}
	status = err ? (log_err(err, "cannot start"), EXIT_USAGE) : read_sides(r);
	if (status < 0) {
		o->limits.detectable = o->json || o->view.all;
		err = compare(r[0].side, r[1].side, &o->limits, o->agents.base ? &o->agents : NULL, &c);
		if (err == -ENOENT) {
			log_err(0, "no agent '%s' in the base and '%s' in the new recordings", o->agents.base, o->agents.new);
			status = EXIT_NO_TARGET;
		} else if (err) {
			log_err(err, "compare");
			status = EXIT_USAGE;
		}
	}
	if (status < 0) {
		o->view.c = c;
		status = tell(o);
	}
	comparisons_free(c);
	compare_side_free(r[0].side);
	compare_side_free(r[1].side);
	return status;
}

int cmd_diff(int argc, char **argv)
{
	struct diff_options o = {.limits = compare_defaults};
	int status = parse(argc, argv, &o);

	o.view.limits = &o.limits;
	for (int i = 0; i < 2; i++) {
		o.view.files[i] = o.files[i];
		o.view.files_len[i] = o.files_len[i];
	}
	if (status < 0)
		status = diff(&o);
	free(o.files[0]);
	free(o.files[1]);
	free(o.agent);
	return status;
}
