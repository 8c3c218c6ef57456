/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The full heap: exactly the calls that a worker makes, none of a stranger's, and no harm to anybody, whatever it does meanwhile. */
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/util.h"
#include "lib_live.h"

#define CYCLES 20 /* LONG=1: */
#define CYCLES_LONG 10000

/* --- the observer --- */

static int observed; /* processes that probes went into */
static char noted[512];

static void on_heap(void *ctx, unsigned slot, const struct heap_data *delta)
{
	(void)ctx, (void)slot;
	assert_int_equal(delta->mode, HEAP_FULL);
	observed += !delta->unseen;
}

static void on_note(void *ctx, unsigned slot, const char *text)
{
	(void)ctx, (void)slot;
	snprintf(noted, sizeof(noted), "%s", text);
}

static const struct part_reports reports = { .note = on_note, .heap = on_heap };

static struct live *heap_open(void)
{
	struct live *l = live_open(
		&(struct observer_config){ .ring_bytes = 8 << 20, .heap_full = true, .reports = &reports, .probe_on = { [PROBE_HEAP] = true } });

	observed = 0;
	noted[0] = 0;
	assert_int_equal(collector_stacks(l->collector, 0, true), 0);
	return l;
}

/* Skips the test where the kernel has no safe probes. */
static struct live *heap_need(void)
{
	struct live *l = heap_open();

	if (l->on[PROBE_HEAP])
		return l;
	print_message("skip: kernel: %s\n", observer_probes(l->observer)[PROBE_HEAP].why);
	skip();
	return NULL;
}

static void until_observed(struct live *l, int n)
{
	while (observed < n && !noted[0]) {
		assert_true(collector_drain(l->collector) >= 0);
		usleep(1000);
	}
	assert_string_equal(noted, "");
}

/* Has w observed, runs it to its next pause; the figures of it. */
static const struct agent_data *heap_run(struct live *l, struct worker *w)
{
	worker_settle(w);
	live_watch(l, &w->pid, 1);
	until_observed(l, 1);
	worker_go(w);
	live_until(l, w);
	return live_close(l, true, 0);
}

/* --- every function --- */

static void *kept[8];

static int every_function(struct worker *self, void *arg)
{
	void *volatile p = malloc(100), *volatile q = NULL; /* before: nobody sees it */
	volatile size_t huge = SIZE_MAX / 4;

	(void)arg;
	worker_pause(self);
	free(p); /* unknown */
	free(NULL);
	kept[0] = malloc(1000);
	kept[1] = calloc(10, 30);
	kept[2] = realloc(NULL, 50); /* malloc by way of realloc: one allocation */
	kept[3] = realloc(kept[2], 5000); /* one free, one allocation */
	worker_check(!realloc(kept[3], huge)); /* nothing: the block is still there */
	worker_check(!malloc(huge) && !calloc(huge, 16) && !reallocarray(NULL, huge, 16));
	worker_check(!posix_memalign(&kept[4], 128, 700));
	kept[5] = aligned_alloc(64, 640);
	kept[6] = memalign(64, 33);
	kept[7] = reallocarray(kept[6], 3, 100);
	q = malloc(0);
	free(q);
	q = malloc(1 << 20); /* a mapping of its own */
	free(q);
	worker_check(!realloc(kept[0], 0)); /* glibc frees it */
	worker_pause(self);
	return 0;
}

static void test_every_function(void **state)
{
	struct worker *w = worker_start(every_function, NULL);
	struct live *l = heap_need();
	const struct agent_data *a = heap_run(l, w);

	(void)state;
	/* malloc, calloc, realloc, realloc, posix_memalign, aligned_alloc, memalign, reallocarray, malloc(0), malloc(1 M) */
	assert_int_equal(counter_of(a, M_HEAP_ALLOCS), 10);
	assert_int_equal(hist_sum(a, M_HEAP_ALLOC_BYTES), 1000 + 300 + 50 + 5000 + 700 + 640 + 33 + 300 + 0 + (1 << 20));
	/* free of an old block, realloc, reallocarray, two frees, realloc to 0 */
	assert_int_equal(counter_of(a, M_HEAP_FREES), 6);
	assert_int_equal(hist_count(a, M_HEAP_LIFETIME_NS), 5);
	assert_int_equal(a->heap.unknown_frees, 1);
	assert_int_equal(counter_of(a, M_HEAP_LIVE_BLOCKS), 5);
	assert_int_equal(counter_of(a, M_HEAP_LIVE_BYTES), 300 + 5000 + 700 + 640 + 300);
}

/* --- a place --- */

static __attribute__((noinline)) void *wrapper(size_t n)
{
	void *volatile p = malloc(n);

	return p;
}

static __attribute__((noinline)) void *caller_one(void)
{
	void *volatile p = wrapper(100);

	return p;
}

static __attribute__((noinline)) void *caller_two(void)
{
	void *volatile p = wrapper(200);

	return p;
}

static int two_callers(struct worker *self, void *arg)
{
	(void)arg;
	worker_pause(self);
	for (int i = 0; i < 1000; i++) {
		caller_one();
		caller_two();
	}
	worker_pause(self);
	return 0;
}

/* Two callers of one wrapper are two places, however often they come. */
static void test_places(void **state)
{
	struct worker *w = worker_start(two_callers, NULL);
	struct live *l = heap_need();
	const struct agent_data *a = heap_run(l, w);
	const struct sample_set *s = &a->samples[SAMPLE_LIVE_BYTES];
	struct sample *all;
	size_t n;

	(void)state;
	all = sample_set_sorted(s, &n);
	assert_int_equal(n, 2);
	assert_int_equal(all[0].value, 200000);
	assert_int_equal(all[1].value, 100000);
	free(all);
	assert_in_range(collector_counts(l->collector)->received[SO_STACK], 2, 8);
}

/* --- strangers --- */

/* Pointers are volatile throughout: a compiler may leave out what is only allocated and freed. */
static int churn(struct worker *self, void *arg)
{
	(void)arg;
	worker_pause(self);
	for (int i = 0; i < 1000; i++) {
		void *volatile p = malloc(10 + i);

		free(p);
	}
	worker_pause(self);
	return 0;
}

static void code_read(pid_t pid, const void *at, uint8_t *ret, size_t n)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, ret, n, (off_t)(uintptr_t)at), n);
	close(fd);
}

/* A process that has the same file mapped has no breakpoint in it. */
static void test_strangers(void **state)
{
	struct worker *w = worker_start(churn, NULL), *stranger = worker_start(churn, NULL);
	struct live *l = heap_need();
	uint8_t probed[16], plain[16];
	const struct agent_data *a;

	(void)state;
	worker_settle(w);
	worker_settle(stranger);
	live_watch(l, &w->pid, 1);
	until_observed(l, 1);
	code_read(w->pid, malloc, probed, sizeof(probed));
	code_read(stranger->pid, malloc, plain, sizeof(plain));
	assert_memory_not_equal(probed, plain, sizeof(plain));
	assert_memory_equal(plain, (const void *)malloc, sizeof(plain));
	worker_go(stranger);
	worker_settle(stranger);
	worker_go(w);
	live_until(l, w);
	a = live_close(l, true, 0);
	assert_int_equal(counter_of(a, M_HEAP_ALLOCS), 1000);
	assert_int_equal(counter_of(a, M_HEAP_FREES), 1000);
	assert_int_equal(counter_of(a, M_HEAP_LIVE_BLOCKS), 0);
}

/* --- a copy of the process --- */

static int forks(struct worker *self, void *arg)
{
	struct worker *child = arg;
	void *volatile p, *volatile q;
	pid_t pid;

	worker_pause(self);
	p = malloc(1000);
	pid = fork();
	if (!pid) {
		worker_pause(child);
		for (int i = 0; i < 10; i++) {
			q = malloc(20 + i);
			free(q);
		}
		free(p); /* its parent's */
		_exit(0);
	}
	self->value[0] = pid;
	worker_pause(self);
	worker_check(waitpid(pid, NULL, 0) == pid);
	worker_pause(self);
	return 0;
}

static int nothing(struct worker *self, void *arg)
{
	(void)arg;
	worker_pause(self);
	return 0;
}

static void test_fork(void **state)
{
	struct worker *child = worker_start(nothing, NULL), *w; /* whose eventfds the real child uses */
	struct live *l = heap_need();
	const struct agent_data *a;

	(void)state;
	worker_settle(child);
	w = worker_start(forks, child);
	worker_settle(w);
	live_watch(l, &w->pid, 1);
	until_observed(l, 1);
	worker_go(w);
	live_until(l, w);
	until_observed(l, 2);
	worker_go(child);
	worker_go(child); /* one of them is for the child of w: both wait for the same word */
	worker_go(w);
	live_until(l, w);
	a = live_close(l, true, 0);
	assert_int_equal(counter_of(a, M_HEAP_ALLOCS), 11);
	assert_int_equal(counter_of(a, M_HEAP_FREES), 11);
	assert_int_equal(a->heap.unknown_frees, 1);
	assert_int_equal(counter_of(a, M_HEAP_LIVE_BLOCKS), 1); /* in the parent it still is */
}

/* --- safety --- */

/* Lets through what the worker itself needs; anything else is death, the system call of a return's trampoline among it. */
static void confine(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_read, 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_write, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_brk, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_exit_group, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_futex, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { ARRAY_SIZE(code), code };

	worker_check(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter));
}

static int confined(struct worker *self, void *arg)
{
	(void)arg;
	confine();
	return churn(self, NULL);
}

/* On a kernel where a filter sees the trampoline's system call, there is no full heap, and it says why; the process lives in any case. */
static void test_seccomp(void **state)
{
	struct worker *w = worker_start(confined, NULL);
	struct live *l = heap_open();

	(void)state;
	worker_settle(w);
	live_watch(l, &w->pid, 1);
	if (l->on[PROBE_HEAP])
		until_observed(l, 1);
	else
		assert_non_null(strstr(observer_probes(l->observer)[PROBE_HEAP].why, "seccomp"));
	worker_go(w);
	live_until(l, w);
	if (l->on[PROBE_HEAP])
		assert_int_equal(counter_of(live_close(l, true, 0), M_HEAP_ALLOCS), 1000);
	worker_go(w);
	assert_int_equal(worker_wait(w), 0);
}

/* Fills blocks, checks them, frees them: as long as the flag says so. */
static void *busy_thread(void *arg)
{
	volatile uint64_t *value = arg;
	uint8_t *blocks[32] = {};

	for (uint64_t i = 0; value[0]; i++) {
		uint8_t **b = &blocks[i * 7 % 32];
		size_t n = 10 + i % 500;

		if (*b && (*b)[0] != (*b)[9])
			value[1]++;
		*b = i % 3 ? realloc(*b, n) : (free(*b), malloc(n));
		if (!*b)
			value[1]++;
		else
			memset(*b, (int)i, n);
		if (i % 1000 == 0)
			__sync_fetch_and_add(&value[2], 1);
	}
	for (int i = 0; i < 32; i++)
		free(blocks[i]);
	return NULL;
}

static int busy(struct worker *self, void *arg)
{
	pthread_t t[2];

	(void)arg;
	self->value[0] = 1;
	for (int i = 0; i < 2; i++)
		worker_check(!pthread_create(&t[i], NULL, busy_thread, (void *)self->value));
	worker_pause(self);
	for (int i = 0; i < 2; i++)
		worker_check(!pthread_join(t[i], NULL));
	worker_check(!self->value[1]); /* no block lost its contents */
	return 0;
}

/* Probes in and out again and again, while two threads allocate: they go on, and every block keeps what was written into it. */
static void test_cycles(void **state)
{
	struct worker *w = worker_start(busy, NULL);
	struct live *l = heap_need();
	int cycles = getenv("LONG") ? CYCLES_LONG : CYCLES;
	uint64_t turns;

	(void)state;
	worker_settle(w);
	live_watch(l, &w->pid, 1);
	for (int i = 1; i <= cycles; i++) {
		until_observed(l, i);
		observer_process_gone(l->observer, w->pid);
		if (i < cycles)
			observer_process_seen(l->observer, w->pid, 1, SEEN_RUNNING, 0);
	}
	for (turns = w->value[2]; w->value[2] < turns + 10;) /* it goes on */
		assert_int_equal(waitpid(w->pid, NULL, WNOHANG), 0);
	w->value[0] = 0;
	worker_go(w);
	assert_int_equal(worker_wait(w), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST(test_every_function), LIVE_TEST(test_places), LIVE_TEST(test_strangers), LIVE_TEST(test_fork),
		LIVE_TEST(test_seccomp),	LIVE_TEST(test_cycles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
