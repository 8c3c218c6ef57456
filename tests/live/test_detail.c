/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What less detail keeps: the kernel's own counts and the ledger stay exact at each level, and however often it changes. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/util.h"
#include "lib_work.h"

static void level_set(struct live *l, enum so_detail_level level)
{
	observer_detail(l->observer, &(struct so_detail){ .sched = level });
}

/* --- loads; all on one CPU, so that they wait for it, too --- */

#define TURNS 3000
#define CHILDREN 60
#define CLOSES 8 /* each snapshot is a guess more */
#define FORKS_NS 0 /* value[]: CPU time of children that were waited for */

/* Waits of two reasons, most of them short, and now and then a long stint or wait. */
static int waits_mixed(struct worker *self, void *arg)
{
	int fds[2];
	char c;

	(void)arg;
	pin(0);
	worker_check(!pipe(fds));
	worker_pause(self);
	for (int i = 0; i < TURNS; i++) {
		spin_ns(i % 500 ? 20000 : 5000000);
		if (i % 7)
			sleep_ns(i % 300 ? 10000 : 3000000);
		else
			sched_yield();
		worker_check(write(fds[1], "x", 1) == 1 && read(fds[0], &c, 1) == 1);
	}
	worker_pause(self);
	return 0;
}

static int spins(struct worker *self, void *arg)
{
	(void)arg;
	pin(0);
	worker_pause(self);
	for (int i = 0; i < TURNS / 10; i++)
		spin_ns(1000000);
	worker_pause(self);
	return 0;
}

/* Children that live for a moment and end in the middle of whatever level it is. */
static int forks(struct worker *self, void *arg)
{
	struct rusage u;

	(void)arg;
	pin(0);
	worker_pause(self);
	for (int i = 0; i < CHILDREN; i++) {
		pid_t pid = fork();

		if (!pid) {
			for (int j = 0; j < 10; j++) {
				spin_ns(100000);
				sleep_ns(20000);
			}
			_exit(0);
		}
		worker_check(pid > 0 && waitpid(pid, NULL, 0) == pid);
	}
	worker_check(!getrusage(RUSAGE_CHILDREN, &u));
	self->value[FORKS_NS] = (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NS_PER_S + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000ULL;
	worker_pause(self);
	return 0;
}

/* --- the kernel's own counts of a worker, before and after --- */

struct witness {
	struct schedstat stat;
	long long voluntary, involuntary;
};

static struct witness witness_read(const struct worker *w)
{
	return (struct witness){ schedstat_read(w->pid, w->pid), status_number(w->pid, "voluntary_ctxt_switches:"),
				 status_number(w->pid, "nonvoluntary_ctxt_switches:") };
}

static struct witness witness_grown(const struct worker *w, const struct witness *before)
{
	struct witness now = witness_read(w);

	now.stat.ran_ns -= before->stat.ran_ns;
	now.stat.queued_ns -= before->stat.queued_ns;
	now.voluntary -= before->voluntary;
	now.involuntary -= before->involuntary;
	return now;
}

/* Sums of the kernel's counts are exact; a snapshot between two switches guesses what its counts will be, well on real CPUs, not so well on slow emulated ones. */
#define EXACT 100
#define GUESSED 20

static double slack(uint64_t ns, int share)
{
	return ns / share > 2000000 ? ns / share : 2000000;
}

/* --- running them at changing levels --- */

enum { MIXED, SPINS, FORKS, LOADS };
static const worker_fn loads[LOADS] = { waits_mixed, spins, forks };

struct run {
	struct live *l;
	uint64_t watched_ns;
	struct worker *w[LOADS];
	struct witness before[LOADS], grown[LOADS];
	unsigned seed;
	int closes;
};

static void interval_close(struct run *r)
{
	const struct agent_data *const *agents;
	int n;

	live_close(r->l, false, 0);
	agents = world_interval(r->l->world, &n);
	for (int i = 0; i < n; i++)
		assert_near(ledger_sum(&agents[i]->main), agents[i]->observed_s * 1e9, agents[i]->observed_s * 1e6 + 1000);
	world_next(r->l->world);
	r->closes++;
}

/* Until w is at its next pause; `random`: at another level, or the next interval, after each wait. */
static void run_until(struct run *r, struct worker *w, bool random)
{
	struct pollfd p = { .fd = w->done_fd, .events = POLLIN };

	while (poll(&p, 1, random ? rand_r(&r->seed) % 12 : 20) == 0) {
		if (random)
			level_set(r->l, rand_r(&r->seed) % 3);
		assert_true(collector_drain(r->l->collector) >= 0);
		if (rand_r(&r->seed) % 8 == 0 && r->closes < CLOSES)
			interval_close(r);
		if (waitpid(w->pid, NULL, WNOHANG | WNOWAIT) == w->pid)
			break;
	}
	worker_settle(w);
}

static void run_start(struct run *r, enum so_detail_level level)
{
	pid_t pids[LOADS];

	*r = (struct run){ .seed = (unsigned)clock_ns() };
	print_message("seed %u\n", r->seed);
	for (int i = 0; i < LOADS; i++) {
		r->w[i] = worker_start(loads[i], NULL);
		worker_settle(r->w[i]);
		pids[i] = r->w[i]->pid;
	}
	r->l = live_open(NULL);
	level_set(r->l, level);
	for (int i = 0; i < LOADS; i++)
		r->before[i] = witness_read(r->w[i]);
	live_watch(r->l, pids, LOADS);
	r->watched_ns = clock_ns();
}

/* Runs all loads to their end; ret: the total, by load. */
static void run_through(struct run *r, bool random, const struct agent_data *ret[LOADS])
{
	const struct agent_info *const *infos;
	int n;

	for (int i = 0; i < LOADS; i++)
		worker_go(r->w[i]);
	for (int i = 0; i < LOADS; i++)
		run_until(r, r->w[i], random);
	for (int i = 0; i < LOADS; i++)
		r->grown[i] = witness_grown(r->w[i], &r->before[i]);
	live_close(r->l, true, 0);
	for (int i = 0; i < LOADS; i++)
		ret[i] = world_total(r->l->world, &infos, &n)[i];
	/* The loads do what they should. */
	assert_true(r->grown[MIXED].voluntary >= TURNS / 2 && r->grown[SPINS].stat.queued_ns > 50000000);
}

/* off: switches that may be missing or too many. share: EXACT or GUESSED. */
static void run_check(const struct run *r, const struct agent_data *const total[LOADS], int off, int share)
{
	for (int i = 0; i < LOADS; i++) {
		const struct agent_data *a = total[i];
		const struct witness *g = &r->grown[i];
		uint64_t children_ns = r->w[i]->value[FORKS_NS];

		assert_near(a->main.ns[STATE_RUNNING], g->stat.ran_ns, slack(g->stat.ran_ns, share));
		/* A guess of an open cycle moves time between running and runnable. */
		assert_near(a->main.ns[STATE_RUNNABLE], g->stat.queued_ns,
			    slack(share == EXACT ? g->stat.queued_ns : g->stat.queued_ns + g->stat.ran_ns, share));
		assert_in_range(ledger_sum(&a->main), r->l->end_ns - r->watched_ns, r->l->end_ns - r->l->start_ns);
		assert_near(a->threads.ns[STATE_RUNNING], g->stat.ran_ns + children_ns, slack(g->stat.ran_ns + children_ns, share));
		if (i == FORKS)
			assert_int_equal(counter_of(a, M_EXITS), CHILDREN);
		else
			assert_near(counter_of(a, M_SWITCHES_VOLUNTARY), g->voluntary, off);
		if (i != FORKS)
			assert_near(counter_of(a, M_SWITCHES_INVOLUNTARY), g->involuntary, off);
	}
}

static struct observer_counts counts(struct live *l)
{
	struct observer_counts n;

	observer_counts_read(l->observer, &n);
	return n;
}

/* All agents' switches, as the recording has them. */
static uint64_t switches_told(const struct agent_data *const total[LOADS])
{
	uint64_t n = 0;

	for (int i = 0; i < LOADS; i++)
		n += counter_of(total[i], M_SWITCHES_VOLUNTARY) + counter_of(total[i], M_SWITCHES_INVOLUNTARY);
	return n;
}

static void test_full(void **state)
{
	const struct agent_data *total[LOADS];
	struct observer_counts n;
	struct run r;

	(void)state;
	run_start(&r, SO_DETAIL_FULL);
	run_through(&r, false, total);
	run_check(&r, (const struct agent_data *const *)total, 0, GUESSED);
	n = counts(r.l);
	assert_int_equal(n.events[SO_EVENT_SWITCH] + n.seen[SO_CYCLES], 0);
	assert_int_equal(n.seen[SO_CYCLE] + n.seen[SO_CYCLE_LONG], switches_told((const struct agent_data *const *)total));
}

static void test_summed(void **state)
{
	const struct agent_data *total[LOADS];
	struct observer_counts n;
	struct run r;

	(void)state;
	run_start(&r, SO_DETAIL_SUMMED);
	run_through(&r, false, total);
	run_check(&r, (const struct agent_data *const *)total, 0, GUESSED);
	for (int i = 0; i < FORKS; i++) {
		const struct agent_data *a = total[i];
		const struct witness *g = &r.grown[i];

		assert_near(hist_sum(a, M_ONCPU_NS), g->stat.ran_ns, slack(g->stat.ran_ns, EXACT));
		assert_near(hist_sum(a, M_RUNQ_NS), g->stat.queued_ns, slack(g->stat.queued_ns, EXACT));
		assert_int_equal(hist_count(a, M_ONCPU_NS), g->voluntary + g->involuntary);
	}
	assert_in_range(hist_count(total[MIXED], M_WAIT_SLEEP_NS), TURNS / 3, TURNS); /* some are over before they begin */
	/* Several switches in one record, and each in one place only. */
	n = counts(r.l);
	assert_in_range(n.seen[SO_CYCLES], 1, n.events[SO_EVENT_SWITCH] - 1);
	assert_int_equal(n.seen[SO_CYCLE] + n.seen[SO_CYCLE_LONG] + n.events[SO_EVENT_SWITCH], switches_told((const struct agent_data *const *)total));
}

static void test_counts(void **state)
{
	const struct agent_data *total[LOADS];
	struct observer_counts n;
	struct run r;

	(void)state;
	run_start(&r, SO_DETAIL_COUNTS);
	run_through(&r, false, total);
	run_check(&r, (const struct agent_data *const *)total, 0, GUESSED);
	for (int i = 0; i < LOADS; i++)
		assert_int_equal(hist_count(total[i], M_ONCPU_NS), 0);
	n = counts(r.l);
	assert_int_equal(n.seen[SO_CYCLE] + n.seen[SO_CYCLE_LONG], 0);
	assert_int_equal(n.seen[SO_CYCLES], CHILDREN); /* their last switches */
	assert_true(n.events[SO_EVENT_SWITCH] + CHILDREN >= switches_told((const struct agent_data *const *)total)); /* and other observers' tasks */
	assert_near(total[MIXED]->main.ns[STATE_OTHER] + total[MIXED]->main.ns[STATE_RUNNING] + total[MIXED]->main.ns[STATE_RUNNABLE],
		    ledger_sum(&total[MIXED]->main), 1000000);
}

static void test_any_level_at_any_time(void **state)
{
	const struct agent_data *total[LOADS];
	struct observer_counts n;
	struct run r;

	(void)state;
	run_start(&r, SO_DETAIL_FULL);
	run_through(&r, true, total);
	assert_true(r.closes > 3);
	run_check(&r, (const struct agent_data *const *)total, 8, GUESSED);
	n = counts(r.l);
	assert_true(n.events[SO_EVENT_SWITCH] > 100 && n.seen[SO_CYCLE] > 100 && n.seen[SO_CYCLES] > 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { LIVE_TEST(test_full), LIVE_TEST(test_summed), LIVE_TEST(test_counts), LIVE_TEST(test_any_level_at_any_time) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
