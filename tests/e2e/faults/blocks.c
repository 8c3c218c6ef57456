/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A small block for each of many messages, in place of one for all of them. As lib.py has it: called with `faulty` or `healthy`. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MESSAGES 250000000
#define JUDGED_S 2.2

struct message {
	uint64_t number;
	char text[40];
};

static double clock_s(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static double runq_s(void)
{
	FILE *f = fopen("/proc/self/schedstat", "r");
	unsigned long long ran = 0, waited = 0;

	if (!f || fscanf(f, "%llu %llu", &ran, &waited) != 2)
		exit(1);
	fclose(f);
	return waited / 1e9;
}

static struct message *volatile slot;

static uint64_t work(int faulty)
{
	static struct message kept;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < MESSAGES; i++) {
		slot = faulty ? malloc(sizeof(*slot)) : &kept;
		slot->number = i;
		sum += slot->number;
		if (faulty)
			free(slot);
	}
	return sum;
}

int main(int argc, char **argv)
{
	int faulty = argc > 1 && !strcmp(argv[1], "faulty");
	double begin, cpu, runq;
	uint64_t done;

	puts("ready");
	fflush(stdout);
	getchar();
	begin = clock_s(CLOCK_MONOTONIC);
	cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID);
	runq = runq_s();
	done = work(faulty);
	printf("{\"done\": %llu, \"wall_s\": %.9f, \"cpu_s\": %.9f, \"runq_s\": %.9f}\n", (unsigned long long)done, clock_s(CLOCK_MONOTONIC) - begin,
	       clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu, runq_s() - runq);
	while (!faulty && clock_s(CLOCK_MONOTONIC) - begin < JUDGED_S)
		work(faulty);
	return 0;
}
