/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The governor, driven by loads whose cost on each rung is known: it keeps the budget, gives no detail away for nothing, and does not flap. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/util.h"
#include "model/governor.h"
#include "model/metrics.h"

#define SHARE 0.01
#define FLOOR_RATE 0.002
#define TICK_S 0.1
#define WINDOW 100 /* ticks: 10 s */
#define TOLERANCE 1.2
#define TICKS_MAX 20000

/* CPU seconds that a switch costs on each rung, and what watching costs in any case. */
static const double switch_s[RUNG_COUNT] = {
	[RUNG_FULL] = 400e-9,	[RUNG_PEAKS] = 400e-9,	  [RUNG_HEAP] = 400e-9,	   [RUNG_PROFILE] = 400e-9,   [RUNG_NAMES] = 400e-9,
	[RUNG_SUMMED] = 200e-9, [RUNG_NO_CALLS] = 190e-9, [RUNG_COUNTERS] = 40e-9, [RUNG_NO_TRAFFIC] = 40e-9,
};

struct load {
	double (*switches)(double t); /* a second */
	double (*cpu)(double t); /* of the agents: CPUs */
	double fixed; /* CPU seconds a second that watching takes in any case */
	double seconds;
	double miss; /* what is predicted is so many times the truth */
};

struct outcome {
	int steps;
	double worst; /* cost of 10 s over its budget, at worst */
	double full_s;
	double answered_s; /* from when the rate rose to a step down; of the first one */
	enum rung last, lowest;
};

static double cost_rate(const struct load *l, double t, enum rung r)
{
	return l->fixed + l->switches(t) * switch_s[r];
}

static struct outcome drive(const struct load *l)
{
	static double cost[TICKS_MAX], cpu[TICKS_MAX];
	int ticks = (int)(l->seconds / TICK_S);
	struct outcome o = { .answered_s = -1 };
	struct governor g;
	char why[GOVERNOR_WHY];

	assert_true(ticks <= TICKS_MAX);
	governor_init(&g, SHARE, FLOOR_RATE);
	for (int i = 0; i < ticks; i++) {
		double t = i * TICK_S, sum = 0, cpus = 0;
		struct governor_tick tick = { .dt_s = TICK_S, .cost_s = TICK_S * cost_rate(l, t, g.rung), .cpu_s = TICK_S * l->cpu(t) };
		enum rung from = g.rung;

		cost[i] = tick.cost_s;
		cpu[i] = tick.cpu_s;
		for (int r = 0; r < RUNG_COUNT; r++)
			tick.predicted[r] = l->miss * cost_rate(l, t, (enum rung)r);
		o.full_s += g.rung == RUNG_FULL ? TICK_S : 0;
		if (governor_tick(&g, &tick, why)) {
			o.steps++;
			assert_true(strlen(why) > 0 && g.rung != from);
			if (o.answered_s < 0)
				o.answered_s = t + TICK_S;
		}
		o.lowest = g.rung > o.lowest ? g.rung : o.lowest;
		if (i < WINDOW - 1)
			continue;
		for (int j = i - WINDOW + 1; j <= i; j++) {
			sum += cost[j];
			cpus += cpu[j];
		}
		o.worst = fmax(o.worst, sum / fmax(SHARE * cpus, FLOOR_RATE * WINDOW * TICK_S));
	}
	o.last = g.rung;
	return o;
}

static double nothing(double t)
{
	(void)t;
	return 0;
}

static double hundredth(double t)
{
	(void)t;
	return 0.01;
}

static double one(double t)
{
	(void)t;
	return 1;
}

#define STEP_UP_S 30.0
#define STEP_DOWN_S 60.0

static double step_rate(double t)
{
	return t < STEP_UP_S || t >= STEP_DOWN_S ? 1500 : 75000;
}

static double step_cpu(double t)
{
	return t < STEP_UP_S || t >= STEP_DOWN_S ? 0.02 : 1;
}

static void test_idle(void **state)
{
	struct outcome o = drive(&(struct load){ nothing, nothing, 0.0005, 100, 1 });

	(void)state;
	assert_int_equal(o.steps, 0);
	assert_true(o.worst < 0.5);
}

static double light_rate(double t)
{
	(void)t;
	return 600;
}

/* The demo agent's likes: the process itself takes more than the floor allows, and no rung would save any of that. */
static void test_nothing_to_save(void **state)
{
	struct outcome o = drive(&(struct load){ light_rate, hundredth, 0.0025, 300, 1 });

	(void)state;
	assert_int_equal(o.steps, 0);
}

static void test_step(void **state)
{
	struct outcome o = drive(&(struct load){ step_rate, step_cpu, 0.0003, 120, 1 });

	(void)state;
	assert_true(o.answered_s > STEP_UP_S && o.answered_s <= STEP_UP_S + 1);
	assert_true(o.worst <= TOLERANCE);
	assert_int_equal(o.lowest, RUNG_COUNTERS);
	assert_int_equal(o.last, RUNG_FULL); /* and back up */
	assert_true(o.full_s > 80);
	assert_in_range(o.steps, 2, 6);
}

/* A load that fits the middle of the ladder does not fall to its end. */
static double middle_rate(double t)
{
	(void)t;
	return 40000;
}

static void test_middle(void **state)
{
	struct outcome o = drive(&(struct load){ middle_rate, one, 0.0003, 200, 1 });

	(void)state;
	assert_int_equal(o.last, RUNG_SUMMED); /* 1.6 % at full detail, 0.8 % summed */
	assert_true(o.worst <= TOLERANCE);
	assert_in_range(o.steps, 1, 3);
}

static double ramp_rate(double t)
{
	return t < 100 ? 1000 * t : 1000 * (200 - t);
}

static void test_ramp(void **state)
{
	struct outcome o = drive(&(struct load){ ramp_rate, one, 0.0003, 200, 1 });

	(void)state;
	assert_true(o.worst <= TOLERANCE);
	assert_int_equal(o.lowest, RUNG_COUNTERS);
	assert_int_equal(o.last, RUNG_FULL);
	assert_in_range(o.steps, 2, 12);
}

static double period_s;

static double wave_rate(double t)
{
	return fmod(t, period_s) < period_s / 2 ? 75000 : 500;
}

static double wave_cpu(double t)
{
	return fmod(t, period_s) < period_s / 2 ? 1 : 0.01;
}

/* Whatever the period: no more than a few steps a minute, and fewer later. */
static void test_waves(void **state)
{
	static const double periods[] = { 0.4, 1, 2, 5, 8, 12, 20, 40 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(periods); i++) {
		struct load l = { wave_rate, wave_cpu, 0.0003, 600, 1 };
		struct outcome o;

		period_s = periods[i];
		o = drive(&l);
		assert_true(o.steps <= 4 * 600 / 40);
		assert_true(o.worst <= TOLERANCE);
	}
}

/* Predictions off by 2, either way, of what events cost. */
static void test_wrong(void **state)
{
	static const double misses[] = { 0.5, 2 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(misses); i++) {
		struct outcome o = drive(&(struct load){ step_rate, step_cpu, 0.0003, 200, misses[i] });

		assert_true(o.worst <= TOLERANCE);
		assert_int_equal(o.last, RUNG_FULL);
		o = drive(&(struct load){ middle_rate, one, 0.0003, 600, misses[i] });
		assert_true(o.worst <= TOLERANCE);
		assert_true(o.steps <= 24);
	}
}

/* Reading symbols when it begins: no rung helps, and nothing of it is held against what comes after. */
static double rate_once(double t)
{
	return t > 5 ? 2000 : 100;
}

static void test_outlay(void **state)
{
	struct governor g;
	char why[GOVERNOR_WHY];
	int steps = 0;

	(void)state;
	governor_init(&g, SHARE, FLOOR_RATE);
	for (int i = 0; i < 600; i++) {
		double t = i * TICK_S, fixed = i < 5 ? 1 : 0.0005;
		struct governor_tick tick = { .dt_s = TICK_S, .cost_s = TICK_S * (fixed + rate_once(t) * switch_s[g.rung]), .cpu_s = TICK_S * 0.05 };

		for (int r = 0; r < RUNG_COUNT; r++)
			tick.predicted[r] = fixed + rate_once(t) * switch_s[r];
		steps += governor_tick(&g, &tick, why);
	}
	assert_int_equal(steps, 0);
}

static void test_marks(void **state)
{
	const char *patterns[RUNG_MARKS];
	int n, any = 0;

	(void)state;
	assert_int_equal(rung_mark(RUNG_FULL, "oncpu_ns"), -1);
	assert_int_equal(rung_mark(RUNG_SUMMED, "oncpu_ns"), MARK_ESTIMATED);
	assert_int_equal(rung_mark(RUNG_SUMMED, "exchange_ns"), -1);
	assert_int_equal(rung_mark(RUNG_NO_CALLS, "exchange_ns"), MARK_PARTIAL);
	assert_int_equal(rung_mark(RUNG_COUNTERS, "oncpu_ns"), MARK_PARTIAL);
	assert_int_equal(rung_mark(RUNG_COUNTERS, "wait_lock_ns"), MARK_PARTIAL);
	for (int m = 0; m < METRIC_IDS; m++) /* the kernel's own counts stay exact */
		if (strstr(metric_infos[m].name, "switches_") || strstr(metric_infos[m].name, "cpu_"))
			assert_int_equal(rung_mark(RUNG_COUNTERS, metric_infos[m].name), !strncmp(metric_infos[m].name, "oncpu_", 6) ? MARK_PARTIAL : -1);
	for (int how = 0; how < MARK_COUNT; how++)
		for (int r = 0; r < RUNG_COUNT; r++) {
			n = rung_marks((enum rung)r, (enum mark)how, patterns);
			for (int i = 0; i < n; i++) { /* each stands for a metric at least, and for none with another mark */
				int matched = 0;

				for (int m = 0; m < METRIC_IDS; m++)
					if (!strncmp(metric_infos[m].name, patterns[i], strcspn(patterns[i], "*")) &&
					    rung_mark((enum rung)r, metric_infos[m].name) == how)
						matched++;
				if (!matched)
					fail_msg("%s on %s", patterns[i], rung_infos[r].name);
				any++;
			}
		}
	assert_true(any > 0);
}

static void test_names(void **state)
{
	(void)state;
	for (int r = 0; r < RUNG_COUNT; r++) {
		assert_int_equal(rung_find(rung_infos[r].name), r);
		if (!r)
			continue;
		/* A rung keeps what those above it gave up. */
		assert_true(rung_infos[r].sched >= rung_infos[r - 1].sched && rung_infos[r].sock >= rung_infos[r - 1].sock);
		assert_true(rung_infos[r].names >= rung_infos[r - 1].names && rung_infos[r].heap <= rung_infos[r - 1].heap);
		assert_true(rung_infos[r].profile <= rung_infos[r - 1].profile && rung_infos[r].profile > 0 && rung_infos[r].heap > 0);
	}
	assert_int_equal(rung_find("nothing"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle),  cmocka_unit_test(test_nothing_to_save), cmocka_unit_test(test_step),   cmocka_unit_test(test_middle),
		cmocka_unit_test(test_ramp),  cmocka_unit_test(test_waves),	      cmocka_unit_test(test_wrong),  cmocka_unit_test(test_outlay),
		cmocka_unit_test(test_marks), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
