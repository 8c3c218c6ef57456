/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The contract between the kernel side and the collector: records, counters, snapshots.
 *
 * Values are explicit and append-only, fields have fixed width, padding is named. A record takes a whole
 * number of 32-byte slots; `slots` in its head says how many, and the decoder checks it against the
 * table below before it reads a byte more.
 */
#ifndef STAKEOUT_ABI_H
#define STAKEOUT_ABI_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define SO_SLOT_BYTES 32
#define SO_BATCH_SLOTS 64 /* slots in a staging buffer; a full one goes out as one ring-buffer item */
#define SO_LANES 4 /* staging buffers a CPU: lane 0 for the scheduler, the others for everything else */
#define SO_MAX_AGENTS 1024 /* slot 0 is never used: it means "nobody" */
#define SO_MAX_CPUS 1024
#define SO_COMM_BYTES 16
#define SO_PATH_BYTES 108 /* sun_path */
#define SO_CONTENT_BYTES 512
#define SO_REGS 8

/* SO_RECORD(id, value, slots, struct): the kinds of record. */
#define SO_RECORDS(X)                        \
	X(CYCLE, 1, 1, so_cycle)             \
	X(CYCLE_LONG, 2, 2, so_cycle_long)   \
	X(FORK, 3, 1, so_fork)               \
	X(EXEC, 4, 2, so_exec)               \
	X(EXIT, 5, 4, so_exit)               \
	X(CONNECT, 6, 1, so_connect)         \
	X(ACCEPT, 7, 1, so_accept)           \
	X(SEND, 8, 1, so_transfer)           \
	X(RECV, 9, 1, so_transfer)           \
	X(RETRANSMIT, 10, 1, so_retransmit)  \
	X(MAP, 11, 1, so_map)                \
	X(CANDIDATE, 12, 1, so_candidate)    \
	X(SYNTHETIC, 13, 1, so_synthetic)    \
	X(OPEN, 14, 6, so_open)              \
	X(CLOSE, 15, 1, so_close)            \
	X(CONTENT, 16, 17, so_content)       \
	X(RESOLVED, 17, 6, so_resolved)      \
	X(ALLOC, 18, 1, so_alloc)            \
	X(ALLOC_LONG, 19, 2, so_alloc_long)  \
	X(FREE, 20, 1, so_free)              \
	X(GC, 21, 1, so_gc)                  \
	X(CYCLES, 22, 2, so_cycles)          \
	X(DIGEST, 23, 1, so_digest)          \
	X(SIGNAL, 24, 1, so_signal)

enum so_kind {
#define X(id, value, slots, type) SO_##id = value,
	SO_RECORDS(X)
#undef X
	SO_STACK = 31, /* has a ring buffer of its own; here for the counts */
	SO_KINDS = 32 /* size of the tables indexed by kind */
};

/* Why a record did not reach the collector, or why it could not be made. */
#define SO_LOSSES(X)                                                          \
	X(RING_FULL, 0, "ring_full", "the ring buffer was full")              \
	X(NO_LANE, 1, "no_lane", "all staging buffers of the CPU were in use") \
	X(NO_STORAGE, 2, "no_storage", "task or socket storage could not be allocated")

enum so_loss {
#define X(id, value, name, help) SO_LOSS_##id = value,
	SO_LOSSES(X)
#undef X
	SO_LOSS_COUNT = 4
};

/* First 16 bytes of every record. time_ns is CLOCK_MONOTONIC. */
struct so_head {
	__u8 kind;
	__u8 slots;
	__u16 agent; /* slot of the agent, from 1 */
	__u32 tid; /* the thread it is about */
	__u64 time_ns;
};

/*
 * One scheduling cycle: from the switch-out at time_ns - (wait + runq + stint [+ stolen]) to the
 * switch-out at time_ns. The order within the cycle is wait, run queue, stint.
 */
struct so_cycle {
	struct so_head head;
	__u32 gap_ns; /* since the previous switch-out (or since the task was first seen) */
	__u32 runq_ns;
	__u32 stint_ns;
	__u8 wait; /* enum so_wait: reason of the wait in this cycle; SO_WAIT_NONE: left runnable */
	__u8 next; /* the same for the wait that begins now */
	__u16 flags; /* SO_CYCLE_* */
};

/* The same for durations that do not fit 32 bits (4.29 s). */
struct so_cycle_long {
	struct so_head head;
	__u64 gap_ns;
	__u64 runq_ns;
	__u64 stint_ns;
	__u64 pad0;
	__u8 wait;
	__u8 next;
	__u16 flags;
	__u8 pad[12];
};

/*
 * Several cycles of one task in a row, in one record: the same three parts, summed. Either short ones whose waits had one reason (SO_DETAIL_SUMMED), or, with
 * SO_CYCLE_COARSE, all that was between two switches that were recorded. The last one ended at time_ns - ago_ns, the first one began gap_ns before that.
 */
struct so_cycles {
	struct so_head head;
	__u64 gap_ns; /* of all of them */
	__u64 runq_ns;
	__u64 stint_ns;
	__u32 waits; /* cycles in which it waited; the others were left runnable. Coarse: not known, 0 */
	__u8 wait; /* reason of the waits in them; SO_WAIT_NONE: none had one */
	__u8 next; /* of the wait that began when they ended */
	__u16 flags; /* SO_CYCLE_*, the same for each of them */
	__u32 voluntary; /* switches at their ends. Coarse: of the thread since it started, modulo 2^32 */
	__u32 involuntary;
	__u64 ago_ns;
};

#define SO_CYCLE_FIRST 1 /* the task was seen for the first time in this cycle */
#define SO_CYCLE_DEAD 2 /* last switch-out of the task */
#define SO_CYCLE_TIMEOUT 4 /* the wait, a poll, lasted as long as its time limit */
#define SO_CYCLE_IN_POLL 8 /* preempted within a poll: one that does not wait */
#define SO_CYCLE_IN_YIELD 16 /* gave up the CPU by sched_yield */
#define SO_CYCLE_COARSE 32 /* of so_cycles: switches in it were not looked at; the kernel's own counts stay exact */

struct so_fork { /* head.tid is the parent */
	struct so_head head;
	__u32 child_tid;
	__u32 child_tgid;
	__u32 parent_tgid;
	__u32 pad;
};

struct so_exec {
	struct so_head head;
	__u64 since_fork_ns; /* 0: unknown */
	__u32 tgid;
	__u32 old_tid; /* of the thread that called exec: it takes over the process's first tid */
	char comm[SO_COMM_BYTES]; /* not necessarily text; NUL-padded */
	__u8 pad2[16];
};

struct so_exit {
	struct so_head head;
	__u32 tgid;
	__s32 code; /* as wait(2) reports it: exit status << 8 | signal */
	__u32 group_dead; /* 1: last thread of its process */
	__u32 pad;
	__u64 utime_ns; /* of this thread, since it started */
	__u64 stime_ns;
	__u64 faults_minor;
	__u64 faults_major;
	__u64 migrations;
	__u64 switches_voluntary;
	__u64 switches_involuntary;
	__u64 rss_peak_bytes; /* peak within the interval, of the process; 0: not known */
	__u64 exec_ns; /* CPU time of this thread by the scheduler's clock */
	__u64 pad2[3];
};

/* SIGTERM, SIGINT or SIGKILL was sent to a process of an agent, other than the agent itself. */
struct so_signal {
	struct so_head head;
	__u32 tgid;
	__u32 signal;
	__u32 pad[2];
};

/* A connection that an agent's process has, once, before all else of it. Ports in host byte order; addresses in network byte order, IPv4 in the first
 * 4 bytes. A unix socket's path is that of the listening side; abstract ones begin with a NUL. */
struct so_open {
	struct so_head head; /* tid: the process (not thread) that has it */
	__u32 socket; /* number of the connection, from 1; never reused */
	__u8 family; /* AF_INET, AF_INET6, AF_UNIX */
	__u8 type; /* SOCK_STREAM, SOCK_DGRAM, ... */
	__u8 role; /* enum so_role */
	__u8 path_bytes;
	__u16 local_port, remote_port;
	__u8 local[16], remote[16];
	__u32 thread; /* that opened it; 0: not known */
	char path[SO_PATH_BYTES];
	__u8 pad2[20];
};

enum so_role {
	SO_ROLE_UNKNOWN = 0, /* was open before: by its port, or by who speaks first */
	SO_ROLE_CLIENT = 1, /* called connect */
	SO_ROLE_SERVER = 2, /* accepted */
	SO_ROLE_LISTENER = 3,
	SO_ROLE_PAIR = 4, /* socketpair */
};

struct so_connect {
	struct so_head head;
	__u64 duration_ns;
	__u32 socket; /* 0: none (a unix socket) */
	__u16 error; /* 0, or the errno */
	__u8 family;
	__u8 pad;
};

struct so_accept { /* head.agent 0: the listener belongs to process head.tid, which may be anybody's */
	struct so_head head;
	__u32 socket; /* 0: none (a unix socket) */
	__u8 family;
	__u8 pad[11];
};

struct so_transfer {
	struct so_head head;
	__u32 bytes; /* 0: end of file (received) */
	__u32 socket; /* number of the connection; 0: none */
	__u32 rtt_us : 24; /* sent: smoothed round-trip time of TCP; 0: none. Received, with SO_TRANSFER_HELD: since the last packet left that is acknowledged */
	__u32 flags : 8; /* SO_TRANSFER_* */
	__u32 ago; /* received: since the first byte of it arrived; sent: since TCP sent it off; 0: not known. In units of 64 ns, saturating */
};
#define SO_AGO_SHIFT 6
#define SO_RTT_MAX_US 0xffffff
#define SO_TRANSFER_UNREAD 1 /* sent while an answer lay unread that had arrived before */
#define SO_TRANSFER_GAP 2 /* sends or receives of the connection were counted only, since the one before that made a record */
#define SO_TRANSFER_HELD 4 /* received: of what was sent before, TCP kept something back when the call to send returned */

struct so_close { /* the end of a TCP connection */
	struct so_head head;
	__u32 socket;
	__u16 error; /* errno of the socket: ECONNRESET, ETIMEDOUT, ... */
	__u8 by_peer; /* 1: the peer closed first */
	__u8 unread; /* 1: data had arrived that nobody had read yet */
	__u8 pad[8];
};

/* First bytes of a connection's first send, or a DNS answer: only where names are wanted. */
struct so_content {
	struct so_head head;
	__u32 socket;
	__u16 bytes; /* in data; the rest is 0 */
	__u8 received; /* 1: a DNS answer */
	__u8 pad[9];
	__u8 data[SO_CONTENT_BYTES];
};

/* What the send before it, of the same thread, had in it: only where repeated requests are looked for. */
struct so_digest {
	struct so_head head;
	__u32 socket; /* 0: what the thread's next send will have in it, before that is encrypted */
	__u32 bytes;
	__u64 hash; /* keyed */
};

struct so_resolved { /* getaddrinfo: a name and one of its addresses */
	struct so_head head;
	__u8 family;
	__u8 pad[15];
	__u8 address[16];
	char name[144]; /* NUL-terminated */
};

enum so_site { /* cookies of uprobes: where in a library */
	SO_SITE_GETADDRINFO = 1,
	SO_SITE_FREEADDRINFO = 2,
};

/* A block that the allocator gave, and one given back: the calls of a process's own allocator, outermost ones only. A reallocation is a FREE
 * and an ALLOC. */
struct so_alloc {
	struct so_head head;
	__u64 address; /* of the user's process */
	__u32 bytes; /* that were asked for */
	__u32 site; /* key of the stack that asked (see so_stack.key); 0: not known. address 0: so often the size counts */
};

struct so_alloc_long { /* the same from 4 GiB */
	struct so_head head;
	__u64 address;
	__u64 bytes;
	__u32 site;
	__u32 pad[7];
};

struct so_free {
	struct so_head head;
	__u64 address;
	__u64 flags; /* SO_FREE_* */
};
#define SO_FREE_MAYBE 1 /* to be reallocated: unless the thread's next record is SO_FREE_NOT */
#define SO_FREE_NOT 2 /* that failed: the block is still there */

struct so_gc { /* at its end */
	struct so_head head;
	__u64 duration_ns;
	__u8 generation; /* enum so_generation */
	__u8 pad[7];
};

enum so_generation {
	SO_GENERATION_UNKNOWN = 0,
	SO_GENERATION_YOUNG = 1, /* CPython 0, V8's scavenger */
	SO_GENERATION_MIDDLE = 2, /* CPython 1 */
	SO_GENERATION_FULL = 3, /* CPython 2, V8's mark-compact, Go */
};

/* Cookie of a uprobe in a runtime: what the place means, and where it has the generation. */
struct so_gc_site {
	__u8 site; /* enum so_gc_place */
	__u8 generation; /* enum so_generation, or SO_GENERATION_NONE; of use where the place has no argument */
	__u8 argument; /* enum so_gc_argument: where the generation is, as CPython counts them: 0, 1, 2 */
	__u8 reg; /* of the argument: its place in struct pt_regs, in units of 8 bytes */
	__s16 displacement;
	__u16 process; /* whose: index in gc_counts */
};
_Static_assert(sizeof(struct so_gc_site) == 8, "size of a cookie");

enum so_gc_place {
	SO_GC_START = 1, /* the pause begins, as far as this thread is concerned */
	SO_GC_MARK = 2, /* within it: tells the generation */
	SO_GC_END = 3,
};

enum so_gc_argument {
	SO_GC_ARGUMENT_NONE = 0,
	SO_GC_ARGUMENT_REGISTER = 1,
	SO_GC_ARGUMENT_MEMORY = 2, /* at the register's value plus the displacement */
};
#define SO_GENERATION_NONE 255 /* no garbage collection, unless a mark tells so */
#define SO_GC_PROCESSES 256

struct so_retransmit {
	struct so_head head;
	__u32 socket;
	__u32 pad[3];
};

struct so_map {
	struct so_head head;
	__u64 bytes;
	__u64 pad;
};

struct so_candidate { /* an exec outside all agents; sent only while the targets ask for it */
	struct so_head head;
	__u32 tgid;
	__u32 pad[3];
};

struct so_synthetic { /* made by tests */
	struct so_head head;
	__u64 seq;
	__u64 pad;
};

#define X(id, value, slots, type) \
	_Static_assert(sizeof(struct type) == (slots) * SO_SLOT_BYTES, "size of " #type);
SO_RECORDS(X)
#undef X

/*
 * How far the kernel side goes into detail, by what it watches. The collector writes it at any time, and programs take what they find at each event.
 * What an event is, is counted at all levels; with full detail by its records, with less by so_lane.events.
 */
enum so_detail_level {
	SO_DETAIL_FULL = 0, /* a record an event */
	SO_DETAIL_SUMMED = 1, /* sched: short cycles are summed (so_cycles) */
	SO_DETAIL_COUNTS = 2, /* counters only: no clock is read, nothing is sent. What the kernel counts itself stays exact */
	SO_DETAIL_OFF = 3, /* the hooks are taken away: by the loader, programs never see it */
};
struct so_detail {
	__u32 sched; /* enum so_detail_level */
	__u32 sock; /* FULL, COUNTS, or OFF: of sends, receives and arrivals; connections are followed on */
	__u32 names; /* FULL, or COUNTS: no content is read */
	__u32 peak; /* FULL or OFF */
};

enum so_event { /* of an agent's tasks and connections, that made no record of their own for want of detail */
	SO_EVENT_SWITCH = 0,
	SO_EVENT_SEND = 1,
	SO_EVENT_RECV = 2,
	SO_EVENT_ARRIVAL = 3,
	SO_EVENTS = 6
};

/* Bytes that an agent's processes sent and received while they were counted only. One for each CPU and slot of an agent; they only grow. */
struct so_traffic {
	__u64 sent_bytes;
	__u64 received_bytes;
};

/*
 * A staging buffer. Written only on its own CPU; lane 0 with interrupts off, the others guarded by
 * `busy`. The collector maps the array and reads `used` to learn whether a flush is worth an interrupt.
 */
struct so_lane {
	__u32 used; /* slots */
	__u32 busy;
	/* Lane 0: what CLOCK_MONOTONIC is ahead of this CPU's scheduler's clock, and until when, by the latter, that holds. */
	__s64 clock_ahead_ns;
	__u64 clock_until_ns;
	__u64 seen[SO_KINDS]; /* records offered, lost ones included */
	__u64 lost[SO_KINDS][SO_LOSS_COUNT];
	__u64 runs; /* times that a handler took the lane */
	__u64 events[SO_EVENTS];
	__u64 pad[6];
	__u8 slots[SO_BATCH_SLOTS][SO_SLOT_BYTES];
};
_Static_assert(sizeof(struct so_lane) % 64 == 0, "lanes must not share a cache line");

/*
 * A stack as it was found, in the ring buffer `stacks`, one item each: this head, then kernel_len addresses, python_len frames, and user_bytes
 * bytes of the stack itself, from the stack pointer up. Names and callers are found in user space.
 */
struct so_stack {
	struct so_head head; /* kind SO_STACK, slots 0 */
	__u32 tgid;
	__u32 bytes; /* of the whole item */
	__u8 sample; /* enum so_sample: what it is a sample of */
	__u8 flags; /* SO_STACK_* */
	__u8 kernel_len;
	__u8 python_len;
	__u32 user_bytes; /* a multiple of 8 */
	__u64 value; /* CPU: ns of CPU time that it stands for; OFFCPU: 0; ALLOC, SITE: bytes asked for */
	__u64 key; /* OFFCPU: begin of the wait, CLOCK_MONOTONIC; ALLOC: what it stands for, in bytes; SITE: the key that records name it by */
	__u64 regs[SO_REGS]; /* enum so_reg, of user mode */
	char comm[SO_COMM_BYTES]; /* of the thread; not necessarily text */
};
_Static_assert(sizeof(struct so_stack) == 128, "size of so_stack");

/* User registers that unwinding starts from, x86-64 and arm64. */
enum so_reg {
	SO_REG_IP = 0,
	SO_REG_SP = 1,
	SO_REG_FP = 2, /* rbp, x29 */
	SO_REG_BX = 3, /* rbx; arm64: x30, the link register */
	SO_REG_R12 = 4, /* r12 to r15 */
	SO_REG_R13 = 5,
	SO_REG_R14 = 6,
	SO_REG_R15 = 7,
};

struct so_python_frame { /* leaf first */
	__u64 code; /* user address of the code object */
	__u64 at; /* where in it: as the interpreter keeps it (instruction pointer, or offset before 3.11), to be read with its version */
	__u64 flags; /* SO_PYTHON_* */
};
/* Where an interpreter keeps its frames, by process: the kernel side walks them with it. Offsets of one version of CPython. */
enum so_python_offset {
	SO_PYTHON_THREAD_NEXT = 0, /* in the state of a thread: the next one */
	SO_PYTHON_THREAD_ID = 1, /* whose it is: see enum so_python_thread */
	SO_PYTHON_THREAD_FRAME = 2, /* its innermost frame, or, where there is one, the struct of CPython's C frame */
	SO_PYTHON_CFRAME_FRAME = 3, /* 3.11, 3.12: the innermost frame in that struct; SO_PYTHON_NONE in others */
	SO_PYTHON_FRAME_PREVIOUS = 4, /* in a frame: its caller's */
	SO_PYTHON_FRAME_CODE = 5,
	SO_PYTHON_FRAME_AT = 6, /* f_lasti (4 bytes), prev_instr, instr_ptr */
	SO_PYTHON_FRAME_ENTRY = 7, /* is_entry (3.11), owner (from 3.12); SO_PYTHON_NONE: each frame is an entry */
	SO_PYTHON_FRAME_BYTES = 8, /* what is read of a frame, which holds all of the above */
	SO_PYTHON_CODE_WORD = 9, /* in a code object: the 8 bytes with its first line */
	SO_PYTHON_CODE_NAME = 10, /* the plain name, which always carries its hash; counted from SO_PYTHON_CODE_WORD */
	SO_PYTHON_TEXT_HASH = 11, /* in a string: its hash */
	SO_PYTHON_ZERO = 12, /* 0, which verifiers don't know */
};
#define SO_PYTHON_NONE 0xffffffff

enum so_python_thread { /* what a thread is known by in its state */
	SO_PYTHON_BY_POINTER = 0, /* pthread_self(), the thread pointer on x86-64 */
	SO_PYTHON_BY_TID = 1, /* gettid(), as in its own PID namespace */
};

struct so_python {
	__u64 runtime; /* address of _PyRuntime */
	__u64 threads; /* address of the pointer to the first thread state of the main interpreter */
	__u64 holder; /* address of the pointer to the thread state that had its lock last */
	__u32 version; /* 0x030b: 3.11 */
	__u32 thread_by; /* enum so_python_thread */
	__u32 offsets[16]; /* enum so_python_offset */
};

/* What tells a code object from a later one at the same address: both by their contents, since allocators give out the same addresses again in the same
 * order. Never 0. */
static inline __u32 so_python_identity(__u64 code_word, __u64 name_hash)
{
	return (__u32)(((code_word ^ name_hash) * 0x9e3779b97f4a7c15ULL) >> 32) | 1;
}

#define SO_PYTHON_IDENTITY_SHIFT 32 /* flags >> this: so_python_identity() of the code object when the sample was taken; 0: not known */
#define SO_PYTHON_ENTRY 1 /* the interpreter's C function was entered for this frame: the native frame of it ends here */

#define SO_STACK_PYTHON_CUT 1 /* more Python frames than fit, or than could be read */
#define SO_STACK_USER_CUT 2 /* the stack goes on beyond user_bytes */
#define SO_STACK_COMPAT 4 /* a 32-bit task: no user stack is taken */

enum so_sample {
	SO_SAMPLE_CPU = 1,
	SO_SAMPLE_OFFCPU = 2,
	SO_SAMPLE_ALLOC = 3, /* an allocation of a sampling window */
	SO_SAMPLE_SITE = 4, /* the first allocation from a place: later records name it by the key */
};
#define SO_STACK_KERNEL_MAX 64
#define SO_STACK_PYTHON_MAX 64
#define SO_STACK_USER_MAX (32 * 1024)
#define SO_STACK_ROOMS 3 /* samples of a CPU that can be in the making at a time */

/* One task of an agent as the snapshot found it, read from the snapshot iterator. */
struct so_snap {
	__u32 tid;
	__u32 tgid;
	__u16 agent;
	__u8 wait; /* reason of the open wait; SO_WAIT_NONE: none */
	__u8 on; /* enum so_on */
	__u32 flags; /* SO_SNAP_* */
	__u64 now_ns; /* when it was read */
	__u64 base_ns; /* begin of the open cycle */
	__u64 runq_ns; /* of the open cycle, up to now_ns */
	__u64 stint_ns;
	__u64 exec_ns; /* CPU time since the thread started, by the scheduler's clock */
	__u64 utime_ns; /* the same sampled at ticks: good for the ratio of user to system */
	__u64 stime_ns;
	__u64 faults_minor;
	__u64 faults_major;
	__u64 migrations;
	__u64 switches_voluntary;
	__u64 switches_involuntary;
	__u64 rss_bytes; /* of the process; in its first thread's entry only */
	__u64 rss_peak_bytes; /* the same, highest since the last snapshot */
	char comm[SO_COMM_BYTES];
	__u32 parent_tgid; /* of the process's parent */
	__u32 run_waits;
	/* Cycles up to base_ns that were summed and have not been sent, as in so_cycles; all 0: none. */
	__u64 run_gap_ns;
	__u64 run_runq_ns;
	__u64 run_stint_ns;
	__u32 run_voluntary;
	__u32 run_involuntary;
	__u8 run_wait;
	__u8 pad;
	__u16 run_flags;
	__u32 pad2;
};
_Static_assert(sizeof(struct so_snap) == 192, "size of so_snap");

enum so_on {
	SO_ON_WAITING = 0,
	SO_ON_QUEUED = 1, /* runnable, waits for a CPU */
	SO_ON_CPU = 2,
	SO_ON_DEAD = 3,
};

#define SO_SNAP_TOOL 1 /* its process is a tool: a descendant that called exec */
#define SO_SNAP_LEADER 2 /* first thread of its process */
#define SO_SNAP_ROOT 4 /* process that the user named */
#define SO_SNAP_LIMITED 8 /* the open wait is a poll with a time limit */
#define SO_SNAP_COARSE 16 /* since base_ns there were switches that were not looked at */

enum so_wait {
	SO_WAIT_NONE = 0,
#define WAIT(id, value, name, state, help) SO_WAIT_##id = value,
#include "waits.def"
#undef WAIT
	SO_WAIT_EVENTS = 12, /* a poll like SO_WAIT_POLL, by what event loops wait in: epoll, io_uring. One of a single socket is no loop's */
	SO_WAITS /* one above the highest */
};

#endif
