/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The table of connections. A part of the world: see world_model.h. connections.c: the table; sockets.c: what records say of their lives;
 * transfers.c: sends, receives and the exchanges that they make.
 */
#ifndef STAKEOUT_CONNECTIONS_H
#define STAKEOUT_CONNECTIONS_H

#include "collect/world_model.h"

/* The connection with this number, or NULL. */
struct conn *conn_find(const struct world *w, uint32_t number);
bool conn_is_stream(const struct conn *c);
/* No hook tells of its end. */
bool conn_is_endless(const struct conn *c);
/* It is p's now (NULL: nobody's). */
void conn_move(struct world *w, struct conn *c, struct proc *p);
void conn_free(struct world *w, struct conn *c);
/* What a thread that waits for c is charged to: enum state_id, or NET_PAIR. */
unsigned conn_state(const struct world *w, const struct conn *c);
/* c was waited for from begin_ns to end_ns; flag: OWNER_CONNECTING or 0. */
void conn_span(struct world *w, const struct conn *c, uint64_t begin_ns, uint64_t end_ns, uint32_t flag);
/* Books of an event on c by process p: the agent's, the tool's, the peer's. Valid until the next call. */
struct sets conn_sets(struct world *w, struct conn *c, const struct proc *p);
/* The peer's alone. */
struct sets conn_peer_sets(struct world *w, struct conn *c);

/* habits.c: how exchanges follow each other. Of connections of streams on which the agent is the client. */
/* c's exchange has moved on: after each call of exchange.h. */
void habit_asking(struct conn *c);
/* A request has begun on c, at_ns. */
void habit_begin(struct world *w, struct conn *c, uint32_t tid, uint64_t at_ns);
/* Thread tid read of the answer to c's exchange at at_ns. */
void habit_answer(struct world *w, struct conn *c, uint32_t tid, uint64_t at_ns);
/* An exchange is over, which counts. s: its books. */
void habit_finished(struct world *w, struct conn *c, const struct exchange_facts *f, struct sets s);
/* The probe dup tells of the last send on c. */
/* What a send of t's on c had in it. t may be NULL. */
void habit_digest(struct conn *c, struct task *t, const struct so_digest *r);
/* What t is about to send, before it is encrypted. */
void habit_plain(struct task *t, const struct so_digest *r);
/* The burst is over. */
void habit_burst_end(struct world *w, struct conn *c);

/* A send or a receive. */
void conn_transfer(struct world *w, const struct so_transfer *r);
/* c's exchange was over at at_ns; asked: whoever asked is still there, and wants to know of a request without an answer. */
void conn_end(struct world *w, struct conn *c, uint64_t at_ns, bool error, bool asked);

#endif
