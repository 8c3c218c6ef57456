/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The collector's user-space side alone: batches of scheduling cycles as the kernel side makes them, merged, decoded, aggregated and closed into
 * intervals. CPU time of the thread, making the batches not included. Prints JSON.
 *
 *   digest AGENTS THREADS RECORDS RECORDS_PER_S CPUS
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "collect/merge.h"
#include "collect/world.h"
#include "lib/util.h"

#define DRAIN_RECORDS 4096 /* about what a drain finds at 100,000 records/s and more */
#define VALUES 8192
#define CPUS_MAX 64

struct thread {
	uint64_t off_ns; /* last switch-out */
	uint64_t exec_ns;
	uint8_t wait;
};

struct bench {
	int agents, threads, cpus;
	double rate;
	struct thread *tasks; /* of all agents */
	uint64_t clock_ns, rng, made;
	uint32_t stints[VALUES], runqs[VALUES];
	struct so_cycle batches[DRAIN_RECORDS];
	struct merge *merge;
	struct world *world;
	uint64_t digested;
	double digest_s, close_s;
};

static uint32_t rnd(struct bench *b)
{
	b->rng ^= b->rng << 13;
	b->rng ^= b->rng >> 7;
	b->rng ^= b->rng << 17;
	return b->rng >> 16;
}

static double thread_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static uint32_t spread(struct bench *b, double median)
{
	double x = 0;

	for (int i = 0; i < 6; i++)
		x += rnd(b) % 10000 / 10000.0 - 0.5;
	return median * exp(1.2 * x);
}

static uint8_t wait_pick(struct bench *b)
{
	static const uint8_t waits[8] = { SO_WAIT_POLL, SO_WAIT_POLL, SO_WAIT_PIPE, SO_WAIT_PIPE, SO_WAIT_NET, SO_WAIT_LOCK, SO_WAIT_SLEEP, SO_WAIT_NONE };

	return waits[rnd(b) % 8];
}

/* The next cycle: of a task picked at random, that last ran some time ago. */
static void cycle_make(struct bench *b, struct so_cycle *c)
{
	uint32_t n = rnd(b) % (b->agents * b->threads), stint = b->stints[rnd(b) % VALUES], runq = b->runqs[rnd(b) % VALUES];
	struct thread *t = &b->tasks[n];
	uint64_t gap;

	b->clock_ns += 1e9 / b->rate;
	gap = b->clock_ns - t->off_ns;
	if (gap > UINT32_MAX)
		gap = UINT32_MAX;
	if (stint > gap / 3)
		stint = gap / 3;
	if (runq > gap / 3)
		runq = gap / 3;
	*c = (struct so_cycle){ .head = { .kind = SO_CYCLE, .slots = 1, .agent = 1 + n / b->threads, .tid = 1000 + n, .time_ns = b->clock_ns },
				.gap_ns = gap, .runq_ns = runq, .stint_ns = stint, .wait = t->wait, .next = wait_pick(b) };
	t->wait = c->next;
	t->off_ns = b->clock_ns;
	t->exec_ns += stint;
}

/* One drain's worth: batches of all CPUs, each in order by itself, one CPU's after another's. */
static void batches_make(struct bench *b, int n)
{
	int per_cpu = n / b->cpus;

	for (int i = 0; i < per_cpu * b->cpus; i++)
		cycle_make(b, &b->batches[i % b->cpus * per_cpu + i / b->cpus]);
}

static void on_record(void *ctx, const struct so_head *h)
{
	struct bench *b = ctx;

	b->digested++;
	world_record(b->world, h);
}

static void drain(struct bench *b, int n)
{
	double begin;
	int per_cpu = n / b->cpus;

	batches_make(b, n);
	begin = thread_s();
	for (int cpu = 0; cpu < b->cpus; cpu++)
		for (int i = 0; i < per_cpu; i += SO_BATCH_SLOTS) {
			int len = per_cpu - i < SO_BATCH_SLOTS ? per_cpu - i : SO_BATCH_SLOTS;

			merge_add(b->merge, &b->batches[cpu * per_cpu + i], len * sizeof(b->batches[0]));
		}
	merge_run(b->merge, b->clock_ns, on_record, b);
	b->digest_s += thread_s() - begin;
}

static void snapshot(struct bench *b)
{
	for (int n = 0; n < b->agents * b->threads; n++) {
		const struct thread *t = &b->tasks[n];
		uint32_t leader = 1000 + n / b->threads * b->threads;
		struct so_snap s = { .tid = 1000 + n, .tgid = leader, .agent = 1 + n / b->threads, .wait = t->wait,
				     .flags = SO_SNAP_ROOT | (1000 + (uint32_t)n == leader ? SO_SNAP_LEADER : 0), .now_ns = b->clock_ns,
				     .base_ns = t->off_ns, .exec_ns = t->exec_ns, .comm = "worker", .parent_tgid = 1 };

		world_snap(b->world, &s);
	}
}

static void interval_close(struct bench *b)
{
	double begin = thread_s();
	int len;

	world_held(b->world, b->clock_ns, &len);
	world_close_begin(b->world, b->clock_ns);
	snapshot(b);
	world_close_end(b->world, false);
	world_hold(b->world);
	b->close_s += thread_s() - begin;
}

static int start(struct bench *b)
{
	static bool on[PROBE_COUNT];

	for (int p = 0; p < PROBE_COUNT; p++)
		on[p] = probe_infos[p].on;
	b->rng = 88172645463325252;
	b->clock_ns = 1000 * NS_PER_S;
	b->tasks = calloc((size_t)b->agents * b->threads, sizeof(*b->tasks));
	b->merge = merge_new();
	b->world = world_new(on);
	if (!b->tasks || !b->merge || !b->world)
		return -1;
	for (int i = 0; i < VALUES; i++) {
		b->stints[i] = spread(b, 20e3);
		b->runqs[i] = spread(b, 5e3);
	}
	world_start(b->world, b->clock_ns);
	for (int i = 0; i < b->agents; i++) {
		struct agent_info info = { .pid = 1000 + i * b->threads };

		if (world_agent_add(b->world, &info) < 0)
			return -1;
	}
	for (int i = 0; i < b->agents * b->threads; i++) {
		b->tasks[i].off_ns = b->clock_ns;
		b->tasks[i].wait = wait_pick(b);
	}
	snapshot(b);
	return 0;
}

int main(int argc, char **argv)
{
	struct bench *b = calloc(1, sizeof(*b));
	uint64_t records, next_close, warm;
	int closes = 0;
	struct rusage u;

	if (argc != 6 || !b)
		return fputs("usage: digest AGENTS THREADS RECORDS RECORDS_PER_S CPUS\n", stderr), 2;
	b->agents = atoi(argv[1]);
	b->threads = atoi(argv[2]);
	records = strtoull(argv[3], NULL, 0);
	b->rate = atof(argv[4]);
	b->cpus = atoi(argv[5]);
	if (b->agents < 1 || b->agents >= SO_MAX_AGENTS || b->threads < 1 || b->cpus < 1 || b->cpus > CPUS_MAX || start(b))
		return fputs("digest: cannot start\n", stderr), 1;
	warm = (uint64_t)b->agents * b->threads * 16; /* tables and histograms have grown by then */
	warm = warm < 200000 ? 200000 : warm;
	next_close = b->clock_ns + NS_PER_S;
	while (b->digested < warm + records) {
		if (warm && b->digested >= warm) {
			b->digest_s = b->close_s = 0;
			records += b->digested;
			b->made = b->digested;
			warm = closes = 0;
		}
		drain(b, DRAIN_RECORDS);
		if (b->clock_ns >= next_close) {
			interval_close(b);
			next_close += NS_PER_S;
			closes++;
		}
	}
	getrusage(RUSAGE_SELF, &u);
	printf("{\"records\": %llu, \"ns\": %.1f, \"closes\": %d, \"close_us\": %.1f, \"world_bytes\": %zu, \"rss_kib\": %ld}\n",
	       (unsigned long long)(b->digested - b->made), 1e9 * b->digest_s / (b->digested - b->made), closes, closes ? 1e6 * b->close_s / closes : 0,
	       world_bytes(b->world), u.ru_maxrss);
	world_free(b->world);
	merge_free(b->merge);
	free(b->tasks);
	free(b);
	return 0;
}
