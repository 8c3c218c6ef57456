/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Pauses of a made-up runtime: a worker that has CPython's USDT probes, and knows when it passed them. */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/util.h"
#include "lib_live.h"

#define PAUSES 60
#define CRASHERS 24
#define PLACES 3 /* of the probes: each raises a semaphore, on old kernels one after the other */

/* As sys/sdt.h writes them. */
volatile unsigned short start_semaphore __attribute__((section(".probes"), used));
volatile unsigned short done_semaphore __attribute__((section(".probes"), used));
#define NOTE(name, args, semaphore)                                                                                                        \
	"990: nop\n.pushsection .note.stapsdt,\"?\",\"note\"\n.balign 4\n.4byte 992f-991f, 994f-993f, 3\n"                               \
	"991: .asciz \"stapsdt\"\n992: .balign 4\n993: .8byte 990b\n.8byte _.stapsdt.base\n.8byte " semaphore "\n.asciz \"python\"\n"     \
	".asciz \"" name "\"\n.asciz \"" args "\"\n994: .balign 4\n.popsection\n"                                                         \
	".ifndef _.stapsdt.base\n.pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"                                  \
	".weak _.stapsdt.base\n.hidden _.stapsdt.base\n_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n.popsection\n.endif\n"

/* Two places of the probe: the generation in a register, and in memory. */
static __attribute__((noinline)) void pause_in_register(int generation)
{
#if defined(__x86_64__)
	__asm__ volatile(NOTE("gc__start", "-4@%%ebx", "start_semaphore") : : "b"(generation) : "memory");
#elif defined(__aarch64__)
	register int value __asm__("w19") = generation;
	__asm__ volatile(NOTE("gc__start", "-4@w19", "start_semaphore") : : "r"(value) : "memory");
#endif
}

static __attribute__((noinline)) void pause_in_memory(int generation)
{
	volatile int around[4] = { -1, -1, generation, -1 };

#if defined(__x86_64__)
	__asm__ volatile(NOTE("gc__start", "-4@8(%%rbx)", "start_semaphore") : : "b"(around) : "memory");
#elif defined(__aarch64__)
	register volatile int *value __asm__("x19") = around;
	__asm__ volatile(NOTE("gc__start", "-4@[x19, 8]", "start_semaphore") : : "r"(value) : "memory");
#endif
}

static __attribute__((noinline)) void pause_end(void)
{
	__asm__ volatile(NOTE("gc__done", "", "done_semaphore") : : : "memory");
}

static void spin(uint64_t ns)
{
	uint64_t until = clock_ns() + ns;

	while (clock_ns() < until)
		;
}

/* By generation, of which CPython does not have 3. A pause begins and ends somewhere within its two traps: it is no shorter than the time between them, and no longer
 * than that with them. */
enum { VALUE_COUNT = 0, VALUE_WITHIN = 4, VALUE_AROUND = 8, VALUE_SEMAPHORE = 12,
       VALUE_TRIAL, VALUE_TRIALS };

static void pause_begin(int generation, bool in_memory)
{
	if (in_memory)
		pause_in_memory(generation);
	else
		pause_in_register(generation);
}

static void pauses(struct worker *self)
{
	for (int i = 0; i < PAUSES; i++) {
		int generation = i % 4;
		uint64_t from = clock_ns(), within;

		pause_begin(generation, i % 8 >= 4);
		within = clock_ns();
		spin(100000 + i * 1000);
		self->value[VALUE_WITHIN + generation] += clock_ns() - within;
		pause_end();
		self->value[VALUE_AROUND + generation] += clock_ns() - from;
		self->value[VALUE_COUNT + generation]++;
		pause_end(); /* the end of none */
	}
	self->value[VALUE_SEMAPHORE] = start_semaphore + done_semaphore;
}

enum { TRIAL_REGISTER, TRIAL_MEMORY, TRIAL_OVER };

/* arg: whether it tries its probes until the test has seen each of them work. */
static int collecting(struct worker *self, void *arg)
{
	worker_pause(self);
	while (arg && self->value[VALUE_TRIAL] != TRIAL_OVER) {
		pause_begin(3, self->value[VALUE_TRIAL] == TRIAL_MEMORY);
		pause_end();
		self->value[VALUE_TRIALS]++;
		sched_yield();
	}
	pauses(self);
	worker_pause(self);
	/* The probes are gone, and it goes on. */
	pauses(self);
	return (int)self->value[VALUE_SEMAPHORE];
}

static uint64_t records_seen(struct live *l)
{
	struct observer_counts n;

	assert_true(collector_drain(l->collector) >= 0);
	observer_counts_read(l->observer, &n);
	return n.seen[SO_GC];
}

/* Where the kernel takes probes one by one, a breakpoint may be in before its program is. */
static void probes_await(struct live *l, struct worker *w)
{
	for (int trial = TRIAL_REGISTER; trial < TRIAL_OVER; trial++) {
		uint64_t base;

		w->value[VALUE_TRIAL] = trial;
		base = w->value[VALUE_TRIALS];
		while (w->value[VALUE_TRIALS] < base + 2) /* those of the trial before are over */
			sched_yield();
		base = records_seen(l);
		while (records_seen(l) == base)
			usleep(1000);
	}
	w->value[VALUE_TRIAL] = TRIAL_OVER;
}

static void test_pauses(void **state)
{
	static const enum metric_id metrics[] = { M_GC_PAUSE_YOUNG_NS, M_GC_PAUSE_MIDDLE_NS, M_GC_PAUSE_FULL_NS };
	const struct agent_data *total;
	struct worker *watched, *stranger;
	struct live *l;

	(void)state;
	live_need(PROBE_GC);
	watched = worker_start(collecting, (void *)1);
	stranger = worker_start(collecting, NULL);
	worker_settle(watched);
	worker_settle(stranger);
	l = live_open(NULL);
	live_watch(l, &watched->pid, 1);
	worker_go(watched);
	probes_await(l, watched);
	live_until(l, watched);
	worker_go(stranger);
	worker_settle(stranger);
	total = live_close(l, true, 0);
	for (int g = 0; g < 3; g++) {
		assert_int_equal(hist_count(total, metrics[g]), PAUSES / 4);
		assert_int_equal(hist_count(total, metrics[g]), watched->value[VALUE_COUNT + g]);
		assert_in_range(hist_sum(total, metrics[g]), watched->value[VALUE_WITHIN + g], watched->value[VALUE_AROUND + g]);
	}
	assert_int_equal(watched->value[VALUE_SEMAPHORE], PLACES);
	assert_int_equal(stranger->value[VALUE_SEMAPHORE], 0);
	observer_free(l->observer);
	l->observer = NULL;
	worker_go(watched);
	worker_go(stranger);
	assert_int_equal(worker_wait(watched), 0); /* by itself, semaphores down */
	assert_int_equal(worker_wait(stranger), 0);
}

static int waiting(struct worker *self, void *arg)
{
	(void)arg;
	worker_pause(self);
	return 0;
}

/* Processes that end while they are attached to: nothing is left behind, and a later one is attached to all the same. */
static void test_ends_meanwhile(void **state)
{
	struct worker *crashers[CRASHERS], *watched;
	pid_t pids[CRASHERS + 1];
	struct live *l;

	(void)state;
	live_need(PROBE_GC);
	for (int i = 0; i < CRASHERS; i++) {
		crashers[i] = worker_start(waiting, NULL);
		worker_settle(crashers[i]);
		pids[i] = crashers[i]->pid;
	}
	watched = worker_start(collecting, (void *)1);
	worker_settle(watched);
	pids[CRASHERS] = watched->pid;
	l = live_open(NULL);
	live_watch(l, pids, CRASHERS + 1);
	for (int i = 0; i < CRASHERS; i++) {
		collector_drain(l->collector);
		kill(crashers[i]->pid, SIGKILL);
		worker_wait(crashers[i]);
	}
	worker_go(watched);
	probes_await(l, watched);
	live_until(l, watched);
	assert_int_equal(hist_count(live_close(l, true, CRASHERS), M_GC_PAUSE_FULL_NS), PAUSES / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST(test_pauses),
		LIVE_TEST(test_ends_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
