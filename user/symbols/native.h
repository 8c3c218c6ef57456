/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Native code of a process: what it has mapped, the names of its functions, and how its frames unwind. */
#ifndef STAKEOUT_NATIVE_H
#define STAKEOUT_NATIVE_H

#include <stdint.h>

#include "abi.h"
#include "model/stacks.h"

struct native; /* caches of all processes */

struct native *native_new(void);
void native_free(struct native *n);
void native_forget(struct native *n, uint32_t tgid); /* what it has mapped is no longer so */
void native_gone(struct native *n, uint32_t tgid); /* it ended: its maps can't be read any more */
void native_prepare(struct native *n, uint32_t tgid); /* reads its maps now */
/* Instruction addresses of the user stack of s, innermost first (those of callers point behind their call); returns how many, at most max. *ret_cut: it did not reach the end. */
int native_unwind(struct native *n, const struct so_stack *s, uint64_t *ret, int max, bool *ret_cut);
/* Fills f for an address of process tgid; caller: it is one behind a call, so the function is that of the byte before. Texts are valid until the next call. */
void native_name(struct native *n, uint32_t tgid, uint64_t address, bool caller, struct frame *f);
/* The same for a kernel address. */
void native_kernel_name(struct native *n, uint64_t address, struct frame *f);
size_t native_bytes(const struct native *n);

#endif
