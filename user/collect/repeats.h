/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Hashes that were seen lately: as many as fit, the least recently seen one of its row making room. */
#ifndef STAKEOUT_REPEATS_H
#define STAKEOUT_REPEATS_H

#include <stdbool.h>
#include <stdint.h>

#define REPEATS_ROWS 1024
#define REPEATS_WAYS 4

struct repeats { /* all zero: empty */
	uint64_t rows[REPEATS_ROWS][REPEATS_WAYS]; /* the latest first; 0: free */
};

/* Whether hash is there; it is, after the call. */
bool repeats_seen(struct repeats *r, uint64_t hash);

#endif
