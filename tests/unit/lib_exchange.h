/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Conversations, and what they bring to light. One at a time, in `s`. */
#ifndef LIB_EXCHANGE_H
#define LIB_EXCHANGE_H

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

static struct seen { /* what a conversation brought to light */
	struct exchange e;
	int finished, ttfbs, gaps, handshakes, overlaps, unanswered;
	struct exchange_facts exchange[SEEN_MAX];
	uint64_t ttfb[SEEN_MAX], gap[SEEN_MAX], handshake_ns;
	bool answer; /* of the last call */
} s;

static inline void note(const struct exchange_facts *f)
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

static inline void ask(uint64_t at, uint64_t bytes)
{
	struct exchange_facts f;

	exchange_ask(&s.e, at, bytes, &f);
	note(&f);
}

/* Read as soon as it arrived, but for 10 us. */
static inline void answer(uint64_t arrival, uint64_t bytes)
{
	struct exchange_facts f;

	exchange_answer(&s.e, arrival + 10 * US, arrival, bytes, &f);
	note(&f);
}

static inline void answer_read(uint64_t at, uint64_t bytes)
{
	struct exchange_facts f;

	exchange_answer(&s.e, at, 0, bytes, &f);
	note(&f);
}

static inline void end(bool error)
{
	struct exchange_facts f;

	exchange_end(&s.e, 1000 * S, error, &f);
	note(&f);
}

static inline void rest(uint64_t now, uint64_t hold)
{
	struct exchange_facts f;

	exchange_rest(&s.e, now, hold, &f);
	note(&f);
}

static inline struct exchange_facts gap(uint64_t at)
{
	struct exchange_facts f;

	exchange_gap(&s.e, at, &f);
	note(&f);
	return f;
}

static inline int fresh(void **ctx)
{
	(void)ctx;
	memset(&s, 0, sizeof(s));
	return 0;
}

static inline void assert_exchange(int i, uint64_t begin, uint64_t end_ns, uint64_t request, uint64_t answered)
{
	assert_true(i < s.finished);
	assert_int_equal(s.exchange[i].begin_ns, begin);
	assert_int_equal(s.exchange[i].end_ns, end_ns);
	assert_int_equal(s.exchange[i].request_bytes, request);
	assert_int_equal(s.exchange[i].answer_bytes, answered);
}

static inline void assert_counts(int finished, int ttfbs, int gaps, int unanswered)
{
	assert_int_equal(s.finished, finished);
	assert_int_equal(s.ttfbs, ttfbs);
	assert_int_equal(s.gaps, gaps);
	assert_int_equal(s.unanswered, unanswered);
}

#define TEST(f) cmocka_unit_test_setup(f, fresh)

#endif
