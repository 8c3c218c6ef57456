/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/heap_threads.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

#define PROCS_KEPT 64
#define LOOK_EVERY_NS 250000000ULL /* longer by as much for each LOOK_THREADS of the process */
#define LOOK_THREADS 64
#define FLOOR 0.3 /* share of the probability that all threads have alike: what did nothing so far may begin to */

struct thread {
	pid_t tid;
	uint64_t cpu_ns;
	double grown; /* between the last two looks */
};

struct proc {
	pid_t pid;
	uint64_t serial, looked_ns, used_ns;
	struct thread *threads; /* by number */
	int len;
	double grown; /* of all */
};

struct heap_threads {
	struct proc procs[PROCS_KEPT];
};

struct heap_threads *heap_threads_new(void)
{
	return calloc(1, sizeof(struct heap_threads));
}

void heap_threads_free(struct heap_threads *h)
{
	for (int i = 0; h && i < PROCS_KEPT; i++)
		free(h->procs[i].threads);
	free(h);
}

/* CPU time of a thread: first field of schedstat (Documentation/scheduler/sched-stats.rst). */
static uint64_t cpu_read(pid_t pid, pid_t tid)
{
	unsigned long long ns = 0;
	char path[64], text[96];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", (int)pid, (int)tid);
	if (file_read(path, text, sizeof(text)) > 0)
		sscanf(text, "%llu", &ns);
	return ns;
}

static int compare_threads(const void *a, const void *b)
{
	const struct thread *x = a, *y = b;

	return (x->tid > y->tid) - (x->tid < y->tid);
}

/* What each has run since the last look; or ever, if it is new. */
static void grown_fill(struct proc *p, struct thread *now, int len)
{
	p->grown = 0;
	for (int i = 0; i < len && len > 1; i++) {
		const struct thread *before =
		        p->len ? bsearch(&now[i], p->threads, p->len, sizeof(*now), compare_threads) : NULL;
		uint64_t base = before ? before->cpu_ns : 0;

		now[i].cpu_ns = cpu_read(p->pid, now[i].tid);
		now[i].grown = now[i].cpu_ns > base ? (double)(now[i].cpu_ns - base) : 0;
		p->grown += now[i].grown;
	}
}

static void proc_look(struct proc *p)
{
	struct thread *threads = NULL;
	struct dirent *entry;
	int len = 0, cap = 0;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)p->pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		pid_t tid = atoi(entry->d_name);

		if (tid <= 0)
			continue;
		if (len == cap) {
			struct thread *more = realloc(threads, (cap = cap ? 2 * cap : 16) * sizeof(*more));

			if (!more)
				break;
			threads = more;
		}
		threads[len++] = (struct thread){.tid = tid};
	}
	if (dir)
		closedir(dir);
	if (len)
		qsort(threads, len, sizeof(*threads), compare_threads);
	grown_fill(p, threads, len);
	free(p->threads);
	p->threads = threads;
	p->len = len;
}

/* The process, known from before, or in the place of the one that was not asked for for longest. */
static struct proc *proc_find(struct heap_threads *h, pid_t pid, uint64_t serial)
{
	struct proc *oldest = h->procs;

	for (struct proc *p = h->procs; p < h->procs + PROCS_KEPT; p++) {
		if (p->pid == pid && p->serial == serial)
			return p;
		if (p->used_ns < oldest->used_ns)
			oldest = p;
	}
	free(oldest->threads);
	*oldest = (struct proc){.pid = pid, .serial = serial};
	return oldest;
}

static double thread_probability(const struct proc *p, const struct thread *t)
{
	return p->grown > 0 ? FLOOR / p->len + (1 - FLOOR) * t->grown / p->grown : 1.0 / p->len;
}

pid_t heap_threads_pick(struct heap_threads *h, pid_t pid, uint64_t serial, double *ret_probability)
{
	struct proc *p = proc_find(h, pid, serial);
	double at = (random() + 0.5) / ((double)RAND_MAX + 1);
	uint64_t now = clock_ns();
	int i = 0;

	p->used_ns = now;
	if (!p->looked_ns || now - p->looked_ns >= LOOK_EVERY_NS * (1 + p->len / LOOK_THREADS)) {
		proc_look(p);
		p->looked_ns = now;
	}
	if (!p->len)
		return 0;
	for (; i < p->len - 1; i++) {
		at -= thread_probability(p, &p->threads[i]);
		if (at < 0)
			break;
	}
	*ret_probability = thread_probability(p, &p->threads[i]);
	return p->threads[i].tid;
}
