/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Heap windows at random times on processes that allocate evenly, by chance, in clusters and in bursts: on average they say the true rate. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/heap_plan.h"

#define LIMIT 10
#define SETTLE_S 40e-6 /* when the window begins if there is no call before */
#define TRAP_ERROR_S 1e-9
#define WINDOWS 40000
#define WARM_UP 500

static double unit(void)
{
	return (random() + 0.5) / ((double)RAND_MAX + 1);
}

static double exponential(double mean)
{
	return -log(unit()) * mean;
}

/* A process: time from a call at `at` to the next one, and from a moment picked at random to the first. */
struct process {
	double rate; /* the true one */
	double (*pick)(void); /* a moment in its life */
	double (*next)(double at); /* time of the first call after it */
};

static double pick_any(void)
{
	return unit();
}

static double next_poisson(double at)
{
	return at + exponential(50e-6);
}

static double next_even(double at)
{
	return (floor(at / 20e-6 + 1e-6) + 1) * 20e-6;
}

/* Three calls 1 us apart, every 200 us. */
static double next_cluster(double at)
{
	double cycle = floor(at / 200e-6 + 1e-6) * 200e-6, in = at - cycle;

	for (int i = 0; i < 3; i++)
		if (in < i * 1e-6 - 1e-12)
			return cycle + i * 1e-6;
	return cycle + 200e-6;
}

/* 5 ms of a call a microsecond, 45 ms of one a millisecond. */
static double next_burst(double at)
{
	double cycle = floor(at / 50e-3 + 1e-9) * 50e-3, in = at - cycle, gap = in < 5e-3 - 1e-9 ? 1e-6 : 1e-3;
	double next = (floor(in / gap + 1e-6) + 1) * gap;

	return cycle + fmin(next, 50e-3);
}

/* 20,000 calls a second of CPU time, and every other 3 ms it sleeps. */
static double next_half(double at)
{
	double next = at + exponential(50e-6), phase = fmod(next, 6e-3);

	return phase < 3e-3 ? next : next - phase + 6e-3 + exponential(50e-6);
}

static struct heap_tally look(const struct process *p, double skip_s, const struct heap_plan *plan)
{
	struct heap_tally t = {};
	double start = p->pick(), origin = 0, end = SETTLE_S * 2 + (plan->length_s + skip_s) * 1.5;

	for (double at = p->next(start); t.hits < LIMIT && at - start < end; at = p->next(at)) {
		double own;

		if (!t.hits++)
			origin = fmin(at, start + SETTLE_S);
		own = at - origin;
		t.at_ns = (int64_t)(own * 1e9);
		t.firsts++;
		t.calls++;
		t.call_bytes += 100;
		if (own >= skip_s && own < skip_s + plan->length_s) {
			t.counted++;
			t.bytes += 100;
		}
	}
	return t;
}

static void process_check(const struct process *p, double tolerance)
{
	struct heap_plan plan;
	double sum = 0, bytes = 0;
	unsigned cut = 0, any = 0;

	srandom(7);
	heap_plan_init(&plan);
	for (int i = 0; i < WARM_UP + WINDOWS; i++) {
		double skip_s = unit() * 0.25 * plan.length_s;
		struct heap_tally t = look(p, skip_s, &plan);
		struct heap_sight s = heap_plan_read(&plan, &t, LIMIT, skip_s, TRAP_ERROR_S);

		heap_plan_adapt(&plan, &s);
		if (i < WARM_UP)
			continue;
		sum += s.rate;
		bytes += s.byte_rate;
		cut += s.cut;
		any += s.any;
	}
	if (fabs(sum / WINDOWS / p->rate - 1) > tolerance)
		fail_msg("rate %.0f, true %.0f; %u of %u cut", sum / WINDOWS, p->rate, cut, any);
	assert_true(fabs(bytes / sum - 100) < 1e-6);
	if (cut > 0.15 * any)
		fail_msg("%u of %u cut", cut, any);
}

static void test_fair(void **state)
{
	(void)state;
	process_check(&(struct process){ 20000, pick_any, next_poisson }, 0.05);
	process_check(&(struct process){ 50000, pick_any, next_even }, 0.05);
	process_check(&(struct process){ 15000, pick_any, next_cluster }, 0.10);
	process_check(&(struct process){ (5000 + 45) / 50e-3, pick_any, next_burst }, 0.05);
	process_check(&(struct process){ 20000 / 2, pick_any, next_half }, 0.05);
}

/* What each one counted stands for adds up to the rate. */
static void test_weight(void **state)
{
	struct process p = { 20000, pick_any, next_poisson };
	double stood = 0, every_s = 0.03;
	struct heap_plan plan;

	(void)state;
	srandom(3);
	heap_plan_init(&plan);
	for (int i = 0; i < WARM_UP + WINDOWS; i++) {
		double skip_s = unit() * 0.25 * plan.length_s, weight = heap_plan_weight(&plan, every_s, 1);
		struct heap_tally t = look(&p, skip_s, &plan);
		struct heap_sight s = heap_plan_read(&plan, &t, LIMIT, skip_s, TRAP_ERROR_S);

		heap_plan_adapt(&plan, &s);
		if (i >= WARM_UP)
			stood += s.counted * weight;
	}
	assert_true(fabs(stood / (WINDOWS * every_s) / p.rate - 1) < 0.05);
}

/* ---- windows for sizes ---- */

#define SIZES_TRAP_S 10e-6 /* what a trap takes, or up to a third more or less: it is not measured there */

static struct heap_tally look_sizes(const struct process *p, double length_s)
{
	double start = p->pick(), own = 0, before = start, end = length_s + LIMIT * SIZES_TRAP_S;
	struct heap_tally t = {};

	for (double at = p->next(start); t.hits < LIMIT && at - start + t.hits * SIZES_TRAP_S < end; at = p->next(at)) {
		own += t.hits ? at - before + SIZES_TRAP_S * (unit() - 0.5) * 0.66 : 0;
		before = at;
		t.at_ns = (int64_t)(own * 1e9);
		t.firsts++;
		t.calls++;
		t.counted += t.hits++ && own < length_s;
	}
	return t;
}

struct sizes_seen {
	double counted, stood; /* a window */
	double cut; /* share of those that saw any */
};

static struct sizes_seen sizes_look(const struct process *p)
{
	struct sizes_seen r = {};
	struct heap_plan plan;
	double any = 0;

	srandom(11);
	heap_plan_init(&plan);
	for (int i = 0; i < WARM_UP + WINDOWS; i++) {
		double length_s = heap_plan_sizes_s(&plan, LIMIT * SIZES_TRAP_S), weight = heap_plan_weight_sizes(&plan, 1, 1);
		struct heap_tally t = look_sizes(p, length_s);
		struct heap_sight s = heap_plan_read_sizes(&t, LIMIT, length_s, TRAP_ERROR_S);

		assert_true(s.sizes && s.rate == 0 && s.seen_s > 0 && s.seen_s <= length_s);
		heap_plan_adapt(&plan, &s);
		if (i < WARM_UP)
			continue;
		r.counted += (double)s.counted / WINDOWS;
		r.stood += s.counted * weight / WINDOWS;
		any += s.any;
		r.cut += s.cut;
	}
	assert_int_equal(plan.windows, 0); /* they say no rate */
	assert_true(plan.rate == 0);
	r.cut /= any;
	return r;
}

/* Of windows that are shared out between a function that has some for sizes alone and one that has none, the mean is the sum of both rates. */
static void test_rates_beside_sizes(void **state)
{
	static const struct process fns[2] = { { 20000, pick_any, next_poisson }, { 50000, pick_any, next_even } };
	static const double picked[2] = { 0.7, 0.3 };
	struct heap_plan plans[2];
	double sum = 0, bytes = 0;

	(void)state;
	srandom(5);
	heap_plan_init(&plans[0]);
	heap_plan_init(&plans[1]);
	for (int i = 0; i < WARM_UP + WINDOWS; i++) {
		int fn = unit() >= picked[0];
		double told = fn == 0 && plans[fn].windows >= 8 ? 0.5 : 1;
		struct heap_plan *plan = &plans[fn];
		struct heap_sight s, share;

		if (unit() >= told) {
			double length_s = heap_plan_sizes_s(plan, LIMIT * SIZES_TRAP_S);
			struct heap_tally t = look_sizes(&fns[fn], length_s);

			s = heap_plan_read_sizes(&t, LIMIT, length_s, TRAP_ERROR_S);
		} else {
			double skip_s = unit() * 0.25 * plan->length_s;
			struct heap_tally t = look(&fns[fn], skip_s, plan);

			s = heap_plan_read(plan, &t, LIMIT, skip_s, TRAP_ERROR_S);
		}
		share = heap_plan_share(plan, &s, told, TRAP_ERROR_S);
		heap_plan_adapt(plan, &s);
		if (i < WARM_UP)
			continue;
		sum += share.rate / picked[fn] / WINDOWS;
		bytes += share.byte_rate / picked[fn] / WINDOWS;
	}
	if (fabs(sum / 70000 - 1) > 0.03)
		fail_msg("%.0f of 70,000", sum);
	assert_true(fabs(bytes / sum - 100) < 1e-6);
}

static double next_fast(double at)
{
	return (floor(at / 50e-9 + 1e-3) + 1) * 50e-9;
}

/* What a size stands for is what it should be up to where traps hide the time between calls; and where they do, all hits but the first are of use. */
static void test_sizes(void **state)
{
	struct sizes_seen poisson = sizes_look(&(struct process){ 20000, pick_any, next_poisson });
	struct sizes_seen even = sizes_look(&(struct process){ 50000, pick_any, next_even });
	struct sizes_seen fast = sizes_look(&(struct process){ 20e6, pick_any, next_fast });

	(void)state;
	if (fabs(poisson.stood / 20000 - 1) > 0.1 || fabs(even.stood / 50000 - 1) > 0.2)
		fail_msg("%.0f for 20,000, %.0f for 50,000", poisson.stood, even.stood);
	assert_true(poisson.cut < 0.25 && even.cut < 0.25);
	assert_true(poisson.counted > 0.4 * LIMIT && even.counted > 0.5 * LIMIT);
	if (fast.counted < 0.95 * (LIMIT - 1))
		fail_msg("%.1f counted of %d", fast.counted, LIMIT - 1);
	assert_true(fast.stood > 200e3); /* and as far as can be told, it is fast */
}

/* Faster than a trap's duration is known, the error says so. */
static void test_error(void **state)
{
	struct heap_tally t = { .hits = LIMIT, .firsts = LIMIT, .calls = LIMIT, .call_bytes = 10 * LIMIT, .at_ns = 900 };
	struct heap_plan plan;
	struct heap_sight s;

	(void)state;
	heap_plan_init(&plan);
	s = heap_plan_read(&plan, &t, LIMIT, 0, 200e-9); /* 100 ns a call, which may be 0 to 300 */
	assert_true(s.cut);
	assert_true(s.rate - s.error < 1 / 300e-9 && s.rate + s.error > 100e6);
	s = heap_plan_read(&plan, &t, LIMIT, 0, 1e-9);
	assert_true(s.error < 0.02 * s.rate && fabs(s.rate - 1e7) < 1e5);
	t.at_ns = -500; /* by chance */
	s = heap_plan_read(&plan, &t, LIMIT, 0, 200e-9);
	assert_true(isfinite(s.rate) && s.rate + s.error > 1e7);
}

static void test_nothing_seen(void **state)
{
	struct heap_tally t = {};
	struct heap_plan plan;
	struct heap_sight s;

	(void)state;
	heap_plan_init(&plan);
	s = heap_plan_read(&plan, &t, LIMIT, 0, 200e-9);
	assert_true(s.rate == 0 && s.error == 0 && !s.any && !s.cut);
	assert_true(heap_plan_paired(&plan, 1e-6));
	for (int i = 0; i < 10000; i++)
		heap_plan_adapt(&plan, &s);
	assert_true(plan.length_s == HEAP_PLAN_MAX_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fair),
		cmocka_unit_test(test_weight),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_rates_beside_sizes),
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_nothing_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
