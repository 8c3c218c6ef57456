/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Records as they come out of the ring: sizes are checked before anything is read. */
#ifndef STAKEOUT_DECODE_H
#define STAKEOUT_DECODE_H

#include <stddef.h>
#include <stdint.h>

#include "abi.h"

/* The record at *pos of a batch of `size` bytes; *pos moves behind it. 1 and *ret set, 0 at the end, -EBADMSG for an unknown kind, a size that is not
 * the kind's, or a cut-off record: the rest of the batch is then worthless. The data must be aligned to 8 bytes. */
int decode_next(const void *data, size_t size, size_t *pos, const struct so_head **ret);

#endif
