/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which code burns the agents' CPU time: the stack of what runs, at fixed times.
 *
 * Hook: a perf event a CPU, the clock of software events, 49 times a second by default: a timer of the CPU, in an interrupt. One by CPU and not by task: those
 * are set up anew at each switch. A sample stands for its period of time on a CPU, what the hypervisor takes of it included; a stranger pays one load.
 */
#include "stack.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

__u64 sample_ns = 1000000000 / 49; /* period; set by the collector, at any time */

/* By CPU: when the timer was due last that an agent's task was sampled at. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} sampled SEC(".maps");

/*
 * What a sample of t stands for. A timer that comes late, since the hypervisor ran somebody else or interrupts were off, leaves out the times at which it was
 * due meanwhile, and keeps to the others (hrtimer_forward_now()): those at which t was on the CPU count.
 */
static __always_inline u64 sample_weight(struct task_struct *t)
{
	u64 now = bpf_ktime_get_ns(), n = 0, ran, arrival = t->sched_info.last_arrival + clock_offset_ns;
	u64 period = *(volatile u64 *)&sample_ns ?: 1;
	u32 zero = 0;
	u64 *due = bpf_map_lookup_elem(&sampled, &zero);

	if (!due)
		return period;
	if (now > *due)
		n = (now - *due) / period;
	if (!n) { /* it has never come so promptly */
		*due = now;
		return period;
	}
	*due += n * period;
	ran = *due > arrival ? (*due - arrival) / period + 1 : 1;
	return (ran < n ? ran : n) * period;
}

SEC("?perf_event")
int profile__sample(void *ctx)
{
	struct task_struct *t;
	struct membership *m = member_current(&t);

	if (!m || !m->agent)
		return 0;
	stack_capture(ctx, SO_SAMPLE_CPU, t, m, sample_weight(t), 0);
	return 0;
}
