/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Stack samples of a traced child, as the kernel side would take them. */
#ifndef STAKEOUT_PTRACE_SAMPLE_H
#define STAKEOUT_PTRACE_SAMPLE_H

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "abi.h"

struct ptrace_sample {
	struct so_stack head;
	uint8_t stack[SO_STACK_USER_MAX];
};

/* Of thread tid of process tgid, which is traced and stopped. */
static inline bool ptrace_sample_take(pid_t tgid, pid_t tid, struct ptrace_sample *ret)
{
	struct user_regs_struct r;
	struct iovec regs = { &r, sizeof(r) };
	size_t got = 0;

	if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &regs))
		return false;
	memset(&ret->head, 0, sizeof(ret->head));
	ret->head.head.kind = SO_STACK;
	ret->head.head.tid = (uint32_t)tid;
	ret->head.tgid = (uint32_t)tgid;
	ret->head.sample = SO_SAMPLE_CPU;
	memcpy(ret->head.comm, "thread's own", 12);
#if defined(__aarch64__)
	memcpy(ret->head.regs, (uint64_t[SO_REGS]){ r.pc, r.sp, r.regs[29], r.regs[30] }, sizeof(ret->head.regs));
#else
	memcpy(ret->head.regs, (uint64_t[SO_REGS]){ r.rip, r.rsp, r.rbp, r.rbx, r.r12, r.r13, r.r14, r.r15 }, sizeof(ret->head.regs));
#endif
	/* Page by page, as far as there is a stack. */
	while (got < sizeof(ret->stack)) {
		uint64_t from = ret->head.regs[SO_REG_SP] + got;
		size_t room = sizeof(ret->stack) - got, part = 4096 - from % 4096;
		struct iovec local = { ret->stack + got, part < room ? part : room }, remote = { (void *)from, part < room ? part : room };
		ssize_t n = process_vm_readv(tgid, &local, 1, &remote, 1, 0);

		if (n <= 0)
			break;
		got += (size_t)n;
	}
	ret->head.user_bytes = (uint32_t)(got & ~7ULL);
	if (got == sizeof(ret->stack))
		ret->head.flags |= SO_STACK_USER_CUT;
	ret->head.bytes = (uint32_t)(sizeof(ret->head) + ret->head.user_bytes);
	return got > 0;
}

#endif
