/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Slope and interval: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968). Resident memory of one second looks like
 * that of the second before, so the interval is widened as K. H. Hamed and A. R. Rao do in "A modified Mann-Kendall trend test for autocorrelated
 * data", J. Hydrology 204 (1998).
 *
 * What that test calls a trend is not always one to warn of: a program that has warmed up, one that took a large block once, a heap that grows until the next
 * collection. So only the latter part of the series is judged, and the growth must go on through all of it.
 */
#include "judge/outlook.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define POINTS_MIN 20
#define SPAN_MIN_S 10.0
#define JUDGED_FROM (1.0 / 3) /* of the time; before that a program may warm up */
#define MATERIAL_BYTES (1024.0 * 1024)
#define MATERIAL_SHARE 0.01 /* of the level */
#define Z_95 1.959964 /* two-sided, of the normal distribution */
#define PARTS 6 /* of the judged time */
#define STEPS (PARTS - 1)
#define STUDENT 5.0 /* quantile 0.99625 of Student's t with STEPS - 1 degrees of freedom: random walks pass in 1 of 100 */

const char *const outlook_names[4] = { "insufficient data", "steady", "growing", "shrinking" };

void outlook_add(struct outlook_series *s, double t_s, uint64_t rss_bytes, uint64_t limit_bytes, uint64_t left_bytes)
{
	if (!isfinite(t_s) || (s->len && t_s <= s->t_s[s->len - 1]))
		return;
	s->limit_bytes = limit_bytes;
	s->left_bytes = left_bytes;
	if (!s->every)
		s->every = 1;
	if (++s->skipped < s->every)
		return;
	s->skipped = 0;
	if (s->len == OUTLOOK_POINTS) {
		for (int i = 0; i < OUTLOOK_POINTS / 2; i++) {
			s->t_s[i] = s->t_s[2 * i + 1];
			s->bytes[i] = s->bytes[2 * i + 1];
		}
		s->len = OUTLOOK_POINTS / 2;
		s->skipped = s->every; /* this one is half way to the next */
		s->every *= 2;
		return;
	}
	s->t_s[s->len] = t_s;
	s->bytes[s->len++] = (double)rss_bytes;
}

/* ---- order ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The k-th smallest, from 0; orders v in part (C. A. R. Hoare, "Algorithm 65: find", CACM 4 (1961)). */
static double nth(double *v, long n, long k)
{
	long low = 0, high = n - 1;

	while (low < high) {
		double pivot = v[low + (high - low) / 2];
		long i = low, j = high;

		while (i <= j) {
			while (v[i] < pivot)
				i++;
			while (v[j] > pivot)
				j--;
			if (i <= j) {
				double t = v[i];

				v[i++] = v[j];
				v[j--] = t;
			}
		}
		if (k <= j)
			high = j;
		else if (k >= i)
			low = i;
		else
			break;
	}
	return v[k];
}

static double median(const double *from, int n)
{
	double v[OUTLOOK_POINTS];

	memcpy(v, from, n * sizeof(*v));
	qsort(v, n, sizeof(*v), compare);
	return (v[(n - 1) / 2] + v[n / 2]) / 2;
}

/* ---- the trend ---- */

struct part { /* of the series, that is judged */
	const double *t, *y;
	int n;
};

static struct part judged(const struct outlook_series *s)
{
	double from = s->t_s[0] + (s->t_s[s->len - 1] - s->t_s[0]) * JUDGED_FROM;
	int first = 0;

	while (s->t_s[first] < from)
		first++;
	return (struct part){ s->t_s + first, s->bytes + first, s->len - first };
}

/* Variance of Kendall's S where no value depends on another; equal values count less. */
static double kendall_variance(const struct part *p)
{
	double v[OUTLOOK_POINTS], n = p->n, sum = n * (n - 1) * (2 * n + 5);

	memcpy(v, p->y, p->n * sizeof(*v));
	qsort(v, p->n, sizeof(*v), compare);
	for (int i = 0, j; i < p->n; i = j) {
		double ties;

		for (j = i; j < p->n && v[j] == v[i]; j++)
			;
		ties = j - i;
		sum -= ties * (ties - 1) * (2 * ties + 5);
	}
	return sum / 18;
}

/* Mean-free ranks of what the trend leaves over. */
static void ranks_of_rest(const struct part *p, double slope, double *ret)
{
	double rest[OUTLOOK_POINTS];

	for (int i = 0; i < p->n; i++)
		rest[i] = p->y[i] - slope * (p->t[i] - p->t[0]);
	for (int i = 0; i < p->n; i++) {
		int below = 0, same = 0;

		for (int j = 0; j < p->n; j++) {
			below += rest[j] < rest[i];
			same += rest[j] == rest[i];
		}
		ret[i] = below + (same + 1) / 2.0 - (p->n + 1) / 2.0;
	}
}

/* By how much neighbours' likeness makes the variance larger (Hamed and Rao, formula 16); of lags, those up to the first that shows none. */
static double likeness(const struct part *p, double slope)
{
	double ranks[OUTLOOK_POINTS], n = p->n, power = 0, sum = 0;

	ranks_of_rest(p, slope, ranks);
	for (int i = 0; i < p->n; i++)
		power += ranks[i] * ranks[i];
	for (int lag = 1; lag < p->n - 2 && power > 0; lag++) {
		double product = 0;

		for (int i = 0; i + lag < p->n; i++)
			product += ranks[i] * ranks[i + lag];
		if (product / power < Z_95 / sqrt(n))
			break;
		sum += (n - lag) * (n - lag - 1) * (n - lag - 2) * product / power;
	}
	return 1 + 2 / (n * (n - 1) * (n - 2)) * sum;
}

/* Median of the slopes of all pairs, and the order statistics that bound it. False: out of memory. */
static bool slopes_find(const struct part *p, struct outlook *ret)
{
	long pairs = (long)p->n * (p->n - 1) / 2, k = 0, low, high;
	double *v = malloc(pairs * sizeof(*v)), reach;

	if (!v)
		return false;
	for (int i = 0; i < p->n; i++)
		for (int j = i + 1; j < p->n; j++)
			v[k++] = (p->y[j] - p->y[i]) / (p->t[j] - p->t[i]);
	ret->slope = (nth(v, pairs, (pairs - 1) / 2) + nth(v, pairs, pairs / 2)) / 2;
	reach = Z_95 * sqrt(kendall_variance(p) * likeness(p, ret->slope));
	low = (long)floor((pairs - reach) / 2) - 1;
	high = (long)ceil((pairs + reach) / 2);
	ret->low = nth(v, pairs, low < 0 ? 0 : low);
	ret->high = nth(v, pairs, high >= pairs ? pairs - 1 : high);
	free(v);
	return true;
}

/* ---- the verdict ---- */

static bool material(const struct part *p, double slope)
{
	double growth = fabs(slope) * (p->t[p->n - 1] - p->t[0]);

	return growth > MATERIAL_BYTES && growth > MATERIAL_SHARE * median(p->y, p->n);
}

/*
 * Whether it went on all the time: the steps from part to part, whose levels are their medians, are alike, by Student's test that their mean is not 0.
 * That leaves out who takes a step or two, who comes to rest, and who strays.
 */
static bool goes_on(const struct part *p, double slope)
{
	double level[PARTS], mean, square = 0;

	for (int i = 0; i < PARTS; i++) {
		int from = p->n * i / PARTS, to = p->n * (i + 1) / PARTS;

		level[i] = median(p->y + from, to - from);
	}
	mean = (level[PARTS - 1] - level[0]) / STEPS;
	if (mean * slope <= 0)
		return false;
	for (int i = 1; i < PARTS; i++) {
		double off = level[i] - level[i - 1] - mean;

		square += off * off;
	}
	return fabs(mean) > STUDENT * sqrt(square / (STEPS - 1) / STEPS);
}

static void limit_judge(const struct outlook_series *s, struct outlook *ret)
{
	ret->limit_bytes = s->limit_bytes;
	if (ret->verdict != OUTLOOK_GROWING || !s->limit_bytes)
		return;
	ret->to_limit_s = s->left_bytes / ret->slope;
	ret->to_limit_low_s = s->left_bytes / ret->high;
	ret->to_limit_high_s = s->left_bytes / ret->low;
}

void outlook_judge(const struct outlook_series *s, struct outlook *ret)
{
	struct part p;

	*ret = (struct outlook){ .verdict = OUTLOOK_INSUFFICIENT, .to_limit_s = -1, .to_limit_low_s = -1, .to_limit_high_s = -1 };
	ret->limit_bytes = s->limit_bytes;
	if (s->len < POINTS_MIN || s->t_s[s->len - 1] - s->t_s[0] < SPAN_MIN_S)
		return;
	p = judged(s);
	if (p.n < 2 * PARTS || !slopes_find(&p, ret))
		return;
	ret->verdict = OUTLOOK_STEADY;
	if (material(&p, ret->slope) && goes_on(&p, ret->slope))
		ret->verdict = ret->low > 0 ? OUTLOOK_GROWING : ret->high < 0 ? OUTLOOK_SHRINKING : OUTLOOK_STEADY;
	limit_judge(s, ret);
}
