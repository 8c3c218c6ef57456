/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Loads that go on until they are killed and tell how far they are: in a file that the reader maps, so that telling makes no event of its own. Prints "ready" and waits
 * for a line on stdin.
 *
 *   loads FILE pair CPU CPU   two threads, each on its CPU, hand a byte to and fro over pipes; a unit is a switch
 *   loads FILE threads N      a ring of N threads that hand on bytes, at most 8 at once; a unit is a switch
 *   loads FILE malloc         keeps 1,000 blocks of 16 to 4,096 bytes and replaces one by one; a unit is a malloc and a free
 *   loads FILE exec           starts /bin/true and waits for it; a unit is a run of it
 *   loads FILE fault          maps 4 MiB, touches each page, unmaps; a unit is a page fault
 *   loads FILE twin LOAD      two processes do one of the last three in turns of 10 ms on one CPU, so that what differs between them is that one is watched; their pids
 *                             stand behind "ready"
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/util.h"

#define RING_BYTES 8
#define BLOCKS 1000
#define MAP_BYTES (4 << 20)
#define PAGE 4096
#define SLICE_NS 10000000
#define SLICES (1 << 16)

/* As lib/loads.py reads it. version is odd while it is written. */
struct progress {
	_Atomic uint64_t version;
	uint64_t units, cpu_ns, time_ns;
};

/* What a unit took in each turn of the twins, in turn; the place of a turn is its number modulo SLICES. */
struct twins {
	struct progress progress; /* units: turns that both have done */
	double cpu_ns[SLICES][2];
};

static struct progress *progress;
static uint64_t units;

static uint64_t usage_ns(const struct rusage *u)
{
	return (u->ru_utime.tv_sec + u->ru_stime.tv_sec) * NS_PER_S + (u->ru_utime.tv_usec + u->ru_stime.tv_usec) * 1000;
}

/* CPU time of this process, and of its children that have ended. */
static uint64_t cpu_ns(void)
{
	struct rusage self, children;

	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	return usage_ns(&self) + usage_ns(&children);
}

static void tell(bool switches)
{
	struct rusage self;

	getrusage(RUSAGE_SELF, &self);
	if (switches)
		units = self.ru_nvcsw + self.ru_nivcsw;
	atomic_fetch_add(&progress->version, 1);
	progress->units = units;
	progress->cpu_ns = cpu_ns();
	progress->time_ns = clock_ns();
	atomic_fetch_add(&progress->version, 1);
}

/* --- pair, threads --- */

struct member {
	int from, to;
	int cpu; /* -1: any */
};

static void cpu_take(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *member_run(void *arg)
{
	struct member *m = arg;
	char c;

	cpu_take(m->cpu);
	while (read(m->from, &c, 1) == 1 && write(m->to, &c, 1) == 1)
		;
	return NULL;
}

/* The first thread hands nothing on; it tells. */
static int ring_run(int n, const int *cpus)
{
	struct member *members = calloc(n, sizeof(*members));
	int (*pipes)[2] = calloc(n, sizeof(*pipes));
	pthread_attr_t small;
	pthread_t t;

	if (!members || !pipes)
		return 1;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	for (int i = 0; i < n; i++)
		if (pipe(pipes[i]))
			return perror("loads: pipe"), 1;
	for (int i = 0; i < n; i++) {
		members[i] = (struct member){ pipes[i][0], pipes[(i + 1) % n][1], cpus ? cpus[i] : -1 };
		if (pthread_create(&t, &small, member_run, &members[i]))
			return perror("loads: thread"), 1;
	}
	for (int i = 0, bytes = n / 2 < RING_BYTES ? (n + 1) / 2 : RING_BYTES; i < bytes; i++)
		if (write(pipes[(size_t)i * n / bytes][1], "", 1) != 1)
			return 1;
	for (;;) {
		tell(true);
		usleep(2000);
	}
}

/* --- the others --- */

static void malloc_turn(void)
{
	static char *blocks[BLOCKS];
	static uint32_t seed = 1;

	for (int i = 0; i < 10 * BLOCKS; i++) {
		char **b = &blocks[i % BLOCKS];

		seed = seed * 1664525 + 1013904223;
		free(*b);
		*b = malloc(16 + (seed >> 20) % 4081);
		if (*b)
			**b = 1;
	}
	units += 10 * BLOCKS;
}

static void exec_turn(void)
{
	static char *argv[] = { "true", NULL };
	pid_t pid;

	if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, NULL) || waitpid(pid, NULL, 0) != pid)
		exit(1);
	units++;
}

static void fault_turn(void)
{
	char *p = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	madvise(p, MAP_BYTES, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < MAP_BYTES; i += PAGE)
		((volatile char *)p)[i] = 1;
	munmap(p, MAP_BYTES);
	units += MAP_BYTES / PAGE;
}

static const struct {
	const char *name;
	void (*turn)(void);
} turns[] = { { "malloc", malloc_turn }, { "exec", exec_turn }, { "fault", fault_turn } };

/* --- twins --- */

/* One of the two: has its turn when it gets the byte. */
static void twin_run(struct twins *t, int who, void (*turn)(void), int from, int to)
{
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	cpu_take(sysconf(_SC_NPROCESSORS_ONLN) - 1);
	for (uint64_t i = 0; read(from, &c, 1) == 1; i++) {
		uint64_t begin = cpu_ns(), before = units, used;

		do
			turn();
		while ((used = cpu_ns() - begin) < SLICE_NS);
		t->cpu_ns[i % SLICES][who] = (double)used / (units - before);
		if (who)
			t->progress.units = i + 1;
		if (write(to, &c, 1) != 1)
			break;
	}
}

static int twins_start(void (*turn)(void), int begin[2])
{
	int back[2];

	if (pipe(begin) || pipe(back))
		return -1;
	for (int who = 0; who < 2; who++) {
		pid_t pid = fork();

		if (pid < 0)
			return -1;
		if (!pid) {
			twin_run((struct twins *)progress, who, turn, who ? back[0] : begin[0], who ? begin[1] : back[1]);
			_exit(1);
		}
		printf("%s %d", who ? "" : "ready", pid);
	}
	puts("");
	return 0;
}

static int progress_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	if (fd < 0 || ftruncate(fd, sizeof(struct twins)))
		return -1;
	progress = mmap(NULL, sizeof(struct twins), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return progress == MAP_FAILED ? -1 : 0;
}

static void (*turn_find(const char *name))(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(turns); i++)
		if (!strcmp(name, turns[i].name))
			return turns[i].turn;
	return NULL;
}

int main(int argc, char **argv)
{
	void (*turn)(void);
	char line[16];
	int begin[2];

	if (argc < 3)
		return fputs("usage: loads FILE pair CPU CPU | threads N | malloc | exec | fault | twin malloc|exec|fault\n", stderr), 2;
	if (progress_open(argv[1]))
		return perror("loads"), 1;
	turn = turn_find(argv[argc - 1]);
	if (!strcmp(argv[2], "twin")) {
		if (!turn || twins_start(turn, begin))
			return fputs("loads: no twins\n", stderr), 1;
	} else {
		puts("ready");
	}
	fflush(stdout);
	if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
		return 0;
	if (!strcmp(argv[2], "pair") && argc == 5)
		return ring_run(2, (int[]){ atoi(argv[3]), atoi(argv[4]) });
	if (!strcmp(argv[2], "threads") && argc == 4 && atoi(argv[3]) > 1)
		return ring_run(atoi(argv[3]), NULL);
	if (!strcmp(argv[2], "twin")) {
		if (write(begin[1], "", 1) != 1)
			return 1;
		for (;;)
			pause();
	}
	while (turn) {
		turn();
		tell(false);
	}
	return fprintf(stderr, "loads: no load %s\n", argv[2]), 2;
}
