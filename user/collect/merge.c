/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "collect/decode.h"

#define BATCH_BYTES (SO_BATCH_SLOTS * SO_SLOT_BYTES)
#define FREE_RUNS 256 /* kept for reuse: half a MiB */

struct run { /* records in order of time */
	struct run *next_free;
	const struct so_head *head; /* the next record */
	uint64_t head_ns;
	size_t pos, size; /* pos: behind head */
	_Alignas(8) uint8_t data[BATCH_BYTES];
};

struct merge { /* a binary heap of runs by head_ns */
	struct run **heap;
	size_t len, cap;
	struct run *free;
	size_t free_len;
	uint64_t watermark_ns, late;
};

struct merge *merge_new(void)
{
	return calloc(1, sizeof(struct merge));
}

void merge_free(struct merge *m)
{
	struct run *r;

	if (!m)
		return;
	for (size_t i = 0; i < m->len; i++)
		free(m->heap[i]);
	while ((r = m->free)) {
		m->free = r->next_free;
		free(r);
	}
	free(m->heap);
	free(m);
}

static struct run *run_new(struct merge *m)
{
	struct run *r = m->free;

	if (r) {
		m->free = r->next_free;
		m->free_len--;
		return r;
	}
	return malloc(sizeof(*r));
}

static void run_free(struct merge *m, struct run *r)
{
	if (m->free_len >= FREE_RUNS) {
		free(r);
		return;
	}
	r->next_free = m->free;
	m->free = r;
	m->free_len++;
}

static void sift_up(struct merge *m, size_t i)
{
	struct run *r = m->heap[i];

	for (; i && m->heap[(i - 1) / 2]->head_ns > r->head_ns; i = (i - 1) / 2)
		m->heap[i] = m->heap[(i - 1) / 2];
	m->heap[i] = r;
}

static void sift_down(struct merge *m, size_t i)
{
	struct run *r = m->heap[i];
	size_t child;

	for (; (child = 2 * i + 1) < m->len; i = child) {
		if (child + 1 < m->len && m->heap[child + 1]->head_ns < m->heap[child]->head_ns)
			child++;
		if (m->heap[child]->head_ns >= r->head_ns)
			break;
		m->heap[i] = m->heap[child];
	}
	m->heap[i] = r;
}

static int run_push(struct merge *m, struct run *r)
{
	if (m->len == m->cap) {
		size_t cap = m->cap ? 2 * m->cap : 64;
		struct run **heap = realloc(m->heap, cap * sizeof(*heap));

		if (!heap)
			return -ENOMEM;
		m->heap = heap;
		m->cap = cap;
	}
	r->pos = 0;
	decode_next(r->data, r->size, &r->pos, &r->head);
	r->head_ns = r->head->time_ns;
	m->heap[m->len++] = r;
	sift_up(m, m->len - 1);
	return 0;
}

/* One run from as much of data as is in order; returns the bytes taken. */
static ssize_t run_take(struct merge *m, const void *data, size_t size, size_t from)
{
	const struct so_head *h;
	uint64_t last_ns = 0;
	size_t pos = from, end = from;
	struct run *r;
	int err;

	while ((err = decode_next(data, size, &pos, &h)) > 0 && h->time_ns >= last_ns && pos - from <= BATCH_BYTES) {
		last_ns = h->time_ns;
		end = pos;
	}
	if (end == from)
		return -EBADMSG;
	r = run_new(m);
	if (!r)
		return -ENOMEM;
	memcpy(r->data, (const uint8_t *)data + from, end - from);
	r->size = end - from;
	err = run_push(m, r);
	if (err) {
		run_free(m, r);
		return err;
	}
	return end - from;
}

int merge_add(struct merge *m, const void *data, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = run_take(m, data, size, at);

		if (n < 0)
			return n;
		at += n;
	}
	return 0;
}

void merge_run(struct merge *m, uint64_t watermark_ns, merge_fn fn, void *ctx)
{
	while (m->len && m->heap[0]->head_ns <= watermark_ns) {
		struct run *r = m->heap[0];
		uint64_t until = watermark_ns;

		/* As long as this run is the oldest, no look at the heap. */
		for (size_t child = 1; child <= 2 && child < m->len; child++)
			if (m->heap[child]->head_ns < until)
				until = m->heap[child]->head_ns;
		do {
			m->late += r->head_ns < m->watermark_ns;
			fn(ctx, r->head);
			if (decode_next(r->data, r->size, &r->pos, &r->head) <= 0) {
				m->heap[0] = m->heap[--m->len];
				run_free(m, r);
				r = NULL;
				break;
			}
			r->head_ns = r->head->time_ns;
		} while (r->head_ns <= until);
		if (m->len)
			sift_down(m, 0);
	}
	if (watermark_ns > m->watermark_ns)
		m->watermark_ns = watermark_ns;
}

uint64_t merge_late(const struct merge *m)
{
	return m->late;
}
