/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The peak of resident memory within each interval, also where it is below what the process has had before. (New highs the kernel keeps itself: see core__snap.)
 *
 * Hook: tp_btf/rss_stat, at each change of a memory counter: one a page fault, of every process on the machine. In a load of nothing but page faults it took 7 % of the CPU
 * time, hence it is off unless asked for.
 */
#include "core.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("?tp_btf/rss_stat")
int BPF_PROG(peak__rss, struct mm_struct *mm)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct membership *m;
	u64 bytes;

	if (!t->bpf_storage || BPF_CORE_READ(t, mm) != mm)
		return 0;
	m = bpf_task_storage_get(&tasks, t->group_leader, 0, 0);
	if (!m || m->guest)
		return 0;
	bytes = mm_rss_pages(mm) * cfg_page_bytes;
	if (bytes > m->rss_peak)
		m->rss_peak = bytes; /* threads race for it: the next event mends a lost update */
	return 0;
}
