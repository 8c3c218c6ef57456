/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the kernel side of the full heap knows of a process: where it has code, and the places that it allocates from. */
#ifndef STAKEOUT_HEAP_CODE_H
#define STAKEOUT_HEAP_CODE_H

#include <stdint.h>
#include <sys/types.h>

/* Tells it where process pid has code now. Best effort. */
void heap_code_update(int code_fd, pid_t pid);
/* Forgets the places of a process. */
void heap_sites_drop(int sites_fd, uint32_t pid);

#endif
