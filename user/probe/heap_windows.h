/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The heap, sampled: for short moments a thread's breakpoint registers stand on a function of its process's allocator, and each call that hits is an
 * allocation seen. Nothing in the process is changed, and opening and closing takes microseconds. How often, and how long, is ruled by a budget.
 */
#ifndef STAKEOUT_HEAP_WINDOWS_H
#define STAKEOUT_HEAP_WINDOWS_H

#include "probe/parts.h"

struct heap_windows;

/* budget: part of the agents' time that traps may take, 0.01 for 1 %. NULL and why set where there are no breakpoints. */
struct heap_windows *heap_windows_new(struct stakeout_bpf *skel, double budget, const struct part_reports *r, char *why, size_t why_len);
void heap_windows_free(struct heap_windows *h); /* NULL is accepted */
void heap_windows_process(struct heap_windows *h, pid_t pid, unsigned slot, enum seen how);
void heap_windows_gone(struct heap_windows *h, pid_t pid);
/* From now on only this part of the windows is opened. */
void heap_windows_rarer(struct heap_windows *h, double part);
void heap_windows_work(struct heap_windows *h);

#endif
