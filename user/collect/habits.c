/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How exchanges follow each other. Bursts: many like requests, one right after another on a connection. Chains: exchanges with different peers, one right after
 * another with nothing else outstanding, which might have been made at the same time; whether one needed the answer to another can't be seen. Repeats: requests
 * made before, byte for byte.
 */
#include <stdlib.h>

#include "collect/connections.h"
#include "collect/peers.h"

#define BURST_GAP_NS 2000000ULL /* between an answer and the next request */
#define BURST_MAX 1000 /* exchanges, then it is told: one who never pauses would not be heard of */
#define LIKE_BYTES 16 /* by which the sizes of like requests may differ; or by one part of LIKE_SHARE */
#define LIKE_SHARE 8
#define PLAIN_NS 100000000ULL /* from the TLS library to the send: they follow each other at once, where there is a CPU */
#define CHAIN_GAP_NS 5000000ULL
#define REPEATS_PEERS 256 /* of an agent that requests are remembered of: 32 KiB each */
#define CHAIN_REST_NS 1000000000ULL /* the last answer may go on for so long */

static bool is_client_stream(const struct conn *c)
{
	return conn_is_stream(c) && c->role == SO_ROLE_CLIENT;
}

void habit_asking(struct conn *c)
{
	bool asking = is_client_stream(c) && c->exchange.state == EXCHANGE_ASKED;

	if (asking == c->asking)
		return;
	c->asking = asking;
	if (c->proc)
		c->proc->asking += asking ? 1 : -1;
}

/* ---- repeats ---- */

static void said_add(struct said *s, uint64_t hash, uint64_t more)
{
	s->hash = (s->hash ^ hash) * 0x9e3779b97f4a7c15ULL;
	s->hash = (s->hash ^ s->hash >> 32) + more;
	s->sends++;
}

void habit_plain(struct task *t, const struct so_digest *r)
{
	if (r->head.time_ns > t->plain_ns + PLAIN_NS)
		t->plain = (struct said){};
	t->plain_ns = r->head.time_ns;
	if (t->plain.sends && t->plain_last == r->hash) /* the connection was not ready: the same again */
		return;
	t->plain_last = r->hash;
	said_add(&t->plain, r->hash, r->bytes);
}

void habit_digest(struct conn *c, struct task *t, const struct so_digest *r)
{
	bool plain = t && t->plain.sends && r->head.time_ns <= t->plain_ns + PLAIN_NS;

	if (c->exchange.state != EXCHANGE_ASKED)
		return;
	if (c->exchange.sends == 1)
		c->said = (struct said){};
	if (plain) {
		if (!c->said.plain)
			c->said = (struct said){ .plain = true };
		said_add(&c->said, t->plain.hash, t->plain.sends);
		t->plain = (struct said){};
	} else if (c->exchange.tls == TLS_NONE && !c->said.plain) {
		said_add(&c->said, r->hash, r->bytes);
	}
}

static void repeat_finished(struct world *w, struct conn *c, const struct exchange_facts *f, struct sets s)
{
	struct said said = c->said;
	struct peer *p = c->peer;

	c->said = (struct said){};
	if (!p || (!said.plain && said.sends != f->sends)) /* of some parts nothing is known */
		return;
	if (!p->repeats && HASH_COUNT(w->agents[c->agent]->peers) <= REPEATS_PEERS)
		p->repeats = calloc(1, sizeof(*p->repeats));
	if (!p->repeats || !repeats_seen(p->repeats, said.hash))
		return;
	count(w, s, M_REQUESTS_REPEATED, 1);
	record(w, s, M_REPEATED_NS, minus(f->end_ns, f->begin_ns));
}

/* ---- bursts ---- */

static bool sizes_alike(uint64_t a, uint64_t b)
{
	uint64_t more = a > b ? a : b, less = a > b ? b : a;

	return more - less <= LIKE_BYTES || more - less <= more / LIKE_SHARE;
}

static void burst_tell(struct world *w, struct burst *b, struct sets s)
{
	if (b->len > 1) {
		record(w, s, M_BURST_EXCHANGES, b->len);
		record(w, s, M_BURST_NS, minus(b->end_ns, b->begin_ns));
	}
	b->len = 0;
}

void habit_finished(struct world *w, struct conn *c, const struct exchange_facts *f, struct sets s)
{
	struct burst *b = &c->burst;

	if (!is_client_stream(c))
		return;
	if (c->said.sends)
		repeat_finished(w, c, f, s);
	if (b->len && (f->begin_ns >= b->end_ns + BURST_GAP_NS || !sizes_alike(f->request_bytes, b->request_bytes) || b->len >= BURST_MAX))
		burst_tell(w, b, s);
	if (!b->len)
		b->begin_ns = f->begin_ns;
	b->len++;
	b->end_ns = f->end_ns;
	b->request_bytes = f->request_bytes;
}

void habit_burst_end(struct world *w, struct conn *c)
{
	if (c->burst.len > 1)
		burst_tell(w, &c->burst, conn_sets(w, c, c->proc));
	c->burst.len = 0;
}

/* ---- chains ---- */

static void chain_end(struct world *w, struct proc *p)
{
	struct chain *ch = &p->chain;
	struct agent *a = w->agents[p->agent];
	uint64_t last_ns = minus(ch->end_ns, ch->begin_ns);
	struct sets s = sets_of(a, p);

	if (ch->len > 1 && ch->end_ns) {
		record(w, s, M_SERIAL_SAVED_NS, ch->sum_ns + last_ns - (last_ns > ch->longest_ns ? last_ns : ch->longest_ns));
		count(w, s, M_EXCHANGES_SERIAL, ch->len);
	}
	for (unsigned i = 0; i < ch->len; i++) {
		struct metric_set *m = ch->len > 1 && ch->end_ns ? peers_metrics(w, a, ch->peers[i]) : NULL;

		if (m)
			count(w, (struct sets){ { m }, 1 }, M_EXCHANGES_SERIAL, 1);
		ch->peers[i]->refs--;
	}
	ch->len = 0;
}

static bool chain_has(const struct chain *ch, const struct peer *p)
{
	for (unsigned i = 0; i < ch->len; i++)
		if (ch->peers[i] == p)
			return true;
	return false;
}

/* What a model is asked is made of what came before, and what comes after is made of its answer: these can't overlap. */
static bool may_overlap(const struct peer *a, const struct peer *b)
{
	return (a->class == CLASS_LLM) == (b->class == CLASS_LLM);
}

static bool chain_goes_on(const struct proc *p, const struct peer *peer, uint32_t tid, uint64_t from_ns)
{
	const struct chain *ch = &p->chain;

	return ch->len && ch->len < CHAIN_PEERS && ch->end_ns && p->asking == 1 && ch->reader == tid && from_ns >= ch->end_ns && from_ns < ch->end_ns + CHAIN_GAP_NS &&
	       !chain_has(ch, peer) && may_overlap(ch->peers[ch->len - 1], peer);
}

void habit_begin(struct world *w, struct conn *c, uint32_t tid, uint64_t at_ns)
{
	struct proc *p = c->proc;
	struct chain *ch = p ? &p->chain : NULL;
	uint64_t from_ns = c->opened_ns ? c->opened_ns : at_ns, took_ns;
	struct peer *peer;

	if (!p || !is_client_stream(c) || !exchange_counts(&c->exchange) || p->agent != c->agent)
		return;
	c->opened_ns = 0;
	peer = peers_of(w, w->agents[c->agent], c);
	if (!peer)
		return;
	if (chain_goes_on(p, peer, tid, from_ns)) {
		took_ns = minus(ch->end_ns, ch->begin_ns);
		ch->sum_ns += took_ns;
		if (took_ns > ch->longest_ns)
			ch->longest_ns = took_ns;
	} else {
		chain_end(w, p);
		ch->sum_ns = ch->longest_ns = 0;
	}
	ch->peers[ch->len++] = peer;
	peer->refs++;
	ch->conn = c->number;
	ch->begin_ns = at_ns;
	ch->end_ns = 0;
}

void habit_answer(struct world *w, struct conn *c, uint32_t tid, uint64_t at_ns)
{
	struct proc *p = c->proc;

	if (!p || !p->chain.len)
		return;
	if (p->chain.conn == c->number) {
		p->chain.end_ns = at_ns;
		p->chain.reader = tid;
	} else if (p->chain.len > 1 && c->peer && chain_has(&p->chain, c->peer)) { /* it was not over when the next one began: they overlapped */
		p->chain.end_ns = 0;
		chain_end(w, p);
	}
}

void chain_proc_end(struct world *w, struct proc *p)
{
	chain_end(w, p);
}

void chains_rest(struct world *w, uint64_t now_ns, bool last)
{
	struct proc *p, *pp;

	HASH_ITER(hh, w->procs, p, pp)
		if (p->chain.len && p->chain.end_ns && (last || now_ns > p->chain.end_ns + CHAIN_REST_NS))
			chain_end(w, p);
}
