/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/collector.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "collect/budget.h"
#include "collect/merge.h"
#include "lib/util.h"
#include "probe/limits.h"
#include "symbols/symbolizer.h"

#define DRAIN_MIN_MS 10.0
#define DRAIN_IDLE_MS 1000.0 /* nothing came in: the ring wakes us when it fills */
#define BATCH_BUSY_BYTES (256 * 1024) /* a drain that brought more than this comes too late, */
#define BATCH_CALM_BYTES (32 * 1024) /* less than this too early */
#define FLUSH_TRIES 10
#define LOOKS_AFTER 4 /* times the shortest wait: for so long after the last record waits are looked at */
#define LOOK_SHARE 20 /* a look, which goes over all tasks of the machine, takes at most this part of the time */
#define STACKS_DRAIN_MS 20.0 /* with stacks: a new process should still be there when its addresses get their names */
#define NEW_NS (2 * NS_PER_S) /* so long a process is new; one that is older is likely to stay */

/* A handler on another CPU may have taken its time stamp but not yet shown that it staged something; that of a switch is read by the scheduler, a moment before
 * our program runs, and the hypervisor may come between. A plain drain leaves that much time alone. The close of an interval interrupts every CPU
 * instead, which waits for a switch to be over, and is exact. With stacks it is shorter: a stack belongs to a wait that must be known by then, and to a process that
 * should still be there. What comes later than that is counted. */
#define SETTLE_NS 20000000ULL
#define SETTLE_STACKS_NS 2000000ULL

struct collector {
	struct observer *observer;
	struct world *world;
	struct merge *merge;
	struct limits *limits;
	struct budget *budget; /* NULL: none */
	struct symbolizer *symbolizer; /* NULL: no stacks are taken */
	uint64_t look_min_ns; /* waits whose stacks are read: from this long; 0: none are */
	uint64_t looked_ns, look_ns; /* when that was done last, and how long it took */
	uint64_t active_ns; /* when records, or agents, came in last, or waits were left for the next look */
	double pause_ms, drain_max_ms;
	bool prompt; /* stacks are named at once */
	uint64_t new_ns; /* when a process last was seen for the first time */
	struct so_snap *snaps;
	int snaps_len, snaps_cap;
	int err; /* of a callback */
	collector_candidate_fn candidate_fn;
	void *candidate_ctx;
	uint32_t *candidates; /* reported after the records are worked off, since it may seed */
	int candidates_len, candidates_cap;
	struct collector_counts counts;
	int statm_fd;
	struct { /* at the last collector_observe() */
		uint64_t cpu_ns, bpf_ns, records, late, lost[SO_LOSS_COUNT], orphans, skipped, refused, tables_full;
	} told;
};

struct collector *collector_new(struct observer *o, struct world *w, double drain_max_ms)
{
	struct collector *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->observer = o;
	c->world = w;
	c->drain_max_ms = drain_max_ms;
	c->pause_ms = DRAIN_MIN_MS;
	c->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	c->merge = merge_new();
	c->limits = limits_new();
	if (!c->merge || !c->limits) {
		collector_free(c);
		return NULL;
	}
	return c;
}

void collector_free(struct collector *c)
{
	if (!c)
		return;
	merge_free(c->merge);
	limits_free(c->limits);
	budget_free(c->budget);
	symbolizer_free(c->symbolizer);
	cleanup_close(&c->statm_fd);
	free(c->snaps);
	free(c->candidates);
	free(c);
}

int collector_budget(struct collector *c, double share)
{
	c->budget = budget_new(c->observer, share);
	return c->budget ? 0 : -ENOMEM;
}

void collector_start(struct collector *c, uint64_t start_ns)
{
	if (c->budget)
		budget_start(c->budget, start_ns);
	collector_observe(c, &(struct observer_data){});
}

void collector_trapped(struct collector *c, double seconds)
{
	if (c->budget)
		budget_trapped(c->budget, seconds);
}

void collector_on_candidate(struct collector *c, collector_candidate_fn fn, void *ctx)
{
	c->candidate_fn = fn;
	c->candidate_ctx = ctx;
}

static void on_batch(void *ctx, const void *data, size_t size)
{
	struct collector *c = ctx;
	int err = merge_add(c->merge, data, size);

	if (err == -EBADMSG)
		c->counts.bad++;
	else if (err)
		c->err = err;
}

static void candidate_note(struct collector *c, uint32_t tgid)
{
	if (c->candidates_len == c->candidates_cap) {
		int cap = c->candidates_cap ? 2 * c->candidates_cap : 64;
		uint32_t *p = realloc(c->candidates, cap * sizeof(*p));

		if (!p) {
			c->err = -ENOMEM;
			return;
		}
		c->candidates = p;
		c->candidates_cap = cap;
	}
	c->candidates[c->candidates_len++] = tgid;
}

int collector_stacks(struct collector *c, uint64_t offcpu_min_ns, bool prompt)
{
	c->symbolizer = symbolizer_new();
	c->look_min_ns = offcpu_min_ns;
	c->prompt = prompt;
	c->new_ns = clock_ns();
	return c->symbolizer ? 0 : -ENOMEM;
}

/* What looks at single processes, and who turns addresses into names, hears of each. */
static void process_seen(struct collector *c, uint32_t tgid, unsigned slot, enum seen how, uint64_t since_ns)
{
	observer_process_seen(c->observer, tgid, slot, how, since_ns);
	c->new_ns = clock_ns();
	if (c->symbolizer)
		symbolizer_exec(c->symbolizer, tgid);
}

static void process_gone(struct collector *c, uint32_t tgid)
{
	observer_process_gone(c->observer, tgid);
	if (c->symbolizer)
		symbolizer_exit(c->symbolizer, tgid);
}

static void processes_note(struct collector *c, const struct so_head *r)
{
	const struct so_fork *f = (const void *)r;
	const struct so_exit *e = (const void *)r;

	switch (r->kind) {
	case SO_FORK:
		if (f->child_tid == f->child_tgid)
			process_seen(c, f->child_tgid, r->agent, SEEN_FORKED, r->time_ns);
		break;
	case SO_EXEC:
		process_seen(c, ((const struct so_exec *)r)->tgid, r->agent, SEEN_EXEC, r->time_ns);
		break;
	case SO_EXIT:
		if (e->group_dead)
			process_gone(c, e->tgid);
		break;
	}
}

static void on_stack(void *ctx, const struct so_stack *s)
{
	struct collector *c = ctx;

	c->counts.received[SO_STACK]++;
	if (c->symbolizer)
		world_stack(c->world, s, symbolizer_stack(c->symbolizer, s, world_stacks(c->world)));
}

/* Whether there can be waits that have not been looked at: each begins with a record. */
static bool looks_matter(const struct collector *c, uint64_t now)
{
	return c->look_min_ns && now - c->active_ns < LOOKS_AFTER * c->look_min_ns;
}

/* Has waits looked at, about once in half their shortest length, or, where there are many tasks, as often as LOOK_SHARE allows. */
static int waits_look(struct collector *c)
{
	uint64_t now = clock_ns(), pause_ns = LOOK_SHARE * c->look_ns;
	int left;

	if (pause_ns < c->look_min_ns / 2)
		pause_ns = c->look_min_ns / 2;
	if (!looks_matter(c, now) || now - c->looked_ns < pause_ns)
		return 0;
	left = observer_look(c->observer, c->look_min_ns);
	c->looked_ns = now;
	c->look_ns = clock_ns() - now;
	if (left > 0)
		c->active_ns = now;
	return left < 0 ? left : 0;
}

/* Has waits looked at, and works off the stacks that are there: returns how many, or negative errno. */
static int stacks_work(struct collector *c)
{
	int n;

	if (!c->symbolizer)
		return 0;
	n = waits_look(c);
	if (n < 0)
		return n;
	n = observer_stacks(c->observer, on_stack, c);
	symbolizer_work(c->symbolizer);
	return n;
}

static void on_record(void *ctx, const struct so_head *r)
{
	struct collector *c = ctx;

	c->counts.received[r->kind]++;
	if (c->budget)
		budget_record(c->budget, r);
	processes_note(c, r);
	if (r->kind == SO_CANDIDATE)
		candidate_note(c, ((const struct so_candidate *)r)->tgid);
	else
		world_record(c->world, r);
}

static void on_blind(void *ctx, bool blind, uint64_t at_ns)
{
	world_blind(((struct collector *)ctx)->world, blind, at_ns);
}

static void on_traffic(void *ctx, unsigned slot, uint64_t sent_bytes, uint64_t received_bytes)
{
	world_traffic(((struct collector *)ctx)->world, slot, sent_bytes, received_bytes);
}

static void candidates_tell(struct collector *c)
{
	for (int i = 0; i < c->candidates_len && c->candidate_fn; i++)
		c->candidate_fn(c->candidate_ctx, c->candidates[i]);
	c->candidates_len = 0;
}

/* stacks: how many samples came. Where waits are looked at, nothing tells in time that one has begun, so that the pauses stay short. */
static void pause_adapt(struct collector *c, int64_t bytes, int stacks)
{
	bool busy = bytes || stacks || c->look_min_ns;
	double most_ms = c->drain_max_ms;

	if (c->symbolizer && most_ms > STACKS_DRAIN_MS && (c->prompt || clock_ns() - c->new_ns < NEW_NS))
		most_ms = STACKS_DRAIN_MS;
	if (bytes > BATCH_BUSY_BYTES)
		c->pause_ms /= 2;
	else if (bytes < BATCH_CALM_BYTES)
		c->pause_ms *= 2;
	if (c->pause_ms < DRAIN_MIN_MS)
		c->pause_ms = DRAIN_MIN_MS;
	if (looks_matter(c, clock_ns()) && c->pause_ms > c->look_min_ns / 2e6)
		c->pause_ms = c->look_min_ns / 2e6;
	if (busy && c->pause_ms > most_ms)
		c->pause_ms = most_ms;
	if (c->pause_ms > DRAIN_IDLE_MS)
		c->pause_ms = DRAIN_IDLE_MS;
	if (c->symbolizer)
		observer_doze(c->observer, c->pause_ms > most_ms);
}

int64_t collector_drain(struct collector *c)
{
	uint64_t now = clock_ns();
	int busy = observer_flush(c->observer, false);
	int64_t bytes = observer_drain(c->observer, on_batch, c);
	int stacks;

	if (bytes < 0)
		return bytes;
	observer_blind_take(c->observer, on_blind, c);
	if (bytes)
		c->active_ns = now;
	if (busy == 0)
		merge_run(c->merge, now - (c->symbolizer ? SETTLE_STACKS_NS : SETTLE_NS), on_record, c);
	candidates_tell(c);
	stacks = stacks_work(c);
	if (stacks < 0)
		return stacks;
	pause_adapt(c, bytes, stacks);
	if (c->budget)
		budget_tick(c->budget);
	return c->err ? c->err : bytes;
}

double collector_pause_ms(const struct collector *c)
{
	return c->budget ? budget_pause_ms(c->budget, c->pause_ms) : c->pause_ms;
}

static void on_snap(void *ctx, const struct so_snap *s)
{
	struct collector *c = ctx;

	if (c->snaps_len == c->snaps_cap) {
		int cap = c->snaps_cap ? 2 * c->snaps_cap : 256;
		struct so_snap *p = realloc(c->snaps, cap * sizeof(*p));

		if (!p) {
			c->err = -ENOMEM;
			return;
		}
		c->snaps = p;
		c->snaps_cap = cap;
	}
	c->snaps[c->snaps_len++] = *s;
}

/* Empties all staging buffers and the ring, so that no record older than the call is missing. */
static int drain_all(struct collector *c)
{
	int busy = 0;

	for (int i = 0; i < FLUSH_TRIES; i++) {
		int64_t bytes;

		busy = observer_flush(c->observer, true);
		bytes = observer_drain(c->observer, on_batch, c);
		if (bytes < 0)
			return bytes;
		if (busy <= 0)
			break;
	}
	return busy < 0 ? busy : 0;
}

/* Takes a snapshot and works off records and snapshot in one order of time. */
static int snapshot_apply(struct collector *c)
{
	int err;

	c->snaps_len = 0;
	err = observer_snapshot(c->observer, on_snap, c);
	if (!err)
		err = drain_all(c);
	if (err)
		return err;
	for (int i = 0; i < c->snaps_len; i++) {
		merge_run(c->merge, c->snaps[i].now_ns, on_record, c);
		if (c->snaps[i].flags & SO_SNAP_LEADER && !world_has_process(c->world, c->snaps[i].tgid))
			process_seen(c, c->snaps[i].tgid, c->snaps[i].agent, SEEN_RUNNING, 0);
		world_snap(c->world, &c->snaps[i]);
	}
	return c->err;
}

static void agent_limits(struct collector *c, int place)
{
	struct limits_reading r;

	limits_read(c->limits, world_agent_info(c->world, place)->pid, &r);
	world_limits(c->world, place, &r);
}

static void limits_base(struct collector *c)
{
	limits_begin(c->limits);
	for (int place = 0; place < world_places(c->world); place++)
		if (!world_limits_known(c->world, place))
			agent_limits(c, place);
}

static void limits_close(struct collector *c)
{
	limits_begin(c->limits);
	for (int place = 0; place < world_places(c->world); place++)
		if (world_limits_wanted(c->world, place))
			agent_limits(c, place);
	limits_end(c->limits);
}

int collector_baseline(struct collector *c)
{
	int err;

	c->active_ns = clock_ns();
	err = snapshot_apply(c);
	/* Afterwards: the kernel's first sums over a cgroup's descendants take up to 36 ms. */
	limits_base(c);
	return err;
}

static void on_kmem(void *ctx, unsigned slot, uint32_t bytes, uint64_t count)
{
	struct collector *c = ctx;

	world_kmem(c->world, slot, bytes, count);
}

static void on_rival(void *ctx, unsigned slot, const char comm[SO_COMM_BYTES], uint64_t ns)
{
	struct collector *c = ctx;

	world_rival(c->world, slot, comm, ns);
}

static void on_socket(void *ctx, uint32_t number)
{
	struct collector *c = ctx;

	world_socket_seen(c->world, number);
}

/* Forgets connections whose end nothing told of. A walk looks at every open file of every agent, so it is rare. */
static void sockets_walk(struct collector *c)
{
	if (!world_sockets_due(c->world))
		return;
	world_sockets_begin(c->world);
	if (!observer_sockets(c->observer, on_socket, c))
		world_sockets_end(c->world);
}

int collector_close(struct collector *c, bool last, uint64_t *ret_end_ns)
{
	int err;

	*ret_end_ns = clock_ns(); /* before the flush, so that everything up to it is at hand */
	err = drain_all(c);
	if (err)
		return err;
	observer_blind_take(c->observer, on_blind, c);
	merge_run(c->merge, *ret_end_ns, on_record, c);
	world_close_begin(c->world, *ret_end_ns);
	err = snapshot_apply(c);
	observer_kmem_read(c->observer, on_kmem, c);
	observer_rivals_take(c->observer, on_rival, c);
	observer_traffic_read(c->observer, on_traffic, c);
	if (last) /* nothing more will be asked: what the ring holds counts as received */
		merge_run(c->merge, UINT64_MAX, on_record, c);
	if (!err) {
		int stacks = stacks_work(c);

		err = stacks < 0 ? stacks : 0;
	}
	sockets_walk(c);
	limits_close(c);
	world_close_end(c->world, last);
	if (c->budget)
		budget_close(c->budget, c->world);
	if (!last)
		candidates_tell(c);
	return err;
}

static void on_released(void *ctx, uint32_t tgid)
{
	process_gone(ctx, tgid);
}

int collector_release(struct collector *c)
{
	uint32_t slots[SO_MAX_AGENTS];
	int n = world_releases(c->world, slots, on_released, c), err;

	if (!n)
		return 0;
	err = observer_release(c->observer, slots, n);
	return err ? err : n;
}

static uint64_t process_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static uint64_t self_rss_bytes(const struct collector *c)
{
	char buf[128] = "";
	unsigned long long pages = 0;

	if (pread(c->statm_fd, buf, sizeof(buf) - 1, 0) > 0)
		sscanf(buf, "%*u %llu", &pages);
	return pages * sysconf(_SC_PAGESIZE);
}

const struct collector_counts *collector_counts(struct collector *c)
{
	c->counts.late = merge_late(c->merge);
	return &c->counts;
}

static uint64_t delta(uint64_t *told, uint64_t now)
{
	uint64_t d = now - *told;

	*told = now;
	return d;
}

static void loss_tell(struct observer_data *ret, const char *reason, uint64_t *told, uint64_t now)
{
	observer_data_lost(ret, reason, delta(told, now));
}

void collector_observe(struct collector *c, struct observer_data *ret)
{
	static const char *const loss_names[SO_LOSS_COUNT] = {
#define X(id, value, name, help) [value] = name,
		SO_LOSSES(X)
#undef X
	};
	struct observer_counts n;
	uint64_t records = 0;

	observer_counts_read(c->observer, &n);
	memset(ret, 0, sizeof(*ret));
	for (int k = 0; k < SO_KINDS; k++)
		records += c->counts.received[k];
	ret->records = delta(&c->told.records, records);
	ret->cpu_s = delta(&c->told.cpu_ns, process_cpu_ns()) / 1e9;
	ret->bpf_s = n.bpf_runs ? delta(&c->told.bpf_ns, n.bpf_ns) / 1e9 : -1;
	ret->rss_bytes = self_rss_bytes(c);
	if (c->budget)
		budget_take(c->budget, &ret->cost);
	for (int r = 0; r < SO_LOSS_COUNT; r++) {
		uint64_t lost = 0;

		if (!loss_names[r])
			continue;
		for (int k = 0; k < SO_KINDS; k++)
			lost += n.lost[k][r];
		loss_tell(ret, loss_names[r], &c->told.lost[r], lost);
	}
	loss_tell(ret, "late", &c->told.late, merge_late(c->merge)); /* received, but out of order */
	loss_tell(ret, "orphan", &c->told.orphans, world_orphans(c->world)); /* received, but of nobody known */
	loss_tell(ret, "skipped", &c->told.skipped, n.skipped); /* of anybody's events: a thread was preempted or interrupted within the same program */
	loss_tell(ret, "stacks_full", &c->told.refused, stacks_refused(world_stacks(c->world))); /* received, but new, and the table was full: they count as "(other)" */
	loss_tell(ret, "table_full", &c->told.tables_full, n.tables_full); /* see struct observer_counts */
}
