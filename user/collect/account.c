/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The ledgers. Most time is charged as it is posted. What a poll waited for is known only when the exchanges around it are: such waits are kept,
 * and resolved when the interval closes, against the time line of what was outstanding for their process.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "collect/world_model.h"
#include "lib/util.h"

#define WORK_SLACK_NS 20000 /* shorter pauses of a tool are not told apart */
#define DISK_MIN_NS 50000 /* shorter waits for a disk don't show in what the agent as a whole did */
#define MOVED_MIN_NS 5000000
#define LIST_MAX 200000 /* entries of a list before the interval is resolved piece by piece */

static const enum state_id wait_states[SO_WAITS] = {
	[SO_WAIT_NONE] = STATE_RUNNABLE, /* taken by an interrupt or the hypervisor while it wanted to run */
#define WAIT(id, value, name, state, help) [SO_WAIT_##id] = STATE_##state,
#include "waits.def"
#undef WAIT
	[SO_WAIT_EVENTS] = STATE_POLL,
};

struct verdict { /* on a wait */
	bool pending, poll;
	enum state_id state; /* pending: where nothing was outstanding */
};

static struct verdict wait_judge(const struct world *w, const struct task *t, const struct cycle_times *c)
{
	unsigned wait = c->wait < SO_WAITS ? c->wait : SO_WAIT_OTHER;
	struct verdict v = { .state = wait_states[wait] };
	unsigned net = t->net_first ? t->net_first : t->net_last; /* it may run again, and use another one by now */

	if (wait == SO_WAIT_PIPE) { /* who has no children waits for nobody's work */
		v.pending = t->proc && (t->proc->kids || t->proc->children.len);
	} else if (!w->probe_on[PROBE_SOCK]) {
		return v;
	} else if (wait == SO_WAIT_NET) {
		if (w->blind || c->base_ns < w->blind_ns) /* it may have used another one meanwhile */
			net = STATE_NET_OTHER;
		v.pending = net == NET_PAIR;
		v.state = v.pending ? STATE_PIPE : net ? net : STATE_IDLE; /* none: it waits for datagrams of anybody */
	} else if (wait == SO_WAIT_POLL || wait == SO_WAIT_EVENTS) {
		v.pending = v.poll = true;
		v.state = c->timeout || (!c->over && c->limited) ? STATE_SLEEP : STATE_IDLE;
	}
	return v;
}

/* Whether a thread that waits so rests: nobody waits for what it does. */
static bool wait_rests(unsigned wait)
{
	switch (wait) {
	case SO_WAIT_POLL:
	case SO_WAIT_EVENTS:
	case SO_WAIT_PIPE:
	case SO_WAIT_INPUT:
	case SO_WAIT_ACCEPT:
	case SO_WAIT_NET: /* its exchanges, as the client, count as work by themselves */
	case SO_WAIT_CHILD: /* and so do its own children */
	case SO_WAIT_LOCK: /* a pool's idle thread; the others decide */
		return true;
	}
	return false;
}

static int waits_add(struct waits *l, struct pending p)
{
	if (p.from_ns >= p.to_ns)
		return 0;
	if (l->len == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 16;
		struct pending *at = reallocarray(l->at, cap, sizeof(*at));

		if (!at)
			return -ENOMEM;
		l->at = at;
		l->cap = cap;
	}
	l->at[l->len++] = p;
	return 0;
}

/* Where time from from_ns on is charged: the books of the interval held back, of this one, or of the next. */
struct books_of {
	struct ledger *threads, *main, *tool;
};

static struct books_of books_of(const struct world *w, struct agent *a, bool main, int tool, uint64_t from_ns)
{
	bool next = from_ns >= w->boundary_ns;
	struct agent_data *d = w->holding && from_ns < w->start_ns ? &a->held : &a->cur;
	struct books_of b = { .threads = next ? &a->next_threads : &d->threads };

	if (main)
		b.main = next ? &a->next_main : &d->main;
	if (tool >= 0)
		b.tool = next ? &a->next_tool[tool] : &d->tools[tool].main;
	return b;
}

static void charge(const struct books_of *b, enum state_id s, uint64_t ns)
{
	if (b->threads)
		b->threads->ns[s] += ns;
	if (b->main)
		b->main->ns[s] += ns;
	if (b->tool)
		b->tool->ns[s] += ns;
}

/* Between two waits of the main thread it ran or wanted to, which counts before what it waited for: waits of the same state in a row are one span.
 * before_ns: end of the wait before this one, of whatever state. */
static void main_wait_add(struct agent *a, uint64_t before_ns, uint64_t from_ns, uint64_t to_ns, enum state_id s)
{
	struct span *last = a->main_waits.len ? &a->main_waits.at[a->main_waits.len - 1] : NULL;

	if (last && last->state == s && last->end_ns == before_ns && from_ns >= before_ns)
		last->end_ns = to_ns;
	else
		spans_add(&a->main_waits, (struct span){ from_ns, to_ns, 0, s });
}

/* A wait of t from from_ns to to_ns, on the books that b names. */
static void wait_charge(struct world *w, struct task *t, const struct verdict *v, bool threads, bool main, int tool, uint64_t from_ns, uint64_t to_ns, bool over)
{
	struct agent *a = w->agents[t->agent];
	struct books_of b = books_of(w, a, main, tool, from_ns);
	uint64_t before_ns = a->main_wait_ns;

	if (main)
		a->main_wait_ns = to_ns;
	if (!threads)
		b.threads = NULL;
	if (v->pending && t->proc && threads) {
		struct pending p = { from_ns, to_ns, v->poll, v->state, main, tool, v->poll && !over ? t->tid : 0 };

		if (!waits_add(p.tid ? &t->proc->open : &t->proc->waits, p)) {
			t->parts |= p.tid != 0;
			return;
		}
	}
	charge(&b, v->state, to_ns - from_ns);
	if (main)
		main_wait_add(a, before_ns, from_ns, to_ns, v->state);
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

/* All of a posting but its wait. */
static void posting_charge(const struct books_of *b, const struct posting *p, enum state_id hole)
{
	charge(b, hole, p->hole);
	charge(b, STATE_RUNNABLE, p->runq);
	charge(b, STATE_RUNNING, p->stint);
}

static void main_post(struct world *w, struct task *t, const struct verdict *v, enum state_id hole, const struct posting *part, uint64_t from_ns)
{
	struct agent *a = w->agents[t->agent];
	struct posting p = *part;
	struct books_of b = books_of(w, a, true, -1, from_ns);
	uint64_t end_ns = from_ns + p.hole + p.wait;

	posting_join(t, &p);
	b.threads = NULL;
	posting_charge(&b, &p, hole);
	wait_charge(w, t, v, false, true, -1, end_ns - p.wait, end_ns, true);
}

/* What lies on one side of the interval's end. from_ns: where it begins. */
static void part_post(struct world *w, struct task *t, const struct cycle_times *c, const struct verdict *v, const struct posting *p, uint64_t from_ns)
{
	struct agent *a = w->agents[t->agent];
	enum state_id hole = c->first ? STATE_RUNNABLE : STATE_OTHER;
	bool main = task_is_main(w, t), joins = main && t->main_skip_ns;
	int tool = t->proc && t->tid == t->proc->tgid ? t->proc->tool : -1;
	uint64_t wait_ns = from_ns + p->hole, ready_ns = wait_ns + p->wait, end_ns = ready_ns + p->runq + p->stint;
	struct books_of b = books_of(w, a, main && !joins, tool, from_ns);

	if (from_ns == end_ns)
		return;
	posting_charge(&b, p, hole);
	if (p->wait)
		wait_charge(w, t, v, true, main && !joins, tool, wait_ns, ready_ns, c->over);
	if (joins)
		main_post(w, t, v, hole, p, from_ns);
	spans_cover(&a->ready, (struct span){ ready_ns, end_ns, 0, STATE_RUNNABLE }, 0);
	spans_cover(&a->running, (struct span){ end_ns - p->stint, end_ns, 0, STATE_RUNNING }, 0);
	if (c->wait == SO_WAIT_DISK && p->wait && c->now_ns - c->base_ns >= DISK_MIN_NS + c->runq_ns + c->stint_ns)
		spans_add(&a->disk, (struct span){ wait_ns, ready_ns, 0, STATE_DISK });
	if (t->proc && t->proc->parent)
		account_work(t->proc, wait_rests(c->wait) ? ready_ns : wait_ns, end_ns);
}

static bool lists_full(const struct agent *a, const struct proc *p)
{
	return a->ready.len > LIST_MAX || a->running.len > LIST_MAX || a->exchanges.len > LIST_MAX || a->main_waits.len > LIST_MAX || a->disk.len > LIST_MAX ||
	       (p && (p->waits.len > LIST_MAX || p->children.len > LIST_MAX));
}

/* The wait that t was in is over: now it is known what ended it. */
static void parts_mend(struct task *t, const struct verdict *v)
{
	struct waits *l = &t->proc->open;

	for (size_t i = 0; i < l->len; i++)
		if (l->at[i].tid == t->tid) {
			if (v->poll) /* else nobody looked when it ended */
				l->at[i].rest = v->state;
			l->at[i].tid = 0;
		}
	t->parts = false;
}

/* A thread that waits so, for so long, does not wait for more of an answer. */
static bool wait_moves_on(unsigned wait, uint64_t wait_ns)
{
	switch (wait) {
	case SO_WAIT_SLEEP:
	case SO_WAIT_CHILD:
	case SO_WAIT_INPUT:
	case SO_WAIT_ACCEPT:
	case SO_WAIT_PIPE:
	case SO_WAIT_LOCK:
	case SO_WAIT_DISK:
	case SO_WAIT_OTHER:
		return wait_ns >= MOVED_MIN_NS;
	}
	return false;
}

static void cycle_post(struct world *w, struct task *t, const struct cycle_times *c)
{
	struct agent *a = w->agents[t->agent];
	struct verdict v = wait_judge(w, t, c);
	uint64_t from_ns = t->books.until_ns;
	struct posting p[2];

	t->within = !c->over;
	books_post(&t->books, c->base_ns, c->now_ns, c->runq_ns, c->stint_ns, w->boundary_ns, p);
	if (!from_ns)
		from_ns = c->base_ns < c->now_ns ? c->base_ns : c->now_ns;
	a->cpu.exec_ns += p[0].stint + p[1].stint;
	if (t->proc && t->proc->tool >= 0)
		a->tool_cpu[t->proc->tool].exec_ns += p[0].stint + p[1].stint;
	if (task_is_main(w, t) && !a->start_ns)
		a->start_ns = from_ns;
	if (t->parts && c->over && t->proc)
		parts_mend(t, &v);
	if (!c->several && wait_moves_on(c->wait, p[0].wait + p[1].wait))
		t->moved_ns = from_ns + p[0].hole + 1; /* the wait's begin, or that of its part since the last look */
	for (int i = 0; i < 2; i++) {
		part_post(w, t, c, &v, &p[i], from_ns);
		from_ns += p[i].hole + p[i].wait + p[i].runq + p[i].stint;
	}
}

/* So much has happened that the interval is resolved up to now: waits that are not over are posted first, as if there were a snapshot. */
static void lists_empty(struct world *w, uint64_t now_ns)
{
	struct task *t, *tt;

	HASH_ITER(hh, w->tasks, t, tt) {
		const struct books *b = &t->books;
		bool ran = t->within && (b->runq_ns || b->stint_ns);

		if (t->wait && !ran && b->until_ns && b->until_ns < now_ns)
			cycle_post(w, t, &(struct cycle_times){ .base_ns = t->within ? b->base_ns : b->until_ns, .now_ns = now_ns, .wait = t->wait });
	}
	if (w->holding)
		account_settle(w, w->start_ns, now_ns);
	account_settle(w, now_ns, now_ns);
}

void account_post(struct world *w, struct task *t, const struct cycle_times *c)
{
	if (!w->probe_on[PROBE_SCHED])
		return;
	cycle_post(w, t, c);
	if (w->boundary_ns == UINT64_MAX && lists_full(w->agents[t->agent], t->proc))
		lists_empty(w, c->now_ns);
}

void account_work(struct proc *p, uint64_t from_ns, uint64_t to_ns)
{
	for (struct proc *q = p->parent; q; q = q->parent)
		spans_cover(&q->children, (struct span){ from_ns, to_ns, 0, STATE_CHILD }, WORK_SLACK_NS);
}

/* ---- resolving ---- */

struct resolving {
	struct world *w;
	struct agent *a;
	const struct pending *p;
	const struct spans *blind; /* when nobody saw what was outstanding */
};

static void piece_charge(void *ctx, uint64_t from_ns, uint64_t to_ns, enum state_id s)
{
	struct resolving *r = ctx;
	struct books_of b = books_of(r->w, r->a, r->p->main, r->p->tool, r->p->from_ns);

	charge(&b, s, to_ns - from_ns);
	if (r->p->main)
		spans_add(&r->a->main_waits, (struct span){ from_ns, to_ns, 0, s });
}

static void waits_settle(struct resolving *r, struct waits *l, const struct spans *poll, const struct spans *pipe, uint64_t upto_ns)
{
	const struct spans *const polls[] = { poll, r->blind };
	size_t kept = 0;

	for (size_t i = 0; i < l->len; i++) {
		struct pending wait = l->at[i];
		uint64_t to_ns = wait.to_ns < upto_ns ? wait.to_ns : upto_ns;

		r->p = &wait;
		layers_walk(wait.poll ? polls : &pipe, wait.poll ? ARRAY_SIZE(polls) : 1, wait.from_ns, to_ns, wait.rest, piece_charge, r);
		if (wait.to_ns <= upto_ns)
			continue;
		if (wait.from_ns < upto_ns)
			wait.from_ns = upto_ns;
		l->at[kept++] = wait;
	}
	l->len = kept;
}

static int spans_copy(struct spans *into, const struct spans *from)
{
	int err = 0;

	for (size_t i = 0; i < from->len && !err; i++)
		err = spans_add(into, from->at[i]);
	return err;
}

/* Stretches in which sends and receives were only counted, the present one included. */
static void blind_spans(const struct world *w, struct spans *ret)
{
	spans_copy(ret, &w->blinds);
	if (w->blind)
		spans_add(ret, (struct span){ w->blind_ns, UINT64_MAX, 0, STATE_POLL });
}

/* Resolves p's waits up to upto_ns. outstanding: what was, for all processes of the agent. */
static void proc_settle(struct world *w, struct proc *p, const struct spans *outstanding, uint64_t upto_ns)
{
	struct resolving r = { .w = w, .a = w->agents[p->agent] };
	struct spans all = {}, dominant = {}, blind = {};

	if (!p->waits.len && !p->open.len)
		return;
	blind_spans(w, &blind);
	r.blind = &blind;
	for (size_t i = 0; i < outstanding->len; i++)
		if ((outstanding->at[i].owner & ~OWNER_CONNECTING) == p->tgid)
			spans_add(&all, outstanding->at[i]);
	spans_copy(&all, &p->children);
	spans_sort(&all);
	spans_dominant(&all, &dominant);
	waits_settle(&r, &p->open, &dominant, &p->children, upto_ns);
	waits_settle(&r, &p->waits, &dominant, &p->children, upto_ns);
	spans_fini(&blind);
	spans_fini(&all);
	spans_fini(&dominant);
}

void account_proc_end(struct world *w, struct proc *p)
{
	if (p->waits.len || p->open.len)
		spans_union(&p->children, 0);
	proc_settle(w, p, &w->agents[p->agent]->exchanges, UINT64_MAX);
}

static void piece_critical(void *ctx, uint64_t from_ns, uint64_t to_ns, enum state_id s)
{
	struct ledger *l = ctx;

	l->ns[s] += to_ns - from_ns;
}

/* What the agent as a whole did between from_ns and to_ns. */
static void critical_settle(struct agent *a, struct agent_data *d, const struct spans *outstanding, uint64_t from_ns, uint64_t to_ns)
{
	const struct spans *layers[5] = { &a->running, &a->ready };
	struct spans dominant = {};

	spans_union(&a->running, 0);
	spans_union(&a->ready, 0);
	spans_union(&a->disk, 0);
	spans_sort(&a->main_waits);
	spans_dominant(outstanding, &dominant);
	layers[2] = &dominant;
	layers[3] = &a->disk;
	layers[4] = &a->main_waits;
	layers_walk(layers, ARRAY_SIZE(layers), from_ns, to_ns, STATE_OTHER, piece_critical, &d->critical);
	spans_fini(&dominant);
}

static void concurrency_settle(struct world *w, struct agent_data *d, const struct spans *outstanding, uint64_t from_ns, uint64_t to_ns)
{
	struct spans of[CLASS_COUNT + 1] = {}; /* by class; the last one: all */
	uint64_t sum_ns, busy_ns, max;

	if (!w->probe_on[PROBE_SOCK])
		return;
	for (size_t i = 0; i < outstanding->len; i++) {
		const struct span *s = &outstanding->at[i];

		if (s->owner & OWNER_CONNECTING || s->state < STATE_NET_LLM || s->state >= STATE_NET_LLM + CLASS_COUNT)
			continue;
		spans_add(&of[s->state - STATE_NET_LLM], *s);
		spans_add(&of[CLASS_COUNT], *s);
	}
	for (int c = 0; c <= CLASS_COUNT; c++) {
		if (of[c].len && !spans_overlap(&of[c], from_ns, to_ns, &sum_ns, &busy_ns, &max)) {
			uint64_t *peak = c < CLASS_COUNT ? &d->concurrency[c].max : &d->metrics.value[M_OUTSTANDING_MAX];

			if (max > *peak)
				*peak = max;
			if (c < CLASS_COUNT) {
				d->concurrency[c].outstanding_ns += sum_ns;
				d->concurrency[c].busy_ns += busy_ns;
			}
		}
		spans_fini(&of[c]);
	}
}

/* The open ends of lists that go on. */
static void agent_forget(struct agent *a, uint64_t upto_ns)
{
	spans_forget(&a->running, upto_ns);
	spans_forget(&a->ready, upto_ns);
	spans_forget(&a->disk, upto_ns);
	spans_forget(&a->main_waits, upto_ns);
	spans_forget(&a->exchanges, upto_ns);
	if (upto_ns > a->settled_ns) /* a held interval is resolved once more after a list was full */
		a->settled_ns = upto_ns;
}

void account_settle(struct world *w, uint64_t upto_ns, uint64_t now_ns)
{
	struct spans *outstanding = calloc(w->len + 1, sizeof(*outstanding));
	struct proc *p, *pp;

	if (!outstanding)
		return;
	for (int i = 0; i < w->len; i++)
		spans_copy(&outstanding[i], &w->agents[i]->exchanges);
	HASH_ITER(hh, w->procs, p, pp) {
		size_t before = outstanding[p->agent].len;

		sockets_outstanding(w, p, upto_ns, now_ns, &outstanding[p->agent]);
		for (size_t i = before; i < outstanding[p->agent].len; i++)
			account_work(p, outstanding[p->agent].at[i].begin_ns, outstanding[p->agent].at[i].end_ns);
	}
	for (int i = 0; i < w->len; i++)
		spans_sort(&outstanding[i]);
	HASH_ITER(hh, w->procs, p, pp) {
		spans_union(&p->children, WORK_SLACK_NS);
		proc_settle(w, p, &outstanding[p->agent], upto_ns);
		spans_forget(&p->children, upto_ns - WORK_SLACK_NS); /* one that still lasts keeps its begin */
	}
	for (int i = 0; i < w->len; i++) {
		struct agent *a = w->agents[i];
		struct agent_data *d = w->holding && upto_ns <= w->start_ns ? &a->held : &a->cur;
		uint64_t from_ns = a->settled_ns > a->start_ns ? a->settled_ns : a->start_ns;
		uint64_t to_ns = a->end_ns && a->end_ns < upto_ns ? a->end_ns : upto_ns;

		if (a->start_ns && from_ns < to_ns) /* never without the probe sched */
			critical_settle(a, d, &outstanding[i], from_ns, to_ns);
		concurrency_settle(w, d, &outstanding[i], from_ns, upto_ns);
		agent_forget(a, upto_ns);
		spans_fini(&outstanding[i]);
	}
	spans_forget(&w->blinds, upto_ns);
	free(outstanding);
}

void account_agent_fini(struct agent *a)
{
	spans_fini(&a->running);
	spans_fini(&a->ready);
	spans_fini(&a->disk);
	spans_fini(&a->main_waits);
	spans_fini(&a->exchanges);
	free(a->next_tool);
}

size_t account_bytes(const struct world *w)
{
	struct proc *p, *pp;
	size_t n = 0;

	for (int i = 0; i < w->len; i++) {
		const struct agent *a = w->agents[i];

		n += (a->running.cap + a->ready.cap + a->disk.cap + a->main_waits.cap + a->exchanges.cap) * sizeof(struct span);
	}
	HASH_ITER(hh, w->procs, p, pp)
		n += p->children.cap * sizeof(struct span) + (p->waits.cap + p->open.cap) * sizeof(struct pending);
	return n;
}
