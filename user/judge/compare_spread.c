/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How a figure of one side would vary if the same was observed again: by bootstrap (B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, 1993). What is drawn
 * anew are blocks of neighbouring intervals (H. R. Kuensch, "The jackknife and the bootstrap for general stationary observations", Ann. Stat. 17, 1989), since one second looks
 * like the one before; where a side has several recordings, recordings are drawn first, then blocks of each.
 *
 * Blocks may still resemble their neighbours: then there is less to learn from them than their number says (G. V. Bayley and J. M. Hammersley, "The effective number of
 * independent observations in an autocorrelated time series", J. R. Stat. Soc. Suppl. 8, 1946).
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "judge/compare_parts.h"
#include "judge/student.h"
#include "lib/util.h"

#define KNOWN_MIN 0.9 /* of the samples must have data */
#define CORRELATION_MAX 0.9
#define FREEDOM_MIN 8.0 /* as far as there are blocks: beyond that a variance that is known badly would hide any change */

/* How blocks resemble their neighbours, of one recording: by how the figure changes when one is left out (the jackknife). 0 where they don't. */
static double correlation(const struct figure *f, bool absolute, float *weight)
{
	double part[BLOCKS], mean = 0, squares = 0, products = 0, r, n;
	int len = 0;

	for (int i = 0; i < f->columns; i++)
		weight[i] = 1;
	for (int i = f->start[0]; i < f->columns; i++) {
		if (!f->full[i])
			continue;
		weight[i] = 0;
		part[len] = figure_at(f, absolute, weight);
		weight[i] = 1;
		if (isnan(part[len]))
			return 0;
		mean += part[len++];
	}
	for (int i = 0; i < len; i++) {
		squares += (part[i] - mean / len) * (part[i] - mean / len);
		if (i)
			products += (part[i] - mean / len) * (part[i - 1] - mean / len);
	}
	if (!(squares > 0))
		return 0;
	n = len;
	r = products / squares;
	r = n >= 12 ? (r * n + 1) / (n - 4)
	            : r + 1 / n; /* it comes out too low by (1 + 4 r) / n: F. H. C. Marriott and J. A. Pope, "Bias in the estimation of autocorrelations", Biometrika 41 (1954) */
	return r < 0 ? 0 : r > CORRELATION_MAX ? CORRELATION_MAX : r;
}

static void sample_draw(const struct figure *f, uint64_t *seed, float *weight)
{
	for (int r = 0; r < f->runs; r++) {
		int run = f->runs > 1 ? (int)random_below(seed, (uint32_t)f->runs) : 0;
		int from = f->run_from[run], start = f->start[run];
		uint32_t len = (uint32_t)(f->run_from[run + 1] - from - start);

		for (int i = 0; i < start; i++)
			weight[from + i]++;
		for (uint32_t i = 0; i < len; i++)
			weight[from + start + (int)random_below(seed, len)]++;
	}
}

static int samples_draw(struct samples *s, const struct figure *f)
{
	s->weight = calloc((size_t)SAMPLES * (size_t)f->stride + 1, sizeof(*s->weight));
	if (!s->weight)
		return -ENOMEM;
	for (int i = 0; i < SAMPLES; i++)
		sample_draw(f, &s->seed, s->weight + i * f->stride);
	return 0;
}

void samples_fini(struct samples *s)
{
	free(s->weight);
	s->weight = NULL;
}

/* Blocks with data but for the start. */
static int columns_later(const struct figure *f)
{
	int n = 0;

	for (int r = 0; r < f->runs; r++)
		for (int i = f->run_from[r] + f->start[r]; i < f->run_from[r + 1]; i++)
			n += f->full[i];
	return n;
}

/* What is drawn: recordings, or blocks of the only one. */
static int draws(const struct figure *f)
{
	return f->runs_full > 1 ? f->runs_full : columns_later(f);
}

/* What the samples so far say. 0 or -ENOMEM. */
static int spread_known(const struct figure *f, bool absolute, struct spread *s)
{
	double n = draws(f), later = columns_later(f);
	_cleanup_free_ float *weight = NULL;

	s->known = s->samples > 1 && s->with_data >= KNOWN_MIN * s->samples;
	if (!s->known)
		return 0;
	s->variance = s->squares / (s->with_data - 1) * n / (n - 1); /* of n values the variance comes out too small by that */
	s->variance *= f->columns_full / fmax(later, 1); /* the start varies, too: as much as others do */
	if (f->runs_full == 1 && f->runs == 1) {
		if (isnan(s->alike)) {
			weight = calloc((size_t)f->stride + 1, sizeof(*weight));
			if (!weight)
				return -ENOMEM;
			s->alike = correlation(f, absolute, weight);
		}
		s->variance *= (1 + s->alike) / (1 - s->alike);
		n = fmax(n * (1 - s->alike) / (1 + s->alike), fmin(n, FREEDOM_MIN + 1));
	}
	s->freedom = n - 1;
	return 0;
}

int figure_spread(struct figure *f, bool absolute, struct samples *samples, int upto, struct spread *s)
{
	int err = samples->weight ? 0 : samples_draw(samples, f);

	if (!err && f->measures->quantile[f->id] && !f->below)
		err = figure_below(f);
	if (err)
		return err;
	if (!s->samples)
		*s = (struct spread){.alike = NAN};
	if (draws(f) < 2)
		return 0;
	for (; s->samples < upto; s->samples++) {
		double value = figure_at(f, absolute, samples->weight + s->samples * f->stride), step;

		if (isnan(value))
			continue;
		step = value - s->mean;
		s->mean += step / ++s->with_data;
		s->squares += step * (value - s->mean);
	}
	return spread_known(f, absolute, s);
}

int figure_later(const struct figure *f, bool absolute, double *ret)
{
	_cleanup_free_ float *weight = calloc((size_t)f->stride + 1, sizeof(*weight));

	if (!weight)
		return -ENOMEM;
	for (int r = 0; r < f->runs; r++)
		for (int i = f->run_from[r] + f->start[r]; i < f->run_from[r + 1]; i++)
			weight[i] = 1;
	*ret = figure_at(f, absolute, weight);
	return 0;
}

static int order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", J. R. Stat. Soc. B 57 (1995). */
double false_discovery_limit(double *p, int len, double rate)
{
	qsort(p, (size_t)len, sizeof(*p), order);
	for (int k = len; k > 0; k--)
		if (p[k - 1] <= rate * k / len)
			return p[k - 1];
	return -1;
}
