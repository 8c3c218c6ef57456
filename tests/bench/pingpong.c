/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Loads made of context switches. Each waits for a line on stdin, runs for the given time, and prints JSON: its own count of
 * switches by getrusage and the wall-clock time.
 *
 *   pingpong pair SECONDS CPU      two threads hand a byte to and fro on one CPU (-1: anywhere)
 *   pingpong ring SECONDS N TOKENS N processes in a ring of pipes hand on TOKENS bytes; "pids" line first
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/util.h"

struct pair {
	int to_peer[2], to_us[2];
};

static int byte_pass(int from, int to)
{
	char c = 0;

	if (from >= 0 && read(from, &c, 1) != 1)
		return -1;
	return write(to, &c, 1) == 1 ? 0 : -1;
}

static void *peer_run(void *arg)
{
	struct pair *p = arg;

	while (!byte_pass(p->to_peer[0], p->to_us[1]))
		;
	return NULL;
}

static void go_wait(void)
{
	char c;

	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
		;
}

static long switches(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return u.ru_nvcsw + u.ru_nivcsw;
}

/* before: switches of the time when nobody watched yet. */
static void told(int who, uint64_t begin_ns, long before)
{
	printf("{\"switches\": %ld, \"wall_ns\": %llu}\n", switches(who) - before, (unsigned long long)(clock_ns() - begin_ns));
}

static int pair_run(double seconds, int cpu)
{
	struct pair p;
	pthread_t peer;
	uint64_t begin, end;
	long before;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? 0 : cpu, &set);
	if (cpu >= 0)
		sched_setaffinity(0, sizeof(set), &set);
	setpriority(PRIO_PROCESS, 0, -20);
	if (pipe(p.to_peer) || pipe(p.to_us) || pthread_create(&peer, NULL, peer_run, &p))
		return 1;
	puts("ready");
	go_wait();
	before = switches(RUSAGE_SELF);
	begin = clock_ns();
	end = begin + seconds * 1e9;
	while (clock_ns() < end)
		for (int i = 0; i < 100; i++)
			if (byte_pass(-1, p.to_peer[1]) || read(p.to_us[0], &(char){ 0 }, 1) != 1)
				return 1;
	told(RUSAGE_SELF, begin, before);
	return 0;
}

/* Member i reads from pipe i and writes to pipe i + 1. */
static int ring_run(double seconds, int n, int tokens)
{
	int (*pipes)[2] = calloc(n, sizeof(*pipes));
	pid_t *pids = calloc(n, sizeof(*pids));
	uint64_t begin;

	if (!pipes || !pids)
		return 1;
	for (int i = 0; i < n; i++)
		if (pipe(pipes[i]))
			return perror("pipe"), 1;
	for (int i = 0; i < n; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			return perror("fork"), 1;
		if (pids[i])
			continue;
		while (!byte_pass(pipes[i][0], pipes[(i + 1) % n][1]))
			;
		_exit(0);
	}
	for (int i = 0; i < n; i++)
		printf("%d%c", (int)pids[i], i == n - 1 ? '\n' : ',');
	go_wait();
	begin = clock_ns();
	for (int i = 0; i < tokens; i++)
		byte_pass(-1, pipes[(size_t)i * n / tokens][1]);
	usleep(seconds * 1e6);
	for (int i = 0; i < n; i++)
		kill(pids[i], SIGKILL);
	for (int i = 0; i < n; i++)
		waitpid(pids[i], NULL, 0);
	told(RUSAGE_CHILDREN, begin, 0);
	free(pids);
	free(pipes);
	return 0;
}

int main(int argc, char **argv)
{
	struct rlimit files = { 1 << 16, 1 << 16 };

	setrlimit(RLIMIT_NOFILE, &files);
	if (argc == 4 && !strcmp(argv[1], "pair"))
		return pair_run(atof(argv[2]), atoi(argv[3]));
	if (argc == 5 && !strcmp(argv[1], "ring"))
		return ring_run(atof(argv[2]), atoi(argv[3]), atoi(argv[4]));
	fputs("usage: pingpong pair SECONDS CPU | ring SECONDS N TOKENS\n", stderr);
	return 2;
}
