/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The daemon's recordings: files stakeout-YYYYmmdd-HHMMSS.ndjson[.gz] (UTC, of their first interval) in one directory, each a whole recording of its own. They rotate by age
 * and size, and the oldest make room. Numbers of intervals go on from file to file. When a file can't be written, that is told once, intervals are left out and counted,
 * and a new file is tried with each interval.
 */
#ifndef STAKEOUT_RECORDINGS_H
#define STAKEOUT_RECORDINGS_H

#include "model/recording.h"
#include "serve/config.h"

struct recordings;

/* Makes the directory when it is missing. start_ns: CLOCK_MONOTONIC, to which intervals' times refer. 0, or a negative errno and why. */
int recordings_open(const struct config_recordings *c, uint64_t start_ns, struct recordings **ret, char *why, size_t why_len);
/* h: the session's header. i has its infos. */
void recordings_interval(struct recordings *r, const struct header_data *h, const struct interval_data *i, const struct stacks *stacks);
/* The limits of c from the next interval on; the file that is open goes on unless c names another directory or compression. As recordings_open(). */
int recordings_change(struct recordings *r, const struct config_recordings *c, char *why, size_t why_len);
/* Writes the total. NULL is accepted. */
void recordings_close(struct recordings *r);
/* Intervals that could not be written. */
uint64_t recordings_missed(const struct recordings *r);

#endif
