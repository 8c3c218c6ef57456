/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Robust statistics of series: medians, trends and what their sureness is worth when neighbours are alike. Pure. */
#ifndef STAKEOUT_STATS_H
#define STAKEOUT_STATS_H

#include <stdbool.h>

#define STATS_POINTS 512 /* of a series, at most */
#define STATS_Z_95 1.959964 /* two-sided, of the normal distribution */

struct points { /* lent; t strictly growing */
	const double *t, *y;
	int n;
};

/* The k-th smallest, from 0; orders v in part. */
double stats_nth(double *v, long n, long k);
/* Of at most STATS_POINTS values, which stay in order. */
double stats_median(const double *v, int n);
/* Median of the distances to `from`, as the standard deviation of a normal distribution that has it. */
double stats_deviation(const double *v, int n, double from);
/* Variance of Kendall's S where no value depends on another; equal values count less. */
double kendall_variance(const double *y, int n);
/* By how much the likeness of neighbours makes that variance larger, from 1 on; rest: what trend or steps leave over. */
double kendall_likeness(const double *rest, int n);

/*
 * How neighbours correlate in what trend or steps leave over, by their ranks, 0..0.95: rather too high than too low, by one standard error, as few values tell little of it.
 * The n values are worth n * (1 - r) / (1 + r) independent ones (Bayley and Hammersley 1946).
 */
double neighbours_correlation(const double *rest, int n);

struct slope {
	double slope, low, high; /* y a t; with its interval of confidence of 95 % */
	double z; /* of the test that there is none: how many standard deviations Kendall's S is away from 0 */
};
/*
 * rest: what is left of y without the trend, to be judged by its likeness; NULL: y without the slope. careful: the variance is at least that of neighbours that correlate as above (of
 * few values Hamed and Rao's comes out too small: noise with a correlation of 0.5 passes for a trend 10 times too often when there are 20). 0 or -ENOMEM.
 */
int slope_find(const struct points *p, const double *rest, bool careful, struct slope *ret);
/* Ranks of n values around 0, from -(n - 1) / 2 on; of equal values their mean. */
void stats_ranks(const double *v, int n, double *ret);

#endif
