/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How exchanges follow each other, as sends and receives tell: bursts, chains, parts of a request that were held back. */
#include <sys/socket.h>

#include "lib_world.h"

/* A connection that is open already, to this port of 10.0.0.1. */
static void open_to(struct scene *y, unsigned socket, unsigned port)
{
	struct so_open r = { .head = { SO_OPEN, 6, 1, ROOT, y->now }, .socket = socket, .family = AF_INET, .type = SOCK_STREAM, .role = SO_ROLE_UNKNOWN,
			     .remote_port = port, .local_port = 40000, .remote = { 10, 0, 0, 1 } };

	world_record(y->w, &r.head);
}

static void send_by(struct scene *y, unsigned tid, unsigned socket, unsigned bytes)
{
	struct so_transfer r = { .head = { SO_SEND, 1, 1, tid, y->now }, .socket = socket, .bytes = bytes };

	world_record(y->w, &r.head);
}

static void receive(struct scene *y, unsigned socket, unsigned bytes)
{
	struct so_transfer r = { .head = { SO_RECV, 1, 1, ROOT, y->now }, .socket = socket, .bytes = bytes, .ago = 1 };

	world_record(y->w, &r.head);
}

/* An exchange that takes so long. */
static void call(struct scene *y, unsigned socket, unsigned bytes, uint64_t took_ns)
{
	send_by(y, ROOT, socket, bytes);
	y->now += took_ns;
	receive(y, socket, 500);
}

static const struct metric_set *peer_at(const struct agent_data *a, const char *text)
{
	for (int i = 0; i < a->peers_len; i++)
		if (!strcmp(a->peers[i].peer, text))
			return &a->peers[i].metrics;
	fail();
	return NULL;
}

static void bursts(void **ctx)
{
	struct scene y = scene_start();
	const struct agent_data *a;

	(void)ctx;
	open_to(&y, 1, 5432);
	for (int i = 0; i < 10; i++) { /* 900 us each with the time between */
		call(&y, 1, 60 + i % 2, 700 * US);
		y.now += 200 * US;
	}
	y.now += 5 * MS; /* a pause */
	call(&y, 1, 60, MS);
	y.now += 3 * MS;
	call(&y, 1, 60, MS);
	call(&y, 1, 60, MS);
	call(&y, 1, 200, MS); /* another kind of request */
	a = scene_finish(&y, SO_WAIT_POLL, true);
	assert_hist(&a->metrics, M_BURST_EXCHANGES, 2, 12);
	assert_hist(&a->metrics, M_BURST_NS, 2, 9 * 900 * US + 700 * US + 2 * MS);
	assert_hist(peer_at(a, "10.0.0.1:5432"), M_BURST_EXCHANGES, 2, 12);
	assert_hist(&a->metrics, M_SERIAL_SAVED_NS, 0, 0);
	world_free(y.w);
}

/* One that never pauses is told of before it ends. */
static void a_burst_without_end(void **ctx)
{
	struct scene y = scene_start();
	const struct agent_data *a;

	(void)ctx;
	open_to(&y, 1, 6379);
	for (int i = 0; i < 2500; i++)
		call(&y, 1, 60, 10 * US);
	a = scene_finish(&y, SO_WAIT_POLL, true);
	assert_hist(&a->metrics, M_BURST_EXCHANGES, 3, 2500);
	world_free(y.w);
}

static void chains(void **ctx)
{
	struct scene y = scene_start();
	const struct agent_data *a;

	(void)ctx;
	open_to(&y, 1, 5432);
	open_to(&y, 2, 6379);
	open_to(&y, 3, 8080);
	for (int i = 0; i < 3; i++) {
		call(&y, 1, 60, 30 * MS);
		y.now += MS;
		call(&y, 2, 60, 20 * MS);
		y.now += MS;
		call(&y, 3, 60, 10 * MS);
		y.now += MS; /* the first peer again: another chain */
	}
	y.now += 10 * MS;
	call(&y, 1, 60, 30 * MS); /* nothing near it */
	y.now += 10 * MS;
	call(&y, 2, 60, 30 * MS);
	a = scene_finish(&y, SO_WAIT_POLL, true);
	assert_hist(&a->metrics, M_SERIAL_SAVED_NS, 3, 3 * 30 * MS);
	assert_int_equal(a->metrics.value[M_EXCHANGES_SERIAL], 9);
	assert_int_equal(peer_at(a, "10.0.0.1:5432")->value[M_EXCHANGES_SERIAL], 3);
	assert_int_equal(peer_at(a, "10.0.0.1:8080")->value[M_EXCHANGES_SERIAL], 3);
	world_free(y.w);
}

static void no_chains(void **ctx)
{
	struct scene y = scene_start();
	const struct agent_data *a;

	(void)ctx;
	for (unsigned i = 1; i <= 6; i++)
		open_to(&y, i, 7000 + i);
	/* Together. */
	send_by(&y, ROOT, 2, 60);
	send_by(&y, ROOT, 1, 60);
	y.now += 20 * MS;
	receive(&y, 1, 500);
	call(&y, 3, 60, 20 * MS); /* the second is outstanding all the time */
	receive(&y, 2, 500);
	y.now += 10 * MS;
	/* Another thread's. */
	call(&y, 4, 60, 20 * MS);
	send_by(&y, ROOT + 1, 5, 60);
	y.now += 20 * MS;
	receive(&y, 5, 500);
	y.now += 10 * MS;
	/* More of the first answer came while the second was asked: a stream. */
	call(&y, 1, 60, 20 * MS);
	y.now += MS;
	send_by(&y, ROOT, 6, 60);
	y.now += 5 * MS;
	receive(&y, 1, 500);
	y.now += 5 * MS;
	receive(&y, 6, 500);
	a = scene_finish(&y, SO_WAIT_POLL, true);
	assert_hist(&a->metrics, M_SERIAL_SAVED_NS, 0, 0);
	assert_int_equal(a->metrics.value[M_EXCHANGES_SERIAL], 0);
	world_free(y.w);
}

/* What a model is asked is made of what came before: no use to say that it might have been asked at once. */
static void models_are_no_links(void **ctx)
{
	static const char line[] = "GET / HTTP/1.1\r\nHost: api.openai.com\r\n\r\n";
	struct scene y = scene_start();
	struct so_content c = { .head = { SO_CONTENT, 17, 1, ROOT, y.now }, .socket = 1, .bytes = sizeof(line) - 1 };
	static const struct peer_rules rules;
	const struct agent_data *a;

	(void)ctx;
	world_peers(y.w, &rules, PEERS_KEPT);
	memcpy(c.data, line, sizeof(line) - 1);
	open_to(&y, 1, 80);
	open_to(&y, 2, 5432);
	world_record(y.w, &c.head);
	call(&y, 2, 60, 20 * MS);
	call(&y, 1, 60, 20 * MS);
	call(&y, 2, 60, 20 * MS);
	a = scene_finish(&y, SO_WAIT_POLL, true);
	assert_int_equal(a->metrics.value[M_EXCHANGES], 3);
	assert_int_equal(a->metrics.value[M_EXCHANGES_SERIAL], 0);
	world_free(y.w);
}

/* A request in two sends, of which the first n were told of. */
static void said(struct scene *y, unsigned n, uint64_t hash)
{
	for (unsigned i = 0; i < 2; i++) {
		struct so_digest r = { .head = { SO_DIGEST, 1, 1, ROOT, y->now }, .socket = 1, .bytes = 10, .hash = hash + i };

		send_by(y, ROOT, 1, 10);
		if (i < n)
			world_record(y->w, &r.head);
	}
	y->now += MS;
	receive(y, 1, 500);
	y->now += MS;
}

static void repeats(void **ctx)
{
	struct scene y = scene_start();
	const struct agent_data *a;

	(void)ctx;
	open_to(&y, 1, 80);
	said(&y, 2, 7);
	said(&y, 2, 8);
	said(&y, 2, 7); /* the first one again */
	said(&y, 1, 7); /* of some parts nothing is known */
	said(&y, 1, 7);
	said(&y, 0, 7);
	said(&y, 2, 8);
	a = scene_finish(&y, SO_WAIT_POLL, true);
	assert_int_equal(a->metrics.value[M_EXCHANGES], 7);
	assert_int_equal(a->metrics.value[M_REQUESTS_REPEATED], 2);
	assert_hist(&a->metrics, M_REPEATED_NS, 2, 2 * MS);
	assert_int_equal(peer_at(a, "10.0.0.1:80")->value[M_REQUESTS_REPEATED], 2);
	world_free(y.w);
}

static void plain(struct scene *y, uint64_t hash)
{
	struct so_digest r = { .head = { SO_DIGEST, 1, 1, ROOT, y->now }, .bytes = 10, .hash = hash };

	world_record(y->w, &r.head);
}

/* A request over TLS: what it was before it was encrypted says whether it was made before; what was sent is never the same. */
static void repeats_before_encryption(void **ctx)
{
	struct scene y = scene_start();
	const struct agent_data *a;

	(void)ctx;
	open_to(&y, 1, 443);
	for (unsigned i = 0; i < 3; i++) { /* the second and third time it is a repeat */
		plain(&y, 7);
		plain(&y, 8);
		said(&y, 2, 100 + 2 * i);
	}
	plain(&y, 7); /* tried again: the connection was not ready */
	plain(&y, 7);
	plain(&y, 8);
	said(&y, 2, 200);
	plain(&y, 8); /* the other way round it is something else */
	plain(&y, 7);
	said(&y, 2, 300);
	plain(&y, 7);
	y.now += S; /* not of the send that follows */
	said(&y, 2, 400);
	a = scene_finish(&y, SO_WAIT_POLL, true);
	assert_int_equal(a->metrics.value[M_EXCHANGES], 6);
	assert_int_equal(a->metrics.value[M_REQUESTS_REPEATED], 3);
	world_free(y.w);
}

static void parts_held_back(void **ctx)
{
	static const struct {
		unsigned sends, held_ms, bytes;
		bool told;
	} cases[] = { { 2, 41, 100, true }, { 2, 5, 100, false }, { 1, 41, 100, false }, { 2, 41, 60000, false } };
	struct scene y = scene_start();
	uint64_t sum = 0, sends = 0;
	const struct agent_data *a;

	(void)ctx;
	open_to(&y, 1, 5432);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct so_transfer r = { .head = { SO_RECV, 1, 1, ROOT, 0 }, .socket = 1, .bytes = 10, .ago = 1, .flags = SO_TRANSFER_HELD, .rtt_us = 2000 };

		for (unsigned n = 0; n < cases[i].sends; n++)
			send_by(&y, ROOT, 1, cases[i].bytes);
		y.now += cases[i].held_ms * MS + 2 * MS; /* it left after the one, the answer came after the other */
		r.head.time_ns = y.now;
		world_record(y.w, &r.head);
		y.now += 10 * MS;
		sum += cases[i].told ? cases[i].held_ms * MS : 0;
		sends += cases[i].sends;
	}
	a = scene_finish(&y, SO_WAIT_POLL, true);
	assert_hist(&a->metrics, M_ACK_STALL_NS, 1, sum);
	assert_hist(&a->metrics, M_REQUEST_SENDS, 4, sends);
	assert_hist(peer_at(a, "10.0.0.1:5432"), M_ACK_STALL_NS, 1, sum);
	assert_hist(&a->metrics, M_RTT_NS, 0, 0);
	world_free(y.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bursts),	  cmocka_unit_test(a_burst_without_end), cmocka_unit_test(chains),
		cmocka_unit_test(no_chains),	  cmocka_unit_test(models_are_no_links), cmocka_unit_test(parts_held_back), cmocka_unit_test(repeats), cmocka_unit_test(repeats_before_encryption),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
