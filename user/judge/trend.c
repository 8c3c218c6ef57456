/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Verdicts on series: trend, changes, when an objective will be missed. */
#include "judge/trend.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "judge/compare.h"
#include "judge/trend_parts.h"

#define TREND_Z 2.81 /* standard deviations: 1 of 200, as there are many series in a recording */
#define FORECAST_SPANS 10.0 /* how far ahead, in times of what the slope is of */

const char *const trend_names[TREND_VERDICTS] = {"insufficient data", "steady", "improving", "degrading"};

/*
 * What is worth a word: the limits of comparisons, a share of the level, or of errors, whose rate is one itself, the absolute change. Differences that nobody cares for are smaller here,
 * where one process is compared with itself: a cache that answers in 0.4 ms instead of 0.2 has changed, while 0.2 ms between two recordings may be the hosts'.
 */
static struct change_limits material(enum measure_id m)
{
	static const double least[MEASURE_GROUPS] = {[GROUP_CPU] = 0.01 /* of a CPU, or of the time */, [GROUP_MEMORY] = 1 << 20, [GROUP_TIME] = 100e-6};
	enum measure_group group = measure_infos[m].group;
	double limit = compare_limit(&compare_defaults, m);

	return group == GROUP_ERRORS ? (struct change_limits){0, limit} : (struct change_limits){limit, least[group]};
}

static bool is_material(enum measure_id m, double from, double to)
{
	const struct change_limits limits = material(m);

	return fabs(to - from) > fmax(limits.absolute, limits.relative * fabs(from));
}

static enum trend_verdict direction(enum measure_id m, double change)
{
	return (change > 0) == measure_infos[m].more_is_better ? TREND_IMPROVING : TREND_DEGRADING;
}

/* ---- when an objective will be missed ---- */

static bool expression_same(const struct trends *t, const struct expression *e, enum measure_id id)
{
	enum metric_id metric;
	double share;

	if (expression_quantile(e, &metric, &share))
		return t->quantile[id] && metric == t->metric[id] && fabs(share - t->share[id]) < 1e-9;
	return false;
}

/* The same figure, of the same subject, told as text. */
static bool rule_of(const struct trends *t, const struct rule *r, const struct trend_agent *a, const struct trend_subject *s,
        enum measure_id id)
{
	const char *over = r->text ? strpbrk(r->text, "<>") : NULL;
	const char *text = measure_infos[id].expression;
	size_t len = over ? (size_t)(over - r->text) : 0;
	bool same = expression_same(t, r->value, id);

	while (len && r->text[len - 1] == ' ')
		len--;
	same = same || (len == strlen(text) && !memcmp(r->text, text, len));
	if (!same || (r->agent && fnmatch(r->agent, a->name, 0)))
		return false;
	switch (r->each) {
	case EACH_AGENT:
		return s->of == OF_AGENT;
	case EACH_CLASS:
		return s->of == OF_CLASS && s->class == r->class;
	case EACH_TOOL:
		return s->of == OF_TOOL && (!r->tool || !fnmatch(r->tool, s->name, 0));
	default:
		return false;
	}
}

/* When a line that is at `now` and grows by `slope` gets to `limit`; < 0: never. */
static double reaches(double now, double slope, double limit)
{
	double in = slope != 0 ? (limit - now) / slope : -1;

	return in >= 0 ? in : -1;
}

struct tail { /* the part of a series since its last change */
	struct slope line;
	double now, span_s; /* where the line is at its end, and how long it is */
	bool goes_on; /* there is a trend in it */
};

static void miss_find(const struct trends *t, const struct rules *rules, const struct trend_agent *a,
        const struct trend_subject *s, const struct tail *tail, struct trend *ret)
{
	const struct slope *line = &tail->line;

	for (int i = 0; rules && i < rules->len; i++) {
		const struct rule *r = &rules->at[i];
		bool above = r->comparison == RULE_ABOVE || r->comparison == RULE_AT_LEAST;
		double in = reaches(tail->now, line->slope, r->limit);

		if (above != (line->slope > 0) || in < 0 || in > FORECAST_SPANS * tail->span_s ||
		        (ret->miss.rule && in >= ret->miss.in_s) || !rule_of(t, r, a, s, ret->measure))
			continue;
		ret->miss = (struct trend_miss){.rule = r,
		        .in_s = in,
		        .in_low_s = reaches(tail->now, above ? line->high : line->low, r->limit),
		        .in_high_s = reaches(tail->now, above ? line->low : line->high, r->limit)};
	}
}

/* ---- trends ---- */

struct drawn { /* a series as arrays */
	double t[TREND_POINTS], y[TREND_POINTS], rest[TREND_POINTS];
	double from_s[TREND_POINTS];
	int n;
};

static void draw(const struct series *s, struct drawn *d)
{
	d->n = s->len;
	for (int i = 0; i < s->len; i++) {
		d->from_s[i] = s->points[i].from_s;
		d->t[i] = (s->points[i].from_s + s->points[i].to_s) / 2;
		d->y[i] = s->points[i].value;
	}
	if (s->filled > s->every / 2 && s->len < TREND_POINTS) { /* the last one, as far as it got */
		d->from_s[d->n] = s->filling.from_s;
		d->t[d->n] = (s->filling.from_s + s->filling.to_s) / 2;
		d->y[d->n++] = s->filling.value / (double)s->filled;
	}
}

/* Where the line through the middle of the points is at t. */
static double line_at(const struct points *p, double slope, double t)
{
	double rest[TREND_POINTS];

	for (int i = 0; i < p->n; i++)
		rest[i] = p->y[i] - slope * (p->t[i] - t);
	return stats_median(rest, p->n);
}

static void changes_tell(const struct drawn *d, const int *at, struct trend *ret)
{
	double before = stats_median(d->y, at[0]);

	ret->first = before;
	for (int i = 0; i < ret->changes_len; i++) {
		int to = i + 1 < ret->changes_len ? at[i + 1] : d->n;
		double after = stats_median(d->y + at[i], to - at[i]);

		ret->changes[i] = (struct trend_change){d->from_s[at[i]], before, after};
		before = after;
	}
	ret->last = before;
}

/* from: its first point; whole: the slope of all points, which is that of the tail when it begins at 0. */
static int tail_judge(const struct drawn *d, int from, const struct slope *whole, enum measure_id id, struct tail *ret)
{
	struct points p = {d->t + from, d->y + from, d->n - from};
	int err = 0;

	*ret = (struct tail){.line = *whole};
	if (p.n < TREND_POINTS_MIN)
		return 0;
	if (from)
		err = slope_find(&p, NULL, true, &ret->line);
	ret->span_s = p.t[p.n - 1] - p.t[0];
	ret->now = line_at(&p, ret->line.slope, p.t[p.n - 1]);
	ret->goes_on = fabs(ret->line.z) > TREND_Z && ret->line.low * ret->line.high > 0 &&
	               is_material(id, ret->now - ret->line.slope * ret->span_s, ret->now);
	return err;
}

static int series_judge(const struct trends *t, const struct rules *rules, const struct trend_agent *a,
        const struct trend_subject *s, const struct series *series, struct trend *ret)
{
	struct drawn d;
	struct points p = {d.t, d.y, 0};
	struct slope slope;
	struct change_limits limits;
	struct tail tail;
	int at[TREND_CHANGES_MAX], err;

	*ret = (struct trend){.agent = a->id,
	        .agent_name = a->name,
	        .measure = series->measure,
	        .level = NAN,
	        .first = NAN,
	        .last = NAN,
	        .slope = NAN,
	        .low = NAN,
	        .high = NAN};
	snprintf(ret->subject, sizeof(ret->subject), "%s", s->name);
	ret->odd_len = odd_moments(&series->odd, ret->odd, &ret->odd_count);
	draw(series, &d);
	p.n = ret->points = d.n;
	if (d.n) {
		ret->level = stats_median(d.y, d.n);
		ret->span_s = d.t[d.n - 1] - d.t[0];
	}
	if (d.n < TREND_POINTS_MIN)
		return 0;
	limits = material(series->measure);
	ret->changes_len = changes_find(&p, &limits, at, d.rest);
	err = slope_find(&p, ret->changes_len ? d.rest : NULL, true, &slope);
	if (!err)
		err = tail_judge(&d, ret->changes_len ? at[ret->changes_len - 1] : 0, &slope, series->measure, &tail);
	if (err)
		return err;
	ret->slope = slope.slope;
	ret->low = slope.low;
	ret->high = slope.high;
	ret->verdict = TREND_STEADY;
	if (ret->changes_len) {
		changes_tell(&d, at, ret);
		if (is_material(series->measure, ret->first, ret->last))
			ret->verdict = direction(series->measure, ret->last - ret->first);
	} else {
		ret->first = line_at(&p, slope.slope, d.t[0]);
		ret->last = line_at(&p, slope.slope, d.t[d.n - 1]);
		if (tail.goes_on)
			ret->verdict = direction(series->measure, slope.slope);
	}
	if (tail.goes_on)
		miss_find(t, rules, a, s, &tail, ret);
	return 0;
}

/* ---- all ---- */

static double size(const struct trend *t)
{
	double from = fmin(fabs(t->first), fabs(t->last)), change = fabs(t->last - t->first);

	if (measure_infos[t->measure].group == GROUP_ERRORS)
		return change;
	return from > 0 ? change / from : change > 0 ? INFINITY : 0;
}

static int rank(const struct trend *t)
{
	switch (t->verdict) {
	case TREND_DEGRADING:
		return 0;
	case TREND_IMPROVING:
		return 1;
	case TREND_STEADY:
		return t->changes_len || t->odd_count ? 2 : 3;
	default:
		return 4;
	}
}

static int trend_order(const void *x, const void *y)
{
	const struct trend *a = x, *b = y;
	double by = size(b) - size(a);

	if (rank(a) != rank(b))
		return rank(a) - rank(b);
	if (rank(a) < 2 && by != 0 && !isnan(by))
		return by > 0 ? 1 : -1;
	if (a->agent != b->agent)
		return a->agent < b->agent ? -1 : 1;
	return strcmp(a->subject, b->subject) ? strcmp(a->subject, b->subject) : (int)a->measure - (int)b->measure;
}

int trends_judge(struct trends *t, const struct rules *rules, const struct trend **ret, int *ret_len)
{
	int len = 0, n = 0, err = 0;

	for (const struct trend_agent *a = t->agents; a; a = a->hh.next)
		for (int i = 0; i < a->len; i++)
			for (int id = 0; id < MEASURE_COUNT; id++)
				len += a->subjects[i]->series[id] != NULL;
	free(t->list);
	t->list = calloc((size_t)len + 1, sizeof(*t->list));
	if (!t->list)
		return -ENOMEM;
	for (const struct trend_agent *a = t->agents; a; a = a->hh.next)
		for (int i = 0; i < a->len; i++)
			for (int id = 0; id < MEASURE_COUNT && !err; id++)
				if (a->subjects[i]->series[id])
					err = series_judge(
					        t, rules, a, a->subjects[i], a->subjects[i]->series[id], &t->list[n++]);
	if (err)
		return err;
	qsort(t->list, (size_t)len, sizeof(*t->list), trend_order);
	*ret = t->list;
	*ret_len = len;
	return 0;
}
