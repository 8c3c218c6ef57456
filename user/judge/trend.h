/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How a figure goes over a recording: improving, degrading, steady or insufficient data (Mann-Kendall with Theil-Sen's slope, at least 20 intervals), when it changed, when it will
 * miss an objective, which moments stand out from its own past. Pure.
 */
#ifndef STAKEOUT_TREND_H
#define STAKEOUT_TREND_H

#include <stdbool.h>
#include <stdint.h>

#include "judge/measure.h"
#include "judge/rule.h"

#define TREND_POINTS_MIN 20
#define TREND_CHANGES_MAX 4
#define TREND_ODD_MAX 8
#define TREND_FALSE_ALARMS_A_DAY 1.0 /* of odd moments, an agent and measure, at intervals of 1 s */

enum trend_verdict { TREND_INSUFFICIENT, TREND_STEADY, TREND_IMPROVING, TREND_DEGRADING, TREND_VERDICTS };
extern const char *const trend_names[TREND_VERDICTS]; /* "insufficient data", "steady", "improving", "degrading" */

struct trend {
	const char *agent; /* owned by the trends */
	char subject[160]; /* class or tool; "" */
	enum measure_id measure;
	enum trend_verdict verdict;
	double level; /* median */
	double slope, low, high; /* base units a second: Theil-Sen, interval of confidence of 95 % */
	struct trend_change { /* a lasting step */
		double at_s; /* since the header's start */
		double before, after; /* medians on both sides, up to the next change */
	} changes[TREND_CHANGES_MAX];
	int changes_len;
	struct trend_miss { /* of the first rule that its slope runs into */
		const struct rule *rule; /* NULL: none */
		double in_s, in_low_s, in_high_s; /* from the recording's end; high < 0: perhaps never */
	} miss;
	struct trend_odd { /* a moment that stands out from what was before */
		double at_s, value, expected;
	} odd[TREND_ODD_MAX];
	int odd_len;
	uint64_t odd_count; /* in all */
};

/* Collects as the recording is read; bounded memory (long recordings are thinned to 512 points a series, for odd moments each interval counts). */
struct trends;
struct trends *trends_new(void);
int trends_interval(void *trends, const struct interval_data *i); /* suits recording_read() */
/* Judges all; rules (may be NULL) give the objectives. *ret is owned by the trends: those that are not steady first. 0 or negative errno. */
int trends_judge(struct trends *t, const struct rules *rules, const struct trend **ret, int *ret_len);
void trends_free(struct trends *t);

#endif
