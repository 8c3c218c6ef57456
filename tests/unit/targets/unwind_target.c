/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A program to be unwound: calls itself in the way that its first argument names, writes its own return addresses as the compiler's unwinder sees them
 * (an independent one) to descriptor 3, and then stays in stop_here() until it is killed. With "walk" it runs through library code for ever.
 */
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEEP 150
#define DEEPER 1000 /* more than a sample holds */

static volatile int zero;
static volatile uint64_t sink;

__attribute__((noinline)) void stop_here(void)
{
	static void *at[2048];
	uint64_t n = (uint64_t)backtrace(at, 2048);

	if (write(3, &n, sizeof(n)) < 0 || write(3, at, n * sizeof(*at)) < 0)
		_exit(1);
	while (!zero)
		sink++;
}

/* Keeps values in all registers that a callee has to save, across a call. */
__attribute__((noinline)) uint64_t recurse(uint64_t n, uint64_t a, uint64_t b, uint64_t c)
{
	char room[64];
	uint64_t d = a * 3 + n, e = b * 5 + n, f = c * 7 + n;

	snprintf(room, sizeof(room), "%d", zero);
	if (n)
		sink = recurse(n - 1, d, e, f);
	else
		stop_here();
	return a + b * d + c * e + f + (uint64_t)room[0];
}

__attribute__((noinline)) void grow(size_t n)
{
	volatile char room[n];

	room[0] = 1;
	recurse(3, 1, 2, 3);
	sink += (uint64_t)room[0];
}

__attribute__((noinline)) void align(void)
{
	_Alignas(64) volatile char room[128];

	room[0] = 1;
	grow(1000 + (size_t)zero);
	sink += (uint64_t)room[0];
}

static void on_signal(int signal)
{
	(void)signal;
	align();
	sink++;
}

__attribute__((noinline)) static int compare(const void *x, const void *y)
{
	const int *a = x, *b = y;

	if (zero)
		stop_here();
	sink += (uint64_t)*a;
	return *a < *b ? -1 : *a > *b;
}

/* Through the C library's code, the linker's stubs and callbacks. */
__attribute__((noinline)) void walk(void)
{
	int numbers[64];
	char text[256];

	for (unsigned round = 0;; round++) {
		struct timespec now;
		char *copy;

		clock_gettime(CLOCK_MONOTONIC, &now); /* in the vDSO */
		for (int i = 0; i < 64; i++)
			numbers[i] = (int)((round + (unsigned)i * 7919) % 1009);
		qsort(numbers, 64, sizeof(*numbers), compare);
		snprintf(text, sizeof(text), "%d %s %5.3f %lld", numbers[3], "word", 0.5 * round, (long long)round << 20);
		copy = strdup(text);
		sink += strlen(copy) + (uint64_t)strtod(copy, NULL) + (uint64_t)getppid();
		free(copy);
	}
}

/* As an interpreter does: its loop calls a function in C, which calls the loop. */
__attribute__((noinline)) void _PyEval_EvalFrameDefault(int n);

__attribute__((noinline)) void builtin_call(int n)
{
	if (n)
		_PyEval_EvalFrameDefault(n - 1);
	else
		stop_here();
	sink++;
}

void _PyEval_EvalFrameDefault(int n)
{
	builtin_call(n);
	sink++;
}

static void *thread(void *arg)
{
	recurse(10, 1, 2, 3);
	return arg;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	struct sigaction action = { .sa_handler = on_signal };
	static char other_stack[65536];
	pthread_t t;
	void *warm[4];

	backtrace(warm, 4); /* loads what it needs */
	if (!strcmp(how, "deep"))
		recurse(DEEP, 1, 2, 3);
	if (!strcmp(how, "deeper"))
		recurse(DEEPER, 1, 2, 3);
	if (!strcmp(how, "align"))
		align();
	if (!strcmp(how, "signal") || !strcmp(how, "altstack") || !strcmp(how, "walk")) {
		stack_t s = { .ss_sp = other_stack, .ss_size = sizeof(other_stack) };

		if (!strcmp(how, "altstack")) {
			sigaltstack(&s, NULL);
			action.sa_flags = SA_ONSTACK;
		}
		sigaction(SIGUSR1, &action, NULL);
		if (strcmp(how, "walk"))
			raise(SIGUSR1);
	}
	if (!strcmp(how, "thread")) {
		pthread_create(&t, NULL, thread, NULL);
		pthread_join(t, NULL);
	}
	if (!strcmp(how, "python"))
		_PyEval_EvalFrameDefault(1);
	if (!strcmp(how, "walk"))
		walk();
	return 1;
}
