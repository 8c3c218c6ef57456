/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The outlook on memory as the report tells it, and whose intervals it is made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "judge/outlooks.h"
#include "sink/terminal_parts.h"

#define MIB (1024.0 * 1024)

static void check_told(const struct outlook *o, const char *want)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	struct screen s = { .out = out, .width = 80 };

	assert_non_null(out);
	terminal_outlook(&s, o);
	fclose(out);
	assert_string_equal(text, want);
	free(text);
}

static void test_told(void **state)
{
	struct outlook o = { .verdict = OUTLOOK_GROWING, .slope = 1.2 * MIB, .low = 1.1 * MIB, .high = 1.3 * MIB, .to_limit_s = 300, .to_limit_low_s = 280,
			     .to_limit_high_s = 330, .limit_bytes = 512 << 20 };

	(void)state;
	check_told(&o, "  outlook     memory grows by 1.20 MiB/s (1.10 MiB to 1.30 MiB, 95 %),\n"
		       "              reaches its limit of 512 MiB in 300 s, between 280 s and 330 s\n");
	o.to_limit_high_s = -1;
	check_told(&o, "  outlook     memory grows by 1.20 MiB/s (1.10 MiB to 1.30 MiB, 95 %),\n"
		       "              reaches its limit of 512 MiB in 300 s, no sooner than 280 s\n");
	o.to_limit_s = o.to_limit_low_s = -1;
	check_told(&o, "  outlook     memory grows by 1.20 MiB/s (1.10 MiB to 1.30 MiB, 95 %)\n");
	o = (struct outlook){ .verdict = OUTLOOK_SHRINKING, .slope = -2048, .low = -3072, .high = -1024, .to_limit_s = -1 };
	check_told(&o, "  outlook     memory shrinks by 2.00 KiB/s (1.00 KiB to 3.00 KiB, 95 %)\n");
	o.verdict = OUTLOOK_STEADY;
	check_told(&o, "");
	o.verdict = OUTLOOK_INSUFFICIENT;
	check_told(&o, "");
}

/* 60 s in which the first agent grows by 1 MiB/s, the second stays, the third is gone after 15 s; the others have nothing to go by. */
static void test_agents(void **state)
{
	struct agent_data data[5] = { { .id = 7 }, { .id = 0 }, { .id = INT32_MAX }, { .id = 3 }, { .id = 4 } };
	const struct agent_data *agents[5] = { &data[0], &data[1], &data[2], &data[3], &data[4] };
	struct outlooks o = { 0 };
	struct outlook got;

	(void)state;
	outlooks_judge(&o, 7, &got);
	assert_int_equal(got.verdict, OUTLOOK_INSUFFICIENT);
	outlooks_judge(NULL, 7, &got);
	assert_int_equal(got.verdict, OUTLOOK_INSUFFICIENT);
	for (int t = 0; t < 60; t++) {
		struct interval_data i = { .start_s = t, .end_s = t + 1, .agents = agents, .agents_len = 5 };

		for (int a = 0; a < 4; a++) {
			data[a].alive = a != 2 || t < 15;
			data[a].metrics.value[M_RSS_BYTES] = a == 3 ? 0 : 100u << 20;
			data[a].metrics.value[M_MEMORY_LIMIT_BYTES] = 512u << 20;
		}
		data[0].metrics.value[M_RSS_BYTES] += (uint64_t)t << 20;
		data[0].metrics.value[M_MEMORY_LEFT_BYTES] = (400u << 20) - ((uint64_t)t << 20);
		assert_int_equal(outlooks_interval(&o, &i), 0);
	}
	outlooks_judge(&o, 7, &got);
	assert_int_equal(got.verdict, OUTLOOK_GROWING);
	assert_true(got.slope > 0.99 * MIB && got.slope < 1.01 * MIB);
	assert_int_equal(got.limit_bytes, 512u << 20);
	assert_true(got.to_limit_s > 330 && got.to_limit_s < 350); /* 341 MiB are left */
	outlooks_judge(&o, 0, &got);
	assert_int_equal(got.verdict, OUTLOOK_STEADY);
	for (int a = 2; a < 5; a++) {
		outlooks_judge(&o, data[a].id, &got);
		assert_int_equal(got.verdict, OUTLOOK_INSUFFICIENT);
		assert_true(got.to_limit_s < 0);
	}
	outlooks_fini(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_told), cmocka_unit_test(test_agents) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
