/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A heap's rates: sums add up, and an interval of 95 % holds the true rate in about 95 of 100 cases, also with few windows. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/heap.h"

static void window(struct heap_data *h, double allocs, double bytes, double error)
{
	struct heap_data one = { .mode = HEAP_SAMPLED, .kept = 1, .windows = 1, .samples = 7, .open_s = 0.001, .trapped_s = 0.0001,
				 .rate_sum = allocs, .rate_sq = allocs * allocs, .byte_rate_sum = bytes, .byte_rate_sq = bytes * bytes,
				 .error_sum = error, .byte_error_sum = 10 * error };

	heap_data_merge(h, &one);
}

static void merging(void **state)
{
	struct heap_data a = { 0 }, none = { 0 }, full = { .mode = HEAP_FULL, .kept = 0.25, .unknown_frees = 3, .windows_thin = 1 };

	(void)state;
	heap_data_merge(&a, &none);
	assert_int_equal(a.mode, HEAP_NONE);
	heap_data_merge(&a, &full);
	assert_int_equal(a.mode, HEAP_FULL);
	assert_true(a.kept == 0.25);
	full.kept = 0.5;
	full.windows_failed = 2;
	heap_data_merge(&a, &full);
	assert_true(a.kept == 0.25);
	assert_int_equal(a.unknown_frees, 6);
	assert_int_equal(a.windows_thin, 2);
	assert_int_equal(a.windows_failed, 2);
	heap_data_merge(&a, &none);
	assert_int_equal(a.mode, HEAP_FULL);
	memset(&a, 0, sizeof(a));
	for (int i = 0; i < 3; i++)
		window(&a, 100 * i, 1000, 5);
	assert_int_equal(a.windows, 3);
	assert_int_equal(a.samples, 21);
	assert_true(a.rate_sum == 300 && a.rate_sq == 50000 && a.byte_rate_sum == 3000 && a.byte_rate_sq == 3e6);
	assert_true(a.error_sum == 15 && a.byte_error_sum == 150);
	assert_true(fabs(a.open_s - 0.003) < 1e-12 && fabs(a.trapped_s - 0.0003) < 1e-12);
}

/* Each sum of the struct has its row, once. */
static void fields(void **state)
{
	size_t bytes = 0;

	(void)state;
	for (int i = 0; i < HEAP_FIELDS; i++) {
		assert_non_null(heap_fields[i].name);
		bytes += 8;
		for (int k = 0; k < i; k++) {
			assert_string_not_equal(heap_fields[i].name, heap_fields[k].name);
			assert_int_not_equal(heap_fields[i].offset, heap_fields[k].offset);
		}
	}
	assert_int_equal(sizeof(struct heap_data), bytes + 2 * sizeof(double)); /* besides: the mode, and the part that was kept */
}

static void intervals(void **state)
{
	struct heap_data h = { 0 };
	struct heap_rate r = heap_rate_allocs(&h), b;

	(void)state;
	assert_true(r.thin && r.mean == 0 && r.low == 0 && r.high == 0);
	window(&h, 1000, 64000, 0);
	r = heap_rate_allocs(&h);
	assert_true(r.thin && r.mean == 1000 && r.low == 0 && r.high > 2000); /* one says nothing of how they differ */
	for (int i = 1; i < 16; i++)
		window(&h, 1000, 64000, 0);
	r = heap_rate_allocs(&h);
	assert_true(!r.thin && r.mean == 1000 && r.low == 1000 && r.high == 1000);
	b = heap_rate_bytes(&h);
	assert_true(!b.thin && b.mean == 64000 && b.low == 64000 && b.high == 64000);
	/* what the calibration leaves open widens it, in full */
	memset(&h, 0, sizeof(h));
	for (int i = 0; i < 16; i++)
		window(&h, 1000, 64000, 30);
	r = heap_rate_allocs(&h);
	b = heap_rate_bytes(&h);
	assert_true(r.low == 970 && r.high == 1030);
	assert_true(b.low == 63700 && b.high == 64300);
	/* a rate is never below 0 */
	memset(&h, 0, sizeof(h));
	for (int i = 0; i < 9; i++)
		window(&h, i ? 0 : 900, 0, 0);
	r = heap_rate_allocs(&h);
	assert_true(r.mean == 100 && r.low == 0 && r.high > 300);
}

static double uniform(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
	return ((double)(*seed >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(uint64_t *seed)
{
	return sqrt(-2 * log(uniform(seed))) * cos(2 * M_PI * uniform(seed));
}

/* Share of the cases in which the interval of n windows holds the true rate. */
static double coverage(int n, double spread)
{
	const int cases = 20000;
	uint64_t seed = 42;
	int inside = 0;

	for (int c = 0; c < cases; c++) {
		struct heap_data h = { 0 };
		struct heap_rate r;

		for (int i = 0; i < n; i++)
			window(&h, 100000 + spread * normal(&seed), 1, 0);
		r = heap_rate_allocs(&h);
		inside += r.low <= 100000 && 100000 <= r.high;
	}
	return (double)inside / cases;
}

static void coverages(void **state)
{
	static const int windows[] = { 8, 12, 30, 100 };

	(void)state;
	for (size_t i = 0; i < sizeof(windows) / sizeof(*windows); i++) {
		double share = coverage(windows[i], 20000);

		/* 20,000 cases: four standard errors are 0.6 points */
		if (fabs(share - 0.95) > 0.0065)
			fail_msg("%d windows: %.4f", windows[i], share);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merging),
		cmocka_unit_test(fields),
		cmocka_unit_test(intervals),
		cmocka_unit_test(coverages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
