/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Waits in three functions, and says at its end how long in each: a sleep, a lock that another thread holds, a read from a pipe. */
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 5

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int ends[2];
static pthread_barrier_t barrier;

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void rest(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

__attribute__((noinline)) double in_sleep(void)
{
	double from = now_s();

	rest(60);
	return now_s() - from;
}

__attribute__((noinline)) double in_lock(void)
{
	double from = now_s();

	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
	return now_s() - from;
}

__attribute__((noinline)) double in_read(void)
{
	double from = now_s();
	char c;

	return read(ends[0], &c, 1) == 1 ? now_s() - from : 0;
}

/* Holds the lock, and then lets the reader wait. */
__attribute__((noinline)) static void *other(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&lock);
		pthread_barrier_wait(&barrier);
		rest(80);
		pthread_mutex_unlock(&lock);
		rest(100);
		if (write(ends[1], "x", 1) != 1)
			return arg;
	}
	return NULL;
}

int main(void)
{
	double slept = 0, locked = 0, read = 0;
	pthread_t t;

	if (pipe(ends) || pthread_barrier_init(&barrier, NULL, 2) || pthread_create(&t, NULL, other, NULL))
		return 1;
	for (int i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&barrier);
		locked += in_lock();
		read += in_read();
		slept += in_sleep();
	}
	pthread_join(t, NULL);
	printf("{\"in_sleep\": %f, \"in_lock\": %f, \"in_read\": %f}\n", slept, locked, read);
	return 0;
}
