/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/runtimes.h"

#include <stdlib.h>

struct runtimes *runtimes_new(struct stakeout_bpf *skel, const struct part_reports *r)
{
	(void)skel, (void)r;
	return calloc(1, 1);
}

void runtimes_free(struct runtimes *r)
{
	free(r);
}

void runtimes_process(struct runtimes *r, pid_t pid, unsigned slot, enum seen how)
{
	(void)r, (void)pid, (void)slot, (void)how;
}

void runtimes_gone(struct runtimes *r, pid_t pid)
{
	(void)r, (void)pid;
}

void runtimes_work(struct runtimes *r)
{
	(void)r;
}
