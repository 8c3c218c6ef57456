/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Why a task waits, from what it left on its kernel stack: the saved registers hold the syscall's number and arguments. Costs
 * no syscall tracing.
 */
#ifndef STAKEOUT_WAIT_BPF_H
#define STAKEOUT_WAIT_BPF_H

#include "core.bpf.h"

#ifndef CFG_SYSCALLS
#define CFG_SYSCALLS 512
#endif
#define CFG_WAIT_BY_FILE 0x80 /* the reason is in the type of the file behind the first argument */

/* Reason by syscall number, filled by the loader for its architecture: enum so_wait, or CFG_WAIT_BY_FILE. */
extern const volatile __u8 cfg_waits[CFG_SYSCALLS];
/* How a poll is told its time limit, by syscall number: the argument's number, and its type. */
#define CFG_LIMIT_ARG 0x0f
#define CFG_LIMIT_MS 0x10 /* int, milliseconds; negative: none */
#define CFG_LIMIT_TIMESPEC 0x20 /* pointer; NULL: none */
#define CFG_LIMIT_TIMEVAL 0x30
#define CFG_LIMIT_TYPE 0x30
extern const volatile __u8 cfg_limits[CFG_SYSCALLS];
extern const volatile __s32 cfg_nr_yield;
extern const volatile bool cfg_cast; /* the kernel has bpf_rdonly_cast() */

#define TASK_STOPPED_OR_TRACED 0x0c

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000

/* Since 6.2: a pointer becomes one that the program may load through; costs nothing, where each helper call that reads
 * kernel memory costs some 20 ns. The loader clears cfg_cast where the kernel lacks it. Only for the one file that asks for it, since
 * libbpf's linker (1.1) refuses a kernel function that two objects use. */
#ifdef WAIT_CAST
extern void *bpf_rdonly_cast(const void *p, u32 type) __ksym __weak;
#define cast(p, type) ((type *)bpf_rdonly_cast(p, bpf_core_type_id_kernel(type)))
#endif

/* t, to load pointers through, without the verifier's search for how far these are to be trusted (see core.bpf.h). */
static __always_inline struct task_struct *walkable(struct task_struct *t)
{
#ifdef WAIT_CAST
	if (cfg_cast)
		return cast(t, struct task_struct);
#endif
	return t;
}

/* Mode of the file behind one of t's descriptors; 0: none. */
static __always_inline u16 fd_mode(struct task_struct *t, u32 fd)
{
	struct file **files, *file = NULL;
	struct files_struct *open = walkable(t)->files;
	struct fdtable *fdt;

	if (!open)
		return 0;
	fdt = open->fdt;
	if (!fdt || fd >= fdt->max_fds)
		return 0;
	files = fdt->fd;
#ifdef WAIT_CAST
	if (cfg_cast) {
		/* Any struct that begins with a pointer would do to load the array's element. */
		file = cast(cast(files + fd, struct hlist_head)->first, struct file);
		return file->f_inode ? file->f_inode->i_mode : 0;
	}
#endif
	if (bpf_probe_read_kernel(&file, sizeof(file), files + fd) || !file)
		return 0;
	return BPF_CORE_READ(file, f_inode, i_mode);
}

static __always_inline u32 wait_by_file(struct task_struct *t, u32 fd, u32 member_flags)
{
	switch (fd_mode(t, fd) & S_IFMT) {
	case S_IFSOCK:
		return SO_WAIT_NET;
	case S_IFCHR:
		return SO_WAIT_INPUT;
	case S_IFIFO:
		/* What the user named waits on its standard input for orders; a tool's is a pipeline. */
		return fd == 0 && (member_flags & SO_SNAP_ROOT) ? SO_WAIT_INPUT : SO_WAIT_PIPE;
	case S_IFREG:
	case S_IFBLK:
	case S_IFDIR:
		return SO_WAIT_DISK;
	}
	return SO_WAIT_OTHER; /* eventfd, signalfd, ... */
}

#define LIMIT_NONE (~0ULL)

/* Time limit of the poll that the current task t is in, in ns; LIMIT_NONE. Reads the task's memory: only its own context can. */
static __always_inline u64 poll_limit(struct task_struct *t)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(t);
	u64 arg, time[2] = {};
	u32 how;
	int nr;

	if (!regs)
		return LIMIT_NONE;
	nr = SYSCALL_NR(regs);
	if (nr < 0 || nr >= CFG_SYSCALLS)
		return LIMIT_NONE;
	how = cfg_limits[nr];
	switch (how & CFG_LIMIT_ARG) {
	case 3:
		arg = SYSCALL_ARG3(regs);
		break;
	case 4:
		arg = SYSCALL_ARG4(regs);
		break;
	case 5:
		arg = SYSCALL_ARG5(regs);
		break;
	default:
		return LIMIT_NONE;
	}
	if ((how & CFG_LIMIT_TYPE) == CFG_LIMIT_MS)
		return (s32)arg < 0 ? LIMIT_NONE : (u64)(s32)arg * 1000000;
	if (!arg || bpf_probe_read_user(time, sizeof(time), (void *)arg))
		return LIMIT_NONE;
	if (time[0] > 1000000000 || time[1] > 1000000000)
		return LIMIT_NONE; /* more than thirty years */
	return time[0] * 1000000000 + time[1] * ((how & CFG_LIMIT_TYPE) == CFG_LIMIT_TIMEVAL ? 1000 : 1);
}

/* SO_CYCLE_IN_*: what a task that is still runnable was doing in the kernel, where that is nothing but asking. */
static __always_inline u32 spin_flags(struct task_struct *t)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(t);
	int nr;

	if (!regs)
		return 0;
	nr = SYSCALL_NR(regs);
	if (nr < 0 || nr >= CFG_SYSCALLS)
		return 0; /* preempted in its own code */
	if (nr == cfg_nr_yield)
		return SO_CYCLE_IN_YIELD;
	return cfg_limits[nr] && poll_limit(t) == 0 ? SO_CYCLE_IN_POLL : 0;
}

/* Reason of the wait that task t is in or about to begin. */
static __always_inline u32 wait_reason(struct task_struct *t, u32 member_flags)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(t);
	int nr;
	u32 reason;

	if (!regs)
		return SO_WAIT_OTHER;
	nr = SYSCALL_NR(regs);
	if (nr < 0)
		return SO_WAIT_FAULT; /* came in by an exception: no syscall */
	if (nr >= CFG_SYSCALLS)
		return SO_WAIT_OTHER;
	reason = cfg_waits[nr];
	if (reason == CFG_WAIT_BY_FILE)
		return wait_by_file(t, SYSCALL_ARG1(regs), member_flags);
	return reason ? reason : SO_WAIT_OTHER;
}

#endif
