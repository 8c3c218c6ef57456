/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Connections, bytes and exchanges over IPv4, IPv6 and unix sockets: exact counts, each at the agent that it belongs to, none for a bystander. */
#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/util.h"
#include "lib_live.h"
#include "lib_place.h"

#define CONNECTS 25
#define CONNECTS_BAD 7
#define CHUNK 65536
#define CHUNKS_EACH 16 /* 1 MiB for each way to send */
#define WAYS 4

/* A kernel whose tracepoints can be preempted leaves out runs of a program that was: counted, but then nothing is exact. */
static void skipped_check(struct live *l)
{
	struct observer_counts counts;

	observer_counts_read(l->observer, &counts);
	if (!counts.skipped)
		return;
	print_message("skip: kernel: it left out %llu runs of programs\n", (unsigned long long)counts.skipped);
	skip();
}

/* --- connections --- */

static int acceptor(struct worker *self, void *arg)
{
	struct place *p = arg;

	worker_check(place_open(p, p->family)); /* listens before anybody watches */
	memcpy((void *)&self->value[0], &p->at, sizeof(p->at));
	memcpy((void *)&self->value[32], &p->closed_at, sizeof(p->closed_at));
	worker_pause(self);
	for (int i = 0; i < CONNECTS; i++) {
		int fd = accept(p->listener, NULL, NULL);

		worker_check(fd >= 0);
		close(fd);
	}
	worker_pause(self);
	return 0;
}

static int connecter(struct worker *self, void *arg)
{
	struct place *p = arg;

	worker_pause(self);
	for (int i = 0; i < CONNECTS + CONNECTS_BAD; i++) {
		int fd = socket(p->family, SOCK_STREAM, 0), ret = connect(fd, (void *)(i < CONNECTS ? &p->at : &p->closed_at), p->len);

		worker_check(i < CONNECTS ? !ret : ret && errno == ECONNREFUSED);
		close(fd);
	}
	worker_pause(self);
	return 0;
}

/* Skips the test where the kernel lacks it, or the probe. */
static void family_need(int family)
{
	live_need(PROBE_SOCK);
	if (!family_has(family)) {
		print_message("skip: kernel: no sockets of family %d\n", family);
		skip();
	}
}

static void connects_check(int family)
{
	struct place place = { .family = family };
	struct worker *server, *client, *stranger[2], *idle;
	const struct agent_data *const *all;
	const struct agent_info *const *infos;
	struct place other = { .family = family };
	struct live *l;
	int n;

	family_need(family);
	server = worker_start(acceptor, &place);
	worker_settle(server);
	assert_true(place_bind(&place.listener, family, &place.at, &place.len)); /* for the length of the address */
	close(place.listener);
	memcpy(&place.at, (void *)&server->value[0], sizeof(place.at));
	memcpy(&place.closed_at, (void *)&server->value[32], sizeof(place.closed_at));
	if (family == AF_UNIX)
		place.len = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(((struct sockaddr_un *)&place.at)->sun_path + 1);
	client = worker_start(connecter, &place);
	stranger[0] = worker_start(acceptor, &other);
	worker_settle(stranger[0]);
	other.len = place.len;
	memcpy(&other.at, (void *)&stranger[0]->value[0], sizeof(other.at));
	memcpy(&other.closed_at, (void *)&stranger[0]->value[32], sizeof(other.closed_at));
	if (family == AF_UNIX)
		other.len = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(((struct sockaddr_un *)&other.at)->sun_path + 1);
	stranger[1] = worker_start(connecter, &other);
	idle = worker_start(connecter, &place);
	worker_settle(client);
	worker_settle(stranger[1]);
	worker_settle(idle);
	l = live_open(NULL);
	live_watch(l, (pid_t[]){ client->pid, server->pid, idle->pid }, 3);
	for (int i = 0; i < 2; i++)
		worker_go(stranger[i]);
	worker_go(server);
	worker_go(client);
	live_until(l, client);
	live_until(l, server);
	worker_settle(stranger[0]);
	worker_settle(stranger[1]);
	live_close(l, true, 0);
	skipped_check(l);
	all = world_total(l->world, &infos, &n);
	assert_int_equal(n, 3);
	assert_int_equal(counter_of(all[0], M_CONNECTS), CONNECTS);
	/* A unix connect that is refused reaches no hook: known not to be counted. */
	assert_int_equal(counter_of(all[0], M_CONNECTS_FAILED), family == AF_UNIX ? 0 : CONNECTS_BAD);
	assert_int_equal(hist_count(all[0], M_CONNECT_NS), family == AF_UNIX ? 0 : CONNECTS);
	assert_int_equal(counter_of(all[0], M_ACCEPTS), 0);
	assert_int_equal(counter_of(all[1], M_ACCEPTS), CONNECTS);
	assert_int_equal(counter_of(all[1], M_CONNECTS), 0);
	assert_int_equal(counter_of(all[1], M_CONNECTS_FAILED), 0);
	for (int m = M_CONNECTS; m <= M_RETRANSMITS; m++)
		assert_int_equal(all[2]->metrics.value[m], 0);
}

static void test_connects_ipv4(void **state)
{
	(void)state;
	connects_check(AF_INET);
}

static void test_connects_ipv6(void **state)
{
	(void)state;
	connects_check(AF_INET6);
}

static void test_connects_unix(void **state)
{
	(void)state;
	connects_check(AF_UNIX);
}

/* --- bytes --- */

static char chunk[CHUNK];

static ssize_t send_way(int fd, int way, size_t len)
{
	struct iovec v[2] = { { chunk, len / 2 }, { chunk, len - len / 2 } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };

	switch (way) {
	case 0:
		return send(fd, chunk, len, 0);
	case 1:
		return write(fd, chunk, len);
	case 2:
		return sendmsg(fd, &m, 0);
	default:
		return writev(fd, v, 2);
	}
}

static ssize_t receive_way(int fd, int way, size_t len)
{
	struct iovec v[2] = { { chunk, len / 2 }, { chunk, len - len / 2 } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };

	switch (way) {
	case 0:
		if (recv(fd, chunk, 1, MSG_PEEK) != 1) /* a look is no receipt */
			return -1;
		return recv(fd, chunk, len, 0);
	case 1:
		return read(fd, chunk, len);
	case 2:
		return recvmsg(fd, &m, 0);
	default:
		return readv(fd, v, 2);
	}
}

struct flow {
	int fd;
	bool sends;
};

static int mover(struct worker *self, void *arg)
{
	struct flow *f = arg;
	uint64_t calls = 0;

	worker_pause(self);
	for (int way = 0; way < WAYS; way++)
		for (size_t left = CHUNKS_EACH * CHUNK; left;) {
			size_t want = left < CHUNK ? left : CHUNK;
			ssize_t n = f->sends ? send_way(f->fd, way, want) : receive_way(f->fd, way, want);

			worker_check(n > 0);
			left -= n;
			calls++;
		}
	self->value[0] = calls;
	worker_pause(self);
	return 0;
}

static void bytes_check(int family)
{
	const uint64_t total = (uint64_t)WAYS * CHUNKS_EACH * CHUNK;
	struct flow flows[2] = { { -1, true }, { -1, false } };
	const struct agent_data *const *all;
	const struct agent_info *const *infos;
	struct worker *w[2];
	struct place place;
	struct live *l;
	int n;

	family_need(family);
	if (family == AF_UNIX) {
		int pair[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		flows[0].fd = pair[0];
		flows[1].fd = pair[1];
	} else {
		assert_true(place_open(&place, family));
		flows[0].fd = socket(family, SOCK_STREAM, 0);
		assert_int_equal(connect(flows[0].fd, (void *)&place.at, place.len), 0);
		flows[1].fd = accept(place.listener, NULL, NULL);
	}
	for (int i = 0; i < 2; i++) {
		w[i] = worker_start(mover, &flows[i]);
		worker_settle(w[i]);
	}
	l = live_open(NULL);
	live_watch(l, (pid_t[]){ w[0]->pid, w[1]->pid }, 2);
	worker_go(w[0]);
	worker_go(w[1]);
	live_until(l, w[0]);
	live_until(l, w[1]);
	live_close(l, true, 0);
	skipped_check(l);
	all = world_total(l->world, &infos, &n);
	assert_int_equal(counter_of(all[0], M_SENT_BYTES), total);
	assert_int_equal(counter_of(all[0], M_RECEIVED_BYTES), 0);
	assert_int_equal(counter_of(all[1], M_RECEIVED_BYTES), total);
	assert_int_equal(counter_of(all[1], M_SENT_BYTES), 0);
	assert_int_equal(hist_sum(all[0], M_SEND_BYTES), total);
	assert_int_equal(hist_count(all[0], M_SEND_BYTES), w[0]->value[0]);
	assert_int_equal(hist_count(all[1], M_RECV_BYTES), w[1]->value[0]);
	assert_int_equal(counter_of(all[0], M_CONNECTS), 0); /* it was open before */
	if (family == AF_UNIX)
		assert_int_equal(hist_count(all[0], M_RTT_NS), 0);
	else
		assert_in_range(hist_count(all[0], M_RTT_NS), 1, w[0]->value[0]); /* told with sends */
	assert_int_equal(hist_count(all[1], M_RTT_NS), 0);
	close(flows[0].fd);
	close(flows[1].fd);
	if (family != AF_UNIX)
		close(place.listener), close(place.closed);
}

static void test_bytes_ipv4(void **state)
{
	(void)state;
	bytes_check(AF_INET);
}

static void test_bytes_unix(void **state)
{
	(void)state;
	bytes_check(AF_UNIX);
}

/* --- exchanges --- */

#define REQUESTS 40

/* One request at a time, sent and received in pieces of different sizes. */
static int asker(struct worker *self, void *arg)
{
	struct place *p = arg;
	int fd;

	worker_pause(self);
	fd = socket(p->family, SOCK_STREAM, 0);
	worker_check(!connect(fd, (void *)&p->at, p->len));
	for (int i = 0; i < REQUESTS; i++) {
		for (int part = 0; part < 1 + i % 3; part++)
			worker_check(send(fd, chunk, 10, 0) == 10);
		for (int left = 300; left;) {
			ssize_t n = recv(fd, chunk, 1 + i % 2 * 299, 0);

			worker_check(n > 0);
			left -= n;
		}
	}
	close(fd);
	worker_pause(self);
	return 0;
}

static int answerer(struct worker *self, void *arg)
{
	struct place *p = arg;
	int fd;

	worker_pause(self);
	fd = accept(p->listener, NULL, NULL);
	worker_check(fd >= 0);
	for (int i = 0; i < REQUESTS; i++) {
		worker_check(recv(fd, chunk, 10 * (1 + i % 3), MSG_WAITALL) == 10 * (1 + i % 3));
		for (int part = 0; part < 3; part++)
			worker_check(send(fd, chunk, 100, 0) == 100);
	}
	worker_check(recv(fd, chunk, 1, 0) == 0);
	close(fd);
	worker_pause(self);
	return 0;
}

static const struct peer_data *peer_of(const struct agent_data *a, bool server)
{
	const struct peer_data *found = NULL;

	for (int i = 0; i < a->peers_len; i++)
		if (peer_exchanges(&a->peers[i])) {
			assert_null(found);
			found = &a->peers[i];
		}
	assert_non_null(found);
	assert_true(found->server == server);
	return found;
}

static void peer_check(const struct peer_data *p, const struct place *place)
{
	char address[128];

	switch (place->family) {
	case AF_UNIX:
		snprintf(address, sizeof(address), "@%s", ((struct sockaddr_un *)&place->at)->sun_path + 1);
		break;
	case AF_INET:
		snprintf(address, sizeof(address), "127.0.0.1:%d", place_port(&place->at));
		break;
	default:
		snprintf(address, sizeof(address), "[::1]:%d", place_port(&place->at));
	}
	assert_string_equal(p->peer, address);
	assert_false(p->multiplexed);
}

static void exchanges_check(int family)
{
	struct worker *client, *server, *stranger[2], *idle;
	const struct agent_data *const *all;
	const struct agent_info *const *infos;
	const struct peer_data *peer;
	struct place place, other;
	struct live *l;
	int n;

	family_need(family);
	assert_true(place_open(&place, family) && place_open(&other, family));
	client = worker_start(asker, &place);
	server = worker_start(answerer, &place);
	stranger[0] = worker_start(asker, &other);
	stranger[1] = worker_start(answerer, &other);
	idle = worker_start(asker, &place);
	worker_settle(client);
	worker_settle(server);
	worker_settle(stranger[0]);
	worker_settle(stranger[1]);
	worker_settle(idle);
	l = live_open(NULL);
	live_watch(l, (pid_t[]){ client->pid, server->pid, idle->pid }, 3);
	worker_go(stranger[1]);
	worker_go(stranger[0]);
	worker_go(server);
	worker_go(client);
	live_until(l, client);
	live_until(l, server);
	worker_settle(stranger[0]);
	worker_settle(stranger[1]);
	live_close(l, true, 0);
	skipped_check(l);
	all = world_total(l->world, &infos, &n);
	assert_int_equal(n, 3);
	for (int side = 0; side < 2; side++) {
		assert_int_equal(counter_of(all[side], M_EXCHANGES), side ? 0 : REQUESTS);
		assert_int_equal(counter_of(all[side], M_EXCHANGES_SERVED), side ? REQUESTS : 0);
		assert_int_equal(hist_count(all[side], side ? M_SERVE_NS : M_EXCHANGE_NS), REQUESTS);
		for (int m = M_ERRORS_REFUSED; m <= M_ERRORS_OTHER; m++)
			assert_int_equal(counter_of(all[side], m), 0);
		peer = peer_of(all[side], side);
		peer_check(peer, &place);
		assert_int_equal(peer_exchanges(peer), REQUESTS);
	}
	assert_int_equal(hist_count(all[0], M_TTFB_NS), REQUESTS);
	assert_int_equal(hist_sum(all[0], M_ANSWER_BYTES), REQUESTS * 300);
	assert_int_equal(hist_sum(all[0], M_REQUEST_BYTES), counter_of(all[0], M_SENT_BYTES));
	assert_int_equal(hist_count(all[0], M_REQUEST_BYTES), REQUESTS);
	for (int m = M_CONNECTS; m <= M_ERRORS_OTHER; m++)
		assert_int_equal(all[2]->metrics.value[m], 0);
	assert_int_equal(all[2]->peers_len, 0);
	place_close(&place);
	place_close(&other);
}

static void test_exchanges_ipv4(void **state)
{
	(void)state;
	exchanges_check(AF_INET);
}

static void test_exchanges_ipv6(void **state)
{
	(void)state;
	exchanges_check(AF_INET6);
}

static void test_exchanges_unix(void **state)
{
	(void)state;
	exchanges_check(AF_UNIX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST(test_connects_ipv4), LIVE_TEST(test_connects_ipv6), LIVE_TEST(test_connects_unix),
		LIVE_TEST(test_bytes_ipv4),    LIVE_TEST(test_bytes_unix),    LIVE_TEST(test_exchanges_ipv4),
		LIVE_TEST(test_exchanges_ipv6), LIVE_TEST(test_exchanges_unix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
