/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * When a figure changed for good. Binary segmentation (A. J. Scott and M. Knott, "A cluster analysis method for grouping means in the analysis of variance", Biometrics 30, 1974) on
 * ranks (A. N. Pettitt, "A non-parametric approach to the change-point problem", Applied Statistics 28, 1979): the split where the ranks on both sides differ most. It is a change when
 * the medians differ by more than chance explains: their distance in standard errors, from the median deviation within the sides, and with fewer values where neighbours are
 * alike (Bayley and Hammersley 1946, see trend_odd.c). What a straight line explains as well is a slope, not steps.
 */
#include <math.h>
#include <string.h>

#include "judge/trend_parts.h"

#define SIDE_MIN 5 /* points */
/* Of 1,000 series of noise of 20 points or more in which neighbours correlate by up to 0.5, at most 10 have a split beyond; of 60 points or more, by up to 0.8. */
#define ERRORS_MIN 5.5 /* standard errors */
#define MEDIAN_ERROR 1.2533 /* of a median, in those of a mean: normal distribution */
#define LINE_BETTER 0.95 /* steps must leave less than that of what a line leaves */
#define RESOLUTION 0.006 /* of a logarithm: standard deviation within a histogram's bucket */

struct split {
	int at; /* first point of the right side; 0: none */
	double errors; /* how sure */
};

static int split_best(const double *y, int n)
{
	double rank[TREND_POINTS], sum = 0, most = 0;
	int at = 0;

	stats_ranks(y, n, rank);
	for (int i = 1; i < n; i++) {
		double distance;

		sum += rank[i - 1];
		distance = sum * sum / ((double)i * (n - i));
		if (i >= SIDE_MIN && n - i >= SIDE_MIN && distance > most) {
			most = distance;
			at = i;
		}
	}
	return at;
}

/* scaled: y, or its logarithms. */
static struct split split_find(const double *y, const double *scaled, int n, const struct change_limits *limits)
{
	double rest[TREND_POINTS], left, right, deviation, alike, error;
	int at = n >= 2 * SIDE_MIN ? split_best(y, n) : 0;

	if (!at)
		return (struct split){0};
	left = stats_median(y, at);
	right = stats_median(y + at, n - at);
	if (fabs(right - left) <= fmax(limits->absolute, limits->relative * fabs(left)))
		return (struct split){0};
	left = stats_median(scaled, at);
	right = stats_median(scaled + at, n - at);
	for (int i = 0; i < n; i++)
		rest[i] = scaled[i] - (i < at ? left : right);
	deviation = fmax(stats_deviation(rest, n, 0), y == scaled ? 0 : RESOLUTION);
	alike = neighbours_correlation(rest, n);
	error = MEDIAN_ERROR * deviation * sqrt((1.0 / at + 1.0 / (n - at)) * (1 + alike) / (1 - alike));
	return (struct split){
	        fabs(right - left) > ERRORS_MIN * error ? at : 0, error > 0 ? fabs(right - left) / error : INFINITY};
}

static double left_over(const double *rest, int n)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		sum += fabs(rest[i]);
	return sum;
}

/* What a line through the medians of the outer thirds leaves (J. W. Tukey's resistant line). */
static double line_leaves(const struct points *p)
{
	double rest[TREND_POINTS], slope, middle;
	int third = p->n / 3;

	slope = (stats_median(p->y + p->n - third, third) - stats_median(p->y, third)) /
	        (stats_median(p->t + p->n - third, third) - stats_median(p->t, third));
	for (int i = 0; i < p->n; i++)
		rest[i] = p->y[i] - slope * (p->t[i] - p->t[0]);
	middle = stats_median(rest, p->n);
	for (int i = 0; i < p->n; i++)
		rest[i] -= middle;
	return left_over(rest, p->n);
}

static void steps_take(const struct points *p, const int *at, int len, double *rest)
{
	for (int s = 0; s <= len; s++) {
		int from = s ? at[s - 1] : 0, to = s < len ? at[s] : p->n;
		double level = stats_median(p->y + from, to - from);

		for (int i = from; i < to; i++)
			rest[i] = p->y[i] - level;
	}
}

int changes_find(const struct points *p, const struct change_limits *limits, int at[TREND_CHANGES_MAX], double *rest)
{
	double logs[TREND_POINTS];
	bool positive = limits->relative > 0;
	const double *scaled;
	int len = 0;

	for (int i = 0; i < p->n && positive; i++) {
		positive = p->y[i] > 0;
		logs[i] = positive ? log(p->y[i]) : 0;
	}
	scaled = positive ? logs : p->y;

	while (len < TREND_CHANGES_MAX) {
		struct split best = {0};
		int place = 0;

		for (int s = 0; s <= len; s++) {
			int from = s ? at[s - 1] : 0, to = s < len ? at[s] : p->n;
			struct split split = split_find(p->y + from, scaled + from, to - from, limits);

			if (split.at && (!best.at || split.errors > best.errors)) {
				best = (struct split){from + split.at, split.errors};
				place = s;
			}
		}
		if (!best.at)
			break;
		memmove(at + place + 1, at + place, (size_t)(len - place) * sizeof(*at));
		at[place] = best.at;
		len++;
	}
	steps_take(p, at, len, rest);
	if (!len || left_over(rest, p->n) < LINE_BETTER * line_leaves(p))
		return len;
	return 0;
}
