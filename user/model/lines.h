/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A file as lines, unpacked when it is gzip: one at a time, so that memory does not grow with its length. */
#ifndef STAKEOUT_LINES_H
#define STAKEOUT_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <zlib.h>

#define LINE_BYTES_MAX (256u << 20) /* 1,000 agents in full use make lines of some 20 MB, and 5 KB more a busy peer */
#define LINE_PADDING 64 /* bytes behind each line that can be read, whatever they are: for readers that look at many at a time */

struct lines {
	/* For the caller to read. */
	uint64_t number; /* of the last line */
	uint64_t tail; /* bytes after the last newline, known at the end */
	bool truncated, damaged; /* of the compressed stream */
	char first; /* the first byte of all */
	/* The implementation's. */
	int fd; /* -1 while suspended, when it was closed */
	bool owns_fd;
	bool regular; /* a file that can be read again from anywhere */
	bool gzip;
	bool member_done; /* between members of a gzip file */
	bool skipping; /* the line is too long: to its end */
	char *buf;
	size_t cap, start, scan, end;
	size_t last; /* where the line returned last begins */
	z_stream inflate;
	unsigned char *raw; /* as read; RAW_BYTES, NULL while suspended */
	size_t raw_len, raw_at;
	char *path; /* owned; of what was closed */
	off_t at;
	dev_t dev;
	ino_t ino;
};

/* Opens path ("-": stdin); gzip is recognised by content. NULL, with *ret_err set to a negative errno, when it can't be read. */
struct lines *lines_open(const char *path, int *ret_err);
/* The next whole line, without its newline, valid until the next call; *ret_line is NULL when it was longer than LINE_BYTES_MAX.
 * 1, 0 at the end, or negative errno. */
int lines_next(struct lines *l, const char **ret_line, size_t *ret_len);
/* The line that lines_next returned last is the next one again. Once a line. */
void lines_unread(struct lines *l);
/* Gives back what can be got again, until the next call of lines_next: of many files that are read by turns, each then holds next to nothing, or, where
 * it is compressed, some 45 KB and its next line. Also the descriptor with close_fd. No effect on what can't be read twice (a pipe). */
void lines_suspend(struct lines *l, bool close_fd);
/* NULL is accepted. */
void lines_close(struct lines *l);

#endif
