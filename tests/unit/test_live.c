/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a running session has told so far. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/live.h"

#define INTERVALS 5

static struct agent_info info(int id)
{
	return (struct agent_info){ .id = id, .name = (char *)"agent", .pid = 100 + id, .cmdline = (char *)"a b", .cgroup = (char *)"/" };
}

static void tell(struct live *l, int n, struct agent_data *const *agents, int agents_len)
{
	struct interval_data i = {
		.seq = n, .start_s = n, .end_s = n + 1, .agents = (const struct agent_data *const *)agents, .agents_len = agents_len,
		.observer = { .cpu_s = 0.5, .bpf_s = 0.25, .records = 10, .losses = 1, .lost = { { "ring", 2 } } },
	};

	assert_int_equal(live_interval(l, &i), 0);
}

static void begin(struct live *l, const struct agent_info *agents, int len)
{
	struct header_data h = { .host = { .name = "host", .cpus = 2 }, .interval_s = 1, .agents = agents, .agents_len = len };

	live_init(l, 2);
	assert_int_equal(live_start(l, &h), 0);
}

static void test_sums(void **state)
{
	struct agent_data d = { .id = 7, .alive = true, .observed_s = 1 }, *agents[] = { &d };
	struct agent_info who = info(7);
	struct tool_data *tool = agent_data_tool(&d, "git");
	struct live_agent *a;
	struct live l;

	(void)state;
	begin(&l, &who, 1);
	assert_string_equal(l.header.host.name, "host");
	metric_add(&d.metrics, M_FORKS, 3);
	assert_int_equal(metric_record(&d.metrics, M_RUNQ_NS, 1000), 0);
	metric_add(&tool->metrics, M_EXECS, 1);
	for (int n = 0; n < INTERVALS; n++)
		tell(&l, n, agents, 1);
	a = live_find(&l, 7);
	assert_non_null(a);
	assert_int_equal(a->total.metrics.value[M_FORKS], 3 * INTERVALS);
	assert_int_equal(a->last.metrics.value[M_FORKS], 3);
	assert_int_equal(a->total.metrics.hist[M_RUNQ_NS]->count, INTERVALS);
	assert_int_equal(a->last.metrics.hist[M_RUNQ_NS]->count, 1);
	assert_int_equal(a->total.tools[0].metrics.value[M_EXECS], INTERVALS);
	assert_true(a->first_s == 0 && a->last_s == INTERVALS && !a->ended);
	assert_int_equal(l.observer.lost[0].count, 2 * INTERVALS);
	assert_true(l.observer.bpf_s == 0.25 * INTERVALS && l.observer_last.records == 10);
	assert_int_equal(l.intervals, INTERVALS);
	live_fini(&l);
	agent_data_fini(&d);
}

static void test_an_agent_that_ends_is_kept_a_while(void **state)
{
	struct agent_data one = { .id = 1, .alive = true, .observed_s = 1 }, two = { .id = 2, .alive = true, .observed_s = 0.25 };
	struct agent_data *both[] = { &one, &two }, *first[] = { &one };
	struct agent_info who = info(1), later = info(2);
	struct live l;

	(void)state;
	begin(&l, &who, 1);
	tell(&l, 0, first, 1);
	assert_int_equal(live_agent(&l, &later), 0);
	tell(&l, 1, both, 2);
	assert_true(live_find(&l, 2)->first_s == 1.75);
	two.alive = false;
	metric_add(&two.metrics, M_EXITS, 1);
	tell(&l, 2, both, 2);
	assert_true(live_find(&l, 2)->ended && !live_find(&l, 1)->ended);
	tell(&l, 3, first, 1);
	assert_int_equal(live_find(&l, 2)->last.metrics.value[M_EXITS], 0);
	assert_int_equal(live_find(&l, 2)->total.metrics.value[M_EXITS], 1);
	tell(&l, 4, first, 1);
	assert_non_null(live_find(&l, 2));
	tell(&l, 5, first, 1);
	assert_null(live_find(&l, 2));
	assert_int_equal(l.forgotten, 1);
	assert_int_equal(l.agents_len, 1);
	live_fini(&l);
	agent_data_fini(&one);
	agent_data_fini(&two);
}

static void test_order_of_ids(void **state)
{
	const int ids[] = { 5, 1, 9, 3, 7, 2, 8, 4, 6, 0, 12, 11, 10, 15, 14, 13, 17, 16, 18 };
	struct live l;

	(void)state;
	begin(&l, NULL, 0);
	for (size_t n = 0; n < sizeof(ids) / sizeof(ids[0]); n++) {
		struct agent_info who = info(ids[n]);

		assert_int_equal(live_agent(&l, &who), 0);
		assert_int_equal(live_agent(&l, &who), 0); /* once more changes nothing */
	}
	for (int n = 0; n < l.agents_len; n++) {
		assert_int_equal(l.agents[n]->info.id, n);
		assert_ptr_equal(live_find(&l, n), l.agents[n]);
	}
	assert_int_equal(l.agents_len, 19);
	assert_null(live_find(&l, 19));
	live_fini(&l);
}

/* What is found is told as long as intervals tell of the agent; names that are the same once they are text are told once. */
static void test_findings(void **state)
{
	struct agent_data one = { .id = 1, .alive = true, .observed_s = 1 }, two = { .id = 2, .alive = true, .observed_s = 1 };
	struct agent_data *both[] = { &one, &two }, *first[] = { &one };
	const struct agent_info who[] = { info(1), info(2) };
	const struct live_finding found[] = { { .name = "polling", .severity = "info", .subject = "thread x\xff", .cost_cpu_s = 0.5 },
					      { .name = "polling", .severity = "info", .subject = "thread x\n", .cost_cpu_s = 0.25 },
					      { .name = "serial-calls", .severity = "warning", .rank = 1, .cost_s = 3 } };
	struct live l, copy;

	(void)state;
	begin(&l, who, 2);
	tell(&l, 0, both, 2);
	assert_int_equal(live_findings(&l, live_find(&l, 1)), -1);
	assert_int_equal(live_found(&l, 1, found, 3), 0);
	assert_int_equal(live_found(&l, 2, NULL, 0), 0);
	assert_int_equal(live_found(&l, 3, found, 3), 0); /* there is no such agent */
	assert_int_equal(live_findings(&l, live_find(&l, 1)), 2);
	assert_int_equal(live_findings(&l, live_find(&l, 2)), 0);
	assert_string_equal(live_find(&l, 1)->found[0].subject, "thread x?");
	assert_true(live_find(&l, 1)->found[0].cost_cpu_s == 0.5);
	assert_int_equal(live_findings_worst(live_find(&l, 1)), 1);
	assert_int_equal(live_findings_worst(live_find(&l, 2)), 0);
	assert_int_equal(live_copy(&copy, &l), 0);
	assert_int_equal(live_findings(&copy, live_find(&copy, 1)), 2);
	assert_true(live_find(&copy, 1)->found[1].cost_s == 3);
	live_fini(&copy);
	tell(&l, 1, first, 1);
	assert_int_equal(live_findings(&l, live_find(&l, 1)), 2);
	assert_int_equal(live_findings(&l, live_find(&l, 2)), -1); /* it has ended */
	assert_int_equal(live_found(&l, 1, NULL, -1), 0);
	assert_int_equal(live_findings(&l, live_find(&l, 1)), -1);
	assert_int_equal(live_findings_worst(live_find(&l, 1)), 0);
	live_fini(&l);
	agent_data_fini(&one);
	agent_data_fini(&two);
}

/* A page may have no line twice: names that are the same once they are text are one. */
static void test_alerts(void **state)
{
	struct live l, copy;

	(void)state;
	begin(&l, NULL, 0);
	assert_int_equal(live_alert_add(&l, "slow", "a\xff", "", "warning"), 0);
	assert_int_equal(live_alert_add(&l, "slow", "a\xfe", "", "warning"), 0);
	assert_int_equal(live_alert_add(&l, "slow", "a\xff", "db\n", "warning"), 0);
	assert_int_equal(live_alert_add(&l, "slow", "a?", "", "warning"), 0);
	assert_int_equal(l.alerts_len, 2);
	assert_string_equal(l.alerts[0].agent, "a?");
	assert_string_equal(l.alerts[1].subject, "db?");
	assert_int_equal(live_copy(&copy, &l), 0);
	assert_int_equal(copy.alerts_len, 2);
	live_fini(&copy);
	live_fini(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sums),
		cmocka_unit_test(test_an_agent_that_ends_is_kept_a_while),
		cmocka_unit_test(test_order_of_ids),
		cmocka_unit_test(test_findings),
		cmocka_unit_test(test_alerts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
