/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which code burns the agents' CPU time: the stack of what runs, at fixed times.
 *
 * Hook: a perf event a CPU, the clock of software events, 49 times a second by default: a timer of the CPU, in an interrupt. One by CPU and not by task: those
 * are set up anew at each switch. A sample stands for its period of CPU time; a stranger pays one load.
 */
#include "stack.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u64 cfg_sample_ns = 1000000000 / 49; /* period */

SEC("?perf_event")
int profile__sample(void *ctx)
{
	struct task_struct *t;
	struct membership *m = member_current(&t);

	if (!m || !m->agent)
		return 0;
	stack_capture(ctx, SO_SAMPLE_CPU, t, m, cfg_sample_ns, 0);
	return 0;
}
