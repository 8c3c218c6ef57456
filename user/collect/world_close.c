/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The end of an interval: the snapshot that covers it, what it amounts to, and the beginning of the next one. */
#include <stdlib.h>
#include <string.h>

#include "collect/peers.h"

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
