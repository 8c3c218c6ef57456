/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which of the agents' processes run a Python interpreter, and where it keeps its frames: for the kernel side, that walks them. */
#ifndef STAKEOUT_INTERPRETERS_H
#define STAKEOUT_INTERPRETERS_H

#include "probe/parts.h"

struct interpreters;

/* map: of struct so_python by process. NULL: out of memory. */
struct interpreters *interpreters_new(int map, const struct part_reports *r);
void interpreters_free(struct interpreters *i); /* NULL is accepted */
void interpreters_process(struct interpreters *i, pid_t pid, unsigned slot, enum seen how);
/* At once: of a process that is about to become an agent, so that its first stack has its Python frames. */
void interpreters_look(struct interpreters *i, pid_t pid, unsigned slot);
void interpreters_gone(struct interpreters *i, pid_t pid);
/* Looks at some of those that are new: each takes 0.1 to 0.2 ms. */
void interpreters_work(struct interpreters *i);

#endif
