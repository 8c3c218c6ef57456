/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Sends and receives, the exchanges that they make, and what is outstanding. */
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "collect/connections.h"
#include "collect/peers.h"

#define REST_NS (1000000000ULL) /* an answer that paused for so long is over, unless its peer is known to pause longer */
#define REST_LLM_NS (10 * 1000000000ULL)
#define STALL_MIN_NS 20000000ULL
#define STALL_BYTES_MAX 8192 /* less than any initial window */
#define FAREWELL_NS (100000000ULL) /* an agent that closes sooner after it sent something waited for no answer */

static void facts_client(struct world *w, struct conn *c, const struct exchange_facts *f, struct sets s)
{
	if (f->has_handshake)
		record(w, s, M_HANDSHAKE_NS, f->handshake_ns);
	if (f->has_ttfb)
		record(w, s, M_TTFB_NS, f->ttfb_ns);
	if (f->has_gap)
		record(w, s, M_CHUNK_GAP_NS, f->gap_ns);
	if (f->unanswered)
		count(w, s, M_ERRORS_UNANSWERED, 1);
	if (f->waited)
		conn_span(w, c, f->begin_ns, f->end_ns, f->shaking ? OWNER_CONNECTING : 0);
	if (!f->finished)
		return;
	count(w, s, M_EXCHANGES, 1);
	record(w, s, M_EXCHANGE_NS, minus(f->end_ns, f->begin_ns));
	record(w, s, M_REQUEST_BYTES, f->request_bytes);
	record(w, s, M_ANSWER_BYTES, f->answer_bytes);
	record(w, s, M_REQUEST_SENDS, f->sends);
	habit_finished(w, c, f, s);
	conn_span(w, c, f->begin_ns, f->end_ns, 0);
}

static void facts_apply(struct world *w, struct conn *c, const struct exchange_facts *f, struct sets s)
{
	struct agent *a = w->agents[c->agent];

	habit_asking(c);
	if (!conn_is_stream(c)) { /* a datagram's answer counts in the ledger only */
		if (f->finished || f->waited)
			conn_span(w, c, f->begin_ns, f->end_ns, 0);
		return;
	}
	if (c->role == SO_ROLE_SERVER) {
		if (f->finished) {
			count(w, s, M_EXCHANGES_SERVED, 1);
			record(w, s, M_SERVE_NS, minus(f->end_ns, f->begin_ns));
		}
	} else {
		facts_client(w, c, f, s);
	}
	if (!c->peer)
		return;
	if (f->has_gap)
		peers_learn_gap(c->peer, c->exchange.bursts == 2, f->gap_ns);
	if (f->finished)
		peers_learn_end(c->peer, c->exchange.bursts);
	if (f->overlap && !c->http1) /* nobody pipelines there, but bodies are sent in parts */
		peers_overlap(a, c->peer);
}

void conn_end(struct world *w, struct conn *c, uint64_t at_ns, bool error, bool asked)
{
	struct exchange_facts f;

	exchange_end(&c->exchange, at_ns, error, &f);
	f.unanswered &= asked && !error; /* an error has its own kind */
	if (f.finished || f.unanswered || f.waited)
		facts_apply(w, c, &f, conn_sets(w, c, c->proc));
	habit_asking(c);
	habit_burst_end(w, c);
}

static void transfer_sent(struct world *w, struct conn *c, const struct so_transfer *r, struct sets s)
{
	uint64_t now_ns = r->head.time_ns, ago_ns = (uint64_t)r->ago << SO_AGO_SHIFT, at_ns;
	struct exchange_facts f;

	if (c->role == SO_ROLE_SERVER) {
		exchange_answer(&c->exchange, now_ns, now_ns, r->bytes, &f);
	} else {
		/* When it left; but never before what came before. */
		at_ns = minus(now_ns, ago_ns);
		if (at_ns < c->exchange.last_ns)
			at_ns = c->exchange.last_ns;
		if (at_ns < c->exchange.asked_ns)
			at_ns = c->exchange.asked_ns;
		if (r->flags & SO_TRANSFER_UNREAD && c->exchange.state == EXCHANGE_ANSWERED && c->exchange.tls != TLS_HELLO && c->peer)
			peers_overlap(w->agents[c->agent], c->peer);
		exchange_ask(&c->exchange, at_ns, r->bytes, &f);
		if (c->peer)
			c->peer->asked_ns = at_ns;
	}
	facts_apply(w, c, &f, s);
	if (c->role != SO_ROLE_SERVER && c->exchange.state == EXCHANGE_ASKED && c->exchange.sends == 1)
		habit_begin(w, c, r->head.tid, c->exchange.begin_ns);
}

/* The request's last part had to wait in TCP's queue: for an acknowledgement, since no window is as small as that. */
static void stall_record(struct world *w, const struct conn *c, const struct so_transfer *r, struct sets s)
{
	const struct exchange *e = &c->exchange;
	uint64_t left_ns = minus(r->head.time_ns, r->rtt_us * 1000ULL);

	if (e->state != EXCHANGE_ASKED || e->sends < 2 || e->request_bytes > STALL_BYTES_MAX || r->rtt_us == SO_RTT_MAX_US)
		return;
	if (exchange_counts(e) && left_ns >= e->asked_ns + STALL_MIN_NS)
		record(w, s, M_ACK_STALL_NS, left_ns - e->asked_ns);
}

static void transfer_received(struct world *w, struct conn *c, const struct so_transfer *r, struct sets s)
{
	uint64_t now_ns = r->head.time_ns, ago_ns = (uint64_t)r->ago << SO_AGO_SHIFT;
	bool new = r->ago && r->ago != UINT32_MAX;
	struct exchange_facts f;

	if (c->role == SO_ROLE_SERVER) {
		exchange_ask(&c->exchange, minus(now_ns, ago_ns), r->bytes, &f);
		if (new)
			record(w, s, M_SERVE_PICKUP_NS, ago_ns);
	} else {
		if (r->flags & SO_TRANSFER_HELD && r->rtt_us)
			stall_record(w, c, r, s);
		exchange_answer(&c->exchange, now_ns, r->ago ? minus(now_ns, ago_ns) : 0, r->bytes, &f);
		if (new && f.answer && conn_is_stream(c))
			record(w, s, M_PICKUP_NS, ago_ns);
		if (f.answer)
			habit_answer(w, c, r->head.tid, now_ns);
	}
	facts_apply(w, c, &f, s);
	if (!conn_is_stream(c))
		conn_end(w, c, now_ns, false, false); /* one datagram is the answer */
}

/* Sends or receives were not seen. */
static void conn_gap(struct world *w, struct conn *c, uint64_t at_ns)
{
	struct exchange_facts f;

	exchange_gap(&c->exchange, at_ns, &f);
	if (f.waited)
		facts_apply(w, c, &f, conn_sets(w, c, c->proc));
	habit_asking(c);
}

void sockets_blind(struct world *w, uint64_t at_ns)
{
	struct conn *c, *cc;
	struct task *t, *tt;

	HASH_ITER(hh, w->conns, c, cc)
		if (c->exchange.state != EXCHANGE_QUIET)
			conn_gap(w, c, at_ns);
	HASH_ITER(hh, w->tasks, t, tt)
		t->net_first = t->net_last = STATE_NET_OTHER;
}

static bool port_listens(const struct world *w, unsigned port)
{
	return w->listening[port / 8] & 1 << port % 8;
}

/* Sockets that were open before: who called whom? */
static void role_find(const struct world *w, struct conn *c)
{
	if (c->role == SO_ROLE_UNKNOWN)
		c->role = c->family != AF_UNIX && port_listens(w, c->local_port) ? SO_ROLE_SERVER : SO_ROLE_CLIENT;
}

void conn_transfer(struct world *w, const struct so_transfer *r)
{
	bool sent = r->head.kind == SO_SEND;
	struct task *t = task_find(w, r->head.tid);
	struct agent *a = t ? w->agents[t->agent] : agent_by_slot(w, r->head.agent);
	struct proc *p = t ? t->proc : NULL;
	struct conn *c = conn_find(w, r->socket);
	struct sets s;

	if (!a) {
		w->orphans++;
		return;
	}
	if (c && c->agent != a->place) { /* it was handed on */
		peers_leave(c);
		c->agent = a->place;
	}
	if (c && (p || (c->proc && c->proc->agent != c->agent)))
		conn_move(w, c, p);
	if (c)
		role_find(w, c);
	s = c ? conn_sets(w, c, p) : sets_of(a, p);
	if (t) {
		t->transfers++;
		t->net_last = c ? conn_state(w, c) : STATE_NET_OTHER;
		if (!t->net_first)
			t->net_first = t->net_last;
		t->net_opened = 0; /* it goes on with something else */
	}
	if (!r->bytes) { /* end of file */
		if (c) {
			c->closed_by_peer = true;
			conn_end(w, c, r->head.time_ns, false, true);
		}
		return;
	}
	count(w, s, sent ? M_SENT_BYTES : M_RECEIVED_BYTES, r->bytes);
	record(w, sets_of(a, p), sent ? M_SEND_BYTES : M_RECV_BYTES, r->bytes); /* a peer has its requests and answers */
	if (r->rtt_us && sent)
		record(w, s, M_RTT_NS, r->rtt_us * 1000ULL);
	if (!c)
		return;
	if (r->flags & SO_TRANSFER_GAP || w->blind) /* blind: it was on its way when that began */
		conn_gap(w, c, r->head.time_ns);
	if (w->blind)
		return;
	if (sent) {
		transfer_sent(w, c, r, s);
		if (t)
			t->moved_ns = r->head.time_ns;
	} else {
		transfer_received(w, c, r, s);
		c->reader = r->head.tid;
	}
}

/* ---- moments at which all are looked at ---- */

void sockets_proc_end(struct world *w, struct proc *p)
{
	struct conn *c, *cc;

	DL_FOREACH_SAFE(p->conns, c, cc) {
		conn_end(w, c, c->closed ? c->closed_ns : w->now_ns, false, false);
		conn_move(w, c, NULL);
	}
}

/* How long a pause c's answer may make and still be taken as under way. Who has turned to something else since is done with it. */
static uint64_t hold_ns(const struct world *w, const struct conn *c)
{
	const struct task *t = task_find(w, c->reader);

	if (!t || t->moved_ns > c->exchange.last_ns || (c->peer && c->peer->asked_ns > c->exchange.last_ns))
		return 0;
	return peers_hold_ns(c->peer, c->exchange.bursts);
}

void sockets_outstanding(struct world *w, const struct proc *p, uint64_t upto_ns, uint64_t now_ns, struct spans *ret)
{
	struct conn *c;

	DL_FOREACH(p->conns, c) {
		struct span s = { .owner = p->tgid };

		if (c->exchange.state == EXCHANGE_QUIET && !c->connecting_ns)
			continue;
		s.state = conn_state(w, c);
		if (s.state == NET_PAIR || s.state == STATE_IDLE)
			continue;
		if (exchange_open(&c->exchange, upto_ns, now_ns, hold_ns(w, c), &s.begin_ns, &s.end_ns)) {
			if (c->closed && s.end_ns > c->closed_ns)
				s.end_ns = c->closed_ns;
			if (c->exchange.tls == TLS_HELLO || c->exchange.tls == TLS_LAST_FLIGHT)
				s.owner |= OWNER_CONNECTING;
			spans_add(ret, s);
		}
		if (c->connecting_ns && c->connecting_ns < upto_ns)
			spans_add(ret, (struct span){ c->connecting_ns, upto_ns, p->tgid | OWNER_CONNECTING, s.state });
	}
}

static uint64_t rest_ns(const struct conn *c)
{
	uint64_t hold_ns = peers_hold_ns(c->peer, c->exchange.bursts), least_ns = c->peer && c->peer->class == CLASS_LLM ? REST_LLM_NS : REST_NS;

	return hold_ns > least_ns ? hold_ns : least_ns;
}

void sockets_rest(struct world *w, uint64_t now_ns, bool last)
{
	struct exchange_facts f;
	struct conn *c, *cc;

	HASH_ITER(hh, w->conns, c, cc) {
		exchange_rest(&c->exchange, last ? UINT64_MAX : now_ns, last ? 0 : rest_ns(c), &f);
		if (f.finished)
			facts_apply(w, c, &f, conn_sets(w, c, c->proc));
		if (c->burst.len && (last || c->exchange.state == EXCHANGE_QUIET))
			habit_burst_end(w, c);
		if (!c->closed)
			continue;
		if (c->old || c->exchange.state == EXCHANGE_QUIET || last) {
			conn_end(w, c, c->closed_ns, false, c->old && now_ns > c->exchange.asked_ns + FAREWELL_NS);
			conn_free(w, c);
		} else {
			c->old = true;
		}
	}
	chains_rest(w, now_ns, last);
}
