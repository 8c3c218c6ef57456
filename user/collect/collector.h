/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Brings the kernel side and the world together: drains on its own clock, keeps records in order of time, closes intervals. */
#ifndef STAKEOUT_COLLECTOR_H
#define STAKEOUT_COLLECTOR_H

#include <stdint.h>

#include "collect/world.h"
#include "probe/observer.h"

struct collector;

/* Neither o nor w becomes the collector's. drain_max_ms: longest time between drains under load. */
struct collector *collector_new(struct observer *o, struct world *w, double drain_max_ms);
void collector_free(struct collector *c);
/* Called with the process id of each exec outside all agents. */
typedef void (*collector_candidate_fn)(void *ctx, uint32_t tgid);
/* Stack samples are taken and get their names; offcpu_min_ns: waits from this long are looked at too, 0: none.
 * prompt: each is named at once, since a process may end; else those of new processes alone. Before the first drain. 0 or -ENOMEM. */
int collector_stacks(struct collector *c, uint64_t offcpu_min_ns, bool prompt);
/* Watching is to take no more than this share of the agents' CPU time: the governor reduces detail where it would. Before collector_start. 0 or -ENOMEM. */
int collector_budget(struct collector *c, double share);
/* Watching begins: what it took to get here is no cost of it. */
void collector_start(struct collector *c, uint64_t start_ns);
/* Time that the heap's windows took of the agents. */
void collector_trapped(struct collector *c, double seconds);
void collector_on_candidate(struct collector *c, collector_candidate_fn fn, void *ctx);
/* One drain: flush, read the ring, hand on what is surely in order. Returns bytes drained, or negative errno. */
int64_t collector_drain(struct collector *c);
/* How long to wait until the next drain, by how full the last ones were, in ms. */
double collector_pause_ms(const struct collector *c);
/* Takes in tasks that were just seeded: the base of their counters. */
int collector_baseline(struct collector *c);
/* Closes the interval at the present moment; *ret_end_ns is that moment. After it, world_interval() tells and world_next() goes on. */
int collector_close(struct collector *c, bool last, uint64_t *ret_end_ns);
/* After a close: has the kernel side let go of agents that are watched no longer (see world_agent_release). Returns how many, or negative errno. */
int collector_release(struct collector *c);
/* Figures of the watching itself since the last call. */
void collector_observe(struct collector *c, struct observer_data *ret);
/* Since the beginning: the balance seen = received + lost (by kind) holds after a close of which `last` was set. */
struct collector_counts {
	uint64_t received[SO_KINDS];
	uint64_t bad, late;
};
const struct collector_counts *collector_counts(struct collector *c);

#endif
