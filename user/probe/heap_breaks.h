/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The CPUs' breakpoint registers, taken for one window at a time: opening, closing, and what a trap costs here. */
#ifndef STAKEOUT_HEAP_BREAKS_H
#define STAKEOUT_HEAP_BREAKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "heap_window.h"

struct stakeout_bpf;
struct heap_breaks;

/* 0 or a negative errno: nothing can be opened here. */
int heap_breaks_new(struct stakeout_bpf *skel, struct heap_breaks **ret);
void heap_breaks_free(struct heap_breaks *b); /* NULL is accepted */

struct heap_places {
	uint64_t first, second; /* addresses in the process; second 0: none */
	bool everywhere; /* on this thread's CPU, too */
	unsigned limit; /* of hits of the first one, a CPU, upon which the kernel takes it back by itself; of the second HEAP_BREAKS_SPARE more */
};
#define HEAP_BREAKS_SPARE 4

/* What the next window is to be: filled in by the caller. */
struct heap_window *heap_breaks_order(struct heap_breaks *b);
/* Moves the calling thread to a CPU chosen at random, to wait there for the next window. */
void heap_breaks_move(struct heap_breaks *b);
/*
 * Takes registers, on at most HEAP_BREAKS_CPUS of the CPUs, chosen at random among all but the one that the thread runs on: what ran there was pushed
 * aside by this thread, and need not be the next to run. 0; -ENOSPC: the registers are in use; or another negative errno.
 */
#define HEAP_BREAKS_CPUS 16
int heap_breaks_open(struct heap_breaks *b, const struct heap_places *p);
/* Sets the breakpoints: the window begins. 0; or negative errno: all are given back. */
int heap_breaks_enable(struct heap_breaks *b);
/* Part of the CPUs that a window stands on. */
double heap_breaks_share(const struct heap_breaks *b);
/* Waits. */
void heap_breaks_wait(uint64_t ns);
/* Takes them back; *ret_len tallies, of the CPUs that it stood on. They are valid until the next one opens. */
const struct heap_tally *heap_breaks_close(struct heap_breaks *b, int *ret_len);

struct heap_trap {
	double ns; /* median, outside of our program */
	double spread_ns; /* of the middle half */
	double open_ns; /* what opening and closing takes of a CPU */
};
/* Measures traps on the calling thread. 0 or negative errno. */
int heap_breaks_calibrate(struct heap_breaks *b, struct heap_trap *ret);

#endif
