/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Page faults against getrusage, mappings of known sizes, a peak of resident memory that is over before anybody looks, and kernel memory. */
#include <bpf/bpf.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/util.h"
#include "lib_live.h"

#define BLOCK_BYTES (64ULL << 20)

static const size_t sizes[] = { 4096, 8192, 12345, 65536, 1 << 20, (2 << 20) - 4096, 2 << 20, (2 << 20) + 4096, 5 << 20, 64 << 20 };
#define ROUNDS 5

static uint64_t faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_minflt;
}

static int toucher(struct worker *self, void *arg)
{
	uint64_t before;

	(void)arg;
	self->value[0] = faults(); /* brings in the pages of the call itself */
	self->value[1] = 0;
	worker_pause(self);
	before = faults();
	for (int i = 0; i < 200; i++) {
		volatile char *p = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		worker_check(p != MAP_FAILED);
		madvise((void *)p, 16 * 4096, MADV_NOHUGEPAGE);
		for (int j = 0; j < 16; j++)
			p[j * 4096] = 1;
		munmap((void *)p, 16 * 4096);
	}
	self->value[1] = faults() - before;
	worker_pause(self);
	return 0;
}

static long long faults_of(pid_t pid)
{
	char path[64], buf[1024], *at;
	long long n = -1;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	assert_true(file_read(path, buf, sizeof(buf)) > 0);
	at = strrchr(buf, ')');
	assert_non_null(at);
	assert_int_equal(sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %lld", &n), 1);
	return n;
}

static void test_faults(void **state)
{
	struct worker *w = worker_start(toucher, NULL), *idle = worker_start(toucher, NULL);
	const struct agent_data *const *all;
	const struct agent_info *const *infos;
	long long before;
	struct live *l;
	int n;

	(void)state;
	live_need(PROBE_MEM);
	worker_settle(w);
	worker_settle(idle);
	l = live_open(NULL);
	live_watch(l, (pid_t[]){ w->pid, idle->pid }, 2);
	before = faults_of(w->pid);
	worker_go(w);
	live_until(l, w);
	live_close(l, true, 0);
	all = world_total(l->world, &infos, &n);
	assert_in_range(w->value[1], 200 * 16, 200 * 16 + 50);
	assert_int_equal(counter_of(all[0], M_FAULTS_MINOR), faults_of(w->pid) - before);
	/* Around its own two looks it may fault on its way in and out. */
	assert_in_range(counter_of(all[0], M_FAULTS_MINOR), w->value[1], w->value[1] + 20);
	assert_int_equal(counter_of(all[0], M_FAULTS_MAJOR), 0);
	assert_int_equal(counter_of(all[1], M_FAULTS_MINOR), 0);
	assert_int_equal(hist_count(all[1], M_MAP_BYTES), 0);
}

static int mapper(struct worker *self, void *arg)
{
	(void)arg;
	worker_pause(self);
	for (int r = 0; r < ROUNDS; r++)
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			void *p = mmap(NULL, sizes[i], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			worker_check(p != MAP_FAILED);
			munmap(p, sizes[i]);
		}
	worker_pause(self);
	return 0;
}

static void test_mappings(void **state)
{
	struct worker *w, *stranger;
	const struct agent_data *a;
	uint64_t sum = 0;
	struct live *l;

	(void)state;
	live_need(PROBE_MEM);
	w = worker_start(mapper, NULL);
	stranger = worker_start(mapper, NULL);
	worker_settle(w);
	worker_settle(stranger);
	l = live_open(NULL);
	live_watch(l, &w->pid, 1);
	worker_go(stranger);
	worker_go(w);
	live_until(l, w);
	worker_settle(stranger);
	a = live_close(l, true, 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		sum += (sizes[i] + 4095) / 4096 * 4096 * ROUNDS;
	assert_int_equal(hist_count(a, M_MAP_BYTES), ROUNDS * ARRAY_SIZE(sizes));
	assert_int_equal(hist_sum(a, M_MAP_BYTES), sum);
	assert_int_equal(a->metrics.hist[M_MAP_BYTES]->min, 4096);
	assert_int_equal(a->metrics.hist[M_MAP_BYTES]->max, 64 << 20);
}

static const size_t blocks[] = { 0, BLOCK_BYTES, BLOCK_BYTES / 2 }; /* the last one is no new high */

static int swinger(struct worker *self, void *arg)
{
	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++) {
		worker_pause(self);
		if (blocks[i]) {
			char *p = mmap(NULL, blocks[i], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			worker_check(p != MAP_FAILED);
			memset(p, 1, blocks[i]);
			munmap(p, blocks[i]);
		}
	}
	worker_pause(self);
	return 0;
}

/* Each block is there and gone within an interval of its own. */
static void check_peaks(bool all)
{
	struct observer_config cfg = { .ring_bytes = 8 << 20, .probe_on = { [PROBE_PEAK] = all } };
	const size_t rounds = ARRAY_SIZE(blocks);
	uint64_t slack;
	struct worker *w;
	struct live *l;

	live_need(PROBE_MEM);
	if (all)
		live_need(PROBE_PEAK);
	w = worker_start(swinger, NULL);
	worker_settle(w);
	l = live_open(&cfg);
	live_watch(l, &w->pid, 1);
	/* The kernel folds counts in by batches a CPU: of max(32, 2 * CPUs) pages, for three kinds of memory. */
	slack = sysconf(_SC_NPROCESSORS_CONF) * 3 * 64 * 4096;
	for (size_t i = 0; i < rounds; i++) {
		const struct agent_data *a;
		uint64_t rss;

		worker_go(w);
		live_until(l, w);
		a = live_close(l, false, 0);
		rss = counter_of(a, M_RSS_BYTES);
		assert_near(counter_of(a, M_RSS_PEAK_BYTES), rss + (all || blocks[i] == BLOCK_BYTES ? blocks[i] : 0), slack);
		if (i < rounds - 1)
			world_next(l->world);
	}
}

static void test_new_high(void **state)
{
	(void)state;
	check_peaks(false);
}

static void test_all_peaks(void **state)
{
	(void)state;
	check_peaks(true);
}

/* One that neither snapshot saw. */
static int brief(struct worker *self, void *arg)
{
	pid_t pid;

	(void)arg;
	worker_pause(self);
	pid = fork();
	worker_check(pid >= 0);
	if (!pid) {
		char *p = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			_exit(1);
		memset(p, 1, BLOCK_BYTES);
		_exit(0);
	}
	worker_check(waitpid(pid, NULL, 0) == pid);
	worker_pause(self);
	return 0;
}

static void test_peak_of_a_brief_process(void **state)
{
	const struct agent_data *a;
	struct worker *w;
	struct live *l;

	(void)state;
	live_need(PROBE_MEM);
	w = worker_start(brief, NULL);
	l = live_alone(w, NULL);
	a = live_close(l, true, 0);
	assert_true(counter_of(a, M_RSS_PEAK_BYTES) >= BLOCK_BYTES);
	assert_true(counter_of(a, M_RSS_BYTES) < BLOCK_BYTES);
}

#define PIPES 200

static int piper(struct worker *self, void *arg)
{
	(void)arg;
	worker_pause(self);
	for (int i = 0; i < PIPES; i++) {
		int fds[2];

		worker_check(!pipe(fds));
		close(fds[0]);
		close(fds[1]);
	}
	worker_pause(self);
	return 0;
}

/* Our own map of this name: other observers' are none of our descriptors. */
static int map_open(const char *name)
{
	for (int fd = 3; fd < 4096; fd++) {
		struct bpf_map_info info = {};
		__u32 len = sizeof(info);
		char path[64], to[64] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, to, sizeof(to) - 1) > 0 && !strcmp(to, "anon_inode:bpf-map") && !bpf_obj_get_info_by_fd(fd, &info, &len) &&
		    !strcmp(info.name, name))
			return fd;
	}
	fail_msg("no map %s", name);
	return -1;
}

static uint64_t loss_of(const struct observer_data *o, const char *reason)
{
	for (int i = 0; i < o->losses; i++)
		if (!strcmp(o->lost[i].reason, reason))
			return o->lost[i].count;
	fail_msg("no loss %s", reason);
	return 0;
}

/* Kernel memory is summed in the kernel by agent and size: what finds no room there is told as lost, and nothing else is. */
static void check_kernel_memory(bool full)
{
	struct observer_config cfg = { .ring_bytes = 8 << 20, .probe_on = { [PROBE_KMEM] = true } };
	struct worker *w = worker_start(piper, NULL);
	static uint64_t counts[SO_MAX_CPUS];
	const struct agent_data *a;
	struct observer_data told;
	struct live *l;

	live_need(PROBE_KMEM);
	worker_settle(w);
	l = live_open(&cfg);
	for (uint32_t i = 0, fd = full ? map_open("kmem_counts") : 0; full; i++)
		if (bpf_map_update_elem(fd, (uint32_t[]){ 0, i }, counts, BPF_NOEXIST)) { /* no agent has the number 0 */
			assert_int_equal(errno, E2BIG);
			break;
		}
	live_watch(l, &w->pid, 1);
	worker_go(w);
	live_until(l, w);
	a = live_close(l, true, 0);
	collector_observe(l->collector, &told);
	/* A pipe is an inode, a directory entry and two files at least. */
	if (full) {
		assert_true(loss_of(&told, "table_full") >= 4 * PIPES);
		assert_int_equal(hist_count(a, M_KERNEL_ALLOC_SIZE_BYTES), 0);
	} else {
		assert_int_equal(loss_of(&told, "table_full"), 0);
		assert_true(hist_count(a, M_KERNEL_ALLOC_SIZE_BYTES) >= 4 * PIPES);
	}
}

static void test_kernel_memory(void **state)
{
	(void)state;
	check_kernel_memory(false);
}

static void test_kernel_memory_without_room(void **state)
{
	(void)state;
	check_kernel_memory(true);
}

static int wait_and_exec(void *arg)
{
	int *pipes = arg;
	char c;

	close(pipes[1]); /* its table of descriptors is its own: the parent's end is an end */
	if (read(pipes[0], &c, 1) == 1)
		execl("/bin/true", "true", NULL);
	_exit(1);
}

/* Children that have their parent's memory until their exec, as those of vfork and posix_spawn. */
static int spawner(struct worker *self, void *arg)
{
	static char stack[2][65536] __attribute__((aligned(16)));
	char *p = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid_t pid[2];
	int pipes[2];

	(void)arg;
	worker_check(p != MAP_FAILED && !pipe(pipes));
	memset(p, 1, BLOCK_BYTES);
	worker_pause(self);
	for (int i = 0; i < 2; i++) {
		pid[i] = clone(wait_and_exec, stack[i] + sizeof(stack[i]), CLONE_VM | SIGCHLD, pipes);
		worker_check(pid[i] > 0);
	}
	worker_pause(self);
	worker_check(write(pipes[1], "go", 2) == 2);
	for (int i = 0; i < 2; i++) {
		int status;

		worker_check(waitpid(pid[i], &status, 0) == pid[i] && !status);
	}
	worker_pause(self);
	return 0;
}

static void test_memory_of_the_parent_counts_once(void **state)
{
	struct worker *w;
	struct live *l;

	(void)state;
	live_need(PROBE_MEM);
	w = worker_start(spawner, NULL);
	worker_settle(w);
	l = live_open(NULL);
	live_watch(l, &w->pid, 1);
	for (int i = 0; i < 2; i++) { /* while they wait, and after their end */
		const struct agent_data *a;

		worker_go(w);
		live_until(l, w);
		a = live_close(l, i, 0); /* the last time: of both */
		assert_int_equal(counter_of(a, M_FORKS), 2);
		assert_int_equal(counter_of(a, M_EXITS), i ? 2 : 0);
		assert_in_range(counter_of(a, M_RSS_BYTES), BLOCK_BYTES, 3 * BLOCK_BYTES / 2);
		assert_in_range(counter_of(a, M_RSS_PEAK_BYTES), BLOCK_BYTES, 3 * BLOCK_BYTES / 2);
		if (!i)
			world_next(l->world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST(test_faults),
		LIVE_TEST(test_mappings),
		LIVE_TEST(test_new_high),
		LIVE_TEST(test_all_peaks),
		LIVE_TEST(test_peak_of_a_brief_process),
		LIVE_TEST(test_memory_of_the_parent_counts_once),
		LIVE_TEST(test_kernel_memory),
		LIVE_TEST(test_kernel_memory_without_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
