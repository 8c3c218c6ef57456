/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Stack samples. One of a wait (probe offcpu) comes while the wait lasts, and weighs nothing by itself: what the wait's stack is charged is how long
 * it was, as the records of scheduling cycles tell. So the sum over all stacks is that of all waits from the threshold on; what ended
 * before anybody looked is charged to STACK_OTHER.
 */
#include <stdlib.h>

#include "collect/world_model.h"

/* A stack that comes after its wait is over is of no use: the wait has been charged. */
static void wait_sampled(struct world *w, const struct agent *a, const struct so_stack *s, uint32_t stack)
{
	struct task *t = task_find(w, s->head.tid);

	if (!t || t->agent != a->place || s->key < t->sampled.base_ns)
		return;
	if (s->key > t->sampled.base_ns)
		t->sampled = (struct sampled_wait){ .base_ns = s->key };
	t->sampled.stack = stack;
}

void stacks_wait(struct world *w, struct task *t, uint64_t base_ns, uint64_t wait_ns, bool over)
{
	struct sampled_wait *s = &t->sampled;

	if (!w->probe_on[PROBE_OFFCPU])
		return;
	if (s->base_ns != base_ns)
		*s = (struct sampled_wait){ .base_ns = base_ns };
	if (wait_ns < w->offcpu_min_ns || wait_ns <= s->told_ns || (!over && s->stack == STACK_OTHER)) /* which may come yet */
		return;
	sample_set_add(&w->agents[t->agent]->cur.samples[SAMPLE_OFFCPU_NS], s->stack, wait_ns - s->told_ns);
	s->told_ns = wait_ns;
}

void world_stack(struct world *w, const struct so_stack *s, uint32_t stack)
{
	struct agent *a = agent_by_slot(w, s->head.agent);

	if (!a) {
		w->orphans++;
		return;
	}
	switch (s->sample) {
	case SO_SAMPLE_CPU:
		sample_set_add(&a->cur.samples[SAMPLE_CPU_NS], stack, s->value);
		count(w, sets_of(a, proc_find(w, s->tgid)), M_PROFILE_SAMPLES, 1);
		break;
	case SO_SAMPLE_OFFCPU:
		wait_sampled(w, a, s, stack);
		break;
	case SO_SAMPLE_ALLOC:
		sample_set_add(&a->cur.samples[SAMPLE_ALLOC_BYTES], stack, s->key);
		break;
	case SO_SAMPLE_SITE:
		allocations_site(w, a, s, stack);
		break;
	}
}

/* --- giving back --- */

struct renumbering {
	bool keep[STACKS_MAX];
	uint32_t numbers[STACKS_MAX];
};

static void stack_mark(void *ctx, uint32_t *stack)
{
	struct renumbering *r = ctx;

	r->keep[*stack] = true;
}

static void stack_renumber(void *ctx, uint32_t *stack)
{
	struct renumbering *r = ctx;

	*stack = r->numbers[*stack];
}

static void set_mark(struct renumbering *r, const struct sample_set *s)
{
	for (uint32_t i = 0; i < s->cap; i++)
		if (s->at[i].value)
			r->keep[s->at[i].stack] = true;
}

/* Calls fn with each number that is kept outside the samples of intervals. */
static void stacks_each(struct world *w, void (*fn)(void *ctx, uint32_t *stack), struct renumbering *r)
{
	struct task *t, *tt;

	HASH_ITER(hh, w->tasks, t, tt)
		fn(r, &t->sampled.stack);
	for (int i = 0; i < w->len; i++)
		if (w->agents[i]->sites)
			sites_stacks(w->agents[i]->sites, fn, r);
}

/* What has been told is of no use any more. Of the interval at hand, samples that find no memory are lost. */
static void samples_renumber(struct world *w, const struct renumbering *r)
{
	for (int i = 0; i < w->len; i++)
		for (int k = 0; k < SAMPLE_COUNT; k++) {
			struct sample_set *s = &w->agents[i]->cur.samples[k];

			if (!w->holding)
				sample_set_reset(&w->agents[i]->held.samples[k]);
			else if (sample_set_renumber(&w->agents[i]->held.samples[k], r->numbers))
				sample_set_reset(&w->agents[i]->held.samples[k]);
			if (sample_set_renumber(s, r->numbers))
				sample_set_reset(s);
		}
}

void world_stacks_tidy(struct world *w)
{
	struct renumbering *r;

	if (!w->forgets || !stacks_crowded(w->stacks) || stacks_len(w->stacks) < 2 * w->stacks_kept)
		return;
	r = calloc(1, sizeof(*r));
	if (!r)
		return;
	stacks_each(w, stack_mark, r);
	for (int i = 0; i < w->len; i++)
		for (int k = 0; k < SAMPLE_COUNT; k++) {
			set_mark(r, &w->agents[i]->cur.samples[k]);
			if (w->holding)
				set_mark(r, &w->agents[i]->held.samples[k]);
		}
	if (!stacks_renew(&w->stacks, r->keep, r->numbers)) {
		stacks_each(w, stack_renumber, r);
		samples_renumber(w, r);
		w->stacks_kept = stacks_len(w->stacks);
	}
	free(r);
}
