/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A recording (`stakeout/1`): the interval model, and how it is written and read. NDJSON: `header`, further `agent`
 * lines, an `interval` a snapshot, a closing `total`.
 */
#ifndef STAKEOUT_RECORDING_H
#define STAKEOUT_RECORDING_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "model/classes.h"
#include "model/container.h"
#include "model/ledger.h"
#include "model/heap.h"
#include "model/metrics.h"
#include "model/recording_cost.h"
#include "model/stacks.h"

struct tool_data { /* one tool name under an agent */
	char *name; /* owned */
	struct metric_set metrics;
	struct ledger main; /* of the first threads of its processes */
	uint64_t runs_live; /* processes alive now */
};

#define PEERS_KEPT 64 /* by default; the rest is summed */
#define PEERS_KEPT_MAX 1000 /* that can be asked for */
#define PEER_REST "(other)" /* the peer under which it is summed, once a side */

struct peer_data { /* the other end of an agent's connections */
	char *peer; /* owned: "10.0.0.5:5432", "[::1]:80", "/run/redis.sock", "@abstract", "socketpair"; the server's side: own address and port */
	char *name; /* owned; "": not known */
	enum class_id class;
	bool server; /* the agent is the server */
	bool multiplexed; /* requests overlap on a connection: exchanges are an estimate */
	struct metric_set metrics;
	uint64_t summed; /* of PEER_REST: peers in it (one that comes back counts again); 0 for others */
};

struct concurrency { /* of exchanges as the client, of one class */
	uint64_t outstanding_ns; /* their durations, summed */
	uint64_t busy_ns; /* time with at least one outstanding: outstanding_ns / busy_ns is the mean, 1 says serial */
	uint64_t max;
};

struct rival { /* what ran on a CPU while the agent was runnable and waited for that CPU */
	char name[16]; /* of the command; NUL-padded, not necessarily text */
	uint64_t ns;
};
#define RIVALS_KEPT 16 /* the largest; the rest is summed in rivals_other_ns */

struct waker { /* threads of one name that were woken at the same period, and did nothing */
	char name[16]; /* of the thread; NUL-padded, not necessarily text */
	uint64_t wakes;
	uint64_t gaps_ns; /* from one to the next, summed: a period each. 0: it did not wait at all; wakes are then samples */
	uint64_t cpu_ns; /* that it ran for it */
};
#define WAKERS_KEPT 8 /* those with the most CPU time; of the rest, counters tell */

#define NOTES_KEPT 32

struct agent_data { /* what one interval (or the total) says of one agent */
	int id;
	bool alive;
	double observed_s; /* how much of the interval the agent existed and was watched */
	struct metric_set metrics; /* of the agent with all its tools */
	struct ledger main, threads;
	struct ledger critical; /* what the agent as a whole was doing; its states stand for times when no thread ran */
	struct concurrency concurrency[CLASS_COUNT];
	struct tool_data *tools;
	int tools_len;
	struct peer_data *peers;
	int peers_len;
	struct sample_set samples[SAMPLE_COUNT]; /* by numbers in the recording's stacks */
	struct heap_data heap;
	struct rival rivals[RIVALS_KEPT]; /* largest first; ends at the first of 0 ns */
	uint64_t rivals_other_ns;
	struct waker wakers[WAKERS_KEPT]; /* most CPU time first; ends at the first of 0 wakes */
	char **notes; /* owned: what could not be observed of this agent, and why; one line each, "heap: ..." */
	int notes_len;
};

void agent_data_fini(struct agent_data *a);
/* The tool called name (added if new); NULL when out of memory. */
struct tool_data *agent_data_tool(struct agent_data *a, const char *name);
/* The peer with this side, address and name (added if new, with class other); NULL when out of memory. Pointers to peers are valid
 * until the next call. */
struct peer_data *agent_data_peer(struct agent_data *a, bool server, const char *peer, const char *name);
/* Empties samples, heap, rivals, wakers and notes, for the next interval. */
void agent_data_extras_reset(struct agent_data *a);
/* Adds ns to the rival called name (SO_COMM_BYTES bytes, NUL-padded). */
void agent_data_rival(struct agent_data *a, const char name[16], uint64_t ns);
/* Adds w to the waker of its name and about its period. */
void agent_data_waker(struct agent_data *a, const struct waker *w);
/* Adds the note unless it is there; beyond NOTES_KEPT none is. 0 or -ENOMEM. */
int agent_data_note(struct agent_data *a, const char *text);
/* Exchanges of p, on either side. */
uint64_t peer_exchanges(const struct peer_data *p);
/* It is the sum of those that are not kept apart. */
bool peer_is_rest(const struct peer_data *p);
/* It has any figure. Peers that have none are not written. */
bool peer_active(const struct peer_data *p);
/* Sums all but the `keep` busiest peers (by exchanges, then connects, then bytes) of both sides into PEER_REST; drops what had no
 * activity among them. Those that stay come in that order. 0 or -ENOMEM. */
int agent_data_peers_trim(struct agent_data *a, int keep);
/* into += from (see metric_set_merge). When there are more than four times the peers of `from` (counted as at least PEERS_KEPT
 * and at most PEERS_KEPT_MAX) they are trimmed to that number, so that memory is bounded. 0 or -ENOMEM. */
int agent_data_merge(struct agent_data *into, const struct agent_data *from);

struct agent_info { /* who an agent is; all pointers owned, never NULL, any bytes */
	int id;
	char *name;
	int pid;
	uint64_t start_ticks;
	char *cmdline;
	char *cgroup;
	struct container container; /* id "": in none that is known */
	int ns_pid; /* its pid as the innermost pid namespace has it; 0: it is in ours */
	bool has_exit; /* set in the total when the root process ended while watched */
	int exit_code; /* as wait(2) reports it */
	int merged; /* known with the total: agents of other recordings that it is the sum of; 0 or 1: itself */
};

void agent_info_fini(struct agent_info *info);
/* A copy whose strings are the caller's. 0 or -ENOMEM (nothing is left to free then). */
int agent_info_copy(struct agent_info *into, const struct agent_info *from);

struct probe_state {
	const char *name;
	const char *state; /* "on", "off", "unavailable" */
	char why[160];
};

#define OBSERVER_LOSSES 8
struct observer_data { /* the cost of watching, and what was missed; deltas */
	double cpu_s; /* CPU time of stakeout itself */
	double bpf_s; /* of its BPF programs; -1: not measured */
	uint64_t records;
	uint64_t rss_bytes;
	int losses;
	struct {
		const char *reason;
		uint64_t count;
	} lost[OBSERVER_LOSSES];
	struct cost_data cost;
};

/* Adds to the loss of this name, which is kept as it is; of more than OBSERVER_LOSSES names the last one becomes "other". */
void observer_data_lost(struct observer_data *o, const char *reason, uint64_t count);
/* All losses together. */
uint64_t observer_data_lost_sum(const struct observer_data *o);
/* into += from; into begins as zero but for bpf_s, which begins as -1. */
void observer_data_merge(struct observer_data *into, const struct observer_data *from);

struct host_info {
	char name[256], kernel[256], arch[72], boot_id[64];
	int cpus;
};

struct header_data {
	struct host_info host;
	char start[64]; /* RFC 3339 with milliseconds */
	double interval_s;
	uint64_t first_seq; /* of the first interval: not 0 where a recording goes on in another file */
	struct probe_state probes[PROBE_COUNT];
	int probes_len;
	const struct agent_info *agents;
	int agents_len;
	/* Of a sum of recordings; else 0. */
	int merged_files;
	const char *const *merged_hosts; /* names of the hosts they were made on */
	int merged_hosts_len;
};

/* Whether it says that this probe is on; `unsaid` where it says nothing of it. */
bool header_probe_on(const struct header_data *h, enum probe_id probe, bool unsaid);

struct interval_data {
	uint64_t seq;
	double start_s, end_s; /* since the header's start */
	const struct agent_data *const *agents;
	const struct agent_info *const *infos; /* in the same order */
	int agents_len;
	struct observer_data observer;
	const struct header_data *header; /* set when it comes from a file */
};

/* Writing. One line a call, written whole, then flushed. Strings that are not UTF-8 are escaped bytewise (each bad
 * byte becomes U+FFFD). NULL only when out of memory or, with *ret_err set to a negative errno, when it can't open. */
struct recording_writer;
/* path "-": stdout. Names ending in .gz are compressed (each interval is flushed to a byte boundary). Refuses an existing file
 * (-EEXIST) unless force. The file gets mode 0640. */
struct recording_writer *recording_open_write(const char *path, bool force, int *ret_err);
/* The same, but it gets its name when it is closed, and lines aren't flushed: for what is of no use before it is whole. */
struct recording_writer *recording_open_whole(const char *path, bool force, int *ret_err);
int recording_write_header(struct recording_writer *w, const struct header_data *h);
int recording_write_agent(struct recording_writer *w, const struct agent_info *a);
/* What the table has that has not been written yet; before the interval that refers to it. Writes nothing when there is nothing new. */
int recording_write_stacks(struct recording_writer *w, const struct stacks *s);
int recording_write_interval(struct recording_writer *w, const struct interval_data *i);
/* The same keys as an interval, with "kind":"total", plus "exit_code" for agents that ended (infos in the same order as agents). */
int recording_write_total(struct recording_writer *w, const struct interval_data *i, const struct agent_info *const *infos);
/* What is in the file by now, in bytes, after whole lines. */
uint64_t recording_bytes(const struct recording_writer *w);
/* Closes; a line that was torn by an error is cut off again, if it can be. Returns the first error of the writer's life (0 or negative errno, e.g. -ENOSPC). NULL is accepted. */
int recording_close(struct recording_writer *w);
/* Instead of closing: one that was to be whole leaves nothing behind. NULL is accepted. */
void recording_discard(struct recording_writer *w);

/* Reading. The whole file is summed as it streams by, so that memory does not grow with its length. */
struct recording_agent {
	struct agent_info info;
	struct agent_data total; /* sum of the intervals read, or the total line where there is one */
};

struct recording {
	struct header_data header; /* agents unset: see below */
	struct recording_agent *agents;
	int agents_len;
	char **hosts; /* owned: header.merged_hosts, which is unset */
	int hosts_len;
	uint64_t intervals; /* read */
	double duration_s; /* from the first start to the last end */
	struct stacks *stacks; /* that the agents' samples refer to; never NULL */
	struct observer_data observer;
	bool complete; /* has its total */
	uint64_t bad_lines; /* skipped; the first reason is in `note` */
	char note[256]; /* what is missing or wrong, for the reader of the report; "" when all is well */
	bool gap; /* intervals missing in the sequence */
	bool beyond; /* read without sums only: its total counts other than the intervals that are there */
};

/* Called with each interval as it is read (may be NULL). All that it points to is valid during the call. */
typedef int (*recording_interval_fn)(void *ctx, const struct interval_data *i);
/* Reads path ("-": stdin; gzip is recognised by content). On success *ret_recording is the caller's, freed by
 * recording_free. Errors: -ENOENT and other open errors, -ENODATA (empty file), -EPROTONOSUPPORT (a later format
 * version), -EBADMSG (not a recording). ret_why (size why_len) gets one line that says what was wrong. */
int recording_read(const char *path, recording_interval_fn fn, void *ctx, struct recording **ret_recording, char *ret_why, size_t why_len);
void recording_free(struct recording *r);

#endif
