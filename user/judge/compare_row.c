/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * One row. The change of a figure is the difference of logarithms (of errors: of shares); its interval and p come from the spread of either side by Student's t, with
 * degrees of freedom after B. L. Welch, "The generalization of 'Student's' problem when several different population variances are involved", Biometrika 34 (1947).
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "judge/compare_parts.h"
#include "judge/student.h"

#define BLOCKS_MIN 5 /* with data, on each side, unless it has as many recordings */
#define BEYOND_MIN 5 /* values beyond a percentile */
#define VALUES_MIN 20
#define LOST_MAX 0.05 /* of the records */
#define RESOLUTION 0.0063 /* of a percentile: deviation of a value within its bucket, b - 1 = 2.2 % wide */
#define DOUBT 1.8 /* times: what the variance from SAMPLES_FEW may be off, by four of its standard errors */
#define DETECTABLE_ROWS 1000
#define SAMPLES_STABLE 40 /* where the change is within its limit: enough for what could have been seen */
#define SURE_CHANGED 1e-7 /* below what is kept of 500,000 comparisons */
#define SURE_STABLE 0.1 /* nothing with more is kept */

/* Values that a percentile, or a share of failures, needs. */
static uint64_t values_needed(const struct figure *f)
{
	double beyond = 1 - f->measures->share[f->id];
	double n = f->measures->quantile[f->id] ? ceil(BEYOND_MIN / beyond - 1e-6) : VALUES_MIN;

	return n > VALUES_MIN ? (uint64_t)n : VALUES_MIN;
}

static bool counts_values(const struct figure *f)
{
	return f->measures->quantile[f->id] || measure_infos[f->id].group == GROUP_ERRORS;
}

/* Why nothing can be said for this side; NULL: something can. */
static const char *side_insufficient(struct work *w, const struct figure *f, int side)
{
	const struct compare_side *s = w->side[side];
	unsigned probes = expression_probes(f->measures->expression[f->id]);

	for (int i = 0; i < s->len; i++) {
		for (int p = 0; p < PROBE_COUNT; p++)
			if (probes & s->runs[i]->probes_off & 1U << p)
				return keep(w, "%s: probe %s was off", side_names[side], probe_infos[p].name);
		if (s->runs[i]->lost > LOST_MAX)
			return keep(w, "%s: %.0f %% of the records were lost", side_names[side], s->runs[i]->lost * 100);
		if (counts_values(f) && probes & s->runs[i]->probes_reduced)
			return keep(w, "%s: the budget reduced its detail", side_names[side]);
	}
	if (isnan(f->value))
		return keep(w, "%s: none", side_names[side]);
	if (counts_values(f) && f->n < values_needed(f))
		return keep(w, "%s: %llu of %llu values needed", side_names[side], (unsigned long long)f->n,
		        (unsigned long long)values_needed(f));
	if (f->columns_full < BLOCKS_MIN)
		return keep(w, "%s: in %d interval%s only, %d are needed", side_names[side], f->columns_full,
		        f->columns_full == 1 ? "" : "s", BLOCKS_MIN);
	return NULL;
}

/* Differences that nobody cares for, whatever they are in percent. */
static double least(const struct figure *f)
{
	switch (expression_unit(f->measures->expression[f->id], NULL)) {
	case UNIT_NS:
		return 1e-3;
	case UNIT_BYTES:
		return 1 << 20;
	default:
		return measure_infos[f->id].group == GROUP_ERRORS ? 0 : 0.01;
	}
}

static bool beyond_limit(const struct work *w, const struct comparison *row, const struct figure *base)
{
	return fabs(row->change) > compare_limit(w->limits, row->measure) && fabs(row->new - row->base) >= least(base);
}

/* What chance alone makes of a share of so many: at least this, however even the blocks are (with A. Agresti and B. A. Coull's two added values). */
static double share_variance(const struct figure *f)
{
	double n = (double)f->n + 2, share = (f->value * (double)f->n + 1) / n;

	return share > 0 && share < 1 ? share * (1 - share) / n : 0;
}

static double variance_least(const struct figure *f, bool absolute)
{
	if (measure_infos[f->id].group == GROUP_ERRORS)
		return share_variance(f);
	return f->measures->quantile[f->id] ? RESOLUTION * RESOLUTION * (absolute ? f->value * f->value : 1) : 0;
}

/* Of the change, whose variance and degrees of freedom are known. */
static double change_p(double change, double variance, double freedom)
{
	return variance > 0 ? student_p(change / sqrt(variance), freedom) : change == 0;
}

/* Variance and degrees of freedom of the change by so many samples. 0 or -ENOMEM; false in *ret_known: too few have data, and the row says so. */
static int change_spread(struct work *w, struct comparison *row, struct figure f[2], struct spread s[2], int samples,
        bool absolute, double *ret_variance, double *ret_freedom)
{
	double variance = 0, freedom = 0;

	for (int side = 0; side < 2; side++) {
		double least = variance_least(&f[side], absolute), its;
		int err = figure_spread(&f[side], absolute, &w->samples[side], samples, &s[side]);

		if (err)
			return err;
		if (!s[side].known) {
			row->verdict = VERDICT_INSUFFICIENT;
			row->why = keep(w, "%s: too few intervals have any", side_names[side]);
			return 0;
		}
		its = s[side].variance > least ? s[side].variance : least;
		variance += its;
		freedom += its * its / s[side].freedom;
	}
	*ret_variance = variance;
	*ret_freedom = variance > 0 ? variance * variance / freedom : INFINITY;
	return 0;
}

/* Whether more samples can't change what comes of it. */
static bool is_sure(double change, double variance, double freedom)
{
	return change_p(change, variance * DOUBT, freedom) < SURE_CHANGED ||
	       change_p(change, variance / DOUBT, freedom) > SURE_STABLE;
}

/* Of one run a side nobody can tell whether its start differs by more than starts do anyway: a change must also be there later. 0 or -ENOMEM. */
static int row_start(struct work *w, struct comparison *row, const struct figure f[2], bool absolute)
{
	double later[2], change;

	for (int side = 0; side < 2; side++) {
		int err = figure_later(&f[side], absolute, &later[side]);

		if (err)
			return err;
	}
	change = later[1] - later[0];
	if (!absolute)
		change = expm1(change);
	else if (measure_infos[row->measure].group != GROUP_ERRORS)
		return 0; /* from or to nothing */
	if (!(fabs(change) > compare_limit(w->limits, row->measure) && (change > 0) == (row->change > 0))) {
		row->verdict = VERDICT_INSUFFICIENT;
		row->why = "only its first seconds differ";
	}
	return 0;
}

/* Interval and p of the change. 0 or -ENOMEM. */
static int row_judge(struct work *w, struct comparison *row, const struct figure f[2], double change, bool absolute)
{
	double variance = row->spread.variance, freedom = row->spread.freedom, reach = 0;

	row->p = change_p(change, variance, freedom);
	if (variance > 0) /* else as constant as can be */
		reach = sqrt(variance) * student_beyond(1 - CONFIDENCE, freedom);
	if (measure_infos[row->measure].group == GROUP_ERRORS) {
		row->low = change - reach;
		row->high = change + reach;
	} else if (!absolute) {
		row->low = expm1(change - reach);
		row->high = expm1(change + reach);
	}
	return row->p < 1 - CONFIDENCE && (f[0].runs_full < 2 || f[1].runs_full < 2) ? row_start(w, row, f, absolute) : 0;
}

/* 0 or -ENOMEM. */
static int row_compare(struct work *w, struct comparison *row, struct figure f[2])
{
	bool errors = measure_infos[row->measure].group == GROUP_ERRORS, beyond = beyond_limit(w, row, &f[0]);
	bool absolute = errors || !(row->base > 0) || !(row->new > 0); /* of 0 there is no logarithm */
	double change = absolute ? row->new - row->base : log(row->new / row->base), *variance = &row->spread.variance;
	double *freedom = &row->spread.freedom;
	struct spread s[2] = {0};
	int err;

	if (!beyond && !w->limits->detectable && w->c->len > DETECTABLE_ROWS)
		return 0;
	if (errors)
		row->least = compare_limit(w->limits, row->measure);
	else if (!absolute)
		row->least = log1p(fmax(compare_limit(w->limits, row->measure), least(&f[0]) / row->base));
	err = change_spread(w, row, f, s, beyond ? SAMPLES_FEW : SAMPLES_STABLE, absolute, variance, freedom);
	if (!err && !row->why && beyond && !is_sure(change, *variance, *freedom))
		err = change_spread(w, row, f, s, SAMPLES, absolute, variance, freedom);
	if (row->why && !beyond) { /* how it varies was asked for what could have been seen only */
		row->verdict = VERDICT_STABLE;
		row->why = NULL;
	}
	return err || row->why || !beyond ? err : row_judge(w, row, f, change, absolute);
}

int measure_compare(
        struct work *w, const char *agents[2], const char *agent, enum measure_of of, const char *subject, enum measure_id id)
{
	struct figure f[2] = {0};
	struct comparison *row = NULL;
	int err = 0;

	for (int side = 0; side < 2 && !err; side++)
		err = figure_init(&f[side], w->side[side], agents[side], of, subject, id, &w->scratch);
	if (!err && !(isnan(f[0].value) && isnan(f[1].value)))
		row = row_add(w);
	if (row) {
		*row = (struct comparison){.agent = agent,
		        .measure = id,
		        .verdict = VERDICT_STABLE,
		        .base = f[0].value,
		        .new = f[1].value,
		        .change = NAN,
		        .low = NAN,
		        .high = NAN,
		        .p = NAN,
		        .detectable = NAN,
		        .base_n = f[0].n,
		        .new_n = f[1].n};
		snprintf(row->subject, sizeof(row->subject), "%s", subject);
		if (measure_infos[id].group == GROUP_ERRORS)
			row->change = row->new - row->base;
		else
			row->change = row->base > 0   ? row->new / row->base - 1
			              : row->new > 0  ? INFINITY
			              : row->new == 0 ? 0
			                              : NAN;
		for (int side = 0; side < 2 && !row->why; side++)
			row->why = side_insufficient(w, &f[side], side);
		if (row->why)
			row->verdict = VERDICT_INSUFFICIENT;
		else
			err = row_compare(w, row, f);
	}
	figure_fini(&f[0]);
	figure_fini(&f[1]);
	return err;
}
