/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The time line: what follows from one interval after the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "lib/util.h"
#include "sink/tags.h"
#include "sink/trace.h"

struct line { /* a time line that is being made */
	char *text;
	size_t len;
	FILE *out;
	void *trace;
	struct header_data header;
};

static void line_begin(struct line *l)
{
	*l = (struct line){.header = {.start = "2026-01-02T03:04:05.678Z"}};
	l->out = open_memstream(&l->text, &l->len);
	l->trace = trace_new(l->out, NULL);
}

static void line_interval(struct line *l, uint64_t seq, double start_s, double end_s, int id, const struct ledger *main)
{
	struct agent_info info = {.id = id, .name = (char *)"a", .pid = 7, .cmdline = (char *)"", .cgroup = (char *)""};
	struct agent_data agent = {.id = id, .alive = true, .main = *main, .critical = *main, .threads = *main};
	const struct agent_data *agents[] = {&agent};
	const struct agent_info *infos[] = {&info};
	struct interval_data i = {.seq = seq,
	        .start_s = start_s,
	        .end_s = end_s,
	        .agents = agents,
	        .agents_len = 1,
	        .observer.bpf_s = -1,
	        .infos = infos,
	        .header = &l->header};

	assert_int_equal(trace_interval(l->trace, &i), 0);
}

/* The events, which are the caller's by json_decref of *ret_root. */
static json_t *line_end(struct line *l, json_t **ret_root)
{
	struct recording r = {.header = l->header};

	assert_int_equal(trace_end(l->trace, &r), 0);
	trace_free(l->trace);
	fclose(l->out);
	*ret_root = json_loadb(l->text, l->len, 0, NULL);
	assert_non_null(*ret_root);
	free(l->text);
	return json_object_get(*ret_root, "traceEvents");
}

static json_int_t number(const json_t *event, const char *key)
{
	return json_integer_value(json_object_get(event, key));
}

static bool is(const json_t *event, const char *ph, const char *name)
{
	return !strcmp(json_string_value(json_object_get(event, "ph")), ph) &&
	       !strcmp(json_string_value(json_object_get(event, "name")), name);
}

static void test_slices(void **state)
{
	const struct ledger idle = {.ns[STATE_IDLE] = 600000000, .ns[STATE_RUNNING] = 400000000};
	struct line l;
	json_t *root, *events, *e;
	int seen = 0;
	size_t n;

	(void)state;
	line_begin(&l);
	line_interval(&l, 0, 0.1, 1.1, 0, &idle);
	line_interval(&l, 1, 1.1, 2.1000004, 0, &idle);
	line_interval(&l, 2, 1.5, 2.5, 0, &idle); /* no recorder writes one that overlaps */
	line_interval(&l, 3, 2.0, 2.2, 0, &idle);
	events = line_end(&l, &root);
	json_array_foreach(events, n, e) {
		static const json_int_t starts[] = {100000, 1100000, 2100000}, lengths[] = {1000000, 1000000, 400000};

		if (!is(e, "X", "idle"))
			continue;
		assert_int_equal(number(e, "ts"), starts[seen / 2]); /* main thread and agent */
		assert_int_equal(number(e, "dur"), lengths[seen / 2]);
		seen++;
	}
	assert_int_equal(seen, 6);
	json_decref(root);
}

static void test_agents_come_and_go(void **state)
{
	const struct ledger busy = {.ns[STATE_RUNNING] = 1000000000};
	json_t *root, *events, *e;
	int processes = 0, ends = 0;
	struct line l;
	size_t n;

	(void)state;
	line_begin(&l);
	for (uint64_t i = 0; i < 1000; i++)
		line_interval(&l, i, (double)i, (double)i + 1, (int)i, &busy);
	events = line_end(&l, &root);
	json_array_foreach(events, n, e) {
		processes += is(e, "M", "process_name");
		if (is(e, "C", "main thread %") && !json_real_value(json_object_get(json_object_get(e, "args"), "running"))) {
			assert_int_equal(number(e, "ts"), (ends + 1) * 1000000);
			ends++;
		}
	}
	assert_int_equal(processes, 1001);
	assert_int_equal(ends, 1000);
	json_decref(root);
}

static void test_tags(void **state)
{
	static const struct {
		const char *name, *tag;
	} rows[] = {{"a", "a"}, {"a", "a-1"}, {"a-1", "a-1-2"}, {"", "-"}, {"x y,z", "x_y_z"}, {"p/q", "p_q"}, {"p_q", "p_q-6"},
	        {"\x1b\n\xff", "???"}};
	struct tags *t = tags_new();
	char longest[1000];
	struct agent_info info = {.id = 99, .name = longest};

	(void)state;
	for (int round = 0; round < 2; round++) { /* an agent keeps its tag */
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
			struct agent_info one = {.id = (int)i, .name = (char *)rows[i].name};

			assert_string_equal(tags_agent(t, &one), rows[i].tag);
		}
	}
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_true(strlen(tags_agent(t, &info)) < TAG_LEN);
	tags_free(t);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_slices),
	        cmocka_unit_test(test_agents_come_and_go),
	        cmocka_unit_test(test_tags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
