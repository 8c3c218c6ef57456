/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A recording read interval by interval, at the caller's pace: for those who read many of them by turns. */
#ifndef STAKEOUT_RECORDING_READER_H
#define STAKEOUT_RECORDING_READER_H

#include <pthread.h>

#include "model/recording_parse.h"

struct recording_reader;

struct reader_options {
	bool sums; /* agents' totals are summed; else they stay empty, and only whether the recording's own total agrees is looked at */
	/* Where stacks go; NULL: into a table of the recording's own. With a lock where several readers share it. */
	struct stacks *stacks;
	pthread_mutex_t *stacks_lock;
};

enum reader_got { READER_END = 0, READER_INTERVAL = 1, READER_LATER = 2 };

/* Opens path ("-": stdin) and reads its header; the errors are those of recording_read. */
struct recording_reader *recording_reader_open(
        const char *path, const struct reader_options *o, int *ret_err, char *ret_why, size_t why_len);
/* The next interval whose middle is before until_s (since the header's start) into *ret, valid until the next call; its agents may be changed.
 * READER_LATER: there is one, but it lies behind. READER_END: there is none; the recording's note is written by now. Or negative errno, with ret_why
 * as for recording_read. */
int recording_reader_next(struct recording_reader *r, double until_s, struct parsed **ret, char *ret_why, size_t why_len);
/* Middle of the interval that is READER_LATER. */
double recording_reader_later_s(const struct recording_reader *r);
/* What is known of it so far. */
struct recording *recording_reader_recording(struct recording_reader *r);
/* Where in its recording's agents the one of this id is; -1: not told yet. */
int recording_reader_agent(const struct recording_reader *r, int id);
/* Gives back what can be read again (see lines_suspend). */
void recording_reader_suspend(struct recording_reader *r, bool close_fd);
/* Closes the file; the recording stays. */
void recording_reader_close(struct recording_reader *r);
/* All of it. NULL is accepted. */
void recording_reader_free(struct recording_reader *r);

#endif
