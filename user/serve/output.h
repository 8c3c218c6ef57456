/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the daemon tells elsewhere, besides recordings. An output is one row of outputs.c and one file. */
#ifndef STAKEOUT_SERVE_OUTPUT_H
#define STAKEOUT_SERVE_OUTPUT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "model/live.h"
#include "serve/config.h"

struct output_context { /* valid from open to close */
	const struct config *config;
	const struct live *live;
	pthread_mutex_t *lock; /* an output's own threads read live under it, for some ms at most: the loop waits for it when an interval comes */
};

struct output_kind {
	const char *name; /* for messages */
	/* *ret: NULL when the configuration asks for none. why: one line. 0 or negative errno. */
	int (*open)(const struct output_context *c, void **ret, char *why, size_t why_len);
	/* A new interval is in live. Called in the loop, which may read live without the lock: it must not wait for anybody. 0, or a negative errno and
	 * why, one line: told once until it works again; called again with the next interval. NULL: nothing to do. */
	int (*interval)(void *output, char *why, size_t why_len);
	/* Another configuration from now on. Called in the loop, as interval. 0; 1: that asks for none; or negative errno, as open: it goes on as it was then. NULL: it is closed, and
	 * another one opened. */
	int (*change)(void *output, const struct output_context *c, char *why, size_t why_len);
	/* It is not asked for any more, and is to come to its end without anybody waiting for it. Called in the loop, with each interval until it returns true: then
	 * close() has nothing to wait for. NULL: close() never has. */
	bool (*leave)(void *output);
	/* The last interval is in live, unless it has left. */
	void (*close)(void *output);
};

extern const struct output_kind textfile_output, http_output, otlp_file_output, otlp_push_output;

#endif
