/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * steady KIND LOOPS SECONDS: allocates for so long, LOOPS turns of an empty loop apart, then writes "seconds calls bytes checksum".
 * sizes: malloc only, of 16 to 2,063 bytes, skewed. functions: one call of each function in turn, every one of its own size; free is left out of the count.
 * bursts: as sizes, for 20 ms; then as far apart as 50 times LOOPS for 60 ms. threads: as sizes, in two threads. forks: in children that end after 50 calls.
 * endless: as sizes, until it is killed; in the place of SECONDS stands a file, whose first 8 bytes are the number of calls so far.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct total {
	uint64_t calls, bytes, sum;
};
static uint64_t loops;
static double seconds;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void spin(uint64_t n)
{
	for (volatile uint64_t i = 0; i < n; i++)
		;
}

/* Fills and reads the block again: what it holds must be its own. */
static void use(struct total *t, void *p, size_t bytes)
{
	memset(p, (int)(bytes & 0x7f), bytes < 64 ? bytes : 64);
	t->sum += *(volatile unsigned char *)p;
	t->calls++;
	t->bytes += bytes;
}

static void allocate(struct total *t, uint32_t *x, uint64_t gap)
{
	size_t bytes;
	void *p;

	*x ^= *x << 13, *x ^= *x >> 17, *x ^= *x << 5;
	bytes = 16 + (*x >> 8) % (16u << (*x & 7));
	p = malloc(bytes);
	use(t, p, bytes);
	free(p);
	spin(gap);
}

static void *sizes(void *arg)
{
	double end = now() + seconds;
	uint32_t x = 1;

	while (now() < end)
		for (int i = 0; i < 16; i++)
			allocate(arg, &x, loops);
	return arg;
}

static int endless(const char *path)
{
	struct total *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED, open(path, O_RDWR), 0);
	uint32_t x = 1;

	if (t == MAP_FAILED)
		return 1;
	for (;;)
		allocate(t, &x, loops);
}

static void bursts(struct total *t)
{
	double start = now();
	uint32_t x = 1;

	for (double at = 0; at < seconds; at = now() - start)
		allocate(t, &x, (uint64_t)(at * 1e3) % 80 < 20 ? loops : 50 * loops);
}

static void threads(struct total *t)
{
	struct total other = {};
	pthread_t thread;

	pthread_create(&thread, NULL, sizes, &other);
	sizes(t);
	pthread_join(thread, NULL);
	t->calls += other.calls;
	t->bytes += other.bytes;
	t->sum += other.sum;
}

static void functions(struct total *t)
{
	double end = now() + seconds;

	while (now() < end) {
		void *p = malloc(100), *q;

		use(t, p, 100), spin(loops);
		q = calloc(10, 20);
		use(t, q, 200), spin(loops);
		free(q);
		q = realloc(NULL, 300);
		use(t, q, 300), spin(loops);
		q = realloc(q, 400);
		use(t, q, 400), spin(loops);
		free(q);
		if (posix_memalign(&q, 64, 500))
			abort();
		use(t, q, 500), spin(loops);
		free(q);
		if (posix_memalign(&q, 8, 600)) /* no more than malloc gives */
			abort();
		use(t, q, 600), spin(loops);
		free(q);
		q = aligned_alloc(64, 704);
		use(t, q, 704), spin(loops);
		free(q);
		free(p);
	}
}

static void forks(struct total *t)
{
	struct total *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double end = now() + seconds;

	while (now() < end) {
		pid_t child = fork();
		int status;

		if (!child) {
			uint32_t x = 1;

			for (int i = 0; i < 50; i++)
				allocate(shared, &x, loops);
			if (shared->calls % 100) /* every other one goes on as another program */
				execl("/bin/true", "true", NULL);
			_exit(0);
		}
		if (waitpid(child, &status, 0) != child || status)
			abort();
	}
	*t = *shared;
}

int main(int argc, char **argv)
{
	struct total t = {};
	double start;

	if (argc != 4)
		return 2;
	loops = strtoull(argv[2], NULL, 10);
	if (!strcmp(argv[1], "endless"))
		return endless(argv[3]);
	seconds = strtod(argv[3], NULL);
	start = now();
	if (!strcmp(argv[1], "sizes"))
		sizes(&t);
	else if (!strcmp(argv[1], "bursts"))
		bursts(&t);
	else if (!strcmp(argv[1], "threads"))
		threads(&t);
	else if (!strcmp(argv[1], "functions"))
		functions(&t);
	else if (!strcmp(argv[1], "forks"))
		forks(&t);
	else
		return 2;
	printf("%.6f %llu %llu %llu\n", now() - start, (unsigned long long)t.calls, (unsigned long long)t.bytes, (unsigned long long)t.sum);
	return 0;
}
