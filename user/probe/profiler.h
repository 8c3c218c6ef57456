/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Stack samples: of the CPUs at a fixed rate, and of tasks that wait. */
#ifndef STAKEOUT_PROFILER_H
#define STAKEOUT_PROFILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stakeout_bpf; /* the skeleton; loaded, and outlives the profiler */
struct profiler;

/* hz: CPU samples a second, 0: none. offcpu: waits are looked at (see profiler_look). NULL and why set where it can't be. */
struct profiler *profiler_new(struct stakeout_bpf *skel, double hz, bool offcpu, char *why, size_t why_len);
void profiler_free(struct profiler *p); /* NULL is accepted */
/* From now on only this part of the CPU samples is taken, each of which stands for the more time. */
void profiler_slower(struct profiler *p, double part);
/* Reads the stacks of the agents' tasks whose wait has lasted for min_ns and has not been read yet: they go into the ring of stacks. 0; 1: there are
 * more than may be read at once; or negative errno. */
int profiler_look(struct profiler *p, uint64_t min_ns);

#endif
