/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Time order. Batches of different CPUs interleave in the ring; each is in order by itself, but for what nested handlers staged. The merge holds batches
 * until a watermark says that nothing older can come.
 */
#ifndef STAKEOUT_MERGE_H
#define STAKEOUT_MERGE_H

#include <stddef.h>
#include <stdint.h>

#include "abi.h"

struct merge;
struct merge *merge_new(void);
void merge_free(struct merge *m);
/* Copies a batch in. 0, -ENOMEM, or -EBADMSG: what could not be decoded is dropped, the records before it are kept. */
int merge_add(struct merge *m, const void *data, size_t size);
/* Calls fn with each record up to watermark_ns, oldest first, and forgets it. */
typedef void (*merge_fn)(void *ctx, const struct so_head *r);
void merge_run(struct merge *m, uint64_t watermark_ns, merge_fn fn, void *ctx);
/* Records that came later than the watermark of an earlier run: delivered out of order. */
uint64_t merge_late(const struct merge *m);

#endif
