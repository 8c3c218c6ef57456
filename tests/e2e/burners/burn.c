/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Burns CPU time in three functions: 50, 30 and 20 % of it, by the thread's own clock. burn SECONDS [SECONDS A ROUND] */
#include <stdlib.h>
#include <time.h>

static volatile unsigned long sum;

static double cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* What the three have in common: who called it shows in its callers only. */
static __attribute__((noinline)) void spin(double seconds)
{
	double end = cpu_s() + seconds;

	while (cpu_s() < end)
		for (int i = 0; i < 100000; i++)
			sum += i;
}

/* The sum afterwards keeps the calls from becoming jumps, which leave no frame. */
__attribute__((noinline)) void half(double unit)
{
	spin(5 * unit);
	sum++;
}

__attribute__((noinline)) void third(double unit)
{
	spin(3 * unit);
	sum++;
}

__attribute__((noinline)) void fifth(double unit)
{
	spin(2 * unit);
	sum++;
}

int main(int argc, char **argv)
{
	double unit = (argc > 2 ? atof(argv[2]) : 0.1) / 10;

	for (int rounds = (int)(atof(argv[1]) / unit / 10 + 0.5); rounds; rounds--) {
		half(unit);
		third(unit);
		fifth(unit);
	}
	return 0;
}
