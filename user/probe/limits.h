/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The limits of processes: CPU quota, CPU pressure and memory of their cgroups and of those above (v2, v1, or both side by side), and of the machine.
 * Each cgroup's files are read once a round, however many agents it holds, through descriptors that stay open.
 */
#ifndef STAKEOUT_LIMITS_H
#define STAKEOUT_LIMITS_H

#include <sys/types.h>

#include "model/limits.h"

struct limits;

struct limits *limits_new(void); /* NULL: out of memory */
void limits_free(struct limits *l); /* NULL is accepted */
/* A round: begin, one read an agent, end (which forgets processes that were not asked for). */
void limits_begin(struct limits *l);
/* Of a process, the root of an agent; where it belongs is noted at the first call, so that later ones also work when it is gone. Sums never shrink. */
void limits_read(struct limits *l, pid_t pid, struct limits_reading *ret);
void limits_end(struct limits *l);

#endif
