/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Kernel memory allocated while an agent's task was current (interrupts that happen to hit it included). Summed in the kernel by agent and
 * size, since every system call allocates something: off by default for that reason.
 *
 * Hooks: tp_btf/kmalloc, tp_btf/kmem_cache_alloc; up to millions of events/s on the machine.
 */
#include "core.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct kmem_key {
	u32 agent;
	u32 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct kmem_key);
	__type(value, u64);
} kmem_counts SEC(".maps");

static __always_inline int kmem_count(u64 bytes)
{
	struct kmem_key key = {};
	struct task_struct *t;
	struct membership *m = member_current(&t);
	u64 one = 1, *n;

	if (!m)
		return 0;
	key.agent = m->agent;
	key.bytes = bytes > 0xffffffffu ? 0xffffffffu : bytes;
	n = bpf_map_lookup_elem(&kmem_counts, &key);
	if (n)
		*n += 1; /* a CPU's own; an interrupt in between may cost one count */
	else if (bpf_map_update_elem(&kmem_counts, &key, &one, BPF_ANY)) /* another CPU may have added the key meanwhile: its count stays its own */
		__sync_fetch_and_add(&tables_full, 1);
	return 0;
}

SEC("?tp_btf/kmalloc")
int BPF_PROG(kmem__kmalloc, unsigned long call_site, const void *ptr, unsigned long bytes_req, unsigned long bytes_alloc)
{
	return kmem_count(bytes_alloc);
}

SEC("?tp_btf/kmem_cache_alloc")
int BPF_PROG(kmem__cache, unsigned long call_site, const void *ptr, struct kmem_cache *s)
{
	return kmem_count(s->size);
}
