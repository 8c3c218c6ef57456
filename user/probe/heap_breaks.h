/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Breakpoint registers of a thread, taken for one window at a time: opening, closing, and what a trap costs here. */
#ifndef STAKEOUT_HEAP_BREAKS_H
#define STAKEOUT_HEAP_BREAKS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "heap_window.h"

struct stakeout_bpf;
struct heap_breaks;

/* 0 or a negative errno: nothing can be opened here. */
int heap_breaks_new(struct stakeout_bpf *skel, struct heap_breaks **ret);
void heap_breaks_free(struct heap_breaks *b); /* NULL is accepted */

struct heap_places {
	uint64_t first, second; /* addresses in the process; second 0: none */
	pid_t tid; /* the thread */
	unsigned limit; /* of hits of the first one, upon which the kernel takes it back by itself; of the second HEAP_BREAKS_SPARE more */
};
#define HEAP_BREAKS_SPARE 4

/* What the next window is to be: filled in by the caller. */
struct heap_window *heap_breaks_order(struct heap_breaks *b);
/* Moves the calling thread away from the CPU that thread tid of process pid runs on: whom it pushes aside there is not doing what it otherwise would. */
void heap_breaks_leave(pid_t pid, pid_t tid);
/* Takes registers. 0; -ENOSPC: they are in use; -ESRCH: the thread is gone; or another negative errno. */
int heap_breaks_open(struct heap_breaks *b, const struct heap_places *p);
/* Sets the breakpoints: the window begins. 0; or negative errno: all are given back. */
int heap_breaks_enable(struct heap_breaks *b);
/* Waits. */
void heap_breaks_wait(uint64_t ns);
/* Takes them back. The tally is valid until the next one closes. */
const struct heap_tally *heap_breaks_close(struct heap_breaks *b);

struct heap_trap {
	double ns; /* median, outside of our program */
	double open_ns; /* what opening and closing takes */
};
/* Measures traps on the calling thread. 0 or negative errno. */
int heap_breaks_calibrate(struct heap_breaks *b, struct heap_trap *ret);

#endif
