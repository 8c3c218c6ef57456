/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Event loops: turns between two blocking polls, and what blocked within one. Polling: timers that wake a thread for nothing. */
#include "collect/world_model.h"
#include "lib/util.h"

#define REPEATS_REGULAR 3 /* waits of the same length in a row that make a period */
#define REPEATS_MAX 8
#define REPEATS_LOST 2 /* by a wait that isn't like the others: a wake-up that comes late does not end what goes on before and after it */
#define PERIOD_SLACK_NS 100000
#define RUN_WAITS_MAX 64 /* more than that the kernel side does not sum */
#define IDLE_SHARE 10 /* a thread that ran for less than this part of its cycle, and used no socket, did nothing */
#define IDLE_SHARE_REGULAR 4 /* so does one with a period: now and then the same steps take longer */

static const enum metric_id blocked_metrics[SO_WAITS] = {
#define WAIT(id, value, name, state, help) [SO_WAIT_##id] = M_LOOP_BLOCKED_##id##_NS,
#include "waits.def"
#undef WAIT
};

/*
 * Where several threads share a loop (Go, Tokio), the one that another has relieved waits for work, as threads of a pool do: its turn is over. True if so.
 */
static bool relieved(struct task *t, unsigned wait, unsigned next)
{
	bool other = t->proc && t->proc->poller && t->proc->poller != t->tid;

	if (t->proc && next == SO_WAIT_EVENTS)
		t->proc->poller = t->tid;
	if (wait != SO_WAIT_LOCK || !other)
		return false;
	t->turn_ns = 0;
	return true;
}

static void loop_turn(struct world *w, struct task *t, const struct so_head *h, uint64_t wait_ns, uint64_t ran_ns, unsigned wait, unsigned next)
{
	struct sets s;

	if (relieved(t, wait, next))
		return;
	if (wait == SO_WAIT_EVENTS)
		t->turn_ns = minus(h->time_ns, ran_ns); /* when it was woken: waiting for a CPU is part of the turn */
	if (!t->turn_ns)
		return; /* most threads have no loop */
	s = sets_of(w->agents[t->agent], t->proc);
	if (wait && wait != SO_WAIT_EVENTS && wait < SO_WAITS) {
		record(w, s, M_LOOP_BLOCKED_NS, wait_ns);
		record(w, s, blocked_metrics[wait], wait_ns);
	}
	if (next == SO_WAIT_EVENTS) {
		record(w, s, M_LOOP_BUSY_NS, minus(h->time_ns, t->turn_ns));
		t->turn_ns = 0;
	}
}

/* Turns within a run are told by their mean. */
static void loop_turns(struct world *w, struct task *t, const struct cycles_run *r, uint64_t waits_ns, unsigned wait, unsigned next)
{
	uint64_t ran_ns = minus(r->end_ns - r->base_ns, waits_ns);
	struct sets s = sets_of(w->agents[t->agent], t->proc);

	if (relieved(t, wait, next))
		return;
	if (wait == SO_WAIT_EVENTS) {
		/* Each wait but the first ended a turn, and the first one did in the record before. */
		record_sum(w, s, M_LOOP_BUSY_NS, ran_ns / r->waits * (r->waits - 1), r->waits - 1);
		t->turn_ns = minus(r->end_ns, ran_ns / r->waits);
	}
	if (!t->turn_ns)
		return;
	if (wait && wait != SO_WAIT_EVENTS && wait < SO_WAITS) {
		record_sum(w, s, M_LOOP_BLOCKED_NS, waits_ns, r->waits);
		record_sum(w, s, blocked_metrics[wait], waits_ns, r->waits);
	}
	if (next == SO_WAIT_EVENTS) {
		record(w, s, M_LOOP_BUSY_NS, minus(r->end_ns, t->turn_ns));
		t->turn_ns = 0;
	}
}

/* Takes a wait into the thread's period. True if it has one, and did nothing after this wait either. */
static bool polls(const struct world *w, struct task *t, uint64_t wait_ns, uint64_t gap_ns, uint64_t stint_ns, unsigned wait, unsigned flags)
{
	bool timer = wait == SO_WAIT_SLEEP || ((wait == SO_WAIT_POLL || wait == SO_WAIT_EVENTS) && flags & SO_CYCLE_TIMEOUT);
	unsigned share = t->repeats < REPEATS_REGULAR ? IDLE_SHARE : IDLE_SHARE_REGULAR;
	bool idle = timer && !t->transfers && !w->blind && stint_ns * share <= gap_ns;
	uint64_t slack_ns = t->period_ns / 16 + PERIOD_SLACK_NS;

	if (idle && t->repeats && wait_ns + slack_ns >= t->period_ns && wait_ns <= t->period_ns + slack_ns)
		t->repeats += t->repeats < REPEATS_MAX;
	else
		t->repeats = t->repeats > REPEATS_LOST ? t->repeats - REPEATS_LOST : 0;
	if (idle && !t->repeats) {
		t->period_ns = wait_ns;
		t->repeats = 1;
	}
	return idle && t->repeats >= REPEATS_REGULAR;
}

static void loop_polling(struct world *w, struct task *t, uint64_t wait_ns, uint64_t gap_ns, uint64_t stint_ns, unsigned wait, unsigned flags)
{
	struct sets s;

	if (!wait) /* preempted */
		return;
	if (!polls(w, t, wait_ns, gap_ns, stint_ns, wait, flags))
		return;
	s = sets_of(w->agents[t->agent], t->proc);
	count(w, s, M_WAKEUPS_IDLE, 1);
	record(w, s, M_WAKE_PERIOD_NS, gap_ns);
	t->idle.wakes++;
	t->idle.gaps_ns += gap_ns;
	t->idle.cpu_ns += stint_ns;
}

void loop_wakers_tell(struct world *w, struct task *t)
{
	struct waker *of[] = { &t->idle, &t->spinning };

	if (!t->idle.wakes && !t->spinning.wakes)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(of); i++) {
		memcpy(of[i]->name, t->comm, sizeof(of[i]->name));
		if (*t->comm)
			agent_data_waker(&w->agents[t->agent]->cur, of[i]);
		memset(of[i], 0, sizeof(*of[i]));
	}
}

/* What it used since its last wait is told by now. */
static void loop_transfers(const struct world *w, struct task *t, unsigned wait)
{
	if (wait == SO_WAIT_ACCEPT && !t->transfers && !t->net_opened && !w->blind) /* what it reads next is a client's request, most likely */
		t->net_last = STATE_IDLE;
	t->transfers = 0;
	t->net_first = t->net_opened;
	t->net_opened = 0;
}

static void spins_count(struct world *w, struct task *t, unsigned flags, uint64_t n, uint64_t stints_ns)
{
	if (flags & SO_CYCLE_IN_POLL) {
		t->spinning.wakes += n;
		t->spinning.cpu_ns += stints_ns;
	}
	if (flags & (SO_CYCLE_IN_POLL | SO_CYCLE_IN_YIELD))
		count(w, sets_of(w->agents[t->agent], t->proc), flags & SO_CYCLE_IN_POLL ? M_SPINS_POLL : M_SPINS_YIELD, n);
}

void loop_cycle(struct world *w, struct task *t, const struct so_head *h, uint64_t gap_ns, uint64_t runq_ns, uint64_t stint_ns, unsigned wait,
		unsigned next, unsigned flags)
{
	uint64_t wait_ns = minus(gap_ns, runq_ns + stint_ns);

	loop_turn(w, t, h, wait_ns, gap_ns - wait_ns, wait, next);
	loop_polling(w, t, wait_ns, gap_ns, stint_ns, wait, flags);
	spins_count(w, t, flags, 1, stint_ns);
	loop_transfers(w, t, wait);
}

void loop_cycles(struct world *w, struct task *t, const struct cycles_run *r, unsigned wait, unsigned next, unsigned flags)
{
	uint64_t n = (uint64_t)r->voluntary + r->involuntary, gap_ns = r->end_ns - r->base_ns, wait_ns = minus(gap_ns, r->runq_ns + r->stint_ns);

	if (!wait || r->waits) {
		loop_turns(w, t, r, wait_ns, wait, next);
		for (uint32_t i = 0; i < r->waits && i < RUN_WAITS_MAX; i++)
			loop_polling(w, t, wait_ns / r->waits, gap_ns / r->waits, r->stint_ns / r->waits, wait, flags);
		spins_count(w, t, flags, n, r->stint_ns);
	} else { /* nobody looked */
		t->turn_ns = 0;
		t->repeats = 0;
	}
	loop_transfers(w, t, wait);
}
