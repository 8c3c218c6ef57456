/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "collect/repeats.h"

static uint64_t scatter(uint64_t x)
{
	x = (x + 1) * 0x9e3779b97f4a7c15ULL;
	return x ^ x >> 29;
}

static void what_was_seen(void **ctx)
{
	struct repeats *r = calloc(1, sizeof(*r));

	(void)ctx;
	for (uint64_t i = 0; i < 500; i++)
		assert_false(repeats_seen(r, scatter(i)));
	for (uint64_t i = 0; i < 500; i++)
		assert_true(repeats_seen(r, scatter(i)));
	free(r);
}

/* 0 is a free place, and yet a hash. */
static void none_is_a_hash_too(void **ctx)
{
	struct repeats *r = calloc(1, sizeof(*r));

	(void)ctx;
	assert_false(repeats_seen(r, 0));
	assert_true(repeats_seen(r, 0));
	free(r);
}

/* The one that was not seen for longest goes. */
static void a_full_row(void **ctx)
{
	struct repeats *r = calloc(1, sizeof(*r));

	(void)ctx;
	for (uint64_t i = 1; i <= REPEATS_WAYS; i++)
		assert_false(repeats_seen(r, i * REPEATS_ROWS));
	assert_true(repeats_seen(r, REPEATS_ROWS)); /* the first one again */
	assert_false(repeats_seen(r, 100 * REPEATS_ROWS));
	assert_true(repeats_seen(r, REPEATS_ROWS));
	assert_false(repeats_seen(r, 2 * REPEATS_ROWS));
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_was_seen), cmocka_unit_test(none_is_a_hash_too), cmocka_unit_test(a_full_row) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
