/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The blocks of a process's heap, as the records of allocations and frees tell them. Pure. */
#ifndef STAKEOUT_COLLECT_HEAP_H
#define STAKEOUT_COLLECT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/stacks.h"

#define BLOCKS_MAX (1u << 20) /* of one agent, all its processes together; of more, a part is followed, chosen by a hash of the address */

struct blocks; /* of one process */
struct sites; /* of one agent: places that allocate, by key */

struct freed {
	uint64_t bytes, lifetime_ns;
};

/* kept: shift of the agent: a block is followed when the low `kept` bits of its address's hash are 0. */
struct sites *sites_new(void);
void sites_free(struct sites *s);
/* The stack of a place; before, its stack is STACK_OTHER. */
void sites_stack(struct sites *s, uint32_t tgid, uint32_t key, uint32_t stack);

struct blocks *blocks_new(struct sites *s, uint32_t tgid);
void blocks_free(struct blocks *b); /* the process is gone, or runs another program: so are its blocks. NULL is accepted */
void blocks_alloc(struct blocks *b, uint64_t address, uint64_t bytes, uint32_t key, uint64_t now_ns);
/* Whether the block was known; fills ret then. */
bool blocks_release(struct blocks *b, uint64_t address, uint64_t now_ns, struct freed *ret);

struct heap_totals {
	uint64_t live_bytes, live_blocks; /* scaled up where only a part is followed */
	double kept; /* the part; 1: all */
};
void sites_totals(const struct sites *s, struct heap_totals *ret);
/* At the end of an interval: fills the three sets (live bytes, live blocks, bytes of leak candidates) by stack. A candidate is a place with blocks older
 * than age_ns whose old bytes have grown, over the intervals so far, as a leak's do. 0 or -ENOMEM. */
int sites_close(struct sites *s, uint64_t now_ns, uint64_t age_ns, struct sample_set ret[3]);
size_t sites_bytes(const struct sites *s);

#endif
