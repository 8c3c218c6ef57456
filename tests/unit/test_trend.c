/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Trends, changes, forecasts and odd moments: made-up series whose truth is known, hundreds of each kind. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "judge/trend_parts.h"

#define SERIES 300
#define BURSTS 60
#define MS 1e6 /* ns */

static uint64_t seed = 1;

static double uniform(void)
{
	uint64_t z = seed += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return ((double)((z ^ z >> 31) >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(void)
{
	return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform());
}

/* Neighbours correlate by `alike`; variance 1. */
static double noise(double *before, double alike)
{
	return *before = alike * *before + sqrt(1 - alike * alike) * normal();
}

/* ---- a recording of one agent ---- */

struct made {
	struct trends *trends;
	struct agent_data data;
	struct agent_info info;
	struct interval_data interval;
	const struct agent_data *agents[1];
	const struct agent_info *infos[1];
	double length_s;
};

static void made_init(struct made *m)
{
	memset(m, 0, sizeof(*m));
	m->trends = trends_new();
	assert_non_null(m->trends);
	m->length_s = 1;
	m->info.name = (char *)"agent";
	m->data.alive = true;
	m->agents[0] = &m->data;
	m->infos[0] = &m->info;
	m->interval.agents = m->agents;
	m->interval.infos = m->infos;
	m->interval.agents_len = 1;
}

static void made_interval(struct made *m)
{
	m->interval.end_s = m->interval.start_s + m->length_s;
	m->data.observed_s = m->length_s;
	assert_int_equal(trends_interval(m->trends, &m->interval), 0);
	m->interval.start_s = m->interval.end_s;
	metric_set_reset(&m->data.metrics);
	for (int i = 0; i < m->data.peers_len; i++)
		metric_set_reset(&m->data.peers[i].metrics);
	for (int i = 0; i < m->data.tools_len; i++)
		metric_set_reset(&m->data.tools[i].metrics);
}

/* One interval with n calls of so many ms, with some noise, of a peer of the class. */
static void made_calls(struct made *m, enum class_id class, int n, double ms, double noise_share)
{
	struct peer_data *p = agent_data_peer(&m->data, false, class_infos[class].name, "");

	assert_non_null(p);
	p->class = class;
	for (int i = 0; i < n; i++)
		assert_int_equal(
		        metric_record(&p->metrics, M_EXCHANGE_NS, (uint64_t)(ms * MS * exp(noise_share * normal()))), 0);
	p->metrics.value[M_EXCHANGES] += (uint64_t)n;
}

static const struct trend *made_trend(struct made *m, const struct rules *rules, enum measure_id id, const char *subject)
{
	const struct trend *list;
	int len;

	assert_int_equal(trends_judge(m->trends, rules, &list, &len), 0);
	for (int i = 0; i < len; i++)
		if (list[i].measure == id && !strcmp(list[i].subject, subject))
			return &list[i];
	return NULL;
}

static void made_fini(struct made *m)
{
	trends_free(m->trends);
	agent_data_fini(&m->data);
}

/* ---- how often ---- */

enum shape { FLAT, RAMP, STEP };
static struct rates {
	int verdicts[TREND_VERDICTS], changed, near;
} rates;

/* Series of resident memory: 100 MiB with noise (a share, whose neighbours correlate), which grows by a share in all, evenly or at once. */
static void series_run(int n, enum shape shape, double growth, double share, double alike, bool heavy)
{
	memset(&rates, 0, sizeof(rates));
	for (int turn = 0; turn < SERIES; turn++) {
		int at = n / 3 + (int)(uniform() * n / 3);
		const struct trend *t;
		double x = normal();
		struct made m;

		made_init(&m);
		for (int i = 0; i < n; i++) {
			double level = 1 + (shape == RAMP ? growth * i / n : shape == STEP && i >= at ? growth : 0);
			double value = heavy ? level * exp(share * noise(&x, alike)) : level + share * noise(&x, alike);

			m.data.metrics.value[M_RSS_BYTES] = (uint64_t)(value * 100 * 1048576);
			made_interval(&m);
		}
		t = made_trend(&m, NULL, MEASURE_RSS, "");
		assert_non_null(t);
		rates.verdicts[t->verdict]++;
		rates.changed += t->changes_len > 0;
		for (int c = 0; c < t->changes_len; c++)
			if (fabs(t->changes[c].at_s - at) <= 2.0 * n / t->points) {
				rates.near++;
				break;
			}
		made_fini(&m);
	}
}

static void test_noise_is_steady(void **state)
{
	static const struct {
		int n;
		double alike;
		bool heavy;
	} kinds[] = {{30, 0, false}, {60, 0.5, false}, {120, 0.5, true}, {120, 0.8, false}, {600, 0.8, true}};

	(void)state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
		series_run(kinds[k].n, FLAT, 0, 0.15, kinds[k].alike, kinds[k].heavy);
		print_message("noise, %d points, correlation %.1f: %d changed, %d trends of %d\n", kinds[k].n, kinds[k].alike,
		        rates.changed, rates.verdicts[TREND_IMPROVING] + rates.verdicts[TREND_DEGRADING], SERIES);
		assert_true(rates.changed <= SERIES / 100);
		assert_true(rates.verdicts[TREND_STEADY] >= SERIES - SERIES / 100);
	}
}

static void test_slopes_are_found(void **state)
{
	(void)state;
	series_run(60, RAMP, 0.4, 0.08, 0, false);
	assert_true(rates.verdicts[TREND_DEGRADING] >= SERIES * 95 / 100);
	assert_true(rates.changed <= SERIES * 5 / 100);
	series_run(1000, RAMP, 0.4, 0.15, 0.5, true);
	assert_true(rates.verdicts[TREND_DEGRADING] >= SERIES * 95 / 100);
	assert_true(rates.changed <= SERIES * 5 / 100);
	series_run(100, RAMP, -0.3, 0.05, 0, false);
	assert_true(rates.verdicts[TREND_IMPROVING] >= SERIES * 95 / 100);
	series_run(100, RAMP, 0.05, 0.01, 0, false); /* sure, but not worth a word */
	assert_int_equal(rates.verdicts[TREND_STEADY], SERIES);
}

static void test_steps_are_found(void **state)
{
	(void)state;
	series_run(100, STEP, 0.3, 0.1, 0, false); /* of 3 standard deviations */
	print_message("steps, 100 points: %d changed, %d near of %d\n", rates.changed, rates.near, SERIES);
	assert_true(rates.near >= SERIES * 95 / 100);
	assert_true(rates.verdicts[TREND_DEGRADING] >= SERIES * 95 / 100);
	series_run(1000, STEP, 0.3, 0.1, 0, false);
	print_message("steps, 1000 points: %d changed, %d near of %d\n", rates.changed, rates.near, SERIES);
	assert_true(rates.near >= SERIES * 95 / 100);
	series_run(100, STEP, -0.3, 0.05, 0.3, false);
	assert_true(rates.near >= SERIES * 90 / 100);
	assert_true(rates.verdicts[TREND_IMPROVING] >= SERIES * 90 / 100);
}

/* ---- odd moments ---- */

static double odd_rate(double spread, double alike, int days)
{
	struct trend_odd moments[TREND_ODD_MAX];
	uint64_t all = 0, count;

	for (int d = 0; d < days; d++) {
		struct odd_watch w = {0};
		double x = normal();

		for (int i = 0; i < 86400; i++)
			odd_add(&w, i, exp(spread * noise(&x, alike)));
		assert_in_range(odd_moments(&w, moments, &count), 0, TREND_ODD_MAX);
		all += count;
	}
	return (double)all / days;
}

static void test_odd_moments_are_rare(void **state)
{
	double rate = odd_rate(0.5, 0, 20), wide = odd_rate(1, 0, 20), alike = odd_rate(0.5, 0.5, 20);

	(void)state;
	print_message("odd moments a day: lognormal %.2f, wider %.2f, neighbours alike %.2f\n", rate, wide, alike);
	assert_true(rate >= 0.5 && rate <= 2);
	assert_true(wide >= 0.5 && wide <= 2);
	assert_true(alike >= 0.25 && alike <= 2);
	assert_true(odd_rate(0.5, 0.9, 5) <= 2);
}

static void test_bursts_are_odd(void **state)
{
	int found = 0, alone = 0;

	(void)state;
	for (int turn = 0; turn < BURSTS; turn++) {
		const struct trend *t;
		struct made m;

		made_init(&m);
		for (int i = 0; i < 400; i++) {
			made_calls(&m, CLASS_LLM, 25, i >= 300 && i < 303 ? 300 : 30, 0.3);
			made_interval(&m);
		}
		t = made_trend(&m, NULL, MEASURE_EXCHANGE_P95, "llm");
		assert_non_null(t);
		for (int o = 0; o < t->odd_len; o++)
			if (t->odd[o].at_s >= 300 && t->odd[o].at_s < 303) {
				found++;
				assert_true(t->odd[o].value > 0.3 && t->odd[o].value < 1);
				assert_true(t->odd[o].expected > 0.03 && t->odd[o].expected < 0.08);
			}
		alone += t->odd_count == 1;
		assert_int_equal(t->verdict, TREND_STEADY);
		made_fini(&m);
	}
	assert_int_equal(found, BURSTS);
	assert_true(alone >= BURSTS - 2);
}

/* What stays is the new past, and no moment. */
static void test_new_level_is_not_odd(void **state)
{
	struct trend_odd moments[TREND_ODD_MAX];
	struct odd_watch w = {0};
	uint64_t count;

	(void)state;
	for (int i = 0; i < 2000; i++)
		odd_add(&w, i, exp(0.1 * normal()) * (i < 1000 ? 1 : 5));
	assert_int_equal(odd_moments(&w, moments, &count), 0);
	odd_add(&w, 2000, 50);
	assert_int_equal(odd_moments(&w, moments, &count), 1);
	assert_true(moments[0].at_s == 2000);
	assert_true(fabs(moments[0].expected - 5) < 0.5);
}

/* The farthest out are kept. */
static void test_odd_moments_kept(void **state)
{
	struct trend_odd moments[TREND_ODD_MAX];
	struct odd_watch w = {0};
	uint64_t count;

	(void)state;
	for (int i = 0; i < 5000; i++)
		odd_add(&w, i, exp(0.1 * normal()) * (i % 200 == 199 ? 10 + i / 100.0 : 1));
	assert_int_equal(odd_moments(&w, moments, &count), TREND_ODD_MAX);
	assert_int_equal(count, 5000 / 200);
	for (int i = 1; i < TREND_ODD_MAX; i++)
		assert_true(moments[i].at_s > moments[i - 1].at_s);
	odd_add(&w, 5000, NAN);
	odd_add(&w, 5001, 0);
	odd_add(&w, 5002, INFINITY);
	odd_moments(&w, moments, &count);
	assert_int_equal(count, 5000 / 200);
}

/* ---- what a point rests on ---- */

static void test_few_values(void **state)
{
	const struct trend *t;
	struct made m;

	(void)state;
	made_init(&m);
	for (int i = 0; i < 390; i++) { /* 2 an interval: a point of 10 */
		made_calls(&m, CLASS_DB, 2, 10, 0.2);
		made_interval(&m);
	}
	t = made_trend(&m, NULL, MEASURE_EXCHANGE_P95, "db");
	assert_non_null(t);
	assert_int_equal(t->points, 39);
	assert_int_equal(t->verdict, TREND_STEADY);
	t = made_trend(&m, NULL, MEASURE_EXCHANGE_P99, "db"); /* needs 100 */
	assert_int_equal(t->points, 7);
	assert_int_equal(t->verdict, TREND_INSUFFICIENT);
	assert_true(isnan(t->slope));
	assert_null(made_trend(&m, NULL, MEASURE_TOOL_P95, "git"));
	made_fini(&m);
}

/* A percentile doesn't get higher as there are more values behind its points. */
static void test_more_values_are_no_trend(void **state)
{
	int wrong = 0;

	(void)state;
	for (int turn = 0; turn < 20; turn++) {
		struct made m;

		made_init(&m);
		for (int i = 0; i < 120; i++) {
			made_calls(&m, CLASS_DB, 20 + 2 * i, 10, 0.5);
			made_interval(&m);
		}
		wrong += made_trend(&m, NULL, MEASURE_EXCHANGE_P95, "db")->verdict != TREND_STEADY;
		wrong += made_trend(&m, NULL, MEASURE_EXCHANGE_P99, "db")->verdict != TREND_STEADY;
		made_fini(&m);
	}
	assert_true(wrong <= 1);
}

static void test_errors(void **state)
{
	const struct trend *t;
	struct made m;

	(void)state;
	made_init(&m);
	for (int i = 0; i < 100; i++) {
		made_calls(&m, CLASS_HTTP, 10, 5, 0.1);
		m.data.peers[0].metrics.value[M_ERRORS_RESET] = i < 50 ? 0 : 3;
		made_interval(&m);
	}
	t = made_trend(&m, NULL, MEASURE_ERRORS, "http");
	assert_non_null(t);
	assert_int_equal(t->verdict, TREND_DEGRADING);
	assert_int_equal(t->changes_len, 1);
	assert_true(t->changes[0].at_s == 50);
	assert_true(fabs(t->changes[0].after - 0.3) < 0.01);
	made_fini(&m);
}

/* Several peers of a class are one; the other side of the agent is none of them. */
static void test_class_is_a_sum(void **state)
{
	const struct trend *t;
	struct peer_data *p;
	struct made m;

	(void)state;
	made_init(&m);
	for (int i = 0; i < 60; i++) {
		made_calls(&m, CLASS_DB, 15, 10, 0.1);
		p = agent_data_peer(&m.data, false, "10.0.0.9:5432", "second");
		p->class = CLASS_DB;
		for (int n = 0; n < 30; n++)
			metric_record(&p->metrics, M_EXCHANGE_NS, (uint64_t)((i < 30 ? 20 : 40) * MS));
		p = agent_data_peer(&m.data, true, "127.0.0.1:80", "");
		p->class = CLASS_DB;
		metric_record(&p->metrics, M_EXCHANGE_NS, (uint64_t)(9000 * MS));
		made_interval(&m);
	}
	t = made_trend(&m, NULL, MEASURE_EXCHANGE_P50, "db");
	assert_non_null(t);
	assert_int_equal(t->points, 60);
	assert_int_equal(t->changes_len, 1);
	assert_true(fabs(t->changes[0].at_s - 30) <= 2);
	assert_true(fabs(t->changes[0].before - 0.020) < 0.001 && fabs(t->changes[0].after - 0.040) < 0.002);
	made_fini(&m);
}

static void test_tools(void **state)
{
	struct made m;

	(void)state;
	made_init(&m);
	for (int i = 0; i < 40; i++) {
		for (int n = 0; n < 70; n++) {
			char name[16];
			struct tool_data *tool;

			snprintf(name, sizeof(name), "tool %d", n);
			tool = agent_data_tool(&m.data, name);
			assert_non_null(tool);
			for (int v = 0; v < 25; v++)
				metric_record(&tool->metrics, M_TOOL_NS, (uint64_t)((n + 1) * MS * exp(0.1 * normal())));
		}
		made_interval(&m);
	}
	assert_int_equal(made_trend(&m, NULL, MEASURE_TOOL_P50, "tool 63")->verdict, TREND_STEADY);
	assert_null(made_trend(&m, NULL, MEASURE_TOOL_P50, "tool 64")); /* so many are followed */
	made_fini(&m);
}

static void test_nothing_wrong_from_bad_intervals(void **state)
{
	struct header_data header = {.probes_len = 1, .probes = {{.name = "mem", .state = "off"}}};
	const struct trend *list;
	struct made m;
	int len;

	(void)state;
	made_init(&m);
	assert_int_equal(trends_judge(m.trends, NULL, &list, &len), 0);
	assert_int_equal(len, 0);
	m.interval.header = &header;
	for (int i = 0; i < 60; i++) {
		m.data.metrics.value[M_RSS_BYTES] = 100 << 20;
		m.interval.observer.records = 100;
		m.interval.observer.losses = i % 2;
		m.interval.observer.lost[0].count = 50;
		made_calls(&m, CLASS_DB, 25, i % 2 ? 10 : 20, 0.1);
		made_interval(&m);
	}
	assert_null(made_trend(&m, NULL, MEASURE_RSS, "")); /* its probe was off */
	assert_int_equal(made_trend(&m, NULL, MEASURE_EXCHANGE_P50, "db")->points, 30); /* those without losses */
	assert_true(fabs(made_trend(&m, NULL, MEASURE_EXCHANGE_P50, "db")->level - 0.020) < 0.001);
	made_fini(&m);
}

/* ---- forecasts ---- */

static struct expression *parsed(const char *text)
{
	char why[256];
	int column;
	struct expression *e = expression_parse(text, &column, why, sizeof(why));

	if (!e)
		fail_msg("%s", why);
	return e;
}

static void test_forecasts(void **state)
{
	struct rule rule[] = {
	        {.name = "far",
	                .text = "p95(exchange_ns) > 1s",
	                .value = parsed("p95(exchange_ns)"),
	                .limit = 1,
	                .each = EACH_CLASS,
	                .class = CLASS_DB},
	        {.name = "other class",
	                .text = "p95(exchange_ns) > 90ms",
	                .value = parsed("p95(exchange_ns)"),
	                .limit = 0.09,
	                .each = EACH_CLASS,
	                .class = CLASS_LLM},
	        {.name = "other figure",
	                .text = "p90(exchange_ns) > 90ms",
	                .value = parsed("p90(exchange_ns)"),
	                .limit = 0.09,
	                .each = EACH_CLASS,
	                .class = CLASS_DB},
	        {.name = "other agent",
	                .text = "p95(exchange_ns) > 90ms",
	                .value = parsed("p95(exchange_ns)"),
	                .limit = 0.09,
	                .each = EACH_CLASS,
	                .class = CLASS_DB,
	                .agent = "x*"},
	        {.name = "database-slow",
	                .text = "p95(exchange_ns) > 100ms",
	                .value = parsed("p95(exchange_ns)"),
	                .limit = 0.1,
	                .each = EACH_CLASS,
	                .class = CLASS_DB},
	        {.name = "missed long since",
	                .text = "p95(exchange_ns) > 10ms",
	                .value = parsed("p95(exchange_ns)"),
	                .limit = 0.01,
	                .each = EACH_CLASS,
	                .class = CLASS_DB},
	        {.name = "too fast",
	                .text = "p95(exchange_ns) < 10ms",
	                .value = parsed("p95(exchange_ns)"),
	                .comparison = RULE_BELOW,
	                .limit = 0.01,
	                .each = EACH_CLASS,
	                .class = CLASS_DB},
	};
	struct rules rules = {.at = rule, .len = sizeof(rule) / sizeof(*rule)};
	const struct trend *t;
	int held = 0, turns = 40;

	(void)state;
	for (int turn = 0; turn < turns; turn++) {
		struct made m;

		made_init(&m);
		for (int i = 0; i < 100; i++) { /* 40 to 60 ms; 100 is reached 200 s after the end */
			made_calls(&m, CLASS_DB, 25, 40 + 0.2 * (i + 0.5), 0);
			metric_record(&m.data.peers[0].metrics, M_EXCHANGE_NS, (uint64_t)(MS * (40 + 0.2 * i + 2 * normal())));
			made_interval(&m);
		}
		t = made_trend(&m, &rules, MEASURE_EXCHANGE_P95, "db");
		assert_int_equal(t->verdict, TREND_DEGRADING);
		assert_non_null(t->miss.rule);
		assert_string_equal(t->miss.rule->name, "database-slow");
		assert_true(t->miss.in_low_s <= t->miss.in_s && t->miss.in_s <= t->miss.in_high_s);
		assert_true(fabs(t->miss.in_s - 200) < 20);
		held += t->miss.in_low_s <= 205 && t->miss.in_high_s >= 195;
		made_fini(&m);
	}
	assert_true(held >= turns * 9 / 10);
	for (int i = 0; i < rules.len; i++)
		expression_free(rule[i].value);
}

/* After a step, nothing goes on. */
static void test_step_is_no_forecast(void **state)
{
	struct rule rule = {.name = "slow",
	        .text = "p95(exchange_ns) > 100ms",
	        .value = parsed("p95(exchange_ns)"),
	        .limit = 0.1,
	        .each = EACH_CLASS,
	        .class = CLASS_DB};
	struct rules rules = {.at = &rule, .len = 1};
	const struct trend *t;
	struct made m;

	(void)state;
	made_init(&m);
	for (int i = 0; i < 100; i++) {
		made_calls(&m, CLASS_DB, 40, i < 50 ? 40 : 60, 0.05);
		made_interval(&m);
	}
	t = made_trend(&m, &rules, MEASURE_EXCHANGE_P95, "db");
	assert_int_equal(t->verdict, TREND_DEGRADING);
	assert_int_equal(t->changes_len, 1);
	assert_null(t->miss.rule);
	made_fini(&m);
	expression_free(rule.value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_noise_is_steady),
	        cmocka_unit_test(test_slopes_are_found),
	        cmocka_unit_test(test_steps_are_found),
	        cmocka_unit_test(test_odd_moments_are_rare),
	        cmocka_unit_test(test_bursts_are_odd),
	        cmocka_unit_test(test_new_level_is_not_odd),
	        cmocka_unit_test(test_odd_moments_kept),
	        cmocka_unit_test(test_few_values),
	        cmocka_unit_test(test_more_values_are_no_trend),
	        cmocka_unit_test(test_errors),
	        cmocka_unit_test(test_class_is_a_sum),
	        cmocka_unit_test(test_tools),
	        cmocka_unit_test(test_nothing_wrong_from_bad_intervals),
	        cmocka_unit_test(test_forecasts),
	        cmocka_unit_test(test_step_is_no_forecast),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
