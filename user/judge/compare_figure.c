/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A figure of one side: its blocks, and its value when they count otherwise than once each. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "judge/compare_parts.h"
#include "lib/util.h"

#define START_S 3.0 /* of an agent: in each sample once, see start_columns() */
#define START_SHARE 5 /* of the blocks, one in so many at most */
#define STATES (LEDGERS * STATE_COUNT)

/* ---- what there is ---- */

static const struct series *series_find(const struct run_agent *a, enum measure_of of, const char *subject)
{
	for (int i = 0; i < a->len; i++)
		if (a->series[i]->of == of && !strcmp(a->series[i]->subject, subject))
			return a->series[i];
	return NULL;
}

/*
 * How many blocks, of those of one recording, the start takes: an interpreter that loads, connections that open, memory that grows. It happens once in each run and is like
 * nothing that follows: drawn as the others are, twice or not at all, it alone would make a figure look as if it varied by 10 or 20 %. So it is in each sample once.
 */
static int start_columns(const struct column *c, int len)
{
	double seconds = 0;
	int n = 0;

	while (n < len / START_SHARE && seconds < START_S) {
		seconds += c[n].agent->seconds[c[n].block];
		n++;
	}
	return n;
}

/* The blocks in which the agent was there. */
static int columns_init(
        struct figure *f, const struct compare_side *s, const char *name, enum measure_of of, const char *subject)
{
	struct column *c = calloc((size_t)s->len * BLOCKS + LANES, sizeof(*c));

	f->column = c;
	f->run_from = calloc((size_t)s->len + 1, sizeof(*f->run_from));
	f->start = calloc((size_t)s->len + 1, sizeof(*f->start));
	if (!c || !f->run_from || !f->start)
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
		f->start[f->runs] = start_columns(c + before, f->columns - before);
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

/* The number of the bucket that has the percentile, -1: the zeros. */
static int bucket_of(const struct hist *h, double share)
{
	double seen = (double)h->zero_count, wanted = share * (double)h->count;
	int i = -1;

	while (seen < wanted && i + 1 < (int)h->len)
		seen += (double)hist_bucket(h, (uint32_t)++i);
	return i;
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
	f->near = all.count ? bucket_of(&all, f->measures->share[f->id]) + 1 : 0;
	hist_fini(&all);
	return err;
}

int figure_below(struct figure *f)
{
	const struct kept *k = &f->measures->kept[measure_infos[f->id].of];

	f->below = calloc((size_t)f->buckets * (size_t)f->stride + 1, sizeof(*f->below));
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
				f->below[bucket_at(f, h, b) * f->stride + i] += (float)hist_bucket(h, b);
		for (int b = 0; b < f->buckets; b++)
			sum = f->below[b * f->stride + i] += sum;
	}
	return 0;
}

static uint64_t column_state(const struct column *c, int state)
{
	return c->agent->ledgers[c->block][state / STATE_COUNT].ns[state % STATE_COUNT];
}

static int states_init(struct figure *f)
{
	f->state = calloc(STATES, sizeof(*f->state));
	f->states = calloc((size_t)f->columns * STATES + 1, sizeof(*f->states));
	if (!f->state || !f->states)
		return -ENOMEM;
	for (int state = 0; state < STATES; state++) {
		double *row = f->states + f->states_len * f->columns;
		bool any = false;

		for (int i = 0; i < f->columns; i++) {
			row[i] = (double)column_state(&f->column[i], state);
			any = any || row[i] > 0;
		}
		if (any)
			f->state[f->states_len++] = state;
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
	if (!metrics || !f->values || !f->seconds)
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
	for (int i = 0; i < f->columns; i++)
		f->seconds[i] = c[i].agent->seconds[c[i].block];
	return expression_uses_share(e) ? states_init(f) : 0;
}

/* ---- its value when blocks count `weight` times each ---- */

/* n: a multiple of LANES. */
static double dot(const float *weight, const float *row, int n)
{
	float sum[LANES] = {0};

	for (int i = 0; i < n; i += LANES)
		for (int lane = 0; lane < LANES; lane++)
			sum[lane] += weight[i + lane] * row[i + lane];
	return ((double)sum[0] + (double)sum[1] + (double)sum[2] + (double)sum[3]) +
	       ((double)sum[4] + (double)sum[5] + (double)sum[6] + (double)sum[7]);
}
_Static_assert(LANES == 8, "sum of lanes");

/* How many values lie at or below bucket number i, from -1 on. */
static double below_at(const struct figure *f, const float *weight, int i)
{
	return i < 0 ? 0 : dot(weight, &f->below[i * f->stride], f->stride);
}

/* The logarithm of a percentile, between the borders of its bucket: in proportion to the values there. NAN: no data. It is looked for from where it lies of all of it. */
static double quantile_log(const struct figure *f, const float *weight)
{
	double all = below_at(f, weight, f->buckets - 1), wanted = f->measures->share[f->id] * all;
	int low = -1, high = f->buckets - 1; /* low: below it, or none */
	double before = 0, up_to = all;

	if (!(all > 0))
		return NAN;
	for (int at = f->near, step = 1; low + 1 < high; at = at <= low || at >= high ? (low + high) / 2 : at) {
		double n = below_at(f, weight, at);

		if (n < wanted) {
			low = at;
			before = n;
			at += step;
		} else {
			high = at;
			up_to = n;
			at -= step;
		}
		step *= 2;
	}
	return (f->offset + high + (up_to > before ? (wanted - before) / (up_to - before) : 0.5)) * ldexp(M_LN2, -f->scale);
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
	struct subject subject = {.metrics = f->scratch};
	double value;

	for (int v = 0; v < f->values_len; v++)
		f->scratch->value[f->metrics[v]] = value_sum(f, v, weight);
	for (int i = 0; i < f->columns; i++)
		subject.seconds += (double)weight[i] * f->seconds[i];
	for (int s = 0; s < f->states_len; s++) {
		double sum = 0;

		for (int i = 0; i < f->columns; i++)
			sum += (double)weight[i] * f->states[s * f->columns + i];
		sums[f->state[s] / STATE_COUNT].ns[f->state[s] % STATE_COUNT] = (uint64_t)sum;
	}
	subject.main = &sums[LEDGER_MAIN];
	subject.threads = &sums[LEDGER_THREADS];
	subject.critical = &sums[LEDGER_CRITICAL];
	value = expression_value(f->measures->expression[f->id], &subject, ret_n);
	if (measure_infos[f->id].group == GROUP_MEMORY && value == 0)
		return NAN; /* nothing is known of it */
	return value;
}

double figure_at(const struct figure *f, bool absolute, const float *weight)
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
	f->stride = (f->columns + LANES - 1) / LANES * LANES;
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
	free(f->start);
	free(f->full);
	free(f->below);
	free(f->values);
	free((void *)f->metrics);
	free(f->seconds);
	free(f->states);
	free(f->state);
}
