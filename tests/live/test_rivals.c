/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who ran while an agent was runnable: against the kernel's own count of its time in the run queue. */
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "lib/util.h"
#include "lib_work.h"

#define RIVAL "the-other-one"
#define BRIEF "the-brief-one"

static volatile int sink;

/* A real-time task, which wakes often and runs for a moment: the scheduler does not keep its stints as it does those of the fair class. */
static int brief(struct worker *self, void *arg)
{
	volatile uint64_t *over = arg;

	pin(0);
	worker_check(!prctl(PR_SET_NAME, BRIEF));
	worker_check(!sched_setscheduler(0, SCHED_RR, &(struct sched_param){ .sched_priority = 1 }));
	worker_pause(self);
	while (!*over) {
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
		for (uint64_t until = clock_ns() + 200000; clock_ns() < until;)
			sink++;
	}
	return 0;
}

/* On this CPU, and before other load on the machine: what that runs there in short stints is not looked at. */
static void take_place(void)
{
	pin(0);
	worker_check(!setpriority(PRIO_PROCESS, 0, -20));
}

/* value[0] is the other's, if there is one: it ends when the agent has. */
static int rival(struct worker *self, void *arg)
{
	volatile uint64_t *over = arg;

	take_place();
	worker_check(!prctl(PR_SET_NAME, RIVAL));
	worker_pause(self);
	while (!*over)
		sink++;
	return 0;
}

static int agent(struct worker *self, void *arg)
{
	(void)arg;
	take_place();
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
	struct worker *third = worker_start(brief, (void *)w->value), *all[] = { w, other, third };
	struct schedstat before[3], after[3];
	const struct agent_data *a;
	uint64_t queued, sum;
	struct live *l;

	(void)state;
	worker_settle(w);
	worker_settle(other);
	worker_settle(third);
	l = live_open(NULL);
	live_watch(l, &w->pid, 1);
	for (int i = 0; i < 3; i++)
		before[i] = schedstat_read(all[i]->pid, all[i]->pid);
	for (int i = 2; i >= 0; i--)
		worker_go(all[i]);
	live_until(l, w);
	for (int i = 0; i < 3; i++)
		after[i] = schedstat_read(all[i]->pid, all[i]->pid);
	a = live_close(l, true, 0);
	queued = after[0].queued_ns - before[0].queued_ns;
	sum = a->rivals_other_ns;
	for (int i = 0; i < RIVALS_KEPT; i++)
		sum += a->rivals[i].ns;
	assert_true(queued > 50000000); /* the load does what it should */
	/* Short stints of others that run here too are not looked at. */
	assert_in_range(sum, queued / 2, queued + queued / 20);
	/* The agent always wants this CPU: whenever another one runs, it waits. */
	assert_near(rival_ns(a, RIVAL), after[1].ran_ns - before[1].ran_ns, (after[1].ran_ns - before[1].ran_ns) / 4 + 5000000);
	assert_near(rival_ns(a, BRIEF), after[2].ran_ns - before[2].ran_ns, (after[2].ran_ns - before[2].ran_ns) / 3 + 5000000);
	assert_int_equal(rival_ns(a, "swapper/0"), 0);
	worker_go(w);
	assert_int_equal(worker_wait(other), 0);
	assert_int_equal(worker_wait(third), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { LIVE_TEST(test_two_on_one_cpu) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
