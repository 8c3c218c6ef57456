/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The sums of a recording that is read: intervals are added to the agents' totals, within bounds on what all totals hold together. */
#ifndef STAKEOUT_RECORDING_SUM_H
#define STAKEOUT_RECORDING_SUM_H

#include "model/recording.h"

struct totals { /* what those of all agents hold; zero-initialised is empty */
	int64_t tools, samples, notes;
	int64_t peers; /* rests apart */
};

/* Adds a to total, that of an agent of rec; a may be changed. 0 or -ENOMEM. */
int totals_add(struct totals *t, struct recording *rec, struct agent_data *total, struct agent_data *a);

#endif
