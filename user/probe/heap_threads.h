/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which thread of a process a heap window looks at: those that run are likelier, none is left out. Used by one thread. */
#ifndef STAKEOUT_HEAP_THREADS_H
#define STAKEOUT_HEAP_THREADS_H

#include <stdint.h>
#include <sys/types.h>

struct heap_threads;

struct heap_threads *heap_threads_new(void);
void heap_threads_free(struct heap_threads *h); /* NULL is accepted */
/* Chooses a thread of process pid (serial: as long as it is the same one). Returns its number and the probability with which it was chosen; 0: the
 * process is gone. Reads /proc/PID/task now and then. */
pid_t heap_threads_pick(struct heap_threads *h, pid_t pid, uint64_t serial, double *ret_probability);

#endif
