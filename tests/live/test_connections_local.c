/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Connections by unix sockets, and datagrams, as the records tell them. */
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib_place.h"
#include "lib_tape.h"
#include "lib_work.h"

/* --- unix sockets --- */

static int unix_scene(struct worker *self, void *arg)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	const char *path = arg;
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(path + 1) + (path[0] ? 1 : 0);
	int listener, c, s, pair[2];

	memcpy(at.sun_path, path, strlen(path + 1) + 1);
	worker_pause(self);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	worker_check(!bind(listener, (void *)&at, len) && !listen(listener, 5));
	c = socket(AF_UNIX, SOCK_STREAM, 0);
	worker_check(!connect(c, (void *)&at, len));
	s = accept(listener, NULL, NULL);
	send_all(c, 10);
	receive_all(s, 10);
	send_all(s, 30);
	receive_all(c, 30);
	close(c);
	worker_check(recv(s, data, 1, 0) == 0);
	close(s);
	worker_check(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	send_all(pair[0], 7);
	receive_all(pair[1], 7);
	worker_pause(self); /* with the pair open */
	close(pair[0]);
	close(pair[1]);
	close(listener);
	worker_pause(self);
	return 0;
}

static void path_check(const struct link_view *v, const char *path)
{
	size_t len = strlen(path + 1) + 1; /* from the second character on: the first may be NUL */

	assert_in_range(v->open->path_bytes, len, len + 1); /* the kernel counts the NUL behind a name in the file system */
	assert_memory_equal(v->open->path, path, len);
	assert_int_equal(v->open->path[len], 0);
}

static void unix_check(const char *path)
{
	struct worker *w = tape_scene(unix_scene, (void *)path);
	struct link_view c, s, pair[2];
	bool is;

	c = tape_link(w->pid, SO_ROLE_CLIENT, 0);
	s = tape_link(w->pid, SO_ROLE_SERVER, 0);
	assert_int_equal(tape_opens(w->pid, SO_ROLE_PAIR), 2);
	assert_int_equal(tape_opens(w->pid, SO_ROLE_UNKNOWN), 0);
	link_open_check(&c, w, AF_UNIX, SOCK_STREAM);
	link_open_check(&s, w, AF_UNIX, SOCK_STREAM);
	path_check(&c, path);
	path_check(&s, path);
	link_moved_check(&c, 1, 10, 1, 30, 0);
	link_moved_check(&s, 1, 30, 1, 10, 1);
	assert_int_equal(tape_count(SO_CONNECT, w->pid), 1);
	assert_int_equal(tape_count(SO_ACCEPT, w->pid), 1);
	for (int i = 0; i < 2; i++) {
		pair[i] = tape_link(w->pid, SO_ROLE_PAIR, i);
		link_open_check(&pair[i], w, AF_UNIX, SOCK_STREAM);
		assert_int_equal(pair[i].open->path_bytes, 0);
		link_moved_check(&pair[i], !i, i ? 0 : 7, i, i ? 7 : 0, 0);
		tape_held(pair[i].open->socket, &is);
		assert_true(is);
	}
	tape_held(c.open->socket, &is);
	assert_false(is);
	worker_go(w);
	worker_settle(w);
	assert_int_equal(tape_held(pair[0].open->socket, &is), 0);
}

static void test_unix_abstract(void **state)
{
	char path[64] = "";

	(void)state;
	snprintf(path + 1, sizeof(path) - 1, "stakeout-connections-%d", getpid());
	unix_check(path);
}

static void test_unix_named(void **state)
{
	char dir[] = "/tmp/stakeout-live-XXXXXX", path[64] = "";

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a", dir);
	unix_check(path);
	unlink(path);
	rmdir(dir);
}

/* --- UDP --- */

static int udp_scene(struct worker *self, void *arg)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, from;
	int s = socket(AF_INET, SOCK_DGRAM, 0), c = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t len = sizeof(at);

	(void)arg;
	worker_check(!bind(s, (void *)&at, len) && !getsockname(s, (void *)&at, &len));
	worker_pause(self);
	worker_check(!connect(c, (void *)&at, len));
	self->value[0] = port_of(c);
	self->value[1] = ntohs(at.sin_port);
	for (int i = 0; i < 3; i++) {
		send_all(c, 20);
		worker_check(recvfrom(s, data, sizeof(data), 0, (void *)&from, &len) == 20);
		worker_check(sendto(s, data, 50, 0, (void *)&from, len) == 50);
		worker_check(recv(c, data, sizeof(data), 0) == 50);
	}
	worker_pause(self);
	return 0;
}

static void test_udp(void **state)
{
	struct link_view c;
	struct worker *w;

	(void)state;
	w = tape_scene(udp_scene, NULL);
	for (int i = 0; i < tape_opens(w->pid, -1); i++) {
		c = tape_link(w->pid, SO_ROLE_UNKNOWN, i);
		if (c.open->remote_port)
			break;
	}
	link_open_check(&c, w, AF_INET, SOCK_DGRAM);
	assert_int_equal(c.open->remote_port, w->value[1]);
	assert_int_equal(c.open->local_port, w->value[0]);
	link_moved_check(&c, 3, 60, 3, 150, 0);
	assert_int_equal(tape_count(SO_SEND, 0), 6);
	assert_int_equal(tape_count(SO_RECV, 0), 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TAPE_TEST(test_unix_abstract),
		TAPE_TEST(test_unix_named),
		TAPE_TEST(test_udp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
