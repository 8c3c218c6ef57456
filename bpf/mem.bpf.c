/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Sizes of memory mappings. Page faults and resident memory need no hook: the snapshot and the exit read the kernel's own counts.
 *
 * Hook: tp_btf/vm_unmapped_area (each mmap or mremap that lets the kernel choose the address).
 */
#include "core.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Numbers of mmap and mremap, filled by the loader for its architecture. */
const volatile int cfg_nr_mmap = 9;
const volatile int cfg_nr_mremap = 25;

SEC("?tp_btf/vm_unmapped_area")
int BPF_PROG(mem__map, unsigned long addr, struct vm_unmapped_area_info *info)
{
	struct task_struct *t;
	struct membership *m;
	struct pt_regs *regs;
	u64 bytes;
	int nr;

	if (addr >= (unsigned long)-4095) /* no room there: the kernel tries elsewhere, and calls again */
		return 0;
	m = member_current(&t);
	if (!m)
		return 0;
	/* info->length is padded where the kernel aligns for huge pages (since 6.7): what was asked for is in the registers. */
	bytes = info->length;
	regs = (struct pt_regs *)bpf_task_pt_regs(t);
	if (regs) {
		nr = SYSCALL_NR(regs);
		if (nr == cfg_nr_mmap)
			bytes = SYSCALL_ARG2(regs);
		else if (nr == cfg_nr_mremap)
			bytes = SYSCALL_ARG3(regs);
		else
			return 0; /* exec lays out the new program, shmat, ... */
	}
	bytes = (bytes + cfg_page_bytes - 1) & ~(u64)(cfg_page_bytes - 1);
	emit(so_map, r, SO_MAP, m->agent, t->pid) {
		r->bytes = bytes;
		r->pad = 0;
	}
	return 0;
}
