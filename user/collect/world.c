/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The agents, and where what is told of them goes. */
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

void agent_fini(struct agent *a)
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

void changes_make(struct world *w, uint64_t upto_ns)
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
