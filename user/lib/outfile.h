/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A file that is there as a whole or not at all: written beside its name, which it gets at the end, also when the program is killed meanwhile. Or one that
 * grows under its name and never ends within a piece.
 */
#ifndef STAKEOUT_OUTFILE_H
#define STAKEOUT_OUTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct outfile;

struct outfile_options {
	bool force; /* one that is there is replaced; else that is -EEXIST */
	bool grows; /* under its name from the beginning */
	/* Whatever has the name is replaced by a file, links and devices too, since somebody less trusted may have put them there. Goes with force. */
	bool replaces;
	mode_t mode; /* just that, whatever the umask is; 0: a recording's, 0640 less the umask */
};

/*
 * path "-": standard output; devices, pipes and sockets are written as they are, and what a link points to is replaced rather than the link. Names ending
 * in .gz are compressed. NULL with *ret_err a negative errno.
 */
struct outfile *outfile_open(const char *path, const struct outfile_options *options, int *ret_err);
/* To be written to; closed with the file. */
FILE *outfile_stream(struct outfile *o);
/* Past the stream, which may hold nothing then, and with one write() where it isn't compressed; less than 4 GiB. 0 or the file's first error. */
int outfile_write(struct outfile *o, const void *data, size_t len);
/* Ends a piece: all that was written can be read from a file that grows. 0 or the file's first error. */
int outfile_flush(struct outfile *o);
/* What is in the file by now, in bytes, after whole pieces. */
uint64_t outfile_bytes(const struct outfile *o);
/* What writing met so far: 0 or a negative errno. */
int outfile_error(const struct outfile *o);
/*
 * Finishes the file, gives it its name, and frees o. 0, or the first error of its life, as a negative errno; nothing is left behind then, or, of a file that
 * grows, the pieces that are whole, as far as it can be cut. NULL is accepted.
 */
int outfile_commit(struct outfile *o);
/* Drops what was written, unless it has its name already, and frees o. NULL is accepted. */
void outfile_discard(struct outfile *o);
/* One or the other: commits when err is 0, else discards. What writing met, else err. */
int outfile_end(struct outfile *o, int err);

#endif
