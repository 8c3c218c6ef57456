/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Where the agents' tasks wait for long: the stacks of those that do, read while they sleep. It costs them nothing.
 *
 * An iterator over all tasks that the collector runs about twice in the shortest time of interest; a wait is read once. Sleepable, so that it can read
 * the memory of other processes (since 5.18, commits b77fb25dcb34 and 376040e47334); what the kernel had swapped out of it comes back. It reads no further
 * than the mapping that the stack pointer points into.
 */
#include "stack.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Reading memory of these kinds may take as long as somebody pleases, or do something to a device (include/linux/mm.h). */
#define VM_UFFD_MISSING 0x200
#define VM_PFNMAP 0x400
#define VM_IO 0x4000

__u64 look_min_ns = 0;
/* Of the waits to be read, a look reads look_left at most; where there are more, each look_stride'th: the others' turn comes when look_phase has
 * moved on. */
__u32 look_left = 0;
__u32 look_stride = 0;
__u32 look_phase = 0;
__u32 look_found = 0; /* waits to be read, read ones included */

static long stack_bound(struct task_struct *t, struct vm_area_struct *vma, struct stack_reading *r)
{
	u64 left = vma->vm_end - r->from;

	if (vma->vm_flags & (VM_UFFD_MISSING | VM_PFNMAP | VM_IO))
		left = 0;
	r->left = left < SO_STACK_USER_MAX ? left : SO_STACK_USER_MAX;
	return 0;
}

struct look {
	struct stack_reading reading;
	struct task_struct *task;
};

static int stack_read_other(u32 turn, struct look *l)
{
	u32 n;
	void *to = stack_chunk(&l->reading, &n);

	if (!to || bpf_copy_from_user_task(to, n, (void *)l->reading.from, l->task, 0))
		return 1;
	stack_chunk_done(&l->reading, n);
	return 0;
}

/* The wait of t that began at base_ns is still the one that it is in. */
static __always_inline bool waits_still(struct task_struct *t, struct membership *m, u64 base_ns)
{
	return *(volatile u64 *)&m->off_ns == base_ns && m->wait != SO_WAIT_NONE && !t->on_cpu && !t->on_rq && !t->exit_state;
}

/* Fills the room with t's stack. */
static __always_inline void look_fill(struct stack_room *room, struct task_struct *t)
{
	struct look l = { .task = t };
	u32 at = stack_kernel_end(&room->head, bpf_get_task_stack(t, room->body, SO_STACK_KERNEL_MAX * sizeof(u64), 0));

	at += stack_python_end(room, at, python_walk_task(t, room->python, &room->head.flags));
	if (!stack_user_begin(room, at, &l.reading))
		return;
	l.reading.left = 0;
	if (bpf_find_vma(t, l.reading.from, stack_bound, &l.reading, 0)) /* its mappings are being changed just now */
		return;
	if (!l.reading.left)
		return;
	bpf_loop(SO_STACK_USER_MAX / STACK_CHUNK_BYTES + 1, stack_read_other, &l, 0);
	stack_user_end(room, at, &l.reading);
}

SEC("?iter.s/task")
int offcpu__look(struct bpf_iter__task *ctx)
{
	struct task_struct *t = ctx->task;
	struct stack_room *room;
	struct membership *m;
	u64 base;

	if (!t || !t->bpf_storage)
		return 0;
	m = bpf_task_storage_get(&tasks, t, 0, 0);
	if (!m || !m->agent)
		return 0;
	base = m->off_ns;
	if (m->read_ns == base || !waits_still(t, m, base) || bpf_ktime_get_ns() - base < look_min_ns)
		return 0;
	if (look_found++ % (look_stride ? look_stride : 1) != look_phase || !look_left)
		return 0;
	look_left--;
	room = stack_room_take();
	if (!room)
		return 0;
	m->read_ns = base;
	stack_begin(&room->head, SO_SAMPLE_OFFCPU, t, m, 0, base);
	look_fill(room, t);
	if (waits_still(t, m, base)) /* else it ran meanwhile, and what was read is of no one moment */
		stack_send(room);
	stack_room_release(room);
	return 0;
}
