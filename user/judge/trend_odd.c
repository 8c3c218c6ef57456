/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Moments that stand out from the series' own past. Times vary by factors, so it is their logarithms that are looked at: the distance of a value from the mean of those before it,
 * in their standard deviations, as a new value of a normal distribution whose mean and deviation are known from so many values has it (Student's t). Neighbours that are alike
 * count as fewer (G. V. Bayley and J. M. Hammersley, "The effective number of independent observations in an autocorrelated time series", J. R. Stat. Soc. Suppl. 8, 1946).
 *
 * A tail that is heavier than that of a normal distribution shows in the values far above the mean. Then they are taken to fall off exponentially (on the logarithmic scale:
 * Pareto's law), which a value must be beyond, too: one of those by as much as x more has probability (S / (S + x))^k when k of them had the sum S (their ratio has Fisher's
 * distribution; the idea of thresholds from the tail alone is of A. Siffer et al., "Anomaly detection in streams with extreme value theory", KDD 2017).
 *
 * What stands out isn't learnt from, unless it stays: then it is the new past.
 */
#include <math.h>

#include "judge/trend_parts.h"

#define MEMORY 300.0 /* values: older ones count less and less */
#define TAIL_MEMORY 3600.0
#define SEEN_MIN 60
#define INDEPENDENT_MIN 40.0 /* of them, as far as neighbours are unlike */
#define CHANCE (TREND_FALSE_ALARMS_A_DAY / 86400)
#define CHANCE_Z 4.232137 /* what a normal distribution is beyond with that chance, on one side */
#define DEVIATION_MIN 0.05 /* histograms tell values by 2.2 %; nobody asks for less than a fifth more */
#define TAIL_FROM 2.0537 /* deviations: 2 % of a normal distribution lie beyond */
#define TAIL_MEAN 0.367 /* by so many, on the average */
#define OVER_MIN 4 /* values that tell of a tail */
#define PRIOR 4.0 /* as if so many had been seen, ... */
#define PRIOR_MEAN 0.5 /* by so much: otherwise nothing is odd beside the first few */
#define HEAVIER 3.0 /* standard errors of their mean */
#define STAYS 10 /* values in a row */

/*
 * Of Student's distribution with `freedom` degrees, 40 at least: E. A. Cornish and R. A. Fisher's expansion (M. Abramowitz and I. A. Stegun, 26.7.5), and of one that is skewed to the right
 * their term for that: a percentile of few values is nearly their largest, which is.
 */
static double limit_of(double freedom, double skewness)
{
	const double z = CHANCE_Z, z3 = z * z * z, z5 = z3 * z * z, z7 = z5 * z * z;

	return z + fmax(0, skewness) * (z * z - 1) / 6 + (z3 + z) / (4 * freedom) +
	       (5 * z5 + 16 * z3 + 3 * z) / (96 * freedom * freedom) +
	       (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * freedom * freedom * freedom);
}

static double deviation(const struct odd_watch *w)
{
	double d = sqrt(w->variance);

	return d > DEVIATION_MIN ? d : DEVIATION_MIN;
}

static bool beyond_tail(const struct odd_watch *w, double z)
{
	double over = z - TAIL_FROM, chance, sum;

	if (w->over < OVER_MIN || w->over_sum / w->over < TAIL_MEAN * (1 + HEAVIER / sqrt(w->over)))
		return true; /* no heavier than normal */
	chance = (w->over + 1) / (w->over_of + 1);
	sum = w->over_sum + PRIOR * PRIOR_MEAN;
	return chance * pow(sum / (sum + over), w->over + PRIOR) < CHANCE;
}

/* In deviations; 0: not odd, or not known yet. */
static double oddness(const struct odd_watch *w, double y)
{
	double alike, n, of_mean, of_deviation, z;

	if (w->seen < SEEN_MIN || y - w->mean < CHANCE_Z * deviation(w))
		return 0;
	alike = w->variance > 0 ? w->product / w->variance : 0;
	alike = alike < 0 ? 0 : alike > 0.99 ? 0.99 : alike;
	n = w->seen < 2 * MEMORY ? (double)w->seen : 2 * MEMORY;
	of_mean = n * (1 - alike) / (1 + alike);
	of_deviation = n * (1 - alike * alike) / (1 + alike * alike);
	if (of_deviation < INDEPENDENT_MIN)
		return 0;
	z = (y - w->mean) / deviation(w) / sqrt(1 + 1 / of_mean);
	return z > limit_of(of_deviation - 1, w->skewness) && beyond_tail(w, z) ? z : 0;
}

static void learn(struct odd_watch *w, double y)
{
	double share = 1 / (double)(w->seen + 1), off, z;

	share = share < 1 / MEMORY ? 1 / MEMORY : share;
	if (w->seen >= SEEN_MIN / 2) {
		double of = fmax(1.0 / (double)(w->seen - SEEN_MIN / 2 + 1), 1 / TAIL_MEMORY);

		z = (y - w->mean) / deviation(w);
		w->skewness += of * (z * z * z - w->skewness);
		w->over *= 1 - 1 / TAIL_MEMORY;
		w->over_sum *= 1 - 1 / TAIL_MEMORY;
		w->over_of = w->over_of * (1 - 1 / TAIL_MEMORY) + 1;
		if (z > TAIL_FROM) {
			w->over += 1;
			w->over_sum += z - TAIL_FROM;
		}
	}
	off = y - w->mean;
	w->mean += share * off;
	w->variance = (1 - share) * (w->variance + share * off * off);
	w->product += share * (off * w->before - w->product);
	w->before = w->seen ? off : 0;
	w->seen++;
}

/* Keeps the moment if it is among the farthest out. */
static void moment_keep(struct odd_watch *w)
{
	int at = w->len;

	w->count++;
	if (at == TREND_ODD_MAX) {
		at = 0;
		for (int i = 1; i < TREND_ODD_MAX; i++)
			at = w->worst_z[i] < w->worst_z[at] ? i : at;
		if (w->worst_z[at] >= w->run_z)
			return;
		for (; at < TREND_ODD_MAX - 1; at++) {
			w->worst[at] = w->worst[at + 1];
			w->worst_z[at] = w->worst_z[at + 1];
		}
	} else {
		w->len++;
	}
	w->worst[at] = w->now;
	w->worst_z[at] = w->run_z;
}

void odd_add(struct odd_watch *w, double at_s, double value)
{
	double y, z;

	if (!(value > 0) || !isfinite(value))
		return;
	y = log(value);
	z = oddness(w, y);
	if (z > 0 && ++w->run == STAYS) { /* no moment: it is like that now */
		w->seen = 0;
		w->mean = w->variance = w->product = w->before = w->over = w->over_sum = w->over_of = w->skewness = 0;
		w->run = 0;
		z = 0;
	} else if (z > 0) {
		if (w->run == 1 || z > w->run_z) {
			w->run_z = z;
			w->now = (struct trend_odd){at_s, value, exp(w->mean)};
		}
		return;
	}
	if (w->run)
		moment_keep(w);
	w->run = 0;
	learn(w, y);
}

int odd_moments(const struct odd_watch *w, struct trend_odd ret[TREND_ODD_MAX], uint64_t *ret_count)
{
	struct odd_watch all = *w;

	if (all.run)
		moment_keep(&all);
	for (int i = 0; i < all.len; i++)
		ret[i] = all.worst[i];
	*ret_count = all.count;
	return all.len;
}
