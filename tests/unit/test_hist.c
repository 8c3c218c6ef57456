/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The histogram against arbitrary-precision arithmetic and against sorted values. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/util.h"
#include "model/hist.h"

#define LIMBS 32 /* of 64 bits: value^32 has up to 2048 bits */

/* ret = a^2, lengths in limbs. */
static int big_square(const uint64_t *a, int len, uint64_t *ret)
{
	memset(ret, 0, sizeof(*ret) * 2 * (size_t)len);
	for (int i = 0; i < len; i++) {
		uint64_t carry = 0;

		for (int j = 0; j < len; j++) {
			unsigned __int128 t = (unsigned __int128)a[i] * a[j] + ret[i + j] + carry;

			ret[i + j] = (uint64_t)t;
			carry = (uint64_t)(t >> 64);
		}
		ret[i + len] = carry;
	}
	return 2 * len;
}

/* The definition: i with 2^i < value^32 <= 2^(i+1), by computing value^32 in full. */
static int32_t index_exact(uint64_t value)
{
	uint64_t a[LIMBS] = { value }, b[LIMBS];
	int len = 1, bit, others = 0;

	for (int i = 0; i < 5; i++) {
		len = big_square(a, len, b);
		memcpy(a, b, sizeof(a[0]) * (size_t)len);
	}
	while (!a[len - 1])
		len--;
	bit = (len - 1) * 64 + 63 - __builtin_clzll(a[len - 1]);
	for (int i = 0; i < len; i++)
		others += __builtin_popcountll(a[i]);
	return others == 1 ? bit - 1 : bit; /* a whole power of two is the upper border of its bucket */
}

static uint64_t random_u64(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void index_at_every_border(void **ctx)
{
	uint64_t tested = 0;

	(void)ctx;
	assert_int_equal(hist_index(1, 5), -1);
	assert_int_equal(hist_index(2, 5), 31);
	assert_int_equal(hist_index(3, 5), 50);
	assert_int_equal(hist_index(UINT64_MAX, 5), 2047);
	for (int k = 0; k <= 2047; k++) {
		/* 64 bits of mantissa: at most a few units off the true border, which the neighbours cover */
		uint64_t near = (uint64_t)exp2l((long double)k / 32);
		int crossed = 0;

		for (int d = -6; d <= 6; d++) {
			uint64_t v = near + (uint64_t)(int64_t)d;

			if (v - 1 > UINT64_MAX - 8) /* 0, and wrapped below it or above the top */
				continue;
			assert_int_equal(hist_index(v, 5), index_exact(v));
			crossed |= hist_index(v, 5) >= k;
			tested++;
		}
		if (k < 2047)
			assert_true(crossed || near < 46); /* the border itself was among them; below 46 buckets may be empty */
	}
	for (uint64_t v = UINT64_MAX; v > UINT64_MAX - 64; v--)
		assert_int_equal(hist_index(v, 5), index_exact(v));
	assert_true(tested > 20000);
}

static void index_of_random_values(void **ctx)
{
	uint64_t state = 88172645463325252u;

	(void)ctx;
	for (int i = 0; i < 20000; i++) {
		uint64_t v = random_u64(&state) >> (random_u64(&state) & 63);

		if (v)
			assert_int_equal(hist_index(v, 5), index_exact(v));
	}
	for (uint64_t v = 1; v < 3000; v++)
		assert_int_equal(hist_index(v, 5), index_exact(v));
}

/* Powers of two are the only borders at scale 0 and below; 2^(2^-scale k) in general. */
static void index_at_coarser_scales(void **ctx)
{
	(void)ctx;
	for (int e = 0; e < 64; e++) {
		uint64_t v = 1ull << e;

		assert_int_equal(hist_index(v, 0), e - 1);
		assert_int_equal(hist_index(v, -2), (int32_t)floor((e - 1) / 4.0));
		if (e > 1)
			assert_int_equal(hist_index(v - 1, 0), e - 1);
		if (e)
			assert_int_equal(hist_index(v + 1, 0), e);
	}
	for (int scale = HIST_SCALE_MIN; scale <= 5; scale++)
		for (uint64_t v = 1; v < 100000; v = v * 5 / 4 + 1) {
			int32_t i = hist_index(v, scale);

			assert_true(hist_upper(i, scale) >= (double)v * (1 - 1e-12));
			assert_true(hist_upper(i - 1, scale) < (double)v * (1 + 1e-12));
		}
}

static void record_counts_everything(void **ctx)
{
	const uint64_t values[] = { 0, 0, 1, 7, 1000, 1000000, UINT64_MAX, 3 };
	struct hist h;
	uint64_t sum = 0, n = 0;

	(void)ctx;
	hist_init(&h);
	assert_int_equal(hist_bytes(&h), 0);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		assert_int_equal(hist_record(&h, values[i]), 0);
		sum += values[i];
	}
	for (uint32_t i = 0; i < h.len; i++)
		n += hist_bucket(&h, i);
	assert_int_equal(h.count, 8);
	assert_int_equal(h.zero_count, 2);
	assert_int_equal(n, 6);
	assert_true(h.sum == sum);
	assert_true(h.min == 0 && h.max == UINT64_MAX);
	assert_int_equal(h.offset, -1);
	assert_int_equal(h.len, 2049); /* the whole range, and not one more */
	hist_reset(&h);
	assert_int_equal(h.count, 0);
	assert_int_equal(hist_bucket(&h, 0), 0);
	assert_int_equal(hist_bytes(&h), 2049 * 4);
	assert_int_equal(hist_record(&h, 5), 0);
	assert_int_equal(h.min, 5);
	hist_fini(&h);
	hist_fini(NULL);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The estimate lies in the bucket of the true order statistic: off by at most the bucket's width. */
static void quantiles_against_sorted_values(void **ctx)
{
	enum { N = 5000 };
	static uint64_t values[N];
	static const double qs[] = { 0.001, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999 };
	uint64_t state = 42;

	(void)ctx;
	for (int shape = 0; shape < 4; shape++) {
		struct hist h;

		hist_init(&h);
		for (int i = 0; i < N; i++) {
			uint64_t r = random_u64(&state);

			values[i] = shape == 0 ? r % 1000000 : shape == 1 ? r >> (r & 63) : shape == 2 ? 123456 : r % 8;
			assert_int_equal(hist_record(&h, values[i]), 0);
		}
		qsort(values, N, sizeof(values[0]), compare_u64);
		for (size_t i = 0; i < ARRAY_SIZE(qs); i++) {
			double truth = (double)values[(int)ceil(qs[i] * N) - 1], got = hist_quantile(&h, qs[i]);

			assert_true(fabs(got - truth) <= truth * 0.0219 + 1e-9);
			if (shape >= 2) /* small integers, and one value only, are exact */
				assert_true(fabs(got - truth) < 1e-9 * truth + 1e-9);
		}
		assert_true(hist_quantile(&h, 0) == (double)values[0]);
		assert_true(hist_quantile(&h, 1) == (double)values[N - 1]);
		assert_true(hist_quantile(&h, NAN) == (double)values[0]);
		hist_fini(&h);
	}
}

static void empty_histogram(void **ctx)
{
	struct hist h, other;

	(void)ctx;
	hist_init(&h);
	hist_init(&other);
	assert_true(hist_quantile(&h, 0.5) == 0);
	assert_true(hist_mean(&h) == 0);
	assert_int_equal(hist_merge(&h, &other), 0);
	assert_int_equal(hist_downscale(&h, 0), 0);
	assert_int_equal(h.count, 0);
	hist_fini(&h);
}

/* Merging parts gives the histogram of the whole, also over scales. */
static void merge_is_addition(void **ctx)
{
	uint64_t state = 7;

	(void)ctx;
	for (int coarse = HIST_SCALE_MIN; coarse <= 5; coarse++) {
		struct hist whole, parts[2];

		hist_init(&whole);
		hist_init(&parts[0]);
		hist_init(&parts[1]);
		for (int i = 0; i < 2000; i++) {
			uint64_t v = random_u64(&state) >> (random_u64(&state) & 63);

			assert_int_equal(hist_record(&whole, v), 0);
			assert_int_equal(hist_record(&parts[v & 1], v), 0);
		}
		assert_int_equal(hist_downscale(&whole, coarse), 0);
		assert_int_equal(hist_downscale(&parts[coarse & 1], coarse), 0);
		assert_int_equal(hist_merge(&parts[0], &parts[1]), 0);
		assert_int_equal(parts[0].scale, coarse);
		assert_int_equal(parts[0].count, whole.count);
		assert_int_equal(parts[0].zero_count, whole.zero_count);
		assert_true(parts[0].sum == whole.sum && parts[0].min == whole.min && parts[0].max == whole.max);
		for (uint32_t i = 0; i < whole.len; i++) {
			uint32_t at = (uint32_t)(whole.offset + (int32_t)i - parts[0].offset);

			assert_int_equal(at < parts[0].len ? hist_bucket(&parts[0], at) : 0, hist_bucket(&whole, i));
		}
		assert_int_equal(hist_downscale(&whole, coarse + 1), -EINVAL);
		assert_int_equal(hist_downscale(&whole, HIST_SCALE_MIN - 1), -EINVAL);
		hist_fini(&whole);
		hist_fini(&parts[0]);
		hist_fini(&parts[1]);
	}
}

static void buckets_beyond_32_bits(void **ctx)
{
	struct hist h, sum;

	(void)ctx;
	hist_init(&h);
	hist_init(&sum);
	assert_int_equal(hist_record_n(&h, 100, UINT32_MAX), 0);
	assert_int_equal(h.wide, 0);
	assert_int_equal(hist_record(&h, 100), 0);
	assert_int_equal(h.wide, 1);
	assert_int_equal(hist_record(&h, 100), 0);
	assert_int_equal(hist_record(&h, 5000), 0);
	assert_int_equal(hist_bucket(&h, (uint32_t)(hist_index(100, 5) - h.offset)), (1ull << 32) + 1);
	assert_int_equal(hist_merge(&sum, &h), 0);
	assert_int_equal(hist_merge(&sum, &h), 0);
	assert_int_equal(sum.count, 2 * ((1ull << 32) + 2));
	assert_int_equal(hist_bucket(&sum, (uint32_t)(hist_index(100, 5) - sum.offset)), 2 * ((1ull << 32) + 1));
	assert_int_equal(hist_quantile(&sum, 0.5), 100);
	hist_reset(&h);
	assert_int_equal(hist_bucket(&h, 0), 0);
	hist_fini(&h);
	hist_fini(&sum);
}

static void set_buckets_checks_the_range(void **ctx)
{
	uint64_t counts[3000] = { 0 };
	struct hist h;

	(void)ctx;
	hist_init(&h);
	counts[1] = 5;
	counts[2] = 1ull << 40;
	assert_int_equal(hist_set_buckets(&h, 30, counts, 4), 0);
	assert_int_equal(hist_bucket(&h, (uint32_t)(31 - h.offset)), 5);
	assert_int_equal(hist_bucket(&h, (uint32_t)(32 - h.offset)), 1ull << 40);
	assert_int_equal(hist_set_buckets(&h, 2046, counts, 3), -EINVAL);
	assert_int_equal(hist_set_buckets(&h, -3, counts, 3), -EINVAL);
	assert_int_equal(hist_set_buckets(&h, INT32_MIN, counts, 3), -EINVAL);
	assert_int_equal(hist_set_buckets(&h, INT32_MAX, counts, 3), -EINVAL);
	counts[2999] = 1;
	assert_int_equal(hist_set_buckets(&h, -1, counts, 3000), -EINVAL);
	assert_int_equal(hist_set_buckets(&h, INT32_MAX, counts, 0), 0); /* nothing is nowhere */
	hist_fini(&h);
}

/* Bytes of a histogram of values spread evenly from 1,000 to `top`. */
static size_t bytes_up_to(double top)
{
	struct hist h;
	size_t bytes;

	hist_init(&h);
	for (double v = 1000; v < top; v *= 1.01)
		assert_int_equal(hist_record(&h, (uint64_t)v), 0);
	bytes = hist_bytes(&h) + sizeof(h);
	hist_fini(&h);
	return bytes;
}

/* An agent, for the interval and for the total: three histograms over five decades (1 us to 0.1 s), twelve over three. */
static void memory_in_ordinary_use(void **ctx)
{
	(void)ctx;
	assert_true(2 * (3 * bytes_up_to(1e8) + 12 * bytes_up_to(1e6)) < 56 * 1024); /* of 64 KiB an agent */
}

/* A quantile in seconds lies within half a bucket of the one in nanoseconds, for any scale. */
static void seconds_are_the_nearest(void **ctx)
{
	(void)ctx;
	for (int scale = HIST_SCALE_MIN; scale <= HIST_SCALE; scale++)
		assert_true(fabsl(ldexpl(log2l(1e9L), scale) - hist_seconds_shift(scale)) <= 0.5L);
	assert_int_equal(hist_seconds_shift(HIST_SCALE), 957);
}

/* Into an empty one, a larger one, a smaller one, one of another scale, and one of wide counts. */
static void test_copy(void **state)
{
	struct hist from, into;

	(void)state;
	hist_init(&into);
	for (int turn = 0; turn < 6; turn++) {
		hist_init(&from);
		for (int i = 0; i < (turn == 1 ? 3 : 200); i++)
			assert_int_equal(hist_record_n(&from, (uint64_t)i * i * (turn + 1), turn == 4 ? UINT32_MAX : 2), 0);
		if (turn == 3)
			assert_int_equal(hist_downscale(&from, 2), 0);
		assert_int_equal(hist_copy(&into, &from), 0);
		assert_true(into.count == from.count && into.sum == from.sum && into.min == from.min && into.max == from.max && into.zero_count == from.zero_count);
		for (int q = 0; q <= 50; q++)
			assert_float_equal(hist_quantile(&into, q / 50.0), hist_quantile(&from, q / 50.0), 0);
		assert_int_equal(hist_merge(&into, &from), 0);
		assert_int_equal(into.count, 2 * from.count);
		hist_fini(&from);
	}
	hist_fini(&into);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy),
		cmocka_unit_test(index_at_every_border),
		cmocka_unit_test(index_of_random_values),
		cmocka_unit_test(index_at_coarser_scales),
		cmocka_unit_test(record_counts_everything),
		cmocka_unit_test(quantiles_against_sorted_values),
		cmocka_unit_test(empty_histogram),
		cmocka_unit_test(merge_is_addition),
		cmocka_unit_test(buckets_beyond_32_bits),
		cmocka_unit_test(set_buckets_checks_the_range),
		cmocka_unit_test(memory_in_ordinary_use),
		cmocka_unit_test(seconds_are_the_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
