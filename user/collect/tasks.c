/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Processes and threads of the agents: fork, exec, exit, scheduling cycles. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "collect/world_model.h"
#include "lib/util.h"

#define TOOLS_MAX 64 /* names kept apart under an agent; further ones are summed as the last */
#define TOOLS_REST "(other)"
#define CANCEL_MAX_NS (60 * 1000000000ULL) /* who lives on for longer took the signal for something else */

struct task *task_find(const struct world *w, uint32_t tid)
{
	struct task *t;

	HASH_FIND(hh, w->tasks, &tid, sizeof(tid), t);
	return t;
}

struct proc *proc_find(const struct world *w, uint32_t tgid)
{
	struct proc *p;

	HASH_FIND(hh, w->procs, &tgid, sizeof(tgid), p);
	return p;
}

/* The tool called name: its index, -1 when out of memory. */
static int agent_tool(struct agent *a, const char *name)
{
	int before = a->cur.tools_len;
	struct tool_data *t;
	struct cpu_split *cpu;
	struct ledger *next;

	for (int i = 0; i < before; i++)
		if (!strcmp(a->cur.tools[i].name, name))
			return i;
	if (before == TOOLS_MAX - 1)
		name = TOOLS_REST;
	else if (before == TOOLS_MAX)
		return before - 1;
	cpu = realloc(a->tool_cpu, (before + 1) * sizeof(*cpu));
	if (!cpu)
		return -1;
	a->tool_cpu = cpu;
	memset(&cpu[before], 0, sizeof(*cpu));
	next = realloc(a->next_tool, (before + 1) * sizeof(*next));
	if (!next)
		return -1;
	a->next_tool = next;
	memset(&next[before], 0, sizeof(*next));
	t = agent_data_tool(&a->cur, name);
	return t ? (int)(t - a->cur.tools) : -1;
}

void proc_set_tool(struct agent *a, struct proc *p, const char comm[SO_COMM_BYTES])
{
	char name[SO_COMM_BYTES + 1] = "";

	memcpy(name, comm, SO_COMM_BYTES);
	if (p->tool >= 0)
		a->cur.tools[p->tool].runs_live--;
	p->tool = agent_tool(a, name);
	if (p->tool >= 0)
		a->cur.tools[p->tool].runs_live++;
}

struct proc *proc_add(struct world *w, struct agent *a, uint32_t tgid)
{
	struct proc *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->tgid = tgid;
	p->agent = a->place;
	p->root = (int)tgid == a->info.pid;
	p->tool = -1;
	p->seen = true;
	HASH_ADD(hh, w->procs, tgid, sizeof(p->tgid), p);
	a->procs++;
	return p;
}

void proc_remove(struct world *w, struct proc *p)
{
	struct agent *a = w->agents[p->agent];
	struct task *t, *tmp;
	struct proc *q, *qq;

	sockets_proc_end(w, p);
	chain_proc_end(w, p);
	account_proc_end(w, p);
	if (a->procs == 1)
		allocations_last_proc(w, a);
	allocations_proc_end(p);
	if (p->tool >= 0)
		a->cur.tools[p->tool].runs_live--;
	if (p->threads)
		HASH_ITER(hh, w->tasks, t, tmp)
			if (t->proc == p)
				t->proc = NULL;
	HASH_DEL(w->procs, p);
	if (p->parent)
		p->parent->kids += p->kids - 1;
	/* Whoever waits for the children now is further up. */
	if (p->kids)
		HASH_ITER(hh, w->procs, q, qq)
			if (q->parent == p)
				q->parent = p->parent;
	a->procs--;
	if (p->rss_peak > a->dead_rss_peak)
		a->dead_rss_peak = p->rss_peak;
	if (p->root)
		agent_end(w, a);
	spans_fini(&p->children);
	free(p->waits.at);
	free(p->open.at);
	free(p);
}

void proc_set_parent(struct world *w, struct proc *p, uint32_t parent_tgid)
{
	struct proc *q = proc_find(w, parent_tgid);

	if (p->parent || p->root || !q || q->agent != p->agent)
		return;
	for (struct proc *up = q; up; up = up->parent)
		if (up == p) /* a number used again, with records lost in between */
			return;
	p->parent = q;
	q->kids++;
}

struct task *task_add(struct world *w, struct agent *a, uint32_t tid, struct proc *p)
{
	struct task *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->tid = tid;
	t->agent = a->place;
	t->proc = p;
	t->seen = true;
	if (p)
		p->threads++;
	a->tasks++;
	HASH_ADD(hh, w->tasks, tid, sizeof(t->tid), t);
	return t;
}

void task_remove(struct world *w, struct task *t)
{
	struct agent *a = w->agents[t->agent];
	struct proc *p = t->proc;

	loop_wakers_tell(w, t);
	HASH_DEL(w->tasks, t);
	a->tasks--;
	if (p && --p->threads == 0)
		proc_remove(w, p);
	free(t);
}

void task_set_proc(struct task *t, struct proc *p)
{
	if (t->proc || !p || t->agent != p->agent)
		return;
	t->proc = p;
	p->threads++;
}

static const enum metric_id wait_metrics[SO_WAITS] = {
#define WAIT(id, value, name, state, help) [SO_WAIT_##id] = M_WAIT_##id##_NS,
#include "waits.def"
#undef WAIT
	[SO_WAIT_EVENTS] = M_WAIT_POLL_NS,
};

bool task_is_main(const struct world *w, const struct task *t)
{
	return t->proc && t->proc->root && t->tid == t->proc->tgid && w->agents[t->agent]->alive;
}

void cycle_record(struct world *w, const struct task *t, uint64_t gap_ns, uint64_t runq_ns, uint64_t stint_ns, unsigned wait)
{
	struct sets s = sets_of(w->agents[t->agent], t->proc);

	record(w, s, M_ONCPU_NS, stint_ns);
	record(w, s, M_RUNQ_NS, runq_ns);
	if (wait && wait < SO_WAITS) {
		count(w, s, M_WAKEUPS, 1);
		record(w, s, wait_metrics[wait], minus(gap_ns, runq_ns + stint_ns));
	}
}

/* Whom a record of cycles is about; NULL: nobody known. */
static struct task *cycle_task(struct world *w, const struct so_head *h)
{
	struct task *t = task_find(w, h->tid);
	struct agent *a = t ? NULL : agent_by_slot(w, h->agent);

	if (!t && (!a || !(t = task_add(w, a, h->tid, NULL))))
		w->orphans++;
	return t;
}

/* Cycles of t are over, and what it waits for next is known. */
static void cycle_over(struct world *w, struct task *t, const struct so_head *h, unsigned next, unsigned flags)
{
	t->wait = next;
	t->coarse = false;
	if (!(flags & SO_CYCLE_DEAD))
		return;
	if (task_is_main(w, t))
		w->agents[t->agent]->end_ns = h->time_ns;
	task_remove(w, t);
}

static void switches_count(struct world *w, struct task *t, uint32_t voluntary, uint32_t involuntary)
{
	struct sets s = sets_of(w->agents[t->agent], t->proc);

	t->switches[0] += voluntary;
	t->switches[1] += involuntary;
	if (voluntary)
		count(w, s, M_SWITCHES_VOLUNTARY, voluntary);
	if (involuntary)
		count(w, s, M_SWITCHES_INVOLUNTARY, involuntary);
}

/* The kernel's own counts, of a thread whose switches were not looked at: what they are ahead of ours. Each voluntary one is a wait. */
static void switches_catch_up(struct world *w, struct task *t, uint32_t voluntary, uint32_t involuntary)
{
	int32_t more[2] = { (int32_t)(voluntary - t->switches[0]), (int32_t)(involuntary - t->switches[1]) };

	if (t->switches_known) {
		switches_count(w, t, more[0] > 0 ? more[0] : 0, more[1] > 0 ? more[1] : 0);
		if (more[0] > 0)
			count(w, sets_of(w->agents[t->agent], t->proc), M_WAKEUPS, more[0]);
	}
	t->switches[0] = voluntary;
	t->switches[1] = involuntary;
	t->switches_known = true;
}

static void apply_cycle(struct world *w, const struct so_head *h, uint64_t gap_ns, uint64_t runq_ns, uint64_t stint_ns, unsigned wait, unsigned next,
			unsigned flags)
{
	struct task *t = cycle_task(w, h);
	bool voluntary = next || flags & SO_CYCLE_DEAD;

	if (!t)
		return;
	cycle_record(w, t, gap_ns, runq_ns, stint_ns, wait);
	if (wait)
		stacks_wait(w, t, h->time_ns - gap_ns, minus(gap_ns, runq_ns + stint_ns), true);
	switches_count(w, t, voluntary, !voluntary);
	account_post(w, t,
		     &(struct cycle_times){ .base_ns = h->time_ns - gap_ns, .now_ns = h->time_ns, .runq_ns = runq_ns, .stint_ns = stint_ns,
					    .wait = wait, .first = flags & SO_CYCLE_FIRST, .timeout = flags & SO_CYCLE_TIMEOUT, .over = true });
	loop_cycle(w, t, h, gap_ns, runq_ns, stint_ns, wait, next, flags);
	cycle_over(w, t, h, next, flags);
}

/* Values of which only sums are known. */
static void run_record(struct world *w, const struct task *t, const struct cycles_run *r, unsigned wait)
{
	struct sets s = sets_of(w->agents[t->agent], t->proc);
	uint64_t n = (uint64_t)r->voluntary + r->involuntary;

	record_sum(w, s, M_ONCPU_NS, r->stint_ns, n);
	record_sum(w, s, M_RUNQ_NS, r->runq_ns, n);
	if (r->waits && wait && wait < SO_WAITS) {
		count(w, s, M_WAKEUPS, r->waits);
		record_sum(w, s, wait_metrics[wait], minus(r->end_ns - r->base_ns, r->runq_ns + r->stint_ns), r->waits);
	}
}

/* Posts what of a run has not been posted yet: a snapshot may have seen its begin. */
static void run_post(struct world *w, struct task *t, const struct cycles_run *run, unsigned wait, unsigned next, unsigned flags)
{
	struct cycles_run *told = &t->run, r = *run;

	if (told->base_ns != r.base_ns)
		*told = (struct cycles_run){ .base_ns = r.base_ns, .end_ns = r.base_ns };
	if (r.end_ns <= told->end_ns)
		return;
	r.base_ns = told->end_ns;
	r.runq_ns = minus(run->runq_ns, told->runq_ns);
	r.stint_ns = minus(run->stint_ns, told->stint_ns);
	r.waits = minus(run->waits, told->waits);
	r.voluntary = minus(run->voluntary, told->voluntary);
	r.involuntary = minus(run->involuntary, told->involuntary);
	*told = *run;
	run_record(w, t, &r, wait);
	switches_count(w, t, r.voluntary, r.involuntary);
	account_post(w, t,
		     &(struct cycle_times){ .base_ns = r.base_ns, .now_ns = r.end_ns, .runq_ns = r.runq_ns, .stint_ns = r.stint_ns, .wait = wait,
					    .timeout = flags & SO_CYCLE_TIMEOUT, .over = true, .several = true });
	loop_cycles(w, t, &r, wait, next, flags);
}

static void apply_cycles(struct world *w, const struct so_cycles *r)
{
	struct task *t = cycle_task(w, &r->head);
	struct cycles_run run = { .base_ns = r->head.time_ns - r->ago_ns - r->gap_ns, .end_ns = r->head.time_ns - r->ago_ns, .runq_ns = r->runq_ns,
				  .stint_ns = r->stint_ns, .waits = r->waits, .voluntary = r->voluntary, .involuntary = r->involuntary };

	if (!t)
		return;
	if (r->flags & SO_CYCLE_COARSE) {
		switches_catch_up(w, t, r->voluntary, r->involuntary);
		account_post(w, t,
			     &(struct cycle_times){ .base_ns = run.base_ns, .now_ns = run.end_ns, .runq_ns = r->runq_ns, .stint_ns = r->stint_ns,
						    .wait = r->wait, .first = r->flags & SO_CYCLE_FIRST, .over = true, .several = true });
		loop_cycles(w, t, &run, r->wait, r->next, r->flags);
	} else {
		run_post(w, t, &run, r->wait, r->next, r->flags);
	}
	cycle_over(w, t, &r->head, r->next, r->flags);
}

void task_snap(struct world *w, struct task *t, const struct so_snap *s)
{
	struct cycles_run run = { .base_ns = s->base_ns - s->run_gap_ns, .end_ns = s->base_ns, .runq_ns = s->run_runq_ns, .stint_ns = s->run_stint_ns,
				  .waits = s->run_waits, .voluntary = s->run_voluntary, .involuntary = s->run_involuntary };

	if (run.voluntary || run.involuntary)
		run_post(w, t, &run, s->run_wait, s->wait, s->run_flags);
	t->coarse = s->flags & SO_SNAP_COARSE;
	if (t->coarse) {
		switches_catch_up(w, t, s->switches_voluntary, s->switches_involuntary);
	} else { /* records count them; what the kernel means by it may differ where a signal came between */
		t->switches[0] = s->switches_voluntary;
		t->switches[1] = s->switches_involuntary;
		t->switches_known = true;
	}
}

void task_count(struct world *w, struct task *t, const uint64_t now[COUNT_IDS])
{
	static const struct {
		enum count_id id;
		enum metric_id metric;
	} plain[] = {
		{ COUNT_FAULTS_MINOR, M_FAULTS_MINOR },
		{ COUNT_FAULTS_MAJOR, M_FAULTS_MAJOR },
		{ COUNT_MIGRATIONS, M_MIGRATIONS },
	};
	struct agent *a = w->agents[t->agent];
	struct sets s = sets_of(a, t->proc);
	struct cpu_split *splits[2] = { &a->cpu, t->proc && t->proc->tool >= 0 ? &a->tool_cpu[t->proc->tool] : NULL };
	uint64_t grown[COUNT_IDS];

	for (int i = 0; i < COUNT_IDS; i++)
		grown[i] = t->counted ? minus(now[i], t->last[i]) : 0;
	memcpy(t->last, now, sizeof(t->last));
	t->counted = true;
	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		if (grown[plain[i].id])
			count(w, s, plain[i].metric, grown[plain[i].id]);
	for (int i = 0; i < 2 && splits[i]; i++) {
		splits[i]->user_ticks_ns += grown[COUNT_USER];
		splits[i]->system_ticks_ns += grown[COUNT_SYSTEM];
		if (!w->probe_on[PROBE_SCHED]) /* else the cycles give the exact sum, up to the last switch of a dead thread */
			splits[i]->exec_ns += grown[COUNT_EXEC];
	}
}

static void apply_fork(struct world *w, const struct so_fork *r)
{
	struct task *parent, *old = task_find(w, r->child_tid), *t;
	struct agent *a = agent_by_slot(w, r->head.agent);
	struct proc *p;

	if (!a) {
		w->orphans++;
		return;
	}
	if (old) /* its last record was lost, and its number is in use again */
		task_remove(w, old);
	p = proc_find(w, r->child_tgid);
	if (p && (r->child_tid == r->child_tgid || p->agent != a->place)) {
		proc_remove(w, p);
		p = NULL;
	}
	parent = task_find(w, r->head.tid);
	if (r->child_tid == r->child_tgid) {
		p = proc_add(w, a, r->child_tgid);
		if (!p)
			return;
		proc_set_parent(w, p, r->parent_tgid);
		if (parent)
			parent->moved_ns = r->head.time_ns;
		account_work(p, r->head.time_ns, r->head.time_ns + 1);
		count(w, sets_of(a, parent ? parent->proc : NULL), M_FORKS, 1);
		if (parent && parent->proc && parent->proc->tool >= 0 && parent->agent == a->place) { /* a fork without exec goes on under its name */
			p->tool = parent->proc->tool;
			a->cur.tools[p->tool].runs_live++;
		}
	}
	t = task_add(w, a, r->child_tid, p);
	if (!t)
		return;
	t->counted = t->switches_known = true;
	t->books.until_ns = r->head.time_ns;
}

/* The tool's run ends: by exit or by another exec. */
static void tool_end(struct world *w, struct agent *a, struct proc *p, uint64_t now_ns)
{
	if (p->tool >= 0 && p->exec_ns)
		record(w, sets_of(a, p), M_TOOL_NS, minus(now_ns, p->exec_ns));
	p->exec_ns = 0;
}

static void apply_exec(struct world *w, const struct so_exec *r)
{
	struct task *t = task_find(w, r->old_tid);
	struct agent *a = agent_by_slot(w, r->head.agent);
	struct proc *p = proc_find(w, r->tgid);

	if (!a) {
		w->orphans++;
		return;
	}
	if (p && p->agent != a->place) { /* its number was another agent's, and the records in between were lost */
		proc_remove(w, p);
		p = NULL;
	}
	if (t && t->agent != a->place)
		t = NULL;
	if (t && r->old_tid != r->head.tid) { /* the thread takes over the process's first number */
		struct task *first = task_find(w, r->head.tid);
		/* Between the old main thread's end and this record, the thread may have been switched under its new number. */
		uint64_t main_end_ns = a->end_ns ? a->end_ns : first ? first->books.until_ns : 0;
		bool main = p && p->root && main_end_ns;

		task_set_proc(t, p); /* else the process would end with its first thread */
		if (first)
			task_remove(w, first);
		if (main) {
			t->main_skip_ns = (int64_t)(main_end_ns - t->books.until_ns);
			a->end_ns = 0; /* the thread's end was not the agent's */
		}
		HASH_DEL(w->tasks, t);
		t->tid = r->head.tid;
		HASH_ADD(hh, w->tasks, tid, sizeof(t->tid), t);
		p = proc_find(w, r->tgid);
	}
	if (!p) {
		p = proc_add(w, a, r->tgid);
		if (!p)
			return;
		if (t)
			task_set_proc(t, p);
	}
	tool_end(w, a, p, r->head.time_ns);
	allocations_proc_end(p);
	p->told_to_end_ns = 0;
	if (!p->root) {
		proc_set_tool(a, p, r->comm);
		p->exec_ns = r->head.time_ns;
	}
	count(w, sets_of(a, p), M_EXECS, 1);
	if (r->since_fork_ns)
		record(w, sets_of(a, p), M_LAUNCH_NS, r->since_fork_ns);
}

static void apply_exit(struct world *w, const struct so_exit *r)
{
	struct task *t = task_find(w, r->head.tid);
	struct proc *p = proc_find(w, r->tgid);
	struct agent *a = agent_by_slot(w, r->head.agent);
	struct sets s;
	bool failed = r->code && (r->code & 0x7f) != SIGPIPE; /* `sort | head`: whoever read had enough */

	if (!a) {
		w->orphans++;
		return;
	}
	if (t)
		task_count(w, t,
			   (const uint64_t[COUNT_IDS]){ r->faults_minor, r->faults_major, r->migrations, r->utime_ns, r->stime_ns, r->exec_ns });
	if (!r->group_dead)
		return;
	s = sets_of(a, p);
	count(w, s, M_EXITS, 1);
	if (failed)
		count(w, s, M_EXITS_FAILED, 1);
	if (!p)
		return;
	if (r->rss_peak_bytes > p->rss_peak)
		p->rss_peak = r->rss_peak_bytes;
	if (p->told_to_end_ns && minus(r->head.time_ns, p->told_to_end_ns) <= CANCEL_MAX_NS)
		record(w, s, M_CANCEL_NS, minus(r->head.time_ns, p->told_to_end_ns));
	else if (failed && p->tool >= 0 && p->exec_ns)
		record(w, s, M_TOOL_FAILED_NS, minus(r->head.time_ns, p->exec_ns));
	tool_end(w, a, p, r->head.time_ns);
	if (p->root) {
		a->info.has_exit = true;
		a->info.exit_code = r->code;
	}
}


void tasks_record(struct world *w, const struct so_head *h)
{
	switch (h->kind) {
	case SO_CYCLE: {
		const struct so_cycle *r = (const void *)h;

		apply_cycle(w, h, r->gap_ns, r->runq_ns, r->stint_ns, r->wait, r->next, r->flags);
		break;
	}
	case SO_CYCLE_LONG: {
		const struct so_cycle_long *r = (const void *)h;

		apply_cycle(w, h, r->gap_ns, r->runq_ns, r->stint_ns, r->wait, r->next, r->flags);
		break;
	}
	case SO_CYCLES:
		apply_cycles(w, (const void *)h);
		break;
	case SO_FORK:
		apply_fork(w, (const void *)h);
		break;
	case SO_EXEC:
		apply_exec(w, (const void *)h);
		break;
	case SO_EXIT:
		apply_exit(w, (const void *)h);
		break;
	case SO_SIGNAL: {
		const struct so_signal *r = (const void *)h;
		struct proc *p = proc_find(w, r->tgid);

		if (p && !p->told_to_end_ns)
			p->told_to_end_ns = h->time_ns;
		break;
	}
	}
}

void task_open_record(struct world *w, struct task *t)
{
	const struct books *b = &t->books;

	if (t->coarse) /* of how many cycles that is, nobody knows */
		return;
	if (t->wait)
		stacks_wait(w, t, b->base_ns, b->wait_ns, true);
	if (b->stint_ns)
		cycle_record(w, t, b->wait_ns + b->runq_ns + b->stint_ns, b->runq_ns, b->stint_ns, t->wait);
	else if (b->wait_ns && t->wait && t->wait < SO_WAITS)
		record(w, sets_of(w->agents[t->agent], t->proc), wait_metrics[t->wait], b->wait_ns);
}
