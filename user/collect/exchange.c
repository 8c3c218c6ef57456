/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/exchange.h"

#include <stddef.h>
#include <string.h>

/* Sizes on the wire, TLS 1.3 (RFC 8446). ChangeCipherSpec and Finished of a client: 6 + 5 + 4 + 48 + 1 + 16 bytes at most without a certificate. */
#define FINISHED_BYTES 80
/* A HelloRetryRequest fits in this, a ServerHello with what follows it doesn't. */
#define RETRY_BYTES 128
#define RETRY_MIN_BYTES 80
/* TLS 1.2 (RFC 5246) with AES-GCM: ClientKeyExchange (X25519, P-256), ChangeCipherSpec and Finished; the server's ChangeCipherSpec and Finished. */
#define LAST_FLIGHT_X25519_BYTES 93
#define LAST_FLIGHT_P256_BYTES 126
#define LAST_ANSWER_BYTES 51
#define TICKETS_BYTES 1200
/* They come one turn after the handshake, where the server is not too busy. */
#define TICKETS_TURNS 4
#define TICKETS_SLACK_NS 20000000ULL
#define TLS_RECORD_BYTES 22 /* what TLS 1.3 adds to a record */
/* What a peer says before it closes an idle connection (TLS alert, GOAWAY) is no part of the last answer. */
#define FAREWELL_BYTES 64
#define OVERLAP_NS 10000000ULL /* a client sends head and body in two turns of its loop */
#define UPLOAD_BYTES 16384 /* what is larger may be one request that the window holds up */
#define LATE_NS (60 * 1000000000ULL) /* later than this, it is no answer any more */

static bool settled(const struct exchange *e)
{
	return e->tls == TLS_NONE || e->tls == TLS_OPEN;
}

void exchange_tls(struct exchange *e)
{
	if (e->tls == TLS_NONE)
		e->tls = TLS_HELLO;
}

static void ttfb_tell(struct exchange *e, struct exchange_facts *ret)
{
	ret->has_ttfb = true;
	ret->ttfb_ns = e->ttfb_ns;
	e->tickets = false;
}

/* What came first on a fresh TLS connection may be tickets, with the answer still to come. */
static bool tickets_only(const struct exchange *e)
{
	return e->tickets && e->bursts == 1 && e->first_bytes <= TICKETS_BYTES && e->ttfb_ns <= TICKETS_TURNS * e->hello_ttfb_ns + TICKETS_SLACK_NS;
}

/* The server has answered the ClientHello, and the client speaks again. */
static void hello_finish(struct exchange *e)
{
	if (e->answer_bytes >= RETRY_BYTES)
		e->tls = TLS_LAST_FLIGHT;
	else if (e->answer_bytes >= RETRY_MIN_BYTES && !e->retried)
		e->retried = true;
	else
		e->tls = TLS_NONE; /* that was no TLS */
}

static void wait_tell(struct exchange_facts *ret, bool shaking, uint64_t begin_ns, uint64_t end_ns)
{
	if (begin_ns >= end_ns)
		return;
	ret->waited = true;
	ret->shaking = shaking;
	ret->begin_ns = begin_ns;
	ret->end_ns = end_ns;
}

static void finish(struct exchange *e, struct exchange_facts *ret)
{
	e->answered = true;
	if (e->tls == TLS_HELLO)
		hello_finish(e);
	if (settled(e) && e->cut) {
		wait_tell(ret, false, e->begin_ns, e->last_ns);
	} else if (exchange_counts(e) && !e->told) {
		if (e->tickets)
			ttfb_tell(e, ret);
		ret->finished = e->counted = true;
		ret->begin_ns = e->begin_ns;
		ret->end_ns = e->last_ns;
		ret->request_bytes = e->request_bytes;
		ret->answer_bytes = e->answer_bytes;
		ret->sends = e->sends;
	} else if (exchange_counts(e)) { /* it went on after all */
		wait_tell(ret, false, e->told_ns, e->last_ns);
	}
	e->told_ns = e->last_ns;
	e->state = EXCHANGE_QUIET;
}

static void begin(struct exchange *e, uint64_t at_ns, uint64_t bytes)
{
	e->state = EXCHANGE_ASKED;
	e->told = false;
	e->cut = e->gap;
	e->gap = false;
	e->bursts = 0;
	e->begin_ns = e->asked_ns = at_ns;
	e->request_bytes = bytes;
	e->sends = 1;
	e->answer_bytes = e->first_bytes = e->burst_bytes = 0;
}

/* Acknowledged settings, one or two window updates, a ping (RFC 9113, 6), within TLS or not. A request of exactly such a size is rare. */
static bool control_frame(const struct exchange *e, uint64_t bytes)
{
	static const uint8_t sizes[] = { 9, 13, 17, 26 };

	for (size_t i = 0; i < sizeof(sizes); i++)
		if (bytes == sizes[i] + (e->tls == TLS_NONE ? 0U : TLS_RECORD_BYTES))
			return true;
	return false;
}

/* An alert has two bytes: by TLS 1.3, by 1.2 with AES-GCM, with ChaCha20. No protocol asks for anything in so few. */
static bool alert(const struct exchange *e, uint64_t bytes)
{
	return e->tls == TLS_OPEN && (bytes == 24 || bytes == 31 || bytes == 23);
}

void exchange_ask(struct exchange *e, uint64_t at_ns, uint64_t bytes, struct exchange_facts *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (e->state != EXCHANGE_ASKED && settled(e) && e->framed && control_frame(e, bytes))
		return;
	if (e->state != EXCHANGE_ASKED && alert(e, bytes)) { /* close_notify: what answers it, if anything does, is another one */
		if (e->state == EXCHANGE_ANSWERED)
			finish(e, ret);
		return;
	}
	if (e->state == EXCHANGE_ANSWERED && e->framed && !e->counted && e->answer_bytes <= FAREWELL_BYTES)
		e->state = EXCHANGE_ASKED;
	if (e->state == EXCHANGE_ANSWERED)
		finish(e, ret);
	if (e->state == EXCHANGE_ASKED) {
		if (e->tls == TLS_LAST_FLIGHT && e->request_bytes <= FINISHED_BYTES) {
			e->tls = TLS_OPEN; /* Finished went ahead, this is the request */
			e->tickets = true;
			begin(e, at_ns, bytes);
			return;
		}
		/* A program that has just started may load code between head and body of its first request. */
		ret->overlap = e->counted && exchange_counts(e) && at_ns > e->asked_ns + OVERLAP_NS && e->request_bytes <= UPLOAD_BYTES;
		e->request_bytes += bytes;
		e->sends++;
		e->asked_ns = at_ns;
		return;
	}
	if (e->tls == TLS_HELLO && !e->hello_ns) {
		e->hello_ns = at_ns;
	} else if (e->tls == TLS_LAST_FLIGHT) {
		ret->has_handshake = true;
		ret->handshake_ns = at_ns > e->hello_ns ? at_ns - e->hello_ns : 0;
		wait_tell(ret, true, e->hello_ns, at_ns);
	}
	begin(e, at_ns, bytes);
}

static void answer_first(struct exchange *e, uint64_t at_ns, uint64_t arrival_ns, uint64_t bytes, struct exchange_facts *ret)
{
	if (e->tls == TLS_LAST_FLIGHT) {
		e->tls = TLS_OPEN;
		e->tickets = true;
		if (e->request_bytes <= FINISHED_BYTES || e->request_bytes == LAST_FLIGHT_X25519_BYTES ||
		    e->request_bytes == LAST_FLIGHT_P256_BYTES || bytes == LAST_ANSWER_BYTES) {
			/* The handshake's end alone; these are the tickets, or TLS 1.2's last flight. */
			if (e->request_bytes > FINISHED_BYTES)
				wait_tell(ret, true, e->begin_ns, arrival_ns);
			e->tickets = false;
			e->state = EXCHANGE_QUIET;
			return;
		}
	}
	e->state = EXCHANGE_ANSWERED;
	e->ttfb_ns = arrival_ns > e->begin_ns ? arrival_ns - e->begin_ns : 0;
	e->first_bytes = e->burst_bytes = e->answer_bytes = bytes;
	e->bursts = 1;
	e->arrival_ns = arrival_ns;
	e->last_ns = e->last_but_one_ns = at_ns;
	if (e->tls == TLS_HELLO)
		e->hello_ttfb_ns = e->ttfb_ns;
	ret->answer = exchange_counts(e);
	if (exchange_counts(e) && !e->tickets)
		ttfb_tell(e, ret);
}

/* A burst after the first one. */
static void answer_burst(struct exchange *e, uint64_t arrival_ns, uint64_t gap_ns, struct exchange_facts *ret)
{
	if (tickets_only(e)) {
		e->ttfb_ns = arrival_ns > e->begin_ns ? arrival_ns - e->begin_ns : 0;
	} else {
		ret->has_gap = true;
		ret->gap_ns = gap_ns;
		e->bursts++;
	}
	if (e->tickets && exchange_counts(e))
		ttfb_tell(e, ret);
	e->last_but_one_ns = e->last_ns;
	e->burst_bytes = 0;
}

void exchange_answer(struct exchange *e, uint64_t at_ns, uint64_t arrival_ns, uint64_t bytes, struct exchange_facts *ret)
{
	uint64_t gap_ns;

	memset(ret, 0, sizeof(*ret));
	if (!arrival_ns)
		arrival_ns = e->state == EXCHANGE_ANSWERED ? e->arrival_ns : at_ns;
	gap_ns = arrival_ns > e->arrival_ns ? arrival_ns - e->arrival_ns : 0;
	e->gap = false;
	switch (e->state) {
	case EXCHANGE_QUIET: /* nobody asked; or silence ended the exchange too early */
		if (!e->told || gap_ns > LATE_NS || bytes <= FAREWELL_BYTES)
			return;
		e->state = EXCHANGE_ANSWERED;
		break;
	case EXCHANGE_ASKED:
		answer_first(e, at_ns, arrival_ns, bytes, ret);
		return;
	case EXCHANGE_ANSWERED:
		break;
	}
	ret->answer = exchange_counts(e);
	if (gap_ns >= EXCHANGE_BURST_NS)
		answer_burst(e, arrival_ns, gap_ns, ret);
	if (!exchange_counts(e))
		ret->has_gap = false;
	e->arrival_ns = arrival_ns;
	e->last_ns = at_ns;
	e->answer_bytes += bytes;
	e->burst_bytes += bytes;
	if (e->bursts == 1)
		e->first_bytes += bytes;
}

void exchange_end(struct exchange *e, uint64_t at_ns, bool error, struct exchange_facts *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (e->state == EXCHANGE_ANSWERED && tickets_only(e) && error)
		e->state = EXCHANGE_ASKED;
	if (e->state == EXCHANGE_ASKED) {
		/* A last word (Terminate, close_notify) wants no answer. */
		ret->unanswered = error || !e->answered || e->request_bytes > FAREWELL_BYTES;
		if (e->tls == TLS_LAST_FLIGHT && e->request_bytes <= FINISHED_BYTES)
			ret->unanswered = false;
		if (ret->unanswered)
			wait_tell(ret, !settled(e), e->begin_ns, at_ns);
		e->state = EXCHANGE_QUIET;
	} else if (e->state == EXCHANGE_ANSWERED && e->tls == TLS_HELLO) {
		wait_tell(ret, true, e->begin_ns, e->last_ns);
		e->state = EXCHANGE_QUIET; /* an alert, as a rule */
	} else if (e->state == EXCHANGE_ANSWERED) {
		if (e->bursts > 1 && e->burst_bytes <= FAREWELL_BYTES && e->last_ns >= e->last_but_one_ns + 1000 * EXCHANGE_BURST_NS) {
			e->last_ns = e->last_but_one_ns;
			e->answer_bytes -= e->burst_bytes;
		}
		finish(e, ret);
	}
	e->told = false;
}

void exchange_gap(struct exchange *e, uint64_t at_ns, struct exchange_facts *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (e->state != EXCHANGE_QUIET)
		wait_tell(ret, !settled(e), e->told ? e->told_ns : e->begin_ns, e->state == EXCHANGE_ASKED ? at_ns : e->last_ns);
	if (!settled(e)) /* sooner or later; at the latest when the next exchange, which does not count, is over */
		e->tls = TLS_OPEN;
	e->state = EXCHANGE_QUIET;
	e->told = e->tickets = false;
	e->gap = true;
}

void exchange_rest(struct exchange *e, uint64_t now_ns, uint64_t hold_ns, struct exchange_facts *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (e->state != EXCHANGE_ANSWERED || now_ns < e->last_ns + hold_ns || !exchange_counts(e))
		return;
	if (tickets_only(e) && now_ns < e->last_ns + LATE_NS)
		return;
	finish(e, ret);
	e->told = true;
}

bool exchange_open(const struct exchange *e, uint64_t upto_ns, uint64_t now_ns, uint64_t hold_ns, uint64_t *ret_begin_ns, uint64_t *ret_end_ns)
{
	if (e->state == EXCHANGE_QUIET || upto_ns <= e->begin_ns)
		return false;
	if (e->tls == TLS_LAST_FLIGHT && e->state == EXCHANGE_ASKED && e->request_bytes <= FINISHED_BYTES)
		return false; /* the handshake's end, which nobody need answer */
	*ret_begin_ns = e->told ? e->told_ns : e->begin_ns;
	*ret_end_ns = e->state == EXCHANGE_ASKED || tickets_only(e) || upto_ns <= e->last_ns || now_ns <= e->last_ns + hold_ns ? upto_ns : e->last_ns;
	return true;
}
