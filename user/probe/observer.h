/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The kernel side, as an object with a life: new, load, attach, (seed, flush, drain, snapshot)*, free. */
#ifndef STAKEOUT_OBSERVER_H
#define STAKEOUT_OBSERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "model/metrics.h"
#include "model/heap.h"
#include "model/recording.h"
#include "probe/parts.h"

struct observer_config {
	bool probe_on[PROBE_COUNT];
	unsigned ring_bytes; /* power of two, a multiple of the page size */
	bool candidates; /* report execs of processes outside all agents */
	bool bpf_stats; /* have the kernel time our programs */
	bool heap_full; /* probe heap: every allocation, instead of a sample */
	double heap_budget; /* sampled: part of the agents' time that it may cost, 0.01 for 1 % */
	double profile_hz; /* probe profile */
	const struct part_reports *reports; /* what the parts that look at single processes have to say; outlives the observer; NULL: nobody listens */
	bool bench; /* load and attach the bench__* programs too: the empty one, the synthetic producer */
};

struct observer_counts { /* totals since load */
	uint64_t seen[SO_KINDS];
	uint64_t lost[SO_KINDS][SO_LOSS_COUNT];
	uint64_t events[SO_EVENTS]; /* that made no record for want of detail */
	uint64_t tables_full; /* values that found no room in a table that sums in the kernel: kernel allocations, and who ran instead of an agent */
	uint64_t bpf_ns; /* run time of all our programs; 0 without bpf_stats */
	uint64_t bpf_runs;
	uint64_t skipped; /* runs that the kernel left out since the program ran already on that CPU; of strangers, too */
};

struct observer_prog { /* one attached program, for `bench` and tests */
	const char *name;
	uint64_t runs, ns, skipped;
};

struct observer;

/* Opens, decides which probes this kernel gives. why: one line on failure. -EPERM, -EOPNOTSUPP (says what is missing), -ENOMEM. */
int observer_new(const struct observer_config *cfg, struct observer **ret, char *why, size_t why_len);
/* Loads and attaches; strangers are not affected yet. */
int observer_load(struct observer *o);
int observer_attach(struct observer *o);
void observer_free(struct observer *o);
/* State of each probe, PROBE_COUNT entries, valid as long as o. */
const struct probe_state *observer_probes(const struct observer *o);

/* Makes n processes agents, with all their threads, descendants, and open sockets. Returns the number of tasks added or a negative
 * errno. Uprobes go into the libraries that they have mapped at the next drain. */
int observer_seed(struct observer *o, const uint32_t *tgids, const uint32_t *slots, int n);
/* Lets n agents go: their tasks and sockets are strangers' from here on, and pay what those pay. The programs must not be told of their processes any more. 0 or negative errno. */
int observer_release(struct observer *o, const uint32_t *slots, int n);
/* A process of an agent (its slot), that is new, or has just run a program, at since_ns (CLOCK_MONOTONIC; 0: not known). Its files are looked at for uprobes when the ring is
 * drained next, or soon after. Costs next to nothing. */
void observer_process_seen(struct observer *o, uint32_t tgid, unsigned slot, enum seen how, uint64_t since_ns);
void observer_process_gone(struct observer *o, uint32_t tgid);
/* Hands each stack sample in the ring of stacks to fn; their sizes have been checked. Returns how many, or a negative errno. */
typedef void (*observer_stack_fn)(void *ctx, const struct so_stack *s);
int observer_stacks(struct observer *o, observer_stack_fn fn, void *ctx);
/* Has the stacks of tasks read whose wait has lasted for min_ns and has not been read yet (probe offcpu). 0; 1: there are more than
 * it reads at once; or negative errno. */
int observer_look(struct observer *o, uint64_t min_ns);
/* The calling thread has slept up to now: takes the offset of the scheduler's clock from that. Before a snapshot, which sleeps for an instant otherwise. */
void observer_woken(struct observer *o);
/* Reads all tasks of all agents. fn gets the entries in the order of the kernel's task list. */
typedef void (*observer_snap_fn)(void *ctx, const struct so_snap *s);
int observer_snapshot(struct observer *o, observer_snap_fn fn, void *ctx);
/* Calls fn with the number of each connection that a process of an agent holds open. -EOPNOTSUPP where the kernel can't tell. */
typedef void (*observer_socket_fn)(void *ctx, uint32_t number);
int observer_sockets(struct observer *o, observer_socket_fn fn, void *ctx);
/* Sends what is staged on CPUs that have something (all: on every CPU, so that nothing older than the call remains). Returns the number
 * of staging buffers that were in use and could not be sent, or a negative errno. */
int observer_flush(struct observer *o, bool all);
/* Hands each batch in the ring to fn. Returns the number of bytes drained. Then uprobes go into libraries that are new: 1 to 30 ms
 * more where there is one. */
typedef void (*observer_batch_fn)(void *ctx, const void *data, size_t size);
int64_t observer_drain(struct observer *o, observer_batch_fn fn, void *ctx);
/* Readable when the ring fills between drains. */
int observer_fd(const struct observer *o);
/* While on, a stack sample makes observer_fd() readable at once; records do so only when their ring fills. */
void observer_doze(struct observer *o, bool on);
void observer_counts_read(struct observer *o, struct observer_counts *ret);
/* The same without what the kernel knows of the programs: seen, lost and events, at a hundredth of the cost. */
void observer_events_read(struct observer *o, struct observer_counts *ret);
/* How far the programs go into detail from now on. */
void observer_detail(struct observer *o, const struct so_detail *d);
/* Calls fn with the times at which the detail of sockets was taken back (blind), or given again, since the last call. */
typedef void (*observer_blind_fn)(void *ctx, bool blind, uint64_t at_ns);
void observer_blind_take(struct observer *o, observer_blind_fn fn, void *ctx);
/* Calls fn with what agents sent and received without records, since load, by slot; only with slots that did. */
typedef void (*observer_traffic_fn)(void *ctx, unsigned slot, uint64_t sent_bytes, uint64_t received_bytes);
void observer_traffic_read(struct observer *o, observer_traffic_fn fn, void *ctx);
/* What is sampled, from now on, of what was asked for: windows of the heap, and the CPU profile, from above 0 to 1. */
void observer_sampling(struct observer *o, double heap_part, double profile_part);
/* Has the kernel time our programs, or not any more; no effect with observer_config.bpf_stats, which has it do so always. 0 or negative errno. */
int observer_timing(struct observer *o, bool on);
/* By probe, what its programs took since load, while they were timed. Those that run in this process's own time (iterators) are left out, and the part of the flush that does. */
struct observer_time {
	uint64_t runs, ns;
};
void observer_times(struct observer *o, struct observer_time ret[PROBE_COUNT]);
/* What timing adds to a run, in ns: the mean of an empty program, at each switch, while programs were timed since this was asked last. 0: too few runs to tell. */
double observer_timing_floor(struct observer *o);
/* Fills up to max entries; returns how many. */
int observer_programs(struct observer *o, struct observer_prog *ret, int max);
/* Calls fn with the count of kernel allocations by agent and size, since load. */
typedef void (*observer_kmem_fn)(void *ctx, unsigned slot, uint32_t bytes, uint64_t count);
void observer_kmem_read(struct observer *o, observer_kmem_fn fn, void *ctx);
/* Calls fn with the time that others ran on a CPU while an agent's task was runnable and waited for it, since the last call: by agent and command. */
typedef void (*observer_rival_fn)(void *ctx, unsigned slot, const char comm[SO_COMM_BYTES], uint64_t ns);
void observer_rivals_take(struct observer *o, observer_rival_fn fn, void *ctx);
/* For tests: makes `burst` synthetic records on CPU cpu. */
int observer_synthesize(struct observer *o, int cpu, unsigned burst);

#endif
