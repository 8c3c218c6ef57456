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
#define RUN_SHORT_NS (1 << 20) /* cycles shorter than that are summed */
#define RUN_MAX 64 /* so many of them at most, */
#define RUN_MAX_NS 20000000 /* over so long */
#define CLOCKS_AGREE_NS 1000 /* comparisons of two clocks that were not disturbed */
#define CLOCKS_HOLD_NS 1000000 /* for so long they are not compared again: at the 500 ppm that clocks are slewed by at most, they part by half a us */
#define STINTS 16 /* a power of two */

/* The last longer stints on each CPU, of anybody. */
struct stint {
	u64 from_ns, to_ns; /* by the scheduler's clock */
	char comm[SO_COMM_BYTES]; /* of the process */
};
struct stints {
	u64 n; /* ever noted: the next one's place is its remainder */
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
	__uint(type, BPF_MAP_TYPE_HASH); /* preallocated: with the run queue locked there is not always memory to be had for an entry */
	__uint(max_entries, 4096); /* who finds no room is not named: see tables_full */
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
	if (!sum) {
		if (!bpf_map_update_elem(&rivals, &key, &ns, BPF_NOEXIST))
			return 0;
		sum = bpf_map_lookup_elem(&rivals, &key); /* another CPU may have added it meanwhile */
	}
	__sync_fetch_and_add(sum ? sum : &tables_full, sum ? ns : 1);
	return 0;
}

/* The scheduler's clock on this CPU, as __schedule() has just read it; 0: can't be reached. */
static __always_inline u64 rq_clock(struct task_struct *prev)
{
	if (!bpf_core_field_exists(prev->se.cfs_rq) || !bpf_core_field_exists(struct cfs_rq, rq))
		return 0;
	return walkable(prev)->se.cfs_rq->rq->clock;
}

/* prev, of anybody, leaves the CPU after a longer stint, or one of a class that keeps no prev_sum_exec_runtime: that is noted. */
static __noinline int stint_note(struct task_struct *prev)
{
	u64 from = prev->sched_info.last_arrival, to = rq_clock(prev);
	struct stints *all;
	struct stint *s;
	u32 key = 0;

	if (!prev->pid || to < from + RIVAL_MIN_NS) /* the idle task */
		return 0;
	all = bpf_map_lookup_elem(&stints, &key);
	if (!all)
		return 0;
	s = &all->last[all->n++ & (STINTS - 1)];
	s->from_ns = from;
	s->to_ns = to;
	bpf_probe_read_kernel(s->comm, sizeof(s->comm), walkable(prev)->group_leader->comm);
	return 0;
}

/*
 * next, of an agent, comes to a CPU that it waited for: who had it meanwhile? At this tracepoint the scheduler has not touched its sched_info yet
 * (prepare_task_switch() comes later).
 */
static __noinline int rivals_note(struct task_struct *next)
{
	struct rival_walk walk = { .from_ns = next->sched_info.last_queued };
	struct membership *m;
	u32 key = 0;

	if (!walk.from_ns)
		return 0;
	walk.all = bpf_map_lookup_elem(&stints, &key);
	/* Nobody's longer stint ended since: the common case. */
	if (!walk.all || walk.all->last[(walk.all->n - 1) & (STINTS - 1)].to_ns < walk.from_ns + RIVAL_MIN_NS)
		return 0;
	m = bpf_task_storage_get(&tasks, next, 0, 0);
	if (!m)
		return 0;
	walk.agent = m->agent;
	bpf_loop(STINTS, rival_walk, &walk, 0);
	return 0;
}

/*
 * The time, by CLOCK_MONOTONIC. Reading that takes about a quarter of all this program's time, and __schedule() has just read the scheduler's clock for this
 * very switch: for a millisecond after the two were compared it does. A comparison that the hypervisor came between does not agree with the one
 * before it, and is not used. Where a wakeup asks for the CPU the scheduler may do with the clock that it read then, so a preempted task's switch
 * takes the kernel's clock.
 */
static __always_inline u64 switch_clock(struct so_lane *l, struct task_struct *prev, struct task_struct *next, bool left)
{
	u64 clock = left ? rq_clock(prev) : 0, now;
	s64 ahead;

	if (clock && clock < l->clock_until_ns && next->sched_info.last_queued != clock)
		return clock + l->clock_ahead_ns;
	now = bpf_ktime_get_ns();
	if (!clock)
		return now;
	ahead = now - clock;
	l->clock_until_ns = (u64)(ahead - l->clock_ahead_ns + CLOCKS_AGREE_NS) <= 2 * CLOCKS_AGREE_NS ? clock + CLOCKS_HOLD_NS : 0;
	l->clock_ahead_ns = ahead;
	return now;
}

struct cycle { /* that ends now */
	u64 now_ns, exec_ns, delay_ns; /* the books by now */
	u64 gap_ns, runq_ns, stint_ns;
	u64 limit_ns; /* of the wait that begins */
	u32 switches;
	u32 wait, next, flags; /* as in so_cycle */
	bool left; /* by its own will */
};

/* Why it leaves, and what it begins to wait for. */
static __always_inline void cycle_reasons(struct cycle *c, struct task_struct *prev, struct membership *m, u32 prev_state)
{
	c->next = SO_WAIT_NONE;
	c->flags = 0;
	c->limit_ns = 0;
	if (c->left) {
		if (prev_state & TASK_DEAD)
			c->flags = SO_CYCLE_DEAD;
		else if (prev_state & TASK_STOPPED_OR_TRACED)
			c->next = SO_WAIT_OTHER;
		else
			c->next = wait_reason(prev, m->flags);
		if (c->next == SO_WAIT_POLL || c->next == SO_WAIT_EVENTS) {
			c->limit_ns = poll_limit(prev);
			if (c->limit_ns == LIMIT_NONE)
				c->limit_ns = 0;
		}
	} else if (!prev_state) {
		c->flags = spin_flags(prev);
	}
	/* A timer never ends a wait early; it was started a little before the switch. */
	if (m->limit_ns && c->gap_ns - c->runq_ns - c->stint_ns + LIMIT_SLACK_NS + (m->limit_ns >> 6) >= m->limit_ns)
		c->flags |= SO_CYCLE_TIMEOUT;
	if (m->flags & MEMBER_FIRST)
		c->flags |= SO_CYCLE_FIRST;
	if (c->switches - m->switches != 1)
		c->flags |= SO_CYCLE_COARSE;
}

/* The snapshot reads the books while they change: it retries when seq is odd or has changed, and is off by one cycle at worst where the hardware
 * reorders (compiler barriers only). */
static __always_inline void books_begin(struct membership *m)
{
	m->seq++;
	barrier();
}

static __always_inline void books_next(struct membership *m, const struct cycle *c)
{
	m->off_ns = c->now_ns;
	m->exec_ns = c->exec_ns;
	m->delay_ns = c->delay_ns;
	m->switches = c->switches;
	m->wait = c->next;
	m->limit_ns = c->limit_ns;
	m->flags &= ~MEMBER_FIRST;
}

static __always_inline void books_end(struct membership *m)
{
	barrier();
	m->seq++;
}

static __always_inline void cycle_send_long(struct so_lane *l, struct membership *m, struct task_struct *prev, const struct cycle *c)
{
	struct so_cycle_long *r = lane_stage(l, SO_CYCLE_LONG, 2);

	head_fill(&r->head, SO_CYCLE_LONG, 2, m->agent, prev->pid, c->now_ns);
	r->gap_ns = c->gap_ns;
	r->runq_ns = c->runq_ns;
	r->stint_ns = c->stint_ns;
	r->pad0 = 0;
	r->wait = c->wait;
	r->next = c->next;
	r->flags = c->flags;
	__builtin_memset(r->pad, 0, sizeof(r->pad));
}

/* All since the last switch that was looked at. */
static __always_inline void cycle_send_coarse(struct so_lane *l, struct membership *m, struct task_struct *prev, const struct cycle *c)
{
	struct so_cycles *r = lane_stage(l, SO_CYCLES, 2);

	head_fill(&r->head, SO_CYCLES, 2, m->agent, prev->pid, c->now_ns);
	r->gap_ns = c->gap_ns;
	r->runq_ns = c->runq_ns;
	r->stint_ns = c->stint_ns;
	r->waits = 0;
	r->wait = SO_WAIT_OTHER;
	r->next = c->next;
	r->flags = c->flags & ~SO_CYCLE_TIMEOUT;
	r->voluntary = prev->nvcsw;
	r->involuntary = prev->nivcsw;
	r->ago_ns = 0;
}

static __always_inline void cycle_send(struct so_lane *l, struct membership *m, struct task_struct *prev, const struct cycle *c)
{
	struct so_cycle *r;

	if (c->flags & SO_CYCLE_COARSE) {
		cycle_send_coarse(l, m, prev, c);
	} else if ((c->gap_ns | c->runq_ns | c->stint_ns) >> 32) {
		cycle_send_long(l, m, prev, c);
	} else {
		r = lane_stage(l, SO_CYCLE, 1);
		head_fill(&r->head, SO_CYCLE, 1, m->agent, prev->pid, c->now_ns);
		r->gap_ns = c->gap_ns;
		r->runq_ns = c->runq_ns;
		r->stint_ns = c->stint_ns;
		r->wait = c->wait;
		r->next = c->next;
		r->flags = c->flags;
	}
}

/* Takes the run of short cycles, which ended at m->off_ns, out of the books. */
static __always_inline void run_take(struct membership *m, u64 now, struct so_cycles *ret)
{
	ret->gap_ns = m->off_ns - m->run_ns;
	ret->runq_ns = m->delay_ns - m->run_delay_ns;
	ret->stint_ns = m->exec_ns - m->run_exec_ns;
	ret->waits = m->run_waits;
	ret->wait = m->run_wait;
	ret->next = m->wait;
	ret->flags = m->run_flags;
	ret->voluntary = m->run_voluntary;
	ret->involuntary = m->run_involuntary;
	ret->ago_ns = now - m->off_ns;
	m->flags &= ~MEMBER_RUN;
}

/* Adds a cycle to the run; the books still say when it began. */
static __always_inline void run_add(struct membership *m, const struct cycle *c)
{
	if (!(m->flags & MEMBER_RUN)) {
		m->run_ns = m->off_ns;
		m->run_exec_ns = m->exec_ns;
		m->run_delay_ns = m->delay_ns;
		m->run_voluntary = m->run_involuntary = m->run_waits = 0;
		m->run_flags = c->flags;
		m->run_wait = SO_WAIT_NONE;
		m->flags |= MEMBER_RUN;
	}
	if (c->left)
		m->run_voluntary++;
	else
		m->run_involuntary++;
	if (c->wait) {
		m->run_wait = c->wait;
		m->run_waits++;
	}
}

/* Short cycles are summed while they are of one kind. What is not sent yet the snapshot tells. */
static __noinline int cycle_sum(struct task_struct *prev, struct so_lane *l, struct membership *m, struct cycle *c)
{
	bool is_short = detail.sched == SO_DETAIL_SUMMED && c->gap_ns < RUN_SHORT_NS &&
			!(c->flags & (SO_CYCLE_DEAD | SO_CYCLE_FIRST | SO_CYCLE_COARSE));
	bool send = m->flags & MEMBER_RUN &&
		    (!is_short || c->flags != m->run_flags || (c->wait && m->run_wait && c->wait != m->run_wait));
	struct so_cycles run = {}, *r;

	books_begin(m);
	if (send)
		run_take(m, c->now_ns, &run);
	if (is_short)
		run_add(m, c);
	books_next(m, c);
	if (is_short && (m->run_voluntary + m->run_involuntary >= RUN_MAX || c->now_ns - m->run_ns >= RUN_MAX_NS)) {
		run_take(m, c->now_ns, &run); /* never one that was just begun */
		send = true;
	}
	books_end(m);
	if (send) {
		r = lane_stage(l, SO_CYCLES, 2);
		head_fill(&run.head, SO_CYCLES, 2, m->agent, prev->pid, c->now_ns);
		*r = run;
	}
	if (is_short)
		l->events[SO_EVENT_SWITCH]++;
	else
		cycle_send(l, m, prev, c);
	return 0;
}

/* prev, which may be an agent's, leaves the CPU. */
static __noinline int cycle_note(struct task_struct *prev, struct task_struct *next, bool left, u32 prev_state)
{
	struct cycle c = { .left = left };
	struct membership *m;
	struct so_lane *l;

	m = bpf_task_storage_get(&tasks, prev, 0, 0);
	if (!m)
		return 0;
	l = lane_get(0);
	if (!l)
		return 0;

	*(volatile u32 *)&l->busy = 1; /* the collector's merge waits for a record with this time stamp */
	c.now_ns = switch_clock(l, prev, next, left);
	if (c.now_ns < m->off_ns)
		c.now_ns = m->off_ns;
	c.exec_ns = prev->se.sum_exec_runtime;
	c.delay_ns = prev->sched_info.run_delay;
	c.switches = switches_of(prev);
	c.gap_ns = c.now_ns - m->off_ns;
	c.runq_ns = c.delay_ns - m->delay_ns;
	c.stint_ns = c.exec_ns - m->exec_ns;
	c.wait = m->wait;
	cycle_reasons(&c, prev, m, prev_state);
	if (detail.sched == SO_DETAIL_SUMMED || m->flags & MEMBER_RUN) {
		cycle_sum(prev, l, m, &c);
	} else {
		books_begin(m);
		books_next(m, &c);
		books_end(m);
		cycle_send(l, m, prev, &c);
	}
	lane_release(l);
	return 0;
}

SEC("?tp_btf/sched_switch")
int BPF_PROG(sched__switch, bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
{
	/* First: the verifier's search for each load of a pointer is done once, not at each way that leads here. */
	bool left = prev->bpf_storage, came = next->bpf_storage;

	if (detail.sched == SO_DETAIL_COUNTS && !(prev_state & TASK_DEAD)) { /* the last switch of a task closes its books */
		struct so_lane *l = left ? lane_get(0) : NULL;

		if (l)
			l->events[SO_EVENT_SWITCH]++; /* some may be another observer's tasks */
		return 0;
	}
	if (prev->se.sum_exec_runtime - prev->se.prev_sum_exec_runtime >= RIVAL_MIN_NS)
		stint_note(prev);
	if (came)
		rivals_note(next);
	if (left)
		cycle_note(prev, next, !preempt && prev_state, prev_state);
	return 0;
}

/* The floor of the benchmark: what an attached program costs that does nothing. Never part of a recording. */
SEC("?tp_btf/sched_switch")
int BPF_PROG(bench__empty, bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
{
	return 0;
}
