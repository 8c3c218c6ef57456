// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What a rule's figure is, and what follows. Most figures are far from any limit: then it is enough to know that they are, which the number of values beyond a bucket tells. A
 * percentile is worked out where it may be beyond the limit or the worst of all, and as long as it is beyond.
 */
#include <errno.h>
#include <math.h>

#include "judge/rule_watch_parts.h"

#define NEARLY 0.9 /* of the span must have been watched for what is of a span */
#define SLACK_S 1e-6 /* times are sums of floating-point numbers */
#define TOP_ZEROS (-2) /* of values from 1 on, the first bucket is -1 */

static bool is_above(const struct rule *r)
{
	return r->comparison == RULE_ABOVE || r->comparison == RULE_AT_LEAST;
}

static bool is_beyond(const struct rule *r, double value, double limit)
{
	switch (r->comparison) {
	case RULE_ABOVE:
		return value > limit;
	case RULE_AT_LEAST:
		return value >= limit;
	case RULE_BELOW:
		return value < limit;
	default:
		return value <= limit;
	}
}

static bool is_worse(const struct rule *r, double value, double than)
{
	return isnan(than) || (is_above(r) ? value > than : value < than);
}

/* ---- marks ---- */

void group_marks_init(struct group *g, const struct rules *rules)
{
	g->plan.marks_len = 0;
	for (int i = 0; i < g->rules_len; i++) {
		const struct rule *r = &rules->at[g->rules[i]];
		enum metric_id metric;
		int slot = 0;

		g->marks[i] = -1;
		if (r->comparison != RULE_ABOVE || g->plan.marks_len == WINDOW_MARKS ||
		        !expression_quantile(r->value, &metric, &g->quantiles[i]) ||
		        !(g->quantiles[i] > 0 &&
		                g->quantiles[i] <
		                        1)) /* those would be minimum and maximum, which no bucket's middle stands for */
			continue;
		while (g->plan.metrics[slot] != (int)metric)
			slot++;
		g->marks[i] = g->plan.marks_len++;
		g->plan.marks[g->marks[i]] = (struct window_mark){slot, WINDOW_TOP_NONE};
	}
}

/* What stands for a bucket, as a figure. */
static double bucket_figure(int32_t bucket, double factor)
{
	const struct hist of = {.scale = HIST_SCALE, .offset = bucket, .max = UINT64_MAX};

	return hist_bucket_value(&of, 0) * factor;
}

/* The last bucket that stands for no more than `value`. */
static int32_t top_within(enum metric_id m, double value)
{
	double factor = metric_infos[m].unit == UNIT_NS ? 1e-9 : 1, whole = value / factor;
	int32_t top;

	if (!(whole >= 0))
		return WINDOW_TOP_NONE;
	if (whole < 1)
		return TOP_ZEROS;
	top = hist_index(whole < 0x1p63 ? (uint64_t)whole : 1ULL << 63, HIST_SCALE);
	while (top > TOP_ZEROS && !(bucket_figure(top, factor) <= value))
		top--;
	return top;
}

static void mark_set(const struct rule_watch *w, struct group *g, int i)
{
	const struct rule *r = &w->rules->at[g->rules[i]];
	struct window_mark *mark = g->marks[i] >= 0 ? &g->plan.marks[g->marks[i]] : NULL;
	double worst = w->status[g->rules[i]].worst;

	if (!mark)
		return;
	if (w->value_fn && isnan(worst))
		mark->top = WINDOW_TOP_NONE;
	else
		mark->top =
		        top_within((enum metric_id)g->plan.metrics[mark->slot], w->value_fn ? fmin(worst, r->limit) : r->limit);
}

void group_marks_set(const struct rule_watch *w, struct group *g)
{
	for (int i = 0; i < g->rules_len; i++)
		mark_set(w, g, i);
}

/* ---- values ---- */

/* Whether there is nothing to be done about a rule's figure, whatever it is exactly. */
static bool is_calm(struct rule_watch *w, const struct turn *t, const struct subject_watch *s, int i)
{
	const struct group *g = t->group;
	const struct rule *r = &w->rules->at[g->rules[i]];
	struct status *status = &w->status[g->rules[i]];
	const struct track *track = &s->tracks[i];
	uint64_t count;

	if (track->holding || track->raised)
		return false;
	if (w->missing & expression_probes(r->value))
		return true;
	if (g->marks[i] < 0)
		return false;
	count = window_count(s->window, g->plan.marks[g->marks[i]].slot);
	if (count && count >= r->at_least &&
	        ((w->value_fn && !track->told) || !window_within(s->window, g->marks[i], g->quantiles[i])))
		return false;
	if (count > status->support)
		status->support = count;
	status->had = status->had || (count && count >= r->at_least);
	return true;
}

/* The rule's value of the sum at hand, or NAN; *ret_good: a verdict may rest on it. */
static double rule_value(struct rule_watch *w, int rule, double age_s, double interval_s, bool *ret_good)
{
	const struct rule *r = &w->rules->at[rule];
	const struct window_sum *sum = &w->sum;
	struct status *status = &w->status[rule];
	const struct subject of = {.metrics = &sum->view,
	        .main = &sum->ledgers[0],
	        .threads = &sum->ledgers[1],
	        .critical = &sum->ledgers[2],
	        .seconds = sum->seconds,
	        .age_s = age_s};
	/* Intervals need not divide the span: a window may be short by half of one. */
	double full = fmin(NEARLY * r->over_s, r->over_s - 0.55 * interval_s);
	uint64_t support;
	double value;

	*ret_good = false;
	if (w->missing & expression_probes(r->value))
		return NAN;
	if (!sum->gauges && expression_reads_gauge(r->value))
		return NAN;
	if (expression_spans(r->value) && sum->seconds < full) {
		status->short_seen = true;
		status->watched_s = fmax(status->watched_s, sum->seconds);
		return NAN;
	}
	value = expression_value(r->value, &of, &support);
	if (support != UINT64_MAX && support > status->support)
		status->support = support;
	*ret_good = !isnan(value) && support >= r->at_least;
	status->had = status->had || *ret_good;
	return value;
}

/* What its rules' values are now. 0 or -ENOMEM. */
static int subject_values(struct rule_watch *w, const struct turn *t, struct subject_watch *s)
{
	const struct interval_data *i = t->interval;
	enum { NOTHING, SUMS, BUCKETS } summed = NOTHING;

	for (int n = 0; n < t->group->rules_len; n++) {
		struct track *track = &s->tracks[n];
		int rule = t->group->rules[n], needs = expression_sums(w->rules->at[rule].value) ? SUMS : BUCKETS, err;

		track->calm = is_calm(w, t, s, n);
		if (track->calm) {
			track->good = false;
			track->now = NAN;
			continue;
		}
		err = (int)summed < needs ? window_sum(s->window, t->time, needs == BUCKETS, &w->sum) : 0;
		if (err)
			return err;
		summed = (int)summed < needs ? needs : (int)summed;
		track->now = rule_value(w, rule, t->age_s, i->end_s - i->start_s, &track->good);
	}
	return 0;
}

/* ---- verdicts ---- */

static int value_tell(struct rule_watch *w, const struct turn *t, const struct subject_watch *s, int n)
{
	int rule = t->group->rules[n];
	struct status *status = &w->status[rule];
	double value = s->tracks[n].now;

	if (is_worse(&w->rules->at[rule], value, status->worst)) {
		status->worst = value;
		mark_set(w, &w->groups[t->group - w->groups], n);
	}
	return w->value_fn(w->ctx, rule, t->agent->id, s->name, t->interval->end_s, value);
}

static int rule_judge(struct rule_watch *w, const struct turn *t, struct subject_watch *s, int n)
{
	int rule = t->group->rules[n], err;
	const struct rule *r = &w->rules->at[rule];
	const struct interval_data *i = t->interval;
	struct track *track = &s->tracks[n];
	double value = track->now;

	if (track->good && w->value_fn && (!track->told || is_worse(r, value, w->status[rule].worst))) {
		track->told = true;
		err = value_tell(w, t, s, n);
		if (err)
			return err;
	}
	if (track->holding && !isnan(value))
		track->worst = is_above(r) ? fmax(track->worst, value) : fmin(track->worst, value);
	if (track->raised) {
		if (!isnan(value) && is_beyond(r, value, r->clear))
			return 0;
		track->raised = track->holding = false;
		return rule_event_tell(w, w->fn, w->ctx, RULE_CLEARED, rule, t->agent, s, track, i->end_s, value);
	}
	if (!track->good || !is_beyond(r, value, r->limit)) {
		track->holding = false;
		return 0;
	}
	if (!track->holding) {
		track->holding = true;
		track->since_s = i->start_s;
		track->worst = value;
	}
	track->raised = i->end_s - track->since_s >= r->for_s - SLACK_S;
	return track->raised ? rule_event_tell(w, w->fn, w->ctx, RULE_RAISED, rule, t->agent, s, track, i->end_s, value) : 0;
}

int subject_turn(struct rule_watch *w, const struct turn *t, struct subject_head *h, bool changed)
{
	struct subject_watch *s = h->watch;
	int err = changed || !t->group->events ? subject_values(w, t, s) : 0;

	h->busy = false;
	for (int n = 0; n < t->group->rules_len && !err; n++) {
		if (!s->tracks[n].calm)
			err = rule_judge(w, t, s, n);
		h->busy = h->busy || s->tracks[n].holding || s->tracks[n].raised;
	}
	return err;
}
