/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What every probe stands on: membership of tasks, staging of records, counting of losses.
 *
 * Staging is nest-safe. Lane 0 of a CPU belongs to sched_switch, which runs with interrupts off and never nests; the other
 * lanes are taken by exchange on `busy`, so that a handler that interrupts another one, or is preempted (tracepoint programs
 * are preemptible on some kernels), gets a lane of its own.
 */
#ifndef STAKEOUT_CORE_BPF_H
#define STAKEOUT_CORE_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#include "abi.h"
#include "arch.bpf.h"

/*
 * Reading the kernel's structures: by plain loads where every switch or packet passes, and by BPF_CORE_READ elsewhere. For each load of a pointer out of a trusted one the
 * verifier searches all types of the kernel up to four times (btf_nested_type_is_trusted), at each visit: about 1 ms of a start. What a helper call takes: see wait.bpf.h.
 */

/* A task of an agent. Lives in task storage: is inherited, relabelled, dies with the task. The kernel aligns it to 8 bytes behind the start of a cache line: what
 * each switch needs comes first, and lies in that line. */
struct membership {
	u32 seq; /* odd while the owner's CPU updates it; the snapshot retries then */
	u16 agent;
	u8 wait; /* enum so_wait: reason of the open wait */
	u8 flags; /* SO_SNAP_TOOL, SO_SNAP_ROOT, MEMBER_* */
	u64 off_ns; /* begin of the open cycle: last switch-out */
	u64 exec_ns, delay_ns; /* sum_exec_runtime and run_delay then */
	u64 limit_ns; /* time limit of the open wait, a poll; 0: none, or not known */
	u32 switches; /* that it had made then, this one included: where there are more by the next that is looked at, some were not */
	u32 rss_high_pages; /* highest resident memory up to the last snapshot, by the kernel; in the first thread's, as the next one */
	u64 fork_ns;
	u64 rss_peak; /* bytes, since the last snapshot, as the probe peak saw it */
	u64 read_ns; /* begin of the wait whose stack has been read last */
	/* With MEMBER_RUN: short cycles that are summed and have not been sent, see so_cycles. They are what the books grew by from their begin to off_ns. */
	u64 run_ns, run_exec_ns, run_delay_ns;
	u32 run_voluntary, run_involuntary, run_waits;
	u16 run_flags;
	u8 run_wait;
	u8 guest; /* in its parent's memory until its exec, as after vfork and posix_spawn; that memory is told of the parent only */
};
#define MEMBER_FIRST 0x80 /* no switch-out seen yet */
#define MEMBER_RUN 0x40

#ifdef CORE_DEFINE_MAPS
#define CORE_MAP
#else
#define CORE_MAP extern
#endif

CORE_MAP struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct membership);
} tasks SEC(".maps");

/* Agents that are being let go, by slot; filled by the loader while it runs the iterators that do so. */
CORE_MAP struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SO_MAX_AGENTS);
	__type(key, u32);
	__type(value, u32);
} releases SEC(".maps");

CORE_MAP struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} records SEC(".maps");

CORE_MAP struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SO_MAX_CPUS * SO_LANES);
	__type(key, u32);
	__type(value, struct so_lane);
} lanes SEC(".maps");

/*
 * Never filled: that there is a tail call keeps the kernel from giving programs of uprobes a stack of their own a CPU (since 6.13, for
 * frames of 64 bytes and more). Uprobes may be preempted, and another thread's run of the same program on that CPU would write over it:
 * seen as garbled records and as an oops on 7.2. What is attached to tracepoints is guarded against that.
 */
CORE_MAP struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} tails SEC(".maps");

extern const volatile __u64 cfg_wake_bytes;
extern const volatile __u32 cfg_page_bytes;
/* Set by the collector. */
extern volatile struct so_detail detail;
/* How often the detail of sockets, or of names, was taken back or given: odd while there are only counts. One number tells the level, and whether it was another one meanwhile. */
extern volatile __u32 sock_era, names_era;
/* Set by the collector while it lets long pass between its looks: a stack sample wakes it then, since its process may be gone soon. */
extern __u32 dozing;
/* Values that found no room in a table that sums in the kernel; atomic, since they are rare. */
extern __u64 tables_full;
/* CLOCK_MONOTONIC minus the scheduler's clock, set by core__clock. */
extern __s64 clock_offset_ns;

static __always_inline struct so_lane *lane_get(u32 lane)
{
	u32 key = bpf_get_smp_processor_id() * SO_LANES + lane;

	return bpf_map_lookup_elem(&lanes, &key);
}

/* Sends what is staged. A global function: the verifier looks at it once, not at each call. Returns 0. */
int lane_flush(struct so_lane *l);

/* Room for one record in a lane that the caller holds. Every byte must be written. */
static __always_inline void *lane_stage(struct so_lane *l, u32 kind, u32 slots)
{
	u32 n = l->used;

	l->seen[kind]++;
	if (n > SO_BATCH_SLOTS - slots) {
		lane_flush(l);
		n = 0;
	}
	l->used = n + slots;
	return l->slots[n];
}

static __always_inline struct so_lane *lane_try(u32 lane)
{
	struct so_lane *l = lane_get(lane);

	if (l && !__sync_lock_test_and_set(&l->busy, 1))
		return l;
	return NULL;
}

static __always_inline void lane_release(struct so_lane *l)
{
	barrier();
	*(volatile u32 *)&l->busy = 0;
}

/* A record that could not be made. Atomic, since the lane may be somebody else's. */
static __always_inline void loss_count(u32 kind, u32 loss)
{
	struct so_lane *l = lane_get(SO_LANES - 1);

	if (!l)
		return;
	__sync_fetch_and_add(&l->seen[kind], 1);
	__sync_fetch_and_add(&l->lost[kind][loss], 1);
}

static __always_inline struct so_lane *lane_take(u32 kind)
{
	struct so_lane *l;

	if ((l = lane_try(1)) || (l = lane_try(2)) || (l = lane_try(3)))
		return l;
	loss_count(kind, SO_LOSS_NO_LANE);
	return NULL;
}

static __always_inline void head_fill(struct so_head *h, u32 kind, u32 slots, u32 agent, u32 tid, u64 now)
{
	h->kind = kind;
	h->slots = slots;
	h->agent = agent;
	h->tid = tid;
	h->time_ns = now;
}

/* A block that runs with a staged record of kind KIND in `r`, whose lane is released on every way out. The time stamp is taken while the lane
 * is held: the collector's flush then knows that a record this old may still be on its way. */
struct emission {
	struct so_lane *lane;
	void *record;
};

static __always_inline struct emission emission_begin(u32 kind, u32 slots, u32 agent, u32 tid)
{
	struct emission e = { .lane = lane_take(kind) };

	if (!e.lane)
		return e;
	e.record = lane_stage(e.lane, kind, slots);
	head_fill(e.record, kind, slots, agent, tid, bpf_ktime_get_ns());
	return e;
}

static __always_inline void emission_end(struct emission *e)
{
	if (e->lane)
		lane_release(e->lane);
}

#define emit(type, r, KIND, agent, tid)                                                                                            \
	for (struct emission _e __attribute__((cleanup(emission_end))) =                                                           \
		     emission_begin(KIND, sizeof(struct type) / SO_SLOT_BYTES, agent, tid);                                   \
	     _e.lane && _e.record; _e.record = NULL)                                                                               \
		for (struct type *r = _e.record; r; r = NULL)

/* The current task's membership, or NULL. A task without any local storage is nobody's: one load instead of a helper call. */
static __always_inline struct membership *member_current(struct task_struct **ret_task)
{
	struct task_struct *t = bpf_get_current_task_btf();

	*ret_task = t;
	if (!t->bpf_storage)
		return NULL;
	return bpf_task_storage_get(&tasks, t, 0, 0);
}

/* The same where few tasks come by. */
static __always_inline struct membership *member_current_rare(struct task_struct **ret_task)
{
	*ret_task = bpf_get_current_task_btf();
	return bpf_task_storage_get(&tasks, *ret_task, 0, 0);
}

/* The kernel counts a switch before it tells of it. (sched_info.pcount won't do: one who is preempted on its way to sleep arrives uncounted.) */
static __always_inline u32 switches_of(struct task_struct *t)
{
	return t->nvcsw + t->nivcsw;
}

static __always_inline bool agent_released(u32 agent)
{
	return bpf_map_lookup_elem(&releases, &agent);
}

/* For an iterator over tasks, after core__release: what a probe keeps of a task goes when that belongs to nobody any more. The last storage that goes takes bpf_storage along. */
#define task_let_go(map, task)                                                                                                     \
	({                                                                                                                         \
		struct task_struct *_t = task; /* read once: the verifier forgets that it was checked */                           \
                                                                                                                                   \
		if (_t && _t->bpf_storage && !bpf_task_storage_get(&tasks, _t, 0, 0))                                              \
			bpf_task_storage_delete(&map, _t);                                                                         \
		0;                                                                                                                 \
	})

static __always_inline u64 positive(s64 x)
{
	return x > 0 ? x : 0;
}

/* Resident pages of a process. The kernel counts in batches a CPU; what has not been folded in yet is missing. */
static __always_inline u64 mm_rss_pages(struct mm_struct *mm)
{
	struct mm_struct___old *old = (void *)mm;
	s64 sum;

	if (bpf_core_field_exists(old->rss_stat.count))
		sum = BPF_CORE_READ(old, rss_stat.count[0].counter) + BPF_CORE_READ(old, rss_stat.count[1].counter) +
		      BPF_CORE_READ(old, rss_stat.count[3].counter);
	else
		sum = BPF_CORE_READ(mm, rss_stat[0].count) + BPF_CORE_READ(mm, rss_stat[1].count) +
		      BPF_CORE_READ(mm, rss_stat[3].count);
	return positive(sum);
}

/*
 * Highest resident pages of a process, of its earlier programs, too, as getrusage tells. The kernel notes it in the mm before memory is given back (update_hiwater_rss), and of mms
 * that are gone in signal_struct (setmax_mm_hiwater_rss, at exec and when the last thread ends). mm: its own, NULL reads as 0.
 */
static __always_inline u64 rss_high(struct task_struct *t, struct mm_struct *mm, u64 pages)
{
	u64 before = BPF_CORE_READ(t, signal, maxrss), in_mm = BPF_CORE_READ(mm, hiwater_rss);

	if (before > pages)
		pages = before;
	return in_mm > pages ? in_mm : pages;
}

#endif
