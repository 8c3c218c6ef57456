/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Every allocation and every free of the agents' processes: how much, where it lies, from which place in the program.
 *
 * Hooks: uprobes at the functions of a process's own allocator, at entry and at return, for that process alone. The outermost call of a thread counts: an
 * allocator's functions call one another. Two traps an allocation, one a free, of some 700 ns each and 400 for the return in a virtual machine; the
 * programs themselves take a quarter of that.
 *
 * A free is told at its entry, while the block is still taken, an allocation at its return, when it is the caller's: so in the order of time no block is
 * given twice, whatever the other threads do. A reallocation is a free at its entry, which is taken back if it fails.
 */
#include "stack.bpf.h"
#include "heap_probe.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define NESTED_MAX 16 /* calls within one call; more: it will never return */
#define STACK_WORDS 64 /* of the stack that are looked at for return addresses */
#define DEEP_WORDS 128 /* the same in a runtime with a compiler: V8 and Node have 0.6 KiB of stack between malloc and the JavaScript */
#define PYTHON_CALLERS 4 /* frames that tell a place in a Python program */

#if defined(__TARGET_ARCH_x86)
#define RETURN_BYTES 8 /* taken off the stack by a return */
#else
#define RETURN_BYTES 0
#endif

/* A thread's outermost call. */
struct heap_call {
	u64 sp; /* stack pointer at its entry; 0: none */
	u64 bytes; /* asked for */
	u64 old; /* block to be reallocated */
	u64 place; /* where the address goes (posix_memalign) */
	u32 site;
	u16 agent;
	u8 function; /* SO_HEAP_* */
	u8 nested;
	u64 words[DEEP_WORDS]; /* scratch: the stack */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct heap_call);
} heap_calls SEC(".maps");

/* Places whose stack has been sent: key -> process. Cleared of a process's by the loader, when it ends. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SO_HEAP_SITES_MAX);
	__type(key, u32);
	__type(value, u32);
} heap_sites SEC(".maps");

/* Where a process has code: by process, filled by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SO_HEAP_PROCESSES_MAX);
	__type(key, u32);
	__type(value, struct so_heap_code);
} heap_code SEC(".maps");

__u32 heap_trials[2] = {}; /* entries and returns of the loader's own function, with which it tries whether probes are safe */

static __always_inline u64 mixed(u64 h, u64 word)
{
	return (h ^ word) * 0x9e3779b97f4a7c15ULL; /* 2^64 / golden ratio */
}

/* All ones if word points into a granule of code, else 0. Without branches, of which the verifier would follow every combination. */
static __always_inline u64 code_mask(const struct so_heap_code *code, u64 word)
{
	u32 granule = word >> SO_HEAP_GRANULE_SHIFT;
	const u32 *bucket = code->granules[so_heap_bucket(granule)];
	u64 off = (u64)(bucket[0] ^ granule) * (bucket[1] ^ granule) | word >> 48 | !granule;

	return ((off | -off) >> 63) - 1;
}

/* Takes in those of the words from..to of the stack that point into code. */
static __always_inline u64 words_mixed(u64 h, const struct heap_call *c, const struct so_heap_code *code, int from, int to)
{
	for (int i = from; i < to; i++) {
		u64 mask = code_mask(code, c->words[i]);

		h = (h ^ (c->words[i] & mask)) * ((0x9e3779b97f4a7c15ULL & mask) | (1 & ~mask));
	}
	return h;
}

/* Reads bytes (a power of two) of the stack from sp up, or what there is of them: its end may be near. What can't be read is zeroed
 * (bpf_probe_read_user_common() in kernel/trace/bpf_trace.c). */
static __always_inline void stack_read_words(u64 *to, u32 bytes, u64 sp)
{
	u32 n = STACK_CHUNK_BYTES - (sp & (STACK_CHUNK_BYTES - 1));

	if (bpf_probe_read_user(to, bytes, (void *)sp) && n < bytes)
		bpf_probe_read_user(to, n & (bytes - 1), (void *)sp);
}

/* The words near the top of the stack that point into code: return addresses, those of callers among them. What lies about from earlier calls counts too;
 * then a place has several keys, of the same stack. */
static __always_inline u64 stack_hash(struct heap_call *c, u32 tgid, u64 sp)
{
	struct so_heap_code *code = bpf_map_lookup_elem(&heap_code, &tgid);
	u64 h;

	stack_read_words(c->words, STACK_WORDS * sizeof(u64), sp);
	h = mixed(0, c->words[0]);
	if (!code)
		return h;
	h = words_mixed(h, c, code, 1, STACK_WORDS);
	if (!code->deep)
		return h;
	stack_read_words(c->words + STACK_WORDS, (DEEP_WORDS - STACK_WORDS) * sizeof(u64), sp + STACK_WORDS * sizeof(u64));
	return words_mixed(h, c, code, STACK_WORDS, DEEP_WORDS);
}

/* The same C code runs all lines of a Python program: where its frames are. (A function of its own: 6.1 allows 512 bytes of stack in all.) */
static __noinline u64 python_hash(struct task_struct *t, u64 h)
{
	struct python_walk w = { .task = t };
	u32 tgid = t->tgid, size;

	w.python = bpf_map_lookup_elem(&pythons, &tgid);
	if (!w.python || !python_state_find(&w, false) || !python_leaf(&w, false))
		return h;
	size = w.python->offsets[SO_PYTHON_FRAME_BYTES];
	for (int i = 0; i < PYTHON_CALLERS; i++) {
		if (!w.at || size > PYTHON_FRAME_BYTES || !python_read(&w, false, w.frame, size, w.at))
			break;
		h = mixed(h, python_field(&w, w.python->offsets[SO_PYTHON_FRAME_CODE]));
		h = mixed(h, python_field(&w, w.python->offsets[SO_PYTHON_FRAME_AT]));
		w.at = python_field(&w, w.python->offsets[SO_PYTHON_FRAME_PREVIOUS]);
	}
	return h;
}

/* Key of the place that calls; the first time its stack is sent. 0: not known, since there are too many. */
static __always_inline u32 call_site(struct pt_regs *ctx, struct task_struct *t, struct heap_call *c, u64 sp)
{
	u32 tgid = t->tgid, key;
	struct membership *m;
	u64 h = mixed(python_hash(t, stack_hash(c, tgid, sp)), (u64)BPF_CORE_READ(t, mm)); /* another program of the same process has other places */
	long err;

	key = h >> 32;
	if (!key || bpf_map_lookup_elem(&heap_sites, &key))
		return key;
	err = bpf_map_update_elem(&heap_sites, &key, &tgid, BPF_NOEXIST);
	if (err)
		return err == -17 /* EEXIST */ ? key : 0;
	m = bpf_task_storage_get(&tasks, t, 0, 0);
	if (!m || stack_capture(ctx, SO_SAMPLE_SITE, t, m, c->bytes, key))
		bpf_map_delete_elem(&heap_sites, &key); /* tried again */
	return key;
}

/* The state of the current thread, or NULL: it is nobody's, or there is no memory, which is counted. */
static __always_inline struct heap_call *call_state(struct task_struct *t, u32 kind)
{
	struct heap_call *c = bpf_task_storage_get(&heap_calls, t, 0, 0);
	struct membership *m;

	if (c)
		return c->agent ? c : NULL;
	m = bpf_task_storage_get(&tasks, t, 0, 0);
	if (!m || !m->agent)
		return NULL;
	c = bpf_task_storage_get(&heap_calls, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (c)
		c->agent = m->agent;
	else
		loss_count(kind, SO_LOSS_NO_STORAGE);
	return c;
}

/* Where a function with a probe at its return returns to: get_trampoline_vaddr() in kernel/events/uprobes.c. */
static __always_inline __attribute__((unused)) u64 trampoline(struct task_struct *t)
{
	return BPF_CORE_READ(t, mm, uprobes_state.xol_area, vaddr);
}

/*
 * Within the outermost call? As long as that runs, it returns to the trampoline; one that was left by a longjmp has other things there sooner or later. At the
 * same stack pointer it went over to another function by a jump, unless this one returns to where the first one did. (Elsewhere than on x86-64 the return
 * address is somewhere in the frame, and only the number of calls tells.)
 */
static __always_inline bool call_nested(struct heap_call *c, struct task_struct *t, u64 sp)
{
	if (!c->sp || sp > c->sp || c->nested == NESTED_MAX)
		return false;
#if defined(__TARGET_ARCH_x86)
	u64 back;

	if (bpf_probe_read_user(&back, sizeof(back), (void *)c->sp) || back != trampoline(t))
		return false;
#endif
	c->nested++;
	return true;
}

/* a * b, all ones where that doesn't fit: the call fails. (There is no division or product of 128 bits here.) */
static __always_inline u64 product(u64 a, u64 b)
{
	u64 large = a > b ? a : b, small = a > b ? b : a;
	u64 high = (large >> 32) * small + ((large & 0xffffffff) * small >> 32);

	return (small | high) >> 32 ? ~0ULL : a * b;
}

static __always_inline void call_arguments(struct heap_call *c, struct pt_regs *ctx, u8 function)
{
	c->old = c->place = 0;
	switch (function) {
	case SO_HEAP_CALLOC:
		c->bytes = product(PT_REGS_PARM1(ctx), PT_REGS_PARM2(ctx));
		break;
	case SO_HEAP_REALLOC:
		c->old = PT_REGS_PARM1(ctx);
		c->bytes = PT_REGS_PARM2(ctx);
		break;
	case SO_HEAP_REALLOCARRAY:
		c->old = PT_REGS_PARM1(ctx);
		c->bytes = product(PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx));
		break;
	case SO_HEAP_POSIX_MEMALIGN:
		c->place = PT_REGS_PARM1(ctx);
		c->bytes = PT_REGS_PARM3(ctx);
		break;
	case SO_HEAP_MEMALIGN:
		c->bytes = PT_REGS_PARM2(ctx);
		break;
	default:
		c->bytes = PT_REGS_PARM1(ctx);
	}
}

static __always_inline void free_emit(struct heap_call *c, u32 tid, u64 address, u64 flags)
{
	emit(so_free, r, SO_FREE, c->agent, tid) {
		r->address = address;
		r->flags = flags;
	}
}

static __always_inline void alloc_emit(struct heap_call *c, u32 tid, u64 address)
{
	if (c->bytes >> 32)
		emit(so_alloc_long, r, SO_ALLOC_LONG, c->agent, tid) {
			r->address = address;
			r->bytes = c->bytes;
			r->site = c->site;
			__builtin_memset(r->pad, 0, sizeof(r->pad));
		}
	else
		emit(so_alloc, r, SO_ALLOC, c->agent, tid) {
			r->address = address;
			r->bytes = c->bytes;
			r->site = c->site;
		}
}

static __always_inline void on_enter(struct pt_regs *ctx, u64 cookie)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct heap_call *c = call_state(t, SO_ALLOC);
	u64 sp = PT_REGS_SP(ctx) + (cookie >> SO_HEAP_PUSHED_SHIFT);

	if (!c || call_nested(c, t, sp))
		return;
	c->nested = 0;
	c->function = cookie;
	call_arguments(c, ctx, cookie);
	c->site = call_site(ctx, t, c, sp);
	if (c->old) /* to no bytes: that is all there is to it, or a new block comes */
		free_emit(c, t->pid, c->old, c->bytes ? SO_FREE_MAYBE : 0);
	c->sp = sp;
}

SEC("?uprobe")
int heap__enter(struct pt_regs *ctx)
{
	u64 cookie = bpf_get_attach_cookie(ctx);

	if (cookie == SO_HEAP_TRIAL)
		__sync_fetch_and_add(&heap_trials[0], 1);
	else
		on_enter(ctx, cookie);
	bpf_tail_call(ctx, &tails, 0); /* see there */
	return 0;
}

static __always_inline void on_leave(struct pt_regs *ctx)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct heap_call *c = bpf_task_storage_get(&heap_calls, t, 0, 0);
	u64 address = PT_REGS_RC(ctx);

	if (!c || !c->sp || c->sp != PT_REGS_SP(ctx) - RETURN_BYTES)
		return;
	c->sp = 0;
	if (c->place && (address || bpf_probe_read_user(&address, sizeof(address), (void *)c->place)))
		address = 0;
	if (address)
		alloc_emit(c, t->pid, address);
	else if (c->old && c->bytes)
		free_emit(c, t->pid, c->old, SO_FREE_NOT);
}

SEC("?uprobe")
int heap__leave(struct pt_regs *ctx)
{
	if (bpf_get_attach_cookie(ctx) == SO_HEAP_TRIAL)
		__sync_fetch_and_add(&heap_trials[1], 1);
	else
		on_leave(ctx);
	bpf_tail_call(ctx, &tails, 0); /* see there */
	return 0;
}

SEC("?uprobe")
int heap__free(struct pt_regs *ctx)
{
	struct task_struct *t = bpf_get_current_task_btf();
	struct heap_call *c = call_state(t, SO_FREE);
	u64 address = PT_REGS_PARM1(ctx);

	if (c && address && !call_nested(c, t, PT_REGS_SP(ctx) + (bpf_get_attach_cookie(ctx) >> SO_HEAP_PUSHED_SHIFT)))
		free_emit(c, t->pid, address, 0);
	bpf_tail_call(ctx, &tails, 0); /* see there */
	return 0;
}

SEC("?iter/task")
int heap__release(struct bpf_iter__task *ctx)
{
	return task_let_go(heap_calls, ctx->task);
}
