/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the parts of the world share; nobody else includes it. world.c: agents and intervals; tasks.c: processes and threads; account.c: ledgers;
 * connections.c, sockets.c, transfers.c: connections and exchanges; peers.c: who they are with; habits.c: how they follow each other; loops.c: event loops and polling; stacks.c: stack
 * samples; allocations.c: heaps and garbage collection.
 */
#ifndef STAKEOUT_WORLD_MODEL_H
#define STAKEOUT_WORLD_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Most keys are thread, process or connection numbers, looked up once a record: Jenkins's hash costs more than the rest of the look-up. */
static inline unsigned key_hash(const void *key, unsigned len)
{
	const unsigned char *p = key;
	unsigned h = 0, word;

	for (; len >= sizeof(word); len -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		h = (h ^ word) * 2654435769u; /* 2^32 / golden ratio */
		h ^= h >> 15;
	}
	for (; len; len--)
		h = (h ^ *p++) * 16777619u;
	return h;
}
#define HASH_FUNCTION(key, len, ret) ((ret) = key_hash(key, len))
#include <uthash.h>

#include "abi.h"
#include "collect/books.h"
#include "collect/exchange.h"
#include "collect/heap.h"
#include "collect/repeats.h"
#include "collect/timeline.h"
#include "collect/world.h"
#include "model/recording.h"

/* The kernel's own counters of a thread, of which we take differences. */
enum count_id { COUNT_FAULTS_MINOR, COUNT_FAULTS_MAJOR, COUNT_MIGRATIONS, COUNT_USER, COUNT_SYSTEM, COUNT_EXEC, COUNT_IDS };

struct cpu_split { /* CPU time since the beginning: the scheduler's exact sum, split in the ratio that ticks saw */
	uint64_t exec_ns, user_ticks_ns, system_ticks_ns;
	uint64_t user_told_ns, system_told_ns; /* what intervals said so far */
};

struct pending { /* a wait whose state is found when it is known what was outstanding */
	uint64_t from_ns, to_ns;
	uint8_t poll; /* 1: a poll, 0: a pipe or a socketpair */
	uint8_t rest; /* enum state_id where nothing was outstanding */
	bool main; /* of the agent's main thread */
	int16_t tool; /* whose first thread waits; -1: none */
	uint32_t tid; /* of a wait that is not over: what ends it tells its `rest`; 0: over */
};

struct waits {
	struct pending *at;
	size_t len, cap;
};

#define OWNER_CONNECTING 0x80000000u /* flag in a span's owner */

struct conn;

#define CHAIN_PEERS 8

/* Exchanges of a process with different peers, one right after another, nothing else outstanding. */
struct chain {
	struct peer *peers[CHAIN_PEERS]; /* each holds a reference */
	unsigned len; /* 0: none */
	uint32_t conn, reader; /* connection of the last one; thread that read of its answer */
	uint64_t begin_ns, end_ns; /* of the last one; end 0: no answer yet */
	uint64_t sum_ns, longest_ns; /* of those before it */
};

struct proc {
	uint32_t tgid;
	int agent; /* place */
	int threads;
	bool root, seen;
	int tool; /* index in the agent's tools; -1: the agent itself */
	uint64_t exec_ns; /* when it became this tool; 0: not known */
	uint64_t told_to_end_ns; /* the first signal that should end it; 0: none */
	uint64_t rss, rss_peak;
	struct proc *parent; /* in the same agent, or NULL */
	int kids; /* processes whose parent it is */
	uint32_t poller; /* thread that waited for events last; 0: none has */
	struct spans children; /* when descendants were at work */
	struct waits waits, open; /* open: of waits that are not over */
	struct conn *conns;
	int asking; /* of them, those with a request that has no answer yet */
	struct chain chain;
	struct blocks *blocks; /* of its heap; NULL: none seen */
	UT_hash_handle hh;
};

#define NET_PAIR STATE_COUNT /* a socketpair: whether that is a child is found later */

struct sampled_wait { /* the last wait of a thread that its stack may be known of */
	uint64_t base_ns; /* its begin */
	uint64_t told_ns; /* of it, what has been charged */
	uint32_t stack; /* STACK_OTHER: not known */
};

struct resize { /* a block that a thread reallocates */
	uint64_t since_ns; /* 0: none */
	bool known;
	struct freed block;
};

/* Cycles of a thread that the kernel side summed, from base_ns on: all of them, or what is known of them so far. */
struct cycles_run {
	uint64_t base_ns, end_ns, runq_ns, stint_ns;
	uint32_t waits, voluntary, involuntary;
};

struct said { /* the request under way, as the probe dup tells */
	uint64_t hash;
	uint32_t sends; /* that it was told of; before encryption: calls of the library */
	bool plain; /* before encryption */
};

struct task {
	uint32_t tid;
	int agent;
	struct proc *proc; /* NULL: not known yet */
	bool seen; /* by the last snapshot, or created since */
	bool counted; /* last[] is valid */
	uint8_t wait; /* reason of the open wait */
	uint8_t net_last; /* enum state_id of the connection that it used last, NET_PAIR, or 0: none yet */
	uint8_t net_first; /* the same of the first one that it used in the present cycle: what it had waited for */
	uint8_t net_opened; /* the same of one that it began to connect in the present cycle: what it waits for next, if it waits in connect */
	uint32_t transfers; /* in the present cycle */
	bool parts; /* of its open wait, some are pending */
	bool within; /* its books end within a cycle */
	uint64_t moved_ns; /* when it last turned to something else than reading answers */
	uint64_t last[COUNT_IDS];
	struct books books;
	struct cycles_run run; /* what has been posted of the last run */
	uint32_t switches[2]; /* voluntary, involuntary, since it started, modulo 2^32: what the kernel would say */
	bool switches_known;
	bool coarse; /* of its open cycle, switches were not looked at */
	int64_t main_skip_ns; /* of its next posting to the main ledger, which another thread kept so far; negative: missing there */
	uint64_t turn_ns; /* begin of the present turn of its event loop; 0: none */
	uint64_t period_ns; /* of its idle wake-ups */
	unsigned repeats;
	char comm[SO_COMM_BYTES]; /* as the last snapshot saw it */
	struct waker idle, spinning; /* since then; their names are not set */
	struct sampled_wait sampled;
	struct resize resize; /* full heap */
	struct said plain; /* to be sent next */
	uint64_t plain_ns, plain_last; /* of its last part: when, and its hash */
	UT_hash_handle hh;
};

struct peer { /* who it is; what intervals say of it is in the agent's data */
	char *key; /* side, text, name */
	char *text, *name;
	enum class_id class;
	bool server;
	int refs; /* connections */
	int index; /* in cur.peers, while epoch is the agent's */
	unsigned epoch;
	/* Of recent answers, smoothed: the gap after the first burst, the gaps after that, and the share (of 256) that had more than one. */
	uint64_t first_gap_ns, gap_ns;
	unsigned streams;
	uint64_t asked_ns; /* the last request to it */
	uint64_t exchanges, overlaps;
	struct repeats *repeats; /* NULL: none heard of */
	UT_hash_handle hh;
};

struct burst { /* exchanges on a connection, one right after another, of requests of like size */
	uint32_t len; /* 0: none */
	uint64_t begin_ns, end_ns, request_bytes; /* bytes: of the last one */
};


struct conn {
	uint32_t number;
	int agent;
	struct proc *proc; /* that used it last; NULL: gone */
	struct conn *prev, *next; /* of the same process */
	uint8_t family, type, role;
	uint64_t closed_ns;
	bool closed, closed_by_peer, old; /* closed in an earlier interval */
	bool http, http1; /* HTTP or TLS; HTTP/1 in plain text */
	bool seen; /* by the walk */
	uint32_t reader; /* thread that read last */
	int protocol; /* enum class_id that the first bytes told, or -1 */
	int class; /* enum class_id of a datagram socket's peer, which stands in no table; -1: see `peer` */
	uint16_t local_port, remote_port;
	uint8_t local[16], remote[16];
	char *path, *name; /* NULL: none */
	struct peer *peer; /* NULL: not used yet */
	uint64_t connecting_ns; /* since; 0: not */
	uint64_t opened_ns; /* begin of its connect, until something is asked; 0: not known */
	uint64_t connect_ns; /* how long it took, until told */
	bool connected; /* to be counted when the peer is known */
	struct exchange exchange;
	bool asking; /* counted in proc->asking */
	struct burst burst;
	struct said said;
	UT_hash_handle hh;
};

struct resolved_key {
	int agent, family;
	uint8_t address[16];
};

struct resolved { /* an address that an agent looked up */
	struct resolved_key key;
	char *name;
	UT_hash_handle hh;
};

struct agent {
	struct agent_info info;
	int place; /* in the world's agents: what processes, threads and connections know it by */
	int slot; /* 0: given up */
	bool forgotten; /* its place is free */
	bool told; /* an interval had it */
	bool releasing; /* watched no longer, from the next close on */
	bool alive, spoke, held_spoke; /* spoke: the interval just closed (or held back) has something of it */
	uint64_t start_ns, end_ns; /* of the watched life of its main thread; 0: not yet */
	int tasks, procs;
	struct agent_data cur, held, total; /* held: the interval before, while it is held back; the same tools in the same order */
	struct ledger next_main, next_threads; /* time behind the end of the interval being closed */
	struct ledger *next_tool; /* by index in cur.tools */
	struct cpu_split cpu;
	struct cpu_split *tool_cpu; /* by index in cur.tools */
	uint64_t dead_rss_peak;
	/* Of the time since settled_ns: */
	uint64_t settled_ns; /* 0: since start_ns */
	struct spans running, ready; /* any thread on a CPU; on a CPU or wanting one */
	struct spans disk; /* any thread waiting for a disk */
	struct spans main_waits; /* of the main thread, by state */
	uint64_t main_wait_ns; /* end of its last wait */
	struct spans exchanges; /* as the client, and connects (OWNER_CONNECTING); owner: the process */
	struct sites *sites; /* places that allocate; NULL: none seen */
	bool limits_known, limits_over; /* over: read since it ended */
	struct limits_reading limits; /* at the last call */
	/* Peers: */
	struct peer *peers;
	unsigned peers_epoch; /* changes when cur.peers moves */
};

struct kmem { /* kernel allocations of one size: the count at the last look */
	uint32_t bytes;
	uint64_t count;
};

struct blind_change { /* sends and receives are counted only, or recorded again, from at_ns on */
	uint64_t at_ns;
	bool blind;
};

struct world {
	bool probe_on[PROBE_COUNT];
	/* Where sends and receives were counted only, what was outstanding is not known. */
	bool blind;
	uint64_t blind_ns; /* blind: since; else: until when it was last; 0: never */
	struct spans blinds; /* that are over, of the time that is not resolved yet */
	struct blind_change *changes; /* still to come, in order of time */
	size_t changes_len, changes_cap;
	struct so_traffic traffic[SO_MAX_AGENTS]; /* by slot, at the last look */
	const struct peer_rules *rules;
	int peers_kept;
	struct agent **agents; /* by place; which is the id as long as none is forgotten */
	int len, cap, alive, ids;
	bool forgets;
	int by_slot[SO_MAX_AGENTS]; /* place, or -1 */
	struct kmem *kmem[SO_MAX_AGENTS]; /* by slot, since the kernel side counts on when a slot changes hands */
	int kmem_len[SO_MAX_AGENTS];
	struct task *tasks;
	struct proc *procs;
	struct conn *conns;
	struct conn *stray; /* connections whose process is gone */
	size_t endless, endless_last; /* connections whose end no hook tells: now, after the last walk */
	uint8_t listening[65536 / 8]; /* bit by port: an agent's process listened there */
	struct resolved *resolved;
	uint64_t boundary_ns; /* end of the interval being closed; UINT64_MAX between */
	uint64_t start_ns; /* of the interval */
	uint64_t now_ns; /* of the last record */
	bool holding; /* the one before is held back: what ended before start_ns belongs to it */
	bool finished; /* the interval just closed is resolved and in the total */
	struct stacks *stacks;
	size_t stacks_kept; /* the last time that they were tidied */
	uint64_t offcpu_min_ns, leak_age_ns;
	uint64_t orphans;
	const struct agent_data **interval, **total; /* room for cap entries each */
	const struct agent_info **infos, **interval_infos;
	int interval_len;
};

/* Books of one event: the agent's, the tool's when the process is one, the peer's. */
struct sets {
	struct metric_set *of[3];
	int len;
};

struct sets sets_of(struct agent *a, const struct proc *p);
void count(const struct world *w, struct sets s, enum metric_id m, uint64_t n);
void record(const struct world *w, struct sets s, enum metric_id m, uint64_t value);
/* Records n values, of which only the sum is known: as n times the mean. The sum stays exact. */
void record_sum(const struct world *w, struct sets s, enum metric_id m, uint64_t sum, uint64_t n);
struct agent *agent_by_slot(const struct world *w, unsigned slot);
/* Its root process is gone. */
void agent_end(struct world *w, struct agent *a);
/* Frees what it has. */
void agent_fini(struct agent *a);
/* Makes the changes of blindness that lie up to upto_ns. */
void changes_make(struct world *w, uint64_t upto_ns);

/* tasks.c */
struct task *task_find(const struct world *w, uint32_t tid);
struct proc *proc_find(const struct world *w, uint32_t tgid);
struct task *task_add(struct world *w, struct agent *a, uint32_t tid, struct proc *p);
void task_remove(struct world *w, struct task *t);
/* Names the process of a task that turned up without one. */
void task_set_proc(struct task *t, struct proc *p);
/* Adds what the kernel's counters of a thread grew by. The first look at a thread that was there before us is the base. */
void task_count(struct world *w, struct task *t, const uint64_t now[COUNT_IDS]);
struct proc *proc_add(struct world *w, struct agent *a, uint32_t tgid);
void proc_remove(struct world *w, struct proc *p);
void proc_set_tool(struct agent *a, struct proc *p, const char comm[SO_COMM_BYTES]);
void proc_set_parent(struct world *w, struct proc *p, uint32_t parent_tgid);
/* What a thread is in the middle of counts as over when the recording ends. */
void task_open_record(struct world *w, struct task *t);
bool task_is_main(const struct world *w, const struct task *t);
/* Counts one scheduling cycle in the histograms. */
void cycle_record(struct world *w, const struct task *t, uint64_t gap_ns, uint64_t runq_ns, uint64_t stint_ns, unsigned wait);
void tasks_record(struct world *w, const struct so_head *h);
/* Cycles that a snapshot found summed and not sent, and switches that were not looked at. */
void task_snap(struct world *w, struct task *t, const struct so_snap *s);

/* account.c */
struct cycle_times {
	uint64_t base_ns, now_ns, runq_ns, stint_ns; /* see books_post() */
	unsigned wait; /* enum so_wait */
	bool first; /* the thread was not seen before */
	bool limited; /* the wait is a poll with a time limit */
	bool timeout; /* which ended it */
	bool over; /* the cycle is complete */
	bool several; /* sums of several cycles */
};
/* Posts a cycle, or what has passed of it, to the ledgers. */
void account_post(struct world *w, struct task *t, const struct cycle_times *c);
/* Resolves what process p waited for; it is about to go. */
void account_proc_end(struct world *w, struct proc *p);
/* Resolves all waits of the agents up to upto_ns, by what is known at now_ns. */
void account_settle(struct world *w, uint64_t upto_ns, uint64_t now_ns);
/* p was at work: its ancestors may have waited for that. */
void account_work(struct proc *p, uint64_t from_ns, uint64_t to_ns);
void account_agent_fini(struct agent *a);
size_t account_bytes(const struct world *w);

/* connections.c, sockets.c, transfers.c (see connections.h for what they share) */
void sockets_record(struct world *w, const struct so_head *h);
/* The process ends: its exchanges are over. */
void sockets_proc_end(struct world *w, struct proc *p);
/* Adds to ret what was outstanding for process p up to upto_ns and is not over at now_ns: exchanges as the client and connects, by class. */
void sockets_outstanding(struct world *w, const struct proc *p, uint64_t upto_ns, uint64_t now_ns, struct spans *ret);
/* At the end of an interval: exchanges that silence ended (last: all), connections that are over. */
void sockets_rest(struct world *w, uint64_t now_ns, bool last);
/* Before the interval is written, and after. */
void peers_close(struct world *w, struct agent *a);
void peers_next(struct agent *a);
/* Sends and receives are counted only from at_ns on: what is outstanding ends there. */
void sockets_blind(struct world *w, uint64_t at_ns);
void sockets_fini(struct world *w);
size_t sockets_bytes(const struct world *w);

/* habits.c (see connections.h for more) */
/* At the end of an interval, or when a process ends: a chain that is over, or (last) any. */
void chains_rest(struct world *w, uint64_t now_ns, bool last);
void chain_proc_end(struct world *w, struct proc *p);

/* stacks.c */
/* The wait of t that began at base_ns has lasted wait_ns, and is over or goes on (the interval ends). */
void stacks_wait(struct world *w, struct task *t, uint64_t base_ns, uint64_t wait_ns, bool over);

/* allocations.c */
void allocations_record(struct world *w, const struct so_head *h);
void allocations_site(struct world *w, struct agent *a, const struct so_stack *s, uint32_t stack); /* the stack of a place that allocates */
void allocations_proc_end(struct proc *p); /* it ends, or runs another program */
/* The last process of the agent is about to go: what it leaves allocated is told before it is gone. */
void allocations_last_proc(struct world *w, struct agent *a);
void allocations_close(struct agent *a, uint64_t now_ns); /* at the end of an interval */

/* loops.c */
void loop_cycle(struct world *w, struct task *t, const struct so_head *h, uint64_t gap_ns, uint64_t runq_ns, uint64_t stint_ns, unsigned wait,
		unsigned next, unsigned flags);
/* The same for n cycles of t up to end_ns, waits of them with a wait, of which the sums are known; waits 0 and wait other than SO_WAIT_NONE: not even how many. */
void loop_cycles(struct world *w, struct task *t, const struct cycles_run *r, unsigned wait, unsigned next, unsigned flags);

/* Tells of t's idle wake-ups since the last call, if its name is known. */
void loop_wakers_tell(struct world *w, struct task *t);

static inline uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

#endif
