/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Sums over the newest so many seconds of some metrics and ledgers. Time is cut into parts of about a tenth of the span, or of an interval where that is longer; a window reaches
 * back over the span to within half a part. Each interval costs a few additions whatever the span is: parts are kept as a queue of two stacks, the older one of sums from each
 * part to its end, so that what leaves need not be subtracted, which minima and maxima couldn't. Pure.
 */
#ifndef STAKEOUT_WINDOW_H
#define STAKEOUT_WINDOW_H

#include "judge/expression.h"

#define WINDOW_PARTS 18 /* 15 of the span, where its tenth is just short of one and a half intervals; the one that is being filled; those cut short */

struct window_plan { /* what is kept; lent to its windows */
	double over_s;
	int metrics[METRIC_IDS];
	int metrics_len;
	bool ledgers;
};

/* What the expression needs over over_s seconds. */
void window_plan_init(struct window_plan *p, const struct expression *e, double over_s);
bool window_plan_same(const struct window_plan *a, const struct window_plan *b);

struct window;
/* like: begins with its time, but without its sums; NULL: with none. NULL when out of memory. */
struct window *window_new(const struct window_plan *p, const struct window *like);
void window_free(struct window *w);
/* Its plan lies elsewhere from now on: p is the same. */
void window_plan_moved(struct window *w, const struct window_plan *p);
/* The next interval; seconds of it were watched. What is too old is dropped. 0 or -ENOMEM. */
int window_interval(struct window *w, double start_s, double end_s, double seconds);
/* Adds to the interval at hand; gauges: whether they have values. Ledgers may be NULL. 0 or -ENOMEM. */
int window_add(struct window *w, const struct metric_set *m, bool gauges, const struct ledger *main, const struct ledger *threads, const struct ledger *critical);

/* Another number whenever something was added, or was dropped; of what counts events only, the sum is the same as long as it is. */
uint64_t window_changes(const struct window *w);

struct window_sum { /* zero-initialised; may be used for any window, one after the other */
	struct metric_set metrics; /* owned storage of histograms that two parts were added up in */
	struct metric_set view; /* its histograms are those of `metrics` or the window's own */
	struct ledger ledgers[3]; /* main, threads, critical */
	double seconds; /* watched */
	uint64_t added; /* calls of window_add() that are in it */
	bool gauges; /* known */
};

/* What s->view and the rest then say holds until the window's next call. 0 or -ENOMEM. */
int window_sum(const struct window *w, struct window_sum *s);
void window_sum_fini(struct window_sum *s);
/* Heap bytes. */
size_t window_bytes(const struct window *w);

#endif
