/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Private to alerts*.c. */
#ifndef STAKEOUT_ALERTS_PARTS_H
#define STAKEOUT_ALERTS_PARTS_H

#include "judge/alerts.h"

#define ALERT_GROUPS_WAITING 256

struct alerts {
	struct alerts_options options;
	struct alert **at;
	int len, cap;
	struct alert **due; /* of the notice at hand */
	int due_cap;
	struct alert_group { /* agents of which there is something to tell, but not yet */
		const char *agent; /* some alert's */
		int64_t until_ns;
	} groups[ALERT_GROUPS_WAITING];
	int groups_len;
	uint64_t generation;
};

/* A new one, about the same as `like`, that doesn't fire. NULL when out of memory. */
struct alert *alerts_add(struct alerts *a, const struct alert *like);

#endif
