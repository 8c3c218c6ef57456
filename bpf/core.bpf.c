/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Membership: who belongs to which agent. Seeded by iterators at attach, inherited at fork, relabelled at exec, gone at exit.
 * And the collector's own programs: the snapshot of all tasks of agents, the flush of a CPU's staging buffers.
 *
 * Hooks: tp_btf/sched_process_{fork,exec,exit}, some 100 to 1,000 events/s; iter/task, iter/task_file and raw_tp test runs when the
 * collector asks.
 */
#define CORE_DEFINE_MAPS
#include "core.bpf.h"
#include "stack.bpf.h"
#include "wait.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u64 cfg_wake_bytes = 2 << 20; /* fill of the ring at which the collector is woken */
const volatile __u32 cfg_page_bytes = 4096;
const volatile bool cfg_candidates = 1; /* report execs of strangers */
const volatile __u8 cfg_waits[CFG_SYSCALLS] = {};
const volatile __u8 cfg_limits[CFG_SYSCALLS] = {};
const volatile __s32 cfg_nr_yield = 24;
const volatile bool cfg_cast = 1;
const volatile bool cfg_pythons = 1; /* stacks are taken: of interpreters too */

struct loss_walk {
	struct so_lane *lane;
	u32 at, end; /* slots */
};

static int loss_walk(u32 turn, struct loss_walk *w)
{
	struct so_head *h;

	if (w->at >= w->end || w->at >= SO_BATCH_SLOTS)
		return 1;
	h = (struct so_head *)w->lane->slots[w->at];
	w->lane->lost[h->kind & (SO_KINDS - 1)][SO_LOSS_RING_FULL]++;
	w->at += h->slots ? h->slots : 1;
	return 0;
}

/* Sends what is staged. Wakes the collector only when the ring has filled to a degree that can't wait for its next tick. */
__noinline int lane_flush(struct so_lane *l)
{
	struct loss_walk walk = { .lane = l };
	u64 flags;
	u32 n;

	if (!l)
		return 0;
	n = l->used;
	if (n > SO_BATCH_SLOTS)
		n = SO_BATCH_SLOTS;
	walk.end = n;
	l->used = 0;
	if (!n)
		return 0;
	flags = bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) >= cfg_wake_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	if (!bpf_ringbuf_output(&records, l->slots, n * SO_SLOT_BYTES, flags))
		return 0;
	bpf_loop(n, loss_walk, &walk, 0);
	return 0;
}

#define LOOK_MAX_NS 20000 /* a look at one task takes less than that, unless it is preempted */
#define CLOCK_SLEW_NS 100000 /* that the clocks may part by from one look at them to the next */
#define PF_FORKNOEXEC 0x40
#define PF_KTHREAD 0x00200000
#define SIGNAL_GROUP_EXIT 0x04

/* Processes to be made agents at the next seeding: process id -> slot of the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SO_MAX_AGENTS);
	__type(key, u32);
	__type(value, u32);
} seeds SEC(".maps");

/* Tasks that the last seeding added, or the last release met; the loader repeats until there are none. */
__u32 seeded = 0, released = 0;
__s64 clock_offset_ns = 0;
__u32 dozing = 0;
volatile struct so_detail detail = {};
volatile __u32 sock_era = 0, names_era = 0;
__u64 tables_full = 0;

/* Begins the books of a task that is alive already. */
static __always_inline void member_open(struct membership *m, struct task_struct *t, u64 now)
{
	m->off_ns = now;
	m->exec_ns = t->se.sum_exec_runtime;
	m->delay_ns = t->sched_info.run_delay;
	m->switches = switches_of(t);
	m->rss_high_pages = rss_high(t, BPF_CORE_READ(t, mm), 0);
	if (t->on_cpu || !t->__state)
		m->wait = SO_WAIT_NONE;
	else
		m->wait = t->__state & TASK_STOPPED_OR_TRACED ? SO_WAIT_OTHER : wait_reason(t, m->flags);
	m->flags |= MEMBER_FIRST;
}

SEC("?iter/task")
int core__seed(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct membership *m, *p;
	u32 tgid, *slot, agent = 0, flags = 0;

	if (!t || t->flags & PF_KTHREAD)
		return 0;
	if (bpf_task_storage_get(&tasks, t, 0, 0))
		return 0;
	tgid = t->tgid;
	slot = bpf_map_lookup_elem(&seeds, &tgid);
	if (slot) {
		agent = *slot;
		flags = SO_SNAP_ROOT;
	} else if (t->pid != tgid) { /* a thread follows its process's first thread */
		p = bpf_task_storage_get(&tasks, t->group_leader, 0, 0);
		if (p) {
			agent = p->agent;
			flags = p->flags & (SO_SNAP_TOOL | SO_SNAP_ROOT);
		}
	} else { /* a process its parent */
		p = bpf_task_storage_get(&tasks, t->real_parent, 0, 0);
		if (p) {
			agent = p->agent;
			flags = t->flags & PF_FORKNOEXEC ? p->flags & SO_SNAP_TOOL : SO_SNAP_TOOL;
		}
	}
	if (!agent)
		return 0;
	m = bpf_task_storage_get(&tasks, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!m) {
		loss_count(SO_FORK, SO_LOSS_NO_STORAGE);
		return 0;
	}
	m->flags = flags;
	member_open(m, t, bpf_ktime_get_ns());
	m->agent = agent; /* last: from here on it counts */
	seeded++;
	return 0;
}

/* Tasks of agents that are let go become strangers. One that forks meanwhile passes its membership on: hence the loader's repeating. */
SEC("?iter/task")
int core__release(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct membership *m;

	if (!t || !t->bpf_storage)
		return 0;
	m = bpf_task_storage_get(&tasks, t, 0, 0);
	if (!m || !agent_released(m->agent))
		return 0;
	released++;
	bpf_task_storage_delete(&tasks, t);
	return 0;
}

/* A forked process is a copy of its parent, interpreter and all: so its first stack has its Python frames already. */
static __always_inline void python_inherit(u32 from_tgid, u32 to_tgid)
{
	struct so_python *p = cfg_pythons ? bpf_map_lookup_elem(&pythons, &from_tgid) : NULL;

	if (p)
		bpf_map_update_elem(&pythons, &to_tgid, p, BPF_ANY);
}

static __always_inline void python_forget(u32 tgid)
{
	if (cfg_pythons)
		bpf_map_delete_elem(&pythons, &tgid);
}

SEC("?tp_btf/sched_process_fork")
int BPF_PROG(core__fork, struct task_struct *parent, struct task_struct *child)
{
	struct membership *p, *m;
	u64 now;

	p = bpf_task_storage_get(&tasks, parent, 0, 0);
	if (!p)
		return 0;
	m = bpf_task_storage_get(&tasks, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!m) {
		loss_count(SO_FORK, SO_LOSS_NO_STORAGE);
		return 0;
	}
	emit(so_fork, r, SO_FORK, p->agent, parent->pid) {
		r->child_tid = child->pid;
		r->child_tgid = child->tgid;
		r->parent_tgid = parent->tgid;
		r->pad = 0;
	}
	now = bpf_ktime_get_ns();
	m->fork_ns = now;
	m->off_ns = now;
	m->exec_ns = child->se.sum_exec_runtime;
	m->delay_ns = child->sched_info.run_delay;
	m->switches = switches_of(child);
	m->wait = SO_WAIT_NONE;
	m->flags = (p->flags & SO_SNAP_TOOL) | MEMBER_FIRST;
	if (child->tgid == parent->tgid)
		m->flags |= p->flags & SO_SNAP_ROOT;
	else
		python_inherit(parent->tgid, child->tgid);
	m->guest = child->tgid != parent->tgid && child->mm == parent->mm;
	m->agent = p->agent;
	return 0;
}

SEC("?tp_btf/sched_process_exec")
int BPF_PROG(core__exec, struct task_struct *t, int old_pid)
{
	struct membership *m = bpf_task_storage_get(&tasks, t, 0, 0);

	if (!m) {
		if (cfg_candidates)
			emit(so_candidate, r, SO_CANDIDATE, 0, t->pid) {
				r->tgid = t->tgid;
				r->pad[0] = r->pad[1] = r->pad[2] = 0;
			}
		return 0;
	}
	if (!(m->flags & SO_SNAP_ROOT))
		m->flags |= SO_SNAP_TOOL;
	if (m->guest) { /* what the kernel has noted as its high is its host's */
		m->rss_high_pages = rss_high(t, NULL, 0);
		m->guest = 0;
	}
	python_forget(t->tgid);
	emit(so_exec, r, SO_EXEC, m->agent, t->pid) {
		r->since_fork_ns = m->fork_ns ? r->head.time_ns - m->fork_ns : 0;
		r->tgid = t->tgid;
		r->old_tid = old_pid;
		bpf_probe_read_kernel(r->comm, sizeof(r->comm), t->comm);
		__builtin_memset(r->pad2, 0, sizeof(r->pad2));
	}
	m->fork_ns = 0; /* a second exec is no launch */
	return 0;
}

SEC("?tp_btf/sched_process_exit")
int BPF_PROG(core__exit, struct task_struct *t)
{
	struct membership *m, *leader;
	struct signal_struct *sig;
	u64 high = 0;
	u32 dead;

	m = bpf_task_storage_get(&tasks, t, 0, 0);
	if (!m)
		return 0;
	sig = BPF_CORE_READ(t, signal);
	/* do_exit() takes the thread off `live` before this tracepoint. */
	dead = BPF_CORE_READ(sig, live.counter) == 0;
	if (dead)
		python_forget(t->tgid);
	leader = t->pid == t->tgid ? m : bpf_task_storage_get(&tasks, t->group_leader, 0, 0); /* it has what is the process's */
	if (dead && leader) /* its memory may be gone; do_exit() has noted its high */
		high = BPF_CORE_READ(sig, maxrss);
	if (leader && (leader->guest || high <= leader->rss_high_pages))
		high = 0; /* its host's, or from before the last snapshot */
	emit(so_exit, r, SO_EXIT, m->agent, t->pid) {
		r->tgid = t->tgid;
		r->code = BPF_CORE_READ(sig, flags) & SIGNAL_GROUP_EXIT ? BPF_CORE_READ(sig, group_exit_code) : t->exit_code;
		r->group_dead = dead;
		r->pad = 0;
		r->utime_ns = t->utime;
		r->stime_ns = t->stime;
		r->faults_minor = t->min_flt;
		r->faults_major = t->maj_flt;
		r->migrations = t->se.nr_migrations;
		r->switches_voluntary = t->nvcsw;
		r->switches_involuntary = t->nivcsw;
		r->rss_peak_bytes = leader && leader->rss_peak > high * cfg_page_bytes ? leader->rss_peak : high * cfg_page_bytes;
		r->exec_ns = t->se.sum_exec_runtime;
		__builtin_memset(r->pad2, 0, sizeof(r->pad2));
	}
	return 0;
}

struct cycle_view {
	u64 exec, delay, queued, arrival;
	u64 before; /* of exec, what it ran before it arrived last, where the class keeps that */
	u32 switches; /* that were not looked at, or are just being made */
	bool coarse; /* there are some that were not looked at */
};

/* What of m's cycles was summed and not sent yet. */
static __always_inline void run_view(struct so_snap *s, struct membership *m)
{
	bool any = m->flags & MEMBER_RUN;

	s->run_gap_ns = any ? m->off_ns - m->run_ns : 0;
	s->run_runq_ns = any ? m->delay_ns - m->run_delay_ns : 0;
	s->run_stint_ns = any ? m->exec_ns - m->run_exec_ns : 0;
	s->run_voluntary = any ? m->run_voluntary : 0;
	s->run_involuntary = any ? m->run_involuntary : 0;
	s->run_waits = any ? m->run_waits : 0;
	s->run_wait = any ? m->run_wait : 0;
	s->run_flags = any ? m->run_flags : 0;
}

/* Reads the open cycle; false: its task was just being switched, or something came between, and what was read first is long past. */
static __always_inline bool cycle_read(struct so_snap *s, struct task_struct *t, struct membership *m, struct cycle_view *v)
{
	u64 begin = bpf_ktime_get_ns();
	u32 seq = *(volatile u32 *)&m->seq;

	barrier();
	s->switches_voluntary = t->nvcsw;
	s->switches_involuntary = t->nivcsw;
	v->switches = (u32)(s->switches_voluntary + s->switches_involuntary) - m->switches;
	barrier();
	s->base_ns = m->off_ns;
	s->wait = m->wait;
	s->flags &= ~SO_SNAP_LIMITED;
	if (m->limit_ns)
		s->flags |= SO_SNAP_LIMITED;
	s->exec_ns = t->se.sum_exec_runtime;
	v->exec = s->exec_ns - m->exec_ns;
	v->before = t->se.prev_sum_exec_runtime - m->exec_ns;
	v->delay = t->sched_info.run_delay - m->delay_ns;
	v->arrival = t->sched_info.last_arrival;
	v->queued = t->sched_info.last_queued;
	s->on = t->on_cpu ? SO_ON_CPU : t->on_rq ? SO_ON_QUEUED : SO_ON_WAITING;
	v->coarse = v->switches > 1 || (v->switches == 1 && s->on != SO_ON_CPU);
	run_view(s, m);
	barrier();
	s->now_ns = bpf_ktime_get_ns();
	return !(seq & 1) && seq == *(volatile u32 *)&m->seq && s->now_ns - begin < LOOK_MAX_NS;
}

/* CPU time of a task that is on a CPU, in the open cycle. sum_exec_runtime is as old as the last tick; the time of arrival is exact. */
static __always_inline u64 snap_stint(const struct so_snap *s, const struct cycle_view *v)
{
	u64 since = v->arrival + clock_offset_ns;
	u64 ran = since > s->base_ns ? positive(s->now_ns - since) : s->now_ns - s->base_ns;

	if (!v->switches)
		return ran;
	return v->before <= v->exec && v->exec - v->before <= ran ? v->before + ran : v->exec;
}

/* Times of the open cycle of t, up to now. */
static __always_inline void snap_cycle(struct so_snap *s, struct task_struct *t, struct membership *m)
{
	struct cycle_view v;

	/* No loop: 6.1 refuses its back edge in an iterator. */
	if (!cycle_read(s, t, m, &v) && !cycle_read(s, t, m, &v))
		cycle_read(s, t, m, &v);
	s->runq_ns = v.delay;
	s->stint_ns = v.exec;
	if (s->on == SO_ON_CPU) {
		s->stint_ns = snap_stint(s, &v);
		s->exec_ns += positive(s->stint_ns - v.exec);
	} else if (s->on == SO_ON_QUEUED && v.queued) {
		s->runq_ns += positive(s->now_ns - (v.queued + clock_offset_ns));
	}
	if (v.coarse) {
		s->flags |= SO_SNAP_COARSE;
		s->wait = SO_WAIT_OTHER;
	}
}

/* The peak since the last snapshot: a new high, or what the probe peak saw; at least what there is now. */
static __always_inline void snap_memory(struct so_snap *s, struct task_struct *t, struct membership *m, struct mm_struct *mm)
{
	u64 pages = mm_rss_pages(mm), high = rss_high(t, mm, pages), peak = high > m->rss_high_pages ? high : pages;

	m->rss_high_pages = high;
	s->rss_bytes = pages * cfg_page_bytes;
	s->rss_peak_bytes = peak * cfg_page_bytes;
	if (m->rss_peak > s->rss_peak_bytes)
		s->rss_peak_bytes = m->rss_peak;
	m->rss_peak = s->rss_bytes;
}

SEC("?iter/task")
int core__snap(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct membership *m;
	struct mm_struct *mm;
	struct so_snap s = {};

	if (!t)
		return 0;
	m = bpf_task_storage_get(&tasks, t, 0, 0);
	if (!m || !m->agent)
		return 0;
	s.tid = t->pid;
	s.tgid = t->tgid;
	s.agent = m->agent;
	s.parent_tgid = BPF_CORE_READ(t, real_parent, tgid);
	s.flags = m->flags & (SO_SNAP_TOOL | SO_SNAP_ROOT);
	snap_cycle(&s, t, m);
	if (t->exit_state)
		s.on = SO_ON_DEAD;
	s.utime_ns = t->utime;
	s.stime_ns = t->stime;
	s.faults_minor = t->min_flt;
	s.faults_major = t->maj_flt;
	s.migrations = t->se.nr_migrations;
	if (s.tid == s.tgid) {
		s.flags |= SO_SNAP_LEADER;
		mm = BPF_CORE_READ(t, mm);
		if (mm && !m->guest) {
			snap_memory(&s, t, m, mm);
		} else { /* the first thread has ended, others go on */
			s.rss_peak_bytes = m->rss_peak;
			m->rss_peak = 0;
		}
	}
	bpf_probe_read_kernel(s.comm, sizeof(s.comm), t->comm);
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

/* Run by the collector when it has just slept: its own arrival on the CPU, by the scheduler's clock, was now. */
SEC("?raw_tp/core_clock")
int core__clock(void *ctx)
{
	struct task_struct *self = bpf_get_current_task_btf();
	s64 offset = bpf_ktime_get_ns() - self->sched_info.last_arrival;

	/* Whatever comes between makes it too large. */
	clock_offset_ns = clock_offset_ns && offset > clock_offset_ns + CLOCK_SLEW_NS ? clock_offset_ns + CLOCK_SLEW_NS : offset;
	return 0;
}

/*
 * Run by the collector on each CPU that has something staged (BPF_F_TEST_RUN_ON_CPU). On another CPU it runs in an interrupt with
 * interrupts off, on its own with preemption off: in both cases no sched_switch comes between. Returns the number of lanes that
 * were in use and could not be sent.
 */
SEC("?raw_tp/core_flush")
int core__flush(void *ctx)
{
	struct so_lane *l = lane_get(0);
	int busy = 0;

	if (l)
		lane_flush(l);
	for (u32 i = 1; i < SO_LANES; i++) {
		l = lane_try(i);
		if (!l) {
			busy++;
			continue;
		}
		lane_flush(l);
		lane_release(l);
	}
	return busy;
}

/* What timing adds to each run, when the kernel times programs: attached only while it does. Where it hangs caches are as cold as the others find them. */
SEC("?tp_btf/sched_switch")
int BPF_PROG(core__empty, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return 0;
}

__u64 synthetic_seq = 0;
__u32 synthetic_burst = 0;

static int synthesize(u32 i, void *ctx)
{
	emit(so_synthetic, r, SO_SYNTHETIC, 1, 0) {
		r->seq = __sync_fetch_and_add(&synthetic_seq, 1);
		r->pad = 0;
	}
	return 0;
}

/* For tests and the benchmark, never part of a recording: makes synthetic_burst records at once. */
SEC("?raw_tp/bench_synthetic")
int bench__synth(void *ctx)
{
	bpf_loop(synthetic_burst, synthesize, NULL, 0);
	return 0;
}
