/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The staging of records: handlers interrupt and preempt each other on both CPUs, and no record gets lost, doubled or torn; where the ring is too
 * small, each lost one is counted.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "collect/decode.h"
#include "lib/util.h"
#include "lib_live.h"

#define BURST 500
#define ROUNDS 1500 /* a producer */
#define SEQS (2ULL * BURST * ROUNDS)
#define AHEAD (100ULL * BURST) /* so far producers go ahead of the reader where nothing may be lost: a tenth of the ring, however slow the reader's CPU is */

struct tally {
	uint64_t received[SO_KINDS], bad, twice, beyond;
	atomic_uint_fast64_t taken; /* synthetic ones, for the producers */
	uint8_t *had; /* by sequence number of the synthetic records */
};

static void tally_batch(void *ctx, const void *data, size_t size)
{
	struct tally *t = ctx;
	const struct so_head *h;
	size_t pos = 0;
	int ret;

	while ((ret = decode_next(data, size, &pos, &h)) == 1) {
		t->received[h->kind]++;
		if (h->kind == SO_SYNTHETIC) {
			const struct so_synthetic *s = (const void *)h;

			if (s->seq >= SEQS)
				t->beyond++;
			else if (t->had[s->seq]++)
				t->twice++;
		}
	}
	t->bad += ret < 0;
	t->taken = t->received[SO_SYNTHETIC];
}

/* --- load: pipe ping-pong, loopback traffic (softirqs), timers (hard interrupts) --- */

static int cpu_of(int i)
{
	return i % sysconf(_SC_NPROCESSORS_ONLN);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void chatter(int fd)
{
	char buf[64] = "";

	while (write(fd, buf, sizeof(buf)) > 0 && read(fd, buf, sizeof(buf)) > 0)
		;
	_exit(0);
}

static void connecter(struct sockaddr_in *to)
{
	for (;;) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		char c = 'x';

		if (!connect(fd, (struct sockaddr *)to, sizeof(*to)) && send(fd, &c, 1, 0) == 1)
			(void)!recv(fd, &c, 1, 0);
		/* Reset, so that a test of seconds doesn't use up all ports. */
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
		close(fd);
	}
}

static void timer_waiter(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec every = { { 0, 100000 }, { 0, 100000 } };
	uint64_t n;

	timerfd_settime(fd, 0, &every, NULL);
	while (read(fd, &n, sizeof(n)) > 0)
		;
	_exit(1);
}

static int loader(struct worker *self, void *arg)
{
	int cpu = *(int *)arg, listener = socket(AF_INET, SOCK_STREAM, 0), pair[2];
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);

	setpgid(0, 0); /* the test ends all of them at once */
	worker_check(!bind(listener, (struct sockaddr *)&at, len) && !listen(listener, 64));
	worker_check(!getsockname(listener, (struct sockaddr *)&at, &len));
	worker_check(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	worker_pause(self);
	for (int i = 0; i < 2; i++)
		if (!fork()) {
			pin(cpu_of(cpu + i)); /* across the CPUs, so that wake-ups are interrupts */
			chatter(pair[i]);
		}
	if (!fork()) {
		pin(cpu);
		connecter(&at);
	}
	if (!fork()) {
		pin(cpu);
		timer_waiter();
	}
	pin(cpu);
	worker_pause(self);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		char c;

		if (recv(fd, &c, 1, 0) == 1)
			(void)!send(fd, &c, 1, MSG_NOSIGNAL);
		close(fd);
	}
	return 0;
}

static atomic_int producers;
static atomic_uint_fast64_t produced;

struct producer {
	struct observer *observer;
	int cpu, err;
	struct tally *wait_for; /* NULL: for nobody */
};

static void *produce(void *arg)
{
	struct producer *p = arg;

	pin(p->cpu);
	for (int i = 0; i < ROUNDS && !p->err; i++) {
		while (p->wait_for && produced > p->wait_for->taken + AHEAD)
			sched_yield();
		p->err = observer_synthesize(p->observer, p->cpu, BURST);
		produced += BURST;
	}
	producers--;
	return NULL;
}

static void quiet_check(struct observer *o, const struct tally *t, uint64_t ret_lost[SO_LOSS_COUNT])
{
	struct observer_counts n;

	observer_counts_read(o, &n);
	for (int k = 0; k < SO_KINDS; k++) {
		uint64_t lost = 0;

		for (int r = 0; r < SO_LOSS_COUNT; r++) {
			lost += n.lost[k][r];
			ret_lost[r] += n.lost[k][r];
		}
		if (n.seen[k] != t->received[k] + lost)
			fail_msg("kind %d: seen %llu, received %llu, lost %llu", k, (unsigned long long)n.seen[k],
				 (unsigned long long)t->received[k], (unsigned long long)lost);
	}
	assert_int_equal(n.seen[SO_SYNTHETIC], SEQS);
}

/* The whole play: two producers and the load on both CPUs. drain: take records out all the time, or only at the end. */
static void play(unsigned ring_bytes, bool drain, struct tally *t, uint64_t ret_lost[SO_LOSS_COUNT])
{
	struct observer_config cfg = { .ring_bytes = ring_bytes, .bench = true };
	struct producer p[2];
	pthread_t threads[2];
	struct worker *w[2];
	int cpus[2];
	struct live *l;

	memset(t, 0, sizeof(*t));
	memset(ret_lost, 0, SO_LOSS_COUNT * sizeof(*ret_lost));
	t->had = calloc(SEQS, 1);
	assert_non_null(t->had);
	for (int i = 0; i < 2; i++) {
		cpus[i] = cpu_of(i);
		w[i] = worker_start(loader, &cpus[i]);
		worker_settle(w[i]);
	}
	l = live_open(&cfg);
	{
		uint32_t tgids[2] = { w[0]->pid, w[1]->pid }, slots[2] = { 1, 2 };

		assert_true(observer_seed(l->observer, tgids, slots, 2) >= 2);
	}
	for (int i = 0; i < 2; i++) {
		worker_go(w[i]);
		worker_settle(w[i]);
		worker_go(w[i]);
	}
	producers = 2;
	produced = 0;
	for (int i = 0; i < 2; i++) {
		p[i] = (struct producer){ .observer = l->observer, .cpu = cpus[i], .wait_for = drain ? t : NULL };
		assert_int_equal(pthread_create(&threads[i], NULL, produce, &p[i]), 0);
	}
	while (producers) {
		if (drain)
			assert_true(observer_drain(l->observer, tally_batch, t) >= 0);
		assert_true(observer_flush(l->observer, false) >= 0);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(p[i].err, 0);
	}
	/* All of the load ends before the books are compared: the accept queue of a dying socket makes no records. */
	for (int i = 0; i < 2; i++) {
		kill(-w[i]->pid, SIGKILL);
		worker_wait(w[i]);
	}
	for (int tries = 0; tries < 1000; tries++) { /* the orphaned children end as init, or the kernel, gets to it */
		struct observer_counts before, after;
		int busy;

		observer_counts_read(l->observer, &before);
		assert_true(observer_drain(l->observer, tally_batch, t) >= 0);
		busy = observer_flush(l->observer, true); /* a handler of a stranger's may be preempted */
		assert_true(busy >= 0);
		assert_true(observer_drain(l->observer, tally_batch, t) >= 0);
		observer_counts_read(l->observer, &after);
		if (!busy && !memcmp(&before, &after, sizeof(before)) && kill(-w[0]->pid, 0) && kill(-w[1]->pid, 0))
			break;
		sched_yield();
	}
	quiet_check(l->observer, t, ret_lost);
	assert_int_equal(t->bad, 0);
	assert_int_equal(t->twice, 0);
	assert_int_equal(t->beyond, 0);
}

static void test_nothing_lost_under_interrupts(void **state)
{
	uint64_t lost[SO_LOSS_COUNT];
	struct tally t;

	(void)state;
	play(16 << 20, true, &t, lost);
	for (int r = 0; r < SO_LOSS_COUNT; r++)
		assert_int_equal(lost[r], 0);
	assert_int_equal(t.received[SO_SYNTHETIC], SEQS);
	assert_true(t.received[SO_CYCLE] + t.received[SO_CYCLE_LONG] >= 100); /* there was a load */
	print_message("received %llu synthetic, %llu cycles, %llu sends\n", (unsigned long long)t.received[SO_SYNTHETIC],
		      (unsigned long long)t.received[SO_CYCLE], (unsigned long long)t.received[SO_SEND]);
	free(t.had);
}

static void test_losses_counted(void **state)
{
	uint64_t lost[SO_LOSS_COUNT];
	struct tally t;

	(void)state;
	play(64 << 10, false, &t, lost);
	assert_true(lost[SO_LOSS_RING_FULL] > 0);
	assert_true(t.received[SO_SYNTHETIC] < SEQS);
	print_message("received %llu of %llu synthetic, lost %llu records\n", (unsigned long long)t.received[SO_SYNTHETIC],
		      (unsigned long long)SEQS, (unsigned long long)lost[SO_LOSS_RING_FULL]);
	free(t.had);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST(test_nothing_lost_under_interrupts),
		LIVE_TEST(test_losses_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
