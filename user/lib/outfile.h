/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A file that is there as a whole or not at all: written beside its name, which it gets at the end, also when the program is killed meanwhile. */
#ifndef STAKEOUT_OUTFILE_H
#define STAKEOUT_OUTFILE_H

#include <stdbool.h>
#include <stdio.h>

struct outfile;

/*
 * path "-": standard output; devices, pipes and sockets are written as they are. Names ending in .gz are compressed. The file gets mode 0640, as a
 * recording. NULL with *ret_err a negative errno: -EEXIST when there is one already, unless force.
 */
struct outfile *outfile_open(const char *path, bool force, int *ret_err);
/* To be written to; closed with the file. */
FILE *outfile_stream(struct outfile *o);
/* What writing met so far: 0 or a negative errno. */
int outfile_error(const struct outfile *o);
/* Finishes the file, gives it its name, and frees o. 0, or the first error of its life, as a negative errno; nothing is left behind then. */
int outfile_commit(struct outfile *o);
/* Drops what was written, and frees o. NULL is accepted. */
void outfile_discard(struct outfile *o);

#endif
