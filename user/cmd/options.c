// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "abi.h"
#include "cmd/options.h"
#include "lib/log.h"
#include "lib/util.h"
#include "model/recording.h"

#define PID_LIMIT 4194304 /* PID_MAX_LIMIT of 64-bit kernels */
#define AGENT_LIMIT 1000
_Static_assert(AGENT_LIMIT < SO_MAX_AGENTS, "slot 0 is nobody's");

struct option_row;
/* Stores value in the member. 0, or -1 after the one line on stderr. */
typedef int (*option_fn)(const struct option_row *row, struct record_options *o, const char *value);

struct option_row {
	const char *letter; /* "-p", or NULL */
	const char *name; /* "--pid" */
	const char *arg; /* NULL: a flag */
	option_fn store;
	size_t offset; /* of the member in struct record_options */
	double min, max; /* in the option's unit */
	const char *help;
};

#define AT(member) offsetof(struct record_options, member)

static void *member(const struct option_row *row, struct record_options *o)
{
	return (char *)o + row->offset;
}

static int store_flag(const struct option_row *row, struct record_options *o, const char *value)
{
	(void)value;
	*(bool *)member(row, o) = true;
	return 0;
}

static int store_text(const struct option_row *row, struct record_options *o, const char *value)
{
	if (!*value) {
		log_err(0, "%s needs %s, not an empty text", row->name, row->arg);
		return -1;
	}
	*(const char **)member(row, o) = value;
	return 0;
}

static int store_number(const struct option_row *row, struct record_options *o, const char *value)
{
	int err = parse_seconds(value, row->min, row->max, member(row, o));

	if (!err)
		return 0;
	if (err == -ERANGE)
		log_err(0, "%s %s is out of range: %.10g to %.10g", row->name, value, row->min, row->max);
	else
		log_err(0, "%s '%s' is not a number (%s from %.10g to %.10g)", row->name, value, row->arg, row->min, row->max);
	return -1;
}

/* A whole number; the member is a double all the same. */
static int store_count(const struct option_row *row, struct record_options *o, const char *value)
{
	long long n;
	int err = parse_int(value, (long long)row->min, (long long)row->max, &n);

	if (!err) {
		*(double *)member(row, o) = (double)n;
		return 0;
	}
	if (err == -ERANGE)
		log_err(0, "%s %s is out of range: %.10g to %.10g", row->name, value, row->min, row->max);
	else
		log_err(0, "%s '%s' is not a whole number (%s from %.10g to %.10g)", row->name, value, row->arg, row->min, row->max);
	return -1;
}

/* A percentage, or `off`, which is 0. */
static int store_budget(const struct option_row *row, struct record_options *o, const char *value)
{
	double *percent = member(row, o);
	int err = strcmp(value, "off") ? parse_seconds(value, row->min, row->max, percent) : (*percent = 0, 0);

	if (!err)
		return 0;
	log_err(0, "%s %s is %s (percent from %.10g to %.10g, or 'off')", row->name, value, err == -ERANGE ? "out of range" : "not a number", row->min,
		row->max);
	return -1;
}

/* BYTES, or with a K, M or G behind; a power of two. */
static int store_size(const struct option_row *row, struct record_options *o, const char *value)
{
	static const char units[] = "KMG";
	size_t len = strlen(value);
	const char *unit = len ? strchr(units, toupper((unsigned char)value[len - 1])) : NULL;
	char digits[32];
	long long n;
	int shift = 0;

	if (unit && *unit) {
		shift = 10 * (int)(unit - units + 1);
		len--;
	}
	snprintf(digits, sizeof(digits), "%.*s", (int)(len < sizeof(digits) ? len : sizeof(digits) - 1), value);
	switch (parse_int(digits, 0, 1LL << 40, &n)) {
	case 0:
		break;
	case -ERANGE:
		n = -1;
		break;
	default:
		log_err(0, "%s '%s' is not a size: bytes, or with K, M or G behind, such as 8M", row->name, value);
		return -1;
	}
	/* Compared before it is multiplied, so that nothing overflows. */
	if (n < 0 || n > (long long)row->max >> shift || n << shift < (long long)row->min) {
		log_err(0, "%s %s is out of range: %lldK to %lldM", row->name, value, (long long)row->min >> 10, (long long)row->max >> 20);
		return -1;
	}
	n <<= shift;
	if (n & (n - 1)) {
		log_err(0, "%s %s is not a power of two, such as 4M, 8M or 16M", row->name, value);
		return -1;
	}
	*(unsigned *)member(row, o) = (unsigned)n;
	return 0;
}

/* PID[,PID..]; further uses of the option add to the list. */
static int store_pids(const struct option_row *row, struct record_options *o, const char *value)
{
	struct target_spec *spec = member(row, o);
	const char *end;

	for (const char *s = value;; s = end + 1) {
		char word[32];
		long long pid;
		pid_t *grown;
		int len, err;

		end = strchrnul(s, ',');
		len = (int)(end - s);
		snprintf(word, sizeof(word), "%.*s", len, s);
		err = len < (int)sizeof(word) ? parse_int(word, (long long)row->min, (long long)row->max, &pid) : -EINVAL;
		if (err) {
			if (err == -ERANGE)
				log_err(0, "pid %s is out of range: %.0f to %.0f", word, row->min, row->max);
			else
				log_err(0, "pid '%.*s' is not a number (%s takes %s)", len, s, row->name, row->arg);
			return -1;
		}
		if (spec->pids_len == AGENT_LIMIT) {
			log_err(0, "more than %d pids; at most %d agents can be watched at once", AGENT_LIMIT, AGENT_LIMIT);
			return -1;
		}
		grown = realloc((void *)spec->pids, (spec->pids_len + 1) * sizeof(*grown));
		if (!grown) {
			log_err(-ENOMEM, "%s", row->name);
			return -1;
		}
		grown[spec->pids_len++] = (pid_t)pid;
		spec->pids = grown;
		if (!*end)
			return 0;
	}
}

/* +NAME switches on, -NAME off; without a sign, on. Behind a name may stand =VALUE. */
static int store_probes(const struct option_row *row, struct record_options *o, const char *value)
{
	char why[512];

	if (!watch_probes_set(&o->watch, value, why, sizeof(why)))
		return 0;
	log_err(0, "%s %s: %s", row->name, row->arg, why);
	return -1;
}

/* HOST[:PORT]=CLASS[/NAME]; further uses of the option add to the rules. */
static int store_peer(const struct option_row *row, struct record_options *o, const char *value)
{
	char why[256], hint[64] = "";
	int err = peer_rules_add(member(row, o), value, why, sizeof(why));

	if (!err)
		return 0;
	if (err == -ENOENT) {
		const char *names[CLASS_COUNT], *class = strrchr(value, '=') + 1;
		char word[32];

		for (int c = 0; c < CLASS_COUNT; c++)
			names[c] = class_infos[c].name;
		snprintf(word, sizeof(word), "%.*s", (int)(strchrnul(class, '/') - class), class);
		name_hint(word, names, CLASS_COUNT, hint, sizeof(hint));
	}
	if (err == -ENOMEM)
		log_err(err, "%s", row->name);
	else
		log_err(0, "%s '%.100s': %s%s", row->name, value, why, hint);
	return -1;
}

/* clang-format off */
static const struct option_row rows[] = {
	{ "-p", "--pid",       "PID[,PID..]",   store_pids,   AT(watch.target),         1,     PID_LIMIT,  "running processes; may be repeated" },
	{ "-n", "--match",     "REGEX",         store_text,   AT(watch.target.regex),   0,     0,          "processes whose command line matches, also those that start later" },
	{ NULL, "--cgroup",    "PATH",          store_text,   AT(watch.target.cgroup),  0,     0,          "processes of a cgroup and those below it" },
	{ NULL, "--container", "ID",            store_text,   AT(watch.target.container), 0,   0,          "processes of a container: its id, the beginning of it, or its name" },
	{ NULL, "--name",      "NAME",          store_text,   AT(watch.target.name),    0,     0,          "label of the agent, in place of the process's own name" },
	{ "-d", "--duration",  "SECONDS",       store_number, AT(watch.duration_s),     0.1,   1e8,        "how long; otherwise until the agents end, or Ctrl-C" },
	{ "-i", "--interval",  "SECONDS",       store_number, AT(watch.interval_s),     0.1,   3600,       "time between snapshots (1)" },
	{ "-o", "--output",    "FILE",          store_text,   AT(output),               0,     0,          "recording; .gz compresses, - is standard output (stakeout-DATE-TIME.ndjson)" },
	{ NULL, "--force",     NULL,            store_flag,   AT(force),                0,     0,          "overwrite the file" },
	{ "-q", "--quiet",     NULL,            store_flag,   AT(quiet),                0,     0,          "no progress line, no report at the end" },
	{ NULL, "--probe",     "+NAME,-NAME",   store_probes, AT(watch.probe_on),       0,     0,          "switch probes on or off; see the list below" },
	{ NULL, "--leak-age",  "SECONDS",       store_number, AT(watch.leak_age_s),     0.1,   1e6,        "with +heap=full: blocks that live longer may be leaks (10)" },
	{ NULL, "--no-names",  NULL,            store_flag,   AT(no_names),             0,     0,          "read no contents at all, as --probe -names: peers have no names then" },
	{ NULL, "--peer",      "HOST[:PORT]=CLASS[/NAME]", store_peer,   AT(watch.peers),          0,     0,          "what a peer is: a host (or pattern, or path of a unix socket) to its class; may be repeated" },
	{ NULL, "--peers",     "N",             store_count,  AT(watch.peers_kept),     1,     1000,       "the busiest peers that are kept apart, an agent (64); the rest is summed" },
	{ NULL, "--ring-size", "BYTES[K|M]",    store_size,   AT(watch.ring_bytes),     65536, 1073741824, "ring buffer from the kernel, a power of two from 64K to 1G (8M)" },
	{ NULL, "--budget",    "PERCENT|off",   store_budget, AT(watch.budget_percent), 0,     100,        "CPU time that watching may take, in percent of the agents' (1; at least 0.2 of a CPU): beyond it detail is reduced" },
	{ NULL, "--drain",     "MS",            store_number, AT(watch.drain_ms),       1,     1000,       "longest time between two drains of it, in milliseconds (100)" },
	{ NULL, "--bpf-stats", NULL,            store_flag,   AT(watch.bpf_stats),      0,     0,          "measure the run time of our BPF programs (costs some ns an event)" },
};
/* clang-format on */

static const char *command_of(const struct record_options *o)
{
	return o->top ? "top" : "record";
}

static bool row_suits(const struct option_row *row, const struct record_options *o)
{
	return !o->top || row->offset < AT(output);
}

static int help(const struct record_options *o)
{
	printf("Usage: stakeout %s (-p PID[,PID..] | -n REGEX | --cgroup PATH | --container ID | -- COMMAND ARGS..) [OPTIONS]\n\n%s\n\n", command_of(o),
	       o->top ? "Shows agents with all that they start, live. In it, h lists the keys. A command gets /dev/null in place of the\n"
			"terminal: what it prints there is not shown." :
			"Observes agents with all that they start, and writes a recording.");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char head[64];

		if (!row_suits(&rows[i], o))
			continue;
		snprintf(head, sizeof(head), "%s%s%s%s%s", rows[i].letter ? rows[i].letter : "  ", rows[i].letter ? ", " : "  ",
			 rows[i].name, rows[i].arg ? " " : "", rows[i].arg ? rows[i].arg : "");
		/* An option too long for the column has its help on the next line. */
		printf("  %-30s%s%*s%s\n", head, strlen(head) < 30 ? "" : "\n", strlen(head) < 30 ? 0 : 32, "", rows[i].help);
	}
	printf("  %-30s%s\n  %-30s%s\n\nClasses of peers:\n", "-h, --help", "this list", "-- COMMAND ARGS..",
	       "start a command and observe it from its first instruction");
	for (int i = 0; i < CLASS_COUNT; i++)
		printf("  %-8s%s\n", class_infos[i].name, class_infos[i].help);
	printf("\nProbes:\n");
	for (int i = 0; i < PROBE_COUNT; i++)
		printf("  %-8s%-5s%s\n", probe_infos[i].name, i == PROBE_CORE ? "" : probe_infos[i].on ? "on" : "off", probe_infos[i].help);
	return EXIT_DONE;
}

static const struct option_row *row_by_name(const struct record_options *o, const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (row_suits(&rows[i], o) && strlen(rows[i].name) == len && !strncmp(rows[i].name, name, len))
			return &rows[i];
	return NULL;
}

static const struct option_row *row_by_letter(const struct record_options *o, char c)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (row_suits(&rows[i], o) && rows[i].letter && rows[i].letter[1] == c)
			return &rows[i];
	return NULL;
}

static int unknown_option(const struct record_options *o, const char *word, int len)
{
	const char *names[ARRAY_SIZE(rows)];
	char copy[64], hint[64];
	int n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (row_suits(&rows[i], o))
			names[n++] = rows[i].name;
	snprintf(copy, sizeof(copy), "%.*s", len, word);
	log_err(0, "unknown option '%s'%s; `stakeout %s --help` lists them", copy, name_hint(copy, names, n, hint, sizeof(hint)), command_of(o));
	return -1;
}

/* The option's value: what is attached to it, or else the next argument. */
static int store(const struct option_row *row, struct record_options *o, const char *attached, char **argv, int *pos)
{
	const char *value = attached ? attached : argv[*pos + 1];

	if (row->arg) {
		if (!value) {
			log_err(0, "%s needs a value: %s %s", argv[*pos], row->name, row->arg);
			return -1;
		}
		if (!attached)
			(*pos)++;
	}
	return row->store(row, o, value);
}

static int parse_long(struct record_options *o, char **argv, int *pos)
{
	const char *word = argv[*pos], *value = strchr(word, '=');
	int len = (int)(strchrnul(word, '=') - word);
	const struct option_row *row = row_by_name(o, word, len);

	if (!row)
		return unknown_option(o, word, len);
	if (value && !row->arg) {
		log_err(0, "%s takes no value", row->name);
		return -1;
	}
	return store(row, o, value ? value + 1 : NULL, argv, pos);
}

/* -q -d5 -qd 5: flags may be bundled, the last letter may have a value. */
static int parse_letters(struct record_options *o, char **argv, int *pos)
{
	for (const char *c = argv[*pos] + 1; *c; c++) {
		const struct option_row *row = row_by_letter(o, *c);

		if (!row)
			return unknown_option(o, argv[*pos], (int)strlen(argv[*pos]));
		if (row->arg)
			return store(row, o, c[1] ? c + 1 : NULL, argv, pos);
		if (store(row, o, NULL, argv, pos))
			return -1;
	}
	return 0;
}

static int check_targets(const struct target_spec *t)
{
	bool others = t->pids_len || t->regex || t->cgroup || t->container;

	if (t->command && !t->command[0])
		log_err(0, "no command after --");
	else if (t->command && others)
		log_err(0, "a command to start can't be combined with -p, -n, --cgroup or --container");
	else if (!t->command && !others)
		log_err(0, "no target: name the agents with -p PID, -n REGEX, --cgroup PATH, --container ID or -- COMMAND");
	else
		return -1;
	return EXIT_USAGE;
}

static int parse(int argc, char **argv, struct record_options *o)
{
	watch_options_default(&o->watch);
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];
		int err;

		if (!strcmp(word, "--help") || !strcmp(word, "-h"))
			return help(o);
		if (!strcmp(word, "--")) {
			o->watch.target.command = argv + i + 1;
			break;
		}
		if (word[0] != '-' || !word[1]) {
			log_err(0, "unexpected argument '%s'; a command to start goes behind --", word);
			return EXIT_USAGE;
		}
		err = word[1] == '-' ? parse_long(o, argv, &i) : parse_letters(o, argv, &i);
		if (err)
			return EXIT_USAGE;
	}
	if (o->no_names) /* after all --probe, wherever it stood */
		o->watch.probe_on[PROBE_NAMES] = false;
	return check_targets(&o->watch.target);
}

int record_options_parse(int argc, char **argv, struct record_options *o)
{
	*o = (struct record_options){};
	return parse(argc, argv, o);
}

int top_options_parse(int argc, char **argv, struct watch_options *w)
{
	struct record_options o = { .top = true };
	int status = parse(argc, argv, &o);

	*w = o.watch;
	return status;
}
