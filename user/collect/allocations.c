/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/world_model.h"

void allocations_record(struct world *w, const struct so_head *h)
{
	(void)w, (void)h;
}

void allocations_proc_end(struct proc *p)
{
	blocks_free(p->blocks);
	p->blocks = NULL;
}

void allocations_close(struct world *w, struct agent *a, uint64_t now_ns)
{
	(void)w, (void)a, (void)now_ns;
}
