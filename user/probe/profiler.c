/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/profiler.h"

#include <stdio.h>

struct profiler *profiler_new(struct stakeout_bpf *skel, double hz, bool offcpu, const struct part_reports *r, char *why, size_t why_len)
{
	(void)skel, (void)hz, (void)offcpu, (void)r;
	snprintf(why, why_len, "not there yet");
	return NULL;
}

void profiler_free(struct profiler *p)
{
	(void)p;
}

void profiler_process(struct profiler *p, pid_t pid, unsigned slot, enum seen how)
{
	(void)p, (void)pid, (void)slot, (void)how;
}

void profiler_gone(struct profiler *p, pid_t pid)
{
	(void)p, (void)pid;
}

void profiler_work(struct profiler *p)
{
	(void)p;
}

int profiler_look(struct profiler *p, uint64_t min_ns)
{
	(void)p, (void)min_ns;
	return 0;
}
