/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where memory is heading: a robust slope of resident memory over time, and when the limit is reached. Pure. */
#ifndef STAKEOUT_OUTLOOK_H
#define STAKEOUT_OUTLOOK_H

#include <stdbool.h>
#include <stdint.h>

#define OUTLOOK_POINTS 512 /* kept, at most STATS_POINTS; of longer series neighbours are thinned out evenly */

struct outlook_series { /* zero-initialised is empty */
	int len;
	uint64_t every, skipped; /* thinning */
	double t_s[OUTLOOK_POINTS];
	double bytes[OUTLOOK_POINTS];
	uint64_t limit_bytes, left_bytes; /* last known; 0: none */
};

void outlook_add(struct outlook_series *s, double t_s, uint64_t rss_bytes, uint64_t limit_bytes, uint64_t left_bytes);

enum outlook_verdict {
	OUTLOOK_INSUFFICIENT, /* fewer than 20 points, or less than 10 s */
	OUTLOOK_STEADY, /* no slope is sure */
	OUTLOOK_GROWING,
	OUTLOOK_SHRINKING,
};
extern const char *const outlook_names[4]; /* "insufficient data", "steady", "growing", "shrinking" */

struct outlook {
	enum outlook_verdict verdict;
	double slope, low, high; /* bytes a second: Theil-Sen, and its interval of confidence of 95 % */
	double to_limit_s; /* at that slope; < 0: never, or there is no limit */
	double to_limit_low_s, to_limit_high_s; /* at the interval's ends; high < 0: never */
	uint64_t limit_bytes;
};

void outlook_judge(const struct outlook_series *s, struct outlook *ret);

#endif
