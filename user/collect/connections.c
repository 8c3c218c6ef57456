/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/connections.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <utlist.h>

#include "collect/peers.h"

#define ENDLESS_MIN 256 /* connections without an end to be seen that are no reason to look */

struct conn *conn_find(const struct world *w, uint32_t number)
{
	struct conn *c;

	HASH_FIND(hh, w->conns, &number, sizeof(number), c);
	return c;
}

bool conn_is_stream(const struct conn *c)
{
	return c->type == SOCK_STREAM;
}

bool conn_is_endless(const struct conn *c)
{
	return c->family == AF_UNIX || !conn_is_stream(c);
}

static void conn_unlink(struct world *w, struct conn *c)
{
	if (c->proc) {
		c->proc->asking -= c->asking;
		DL_DELETE(c->proc->conns, c);
	} else {
		DL_DELETE(w->stray, c);
	}
}

void conn_move(struct world *w, struct conn *c, struct proc *p)
{
	if (c->proc == p)
		return;
	conn_unlink(w, c);
	c->proc = p;
	if (p) {
		p->asking += c->asking;
		DL_APPEND(p->conns, c);
	} else {
		DL_APPEND(w->stray, c);
	}
}

void conn_free(struct world *w, struct conn *c)
{
	conn_unlink(w, c);
	HASH_DEL(w->conns, c);
	w->endless -= conn_is_endless(c);
	peers_leave(c);
	free(c->path);
	free(c->name);
	free(c);
}

unsigned conn_state(const struct world *w, const struct conn *c)
{
	if (c->role == SO_ROLE_PAIR)
		return NET_PAIR;
	if (c->role == SO_ROLE_SERVER || c->role == SO_ROLE_LISTENER)
		return STATE_IDLE;
	return class_state(peers_class(w, c));
}

void conn_span(struct world *w, const struct conn *c, uint64_t begin_ns, uint64_t end_ns, uint32_t flag)
{
	struct agent *a = w->agents[c->agent];
	struct span s = { begin_ns, end_ns, (c->proc ? c->proc->tgid : 0) | flag, conn_state(w, c) };

	if (s.state == NET_PAIR || s.state == STATE_IDLE)
		return;
	spans_add(&a->exchanges, s);
	if (c->proc)
		account_work(c->proc, begin_ns, end_ns);
}

struct sets conn_peer_sets(struct world *w, struct conn *c)
{
	struct agent *a = w->agents[c->agent];
	/* A socketpair by which a program wakes itself is no peer. */
	bool speaks = conn_is_stream(c) && (c->role != SO_ROLE_PAIR || c->peer || c->exchange.state == EXCHANGE_ANSWERED);
	struct peer *peer = speaks ? peers_of(w, a, c) : NULL;
	struct metric_set *m = peer ? peers_metrics(w, a, peer) : NULL;

	return (struct sets){ { m }, m ? 1 : 0 };
}

struct sets conn_sets(struct world *w, struct conn *c, const struct proc *p)
{
	struct sets s = sets_of(w->agents[c->agent], p), peer = conn_peer_sets(w, c);

	if (!peer.len)
		return s;
	if (c->connected) { /* opened before the peer was known by name */
		count(w, peer, c->role == SO_ROLE_SERVER ? M_ACCEPTS : M_CONNECTS, 1);
		if (c->connect_ns)
			record(w, peer, M_CONNECT_NS, c->connect_ns);
		c->connected = false;
	}
	s.of[s.len++] = peer.of[0];
	return s;
}

bool world_sockets_due(const struct world *w)
{
	return w->endless > ENDLESS_MIN && w->endless > 2 * w->endless_last;
}

void world_sockets_begin(struct world *w)
{
	struct conn *c, *cc;

	HASH_ITER(hh, w->conns, c, cc)
		c->seen = false;
}

void world_socket_seen(struct world *w, uint32_t number)
{
	struct conn *c = conn_find(w, number);

	if (c)
		c->seen = true;
}

void world_sockets_end(struct world *w)
{
	struct conn *c, *cc;

	HASH_ITER(hh, w->conns, c, cc) {
		if (c->seen || (!conn_is_endless(c) && c->proc)) /* of the others, those whose end was lost and whose process is gone */
			continue;
		conn_end(w, c, c->exchange.asked_ns, false, false); /* when it ended is not known */
		conn_free(w, c);
	}
	w->endless_last = w->endless;
}

void sockets_fini(struct world *w)
{
	struct conn *c, *cc;

	HASH_ITER(hh, w->conns, c, cc)
		conn_free(w, c);
	peers_fini(w);
}

size_t sockets_bytes(const struct world *w)
{
	return HASH_COUNT(w->conns) * sizeof(struct conn) + peers_bytes(w);
}
