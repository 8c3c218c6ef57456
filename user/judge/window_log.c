// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "judge/window_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A word has a bucket's code in its lower bits and above it how many values; or it is the first of three. */
#define CODE_BITS 12
#define CODE_LONG 0xfff /* scale and code follow above it, and in the next two words how many values */
#define BUCKET_OF_ZEROS (-2) /* the first real one is -1, which has the value 1 */
#define CODES (2 + (64 << HIST_SCALE))
#define WORDS_LONG 3
_Static_assert(CODES < CODE_LONG, "codes of buckets");

/* Room for so many more words. 0 or -ENOMEM. */
static int log_need(struct bucket_log *l, uint32_t words)
{
	uint32_t cap = l->cap ? l->cap : 16, *log;

	if (l->len + words <= l->cap)
		return 0;
	if (l->first >= l->cap / 2 && l->len - l->first + words <= l->cap) {
		memmove(l->words, l->words + l->first, (l->len - l->first) * sizeof(*l->words));
		l->len -= l->first;
		l->first = 0;
		return 0;
	}
	while (cap < l->len + words)
		cap += cap / 2;
	log = reallocarray(l->words, cap, sizeof(*log));
	if (!log)
		return -ENOMEM;
	l->words = log;
	l->cap = cap;
	return 0;
}

/* There is room for WORDS_LONG. */
static void log_put(struct bucket_log *l, int scale, int32_t bucket, uint64_t n)
{
	uint32_t code = (uint32_t)(bucket - BUCKET_OF_ZEROS);

	if (scale == HIST_SCALE && n < 1ULL << (32 - CODE_BITS)) {
		l->words[l->len++] = (uint32_t)n << CODE_BITS | code;
		return;
	}
	l->words[l->len++] = (uint32_t)(scale - HIST_SCALE_MIN) << 28 | code << CODE_BITS | CODE_LONG;
	l->words[l->len++] = (uint32_t)n;
	l->words[l->len++] = (uint32_t)(n >> 32);
}

struct entry {
	int scale;
	int32_t bucket;
	uint64_t n;
};

/* The words at `log`; returns how many they are. */
static uint32_t log_get(const uint32_t *log, struct entry *e)
{
	uint32_t code = *log & CODE_LONG;

	if (code != CODE_LONG) {
		*e = (struct entry){HIST_SCALE, (int32_t)code + BUCKET_OF_ZEROS, *log >> CODE_BITS};
		return 1;
	}
	code = *log >> CODE_BITS & 0xffff;
	*e = (struct entry){
	        (int)(*log >> 28) + HIST_SCALE_MIN, (int32_t)code + BUCKET_OF_ZEROS, log[1] | (uint64_t)log[2] << 32};
	return WORDS_LONG;
}

struct gathered { /* the buckets from .. to - 1 of the coarsest scale that there is */
	int scale;
	int32_t from, to;
	uint64_t zeros;
	uint64_t values[CODES]; /* of bucket `from` and so on */
};

static int32_t coarser(int32_t bucket, int by)
{
	return bucket >> by;
}

static void gather(const uint32_t *log, uint32_t words, struct gathered *g)
{
	int32_t low = INT32_MAX, high = INT32_MIN; /* at HIST_SCALE */
	struct entry e;

	g->scale = HIST_SCALE;
	g->zeros = 0;
	for (uint32_t i = 0; i < words;) {
		i += log_get(log + i, &e);
		if (e.bucket == BUCKET_OF_ZEROS)
			continue;
		g->scale = e.scale < g->scale ? e.scale : g->scale;
		e.bucket = (int32_t)((uint32_t)e.bucket << (HIST_SCALE - e.scale));
		low = e.bucket < low ? e.bucket : low;
		high = e.bucket > high ? e.bucket : high;
	}
	g->from = low <= high ? coarser(low, HIST_SCALE - g->scale) : 0;
	g->to = low <= high ? coarser(high, HIST_SCALE - g->scale) + 1 : 0;
	memset(g->values, 0, (size_t)(g->to - g->from) * sizeof(g->values[0]));
	for (uint32_t i = 0; i < words;) {
		i += log_get(log + i, &e);
		if (e.bucket == BUCKET_OF_ZEROS)
			g->zeros += e.n;
		else
			g->values[coarser(e.bucket, e.scale - g->scale) - g->from] += e.n;
	}
}

int64_t bucket_log_tidy(struct bucket_log *l, uint32_t words)
{
	uint32_t most = WORDS_LONG, before;
	struct gathered g;

	gather(l->words + l->len - words, words, &g);
	for (int32_t i = 0; i < g.to - g.from; i++)
		most += g.values[i] ? WORDS_LONG : 0;
	if (log_need(l, most))
		return -ENOMEM;
	before = l->len -= words;
	if (g.zeros)
		log_put(l, HIST_SCALE, BUCKET_OF_ZEROS, g.zeros);
	for (int32_t i = 0; i < g.to - g.from; i++)
		if (g.values[i])
			log_put(l, g.scale, g.from + i, g.values[i]);
	return l->len - before;
}

int64_t bucket_log_add(struct bucket_log *l, const struct hist *h)
{
	uint32_t before;

	if (log_need(l, (h->len + 1) * WORDS_LONG))
		return -ENOMEM;
	before = l->len;
	if (h->zero_count)
		log_put(l, HIST_SCALE, BUCKET_OF_ZEROS, h->zero_count);
	for (uint32_t i = 0; i < h->len; i++)
		if (hist_bucket(h, i))
			log_put(l, h->scale, h->offset + (int32_t)i, hist_bucket(h, i));
	return l->len - before;
}

int bucket_log_gather(const struct bucket_log *l, struct hist *h)
{
	struct gathered g;
	uint64_t min = h->min, max = h->max;
	int err;

	gather(l->words + l->first, l->len - l->first, &g);
	hist_fini(h);
	h->scale = (int8_t)g.scale;
	err = hist_set_buckets(h, g.from, g.values, (uint32_t)(g.to - g.from));
	h->zero_count = g.zeros;
	h->min = min;
	h->max = max;
	return err;
}

void bucket_log_drop(struct bucket_log *l, uint32_t words)
{
	l->first += words;
}

void bucket_log_fini(struct bucket_log *l)
{
	free(l->words);
	*l = (struct bucket_log){0};
}

size_t bucket_log_bytes(const struct bucket_log *l)
{
	return l->cap * sizeof(*l->words);
}
