/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The same work again and again, 20 calls deep, for so long; then writes begin and end of each turn by the clock, and its CPU time. chunks SECONDS */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TURNS_MAX 100000
#define DEPTH 20
#define WORK 2000000

static double turns[TURNS_MAX][3];
static volatile unsigned long sum;

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static __attribute__((noinline)) unsigned long work(int depth)
{
	if (depth)
		return work(depth - 1) + sum;
	for (unsigned long i = 0; i < WORK; i++)
		sum += i;
	return sum;
}

int main(int argc, char **argv)
{
	double end = seconds(CLOCK_MONOTONIC) + (argc > 1 ? atof(argv[1]) : 1);
	int n = 0;

	for (; n < TURNS_MAX && seconds(CLOCK_MONOTONIC) < end; n++) {
		double cpu = seconds(CLOCK_THREAD_CPUTIME_ID);

		turns[n][0] = seconds(CLOCK_MONOTONIC);
		work(DEPTH);
		turns[n][1] = seconds(CLOCK_MONOTONIC);
		turns[n][2] = seconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
	}
	for (int i = 0; i < n; i++)
		printf("%.6f %.6f %.9f\n", turns[i][0], turns[i][1], turns[i][2]);
	return 0;
}
