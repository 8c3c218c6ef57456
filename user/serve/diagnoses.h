/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is found of the agents that the daemon watches, for however long it does. */
#ifndef STAKEOUT_SERVE_DIAGNOSES_H
#define STAKEOUT_SERVE_DIAGNOSES_H

#include "judge/recents.h"

struct diagnoses { /* zero-initialised: none */
	struct recents recents;
	struct outlooks memory[2]; /* of the last half an hour to an hour, and what will follow it */
	double began_s; /* of the latter, since the header's start */
};

/* h: of the session. 0 or -ENOMEM. */
int diagnoses_interval(struct diagnoses *d, const struct header_data *h, const struct interval_data *i);
void diagnoses_fini(struct diagnoses *d);

#endif
