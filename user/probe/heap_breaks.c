/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Events are opened anew for each window: one that its limit has switched off stays stopped inside when it is enabled again (its breakpoint would trap but
 * count nothing, without any limit: kernel 6.18), and between windows the registers are free for debuggers. An open event of a CPU costs the CPU an
 * interrupt when it is enabled, and one when it is closed.
 */
#include "probe/heap_breaks.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "abi.h"
#include "lib/util.h"
#include "stakeout.skel.h"

struct heap_breaks {
	int prog_fd;
	struct heap_window *order;
	struct heap_tally *tallies; /* by CPU */
	struct heap_tally seen[HEAP_BREAKS_CPUS];
	int cpus[SO_MAX_CPUS], cpus_len; /* online */
	struct heap_places places;
	int used; /* the first ones of cpus: where the window stands */
	int fds[2 * HEAP_BREAKS_CPUS], fds_len;
};

/* "0-3,5": Documentation/admin-guide/cputopology.rst */
static void cpus_find(struct heap_breaks *b)
{
	char text[4096], *at = text;

	if (file_read("/sys/devices/system/cpu/online", text, sizeof(text)) <= 0)
		strcpy(text, "0");
	while (*at >= '0' && *at <= '9') {
		long first = strtol(at, &at, 10), last = *at == '-' ? strtol(at + 1, &at, 10) : first;

		for (long cpu = first; cpu <= last && b->cpus_len < SO_MAX_CPUS; cpu++)
			b->cpus[b->cpus_len++] = (int)cpu;
		if (*at == ',')
			at++;
	}
}

static void *map_share(const struct bpf_map *map, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return p == MAP_FAILED ? NULL : p;
}

int heap_breaks_new(struct stakeout_bpf *skel, struct heap_breaks **ret)
{
	struct heap_breaks *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->prog_fd = bpf_program__fd(skel->progs.heap__hit);
	b->order = map_share(skel->maps.heap_orders, sizeof(*b->order));
	b->tallies = map_share(skel->maps.heap_tallies, SO_MAX_CPUS * sizeof(*b->tallies));
	if (b->prog_fd < 0 || !b->order || !b->tallies) {
		heap_breaks_free(b);
		return -EOPNOTSUPP;
	}
	cpus_find(b);
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
	if (b->tallies)
		munmap(b->tallies, SO_MAX_CPUS * sizeof(*b->tallies));
	free(b);
}

struct heap_window *heap_breaks_order(struct heap_breaks *b)
{
	return b->order;
}

double heap_breaks_share(const struct heap_breaks *b)
{
	int n = b->cpus_len > 1 ? b->cpus_len - 1 : 1;

	return fmin(n, HEAP_BREAKS_CPUS) / b->cpus_len;
}

static void cpus_swap(struct heap_breaks *b, int i, int k)
{
	int cpu = b->cpus[i];

	b->cpus[i] = b->cpus[k];
	b->cpus[k] = cpu;
}

void heap_breaks_move(struct heap_breaks *b)
{
	int cpu = b->cpus[random() % b->cpus_len];
	cpu_set_t *set = CPU_ALLOC(SO_MAX_CPUS);

	if (!set)
		return;
	CPU_ZERO_S(CPU_ALLOC_SIZE(SO_MAX_CPUS), set);
	CPU_SET_S(cpu, CPU_ALLOC_SIZE(SO_MAX_CPUS), set);
	/* Where it is not allowed to run there it stays where it is. */
	sched_setaffinity(0, CPU_ALLOC_SIZE(SO_MAX_CPUS), set);
	CPU_FREE(set);
}

/* Brings those that the window may stand on to the front, at random. */
static void cpus_choose(struct heap_breaks *b, bool everywhere)
{
	int n = b->cpus_len, own = sched_getcpu();

	for (int i = 0; !everywhere && n == b->cpus_len && n > 1 && i < n; i++)
		if (b->cpus[i] == own)
			cpus_swap(b, i, --n);
	b->used = n < HEAP_BREAKS_CPUS ? n : HEAP_BREAKS_CPUS;
	for (int i = 0; i < b->used; i++)
		cpus_swap(b, i, i + random() % (n - i));
}

static int event_open(struct heap_breaks *b, uint64_t address, int cpu)
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
	int fd = syscall(SYS_perf_event_open, &a, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return errno == ENODEV || errno == ENXIO ? 0 : -errno; /* the CPU went offline: nothing runs there */
	b->fds[b->fds_len++] = fd;
	return ioctl(fd, PERF_EVENT_IOC_SET_BPF, b->prog_fd) ? -errno : 0;
}

int heap_breaks_open(struct heap_breaks *b, const struct heap_places *p)
{
	int err = 0;

	cpus_choose(b, p->everywhere);
	for (int i = 0; i < b->used && !err; i++) {
		memset(&b->tallies[b->cpus[i]], 0, sizeof(*b->tallies));
		if (p->second)
			err = event_open(b, p->second, b->cpus[i]);
		if (!err)
			err = event_open(b, p->first, b->cpus[i]);
	}
	b->places = *p;
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

const struct heap_tally *heap_breaks_close(struct heap_breaks *b, int *ret_len)
{
	events_close(b);
	for (int i = 0; i < b->used; i++)
		b->seen[i] = b->tallies[b->cpus[i]];
	*ret_len = b->used;
	return b->seen;
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
		.everywhere = true,
		.limit = CALIBRATION_CALLS,
	};
	uint64_t start = clock_ns(), opened, closing, sum = 0, traps = 0;
	const struct heap_tally *t;
	int n, err;

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
	t = heap_breaks_close(b, &n);
	for (int i = 0; i < n; i++) {
		sum += t[i].trap_sum_ns;
		traps += t[i].traps;
	}
	*ret_open_ns = (double)(opened - start + clock_ns() - closing) / n;
	*ret_trap_ns = traps ? (double)sum / traps : 0;
	return traps ? 0 : -ENODATA;
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
	ret->spread_ns = traps[CALIBRATION_WINDOWS * 3 / 4] - traps[CALIBRATION_WINDOWS / 4];
	ret->open_ns = median(opens, CALIBRATION_WINDOWS);
	return 0;
}
