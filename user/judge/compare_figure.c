/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A figure of one side and how it would vary if the same was observed again: by bootstrap (B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, 1993). What is drawn
 * anew are blocks of neighbouring intervals (H. R. Kuensch, "The jackknife and the bootstrap for general stationary observations", Ann. Stat. 17, 1989), since one second looks
 * like the one before; where a side has several recordings, recordings are drawn first, then blocks of each.
 *
 * Blocks may still resemble their neighbours: then there is less to learn from them than their number says (G. V. Bayley and J. M. Hammersley, "The effective number of
 * independent observations in an autocorrelated time series", J. R. Stat. Soc. Suppl. 8, 1946).
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "judge/compare_parts.h"
#include "judge/student.h"
#include "lib/util.h"

#define SAMPLES 400
#define SAMPLES_MIN 0.9 /* of them must have data */
#define CORRELATION_MAX 0.9
#define FREEDOM_MIN 8.0 /* as far as there are blocks: beyond that a variance that is known badly would hide any change */
#define LANES 8
#define STATES (LEDGERS * STATE_COUNT)

/* ---- what there is ---- */

static const struct series *series_find(const struct run_agent *a, enum measure_of of, const char *subject)
{
	for (int i = 0; i < a->len; i++)
		if (a->series[i]->of == of && !strcmp(a->series[i]->subject, subject))
			return a->series[i];
	return NULL;
}

/* The blocks in which the agent was there. */
static int columns_init(
        struct figure *f, const struct compare_side *s, const char *name, enum measure_of of, const char *subject)
{
	struct column *c = calloc((size_t)s->len * BLOCKS + LANES, sizeof(*c));

	f->column = c;
	f->run_from = calloc((size_t)s->len + 1, sizeof(*f->run_from));
	if (!c || !f->run_from)
		return -ENOMEM;
	for (int i = 0; i < s->len; i++) {
		struct run_agent *a = NULL;
		const struct series *series;
		int before = f->columns;

		HASH_FIND_STR(s->runs[i]->agents, name, a);
		series = a ? series_find(a, of, subject) : NULL;
		for (int b = 0; a && b < BLOCKS; b++)
			if (a->seconds[b] > 0)
				c[f->columns++] = (struct column){a, series, b};
		if (f->columns > before)
			f->run_from[++f->runs] = f->columns;
	}
	return 0;
}

static const struct hist *column_hist(const struct column *c, const struct kept *k, enum metric_id m)
{
	const struct hist *h = c->series ? &c->series->hists[c->block * k->hists_len + k->index[m]] : NULL;

	return h && h->count ? h : NULL;
}

/* Where a bucket of h is among those of all, whose scale is the coarsest. */
static int32_t bucket_at(const struct figure *f, const struct hist *h, uint32_t i)
{
	return ((h->offset + (int32_t)i) >> (h->scale - f->scale)) - f->offset;
}

/* What all of it comes to; where the buckets are is for when it is resampled. */
static int quantile_init(struct figure *f)
{
	const struct kept *k = &f->measures->kept[measure_infos[f->id].of];
	enum metric_id m = f->measures->metric[f->id];
	struct hist all;
	int err = 0;

	hist_init(&all);
	for (int i = 0; i < f->columns && !err; i++) {
		const struct hist *h = column_hist(&f->column[i], k, m);

		f->full[i] = h;
		if (h)
			err = hist_merge(&all, h);
	}
	f->scale = all.scale;
	f->n = all.count;
	f->value = all.count ? hist_quantile(&all, f->measures->share[f->id]) : NAN;
	if (metric_infos[m].unit == UNIT_NS)
		f->value *= 1e-9;
	f->offset = all.offset - 1; /* the first bucket are the zeros */
	f->buckets = (int)all.len + 1;
	hist_fini(&all);
	return err;
}

static int below_init(struct figure *f)
{
	const struct kept *k = &f->measures->kept[measure_infos[f->id].of];

	f->below = calloc((size_t)f->buckets * (size_t)f->columns + 1, sizeof(*f->below));
	if (!f->below)
		return -ENOMEM;
	for (int i = 0; i < f->columns; i++) {
		const struct hist *h = column_hist(&f->column[i], k, f->measures->metric[f->id]);
		float sum = 0;

		if (!h)
			continue;
		f->below[i] = (float)h->zero_count;
		for (uint32_t b = 0; b < h->len; b++)
			if (hist_bucket(h, b)) /* those at the ends may be none of all */
				f->below[bucket_at(f, h, b) * f->columns + i] += (float)hist_bucket(h, b);
		for (int b = 0; b < f->buckets; b++)
			sum = f->below[b * f->columns + i] += sum;
	}
	return 0;
}

static int values_init(struct figure *f)
{
	const struct column *c = f->column;
	const struct expression *e = f->measures->expression[f->id];
	const struct kept *k = &f->measures->kept[measure_infos[f->id].of];
	enum metric_id *metrics;
	int wanted = 0;

	f->metrics = metrics = calloc((size_t)k->values_len + 1, sizeof(*metrics));
	f->values = calloc((size_t)k->values_len * (size_t)f->columns + 1, sizeof(*f->values));
	f->seconds = calloc((size_t)f->columns + 1, sizeof(*f->seconds));
	f->states = expression_uses_share(e) ? calloc((size_t)f->columns * STATES + 1, sizeof(*f->states)) : NULL;
	if (!metrics || !f->values || !f->seconds || (expression_uses_share(e) && !f->states))
		return -ENOMEM;
	for (int v = 0; v < k->values_len; v++) {
		if (!expression_uses(e, k->value[v]))
			continue;
		metrics[wanted] = k->value[v];
		for (int i = 0; i < f->columns; i++)
			if (c[i].series)
				f->values[wanted * f->columns + i] = c[i].series->values[c[i].block * k->values_len + v];
		wanted++;
	}
	f->values_len = wanted;
	for (int i = 0; i < f->columns; i++) {
		f->seconds[i] = c[i].agent->seconds[c[i].block];
		for (int state = 0; f->states && state < STATES; state++)
			f->states[i * STATES + state] =
			        (double)c[i].agent->ledgers[c[i].block][state / STATE_COUNT].ns[state % STATE_COUNT];
	}
	return 0;
}

/* ---- its value when blocks count `weight` times each ---- */

static double dot(const float *weight, const float *row, int n)
{
	float sum[LANES] = {0};
	double all = 0;
	int i = 0;

	for (; i + LANES <= n; i += LANES)
		for (int lane = 0; lane < LANES; lane++)
			sum[lane] += weight[i + lane] * row[i + lane];
	for (; i < n; i++)
		sum[0] += weight[i] * row[i];
	for (int lane = 0; lane < LANES; lane++)
		all += (double)sum[lane];
	return all;
}

/* The logarithm of a percentile, between the borders of its bucket: in proportion to the values there. NAN: no data. */
static double quantile_log(const struct figure *f, const float *weight)
{
	double all = dot(weight, &f->below[(f->buckets - 1) * f->columns], f->columns);
	double wanted = f->measures->share[f->id] * all, before, up_to;
	int low = 0, high = f->buckets - 1;

	if (!(all > 0))
		return NAN;
	while (low < high) {
		int middle = (low + high) / 2;

		if (dot(weight, &f->below[middle * f->columns], f->columns) < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	up_to = dot(weight, &f->below[low * f->columns], f->columns);
	before = low ? dot(weight, &f->below[(low - 1) * f->columns], f->columns) : 0;
	return (f->offset + low + (up_to > before ? (wanted - before) / (up_to - before) : 0.5)) * ldexp(M_LN2, -f->scale);
}

static uint64_t value_sum(const struct figure *f, int v, const float *weight)
{
	const struct kept_value *of = &f->values[v * f->columns];
	enum metric_type type = metric_infos[f->metrics[v]].type;
	double sum = 0, seconds = 0;

	for (int i = 0; i < f->columns; i++) {
		if (type == METRIC_PEAK) {
			sum = weight[i] > 0 && of[i].sum > sum ? of[i].sum : sum;
			continue;
		}
		sum += (double)weight[i] * of[i].sum;
		seconds += (double)weight[i] * of[i].seconds;
	}
	if (type == METRIC_GAUGE)
		sum = seconds > 0 ? sum / seconds : 0;
	return (uint64_t)llround(sum);
}

static double expression_at(const struct figure *f, const float *weight, uint64_t *ret_n)
{
	struct ledger sums[LEDGERS] = {0};
	double states[STATES] = {0};
	struct subject subject = {.metrics = f->scratch};
	double value;

	for (int v = 0; v < f->values_len; v++)
		f->scratch->value[f->metrics[v]] = value_sum(f, v, weight);
	for (int i = 0; i < f->columns; i++) {
		subject.seconds += (double)weight[i] * f->seconds[i];
		for (int state = 0; f->states && state < STATES; state++)
			states[state] += (double)weight[i] * f->states[i * STATES + state];
	}
	for (int state = 0; f->states && state < STATES; state++)
		sums[state / STATE_COUNT].ns[state % STATE_COUNT] = (uint64_t)states[state];
	subject.main = &sums[LEDGER_MAIN];
	subject.threads = &sums[LEDGER_THREADS];
	subject.critical = &sums[LEDGER_CRITICAL];
	value = expression_value(f->measures->expression[f->id], &subject, ret_n);
	if (measure_infos[f->id].group == GROUP_MEMORY && value == 0)
		return NAN; /* nothing is known of it */
	return value;
}

/* The logarithm, or (absolute) the value itself. */
static double figure_at(const struct figure *f, bool absolute, const float *weight)
{
	double value;

	if (f->measures->quantile[f->id]) {
		value = quantile_log(f, weight);
		return absolute ? exp(value) : value;
	}
	value = expression_at(f, weight, NULL);
	return absolute ? value : value > 0 ? log(value) : NAN;
}

/* ---- making it ---- */

static int figure_values(struct figure *f)
{
	_cleanup_free_ float *weight = calloc((size_t)f->columns + 1, sizeof(*weight));

	if (!weight)
		return -ENOMEM;
	for (int i = 0; i < f->columns; i++) {
		weight[i] = 1;
		f->full[i] = !isnan(expression_at(f, weight, NULL));
		weight[i] = 0;
	}
	for (int i = 0; i < f->columns; i++)
		weight[i] = 1;
	f->value = f->columns ? expression_at(f, weight, &f->n) : NAN;
	return 0;
}

int figure_init(struct figure *f, const struct compare_side *s, const char *name, enum measure_of of, const char *subject,
        enum measure_id id, struct metric_set *scratch)
{
	int err;

	*f = (struct figure){.id = id, .measures = &s->measures, .scratch = scratch, .value = NAN};
	err = columns_init(f, s, name, of, subject);
	if (err)
		return err;
	f->full = calloc((size_t)f->columns + 1, sizeof(*f->full));
	if (!f->full)
		return -ENOMEM;
	err = s->measures.quantile[id] ? quantile_init(f) : values_init(f);
	if (!err && !s->measures.quantile[id])
		err = figure_values(f);
	for (int r = 0; r < f->runs; r++) {
		int full = 0;

		for (int i = f->run_from[r]; i < f->run_from[r + 1]; i++)
			full += f->full[i];
		f->columns_full += full;
		f->runs_full += full > 0;
	}
	if (f->n == UINT64_MAX) { /* a rate, a share, a size: observed so often */
		f->n = 0;
		for (int i = 0; i < f->columns; i++)
			f->n += f->column[i].agent->intervals[f->column[i].block];
	}
	return err;
}

void figure_fini(struct figure *f)
{
	free(f->column);
	free(f->run_from);
	free(f->full);
	free(f->below);
	free(f->values);
	free((void *)f->metrics);
	free(f->seconds);
	free(f->states);
}

/* ---- how it varies ---- */

/* How blocks resemble their neighbours, of one recording: by how the figure changes when one is left out (the jackknife). 0 where they don't. */
static double correlation(const struct figure *f, bool absolute, float *weight)
{
	double part[BLOCKS], mean = 0, squares = 0, products = 0, r, n;
	int len = 0;

	for (int i = 0; i < f->columns; i++)
		weight[i] = 1;
	for (int i = 0; i < f->columns; i++) {
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
	memset(weight, 0, (size_t)f->columns * sizeof(*weight));
	for (int r = 0; r < f->runs; r++) {
		int run = f->runs > 1 ? (int)random_below(seed, (uint32_t)f->runs) : 0;
		uint32_t len = (uint32_t)(f->run_from[run + 1] - f->run_from[run]);

		for (uint32_t i = 0; i < len; i++)
			weight[f->run_from[run] + (int)random_below(seed, len)]++;
	}
}

int figure_spread(struct figure *f, bool absolute, uint64_t *seed, struct spread *ret)
{
	_cleanup_free_ float *weight = calloc((size_t)f->columns + 1, sizeof(*weight));
	double mean = 0, squares = 0, n = f->runs_full > 1 ? f->runs_full : f->columns_full;
	int known = 0;

	*ret = (struct spread){0};
	if (!weight || (f->measures->quantile[f->id] && !f->below && below_init(f)))
		return -ENOMEM;
	for (int i = 0; i < SAMPLES && n > 1; i++) {
		double value, step;

		sample_draw(f, seed, weight);
		value = figure_at(f, absolute, weight);
		if (isnan(value))
			continue;
		step = value - mean;
		mean += step / ++known;
		squares += step * (value - mean);
	}
	ret->known = known >= SAMPLES_MIN * SAMPLES;
	if (!ret->known)
		return 0;
	ret->variance = squares / (known - 1) * n / (n - 1); /* of n values the variance comes out too small by that */
	if (f->runs_full == 1 && f->runs == 1) {
		double r = correlation(f, absolute, weight);

		ret->variance *= (1 + r) / (1 - r);
		n = fmax(n * (1 - r) / (1 + r), fmin(n, FREEDOM_MIN + 1));
	}
	ret->freedom = n - 1;
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
