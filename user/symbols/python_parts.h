/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What python.c is made of: finding the interpreter in a process's memory, what its version's structures look like, and reading code objects. All of it
 * looks at memory through a function, and believes nothing that it finds there: sizes and loops are bounded by constants.
 */
#ifndef STAKEOUT_PYTHON_PARTS_H
#define STAKEOUT_PYTHON_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"

struct python_memory {
	bool (*read)(void *ctx, uint64_t address, void *to, size_t size); /* all of it, or false */
	void *ctx;
};

static inline bool memory_read(const struct python_memory *m, uint64_t address, void *to, size_t size)
{
	return address && m->read(m->ctx, address, to, size);
}

/* Where a symbol of the ELF file that is loaded there, header first, ends up in memory. By the hash table that the dynamic linker uses; 0: it has none. */
uint64_t python_symbol(const struct python_memory *m, uint64_t header, const char *name);
/* 0x030b for "libpython3.11.so.1.0" or "/usr/bin/python3.11"; 0: the name doesn't tell. */
uint32_t python_version_of_name(const char *path);

/* Offsets of one version's structures. */
struct python_shape {
	uint32_t version;
	uint32_t runtime_main; /* in _PyRuntime: the main interpreter */
	uint32_t runtime_holder; /* until 3.11, in _PyRuntime: who had the lock last; 0: see below */
	uint32_t interpreter_threads; /* in an interpreter: the first thread state */
	uint32_t interpreter_gil; /* its lock, */
	uint32_t gil_holder; /* and in that who had it last */
	bool gil_inside; /* the lock is part of the interpreter; else a pointer to it */
	uint32_t thread_interpreter;
	uint32_t thread_pointer, thread_tid; /* what a thread is known by; 0: not there */
	uint32_t walk[sizeof(((struct so_python *)0)->offsets) / sizeof(uint32_t)]; /* up to SO_PYTHON_FRAME_BYTES, without SO_PYTHON_THREAD_ID */
	uint32_t code_plain, code_name, code_file, code_line; /* name: the qualified one where there is one; line: the first */
	uint32_t text_ascii, text_wide; /* sizes of a string's head: characters follow it */
};

#define PYTHON_TEXT_HASH 24 /* in PyASCIIObject, of all versions */
/* Where the 8 bytes are of a code object that have its first line. */
static inline uint32_t python_code_word(const struct python_shape *s)
{
	return s->code_line & ~7U;
}

/* Shape of the interpreter whose _PyRuntime lies there: by its own account where it gives one (3.13), else by its version (0x030b). 0, or -ENOTSUP and
 * why. */
int python_shape_find(const struct python_memory *m, uint64_t runtime, uint32_t version, struct python_shape *ret, char *why, size_t why_len);

#define PYTHON_NAME_BYTES 256 /* of a function, NUL included; longer ones are cut */
#define PYTHON_FILE_BYTES 512

struct python_code {
	uint64_t name, file; /* addresses */
	uint32_t line;
	uint32_t identity; /* see so_python_identity() */
};

bool python_code_read(const struct python_memory *m, const struct python_shape *s, uint64_t code, struct python_code *ret);
/* Its texts, as UTF-8 and NUL-terminated, cut between characters where they don't fit. False: these are no strings. */
bool python_code_texts(const struct python_memory *m, const struct python_shape *s, const struct python_code *c, char name[PYTHON_NAME_BYTES],
		       char file[PYTHON_FILE_BYTES]);

#endif
