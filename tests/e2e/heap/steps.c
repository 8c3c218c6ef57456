/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Allocates STEPS times, some ms apart, from its start on; then writes when it began and when each of them was done, in seconds. steps STEPS */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define STEPS_MAX 10000

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double done[STEPS_MAX];

int main(int argc, char **argv)
{
	double begin = seconds();
	int steps = argc > 1 ? atoi(argv[1]) : 0;

	for (int i = 0; i < steps && i < STEPS_MAX; i++) {
		void *volatile p = malloc(777);

		done[i] = seconds();
		(void)p;
		usleep(2000);
	}
	printf("[%.6f", begin);
	for (int i = 0; i < steps && i < STEPS_MAX; i++)
		printf(", %.6f", done[i]);
	puts("]");
	return 0;
}
