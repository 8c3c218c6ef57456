/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The Python frames of a task: walks the interpreter's own chain of frames, with the offsets that user space found for the process
 * (python_layout() in user/symbols/python.h).
 *
 * The thread's own state is the one that carries its pthread_self(): first that which had the interpreter's lock last is tried, which it is for a
 * thread that runs Python code; then the list of all states, for one that waits, or that let go of the lock. Only the main interpreter's list is
 * looked at: threads of sub-interpreters with a lock of their own (3.12) have no frames here.
 *
 * Whatever the process's memory says is bounded here: a chain by the room for frames, the list by PYTHON_THREADS_MAX.
 *
 * Some 0.7 us and 0.25 us a frame (medians by bpf_stats, 6.18: 2.3, 5.8, 15 us at 5, 20, 60 frames), half of it for the code objects' identity. A thread
 * that is the 20th of the list: 3 us more.
 */
#ifndef STAKEOUT_PYTHON_BPF_H
#define STAKEOUT_PYTHON_BPF_H

#include "core.bpf.h"

#define PYTHONS_MAX 1024
#define PYTHON_THREADS_MAX 512
#define PYTHON_FRAME_BYTES 128 /* a power of 2: at most this is read of a frame */
#define PYTHON_3_11 0x030b
#define PYTHON_3_12 0x030c
#define PYTHON_OWNED_BY_CSTACK 3 /* FRAME_OWNED_BY_CSTACK in CPython's pycore_frame.h, 3.12 and 3.13 */

CORE_MAP struct {
	__uint(type, BPF_MAP_TYPE_HASH); /* preallocated: 6.1 lets perf events use no other */
	__uint(max_entries, PYTHONS_MAX);
	__type(key, u32); /* tgid */
	__type(value, struct so_python);
} pythons SEC(".maps");

struct python_walk {
	const struct so_python *python;
	struct task_struct *task;
	struct so_python_frame *frames;
	u64 at; /* thread state or frame to look at next */
	u64 thread; /* what the thread is known by */
	u32 len;
	bool found, cut;
	u8 frame[PYTHON_FRAME_BYTES] __attribute__((aligned(8)));
};

/* `other`, known at compile time: not the current task; the program may sleep. */
static __always_inline bool python_read(struct python_walk *w, bool other, void *to, u32 size, u64 from)
{
	if (other)
		return !bpf_copy_from_user_task(to, size, (void *)from, w->task, 0);
	return !bpf_probe_read_user(to, size, (void *)from);
}

static __always_inline u64 python_tid(struct task_struct *t)
{
	struct pid *p = t->thread_pid;
	u32 level, at;
	int nr = 0;

	if (!p)
		return 0;
	level = BPF_CORE_READ(p, level); /* at most 32, MAX_PID_NS_LEVEL */
	at = (level * bpf_core_type_size(struct upid) + bpf_core_field_offset(struct upid, nr)) & 1023; /* 6.1 adds nothing unbounded to a pointer */
	bpf_probe_read_kernel(&nr, sizeof(nr), (void *)&p->numbers + at);
	return nr;
}

static __always_inline u64 python_thread(const struct so_python *python, struct task_struct *t)
{
#if defined(__TARGET_ARCH_x86)
	if (python->thread_by == SO_PYTHON_BY_POINTER)
		return t->thread.fsbase;
#endif
	return python_tid(t);
}

/* One thread state: the task's own? Returns 1 at the end. */
static __always_inline long python_state_look(struct python_walk *w, bool other)
{
	const struct so_python *python = w->python;
	u64 thread;

	if (!w->at || !python_read(w, other, &thread, sizeof(thread), w->at + python->offsets[SO_PYTHON_THREAD_ID]))
		return 1;
	if (thread == w->thread) {
		w->found = true;
		return 1;
	}
	if (!python_read(w, other, &w->at, sizeof(w->at), w->at + python->offsets[SO_PYTHON_THREAD_NEXT]))
		return 1;
	return 0;
}

static long python_state_step(u64 i, struct python_walk *w)
{
	return python_state_look(w, false);
}

static long python_state_step_other(u64 i, struct python_walk *w)
{
	return python_state_look(w, true);
}

static __always_inline bool python_state_find(struct python_walk *w, bool other)
{
	const struct so_python *python = w->python;

	w->thread = python_thread(python, w->task);
	if (!w->thread)
		return false;
	if (python->holder && python_read(w, other, &w->at, sizeof(w->at), python->holder))
		python_state_look(w, other);
	if (w->found)
		return true;
	if (!python_read(w, other, &w->at, sizeof(w->at), python->threads))
		return false;
	bpf_loop(PYTHON_THREADS_MAX, other ? (void *)python_state_step_other : (void *)python_state_step, w, 0);
	return w->found;
}

static __always_inline u64 python_field(const struct python_walk *w, u32 offset)
{
	return *(u64 *)(w->frame + (offset & (PYTHON_FRAME_BYTES - 8)));
}

static __always_inline u8 python_byte(const struct python_walk *w, u32 offset)
{
	return w->frame[offset & (PYTHON_FRAME_BYTES - 1)];
}

/* The frame of the interpreter's C function itself, beneath the Python frames that it runs (from 3.12). */
static __always_inline bool python_is_shim(const struct python_walk *w)
{
	const struct so_python *python = w->python;

	return python->version >= PYTHON_3_12 && python_byte(w, python->offsets[SO_PYTHON_FRAME_ENTRY]) == PYTHON_OWNED_BY_CSTACK;
}

/* What tells the code object from others. Overwrites the frame that was read. */
static __always_inline u64 python_identity(struct python_walk *w, bool other, u64 code)
{
	const u32 *offsets = w->python->offsets;
	u32 name = offsets[SO_PYTHON_CODE_NAME];
	u64 word, hash;

	if (name > PYTHON_FRAME_BYTES - 8 || !python_read(w, other, w->frame, name + 8, code + offsets[SO_PYTHON_CODE_WORD]))
		return 0;
	word = python_field(w, 0);
	if (!python_read(w, other, &hash, sizeof(hash), python_field(w, name) + offsets[SO_PYTHON_TEXT_HASH]))
		return 0;
	return (u64)so_python_identity(word, hash) << SO_PYTHON_IDENTITY_SHIFT;
}

static __always_inline bool python_is_entry(const struct python_walk *w)
{
	const struct so_python *python = w->python;

	if (python->version < PYTHON_3_11)
		return true;
	return python->version < PYTHON_3_12 && python_byte(w, python->offsets[SO_PYTHON_FRAME_ENTRY]); /* later ones: by their shims */
}

/* Room for frame number n, which is in bounds: said anew, since 6.1's verifier forgets it when the compiler puts n away in between. */
static __always_inline struct so_python_frame *python_frame_at(const struct python_walk *w, u32 n)
{
	barrier_var(n);
	return &w->frames[n & (SO_STACK_PYTHON_MAX - 1)];
}

static __always_inline void python_frame_add(struct python_walk *w, bool other, u32 len)
{
	const struct so_python *python = w->python;
	u64 at = python_field(w, python->offsets[SO_PYTHON_FRAME_AT]);
	struct so_python_frame *f;

	barrier_var(len); /* it is less, which 6.1's verifier lost sight of in some programs; and the compiler would leave this out */
	f = &w->frames[len & (SO_STACK_PYTHON_MAX - 1)];
	f->code = python_field(w, python->offsets[SO_PYTHON_FRAME_CODE]);
	f->at = python->version < PYTHON_3_11 ? (u32)at : at; /* f_lasti is an int */
	f->flags = python_is_entry(w) ? SO_PYTHON_ENTRY : 0;
	f->flags |= python_identity(w, other, f->code);
	w->len = len + 1;
}

/* One frame. Returns 1 at the end. */
static __always_inline long python_frame_look(struct python_walk *w, bool other)
{
	const struct so_python *python = w->python;
	u32 size = python->offsets[SO_PYTHON_FRAME_BYTES], len = w->len;

	if (!w->at)
		return 1;
	if (size > PYTHON_FRAME_BYTES || !python_read(w, other, w->frame, size, w->at))
		goto cut;
	w->at = python_field(w, python->offsets[SO_PYTHON_FRAME_PREVIOUS]);
	if (python_is_shim(w)) {
		if (len && len <= SO_STACK_PYTHON_MAX)
			python_frame_at(w, len - 1)->flags |= SO_PYTHON_ENTRY;
		return 0;
	}
	if (len >= SO_STACK_PYTHON_MAX)
		goto cut;
	python_frame_add(w, other, len);
	return 0;
cut:
	w->cut = true;
	return 1;
}

static long python_frame_step(u64 i, struct python_walk *w)
{
	return python_frame_look(w, false);
}

static long python_frame_step_other(u64 i, struct python_walk *w)
{
	return python_frame_look(w, true);
}

/* The innermost frame of the thread state that was found. */
static __always_inline bool python_leaf(struct python_walk *w, bool other)
{
	const u32 *offsets = w->python->offsets;

	if (!python_read(w, other, &w->at, sizeof(w->at), w->at + offsets[SO_PYTHON_THREAD_FRAME]))
		return false;
	if (offsets[SO_PYTHON_CFRAME_FRAME] == SO_PYTHON_NONE || !w->at)
		return true;
	return python_read(w, other, &w->at, sizeof(w->at), w->at + offsets[SO_PYTHON_CFRAME_FRAME]);
}

static __always_inline u32 python_walk_with(struct task_struct *t, struct so_python_frame *frames, u8 *flags, bool other)
{
	struct python_walk w = { .task = t, .frames = frames };
	u32 tgid = t->tgid;

	w.python = bpf_map_lookup_elem(&pythons, &tgid);
	if (!w.python || !python_state_find(&w, other))
		return 0;
	/* Until 6.7 ("bpf: verify callbacks as if they are called unknown number of times") the verifier took a callback for one that is run once: what
	 * it knows to be 0 before would be so in every turn, and what is for other turns would be thrown out as dead code. */
	w.len = w.python->offsets[SO_PYTHON_ZERO];
	if (!python_leaf(&w, other))
		w.cut = true;
	else /* a shim for each frame, at worst, and one turn to find the end */
		w.cut = bpf_loop(2 * SO_STACK_PYTHON_MAX + 1, other ? (void *)python_frame_step_other : (void *)python_frame_step, &w, 0) >
				2 * SO_STACK_PYTHON_MAX ||
			w.cut;
	if (w.cut)
		*flags |= SO_STACK_PYTHON_CUT;
	return w.len <= SO_STACK_PYTHON_MAX ? w.len : SO_STACK_PYTHON_MAX;
}

/* Fills frames, leaf first, room for SO_STACK_PYTHON_MAX, of the current task t. Returns how many; none where the process has no interpreter.
 * May set SO_STACK_PYTHON_CUT in *flags. From any context. */
static __noinline __attribute__((unused)) u32 python_walk(struct task_struct *t, struct so_python_frame *frames, u8 *flags)
{
	return python_walk_with(t, frames, flags, false);
}

/* The same for any task that is off the CPU, from a sleepable program. */
static __noinline __attribute__((unused)) u32 python_walk_task(struct task_struct *t, struct so_python_frame *frames, u8 *flags)
{
	return python_walk_with(t, frames, flags, true);
}

#endif
