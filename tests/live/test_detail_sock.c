/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Sends and receives that are counted only, for a while or at times: no byte is missing or counted twice, no exchange is told that was longer than the real
 * one, nothing stays outstanding, and connections that come and go meanwhile are told all the same.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/util.h"
#include "lib_live.h"
#include "lib_place.h"
#include "lib_work.h"
#include "model/hist.h"

#define TURNS 20000
#define HEAD 1010 /* bytes that requests and answers begin with: more than can follow, so that parts are told from wholes */
#define REST_EVERY 16 /* exchanges between two rests of the client, which are far longer than an exchange */
#define REST_NS 500000
#define TOGGLE_MAX_US 1500

static void level_set(struct live *l, uint32_t sock)
{
	observer_detail(l->observer, &(struct so_detail){ .sock = sock });
}

/* --- at any moment --- */

struct pair {
	int fd[2];
};

/* Both ends. place: unix sockets have none; another's, which the caller closes, tells by its listener which end serves. */
static void pair_open(struct pair *pair, struct place *place, int family)
{
	if (family == AF_UNIX) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair->fd), 0);
		return;
	}
	assert_true(place_open(place, family));
	assert_true(place_pair(place, &pair->fd[0], &pair->fd[1]));
}

/* A request and an answer are two sends each. */
static void pair_hurry(const struct pair *pair)
{
	for (int i = 0; i < 2; i++)
		assert_int_equal(setsockopt(pair->fd[i], IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)), 0);
}

static void pair_close(const struct pair *pair)
{
	close(pair->fd[0]);
	close(pair->fd[1]);
}

/* value: 0 longest exchange, 1 bytes sent, 2 bytes received, 3 exchanges. */
static int asks(struct worker *self, void *arg)
{
	struct pair *p = arg;
	struct timespec rest = { .tv_nsec = REST_NS };

	worker_pause(self);
	for (int i = 0; i < TURNS; i++) {
		size_t request = 1 + i % 97, answer = 1 + i % 1009;
		uint64_t begin, took;

		if (i % REST_EVERY == 0)
			nanosleep(&rest, NULL);
		begin = clock_ns();
		worker_check(send(p->fd[0], data, HEAD, 0) == HEAD);
		worker_check(send(p->fd[0], data, request, 0) == (ssize_t)request);
		receive_all(p->fd[0], HEAD);
		receive_all(p->fd[0], answer);
		took = clock_ns() - begin;
		if (took > self->value[0])
			self->value[0] = took;
		self->value[1] += HEAD + request;
		self->value[2] += HEAD + answer;
		self->value[3]++;
	}
	worker_pause(self);
	return 0;
}

static int answers(struct worker *self, void *arg)
{
	struct pair *p = arg;

	worker_pause(self);
	for (int i = 0; i < TURNS; i++) {
		ssize_t answer = 1 + i % 1009;

		receive_all(p->fd[1], HEAD);
		receive_all(p->fd[1], 1 + i % 97);
		worker_check(send(p->fd[1], data, HEAD, 0) == HEAD);
		worker_check(send(p->fd[1], data, answer, 0) == answer);
	}
	worker_pause(self);
	return 0;
}

/* Drains until the worker is done, and turns the level at random moments. Returns how often. */
static int toggle_until(struct live *l, struct worker *w)
{
	struct pollfd p = { .fd = w->done_fd, .events = POLLIN };
	unsigned seed = 1;
	int turns = 0;

	while (poll(&p, 1, 0) == 0 && waitpid(w->pid, NULL, WNOHANG | WNOWAIT) != w->pid) {
		struct timespec pause = { .tv_nsec = 1000L * (rand_r(&seed) % TOGGLE_MAX_US) };

		nanosleep(&pause, NULL);
		level_set(l, turns++ % 2 ? SO_DETAIL_FULL : SO_DETAIL_COUNTS);
		if (turns % 8 == 0)
			assert_true(collector_drain(l->collector) >= 0);
	}
	worker_settle(w);
	return turns;
}

static void toggling_check(int family)
{
	struct worker *client, *server;
	const struct agent_data *const *all;
	const struct agent_info *const *infos;
	struct observer_counts counts;
	struct place place;
	struct pair pair;
	struct live *l;
	int n;

	live_need(PROBE_SOCK);
	pair_open(&pair, &place, family);
	if (family != AF_UNIX) {
		place_close(&place);
		pair_hurry(&pair);
	}
	client = worker_start(asks, &pair);
	server = worker_start(answers, &pair);
	worker_settle(client);
	worker_settle(server);
	l = live_open(NULL);
	live_watch(l, (pid_t[]){ client->pid, server->pid }, 2);
	worker_go(server);
	worker_go(client);
	assert_true(toggle_until(l, client) > 100);
	live_until(l, server);
	level_set(l, SO_DETAIL_FULL);
	live_close(l, true, 0);
	observer_counts_read(l->observer, &counts);
	if (counts.skipped) {
		print_message("skip: kernel: it left out %llu runs of programs\n", (unsigned long long)counts.skipped);
		skip();
	}
	all = world_total(l->world, &infos, &n);
	assert_int_equal(n, 2);
	assert_int_equal(counter_of(all[0], M_SENT_BYTES), client->value[1]);
	assert_int_equal(counter_of(all[0], M_RECEIVED_BYTES), client->value[2]);
	assert_int_equal(counter_of(all[1], M_SENT_BYTES), client->value[2]);
	assert_int_equal(counter_of(all[1], M_RECEIVED_BYTES), client->value[1]);
	/* Each call counted one way or the other. */
	assert_int_equal(counts.events[SO_EVENT_SEND] + counts.seen[SO_SEND], 4 * TURNS);
	assert_true(counts.events[SO_EVENT_SEND] > TURNS / 10 && counts.seen[SO_SEND] > TURNS / 10);
	assert_true(counts.events[SO_EVENT_RECV] > TURNS / 10 && counts.events[SO_EVENT_ARRIVAL] > TURNS / 10);
	/* What is told of exchanges is true, and there is something, though not all. */
	assert_in_range(hist_count(all[0], M_EXCHANGE_NS), TURNS / 20, TURNS - 100);
	assert_true(all[0]->metrics.hist[M_EXCHANGE_NS]->max <= client->value[0]);
	assert_true(all[0]->metrics.hist[M_TTFB_NS]->max <= client->value[0]);
	assert_true(all[0]->metrics.hist[M_PICKUP_NS]->max <= client->value[0]);
	assert_true(all[0]->metrics.hist[M_REQUEST_BYTES]->min > HEAD && all[0]->metrics.hist[M_REQUEST_BYTES]->max <= HEAD + 97);
	assert_true(all[0]->metrics.hist[M_ANSWER_BYTES]->min > HEAD && all[0]->metrics.hist[M_ANSWER_BYTES]->max <= HEAD + 1009);
	pair_close(&pair);
}

static void test_toggling_tcp(void **state)
{
	(void)state;
	toggling_check(AF_INET);
}

static void test_toggling_unix(void **state)
{
	(void)state;
	toggling_check(AF_UNIX);
}

/* The programs taken away and attached again, at random moments: what is told of exchanges is true all the same. */
static void test_taken_away(void **state)
{
	struct worker *client, *server;
	struct observer_counts counts;
	const struct agent_data *a;
	uint64_t sends, seen, turns, watched = 0;
	struct place place;
	struct pair pair;
	unsigned seed = 1;
	struct live *l;

	(void)state;
	live_need(PROBE_SOCK);
	pair_open(&pair, &place, AF_INET);
	place_close(&place);
	pair_hurry(&pair);
	client = worker_start(asks, &pair);
	server = worker_start(answers, &pair);
	worker_settle(client);
	worker_settle(server);
	l = live_open(NULL);
	live_watch(l, (pid_t[]){ client->pid, server->pid }, 2);
	worker_go(server);
	worker_go(client);
	while (client->value[3] < TURNS / 4)
		assert_true(collector_drain(l->collector) >= 0);
	level_set(l, SO_DETAIL_OFF);
	assert_true(collector_drain(l->collector) >= 0);
	observer_counts_read(l->observer, &counts);
	seen = counts.seen[SO_SEND];
	sends = counts.events[SO_EVENT_SEND];
	for (uint64_t until = client->value[3] + 100; client->value[3] < until;)
		assert_true(collector_drain(l->collector) >= 0);
	observer_counts_read(l->observer, &counts);
	assert_int_equal(counts.seen[SO_SEND], seen); /* nothing runs */
	assert_int_equal(counts.events[SO_EVENT_SEND], sends);
	while (client->value[3] < TURNS) {
		struct timespec pause = { .tv_nsec = 1000L * (rand_r(&seed) % TOGGLE_MAX_US) };

		level_set(l, SO_DETAIL_FULL);
		turns = client->value[3];
		nanosleep(&pause, NULL);
		watched += client->value[3] - turns;
		level_set(l, SO_DETAIL_OFF);
		assert_true(collector_drain(l->collector) >= 0);
	}
	level_set(l, SO_DETAIL_FULL);
	live_until(l, client);
	live_until(l, server);
	a = live_close(l, true, 0);
	observer_counts_read(l->observer, &counts);
	if (!watched) {
		print_message("skip: kernel: putting the programs in and out took longer than the conversation\n");
		skip();
	}
	if (counts.skipped) {
		print_message("skip: kernel: it left out %llu runs of programs\n", (unsigned long long)counts.skipped);
		skip();
	}
	assert_in_range(counts.seen[SO_SEND], seen + 1, 4 * TURNS - 400);
	assert_in_range(hist_count(a, M_EXCHANGE_NS), TURNS / 5, TURNS - 100);
	assert_true(a->metrics.hist[M_EXCHANGE_NS]->max <= client->value[0]);
	assert_true(a->metrics.hist[M_TTFB_NS]->max <= client->value[0]);
	assert_true(a->metrics.hist[M_PICKUP_NS]->max <= client->value[0]);
	assert_true(a->metrics.hist[M_REQUEST_BYTES]->min > HEAD && a->metrics.hist[M_REQUEST_BYTES]->max <= HEAD + 97);
	assert_true(a->metrics.hist[M_ANSWER_BYTES]->min > HEAD && a->metrics.hist[M_ANSWER_BYTES]->max <= HEAD + 1009);
	pair_close(&pair);
}

/* --- what straddles a change --- */

/* An exchange; a request that is answered after the second change; one more exchange. The server's side is the test's. */
static int asks_slowly(struct worker *self, void *arg)
{
	struct pair *p = arg;

	worker_pause(self);
	for (int i = 0; i < 3; i++) {
		struct pollfd answer = { .fd = p->fd[0], .events = POLLIN };

		worker_check(send(p->fd[0], data, 10, 0) == 10);
		self->value[0] = i + 1;
		worker_check(poll(&answer, 1, -1) == 1);
		receive_all(p->fd[0], 100);
		worker_pause(self);
	}
	return 0;
}

/* The worker has asked, and waits. */
static void asked_wait(struct live *l, struct worker *w, uint64_t nth)
{
	while (w->value[0] < nth)
		assert_true(collector_drain(l->collector) >= 0);
	task_blocked(w->pid, w->pid);
}

static void answer(struct pair *p)
{
	char got[10];

	assert_int_equal(recv(p->fd[1], got, sizeof(got), MSG_WAITALL), sizeof(got));
	assert_int_equal(send(p->fd[1], data, 100, 0), 100);
}

static uint64_t outstanding(const struct agent_data *a)
{
	uint64_t ns = 0;

	for (int c = 0; c < CLASS_COUNT; c++)
		ns += a->concurrency[c].outstanding_ns;
	return ns;
}

static void test_straddling(void **state)
{
	const struct agent_data *a;
	struct place place;
	struct pair pair;
	uint64_t dropped_ns, begun_ns, first_ns, third_ns, blind_ns;
	struct worker *w;
	struct live *l;

	(void)state;
	live_need(PROBE_SOCK);
	pair_open(&pair, &place, AF_INET);
	w = worker_start(asks_slowly, &pair);
	worker_settle(w);
	l = live_open(NULL);
	live_watch(l, &w->pid, 1);
	begun_ns = clock_ns();
	worker_go(w);
	asked_wait(l, w, 1);
	answer(&pair);
	live_until(l, w);
	first_ns = clock_ns() - begun_ns;
	worker_go(w);
	asked_wait(l, w, 2);
	level_set(l, SO_DETAIL_COUNTS);
	dropped_ns = clock_ns();
	a = live_close(l, false, 0);
	assert_int_equal(counter_of(a, M_EXCHANGES), 1);
	assert_true(outstanding(a) > 0);
	assert_true(outstanding(a) <= dropped_ns - l->start_ns);
	world_next(l->world);
	blind_ns = l->end_ns;
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	a = live_close(l, false, 0);
	/* It still waits; but for what is not known now. */
	blind_ns = l->end_ns - blind_ns;
	assert_int_equal(outstanding(a), 0);
	if (l->on[PROBE_SCHED]) {
		assert_near(a->main.ns[STATE_POLL], blind_ns, blind_ns / 100);
		assert_int_equal(a->main.ns[STATE_IDLE], 0);
	}
	world_next(l->world);
	level_set(l, SO_DETAIL_FULL);
	answer(&pair);
	live_until(l, w);
	a = live_close(l, false, 0);
	assert_int_equal(counter_of(a, M_EXCHANGES), 0);
	assert_int_equal(hist_count(a, M_TTFB_NS), 0);
	assert_int_equal(counter_of(a, M_RECEIVED_BYTES), 100);
	world_next(l->world);
	begun_ns = clock_ns();
	worker_go(w);
	asked_wait(l, w, 3);
	answer(&pair);
	live_until(l, w);
	third_ns = clock_ns() - begun_ns;
	a = live_close(l, true, 0);
	assert_int_equal(counter_of(a, M_EXCHANGES), 2);
	assert_int_equal(counter_of(a, M_RECEIVED_BYTES), 300);
	assert_in_range(hist_sum(a, M_EXCHANGE_NS), 1, first_ns + third_ns); /* without the 50 ms and more of the second one */
	place_close(&place);
	pair_close(&pair);
}

/* --- what had arrived --- */

#define LATER_NS 50000000

static int reads(struct worker *self, void *arg)
{
	struct pair *p = arg;

	for (int i = 0; i < 3; i++) {
		worker_pause(self);
		worker_check(recv(p->fd[1], data, sizeof(data), 0) == (i == 1 ? 20 : 10));
		worker_check(send(p->fd[1], data, 1, 0) == 1);
	}
	worker_pause(self);
	return 0;
}

static void request(struct pair *p)
{
	struct pollfd there = { .fd = p->fd[1], .events = POLLIN };

	assert_int_equal(send(p->fd[0], data, 10, 0), 10);
	assert_int_equal(poll(&there, 1, -1), 1);
	nanosleep(&(struct timespec){ .tv_nsec = LATER_NS }, NULL);
}

/* Read without detail what had arrived with it; and the other way round: when the oldest of it came is known of neither. */
static void test_arrivals(void **state)
{
	const struct agent_data *a;
	uint64_t begin_ns;
	struct place place;
	struct pair pair;
	struct worker *w;
	struct live *l;

	(void)state;
	live_need(PROBE_SOCK);
	pair_open(&pair, &place, AF_INET);
	w = worker_start(reads, &pair);
	worker_settle(w);
	l = live_open(NULL);
	live_watch(l, &w->pid, 1);
	request(&pair);
	level_set(l, SO_DETAIL_COUNTS);
	worker_go(w);
	live_until(l, w);
	request(&pair);
	level_set(l, SO_DETAIL_FULL);
	request(&pair);
	worker_go(w);
	live_until(l, w);
	begin_ns = clock_ns();
	request(&pair);
	worker_go(w);
	live_until(l, w);
	a = live_close(l, true, 0);
	assert_int_equal(counter_of(a, M_RECEIVED_BYTES), 40);
	assert_int_equal(hist_count(a, M_SERVE_PICKUP_NS), 1);
	assert_in_range(hist_sum(a, M_SERVE_PICKUP_NS), LATER_NS, l->end_ns - begin_ns);
	place_close(&place);
	pair_close(&pair);
}

/* --- what comes and goes meanwhile --- */

#define OPENED 20

static int opens(struct worker *self, void *arg)
{
	struct place *p = arg;

	worker_pause(self);
	for (int i = 0; i < OPENED; i++) {
		int fd = socket(p->family, SOCK_STREAM, 0), peer;

		worker_check(!connect(fd, (void *)&p->at, p->len));
		peer = accept(p->listener, NULL, NULL);
		worker_check(send(fd, data, 100, 0) == 100);
		receive_all(peer, 100);
		close(fd);
		worker_check(recv(peer, data, 1, 0) == 0);
		close(peer);
	}
	worker_pause(self);
	return 0;
}

static void test_connections_are_told(void **state)
{
	struct observer_counts counts;
	const struct agent_data *a;
	struct place place;
	struct worker *w;
	struct live *l;

	(void)state;
	live_need(PROBE_SOCK);
	assert_true(place_open(&place, AF_INET));
	w = worker_start(opens, &place);
	worker_settle(w);
	l = live_open(NULL);
	live_watch(l, &w->pid, 1);
	level_set(l, SO_DETAIL_COUNTS);
	worker_go(w);
	live_until(l, w);
	a = live_close(l, true, 0);
	observer_counts_read(l->observer, &counts);
	assert_int_equal(counter_of(a, M_CONNECTS), OPENED);
	assert_int_equal(counter_of(a, M_ACCEPTS), OPENED);
	assert_int_equal(hist_count(a, M_CONNECT_NS), OPENED);
	assert_int_equal(counter_of(a, M_SENT_BYTES), OPENED * 100);
	assert_int_equal(counter_of(a, M_RECEIVED_BYTES), OPENED * 100);
	assert_int_equal(counter_of(a, M_EXCHANGES) + counter_of(a, M_EXCHANGES_SERVED), 0);
	assert_int_equal(counter_of(a, M_ERRORS_UNANSWERED), 0); /* nobody knows */
	assert_int_equal(counts.seen[SO_SEND] + counts.seen[SO_RECV], 0);
	assert_int_equal(counts.seen[SO_CLOSE], 2 * OPENED);
	place_close(&place);
}

/* Where names are not looked for, the first bytes of a connection stay where they are. */
static void test_contents(void **state)
{
	struct observer_counts before, after;
	struct place place;
	struct worker *w[2];
	struct live *l;
	pid_t pids[2];

	(void)state;
	live_need(PROBE_SOCK);
	live_need(PROBE_NAMES);
	assert_true(place_open(&place, AF_INET));
	for (int i = 0; i < 2; i++) {
		w[i] = worker_start(opens, &place);
		worker_settle(w[i]);
		pids[i] = w[i]->pid;
	}
	l = live_open(NULL);
	live_watch(l, pids, 2);
	observer_detail(l->observer, &(struct so_detail){ .names = SO_DETAIL_COUNTS });
	worker_go(w[0]);
	live_until(l, w[0]);
	observer_counts_read(l->observer, &before);
	observer_detail(l->observer, &(struct so_detail){});
	worker_go(w[1]);
	live_until(l, w[1]);
	observer_counts_read(l->observer, &after);
	assert_int_equal(before.seen[SO_CONTENT], 0);
	assert_int_equal(before.seen[SO_SEND], OPENED);
	assert_int_equal(after.seen[SO_CONTENT], OPENED);
	live_close(l, true, 0);
	place_close(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST(test_toggling_tcp),
		LIVE_TEST(test_toggling_unix),
		LIVE_TEST(test_taken_away),
		LIVE_TEST(test_straddling),
		LIVE_TEST(test_arrivals),
		LIVE_TEST(test_connections_are_told),
		LIVE_TEST(test_contents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
