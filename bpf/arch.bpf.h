/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* All that differs between architectures: where the saved registers hold a syscall's number and arguments, and what unwinding starts from. */
#ifndef STAKEOUT_ARCH_BPF_H
#define STAKEOUT_ARCH_BPF_H

#if defined(__TARGET_ARCH_x86)
#define SYSCALL_NR(regs) ((int)(regs)->orig_ax)
#define SYSCALL_ARG1(regs) ((regs)->di)
#define SYSCALL_ARG2(regs) ((regs)->si)
#define SYSCALL_ARG3(regs) ((regs)->dx)
#define SYSCALL_ARG4(regs) ((regs)->r10)
#define SYSCALL_ARG5(regs) ((regs)->r8)

/* The registers in the order of enum so_reg. All are saved at each entry, system calls included (since 4.16, commit 21d375b6b34f). */
static __always_inline void regs_take(u64 to[SO_REGS], struct pt_regs *regs)
{
	to[SO_REG_IP] = regs->ip;
	to[SO_REG_SP] = regs->sp;
	to[SO_REG_FP] = regs->bp;
	to[SO_REG_BX] = regs->bx;
	to[SO_REG_R12] = regs->r12;
	to[SO_REG_R13] = regs->r13;
	to[SO_REG_R14] = regs->r14;
	to[SO_REG_R15] = regs->r15;
}

/* Of a task that runs 32-bit code. */
static __always_inline bool regs_compat(struct pt_regs *regs)
{
	return (regs->cs & 0xfff) == 0x23; /* __USER32_CS; under Xen with bits above (arch/x86/include/asm/segment.h, xen/interface.h) */
}
#elif defined(__TARGET_ARCH_arm64)
#define SYSCALL_NR(regs) ((regs)->syscallno)
#define SYSCALL_ARG1(regs) ((regs)->orig_x0) /* regs[0] is the return value from the exit on */
#define SYSCALL_ARG2(regs) ((regs)->regs[1])
#define SYSCALL_ARG3(regs) ((regs)->regs[2])
#define SYSCALL_ARG4(regs) ((regs)->regs[3])
#define SYSCALL_ARG5(regs) ((regs)->regs[4])

static __always_inline void regs_take(u64 to[SO_REGS], struct pt_regs *regs)
{
	__builtin_memset(to, 0, SO_REGS * sizeof(to[0]));
	to[SO_REG_IP] = regs->pc;
	to[SO_REG_SP] = regs->sp;
	to[SO_REG_FP] = regs->regs[29];
	to[SO_REG_BX] = regs->regs[30];
}

static __always_inline bool regs_compat(struct pt_regs *regs)
{
	return regs->pstate & 0x10; /* PSR_MODE32_BIT */
}
#else
#error "no description of this architecture"
#endif

#endif
