/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Signals that tell a process to end: when, so that the collector knows how long it took. What else the probe proc tells comes from core.bpf.c.
 *
 * Hook: tp_btf/signal_generate, each signal of the machine: all but three kinds are dismissed by their number, strangers' by one load. Cost: 56 ns a dismissed one, by bpf_stats, most of which is their own
 * clock reading; signals are rare.
 */
#include "core.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define SIGINT 2
#define SIGKILL 9
#define SIGTERM 15

SEC("?tp_btf/signal_generate")
int BPF_PROG(proc__signal, int sig, void *info, struct task_struct *task, int group, int result)
{
	struct membership *m;

	if (sig != SIGTERM && sig != SIGKILL && sig != SIGINT)
		return 0;
	if (!task->bpf_storage)
		return 0;
	m = bpf_task_storage_get(&tasks, task, 0, 0);
	if (!m || m->flags & SO_SNAP_ROOT)
		return 0;
	emit(so_signal, r, SO_SIGNAL, m->agent, task->pid) {
		r->tgid = task->tgid;
		r->signal = sig;
		r->pad[0] = r->pad[1] = 0;
	}
	return 0;
}
