/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The processes that heap windows may look at: which function of which one is next, and with what probability. Not locked: its owner is. */
#ifndef STAKEOUT_HEAP_PROCS_H
#define STAKEOUT_HEAP_PROCS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "model/heap_plan.h"
#include "probe/allocators.h"

struct heap_procs;

struct heap_pick {
	pid_t pid;
	unsigned slot;
	uint64_t serial; /* of the process, or of the program that it runs */
	enum alloc_fn fn;
	double probability; /* that among this agent's processes and functions this one was chosen */
	uint64_t first, second; /* addresses; first 0: the process has not been looked at, or must be again; second 0: none */
	enum heap_args args;
	uint32_t nests_below; /* see struct heap_window */
	struct heap_plan plan;
	__typeof__(((struct heap_window *)0)->ranges[0]) ranges[HEAP_RANGES];
	bool check; /* it is time to look for another allocator (allocator_other) */
	uint64_t files_known;
	struct allocator allocator; /* for that */
	struct allocator *found; /* by heap_procs_look */
	uint64_t seconds[ALLOC_FN_COUNT]; /* the same: second places */
};

struct heap_procs *heap_procs_new(void);
void heap_procs_free(struct heap_procs *p); /* NULL is accepted */
/* exec: it runs another program now. */
void heap_procs_add(struct heap_procs *p, pid_t pid, unsigned slot, bool exec);
void heap_procs_remove(struct heap_procs *p, pid_t pid);
/* Agents that have a process to look at. */
unsigned heap_procs_agents(const struct heap_procs *p);
/* Chooses. Returns the number of agents that it chose among, 0: there is nothing to look at. */
unsigned heap_procs_pick(struct heap_procs *p, struct heap_pick *ret);
/* Finds the process's allocator, without touching heap_procs; and takes in what it found. */
int heap_procs_look(struct heap_pick *k, char *why, size_t why_len);
void heap_procs_looked(struct heap_procs *p, struct heap_pick *k, int err);
/* Looks whether another allocator has come, without touching heap_procs; and takes in what is known of it now. True: why says which. */
bool heap_procs_other(struct heap_pick *k, char *why, size_t why_len);
void heap_procs_checked(struct heap_procs *p, const struct heap_pick *k);
/* Whether the process is the one that was chosen, and has the memory map mm (0: not seen) that it had before. */
bool heap_procs_same(struct heap_procs *p, const struct heap_pick *k, uint64_t mm);
/* Takes in the plan. */
void heap_procs_learn(struct heap_procs *p, const struct heap_pick *k);

#endif
