/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The stacks of one file of the daemon's recordings: those that its samples refer to, by numbers of its own. The session's table goes on for as long as the daemon runs, and gives its
 * numbers to other stacks in time; a file is readable by itself.
 */
#ifndef STAKEOUT_SERVE_FILE_STACKS_H
#define STAKEOUT_SERVE_FILE_STACKS_H

#include "model/recording.h"

struct file_stacks { /* zero-initialised: no file yet, or one without samples */
	struct stacks *table;
	uint32_t *numbers; /* by number in the session's table; 0: not told yet */
	uint64_t generation; /* of that table */
};

/* Another file begins, or there is none any more. */
void file_stacks_fini(struct file_stacks *f);
/* *ret is told, with numbers of the file's table in place of those of `from`; to be released, and valid as long as told is. 0 or -ENOMEM (nothing to release). */
int file_stacks_take(struct file_stacks *f, const struct interval_data *told, const struct stacks *from, struct interval_data *ret);
void file_stacks_release(const struct interval_data *told, struct interval_data *i);

#endif
