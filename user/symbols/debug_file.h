/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where the symbols of a stripped ELF file are kept. */
#ifndef STAKEOUT_DEBUG_FILE_H
#define STAKEOUT_DEBUG_FILE_H

#include <libelf.h>
#include <stdint.h>

/* Opens the separate debug file of a file by its build ID, or by the name that it tells (accepted if the build ID agrees). dir: where the file
 * lies. Descriptor or -ENOENT. */
int debug_file_open(Elf *elf, const char *dir);
/* The small symbol table within the file that some distributions leave (.gnu_debugdata, an ELF file compressed by xz). NULL: none; *ret_image is to be freed
 * after it. */
Elf *debug_file_embedded(Elf *elf, uint8_t **ret_image);

#endif
