/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The agents, their processes and threads as the records tell them, and what each interval says of them. Pure: knows no BPF and
 * prints nothing. Fed with records in order of time and with snapshots; an interval is closed at a moment that a snapshot covers.
 */
#ifndef STAKEOUT_WORLD_H
#define STAKEOUT_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "abi.h"
#include "model/limits.h"
#include "model/recording.h"

struct world;

/* probe_on: metrics of the others stay empty. */
struct world *world_new(const bool probe_on[PROBE_COUNT]);
void world_free(struct world *w);
/* The recording begins at start_ns. */
void world_start(struct world *w, uint64_t start_ns);

/* A new agent whose root process is info->pid; takes over info's strings. Returns its slot (1..SO_MAX_AGENTS-1), or -ENOSPC, -ENOMEM.
 * Slots of agents that are gone with all their tasks are used again; ids are not. */
int world_agent_add(struct world *w, struct agent_info *info);
/* Agents ever added. */
int world_agents(const struct world *w);
/*
 * An agent by place is watched no longer, or (on false) is after all, as long as no interval has been closed since. It ends with the interval at hand. Between its close and the next
 * one the kernel side is to let go of the agents of world_releases(), which fills slots (room for SO_MAX_AGENTS) and returns how many; fn, if any, gets their processes.
 */
void world_agent_release(struct world *w, int place, bool on);
typedef void (*world_process_fn)(void *ctx, uint32_t tgid);
int world_releases(const struct world *w, uint32_t *slots, world_process_fn fn, void *ctx);
/* Slot of the agent at a place, while it is watched; 0: it has ended. */
int world_agent_slot(const struct world *w, int place);
/* For a watching without end: no totals are kept, and an agent is forgotten when all has been told of it; its place is used again. Before the first agent. */
void world_forgets(struct world *w);
/* Agents have places from 0 to world_places() - 1. NULL: a free one. */
int world_places(const struct world *w);
const struct agent_info *world_agent_info(const struct world *w, int place);
/* Agents whose root process is alive. */
int world_agents_alive(const struct world *w);
/* Place of the agent whose process tgid is, or -1. */
int world_agent_of(const struct world *w, uint32_t tgid);
/* Place of the living agent with this root process, or -1. */
int world_agent_find(const struct world *w, int pid, uint64_t start_ticks);

/* How peers get their names and classes, and how many of them are kept apart; before the first record. rules must outlive w. */
void world_peers(struct world *w, const struct peer_rules *rules, int kept);

/* The end of a unix socket or of a datagram socket shows in no record. When due, the caller names all connections that are still there (no record older
 * than the naming may be left out): begin, seen for each, end. */
bool world_sockets_due(const struct world *w);
void world_sockets_begin(struct world *w);
void world_socket_seen(struct world *w, uint32_t number);
void world_sockets_end(struct world *w);

/* Records, oldest first. */
void world_record(struct world *w, const struct so_head *r);
/* A stack sample; stack: its number in world_stacks(). In any order against the records. */
void world_stack(struct world *w, const struct so_stack *s, uint32_t stack);
/* The stacks that samples of all intervals refer to; the world's own. */
struct stacks *world_stacks(struct world *w);
/* Gives back stacks that nothing refers to any more, if there are many; between intervals of a watching that forgets. What was told of the interval before is by old numbers. */
void world_stacks_tidy(struct world *w);
/* Waits whose stacks are read last for min_ns at least (probe offcpu); blocks older than age_ns may be leaks (probe heap). Before the first record. */
void world_thresholds(struct world *w, uint64_t offcpu_min_ns, uint64_t leak_age_ns);
/* For the agent of a slot: a note for its reader, what heap windows saw, CPU time of others while it waited for a CPU (since the last call). */
void world_note(struct world *w, unsigned slot, const char *text);
void world_heap(struct world *w, unsigned slot, const struct heap_data *delta);
void world_rival(struct world *w, unsigned slot, const char name[SO_COMM_BYTES], uint64_t ns);
/* Limits of an agent by place, at the end of an interval: what their sums grew by since the last call. The first call, when the agent is added, is the base. */
bool world_limits_known(const struct world *w, int place); /* it has its base */
bool world_limits_wanted(const struct world *w, int place); /* it lives, or has ended since the last call */
void world_limits(struct world *w, int place, const struct limits_reading *r);
/* Whether tgid is known as an agent's process. */
bool world_has_process(const struct world *w, uint32_t tgid);
/* Kernel allocations since load, by slot and size (see observer_kmem_read). */
void world_kmem(struct world *w, unsigned slot, uint32_t bytes, uint64_t count);

/* What agents sent and received without records, since load, by slot (see observer_traffic_read). */
void world_traffic(struct world *w, unsigned slot, uint64_t sent_bytes, uint64_t received_bytes);
/*
 * From at_ns on sends and receives are counted only (blind), or recorded again; in order of at_ns, before the records from there on. What is outstanding when that
 * begins ends there and is no exchange; nor is what straddles the end. Waits for events in between are `poll`, waits in a socket call `net.other`.
 */
void world_blind(struct world *w, bool blind, uint64_t at_ns);

/* Closing an interval at end_ns: begin, one call a task with a snapshot taken after end_ns (and all records up to it before), end. Time behind end_ns goes to
 * the next interval. Tasks that no snapshot named and no record within it created are gone. last: what is open is put into the histograms too. */
void world_close_begin(struct world *w, uint64_t end_ns);
void world_snap(struct world *w, const struct so_snap *s);
void world_close_end(struct world *w, bool last);
/*
 * What a wait was for may show only after the interval's end: whether an answer goes on shows when more of it comes. So an interval can be held back
 * a while before it is resolved: world_close_end, world_hold, (records), world_held; the next one may be closed only then.
 * Or at once: world_close_end, world_interval, world_next.
 */
/* The interval just closed: agents with anything to say. Valid until world_next(). */
const struct agent_data *const *world_interval(struct world *w, int *ret_len);
/* CPU time of all agents in the interval just closed, in ns; before world_hold() or world_next(). */
uint64_t world_cpu_ns(const struct world *w);
/* Who they are, in the same order; after world_interval() or world_held(), and valid as long. */
const struct agent_info *const *world_interval_infos(const struct world *w);
/* After the closed interval has been written: begins the next one. */
void world_next(struct world *w);
/* Begins the next interval, with the one just closed held back. */
void world_hold(struct world *w);
/* The interval held back as it is by now, unresolved; right after world_hold(). Valid as world_held(). */
const struct agent_data *const *world_peek(struct world *w, int *ret_len);
/* The interval held back, by what is known at now_ns (all records up to it have been told). Valid until the next world_close_end(). */
const struct agent_data *const *world_held(struct world *w, uint64_t now_ns, int *ret_len);
/* All intervals so far, the one just closed included, with the matching infos. */
const struct agent_data *const *world_total(const struct world *w, const struct agent_info *const **ret_infos, int *ret_len);
/* Records of tasks that no longer or not yet belong to anybody. */
uint64_t world_orphans(const struct world *w);
size_t world_bytes(const struct world *w);

#endif
