/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Conversations as clients and servers have them, and which exchanges are seen in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collect/exchange.h"

#define US 1000ULL
#define MS 1000000ULL
#define S 1000000000ULL
#define SEEN_MAX 64
#define RTT (10 * MS)
#define HELLO 517
#define FLIGHT 2800 /* a server's: ServerHello to Finished */
#define FINISHED 64
#define TICKETS 510

static struct seen { /* what a conversation brought to light */
	struct exchange e;
	int finished, ttfbs, gaps, handshakes, overlaps, unanswered;
	struct exchange_facts exchange[SEEN_MAX];
	uint64_t ttfb[SEEN_MAX], gap[SEEN_MAX], handshake_ns;
	bool answer; /* of the last call */
} s;

static void note(const struct exchange_facts *f)
{
	if (f->finished)
		s.exchange[s.finished++ % SEEN_MAX] = *f;
	if (f->has_ttfb)
		s.ttfb[s.ttfbs++ % SEEN_MAX] = f->ttfb_ns;
	if (f->has_gap)
		s.gap[s.gaps++ % SEEN_MAX] = f->gap_ns;
	if (f->has_handshake) {
		s.handshakes++;
		s.handshake_ns = f->handshake_ns;
	}
	s.overlaps += f->overlap;
	s.unanswered += f->unanswered;
	s.answer = f->answer;
}

static void ask(uint64_t at, uint64_t bytes)
{
	struct exchange_facts f;

	exchange_ask(&s.e, at, bytes, &f);
	note(&f);
}

/* Read as soon as it arrived, but for 10 us. */
static void answer(uint64_t arrival, uint64_t bytes)
{
	struct exchange_facts f;

	exchange_answer(&s.e, arrival + 10 * US, arrival, bytes, &f);
	note(&f);
}

static void answer_read(uint64_t at, uint64_t bytes)
{
	struct exchange_facts f;

	exchange_answer(&s.e, at, 0, bytes, &f);
	note(&f);
}

static void end(bool error)
{
	struct exchange_facts f;

	exchange_end(&s.e, 1000 * S, error, &f);
	note(&f);
}

static void rest(uint64_t now, uint64_t hold)
{
	struct exchange_facts f;

	exchange_rest(&s.e, now, hold, &f);
	note(&f);
}

static struct exchange_facts gap(uint64_t at)
{
	struct exchange_facts f;

	exchange_gap(&s.e, at, &f);
	note(&f);
	return f;
}

static int fresh(void **ctx)
{
	(void)ctx;
	memset(&s, 0, sizeof(s));
	return 0;
}

static void assert_exchange(int i, uint64_t begin, uint64_t end_ns, uint64_t request, uint64_t answered)
{
	assert_true(i < s.finished);
	assert_int_equal(s.exchange[i].begin_ns, begin);
	assert_int_equal(s.exchange[i].end_ns, end_ns);
	assert_int_equal(s.exchange[i].request_bytes, request);
	assert_int_equal(s.exchange[i].answer_bytes, answered);
}

static void assert_counts(int finished, int ttfbs, int gaps, int unanswered)
{
	assert_int_equal(s.finished, finished);
	assert_int_equal(s.ttfbs, ttfbs);
	assert_int_equal(s.gaps, gaps);
	assert_int_equal(s.unanswered, unanswered);
}

static void keep_alive(void **ctx)
{
	(void)ctx;
	for (int i = 0; i < 5; i++) {
		ask(S + i * 100 * MS, 200);
		assert_int_equal(s.finished, i); /* the one before ends with this */
		answer(S + i * 100 * MS + 7 * MS, 1000);
		assert_true(s.answer);
		answer(S + i * 100 * MS + 7 * MS + 300 * US, 500);
	}
	end(false);
	assert_counts(5, 5, 0, 0);
	for (int i = 0; i < 5; i++) {
		assert_exchange(i, S + i * 100 * MS, S + i * 100 * MS + 7 * MS + 310 * US, 200, 1500);
		assert_int_equal(s.ttfb[i], 7 * MS);
	}
	assert_int_equal(s.overlaps, 0);
	end(false); /* nothing is left */
	assert_counts(5, 5, 0, 0);
}

static void a_request_in_parts(void **ctx)
{
	(void)ctx;
	ask(S, 100);
	ask(S + 200 * US, 4000);
	ask(S + 900 * US, 4000); /* each within a burst of the last */
	answer(S + 20 * MS, 10);
	ask(S + 30 * MS, 1);
	assert_exchange(0, S, S + 20 * MS + 10 * US, 8100, 10);
	assert_int_equal(s.ttfb[0], 20 * MS);
	assert_int_equal(s.overlaps, 0);
}

static void a_stream_with_pauses(void **ctx)
{
	(void)ctx;
	ask(S, 100);
	answer(S + 300 * MS, 50);
	for (int i = 1; i <= 20; i++) {
		answer(S + 300 * MS + i * 20 * MS, 30);
		answer(S + 300 * MS + i * 20 * MS + 500 * US, 5); /* the same burst */
	}
	end(false);
	assert_counts(1, 1, 20, 0);
	assert_exchange(0, S, S + 700 * MS + 510 * US, 100, 50 + 20 * 35);
	assert_int_equal(s.ttfb[0], 300 * MS);
	assert_int_equal(s.gap[0], 20 * MS);
	assert_int_equal(s.gap[19], 20 * MS - 500 * US);
}

/* What is read late arrived in time: the pause is the reader's. */
static void a_slow_reader(void **ctx)
{
	(void)ctx;
	ask(S, 100);
	exchange_answer(&s.e, S + 500 * MS, S + 10 * MS, 100, &s.exchange[SEEN_MAX - 1]);
	note(&s.exchange[SEEN_MAX - 1]);
	answer_read(S + 900 * MS, 100); /* more of what lay there */
	end(false);
	assert_counts(1, 1, 0, 0);
	assert_int_equal(s.ttfb[0], 10 * MS);
	assert_exchange(0, S, S + 900 * MS, 100, 200);
}

static void who_speaks_first(void **ctx)
{
	(void)ctx;
	answer(S, 80); /* a greeting */
	assert_false(s.answer);
	answer(S + 5 * MS, 80);
	ask(S + 10 * MS, 30);
	answer(S + 14 * MS, 60);
	answer(S + 14 * MS + 100 * US, 60);
	end(false);
	assert_counts(1, 1, 0, 0);
	assert_exchange(0, S + 10 * MS, S + 14 * MS + 110 * US, 30, 120);
}

static void pipelining_is_seen(void **ctx)
{
	(void)ctx;
	ask(S - 50 * MS, 100);
	ask(S - 30 * MS, 100); /* the first request may come in parts */
	answer(S - 20 * MS, 900);
	ask(S, 100);
	ask(S + 12 * MS, 100);
	ask(S + 24 * MS, 100);
	ask(S + 29 * MS, 100); /* in the same turn, for all that shows */
	answer(S + 30 * MS, 900);
	end(false);
	assert_int_equal(s.overlaps, 2);
	assert_exchange(1, S, S + 30 * MS + 10 * US, 400, 900);
}

static void ends_without_an_answer(void **ctx)
{
	(void)ctx;
	end(false);
	assert_counts(0, 0, 0, 0); /* nobody asked */
	ask(S, 20);
	end(false);
	assert_counts(0, 0, 0, 1); /* the first words, short as they are, want an answer */
	fresh(NULL);
	ask(S, 200);
	answer(S + MS, 100);
	ask(S + 10 * MS, 5);
	end(false);
	assert_counts(1, 1, 0, 0); /* last words don't */
	fresh(NULL);
	ask(S, 200);
	answer(S + MS, 100);
	ask(S + 10 * MS, 5);
	end(true);
	assert_counts(1, 1, 0, 1);
	fresh(NULL);
	ask(S, 200);
	answer(S + MS, 100);
	ask(S + 10 * MS, 200);
	end(false);
	assert_counts(1, 1, 0, 1);
	assert_int_equal(s.e.state, EXCHANGE_QUIET);
}

static void silence_ends_it(void **ctx)
{
	(void)ctx;
	ask(S, 100);
	rest(100 * S, 0);
	assert_counts(0, 0, 0, 0); /* a question is open for ever */
	answer(101 * S, 100);
	rest(102 * S, 2 * S);
	assert_counts(0, 1, 0, 0);
	rest(103 * S + 10 * US, 2 * S);
	assert_counts(1, 1, 0, 0);
	assert_exchange(0, S, 101 * S + 10 * US, 100, 100);
	rest(104 * S, 2 * S);
	answer(110 * S, 1000); /* too early: but it doesn't count again */
	assert_true(s.answer);
	assert_int_equal(s.gaps, 1);
	assert_int_equal(s.gap[0], 9 * S);
	ask(111 * S, 100);
	assert_int_equal(s.finished, 1);
	answer(112 * S, 100);
	rest(UINT64_MAX, 0);
	assert_counts(2, 2, 1, 0);
	assert_exchange(1, 111 * S, 112 * S + 10 * US, 100, 100);
	answer(200 * S, 1000); /* by now it is something else */
	assert_false(s.answer);
	answer(113 * S, 40); /* a farewell */
	assert_false(s.answer);
	end(false);
	assert_counts(2, 2, 1, 0);
}

static void a_farewell_is_no_part_of_the_answer(void **ctx)
{
	(void)ctx;
	ask(S, 100);
	answer(S + 5 * MS, 5000);
	answer(S + 15 * MS, 5000);
	answer(6 * S, 24); /* close_notify, before the end of file */
	end(false);
	assert_int_equal(s.finished, 1);
	assert_exchange(0, S, S + 15 * MS + 10 * US, 100, 10000);
	fresh(NULL);
	ask(S, 100);
	answer(S + 5 * MS, 5000);
	answer(S + 50 * MS, 24); /* but a short last chunk is */
	end(false);
	assert_exchange(0, S, S + 50 * MS + 10 * US, 100, 5024);
}

static void arrivals_before_the_request(void **ctx)
{
	(void)ctx;
	ask(S, 100); /* its record comes behind what it brought about */
	answer(S - 300 * US, 10);
	end(false);
	assert_counts(1, 1, 0, 0);
	assert_int_equal(s.ttfb[0], 0);
	fresh(NULL); /* the same where tickets may come first */
	exchange_tls(&s.e);
	ask(S, HELLO);
	answer(S + RTT, FLIGHT);
	ask(S + 11 * MS, FINISHED);
	ask(S + 30 * MS, 300);
	answer(S + 20 * MS, TICKETS);
	answer(S + 25 * MS, 3000);
	end(false);
	assert_int_equal(s.finished, 1);
	assert_int_equal(s.ttfbs, 1);
	assert_true(s.ttfb[0] <= S);
}

/* ---- TLS ---- */

static void hello(void)
{
	exchange_tls(&s.e);
	ask(S, HELLO);
	answer(S + RTT, 1400);
	answer(S + RTT + 200 * US, FLIGHT - 1400);
	assert_counts(0, 0, 0, 0);
}

static void request_and_answer(uint64_t at)
{
	int before = s.finished;

	ask(at, 300);
	answer(at + 50 * MS, 3000);
	ask(at + 100 * MS, 300);
	assert_int_equal(s.finished, before + 1);
	assert_exchange(before, at, at + 50 * MS + 10 * US, 300, 3000);
	assert_int_equal(s.ttfb[s.ttfbs - 1], 50 * MS);
}

static void tls_finished_alone(void **ctx)
{
	(void)ctx;
	hello();
	ask(S + 12 * MS, FINISHED);
	assert_int_equal(s.handshakes, 1);
	assert_int_equal(s.handshake_ns, 12 * MS);
	answer(S + 22 * MS, TICKETS / 2);
	answer(S + 22 * MS + 50 * US, TICKETS / 2);
	assert_counts(0, 0, 0, 0);
	request_and_answer(S + 40 * MS);
	assert_counts(1, 1, 0, 0);
	assert_int_equal(s.handshakes, 1);
	assert_int_equal(s.overlaps, 0);
}

/* The request goes right behind: whether the tickets come before the answer or with it. */
static void tls_finished_then_request(void **ctx)
{
	(void)ctx;
	for (int tickets = 0; tickets < 2; tickets++) {
		fresh(NULL);
		hello();
		ask(S + 12 * MS, FINISHED);
		ask(S + 12 * MS + 100 * US, 300);
		if (tickets)
			answer(S + 22 * MS, TICKETS);
		answer(S + 212 * MS + 100 * US, 3000);
		answer(S + 262 * MS + 100 * US, 100);
		end(false);
		assert_counts(1, 1, 1, 0); /* one gap, within the answer */
		assert_int_equal(s.ttfb[0], 200 * MS);
		assert_int_equal(s.gap[0], 50 * MS);
		assert_int_equal(s.exchange[0].begin_ns, S + 12 * MS + 100 * US);
		assert_int_equal(s.exchange[0].request_bytes, 300);
		assert_int_equal(s.handshake_ns, 12 * MS);
		assert_int_equal(s.overlaps, 0);
	}
}

static void tls_finished_with_request(void **ctx)
{
	(void)ctx;
	for (int tickets = 0; tickets < 2; tickets++) {
		fresh(NULL);
		hello();
		ask(S + 12 * MS, FINISHED + 300);
		if (tickets)
			answer(S + 22 * MS, TICKETS);
		rest(S + 3 * S, S);
		assert_counts(0, 0, 0, 0); /* tickets alone are no answer, however long it takes */
		answer(4 * S + 12 * MS, 3000);
		end(false);
		assert_counts(1, 1, 0, 0);
		assert_int_equal(s.ttfb[0], 3 * S);
		assert_exchange(0, S + 12 * MS, 4 * S + 12 * MS + 10 * US, FINISHED + 300, 3000 + (tickets ? TICKETS : 0));
	}
}

static void tls_the_answer_looks_like_tickets(void **ctx)
{
	(void)ctx;
	hello();
	ask(S + 12 * MS, FINISHED + 300);
	answer(S + 23 * MS, 400); /* a quick small answer, which is all that comes */
	ask(S + 100 * MS, 300);
	assert_counts(1, 1, 0, 0);
	assert_int_equal(s.ttfb[0], 11 * MS);
	assert_exchange(0, S + 12 * MS, S + 23 * MS + 10 * US, FINISHED + 300, 400);
	fresh(NULL);
	hello();
	ask(S + 12 * MS, FINISHED + 300);
	answer(S + 23 * MS, 400);
	end(true); /* reset, with nothing but tickets */
	assert_counts(0, 0, 0, 1);
}

static void tls_hello_retried(void **ctx)
{
	(void)ctx;
	exchange_tls(&s.e);
	ask(S, HELLO);
	answer(S + RTT, 99);
	ask(S + 11 * MS, HELLO);
	assert_int_equal(s.handshakes, 0);
	answer(S + 21 * MS, FLIGHT);
	ask(S + 23 * MS, FINISHED);
	assert_int_equal(s.handshakes, 1);
	assert_int_equal(s.handshake_ns, 23 * MS);
	answer(S + 33 * MS, TICKETS);
	assert_counts(0, 0, 0, 0);
	request_and_answer(S + 40 * MS);
	assert_int_equal(s.overlaps, 0);
}

static void tls_1_2(void **ctx)
{
	static const unsigned last[] = { 93, 126, 158, 2000 }; /* the last: with the client's certificate */

	(void)ctx;
	for (int i = 0; i < 4; i++) {
		fresh(NULL);
		hello();
		ask(S + 12 * MS, last[i]);
		assert_int_equal(s.handshake_ns, 12 * MS);
		answer(S + 22 * MS, 51);
		assert_counts(0, 0, 0, 0);
		request_and_answer(S + 40 * MS);
		assert_counts(1, 1, 0, 0);
	}
}

static void tls_that_is_none(void **ctx)
{
	(void)ctx;
	exchange_tls(&s.e);
	for (int i = 0; i < 4; i++) {
		ask(S + i * 10 * MS, 300);
		answer(S + i * 10 * MS + 2 * MS, 20);
	}
	end(false);
	assert_int_equal(s.finished, 4);
	assert_int_equal(s.handshakes, 0);
	fresh(NULL);
	exchange_tls(&s.e);
	ask(S, HELLO);
	answer(S + RTT, 7); /* an alert */
	end(false);
	assert_counts(0, 0, 0, 0);
	fresh(NULL);
	exchange_tls(&s.e);
	ask(S, HELLO);
	end(false);
	assert_counts(0, 0, 0, 1);
	fresh(NULL); /* the handshake is all there was */
	hello();
	ask(S + 12 * MS, FINISHED);
	end(false);
	assert_counts(0, 0, 0, 0);
}

static void control_frames_are_no_answer(void **ctx)
{
	(void)ctx;
	s.e.framed = true;
	ask(S, 100);
	answer(S + MS, 9); /* SETTINGS' acknowledgement */
	ask(S + 2 * MS, 9);
	answer(S + 50 * MS, 2000);
	end(false);
	assert_int_equal(s.finished, 1);
	assert_int_equal(s.exchange[0].begin_ns, S);
	assert_int_equal(s.exchange[0].end_ns, S + 50 * MS + 10 * US);
}

static void what_is_outstanding(void **ctx)
{
	uint64_t b = 0, e = 0;

	(void)ctx;
	assert_false(exchange_open(&s.e, 100 * S, 100 * S, 0, &b, &e));
	ask(S, 100);
	assert_false(exchange_open(&s.e, S, 9 * S, 0, &b, &e)); /* it began at the end */
	assert_true(exchange_open(&s.e, 2 * S, 3 * S, 0, &b, &e));
	assert_int_equal(b, S);
	assert_int_equal(e, 2 * S);
	answer(4 * S - 10 * US, 100);
	assert_true(exchange_open(&s.e, 2 * S, 5 * S, 0, &b, &e)); /* looked at later */
	assert_int_equal(e, 2 * S);
	assert_true(exchange_open(&s.e, 6 * S, 7 * S, 0, &b, &e)); /* over, as it seems */
	assert_int_equal(e, 4 * S);
	assert_true(exchange_open(&s.e, 6 * S, 7 * S, 3 * S, &b, &e)); /* a peer that pauses so long */
	assert_int_equal(e, 6 * S);
	rest(8 * S, S);
	assert_int_equal(s.finished, 1);
	assert_false(exchange_open(&s.e, 9 * S, 9 * S, 3 * S, &b, &e));
	answer(10 * S - 10 * US, 100); /* and on it goes: from where it was told to have ended */
	assert_true(exchange_open(&s.e, 9 * S, 11 * S, 0, &b, &e));
	assert_int_equal(b, 4 * S);
	assert_int_equal(e, 9 * S);
}

/* A server is asked by what arrives, and answers by what it sends: the same machine. */
static void as_the_server(void **ctx)
{
	(void)ctx;
	for (int i = 0; i < 3; i++) {
		struct exchange_facts f;
		uint64_t at = S + i * 50 * MS;

		ask(at, 60);
		ask(at + 100 * US, 60);
		exchange_answer(&s.e, at + 20 * MS, at + 20 * MS, 500, &f);
		note(&f);
	}
	end(false);
	assert_int_equal(s.finished, 3);
	for (int i = 0; i < 3; i++)
		assert_exchange(i, S + i * 50 * MS, S + i * 50 * MS + 20 * MS, 120, 500);
}

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (seed >> 20) % below;
}

/* Whatever is said: exchanges follow one another, no time is longer than the conversation, bytes are told once. */
static void any_conversation(void **ctx)
{
	static const uint64_t sizes[] = { 1, 9, 24, 51, 64, 65, 80, 93, 99, 126, 128, 300, 510, 1200, 3000 };

	(void)ctx;
	for (uint64_t round = 1; round <= 20000; round++) {
		uint64_t now, asked = 0, answered = 0, requests = 0, answers = 0, last = 0;
		int told = 0;

		fresh(NULL);
		seed = round;
		now = S;
		if (draw(2))
			exchange_tls(&s.e);
		s.e.framed = !draw(4);
		for (int n = draw(30); n && told < SEEN_MAX; n--) {
			uint64_t bytes = sizes[draw(sizeof(sizes) / sizeof(*sizes))], b, e;
			struct exchange_facts f;

			now += draw(3) ? draw(2 * MS) : draw(3 * S);
			switch (draw(5)) {
			case 0:
			case 1:
				exchange_ask(&s.e, now, bytes, &f);
				asked += bytes;
				break;
			case 2:
			case 3: /* arrivals may be as old as they like */
				exchange_answer(&s.e, now, draw(4) ? now - draw(draw(2) ? 100 * US : S / 2) : 0, bytes, &f);
				answered += bytes;
				break;
			default:
				if (draw(3))
					exchange_rest(&s.e, now, draw(2 * S), &f);
				else
					exchange_end(&s.e, now, draw(2), &f);
			}
			note(&f);
			if (f.has_ttfb)
				assert_true(f.ttfb_ns <= now - S);
			if (f.has_gap)
				assert_in_range(f.gap_ns, EXCHANGE_BURST_NS, now - S / 2);
			if (f.has_handshake)
				assert_true(f.handshake_ns <= now - S);
			if (f.finished) {
				assert_true(f.begin_ns >= last && f.end_ns >= f.begin_ns && f.end_ns <= now);
				last = f.end_ns;
				requests += f.request_bytes;
				answers += f.answer_bytes;
				told++;
			}
			assert_true(s.ttfbs <= told + 1 || s.e.framed); /* and the present one's; after control frames another one */
			if (exchange_open(&s.e, now, now, draw(S), &b, &e))
				assert_true(b >= last && b <= now && e <= now);
			if (f.waited) /* never what an exchange had */
				assert_true(f.begin_ns >= last && f.begin_ns <= f.end_ns && f.end_ns <= now);
		}
		assert_true(requests <= asked && answers <= answered);
	}
}

/* Some of it was not seen: no exchange is told that may have begun before, or ended otherwise; the next one is. */
static void what_was_not_seen(void **ctx)
{
	struct exchange_facts f;
	uint64_t from, to;

	(void)ctx;
	ask(1 * S, 100);
	f = gap(1 * S + 5 * MS);
	assert_true(f.waited && !f.finished && !f.shaking);
	assert_int_equal(f.begin_ns, 1 * S);
	assert_int_equal(f.end_ns, 1 * S + 5 * MS);
	assert_false(exchange_open(&s.e, 2 * S, 2 * S, S, &from, &to));
	answer(2 * S, 300); /* the rest of an answer: what is asked next is whole */
	assert_counts(0, 0, 0, 0);
	assert_false(s.answer);
	ask(3 * S, 100);
	answer(3 * S + MS, 200);
	assert_true(s.answer);
	f = gap(3 * S + 5 * MS); /* answered by then: it was waited for up to the last byte seen */
	assert_true(f.waited && !f.finished);
	assert_int_equal(f.end_ns, 3 * S + MS + 10 * US);
	assert_counts(0, 1, 0, 0);
	ask(4 * S, 100); /* perhaps the rest of a request */
	answer(4 * S + MS, 200);
	answer(4 * S + 10 * MS, 200);
	assert_false(s.answer);
	assert_true(exchange_open(&s.e, 4 * S + 5 * MS, 5 * S, 0, &from, &to)); /* but it is waited for */
	ask(5 * S, 101);
	answer(5 * S + MS, 201);
	ask(6 * S, 100);
	assert_counts(1, 2, 0, 0); /* the last one is not answered */
	assert_exchange(0, 5 * S, 5 * S + MS + 10 * US, 101, 201);
}

static void a_handshake_not_seen(void **ctx)
{
	struct exchange_facts f;

	(void)ctx;
	exchange_tls(&s.e);
	ask(1 * S, HELLO);
	f = gap(1 * S + MS);
	assert_true(f.waited && f.shaking);
	ask(2 * S, 100);
	answer(2 * S + MS, 200);
	ask(3 * S, 100);
	answer(3 * S + MS, 200);
	end(false);
	assert_counts(1, 1, 0, 0);
	assert_int_equal(s.handshakes, 0);
	assert_exchange(0, 3 * S, 3 * S + MS + 10 * US, 100, 200);
}

#define TEST(f) cmocka_unit_test_setup(f, fresh)

/* The client takes its leave, and the server answers that. */
static void tls_close_notify(void **ctx)
{
	static const unsigned alerts[] = { 24, 31, 23 };

	(void)ctx;
	for (int i = 0; i < 6; i++) {
		fresh(NULL);
		hello();
		ask(S + 12 * MS, FINISHED);
		ask(S + 20 * MS, 300);
		answer(S + 70 * MS, 3000);
		ask(i < 3 ? S + 71 * MS : 3 * S, alerts[i % 3]);
		answer(i < 3 ? S + 72 * MS : 3 * S + MS, alerts[i % 3]);
		end(false);
		assert_counts(1, 1, 0, 0);
		assert_exchange(0, S + 20 * MS, S + 70 * MS + 10 * US, 300, 3000);
	}
	fresh(NULL); /* without TLS, it may be anything */
	ask(S, 100);
	answer(S + 5 * MS, 5000);
	ask(S + 6 * MS, 24);
	answer(S + 7 * MS, 24);
	end(false);
	assert_counts(2, 2, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(keep_alive),
		TEST(a_request_in_parts),
		TEST(a_stream_with_pauses),
		TEST(a_slow_reader),
		TEST(who_speaks_first),
		TEST(pipelining_is_seen),
		TEST(ends_without_an_answer),
		TEST(silence_ends_it),
		TEST(a_farewell_is_no_part_of_the_answer),
		TEST(arrivals_before_the_request),
		TEST(tls_finished_alone),
		TEST(tls_finished_then_request),
		TEST(tls_finished_with_request),
		TEST(tls_the_answer_looks_like_tickets),
		TEST(tls_hello_retried),
		TEST(tls_1_2),
		TEST(tls_close_notify),
		TEST(tls_that_is_none),
		TEST(control_frames_are_no_answer),
		TEST(what_is_outstanding),
		TEST(as_the_server),
		TEST(what_was_not_seen),
		TEST(a_handshake_not_seen),
		TEST(any_conversation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
