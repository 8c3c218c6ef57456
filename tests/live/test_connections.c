/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Connections as the records tell them: one opening each, before all else of it, the right ends and role, what was sent and received on it, how it ended. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/util.h"
#include "lib_place.h"
#include "lib_tape.h"
#include "lib_work.h"

#define MANY 200

static void reset_on_close(int fd)
{
	struct linger l = { .l_onoff = 1 };

	worker_check(!setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
}

/* --- TCP, from listen to close --- */

static int tcp_scene(struct worker *self, void *arg)
{
	struct place p;
	int c, s;

	worker_pause(self);
	worker_check(place_open(&p, *(int *)arg));
	worker_check(place_pair(&p, &c, &s));
	self->value[0] = port_of(c);
	self->value[1] = place_port(&p.at);
	send_all(c, 100);
	receive_all(s, 40);
	receive_all(s, 60);
	send_all(s, 150);
	send_all(s, 50);
	receive_all(c, 200);
	close(c);
	worker_check(recv(s, data, 1, 0) == 0);
	close(s);
	place_close(&p);
	worker_pause(self);
	return 0;
}

static void tcp_check(int family)
{
	const uint8_t loopback[2][16] = { { 127, 0, 0, 1 }, { [15] = 1 } };
	const uint8_t *ip = loopback[family == AF_INET6];
	struct link_view client, server, listener;
	struct worker *w;

	if (!family_has(family)) {
		print_message("skip: kernel: no sockets of family %d\n", family);
		skip();
	}
	w = tape_scene(tcp_scene, &family);
	assert_int_equal(tape_opens(0, -1), 3);
	client = tape_link(w->pid, SO_ROLE_CLIENT, 0);
	server = tape_link(w->pid, SO_ROLE_SERVER, 0);
	listener = tape_link(w->pid, SO_ROLE_LISTENER, 0);

	link_open_check(&client, w, family, SOCK_STREAM);
	assert_int_equal(client.open->remote_port, w->value[1]);
	assert_memory_equal(client.open->remote, ip, 16);
	assert_memory_equal(client.open->local, ip, 16);
	assert_int_equal(client.open->thread, w->pid);
	assert_int_equal(client.open->path_bytes, 0);
	assert_int_equal(client.connects, 1);
	assert_int_equal(client.connect->error, 0);
	assert_int_equal(client.accepts, 0);
	assert_in_range(client.connect->duration_ns, 1, NS_PER_S * 60);
	link_moved_check(&client, 1, 100, 1, 200, 0);
	link_close_check(&client, 0);

	link_open_check(&server, w, family, SOCK_STREAM);
	assert_int_equal(server.open->local_port, w->value[1]);
	assert_int_equal(server.open->remote_port, w->value[0]);
	assert_memory_equal(server.open->remote, ip, 16);
	assert_memory_equal(server.open->local, ip, 16);
	assert_int_equal(server.accepts, 1);
	assert_int_equal(server.connects, 0);
	link_moved_check(&server, 2, 200, 2, 100, 1);
	link_close_check(&server, 0);

	link_open_check(&listener, w, family, SOCK_STREAM);
	assert_int_equal(listener.open->local_port, w->value[1]);
	link_moved_check(&listener, 0, 0, 0, 0, 0);
	link_close_check(&listener, 0);
}

static void test_tcp_ipv4(void **state)
{
	(void)state;
	tcp_check(AF_INET);
}

static void test_tcp_ipv6(void **state)
{
	(void)state;
	tcp_check(AF_INET6);
}

/* Many at once: what is accepted has a number of its own, none is left over. */
static int many_scene(struct worker *self, void *arg)
{
	int c[MANY], s[MANY];
	struct place p;

	(void)arg;
	worker_check(place_open(&p, AF_INET));
	worker_pause(self);
	for (int i = 0; i < MANY; i++)
		worker_check(place_pair(&p, &c[i], &s[i]));
	for (int i = 0; i < MANY; i++) {
		send_all(c[i], i + 1);
		receive_all(s[i], i + 1);
	}
	for (int i = 0; i < MANY; i++) {
		close(i % 2 ? c[i] : s[i]);
		close(i % 2 ? s[i] : c[i]);
	}
	worker_pause(self);
	return 0;
}

static void test_many_connections(void **state)
{
	struct worker *w;
	bool is;

	(void)state;
	w = tape_scene(many_scene, NULL);
	assert_int_equal(tape_opens(0, SO_ROLE_CLIENT), MANY);
	assert_int_equal(tape_opens(0, SO_ROLE_SERVER), MANY);
	assert_int_equal(tape_opens(0, -1), 2 * MANY + 1);
	for (int i = 0; i < MANY; i++) {
		struct link_view c = tape_link(w->pid, SO_ROLE_CLIENT, i), s = tape_link(w->pid, SO_ROLE_SERVER, i);

		assert_int_equal(c.opens + s.opens, 2);
		link_moved_check(&c, 1, i + 1, 0, 0, 0);
		link_moved_check(&s, 0, 0, 1, i + 1, 0);
		link_close_check(&c, 0);
		link_close_check(&s, 0);
	}
	/* The listener alone is left. */
	assert_int_equal(tape_held(tape_link(w->pid, SO_ROLE_LISTENER, 0).open->socket, &is), 1);
	assert_true(is);
}

/* --- connects that take their time, or fail --- */

static int connect_nonblocking(const struct place *p, bool to_closed)
{
	int fd = socket(p->family, SOCK_STREAM | SOCK_NONBLOCK, 0), error = 0;
	struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };
	socklen_t len = sizeof(error);

	worker_check(connect(fd, (void *)(to_closed ? &p->closed_at : &p->at), p->len) && errno == EINPROGRESS);
	worker_check(poll(&poll_fd, 1, -1) == 1);
	worker_check(!getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
	worker_check(error == (to_closed ? ECONNREFUSED : 0));
	return fd;
}

static int connects_scene(struct worker *self, void *arg)
{
	struct place p;
	int fd;

	(void)arg;
	worker_check(place_open(&p, AF_INET));
	worker_pause(self);
	close(connect_nonblocking(&p, false));
	close(connect_nonblocking(&p, true));
	fd = socket(AF_INET, SOCK_STREAM, 0); /* refused once, then tried again */
	worker_check(connect(fd, (void *)&p.closed_at, p.len) && errno == ECONNREFUSED);
	worker_check(!connect(fd, (void *)&p.at, p.len));
	send_all(fd, 10);
	close(fd);
	self->value[0] = place_port(&p.at);
	self->value[1] = place_port(&p.closed_at);
	place_close(&p); /* and with it the other ends */
	worker_pause(self);
	return 0;
}

static void test_connects(void **state)
{
	const int errors[4] = { 0, ECONNREFUSED, ECONNREFUSED, 0 };
	struct worker *w;

	(void)state;
	w = tape_scene(connects_scene, NULL);
	assert_int_equal(tape_opens(w->pid, SO_ROLE_CLIENT), 4);
	assert_int_equal(tape_count(SO_CONNECT, 0), 4);
	for (int i = 0; i < 4; i++) {
		struct link_view v = tape_link(w->pid, SO_ROLE_CLIENT, i);

		link_open_check(&v, w, AF_INET, SOCK_STREAM);
		assert_int_equal(v.open->remote_port, w->value[errors[i] ? 1 : 0]);
		assert_int_equal(v.connects, 1);
		assert_int_equal(v.connect->error, errors[i]);
		assert_in_range(v.connect->duration_ns, 1, NS_PER_S * 60);
		link_moved_check(&v, i == 3, i == 3 ? 10 : 0, 0, 0, 0);
		assert_int_equal(v.closes, errors[i] ? 0 : 1); /* a connect that failed is its own end */
	}
}

/* A listener whose queue is full lets the peer's SYN go unanswered. */
static int blackhole_open(struct place *p, int *ret_filler)
{
	worker_check(place_bind(&p->listener, AF_INET, &p->at, &p->len) && !listen(p->listener, 0));
	p->family = AF_INET;
	*ret_filler = socket(AF_INET, SOCK_STREAM, 0);
	worker_check(!connect(*ret_filler, (void *)&p->at, p->len));
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int unanswered_scene(struct worker *self, void *arg)
{
	struct place p;
	int one = 1, filler, fd = blackhole_open(&p, &filler), given_up = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	(void)arg;
	worker_check(!setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &one, sizeof(one)));
	worker_pause(self);
	worker_check(connect(given_up, (void *)&p.at, p.len) && errno == EINPROGRESS);
	close(given_up);
	worker_check(connect(fd, (void *)&p.at, p.len) && errno == ETIMEDOUT);
	close(fd);
	worker_pause(self);
	return 0;
}

static void test_unanswered_connects(void **state)
{
	const int errors[2] = { ECANCELED, ETIMEDOUT };
	struct worker *w;

	(void)state;
	w = tape_scene(unanswered_scene, NULL);
	assert_int_equal(tape_opens(w->pid, SO_ROLE_CLIENT), 2);
	for (int i = 0; i < 2; i++) {
		struct link_view v = tape_link(w->pid, SO_ROLE_CLIENT, i);

		assert_int_equal(v.connects, 1);
		assert_int_equal(v.connect->error, errors[i]);
		link_moved_check(&v, 0, 0, 0, 0, 0);
	}
}

/* --- how connections end --- */

enum ending { END_RESET, END_RESET_UNREAD, END_SHUTDOWN, END_VANISHED, END_NEVER_ACCEPTED };

static int ending_scene(struct worker *self, void *arg)
{
	struct place p;
	int c, s, one = 1;

	worker_check(place_open(&p, AF_INET));
	worker_pause(self);
	c = socket(AF_INET, SOCK_STREAM, 0);
	worker_check(!connect(c, (void *)&p.at, p.len));
	if (*(enum ending *)arg == END_NEVER_ACCEPTED) {
		send_all(c, 10);
		place_close(&p);
		worker_check(recv(c, data, 1, 0) < 0 && errno == ECONNRESET);
		close(c);
		worker_pause(self);
		return 0;
	}
	s = accept(p.listener, NULL, NULL);
	worker_check(s >= 0);
	switch (*(enum ending *)arg) {
	case END_RESET: /* the client breaks off */
		send_all(c, 100);
		receive_all(s, 100);
		reset_on_close(c);
		close(c);
		worker_check(recv(s, data, 1, 0) < 0 && errno == ECONNRESET);
		worker_check(recv(s, data, 1, 0) == 0);
		break;
	case END_RESET_UNREAD: /* what had come before can still be read */
		send_all(c, 100);
		readable_wait(s);
		reset_on_close(c);
		close(c);
		receive_all(s, 100);
		worker_check(recv(s, data, 1, 0) < 0 && errno == ECONNRESET);
		break;
	case END_SHUTDOWN: /* TCP is done before the client has read the answer */
		send_all(c, 10);
		shutdown(c, SHUT_WR);
		receive_all(s, 10);
		worker_check(recv(s, data, 1, 0) == 0);
		send_all(s, 100);
		close(s);
		receive_all(c, 100);
		worker_check(recv(c, data, 1, 0) == 0);
		close(c);
		break;
	default: /* half open: the client is gone without a word, as in a crash of its host */
		worker_check(!setsockopt(c, IPPROTO_TCP, TCP_REPAIR, &one, sizeof(one)));
		close(c);
		send_all(s, 10);
		worker_check(recv(s, data, 1, 0) < 0 && errno == ECONNRESET);
		close(s);
		break;
	}
	close(s);
	worker_pause(self);
	return 0;
}

static void ending_play(enum ending e, struct link_view *client, struct link_view *server)
{
	struct worker *w = tape_scene(ending_scene, &e);

	/* Nothing but these two and the listener: reading after the end opens nothing anew. */
	assert_int_equal(tape_opens(0, -1), 3);
	*client = tape_link(w->pid, SO_ROLE_CLIENT, 0);
	*server = tape_link(w->pid, SO_ROLE_SERVER, 0);
	link_open_check(client, w, AF_INET, SOCK_STREAM);
	link_open_check(server, w, AF_INET, SOCK_STREAM);
}

static void test_reset(void **state)
{
	struct link_view c, s;

	(void)state;
	ending_play(END_RESET, &c, &s);
	link_moved_check(&c, 1, 100, 0, 0, 0);
	link_moved_check(&s, 0, 0, 1, 100, s.ends);
	link_close_check(&c, 0);
	link_close_check(&s, ECONNRESET);
}

static void test_reset_unread(void **state)
{
	struct link_view c, s;

	(void)state;
	ending_play(END_RESET_UNREAD, &c, &s);
	link_moved_check(&s, 0, 0, 1, 100, 0);
	link_close_check(&c, 0);
	link_close_check(&s, ECONNRESET);
}

static void test_shutdown(void **state)
{
	struct link_view c, s;

	(void)state;
	ending_play(END_SHUTDOWN, &c, &s);
	link_moved_check(&c, 1, 10, 1, 100, 1);
	link_moved_check(&s, 1, 100, 1, 10, 1);
	link_close_check(&c, 0);
	link_close_check(&s, 0);
}

static void test_half_open(void **state)
{
	struct link_view c, s;

	(void)state;
	ending_play(END_VANISHED, &c, &s);
	link_moved_check(&s, 1, 10, 0, 0, 0);
	link_close_check(&c, 0);
	link_close_check(&s, ECONNRESET);
}

static void test_never_accepted(void **state)
{
	struct link_view c, s;

	(void)state;
	ending_play(END_NEVER_ACCEPTED, &c, &s);
	link_moved_check(&c, 1, 10, 0, 0, 0);
	link_moved_check(&s, 0, 0, 0, 0, 0);
	link_close_check(&c, ECONNRESET);
	assert_int_equal(s.closes, 1);
}

/* --- open before anybody watched --- */

static int before_scene(struct worker *self, void *arg)
{
	struct place p;
	int c, s, pair[2];

	(void)arg;
	worker_check(place_open(&p, AF_INET));
	worker_check(place_pair(&p, &c, &s));
	worker_check(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	self->value[0] = place_port(&p.at);
	send_all(s, 5); /* lies there already */
	worker_pause(self);
	receive_all(c, 5);
	send_all(c, 10);
	receive_all(s, 10);
	close(c);
	close(s);
	worker_check(place_pair(&p, &c, &s));
	worker_pause(self);
	return 0;
}

static void test_open_before(void **state)
{
	struct link_view a, b, s;
	struct worker *w;

	(void)state;
	w = tape_scene(before_scene, NULL);
	assert_int_equal(tape_opens(w->pid, SO_ROLE_UNKNOWN), 2);
	assert_int_equal(tape_opens(w->pid, SO_ROLE_PAIR), 2);
	assert_int_equal(tape_opens(w->pid, SO_ROLE_LISTENER), 1);
	a = tape_link(w->pid, SO_ROLE_UNKNOWN, 0);
	b = tape_link(w->pid, SO_ROLE_UNKNOWN, 1);
	if (b.open->remote_port == w->value[0]) {
		struct link_view swap = a;

		a = b;
		b = swap;
	}
	link_open_check(&a, w, AF_INET, SOCK_STREAM);
	link_open_check(&b, w, AF_INET, SOCK_STREAM);
	assert_int_equal(a.open->remote_port, w->value[0]);
	assert_int_equal(b.open->local_port, w->value[0]);
	assert_int_equal(a.open->local_port, b.open->remote_port);
	link_moved_check(&a, 1, 10, 1, 5, 0);
	link_moved_check(&b, 0, 0, 1, 10, 0);
	assert_int_equal(a.first_received->ago, 0); /* it came when nobody looked */
	link_close_check(&a, 0);
	link_close_check(&b, 0);
	assert_int_equal(a.connects + b.accepts, 0);
	/* The listener, too, was open before: what it accepts has its own number. */
	s = tape_link(w->pid, SO_ROLE_SERVER, 0);
	link_open_check(&s, w, AF_INET, SOCK_STREAM);
	assert_true(s.open->socket != tape_link(w->pid, SO_ROLE_LISTENER, 0).open->socket);
	assert_int_equal(s.accepts, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TAPE_TEST(test_tcp_ipv4),
		TAPE_TEST(test_tcp_ipv6),
		TAPE_TEST(test_many_connections),
		TAPE_TEST(test_connects),
		TAPE_TEST(test_unanswered_connects),
		TAPE_TEST(test_reset),
		TAPE_TEST(test_reset_unread),
		TAPE_TEST(test_shutdown),
		TAPE_TEST(test_half_open),
		TAPE_TEST(test_never_accepted),
		TAPE_TEST(test_open_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
