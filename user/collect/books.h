/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Double entry for one task's time: every nanosecond of its life is posted once. A scheduling cycle is known as a whole only when it
 * ends; snapshots post what of it has passed. What a cycle's record says last corrects how, not how much, was posted before.
 */
#ifndef STAKEOUT_BOOKS_H
#define STAKEOUT_BOOKS_H

#include <stdint.h>

struct books {
	uint64_t until_ns; /* posted up to here; 0: nothing yet */
	uint64_t base_ns; /* begin of the cycle that the next three belong to */
	uint64_t wait_ns, runq_ns, stint_ns; /* posted of it */
};

struct posting { /* ns */
	uint64_t wait, runq, stint;
	uint64_t hole; /* time that no record tells of: lost ones */
};

/*
 * Posts the cycle (or what has passed of it) that began at base_ns, as of now_ns: wait, then run queue, then stint, in all now_ns - base_ns (the parts are
 * cut where they exceed that). ret[0] is what lies before boundary_ns, ret[1] behind it; both together are
 * now_ns - (until_ns before the call), or nothing if now_ns is not later than that.
 */
void books_post(struct books *b, uint64_t base_ns, uint64_t now_ns, uint64_t runq_ns, uint64_t stint_ns, uint64_t boundary_ns, struct posting ret[2]);

#endif
