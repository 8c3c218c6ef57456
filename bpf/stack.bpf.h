/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Stack samples: a ring of their own, since they are large and rare.
 *
 * A sample is put together in one of the CPU's rooms, which is taken by exchange: a program may be interrupted or preempted by another one that takes a
 * sample too. Then it is copied into the ring, as long as it came out. Where no room is free or the ring is full, it is counted as lost.
 */
#ifndef STAKEOUT_STACK_BPF_H
#define STAKEOUT_STACK_BPF_H

#include "core.bpf.h"
#include "python.bpf.h"

CORE_MAP struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} stacks SEC(".maps");

#define STACK_CHUNK_BYTES 4096 /* user memory is read in pieces that no page border divides: what is there is had, though the next page is not */
#define STACK_BODY_BYTES (SO_STACK_KERNEL_MAX * sizeof(u64) + SO_STACK_PYTHON_MAX * sizeof(struct so_python_frame) + SO_STACK_USER_MAX)

struct stack_room {
	u32 busy;
	u32 pad;
	struct so_python_frame python[SO_STACK_PYTHON_MAX]; /* before they are moved behind the kernel's */
	struct so_stack head;
	u8 body[STACK_BODY_BYTES + STACK_CHUNK_BYTES]; /* more than is used, so that the verifier sees that a piece fits */
};

/* Set to the number of CPUs by the loader. An ordinary array: elements of one by CPU have at most 32 KiB. */
CORE_MAP struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SO_MAX_CPUS * SO_STACK_ROOMS);
	__type(key, u32);
	__type(value, struct stack_room);
} stack_rooms SEC(".maps");

static __always_inline struct stack_room *stack_room_try(u32 i)
{
	u32 key = bpf_get_smp_processor_id() * SO_STACK_ROOMS + i;
	struct stack_room *r = bpf_map_lookup_elem(&stack_rooms, &key);

	if (r && !__sync_lock_test_and_set(&r->busy, 1))
		return r;
	return NULL;
}

static __always_inline struct stack_room *stack_room_take(void)
{
	struct stack_room *r;

	if ((r = stack_room_try(0)) || (r = stack_room_try(1)) || (r = stack_room_try(2)))
		return r;
	loss_count(SO_STACK, SO_LOSS_NO_LANE);
	return NULL;
}

static __always_inline void stack_room_release(struct stack_room *r)
{
	barrier();
	*(volatile u32 *)&r->busy = 0;
}

/* All of the head but the lengths, which are 0; and the registers. */
static __always_inline void stack_begin(struct so_stack *s, u8 sample, struct task_struct *t, struct membership *m, u64 value, u64 key)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(t);

	head_fill(&s->head, SO_STACK, 0, m->agent, t->pid, bpf_ktime_get_ns());
	s->tgid = t->tgid;
	s->sample = sample;
	s->flags = 0;
	s->kernel_len = s->python_len = 0;
	s->user_bytes = 0;
	s->value = value;
	s->key = key;
	bpf_probe_read_kernel(s->comm, sizeof(s->comm), t->comm);
	if (!regs || !t->mm) { /* on its way out */
		__builtin_memset(s->regs, 0, sizeof(s->regs));
		return;
	}
	if (regs_compat(regs))
		s->flags |= SO_STACK_COMPAT;
	regs_take(s->regs, regs);
}

struct stack_reading {
	struct stack_room *room;
	u64 from; /* user address */
	u32 at; /* in body */
	u32 left; /* bytes */
};

/* The next piece: where it goes, and how long it is; NULL: there is none. */
static __always_inline void *stack_chunk(struct stack_reading *r, u32 *ret_bytes)
{
	u32 n = STACK_CHUNK_BYTES - (r->from & (STACK_CHUNK_BYTES - 1)), at = r->at;

	if (n > r->left)
		n = r->left;
	barrier_var(n); /* 6.1's verifier learns nothing of n from r->left; the compiler must not know more than it */
	if (!n || n > STACK_CHUNK_BYTES || at > STACK_BODY_BYTES)
		return NULL;
	*ret_bytes = n;
	return r->room->body + at;
}

static __always_inline void stack_chunk_done(struct stack_reading *r, u32 n)
{
	r->from += n;
	r->at += n;
	r->left -= n;
}

static int stack_read(u32 turn, struct stack_reading *r)
{
	u32 n;
	void *to = stack_chunk(r, &n);

	if (!to || bpf_probe_read_user(to, n, (void *)r->from))
		return 1;
	stack_chunk_done(r, n);
	return 0;
}

/* Where the user's part goes, and what of it to read. False: none. */
static __always_inline bool stack_user_begin(struct stack_room *room, u32 at, struct stack_reading *ret)
{
	ret->room = room;
	ret->from = room->head.regs[SO_REG_SP];
	ret->at = at;
	ret->left = SO_STACK_USER_MAX;
	return ret->from && !(room->head.flags & SO_STACK_COMPAT);
}

/* The length of what was read, behind the `at` bytes that were there. */
static __always_inline void stack_user_end(struct stack_room *room, u32 at, const struct stack_reading *r)
{
	room->head.user_bytes = (r->at - at) & ~7u;
	if (r->at - at == SO_STACK_USER_MAX)
		room->head.flags |= SO_STACK_USER_CUT;
}

/* Sends what is in the room: its head, and as much of its body as the head says. 0, or -1: it is lost. */
static __always_inline int stack_send(struct stack_room *room)
{
	struct so_stack *s = &room->head;
	u32 n = sizeof(*s) + s->kernel_len * sizeof(u64) + s->python_len * sizeof(struct so_python_frame) + s->user_bytes;
	struct so_lane *l;

	if (n > sizeof(*s) + STACK_BODY_BYTES)
		return -1;
	s->bytes = n;
	if (bpf_ringbuf_output(&stacks, s, n, dozing ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP)) {
		loss_count(SO_STACK, SO_LOSS_RING_FULL);
		return -1;
	}
	l = lane_get(SO_LANES - 1);
	if (l)
		__sync_fetch_and_add(&l->seen[SO_STACK], 1);
	return 0;
}

/* The kernel's part: n is what the helper returned. Returns how long it is. */
static __always_inline u32 stack_kernel_end(struct so_stack *s, long n)
{
	if (n < 0 || n > SO_STACK_KERNEL_MAX * (long)sizeof(u64))
		return 0;
	s->kernel_len = n / sizeof(u64);
	return s->kernel_len * sizeof(u64);
}

/* The Python part: n frames that were walked. `at`: where it goes. Returns how long it is. */
static __always_inline u32 stack_python_end(struct stack_room *room, u32 at, u32 n)
{
	if (!n || n > SO_STACK_PYTHON_MAX || at > SO_STACK_KERNEL_MAX * sizeof(u64))
		return 0;
	if (bpf_probe_read_kernel(room->body + at, n * sizeof(struct so_python_frame), room->python))
		return 0;
	room->head.python_len = n;
	return n * sizeof(struct so_python_frame);
}

/*
 * Takes the stack of the current task t, whose membership is m, and sends it. ctx: of the program, which is one at a perf event or a probe; the kernel's
 * part is what was on top of the user's when the event came. value, key: see struct so_stack. 0, or -1: it is lost, and counted.
 */
static __always_inline int stack_capture(void *ctx, u8 sample, struct task_struct *t, struct membership *m, u64 value, u64 key)
{
	struct stack_room *room = stack_room_take();
	struct stack_reading r;
	u32 at;
	int err;

	if (!room)
		return -1;
	stack_begin(&room->head, sample, t, m, value, key);
	at = stack_kernel_end(&room->head, bpf_get_stack(ctx, room->body, SO_STACK_KERNEL_MAX * sizeof(u64), 0));
	at += stack_python_end(room, at, python_walk(t, room->python, &room->head.flags));
	if (stack_user_begin(room, at, &r)) {
		bpf_loop(SO_STACK_USER_MAX / STACK_CHUNK_BYTES + 1, stack_read, &r, 0);
		stack_user_end(room, at, &r);
	}
	err = stack_send(room);
	stack_room_release(room);
	return err;
}

#endif
