/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * usage: mallocs PAIRS
 * Allocates and frees in rounds of PAIRS; after each it prints the ns a pair took, by the clock on the wall and by the thread's CPU time. Ends with its input.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
	long pairs = argc > 1 ? atol(argv[1]) : 20000;
	struct pollfd in = { .fd = 0, .events = POLLIN };
	char c;

	while (!(poll(&in, 1, 0) > 0 && read(0, &c, 1) < 1)) {
		double wall = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
		char line[64];
		int n;

		for (long i = 0; i < pairs; i++) {
			void *volatile p = malloc(100);

			free(p);
		}
		n = snprintf(line, sizeof(line), "%.1f %.1f\n", (now_ns(CLOCK_MONOTONIC) - wall) / pairs, (now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu) / pairs);
		if (write(1, line, n) != n)
			return 1;
	}
	return 0;
}
