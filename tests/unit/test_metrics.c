/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The tables are sound, and sets of metrics merge as each type says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/ledger.h"
#include "model/metrics.h"
#include "model/recording.h"

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), n = strlen(end);

	return len >= n && !strcmp(s + len - n, end);
}

static void tables_are_sound(void **ctx)
{
	(void)ctx;
	for (int m = 0; m < METRIC_IDS; m++) {
		const struct metric_info *info = &metric_infos[m];

		assert_non_null(info->name);
		assert_int_equal(metric_find(info->name), m); /* names are unique */
		assert_true(info->probe < PROBE_COUNT);
		assert_true(*info->help);
		/* Names carry their unit. */
		assert_int_equal(ends_with(info->name, "_ns"), info->unit == UNIT_NS);
		assert_int_equal(ends_with(info->name, "_bytes"), info->unit == UNIT_BYTES);
	}
	for (int p = 0; p < PROBE_COUNT; p++)
		assert_int_equal(probe_find(probe_infos[p].name), p);
	for (int s = 0; s < STATE_COUNT; s++) {
		assert_int_equal(state_find(state_infos[s].name), s);
		for (int t = 0; t < s; t++)
			assert_int_not_equal(state_infos[s].bar, state_infos[t].bar);
	}
	assert_int_equal(metric_find("no_such"), -1);
	assert_int_equal(metric_find(""), -1);
	assert_int_equal(probe_find("no_such"), -1);
	assert_int_equal(state_find("no_such"), -1);
}

static void merge_by_type(void **ctx)
{
	struct metric_set a = { 0 }, b = { 0 };

	(void)ctx;
	metric_add(&a, M_FORKS, 3);
	metric_add(&b, M_FORKS, 4);
	a.value[M_THREADS] = 9;
	b.value[M_THREADS] = 2;
	a.value[M_RSS_PEAK_BYTES] = 900;
	b.value[M_RSS_PEAK_BYTES] = 200;
	assert_int_equal(metric_record(&b, M_RUNQ_NS, 1000), 0);
	assert_int_equal(metric_set_merge(&a, &b), 0);
	assert_int_equal(metric_set_merge(&a, &b), 0);
	assert_int_equal(a.value[M_FORKS], 11);
	assert_int_equal(a.value[M_THREADS], 2);
	assert_int_equal(a.value[M_RSS_PEAK_BYTES], 900);
	assert_non_null(a.hist[M_RUNQ_NS]);
	assert_int_equal(a.hist[M_RUNQ_NS]->count, 2);
	assert_null(a.hist[M_ONCPU_NS]); /* what never was costs nothing */
	assert_true(metric_set_bytes(&a) >= sizeof(struct hist));
	metric_set_reset(&a);
	assert_int_equal(a.value[M_FORKS] + a.value[M_THREADS] + a.value[M_RSS_PEAK_BYTES], 0);
	assert_int_equal(a.hist[M_RUNQ_NS]->count, 0);
	metric_set_fini(&a);
	metric_set_fini(&b);
	assert_int_equal(metric_set_bytes(&a), 0);
}

static void ledgers_add_up(void **ctx)
{
	struct ledger a = { 0 }, b = { 0 };

	(void)ctx;
	a.ns[STATE_RUNNING] = 1;
	b.ns[STATE_RUNNING] = 2;
	b.ns[STATE_OTHER] = 40;
	ledger_merge(&a, &b);
	assert_int_equal(a.ns[STATE_RUNNING], 3);
	assert_int_equal(ledger_sum(&a), 43);
}

static void agents_merge_with_their_tools(void **ctx)
{
	struct agent_data total = { 0 }, now = { .id = 7, .alive = true, .observed_s = 0.5 };
	char name[16];

	(void)ctx;
	for (int i = 0; i < 20; i++) {
		struct tool_data *tool;

		snprintf(name, sizeof(name), "tool%d", i);
		tool = agent_data_tool(&now, name);
		assert_non_null(tool);
		metric_add(&tool->metrics, M_EXECS, (uint64_t)i);
		tool->runs_live = 1;
		assert_ptr_equal(agent_data_tool(&now, name), tool);
	}
	now.main.ns[STATE_SLEEP] = 10;
	assert_int_equal(agent_data_merge(&total, &now), 0);
	assert_int_equal(agent_data_merge(&total, &now), 0);
	assert_int_equal(total.id, 7);
	assert_true(total.alive && total.observed_s == 1);
	assert_int_equal(total.tools_len, 20);
	assert_int_equal(agent_data_tool(&total, "tool19")->metrics.value[M_EXECS], 38);
	assert_int_equal(agent_data_tool(&total, "tool19")->runs_live, 1);
	assert_int_equal(total.main.ns[STATE_SLEEP], 20);
	agent_data_fini(&total);
	agent_data_fini(&now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_sound),
		cmocka_unit_test(merge_by_type),
		cmocka_unit_test(ledgers_add_up),
		cmocka_unit_test(agents_merge_with_their_tools),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
