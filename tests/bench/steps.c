/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A load in steps: two threads on one CPU hand a message to and fro, so many times a second, for so long, one step after the other. Waits for a line on stdin first, and prints
 * JSON at the end. A round trip takes two switches at least.
 *
 *   steps pipe|tcp CPU ROUNDS_A_S:SECONDS ..
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/util.h"

#define BEAT_NS 2000000ULL /* rounds are made in bursts, one a beat */

struct ends {
	int to[2], back[2]; /* read, write */
};

static int pipes_open(struct ends *e)
{
	return pipe(e->to) || pipe(e->back);
}

static int tcp_open(struct ends *e)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), a = socket(AF_INET, SOCK_STREAM, 0), b, one = 1;
	socklen_t len = sizeof(at);

	if (bind(listener, (void *)&at, len) || getsockname(listener, (void *)&at, &len) || listen(listener, 1) || connect(a, (void *)&at, len))
		return -1;
	b = accept(listener, NULL, NULL);
	setsockopt(a, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	*e = (struct ends){ { b, a }, { a, b } };
	return b < 0 ? -1 : 0;
}

static void *echo(void *arg)
{
	struct ends *e = arg;
	char c;

	while (read(e->to[0], &c, 1) == 1 && write(e->back[1], &c, 1) == 1)
		;
	return NULL;
}

/* Returns the rounds made. */
static uint64_t step_run(const struct ends *e, double rate, double seconds)
{
	uint64_t begin = clock_ns(), end = begin + (uint64_t)(seconds * 1e9), now, done = 0;

	while ((now = clock_ns()) < end) {
		uint64_t due = (uint64_t)((double)(now - begin) * 1e-9 * rate);
		uint64_t next = now - (now - begin) % BEAT_NS + BEAT_NS;
		struct timespec at = { .tv_sec = next / NS_PER_S, .tv_nsec = next % NS_PER_S };
		char c = 0;

		for (; done < due && clock_ns() < end; done++)
			if (write(e->to[1], &c, 1) != 1 || read(e->back[0], &c, 1) != 1)
				return done;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
	}
	return done;
}

int main(int argc, char **argv)
{
	struct ends e;
	uint64_t rounds = 0;
	pthread_t peer;
	cpu_set_t set;
	char c;

	if (argc < 4 || (strcmp(argv[1], "tcp") ? pipes_open(&e) : tcp_open(&e)))
		return fprintf(stderr, "steps pipe|tcp CPU ROUNDS_A_S:SECONDS ..\n"), 2;
	CPU_ZERO(&set);
	CPU_SET(atoi(argv[2]), &set);
	if (sched_setaffinity(0, sizeof(set), &set) || pthread_create(&peer, NULL, echo, &e))
		return perror("steps"), 1;
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
		;
	for (int i = 3; i < argc; i++) {
		double rate = 0, seconds = 0;

		if (sscanf(argv[i], "%lf:%lf", &rate, &seconds) != 2)
			return fprintf(stderr, "steps: %s\n", argv[i]), 2;
		rounds += step_run(&e, rate, seconds);
	}
	printf("{\"rounds\": %llu}\n", (unsigned long long)rounds);
	return 0;
}
