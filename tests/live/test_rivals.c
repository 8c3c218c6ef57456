/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who ran while an agent was runnable: against the kernel's own count of its time in the run queue. */
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>

#include "lib/util.h"
#include "lib_live.h"

#define RIVAL "the-other-one"

static volatile int sink;

static void pin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	worker_check(!sched_setaffinity(0, sizeof(set), &set));
}

/* value[0] is the other's, if there is one: it ends when the agent has. */
static int rival(struct worker *self, void *arg)
{
	volatile uint64_t *over = arg;

	pin();
	worker_check(!prctl(PR_SET_NAME, RIVAL));
	worker_pause(self);
	while (!*over)
		sink++;
	return 0;
}

static int agent(struct worker *self, void *arg)
{
	(void)arg;
	pin();
	worker_pause(self);
	for (uint64_t until = clock_ns() + NS_PER_S / 2; clock_ns() < until;)
		sink++;
	self->value[0] = 1;
	worker_pause(self);
	return 0;
}

static uint64_t rival_ns(const struct agent_data *a, const char *name)
{
	for (int i = 0; i < RIVALS_KEPT; i++)
		if (a->rivals[i].ns && !strncmp(a->rivals[i].name, name, sizeof(a->rivals[i].name)))
			return a->rivals[i].ns;
	return 0;
}

static void test_two_on_one_cpu(void **state)
{
	struct worker *w = worker_start(agent, NULL), *other = worker_start(rival, (void *)w->value);
	struct schedstat before, after;
	const struct agent_data *a;
	uint64_t queued, all = 0;
	struct live *l;

	(void)state;
	worker_settle(w);
	worker_settle(other);
	l = live_open(NULL);
	live_watch(l, &w->pid, 1);
	before = schedstat_read(w->pid, w->pid);
	worker_go(other);
	worker_go(w);
	live_until(l, w);
	after = schedstat_read(w->pid, w->pid);
	a = live_close(l, true, 0);
	queued = after.queued_ns - before.queued_ns;
	for (int i = 0; i < RIVALS_KEPT; i++)
		all += a->rivals[i].ns;
	assert_true(queued > 50000000); /* the load does what it should */
	assert_true(all <= queued + queued / 20);
	/* Others may run here too, and of several in a row only the last one shows. */
	assert_true(rival_ns(a, RIVAL) >= queued / 3);
	assert_int_equal(rival_ns(a, "swapper/0"), 0);
	worker_go(w);
	assert_int_equal(worker_wait(other), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { LIVE_TEST(test_two_on_one_cpu) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
