/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Cost, budget and detail in recordings: what was written is what is read, as a sum of intervals and as a total. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/util.h"
#include "model/recording.h"

static char path[] = "/tmp/stakeout-cost-XXXXXX";

static struct cost_data cost_of(int interval)
{
	struct cost_data c = { .governed = true, .budget_s = 0.01, .part_s = { 0.004, 0.0005, 0.003 } };

	c.rung_s[interval ? RUNG_COUNTERS : RUNG_FULL] = 0.75;
	c.rung_s[RUNG_SUMMED] = 0.25;
	for (int i = 0; i < 3; i++)
		cost_step(&c, interval + 0.25 * i, RUNG_FULL, RUNG_SUMMED, "too \"dear\"\x1b[2J");
	return c;
}

static void write_recording(int intervals, bool governed, bool total)
{
	struct header_data header = { .start = "2026-01-02T03:04:05.678Z", .interval_s = 1 };
	struct cost_data sum = { 0 };
	struct recording_writer *w;
	int err;

	w = recording_open_write(path, true, &err);
	assert_non_null(w);
	assert_int_equal(recording_write_header(w, &header), 0);
	for (int i = 0; i < intervals; i++) {
		struct interval_data data = { .seq = (uint64_t)i, .start_s = i, .end_s = i + 1, .observer = { .cpu_s = 0.003, .bpf_s = -1 } };

		if (governed)
			data.observer.cost = cost_of(i);
		cost_merge(&sum, &data.observer.cost);
		assert_int_equal(recording_write_interval(w, &data), 0);
	}
	if (total) {
		struct interval_data data = { .seq = (uint64_t)intervals, .end_s = intervals, .observer = { .bpf_s = -1, .cost = sum } };

		assert_int_equal(recording_write_total(w, &data, NULL), 0);
	}
	assert_int_equal(recording_close(w), 0);
}

static struct recording *read_recording(void)
{
	struct recording *r;
	char why[160];

	assert_int_equal(recording_read(path, NULL, NULL, &r, why, sizeof(why)), 0);
	assert_int_equal(r->bad_lines, 0);
	return r;
}

static void assert_near(double a, double b)
{
	if (fabs(a - b) > 1e-8)
		fail_msg("%g is not %g", a, b);
}

static void test_round_trip(void **state)
{
	(void)state;
	for (int total = 0; total < 2; total++) {
		const int n = 20; /* more steps than are kept */
		struct recording *r;
		const struct cost_data *c;

		write_recording(n, true, total);
		r = read_recording();
		c = &r->observer.cost;
		assert_true(c->governed);
		assert_near(c->budget_s, n * 0.01);
		assert_near(cost_sum_s(c), n * 0.0075);
		assert_near(c->part_s[COST_TRAPS], n * 0.0005);
		assert_near(c->rung_s[RUNG_FULL], 0.75);
		assert_near(c->rung_s[RUNG_SUMMED], n * 0.25);
		assert_near(c->rung_s[RUNG_COUNTERS], (n - 1) * 0.75);
		assert_near(cost_reduced_s(c), n * 1.0 - 0.75);
		assert_int_equal(cost_lowest(c), RUNG_COUNTERS);
		assert_int_equal(c->steps, 3 * n);
		for (int i = 0; i < STEPS_KEPT; i++) {
			assert_near(c->step[i].at_s, i / 3 + 0.25 * (i % 3));
			assert_int_equal(c->step[i].from, RUNG_FULL);
			assert_int_equal(c->step[i].to, RUNG_SUMMED);
			assert_true(!strncmp(c->step[i].why, "too \"dear\"", 10));
		}
		recording_free(r);
	}
}

static void test_without(void **state)
{
	struct recording *r;

	(void)state;
	write_recording(3, false, true);
	r = read_recording();
	assert_false(r->observer.cost.governed);
	assert_true(cost_sum_s(&r->observer.cost) == 0 && cost_reduced_s(&r->observer.cost) == 0 && !r->observer.cost.steps);
	recording_free(r);
}

static void write_line(const char *observer)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fprintf(f, "{\"kind\":\"header\",\"format\":\"stakeout/1\"}\n{\"kind\":\"interval\",\"seq\":0,\"end_s\":1,\"observer\":{%s}}\n", observer);
	assert_int_equal(fclose(f), 0);
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
		"\"budget_s\":-1", "\"budget_s\":\"x\"", "\"cost_s\":[]", "\"cost_s\":{\"bpf\":true}", "\"detail_s\":5", "\"detail_s\":{\"full\":1e300}",
		"\"steps\":{}", "\"steps\":[5]", "\"steps\":[{\"at_s\":-1}]", "\"steps\":[{\"from\":5}]", "\"steps_count\":-1", "\"steps\":[{\"why\":[]}]",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct recording *r;
		char why[160];

		write_line(bad[i]);
		assert_int_equal(recording_read(path, NULL, NULL, &r, why, sizeof(why)), 0);
		if (r->bad_lines != 1 || r->intervals)
			fail_msg("%s was taken", bad[i]);
		recording_free(r);
	}
}

/* Rungs and parts of a later program are left out; nothing of the rest is. */
static void test_later(void **state)
{
	struct recording *r;

	(void)state;
	write_line("\"budget_s\":0.01,\"cost_s\":{\"bpf\":0.002,\"gpu\":1},\"detail\":\"dim\",\"detail_s\":{\"dim\":0.5,\"full\":0.5},"
		   "\"steps_count\":9,\"steps\":[{\"at_s\":1,\"from\":\"full\",\"to\":\"dim\"}]");
	r = read_recording();
	assert_near(cost_sum_s(&r->observer.cost), 0.002);
	assert_near(r->observer.cost.rung_s[RUNG_FULL], 0.5);
	assert_true(cost_reduced_s(&r->observer.cost) == 0);
	recording_free(r);
}

static void test_many_steps(void **state)
{
	struct cost_data a = { .steps = UINT64_MAX - 1 }, b = { .steps = 5 }, sum = { 0 };

	(void)state;
	cost_merge(&a, &b);
	assert_true(a.steps == UINT64_MAX);
	cost_merge(&sum, &a);
	cost_merge(&sum, &a);
	assert_true(sum.steps == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_without), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_later),	   cmocka_unit_test(test_many_steps),
	};
	int fd = mkstemp(path), failed;

	if (fd < 0)
		return 1;
	close(fd);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
