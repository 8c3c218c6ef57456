/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "collect/books.h"
#include "lib/util.h"

#define TOOLS_MAX 64 /* names kept apart under an agent; further ones are summed as the last */
#define TOOLS_REST "(other)"

/* The kernel's own counters of a thread, of which we take differences. */
enum count_id { COUNT_FAULTS_MINOR, COUNT_FAULTS_MAJOR, COUNT_MIGRATIONS, COUNT_USER, COUNT_SYSTEM, COUNT_EXEC, COUNT_IDS };

struct cpu_split { /* CPU time since the beginning: the scheduler's exact sum, split in the ratio that ticks saw */
	uint64_t exec_ns, user_ticks_ns, system_ticks_ns;
	uint64_t user_told_ns, system_told_ns; /* what intervals said so far */
};

struct proc {
	uint32_t tgid;
	int agent; /* id */
	int threads;
	bool root, seen;
	int tool; /* index in the agent's tools; -1: the agent itself */
	uint64_t exec_ns; /* when it became this tool; 0: not known */
	uint64_t rss, rss_peak;
	UT_hash_handle hh;
};

struct task {
	uint32_t tid;
	int agent;
	struct proc *proc; /* NULL: not known yet */
	bool seen; /* by the last snapshot, or created since */
	bool counted; /* last[] is valid */
	uint8_t wait; /* reason of the open wait */
	uint64_t last[COUNT_IDS];
	struct books books;
	int64_t main_skip_ns; /* of its next posting to the main ledger, which another thread kept so far; negative: missing there */
	UT_hash_handle hh;
};

struct agent {
	struct agent_info info;
	int slot; /* 0: given up */
	bool alive, spoke; /* spoke: the interval just closed has something of it */
	uint64_t start_ns, end_ns; /* of the watched life of its main thread; 0: not yet */
	int tasks, procs;
	struct agent_data cur, total;
	struct ledger next_main, next_threads; /* time behind the end of the interval being closed */
	struct cpu_split cpu;
	struct cpu_split *tool_cpu; /* by index in cur.tools */
	uint64_t dead_rss_peak;
};

struct kmem { /* kernel allocations of one size: the count at the last look */
	uint32_t bytes;
	uint64_t count;
};

struct world {
	bool probe_on[PROBE_COUNT];
	struct agent **agents; /* by id */
	int len, cap, alive;
	int by_slot[SO_MAX_AGENTS]; /* id, or -1 */
	struct kmem *kmem[SO_MAX_AGENTS]; /* by slot, since the kernel side counts on when a slot changes hands */
	int kmem_len[SO_MAX_AGENTS];
	struct task *tasks;
	struct proc *procs;
	uint64_t boundary_ns; /* end of the interval being closed; UINT64_MAX between */
	uint64_t start_ns; /* of the interval */
	uint64_t orphans;
	const struct agent_data **interval, **total; /* room for cap entries each */
	const struct agent_info **infos;
	int interval_len;
};

struct world *world_new(const bool probe_on[PROBE_COUNT])
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	memcpy(w->probe_on, probe_on, sizeof(w->probe_on));
	memset(w->by_slot, -1, sizeof(w->by_slot));
	w->boundary_ns = UINT64_MAX;
	return w;
}

static void agent_free(struct agent *a)
{
	if (!a)
		return;
	free(a->info.name);
	free(a->info.cmdline);
	free(a->info.cgroup);
	agent_data_fini(&a->cur);
	agent_data_fini(&a->total);
	free(a->tool_cpu);
	free(a);
}

void world_free(struct world *w)
{
	struct task *t, *tt;
	struct proc *p, *pp;

	if (!w)
		return;
	HASH_ITER(hh, w->tasks, t, tt) {
		HASH_DEL(w->tasks, t);
		free(t);
	}
	HASH_ITER(hh, w->procs, p, pp) {
		HASH_DEL(w->procs, p);
		free(p);
	}
	for (int i = 0; i < w->len; i++)
		agent_free(w->agents[i]);
	for (int i = 0; i < SO_MAX_AGENTS; i++)
		free(w->kmem[i]);
	free(w->agents);
	free(w->interval);
	free(w->total);
	free(w->infos);
	free(w);
}

static int world_grow(struct world *w)
{
	int cap = w->cap ? 2 * w->cap : 16;
	void *agents = realloc(w->agents, cap * sizeof(*w->agents)), *p;

	if (!agents)
		return -ENOMEM;
	w->agents = agents;
	if (!(p = realloc(w->interval, cap * sizeof(*w->interval))))
		return -ENOMEM;
	w->interval = p;
	if (!(p = realloc(w->total, cap * sizeof(*w->total))))
		return -ENOMEM;
	w->total = p;
	if (!(p = realloc(w->infos, cap * sizeof(*w->infos))))
		return -ENOMEM;
	w->infos = p;
	w->cap = cap;
	return 0;
}

int world_agent_add(struct world *w, struct agent_info *info)
{
	struct agent *a;
	int slot;

	for (slot = 1; slot < SO_MAX_AGENTS && w->by_slot[slot] >= 0; slot++)
		;
	if (slot == SO_MAX_AGENTS)
		return -ENOSPC;
	if (w->len == w->cap && world_grow(w))
		return -ENOMEM;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->info = *info;
	memset(info, 0, sizeof(*info));
	a->info.id = a->cur.id = a->total.id = w->len;
	a->slot = slot;
	a->alive = true;
	w->by_slot[slot] = w->len;
	w->agents[w->len++] = a;
	w->alive++;
	return slot;
}

int world_agents(const struct world *w)
{
	return w->len;
}

const struct agent_info *world_agent_info(const struct world *w, int id)
{
	return &w->agents[id]->info;
}

int world_agents_alive(const struct world *w)
{
	return w->alive;
}

uint64_t world_orphans(const struct world *w)
{
	return w->orphans;
}

static struct task *task_find(const struct world *w, uint32_t tid)
{
	struct task *t;

	HASH_FIND(hh, w->tasks, &tid, sizeof(tid), t);
	return t;
}

static struct proc *proc_find(const struct world *w, uint32_t tgid)
{
	struct proc *p;

	HASH_FIND(hh, w->procs, &tgid, sizeof(tgid), p);
	return p;
}

int world_agent_of(const struct world *w, uint32_t tgid)
{
	struct proc *p = proc_find(w, tgid);

	return p ? p->agent : -1;
}

int world_agent_find(const struct world *w, int pid, uint64_t start_ticks)
{
	for (int i = 0; i < w->len; i++)
		if (w->agents[i]->alive && w->agents[i]->info.pid == pid && w->agents[i]->info.start_ticks == start_ticks)
			return i;
	return -1;
}

static struct agent *agent_by_slot(const struct world *w, unsigned slot)
{
	return slot && slot < SO_MAX_AGENTS && w->by_slot[slot] >= 0 ? w->agents[w->by_slot[slot]] : NULL;
}

/* Books of one event: the agent's, and the tool's when the process is one. */
struct sets {
	struct metric_set *of[2];
	int len;
};

static struct sets sets_of(struct agent *a, const struct proc *p)
{
	struct sets s = { { &a->cur.metrics }, 1 };

	if (p && p->tool >= 0)
		s.of[s.len++] = &a->cur.tools[p->tool].metrics;
	return s;
}

static void count(const struct world *w, struct sets s, enum metric_id m, uint64_t n)
{
	if (w->probe_on[metric_infos[m].probe])
		for (int i = 0; i < s.len; i++)
			metric_add(s.of[i], m, n);
}

static void record(const struct world *w, struct sets s, enum metric_id m, uint64_t value)
{
	if (w->probe_on[metric_infos[m].probe])
		for (int i = 0; i < s.len; i++)
			metric_record(s.of[i], m, value);
}

/* The tool called name: its index, -1 when out of memory. */
static int agent_tool(struct agent *a, const char *name)
{
	int before = a->cur.tools_len;
	struct tool_data *t;
	struct cpu_split *cpu;

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
	t = agent_data_tool(&a->cur, name);
	return t ? (int)(t - a->cur.tools) : -1;
}

static void proc_set_tool(struct agent *a, struct proc *p, const char comm[SO_COMM_BYTES])
{
	char name[SO_COMM_BYTES + 1] = "";

	memcpy(name, comm, SO_COMM_BYTES);
	if (p->tool >= 0)
		a->cur.tools[p->tool].runs_live--;
	p->tool = agent_tool(a, name);
	if (p->tool >= 0)
		a->cur.tools[p->tool].runs_live++;
}

static struct proc *proc_add(struct world *w, struct agent *a, uint32_t tgid)
{
	struct proc *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->tgid = tgid;
	p->agent = a->info.id;
	p->root = (int)tgid == a->info.pid;
	p->tool = -1;
	p->seen = true;
	HASH_ADD(hh, w->procs, tgid, sizeof(p->tgid), p);
	a->procs++;
	return p;
}

static void agent_end(struct world *w, struct agent *a)
{
	if (!a->alive)
		return;
	a->alive = false;
	w->alive--;
}

static void proc_remove(struct world *w, struct proc *p)
{
	struct agent *a = w->agents[p->agent];
	struct task *t, *tmp;

	if (p->tool >= 0)
		a->cur.tools[p->tool].runs_live--;
	if (p->threads)
		HASH_ITER(hh, w->tasks, t, tmp)
			if (t->proc == p)
				t->proc = NULL;
	HASH_DEL(w->procs, p);
	a->procs--;
	if (p->rss_peak > a->dead_rss_peak)
		a->dead_rss_peak = p->rss_peak;
	if (p->root)
		agent_end(w, a);
	free(p);
}

static struct task *task_add(struct world *w, struct agent *a, uint32_t tid, struct proc *p)
{
	struct task *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->tid = tid;
	t->agent = a->info.id;
	t->proc = p;
	t->seen = true;
	if (p)
		p->threads++;
	a->tasks++;
	HASH_ADD(hh, w->tasks, tid, sizeof(t->tid), t);
	return t;
}

static void task_remove(struct world *w, struct task *t)
{
	struct agent *a = w->agents[t->agent];
	struct proc *p = t->proc;

	HASH_DEL(w->tasks, t);
	a->tasks--;
	if (p && --p->threads == 0)
		proc_remove(w, p);
	free(t);
}

/* Names the process of a task that turned up without one. */
static void task_set_proc(struct task *t, struct proc *p)
{
	if (t->proc || !p)
		return;
	t->proc = p;
	p->threads++;
}

static const enum metric_id wait_metrics[SO_WAITS] = {
#define WAIT(id, value, name, help) [SO_WAIT_##id] = M_WAIT_##id##_NS,
#include "waits.def"
#undef WAIT
};

static const enum state_id wait_states[SO_WAITS] = {
	[SO_WAIT_NONE] = STATE_RUNNABLE, /* taken by an interrupt or the hypervisor while it wanted to run */
#define WAIT(id, value, name, help) [SO_WAIT_##id] = STATE_##id,
#include "waits.def"
#undef WAIT
};

static bool task_is_main(const struct world *w, const struct task *t)
{
	return t->proc && t->proc->root && t->tid == t->proc->tgid && w->agents[t->agent]->alive;
}

static void ledger_post(struct ledger *l, const struct posting *p, enum state_id wait, enum state_id hole)
{
	l->ns[hole] += p->hole;
	l->ns[wait] += p->wait;
	l->ns[STATE_RUNNABLE] += p->runq;
	l->ns[STATE_RUNNING] += p->stint;
}

/* The thread took over as the main one: its open cycle began before or after the ledger of the old one ended. */
static void posting_join(struct task *t, struct posting *p)
{
	uint64_t *parts[] = { &p->hole, &p->wait, &p->runq, &p->stint };

	if (t->main_skip_ns < 0) {
		p->hole += -t->main_skip_ns;
		t->main_skip_ns = 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(parts) && t->main_skip_ns; i++) {
		uint64_t cut = *parts[i] < (uint64_t)t->main_skip_ns ? *parts[i] : (uint64_t)t->main_skip_ns;

		*parts[i] -= cut;
		t->main_skip_ns -= cut;
	}
}

static void task_post(struct world *w, struct task *t, uint64_t base_ns, uint64_t now_ns, uint64_t runq_ns, uint64_t stint_ns, unsigned wait,
		      bool first)
{
	struct agent *a = w->agents[t->agent];
	enum state_id state = wait_states[wait < SO_WAITS ? wait : SO_WAIT_OTHER];
	enum state_id hole = first ? STATE_RUNNABLE : STATE_OTHER;
	struct posting p[2];

	if (!w->probe_on[PROBE_SCHED])
		return;
	books_post(&t->books, base_ns, now_ns, runq_ns, stint_ns, w->boundary_ns, p);
	ledger_post(&a->cur.threads, &p[0], state, hole);
	ledger_post(&a->next_threads, &p[1], state, hole);
	a->cpu.exec_ns += p[0].stint + p[1].stint;
	if (t->proc && t->proc->tool >= 0)
		a->tool_cpu[t->proc->tool].exec_ns += p[0].stint + p[1].stint;
	if (!task_is_main(w, t))
		return;
	if (!a->start_ns)
		a->start_ns = base_ns;
	if (t->main_skip_ns) {
		posting_join(t, &p[0]);
		posting_join(t, &p[1]);
	}
	ledger_post(&a->cur.main, &p[0], state, hole);
	ledger_post(&a->next_main, &p[1], state, hole);
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* Histograms of a cycle. */
static void cycle_record(const struct world *w, const struct task *t, uint64_t gap_ns, uint64_t runq_ns, uint64_t stint_ns, unsigned wait)
{
	struct sets s = sets_of(w->agents[t->agent], t->proc);

	record(w, s, M_ONCPU_NS, stint_ns);
	record(w, s, M_RUNQ_NS, runq_ns);
	if (wait && wait < SO_WAITS) {
		count(w, s, M_WAKEUPS, 1);
		record(w, s, wait_metrics[wait], minus(gap_ns, runq_ns + stint_ns));
	}
}

static void apply_cycle(struct world *w, const struct so_head *h, uint64_t gap_ns, uint64_t runq_ns, uint64_t stint_ns, unsigned wait, unsigned next,
		     unsigned flags)
{
	struct task *t = task_find(w, h->tid);
	struct agent *a;

	if (!t) {
		a = agent_by_slot(w, h->agent);
		if (!a || !(t = task_add(w, a, h->tid, NULL))) {
			w->orphans++;
			return;
		}
	}
	a = w->agents[t->agent];
	cycle_record(w, t, gap_ns, runq_ns, stint_ns, wait);
	count(w, sets_of(a, t->proc), next || flags & SO_CYCLE_DEAD ? M_SWITCHES_VOLUNTARY : M_SWITCHES_INVOLUNTARY, 1);
	task_post(w, t, h->time_ns - gap_ns, h->time_ns, runq_ns, stint_ns, wait, flags & SO_CYCLE_FIRST);
	t->wait = next;
	if (!(flags & SO_CYCLE_DEAD))
		return;
	if (task_is_main(w, t))
		a->end_ns = h->time_ns;
	task_remove(w, t);
}

/* Adds what the kernel's counters of a thread grew by. The first look at a thread that was there before us is the base. */
static void task_count(struct world *w, struct task *t, const uint64_t now[COUNT_IDS])
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
	struct task *parent = task_find(w, r->head.tid), *old = task_find(w, r->child_tid), *t;
	struct agent *a = agent_by_slot(w, r->head.agent);
	struct proc *p;

	if (!a) {
		w->orphans++;
		return;
	}
	if (old) /* its last record was lost, and its number is in use again */
		task_remove(w, old);
	p = proc_find(w, r->child_tgid);
	if (r->child_tid == r->child_tgid) {
		if (p)
			proc_remove(w, p);
		p = proc_add(w, a, r->child_tgid);
		if (!p)
			return;
		count(w, sets_of(a, parent ? parent->proc : NULL), M_FORKS, 1);
		if (parent && parent->proc && parent->proc->tool >= 0) { /* a fork without exec goes on under its name */
			p->tool = parent->proc->tool;
			a->cur.tools[p->tool].runs_live++;
		}
	}
	t = task_add(w, a, r->child_tid, p);
	if (!t)
		return;
	t->counted = true;
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
	if (t && r->old_tid != r->head.tid) { /* the thread takes over the process's first number */
		struct task *first = task_find(w, r->head.tid);
		/* Between the old main thread's end and this record, the thread may have been switched under its new number. */
		uint64_t main_end_ns = a->end_ns ? a->end_ns : first ? first->books.until_ns : 0;
		bool main = p && p->root && main_end_ns;

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
	if (r->code)
		count(w, s, M_EXITS_FAILED, 1);
	if (!p)
		return;
	if (r->rss_peak_bytes > p->rss_peak)
		p->rss_peak = r->rss_peak_bytes;
	tool_end(w, a, p, r->head.time_ns);
	if (p->root) {
		a->info.has_exit = true;
		a->info.exit_code = r->code;
	}
}

static void apply_socket(struct world *w, const struct so_head *h)
{
	struct task *t = task_find(w, h->tid);
	struct proc *p = t ? t->proc : proc_find(w, h->tid);
	struct agent *a = agent_by_slot(w, h->agent);
	struct sets s;

	if (h->kind == SO_ACCEPT && !h->agent) { /* a unix listener: the kernel side knows only its process */
		if (!p)
			return;
		a = w->agents[p->agent];
	}
	if (!a) {
		w->orphans++;
		return;
	}
	s = sets_of(a, p);
	switch (h->kind) {
	case SO_CONNECT: {
		const struct so_connect *r = (const void *)h;

		count(w, s, r->error ? M_CONNECTS_FAILED : M_CONNECTS, 1);
		if (r->duration_ns && !r->error)
			record(w, s, M_CONNECT_NS, r->duration_ns);
		break;
	}
	case SO_ACCEPT:
		count(w, s, M_ACCEPTS, 1);
		break;
	case SO_SEND:
	case SO_RECV: {
		const struct so_transfer *r = (const void *)h;
		bool sent = h->kind == SO_SEND;

		count(w, s, sent ? M_SENT_BYTES : M_RECEIVED_BYTES, r->bytes);
		record(w, s, sent ? M_SEND_BYTES : M_RECV_BYTES, r->bytes);
		if (!sent && r->rtt_us)
			record(w, s, M_RTT_NS, r->rtt_us * 1000ULL);
		break;
	}
	case SO_RETRANSMIT:
		count(w, s, M_RETRANSMITS, 1);
		break;
	}
}

void world_record(struct world *w, const struct so_head *h)
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
	case SO_FORK:
		apply_fork(w, (const void *)h);
		break;
	case SO_EXEC:
		apply_exec(w, (const void *)h);
		break;
	case SO_EXIT:
		apply_exit(w, (const void *)h);
		break;
	case SO_MAP: {
		const struct so_map *r = (const void *)h;
		struct task *t = task_find(w, h->tid);
		struct agent *a = agent_by_slot(w, h->agent);

		if (a)
			record(w, sets_of(a, t ? t->proc : NULL), M_MAP_BYTES, r->bytes);
		else
			w->orphans++;
		break;
	}
	case SO_CONNECT:
	case SO_ACCEPT:
	case SO_SEND:
	case SO_RECV:
	case SO_RETRANSMIT:
		apply_socket(w, h);
		break;
	}
}

void world_kmem(struct world *w, unsigned slot, uint32_t bytes, uint64_t n)
{
	struct agent *a = agent_by_slot(w, slot);
	struct kmem *k;
	int i;

	if (!slot || slot >= SO_MAX_AGENTS)
		return;
	for (i = 0; i < w->kmem_len[slot] && w->kmem[slot][i].bytes != bytes; i++)
		;
	if (i == w->kmem_len[slot]) {
		k = realloc(w->kmem[slot], (i + 1) * sizeof(*k));
		if (!k)
			return;
		w->kmem[slot] = k;
		w->kmem[slot][w->kmem_len[slot]++] = (struct kmem){ .bytes = bytes };
	}
	k = &w->kmem[slot][i];
	if (a && n > k->count) {
		metric_add(&a->cur.metrics, M_KERNEL_ALLOC_BYTES, (n - k->count) * bytes);
		if (!metric_record(&a->cur.metrics, M_KERNEL_ALLOC_SIZE_BYTES, bytes))
			hist_record_n(a->cur.metrics.hist[M_KERNEL_ALLOC_SIZE_BYTES], bytes, n - k->count - 1);
	}
	k->count = n;
}

void world_close_begin(struct world *w, uint64_t end_ns)
{
	struct task *t, *tt;
	struct proc *p, *pp;

	w->boundary_ns = end_ns;
	HASH_ITER(hh, w->tasks, t, tt)
		t->seen = false;
	HASH_ITER(hh, w->procs, p, pp) {
		p->seen = false;
		p->rss = 0;
	}
}

void world_snap(struct world *w, const struct so_snap *s)
{
	struct agent *a = agent_by_slot(w, s->agent);
	struct proc *p = proc_find(w, s->tgid);
	struct task *t = task_find(w, s->tid);

	if (!a)
		return;
	if (s->on == SO_ON_DEAD) { /* a zombie: its last record has been, or comes */
		if (t)
			t->seen = true;
		if (p)
			p->seen = true;
		return;
	}
	if (!p && !(p = proc_add(w, a, s->tgid)))
		return;
	if (s->flags & SO_SNAP_TOOL && p->tool < 0 && !p->root)
		proc_set_tool(a, p, s->comm);
	if (!t && !(t = task_add(w, a, s->tid, p)))
		return;
	task_set_proc(t, p);
	t->seen = p->seen = true;
	t->wait = s->wait;
	task_count(w, t,
		   (const uint64_t[COUNT_IDS]){ s->faults_minor, s->faults_major, s->migrations, s->utime_ns, s->stime_ns, s->exec_ns });
	task_post(w, t, s->base_ns, s->now_ns, s->runq_ns, s->stint_ns, s->wait, false);
	if (s->flags & SO_SNAP_LEADER) {
		p->rss = s->rss_bytes;
		p->rss_peak = s->rss_peak_bytes;
	}
}

/* What the CPU time grew by, split into user and system so that neither ever shrinks. */
static void cpu_tell(const struct world *w, struct cpu_split *c, struct metric_set *s)
{
	uint64_t ticks = c->user_ticks_ns + c->system_ticks_ns, told = c->user_told_ns + c->system_told_ns, user, grown;

	if (!w->probe_on[PROBE_SCHED] && !w->probe_on[PROBE_CORE])
		return;
	grown = minus(c->exec_ns, told);
	user = ticks ? (uint64_t)((unsigned __int128)c->exec_ns * c->user_ticks_ns / ticks) : c->exec_ns;
	user = minus(user, c->user_told_ns);
	if (user > grown)
		user = grown;
	c->user_told_ns += user;
	c->system_told_ns += grown - user;
	s->value[M_CPU_USER_NS] += user;
	s->value[M_CPU_SYSTEM_NS] += grown - user;
}

static void agent_gauges(const struct world *w, struct agent *a, uint64_t rss, uint64_t rss_peak)
{
	struct metric_set *s = &a->cur.metrics;

	if (w->probe_on[PROBE_PROC]) {
		s->value[M_THREADS] = a->tasks;
		s->value[M_PROCESSES] = a->procs;
	}
	if (w->probe_on[PROBE_MEM]) {
		s->value[M_RSS_BYTES] = rss;
		s->value[M_RSS_PEAK_BYTES] = rss_peak + a->dead_rss_peak;
	}
	a->dead_rss_peak = 0;
	cpu_tell(w, &a->cpu, s);
	for (int i = 0; i < a->cur.tools_len; i++)
		cpu_tell(w, &a->tool_cpu[i], &a->cur.tools[i].metrics);
}

/* Seconds of the interval that the agent's main thread was there and watched. */
static double agent_observed_s(const struct world *w, const struct agent *a)
{
	uint64_t from = a->start_ns > w->start_ns ? a->start_ns : w->start_ns;
	uint64_t to = a->end_ns && a->end_ns < w->boundary_ns ? a->end_ns : w->boundary_ns;

	return a->start_ns && to > from ? (to - from) / 1e9 : 0;
}

static void agent_close(struct world *w, struct agent *a)
{
	bool was = a->cur.alive || a->total.observed_s == 0;

	a->cur.alive = a->alive;
	a->cur.observed_s = agent_observed_s(w, a);
	a->spoke = a->alive || a->tasks || was || ledger_sum(&a->cur.threads);
	if (!a->spoke)
		return;
	agent_data_merge(&a->total, &a->cur);
	a->total.alive = a->alive;
	w->interval[w->interval_len++] = &a->cur;
}

/* What a thread is in the middle of counts as over when the recording ends. */
static void open_record(struct world *w, const struct task *t)
{
	const struct books *b = &t->books;
	struct sets s = sets_of(w->agents[t->agent], t->proc);

	if (b->stint_ns)
		cycle_record(w, t, b->wait_ns + b->runq_ns + b->stint_ns, b->runq_ns, b->stint_ns, t->wait);
	else if (b->wait_ns && t->wait && t->wait < SO_WAITS)
		record(w, s, wait_metrics[t->wait], b->wait_ns);
}

/* Removes what neither the snapshot nor a record knows any more, and sums resident memory by agent into rss[id][2]. */
static void gone_remove(struct world *w, uint64_t (*rss)[2])
{
	struct task *t, *tt;
	struct proc *p, *pp;

	HASH_ITER(hh, w->tasks, t, tt)
		if (!t->seen)
			task_remove(w, t);
	HASH_ITER(hh, w->procs, p, pp) {
		if (!p->threads) {
			proc_remove(w, p);
		} else if (rss) {
			rss[p->agent][0] += p->rss;
			rss[p->agent][1] += p->rss_peak;
		}
	}
}

void world_close_end(struct world *w, bool last)
{
	uint64_t(*rss)[2] = calloc(w->len + 1, sizeof(*rss));
	struct task *t, *tt;

	gone_remove(w, rss);
	if (last)
		HASH_ITER(hh, w->tasks, t, tt)
			open_record(w, t);
	w->interval_len = 0;
	for (int i = 0; i < w->len; i++) {
		struct agent *a = w->agents[i];

		if (a->alive && !proc_find(w, a->info.pid)) /* gone before anything was seen of it */
			agent_end(w, a);
		agent_gauges(w, a, rss ? rss[i][0] : 0, rss ? rss[i][1] : 0);
		agent_close(w, a);
	}
	free(rss);
}

/* A slot is given up only between intervals: what the kernel side still counts by it belongs to the agent. */
static void agent_settle(struct world *w, struct agent *a)
{
	if (a->alive || a->tasks || !a->slot)
		return;
	w->by_slot[a->slot] = -1;
	a->slot = 0;
}

void world_next(struct world *w)
{
	for (int i = 0; i < w->len; i++) {
		struct agent *a = w->agents[i];

		a->cur.main = a->next_main;
		a->cur.threads = a->next_threads;
		memset(&a->next_main, 0, sizeof(a->next_main));
		memset(&a->next_threads, 0, sizeof(a->next_threads));
		agent_settle(w, a);
		if (!a->spoke)
			continue;
		metric_set_reset(&a->cur.metrics);
		for (int j = 0; j < a->cur.tools_len; j++)
			metric_set_reset(&a->cur.tools[j].metrics);
	}
	w->start_ns = w->boundary_ns;
	w->boundary_ns = UINT64_MAX;
}

const struct agent_data *const *world_interval(const struct world *w, int *ret_len)
{
	*ret_len = w->interval_len;
	return w->interval;
}

const struct agent_data *const *world_total(const struct world *w, const struct agent_info *const **ret_infos, int *ret_len)
{
	for (int i = 0; i < w->len; i++) {
		w->total[i] = &w->agents[i]->total;
		w->infos[i] = &w->agents[i]->info;
	}
	*ret_infos = w->infos;
	*ret_len = w->len;
	return w->total;
}

void world_start(struct world *w, uint64_t start_ns)
{
	w->start_ns = start_ns;
}

static size_t data_bytes(const struct agent_data *d)
{
	size_t n = metric_set_bytes(&d->metrics);

	for (int i = 0; i < d->tools_len; i++)
		n += sizeof(d->tools[i]) + metric_set_bytes(&d->tools[i].metrics);
	return n;
}

size_t world_bytes(const struct world *w)
{
	size_t n = sizeof(*w) + HASH_COUNT(w->tasks) * sizeof(struct task) + HASH_COUNT(w->procs) * sizeof(struct proc);

	for (int i = 0; i < w->len; i++)
		n += sizeof(struct agent) + data_bytes(&w->agents[i]->cur) + data_bytes(&w->agents[i]->total);
	return n;
}
