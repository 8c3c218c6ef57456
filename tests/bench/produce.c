/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The synthetic producer (records made in the kernel by test runs) against the collector. Prints JSON: seen, received, lost, ...
 *
 *   produce drained SECONDS RECORDS_PER_S   a thread makes records at that rate on all CPUs in turn, the collector drains
 *   produce full                            ring of 64 KiB that nobody drains, until most is lost; then one drain
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "collect/collector.h"
#include "lib/util.h"

#define BURST 500

struct producer {
	struct observer *observer;
	double seconds, rate;
	int cpus, err;
	volatile int done;
};

static void sleep_until(uint64_t ns)
{
	struct timespec t = { ns / NS_PER_S, ns % NS_PER_S };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static void *produce(void *arg)
{
	struct producer *p = arg;
	uint64_t begin = clock_ns(), bursts = p->seconds * p->rate / BURST;

	for (uint64_t i = 0; i < bursts && !p->err; i++) {
		sleep_until(begin + (uint64_t)(i * (BURST * 1e9 / p->rate)));
		p->err = observer_synthesize(p->observer, i % p->cpus, BURST);
	}
	p->done = 1;
	return NULL;
}

static int drained(struct producer *p, struct collector *c)
{
	int epoll = epoll_create1(0);
	struct epoll_event e = { .events = EPOLLIN };
	pthread_t t;

	epoll_ctl(epoll, EPOLL_CTL_ADD, observer_fd(p->observer), &e);
	if (pthread_create(&t, NULL, produce, p))
		return -EAGAIN;
	/* As `record` does; the producer keeps its ordinary priority. */
	sched_setscheduler(0, SCHED_RR, &(struct sched_param){ .sched_priority = 1 });
	while (!p->done) {
		epoll_wait(epoll, &e, 1, (int)collector_pause_ms(c));
		collector_drain(c);
	}
	pthread_join(t, NULL);
	close(epoll);
	return p->err;
}

static void tell(struct observer *o, struct collector *c, double wall_s)
{
	struct observer_counts n;
	struct timespec cpu;
	struct rusage u;

	observer_counts_read(o, &n);
	getrusage(RUSAGE_SELF, &u);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
	printf("{\"seen\": %llu, \"received\": %llu, \"lost\": %llu, \"lost_no_lane\": %llu, \"late\": %llu, \"bad\": %llu, \"wall_s\": %.3f, "
	       "\"drain_cpu_s\": %.3f, \"rss_kib\": %ld}\n",
	       (unsigned long long)n.seen[SO_SYNTHETIC], (unsigned long long)collector_counts(c)->received[SO_SYNTHETIC],
	       (unsigned long long)n.lost[SO_SYNTHETIC][SO_LOSS_RING_FULL], (unsigned long long)n.lost[SO_SYNTHETIC][SO_LOSS_NO_LANE],
	       (unsigned long long)collector_counts(c)->late, (unsigned long long)collector_counts(c)->bad, wall_s,
	       cpu.tv_sec + cpu.tv_nsec / 1e9, u.ru_maxrss);
}

int main(int argc, char **argv)
{
	bool full = argc == 2 && !strcmp(argv[1], "full"), on[PROBE_COUNT] = {};
	struct observer_config cfg = { .ring_bytes = full ? 64 << 10 : 8 << 20, .bench = true };
	struct producer p = { .cpus = sysconf(_SC_NPROCESSORS_ONLN) };
	struct collector *c = NULL;
	struct world *w;
	char why[256] = "";
	uint64_t begin, end;
	int err;

	if (!full && (argc != 4 || strcmp(argv[1], "drained")))
		return fputs("usage: produce drained SECONDS RECORDS_PER_S | full\n", stderr), 2;
	err = observer_new(&cfg, &p.observer, why, sizeof(why));
	if (!err)
		err = observer_load(p.observer);
	if (!err)
		err = observer_attach(p.observer);
	w = world_new(on);
	if (!err && w)
		c = collector_new(p.observer, w, 100);
	if (!c)
		return fprintf(stderr, "produce: cannot start %s\n", why), 1;
	begin = clock_ns();
	world_start(w, begin);
	if (full) {
		for (int i = 0; i < 100 && !err; i++)
			err = observer_synthesize(p.observer, i % p.cpus, 1000 + i);
	} else {
		p.seconds = atof(argv[2]);
		p.rate = atof(argv[3]);
		err = drained(&p, c);
	}
	if (!err)
		err = collector_close(c, true, &end);
	if (err)
		return fprintf(stderr, "produce: %s\n", strerror(-err)), 1;
	tell(p.observer, c, (end - begin) / 1e9);
	collector_free(c);
	world_free(w);
	observer_free(p.observer);
	return 0;
}
