/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Pauses of garbage collectors: where a runtime begins one and where it ends it, in the same thread. Which places these are, and where the
 * generation is found, the cookie tells; no return probes (see names.bpf.c).
 *
 * Hooks: uprobes and USDT probes in the agents' processes alone, by links filtered by process. Some 1 to 1,000 pauses a second; user space lets go of a
 * process that has more. A pause costs the thread two to three traps.
 */
#include "core.bpf.h"

struct pause {
	u64 start_ns; /* 0: there is none */
	u64 generation;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pause);
} pauses SEC(".maps");

/* Pauses by process, as the links count them; not atomic: a few more or less don't matter. */
__u64 gc_counts[SO_GC_PROCESSES] = {};

static __always_inline u32 generation_read(struct pt_regs *ctx, const struct so_gc_site *s)
{
	u64 reg;
	u32 generation;

	if (s->argument == SO_GC_ARGUMENT_NONE)
		return s->generation;
	if (bpf_probe_read_kernel(&reg, sizeof(reg), (void *)ctx + s->reg * sizeof(reg)))
		return SO_GENERATION_UNKNOWN;
	generation = reg;
	if (s->argument == SO_GC_ARGUMENT_MEMORY && bpf_probe_read_user(&generation, sizeof(generation), (void *)(reg + s->displacement)))
		return SO_GENERATION_UNKNOWN;
	return generation < 3 ? generation + SO_GENERATION_YOUNG : SO_GENERATION_UNKNOWN;
}

static __always_inline void on_start(struct pt_regs *ctx, const struct so_gc_site *s, struct task_struct *t)
{
	struct pause *p = bpf_task_storage_get(&pauses, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!p) {
		loss_count(SO_GC, SO_LOSS_NO_STORAGE);
		return;
	}
	if (s->process < SO_GC_PROCESSES)
		gc_counts[s->process]++;
	p->generation = generation_read(ctx, s);
	p->start_ns = bpf_ktime_get_ns();
}

static __always_inline void on_end(struct task_struct *t, struct membership *m)
{
	struct pause *p = bpf_task_storage_get(&pauses, t, 0, 0);

	if (!p || !p->start_ns)
		return;
	if (p->generation != SO_GENERATION_NONE)
		emit(so_gc, r, SO_GC, m->agent, t->pid) {
			r->duration_ns = r->head.time_ns - p->start_ns;
			r->generation = p->generation;
			__builtin_memset(r->pad, 0, sizeof(r->pad));
		}
	p->start_ns = 0;
}

SEC("?uprobe")
int gc__pause(struct pt_regs *ctx)
{
	union {
		u64 cookie;
		struct so_gc_site site;
	} at = { .cookie = bpf_get_attach_cookie(ctx) };
	struct task_struct *t;
	struct membership *m = member_current_rare(&t);
	struct pause *p;

	if (!m)
		return 0;
	switch (at.site.site) {
	case SO_GC_START:
		on_start(ctx, &at.site, t);
		break;
	case SO_GC_MARK:
		p = bpf_task_storage_get(&pauses, t, 0, 0);
		if (p)
			p->generation = at.site.generation;
		break;
	case SO_GC_END:
		on_end(t, m);
		break;
	}
	bpf_tail_call(ctx, &tails, 0); /* see there */
	return 0;
}

SEC("?iter/task")
int gc__release(struct bpf_iter__task *ctx)
{
	return task_let_go(pauses, ctx->task);
}
