/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef STAKEOUT_SYSCALLS_H
#define STAKEOUT_SYSCALLS_H

#include <stddef.h>
#include <stdint.h>

#define SYSCALL_WAIT_BY_FILE 0x80 /* as CFG_WAIT_BY_FILE on the kernel side */

/* Fills waits[nr] (enum so_wait or SYSCALL_WAIT_BY_FILE) for this architecture's system calls. */
void syscalls_fill_waits(uint8_t *waits, size_t len);

#endif
