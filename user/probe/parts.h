/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the parts of the observer that look at single processes have in common: heap windows, full heap, runtimes, profiler. Each is told of the agents'
 * processes, works when asked to (at each drain), and reports through the same few calls.
 */
#ifndef STAKEOUT_PARTS_H
#define STAKEOUT_PARTS_H

#include <stdint.h>
#include <sys/types.h>

#include "model/heap.h"

struct stakeout_bpf; /* the skeleton; loaded, and outlives the parts */

/* How a process came to be known. */
enum seen {
	SEEN_RUNNING, /* it ran before us */
	SEEN_FORKED, /* a copy of its parent, which is known: the same files are mapped at the same places, and breakpoints in them are inherited */
	SEEN_EXEC, /* it has just run a program: nothing of what was known of it holds */
};

/* To whom a part reports; called from part_work functions only, in the collector's thread. */
struct part_reports {
	/* One line for the reader of the report, once a process (or once an agent): "heap: no allocator symbols in codex (pid 4711)". */
	void (*note)(void *ctx, unsigned slot, const char *text);
	/* What windows saw since the last call: sums. */
	void (*heap)(void *ctx, unsigned slot, const struct heap_data *delta);
	void *ctx;
};

#endif
