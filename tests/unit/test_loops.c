/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Event loops and idle wake-ups, as cycles tell of them. */
#include "lib_world.h"

static void cycle(struct scene *y, unsigned wait, uint64_t wait_ns, uint64_t runq_ns, uint64_t stint_ns, unsigned next, unsigned flags)
{
	struct so_cycle_long r = { .head = { SO_CYCLE_LONG, 2, 1, ROOT, y->now + wait_ns + runq_ns + stint_ns } };

	r.gap_ns = wait_ns + runq_ns + stint_ns;
	r.runq_ns = runq_ns;
	r.stint_ns = stint_ns;
	r.wait = wait;
	r.next = next;
	r.flags = flags;
	y->now = r.head.time_ns;
	world_record(y->w, &r.head);
}

static const struct metric_set *finish(struct scene *y)
{
	return &scene_finish(y, SO_WAIT_EVENTS, false)->metrics;
}

/* A transfer in the middle of what comes next. */
static void transfer(struct scene *y, uint64_t in_ns)
{
	struct so_transfer r = { .head = { SO_SEND, 1, 1, ROOT, y->now + in_ns }, .bytes = 10 };

	world_record(y->w, &r.head);
}

static void turns_of_a_loop(void **ctx)
{
	struct scene y = scene_start();
	const struct metric_set *m;

	(void)ctx;
	cycle(&y, SO_WAIT_NONE, 0, 0, 5 * MS, SO_WAIT_EVENTS, 0); /* before the first poll: no turn yet */
	for (int i = 0; i < 10; i++)
		cycle(&y, SO_WAIT_EVENTS, 20 * MS, MS, 2 * MS, SO_WAIT_EVENTS, 0); /* waiting for a CPU is part of the turn */
	m = finish(&y);
	assert_hist(m, M_LOOP_BUSY_NS, 10, 30 * MS);
	assert_hist(m, M_LOOP_BLOCKED_NS, 0, 0);
	world_free(y.w);
}

static void what_blocks_a_turn(void **ctx)
{
	static const struct {
		unsigned wait;
		enum metric_id metric;
	} kinds[] = {
		{ SO_WAIT_NET, M_LOOP_BLOCKED_NET_NS },	    { SO_WAIT_DISK, M_LOOP_BLOCKED_DISK_NS },	{ SO_WAIT_LOCK, M_LOOP_BLOCKED_LOCK_NS },
		{ SO_WAIT_SLEEP, M_LOOP_BLOCKED_SLEEP_NS }, { SO_WAIT_PIPE, M_LOOP_BLOCKED_PIPE_NS },	{ SO_WAIT_CHILD, M_LOOP_BLOCKED_CHILD_NS },
		{ SO_WAIT_FAULT, M_LOOP_BLOCKED_FAULT_NS }, { SO_WAIT_INPUT, M_LOOP_BLOCKED_INPUT_NS }, { SO_WAIT_OTHER, M_LOOP_BLOCKED_OTHER_NS },
		{ SO_WAIT_POLL, M_LOOP_BLOCKED_POLL_NS },
	};
	struct scene y = scene_start();
	const struct metric_set *m;

	(void)ctx;
	cycle(&y, SO_WAIT_LOCK, 50 * MS, 0, MS, SO_WAIT_EVENTS, 0); /* outside of a turn: no loop's */
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		cycle(&y, SO_WAIT_EVENTS, 5 * MS, 0, MS, kinds[i].wait, 0);
		cycle(&y, kinds[i].wait, (1 + i) * MS, 0, MS, SO_WAIT_NONE, 0);
		cycle(&y, SO_WAIT_NONE, 0, 2 * MS, MS, SO_WAIT_EVENTS, 0); /* preempted, and on */
	}
	m = finish(&y);
	assert_hist(m, M_LOOP_BUSY_NS, 10, 10 * 5 * MS + 55 * MS);
	assert_hist(m, M_LOOP_BLOCKED_NS, 10, 55 * MS);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		assert_hist(m, kinds[i].metric, 1, (1 + i) * MS);
	world_free(y.w);
}

/* A program that asks a socket at a time, each with a limit of its own, has no loop. */
static void polls_of_one_socket_are_no_loop(void **ctx)
{
	struct scene y = scene_start();
	const struct metric_set *m;

	(void)ctx;
	for (int i = 0; i < 20; i++)
		cycle(&y, i % 2 ? SO_WAIT_POLL : SO_WAIT_SLEEP, MS, 0, MS, i % 2 ? SO_WAIT_SLEEP : SO_WAIT_POLL, 0);
	m = finish(&y);
	assert_hist(m, M_LOOP_BUSY_NS, 0, 0);
	assert_hist(m, M_LOOP_BLOCKED_NS, 0, 0);
	assert_hist(m, M_WAIT_POLL_NS, 10, 10 * MS);
	world_free(y.w);
}

/* A lock in a turn blocks its loop; but where another thread has taken the loop over meanwhile, it is the wait for work of a thread of the pool. */
static void a_loop_that_threads_share(void **ctx)
{
	struct so_fork fork = { .head = { SO_FORK, 2, 1, ROOT, 0 }, .child_tid = ROOT + 1, .child_tgid = ROOT };
	struct so_cycle other = { .head = { SO_CYCLE, 1, 1, ROOT + 1, 0 }, .next = SO_WAIT_EVENTS };
	const struct metric_set *m;
	struct scene y;

	(void)ctx;
	for (int shared = 0; shared < 2; shared++) {
		y = scene_start();
		fork.head.time_ns = y.now;
		world_record(y.w, &fork.head);
		cycle(&y, SO_WAIT_NONE, 0, 0, MS, SO_WAIT_EVENTS, 0);
		cycle(&y, SO_WAIT_EVENTS, 5 * MS, 0, MS, SO_WAIT_LOCK, 0);
		other.head.time_ns = y.now + 10;
		other.stint_ns = other.gap_ns = 5;
		if (shared)
			world_record(y.w, &other.head);
		cycle(&y, SO_WAIT_LOCK, 50 * MS, 0, MS, SO_WAIT_EVENTS, 0);
		m = finish(&y);
		assert_hist(m, M_LOOP_BLOCKED_LOCK_NS, !shared, shared ? 0 : 50 * MS);
		assert_hist(m, M_LOOP_BUSY_NS, !shared, shared ? 0 : 52 * MS);
		world_free(y.w);
	}
}

static void a_thread_without_polls_is_no_loop(void **ctx)
{
	struct scene y = scene_start();
	const struct metric_set *m;

	(void)ctx;
	for (int i = 0; i < 20; i++)
		cycle(&y, i % 2 ? SO_WAIT_NET : SO_WAIT_DISK, MS, 0, MS, i % 2 ? SO_WAIT_DISK : SO_WAIT_NET, 0);
	m = finish(&y);
	assert_hist(m, M_LOOP_BUSY_NS, 0, 0);
	assert_hist(m, M_LOOP_BLOCKED_NS, 0, 0);
	world_free(y.w);
}

static void timers_that_do_nothing(void **ctx)
{
	struct scene y = scene_start();
	const struct metric_set *m;

	(void)ctx;
	for (int i = 0; i < 12; i++) /* ten of them follow two of their like */
		cycle(&y, SO_WAIT_EVENTS, 50 * MS + i * 10 * US, 0, 100 * US, SO_WAIT_EVENTS, SO_CYCLE_TIMEOUT);
	m = finish(&y);
	assert_int_equal(m->value[M_WAKEUPS_IDLE], 10);
	assert_int_equal(m->hist[M_WAKE_PERIOD_NS]->count, 10);
	assert_in_range(m->hist[M_WAKE_PERIOD_NS]->min, 50 * MS, 51 * MS);
	assert_in_range(m->hist[M_WAKE_PERIOD_NS]->max, 50 * MS, 51 * MS);
	world_free(y.w);
}

static void wake_ups_with_a_reason(void **ctx)
{
	struct scene y = scene_start();

	(void)ctx;
	for (int i = 0; i < 12; i++) /* an event, not the timer */
		cycle(&y, SO_WAIT_EVENTS, 50 * MS, 0, 100 * US, SO_WAIT_EVENTS, 0);
	for (int i = 0; i < 12; i++) /* it works */
		cycle(&y, SO_WAIT_SLEEP, 50 * MS, 0, 20 * MS, SO_WAIT_SLEEP, 0);
	for (int i = 0; i < 12; i++) /* it is never the same */
		cycle(&y, SO_WAIT_SLEEP, (20 + i % 3 * 10) * MS, 0, 100 * US, SO_WAIT_SLEEP, 0);
	for (int i = 0; i < 12; i++) { /* it asks somebody */
		transfer(&y, 50 * MS);
		cycle(&y, SO_WAIT_SLEEP, 50 * MS, 0, 100 * US, SO_WAIT_SLEEP, 0);
	}
	assert_int_equal(finish(&y)->value[M_WAKEUPS_IDLE], 0);
	world_free(y.w);
}

static void preemption_does_not_break_a_rhythm(void **ctx)
{
	struct scene y = scene_start();

	(void)ctx;
	for (int i = 0; i < 5; i++) {
		cycle(&y, SO_WAIT_SLEEP, 50 * MS, 0, 50 * US, SO_WAIT_NONE, 0);
		cycle(&y, SO_WAIT_NONE, 0, MS, 50 * US, SO_WAIT_SLEEP, 0);
	}
	assert_int_equal(finish(&y)->value[M_WAKEUPS_IDLE], 3);
	world_free(y.w);
}

static void what_is_late_does_not_break_a_rhythm(void **ctx)
{
	struct scene y = scene_start();

	(void)ctx;
	for (int i = 0; i < 8; i++)
		cycle(&y, SO_WAIT_SLEEP, 50 * MS, 0, 50 * US, SO_WAIT_SLEEP, 0);
	cycle(&y, SO_WAIT_SLEEP, 70 * MS, 0, 50 * US, SO_WAIT_SLEEP, 0);
	cycle(&y, SO_WAIT_SLEEP, 50 * MS, 0, 12 * MS, SO_WAIT_SLEEP, 0); /* slow, this time */
	transfer(&y, 50 * MS);
	cycle(&y, SO_WAIT_SLEEP, 50 * MS, 0, 50 * US, SO_WAIT_SLEEP, 0); /* this one was for something */
	for (int i = 0; i < 3; i++)
		cycle(&y, SO_WAIT_SLEEP, 50 * MS, 0, 50 * US, SO_WAIT_SLEEP, 0);
	for (int i = 0; i < 12; i++) /* another one; the first four of it may still be late ones of the old one */
		cycle(&y, SO_WAIT_SLEEP, 20 * MS, 0, 50 * US, SO_WAIT_SLEEP, 0);
	assert_int_equal(finish(&y)->value[M_WAKEUPS_IDLE], 6 + 2 + 3 + 2 + 7);
	world_free(y.w);
}

static void spins(void **ctx)
{
	struct scene y = scene_start();
	const struct metric_set *m;

	(void)ctx;
	for (int i = 0; i < 7; i++)
		cycle(&y, SO_WAIT_NONE, 0, MS, 3 * MS, SO_WAIT_NONE, i < 3 ? SO_CYCLE_IN_POLL : SO_CYCLE_IN_YIELD);
	m = finish(&y);
	assert_int_equal(m->value[M_SPINS_POLL], 3);
	assert_int_equal(m->value[M_SPINS_YIELD], 4);
	world_free(y.w);
}

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (seed >> 24) % below;
}

/* Any sequence of cycles, cut by intervals anywhere, against a walk along the line of time. */
static void any_loop(void **ctx)
{
	(void)ctx;
	for (uint64_t round = 1; round <= 200; round++) {
		uint64_t busy = 0, busy_ns = 0, blocked = 0, blocked_ns = 0, turn = 0, told[4] = {};
		unsigned wait = SO_WAIT_NONE;
		struct scene y = scene_start();

		seed = round;
		for (int i = 0; i < 200; i++) {
			uint64_t wait_ns = wait ? 1 + draw(MS) : 0, runq_ns = draw(1000), stint_ns = 1 + draw(MS), ready = y.now + wait_ns;
			unsigned next = draw(2) ? SO_WAIT_EVENTS : draw(SO_WAITS);

			if (wait == SO_WAIT_EVENTS) {
				turn = ready;
			} else if (wait && turn) {
				blocked++;
				blocked_ns += wait_ns;
			}
			cycle(&y, wait, wait_ns, runq_ns, stint_ns, next, 0);
			if (next == SO_WAIT_EVENTS && turn) {
				busy++;
				busy_ns += y.now - turn;
				turn = 0;
			}
			wait = next;
			if (!draw(40) || i == 199) {
				uint64_t base = y.now;
				const struct metric_set *m = finish(&y);

				told[0] += m->hist[M_LOOP_BUSY_NS] ? m->hist[M_LOOP_BUSY_NS]->count : 0;
				told[1] += m->hist[M_LOOP_BUSY_NS] ? m->hist[M_LOOP_BUSY_NS]->sum : 0;
				told[2] += m->hist[M_LOOP_BLOCKED_NS] ? m->hist[M_LOOP_BLOCKED_NS]->count : 0;
				told[3] += m->hist[M_LOOP_BLOCKED_NS] ? m->hist[M_LOOP_BLOCKED_NS]->sum : 0;
				world_next(y.w);
				y.now = base;
			}
		}
		assert_int_equal(told[0], busy);
		assert_int_equal(told[1], busy_ns);
		assert_int_equal(told[2], blocked);
		assert_int_equal(told[3], blocked_ns);
		world_free(y.w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(turns_of_a_loop),
		cmocka_unit_test(what_blocks_a_turn),
		cmocka_unit_test(polls_of_one_socket_are_no_loop),
		cmocka_unit_test(a_loop_that_threads_share),
		cmocka_unit_test(a_thread_without_polls_is_no_loop),
		cmocka_unit_test(timers_that_do_nothing),
		cmocka_unit_test(wake_ups_with_a_reason),
		cmocka_unit_test(preemption_does_not_break_a_rhythm),
		cmocka_unit_test(what_is_late_does_not_break_a_rhythm),
		cmocka_unit_test(spins),
		cmocka_unit_test(any_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
