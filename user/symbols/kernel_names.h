/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Functions of the kernel by address, from /proc/kallsyms. */
#ifndef STAKEOUT_KERNEL_NAMES_H
#define STAKEOUT_KERNEL_NAMES_H

#include <stddef.h>
#include <stdint.h>

struct kernel_names;

/* From a file such as /proc/kallsyms; NULL: out of memory. One without addresses (kptr_restrict) gives an empty table. */
struct kernel_names *kernel_names_read(const char *path);
void kernel_names_free(struct kernel_names *k); /* NULL is accepted */
/* NULL: no function is known there. *ret_module: the module it is in, "" for the kernel itself. */
const char *kernel_names_find(const struct kernel_names *k, uint64_t address, const char **ret_module);
size_t kernel_names_bytes(const struct kernel_names *k);

#endif
