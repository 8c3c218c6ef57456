/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What an event costs on this machine, by program: found by watching a load of our own. */
#ifndef STAKEOUT_TRIAL_H
#define STAKEOUT_TRIAL_H

#include <stddef.h>

#include "model/metrics.h"

#define TRIAL_ROWS 16

/* CPU time of a probe's programs, in ns, by the kernel's accounting, less what an empty program takes there. Where others do much of the same meanwhile, their part is taken off as
 * it was just before. */
struct trial_cost {
	enum probe_id probe;
	const char *event;
	double agent_ns, stranger_ns; /* an event, of an agent; of a process that is not watched */
};

/* Takes one to two seconds. Rows of probes that can't be had here are left out. How many, or a negative errno with one line in why. */
int trial_run(struct trial_cost ret[TRIAL_ROWS], char *why, size_t why_len);

#endif
