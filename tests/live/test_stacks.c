/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Stack samples as the kernel side takes them: what is in one, how many there are, and the waits that they tell of. */
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lib/util.h"
#include "lib_live.h"
#include "symbols/symbolizer.h"

#define HZ 997.0
#define MAGIC 0x5ca1ab1e0ddba115ULL
#define MAGICS 64
#define KERNEL_ADDRESS (1ULL << 63)
#define SAMPLES_MAX 65536
#define SAMPLES_WANTED 50 /* in an emulator that gets no CPU itself, many ticks of the timer become one */

/* What a test keeps of the samples. */
struct taken {
	struct so_stack head;
	uint64_t magics; /* words of the user's stack that are MAGIC */
	uint64_t kernel_leaf; /* 0: none */
};

static struct taken samples[SAMPLES_MAX];
static size_t samples_len;

static void on_stack(void *ctx, const struct so_stack *s)
{
	struct taken *n = &samples[samples_len];
	const uint64_t *user = (const void *)so_stack_user(s);

	(void)ctx;
	assert_true(samples_len++ < SAMPLES_MAX);
	*n = (struct taken){ .head = *s, .kernel_leaf = s->kernel_len ? so_stack_kernel(s)[0] : 0 };
	assert_int_equal(s->user_bytes % 8, 0);
	for (uint32_t i = 0; i < s->user_bytes / 8; i++)
		n->magics += user[i] == MAGIC;
}

static void samples_more(struct live *l)
{
	assert_true(observer_stacks(l->observer, on_stack, NULL) >= 0);
}

static void samples_take(struct live *l)
{
	samples_len = 0;
	samples_more(l);
}

/* A worker works on until the test has enough. */
static volatile uint64_t *stop;

/* In a section of its own, so that its bounds are known. */
__attribute__((section("burn_text"), noinline)) static void burn(void)
{
	for (volatile unsigned i = 0; i < 1000000; i++)
		;
}
extern const char __start_burn_text[], __stop_burn_text[];

static bool in_burn(uint64_t address)
{
	return address >= (uintptr_t)__start_burn_text && address < (uintptr_t)__stop_burn_text;
}

/* Calls fn with a pattern above it on the stack. */
__attribute__((noinline)) static void with_magic(void (*fn)(void))
{
	volatile uint64_t pattern[MAGICS];

	for (int i = 0; i < MAGICS; i++)
		pattern[i] = MAGIC;
	fn();
	(void)pattern[0];
}

static void burn_long(void)
{
	while (!*stop)
		burn();
}

static int burner(struct worker *self, void *arg)
{
	(void)arg;
	stop = &self->value[0];
	worker_pause(self);
	with_magic(burn_long);
	worker_pause(self);
	return 0;
}

static struct live *live_profile(struct worker *w)
{
	struct live *l = live_open(&(struct observer_config){ .ring_bytes = 8 << 20, .profile_hz = HZ, .probe_on = { [PROBE_PROFILE] = true } });

	live_watch(l, &w->pid, 1);
	return l;
}

/* Runs w to its next pause, a stranger beside it, and takes the samples. */
static struct live *profile_run(worker_fn fn)
{
	struct worker *w = worker_start(fn, NULL), *stranger = worker_start(fn, NULL);
	struct observer_counts counts;
	struct live *l;

	worker_settle(w);
	worker_settle(stranger);
	l = live_profile(w);
	worker_go(stranger);
	worker_go(w);
	for (samples_len = 0; samples_len < SAMPLES_WANTED;)
		samples_more(l);
	w->value[0] = stranger->value[0] = 1;
	worker_settle(w);
	worker_settle(stranger);
	samples_more(l);
	observer_counts_read(l->observer, &counts);
	assert_int_equal(counts.seen[SO_STACK], samples_len);
	for (size_t i = 0; i < samples_len; i++) {
		const struct so_stack *s = &samples[i].head;

		assert_int_equal(s->head.tid, w->pid);
		assert_int_equal(s->tgid, w->pid);
		assert_int_equal(s->head.agent, 1);
		assert_int_equal(s->sample, SO_SAMPLE_CPU);
		assert_true(s->value >= (uint64_t)(1e9 / HZ) && s->value % (uint64_t)(1e9 / HZ) == 0);
		assert_int_equal(s->python_len, 0);
	}
	return l;
}

static void test_user_stack(void **state)
{
	size_t burning = 0;

	(void)state;
	live_need(PROBE_PROFILE);
	profile_run(burner);
	for (size_t i = 0; i < samples_len; i++) {
		const struct so_stack *s = &samples[i].head;

		if (!in_burn(s->regs[SO_REG_IP]))
			continue;
		burning++;
		assert_true(samples[i].magics >= MAGICS);
		assert_true(s->user_bytes >= MAGICS * 8);
		assert_int_equal(s->flags & SO_STACK_COMPAT, 0);
	}
	assert_true(burning > samples_len * 3 / 4);
}

static void read_zeros(void)
{
	static char buf[1 << 20];
	int fd = open("/dev/zero", O_RDONLY);

	while (!*stop)
		worker_check(read(fd, buf, sizeof(buf)) == sizeof(buf));
	close(fd);
}

static int reader(struct worker *self, void *arg)
{
	(void)arg;
	stop = &self->value[0];
	worker_pause(self);
	with_magic(read_zeros);
	worker_pause(self);
	return 0;
}

static void test_kernel_stack(void **state)
{
	size_t within = 0;

	(void)state;
	live_need(PROBE_PROFILE);
	profile_run(reader);
	for (size_t i = 0; i < samples_len; i++) {
		if (!samples[i].head.kernel_len)
			continue;
		assert_true(samples[i].kernel_leaf >= KERNEL_ADDRESS);
		within += samples[i].magics >= MAGICS; /* the user's part is there as well */
	}
	assert_true(within > samples_len * 3 / 4);
}

/* A sample is taken wherever the timer finds the task: each run of the task is measured to a period, give or take. */
static void test_cpu_time(void **state)
{
	struct worker *w = worker_start(burner, NULL), *stranger = worker_start(burner, NULL);
	const struct agent_data *a;
	double cpu, sampled, period = 1e9 / HZ, runs;
	struct live *l;

	(void)state;
	live_need(PROBE_PROFILE);
	worker_settle(w);
	worker_settle(stranger);
	l = live_profile(w);
	assert_int_equal(collector_stacks(l->collector, 0, true), 0);
	worker_go(stranger);
	worker_go(w);
	while (collector_counts(l->collector)->received[SO_STACK] < SAMPLES_WANTED)
		assert_true(collector_drain(l->collector) >= 0);
	w->value[0] = stranger->value[0] = 1;
	worker_settle(w);
	worker_settle(stranger);
	a = live_close(l, true, 0); /* which also checks that seen = received + lost */
	cpu = counter_of(a, M_CPU_USER_NS) + counter_of(a, M_CPU_SYSTEM_NS);
	sampled = sample_set_sum(&a->samples[SAMPLE_CPU_NS]);
	runs = hist_count(a, M_ONCPU_NS);
	/* An error of a run lies evenly between minus one and one period: its variance is a sixth of a period's square at most. */
	/* And what a hypervisor takes away counts in the one only, what an emulated timer misses in the other: tests/e2e/test_profile.py is stricter. */
	assert_near(sampled, cpu, 6 * sqrt(runs / 6) * period + cpu / 4);
}

static int waiter(struct worker *self, void *arg)
{
	volatile uint64_t pattern[MAGICS];

	(void)arg;
	for (int i = 0; i < MAGICS; i++)
		pattern[i] = MAGIC;
	for (int i = 0; i < 2; i++)
		worker_pause(self);
	return (int)pattern[0] & 0;
}

#define LOOK_MIN_NS 2000000

static struct live *live_offcpu(struct worker *w)
{
	struct live *l = live_open(&(struct observer_config){ .ring_bytes = 8 << 20, .probe_on = { [PROBE_OFFCPU] = true } });

	live_watch(l, &w->pid, 1);
	return l;
}

/* Looks until the one wait has been read; returns when it began. */
static uint64_t look(struct live *l, const struct worker *w)
{
	const struct so_stack *s = &samples[0].head;

	do {
		assert_int_equal(observer_look(l->observer, LOOK_MIN_NS), 0);
		samples_take(l);
	} while (!samples_len);
	assert_int_equal(samples_len, 1);
	assert_int_equal(s->head.tid, w->pid);
	assert_int_equal(s->sample, SO_SAMPLE_OFFCPU);
	assert_true(samples[0].kernel_leaf >= KERNEL_ADDRESS);
	assert_true(samples[0].magics >= MAGICS);
	assert_true(clock_ns() - s->key >= LOOK_MIN_NS);
	return s->key;
}

static void test_wait_is_read_once(void **state)
{
	struct worker *w = worker_start(waiter, NULL);
	uint64_t first, second;
	struct live *l;

	(void)state;
	live_need(PROBE_OFFCPU);
	worker_settle(w);
	l = live_offcpu(w);
	first = look(l, w);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(observer_look(l->observer, LOOK_MIN_NS), 0);
		samples_take(l);
		assert_int_equal(samples_len, 0);
	}
	worker_go(w);
	worker_settle(w);
	second = look(l, w);
	assert_true(second > first);
	assert_int_equal(observer_look(l->observer, 3600 * NS_PER_S), 0); /* nothing has waited for so long */
	samples_take(l);
	assert_int_equal(samples_len, 0);
}

#define CROWD 600
#define LOOK_MOST 256 /* waits that one look reads */

static void *idler(void *arg)
{
	worker_pause(arg);
	return NULL;
}

/* Each thread is in a worker_pause() of its own: none is over as long as nobody says so. */
static int crowd(struct worker *self, void *arg)
{
	pthread_t t;

	(void)arg;
	for (int i = 0; i < CROWD; i++)
		worker_check(!pthread_create(&t, NULL, idler, self));
	pause();
	return 0;
}

/* Many waits at once are read bit by bit, each once. */
static void test_crowd(void **state)
{
	struct worker *w = worker_start(crowd, NULL);
	static uint32_t tids[CROWD + 1];
	bool more = false;
	size_t found = 0;
	struct live *l;

	(void)state;
	live_need(PROBE_OFFCPU);
	for (int i = 0; i < CROWD; i++)
		worker_settle(w);
	while (status_number(w->pid, "Threads:") < CROWD + 1)
		sched_yield();
	l = live_offcpu(w);
	while (found < CROWD) {
		int left = observer_look(l->observer, LOOK_MIN_NS);

		assert_true(left >= 0);
		more |= left;
		samples_take(l);
		assert_true(samples_len <= LOOK_MOST);
		for (size_t i = 0; i < samples_len; i++) {
			for (size_t j = 0; j < found; j++)
				assert_int_not_equal(tids[j], samples[i].head.head.tid);
			assert_true(found <= CROWD);
			tids[found++] = samples[i].head.head.tid;
		}
	}
	assert_true(more);
}

#define NAPS 5
#define NAP_NS 80000000ULL

static int napper(struct worker *self, void *arg)
{
	(void)arg;
	worker_pause(self);
	for (int i = 0; i < NAPS; i++)
		nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
	worker_pause(self);
	return 0;
}

static void test_wait_time(void **state)
{
	const uint64_t min_ns = 20000000;
	struct worker *w = worker_start(napper, NULL);
	const struct agent_data *a;
	uint64_t other = 0, sum, slept;
	struct sample *sorted;
	struct live *l;
	size_t n;

	(void)state;
	live_need(PROBE_OFFCPU);
	worker_settle(w);
	l = live_offcpu(w);
	world_thresholds(l->world, min_ns, UINT64_MAX);
	assert_int_equal(collector_stacks(l->collector, min_ns, true), 0);
	worker_go(w);
	live_until(l, w);
	a = live_close(l, true, 0);
	sum = sample_set_sum(&a->samples[SAMPLE_OFFCPU_NS]);
	sorted = sample_set_sorted(&a->samples[SAMPLE_OFFCPU_NS], &n);
	for (size_t i = 0; i < n; i++)
		other += sorted[i].stack == STACK_OTHER ? sorted[i].value : 0;
	free(sorted);
	slept = hist_sum(a, M_WAIT_SLEEP_NS);
	assert_true(slept >= NAPS * NAP_NS);
	assert_in_range(sum, slept, slept + hist_sum(a, M_WAIT_OTHER_NS)); /* its naps, and its waits for the test's word if they are long */
	assert_true(other < sum); /* looked at each 10 ms, or later on a busy machine: some are found before they end */
}

#ifdef __x86_64__
/* Goes on as 32-bit code that never ends. */
static int turncoat(struct worker *self, void *arg)
{
	struct {
		uint32_t offset;
		uint16_t segment;
	} target = { .segment = 0x23 };
	uint8_t *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	(void)arg;
	worker_check(code != MAP_FAILED);
	memcpy(code, "\xeb\xfe", 2); /* jmp to itself */
	target.offset = (uint32_t)(uintptr_t)code;
	worker_pause(self);
	__asm__ volatile("ljmp *%0" : : "m"(target)); /* not lret: QEMU lets that read the stack with the kernel's rights, which SMAP forbids */
	return 1;
}

static void test_compat(void **state)
{
	struct worker *w = worker_start(turncoat, NULL);
	uint32_t all = 0, compat = 0;
	struct live *l;

	(void)state;
	live_need(PROBE_PROFILE);
	worker_settle(w);
	l = live_profile(w);
	worker_go(w);
	while (all < 100) {
		samples_take(l);
		all += samples_len;
		for (size_t i = 0; i < samples_len; i++)
			if (samples[i].head.flags & SO_STACK_COMPAT) {
				compat++;
				assert_int_equal(samples[i].head.user_bytes, 0);
			}
	}
	assert_true(compat >= 80);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST(test_user_stack),
		LIVE_TEST(test_kernel_stack),
		LIVE_TEST(test_cpu_time),
		LIVE_TEST(test_wait_is_read_once),
		LIVE_TEST(test_crowd),
		LIVE_TEST(test_wait_time),
#ifdef __x86_64__
		LIVE_TEST(test_compat),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
