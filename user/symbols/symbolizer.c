/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "symbols/symbolizer.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <utlist.h>

#include "lib/util.h"
#include "symbols/native.h"
#include "symbols/python.h"

#define WORK_NS 2000000 /* spent ahead of time at once */
#define ENDED_KEPT_NS (5 * NS_PER_S)
#define NAMES_MAX 4096
#define QUEUE_MAX 256 /* processes to be looked at; of more the oldest are left out: they are read when they are sampled */
#define NATIVE_MAX 1024 /* frames: 32 KiB hold no more of the smallest but few */
#define FRAMES_CAP (SO_STACK_KERNEL_MAX + NATIVE_MAX + SO_STACK_PYTHON_MAX + 2)

struct process_name {
	uint32_t tgid;
	char comm[SO_COMM_BYTES + 1];
	UT_hash_handle hh;
};

struct ended {
	uint32_t tgid;
	uint64_t ns;
	struct ended *prev, *next;
};

struct symbolizer {
	struct native *native;
	struct pythons *pythons;
	struct process_name *names; /* by process; in the order of their coming */
	uint32_t queue[QUEUE_MAX]; /* the newest last */
	uint32_t queue_len;
	struct ended *ended; /* oldest first */
	uint32_t ended_len;
};

struct symbolizer *symbolizer_new(void)
{
	struct symbolizer *y = calloc(1, sizeof(*y));
	struct frame frame;

	if (!y)
		return NULL;
	y->native = native_new();
	y->pythons = pythons_new();
	if (!y->native || !y->pythons) {
		symbolizer_free(y);
		return NULL;
	}
	native_kernel_name(y->native, 0, &frame); /* has the kernel's list read (some 100 ms) now rather than amid the recording */
	return y;
}

static void name_free(struct symbolizer *y, struct process_name *n)
{
	HASH_DEL(y->names, n);
	free(n);
}

static void ended_free(struct symbolizer *y, struct ended *e)
{
	DL_DELETE(y->ended, e);
	y->ended_len--;
	free(e);
}

void symbolizer_free(struct symbolizer *y)
{
	struct process_name *n, *n_next;
	struct ended *e, *e_next;

	if (!y)
		return;
	HASH_ITER(hh, y->names, n, n_next)
		name_free(y, n);
	DL_FOREACH_SAFE(y->ended, e, e_next)
		ended_free(y, e);
	if (y->native)
		native_free(y->native);
	if (y->pythons)
		pythons_free(y->pythons);
	free(y);
}

static void process_forget(struct symbolizer *y, uint32_t tgid)
{
	struct process_name *n;

	HASH_FIND(hh, y->names, &tgid, sizeof(tgid), n);
	if (n)
		name_free(y, n);
	native_forget(y->native, tgid);
	pythons_forget(y->pythons, tgid);
}

void symbolizer_exec(struct symbolizer *y, uint32_t tgid)
{
	struct ended *e, *next;

	DL_FOREACH_SAFE(y->ended, e, next)
		if (e->tgid == tgid)
			ended_free(y, e);
	process_forget(y, tgid);
	if (y->queue_len == QUEUE_MAX)
		memmove(y->queue, y->queue + 1, --y->queue_len * sizeof(*y->queue));
	y->queue[y->queue_len++] = tgid;
}

void symbolizer_exit(struct symbolizer *y, uint32_t tgid)
{
	struct ended *e = calloc(1, sizeof(*e));

	native_gone(y->native, tgid);
	if (!e) {
		process_forget(y, tgid);
		return;
	}
	e->tgid = tgid;
	e->ns = clock_ns();
	DL_APPEND(y->ended, e);
	y->ended_len++;
}

/* Name of the process: that of its first thread. */
static const char *name_get(struct symbolizer *y, uint32_t tgid)
{
	struct process_name *n;
	char path[64];
	ssize_t len;

	HASH_FIND(hh, y->names, &tgid, sizeof(tgid), n);
	if (n)
		return n->comm;
	if (HASH_COUNT(y->names) >= NAMES_MAX)
		name_free(y, y->names);
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	snprintf(path, sizeof(path), "/proc/%u/comm", tgid);
	len = file_read(path, n->comm, sizeof(n->comm));
	if (len <= 0) {
		free(n);
		return NULL;
	}
	n->comm[strcspn(n->comm, "\n")] = '\0';
	n->tgid = tgid;
	HASH_ADD(hh, y->names, tgid, sizeof(n->tgid), n);
	return n->comm;
}

void symbolizer_work(struct symbolizer *y)
{
	uint64_t start_ns = clock_ns();

	while (y->ended && start_ns - y->ended->ns > ENDED_KEPT_NS) {
		process_forget(y, y->ended->tgid);
		ended_free(y, y->ended);
	}
	/* The newest first: they are the likeliest to be there still. */
	while (y->queue_len && clock_ns() - start_ns < WORK_NS) {
		uint32_t tgid = y->queue[--y->queue_len];

		if (name_get(y, tgid))
			native_prepare(y->native, tgid);
	}
}

struct frames {
	struct stacks *into;
	uint32_t at[FRAMES_CAP];
	size_t len;
};

static void frame_add(struct frames *f, const struct frame *frame)
{
	if (f->len < FRAMES_CAP)
		f->at[f->len++] = stacks_frame(f->into, frame);
}

static void named_add(struct frames *f, enum frame_kind kind, const char *name)
{
	frame_add(f, &(struct frame){ .kind = kind, .name = name, .file = "", .module = "" });
}

static void kernel_add(struct symbolizer *y, const struct so_stack *s, struct frames *f)
{
	const uint64_t *at = so_stack_kernel(s);
	struct frame frame;

	for (int i = 0; i < s->kernel_len; i++) {
		/* Those of callers point behind their call. */
		native_kernel_name(y->native, at[i] - (i > 0), &frame);
		frame_add(f, &frame);
	}
}

/* The interpreter's frames from number `from` on: those that one call of its loop runs, or (all) what is left. Returns the number of the next. */
static int python_add(struct symbolizer *y, const struct so_stack *s, int from, bool all, struct frames *f)
{
	const struct so_python_frame *at = so_stack_python(s);
	struct frame frame;

	for (int i = from; i < s->python_len; i++) {
		if (python_name(y->pythons, s->tgid, &at[i], &frame))
			frame_add(f, &frame);
		else
			named_add(f, FRAME_PYTHON, "[unknown]");
		if (!all && at[i].flags & SO_PYTHON_ENTRY)
			return i + 1;
	}
	return s->python_len;
}

static void user_add(struct symbolizer *y, const struct so_stack *s, struct frames *f)
{
	uint64_t at[NATIVE_MAX];
	bool cut = true;
	int n = s->flags & SO_STACK_COMPAT || !s->regs[SO_REG_IP] ? 0 : native_unwind(y->native, s, at, NATIVE_MAX, &cut), python = 0;

	for (int i = 0; i < n; i++) {
		struct frame frame;

		native_name(y->native, s->tgid, at[i], i > 0, &frame);
		if (python < s->python_len && python_is_eval(frame.name))
			python = python_add(y, s, python, false, f);
		else
			frame_add(f, &frame);
	}
	python_add(y, s, python, true, f);
	if (s->flags & SO_STACK_COMPAT)
		named_add(f, FRAME_NATIVE, "[32-bit code]");
	else if (n && cut)
		named_add(f, FRAME_NATIVE, "[callers unknown]");
}

uint32_t symbolizer_stack(struct symbolizer *y, const struct so_stack *s, struct stacks *into)
{
	struct frames f = { .into = into };
	char comm[SO_COMM_BYTES + 1] = "";
	const char *name;

	kernel_add(y, s, &f);
	user_add(y, s, &f);
	memcpy(comm, s->comm, SO_COMM_BYTES);
	name = name_get(y, s->tgid);
	/* Its room is kept: what is left out of a deep stack lies in the middle. */
	f.len = f.len < FRAMES_CAP ? f.len : FRAMES_CAP - 1;
	named_add(&f, FRAME_PROCESS, name ? name : comm);
	return stacks_add(into, f.at, f.len);
}

size_t symbolizer_bytes(const struct symbolizer *y)
{
	return sizeof(*y) + native_bytes(y->native) + HASH_COUNT(y->names) * sizeof(struct process_name) + y->ended_len * sizeof(struct ended);
}
