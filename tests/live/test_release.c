/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Agents that are let go: not one record more of what they do, nothing kept of their tasks and sockets; the others go on. */
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib_live.h"

#define ROUNDS 40
#define TASKS 3 /* of a worker: two threads and a child */

struct talker {
	int pair[2];
};

static void *answer(void *arg)
{
	struct talker *t = arg;
	char c;

	while (read(t->pair[1], &c, 1) == 1)
		if (write(t->pair[1], &c, 1) != 1)
			break;
	return NULL;
}

static void talk(struct talker *t)
{
	char c = 'x';

	for (int i = 0; i < ROUNDS; i++) {
		worker_check(write(t->pair[0], &c, 1) == 1);
		worker_check(read(t->pair[0], &c, 1) == 1);
	}
}

/* Talks through a socket to a thread of its own, twice, and forks in between; a child waits throughout. */
static int talker(struct worker *self, void *arg)
{
	struct talker t;
	pthread_t thread;
	pid_t child, kid;

	(void)arg;
	worker_check(!socketpair(AF_UNIX, SOCK_STREAM, 0, t.pair));
	child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	worker_check(!pthread_create(&thread, NULL, answer, &t));
	self->value[0] = (uint64_t)child;
	worker_pause(self);
	for (int turn = 0; turn < 2; turn++) {
		talk(&t);
		kid = fork();
		if (!kid)
			_exit(0);
		worker_check(waitpid(kid, NULL, 0) == kid);
		worker_pause(self);
	}
	return 0;
}

static uint64_t seen_sum(struct live *l)
{
	struct observer_counts n;
	uint64_t sum = 0;

	observer_flush(l->observer, true);
	observer_counts_read(l->observer, &n);
	for (int k = 0; k < SO_KINDS; k++)
		sum += n.seen[k];
	return sum;
}

static void test_release(void **state)
{
	struct worker *w = worker_start(talker, NULL), *kept = worker_start(talker, NULL);
	const struct agent_data *a;
	uint32_t tgid, slot = 1;
	uint64_t before;
	struct live *l;
	int place;

	(void)state;
	worker_settle(w);
	worker_settle(kept);
	l = live_open(NULL);
	live_watch(l, (pid_t[]){ w->pid, kept->pid }, 2);
	worker_go(w);
	live_until(l, w);
	task_blocked((pid_t)w->value[0], (pid_t)w->value[0]);
	place = world_agent_of(l->world, (uint32_t)w->pid);
	assert_int_equal(world_agent_slot(l->world, place), slot);
	world_agent_release(l->world, place, true);
	a = live_close(l, false, 0);
	assert_false(a->alive);
	assert_int_equal(counter_of(a, M_FORKS), 1);
	if (l->on[PROBE_SOCK])
		assert_int_equal(hist_count(a, M_SEND_BYTES), 2 * ROUNDS);
	assert_int_equal(collector_release(l->collector), 1);
	world_next(l->world);
	assert_int_equal(world_agents_alive(l->world), 1);

	before = seen_sum(l);
	worker_go(w);
	worker_settle(w); /* it has talked and forked once more */
	assert_int_equal(seen_sum(l), before);

	worker_go(kept);
	live_until(l, kept);
	assert_true(seen_sum(l) > before);
	assert_null(live_close(l, false, 0));
	world_next(l->world);
	assert_int_equal(world_agent_of(l->world, (uint32_t)w->pid), -1);
	assert_int_equal(world_agent_of(l->world, (uint32_t)w->value[0]), -1);
	/* All of its tasks are free to be made somebody's: none has kept its membership. */
	tgid = (uint32_t)w->pid;
	assert_int_equal(observer_seed(l->observer, &tgid, &slot, 1), TASKS);
	assert_int_equal(observer_release(l->observer, &slot, 1), 0);
	a = live_close(l, true, 1);
	assert_int_equal(counter_of(a, M_FORKS), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { LIVE_TEST(test_release) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
