/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The sources and the tables agree: each program belongs to a probe, each probe has programs, and the kernel cuts no name. */
#include <glob.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/metrics.h"

#define NAME_MAX_CHARS 15 /* BPF_OBJ_NAME_LEN less the NUL */

typedef void (*name_fn)(void *ctx, const char *name);

static char *slurp(const char *path)
{
	char *text = NULL;
	size_t cap = 0;
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	if (getdelim(&text, &cap, '\0', f) < 0)
		text[0] = '\0';
	fclose(f);
	return text;
}

/* Calls fn with the first group of each match in the kernel side's sources. False: they are not here. */
static bool sources_match(const char *pattern, name_fn fn, void *ctx)
{
	regmatch_t match[2];
	regex_t re;
	glob_t g;

	if (glob("bpf/*.bpf.[ch]", 0, NULL, &g))
		return false;
	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NEWLINE), 0);
	for (size_t i = 0; i < g.gl_pathc; i++) {
		char *text = slurp(g.gl_pathv[i]);

		for (char *at = text; !regexec(&re, at, 2, match, 0); at += match[0].rm_eo) {
			char *name = strndup(at + match[1].rm_so, match[1].rm_eo - match[1].rm_so);

			fn(ctx, name);
			free(name);
		}
		free(text);
	}
	regfree(&re);
	globfree(&g);
	return true;
}

static void name_fits(const char *name)
{
	if (strlen(name) > NAME_MAX_CHARS)
		fail_msg("%s has %zu characters, the kernel keeps %d", name, strlen(name), NAME_MAX_CHARS);
}

static void on_program(void *ctx, const char *name)
{
	const char *sep = strstr(name, "__");
	int *programs = ctx, probe;
	char prefix[64];

	name_fits(name);
	assert_non_null(sep);
	snprintf(prefix, sizeof(prefix), "%.*s", (int)(sep - name), name);
	if (!strcmp(prefix, "bench"))
		return;
	probe = probe_find(prefix);
	if (probe < 0)
		fail_msg("%s: no row in probes.def", name);
	programs[probe]++;
}

static void programs_belong_to_probes(void **ctx)
{
	int programs[PROBE_COUNT] = {};

	(void)ctx;
	if (!sources_match("^SEC\\(\"\\?[^\"]*\"\\)[[:space:]]int [BPF_PROG(]*([a-z][a-z0-9_]+)", on_program, programs))
		skip();
	for (int i = 0; i < PROBE_COUNT; i++) /* none of their own: core's fork, exec and exit serve proc, sock's sends dup */
		if (i != PROBE_PROC && i != PROBE_DUP && !programs[i])
			fail_msg("%s has no program", probe_infos[i].name);
}

static void on_map(void *ctx, const char *name)
{
	(*(int *)ctx)++;
	name_fits(name);
}

static void map_names_fit(void **ctx)
{
	int maps = 0;

	(void)ctx;
	if (!sources_match("^} ([a-z0-9_]+) SEC\\(\"\\.maps\"\\)", on_map, &maps))
		skip();
	assert_true(maps > 0);
}

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), n = strlen(end);

	return len >= n && !strcmp(s + len - n, end);
}

static void metric_names_tell_their_unit(void **ctx)
{
	(void)ctx;
	for (int i = 0; i < METRIC_IDS; i++) {
		const struct metric_info *m = &metric_infos[i];

		for (int j = 0; j < i; j++)
			assert_string_not_equal(m->name, metric_infos[j].name);
		assert_int_equal(ends_with(m->name, "_ns"), m->unit == UNIT_NS);
		assert_int_equal(ends_with(m->name, "_bytes"), m->unit == UNIT_BYTES);
	}
}

/* Each reason to wait has its histograms; and so has each as a wait within a turn of an event loop. */
static void waits_have_their_metrics(void **ctx)
{
	static const char *const reasons[] = {
#define WAIT(id, value, name, state, help) name,
#include "waits.def"
#undef WAIT
	};
	char name[64];

	(void)ctx;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++) {
		int metric;

		snprintf(name, sizeof(name), "wait_%s_ns", reasons[i]);
		metric = metric_find(name);
		if (metric < 0 || metric_infos[metric].type != METRIC_HIST)
			fail_msg("no histogram %s", name);
		snprintf(name, sizeof(name), "loop_blocked_%s_ns", reasons[i]);
		metric = metric_find(name);
		if (metric < 0)
			fail_msg("%s is %s", name, metric >= 0 ? "there" : "missing");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(programs_belong_to_probes),
		cmocka_unit_test(map_names_fit),
		cmocka_unit_test(metric_names_tell_their_unit),
		cmocka_unit_test(waits_have_their_metrics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
