/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Functions of Go programs without symbols, from the table that the runtime itself keeps for its tracebacks. */
#ifndef STAKEOUT_GO_FUNCTIONS_H
#define STAKEOUT_GO_FUNCTIONS_H

#include "probe/elf_sites.h"

/* Like elf_sites_find; names in full only, sizes are not told. 1: it is a Go program (some may have been found), 0: it is none. */
int go_functions_find(int fd, struct elf_site *sites, int n);

#endif
