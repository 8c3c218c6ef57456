/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The heap, all of it: uprobes on a process's own allocator, at entry and return, for that process alone. */
#ifndef STAKEOUT_HEAP_FULL_H
#define STAKEOUT_HEAP_FULL_H

#include <stdbool.h>

#include "probe/parts.h"

struct heap_full;

/* Before loading: whether its programs and maps will be needed. */
void heap_full_prepare(struct stakeout_bpf *skel, bool on);

/* NULL and why set where the kernel gives no uprobes, or returns of probed functions are not safe. */
struct heap_full *heap_full_new(struct stakeout_bpf *skel, const struct part_reports *r, char *why, size_t why_len);
/* Takes the probes out: some 100 ms a process. NULL is accepted. */
void heap_full_free(struct heap_full *h);
/* since_ns: when its program began, CLOCK_MONOTONIC; 0: not known. */
void heap_full_process(struct heap_full *h, pid_t pid, unsigned slot, enum seen how, uint64_t since_ns);
void heap_full_gone(struct heap_full *h, pid_t pid);
void heap_full_work(struct heap_full *h);

#endif
