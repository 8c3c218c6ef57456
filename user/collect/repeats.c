/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/repeats.h"

#include <string.h>

bool repeats_seen(struct repeats *r, uint64_t hash)
{
	uint64_t *row = r->rows[hash % REPEATS_ROWS];
	int i;

	if (!hash)
		hash = 1; /* 0 is a free place */
	for (i = 0; i < REPEATS_WAYS - 1 && row[i] != hash; i++)
		;
	if (row[i] == hash) {
		memmove(row + 1, row, i * sizeof(*row));
		row[0] = hash;
		return true;
	}
	memmove(row + 1, row, (REPEATS_WAYS - 1) * sizeof(*row));
	row[0] = hash;
	return false;
}
