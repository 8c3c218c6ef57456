/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is found of agents while they are watched: judged of their last one to two minutes, anew every few seconds. Pure; not thread-safe. */
#ifndef STAKEOUT_RECENTS_H
#define STAKEOUT_RECENTS_H

#include <stdbool.h>

#include "judge/finding.h"
#include "model/live.h"

#define RECENTS_KEPT 8 /* findings of an agent, the dearest */

struct recents_found { /* of one agent, when it was judged last */
	bool judged; /* for long enough that anything can be said */
	double seconds; /* watched, of what it was judged of */
	struct finding list[RECENTS_KEPT];
	int len;
};

struct recent_agent;
struct recents { /* zero-initialised: none */
	struct recent_agent *agents;
	struct observer_data observer[2]; /* as the agents' sums */
	double began_s; /* of the newer sums; since the header's start */
};

/* h is that of the session; outlooks may be NULL. 0 or -ENOMEM. */
int recents_interval(struct recents *r, const struct header_data *h, const struct outlooks *outlooks, const struct interval_data *i);
/* NULL: nothing is known of it. Holds until the next interval. */
const struct recents_found *recents_of(const struct recents *r, int agent);
/* The same of all agents of l, for whoever tells of them (live_found). 0 or -ENOMEM. */
int recents_tell(const struct recents *r, struct live *l);
/* What was found, without the sums it came of, into an empty one. 0 or -ENOMEM: recents_fini() in either case. */
int recents_copy(struct recents *into, const struct recents *from);
void recents_fini(struct recents *r);

#endif
