/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The heap, sampled: which allocations fall into a window, a short stretch of time in which a thread's breakpoint registers stand on one function of its
 * process's allocator.
 *
 * Hook: perf events of type breakpoint, of one thread, that the collector's window thread opens with a limit of hits. A hit costs a trap (1 us, 10 in a virtual
 * machine) and 0.3 us here; some 300 to 700 hits/s at the default budget.
 *
 * Time in the window is the process's own: what passes in our traps is taken out. Of a trap only the part in this program can be seen; the rest of it is
 * measured on the spot where a second breakpoint stands right behind the first: between these two the process itself needs no time worth the name.
 */
#include "stack.bpf.h"
#include "heap_window.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct bpf_perf_event_data { /* include/uapi/linux/bpf_perf_event.h; only the registers are read */
	struct pt_regs regs;
};

/* Of the open window; written while none is. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct heap_window);
} heap_orders SEC(".maps");

/* Written by the one thread that the window stands on; the collector clears it while none is open. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct heap_tally);
} heap_tallies SEC(".maps");

/* Bytes that the call asks for, by the function's way to say it. */
static __always_inline u64 call_bytes(const struct heap_window *w, struct pt_regs *regs)
{
	switch (w->args) {
	case HEAP_ARGS_1:
		return PT_REGS_PARM1(regs);
	case HEAP_ARGS_2:
		return PT_REGS_PARM2(regs);
	case HEAP_ARGS_3:
		return PT_REGS_PARM3(regs);
	case HEAP_ARGS_1x2:
		return PT_REGS_PARM1(regs) * PT_REGS_PARM2(regs);
	}
	return PT_REGS_PARM2(regs) * PT_REGS_PARM3(regs);
}

static __always_inline u64 call_return(struct pt_regs *regs)
{
	u64 at = PT_REGS_RET(regs); /* the stack pointer at a function's entry; arm64: the link register */

#if defined(__TARGET_ARCH_x86)
	if (bpf_probe_read_user(&at, sizeof(at), (void *)at))
		return 0;
#endif
	return at;
}

/* A call from one function of the allocator to another is no allocation of its own: it counts where it came in. */
static __always_inline bool call_nested(const struct heap_window *w, struct pt_regs *regs)
{
	u64 from = call_return(regs);

	if (PT_REGS_PARM1(regs) < w->nests_below)
		return true;
	for (int i = 0; i < HEAP_RANGES; i++)
		if (from > w->ranges[i].start && from < w->ranges[i].end)
			return true;
	return false;
}

/* How long the process has run in the window, its traps taken out. Begins with its first hit, or else `origin_limit_ns`: how long the opening itself
 * took can't be told. */
static __always_inline s64 window_time(const struct heap_window *w, struct heap_tally *t, u64 now)
{
	if (!t->origin_ns)
		t->origin_ns = now < w->origin_limit_ns ? now : w->origin_limit_ns;
	return now - t->origin_ns - t->trapped_ns;
}

/* What a trap takes just now, outside of the program: it differs by a third from moment to moment, with what runs beside. Gaps into which something else came
 * are longer, and left out. */
static __always_inline void trap_learn(const struct heap_window *w, struct heap_tally *t, u64 gap)
{
	u64 now = t->trap_ns;

	if (!now)
		t->trap_ns = gap < w->trap_ns + w->trap_ns / 2 ? gap : w->trap_ns;
	else if (gap < now - now / 8)
		t->trap_ns = gap;
	else if (gap < now + now / 4)
		t->trap_ns = now - now / 4 + gap / 4;
	else
		return;
	t->trap_sum_ns += gap;
	t->traps++;
}

/* What else comes into traps: interrupts, and other tasks. More than the rest of the window it can't take from it: half of it on average. */
static __always_inline void came_learn(const struct heap_window *w, struct heap_tally *t, u64 gap)
{
	u64 usual = t->trap_ns, most = w->length_ns / 2;

	t->pairs++;
	if (gap > usual)
		t->came_ns += gap - usual < most ? gap - usual : most;
}

/* What a trap that can't be measured takes: as those that can. */
static __always_inline u64 trap_assumed(const struct heap_window *w, const struct heap_tally *t)
{
	return (t->trap_ns ? t->trap_ns : w->trap_ns) + w->came_ns;
}

/* The second breakpoint: what has passed since the first one was the trap alone. */
static __always_inline void second_hit(const struct heap_window *w, struct heap_tally *t, u64 now)
{
	u64 gap = now - t->out_ns;

	if (!t->paired)
		return;
	t->paired = 0;
	t->trapped_ns += gap - t->assumed_ns; /* instead of what was assumed at the first */
	if (t->firsts < w->limit) { /* the last one is being taken back */
		trap_learn(w, t, gap);
		came_learn(w, t, gap);
	}
	t->out_ns = bpf_ktime_get_ns();
	t->trapped_ns += t->out_ns - now + trap_assumed(w, t);
}

/* One that counts. */
static __always_inline void allocation_seen(struct bpf_perf_event_data *ctx, const struct heap_window *w, u64 bytes)
{
	struct task_struct *task;
	struct membership *m = member_current(&task);
	u32 copies;

	if (!m || !m->agent)
		return;
	copies = w->copies + (bpf_get_prandom_u32() <= w->more);
	if (copies && bytes >> 32)
		emit(so_alloc_long, r, SO_ALLOC_LONG, m->agent, task->pid) {
			r->address = 0;
			r->bytes = bytes;
			r->site = copies;
			__builtin_memset(r->pad, 0, sizeof(r->pad));
		}
	else if (copies)
		emit(so_alloc, r, SO_ALLOC, m->agent, task->pid) {
			r->address = 0;
			r->bytes = bytes;
			r->site = copies;
		}
	if (bpf_get_prandom_u32() <= w->capture)
		stack_capture(ctx, SO_SAMPLE_ALLOC, task, m, bytes, bytes * w->stands_for);
}

static __always_inline void call_take(struct bpf_perf_event_data *ctx, const struct heap_window *w, struct heap_tally *t)
{
	s64 from = w->skip_ns, end = from + w->length_ns;
	u64 bytes;

	if (call_nested(w, &ctx->regs)) {
		t->nested++;
		return;
	}
	bytes = call_bytes(w, &ctx->regs);
	t->calls++;
	t->call_bytes += bytes;
	/* Where only sizes are asked for, time matters little, and may come out below 0 where a trap takes longer than the time between calls. The call that a
	 * window begins with is one after a long pause more often than others. */
	if (t->at_ns >= end || (w->sizes ? !t->at_ns : t->at_ns < from))
		return;
	t->counted++;
	t->bytes += bytes;
	allocation_seen(ctx, w, bytes);
}

static __always_inline void first_hit(struct bpf_perf_event_data *ctx, const struct heap_window *w, struct heap_tally *t, u64 now)
{
	t->firsts++;
	t->at_ns = window_time(w, t, now);
	t->mm = (u64)bpf_get_current_task_btf()->mm;
	call_take(ctx, w, t);
	t->paired = 1;
	t->out_ns = bpf_ktime_get_ns();
	t->assumed_ns = trap_assumed(w, t);
	t->trapped_ns += t->out_ns - now + t->assumed_ns;
}

/* Returns 1: what a program returns 0 for does not count for the event's limit of hits (since 6.11, "perf/bpf: Call BPF handler directly, not through overflow
 * machinery"). */
SEC("?perf_event")
int heap__hit(struct bpf_perf_event_data *ctx)
{
	u64 now = bpf_ktime_get_ns();
	u32 zero = 0;
	struct heap_tally *t = bpf_map_lookup_elem(&heap_tallies, &zero);
	struct heap_window *w = bpf_map_lookup_elem(&heap_orders, &zero);

	if (!t || !w)
		return 1;
	t->hits++;
	if (bpf_get_current_pid_tgid() >> 32 != w->tgid)
		t->strangers++;
	else if (PT_REGS_IP(&ctx->regs) == w->second)
		second_hit(w, t, now);
	else
		first_hit(ctx, w, t, now);
	return 1;
}
