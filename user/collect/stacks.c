/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/world_model.h"

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
	case SO_SAMPLE_ALLOC:
		sample_set_add(&a->cur.samples[SAMPLE_ALLOC_BYTES], stack, s->key);
		break;
	case SO_SAMPLE_SITE:
		allocations_site(w, a, s, stack);
		break;
	}
}
