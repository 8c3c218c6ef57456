/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What an observer is made of. For observer*.c. observer.c: its life; observer_tasks.c: the tasks, sockets and processes of agents; observer_rings.c: batches and
 * stack samples; observer_detail.c: how far the programs go into detail; observer_counts.c: what they count.
 */
#ifndef STAKEOUT_OBSERVER_STATE_H
#define STAKEOUT_OBSERVER_STATE_H

#include <bpf/libbpf.h>

#include "probe/heap_full.h"
#include "probe/heap_windows.h"
#include "probe/hooks.h"
#include "probe/interpreters.h"
#include "probe/observer.h"
#include "probe/profiler.h"
#include "probe/runtimes.h"
#include "probe/uprobes.h"
#include "stakeout.skel.h"

#define RELEASES 4

struct blind_change {
	uint64_t at_ns;
	bool blind;
};

struct observer {
	struct stakeout_bpf *skel;
	struct ring_buffer *ring, *stacks_ring; /* of stacks: NULL: none */
	struct bpf_link *seed, *snap, *seed_sockets, *walk_sockets;
	struct bpf_link *release, *releases[RELEASES]; /* of tasks; of what probes keep of them, NULL where they are off */
	struct hooks hooks;
	/* Parts that look at single processes; NULL: none. */
	struct uprobes *uprobes[LIBRARIES];
	struct heap_windows *heap_windows;
	struct heap_full *heap_full;
	struct runtimes *runtimes;
	struct profiler *profiler;
	struct interpreters *interpreters;
	struct observer_config cfg;
	observer_stack_fn stack_fn;
	void *stack_ctx;
	struct so_lane *lanes;
	size_t lanes_bytes;
	struct so_traffic *traffic; /* NULL: without the probe sock */
	size_t traffic_bytes;
	struct blind_change *blinds; /* not taken yet */
	size_t blinds_len, blinds_cap;
	int cpus, stats_fd, timing_fd; /* of bpf_stats: asked for by the user; for a while */
	struct bpf_link *empty; /* attached while programs are timed for a while */
	struct observer_time floor; /* of the empty program, when last told */
	uint64_t woken_ns; /* see observer_woken() */
	uint64_t counted, skipped, bpf_ns, bpf_runs; /* of the programs, when so much had been seen */
	observer_batch_fn batch_fn;
	void *batch_ctx;
	int64_t drained;
	struct probe_state probes[PROBE_COUNT];
};

/* p may be -1: such is not. */
bool probe_is_on(const struct observer *o, int p);
/* The probe that a program belongs to, by the prefix of its name; -1: none (benchmark). */
int program_probe(const char *name);
/* Opens the ring of records, and (stacks) that of stacks. 0 or negative errno; what is open stays the observer's. */
int rings_open(struct observer *o, bool stacks);

#endif
