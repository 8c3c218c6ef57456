/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/heap_windows.h"

#include <stdio.h>

struct heap_windows *heap_windows_new(struct stakeout_bpf *skel, double budget, const struct part_reports *r, char *why, size_t why_len)
{
	(void)skel, (void)budget, (void)r;
	snprintf(why, why_len, "not there yet");
	return NULL;
}

void heap_windows_free(struct heap_windows *h)
{
	(void)h;
}

void heap_windows_process(struct heap_windows *h, pid_t pid, unsigned slot, enum seen how)
{
	(void)h, (void)pid, (void)slot, (void)how;
}

void heap_windows_gone(struct heap_windows *h, pid_t pid)
{
	(void)h, (void)pid;
}

void heap_windows_work(struct heap_windows *h)
{
	(void)h;
}
