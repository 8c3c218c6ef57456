/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program at the breakpoints and the thread that opens them tell each other; one window at a time. */
#ifndef STAKEOUT_HEAP_WINDOW_H
#define STAKEOUT_HEAP_WINDOW_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

enum heap_args { /* which arguments of a function say how many bytes */
	HEAP_ARGS_1 = 1,
	HEAP_ARGS_2 = 2,
	HEAP_ARGS_3 = 3,
	HEAP_ARGS_1x2 = 4,
	HEAP_ARGS_2x3 = 5,
};

#define HEAP_RANGES 12

struct heap_window {
	__u32 tgid;
	__u32 args; /* enum heap_args */
	__u32 nests_below; /* calls whose first argument is less come by another function of the allocator again, where they count */
	__u32 copies; /* how often a size goes into the histogram */
	__u32 more; /* probability, of 2^32 - 1, that it does once more */
	__u32 capture; /* the same for the stack */
	__u32 stands_for; /* allocations that a stack stands for */
	__u32 limit; /* of hits of the first breakpoint */
	__u32 sizes; /* 1: all calls count up to the end but the one that the window begins with */
	__u32 came_ns; /* taken out with each trap that is not measured, for what else comes into it */
	__u64 second; /* address of the second breakpoint; 0: none */
	__u64 origin_limit_ns; /* when the window begins at the latest, CLOCK_MONOTONIC */
	__u64 skip_ns, length_ns; /* of the process's own time: from its begin to what counts, and how long that is */
	__u64 trap_ns; /* of a hit, outside of the program: where it is not measured in the window */
	struct {
		__u64 start, end;
	} ranges[HEAP_RANGES]; /* code of the allocator's functions */
};

struct heap_tally { /* of the thread */
	__u32 hits; /* of all kinds */
	__u32 strangers; /* after the thread's process has become another one */
	__u32 counted; /* allocations in the part of the window that counts */
	__u32 nested;
	__u64 bytes; /* of those counted */
	__u64 origin_ns;
	__u64 trapped_ns;
	__u64 out_ns; /* when the program last ended */
	__s64 at_ns; /* window's time of the last call */
	__u64 trap_sum_ns; /* measured between first and second breakpoints */
	__u32 traps;
	__u32 paired; /* the last hit was one of the first breakpoint */
	__u64 mm; /* says whether the process still runs the program that it did */
	__u32 calls; /* all allocations since the begin of the window */
	__u32 firsts; /* hits of the first breakpoint */
	__u64 call_bytes;
	__u64 trap_ns; /* of late; 0: not measured */
	__u64 assumed_ns; /* for the last trap of the first breakpoint */
	__u64 came_ns; /* by which traps were longer than those of late, each by half of the window's length at most */
	__u32 pairs; /* all, also those that were too long to learn from */
	__u32 pad;
};
_Static_assert(sizeof(struct heap_tally) == 128, "size of heap_tally");

#endif
