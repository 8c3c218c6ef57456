/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/trial.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "lib/util.h"
#include "probe/observer.h"
#include "probe/trial_load.h"

#define ROUNDS 5 /* the median of them is told */
#define IDLE_NS 5000000ULL /* before each, to see what others do */
#define ROUND_NS 15000000ULL
#define DRAIN_MS 5
#define RING_BYTES (4 << 20)

/* An event, and the probe whose programs run for it. */
static const struct row {
	enum probe_id probe;
	enum trial_op op;
	const char *event;
} rows[] = {
        {PROBE_SCHED, TRIAL_SWITCH, "a context switch"},
        {PROBE_CORE, TRIAL_PROCESS, "a process, from fork to exit"},
        {PROBE_MEM, TRIAL_MAPPING, "a mapping of memory"},
        {PROBE_PEAK, TRIAL_PAGE, "a page touched for the first time"},
        {PROBE_SOCK, TRIAL_MESSAGE, "a message over TCP, sent and received"},
        {PROBE_SOCK, TRIAL_CONNECTION, "a connection, both its ends, from begin to end"},
        {PROBE_NAMES, TRIAL_CONNECTION, "who is at its other end"},
        {PROBE_KMEM, TRIAL_OPEN, "a file opened and closed"},
};

_Static_assert(ARRAY_SIZE(rows) <= TRIAL_ROWS, "room for all rows");

struct price { /* an event's */
	double ns, runs;
};

struct trial {
	struct observer *o;
	struct trial_load load;
	struct price samples[ARRAY_SIZE(rows)][ROUNDS];
};

static void batch_ignore(void *ctx, const void *data, size_t size)
{
	(void)ctx;
	(void)data;
	(void)size;
}

/* Until the load has done what it was asked for, or for so many ns. */
static void wait_drain(struct trial *t, bool for_load, uint64_t ns)
{
	uint64_t end_ns = clock_ns() + ns;
	struct pollfd p = {.fd = t->load.fd, .events = POLLIN};

	while (for_load ? poll(&p, 1, DRAIN_MS) == 0 : clock_ns() < end_ns) {
		if (!for_load)
			poll(NULL, 0, 1);
		observer_drain(t->o, batch_ignore, NULL);
	}
}

/* What the probes' programs took from `from` to now. */
static double times_since(struct trial *t, const struct observer_time *from, uint64_t from_ns, struct price ret[PROBE_COUNT])
{
	struct observer_time now[PROBE_COUNT];
	double seconds = (double)(clock_ns() - from_ns) * 1e-9;

	observer_times(t->o, now);
	for (int p = 0; p < PROBE_COUNT; p++)
		ret[p] = (struct price){.ns = (double)(now[p].ns - from[p].ns), .runs = (double)(now[p].runs - from[p].runs)};
	return seconds;
}

static int round_run(struct trial *t, enum trial_op op, int round)
{
	struct price idle[PROBE_COUNT], busy[PROBE_COUNT];
	struct observer_time from[PROBE_COUNT];
	double idle_s, busy_s;
	uint64_t from_ns;
	int64_t n;
	int err;

	observer_times(t->o, from);
	from_ns = clock_ns();
	wait_drain(t, false, IDLE_NS);
	idle_s = times_since(t, from, from_ns, idle);
	observer_times(t->o, from);
	from_ns = clock_ns();
	err = trial_load_ask(&t->load, op, ROUND_NS);
	if (err)
		return err;
	wait_drain(t, true, 0);
	n = trial_load_answer(&t->load);
	if (n <= 0)
		return n ? (int)n : -EIO;
	busy_s = times_since(t, from, from_ns, busy);
	for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
		enum probe_id p = rows[r].probe;

		if (rows[r].op == op)
			t->samples[r][round] = (struct price){.ns = (busy[p].ns - idle[p].ns * busy_s / idle_s) / (double)n,
			        .runs = (busy[p].runs - idle[p].runs * busy_s / idle_s) / (double)n};
	}
	return 0;
}

static int by_ns(const void *a, const void *b)
{
	double x = ((const struct price *)a)->ns, y = ((const struct price *)b)->ns;

	return (x > y) - (x < y);
}

/* One cost a row. */
static int phase(struct trial *t, double ret_ns[ARRAY_SIZE(rows)])
{
	double floor_ns;
	int err = 0;

	for (int round = 0; round < ROUNDS; round++)
		for (int op = 0; op < TRIAL_OPS && !err; op++)
			err = round_run(t, (enum trial_op)op, round);
	if (err)
		return err;
	floor_ns = observer_timing_floor(t->o);
	for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
		const struct price *median = &t->samples[r][ROUNDS / 2];

		qsort(t->samples[r], ROUNDS, sizeof(t->samples[r][0]), by_ns);
		ret_ns[r] = median->ns - floor_ns * median->runs;
		ret_ns[r] = ret_ns[r] > 0 ? ret_ns[r] : 0; /* as cheap as the empty one */
	}
	return 0;
}

static int trial(struct trial *t, struct trial_cost ret[TRIAL_ROWS])
{
	double strangers[ARRAY_SIZE(rows)], agents[ARRAY_SIZE(rows)];
	const struct probe_state *probes = observer_probes(t->o);
	const uint32_t tgid = (uint32_t)t->load.pid, slot = 1; /* 0: nobody */
	int err, n = 0;

	err = observer_load(t->o);
	err = err ? err : observer_attach(t->o);
	err = err ? err : observer_timing(t->o, true);
	err = err ? err : phase(t, strangers);
	if (!err)
		n = observer_seed(t->o, &tgid, &slot, 1);
	if (!err && n <= 0)
		err = n ? n : -ESRCH;
	err = err ? err : phase(t, agents);
	if (err)
		return err;
	n = 0;
	for (size_t r = 0; r < ARRAY_SIZE(rows); r++)
		if (!strcmp(probes[rows[r].probe].state, "on"))
			ret[n++] = (struct trial_cost){.probe = rows[r].probe,
			        .event = rows[r].event,
			        .agent_ns = agents[r],
			        .stranger_ns = strangers[r]};
	return n;
}

int trial_run(struct trial_cost ret[TRIAL_ROWS], char *why, size_t why_len)
{
	struct observer_config cfg = {.ring_bytes = RING_BYTES};
	struct trial t = {};
	int err;

	for (size_t r = 0; r < ARRAY_SIZE(rows); r++)
		cfg.probe_on[rows[r].probe] = true;
	err = trial_load_start(&t.load);
	if (err) {
		snprintf(why, why_len, "no process to try it on: %s", strerror(-err));
		return err;
	}
	err = observer_new(&cfg, &t.o, why, why_len);
	if (!err) {
		err = trial(&t, ret);
		if (err < 0)
			snprintf(why, why_len, "%s", strerror(-err));
		observer_free(t.o);
	}
	trial_load_stop(&t.load);
	return err;
}
