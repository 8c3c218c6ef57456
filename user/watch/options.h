/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is to be watched, and how: the same for all commands that watch. */
#ifndef STAKEOUT_WATCH_OPTIONS_H
#define STAKEOUT_WATCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "model/classes.h"
#include "model/metrics.h"
#include "probe/targets.h"

#define BUDGET_PERCENT 1 /* unless given */

struct watch_options { /* strings are borrowed and must outlive the session */
	struct target_spec target;
	double duration_s; /* 0: until all agents are gone or a signal comes */
	double interval_s; /* 0.1 to 3600 */
	bool probe_on[PROBE_COUNT];
	bool heap_full; /* of the heap probe: every allocation */
	double heap_percent; /* of the agents' time that sampling the heap may cost, 0.01 to 50 */
	double profile_hz; /* 1 to 1000 */
	double offcpu_ms; /* shortest wait whose stack is taken, 1 to 60000 */
	double leak_age_s; /* blocks older than this may be leaks, 0.1 to 1e6 */
	unsigned ring_bytes; /* a power of two, 64K to 1G */
	double budget_percent; /* of the agents' CPU time that watching may cost, 0: no limit, to 100; below 0: not given */
	double drain_ms; /* longest time between drains under load, 1 to 1000 */
	struct peer_rules peers;
	double peers_kept; /* the busiest that are kept apart, an agent; 1 to PEERS_KEPT_MAX */
	bool stays; /* goes on when there is no agent, for days: agents that have ended are forgotten, there is no total */
	bool bpf_stats; /* measure our BPF programs' run time by the kernel's accounting (costs some ns an event) */
};

/* Values for what a user does not give; the rest is 0. Probes as in probes.def. */
void watch_options_default(struct watch_options *o);
/* Switches probes by what a user wrote: [+|-]NAME[=VALUE][,..]; without a sign, on. 0, or -EINVAL and why: one line that says what was wrong and what is possible. */
int watch_probes_set(struct watch_options *o, const char *text, char *why, size_t why_len);

#endif
