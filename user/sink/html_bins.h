/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A recording over time, in a few hundred bins: what a page can draw, whatever the recording's length. Bins are made while the intervals stream by, each of
 * the same number of intervals; when there are too many, neighbours are added up two by two. So the bins of an agent add up to its total exactly. Pure.
 */
#ifndef STAKEOUT_HTML_BINS_H
#define STAKEOUT_HTML_BINS_H

#include <uthash.h>

#include "model/recording.h"

#define BINS_MAX 320
#define BINS_MIN 16 /* kept however many agents there are */
#define CELLS_MAX 8000 /* an agent in a bin is a cell; some 3 KB each */

#define HEATS 4
/* Histograms that are kept over time: those of latencies. */
extern const enum metric_id heat_metrics[HEATS];

struct bin {
	double start_s, end_s; /* since the recording's start */
	double covered_s; /* of intervals: less where some are missing */
	uint64_t intervals;
	double cpu_s; /* of the observer */
	uint64_t lost; /* records, for any reason */
};

struct cell {
	double observed_s;
	struct ledger main, critical, threads;
	uint64_t value[METRIC_IDS]; /* counters add up, of gauges the last counts, of peaks the highest */
	struct hist *hist[HEATS]; /* NULL: no values */
};

struct bins_agent {
	int id;
	struct cell *cell[BINS_MAX]; /* NULL: not there */
	UT_hash_handle hh;
};

struct html_bins { /* zero-initialised is empty */
	struct bin bin[BINS_MAX];
	int len;
	uint64_t per; /* intervals a bin; the last may have fewer */
	size_t cells;
	struct bins_agent *agents;
};

/* Adds an interval. Suits recording_read(). 0 or -ENOMEM. */
int html_bins_interval(void *bins, const struct interval_data *i);
/* NULL: the agent was in no interval. */
struct bins_agent *html_bins_agent(const struct html_bins *b, int id);
void html_bins_fini(struct html_bins *b);

#endif
