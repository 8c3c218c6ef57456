/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collect/peers.h"
#include "lib/util.h"

struct world *world_new(const bool probe_on[PROBE_COUNT])
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	memcpy(w->probe_on, probe_on, sizeof(w->probe_on));
	w->peers_kept = PEERS_KEPT;
	w->offcpu_min_ns = w->leak_age_ns = UINT64_MAX;
	w->stacks = stacks_new();
	if (!w->stacks) {
		free(w);
		return NULL;
	}
	memset(w->by_slot, -1, sizeof(w->by_slot));
	w->boundary_ns = UINT64_MAX;
	return w;
}

/* Frees what it has. */
static void agent_fini(struct agent *a)
{
	agent_info_fini(&a->info);
	agent_data_fini(&a->cur);
	agent_data_fini(&a->held);
	agent_data_fini(&a->total);
	free(a->tool_cpu);
	sites_free(a->sites);
	account_agent_fini(a);
	peers_agent_fini(a);
}

void world_free(struct world *w)
{
	struct task *t, *tt;
	struct proc *p, *pp;

	if (!w)
		return;
	HASH_ITER(hh, w->tasks, t, tt) {
		HASH_DEL(w->tasks, t);
		free(t);
	}
	sockets_fini(w);
	HASH_ITER(hh, w->procs, p, pp) {
		HASH_DEL(w->procs, p);
		spans_fini(&p->children);
		free(p->waits.at);
		free(p->open.at);
		blocks_free(p->blocks);
		free(p);
	}
	stacks_free(w->stacks);
	for (int i = 0; i < w->len; i++) {
		agent_fini(w->agents[i]);
		free(w->agents[i]);
	}
	for (int i = 0; i < SO_MAX_AGENTS; i++)
		free(w->kmem[i]);
	spans_fini(&w->blinds);
	free(w->changes);
	free(w->agents);
	free(w->interval);
	free(w->total);
	free(w->infos);
	free(w->interval_infos);
	free(w);
}

static int world_grow(struct world *w)
{
	int cap = w->cap ? 2 * w->cap : 16;
	void *agents = realloc(w->agents, cap * sizeof(*w->agents)), *p;

	if (!agents)
		return -ENOMEM;
	w->agents = agents;
	if (!(p = realloc(w->interval, cap * sizeof(*w->interval))))
		return -ENOMEM;
	w->interval = p;
	if (!(p = realloc(w->total, cap * sizeof(*w->total))))
		return -ENOMEM;
	w->total = p;
	if (!(p = realloc(w->infos, cap * sizeof(*w->infos))))
		return -ENOMEM;
	w->infos = p;
	if (!(p = realloc(w->interval_infos, cap * sizeof(*w->interval_infos))))
		return -ENOMEM;
	w->interval_infos = p;
	w->cap = cap;
	return 0;
}

/* An agent in a place of its own, all zero. NULL when out of memory. */
static struct agent *agent_place(struct world *w)
{
	struct agent *a;

	for (int i = 0; i < w->len && w->forgets; i++)
		if (w->agents[i]->forgotten) {
			*w->agents[i] = (struct agent){ .place = i };
			return w->agents[i];
		}
	if (w->len == w->cap && world_grow(w))
		return NULL;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->place = w->len;
	w->agents[w->len++] = a;
	return a;
}

int world_agent_add(struct world *w, struct agent_info *info)
{
	struct agent *a;
	int slot;

	for (slot = 1; slot < SO_MAX_AGENTS && w->by_slot[slot] >= 0; slot++)
		;
	if (slot == SO_MAX_AGENTS)
		return -ENOSPC;
	a = agent_place(w);
	if (!a)
		return -ENOMEM;
	a->info = *info;
	memset(info, 0, sizeof(*info));
	a->info.id = a->cur.id = a->total.id = w->ids++;
	a->slot = slot;
	a->alive = true;
	w->by_slot[slot] = a->place;
	w->alive++;
	return slot;
}

int world_agents(const struct world *w)
{
	return w->ids;
}

void world_agent_release(struct world *w, int place, bool on)
{
	if (w->agents[place]->alive)
		w->agents[place]->releasing = on;
}

int world_agent_slot(const struct world *w, int place)
{
	return w->agents[place]->alive ? w->agents[place]->slot : 0;
}

/* One whose tasks are still there after a first time has had some born meanwhile. */
int world_releases(const struct world *w, uint32_t *slots, world_process_fn fn, void *ctx)
{
	struct proc *p, *pp;
	int n = 0;

	for (int i = 0; i < w->len; i++)
		if (w->agents[i]->releasing && w->agents[i]->slot && !w->agents[i]->alive)
			slots[n++] = w->agents[i]->slot;
	if (n && fn)
		HASH_ITER(hh, w->procs, p, pp)
			if (w->agents[p->agent]->releasing)
				fn(ctx, p->tgid);
	return n;
}

void world_forgets(struct world *w)
{
	w->forgets = true;
}

int world_places(const struct world *w)
{
	return w->len;
}

const struct agent_info *world_agent_info(const struct world *w, int place)
{
	return w->agents[place]->forgotten ? NULL : &w->agents[place]->info;
}

int world_agents_alive(const struct world *w)
{
	return w->alive;
}

uint64_t world_orphans(const struct world *w)
{
	return w->orphans;
}

int world_agent_of(const struct world *w, uint32_t tgid)
{
	struct proc *p = proc_find(w, tgid);

	return p ? p->agent : -1;
}

int world_agent_find(const struct world *w, int pid, uint64_t start_ticks)
{
	for (int i = 0; i < w->len; i++)
		if (w->agents[i]->alive && w->agents[i]->info.pid == pid && w->agents[i]->info.start_ticks == start_ticks)
			return i;
	return -1;
}

struct agent *agent_by_slot(const struct world *w, unsigned slot)
{
	return slot && slot < SO_MAX_AGENTS && w->by_slot[slot] >= 0 ? w->agents[w->by_slot[slot]] : NULL;
}

struct sets sets_of(struct agent *a, const struct proc *p)
{
	struct sets s = { { &a->cur.metrics }, 1 };

	if (p && p->tool >= 0 && p->agent == a->place) /* a socket may have been handed to another agent */
		s.of[s.len++] = &a->cur.tools[p->tool].metrics;
	return s;
}

void count(const struct world *w, struct sets s, enum metric_id m, uint64_t n)
{
	if (w->probe_on[metric_infos[m].probe])
		for (int i = 0; i < s.len; i++)
			metric_add(s.of[i], m, n);
}

void record(const struct world *w, struct sets s, enum metric_id m, uint64_t value)
{
	if (w->probe_on[metric_infos[m].probe])
		for (int i = 0; i < s.len; i++)
			metric_record(s.of[i], m, value);
}

void record_sum(const struct world *w, struct sets s, enum metric_id m, uint64_t sum, uint64_t n)
{
	uint64_t mean, above;

	if (!n || !w->probe_on[metric_infos[m].probe])
		return;
	mean = sum / n;
	above = sum % n; /* so many are one higher */
	for (int i = 0; i < s.len; i++) {
		if (above && !metric_record(s.of[i], m, mean + 1))
			hist_record_n(s.of[i]->hist[m], mean + 1, above - 1);
		if (!metric_record(s.of[i], m, mean))
			hist_record_n(s.of[i]->hist[m], mean, n - above - 1);
	}
}

void agent_end(struct world *w, struct agent *a)
{
	if (!a->alive)
		return;
	a->alive = false;
	w->alive--;
}

void world_peers(struct world *w, const struct peer_rules *rules, int kept)
{
	w->rules = rules;
	w->peers_kept = kept;
}

void world_traffic(struct world *w, unsigned slot, uint64_t sent_bytes, uint64_t received_bytes)
{
	struct agent *a = agent_by_slot(w, slot);

	if (slot >= SO_MAX_AGENTS)
		return;
	if (a) {
		count(w, sets_of(a, NULL), M_SENT_BYTES, minus(sent_bytes, w->traffic[slot].sent_bytes));
		count(w, sets_of(a, NULL), M_RECEIVED_BYTES, minus(received_bytes, w->traffic[slot].received_bytes));
	}
	w->traffic[slot] = (struct so_traffic){ sent_bytes, received_bytes };
}

void world_blind(struct world *w, bool blind, uint64_t at_ns)
{
	struct blind_change *p;

	if (w->changes_len == w->changes_cap) {
		size_t cap = w->changes_cap ? 2 * w->changes_cap : 16;

		p = reallocarray(w->changes, cap, sizeof(*p));
		if (!p)
			return;
		w->changes = p;
		w->changes_cap = cap;
	}
	w->changes[w->changes_len++] = (struct blind_change){ at_ns, blind };
}

/* Makes the changes that lie up to upto_ns. */
static void changes_make(struct world *w, uint64_t upto_ns)
{
	size_t n = 0;

	for (; n < w->changes_len && w->changes[n].at_ns <= upto_ns; n++) {
		const struct blind_change *c = &w->changes[n];

		if (c->blind == w->blind)
			continue;
		if (c->blind)
			sockets_blind(w, c->at_ns);
		else
			spans_add(&w->blinds, (struct span){ w->blind_ns, c->at_ns, 0, STATE_POLL });
		w->blind = c->blind;
		w->blind_ns = c->at_ns;
	}
	w->changes_len -= n;
	memmove(w->changes, w->changes + n, w->changes_len * sizeof(*w->changes));
}

void world_record(struct world *w, const struct so_head *h)
{
	if (w->changes_len)
		changes_make(w, h->time_ns);
	w->now_ns = h->time_ns;
	switch (h->kind) {
	case SO_CYCLE:
	case SO_CYCLE_LONG:
	case SO_CYCLES:
	case SO_FORK:
	case SO_EXEC:
	case SO_EXIT:
	case SO_SIGNAL:
		tasks_record(w, h);
		break;
	case SO_MAP: {
		const struct so_map *r = (const void *)h;
		struct task *t = task_find(w, h->tid);
		struct agent *a = agent_by_slot(w, h->agent);

		if (a)
			record(w, sets_of(a, t ? t->proc : NULL), M_MAP_BYTES, r->bytes);
		else
			w->orphans++;
		break;
	}
	case SO_ALLOC:
	case SO_ALLOC_LONG:
	case SO_FREE:
	case SO_GC:
		allocations_record(w, h);
		break;
	default:
		sockets_record(w, h);
	}
}

struct stacks *world_stacks(struct world *w)
{
	return w->stacks;
}

void world_thresholds(struct world *w, uint64_t offcpu_min_ns, uint64_t leak_age_ns)
{
	w->offcpu_min_ns = offcpu_min_ns;
	w->leak_age_ns = leak_age_ns;
}

void world_note(struct world *w, unsigned slot, const char *text)
{
	struct agent *a = agent_by_slot(w, slot);

	if (a)
		agent_data_note(&a->cur, text);
}

void world_heap(struct world *w, unsigned slot, const struct heap_data *delta)
{
	struct agent *a = agent_by_slot(w, slot);

	if (a)
		heap_data_merge(&a->cur.heap, delta);
}

void world_rival(struct world *w, unsigned slot, const char name[SO_COMM_BYTES], uint64_t ns)
{
	struct agent *a = agent_by_slot(w, slot);

	if (a && ns)
		agent_data_rival(&a->cur, name, ns);
}

bool world_has_process(const struct world *w, uint32_t tgid)
{
	return proc_find(w, tgid);
}

void world_kmem(struct world *w, unsigned slot, uint32_t bytes, uint64_t n)
{
	struct agent *a = agent_by_slot(w, slot);
	struct kmem *k;
	int i;

	if (!slot || slot >= SO_MAX_AGENTS)
		return;
	for (i = 0; i < w->kmem_len[slot] && w->kmem[slot][i].bytes != bytes; i++)
		;
	if (i == w->kmem_len[slot]) {
		k = realloc(w->kmem[slot], (i + 1) * sizeof(*k));
		if (!k)
			return;
		w->kmem[slot] = k;
		w->kmem[slot][w->kmem_len[slot]++] = (struct kmem){ .bytes = bytes };
	}
	k = &w->kmem[slot][i];
	if (a && n > k->count) {
		metric_add(&a->cur.metrics, M_KERNEL_ALLOC_BYTES, (n - k->count) * bytes);
		if (!metric_record(&a->cur.metrics, M_KERNEL_ALLOC_SIZE_BYTES, bytes))
			hist_record_n(a->cur.metrics.hist[M_KERNEL_ALLOC_SIZE_BYTES], bytes, n - k->count - 1);
	}
	k->count = n;
}

static void interval_finish(struct world *w, uint64_t upto_ns, uint64_t now_ns);

void world_close_begin(struct world *w, uint64_t end_ns)
{
	struct task *t, *tt;
	struct proc *p, *pp;

	if (w->holding) /* the caller forgot it: it counts in the total at least */
		interval_finish(w, w->start_ns, end_ns);
	if (w->changes_len)
		changes_make(w, end_ns);
	w->boundary_ns = end_ns;
	HASH_ITER(hh, w->tasks, t, tt)
		t->seen = false;
	HASH_ITER(hh, w->procs, p, pp) {
		p->seen = false;
		p->rss = 0;
	}
}

/* How long the open wait has lasted, within the interval being closed and before. */
static uint64_t snap_wait_ns(const struct world *w, const struct so_snap *s)
{
	uint64_t wait_ns = minus(s->now_ns, s->base_ns + s->runq_ns + s->stint_ns), most_ns = w->boundary_ns - s->base_ns;

	return wait_ns < most_ns ? wait_ns : most_ns;
}

void world_snap(struct world *w, const struct so_snap *s)
{
	struct agent *a = agent_by_slot(w, s->agent);
	struct proc *p = proc_find(w, s->tgid);
	struct task *t = task_find(w, s->tid);

	if (!a)
		return;
	if (s->on == SO_ON_DEAD) { /* a zombie: its last record has been, or comes; without the probe sched none does */
		if (t)
			t->seen = w->probe_on[PROBE_SCHED];
		if (p)
			p->seen = true;
		return;
	}
	if (p && p->agent != a->place) { /* the number is in use again, and records in between were lost */
		proc_remove(w, p);
		p = NULL;
	}
	if (t && t->agent != a->place) {
		task_remove(w, t);
		t = NULL;
	}
	if (!p && !(p = proc_add(w, a, s->tgid)))
		return;
	if (s->flags & SO_SNAP_TOOL && p->tool < 0 && !p->root)
		proc_set_tool(a, p, s->comm);
	if (!t && !(t = task_add(w, a, s->tid, p)))
		return;
	task_set_proc(t, p);
	proc_set_parent(w, p, s->parent_tgid);
	t->seen = p->seen = true;
	task_snap(w, t, s);
	memcpy(t->comm, s->comm, sizeof(t->comm));
	loop_wakers_tell(w, t);
	t->wait = s->wait;
	task_count(w, t,
		   (const uint64_t[COUNT_IDS]){ s->faults_minor, s->faults_major, s->migrations, s->utime_ns, s->stime_ns, s->exec_ns });
	account_post(w, t,
		     &(struct cycle_times){ .base_ns = s->base_ns, .now_ns = s->now_ns, .runq_ns = s->runq_ns, .stint_ns = s->stint_ns,
					    .wait = s->wait, .limited = s->flags & SO_SNAP_LIMITED, .several = s->flags & SO_SNAP_COARSE });
	if (s->wait && !t->coarse && s->base_ns < w->boundary_ns)
		stacks_wait(w, t, s->base_ns, snap_wait_ns(w, s), false);
	if (s->flags & SO_SNAP_LEADER) {
		p->rss = s->rss_bytes;
		p->rss_peak = s->rss_peak_bytes;
	}
}

/* What the CPU time grew by, split into user and system so that neither ever shrinks. orphan: the agent itself has ended. */
static void cpu_tell(const struct world *w, struct cpu_split *c, struct metric_set *s, bool orphan)
{
	uint64_t ticks = c->user_ticks_ns + c->system_ticks_ns, told = c->user_told_ns + c->system_told_ns, user, grown;

	if (!w->probe_on[PROBE_SCHED] && !w->probe_on[PROBE_CORE])
		return;
	grown = minus(c->exec_ns, told);
	user = ticks ? (uint64_t)((unsigned __int128)c->exec_ns * c->user_ticks_ns / ticks) : c->exec_ns;
	user = minus(user, c->user_told_ns);
	if (user > grown)
		user = grown;
	c->user_told_ns += user;
	c->system_told_ns += grown - user;
	s->value[M_CPU_USER_NS] += user;
	s->value[M_CPU_SYSTEM_NS] += grown - user;
	if (orphan)
		s->value[M_ORPHAN_CPU_NS] += grown;
}

/* Processes that live on: since when, within the interval being closed. */
static void orphans_count(struct world *w)
{
	struct proc *p, *pp;

	if (w->alive == w->len && !w->forgets)
		return;
	HASH_ITER(hh, w->procs, p, pp) {
		struct agent *a = w->agents[p->agent];
		uint64_t since_ns = a->end_ns > w->start_ns ? a->end_ns : w->start_ns;
		struct sets s = sets_of(a, p);

		if (a->alive || p->root || !a->end_ns || since_ns >= w->boundary_ns)
			continue;
		count(w, s, M_ORPHANS, 1);
		count(w, s, M_ORPHAN_NS, w->boundary_ns - since_ns);
	}
}

static void agent_gauges(const struct world *w, struct agent *a, uint64_t rss, uint64_t rss_peak)
{
	struct metric_set *s = &a->cur.metrics;
	bool orphan;

	if (w->probe_on[PROBE_PROC]) {
		s->value[M_THREADS] = a->tasks;
		s->value[M_PROCESSES] = a->procs;
	}
	if (w->probe_on[PROBE_MEM]) {
		s->value[M_RSS_BYTES] = rss;
		s->value[M_RSS_PEAK_BYTES] = rss_peak + a->dead_rss_peak;
	}
	a->dead_rss_peak = 0;
	orphan = w->probe_on[PROBE_PROC] && a->told && !a->cur.alive; /* cur.alive: as the last interval had it */
	cpu_tell(w, &a->cpu, s, orphan);
	for (int i = 0; i < a->cur.tools_len; i++)
		cpu_tell(w, &a->tool_cpu[i], &a->cur.tools[i].metrics, orphan);
}

/* Seconds of the interval that the agent's main thread was there and watched. */
static double agent_observed_s(const struct world *w, const struct agent *a)
{
	uint64_t from = a->start_ns > w->start_ns ? a->start_ns : w->start_ns;
	uint64_t to = a->end_ns && a->end_ns < w->boundary_ns ? a->end_ns : w->boundary_ns;

	return a->start_ns && to > from ? (to - from) / 1e9 : 0;
}

static void agent_close(struct world *w, struct agent *a)
{
	bool was = a->cur.alive || !a->told;

	a->cur.alive = a->alive;
	a->cur.observed_s = agent_observed_s(w, a);
	a->spoke = a->alive || a->tasks || was || ledger_sum(&a->cur.threads);
	if (a->releasing && a->end_ns <= w->start_ns) /* its end has been told: what came until the kernel side had let go of it is nobody's */
		a->spoke = false;
	if (!a->spoke)
		return;
	a->told = true;
	allocations_close(a, w->boundary_ns);
	peers_close(w, a);
}

/* Removes what neither the snapshot nor a record knows any more, and sums resident memory by agent into rss[id][2]. */
static void gone_remove(struct world *w, uint64_t (*rss)[2])
{
	struct task *t, *tt;
	struct proc *p, *pp;

	HASH_ITER(hh, w->tasks, t, tt)
		if (!t->seen)
			task_remove(w, t);
	HASH_ITER(hh, w->procs, p, pp) {
		if (!p->threads) {
			proc_remove(w, p);
		} else if (rss) {
			rss[p->agent][0] += p->rss;
			rss[p->agent][1] += p->rss_peak;
		}
	}
}

void world_close_end(struct world *w, bool last)
{
	uint64_t(*rss)[2] = calloc(w->len + 1, sizeof(*rss));
	struct task *t, *tt;

	gone_remove(w, rss);
	orphans_count(w);
	if (last)
		HASH_ITER(hh, w->tasks, t, tt)
			task_open_record(w, t);
	sockets_rest(w, w->boundary_ns, last);
	w->finished = false;
	for (int i = 0; i < w->len; i++) {
		struct agent *a = w->agents[i];

		if (a->alive && a->releasing) {
			a->end_ns = w->boundary_ns;
			agent_end(w, a);
		}
		if (a->alive && !proc_find(w, a->info.pid)) /* gone before anything was seen of it */
			agent_end(w, a);
		agent_gauges(w, a, rss ? rss[i][0] : 0, rss ? rss[i][1] : 0);
		agent_close(w, a);
	}
	free(rss);
}

/* A slot is given up only between intervals: what the kernel side still counts by it belongs to the agent. */
static void agent_settle(struct world *w, struct agent *a)
{
	if (a->alive || a->tasks || !a->slot)
		return;
	w->by_slot[a->slot] = -1;
	a->slot = 0;
}

/* Nothing can come of it any more, and all that came has been told. */
static bool agent_over(const struct agent *a)
{
	return !a->forgotten && !a->slot && !a->procs && !a->tasks && !a->spoke;
}

/* A free place is an agent of which there is nothing to say. */
static void agent_forget(struct agent *a)
{
	agent_fini(a);
	*a = (struct agent){ .place = a->place, .forgotten = true, .told = true, .limits_known = true, .limits_over = true };
}

/* After a close: forgets agents that are over. A connection may outlive them, in somebody else's hands. */
static void agents_forget(struct world *w)
{
	bool *kept = NULL;
	struct conn *c, *cc;
	int over = 0;

	for (int i = 0; i < w->len; i++)
		over += agent_over(w->agents[i]);
	if (over)
		kept = calloc(w->len, sizeof(*kept));
	if (!kept)
		return;
	HASH_ITER(hh, w->conns, c, cc)
		kept[c->agent] = true;
	for (int i = 0; i < w->len; i++)
		if (agent_over(w->agents[i]) && !kept[i])
			agent_forget(w->agents[i]);
	free(kept);
}

/* The interval that begins has what was posted behind the end of the last one. */
static void agent_begin(struct agent *a)
{
	struct agent_data *d = &a->cur;

	d->main = a->next_main;
	d->threads = a->next_threads;
	memset(&a->next_main, 0, sizeof(a->next_main));
	memset(&a->next_threads, 0, sizeof(a->next_threads));
	memset(&d->critical, 0, sizeof(d->critical));
	memset(d->concurrency, 0, sizeof(d->concurrency));
	agent_data_extras_reset(d);
	metric_set_reset(&d->metrics);
	peers_next(a);
	for (int i = 0; i < d->tools_len; i++) {
		metric_set_reset(&d->tools[i].metrics);
		d->tools[i].main = a->next_tool[i];
		memset(&a->next_tool[i], 0, sizeof(a->next_tool[i]));
	}
}

static void interval_begin(struct world *w)
{
	w->start_ns = w->boundary_ns;
	w->boundary_ns = UINT64_MAX;
}

void world_next(struct world *w)
{
	int len;

	world_interval(w, &len);
	for (int i = 0; i < w->len; i++) {
		if (w->agents[i]->spoke)
			agent_begin(w->agents[i]);
		agent_settle(w, w->agents[i]);
	}
	interval_begin(w);
}

/* The tools keep their places: processes know them by index. */
static void agent_hold(struct agent *a)
{
	struct agent_data data = a->held;

	a->held = a->cur;
	a->cur = data;
	a->cur.id = a->held.id;
	a->cur.alive = a->held.alive;
	for (int i = 0; i < a->held.tools_len; i++) {
		struct tool_data *t = agent_data_tool(&a->cur, a->held.tools[i].name);

		if (t)
			t->runs_live = a->held.tools[i].runs_live;
	}
}

void world_hold(struct world *w)
{
	for (int i = 0; i < w->len; i++) {
		struct agent *a = w->agents[i];

		a->held_spoke = a->spoke;
		if (a->spoke) {
			agent_hold(a);
			agent_begin(a);
		}
		agent_settle(w, a);
	}
	if (w->forgets)
		agents_forget(w);
	interval_begin(w);
	w->holding = true;
}

/* Resolves the interval (the one held back, or the one just closed), and adds it to the total. */
static void interval_finish(struct world *w, uint64_t upto_ns, uint64_t now_ns)
{
	account_settle(w, upto_ns, now_ns);
	w->interval_len = 0;
	for (int i = 0; i < w->len; i++) {
		struct agent *a = w->agents[i];
		struct agent_data *d = w->holding ? &a->held : &a->cur;

		if (!(w->holding ? a->held_spoke : a->spoke))
			continue;
		if (!w->forgets)
			agent_data_merge(&a->total, d);
		a->total.alive = a->alive;
		w->interval_infos[w->interval_len] = &a->info;
		w->interval[w->interval_len++] = d;
	}
	w->holding = false;
}

const struct agent_data *const *world_peek(struct world *w, int *ret_len)
{
	w->interval_len = 0;
	for (int i = 0; i < w->len; i++) {
		if (!w->agents[i]->held_spoke)
			continue;
		w->interval_infos[w->interval_len] = &w->agents[i]->info;
		w->interval[w->interval_len++] = &w->agents[i]->held;
	}
	*ret_len = w->interval_len;
	return w->interval;
}

const struct agent_data *const *world_held(struct world *w, uint64_t now_ns, int *ret_len)
{
	if (w->holding)
		interval_finish(w, w->start_ns, now_ns);
	*ret_len = w->interval_len;
	return w->interval;
}

const struct agent_data *const *world_interval(struct world *w, int *ret_len)
{
	if (!w->finished)
		interval_finish(w, w->boundary_ns, w->boundary_ns);
	w->finished = true;
	*ret_len = w->interval_len;
	return w->interval;
}

const struct agent_info *const *world_interval_infos(const struct world *w)
{
	return w->interval_infos;
}

const struct agent_data *const *world_total(const struct world *w, const struct agent_info *const **ret_infos, int *ret_len)
{
	for (int i = 0; i < w->len; i++) {
		w->total[i] = &w->agents[i]->total;
		w->infos[i] = &w->agents[i]->info;
	}
	*ret_infos = w->infos;
	*ret_len = w->len;
	return w->total;
}

void world_start(struct world *w, uint64_t start_ns)
{
	w->start_ns = start_ns;
}

static size_t data_bytes(const struct agent_data *d)
{
	size_t n = metric_set_bytes(&d->metrics);

	for (int i = 0; i < d->tools_len; i++)
		n += sizeof(d->tools[i]) + metric_set_bytes(&d->tools[i].metrics);
	for (int i = 0; i < d->peers_len; i++)
		n += sizeof(d->peers[i]) + metric_set_bytes(&d->peers[i].metrics);
	for (int i = 0; i < SAMPLE_COUNT; i++)
		n += sample_set_bytes(&d->samples[i]);
	return n;
}

size_t world_bytes(const struct world *w)
{
	size_t n = sizeof(*w) + HASH_COUNT(w->tasks) * sizeof(struct task) + HASH_COUNT(w->procs) * sizeof(struct proc) + account_bytes(w) +
		   sockets_bytes(w) + stacks_bytes(w->stacks);

	for (int i = 0; i < w->len; i++) {
		const struct agent *a = w->agents[i];

		n += sizeof(*a) + data_bytes(&a->cur) + data_bytes(&a->held) + data_bytes(&a->total) + (a->sites ? sites_bytes(a->sites) : 0);
	}
	return n;
}

