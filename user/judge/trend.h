/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How a figure goes over a recording: improving, degrading, steady or insufficient data (Mann-Kendall with Theil-Sen's slope, at least 20 points), when it changed, when it will
 * miss an objective, which moments stand out from its own past. Pure.
 *
 * A point is an interval, or for percentiles and error rates as many neighbouring ones as hold the values that it needs (TREND_VALUES_MIN, or one of 100 for a p99).
 */
#ifndef STAKEOUT_TREND_H
#define STAKEOUT_TREND_H

#include <stdbool.h>
#include <stdint.h>

#include "judge/measure.h"
#include "judge/rule.h"

#define TREND_POINTS_MIN 20
#define TREND_VALUES_MIN 20 /* behind a point of a percentile or a rate of errors */
#define TREND_CHANGES_MAX 4
#define TREND_ODD_MAX 8
#define TREND_FALSE_ALARMS_A_DAY 1.0 /* of odd moments, an agent and measure, at points of 1 s */

enum trend_verdict { TREND_INSUFFICIENT, TREND_STEADY, TREND_IMPROVING, TREND_DEGRADING, TREND_VERDICTS };
extern const char *const trend_names[TREND_VERDICTS]; /* "insufficient data", "steady", "improving", "degrading" */

struct trend {
	int agent; /* id */
	const char *agent_name; /* owned by the trends */
	char subject[160]; /* class or tool; "" */
	enum measure_id measure;
	enum trend_verdict verdict;
	int points; /* that it rests on */
	double span_s; /* from the first to the last */
	double level; /* median; NAN: no data */
	double first, last; /* where it began and where it ended up: of the line, or of what lies before the first and after the last change */
	double slope, low, high; /* base units a second: Theil-Sen, interval of confidence of 95 %; NAN: insufficient */
	struct trend_change { /* a lasting step */
		double at_s; /* since the header's start */
		double before, after; /* medians on both sides, up to the next change */
	} changes[TREND_CHANGES_MAX]; /* in order of time */
	int changes_len;
	struct trend_miss { /* of the first rule that its slope runs into */
		const struct rule *rule; /* NULL: none */
		double in_s, in_low_s, in_high_s; /* from the last point's end */
	} miss;
	struct trend_odd { /* a moment that stands out from what was before: the worst point of it */
		double at_s, value, expected;
	} odd[TREND_ODD_MAX]; /* the farthest out, in order of time; of times (GROUP_TIME) only */
	int odd_len;
	uint64_t odd_count; /* in all */
};

struct trend_list { /* lent */
	const struct trend *at;
	int len;
};

/*
 * Collects as the recording is read; bounded memory (of long recordings neighbouring points become one, so that a series has 56 to 112; for odd moments each point counts).
 * Intervals that lost more than a twentieth of their records are left out.
 */
struct trends;
/* NULL: out of memory. */
struct trends *trends_new(void);
int trends_interval(void *trends, const struct interval_data *i); /* suits recording_read() */
/*
 * Judges all; rules (may be NULL) give the objectives, lent as long as the trends are looked at. *ret is owned by the trends: degrading ones first, then improving, then steady
 * ones (those that changed or had odd moments first), each by the size of the change. 0 or negative errno.
 */
int trends_judge(struct trends *t, const struct rules *rules, const struct trend **ret, int *ret_len);
void trends_free(struct trends *t);

#endif
