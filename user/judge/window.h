/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Sums over the newest so many seconds of some metrics and ledgers. Time is cut into parts of about a tenth of the span,
 * or of an interval where that is longer; a window reaches back over the span to within half a part. What comes is added to
 * the part at hand and to running sums, from which a part is taken away when it gets too old; of histograms it is written
 * down in a log, and added up only when somebody asks for a percentile that the number of values beyond a mark doesn't
 * answer. So an interval touches little memory, which is what it costs where there are many windows. Pure.
 */
#ifndef STAKEOUT_WINDOW_H
#define STAKEOUT_WINDOW_H

#include "judge/expression.h"

#define WINDOW_PARTS 18 /* 15 of the span, where its tenth is just short of one and a half intervals; the one that is being filled; those cut short */
#define WINDOW_MARKS 4 /* of a plan */
#define WINDOW_TOP_NONE INT32_MIN /* zeros are beyond, too */

struct window_plan { /* what is kept; lent to its windows */
	double over_s;
	int metrics[METRIC_IDS];
	int metrics_len;
	bool ledgers;
	/* Counted are the values of metrics[slot] in buckets beyond `top` (at HIST_SCALE), so that many a percentile needn't be known. It may rise: what was counted before is too much then. */
	struct window_mark {
		int slot;
		int32_t top;
	} marks[WINDOW_MARKS];
	int marks_len;
};

/* What the expression needs over over_s seconds; no marks. */
void window_plan_init(struct window_plan *p, const struct expression *e, double over_s);
/* But for marks. */
bool window_plan_same(const struct window_plan *a, const struct window_plan *b);

/* ---- time ---- */

struct window_time { /* of all windows that are fed together; {.over_s, .first = 1, .next = 1} */
	double over_s;
	uint64_t first, next; /* numbers of the parts in use */
	uint64_t closed; /* those before are full */
	double seconds; /* watched, in all of them */
	struct {
		double start_s, end_s, seconds;
	} parts[WINDOW_PARTS]; /* by number, modulo */
};

/* The next interval; seconds of it were watched. 0, or -EINVAL where time goes backwards. */
int window_time_interval(struct window_time *t, double start_s, double end_s, double seconds);

/* ---- windows ---- */

struct window;
/* NULL when out of memory. */
struct window *window_new(const struct window_plan *p);
void window_free(struct window *w);
/* All that is in `from` goes into w, which is empty; their plans are the same. Marks count everything. */
void window_move(struct window *w, struct window *from);
/* Drops what is too old. Returns whether there was any. */
bool window_expire(struct window *w, const struct window_time *t);
/* Adds to the part at hand; expired it was. gauges: whether they have values. Ledgers may be NULL. 0 or -ENOMEM. */
int window_add(struct window *w, const struct window_time *t, const struct metric_set *m, bool gauges, const struct ledger *const ledgers[3]);
/* Calls of window_add() that are in it. */
uint64_t window_added(const struct window *w);
/* The oldest part that something is in; UINT64_MAX: none. */
uint64_t window_oldest(const struct window *w);
/* Values of this slot; whether its percentile q (above 0) certainly is at most the middle of the mark's bucket `top`. */
uint64_t window_count(const struct window *w, int slot);
bool window_within(const struct window *w, int mark, double q);

struct window_sum { /* zero-initialised; may be used for any window, one after the other */
	struct metric_set metrics; /* storage of histograms */
	struct metric_set view;
	struct ledger ledgers[3]; /* main, threads, critical */
	double seconds; /* watched */
	bool gauges; /* known */
};

/* What s->view and the rest then say holds until the window's next call. buckets: histograms have them, and minimum and maximum, not only counts and sums. 0 or -ENOMEM. */
int window_sum(const struct window *w, const struct window_time *t, bool buckets, struct window_sum *s);
void window_sum_fini(struct window_sum *s);
/* Heap bytes. */
size_t window_bytes(const struct window *w);

#endif
