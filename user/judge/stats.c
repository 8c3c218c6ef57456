/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Slope and interval: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968). One second looks like the one before, so the
 * variance is widened as K. H. Hamed and A. R. Rao do in "A modified Mann-Kendall trend test for autocorrelated data", J. Hydrology 204 (1998).
 */
#include "judge/stats.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CORRELATION_MAX 0.95
#define MAD_TO_DEVIATION 1.482602 /* of a normal distribution */

/* D. L. Shell, "A high-speed sorting procedure", CACM 2 (1959), with M. Ciura's gaps: short arrays are sorted four times as quickly as with a function to call. */
static void sort(double *v, int n)
{
	static const int gaps[] = {301, 132, 57, 23, 10, 4, 1};

	for (size_t g = 0; g < sizeof(gaps) / sizeof(*gaps); g++)
		for (int i = gaps[g]; i < n; i++) {
			double x = v[i];
			int at = i;

			for (; at >= gaps[g] && v[at - gaps[g]] > x; at -= gaps[g])
				v[at] = v[at - gaps[g]];
			v[at] = x;
		}
}

/* How many of v[low..high] are below the pivot (or_equal: or the same): they come first then. Without branches that depend on the values, whose outcome nobody can predict. */
static long divide(double *v, long low, long high, double pivot, bool or_equal)
{
	long at = low;

	for (long i = low; i <= high; i++) {
		double x = v[i];

		v[i] = v[at];
		v[at] = x;
		at += or_equal ? x <= pivot : x < pivot;
	}
	return at - low;
}

#define SAMPLE 9
#define FEW 24 /* values that are sorted at once */

/* One near the k-th: of a sample the one that has as many below. */
static double pivot_of(const double *v, long low, long high, long k)
{
	double sample[SAMPLE], n = (double)(high - low + 1);

	for (int i = 0; i < SAMPLE; i++)
		sample[i] = v[low + (long)(n * (2 * i + 1) / (2 * SAMPLE))];
	sort(sample, SAMPLE);
	return sample[(int)((double)(k - low) / n * SAMPLE)];
}

/* C. A. R. Hoare, "Algorithm 65: find", CACM 4 (1961), with pivots from samples, as R. W. Floyd and R. L. Rivest have them in "Expected time bounds for selection", CACM 18 (1975). */
double stats_nth(double *v, long n, long k)
{
	long low = 0, high = n - 1;

	while (high - low >= FEW) {
		double pivot = pivot_of(v, low, high, k);
		long below = divide(v, low, high, pivot, false);

		if (k < low + below) {
			high = low + below - 1;
			continue;
		}
		low += below;
		below = divide(v, low, high, pivot, true);
		if (k < low + below) /* all of these are the same */
			return pivot;
		low += below;
	}
	sort(v + low, (int)(high - low + 1));
	return v[k];
}

static double largest(const double *v, long n)
{
	double most = v[0];

	for (long i = 1; i < n; i++)
		most = v[i] > most ? v[i] : most;
	return most;
}

double stats_median(const double *from, int n)
{
	double v[STATS_POINTS], upper;

	memcpy(v, from, (size_t)n * sizeof(*v));
	upper = stats_nth(v, n, n / 2);
	if (n % 2)
		return upper;
	return (largest(v, n / 2) + upper) / 2; /* those before are not larger */
}

double stats_deviation(const double *v, int n, double from)
{
	double off[STATS_POINTS];

	for (int i = 0; i < n; i++)
		off[i] = fabs(v[i] - from);
	return MAD_TO_DEVIATION * stats_median(off, n);
}

double kendall_variance(const double *y, int len)
{
	double v[STATS_POINTS], n = len, sum = n * (n - 1) * (2 * n + 5);

	memcpy(v, y, (size_t)len * sizeof(*v));
	sort(v, len);
	for (int i = 0, j; i < len; i = j) {
		double ties;

		for (j = i; j < len && v[j] == v[i]; j++)
			;
		ties = j - i;
		sum -= ties * (ties - 1) * (2 * ties + 5);
	}
	return sum / 18;
}

void stats_ranks(const double *v, int n, double *ret)
{
	double sorted[STATS_POINTS];

	memcpy(sorted, v, (size_t)n * sizeof(*v));
	sort(sorted, n);
	for (int i = 0; i < n; i++) {
		int first = 0, last = n; /* of those equal to it */

		for (int high = n; first < high;) {
			int at = (first + high) / 2;

			if (sorted[at] < v[i])
				first = at + 1;
			else
				high = at;
		}
		for (int low = first; low < last;) {
			int at = (low + last) / 2;

			if (sorted[at] > v[i])
				last = at;
			else
				low = at + 1;
		}
		ret[i] = (first + last + 1) / 2.0 - (n + 1) / 2.0;
	}
}

/* Hamed and Rao, formula 16; of lags, those up to the first that shows none. */
double kendall_likeness(const double *rest, int len)
{
	double ranks[STATS_POINTS], n = len, power = 0, sum = 0;

	stats_ranks(rest, len, ranks);
	for (int i = 0; i < len; i++)
		power += ranks[i] * ranks[i];
	for (int lag = 1; lag < len - 2 && power > 0; lag++) {
		double product = 0;

		for (int i = 0; i + lag < len; i++)
			product += ranks[i] * ranks[i + lag];
		if (product / power < STATS_Z_95 / sqrt(n))
			break;
		sum += (n - lag) * (n - lag - 1) * (n - lag - 2) * product / power;
	}
	return 1 + 2 / (n * (n - 1) * (n - 2)) * sum;
}

/* Bias of the estimate where two levels, or a line, were taken away: F. H. C. Marriott and J. A. Pope, "Bias in the estimation of autocorrelations", Biometrika 41 (1954). */
double neighbours_correlation(const double *rest, int len)
{
	double ranks[STATS_POINTS], n = len, power = 0, product = 0, r;

	stats_ranks(rest, len, ranks);
	for (int i = 0; i < len; i++) {
		power += ranks[i] * ranks[i];
		product += i ? ranks[i] * ranks[i - 1] : 0;
	}
	r = power > 0 ? product / power : 0;
	r = n > 12 ? (r * n + 2) / (n - 4) : r + 2 / n;
	r = fmax(0, fmin(CORRELATION_MAX, r));
	return fmin(CORRELATION_MAX, r + sqrt((1 - r * r) / n));
}

/* Median of the slopes of all pairs, and the order statistics that bound it. */
int slope_find(const struct points *p, const double *rest, bool careful, struct slope *ret)
{
	long pairs = (long)p->n * (p->n - 1) / 2, k = 0, score = 0, middle, low, high;
	double *v = malloc((size_t)pairs * sizeof(*v)), flat[STATS_POINTS], deviation, reach, likeness, r;

	if (!v)
		return -ENOMEM;
	for (int i = 0; i < p->n; i++)
		for (int j = i + 1; j < p->n; j++)
			v[k++] = (p->y[j] - p->y[i]) / (p->t[j] - p->t[i]);
	for (long i = 0; i < pairs; i++)
		score += (v[i] > 0) - (v[i] < 0);
	middle = pairs / 2;
	ret->slope = stats_nth(v, pairs, middle); /* those before are not larger, those behind not smaller */
	if (pairs % 2 == 0)
		ret->slope = (ret->slope + largest(v, middle)) / 2;
	for (int i = 0; i < p->n; i++)
		flat[i] = p->y[i] - ret->slope * (p->t[i] - p->t[0]);
	rest = rest ? rest : flat;
	likeness = kendall_likeness(rest, p->n);
	r = careful ? neighbours_correlation(rest, p->n) : 0;
	deviation = sqrt(kendall_variance(p->y, p->n) * fmax(likeness, (1 + r) / (1 - r)));
	reach = STATS_Z_95 * deviation;
	low = (long)floor(((double)pairs - reach) / 2) - 1;
	high = (long)ceil(((double)pairs + reach) / 2);
	ret->low = low >= middle ? v[middle] : stats_nth(v, middle, low < 0 ? 0 : low);
	ret->high = high <= middle
	                    ? v[middle]
	                    : stats_nth(v + middle + 1, pairs - middle - 1, (high >= pairs ? pairs - 1 : high) - middle - 1);
	ret->z = deviation > 0 && score ? (double)(score - (score > 0) + (score < 0)) / deviation : 0;
	free(v);
	return 0;
}
