/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Request and answer on one connection, by timing alone: an exchange opens with the first byte of a request burst and closes with the last
 * byte of the answer before the next request, or the connection's end. The client asks by sending; the server is asked by receiving.
 * Pure; times in ns of CLOCK_MONOTONIC, in order of the calls.
 */
#ifndef STAKEOUT_EXCHANGE_H
#define STAKEOUT_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#define EXCHANGE_BURST_NS 1000000ULL /* data that follow more closely belong to the same burst */

enum exchange_state { EXCHANGE_QUIET, EXCHANGE_ASKED, EXCHANGE_ANSWERED };

/* A TLS client's handshake: ClientHello and the server's flight are no exchange, neither is its last flight; tickets precede the first answer. */
enum exchange_tls { TLS_NONE, TLS_HELLO, TLS_LAST_FLIGHT, TLS_OPEN };

struct exchange { /* all zero: quiet */
	uint8_t state; /* enum exchange_state */
	uint8_t tls; /* enum exchange_tls */
	bool told; /* finished by silence: what still comes of the answer is not counted again */
	bool tickets; /* TLS session tickets may come ahead of the answer */
	bool retried; /* TLS: after a HelloRetryRequest */
	bool framed; /* HTTP/2, perhaps: frames of control are neither request nor answer */
	bool counted; /* the connection had an exchange that counts */
	bool answered; /* the connection had an exchange, or a handshake */
	bool gap; /* not all was seen: what is asked next may be the rest of something */
	bool cut; /* so this one may have begun earlier: it does not count */
	uint32_t bursts; /* of the answer */
	uint64_t begin_ns, asked_ns; /* first and last part of the request */
	uint64_t arrival_ns, last_ns; /* of the answer's last part: arrived, and read (or sent, by a server) */
	uint64_t told_ns; /* when it was finished by silence: up to here */
	uint64_t last_but_one_ns; /* last_ns of the burst before the last one */
	uint64_t ttfb_ns;
	uint64_t first_bytes, burst_bytes; /* of the first burst, of the last one */
	uint64_t request_bytes, answer_bytes;
	uint32_t sends; /* that the request was made in */
	uint64_t hello_ns, hello_ttfb_ns; /* TLS: the ClientHello went, and how long until the server spoke */
};

/* The request, or answer, under way is one that counts, as far as is known by now: no handshake, and all of it was seen. */
static inline bool exchange_counts(const struct exchange *e)
{
	return (e->tls == TLS_NONE || e->tls == TLS_OPEN) && !e->cut;
}

/* What a call brought to light. */
struct exchange_facts {
	bool finished; /* with the next four times and sizes, and `sends` */
	bool waited; /* or: somebody waited from begin_ns to end_ns, though that is no exchange (any more) */
	bool shaking; /* for a handshake */
	uint64_t begin_ns, end_ns, request_bytes, answer_bytes;
	uint32_t sends; /* of the request */
	bool has_ttfb, has_gap, has_handshake;
	uint64_t ttfb_ns, gap_ns, handshake_ns;
	bool overlap; /* a sign that requests overlap on the connection */
	bool unanswered; /* the connection ended between request and answer */
	bool answer; /* what came belongs to an answer (of an exchange that counts) */
};

/* The connection's first bytes are a ClientHello. */
void exchange_tls(struct exchange *e);
/* Part of a request, at_ns. */
void exchange_ask(struct exchange *e, uint64_t at_ns, uint64_t bytes, struct exchange_facts *ret);
/* Part of an answer: arrived at arrival_ns (0: not known to be a new arrival), read at at_ns. */
void exchange_answer(struct exchange *e, uint64_t at_ns, uint64_t arrival_ns, uint64_t bytes, struct exchange_facts *ret);
/* The connection ended, by an error or in good order. */
void exchange_end(struct exchange *e, uint64_t at_ns, bool error, struct exchange_facts *ret);
/* From here on, until something is answered, not all was seen: what was outstanding is told as a wait up to at_ns, and counts no more. */
void exchange_gap(struct exchange *e, uint64_t at_ns, struct exchange_facts *ret);
/* It is now_ns: an answer of which nothing has come for hold_ns is taken as finished. */
void exchange_rest(struct exchange *e, uint64_t now_ns, uint64_t hold_ns, struct exchange_facts *ret);
/* Whether something was outstanding before upto_ns that is not over at now_ns, and from when to when (upto_ns at most): an answer under way counts as
 * outstanding if more of it has come since, or its last part is younger than hold_ns. */
bool exchange_open(const struct exchange *e, uint64_t upto_ns, uint64_t now_ns, uint64_t hold_ns, uint64_t *ret_begin_ns, uint64_t *ret_end_ns);

#endif
