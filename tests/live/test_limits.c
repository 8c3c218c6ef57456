/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Limits of processes in cgroups of the test's own (v1 or v2, whichever has the controllers here), against those cgroups' own files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/util.h"
#include "lib_live.h"
#include "probe/cgroups.h"
#include "probe/limits.h"

#define MIB (1ULL << 20)
#define MANY 200 /* more than are kept open */
#define CHILD_MIB 16
#define PERIOD_US 20000
#define QUOTA_US 1000 /* less than a busy machine gives to one of many */

struct hierarchy { /* of one controller */
	char dir[128]; /* the test's own cgroup */
	bool v2;
};

static struct hierarchy cpu, memory;
static char mounted[64];
static pid_t children[MANY];
static struct limits *limits;

static void file_put(const char *dir, const char *name, const char *text)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail_msg("%s: %s: %s", path, text, strerror(errno));
	close(fd);
}

static uint64_t file_number(const char *dir, const char *name, const char *word)
{
	char path[256], text[8192], *at;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_true(file_read(path, text, sizeof(text)) > 0);
	if (!word)
		return strtoull(text, NULL, 10);
	for (at = strstr(text, word); at && at != text && at[-1] != '\n'; at = strstr(at + 1, word))
		;
	assert_non_null(at);
	return strtoull(at + strlen(word), NULL, 10);
}

/* Makes the test's cgroup in the hierarchy of a controller. False: there is none. */
static bool hierarchy_open(struct hierarchy *h, const char *controller)
{
	struct cgroup_mount_at m;

	cgroup_mount_find(controller, &m);
	h->v2 = !m.dir;
	if (!m.dir)
		cgroup_mount_find("", &m);
	if (!m.dir && !*mounted) {
		snprintf(mounted, sizeof(mounted), "/tmp/stakeout-test-%d", getpid());
		mkdir(mounted, 0700);
		if (mount("none", mounted, "cgroup2", 0, NULL))
			*mounted = 0;
		cgroup_mount_find("", &m);
	}
	if (!m.dir)
		return false;
	snprintf(h->dir, sizeof(h->dir), "%s/stakeout-test-%d", m.dir, getpid());
	if (h->v2) {
		char text[32], path[160];
		int fd;

		snprintf(path, sizeof(path), "%s/cgroup.subtree_control", m.dir);
		snprintf(text, sizeof(text), "+%s", controller);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, text, strlen(text)) < 0)
			*h->dir = 0;
		cleanup_close(&fd);
	}
	cgroup_mount_fini(&m);
	if (!*h->dir)
		return false;
	mkdir(h->dir, 0700);
	if (h->v2)
		file_put(h->dir, "cgroup.subtree_control", !strcmp(controller, "cpu") ? "+cpu" : "+memory");
	return true;
}

static int setup(void **state)
{
	live_setup(state);
	if (!hierarchy_open(&cpu, "cpu") || !hierarchy_open(&memory, "memory"))
		*cpu.dir = 0;
	limits = limits_new();
	return 0;
}

static void need_cgroups(void)
{
	if (*cpu.dir)
		return;
	print_message("skip: kernel: no cgroup hierarchy with the controllers cpu and memory\n");
	skip();
}

/* Removes what the test made in a cgroup, and the cgroup. */
static void cgroup_remove(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char path[512];

		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			cgroup_remove(path);
	}
	if (d)
		closedir(d);
	while (rmdir(dir) && errno == EBUSY) /* its last process is not put away yet */
		usleep(1000);
}

static int teardown(void **state)
{
	live_teardown(state);
	for (int i = 0; i < MANY; i++)
		if (children[i]) {
			kill(children[i], SIGKILL);
			waitpid(children[i], NULL, 0);
			children[i] = 0;
		}
	limits_free(limits);
	if (*cpu.dir)
		cgroup_remove(cpu.dir);
	if (*memory.dir && strcmp(cpu.dir, memory.dir))
		cgroup_remove(memory.dir);
	cpu.dir[0] = memory.dir[0] = 0;
	if (*mounted) {
		umount(mounted);
		rmdir(mounted);
		*mounted = 0;
	}
	return 0;
}

/* A cgroup below the test's own; its directory. */
static char *below(const struct hierarchy *h, const char *name, char dir[192])
{
	snprintf(dir, 192, "%s/%s", h->dir, name);
	if (mkdir(dir, 0700) && errno != EEXIST)
		fail_msg("%s: %s", dir, strerror(errno));
	return dir;
}

static void enter(const char *dir, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	file_put(dir, "cgroup.procs", text);
}

/* v2 keeps processes out of cgroups that hand on a controller. */
static void controller_hand_on(const struct hierarchy *h, const char *dir, const char *controller)
{
	if (h->v2)
		file_put(dir, "cgroup.subtree_control", controller);
}

static void quota_set(const char *dir, unsigned us)
{
	char text[32];

	if (cpu.v2) {
		snprintf(text, sizeof(text), "%u %u", us, PERIOD_US);
		file_put(dir, "cpu.max", text);
		return;
	}
	snprintf(text, sizeof(text), "%u", PERIOD_US);
	file_put(dir, "cpu.cfs_period_us", text);
	snprintf(text, sizeof(text), "%u", us);
	file_put(dir, "cpu.cfs_quota_us", text);
}

static void memory_limit_set(const char *dir, uint64_t bytes)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	file_put(dir, memory.v2 ? "memory.max" : "memory.limit_in_bytes", text);
}

static uint64_t throttles_of(const char *dir)
{
	return file_number(dir, "cpu.stat", "nr_throttled ");
}

static uint64_t throttled_ns_of(const char *dir)
{
	return cpu.v2 ? file_number(dir, "cpu.stat", "throttled_usec ") * 1000 : file_number(dir, "cpu.stat", "throttled_time ");
}

static struct limits_reading reading(pid_t pid)
{
	struct limits_reading r;

	limits_begin(limits);
	limits_read(limits, pid, &r);
	limits_end(limits);
	return r;
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int burner(struct worker *self, void *arg)
{
	(void)arg;
	for (int turn = 0; turn < 100; turn++) {
		uint64_t until;

		worker_pause(self);
		until = cpu_ns() + 30000000;
		while (cpu_ns() < until)
			;
	}
	return 0;
}

/* Also until the cgroup's periods stand still: the kernel counts a throttled one when the next begins. */
static void burn(struct worker *w, const char *dir)
{
	uint64_t periods;

	worker_go(w);
	worker_settle(w);
	do {
		periods = file_number(dir, "cpu.stat", "nr_periods ");
		usleep(3 * PERIOD_US);
	} while (periods != file_number(dir, "cpu.stat", "nr_periods "));
}

static void test_throttling(void **state)
{
	struct worker *w;
	char outer[192], inner[192];
	struct limits_reading before, after;
	uint64_t had, had_ns;
	pid_t pid;

	(void)state;
	need_cgroups();
	below(&cpu, "outer", outer);
	controller_hand_on(&cpu, outer, "+cpu");
	below(&cpu, "outer/inner", inner);
	quota_set(outer, QUOTA_US);
	w = worker_start(burner, NULL);
	worker_settle(w);
	pid = w->pid;
	enter(inner, pid);
	burn(w, outer); /* what was before the first reading does not count */
	had = throttles_of(outer);
	had_ns = throttled_ns_of(outer);
	assert_true(had > 0);
	before = reading(pid);
	assert_int_equal(before.throttles, 0);
	burn(w, outer);
	after = reading(pid);
	assert_true(after.throttles >= 5); /* 30 ms of CPU, by 1 ms in 20 */
	assert_int_equal(after.throttles, throttles_of(outer) - had);
	assert_int_equal(after.throttled_ns, throttled_ns_of(outer) - had_ns);
	assert_int_equal(throttles_of(inner), 0); /* it is the limit of the one above */
	/* Now the inner one is tighter. */
	quota_set(outer, 15000);
	quota_set(inner, QUOTA_US);
	had = throttles_of(inner);
	had_ns = throttled_ns_of(inner);
	before = after;
	burn(w, inner);
	after = reading(pid);
	assert_int_equal(after.throttled_ns - before.throttled_ns, throttled_ns_of(inner) - had_ns);
	assert_int_equal(after.throttles - before.throttles, throttles_of(inner) - had);
	/* Of who is gone the sums still tell (its end took time, too). */
	kill(pid, SIGKILL);
	worker_wait(w);
	before = reading(pid);
	assert_true(before.throttles >= after.throttles && before.throttled_ns >= after.throttled_ns);
	assert_int_equal(before.memory_limit_bytes, after.memory_limit_bytes);
}

static int holder(struct worker *self, void *arg)
{
	char *p = mmap(NULL, CHILD_MIB * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	worker_check(p != MAP_FAILED);
	worker_pause(self);
	memset(p, 1, CHILD_MIB * MIB);
	worker_pause(self);
	return 0;
}

static uint64_t left_of(const char *dir, uint64_t limit)
{
	const char *word = memory.v2 ? "inactive_file " : "total_inactive_file ";

	return limit - file_number(dir, memory.v2 ? "memory.current" : "memory.usage_in_bytes", NULL) + file_number(dir, "memory.stat", word);
}

static void test_memory(void **state)
{
	struct worker *w;
	char outer[192], inner[192];
	struct limits_reading r;

	(void)state;
	need_cgroups();
	w = worker_start(holder, NULL);
	worker_settle(w);
	r = reading(w->pid);
	/* As long as it has no limit of its own: the machine's (or that of the cgroup that the test runs in). */
	assert_true(r.memory_limit_bytes > 0 && r.memory_left_bytes < r.memory_limit_bytes);
	assert_true(r.memory_limit_bytes <= file_number("/proc", "meminfo", "MemTotal:") << 10);
	below(&memory, "outer", outer);
	controller_hand_on(&memory, outer, "+memory");
	below(&memory, "outer/inner", inner);
	memory_limit_set(outer, 64 * MIB);
	enter(inner, w->pid);
	r = reading(w->pid); /* the round notices the move */
	r = reading(w->pid);
	assert_int_equal(r.memory_limit_bytes, 64 * MIB);
	worker_go(w);
	worker_settle(w);
	r = reading(w->pid);
	assert_true(r.memory_left_bytes <= (64 - CHILD_MIB + 1) * MIB);
	assert_near(r.memory_left_bytes, left_of(outer, 64 * MIB), MIB / 2); /* the kernel counts in batches */
	memory_limit_set(inner, 32 * MIB);
	r = reading(w->pid);
	assert_int_equal(r.memory_limit_bytes, 32 * MIB);
	assert_near(r.memory_left_bytes, left_of(inner, 32 * MIB), MIB / 2);
	memory_limit_set(inner, 1 << 30); /* the outer one is nearer again */
	r = reading(w->pid);
	assert_int_equal(r.memory_limit_bytes, 64 * MIB);
}

static uint64_t pressure_now(void)
{
	char text[256], *at;

	if (file_read("/proc/pressure/cpu", text, sizeof(text)) <= 0)
		return 0;
	at = strstr(text, "total=");
	return at ? strtoull(at + 6, NULL, 10) * 1000 : 0;
}

static uint64_t steal_now(void)
{
	char text[8192];
	unsigned long long ticks = 0;

	assert_true(file_read("/proc/stat", text, sizeof(text)) > 0);
	sscanf(text, "cpu %*u %*u %*u %*u %*u %*u %*u %llu", &ticks);
	return ticks * (NS_PER_S / sysconf(_SC_CLK_TCK));
}

/* The test's own cgroup has no figures of its own where v2 has no controllers, or is the root: then the machine's. */
static void test_machine(void **state)
{
	struct limits_reading first, second;
	uint64_t pressure[4], steal[2];

	(void)state;
	steal[0] = steal_now();
	pressure[0] = pressure_now();
	first = reading(getpid());
	pressure[1] = pressure_now();
	for (int i = 0; i < 1000; i++)
		sched_yield();
	pressure[2] = pressure_now();
	second = reading(getpid());
	pressure[3] = pressure_now();
	steal[1] = steal_now();
	assert_in_range(first.steal_ns, steal[0], steal[1]);
	assert_in_range(second.steal_ns, first.steal_ns, steal[1]);
	assert_in_range(second.pressure_cpu_ns - first.pressure_cpu_ns, 0, pressure[3] - pressure[0]);
	if (file_number("/proc/self", "cgroup", "0::/") == 0 && access("/proc/pressure/cpu", R_OK) == 0)
		assert_true(second.pressure_cpu_ns - first.pressure_cpu_ns >= pressure[2] - pressure[1]);
}

static int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void many_limit(uint64_t more_mib)
{
	char dir[192], name[16];

	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "of-%d", i);
		memory_limit_set(below(&memory, name, dir), (i + more_mib) * MIB);
	}
}

/* A round; how many of them have this limit. */
static int many_round(uint64_t more_mib)
{
	struct limits_reading r;
	int n = 0;

	limits_begin(limits);
	for (int i = 0; i < MANY; i++) {
		limits_read(limits, children[i], &r);
		n += r.memory_limit_bytes == (i + more_mib) * MIB;
	}
	limits_end(limits);
	return n;
}

/* Each in a cgroup of its own, with a limit of its own: the descriptors are bounded, and every one is read within some rounds. */
static void test_many(void **state)
{
	int before = descriptors();
	char dir[192], name[16];

	(void)state;
	need_cgroups();
	many_limit(16);
	for (int i = 0; i < MANY; i++) {
		children[i] = fork();
		assert_true(children[i] >= 0);
		if (!children[i])
			for (;;)
				pause();
		snprintf(name, sizeof(name), "of-%d", i);
		enter(below(&memory, name, dir), children[i]);
	}
	assert_int_equal(many_round(16), MANY);
	assert_in_range(descriptors() - before, 1, 512);
	many_limit(116);
	assert_in_range(many_round(116), 1, MANY - 1);
	for (int i = 0; i < 4; i++)
		many_round(116);
	assert_int_equal(many_round(116), MANY);
	assert_in_range(descriptors() - before, 1, 512);
}

#define LIMITS_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIMITS_TEST(test_throttling),
		LIMITS_TEST(test_memory),
		LIMITS_TEST(test_machine),
		LIMITS_TEST(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
