/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/ledger.h"

#include <string.h>

const struct state_info state_infos[STATE_COUNT] = {
#define STATE(id, n, b, h) [STATE_##id] = { n, b, h },
#include "states.def"
#undef STATE
};

int state_find(const char *name)
{
	for (int s = 0; s < STATE_COUNT; s++)
		if (!strcmp(state_infos[s].name, name))
			return s;
	return -1;
}

void ledger_merge(struct ledger *into, const struct ledger *from)
{
	for (int s = 0; s < STATE_COUNT; s++)
		into->ns[s] += from->ns[s];
}

uint64_t ledger_sum(const struct ledger *l)
{
	uint64_t sum = 0;

	for (int s = 0; s < STATE_COUNT; s++)
		sum += l->ns[s];
	return sum;
}
