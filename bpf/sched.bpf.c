/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How long an agent's tasks ran, waited for a CPU, and waited for something else, and for what.
 *
 * One hook, tp_btf/sched_switch, and one record a scheduling cycle, when the task leaves the CPU: the scheduler keeps the books
 * already. The growth of se.sum_exec_runtime since the last switch-out is the stint, that of sched_info.run_delay the time
 * in the run queue, what is left of the gap is the wait. So the sums equal /proc/PID/schedstat by construction.
 *
 * Events: up to some 100,000/s a CPU. Cost: see `make bench`; an unwatched task pays one load.
 */
#include "core.bpf.h"
#define WAIT_CAST
#include "wait.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TASK_DEAD 0x80
#define LIMIT_SLACK_NS 100000
#define RIVAL_MIN_NS 50000 /* shorter stints, and waits, are not looked at: no clock is read, no table touched */
#define STINTS 16 /* a power of two */

/* The last longer stints on each CPU, of anybody. */
struct stint {
	u64 from_ns, to_ns; /* by the scheduler's clock */
	char comm[SO_COMM_BYTES]; /* of the process */
};
struct stints {
	u64 n; /* ever noted: the next one's place is its remainder */
	u64 left_ns; /* when a task left last, by the kernel's clock */
	u64 next_arrivals; /* until then, of the task that came */
	s64 offset_ns; /* of the kernel's clock from the scheduler's; 0: not known */
	u32 next, pad; /* that task */
	struct stint last[STINTS];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct stints);
} stints SEC(".maps");

/* Who ran while an agent's task was runnable and waited for that CPU: the collector takes it out at each interval. */
struct rival_key {
	u32 agent;
	char comm[SO_COMM_BYTES];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096); /* who finds no room is not named */
	__type(key, struct rival_key);
	__type(value, u64);
} rivals SEC(".maps");

struct rival_walk {
	struct stints *all;
	u64 from_ns; /* since when the task waited */
	u32 agent;
};

/* Newest first, back to the one that ran when the wait began. */
static int rival_walk(u32 turn, struct rival_walk *w)
{
	struct stint *s = &w->all->last[(w->all->n - 1 - turn) & (STINTS - 1)];
	struct rival_key key = { .agent = w->agent };
	u64 from = s->from_ns > w->from_ns ? s->from_ns : w->from_ns, ns, *sum;

	if (s->to_ns <= from)
		return 1;
	ns = s->to_ns - from;
	__builtin_memcpy(key.comm, s->comm, sizeof(key.comm));
	sum = bpf_map_lookup_elem(&rivals, &key);
	if (sum)
		__sync_fetch_and_add(sum, ns);
	else
		bpf_map_update_elem(&rivals, &key, &ns, BPF_NOEXIST);
	return 0;
}

/*
 * What the kernel's clock is ahead of the scheduler's, on this CPU: next arrives, by the scheduler's clock, as prev leaves. So when next leaves itself, and has
 * arrived only once since, both clocks are known for one moment. Until then, what the collector's snapshot says, which is the later the slower the CPU.
 */
static __always_inline s64 stints_offset(struct stints *all, struct task_struct *prev)
{
	if (all->next == prev->pid && all->next_arrivals + 1 == prev->sched_info.pcount)
		all->offset_ns = all->left_ns - prev->sched_info.last_arrival;
	return all->offset_ns ?: clock_offset_ns;
}

/* prev, of anybody, leaves the CPU after a longer stint, or one of a class that keeps no prev_sum_exec_runtime: that is noted. */
static __noinline int stint_note(struct task_struct *prev, struct task_struct *next)
{
	u64 from = prev->sched_info.last_arrival, to;
	struct stints *all;
	struct stint *s;
	u32 key = 0;
	s64 offset;

	if (!prev->pid) /* the idle task */
		return 0;
	all = bpf_map_lookup_elem(&stints, &key);
	if (!all)
		return 0;
	offset = stints_offset(all, prev);
	all->left_ns = bpf_ktime_get_ns();
	all->next = next->pid;
	all->next_arrivals = next->sched_info.pcount;
	to = all->left_ns - offset;
	if (!offset || to < from + RIVAL_MIN_NS) /* before the first snapshot there are no agents, and the clocks can't be compared */
		return 0;
	s = &all->last[all->n++ & (STINTS - 1)];
	s->from_ns = from;
	s->to_ns = to;
	bpf_probe_read_kernel(s->comm, sizeof(s->comm), prev->group_leader->comm);
	return 0;
}

/*
 * next, of an agent, comes to a CPU that it waited for: who had it meanwhile? At this tracepoint the scheduler has not touched its sched_info yet
 * (prepare_task_switch() comes later).
 */
static __always_inline void rivals_note(struct task_struct *next)
{
	struct rival_walk walk = { .from_ns = next->sched_info.last_queued };
	struct membership *m;
	u32 key = 0;

	if (!walk.from_ns)
		return;
	walk.all = bpf_map_lookup_elem(&stints, &key);
	/* Nobody's longer stint ended since: the common case. */
	if (!walk.all || walk.all->last[(walk.all->n - 1) & (STINTS - 1)].to_ns < walk.from_ns + RIVAL_MIN_NS)
		return;
	m = bpf_task_storage_get(&tasks, next, 0, 0);
	if (!m)
		return;
	walk.agent = m->agent;
	bpf_loop(STINTS, rival_walk, &walk, 0);
}

SEC("?tp_btf/sched_switch")
int BPF_PROG(sched__switch, bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
{
	u64 now, exec, delay, gap, runq, stint, limit = 0;
	struct membership *m;
	struct so_lane *l;
	u32 wait, next_wait = SO_WAIT_NONE, flags = 0;

	if (prev->se.sum_exec_runtime - prev->se.prev_sum_exec_runtime >= RIVAL_MIN_NS)
		stint_note(prev, next);
	if (next->bpf_storage)
		rivals_note(next);
	if (!prev->bpf_storage)
		return 0;
	m = bpf_task_storage_get(&tasks, prev, 0, 0);
	if (!m)
		return 0;
	l = lane_get(0);
	if (!l)
		return 0;

	*(volatile u32 *)&l->busy = 1; /* the collector's merge waits for a record with this time stamp */
	now = bpf_ktime_get_ns();
	exec = prev->se.sum_exec_runtime;
	delay = prev->sched_info.run_delay;
	gap = now - m->off_ns;
	runq = delay - m->delay_ns;
	stint = exec - m->exec_ns;
	wait = m->wait;
	if (!preempt && prev_state) {
		if (prev_state & TASK_DEAD)
			flags = SO_CYCLE_DEAD;
		else if (prev_state & TASK_STOPPED_OR_TRACED)
			next_wait = SO_WAIT_OTHER;
		else
			next_wait = wait_reason(prev, m->flags);
		if (next_wait == SO_WAIT_POLL) {
			limit = poll_limit(prev);
			if (limit == LIMIT_NONE)
				limit = 0;
		}
	} else if (!prev_state) {
		flags = spin_flags(prev);
	}
	/* A timer never ends a wait early; it was started a little before the switch. */
	if (m->limit_ns && gap - runq - stint + LIMIT_SLACK_NS + (m->limit_ns >> 6) >= m->limit_ns)
		flags |= SO_CYCLE_TIMEOUT;
	if (m->flags & MEMBER_FIRST)
		flags |= SO_CYCLE_FIRST;

	/* Compiler barriers only: the reader retries, and is off by one cycle at worst where the hardware reorders. */
	m->seq++;
	barrier();
	m->off_ns = now;
	m->exec_ns = exec;
	m->delay_ns = delay;
	m->wait = next_wait;
	m->limit_ns = limit;
	m->flags &= ~MEMBER_FIRST;
	barrier();
	m->seq++;

	if ((gap | runq | stint) >> 32) {
		struct so_cycle_long *c = lane_stage(l, SO_CYCLE_LONG, 2);

		head_fill(&c->head, SO_CYCLE_LONG, 2, m->agent, prev->pid, now);
		c->gap_ns = gap;
		c->runq_ns = runq;
		c->stint_ns = stint;
		c->pad0 = 0;
		c->wait = wait;
		c->next = next_wait;
		c->flags = flags;
		__builtin_memset(c->pad, 0, sizeof(c->pad));
	} else {
		struct so_cycle *c = lane_stage(l, SO_CYCLE, 1);

		head_fill(&c->head, SO_CYCLE, 1, m->agent, prev->pid, now);
		c->gap_ns = gap;
		c->runq_ns = runq;
		c->stint_ns = stint;
		c->wait = wait;
		c->next = next_wait;
		c->flags = flags;
	}
	lane_release(l);
	return 0;
}

/* The floor of the benchmark: what an attached program costs that does nothing. Never part of a recording. */
SEC("?tp_btf/sched_switch")
int BPF_PROG(bench__empty, bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
{
	return 0;
}
