/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * One ELF file that processes have mapped, shared by all of them: the names of its functions and the rules by which its frames unwind. What a file
 * holds is not trusted: sizes are checked before anything is read, and it is read, never mapped, so that cutting it short does no harm.
 */
#ifndef STAKEOUT_MODULE_H
#define STAKEOUT_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symbols/rules.h"

struct module;

struct module *module_new(const char *path);
/* The code that the kernel maps into every process; the same for all of this machine. NULL: none, or out of memory. */
struct module *module_vdso(void);
void module_free(struct module *m); /* NULL is accepted */
/* Reads what is needed of the open file, once; the caller keeps fd. False: no ELF file for this machine. */
bool module_load(struct module *m, int fd);
bool module_loaded(const struct module *m); /* or found to be no ELF file */
void module_unload(struct module *m);
/* Address, as the file's own tables have it, of the byte at that offset; false: it is in no code segment. */
bool module_address(const struct module *m, uint64_t offset, uint64_t *ret);
/* Function at an address. NULL: it has no name. *ret_start: where it begins, by its symbol or the unwinding tables; else the address itself. Valid until
 * the next call. */
const char *module_function(struct module *m, uint64_t address, uint64_t *ret_start);
/* How to get to the caller's frame from there. NULL: the file doesn't say. Valid until the next call. */
const struct rule *module_rule(struct module *m, uint64_t address);
/* That the rules' expressions are of. */
const struct rule_expressions *module_expressions(const struct module *m);
const char *module_name(const struct module *m); /* base name of the file */
size_t module_bytes(const struct module *m);

#endif
