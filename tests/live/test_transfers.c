/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Sends and receives as the records tell them: what counts as one, when the data had arrived, and whose they are when a socket is shared
 * or passed on.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/util.h"
#include "lib_place.h"
#include "lib_tape.h"
#include "lib_work.h"

#define LATER_NS 20000000 /* the data lie there for so long before they are read */
#define AGO_UNIT_NS (1 << SO_AGO_SHIFT)

static void later(void)
{
	struct timespec t = { .tv_nsec = LATER_NS };

	nanosleep(&t, NULL);
}

/* Both ends of a connection; tcp, udp: AF_INET. */
static void ends_open(int family, int type, int fds[2])
{
	struct sockaddr_in at[2] = { { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) } };
	struct place p;

	if (family == AF_UNIX) {
		worker_check(!socketpair(AF_UNIX, type, 0, fds));
	} else if (type == SOCK_STREAM) {
		worker_check(place_open(&p, family));
		worker_check(place_pair(&p, &fds[0], &fds[1]));
		place_close(&p);
	} else {
		at[1] = at[0];
		for (int i = 0; i < 2; i++) {
			socklen_t len = sizeof(at[i]);

			fds[i] = socket(AF_INET, type, 0);
			worker_check(!bind(fds[i], (void *)&at[i], len) && !getsockname(fds[i], (void *)&at[i], &len));
		}
		for (int i = 0; i < 2; i++)
			worker_check(!connect(fds[i], (void *)&at[!i], sizeof(at[i])));
	}
}

/* The connection of process tgid that received something. */
static struct link_view receiver_of(pid_t tgid)
{
	for (int role = SO_ROLE_UNKNOWN; role <= SO_ROLE_PAIR; role++)
		for (int i = 0; i < tape_opens(tgid, role); i++) {
			struct link_view v = tape_link(tgid, role, i);

			if (v.receives)
				return v;
		}
	fail_msg("nobody received");
	return (struct link_view){};
}

/* --- when it arrived --- */

struct way {
	int family, type;
};


static uint64_t arrival(struct worker *self, int at, int from, int to, size_t len)
{
	self->value[at] = clock_ns();
	send_all(from, len);
	readable_wait(to);
	return self->value[at + 1] = clock_ns();
}

/* A message that waits; one read in parts; two that lie there together; and one more. Looks and tries in between are no receipts. */
static int arrivals_scene(struct worker *self, void *arg)
{
	struct way *way = arg;
	bool stream = way->type == SOCK_STREAM;
	int fds[2];

	ends_open(way->family, way->type, fds);
	if (stream && way->family != AF_UNIX) /* nothing waits for an acknowledgement */
		worker_check(!setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)));
	worker_pause(self);
	worker_check(recv(fds[1], data, 10, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	arrival(self, 0, fds[0], fds[1], 100);
	send_all(fds[1], 1); /* what goes the other way has nothing to do with it */
	later();
	for (int i = 0; i < 3; i++)
		worker_check(recv(fds[1], data, 100, MSG_PEEK) == 100);
	self->value[2] = clock_ns();
	worker_check(recv(fds[1], data, stream ? 40 : 100, 0) == (stream ? 40 : 100));
	self->value[3] = clock_ns();
	if (stream)
		worker_check(recv(fds[1], data, 100, 0) == 60);
	for (int i = 0; i < 3; i++)
		worker_check(recv(fds[1], data, 10, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	arrival(self, 4, fds[0], fds[1], 10);
	later();
	send_all(fds[0], 20);
	later();
	self->value[6] = clock_ns();
	worker_check(recv(fds[1], data, 100, 0) == (stream ? 30 : 10));
	self->value[7] = clock_ns();
	if (!stream)
		worker_check(recv(fds[1], data, 100, 0) == 20);
	arrival(self, 8, fds[0], fds[1], 7);
	later();
	self->value[10] = clock_ns();
	worker_check(recv(fds[1], data, 100, 0) == 7);
	self->value[11] = clock_ns();
	worker_pause(self);
	return 0;
}

/* The n-th receive of a connection that brought `bytes`. */
static const struct so_transfer *received_find(const struct link_view *v, uint32_t bytes)
{
	const struct so_head *r;

	for (int n = 0; (r = tape_record(SO_RECV, n)); n++) {
		const struct so_transfer *t = (const void *)r;

		if (t->socket == v->open->socket && t->bytes == bytes)
			return t;
	}
	fail_msg("no receive of %u bytes", bytes);
	return NULL;
}

/* value[at]: before the send, after it was seen to be there, before and after the read. */
static void arrival_check(const struct link_view *v, uint32_t bytes, const volatile uint64_t *value, int at)
{
	const struct so_transfer *t = received_find(v, bytes);
	uint64_t arrived = t->head.time_ns - (uint64_t)t->ago * AGO_UNIT_NS;

	assert_true(t->ago > 0);
	assert_in_range(t->head.time_ns, value[at + 2], value[at + 3]);
	assert_in_range(arrived, value[at], value[at + 1] + AGO_UNIT_NS);
	/* The least it can have waited. */
	assert_true((uint64_t)t->ago * AGO_UNIT_NS + AGO_UNIT_NS >= value[at + 2] - value[at + 1]);
}

static void arrivals_check(int family, int type)
{
	struct way way = { family, type };
	struct worker *w = tape_scene(arrivals_scene, &way);
	struct link_view v = receiver_of(w->pid);
	bool stream = type == SOCK_STREAM;

	assert_int_equal(v.receives, 4);
	assert_int_equal(v.received_bytes, 137);
	assert_int_equal(v.ends, 0);
	assert_int_equal(tape_count(SO_SEND, 0), 5);
	assert_int_equal(tape_count(SO_RECV, 0), 4);
	arrival_check(&v, stream ? 40 : 100, w->value, 0);
	arrival_check(&v, stream ? 30 : 10, w->value, 4);
	arrival_check(&v, 7, w->value, 8);
	if (stream) { /* the rest: not known, or since the same moment */
		const struct so_transfer *rest = received_find(&v, 60);
		uint64_t arrived = rest->head.time_ns - (uint64_t)rest->ago * AGO_UNIT_NS;

		assert_true(!rest->ago || (arrived >= w->value[0] && arrived <= w->value[1] + AGO_UNIT_NS));
	}
}

static void test_arrivals_tcp(void **state)
{
	(void)state;
	arrivals_check(AF_INET, SOCK_STREAM);
}

static void test_arrivals_tcp6(void **state)
{
	(void)state;
	if (!family_has(AF_INET6)) {
		print_message("skip: kernel: no IPv6\n");
		skip();
	}
	arrivals_check(AF_INET6, SOCK_STREAM);
}

static void test_arrivals_unix(void **state)
{
	(void)state;
	arrivals_check(AF_UNIX, SOCK_STREAM);
}

static void test_arrivals_udp(void **state)
{
	(void)state;
	arrivals_check(AF_INET, SOCK_DGRAM);
}

/* A send names the moment at which TCP sent it off: within the call. And whether an answer lay unread by then. */
static int sends_scene(struct worker *self, void *arg)
{
	int fds[2];

	(void)arg;
	ends_open(AF_INET, SOCK_STREAM, fds);
	worker_pause(self);
	self->value[0] = clock_ns();
	send_all(fds[0], 10);
	self->value[1] = clock_ns();
	send_all(fds[1], 1000);
	readable_wait(fds[0]);
	send_all(fds[0], 20);
	self->value[2] = clock_ns();
	receive_all(fds[0], 1000);
	receive_all(fds[1], 30);
	send_all(fds[0], 30);
	worker_pause(self);
	return 0;
}

static void test_sends(void **state)
{
	const struct so_transfer *sent[4];
	struct worker *w;

	(void)state;
	w = tape_scene(sends_scene, NULL);
	for (int i = 0; i < 4; i++) {
		sent[i] = (const void *)tape_record(SO_SEND, i);
		assert_non_null(sent[i]);
		assert_int_equal(!!(sent[i]->flags & SO_TRANSFER_UNREAD), i == 1 || i == 2); /* the second's sender has not read the first */
	}
	assert_int_equal(sent[2]->bytes, 20);
	assert_in_range(sent[0]->head.time_ns - (uint64_t)sent[0]->ago * AGO_UNIT_NS, w->value[0], w->value[1]);
	assert_in_range(sent[2]->head.time_ns - (uint64_t)sent[2]->ago * AGO_UNIT_NS, w->value[1], w->value[2]);
}

/* --- shared sockets --- */

/* A child and a thread of the agent use what it opened, and a second descriptor. */
static void *thread_sends(void *arg)
{
	send_all(*(int *)arg, 40);
	return NULL;
}

static int inherited_scene(struct worker *self, void *arg)
{
	pthread_t t;
	pid_t child;
	int fds[2], two, status;

	(void)arg;
	worker_pause(self);
	ends_open(AF_INET, SOCK_STREAM, fds);
	send_all(fds[0], 10);
	child = fork();
	if (!child) {
		send_all(fds[0], 20);
		_exit(0);
	}
	self->value[0] = child;
	worker_check(waitpid(child, &status, 0) == child && !status);
	two = dup(fds[0]);
	close(fds[0]); /* the connection goes on */
	send_all(two, 30);
	worker_check(!pthread_create(&t, NULL, thread_sends, &two));
	pthread_join(t, NULL);
	receive_all(fds[1], 100);
	close(two);
	close(fds[1]);
	worker_pause(self);
	return 0;
}

static void test_inherited(void **state)
{
	struct link_view c;
	struct worker *w;

	(void)state;
	w = tape_scene(inherited_scene, NULL);
	assert_int_equal(tape_opens(0, -1), 3);
	c = tape_link(w->pid, SO_ROLE_CLIENT, 0);
	assert_int_equal(c.opens, 1);
	assert_int_equal(c.sends, 4);
	assert_int_equal(c.sent_bytes, 100);
	assert_int_equal(c.closes, 1);
	assert_int_equal(tape_count(SO_SEND, w->value[0]), 1);
	assert_int_equal(tape_count(SO_SEND, w->pid), 2);
}

static void fd_pass(int ctl, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(fd))] = "";
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	worker_check(sendmsg(ctl, &m, 0) == 1);
}

static int fd_take(int ctl)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	int fd;

	worker_check(recvmsg(ctl, &m, 0) == 1 && CMSG_FIRSTHDR(&m));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

struct passing {
	int ctl[2];
};

/* Opens a connection, uses it, gives it away, and later uses it again. */
static int giver(struct worker *self, void *arg)
{
	struct passing *p = arg;
	int fds[2];

	worker_pause(self);
	ends_open(AF_INET, SOCK_STREAM, fds);
	send_all(fds[0], 10);
	send_all(fds[1], 100);
	readable_wait(fds[0]);
	fd_pass(p->ctl[0], fds[0]);
	worker_pause(self);
	send_all(fds[1], 5);
	readable_wait(fds[0]);
	self->value[0] = clock_ns();
	later();
	receive_all(fds[0], 5);
	worker_pause(self);
	return 0;
}

static int taker(struct worker *self, void *arg)
{
	struct passing *p = arg;
	int fd;

	worker_pause(self);
	fd = fd_take(p->ctl[1]);
	receive_all(fd, 100);
	send_all(fd, 20);
	send_all(fd, 30);
	self->value[0] = clock_ns();
	worker_pause(self);
	close(fd);
	worker_pause(self);
	return 0;
}

/* Which of the two is an agent's. */
static void passing_play(bool giver_watched, bool taker_watched, struct worker **ret_giver, struct worker **ret_taker)
{
	struct passing p;
	pid_t pids[2];
	int n = 0;

	live_need(PROBE_SOCK);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, p.ctl), 0);
	*ret_giver = worker_start(giver, &p);
	*ret_taker = worker_start(taker, &p);
	close(p.ctl[0]);
	close(p.ctl[1]);
	worker_settle(*ret_giver);
	worker_settle(*ret_taker);
	if (giver_watched)
		pids[n++] = (*ret_giver)->pid;
	if (taker_watched)
		pids[n++] = (*ret_taker)->pid;
	tape_open(pids, n);
	worker_go(*ret_giver);
	worker_settle(*ret_giver);
	worker_go(*ret_taker);
	worker_settle(*ret_taker);
	worker_go(*ret_giver);
	worker_settle(*ret_giver);
	worker_go(*ret_taker);
	worker_settle(*ret_taker);
	tape_read();
}

static int agent_sends(uint32_t number, int agent)
{
	const struct so_head *r;
	int count = 0;

	for (int n = 0; (r = tape_record(SO_SEND, n)); n++)
		count += ((const struct so_transfer *)r)->socket == number && r->agent == agent;
	return count;
}

static void test_passed_to_an_agent(void **state)
{
	struct worker *g, *t;
	struct link_view c;

	(void)state;
	passing_play(true, true, &g, &t);
	c = tape_link(g->pid, SO_ROLE_CLIENT, 0);
	assert_int_equal(c.opens, 1);
	assert_int_equal(c.sends, 3);
	assert_int_equal(c.sent_bytes, 60);
	assert_int_equal(c.received_bytes, 105);
	assert_int_equal(agent_sends(c.open->socket, 1), 1); /* each send is its sender's */
	assert_int_equal(agent_sends(c.open->socket, 2), 2);
}

static void test_passed_to_a_stranger(void **state)
{
	const struct so_transfer *last;
	struct worker *g, *t;
	struct link_view c;

	(void)state;
	passing_play(true, false, &g, &t);
	c = tape_link(g->pid, SO_ROLE_CLIENT, 0);
	assert_int_equal(c.sends, 1);
	assert_int_equal(c.sent_bytes, 10);
	assert_int_equal(c.receives, 1);
	assert_int_equal(c.received_bytes, 5);
	assert_int_equal(tape_count(SO_SEND, t->pid), 0);
	assert_int_equal(tape_count(SO_RECV, t->pid), 0);
	/* What the stranger read is no arrival of the agent's: the last five bytes came after the stranger's last send. */
	last = received_find(&c, 5);
	assert_true(last->head.time_ns - (uint64_t)last->ago * AGO_UNIT_NS + AGO_UNIT_NS >= t->value[0]);
}

static void test_passed_from_a_stranger(void **state)
{
	struct worker *g, *t;
	struct link_view c;

	(void)state;
	passing_play(false, true, &g, &t);
	assert_int_equal(tape_opens(g->pid, -1), 0);
	assert_int_equal(tape_count(SO_SEND, g->pid), 0);
	c = tape_link(t->pid, SO_ROLE_UNKNOWN, 0);
	assert_int_equal(c.open->head.agent, 1);
	assert_int_equal(c.sends, 2);
	assert_int_equal(c.sent_bytes, 50);
	assert_int_equal(c.received_bytes, 100);
	assert_int_equal(c.connects + c.accepts, 0);
}

/* --- a descriptor closed under a reader's feet --- */

struct reader {
	int fd;
	volatile int tid;
};

static void *reader_run(void *arg)
{
	struct reader *r = arg;

	r->tid = syscall(SYS_gettid);
	receive_all(r->fd, 5);
	return NULL;
}

static int closed_scene(struct worker *self, void *arg)
{
	struct reader r;
	pthread_t t;
	int fds[2], again;

	ends_open(*(int *)arg, SOCK_STREAM, fds);
	worker_pause(self);
	r = (struct reader){ .fd = fds[0] };
	worker_check(!pthread_create(&t, NULL, reader_run, &r));
	while (!r.tid)
		sched_yield();
	task_blocked(getpid(), r.tid);
	close(fds[0]);
	again = dup2(fds[1], fds[0]); /* the number is taken anew */
	worker_check(again == fds[0]);
	send_all(fds[1], 5);
	pthread_join(t, NULL);
	worker_check(recv(fds[1], data, 1, 0) == 0);
	close(fds[1]);
	close(again);
	self->value[0] = r.tid;
	worker_pause(self);
	return 0;
}

static void closed_check(int family)
{
	struct worker *w = tape_scene(closed_scene, &family);
	const struct so_head *received, *close_seen;
	struct link_view v;
	bool is;

	assert_int_equal(tape_count(SO_RECV, w->value[0]), 1);
	received = NULL;
	for (int n = 0; (received = tape_record(SO_RECV, n)) && received->tid != w->value[0]; n++)
		;
	v = tape_number(((const struct so_transfer *)received)->socket);
	assert_int_equal(v.opens, 1);
	assert_int_equal(v.received_bytes, 5);
	if (family == AF_UNIX) {
		assert_int_equal(tape_held(v.open->socket, &is), 0);
		return;
	}
	/* It lived until the reader was done. */
	close_seen = &v.close->head;
	assert_int_equal(v.closes, 1);
	assert_true(close_seen->time_ns >= received->time_ns);
}

static void test_closed_by_another_thread(void **state)
{
	(void)state;
	closed_check(AF_INET);
}

static void test_closed_by_another_thread_unix(void **state)
{
	(void)state;
	closed_check(AF_UNIX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TAPE_TEST(test_arrivals_tcp),
		TAPE_TEST(test_arrivals_tcp6),
		TAPE_TEST(test_arrivals_unix),
		TAPE_TEST(test_arrivals_udp),
		TAPE_TEST(test_sends),
		TAPE_TEST(test_inherited),
		TAPE_TEST(test_passed_to_an_agent),
		TAPE_TEST(test_passed_to_a_stranger),
		TAPE_TEST(test_passed_from_a_stranger),
		TAPE_TEST(test_closed_by_another_thread),
		TAPE_TEST(test_closed_by_another_thread_unix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
