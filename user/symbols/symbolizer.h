/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * From the addresses of a stack sample to named frames: unwinds native code by its unwinding tables or frame pointers, names functions from symbol
 * tables, perf maps of JIT compilers and the kernel's list, and puts the interpreter's own frames in the place of Python's C functions. Reads
 * /proc/PID; never stops a process. Processes are known by their number; who uses it says when a number means another program.
 */
#ifndef STAKEOUT_SYMBOLIZER_H
#define STAKEOUT_SYMBOLIZER_H

#include <stdint.h>

#include "abi.h"
#include "model/stacks.h"

struct symbolizer;

struct symbolizer *symbolizer_new(void);
void symbolizer_free(struct symbolizer *y); /* NULL is accepted */
/* A process has run a program: what was known of it is forgotten, and what it has mapped is read soon (see symbolizer_work), while it lives. */
void symbolizer_exec(struct symbolizer *y, uint32_t tgid);
/* It ended. What is known of it is kept for some seconds, for samples that are still on their way. */
void symbolizer_exit(struct symbolizer *y, uint32_t tgid);
/* Some work ahead of time, between drains: at most some milliseconds. */
void symbolizer_work(struct symbolizer *y);
/* Interns the stack of s (its size has been checked) in `into`. Returns its number there. The outermost frame is a FRAME_PROCESS with the
 * thread's name. Never fails: what has no name gets one that says so. */
uint32_t symbolizer_stack(struct symbolizer *y, const struct so_stack *s, struct stacks *into);
/* The processes and files that are kept are bounded; heap bytes in use. */
size_t symbolizer_bytes(const struct symbolizer *y);

/* For parts of a sample behind its head. */
static inline const uint64_t *so_stack_kernel(const struct so_stack *s)
{
	return (const uint64_t *)(s + 1);
}
static inline const struct so_python_frame *so_stack_python(const struct so_stack *s)
{
	return (const struct so_python_frame *)(so_stack_kernel(s) + s->kernel_len);
}
static inline const uint8_t *so_stack_user(const struct so_stack *s)
{
	return (const uint8_t *)(so_stack_python(s) + s->python_len);
}

#endif
