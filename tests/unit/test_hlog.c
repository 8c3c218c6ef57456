/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* HdrHistogram's encoding: words, indexes, and whole histograms taken apart again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/util.h"
#include "sink/hlog.h"

#define HEAD 40 /* bytes before the counts */

static void test_words(void **state)
{
	static const struct {
		int64_t n;
		size_t len;
		unsigned char bytes[9];
	} rows[] = {
	        {0, 1, {0}},
	        {1, 1, {2}},
	        {-1, 1, {1}},
	        {-2, 1, {3}},
	        {63, 1, {126}},
	        {64, 2, {0x80, 1}},
	        {-64, 1, {127}},
	        {-65, 2, {0x81, 1}},
	        {300, 2, {0xd8, 4}},
	        {INT64_C(1) << 54, 8, {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40}},
	        /* the ninth byte has eight bits of it, and no mark */
	        {INT64_C(1) << 55, 9, {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1}},
	        {INT64_MAX, 9, {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
	        {-INT64_MAX, 9, {0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned char got[9];

		assert_int_equal(hlog_zigzag(rows[i].n, got), rows[i].len);
		assert_memory_equal(got, rows[i].bytes, rows[i].len);
	}
}

/* The least value with this index, by the definition: 2048 values of their own, then 1024 steps an octave. */
static uint64_t value_at(uint32_t index)
{
	return index < 2048 ? index : (uint64_t)(index % 1024 + 1024) << (index / 1024 - 1);
}

static void test_indexes(void **state)
{
	(void)state;
	for (uint32_t index = 0; index < 54 * 1024; index++) {
		assert_int_equal(hlog_index(value_at(index)), index);
		assert_int_equal(hlog_index(value_at(index + 1) - 1), index);
	}
	assert_int_equal(hlog_index(INT64_MAX), 54 * 1024 - 1);
}

static uint64_t be(const unsigned char *at, size_t len)
{
	uint64_t n = 0;

	while (len--)
		n = n << 8 | *at++;
	return n;
}

/* Reads the counts again: of index i in ret[i]. Returns their sum. */
static uint64_t counts_read(const struct hlog_bytes *b, uint64_t *ret, size_t cap)
{
	uint64_t sum = 0;
	size_t index = 0;

	for (size_t at = HEAD; at < b->len;) {
		uint64_t n = 0;
		int64_t word;

		for (int shift = 0;; shift += 7) {
			unsigned char c = b->at[at++];

			n |= (uint64_t)(shift < 56 ? c & 0x7f : c) << shift;
			if (shift == 56 || !(c & 0x80))
				break;
		}
		word = (int64_t)(n >> 1) ^ -(int64_t)(n & 1);
		if (word < 0) {
			index += (size_t)-word;
			continue;
		}
		assert_true(index < cap);
		ret[index++] = (uint64_t)word;
		sum += (uint64_t)word;
	}
	return sum;
}

static void test_histogram(void **state)
{
	static const uint64_t values[] = {0, 0, 1, 2, 2, 2, 90, 91, 4096, 4100, 70000, 1234567, 1234568, 99999999999};
	_cleanup_free_ uint64_t *counts = calloc(54 * 1024, sizeof(*counts));
	struct hlog_bytes b = {0};
	struct hist h;

	(void)state;
	hist_init(&h);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		assert_int_equal(hist_record(&h, values[i]), 0);
	assert_int_equal(hlog_encode(&h, &b), 0);
	assert_int_equal(be(b.at, 4), 0x1c849313);
	assert_int_equal(be(b.at + 4, 4), b.len - HEAD);
	assert_int_equal(be(b.at + 8, 4), 0);
	assert_int_equal(be(b.at + 12, 4), 3);
	assert_int_equal(be(b.at + 16, 8), 1);
	assert_int_equal(be(b.at + 24, 8), (UINT64_C(1) << 42) - 1);
	assert_int_equal(be(b.at + 32, 8), UINT64_C(0x3ff0000000000000));
	assert_int_equal(counts_read(&b, counts, 54 * 1024), ARRAY_SIZE(values));
	assert_int_equal(counts[0], 2);
	assert_int_equal(counts[1], 1);
	assert_int_equal(counts[2], 3);
	assert_int_equal(counts[hlog_index(99999999999)], 1);
	free(b.at);
	hist_fini(&h);
}

/* Values of which none is in the middle of its bucket: the smallest and the largest stay where they are. */
static void test_extremes(void **state)
{
	static const struct {
		uint64_t value, n, highest;
	} rows[] = {
	        {100000, 1, (UINT64_C(1) << 42) - 1},
	        {100000, 1000000, (UINT64_C(1) << 42) - 1},
	        {UINT64_C(1) << 42, 2, (UINT64_C(1) << 43) - 1},
	        {INT64_MAX, 3, INT64_MAX},
	        {UINT64_MAX, 3, INT64_MAX},
	        {5, UINT64_C(1) << 40, (UINT64_C(1) << 42) - 1},
	        {5, (uint64_t)INT64_MAX, (UINT64_C(1) << 42) - 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ uint64_t *counts = calloc(54 * 1024, sizeof(*counts));
		uint64_t value = rows[i].value < INT64_MAX ? rows[i].value : INT64_MAX;
		struct hlog_bytes b = {0};
		struct hist h;

		hist_init(&h);
		assert_int_equal(hist_record_n(&h, rows[i].value, rows[i].n), 0);
		assert_int_equal(hlog_encode(&h, &b), 0);
		assert_int_equal(be(b.at + 24, 8), rows[i].highest);
		assert_int_equal(counts_read(&b, counts, 54 * 1024), rows[i].n);
		assert_int_equal(counts[hlog_index(value)], rows[i].n);
		free(b.at);
		hist_fini(&h);
	}
}

/* Each of our buckets has an index of its own, so that none runs into another. */
static void test_buckets_stay_apart(void **state)
{
	struct hist h;
	uint32_t last = 0;

	(void)state;
	for (int index = -1; index < 63 * 32; index++) {
		uint64_t high = (uint64_t)hist_upper(index, HIST_SCALE);
		uint32_t at;

		if (high < 1 || hist_index(high, HIST_SCALE) != index)
			continue; /* no integer lies in it, or its border is no double */
		hist_init(&h);
		assert_int_equal(hist_record(&h, high), 0);
		h.min = 0; /* as if there were others in it */
		at = hlog_index((uint64_t)hist_bucket_value(&h, (uint32_t)(index - h.offset)));
		assert_true(at > last);
		last = at;
		hist_fini(&h);
	}
	assert_true(last > 50 * 1024);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_words),
	        cmocka_unit_test(test_indexes),
	        cmocka_unit_test(test_histogram),
	        cmocka_unit_test(test_extremes),
	        cmocka_unit_test(test_buckets_stay_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
