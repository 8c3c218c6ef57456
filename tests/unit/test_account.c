/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Random lives of an agent, its threads and tools, told as records and snapshots, and the ledgers that come of them: against a witness that looks at each
 * moment by itself and knows the whole story. Interval by interval, to the nanosecond, wherever the intervals end and whether they are held back or not.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "lib_world.h"
#include "lib/util.h"

/* All that thread i does happens at multiples of STEP and i times CELL behind: no two threads do anything at once, and nothing is shorter than a CELL. */
#define CELL 128000ULL
#define STEP (32 * CELL)
#define CELLS 12000
#define START (1000 * STEP)
#define END (START + CELLS * CELL)
#define THREADS_MAX 12
#define PROCS_MAX 6
#define CONNS 3 /* a thread */
#define CUTS_MAX 40
#define SNAP_NS 9000 /* a thread */

static const uint16_t ports[CONNS] = { 11434, 5432, 6379 };
static const enum state_id port_states[CONNS] = { STATE_NET_LLM, STATE_NET_DB, STATE_NET_CACHE };
static const char *const tool_names[] = { "git", "bash", "git", "rg", "node" };

enum { WAITING, QUEUED, RUNNING };

struct cell { /* what a thread does in it */
	bool alive;
	uint8_t doing, reason, rest; /* rest: state of a poll with nothing outstanding */
	uint8_t net; /* state of a blocking socket call */
};

struct cycle {
	uint64_t base, ready, on, off;
	uint8_t reason;
	bool timeout;
};

struct thread {
	uint32_t tid;
	int proc;
	uint64_t born, died; /* died UINT64_MAX: never */
	struct cycle *cycles;
	size_t len;
};

struct span_seen { /* an exchange, or a connect */
	int proc, port;
	bool connect, finished;
	uint64_t begin, end;
};

struct event {
	uint64_t at;
	size_t seq;
	_Alignas(8) uint8_t raw[6 * SO_SLOT_BYTES];
};

static struct story {
	struct thread threads[THREADS_MAX];
	int threads_len, procs_len, parent[PROCS_MAX];
	struct event *events;
	struct span_seen *spans;
	size_t events_len, spans_len;
	uint32_t sockets;
	struct cell (*cells)[CELLS]; /* by thread */
	uint8_t (*state)[CELLS]; /* by thread, resolved */
	uint8_t critical[CELLS];
} y;

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (seed >> 24) % below;
}

static uint32_t tgid_of(int proc)
{
	return ROOT + 100 * proc;
}

static void *event_new(unsigned kind, unsigned slots, uint32_t tid, uint64_t at)
{
	struct event *e;

	if (!(y.events_len & (y.events_len - 1)))
		y.events = reallocarray(y.events, y.events_len ? 2 * y.events_len : 1, sizeof(*y.events));
	e = &y.events[y.events_len];
	memset(e, 0, sizeof(*e));
	e->at = at;
	e->seq = y.events_len++;
	*(struct so_head *)e->raw = (struct so_head){ kind, slots, 1, tid, at };
	return e->raw;
}

static struct span_seen *span_new(int proc, int port, bool connect, uint64_t begin)
{
	if (!(y.spans_len & (y.spans_len - 1)))
		y.spans = reallocarray(y.spans, y.spans_len ? 2 * y.spans_len : 1, sizeof(*y.spans));
	y.spans[y.spans_len] = (struct span_seen){ proc, port, connect, false, begin, UINT64_MAX };
	return &y.spans[y.spans_len++];
}

/* ---- the story ---- */

struct talk { /* a thread's connection */
	uint32_t socket;
	enum { CLOSED, CONNECTING, IDLE, BUSY } state;
	size_t span;
	uint64_t arrival;
};

static void transfer(const struct thread *t, unsigned kind, uint32_t socket, uint64_t at, uint64_t arrival)
{
	struct so_transfer *r = event_new(kind, 1, t->tid, at);

	r->socket = socket;
	r->bytes = kind == SO_SEND ? 100 : 1000;
	r->ago = kind == SO_RECV ? (at - arrival) >> SO_AGO_SHIFT : 0;
}

/* At the beginning of a stint: what came is read; a new connection is begun, perhaps. `first`: what it had waited for. */
static void talks_begin(const struct thread *t, struct talk *talk, int first, uint64_t at)
{
	for (int n = 0; n < CONNS; n++) {
		struct talk *c = &talk[(n + first) % CONNS];

		if (c->state == BUSY && c->arrival <= at) {
			transfer(t, SO_RECV, c->socket, at, c->arrival);
			y.spans[c->span].end = at;
			y.spans[c->span].finished = true;
			c->state = IDLE;
		} else if (c->state == CONNECTING && c->arrival <= at) {
			struct so_connect *r = event_new(SO_CONNECT, 1, tgid_of(t->proc), at);

			r->socket = c->socket;
			r->family = AF_INET;
			r->duration_ns = at - y.spans[c->span].begin;
			y.spans[c->span].end = at;
			c->state = IDLE;
		}
	}
	for (int n = 0; n < CONNS; n++)
		if (talk[n].state == CLOSED && !draw(8)) {
			struct so_open *r = event_new(SO_OPEN, 6, tgid_of(t->proc), at);

			r->socket = talk[n].socket = ++y.sockets;
			r->family = AF_INET;
			r->type = SOCK_STREAM;
			r->role = SO_ROLE_CLIENT;
			r->remote_port = ports[n];
			r->remote[0] = 10;
			r->thread = t->tid;
			talk[n].state = CONNECTING;
			talk[n].arrival = at + draw(20) * STEP;
			span_new(t->proc, n, true, at);
			talk[n].span = y.spans_len - 1;
			return;
		}
}

/* At the end of a stint: a request. Returns on which of the connections, or -1. */
static int talks_ask(const struct thread *t, struct talk *talk, uint64_t at)
{
	int n = draw(CONNS);

	if (talk[n].state != IDLE || draw(2))
		return -1;
	transfer(t, SO_SEND, talk[n].socket, at, 0);
	span_new(t->proc, n, false, at);
	talk[n].span = y.spans_len - 1;
	talk[n].state = BUSY;
	talk[n].arrival = at + (1 + draw(40)) * STEP;
	return n;
}

static void talks_end(const struct thread *t, struct talk *talk, uint64_t at)
{
	for (int n = 0; n < CONNS; n++) {
		if (talk[n].state == BUSY || talk[n].state == CONNECTING)
			y.spans[talk[n].span].end = at;
		if (talk[n].state == CONNECTING) {
			struct so_connect *r = event_new(SO_CONNECT, 1, tgid_of(t->proc), at);

			r->socket = talk[n].socket;
			r->error = ECANCELED;
		} else if (talk[n].state == BUSY || talk[n].state == IDLE) {
			struct so_close *r = event_new(SO_CLOSE, 1, 0, at);

			r->socket = talk[n].socket;
		}
	}
}

static void cells_fill(int thread, uint64_t from, uint64_t to, struct cell cell)
{
	for (uint64_t t = from; t < to && t < END; t += CELL)
		y.cells[thread][(t - START) / CELL] = cell;
}

static void cycle_add(struct thread *t, struct cycle c)
{
	if (!(t->len & (t->len - 1)))
		t->cycles = reallocarray(t->cycles, t->len ? 2 * t->len : 1, sizeof(c));
	t->cycles[t->len++] = c;
}

static uint8_t reason_draw(int asked)
{
	static const uint8_t reasons[] = { SO_WAIT_POLL, SO_WAIT_POLL, SO_WAIT_POLL, SO_WAIT_PIPE,  SO_WAIT_LOCK,  SO_WAIT_SLEEP, SO_WAIT_DISK,
					   SO_WAIT_CHILD, SO_WAIT_FAULT, SO_WAIT_INPUT, SO_WAIT_OTHER, SO_WAIT_NONE, SO_WAIT_ACCEPT };

	return asked >= 0 && draw(2) ? SO_WAIT_NET : reasons[draw(sizeof(reasons))];
}

static void cycle_tell(int i, const struct cycle *c, uint8_t next, int flags)
{
	struct so_cycle *r = event_new(SO_CYCLE, 1, y.threads[i].tid, c->off);

	r->gap_ns = c->off - c->base;
	r->runq_ns = c->on - c->ready;
	r->stint_ns = c->off - c->on;
	r->wait = c->reason;
	r->next = next;
	r->flags = flags | (c->timeout ? SO_CYCLE_TIMEOUT : 0);
}

/* From birth to death, or beyond the end of the recording. */
static void thread_live(int i)
{
	struct thread *t = &y.threads[i];
	struct talk talk[CONNS] = {};
	uint64_t base = t->born;
	uint8_t reason = SO_WAIT_NONE;
	int asked = -1;

	while (base < END + STEP && base < t->died) {
		struct cycle c = { .base = base, .reason = reason, .timeout = reason == SO_WAIT_POLL && !draw(3) };
		struct cell cell = { true, WAITING, reason, c.timeout ? STATE_SLEEP : STATE_IDLE, asked >= 0 ? port_states[asked] : 0 };
		int waited = asked, flags = 0;

		c.ready = base + (reason ? 1 + draw(draw(4) ? 6 : 60) : 0) * STEP;
		c.on = c.ready + (reason ? draw(3) : 1 + draw(2)) * STEP; /* not at once: what ends a stint and what begins the next are told apart */
		c.off = c.on + (1 + draw(4)) * STEP;
		if (reason == SO_WAIT_NET)
			talk[waited].arrival = c.ready;
		cells_fill(i, base, c.ready, cell);
		cell.doing = QUEUED;
		cells_fill(i, c.ready, c.on, cell);
		cell.doing = RUNNING;
		cells_fill(i, c.on, c.off, cell);
		talks_begin(t, talk, waited < 0 ? 0 : waited, c.on);
		asked = -1;
		if (c.off >= t->died || (t->died != UINT64_MAX && c.off + 40 * STEP > t->died)) {
			flags = SO_CYCLE_DEAD;
			t->died = c.off;
			talks_end(t, talk, c.off);
			if (t->tid == tgid_of(t->proc)) {
				struct so_exit *e = event_new(SO_EXIT, 4, t->tid, c.off);

				e->tgid = t->tid;
				e->group_dead = 1;
			}
		} else {
			asked = talks_ask(t, talk, c.off);
		}
		reason = reason_draw(asked);
		cycle_add(t, c);
		cycle_tell(i, &c, reason, flags);
		base = c.off;
	}
}

static void thread_begin(int proc, bool first, uint64_t born, uint64_t died)
{
	int i = y.threads_len++;
	struct thread *t = &y.threads[i];

	t->tid = tgid_of(proc) + (first ? 0 : i);
	t->proc = proc;
	t->born = born + i * CELL;
	t->died = died;
	if (i) {
		/* Tools are started by their parent's first thread, others by the process's. */
		int parent = first ? y.parent[proc] : proc;
		struct so_fork *f = event_new(SO_FORK, 1, tgid_of(parent), t->born);

		f->child_tid = t->tid;
		f->child_tgid = tgid_of(proc);
		f->parent_tgid = tgid_of(parent);
	}
	if (i && first) {
		struct so_exec *e = event_new(SO_EXEC, 2, t->tid, t->born);

		e->tgid = e->old_tid = t->tid;
		memcpy(e->comm, tool_names[proc - 1], strlen(tool_names[proc - 1]));
	}
	thread_live(i);
}

static int by_time(const void *a, const void *b)
{
	const struct event *x = a, *z = b;

	return x->at != z->at ? (x->at < z->at ? -1 : 1) : (x->seq > z->seq) - (x->seq < z->seq);
}

static void story_free(void)
{
	for (int i = 0; i < THREADS_MAX; i++)
		free(y.threads[i].cycles);
	free(y.events);
	free(y.spans);
	free(y.cells);
	free(y.state);
	memset(&y, 0, sizeof(y));
}

static void truth_find(void);

static void story_make(uint64_t round)
{
	uint64_t length = CELLS * CELL / STEP;

	const struct thread *first = NULL; /* of the process before */

	seed = round;
	story_free();
	y.cells = calloc(THREADS_MAX, sizeof(*y.cells));
	y.state = calloc(THREADS_MAX, sizeof(*y.state));
	y.procs_len = 1 + draw(PROCS_MAX);
	for (int p = 0; p < y.procs_len && y.threads_len < THREADS_MAX; p++) {
		int threads = 1 + draw(3);
		uint64_t born = START + (p ? draw(length / 2) * STEP : 0), died = p && draw(4) ? born + (length / 8 + draw(length / 4)) * STEP : UINT64_MAX;

		/* A chain, or a broom. Who started a tool lives longer. */
		y.parent[p] = p > 1 && draw(2) && first->born < born && first->died == UINT64_MAX ? p - 1 : 0;
		first = &y.threads[y.threads_len];
		for (int n = 0; n < threads && y.threads_len < THREADS_MAX; n++) {
			uint64_t later = n ? (1 + draw(5)) * STEP : 0; /* the first one lives longer than that */

			thread_begin(p, !n, born + later, died);
		}
	}
	qsort(y.events, y.events_len, sizeof(*y.events), by_time);
	truth_find();
}

/* ---- the witness ---- */

static bool is_descendant(int p, int of)
{
	while (p) {
		p = y.parent[p];
		if (p == of)
			return true;
	}
	return false;
}

/* The one outstanding that began first at time t: of one process, or (-1) of all. */
static const struct span_seen *outstanding(int proc, uint64_t t)
{
	const struct span_seen *first = NULL;

	for (size_t i = 0; i < y.spans_len; i++) {
		const struct span_seen *s = &y.spans[i];

		if ((proc < 0 || s->proc == proc) && s->begin <= t && t < s->end && (!first || s->begin < first->begin))
			first = s;
	}
	return first;
}

static bool works(int proc, size_t cell)
{
	for (int i = 0; i < y.threads_len; i++) {
		const struct cell *c = &y.cells[i][cell];

		if (y.threads[i].proc != proc || !c->alive)
			continue;
		if (c->doing != WAITING)
			return true;
		switch (c->reason) {
		case SO_WAIT_DISK:
		case SO_WAIT_SLEEP:
		case SO_WAIT_FAULT:
		case SO_WAIT_OTHER:
			return true;
		}
	}
	return outstanding(proc, START + cell * CELL) != NULL;
}

static uint8_t wait_state(int proc, const struct cell *c, uint64_t t, uint64_t child_since)
{
	const struct span_seen *s;

	switch (c->reason) {
	case SO_WAIT_NET:
		return c->net;
	case SO_WAIT_PIPE:
		return child_since ? STATE_CHILD : STATE_PIPE;
	case SO_WAIT_POLL:
		s = outstanding(proc, t);
		if (s && (!child_since || s->begin < child_since))
			return port_states[s->port];
		return child_since ? STATE_CHILD : c->rest;
	case SO_WAIT_DISK:
		return STATE_DISK;
	case SO_WAIT_LOCK:
		return STATE_LOCK;
	case SO_WAIT_SLEEP:
		return STATE_SLEEP;
	case SO_WAIT_CHILD:
		return STATE_CHILD;
	case SO_WAIT_FAULT:
		return STATE_FAULT;
	case SO_WAIT_INPUT:
		return STATE_INPUT;
	case SO_WAIT_ACCEPT:
		return STATE_IDLE;
	case SO_WAIT_NONE:
		return STATE_RUNNABLE;
	}
	return STATE_OTHER;
}

static uint8_t critical_state(size_t cell)
{
	bool queued = false, disk = false;
	const struct span_seen *s;

	for (int i = 0; i < y.threads_len; i++) {
		const struct cell *c = &y.cells[i][cell];

		if (c->alive && c->doing == RUNNING)
			return STATE_RUNNING;
		queued |= c->alive && c->doing == QUEUED;
		disk |= c->alive && c->reason == SO_WAIT_DISK;
	}
	if (queued)
		return STATE_RUNNABLE;
	s = outstanding(-1, START + cell * CELL);
	return s ? port_states[s->port] : disk ? STATE_DISK : y.state[0][cell];
}

static void truth_find(void)
{
	uint64_t child_since[PROCS_MAX] = {};

	for (size_t cell = 0; cell < CELLS; cell++) {
		uint64_t t = START + cell * CELL;
		bool at_work[PROCS_MAX] = {};

		for (int p = 1; p < y.procs_len; p++)
			at_work[p] = works(p, cell);
		for (int p = 0; p < y.procs_len; p++) {
			bool any = false;

			for (int q = 1; q < y.procs_len; q++)
				any |= at_work[q] && is_descendant(q, p);
			child_since[p] = !any ? 0 : child_since[p] ? child_since[p] : t;
		}
		for (int i = 0; i < y.threads_len; i++) {
			const struct cell *c = &y.cells[i][cell];
			int p = y.threads[i].proc;

			if (c->alive)
				y.state[i][cell] = c->doing == RUNNING ? STATE_RUNNING :
						   c->doing == QUEUED  ? STATE_RUNNABLE :
									 wait_state(p, c, t, child_since[p]);
		}
		y.critical[cell] = critical_state(cell);
	}
}

/* ---- telling it ---- */

struct told {
	struct world *w;
	size_t next; /* event */
};

static void tell_until(struct told *o, uint64_t t)
{
	for (; o->next < y.events_len && y.events[o->next].at <= t; o->next++)
		world_record(o->w, (const struct so_head *)y.events[o->next].raw);
}

static void tell_snap(struct told *o, const struct thread *t, uint64_t now)
{
	struct so_snap s = { .tid = t->tid, .tgid = tgid_of(t->proc), .agent = 1, .now_ns = now, .parent_tgid = tgid_of(y.parent[t->proc]) };
	const struct cycle *c = t->cycles;

	while (now >= c->off)
		c++;
	s.base_ns = c->base;
	s.wait = c->reason;
	s.flags = (s.tid == s.tgid ? SO_SNAP_LEADER : 0) | (c->timeout ? SO_SNAP_LIMITED : 0) | (t->proc ? SO_SNAP_TOOL : 0);
	s.runq_ns = now > c->ready ? (now < c->on ? now : c->on) - c->ready : 0;
	s.stint_ns = now > c->on ? now - c->on : 0;
	world_snap(o->w, &s);
}

static struct told tell_begin(void)
{
	struct told o = { .w = world_make(START) };

	assert_int_equal(agent_make(o.w, ROOT), 1);
	tell_snap(&o, &y.threads[0], START);
	return o;
}

static void tell_close(struct told *o, uint64_t end, bool last)
{
	tell_until(o, end);
	world_close_begin(o->w, end);
	for (int i = 0; i < y.threads_len; i++) { /* each a bit later than the one before, with what happens meanwhile */
		uint64_t now = end + (last ? 0 : 1 + i * SNAP_NS);

		tell_until(o, now);
		if (y.threads[i].born <= now && now < y.threads[i].died)
			tell_snap(o, &y.threads[i], now);
	}
	world_close_end(o->w, last);
}

/* ---- comparing ---- */

struct window {
	uint64_t from, to;
};

static void ledger_compare(const char *what, const struct ledger *told, const struct ledger *truth, struct window v, uint64_t round)
{
	bool differs = false;

	for (int s = 0; s < STATE_COUNT; s++)
		if (told->ns[s] != truth->ns[s]) {
			print_message("%s: %s: %lld us too much\n", what, state_infos[s].name, (long long)(told->ns[s] - truth->ns[s]) / 1000);
			differs = true;
		}
	if (differs)
		fail_msg("round %llu, %llu..%llu ns", (unsigned long long)round, (unsigned long long)(v.from - START), (unsigned long long)(v.to - START));
}

static struct ledger thread_truth(int i, struct window v)
{
	struct ledger l = {};

	for (uint64_t t = v.from; t < v.to; t += CELL) {
		size_t cell = (t - START) / CELL;

		if (y.cells[i][cell].alive)
			l.ns[y.state[i][cell]] += CELL;
	}
	return l;
}

static void ledgers_compare(const struct agent_data *a, struct window v, uint64_t round)
{
	struct ledger main = thread_truth(0, v), all = {}, critical = {}, tool[PROCS_MAX] = {};

	for (int i = 0; i < y.threads_len; i++) {
		struct ledger l = thread_truth(i, v);

		ledger_merge(&all, &l);
		for (int p = 1; p < y.procs_len && y.threads[i].tid == tgid_of(y.threads[i].proc); p++)
			if (y.threads[i].proc && !strcmp(tool_names[p - 1], tool_names[y.threads[i].proc - 1]))
				ledger_merge(&tool[p], &l);
	}
	for (uint64_t t = v.from; t < v.to; t += CELL)
		critical.ns[y.critical[(t - START) / CELL]] += CELL;
	ledger_compare("main", &a->main, &main, v, round);
	ledger_compare("threads", &a->threads, &all, v, round);
	ledger_compare("critical", &a->critical, &critical, v, round);
	assert_int_equal(ledger_sum(&a->main), v.to - v.from);
	assert_int_equal(ledger_sum(&a->critical), v.to - v.from);
	for (int p = 1; p < y.procs_len; p++) {
		const struct tool_data *d = NULL;

		for (int i = 0; i < a->tools_len; i++)
			if (!strcmp(a->tools[i].name, tool_names[p - 1]))
				d = &a->tools[i];
		if (d)
			ledger_compare(d->name, &d->main, &tool[p], v, round);
		else
			assert_int_equal(ledger_sum(&tool[p]), 0);
	}
}

static void concurrency_compare(const struct agent_data *a, struct window v)
{
	for (int n = 0; n < CONNS; n++) {
		const struct concurrency *c = &a->concurrency[port_states[n] - STATE_NET_LLM];
		uint64_t sum = 0, busy = 0, max = 0;

		for (uint64_t t = v.from; t < v.to; t += CELL) {
			uint64_t count = 0;

			for (size_t i = 0; i < y.spans_len; i++)
				count += !y.spans[i].connect && y.spans[i].port == n && y.spans[i].begin <= t && t < y.spans[i].end;
			sum += count * CELL;
			busy += count ? CELL : 0;
			max = count > max ? count : max;
		}
		assert_int_equal(c->outstanding_ns, sum);
		assert_int_equal(c->busy_ns, busy);
		assert_int_equal(c->max, max);
	}
}

static void interval_compare(const struct agent_data *const *all, int len, struct window v, struct agent_data *sum, uint64_t round)
{
	assert_int_equal(len, 1);
	ledgers_compare(all[0], v, round);
	concurrency_compare(all[0], v);
	assert_int_equal(agent_data_merge(sum, all[0]), 0);
}

/* Exchanges, which count where they end (and one that no further one follows, where the recording does). */
static void exchanges_compare(const struct agent_data *total, const struct agent_data *sum)
{
	uint64_t n[CONNS] = {}, ns[CONNS] = {}, all = 0;

	for (size_t i = 0; i < y.spans_len; i++)
		if (y.spans[i].finished && y.spans[i].end <= END && !y.spans[i].connect) {
			n[y.spans[i].port]++;
			ns[y.spans[i].port] += y.spans[i].end - y.spans[i].begin;
			all++;
		}
	assert_int_equal(total->metrics.value[M_EXCHANGES], all);
	for (int i = 0; i < CONNS; i++) {
		char text[32];
		const struct peer_data *p = NULL;

		snprintf(text, sizeof(text), "10.0.0.0:%d", ports[i]);
		for (int k = 0; k < total->peers_len; k++)
			if (!strcmp(total->peers[k].peer, text))
				p = &total->peers[k];
		if (!p) {
			assert_int_equal(n[i], 0);
			continue;
		}
		assert_int_equal(p->metrics.value[M_EXCHANGES], n[i]);
		assert_int_equal(p->metrics.hist[M_EXCHANGE_NS] ? p->metrics.hist[M_EXCHANGE_NS]->sum : 0, ns[i]);
	}
	for (int m = 0; m < METRIC_IDS; m++)
		assert_int_equal(total->metrics.value[m], sum->metrics.value[m]);
	assert_int_equal(ledger_sum(&total->critical), ledger_sum(&sum->critical));
	assert_int_equal(total->peers_len, sum->peers_len);
}

enum how { AT_ONCE, HELD, MIXED };

/* Tells the story with intervals that end at the cuts, in order; the last cut is the end. */
static void story_check(const uint64_t *cuts, int len, enum how how, uint64_t round)
{
	struct told o = tell_begin();
	const struct agent_info *const *infos;
	const struct agent_data *const *all;
	struct agent_data sum = {};
	struct window v = { START, START };
	bool holding = false;
	int n;

	for (int i = 0; i < len; i++) {
		if (holding) {
			uint64_t later = v.to + draw(cuts[i] - v.to + 1);

			tell_until(&o, later);
			all = world_held(o.w, later, &n);
			interval_compare(all, n, v, &sum, round);
		}
		v = (struct window){ v.to, cuts[i] };
		tell_close(&o, v.to, i == len - 1);
		holding = i < len - 1 && (how == HELD || (how == MIXED && draw(2)));
		if (holding) {
			world_hold(o.w);
			continue;
		}
		all = world_interval(o.w, &n);
		interval_compare(all, n, v, &sum, round);
		world_next(o.w);
	}
	all = world_total(o.w, &infos, &n);
	assert_int_equal(n, 1);
	ledgers_compare(all[0], (struct window){ START, END }, round);
	exchanges_compare(all[0], &sum);
	agent_data_fini(&sum);
	world_free(o.w);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, z = *(const uint64_t *)b;

	return (x > z) - (x < z);
}

/* Moments at which no thread does anything, in order, without repetition; the last one is the end. */
static int cuts_draw(uint64_t *cuts, int most)
{
	int n = draw(most), len = 0;

	for (int i = 0; i < n; i++)
		cuts[i] = START + draw(CELLS * CELL / STEP) * STEP + (THREADS_MAX + 2 + draw(16)) * CELL;
	cuts[n++] = END;
	qsort(cuts, n, sizeof(*cuts), by_value);
	for (int i = 0; i < n; i++)
		if (cuts[i] <= END && (!len || cuts[len - 1] != cuts[i]))
			cuts[len++] = cuts[i];
	return len;
}

static void stories(uint64_t first, uint64_t rounds, enum how how)
{
	uint64_t cuts[CUTS_MAX + 1];

	for (uint64_t round = first; round < first + rounds; round++) {
		story_make(round);
		for (int again = 0; again < 3; again++)
			story_check(cuts, cuts_draw(cuts, again ? CUTS_MAX : 2), how, round);
	}
	story_free();
}

static void resolved_at_once(void **ctx)
{
	(void)ctx;
	stories(1, 25, AT_ONCE);
}

static void held_back(void **ctx)
{
	(void)ctx;
	stories(101, 25, HELD);
}

static void either_way(void **ctx)
{
	(void)ctx;
	stories(201, 15, MIXED);
}

/* Intervals that end anywhere, in the middle of things: the sums are exact all the same. */
static void cut_anywhere(void **ctx)
{
	(void)ctx;
	for (uint64_t round = 301; round < 315; round++) {
		struct told o;
		const struct agent_data *const *all;
		uint64_t from = START, threads = 0, lived = 0;
		int n;

		story_make(round);
		o = tell_begin();
		while (from < END) {
			uint64_t to = from + THREADS_MAX * SNAP_NS + draw(draw(3) ? 40 * STEP : 3000);

			if (to > END)
				to = END;
			tell_close(&o, to, to == END);
			all = world_interval(o.w, &n);
			assert_int_equal(n, 1);
			assert_int_equal(ledger_sum(&all[0]->main), to - from);
			assert_int_equal(ledger_sum(&all[0]->critical), to - from);
			threads += ledger_sum(&all[0]->threads);
			world_next(o.w);
			from = to;
		}
		for (int i = 0; i < y.threads_len; i++)
			if (y.threads[i].born < END)
				lived += (y.threads[i].died < END ? y.threads[i].died : END) - y.threads[i].born;
		assert_int_equal(threads, lived);
		world_free(o.w);
	}
	story_free();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resolved_at_once),
		cmocka_unit_test(held_back),
		cmocka_unit_test(either_way),
		cmocka_unit_test(cut_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
