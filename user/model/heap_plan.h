/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How long a sampling window of the heap is, and what it says. Pure.
 *
 * What counts in a window is a fixed length of the process's own time, chosen before it opens: the rate is then what was seen, divided by that length,
 * and right on average whatever the process does in bursts. A window that ends by its limit of hits instead has no such length, and leans to the bursts; so
 * the length follows the process such that few do.
 *
 * Where allocations come faster than traps, the time between them is only told by pairs of breakpoints, of which the second one's hits say nothing of sizes.
 * There every other window is for sizes alone: one breakpoint, and all its hits count. Its length in the process's own time is known but roughly, which does not
 * matter: it is wrong whatever the sizes are. It tells no rate, but is a window that went to its function all the same: left out of the mean, a function that has such
 * windows would weigh less than one that has none. So it stands for what the function's windows before it said, and those that tell the rate are set right by it:
 * the estimate by regression of Cassel, Särndal and Wretman (Biometrika 63, 1976), right on average whatever the windows before said.
 */
#ifndef STAKEOUT_MODEL_HEAP_PLAN_H
#define STAKEOUT_MODEL_HEAP_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "heap_window.h"

#define HEAP_PLAN_MIN_S 2e-6
#define HEAP_PLAN_MAX_S 4e-3

struct heap_plan { /* of one function of one process */
	double length_s; /* of the process's own time */
	double busy_rate; /* calls a second of its own time in windows that saw any, root of the mean square; 0: not known. Chance makes some windows look
			   * slower than can be told, none faster */
	double hits; /* counted in a window that saw any, smoothed */
	unsigned windows, looks; /* so far, without and with those for sizes */
	double rate, byte_rate, counted; /* what all windows said, and allocations counted in them, smoothed */
	double seen_s; /* of the process's own time in them, as far as it can be told, smoothed */
	double sizes_s; /* length of a window for sizes alone */
};

struct heap_sight { /* what a window says of its function */
	double rate, byte_rate; /* a second */
	double error, byte_error; /* by which the traps' duration, not known any better, may move them */
	uint64_t counted;
	double seen_s; /* own time in which they were */
	double busy_rate; /* calls a second of the process's own time; 0: too few to tell */
	bool any; /* a call was seen */
	bool cut; /* it ended by its limit of hits */
	bool sizes; /* it was for sizes alone: it tells no rate */
};

void heap_plan_init(struct heap_plan *p);
/* Whether traps take so much of a window that they should be measured in it. */
bool heap_plan_paired(const struct heap_plan *p, double trap_s);
/* Allocations that each one counted stands for, when one window a `every_s` looks at this function with a probability. */
double heap_plan_weight(const struct heap_plan *p, double every_s, double probability);
/* The same for sizes: by the time that was looked at, which is known better than the rate where calls come faster than traps; nothing is taken to be faster than
 * can be told. */
double heap_plan_weight_sizes(const struct heap_plan *p, double every_s, double probability);
/* What the thread's tally says. limit: of hits; skip_s: from the begin to what counts; trap_error_s: how far off the duration of a trap may be. */
struct heap_sight heap_plan_read(const struct heap_plan *p, const struct heap_tally *t, unsigned limit, double skip_s, double trap_error_s);
/* Of a window for sizes alone, length_s long, which says no rate. */
struct heap_sight heap_plan_read_sizes(const struct heap_tally *t, unsigned limit, double length_s, double trap_error_s);
/* What a window adds to the sum of which the mean is its agent's rate, before it is divided by the probability of the window's function. p: before this window;
 * told: probability that a window of this function, p being what it is, tells its rate. */
struct heap_sight heap_plan_share(const struct heap_plan *p, const struct heap_sight *s, double told, double trap_error_s);
/* How long the next window for sizes is. traps_s: what all its traps take. */
double heap_plan_sizes_s(const struct heap_plan *p, double traps_s);
/* The next window's length, by how this one went. */
void heap_plan_adapt(struct heap_plan *p, const struct heap_sight *s);

#endif
