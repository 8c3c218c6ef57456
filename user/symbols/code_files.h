/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The code that processes have mapped: what /proc/PID/maps tells, and the files behind it, each read once for all processes that map it. A file is taken
 * for the same if device, inode, size and time of change agree.
 */
#ifndef STAKEOUT_CODE_FILES_H
#define STAKEOUT_CODE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symbols/module.h"

struct maps_line { /* of /proc/PID/maps */
	uint64_t start, end, offset;
	uint64_t device, inode;
	bool code; /* may be executed */
	const char *path; /* points into the line; "" for memory without a file */
};
/* Takes a line apart (it may be changed). False: it isn't one. */
bool maps_line_parse(char *line, struct maps_line *ret);

struct code_files;
struct code_file;

struct code_files *code_files_new(void);
void code_files_free(struct code_files *f);
/* The file that process tgid has mapped there; to be put back. It is held open until its symbols are needed or nobody maps it, so that it can still be
 * read when the process is gone. NULL: it is no plain file, or can't be seen. */
struct code_file *code_files_get(struct code_files *f, uint32_t tgid, const struct maps_line *at);
void code_files_put(struct code_files *f, struct code_file *e); /* NULL is accepted */
/* Its contents, read if they have not been. NULL: they can't be, or are no program's. */
struct module *code_files_module(struct code_files *f, struct code_file *e, uint32_t tgid, uint64_t start, uint64_t end);
size_t code_files_bytes(const struct code_files *f);

#endif
