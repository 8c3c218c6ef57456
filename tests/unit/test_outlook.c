/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The outlook on memory: made-up series whose truth is known. How often each kind is taken for a leak, and how often leaks are found. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "judge/outlook.h"
#include "judge/stats.h"

#define MIB (1024.0 * 1024)
#define TURNS 300
#define LIMIT ((uint64_t)1 << 30)
#define LEFT ((uint64_t)1 << 29)

static unsigned seed;
static struct outlook_series series;

static double uniform(void)
{
	return (rand_r(&seed) + 0.5) / (RAND_MAX + 1.0);
}

static double normal(void)
{
	return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform());
}

/* Value i of n; `size` is what it says in the table below, state lives as long as the series. */
typedef double (*maker)(int i, int n, double size, double state[2]);

static double noise(int i, int n, double size, double state[2])
{
	(void)i, (void)n, (void)state;
	return size * normal();
}

static double dependent(int i, int n, double size, double state[2])
{
	(void)n;
	state[0] = i ? size * state[0] + normal() : normal() / sqrt(1 - size * size);
	return 5 * state[0];
}

static double walk(int i, int n, double size, double state[2])
{
	(void)n;
	state[0] = i ? state[0] + size * normal() : 0;
	return state[0];
}

static double one_step(int i, int n, double size, double state[2])
{
	if (!i)
		state[0] = uniform();
	return (i > state[0] * n ? 50 : 0) + size * normal();
}

static double two_steps(int i, int n, double size, double state[2])
{
	if (!i) {
		state[0] = uniform();
		state[1] = uniform();
	}
	return (i > state[0] * n ? 50 : 0) + (i > state[1] * n ? 50 : 0) + size * normal();
}

static double sawtooth(int i, int n, double size, double state[2])
{
	if (!i)
		state[0] = uniform();
	state[0] += size / n * (1 + 0.2 * normal());
	return 100 * (state[0] - floor(state[0])) + normal();
}

static double warm_up(int i, int n, double size, double state[2])
{
	(void)state;
	return 100 * (1 - exp(-i / size / n)) + normal();
}

static double constant(int i, int n, double size, double state[2])
{
	(void)i, (void)n, (void)state;
	return size;
}

static double leak(int i, int n, double size, double state[2])
{
	(void)state;
	return size * i / n + normal();
}

static double leak_quiet(int i, int n, double size, double state[2])
{
	(void)state;
	return size * i / n;
}

static double leak_in_sawtooth(int i, int n, double size, double state[2])
{
	if (!i)
		state[0] = uniform();
	state[0] += 30.0 / n * (1 + 0.2 * normal());
	return size * i / n + 30 * (state[0] - floor(state[0])) + normal();
}

static double leak_in_blocks(int i, int n, double size, double state[2])
{
	(void)state;
	return size * floor(20.0 * i / n) / 20 + 0.2 * normal();
}

static double shrink(int i, int n, double size, double state[2])
{
	return -leak(i, n, size, state);
}

static void series_make(maker make, double size, int n)
{
	double state[2] = { 0 };

	memset(&series, 0, sizeof(series));
	for (int i = 0; i < n; i++)
		outlook_add(&series, i, (uint64_t)((300 + make(i, n, size, state)) * MIB), LIMIT, LEFT);
}

struct kind {
	const char *name;
	maker make;
	double size; /* MiB in all, or of noise; of dependence; of periods; of time (constant of warming up) */
	int points;
};

/* How often, of TURNS, the verdict is given. */
static int times(const struct kind *k, enum outlook_verdict verdict)
{
	int count = 0;

	seed = 1;
	for (int turn = 0; turn < TURNS; turn++) {
		struct outlook o;

		series_make(k->make, k->size, k->points);
		outlook_judge(&series, &o);
		assert_true(o.verdict != OUTLOOK_INSUFFICIENT);
		assert_true(isfinite(o.slope) && o.low <= o.slope && o.slope <= o.high);
		count += o.verdict == verdict;
	}
	return count;
}

static void test_false_alarms(void **state)
{
	static const struct kind kinds[] = {
		{ "constant", constant, 0, 60 }, { "noise", noise, 5, 24 }, { "noise", noise, 30, 120 }, { "noise", noise, 5, 400 },
		{ "dependent", dependent, 0.5, 60 }, { "dependent", dependent, 0.9, 120 }, { "dependent", dependent, 0.98, 240 },
		{ "walk", walk, 1, 60 }, { "walk", walk, 1, 240 },
		{ "one step", one_step, 0.1, 60 }, { "one step", one_step, 5, 120 }, { "two steps", two_steps, 1, 120 },
		{ "sawtooth", sawtooth, 2.5, 120 }, { "sawtooth", sawtooth, 5, 60 }, { "sawtooth", sawtooth, 11, 240 },
		{ "sawtooth", sawtooth, 40, 240 }, { "warm-up", warm_up, 0.05, 60 }, { "warm-up", warm_up, 0.1, 120 },
		{ "warm-up", warm_up, 0.15, 240 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		int growing = times(&kinds[i], OUTLOOK_GROWING);

		if (growing > TURNS / 100)
			fail_msg("%s (%g, %d points): %d of %d are said to grow", kinds[i].name, kinds[i].size, kinds[i].points, growing, TURNS);
	}
}

static void test_leaks_are_found(void **state)
{
	static const struct kind kinds[] = {
		{ "leak", leak, 100, 24 }, { "leak", leak, 40, 60 }, { "leak", leak, 20, 240 }, { "leak", leak, 2000, 1000 },
		{ "leak without noise", leak_quiet, 8, 24 }, { "leak without noise", leak_quiet, 8, 240 },
		{ "leak in a sawtooth", leak_in_sawtooth, 100, 240 }, { "leak in blocks", leak_in_blocks, 20, 120 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		int growing = times(&kinds[i], OUTLOOK_GROWING);

		if (growing < TURNS * 95 / 100)
			fail_msg("%s (%g MiB, %d points): only %d of %d are found", kinds[i].name, kinds[i].size, kinds[i].points, growing, TURNS);
	}
	assert_true(times(&(struct kind){ "", shrink, 100, 120 }, OUTLOOK_SHRINKING) >= TURNS * 95 / 100);
}

/* In how many of the series the interval holds the true slope: 95 % are asked for. */
static void test_interval_holds_the_slope(void **state)
{
	int held = 0;

	(void)state;
	seed = 1;
	for (int turn = 0; turn < TURNS; turn++) {
		struct outlook o;

		series_make(leak, 50, 120);
		outlook_judge(&series, &o);
		held += o.low <= 50 * MIB / 120 && o.high >= 50 * MIB / 120;
	}
	assert_in_range(held, TURNS * 92 / 100, TURNS * 99 / 100);
}

static void test_limits(void **state)
{
	struct outlook o;

	(void)state;
	series_make(leak_quiet, 60, 60); /* 1 MiB a second */
	outlook_judge(&series, &o);
	assert_int_equal(o.verdict, OUTLOOK_GROWING);
	assert_true(fabs(o.slope - MIB) < 1 && fabs(o.low - MIB) < 1 && fabs(o.high - MIB) < 1);
	assert_true(fabs(o.to_limit_s - 512) < 0.1 && fabs(o.to_limit_low_s - 512) < 0.1 && fabs(o.to_limit_high_s - 512) < 0.1);
	assert_true(o.limit_bytes == LIMIT);
	series.left_bytes = 0; /* it is there */
	outlook_judge(&series, &o);
	assert_true(o.to_limit_s == 0);
	series.limit_bytes = 0;
	outlook_judge(&series, &o);
	assert_int_equal(o.verdict, OUTLOOK_GROWING);
	assert_true(o.to_limit_s < 0 && o.to_limit_high_s < 0);
	series_make(constant, 0, 60);
	outlook_judge(&series, &o);
	assert_int_equal(o.verdict, OUTLOOK_STEADY);
	assert_true(o.to_limit_s < 0 && o.to_limit_low_s < 0 && o.to_limit_high_s < 0);
}

static void test_too_little(void **state)
{
	struct outlook o;

	(void)state;
	memset(&series, 0, sizeof(series));
	outlook_judge(&series, &o);
	assert_int_equal(o.verdict, OUTLOOK_INSUFFICIENT);
	series_make(leak_quiet, 100, 19);
	outlook_judge(&series, &o);
	assert_int_equal(o.verdict, OUTLOOK_INSUFFICIENT);
	memset(&series, 0, sizeof(series));
	for (int i = 0; i < 90; i++)
		outlook_add(&series, i / 10.0, i * 1000000ull, 0, 0);
	outlook_judge(&series, &o);
	assert_int_equal(o.verdict, OUTLOOK_INSUFFICIENT); /* 9 s */
	/* Growth that nobody minds: less than 1 MiB, or than 1 % of what is there. */
	memset(&series, 0, sizeof(series));
	for (int i = 0; i < 60; i++)
		outlook_add(&series, i, (1000 + i) << 10, 0, 0);
	outlook_judge(&series, &o);
	assert_int_equal(o.verdict, OUTLOOK_STEADY);
	memset(&series, 0, sizeof(series));
	for (int i = 0; i < 60; i++)
		outlook_add(&series, i, (10000ull + i) << 20, 0, 0);
	outlook_judge(&series, &o);
	assert_int_equal(o.verdict, OUTLOOK_STEADY);
}

static void test_thinning(void **state)
{
	struct outlook o;
	double step;

	(void)state;
	for (int n = 1; n < 20000; n = n * 3 / 2 + 1) {
		series_make(leak_quiet, 100, n);
		assert_in_range(series.len, n < OUTLOOK_POINTS ? n : OUTLOOK_POINTS / 2, OUTLOOK_POINTS);
		step = series.len > 1 ? series.t_s[1] - series.t_s[0] : 0;
		for (int i = 1; i < series.len; i++) {
			assert_true(series.t_s[i] - series.t_s[i - 1] == step);
			assert_true(series.bytes[i] >= series.bytes[i - 1]);
		}
		assert_true(n - 1 - series.t_s[series.len - 1] < 2 * step + 1);
		if (n < 20)
			continue;
		outlook_judge(&series, &o);
		assert_int_equal(o.verdict, OUTLOOK_GROWING);
	}
}

static void test_odd_input(void **state)
{
	static const double times[] = { NAN, INFINITY, -INFINITY, 0, -5, 1e300, 3, 4 };
	struct outlook o;

	(void)state;
	for (unsigned turn = 0; turn < 200; turn++) {
		memset(&series, 0, sizeof(series));
		seed = turn;
		for (int i = 0; i < 100; i++) {
			bool odd = rand_r(&seed) % 4 == 0;

			outlook_add(&series, odd ? times[rand_r(&seed) % 8] : i, odd ? UINT64_MAX : (uint64_t)rand_r(&seed) << rand_r(&seed) % 34,
				UINT64_MAX, UINT64_MAX);
		}
		for (int i = 1; i < series.len; i++)
			assert_true(isfinite(series.t_s[i]) && series.t_s[i] > series.t_s[i - 1]);
		outlook_judge(&series, &o);
		assert_true(isfinite(o.slope) && isfinite(o.low) && isfinite(o.high));
		assert_true(o.low <= o.slope && o.slope <= o.high);
	}
}

static int number_order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Any rank of any array, with many equal values or few, against sorting. */
static void test_nth(void **state)
{
	static double v[3000], sorted[3000];
	unsigned seed = 7;

	(void)state;
	for (int round = 0; round < 400; round++) {
		int n = 1 + rand_r(&seed) % (round % 2 ? 3000 : 60), kinds = 1 + rand_r(&seed) % (round % 3 ? 100000 : 5);
		int k = rand_r(&seed) % n;

		for (int i = 0; i < n; i++)
			sorted[i] = v[i] = (rand_r(&seed) % kinds - kinds / 2) * (round % 5 ? 1 : 1e-300);
		qsort(sorted, (size_t)n, sizeof(*sorted), number_order);
		assert_true(stats_nth(v, n, k) == sorted[k] && v[k] == sorted[k]);
		for (int i = 0; i < n; i++) /* in part it is in order */
			assert_true(i < k ? v[i] <= v[k] : v[i] >= v[k]);
		qsort(v, (size_t)n, sizeof(*v), number_order);
		assert_memory_equal(v, sorted, (size_t)n * sizeof(*v));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nth), cmocka_unit_test(test_false_alarms),
		cmocka_unit_test(test_leaks_are_found),
		cmocka_unit_test(test_interval_holds_the_slope),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_too_little),
		cmocka_unit_test(test_thinning),
		cmocka_unit_test(test_odd_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
