/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the files of the trends share; nobody else includes it. */
#ifndef STAKEOUT_TREND_PARTS_H
#define STAKEOUT_TREND_PARTS_H

#include <uthash.h>

#include "judge/stats.h"
#include "judge/trend.h"

#define TREND_POINTS 112 /* kept of a series, 56 at least of a longer one: the slopes of all pairs grow with the square */
#define TREND_COUNTERS_MAX 12 /* that an expression of events reads */

/* ---- odd moments ---- */

struct odd_watch { /* zero-initialised: nothing was seen */
	uint64_t seen; /* values behind the statistics */
	double mean, variance,
	        product; /* of logarithms: exponentially weighted; product: of neighbours' distances from the mean */
	double before; /* distance of the value before */
	double over, over_sum,
	        over_of; /* how many values lay far above the mean, by how many deviations in all, of how many values */
	double skewness; /* of logarithms, exponentially weighted: third powers of their distances in deviations */
	int run; /* values since an odd moment began; 0: none is on */
	double run_z;
	struct trend_odd now;
	struct trend_odd worst[TREND_ODD_MAX];
	double worst_z[TREND_ODD_MAX];
	int len;
	uint64_t count;
};

/* The next value of the series; what is not above 0 is passed over. */
void odd_add(struct odd_watch *w, double at_s, double value);
/* The moments so far, in order of time, one that is on included. Returns how many there are. */
int odd_moments(const struct odd_watch *w, struct trend_odd ret[TREND_ODD_MAX], uint64_t *ret_count);

/* ---- changes ---- */

struct change_limits { /* how much of a change counts: both are passed */
	double relative; /* of the level before; 0: of figures that don't vary by factors */
	double absolute; /* base units */
};

/* Lasting steps: the first points after them, in order. Returns how many. rest: y without them, [p->n]. */
int changes_find(const struct points *p, const struct change_limits *limits, int at[TREND_CHANGES_MAX], double *rest);

/* ---- series ---- */

struct point {
	double from_s, to_s, value;
};

struct series { /* of a measure of an agent, a class of its peers or a tool */
	enum measure_id measure;
	double open_s; /* when the first of the intervals that make the next point began; < 0: none yet */
	struct hist gathered; /* of a percentile */
	int len; /* points */
	uint64_t every, filled; /* of long recordings a point is the mean of so many; that so many wait to become */
	struct point filling;
	struct odd_watch odd;
	uint64_t counted[TREND_COUNTERS_MAX]; /* of a rate of events */
	struct point *points; /* [TREND_POINTS], apart, since few intervals touch them; owned */
};

struct trend_subject { /* what measures of one kind are of */
	enum measure_of of;
	enum class_id class;
	char *name; /* owned; "": the agent */
	struct series *series[MEASURE_COUNT]; /* NULL: nothing of it was seen */
};

struct trend_agent {
	int id;
	char *name; /* owned */
	struct trend_subject **subjects;
	int len;
	struct trend_subject *classes[CLASS_COUNT]; /* among them */
	UT_hash_handle hh;
};

#define TREND_BUCKETS (2 + (64 << HIST_SCALE)) /* from -1 on, at HIST_SCALE */

struct trends {
	double middles[TREND_BUCKETS]; /* what stands for a bucket */
	struct expression *expression[MEASURE_COUNT];
	bool quantile[MEASURE_COUNT]; /* it is one: metric, share and values needed follow */
	enum metric_id metric[MEASURE_COUNT];
	double share[MEASURE_COUNT];
	uint64_t needs[MEASURE_COUNT];
	bool direct[MEASURE_COUNT]; /* each interval has a value */
	enum metric_id counters[MEASURE_COUNT][TREND_COUNTERS_MAX];
	int counters_len[MEASURE_COUNT];
	bool watched[MEASURE_COUNT]; /* its probes were on */
	bool begun;
	enum metric_id class_metrics[METRIC_IDS]; /* that measures of classes read */
	int class_metrics_len;
	struct metric_set sum, events; /* scratch: of a class's peers; of counted events */
	struct trend_agent *agents; /* by id, in order of appearance */
	struct trend *list;
};

#endif
