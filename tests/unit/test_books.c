/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Every nanosecond of a task's life is posted once, whatever cycles and snapshots say, and in whatever order they come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "collect/books.h"

#define NO_BOUNDARY UINT64_MAX

static uint64_t rnd_state = 0x9e3779b97f4a7c15;

static uint64_t rnd(uint64_t below)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return below ? rnd_state % below : 0;
}

static uint64_t sum(const struct posting *p)
{
	return p->wait + p->runq + p->stint + p->hole;
}

static void add(struct posting *into, const struct posting *p)
{
	into->wait += p->wait;
	into->runq += p->runq;
	into->stint += p->stint;
	into->hole += p->hole;
}

static void assert_posting(const struct posting *p, uint64_t wait, uint64_t runq, uint64_t stint, uint64_t hole)
{
	assert_int_equal(p->wait, wait);
	assert_int_equal(p->runq, runq);
	assert_int_equal(p->stint, stint);
	assert_int_equal(p->hole, hole);
}

/* Posts, and checks what holds of every posting. */
static void post(struct books *b, uint64_t base, uint64_t now, uint64_t runq, uint64_t stint, uint64_t boundary, struct posting ret[2])
{
	uint64_t from = b->until_ns ? b->until_ns : base, total, before = 0;

	books_post(b, base, now, runq, stint, boundary, ret);
	total = now > from ? now - from : 0;
	if (total && boundary > from)
		before = boundary < now ? boundary - from : total;
	for (int i = 0; i < 2; i++) { /* a part that wrapped around would be larger than the whole */
		assert_true(ret[i].wait <= total);
		assert_true(ret[i].runq <= total);
		assert_true(ret[i].stint <= total);
		assert_true(ret[i].hole <= total);
	}
	assert_int_equal(sum(&ret[0]), before);
	assert_int_equal(sum(&ret[1]), total - before);
}

static void a_cycle_in_one_piece(void **ctx)
{
	struct books b = {};
	struct posting p[2];

	(void)ctx;
	post(&b, 1000, 1600, 100, 200, NO_BOUNDARY, p);
	assert_posting(&p[0], 300, 100, 200, 0);
	assert_posting(&p[1], 0, 0, 0, 0);
	post(&b, 1600, 1600, 0, 0, NO_BOUNDARY, p); /* nothing passed */
	assert_posting(&p[0], 0, 0, 0, 0);
}

static void the_boundary_cuts_exactly(void **ctx)
{
	(void)ctx;
	/* wait 1000-1300, run queue 1300-1400, stint 1400-1600 */
	for (uint64_t boundary = 990; boundary <= 1610; boundary++) {
		uint64_t cut = boundary < 1000 ? 1000 : boundary > 1600 ? 1600 : boundary;
		uint64_t wait = cut < 1300 ? cut - 1000 : 300;
		uint64_t runq = cut < 1300 ? 0 : cut < 1400 ? cut - 1300 : 100;
		uint64_t stint = cut < 1400 ? 0 : cut - 1400;
		struct books b = {};
		struct posting p[2];

		post(&b, 1000, 1600, 100, 200, boundary, p);
		assert_posting(&p[0], wait, runq, stint, 0);
		assert_posting(&p[1], 300 - wait, 100 - runq, 200 - stint, 0);
	}
}

static void a_hole_comes_first(void **ctx)
{
	struct books b = {};
	struct posting p[2];

	(void)ctx;
	post(&b, 1000, 1100, 0, 100, NO_BOUNDARY, p);
	post(&b, 1500, 1600, 30, 70, 1450, p);
	assert_posting(&p[0], 0, 0, 0, 350);
	assert_posting(&p[1], 0, 30, 70, 50);
}

static void a_late_cycle_posts_nothing_twice(void **ctx)
{
	struct books b = {};
	struct posting p[2];

	(void)ctx;
	post(&b, 1000, 2000, 0, 1000, NO_BOUNDARY, p);
	post(&b, 1200, 1500, 100, 100, NO_BOUNDARY, p); /* wholly within what was posted */
	assert_posting(&p[0], 0, 0, 0, 0);
	post(&b, 1800, 2300, 0, 500, NO_BOUNDARY, p); /* overlaps by 200 */
	assert_int_equal(sum(&p[0]), 300);
	assert_posting(&p[0], 0, 0, 300, 0);
}

/* The snapshot said: all on the CPU; the cycle's record says: the most of it was waiting. How much stays exact. */
static void the_record_corrects_the_snapshot(void **ctx)
{
	struct books b = {};
	struct posting p[2], all = {};

	(void)ctx;
	post(&b, 1000, 1500, 0, 500, NO_BOUNDARY, p);
	add(&all, &p[0]);
	post(&b, 1000, 2000, 100, 300, NO_BOUNDARY, p);
	add(&all, &p[0]);
	assert_int_equal(sum(&all), 1000);
	assert_int_equal(p[0].stint, 0); /* too much of it was posted already */
	assert_posting(&all, 400, 100, 500, 0);
}

static void clocks_that_disagree_do_not_wrap(void **ctx)
{
	struct books b = {};
	struct posting p[2];

	(void)ctx;
	post(&b, 1000, 1100, 50, 101, NO_BOUNDARY, p); /* the stint alone exceeds the gap */
	assert_posting(&p[0], 0, 0, 100, 0);
	post(&b, 1100, 1200, 60, 60, NO_BOUNDARY, p); /* both together do */
	assert_posting(&p[0], 0, 40, 60, 0);
	post(&b, 1200, 1300, UINT64_MAX, UINT64_MAX, NO_BOUNDARY, p);
	assert_posting(&p[0], 0, 0, 100, 0);
}

/* A base behind now is nonsense (a gap longer than the clock has run): nothing of it may spoil what follows. */
static void a_cycle_that_begins_after_its_end(void **ctx)
{
	struct books b = {}, fresh = {};
	struct posting p[2];

	(void)ctx;
	books_post(&fresh, (uint64_t)-5000, 1000, 10, 10, NO_BOUNDARY, p);
	assert_int_equal(sum(&p[0]) + sum(&p[1]), 0);
	books_post(&fresh, 1000, 1100, 0, 100, NO_BOUNDARY, p);
	assert_posting(&p[0], 0, 0, 100, 0);

	post(&b, 1000, 1100, 0, 100, NO_BOUNDARY, p);
	post(&b, 5000, 1300, 10, 10, 1250, p);
	assert_posting(&p[0], 0, 0, 0, 150);
	assert_posting(&p[1], 0, 0, 0, 50);
	post(&b, 1300, 1400, 0, 100, NO_BOUNDARY, p);
	assert_posting(&p[0], 0, 0, 100, 0);
}

/* True snapshots within a cycle, then its record: each part is exact in the end, not only the sum. */
static void true_snapshots_leave_no_trace(void **ctx)
{
	(void)ctx;
	for (int life = 0; life < 500; life++) {
		uint64_t now = 1 + rnd(1000000);
		struct books b = {};
		struct posting got = {}, want = {}, p[2];

		for (int cycle = 0; cycle < 40; cycle++) {
			uint64_t wait = rnd(3) ? rnd(1000) : 0, runq = rnd(3) ? rnd(500) : 0, stint = 1 + rnd(2000);
			uint64_t base = now, gap = wait + runq + stint, at = 0;

			for (int n = rnd(4); n > 0; n--) {
				uint64_t r, s;

				at += rnd(gap - at + 1);
				r = at > wait ? at - wait : 0;
				r = r > runq ? runq : r;
				s = at > wait + runq ? at - wait - runq : 0;
				post(&b, base, base + at, r, s, base + rnd(gap), p);
				add(&got, &p[0]);
				add(&got, &p[1]);
			}
			now = base + gap;
			post(&b, base, now, runq, stint, base + rnd(gap), p);
			add(&got, &p[0]);
			add(&got, &p[1]);
			add(&want, &(struct posting){ wait, runq, stint, 0 });
		}
		assert_posting(&got, want.wait, want.runq, want.stint, 0);
	}
}

/* Anything goes: lost, late and overlapping cycles, snapshots that contradict each other, parts too long, any boundary. */
static void whatever_comes_each_ns_is_posted_once(void **ctx)
{
	(void)ctx;
	for (int life = 0; life < 2000; life++) {
		uint64_t begin = 1 + rnd(1ULL << (1 + rnd(60))), clock = begin, posted_to = begin, base = begin;
		struct posting all = {}, p[2];
		struct books b = {};

		for (int i = 0; i < 60; i++) {
			uint64_t span = 1ULL << rnd(34);

			clock += rnd(4) ? rnd(span) : 0;
			if (rnd(3) && i) { /* a new cycle, at what was posted, earlier, or later */
				base = rnd(2) ? posted_to : begin + rnd(clock - begin + 1);
				if (rnd(8) == 0)
					base = clock;
			}
			post(&b, base, rnd(6) ? clock : base + rnd(clock - base + 1), rnd(span), rnd(2) ? rnd(span) : rnd(2 * span),
			     begin + rnd(clock - begin + span), p);
			add(&all, &p[0]);
			add(&all, &p[1]);
			posted_to = b.until_ns;
			assert_int_equal(sum(&all), posted_to - begin);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cycle_in_one_piece),
		cmocka_unit_test(the_boundary_cuts_exactly),
		cmocka_unit_test(a_hole_comes_first),
		cmocka_unit_test(a_late_cycle_posts_nothing_twice),
		cmocka_unit_test(the_record_corrects_the_snapshot),
		cmocka_unit_test(clocks_that_disagree_do_not_wrap),
		cmocka_unit_test(a_cycle_that_begins_after_its_end),
		cmocka_unit_test(true_snapshots_leave_no_trace),
		cmocka_unit_test(whatever_comes_each_ns_is_posted_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
