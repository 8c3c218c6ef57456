/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/heap_procs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "abi.h"
#include "lib/util.h"
#include "probe/elf_sites.h"

#define PROCS_MAX 1024 /* of more the further ones are not looked at */
#define LOOK_AGAIN_NS 20000000ULL /* for a process whose libraries are not mapped yet; doubles each time */
#define LOOKS_MAX 10
#define STANDS_NS NS_PER_S /* so often it is made sure that the allocator is still there */
#define CPU_EVERY_NS 250000000ULL
#define CPU_SMOOTH 0.25
/* Shares of the probability that all processes, and all functions, have alike: what did nothing so far may begin to. */
#define PROC_FLOOR 0.3
#define FN_FLOOR 0.08
#define UNKNOWN_WINDOWS 1.0 /* after so many that saw nothing, a function is taken for a quarter as busy as the busiest one; after more, by their square less */

enum proc_state {
	PROC_UNKNOWN, /* to be looked at when due */
	PROC_FOUND,
	PROC_NONE, /* it has no allocator that can be observed */
};

struct heap_proc {
	pid_t pid;
	unsigned slot;
	uint64_t serial;
	enum proc_state state;
	unsigned looks;
	uint64_t due_ns; /* next look; or next time to see whether the allocator stands */
	uint64_t cpu_ns; /* CPU time at the last look */
	double cpu; /* CPU time a second, smoothed */
	uint64_t mm;
	uint64_t files_known; /* see allocator_other */
	struct allocator *allocator;
	uint64_t seconds[ALLOC_FN_COUNT];
	struct heap_plan plans[ALLOC_FN_COUNT];
};

struct heap_procs {
	struct heap_proc *procs[PROCS_MAX];
	int len;
	uint64_t serial;
	uint64_t cpu_read_ns;
	unsigned slots[SO_MAX_AGENTS]; /* for choosing */
};

/*
 * How the functions say how much they are asked for. Left out are those that hand on to others of these by a jump, so that the other's caller seems to be the
 * program: glibc's reallocarray to realloc, tcmalloc's and musl's valloc to aligned_alloc.
 */
static const enum heap_args fn_args[ALLOC_FN_COUNT] = {
	[ALLOC_MALLOC] = HEAP_ARGS_1,	      [ALLOC_CALLOC] = HEAP_ARGS_1x2,	 [ALLOC_REALLOC] = HEAP_ARGS_2,
	[ALLOC_POSIX_MEMALIGN] = HEAP_ARGS_3, [ALLOC_ALIGNED_ALLOC] = HEAP_ARGS_2, [ALLOC_MEMALIGN] = HEAP_ARGS_2,
	[ALLOC_NEW] = HEAP_ARGS_1,	      [ALLOC_NEW_ARRAY] = HEAP_ARGS_1,
};

struct heap_procs *heap_procs_new(void)
{
	return calloc(1, sizeof(struct heap_procs));
}

static void proc_free(struct heap_proc *p)
{
	free(p->allocator);
	free(p);
}

void heap_procs_free(struct heap_procs *p)
{
	if (!p)
		return;
	for (int i = 0; i < p->len; i++)
		proc_free(p->procs[i]);
	free(p);
}

static int proc_index(const struct heap_procs *p, pid_t pid)
{
	for (int i = 0; i < p->len; i++)
		if (p->procs[i]->pid == pid)
			return i;
	return -1;
}

static void proc_forget(struct heap_procs *p, struct heap_proc *q)
{
	free(q->allocator);
	q->allocator = NULL;
	q->state = PROC_UNKNOWN;
	q->looks = 0;
	q->due_ns = 0;
	q->mm = 0;
	q->files_known = 0;
	q->serial = ++p->serial;
	for (int i = 0; i < ALLOC_FN_COUNT; i++)
		heap_plan_init(&q->plans[i]);
}

static uint64_t cpu_read(pid_t pid)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
		return 0;
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

void heap_procs_add(struct heap_procs *p, pid_t pid, unsigned slot, bool exec)
{
	int i = proc_index(p, pid);
	struct heap_proc *q;

	if (i >= 0) {
		p->procs[i]->slot = slot;
		if (exec)
			proc_forget(p, p->procs[i]);
		return;
	}
	q = p->len < PROCS_MAX ? calloc(1, sizeof(*q)) : NULL;
	if (!q)
		return;
	q->pid = pid;
	q->slot = slot;
	q->cpu_ns = cpu_read(pid);
	proc_forget(p, q);
	p->procs[p->len++] = q;
}

void heap_procs_remove(struct heap_procs *p, pid_t pid)
{
	int i = proc_index(p, pid);

	if (i < 0)
		return;
	proc_free(p->procs[i]);
	p->procs[i] = p->procs[--p->len];
}

/* ---- the choice ---- */

static void cpu_look(struct heap_procs *p, uint64_t now)
{
	double since_s = (now - p->cpu_read_ns) * 1e-9;

	if (now - p->cpu_read_ns < CPU_EVERY_NS)
		return;
	for (int i = 0; i < p->len; i++) {
		struct heap_proc *q = p->procs[i];
		uint64_t cpu_ns = cpu_read(q->pid), grown = cpu_ns > q->cpu_ns ? cpu_ns - q->cpu_ns : 0;

		q->cpu_ns = cpu_ns;
		if (p->cpu_read_ns)
			q->cpu += CPU_SMOOTH * (grown * 1e-9 / since_s - q->cpu);
	}
	p->cpu_read_ns = now;
}

static bool proc_ready(const struct heap_proc *q, uint64_t now)
{
	return q->state == PROC_FOUND || (q->state == PROC_UNKNOWN && q->due_ns <= now);
}

static unsigned slots_find(struct heap_procs *p, uint64_t now)
{
	bool seen[SO_MAX_AGENTS] = {};
	unsigned n = 0;

	for (int i = 0; i < p->len; i++) {
		unsigned slot = p->procs[i]->slot;

		if (proc_ready(p->procs[i], now) && slot < SO_MAX_AGENTS && !seen[slot]) {
			seen[slot] = true;
			p->slots[n++] = slot;
		}
	}
	return n;
}

unsigned heap_procs_agents(const struct heap_procs *p)
{
	return slots_find((struct heap_procs *)p, clock_ns());
}

static double random_unit(void)
{
	return (random() + 0.5) / ((double)RAND_MAX + 1);
}

static struct heap_proc *proc_choose(struct heap_procs *p, unsigned slot, uint64_t now, double *ret_probability)
{
	struct heap_proc *last = NULL;
	double sum = 0, at = random_unit();
	int n = 0;

	for (int i = 0; i < p->len; i++)
		if (p->procs[i]->slot == slot && proc_ready(p->procs[i], now)) {
			sum += p->procs[i]->cpu;
			n++;
		}
	for (int i = 0; i < p->len; i++) {
		struct heap_proc *q = p->procs[i];

		if (q->slot != slot || !proc_ready(q, now))
			continue;
		last = q;
		*ret_probability = sum > 0 ? PROC_FLOOR / n + (1 - PROC_FLOOR) * q->cpu / sum : 1.0 / n;
		at -= *ret_probability;
		if (at < 0)
			break;
	}
	return last;
}

static bool fn_there(const struct heap_proc *q, int fn)
{
	return fn_args[fn] && q->allocator->sites[fn].address;
}

/* What functions are worth looking at: as much as they are called; and of those that have been looked at seldom, as much as they may be. */
static double fns_score(const struct heap_proc *q, double ret[ALLOC_FN_COUNT], int *ret_len)
{
	double most = 1, sum = 0;

	*ret_len = 0;
	for (int i = 1; i < ALLOC_FN_COUNT; i++)
		if (fn_there(q, i) && q->plans[i].rate > most)
			most = q->plans[i].rate;
	for (int i = 1; i < ALLOC_FN_COUNT; i++) {
		double unknown = UNKNOWN_WINDOWS / (UNKNOWN_WINDOWS + q->plans[i].windows);

		ret[i] = fn_there(q, i) ? q->plans[i].rate + most * unknown * unknown : 0;
		sum += ret[i];
		*ret_len += fn_there(q, i);
	}
	return sum;
}

static enum alloc_fn fn_choose(const struct heap_proc *q, double *ret_probability)
{
	double scores[ALLOC_FN_COUNT], at = random_unit(), sum;
	enum alloc_fn last = 0;
	int n;

	sum = fns_score(q, scores, &n);
	for (int i = 1; i < ALLOC_FN_COUNT && at >= 0; i++) {
		if (!fn_there(q, i))
			continue;
		last = i;
		*ret_probability = FN_FLOOR / n + (1 - FN_FLOOR) * scores[i] / sum;
		at -= *ret_probability;
	}
	return last;
}

/* glibc's jump to malloc when there is nothing to move, and for an alignment that malloc gives anyway (MALLOC_ALIGNMENT). */
static uint32_t nests_below(const struct allocator *a, enum alloc_fn fn)
{
	if (strcmp(a->name, "glibc"))
		return 0;
	return fn == ALLOC_REALLOC ? 1 : fn == ALLOC_ALIGNED_ALLOC || fn == ALLOC_MEMALIGN ? 2 * sizeof(void *) + 1 : 0;
}

static void pick_fill(struct heap_pick *k, const struct heap_proc *q)
{
	const struct alloc_site *s = q->allocator->sites;
	int n = 0;

	k->first = s[k->fn].address;
	k->second = q->seconds[k->fn];
	k->args = fn_args[k->fn];
	k->nests_below = nests_below(q->allocator, k->fn);
	k->plan = q->plans[k->fn];
	for (int i = 1; i < ALLOC_FN_COUNT && n < HEAP_RANGES; i++)
		if (fn_args[i] && s[i].address) {
			k->ranges[n].start = s[i].address;
			k->ranges[n++].end = s[i].address + s[i].size;
		}
}

unsigned heap_procs_pick(struct heap_procs *p, struct heap_pick *ret)
{
	uint64_t now = clock_ns();
	unsigned agents = slots_find(p, now);
	struct heap_proc *q;
	double of_procs = 1, of_fns = 1;

	if (!agents)
		return 0;
	cpu_look(p, now);
	ret->slot = p->slots[random() % agents];
	q = proc_choose(p, ret->slot, now, &of_procs);
	if (q->state == PROC_FOUND && q->due_ns <= now) {
		if (!allocator_stands(q->pid, q->allocator))
			proc_forget(p, q);
		q->due_ns = q->state == PROC_FOUND ? now + STANDS_NS : 0;
		ret->check = q->state == PROC_FOUND;
	}
	ret->pid = q->pid;
	ret->serial = q->serial;
	if (q->state != PROC_FOUND)
		return agents;
	if (ret->check) {
		ret->allocator = *q->allocator;
		ret->files_known = q->files_known;
	}
	ret->fn = fn_choose(q, &of_fns);
	ret->probability = of_procs * of_fns;
	pick_fill(ret, q);
	return agents;
}

bool heap_procs_other(struct heap_pick *k, char *why, size_t why_len)
{
	return allocator_other(k->pid, &k->allocator, &k->files_known, why, why_len);
}

void heap_procs_checked(struct heap_procs *p, const struct heap_pick *k)
{
	int i = proc_index(p, k->pid);

	if (i >= 0 && p->procs[i]->serial == k->serial)
		p->procs[i]->files_known = k->files_known;
}

bool heap_procs_same(struct heap_procs *p, const struct heap_pick *k, uint64_t mm)
{
	int i = proc_index(p, k->pid);
	struct heap_proc *q = i < 0 ? NULL : p->procs[i];

	if (!q || q->serial != k->serial)
		return false;
	if (mm && q->mm && q->mm != mm) {
		proc_forget(p, q);
		return false;
	}
	if (mm)
		q->mm = mm;
	return true;
}

void heap_procs_learn(struct heap_procs *p, const struct heap_pick *k)
{
	int i = proc_index(p, k->pid);
	struct heap_proc *q = i < 0 ? NULL : p->procs[i];

	if (q && q->serial == k->serial)
		q->plans[k->fn] = k->plan;
}

/* ---- looking at a process ---- */

/* What a function jumps to right away; 0: it does not. */
static uint64_t jump_target(const uint8_t *code, uint64_t address)
{
#if defined(__x86_64__)
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	unsigned at = memcmp(code, endbr64, sizeof(endbr64)) ? 0 : sizeof(endbr64);
	int32_t by;

	if (code[at] != 0xe9)
		return 0;
	memcpy(&by, code + at + 1, sizeof(by));
	return address + at + 5 + by;
#else
	(void)code, (void)address;
	return 0;
#endif
}

/* A place that every call passes right behind the function's first one; 0: none is known. */
static uint64_t second_place(int fd, const struct alloc_site *s, const uint8_t *code)
{
#if defined(__x86_64__)
	uint64_t cheap, jump = jump_target(code, s->address);
	unsigned pushed;

	if (jump)
		return jump;
	cheap = elf_cheap_place(fd, s->offset, &pushed);
	if (cheap > s->offset)
		return s->address + (cheap - s->offset);
	if ((code[0] & 0xf8) == 0x50) /* push */
		return s->address + 1;
	if (code[0] == 0x41 && (code[1] & 0xf8) == 0x50)
		return s->address + 2;
	return 0;
#else
	(void)fd, (void)code;
	return s->address + 4;
#endif
}

static bool is_site(const struct allocator *a, uint64_t address)
{
	for (int i = 1; i < ALLOC_FN_COUNT; i++)
		if (fn_args[i] && address && a->sites[i].address == address)
			return true;
	return false;
}

static bool code_read(pid_t pid, uint64_t address, uint8_t *to, size_t size)
{
	struct iovec local = { to, size }, remote = { (void *)(uintptr_t)address, size };

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

static void sites_prepare(struct heap_pick *k)
{
	struct allocator *a = k->found;
	int fds[ARRAY_SIZE(a->files)];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		struct mapped_file m = { .start = a->files[i].start, .end = a->files[i].end };

		fds[i] = (int)i < a->files_len ? mapped_file_open(k->pid, &m) : -1;
	}
	for (int i = 1; i < ALLOC_FN_COUNT; i++) {
		struct alloc_site *s = &a->sites[i];
		uint8_t code[16];

		if (!fn_args[i] || !s->address || !code_read(k->pid, s->address, code, sizeof(code)))
			continue;
		if (is_site(a, jump_target(code, s->address)))
			s->address = 0; /* each call of it is one of the other's */
		else
			k->seconds[i] = fds[s->file] < 0 ? 0 : second_place(fds[s->file], s, code);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		cleanup_close(&fds[i]);
}

int heap_procs_look(struct heap_pick *k, char *why, size_t why_len)
{
	int err;

	k->found = malloc(sizeof(*k->found));
	if (!k->found)
		return -ENOMEM;
	err = allocator_find(k->pid, k->found, why, why_len);
	if (!err)
		sites_prepare(k);
	return err;
}

void heap_procs_looked(struct heap_procs *p, struct heap_pick *k, int err)
{
	int i = proc_index(p, k->pid);
	struct heap_proc *q = i < 0 ? NULL : p->procs[i];

	if (!q || q->serial != k->serial) {
		free(k->found);
		return;
	}
	if (!err) {
		q->allocator = k->found;
		memcpy(q->seconds, k->seconds, sizeof(q->seconds));
		q->state = PROC_FOUND;
		q->due_ns = clock_ns() + STANDS_NS;
		return;
	}
	free(k->found);
	q->due_ns = clock_ns() + (LOOK_AGAIN_NS << q->looks);
	if (err != -EAGAIN || ++q->looks == LOOKS_MAX)
		q->state = PROC_NONE;
}
