/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What live tests share: workers (forked functions of the test program that stop where the test says) and the observer with its
 * collector. Workers and test talk through eventfds and shared memory, so that a pipe, poll or socket of a worker is one of the test's
 * own making: waiting for the test's word is a wait for "other". Nothing here sleeps; every wait is for an event.
 *
 * Everything a test opens is put away by the teardown, also after a failed assertion.
 */
#ifndef STAKEOUT_LIB_LIVE_H
#define STAKEOUT_LIB_LIVE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "collect/collector.h"
#include "probe/observer.h"

#define LIVE_VALUES 64

struct worker {
	pid_t pid; /* 0: reaped */
	int go_fd, done_fd;
	volatile uint64_t *value; /* LIVE_VALUES, shared with the child: what it has to tell */
};

/* Runs in the child; ends it by returning its exit status. */
typedef int (*worker_fn)(struct worker *self, void *arg);

/* Test side. */
struct worker *worker_start(worker_fn fn, void *arg);
void worker_go(struct worker *w); /* lets it pass its next worker_pause() */
void worker_settle(struct worker *w); /* until it has arrived at its next worker_pause() and left the CPU */
int worker_wait(struct worker *w); /* until it has ended; returns the status as wait(2) gives it */
/* Worker side: says that it got here, and waits for the word to go on. */
void worker_pause(struct worker *self);
/* Ends the worker with a message if ok is false (an assertion of the child's). */
#define worker_check(ok) worker_check_at(ok, #ok, __FILE__, __LINE__)
void worker_check_at(bool ok, const char *what, const char *file, int line);

/* A number from /proc/PID/status ("VmRSS:" in kB), or -1. */
long long status_number(pid_t pid, const char *key);
/* run time, run-queue time, timeslices of a thread. */
struct schedstat {
	uint64_t ran_ns, queued_ns, slices;
};
struct schedstat schedstat_read(pid_t pid, pid_t tid);
/* Until thread tid of pid is off the CPU, blocked in a system call. */
void task_blocked(pid_t pid, pid_t tid);

struct live {
	struct observer *observer;
	struct world *world;
	struct collector *collector;
	uint64_t start_ns, end_ns;
	bool on[PROBE_COUNT];
};

/* Skips the test where the kernel lacks the probe. */
void live_need(enum probe_id p);
/* Loads and attaches all default probes, and those that cfg switches on. cfg NULL: an 8 MiB ring. */
struct live *live_open(const struct observer_config *cfg);
/* Makes the processes agents, the first one agent 0. */
void live_watch(struct live *l, const pid_t *pids, int n);
/* Drains as a recording does until the worker is at its next pause. */
void live_until(struct live *l, struct worker *w);
/* All of that for one worker, the only agent: from its first pause, for which it is waited, to its next one. */
struct live *live_alone(struct worker *w, const struct observer_config *cfg);
/* Closes an interval; the figures of agent `id` in it, NULL: it has none. `last` gives the total, and checks the books: no record
 * lost, late, undecodable or unaccounted for. Workers must be quiet or gone then. */
const struct agent_data *live_close(struct live *l, bool last, int id);

uint64_t counter_of(const struct agent_data *a, enum metric_id m);
uint64_t hist_count(const struct agent_data *a, enum metric_id m);
uint64_t hist_sum(const struct agent_data *a, enum metric_id m);
const struct tool_data *tool_of(const struct agent_data *a, const char *name);

/* |a - b| <= limit, printing all three when not. */
#define assert_near(a, b, limit) assert_near_at((double)(a), (double)(b), (double)(limit), #a, __FILE__, __LINE__)
void assert_near_at(double a, double b, double limit, const char *what, const char *file, int line);

int live_setup(void **state);
int live_teardown(void **state);
#define LIVE_TEST(f) cmocka_unit_test_setup_teardown(f, live_setup, live_teardown)

#endif
