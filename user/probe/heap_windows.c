/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * When windows open, and on what.
 *
 * Fair over time: windows begin at the events of a Poisson process whose intensity is fixed when the first one opens, from the budget, the price of a trap,
 * and the most hits that a window may have. Nothing that an agent does moves a window, and the price of one is bounded; so no account of debts is needed, which
 * would make windows rare where they are dear, that is, where much is allocated.
 *
 * Fair among processes, their threads, and functions: a window looks at one function in one thread, chosen at random with probabilities that are known and
 * never small, and what it says is divided by them.
 */
#include "probe/heap_windows.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "abi.h"
#include "lib/util.h"
#include "model/heap_plan.h"
#include "probe/heap_breaks.h"
#include "probe/heap_procs.h"
#include "probe/heap_threads.h"

#define HITS_MAX 40 /* hits of a window: of two breakpoints a call, or of one */
#define INTENSITY_MAX 100 /* windows a second; a trap is cheaper than a window's other costs then */
#define AGENTS_AT_ONCE 4 /* whose windows come each at full intensity; with more agents, each has fewer */
#define SAFETY 0.7 /* of the budget is planned with: traps cost more when the machine is busy than when they were calibrated, and leave caches cold (with 0.85 the slowdown was 0.6 to 1.2 %) */
/* Time after the breakpoints are set, in traps, by which a process that allocates without a pause has had its first hit (measured: 0.7 to 1.4; it takes so
 * long to be back from the interrupt that sets them). A first hit that comes later is one of a process that was doing something else. */
#define SETTLE 1.5
#define APART_NS 1000000 /* at most so long before a window this thread has been on the CPU of the other one, or not */
#define SKIP 0.25 /* of a window's length: at most so much is left out at its begin. The begin is a call where there is one soon, and the time just behind
		   * one is like no other */
#define CAPTURES 2 /* stacks of a window, on average */
#define TRAP_ERROR 0.05 /* by how much of it a trap may differ from its measure: a process runs slower just after it, its caches being cold */
#define TRAP_SMOOTH 0.05
/* Part that is taken out of what comes into traps. Without it the rate is low (0.65 of the true one at 100 k/s with other load on the machine); with all of it, it
 * is high, since some of that would have come into the window without traps, too. So it is half, and the rest is the interval's. */
#define CAME_OUT 0.5
#define TRAPS_MIN 4 /* of fewer nothing is learned */
#define CYCLE_SMOOTH 0.02
#define WEIGHT_SMOOTH 0.1
#define COPIES_MAX 16 /* what a window stands for is known by tens of them only: a single one must not be most of the histogram */
#define SIZES_PART 0.5 /* of the windows of a process that allocates faster than single breakpoints can tell are for sizes alone */
#define SIZES_AFTER 8 /* windows, of which the rate is known first */

struct pending { /* of an agent, until the collector's thread takes it */
	struct heap_data data;
	bool dirty;
};

struct note {
	struct note *next;
	unsigned slot;
	char text[256];
};

struct heap_windows {
	const struct part_reports *reports;
	struct heap_breaks *breaks;
	struct heap_threads *threads; /* of the windows' thread alone */
	struct heap_trap trap;
	double intensity; /* windows a second, of one agent, in the time that no window is open */
	double part; /* of them that are opened */
	double came_ns; /* by which a trap takes longer on average, since something else comes into it */
	double cycle_s; /* from one window to the next, smoothed */
	pthread_t thread;
	bool thread_runs;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t wake;
	bool stop;
	struct heap_procs *procs;
	struct pending pending[SO_MAX_AGENTS];
	double weights[SO_MAX_AGENTS]; /* allocations that one that was seen stands for, on average of late: as one it goes into the histogram; 0: not known */
	bool full_noted[SO_MAX_AGENTS];
	struct note *notes, **notes_end;
};

static void note_add(struct heap_windows *h, unsigned slot, const char *text)
{
	struct note *n = calloc(1, sizeof(*n));

	if (!n)
		return;
	n->slot = slot;
	snprintf(n->text, sizeof(n->text), "heap: %s", text);
	*h->notes_end = n;
	h->notes_end = &n->next;
}

static double random_unit(void)
{
	return (random() + 0.5) / ((double)RAND_MAX + 1);
}

/* ---- one window ---- */

struct window {
	struct heap_pick pick;
	struct heap_places places;
	bool sizes; /* for these alone */
	double told; /* probability that it was to tell the rate */
	double length_s, skip_s;
	double sizes_weight; /* allocations that a size stands for */
	uint64_t open_ns; /* how long it was open */
};

static uint32_t probability(double p)
{
	return p >= 1 ? UINT32_MAX : (uint32_t)(p * UINT32_MAX);
}

static void window_order(struct heap_windows *h, struct window *w, unsigned agents)
{
	const struct heap_pick *k = &w->pick;
	struct heap_window *o = heap_breaks_order(h->breaks);
	double capture = CAPTURES / fmax(k->plan.hits, CAPTURES), one = h->weights[k->slot], weight, copies;
	bool paired = k->second && heap_plan_paired(&k->plan, h->trap.ns * 1e-9);

	w->told = paired && k->plan.windows >= SIZES_AFTER && k->plan.rate > 0 ? 1 - SIZES_PART : 1;
	w->sizes = random_unit() >= w->told;
	w->length_s = w->sizes ? heap_plan_sizes_s(&k->plan, HITS_MAX * h->trap.ns * 1e-9) : k->plan.length_s;
	w->skip_s = w->sizes ? 0 : random_unit() * SKIP * w->length_s;
	weight = heap_plan_weight(&k->plan, h->cycle_s * agents, k->probability);
	w->sizes_weight = heap_plan_weight_sizes(&k->plan, h->cycle_s * agents, k->probability);
	copies = one > 0 ? fmin(w->sizes_weight / one, COPIES_MAX) : 1;
	*o = (struct heap_window){
		.tgid = k->pid,
		.args = k->args,
		.nests_below = k->nests_below,
		.copies = (uint32_t)copies,
		.more = probability(copies - floor(copies)),
		.sizes = w->sizes,
		.capture = probability(capture),
		.stands_for = (uint32_t)fmin(weight / capture + random_unit(), UINT32_MAX),
		.origin_limit_ns = UINT64_MAX,
		.skip_ns = (uint64_t)(w->skip_s * 1e9),
		.length_ns = (uint64_t)(w->length_s * 1e9),
		.trap_ns = (uint64_t)h->trap.ns,
		.came_ns = (uint32_t)(CAME_OUT * h->came_ns),
	};
	memcpy(o->ranges, k->ranges, sizeof(o->ranges));
	w->places.first = k->first;
	w->places.limit = HITS_MAX;
	if (paired && !w->sizes) {
		o->second = w->places.second = k->second;
		w->places.limit = (HITS_MAX - HEAP_BREAKS_SPARE) / 2;
	}
	o->limit = w->places.limit;
}

/* Opens it and waits until what it is for must have been seen, all its traps included. */
static int window_run(struct heap_windows *h, struct window *w)
{
	double traps_s = HITS_MAX * h->trap.ns * 1.3e-9;
	uint64_t start, settle_ns = (uint64_t)(SETTLE * h->trap.ns);
	int err;

	/* A moment that has nothing to do with our having come here, and away from the thread's CPU. */
	heap_breaks_leave(w->pick.pid, w->places.tid);
	heap_breaks_wait((uint64_t)(random_unit() * APART_NS));
	err = heap_breaks_open(h->breaks, &w->places);
	if (!err)
		err = heap_breaks_enable(h->breaks);
	if (err)
		return err;
	start = clock_ns();
	heap_breaks_order(h->breaks)->origin_limit_ns = start + settle_ns;
	heap_breaks_wait(settle_ns + (uint64_t)((w->length_s + w->skip_s + traps_s) * 1e9));
	w->open_ns = clock_ns() - start;
	return 0;
}

static void trap_learn(struct heap_windows *h, const struct heap_tally *t)
{
	if (t->traps >= TRAPS_MIN)
		h->trap.ns += TRAP_SMOOTH * ((double)t->trap_sum_ns / t->traps - h->trap.ns);
	if (t->pairs >= TRAPS_MIN)
		h->came_ns += TRAP_SMOOTH * ((double)t->came_ns / t->pairs - h->came_ns);
}

/* How far off what is taken out for a trap may be. */
static double trap_error_s(const struct heap_windows *h)
{
	return (TRAP_ERROR * h->trap.ns + CAME_OUT * h->came_ns) * 1e-9;
}

static void pending_add(struct heap_windows *h, unsigned slot, const struct heap_data *d)
{
	heap_data_merge(&h->pending[slot].data, d);
	h->pending[slot].dirty = true;
}

static void window_report(struct heap_windows *h, const struct window *w, const struct heap_tally *t, const struct heap_sight *s)
{
	struct heap_sight share = heap_plan_share(&w->pick.plan, s, w->told, trap_error_s(h));
	double part = w->pick.probability, rate = share.rate / part, byte_rate = share.byte_rate / part;
	struct heap_data d = {
		.mode = HEAP_SAMPLED,
		.windows = 1,
		.windows_thin = !s->any,
		.samples = s->counted,
		.open_s = w->open_ns * 1e-9,
		.rate_sum = rate,
		.rate_sq = rate * rate,
		.byte_rate_sum = byte_rate,
		.byte_rate_sq = byte_rate * byte_rate,
		.error_sum = share.error / part,
		.byte_error_sum = share.byte_error / part,
		.kept = 1,
		.trapped_s = (t->trapped_ns + t->strangers * h->trap.ns) * 1e-9,
	};

	pending_add(h, w->pick.slot, &d);
}

static void window_failed(struct heap_windows *h, unsigned slot, int err)
{
	struct heap_data d = { .mode = HEAP_SAMPLED, .windows_failed = 1, .kept = 1 };

	pending_add(h, slot, &d);
	if (h->full_noted[slot])
		return;
	h->full_noted[slot] = true;
	note_add(h, slot, err == -ENOSPC ? "windows fail while the CPUs' breakpoint registers are in use (a debugger?)" :
					   "windows fail: the kernel refuses breakpoints");
}

/* Of what was seen, the mean of the logarithm: a window that stands for a thousand times as much as others is one window. */
static void weight_learn(double *one, double weight)
{
	*one = *one > 0 ? *one * pow(weight / *one, WEIGHT_SMOOTH) : weight;
}

static void window_close(struct heap_windows *h, struct window *w)
{
	const struct heap_tally *t = heap_breaks_close(h->breaks);
	struct heap_sight s;

	pthread_mutex_lock(&h->lock);
	/* Where the process has run another program meanwhile, what was hit there is not what was looked for. */
	if (heap_procs_same(h->procs, &w->pick, t->mm)) {
		if (w->sizes)
			s = heap_plan_read_sizes(t, w->places.limit, w->length_s, trap_error_s(h));
		else
			s = heap_plan_read(&w->pick.plan, t, w->places.limit, w->skip_s, trap_error_s(h));
		window_report(h, w, t, &s);
		heap_plan_adapt(&w->pick.plan, &s);
		if (s.counted)
			weight_learn(&h->weights[w->pick.slot], w->sizes_weight);
		heap_procs_learn(h->procs, &w->pick);
	}
	trap_learn(h, t);
	pthread_mutex_unlock(&h->lock);
}

/* Whether another allocator has come, which takes milliseconds where files are new: without the lock. */
static void window_check(struct heap_windows *h, struct window *w)
{
	char why[200];
	bool other = heap_procs_other(&w->pick, why, sizeof(why));

	pthread_mutex_lock(&h->lock);
	heap_procs_checked(h->procs, &w->pick);
	if (other)
		note_add(h, w->pick.slot, why);
	pthread_mutex_unlock(&h->lock);
}

static void window(struct heap_windows *h)
{
	struct window w = {};
	char why[200] = "";
	double of_threads = 1;
	unsigned agents;
	int err;

	pthread_mutex_lock(&h->lock);
	agents = heap_procs_pick(h->procs, &w.pick);
	pthread_mutex_unlock(&h->lock);
	if (!agents)
		return;
	if (!w.pick.first) { /* not known yet: a look at its files takes milliseconds, without the lock */
		err = heap_procs_look(&w.pick, why, sizeof(why));
		pthread_mutex_lock(&h->lock);
		heap_procs_looked(h->procs, &w.pick, err);
		if (*why)
			note_add(h, w.pick.slot, why);
		pthread_mutex_unlock(&h->lock);
		return;
	}
	if (w.pick.check)
		window_check(h, &w);
	w.places.tid = heap_threads_pick(h->threads, w.pick.pid, w.pick.serial, &of_threads);
	if (!w.places.tid)
		return;
	w.pick.probability *= of_threads;
	window_order(h, &w, agents);
	err = window_run(h, &w);
	if (!err)
		window_close(h, &w);
	if (!err || err == -ESRCH) /* a thread that is gone belongs to nothing any more */
		return;
	pthread_mutex_lock(&h->lock);
	window_failed(h, w.pick.slot, err);
	pthread_mutex_unlock(&h->lock);
}

/* ---- the thread ---- */

/* Until the next window is due. False: no more. */
static bool windows_wait(struct heap_windows *h, uint64_t due_ns)
{
	struct timespec due = { .tv_sec = due_ns / NS_PER_S, .tv_nsec = due_ns % NS_PER_S };
	bool more;

	pthread_mutex_lock(&h->lock);
	while (!h->stop && pthread_cond_timedwait(&h->wake, &h->lock, &due) != ETIMEDOUT)
		;
	more = !h->stop;
	pthread_mutex_unlock(&h->lock);
	return more;
}

static uint64_t gap_choose(struct heap_windows *h)
{
	double agents, part;

	pthread_mutex_lock(&h->lock);
	part = h->part;
	agents = fmin(fmax(heap_procs_agents(h->procs), 1), AGENTS_AT_ONCE);
	pthread_mutex_unlock(&h->lock);
	return (uint64_t)(-log(random_unit()) / (h->intensity * part * agents) * 1e9);
}

static void *windows_run(void *arg)
{
	struct heap_windows *h = arg;
	uint64_t last_ns = clock_ns();

	/* Of this thread alone. No real-time priority: with it the thread preempts whom it is to look at, on the CPU where it ran last, while another one is idle
	 * (1 to 2 ms a second; measured). Where no CPU is idle, windows close a little later, which their limit of hits makes harmless. */
	setpriority(PRIO_PROCESS, 0, -20);
	h->cycle_s = 1 / h->intensity;
	/* The gap counts from the last window's end: the events of a Poisson process that fall into a window are left out, and no others. */
	while (windows_wait(h, clock_ns() + gap_choose(h))) {
		uint64_t now = clock_ns();

		h->cycle_s += CYCLE_SMOOTH * ((now - last_ns) * 1e-9 - h->cycle_s);
		last_ns = now;
		window(h);
	}
	return NULL;
}

static int thread_start(struct heap_windows *h)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
	err = pthread_create(&h->thread, NULL, windows_run, h);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	h->thread_runs = !err;
	return -err;
}

struct heap_windows *heap_windows_new(struct stakeout_bpf *skel, double budget, const struct part_reports *r, char *why, size_t why_len)
{
	struct heap_windows *h = calloc(1, sizeof(*h));
	pthread_condattr_t monotonic;
	int err;

	if (!h) {
		snprintf(why, why_len, "out of memory");
		return NULL;
	}
	h->reports = r;
	h->notes_end = &h->notes;
	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&h->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	h->procs = heap_procs_new();
	h->threads = heap_threads_new();
	err = h->procs && h->threads ? heap_breaks_new(skel, &h->breaks) : -ENOMEM;
	if (!err)
		err = heap_breaks_calibrate(h->breaks, &h->trap);
	if (!err) {
		double price_s = (HITS_MAX * h->trap.ns + h->trap.open_ns) * 1e-9;

		h->part = 1;
		h->intensity = fmin(SAFETY * budget / price_s, INTENSITY_MAX);
		err = thread_start(h);
	}
	if (!err)
		return h;
	snprintf(why, why_len, "no hardware breakpoints here (%s); +heap=full works by uprobes", strerror(-err));
	heap_windows_free(h);
	return NULL;
}

void heap_windows_rarer(struct heap_windows *h, double part)
{
	pthread_mutex_lock(&h->lock);
	h->part = part;
	pthread_mutex_unlock(&h->lock);
}

void heap_windows_free(struct heap_windows *h)
{
	if (!h)
		return;
	if (h->thread_runs) {
		pthread_mutex_lock(&h->lock);
		h->stop = true;
		pthread_cond_signal(&h->wake);
		pthread_mutex_unlock(&h->lock);
		pthread_join(h->thread, NULL);
	}
	heap_breaks_free(h->breaks);
	heap_procs_free(h->procs);
	heap_threads_free(h->threads);
	for (struct note *n = h->notes, *next; n; n = next) {
		next = n->next;
		free(n);
	}
	pthread_cond_destroy(&h->wake);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

void heap_windows_process(struct heap_windows *h, pid_t pid, unsigned slot, enum seen how)
{
	pthread_mutex_lock(&h->lock);
	heap_procs_add(h->procs, pid, slot, how == SEEN_EXEC);
	pthread_mutex_unlock(&h->lock);
}

void heap_windows_gone(struct heap_windows *h, pid_t pid)
{
	pthread_mutex_lock(&h->lock);
	heap_procs_remove(h->procs, pid);
	pthread_mutex_unlock(&h->lock);
}

static void pending_hand_over(struct heap_windows *h, unsigned slot)
{
	struct heap_data d;
	bool dirty;

	pthread_mutex_lock(&h->lock);
	dirty = h->pending[slot].dirty;
	d = h->pending[slot].data;
	h->pending[slot] = (struct pending){};
	pthread_mutex_unlock(&h->lock);
	if (dirty)
		h->reports->heap(h->reports->ctx, slot, &d);
}

void heap_windows_work(struct heap_windows *h)
{
	struct note *notes, *next;

	pthread_mutex_lock(&h->lock);
	notes = h->notes;
	h->notes = NULL;
	h->notes_end = &h->notes;
	pthread_mutex_unlock(&h->lock);
	for (struct note *n = notes; n; n = next) {
		next = n->next;
		h->reports->note(h->reports->ctx, n->slot, n->text);
		free(n);
	}
	for (unsigned slot = 1; slot < SO_MAX_AGENTS; slot++)
		if (h->pending[slot].dirty)
			pending_hand_over(h, slot);
}
