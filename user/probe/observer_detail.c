/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How far the kernel side goes into detail, and since when. */
#include <stdlib.h>

#include "lib/util.h"
#include "probe/observer_state.h"

/* Without memory two stretches become one, which is on the safe side. */
static void blind_note(struct observer *o, bool blind, uint64_t at_ns)
{
	struct blind_change *p;

	if (o->blinds_len == o->blinds_cap) {
		size_t cap = o->blinds_cap ? 2 * o->blinds_cap : 16;

		p = reallocarray(o->blinds, cap, sizeof(*p));
		if (!p) {
			if (o->blinds_len)
				o->blinds_len--;
			return;
		}
		o->blinds = p;
		o->blinds_cap = cap;
	}
	o->blinds[o->blinds_len++] = (struct blind_change){ at_ns, blind };
}

void observer_detail(struct observer *o, const struct so_detail *d)
{
	bool was = o->skel->bss->sock_era & 1;

	hooks_return(&o->hooks, d); /* before anything is taken for recorded, */
	o->skel->bss->detail = *d;
	if (was != (d->sock != SO_DETAIL_FULL)) {
		blind_note(o, !was, clock_ns()); /* before: no record that is made after all is older */
		o->skel->bss->sock_era++;
	}
	if ((o->skel->bss->names_era & 1) != (d->names == SO_DETAIL_COUNTS))
		o->skel->bss->names_era++;
	hooks_remove(&o->hooks, d); /* and after that */
}

void observer_blind_take(struct observer *o, observer_blind_fn fn, void *ctx)
{
	for (size_t i = 0; i < o->blinds_len; i++)
		fn(ctx, o->blinds[i].blind, o->blinds[i].at_ns);
	o->blinds_len = 0;
}

void observer_sampling(struct observer *o, double heap_part, double profile_part)
{
	if (o->heap_windows)
		heap_windows_rarer(o->heap_windows, heap_part);
	if (o->profiler)
		profiler_slower(o->profiler, profile_part);
}
