/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "lib_tape.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "collect/decode.h"

static struct {
	struct observer *observer;
	struct so_head **records; /* each a copy of its own */
	int len, cap;
	bool bad;
	uint64_t received[SO_KINDS];
} tape;

static void record_keep(const struct so_head *r)
{
	size_t size = (size_t)r->slots * SO_SLOT_BYTES;

	if (tape.len == tape.cap) {
		tape.cap = tape.cap ? 2 * tape.cap : 1024;
		tape.records = realloc(tape.records, tape.cap * sizeof(*tape.records));
		assert_non_null(tape.records);
	}
	tape.records[tape.len] = malloc(size);
	assert_non_null(tape.records[tape.len]);
	memcpy(tape.records[tape.len++], r, size);
	tape.received[r->kind]++;
}

static void on_batch(void *ctx, const void *data, size_t size)
{
	const struct so_head *r;
	size_t pos = 0;
	int ret;

	(void)ctx;
	while ((ret = decode_next(data, size, &pos, &r)) > 0)
		record_keep(r);
	tape.bad |= ret < 0;
}

/* Merge sort: records of one time keep the order of the ring. */
static void records_sort(struct so_head **r, int n, struct so_head **spare)
{
	int half = n / 2, a = 0, b = half, out = 0;

	if (n < 2)
		return;
	records_sort(r, half, spare);
	records_sort(r + half, n - half, spare);
	while (a < half || b < n)
		spare[out++] = b == n || (a < half && r[a]->time_ns <= r[b]->time_ns) ? r[a++] : r[b++];
	memcpy(r, spare, n * sizeof(*r));
}

void tape_open(const pid_t *pids, int n)
{
	struct observer_config c = { .ring_bytes = 8 << 20 };
	uint32_t tgids[16], slots[16];
	char why[512] = "";

	assert_in_range(n, 1, 16);
	c.probe_on[PROBE_SOCK] = true;
	if (observer_new(&c, &tape.observer, why, sizeof(why)))
		fail_msg("observer_new: %s", why);
	assert_int_equal(observer_load(tape.observer), 0);
	assert_int_equal(observer_attach(tape.observer), 0);
	for (int i = 0; i < n; i++) {
		tgids[i] = pids[i];
		slots[i] = i + 1;
	}
	assert_true(observer_seed(tape.observer, tgids, slots, n) >= n);
}

static bool tape_complete(const struct observer_counts *counts)
{
	for (int k = 0; k < SO_KINDS; k++)
		if (k != SO_ACCEPT && counts->seen[k] != tape.received[k]) /* strangers may go on connecting to unix listeners */
			return false;
	return true;
}

void tape_read(void)
{
	struct so_head **spare;
	struct observer_counts counts;

	/* What a connection still does by itself, as its last packets, is on its way for a moment. */
	for (int i = 0; i < 1000; i++) {
		while (observer_flush(tape.observer, true) > 0)
			;
		assert_true(observer_drain(tape.observer, on_batch, NULL) >= 0);
		assert_false(tape.bad);
		observer_counts_read(tape.observer, &counts);
		if (tape_complete(&counts))
			break;
		sched_yield();
	}
	if (counts.skipped) { /* a program was preempted, and meanwhile its other runs on that CPU left out */
		print_message("skip: kernel: it left out %llu runs of programs\n", (unsigned long long)counts.skipped);
		skip();
	}
	for (int k = 0; k < SO_KINDS; k++)
		for (int r = 0; r < SO_LOSS_COUNT; r++)
			assert_int_equal(counts.lost[k][r], 0);
	assert_true(tape_complete(&counts));
	spare = malloc((tape.len + 1) * sizeof(*spare));
	assert_non_null(spare);
	records_sort(tape.records, tape.len, spare);
	free(spare);
}

struct worker *tape_scene(worker_fn scene, void *arg)
{
	struct worker *w;

	live_need(PROBE_SOCK);
	w = worker_start(scene, arg);
	worker_settle(w);
	tape_open(&w->pid, 1);
	worker_go(w);
	worker_settle(w);
	tape_read();
	return w;
}

static uint32_t number_of(const struct so_head *r)
{
	switch (r->kind) {
	case SO_OPEN:
		return ((const struct so_open *)r)->socket;
	case SO_CONNECT:
		return ((const struct so_connect *)r)->socket;
	case SO_ACCEPT:
		return ((const struct so_accept *)r)->socket;
	case SO_SEND:
	case SO_RECV:
		return ((const struct so_transfer *)r)->socket;
	case SO_CLOSE:
		return ((const struct so_close *)r)->socket;
	default:
		return 0;
	}
}

static void view_add(struct link_view *v, const struct so_head *r)
{
	const struct so_transfer *t = (const void *)r;

	if (r->kind != SO_OPEN && !v->open)
		v->in_order = false;
	switch (r->kind) {
	case SO_OPEN:
		v->open = (const void *)r;
		v->opens++;
		break;
	case SO_CONNECT:
		v->connect = (const void *)r;
		v->connects++;
		break;
	case SO_ACCEPT:
		v->accept = (const void *)r;
		v->accepts++;
		break;
	case SO_CLOSE:
		v->close = (const void *)r;
		v->closes++;
		break;
	case SO_SEND:
		v->sent = t;
		v->sends++;
		v->sent_bytes += t->bytes;
		break;
	case SO_RECV:
		if (!t->bytes) {
			v->ends++;
			break;
		}
		if (!v->receives++)
			v->first_received = t;
		v->received = t;
		v->received_bytes += t->bytes;
		break;
	}
}

struct link_view tape_number(uint32_t number)
{
	struct link_view v = { .in_order = true };

	for (int i = 0; i < tape.len; i++)
		if (number_of(tape.records[i]) == number)
			view_add(&v, tape.records[i]);
	return v;
}

static const struct so_open *open_find(pid_t tgid, int role, int n)
{
	for (int i = 0; i < tape.len; i++) {
		const struct so_open *o = (const void *)tape.records[i];

		if (o->head.kind == SO_OPEN && (!tgid || o->head.tid == (uint32_t)tgid) && (role < 0 || o->role == role) && !n--)
			return o;
	}
	return NULL;
}

struct link_view tape_link(pid_t tgid, enum so_role role, int n)
{
	const struct so_open *o = open_find(tgid, role, n);

	if (!o)
		fail_msg("no connection %d with role %d of process %d", n, role, tgid);
	return tape_number(o->socket);
}

int tape_opens(pid_t tgid, int role)
{
	int n = 0;

	while (open_find(tgid, role, n))
		n++;
	return n;
}

const struct so_head *tape_record(enum so_kind kind, int n)
{
	for (int i = 0; i < tape.len; i++)
		if (tape.records[i]->kind == kind && !n--)
			return tape.records[i];
	return NULL;
}

int tape_count(enum so_kind kind, uint32_t tid)
{
	int n = 0;

	for (int i = 0; i < tape.len; i++)
		n += tape.records[i]->kind == kind && (!tid || tape.records[i]->tid == tid);
	return n;
}

struct held {
	uint32_t number;
	int n;
	bool is;
};

static void on_held(void *ctx, uint32_t number)
{
	struct held *h = ctx;

	h->n++;
	h->is |= number == h->number;
}

int tape_held(uint32_t number, bool *ret_is)
{
	struct held h = { .number = number };

	assert_int_equal(observer_sockets(tape.observer, on_held, &h), 0);
	*ret_is = h.is;
	return h.n;
}

int tape_setup(void **state)
{
	memset(&tape, 0, sizeof(tape));
	return live_setup(state);
}

int tape_teardown(void **state)
{
	for (int i = 0; i < tape.len; i++)
		free(tape.records[i]);
	free(tape.records);
	live_teardown(state);
	observer_free(tape.observer);
	return 0;
}

void link_open_check(const struct link_view *v, const struct worker *w, int family, int type)
{
	assert_int_equal(v->opens, 1);
	assert_true(v->in_order);
	assert_int_equal(v->open->head.agent, 1);
	assert_int_equal(v->open->head.tid, w->pid);
	assert_int_equal(v->open->family, family);
	assert_int_equal(v->open->type, type);
	assert_true(v->open->socket > 0);
}

void link_moved_check(const struct link_view *v, int sends, uint64_t sent_bytes, int receives, uint64_t received_bytes, int ends)
{
	assert_int_equal(v->sends, sends);
	assert_int_equal(v->sent_bytes, sent_bytes);
	assert_int_equal(v->receives, receives);
	assert_int_equal(v->received_bytes, received_bytes);
	assert_int_equal(v->ends, ends);
}

void link_close_check(const struct link_view *v, int error)
{
	assert_int_equal(v->closes, 1);
	assert_int_equal(v->close->error, error);
	assert_int_equal(v->close->head.agent, 1);
}
