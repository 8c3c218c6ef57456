/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/world_model.h"

#define COPIES_MAX 1024

static void gc_record(struct world *w, struct sets s, const struct so_gc *r)
{
	static const enum metric_id by_generation[] = {
		[SO_GENERATION_YOUNG] = M_GC_PAUSE_YOUNG_NS,
		[SO_GENERATION_MIDDLE] = M_GC_PAUSE_MIDDLE_NS,
		[SO_GENERATION_FULL] = M_GC_PAUSE_FULL_NS,
	};

	record(w, s, M_GC_PAUSE_NS, r->duration_ns);
	if (r->generation >= SO_GENERATION_YOUNG && r->generation <= SO_GENERATION_FULL)
		record(w, s, by_generation[r->generation], r->duration_ns);
}

static struct sites *agent_sites(const struct world *w, struct agent *a)
{
	if (!a->sites)
		a->sites = sites_new(w->leak_age_ns);
	return a->sites;
}

/* A block was given back at now_ns; f: NULL: it was not known. */
static void free_record(struct world *w, struct agent *a, struct proc *p, const struct freed *f, uint64_t now_ns)
{
	struct sets s = sets_of(a, p);

	count(w, s, M_HEAP_FREES, 1);
	if (f)
		record(w, s, M_HEAP_LIFETIME_NS, minus(now_ns, f->born_ns));
	else
		heap_data_merge(&a->cur.heap, &(struct heap_data){ .mode = HEAP_FULL, .kept = 1, .unknown_frees = 1 });
}

/* Whether the block that t had reallocated is given back shows in its next record. */
static void resize_end(struct world *w, struct agent *a, struct task *t, bool failed)
{
	struct resize *r = &t->resize;

	if (!r->since_ns)
		return;
	if (!failed)
		free_record(w, a, t->proc, r->known ? &r->block : NULL, r->since_ns);
	else if (r->known && t->proc && t->proc->blocks)
		blocks_restore(t->proc->blocks, &r->block);
	r->since_ns = 0;
}

/* Address 0: a sampling window saw it, and nothing else of the block's life; it counts `site` times, as its window stands for more calls than others. */
static void alloc_record(struct world *w, struct agent *a, struct task *t, uint64_t address, uint64_t bytes, uint32_t site)
{
	struct proc *p = t ? t->proc : NULL;
	struct sets s = sets_of(a, p);

	record(w, s, M_HEAP_ALLOC_BYTES, bytes);
	if (!address) {
		for (uint32_t i = 1; i < site && i < COPIES_MAX; i++)
			record(w, s, M_HEAP_ALLOC_BYTES, bytes);
		return;
	}
	count(w, s, M_HEAP_ALLOCS, 1);
	if (t)
		resize_end(w, a, t, false);
	if (!p || !agent_sites(w, a))
		return;
	if (!p->blocks)
		p->blocks = blocks_new(a->sites, p->tgid);
	if (p->blocks)
		blocks_alloc(p->blocks, address, bytes, site, w->now_ns);
}

static void on_free(struct world *w, struct agent *a, struct task *t, struct proc *p, const struct so_free *r)
{
	struct freed f = {};
	bool known;

	if (t)
		resize_end(w, a, t, r->flags == SO_FREE_NOT);
	if (r->flags == SO_FREE_NOT)
		return;
	known = p && p->blocks && blocks_release(p->blocks, r->address, &f);
	if (t && r->flags == SO_FREE_MAYBE)
		t->resize = (struct resize){ .since_ns = w->now_ns, .known = known, .block = f };
	else
		free_record(w, a, p, known ? &f : NULL, w->now_ns);
}

void allocations_record(struct world *w, const struct so_head *h)
{
	struct agent *a = agent_by_slot(w, h->agent);
	struct task *t = task_find(w, h->tid);
	struct proc *p;

	if (!a) {
		w->orphans++;
		return;
	}
	if (t && t->agent != a->place)
		t = NULL;
	p = t ? t->proc : NULL;
	switch (h->kind) {
	case SO_ALLOC: {
		const struct so_alloc *r = (const void *)h;

		alloc_record(w, a, t, r->address, r->bytes, r->site);
		break;
	}
	case SO_ALLOC_LONG: {
		const struct so_alloc_long *r = (const void *)h;

		alloc_record(w, a, t, r->address, r->bytes, r->site);
		break;
	}
	case SO_FREE:
		on_free(w, a, t, p, (const void *)h);
		break;
	case SO_GC:
		gc_record(w, sets_of(a, p), (const void *)h);
		break;
	}
}

void allocations_site(struct world *w, struct agent *a, const struct so_stack *s, uint32_t stack)
{
	if (agent_sites(w, a)) /* the stack may come before the first allocation */
		sites_stack(a->sites, s->tgid, (uint32_t)s->key, stack);
}

void allocations_proc_end(struct proc *p)
{
	blocks_free(p->blocks);
	p->blocks = NULL;
}

static void state_tell(struct agent *a, uint64_t now_ns)
{
	struct sample_set *s = a->cur.samples;
	struct heap_totals t;

	for (int i = 0; i < SAMPLE_COUNT; i++) /* a state that was told before, of processes that are gone */
		if (sample_infos[i].probe == PROBE_HEAP && sample_infos[i].last)
			sample_set_reset(&s[i]);
	sites_totals(a->sites, &t);
	a->cur.metrics.value[M_HEAP_LIVE_BYTES] = t.live_bytes;
	a->cur.metrics.value[M_HEAP_LIVE_BLOCKS] = t.live_blocks;
	heap_data_merge(&a->cur.heap, &(struct heap_data){ .mode = HEAP_FULL, .kept = t.kept });
	sites_close(a->sites, now_ns,
		    (struct sample_set *const[SITES_SETS]){
			    [SITES_ALLOC_BYTES] = &s[SAMPLE_ALLOC_BYTES],
			    [SITES_LIVE_BYTES] = &s[SAMPLE_LIVE_BYTES],
			    [SITES_LIVE_BLOCKS] = &s[SAMPLE_LIVE_BLOCKS],
			    [SITES_LEAK_BYTES] = &s[SAMPLE_LEAK_BYTES],
		    });
}

void allocations_last_proc(struct world *w, struct agent *a)
{
	if (a->sites)
		state_tell(a, w->now_ns);
}

void allocations_close(struct agent *a, uint64_t now_ns)
{
	if (a->sites && a->procs) /* else its last process has told */
		state_tell(a, now_ns);
}
