/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Conversations over TLS: what is handshake, tickets or farewell is no exchange. */
#include "lib_exchange.h"

#define HELLO 517
#define FLIGHT 2800 /* a server's: ServerHello to Finished */
#define FINISHED 64
#define TICKETS 510

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
		TEST(tls_finished_alone),
		TEST(tls_finished_then_request),
		TEST(tls_finished_with_request),
		TEST(tls_the_answer_looks_like_tickets),
		TEST(tls_hello_retried),
		TEST(tls_1_2),
		TEST(tls_close_notify),
		TEST(tls_that_is_none),
		TEST(a_handshake_not_seen),
		TEST(arrivals_before_the_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
