/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The split of wall-clock time over states; sums to the time observed. */
#ifndef STAKEOUT_LEDGER_H
#define STAKEOUT_LEDGER_H

#include <stdint.h>

enum state_id {
#define STATE(id, name, bar, help) STATE_##id,
#include "states.def"
#undef STATE
	STATE_COUNT
};

struct state_info {
	const char *name;
	char bar;
	const char *help;
};
extern const struct state_info state_infos[STATE_COUNT];

struct ledger {
	uint64_t ns[STATE_COUNT];
};

/* Index of the state called name, or -1. */
int state_find(const char *name);
void ledger_merge(struct ledger *into, const struct ledger *from);
uint64_t ledger_sum(const struct ledger *l);

#endif
