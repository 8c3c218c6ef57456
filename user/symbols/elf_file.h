/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ELF files that are not trusted. */
#ifndef STAKEOUT_ELF_FILE_H
#define STAKEOUT_ELF_FILE_H

#include <libelf.h>
#include <stdbool.h>
#include <stdint.h>

/* Opens a regular file that is an ELF file for this machine, whose headers ask for no more than a program's may. It is read, not mapped. NULL: none
 * such. fd has to stay open. */
Elf *elf_file_open(int fd);
/* Whether the headers of a file of that size are so. */
bool elf_file_check(Elf *elf, uint64_t size);

#endif
