/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Files for other programs that have a recording's intervals one by one, written as it is read: a row a format. Memory is bounded by the number
 * of agents, not by the length of the recording.
 */
#ifndef STAKEOUT_EXPORT_H
#define STAKEOUT_EXPORT_H

#include <stdio.h>

#include "model/recording.h"

/* What the rows of a table (CSV) are of. */
enum export_rows { ROWS_AGENTS, ROWS_PEERS, ROWS_TOOLS, ROWS_OBSERVER, ROWS_COUNT };
extern const char *const export_rows_names[ROWS_COUNT];

struct export_options {
	enum export_rows rows;
	const char *agent; /* id or name; NULL: all of them */
	double from_s, to_s; /* intervals that lie within, since the recording's start; to_s 0: to its end */
};

struct export_format {
	const char *name; /* of the option */
	const char *help;
	/* NULL: out of memory. out stays the caller's. */
	void *(*new)(FILE *out, const struct export_options *options);
	recording_interval_fn interval;
	/* What stands at the end; r as read. 0 or a negative errno. */
	int (*end)(void *sink, const struct recording *r);
	void (*free)(void *sink);
};

enum export_id { EXPORT_CSV, EXPORT_HLOG, EXPORT_TRACE, EXPORT_COUNT };
extern const struct export_format export_formats[EXPORT_COUNT];

/* Whether `wanted` is the agent's id or name. */
bool agent_info_matches(const struct agent_info *info, const char *wanted);

/* Hands the intervals that are asked for to a format. */
struct export;
struct export *export_new(enum export_id format, FILE *out, const struct export_options *options);
/* Suits recording_read(). 0, what the format met, or -EIO when out can't be written. */
int export_interval(void *export, const struct interval_data *i);
/* To be called after the last interval. As export_interval. */
int export_end(struct export *e, const struct recording *r);
/* Intervals that were asked for and read. */
uint64_t export_intervals(const struct export *e);
void export_free(struct export *e);

#endif
