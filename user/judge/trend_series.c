/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Series as the recording is read: intervals become points, of which each rests on enough values. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "judge/trend_parts.h"

#define LOST_MAX 0.05 /* of an interval's records */
#define WATCHED_MIN 0.5 /* of an interval, of figures that are of a span */
#define COUNT_LARGE 250 /* values, beyond which that makes no difference */
#define TOOLS_MAX 64 /* an agent, that are followed */

/* ---- measures ---- */

static int measure_init(struct trends *t, enum measure_id id)
{
	char why[256];
	int column;
	struct expression *e = expression_parse(measure_infos[id].expression, &column, why, sizeof(why));

	if (!e)
		return -EINVAL;
	t->expression[id] = e;
	t->watched[id] = true;
	t->needs[id] = TREND_VALUES_MIN;
	t->quantile[id] = expression_quantile(e, &t->metric[id], &t->share[id]);
	if (t->quantile[id]) {
		double whole = ceil(1 / (1 - t->share[id]) - 1e-6); /* values of which one is beyond */

		t->needs[id] = whole > TREND_VALUES_MIN ? (uint64_t)whole : TREND_VALUES_MIN;
		return 0;
	}
	t->direct[id] = expression_spans(e) || measure_infos[id].group == GROUP_MEMORY;
	for (int m = 0; m < METRIC_IDS && !t->direct[id]; m++) {
		if (!expression_uses(e, (enum metric_id)m))
			continue;
		if (metric_infos[m].type != METRIC_COUNTER || t->counters_len[id] == TREND_COUNTERS_MAX)
			return -EINVAL;
		t->counters[id][t->counters_len[id]++] = (enum metric_id)m;
	}
	return 0;
}

static void middles_init(struct trends *t)
{
	for (int i = 0; i < TREND_BUCKETS; i++)
		t->middles[i] = hist_bucket_value(&(struct hist){.scale = HIST_SCALE, .offset = i - 1, .max = UINT64_MAX}, 0);
}

struct trends *trends_new(void)
{
	struct trends *t = calloc(1, sizeof(*t));
	int err = 0;

	for (int id = 0; t && id < MEASURE_COUNT && !err; id++)
		err = measure_init(t, (enum measure_id)id);
	for (int m = 0; t && m < METRIC_IDS && !err; m++) {
		bool used = false;

		for (int id = 0; id < MEASURE_COUNT; id++)
			used = used ||
			       (measure_infos[id].of == OF_CLASS && expression_uses(t->expression[id], (enum metric_id)m));
		if (used)
			t->class_metrics[t->class_metrics_len++] = (enum metric_id)m;
	}
	if (err) {
		trends_free(t);
		return NULL;
	}
	if (t)
		middles_init(t);
	return t;
}

/* ---- freeing ---- */

static void subject_free(struct trend_subject *s)
{
	for (int id = 0; id < MEASURE_COUNT; id++) {
		if (s->series[id]) {
			hist_fini(&s->series[id]->gathered);
			free(s->series[id]->points);
		}
		free(s->series[id]);
	}
	free(s->name);
	free(s);
}

static void agent_free(struct trend_agent *a)
{
	for (int i = 0; i < a->len; i++)
		subject_free(a->subjects[i]);
	free(a->subjects);
	free(a->name);
	free(a);
}

void trends_free(struct trends *t)
{
	struct trend_agent *a, *next;

	if (!t)
		return;
	HASH_ITER(hh, t->agents, a, next)
	{
		HASH_DEL(t->agents, a);
		agent_free(a);
	}
	for (int id = 0; id < MEASURE_COUNT; id++)
		expression_free(t->expression[id]);
	metric_set_fini(&t->sum);
	metric_set_fini(&t->events);
	free(t->list);
	free(t);
}

/* ---- whose ---- */

static struct trend_subject *subject_new(struct trend_agent *a, enum measure_of of, const char *name)
{
	struct trend_subject *s, **more = reallocarray(a->subjects, (size_t)a->len + 1, sizeof(*more));

	if (!more)
		return NULL;
	a->subjects = more;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->of = of;
	s->name = strdup(name);
	if (!s->name) {
		free(s);
		return NULL;
	}
	a->subjects[a->len++] = s;
	return s;
}

static struct trend_subject *subject_of_class(struct trend_agent *a, enum class_id class)
{
	if (!a->classes[class]) {
		a->classes[class] = subject_new(a, OF_CLASS, class_infos[class].name);
		if (a->classes[class])
			a->classes[class]->class = class;
	}
	return a->classes[class];
}

/* *at is where the search begins: tools come in the same order each time. NULL: one too many (*ret_err is 0 then), or out of memory. */
static struct trend_subject *subject_of_tool(struct trend_agent *a, const char *name, int *at, int *ret_err)
{
	struct trend_subject *s;
	int tools = 0;

	*ret_err = 0;
	for (int i = 0; i < a->len; i++) {
		int n = (*at + i) % a->len;

		if (a->subjects[n]->of == OF_TOOL && !strcmp(a->subjects[n]->name, name)) {
			*at = n + 1;
			return a->subjects[n];
		}
		tools += a->subjects[n]->of == OF_TOOL;
	}
	if (tools >= TOOLS_MAX)
		return NULL;
	s = subject_new(a, OF_TOOL, name);
	*ret_err = s ? 0 : -ENOMEM;
	return s;
}

static struct trend_agent *agent_of(struct trends *t, const struct agent_info *info)
{
	struct trend_agent *a;

	HASH_FIND_INT(t->agents, &info->id, a);
	if (a)
		return a;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->id = info->id;
	a->name = strdup(info->name);
	if (!a->name || !subject_new(a, OF_AGENT, "")) {
		agent_free(a);
		return NULL;
	}
	HASH_ADD_INT(t->agents, id, a);
	return a;
}

static struct series *series_of(struct trend_subject *of, enum measure_id id)
{
	struct series *s;

	if (of->series[id])
		return of->series[id];
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	*s = (struct series){.measure = id, .open_s = -1, .every = 1, .points = calloc(TREND_POINTS, sizeof(*s->points))};
	if (!s->points) {
		free(s);
		return NULL;
	}
	hist_init(&s->gathered);
	of->series[id] = s;
	return s;
}

/* ---- points ---- */

/* Neighbours become one. */
static void series_pair(struct series *s)
{
	for (int i = 0; i < TREND_POINTS / 2; i++) {
		const struct point *a = &s->points[2 * i], *b = a + 1;

		s->points[i] = (struct point){a->from_s, b->to_s, (a->value + b->value) / 2};
	}
	s->len = TREND_POINTS / 2;
	s->every *= 2;
}

static void point_add(struct series *s, double from_s, double to_s, double value)
{
	if (!isfinite(value) || !(to_s > from_s))
		return;
	if (measure_infos[s->measure].group == GROUP_TIME)
		odd_add(&s->odd, from_s, value);
	if (!s->filled)
		s->filling = (struct point){from_s, to_s, 0};
	s->filling.to_s = to_s;
	s->filling.value += value;
	if (++s->filled < s->every)
		return;
	s->filling.value /= (double)s->filled;
	s->points[s->len++] = s->filling;
	s->filled = 0;
	if (s->len == TREND_POINTS)
		series_pair(s);
}

static double middle_of(const struct trends *t, const struct hist *h, uint32_t i)
{
	double middle;

	if (h->scale != HIST_SCALE)
		return hist_bucket_value(h, i);
	middle = t->middles[h->offset + (int32_t)i + 1];
	return middle < (double)h->min ? (double)h->min : middle > (double)h->max ? (double)h->max : middle;
}

/* The values that have this rank, from 1 on, and the next one; as hist_quantile() has them. From whichever end is nearer. */
static void ranked(const struct trends *t, const struct hist *h, uint64_t rank, double ret[2])
{
	uint64_t seen = h->zero_count, beyond = h->count;
	uint32_t i = 0;
	int found = 0;

	ret[0] = (double)h->min;
	ret[1] = (double)h->max;
	if (!rank) { /* there is none: the next one is the first */
		ret[1] = ret[0];
		return;
	}
	if (2 * rank > h->count) {
		for (i = h->len; i && beyond >= rank; i--)
			beyond -= hist_bucket(h, i - 1);
		seen = beyond;
	}
	for (; found < 2 && seen >= rank + (uint64_t)found; found++)
		ret[found] = 0; /* the zeros */
	for (; found < 2 && i < h->len && rank + (uint64_t)found <= h->count; i++)
		for (seen += hist_bucket(h, i); found < 2 && seen >= rank + (uint64_t)found; found++)
			ret[found] = middle_of(t, h, i);
}

/*
 * A percentile of few values depends on how many there are, unless it is read between them so that as many such percentiles lie above that of all values as below (R. J. Hyndman and
 * Y. Fan, "Sample quantiles in statistical packages", The American Statistician 50, 1996: definition 8).
 */
static double quantile_of(const struct trends *t, const struct hist *h, double share, enum metric_id m)
{
	double rank = share * ((double)h->count + 1.0 / 3) + 1.0 / 3, below = floor(rank), value, two[2];

	if (h->count > COUNT_LARGE) {
		value = hist_quantile(h, share);
	} else {
		ranked(t, h, (uint64_t)below, two);
		value = two[0] + (rank - below) * (two[1] - two[0]);
	}
	return metric_infos[m].unit == UNIT_NS ? value * 1e-9 : value;
}

static int quantile_add(struct trends *t, struct trend_subject *of, enum measure_id id, const struct metric_set *set,
        const struct interval_data *i)
{
	const struct hist *h = set->hist[t->metric[id]];
	struct series *s;

	if (!h || !h->count)
		return 0;
	s = series_of(of, id);
	if (!s)
		return -ENOMEM;
	if (s->open_s < 0 && h->count >= t->needs[id]) {
		point_add(s, i->start_s, i->end_s, quantile_of(t, h, t->share[id], t->metric[id]));
		return 0;
	}
	if (s->open_s < 0)
		s->open_s = i->start_s;
	if (hist_merge(&s->gathered, h))
		return -ENOMEM;
	if (s->gathered.count < t->needs[id])
		return 0;
	point_add(s, s->open_s, i->end_s, quantile_of(t, &s->gathered, t->share[id], t->metric[id]));
	hist_reset(&s->gathered);
	s->open_s = -1;
	return 0;
}

static int events_add(struct trends *t, struct trend_subject *of, enum measure_id id, const struct metric_set *set,
        const struct interval_data *i)
{
	const struct subject subject = {.metrics = &t->events, .seconds = i->end_s - i->start_s};
	struct series *s;
	uint64_t any = 0, support;
	double value;

	for (int c = 0; c < t->counters_len[id]; c++)
		any |= set->value[t->counters[id][c]];
	if (!any)
		return 0;
	s = series_of(of, id);
	if (!s)
		return -ENOMEM;
	if (s->open_s < 0)
		s->open_s = i->start_s;
	for (int c = 0; c < t->counters_len[id]; c++) {
		s->counted[c] += set->value[t->counters[id][c]];
		t->events.value[t->counters[id][c]] = s->counted[c];
	}
	value = expression_value(t->expression[id], &subject, &support);
	if (isnan(value) || support < t->needs[id])
		return 0;
	point_add(s, s->open_s, i->end_s, value);
	memset(s->counted, 0, sizeof(s->counted));
	s->open_s = -1;
	return 0;
}

static int direct_add(struct trends *t, struct trend_subject *of, enum measure_id id, const struct subject *subject,
        const struct interval_data *i)
{
	double value = expression_value(t->expression[id], subject, NULL);
	struct series *s;

	if (isnan(value) || (measure_infos[id].group == GROUP_MEMORY && !(value > 0)))
		return 0; /* nothing is known of it */
	s = series_of(of, id);
	if (!s)
		return -ENOMEM;
	point_add(s, i->start_s, i->end_s, value);
	return 0;
}

/* ---- intervals ---- */

/* whole: figures of a span can be told. */
static int subject_add(
        struct trends *t, struct trend_subject *of, const struct subject *subject, bool whole, const struct interval_data *i)
{
	int err = 0;

	for (int id = 0; id < MEASURE_COUNT && !err; id++) {
		if (measure_infos[id].of != of->of || !t->watched[id])
			continue;
		if (t->quantile[id])
			err = quantile_add(t, of, (enum measure_id)id, subject->metrics, i);
		else if (!t->direct[id])
			err = events_add(t, of, (enum measure_id)id, subject->metrics, i);
		else if (whole)
			err = direct_add(t, of, (enum measure_id)id, subject, i);
	}
	return err;
}

static void sum_clear(struct trends *t)
{
	for (int i = 0; i < t->class_metrics_len; i++) {
		enum metric_id m = t->class_metrics[i];

		t->sum.value[m] = 0;
		if (t->sum.hist[m])
			hist_reset(t->sum.hist[m]);
	}
}

static int sum_add(struct trends *t, const struct metric_set *from)
{
	for (int i = 0; i < t->class_metrics_len; i++) {
		enum metric_id m = t->class_metrics[i];

		t->sum.value[m] += from->value[m];
		if (!from->hist[m] || !from->hist[m]->count)
			continue;
		if (!t->sum.hist[m]) {
			t->sum.hist[m] = calloc(1, sizeof(*t->sum.hist[m]));
			if (!t->sum.hist[m])
				return -ENOMEM;
			hist_init(t->sum.hist[m]);
		}
		if (hist_merge(t->sum.hist[m], from->hist[m]))
			return -ENOMEM;
	}
	return 0;
}

static int class_add(struct trends *t, struct trend_agent *a, enum class_id class, const struct agent_data *d, bool whole,
        const struct interval_data *i)
{
	const struct metric_set *only = NULL;
	struct trend_subject *of;
	int n = 0, err = 0;

	for (int p = 0; p < d->peers_len; p++) {
		if (d->peers[p].server || d->peers[p].class != class)
			continue;
		if (++n == 1) {
			only = &d->peers[p].metrics;
			continue;
		}
		if (n == 2) {
			sum_clear(t);
			err = sum_add(t, only);
			only = &t->sum;
		}
		err = err ? err : sum_add(t, &d->peers[p].metrics);
	}
	if (err || !n)
		return err;
	of = subject_of_class(a, class);
	return of ? subject_add(t, of, &(struct subject){.metrics = only, .seconds = d->observed_s}, whole, i) : -ENOMEM;
}

static int agent_add(struct trends *t, struct trend_agent *a, const struct agent_data *d, const struct interval_data *i)
{
	bool whole = d->alive && d->observed_s >= WATCHED_MIN * (i->end_s - i->start_s);
	const struct subject own = {.metrics = &d->metrics,
	        .main = &d->main,
	        .threads = &d->threads,
	        .critical = &d->critical,
	        .seconds = d->observed_s};
	int at = 1, err = subject_add(t, a->subjects[0], &own, whole, i);

	for (int class = 0; class < CLASS_COUNT && !err; class ++)
		err = class_add(t, a, (enum class_id) class, d, whole, i);
	for (int n = 0; n < d->tools_len && !err; n++) {
		const struct tool_data *tool = &d->tools[n];
		const struct subject its = {.metrics = &tool->metrics, .main = &tool->main, .seconds = d->observed_s};
		struct trend_subject *of = subject_of_tool(a, tool->name, &at, &err);

		if (of)
			err = subject_add(t, of, &its, whole, i);
	}
	return err;
}

static void watched_find(struct trends *t, const struct header_data *h)
{
	for (int id = 0; id < MEASURE_COUNT; id++)
		for (int p = 0; p < PROBE_COUNT; p++)
			if (expression_probes(t->expression[id]) & 1U << p && !header_probe_on(h, (enum probe_id)p, true))
				t->watched[id] = false;
}

int trends_interval(void *trends, const struct interval_data *i)
{
	struct trends *t = trends;
	double lost = (double)observer_data_lost_sum(&i->observer);
	int err = 0;

	if (!t->begun && i->header)
		watched_find(t, i->header);
	t->begun = true;
	if (lost > LOST_MAX * (lost + (double)i->observer.records))
		return 0;
	for (int n = 0; n < i->agents_len && !err; n++) {
		struct trend_agent *a = agent_of(t, i->infos[n]);

		err = a ? agent_add(t, a, i->agents[n], i) : -ENOMEM;
	}
	return err;
}
