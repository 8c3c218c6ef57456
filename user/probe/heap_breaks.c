/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Events are opened anew for each window: one that its limit has switched off stays stopped inside when it is enabled again (its breakpoint would trap but
 * count nothing, without any limit: kernel 6.18), and between windows the registers are free for debuggers. They are a thread's, and follow it over the CPUs;
 * a thread that runs is interrupted when they are set, and when they are taken back.
 */
#include "probe/heap_breaks.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "abi.h"
#include "lib/util.h"
#include "stakeout.skel.h"

struct heap_breaks {
	int prog_fd, keep_fd;
	struct heap_window *order;
	struct heap_tally *tally, seen;
	struct heap_places places;
	int fds[2], fds_len;
};

static void *map_share(const struct bpf_map *map, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return p == MAP_FAILED ? NULL : p;
}

/*
 * As long as any task has an event, the kernel asks at each switch whether the tasks have; to begin with that, and to end it, it changes its own code,
 * which takes 10 ms. So one that does nothing stays.
 */
static int keep_open(void)
{
	struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(a), .config = PERF_COUNT_SW_DUMMY, .disabled = 1 };

	return syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

int heap_breaks_new(struct stakeout_bpf *skel, struct heap_breaks **ret)
{
	struct heap_breaks *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->prog_fd = bpf_program__fd(skel->progs.heap__hit);
	b->order = map_share(skel->maps.heap_orders, sizeof(*b->order));
	b->tally = map_share(skel->maps.heap_tallies, sizeof(*b->tally));
	b->keep_fd = keep_open();
	if (b->prog_fd < 0 || !b->order || !b->tally) {
		heap_breaks_free(b);
		return -EOPNOTSUPP;
	}
	*ret = b;
	return 0;
}

static void events_close(struct heap_breaks *b)
{
	while (b->fds_len)
		close(b->fds[--b->fds_len]);
}

void heap_breaks_free(struct heap_breaks *b)
{
	if (!b)
		return;
	events_close(b);
	if (b->order)
		munmap(b->order, sizeof(*b->order));
	if (b->tally)
		munmap(b->tally, sizeof(*b->tally));
	cleanup_close(&b->keep_fd);
	free(b);
}

struct heap_window *heap_breaks_order(struct heap_breaks *b)
{
	return b->order;
}

/* CPU that a thread ran on last: field 39 of /proc/PID/stat, proc(5); -1: not known. */
static int thread_cpu(pid_t pid, pid_t tid)
{
	char path[64], text[1024], *at;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)tid);
	if (file_read(path, text, sizeof(text)) <= 0)
		return -1;
	at = strrchr(text, ')'); /* the name may hold anything */
	for (int field = 2; at && field < 39; field++)
		at = strchr(at + 1, ' ');
	return at ? atoi(at) : -1;
}

void heap_breaks_leave(pid_t pid, pid_t tid)
{
	int cpus = get_nprocs_conf(), cpu = thread_cpu(pid, tid);
	size_t size = CPU_ALLOC_SIZE(cpus);
	cpu_set_t *set;

	if (cpu < 0 || cpu != sched_getcpu() || cpus < 2 || !(set = CPU_ALLOC(cpus)))
		return;
	CPU_ZERO_S(size, set);
	for (int i = 0; i < cpus; i++)
		if (i != cpu)
			CPU_SET_S(i, size, set);
	sched_setaffinity(0, size, set); /* where that is not allowed it stays */
	CPU_FREE(set);
}

static int event_open(struct heap_breaks *b, uint64_t address)
{
	struct perf_event_attr a = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(a),
		.bp_type = HW_BREAKPOINT_X,
		.bp_addr = address,
		.bp_len = sizeof(long),
		.sample_period = 1,
		.exclude_kernel = 1,
		.disabled = 1,
	};
	int fd = syscall(SYS_perf_event_open, &a, b->places.tid, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return -errno;
	b->fds[b->fds_len++] = fd;
	return ioctl(fd, PERF_EVENT_IOC_SET_BPF, b->prog_fd) ? -errno : 0;
}

int heap_breaks_open(struct heap_breaks *b, const struct heap_places *p)
{
	int err = 0;

	b->places = *p;
	memset(b->tally, 0, sizeof(*b->tally));
	if (p->second)
		err = event_open(b, p->second);
	if (!err)
		err = event_open(b, p->first);
	if (err)
		events_close(b);
	return err;
}

/* To set a breakpoint, and to take it back, takes time, which must not pass for the process's own: so the second place's is there before the first one's,
 * and has some hits left when that one has none. REFRESH enables an event for so many hits: perf_event_open(2). */
int heap_breaks_enable(struct heap_breaks *b)
{
	for (int i = 0; i < b->fds_len; i++) {
		unsigned spare = b->places.second && !(i & 1) ? HEAP_BREAKS_SPARE : 0;

		if (ioctl(b->fds[i], PERF_EVENT_IOC_REFRESH, b->places.limit + spare)) {
			int err = -errno;

			events_close(b);
			return err;
		}
	}
	return 0;
}

void heap_breaks_wait(uint64_t ns)
{
	struct timespec t = { .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };

	nanosleep(&t, NULL);
}

const struct heap_tally *heap_breaks_close(struct heap_breaks *b)
{
	events_close(b);
	b->seen = *b->tally;
	return &b->seen;
}

/* ---- what a trap costs ---- */

#define CALIBRATION_CALLS 10
#define CALIBRATION_WINDOWS 9

/* Two instructions, for two breakpoints. */
__asm__(".pushsection .text\n"
	".type heap_breaks_two, @function\n"
	"heap_breaks_two: nop\n"
	"heap_breaks_two_second: nop\n"
	"ret\n"
	".size heap_breaks_two, . - heap_breaks_two\n"
	".popsection\n");
extern void heap_breaks_two(void) __attribute__((visibility("hidden")));
extern const char heap_breaks_two_second[] __attribute__((visibility("hidden")));

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, int n)
{
	qsort(v, n, sizeof(*v), compare_doubles);
	return v[n / 2];
}

/* One window on ourselves; time of a trap and of opening and closing. */
static int calibrate_once(struct heap_breaks *b, double *ret_trap_ns, double *ret_open_ns)
{
	struct heap_places p = {
		.first = (uintptr_t)heap_breaks_two,
		.second = (uintptr_t)heap_breaks_two_second,
		.tid = (pid_t)syscall(SYS_gettid),
		.limit = CALIBRATION_CALLS,
	};
	uint64_t start = clock_ns(), opened, closing;
	const struct heap_tally *t;
	int err;

	*b->order = (struct heap_window){
		.tgid = getpid(),
		.args = HEAP_ARGS_1,
		.second = p.second,
		.origin_limit_ns = UINT64_MAX,
		.limit = CALIBRATION_CALLS,
		.trap_ns = 1000000, /* anything is one */
	};
	err = heap_breaks_open(b, &p);
	if (!err)
		err = heap_breaks_enable(b);
	if (err)
		return err;
	opened = clock_ns();
	for (int i = 0; i < CALIBRATION_CALLS; i++)
		heap_breaks_two();
	closing = clock_ns();
	t = heap_breaks_close(b);
	*ret_open_ns = (double)(opened - start + clock_ns() - closing);
	*ret_trap_ns = t->traps ? (double)t->trap_sum_ns / t->traps : 0;
	return t->traps ? 0 : -ENODATA;
}

int heap_breaks_calibrate(struct heap_breaks *b, struct heap_trap *ret)
{
	double traps[CALIBRATION_WINDOWS], opens[CALIBRATION_WINDOWS];

	for (int i = 0; i < CALIBRATION_WINDOWS; i++) {
		int err = calibrate_once(b, &traps[i], &opens[i]);

		if (err)
			return err;
	}
	ret->ns = median(traps, CALIBRATION_WINDOWS);
	ret->open_ns = median(opens, CALIBRATION_WINDOWS);
	return 0;
}
