/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Garbage collectors: probes where a runtime begins and ends a pause, for the agents' processes alone. */
#ifndef STAKEOUT_RUNTIMES_H
#define STAKEOUT_RUNTIMES_H

#include "probe/parts.h"

struct runtimes;

struct runtimes *runtimes_new(struct stakeout_bpf *skel, const struct part_reports *r);
void runtimes_free(struct runtimes *r); /* NULL is accepted */
void runtimes_process(struct runtimes *r, pid_t pid, unsigned slot, enum seen how);
void runtimes_gone(struct runtimes *r, pid_t pid);
void runtimes_work(struct runtimes *r);

#endif
