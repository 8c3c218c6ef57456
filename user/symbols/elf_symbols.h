/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The functions that the symbol tables of an ELF file name, by address. */
#ifndef STAKEOUT_ELF_SYMBOLS_H
#define STAKEOUT_ELF_SYMBOLS_H

#include <libelf.h>
#include <stddef.h>
#include <stdint.h>

struct symbol {
	uint64_t address;
	uint32_t size; /* bytes */
	uint32_t name : 26; /* offset in the texts */
	uint32_t mangled : 1; /* not looked at yet: the name may have to be demangled */
	uint32_t sizeless : 1; /* its size isn't told: up to the next one, or the end of the section */
	uint32_t rank : 4; /* of several names of a place the lowest is shown */
};

struct symbols { /* zero-initialised is empty */
	struct symbol *at;
	uint32_t len, cap;
	char *texts;
	size_t texts_len, texts_cap;
};

/* Adds the functions of the tables of a type (SHT_SYMTAB, SHT_DYNSYM); returns how many. None of a table that is too large to be read in passing. */
uint32_t symbols_add(struct symbols *s, Elf *elf, uint32_t type);
/* To be called when all have been added. */
void symbols_sort(struct symbols *s);
/* NULL: no function is known there. */
struct symbol *symbols_find(const struct symbols *s, uint64_t address);
/* Valid until the next call. */
const char *symbols_name(struct symbols *s, struct symbol *at);
void symbols_fini(struct symbols *s);
size_t symbols_bytes(const struct symbols *s);

#endif
