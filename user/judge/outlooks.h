/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The outlook on each agent's memory, from the intervals of a recording as they are read or written. Pure. */
#ifndef STAKEOUT_OUTLOOKS_H
#define STAKEOUT_OUTLOOKS_H

#include "judge/outlook.h"
#include "model/recording.h"

struct outlooks { /* zero-initialised is empty */
	struct agent_series *agents; /* by id */
};

/* Adds what an interval says of its agents' resident memory. Suits recording_read(). 0 or -ENOMEM. */
int outlooks_interval(void *outlooks, const struct interval_data *i);
/* Of one agent; insufficient where nothing is known of it. outlooks may be NULL. */
void outlooks_judge(const struct outlooks *o, int agent, struct outlook *ret);
void outlooks_fini(struct outlooks *o);

#endif
