// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* `stakeout check`: whether recordings meet their objectives. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/usage.h"
#include "judge/objectives.h"
#include "lib/log.h"
#include "lib/outfile.h"
#include "lib/util.h"
#include "sink/format.h"
#include "sink/objectives.h"
#include "sink/terminal.h"

struct check_options {
	const char *rules; /* NULL: the default ones */
	const char *junit; /* file, "-": standard output; NULL: none */
	struct outfile *xml; /* that file; NULL: none */
	bool json, list, force;
	int width; /* 0: what suits */
};

static int help(void)
{
	printf("Usage: stakeout check FILE.. [OPTIONS]\n\n"
	       "Holds recordings against objectives: for each rule whether it was met or missed\n"
	       "(by whom, when, for how long, how badly), or why there are no data. Without -r the\n"
	       "rules are those that come with the program: model calls, databases, tools, served\n"
	       "requests, memory, CPU, errors, the event loop. stakeout-rules(5) tells the grammar.\n"
	       "FILE may be compressed (gzip); `-` is standard input.\n\n"
	       "  -r, --rules FILE  rules of one's own\n"
	       "  --list            print the rules, to start one's own from\n"
	       "  --json            as JSON, a line a recording\n"
	       "  --junit OUT       also write JUnit XML for CI systems into the file OUT\n"
	       "  --force           overwrite OUT\n"
	       "  --width N         columns, %d to %d (else the terminal's, or 80)\n"
	       "  -h, --help        this text\n\n"
	       "Exit status: 0 met, or no data; 1 a rule of severity warning or critical was missed\n"
	       "(info doesn't count); 2 usage, bad rules, or a file that can't be read; 5 output\n"
	       "could not be written.\n",
	       TERMINAL_WIDTH_MIN, TERMINAL_WIDTH_MAX);
	return EXIT_DONE;
}

/* -1 to go on, or the exit status to end with. */
static int parse(int argc, char **argv, struct check_options *o)
{
	static const struct option rows[] = {
		{ "rules", required_argument, NULL, 'r' }, { "list", no_argument, NULL, 'l' },  { "json", no_argument, NULL, 'j' },
		{ "width", required_argument, NULL, 'w' }, { "help", no_argument, NULL, 'h' },
		{ "junit", required_argument, NULL, 'u' }, { "force", no_argument, NULL, 'f' }, { 0 },
	};
	int c;

	opterr = 0;
	optind = 0; /* getopt's state starts afresh */
	while ((c = getopt_long(argc, argv, ":hr:", rows, NULL)) != -1) {
		switch (c) {
		case 'r':
			o->rules = optarg;
			break;
		case 'l':
			o->list = true;
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
	if (optind == argc && !o->list)
		return log_err(0, "check needs the names of recordings (see stakeout check --help)"), EXIT_USAGE;
	if (optind < argc && o->list)
		return log_err(0, "--list prints the rules; it checks no recording"), EXIT_USAGE;
	if (o->junit && o->json && !strcmp(o->junit, "-"))
		return log_err(0, "--json and --junit - both write to standard output"), EXIT_USAGE;
	return -1;
}

static struct rules *rules_get(const char *path)
{
	struct rules *r = NULL;
	char why[1024];

	if (!path) {
		r = rules_default();
		if (!r)
			log_err(-ENOMEM, "cannot start");
	} else if (rules_load(path, &r, why, sizeof(why))) {
		log_err(0, "%s", why);
		return NULL;
	}
	return r;
}

static int written(int err)
{
	if (!err && (fflush(stdout) || ferror(stdout)))
		err = -errno;
	return err ? log_err(err, "write the verdicts"), EXIT_OUTPUT : EXIT_DONE;
}

static uint64_t records_lost(const struct recording *r)
{
	uint64_t lost = 0;

	for (int i = 0; i < r->observer.losses; i++)
		lost += r->observer.lost[i].count;
	return lost;
}

/* What makes the figures less than whole. */
static void print_doubts(const struct screen *s, const struct recording *r, const struct objectives *o)
{
	uint64_t lost = records_lost(r), unjudged = objectives_unjudged(o);
	struct para p;

	if (!*r->note && !lost && !unjudged)
		return;
	para_begin(&p, s, "note");
	if (*r->note)
		para_part(&p, "%s", r->note);
	if (lost)
		para_part(&p, "%s records were lost: counts may be too low", count_text((double)lost));
	if (unjudged)
		para_part(&p, "an agent had more than %d peers or tools at once: not all were judged", RULE_SUBJECTS_MAX);
	para_end(&p);
}

static int print_table(const struct check_options *c, const char *path, const struct recording *r, const struct objectives *o, const struct objective *all, int len)
{
	struct terminal_options to;
	struct screen s = { .out = stdout };
	int counts[OBJECTIVE_VERDICTS] = { 0 };

	terminal_options_detect(&to, stdout);
	s.width = c->width ? c->width : to.width;
	s.color = to.color;
	s.utf8 = to.utf8;
	for (int i = 0; i < len; i++)
		counts[all[i].verdict]++;
	screen_line(&s, STYLE_BOLD, "%s: %d missed, %d met, %d no data", path, counts[OBJECTIVE_MISSED], counts[OBJECTIVE_MET], counts[OBJECTIVE_SILENT]);
	print_doubts(&s, r, o);
	return objectives_table(&s, all, len, r->header.start);
}

static int print_json(const char *path, const struct recording *r, const struct objectives *o, const struct objective *all, int len)
{
	struct json_text j = { 0 };
	bool whole;

	put_open(&j, NULL, "{");
	put_string(&j, "file", path);
	put_string(&j, "note", r->note);
	put_u64(&j, "lost", records_lost(r));
	put_u64(&j, "unjudged", objectives_unjudged(o));
	put_bool(&j, "missed", objectives_missed(all, len));
	objectives_put(&j, "objectives", all, len);
	put_close(&j, "}");
	put_raw(&j, "\n", 1);
	whole = !j.failed;
	if (whole)
		fwrite(j.text, 1, j.len, stdout);
	json_text_fini(&j);
	return whole ? 0 : -ENOMEM;
}

/* Nothing else goes to standard output then. */
static bool junit_only(const struct check_options *c)
{
	return c->junit && !strcmp(c->junit, "-");
}

static int tell(const struct check_options *c, const char *path, const struct recording *r, const struct objectives *o, const struct objective *all, int len)
{
	if (junit_only(c))
		return EXIT_DONE;
	return written(c->json ? print_json(path, r, o, all, len) : print_table(c, path, r, o, all, len));
}

static int check_file(const char *path, const struct rules *rules, const struct check_options *c)
{
	struct objectives *o = objectives_new(rules);
	const struct objective *all = NULL;
	struct recording *r = NULL;
	char why[512] = "";
	int err = o ? recording_read(path, objectives_interval, o, &r, why, sizeof(why)) : -ENOMEM, status = EXIT_USAGE;

	if (!err)
		err = objectives_judge(o, &all);
	if (err && !*why)
		snprintf(why, sizeof(why), "%s", strerror(-err));
	if (err) {
		log_err(0, "%s: %s", path, why);
		if (c->xml)
			objectives_junit_unread(outfile_stream(c->xml), path, why);
	} else {
		if (c->xml)
			objectives_junit_suite(outfile_stream(c->xml), path, all, rules->len);
		status = tell(c, path, r, o, all, rules->len);
		if (!status && objectives_missed(all, rules->len))
			status = EXIT_MISSED;
	}
	recording_free(r);
	objectives_free(o);
	return status;
}

static int check_files(char **paths, int len, const struct rules *rules, const struct check_options *c)
{
	int worst = EXIT_DONE;

	for (int i = 0; i < len && worst != EXIT_OUTPUT; i++) {
		int one = check_file(paths[i], rules, c);

		if (one > worst)
			worst = one;
		if (!c->json && i + 1 < len && !junit_only(c))
			putchar('\n');
	}
	return worst;
}

/* The same with a file for CI systems, which is there when all has been judged. */
static int check_files_junit(char **paths, int len, const struct rules *rules, struct check_options *c)
{
	struct outfile_options how = { .force = c->force };
	int err, status;

	c->xml = outfile_open(c->junit, &how, &err);
	if (!c->xml && err == -EEXIST)
		return log_err(0, "%s is there already; --force overwrites it", c->junit), EXIT_OUTPUT;
	if (!c->xml)
		return log_err(err, "cannot write %s", c->junit), EXIT_OUTPUT;
	objectives_junit_begin(outfile_stream(c->xml));
	status = check_files(paths, len, rules, c);
	if (status == EXIT_OUTPUT) { /* it stopped short */
		outfile_discard(c->xml);
		return status;
	}
	objectives_junit_end(outfile_stream(c->xml));
	err = outfile_end(c->xml, 0);
	return err ? log_err(err, "cannot write %s", c->junit), EXIT_OUTPUT : status;
}

int cmd_check(int argc, char **argv)
{
	struct check_options c = { 0 };
	int status = parse(argc, argv, &c);
	struct rules *rules;

	if (status >= 0)
		return status;
	rules = rules_get(c.rules);
	if (!rules)
		return EXIT_USAGE;
	if (c.list) {
		fputs(rules_text(rules), stdout);
		status = written(0);
	} else if (c.junit) {
		status = check_files_junit(argv + optind, argc - optind, rules, &c);
	} else {
		status = check_files(argv + optind, argc - optind, rules, &c);
	}
	rules_free(rules);
	return status;
}
