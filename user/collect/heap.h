/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The blocks of a process's heap, as the records of allocations and frees tell them, and the places that asked for them. Pure. */
#ifndef STAKEOUT_COLLECT_HEAP_H
#define STAKEOUT_COLLECT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/stacks.h"

#define BLOCKS_MAX (1u << 20) /* of one agent, all its processes together; of more, a part is followed, chosen by a hash of the address */
#define SITES_MAX (1u << 16) /* of one agent; of what is allocated elsewhere the place is not known */

struct blocks; /* of one process */
struct sites; /* of one agent: places that allocate, by process and key */

struct freed { /* a block that was */
	uint64_t address, bytes, born_ns;
	uint32_t key;
};

/* Blocks that live longer than age_ns may be leaks. NULL: out of memory. */
struct sites *sites_new(uint64_t age_ns);
void sites_free(struct sites *s); /* after all its blocks. NULL is accepted */
/* The stack of a place; before, its stack is STACK_OTHER. */
void sites_stack(struct sites *s, uint32_t tgid, uint32_t key, uint32_t stack);
/* Calls fn with the number of each place's stack, which it may change. */
void sites_stacks(struct sites *s, void (*fn)(void *ctx, uint32_t *stack), void *ctx);

struct blocks *blocks_new(struct sites *s, uint32_t tgid);
void blocks_free(struct blocks *b); /* the process is gone, or runs another program: so are its blocks. NULL is accepted */
/* now_ns never goes back. */
void blocks_alloc(struct blocks *b, uint64_t address, uint64_t bytes, uint32_t key, uint64_t now_ns);
/* Whether the block was known; fills ret then. */
bool blocks_release(struct blocks *b, uint64_t address, struct freed *ret);
/* It was not given back after all. */
void blocks_restore(struct blocks *b, const struct freed *f);

struct heap_totals {
	uint64_t live_bytes, live_blocks; /* scaled up where only a part is followed */
	double kept; /* the part; 1: all */
};
void sites_totals(const struct sites *s, struct heap_totals *ret);

enum site_set {
	SITES_ALLOC_BYTES, /* of the interval; exact */
	SITES_LIVE_BYTES,
	SITES_LIVE_BLOCKS,
	SITES_LEAK_BYTES, /* candidates: of places whose old blocks have grown, over the intervals so far, as a leak's do: all old bytes */
	SITES_SETS
};
/* At the end of an interval: adds to the four sets by stack. 0 or -ENOMEM. */
int sites_close(struct sites *s, uint64_t now_ns, struct sample_set *const ret[SITES_SETS]);
size_t sites_bytes(const struct sites *s);

#endif
