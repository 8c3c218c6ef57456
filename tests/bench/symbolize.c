/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What it takes to turn samples into stacks of names. Prints JSON: microseconds of CPU time a sample, the first time and again, frames, bytes kept.
 *
 *   symbolize pid PID SAMPLES [show]   samples of the first thread of a running process, by ptrace; show: the stacks, folded, instead
 *   symbolize storm PROCESSES          short-lived processes, one after the other: what hearing of each costs
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../unit/ptrace_sample.h"
#include "lib/util.h"
#include "symbols/symbolizer.h"

#define AGAIN 10 /* rounds over all samples */

static struct so_stack *sample_of(pid_t pid)
{
	static struct ptrace_sample s;
	struct so_stack *copy;
	bool taken;

	if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0) || waitpid(pid, NULL, __WALL) != pid)
		return NULL;
	taken = ptrace_sample_take(pid, pid, &s);
	ptrace(PTRACE_DETACH, pid, 0, 0);
	copy = taken ? malloc(s.head.bytes) : NULL;
	return copy ? memcpy(copy, &s, s.head.bytes) : NULL;
}

/* Of this thread: others use the machine too. */
static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void stack_show(const struct stacks *t, uint32_t stack)
{
	size_t n;
	const uint32_t *at = stacks_at(t, stack, &n);

	while (n--)
		printf("%s%s", stacks_frame_at(t, at[n])->name, n ? ";" : "\n");
}

/* Microseconds a sample; *ret_slowest: of the slowest. */
static double pass(struct symbolizer *y, struct stacks *t, struct so_stack **samples, int n, uint64_t *frames, double *ret_slowest)
{
	uint64_t start = cpu_ns();

	*ret_slowest = 0;
	for (int i = 0; i < n; i++) {
		uint64_t before = cpu_ns();
		size_t len;

		stacks_at(t, symbolizer_stack(y, samples[i], t), &len);
		*frames += len;
		if ((double)(cpu_ns() - before) > *ret_slowest)
			*ret_slowest = (double)(cpu_ns() - before);
	}
	*ret_slowest /= 1e3;
	return (double)(cpu_ns() - start) / 1e3 / n;
}

static int of_process(pid_t pid, int n, bool show)
{
	struct so_stack **samples = calloc((size_t)n, sizeof(*samples));
	struct symbolizer *y;
	struct stacks *t = stacks_new();
	double cold, warm, slowest, slowest_warm;
	uint64_t frames = 0, start, made_ns;
	int got = 0;

	for (int i = 0; i < n; i++) {
		samples[got] = sample_of(pid);
		got += samples[got] != NULL;
		usleep(2000);
	}
	if (!got)
		return 1;
	start = cpu_ns();
	y = symbolizer_new();
	made_ns = cpu_ns() - start;
	cold = pass(y, t, samples, got, &frames, &slowest);
	frames = 0;
	warm = pass(y, t, samples, got, &frames, &slowest_warm);
	for (int i = 1; i < AGAIN; i++)
		pass(y, t, samples, got, &frames, &slowest_warm);
	if (show)
		for (int i = 0; i < got; i++)
			stack_show(t, symbolizer_stack(y, samples[i], t));
	else
		printf("{\"samples\": %d, \"frames\": %.1f, \"start_ms\": %.1f, \"first_us\": %.0f, \"cold_us\": %.1f, \"warm_us\": %.1f, "
		       "\"bytes\": %zu, \"stacks\": %zu}\n",
			got, (double)frames / got / AGAIN, (double)made_ns / 1e6, slowest, cold, warm, symbolizer_bytes(y), stacks_len(t));
	for (int i = 0; i < got; i++)
		free(samples[i]);
	free(samples);
	symbolizer_free(y);
	stacks_free(t);
	return 0;
}

static int storm(int n)
{
	struct symbolizer *y = symbolizer_new();
	uint64_t spent = 0, slowest = 0;

	for (int i = 0; i < n; i++) {
		uint64_t start, took;
		pid_t pid = fork();

		if (!pid) {
			execl("/bin/sh", "sh", "-c", "read x", NULL);
			_exit(1);
		}
		while (access("/proc/self", F_OK) == 0) { /* until it is the shell */
			char path[64], comm[16] = "";

			snprintf(path, sizeof(path), "/proc/%d/comm", pid);
			if (file_read(path, comm, sizeof(comm)) <= 0 || !strncmp(comm, "sh", 2))
				break;
		}
		start = cpu_ns();
		symbolizer_exec(y, (uint32_t)pid);
		symbolizer_work(y);
		took = cpu_ns() - start;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		start = cpu_ns();
		symbolizer_exit(y, (uint32_t)pid);
		symbolizer_work(y);
		took += cpu_ns() - start;
		spent += took;
		slowest = took > slowest ? took : slowest;
	}
	printf("{\"processes\": %d, \"us\": %.1f, \"slowest_us\": %.0f, \"bytes\": %zu}\n", n, (double)spent / 1e3 / n, (double)slowest / 1e3,
		symbolizer_bytes(y));
	symbolizer_free(y);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "pid"))
		return of_process(atoi(argv[2]), atoi(argv[3]), argc > 4);
	if (argc > 2 && !strcmp(argv[1], "storm"))
		return storm(atoi(argv[2]));
	return 2;
}
