/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "lib_findings.h"

static struct tool_data *tool(struct made *m, const char *name, unsigned runs, double took_ms)
{
	struct tool_data *t = agent_data_tool(&m->data, name);

	assert_non_null(t);
	made_values(&t->metrics, M_TOOL_NS, runs, took_ms * MS);
	t->metrics.value[M_EXITS] = runs;
	m->data.main.ns[STATE_CHILD] += (uint64_t)(runs * took_ms * MS);
	return t;
}

static void launched_for_little_work(void **ctx)
{
	struct made m;
	struct tool_data *t;

	(void)ctx;
	made_init(&m);
	t = tool(&m, "git", 100, 30);
	made_values(&t->metrics, M_LAUNCH_NS, 100, 5 * MS);
	t->main.ns[STATE_RUNNING] = (uint64_t)(100 * 25 * MS); /* from the fork on */
	assert_int_equal(made_judge(&m, FINDING_LAUNCHES), 1);
	assert_near(m.found[0].cost_s, 100 * 0.025);
	assert_string_equal(m.found[0].subject, "tool git");
	assert_string_equal(m.found[0].evidence, "100 runs of 35.0 ms on average, of which 25.0 ms are its launch and getting to work");
	m.data.main.ns[STATE_CHILD] = (uint64_t)(1000 * MS); /* the agent hardly waited for it */
	assert_int_equal(made_judge(&m, FINDING_LAUNCHES), 1);
	assert_near(m.found[0].cost_s, 1.0);
	t->main.ns[STATE_RUNNING] = (uint64_t)(100 * 50 * MS); /* never more than there was */
	m.data.main.ns[STATE_CHILD] = (uint64_t)(100000 * MS);
	assert_int_equal(made_judge(&m, FINDING_LAUNCHES), 1);
	assert_near(m.found[0].cost_s, 100 * 0.035);
	t->main.ns[STATE_RUNNING] = (uint64_t)(100 * 2 * MS); /* it waits for something, mostly */
	assert_int_equal(made_judge(&m, FINDING_LAUNCHES), 0);
	made_fini(&m);
}

static void few_or_long_runs_are_worth_a_launch(void **ctx)
{
	static const struct {
		unsigned runs;
		double ms;
	} cases[] = {{19, 400}, {30, 600}, {25, 5}};

	(void)ctx;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct made m;
		struct tool_data *t;

		made_init(&m);
		t = tool(&m, "cc", cases[i].runs, cases[i].ms);
		t->main.ns[STATE_RUNNING] = (uint64_t)(cases[i].runs * cases[i].ms * MS);
		assert_int_equal(made_judge(&m, FINDING_LAUNCHES), 0);
		made_fini(&m);
	}
}

static void failing(void **ctx)
{
	static const struct {
		const char *name;
		unsigned runs, failed, cancelled;
		int found;
	} cases[] = {{"curl", 20, 10, 0, 1}, {"curl", 20, 4, 0, 0}, {"curl", 100, 10, 0, 0}, {"curl", 20, 10, 6, 0}, {"grep", 20, 10, 0, 0}};

	(void)ctx;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct made m;
		struct tool_data *t;

		made_init(&m);
		t = tool(&m, cases[i].name, cases[i].runs, 100);
		t->metrics.value[M_EXITS_FAILED] = cases[i].failed;
		made_values(&t->metrics, M_CANCEL_NS, cases[i].cancelled, MS);
		assert_int_equal(made_judge(&m, FINDING_FAILING), cases[i].found);
		if (cases[i].found) {
			assert_near(m.found[0].cost_s, 10 * 0.1);
			made_values(&t->metrics, M_TOOL_FAILED_NS, 10, 150 * MS); /* longer than the others */
			made_values(&t->metrics, M_LAUNCH_NS, 20, 10 * MS);
			assert_int_equal(made_judge(&m, FINDING_FAILING), 1);
			assert_near(m.found[0].cost_s, 10 * 0.16);
		}
		made_fini(&m);
	}
}

static void slow(void **ctx)
{
	struct made m;

	(void)ctx;
	made_init(&m);
	tool(&m, "pytest", 4, 6000);
	assert_int_equal(made_judge(&m, FINDING_SLOW_TOOLS), 1);
	m.data.main.ns[STATE_CHILD] = (uint64_t)(10000 * MS); /* in the background */
	assert_int_equal(made_judge(&m, FINDING_SLOW_TOOLS), 0);
	made_fini(&m);
	made_init(&m);
	tool(&m, "pytest", 10, 4000);
	assert_int_equal(made_judge(&m, FINDING_SLOW_TOOLS), 0);
	made_fini(&m);
}

static void left_running(void **ctx)
{
	struct made m;
	struct metric_set *s = &m.data.metrics;

	(void)ctx;
	made_init(&m);
	tool(&m, "git", 1, 100);
	tool(&m, "mcp-server", 1, 100)->metrics.value[M_ORPHANS] = 2;
	s->value[M_ORPHANS] = 2;
	s->value[M_ORPHAN_NS] = 4000000000; /* about to end */
	assert_int_equal(made_judge(&m, FINDING_ORPHANS), 0);
	s->value[M_ORPHAN_NS] = 40000000000;
	assert_int_equal(made_judge(&m, FINDING_ORPHANS), 1);
	assert_int_equal(m.found[0].severity, SEVERITY_INFO);
	assert_string_equal(m.found[0].subject, "tool mcp-server");
	s->value[M_ORPHAN_CPU_NS] = 2000000000;
	assert_int_equal(made_judge(&m, FINDING_ORPHANS), 1);
	assert_int_equal(m.found[0].severity, SEVERITY_WARNING);
	assert_near(m.found[0].cost_cpu_s, 6);
	made_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(launched_for_little_work),
	        cmocka_unit_test(few_or_long_runs_are_worth_a_launch),
	        cmocka_unit_test(failing),
	        cmocka_unit_test(slow),
	        cmocka_unit_test(left_running),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
