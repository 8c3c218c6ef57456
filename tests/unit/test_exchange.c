/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Conversations as clients and servers have them, and which exchanges are seen in them. */
#include "lib_exchange.h"

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
		TEST(control_frames_are_no_answer),
		TEST(what_is_outstanding),
		TEST(as_the_server),
		TEST(what_was_not_seen),
		TEST(any_conversation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
