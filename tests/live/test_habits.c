/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What requests are like: repeated byte for byte, and held back by TCP. Against the worker's own count and clock. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/util.h"
#include "lib_live.h"
#include "lib_place.h"

#define LONG_BYTES 5000
#define ROUNDS 12
#define STALL_NS 20000000
#define PARTS_BYTES 300
#define ANSWER_BYTES 500

static char said[LONG_BYTES];

/* Both ends are the worker's own. */
static void ends_open(int fds[2])
{
	struct place p;

	worker_check(place_open(&p, AF_INET));
	worker_check(place_pair(&p, &fds[0], &fds[1]));
	place_close(&p);
	worker_check(!setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)));
}

static void answer(const int fds[2], size_t asked)
{
	char buf[2 * LONG_BYTES];

	worker_check(recv(fds[1], buf, asked, MSG_WAITALL) == (ssize_t)asked);
	worker_check(send(fds[1], "ok", 2, MSG_NOSIGNAL) == 2);
	worker_check(recv(fds[0], buf, 2, MSG_WAITALL) == 2);
}

static void ask(const int fds[2], const char *data, size_t len)
{
	worker_check(send(fds[0], data, len, MSG_NOSIGNAL) == (ssize_t)len);
	answer(fds, len);
}

static void ask_parts(const int fds[2], bool message, const char *head, const char *body)
{
	struct iovec parts[] = { { (char *)head, strlen(head) }, { (char *)body, strlen(body) } };
	struct msghdr m = { .msg_iov = parts, .msg_iovlen = 2 };
	ssize_t len = strlen(head) + strlen(body);

	worker_check((message ? sendmsg(fds[0], &m, MSG_NOSIGNAL) : writev(fds[0], parts, 2)) == len);
	answer(fds, len);
}

/* Says how many of its requests were there before. */
static int repeats_scene(struct worker *self, void *arg)
{
	int fds[2];

	(void)arg;
	worker_pause(self);
	ends_open(fds);
	memset(said, 'x', sizeof(said));
	for (int i = 0; i < 6; i++) { /* four other ones */
		said[10] = '0' + i % 4;
		ask(fds, said, 100);
	}
	self->value[0] += 2;
	ask(fds, said, 99); /* shorter by a byte */
	for (int i = 0; i < 3; i++) { /* the end is another one, and then the middle, which is not looked at */
		said[LONG_BYTES - 1] = '0' + i;
		ask(fds, said, LONG_BYTES);
	}
	said[LONG_BYTES - 1] = '0';
	ask(fds, said, LONG_BYTES);
	self->value[0] += 1;
	for (int message = 0; message < 2; message++) {
		ask_parts(fds, message, "head", message ? "one" : "two");
		ask_parts(fds, message, "head", "six");
		ask_parts(fds, message, "head", message ? "one" : "two");
	}
	self->value[0] += 2 + 1; /* and "six", however it was sent */
	ask_parts(fds, 0, "hea", "dsix"); /* the same bytes in other parts count as another one */
	for (int i = 0; i < 2; i++) { /* in two sends: one part alone makes no repeat */
		worker_check(send(fds[0], "part", 4, MSG_NOSIGNAL) == 4);
		ask(fds, i ? "a" : "b", 1);
	}
	close(fds[0]);
	close(fds[1]);
	worker_pause(self);
	return 0;
}

/* A scene from begin to end, and what is told of it. */
static const struct agent_data *scene_play(worker_fn scene, const struct observer_config *cfg, struct worker **ret)
{
	struct worker *w = worker_start(scene, NULL);
	struct live *l = live_alone(w, cfg);

	worker_go(w);
	worker_wait(w);
	*ret = w;
	return live_close(l, true, 0);
}

static void test_repeats(void **state)
{
	struct observer_config cfg = { .ring_bytes = 8 << 20, .probe_on = { [PROBE_DUP] = true } };
	const struct agent_data *a;
	struct worker *w;

	(void)state;
	a = scene_play(repeats_scene, &cfg, &w);
	assert_int_equal(counter_of(a, M_EXCHANGES), 20);
	assert_int_equal(counter_of(a, M_REQUESTS_REPEATED), w->value[0]);
	assert_int_equal(hist_count(a, M_REPEATED_NS), w->value[0]);
}

/* Requests in two parts, of which Nagle's algorithm holds the second one back until the first is acknowledged: which takes the other side's kernel 40 ms or more, unless it does
 * so at once, as at a connection's begin. Then with TCP_NODELAY. */
static void *answers_give(void *arg)
{
	int fd = *(int *)arg;
	char buf[1000];
	size_t got = 0;
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		for (got += n; got >= PARTS_BYTES; got -= PARTS_BYTES)
			worker_check(send(fd, buf, ANSWER_BYTES, MSG_NOSIGNAL) == ANSWER_BYTES);
	return NULL;
}

static int stalls_scene(struct worker *self, void *arg)
{
	char buf[ANSWER_BYTES];
	pthread_t server;
	int fds[2];

	(void)arg;
	worker_pause(self);
	ends_open(fds);
	worker_check(!pthread_create(&server, NULL, answers_give, &fds[1]));
	for (int i = 0; i < 2 * ROUNDS; i++) {
		uint64_t begin_ns;

		worker_check(!setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &(int){ i >= ROUNDS }, sizeof(int)));
		begin_ns = clock_ns();
		worker_check(send(fds[0], said, 100, MSG_NOSIGNAL) == 100);
		worker_check(send(fds[0], said, PARTS_BYTES - 100, MSG_NOSIGNAL) == PARTS_BYTES - 100);
		worker_check(recv(fds[0], buf, sizeof(buf), MSG_WAITALL) == sizeof(buf));
		if (clock_ns() - begin_ns >= STALL_NS && i < ROUNDS) {
			self->value[0]++;
			self->value[1] += clock_ns() - begin_ns;
		}
	}
	close(fds[0]);
	pthread_join(server, NULL);
	close(fds[1]);
	worker_pause(self);
	return 0;
}

static void test_stalls(void **state)
{
	const struct agent_data *a;
	struct worker *w;

	(void)state;
	a = scene_play(stalls_scene, NULL, &w);
	assert_int_equal(hist_count(a, M_REQUEST_SENDS), 2 * ROUNDS);
	assert_int_equal(hist_sum(a, M_REQUEST_SENDS), 2 * 2 * ROUNDS);
	print_message("%llu stalls, %.1f ms by the worker's clock, %.1f ms seen\n", (unsigned long long)w->value[0], w->value[1] / 1e6,
		      hist_sum(a, M_ACK_STALL_NS) / 1e6);
	assert_true(w->value[0] > 1);
	assert_in_range(hist_count(a, M_ACK_STALL_NS), w->value[0] - 1, w->value[0]); /* the first round may be slow for another reason */
	assert_in_range(hist_sum(a, M_ACK_STALL_NS), w->value[1] / 2, w->value[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { LIVE_TEST(test_repeats), LIVE_TEST(test_stalls) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
