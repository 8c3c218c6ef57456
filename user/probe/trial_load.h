/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A process of our own that does one kind of thing at a time, as fast as it can: something to watch. */
#ifndef STAKEOUT_TRIAL_LOAD_H
#define STAKEOUT_TRIAL_LOAD_H

#include <stdint.h>
#include <sys/types.h>

enum trial_op {
	TRIAL_SWITCH, /* a thread leaves the CPU to another one */
	TRIAL_MESSAGE, /* 64 bytes are sent over TCP on loopback, and received */
	TRIAL_CONNECTION, /* connect, accept, close */
	TRIAL_MAPPING, /* 64 KiB are mapped and unmapped */
	TRIAL_PAGE, /* a page is touched first */
	TRIAL_PROCESS, /* fork, exit, wait */
	TRIAL_OPEN, /* open and close of /dev/null: memory of the kernel */
	TRIAL_OPS,
};

struct trial_load {
	pid_t pid;
	int fd; /* readable when it has done what it was asked for */
};

/* Starts it, on one CPU. 0 or negative errno. */
int trial_load_start(struct trial_load *l);
/* Has it do op for that long. 0 or negative errno. */
int trial_load_ask(const struct trial_load *l, enum trial_op op, uint64_t ns);
/* How many it did of the op asked for last; waits for it. Negative errno. */
int64_t trial_load_answer(const struct trial_load *l);
/* Ends it. */
void trial_load_stop(struct trial_load *l);

#endif
