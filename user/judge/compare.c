/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is compared with what, the verdicts over all, findings, and what makes the sides unlike. */
#include "judge/compare.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge/compare_parts.h"
#include "judge/student.h"
#include "lib/util.h"

#define LOST_TOLD 0.001
#define POWER_Z 1.2816 /* nine times out of ten a normal deviate is not that far below its mean */
#define UNLIKE 1.5 /* times: durations */

const char *const verdict_names[VERDICT_COUNT] = {"improved", "stable", "degraded", "insufficient data"};

const struct compare_limits compare_defaults = {
        .limit = {[GROUP_CPU] = 0.10, [GROUP_MEMORY] = 0.10, [GROUP_TIME] = 0.20, [GROUP_ERRORS] = 0.01},
        .false_rate = 0.05,
};

double compare_limit(const struct compare_limits *limits, enum measure_id measure)
{
	return limits->measure[measure] > 0 ? limits->measure[measure] : limits->limit[measure_infos[measure].group];
}

/* ---- what comes of it ---- */

struct owner { /* of all that the comparisons point to */
	char **texts;
	int texts_len;
	const char **warnings;
	bool failed; /* out of memory */
};

const char *const side_names[2] = {"base", "new"};

const char *keep(struct work *w, const char *fmt, ...)
{
	struct owner *o = w->owner;
	char text[512], **more;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (int i = o->texts_len - 1; i >= 0; i--)
		if (!strcmp(o->texts[i], text))
			return o->texts[i];
	more = reallocarray(o->texts, (size_t)o->texts_len + 1, sizeof(*more));
	if (more)
		o->texts = more;
	if (!more || !(more[o->texts_len] = strdup(text))) {
		o->failed = true;
		return "";
	}
	return more[o->texts_len++];
}

static void warn(struct work *w, const char *text)
{
	const char **more = reallocarray(w->owner->warnings, (size_t)w->c->warnings_len + 1, sizeof(*more));

	if (!more) {
		w->owner->failed = true;
		return;
	}
	more[w->c->warnings_len++] = text;
	w->owner->warnings = more;
	w->c->warnings = more;
}
#define warnf(w, ...) warn(w, keep(w, __VA_ARGS__))

struct comparison *row_add(struct work *w)
{
	if (w->c->len == w->rows_cap) {
		int cap = 2 * w->rows_cap + 64;
		struct comparison *more = reallocarray(w->c->rows, (size_t)cap, sizeof(*more));

		if (!more) {
			w->owner->failed = true;
			return NULL;
		}
		w->c->rows = more;
		w->rows_cap = cap;
	}
	return &w->c->rows[w->c->len++];
}

/* ---- all rows ---- */

static int text_order(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, each once. Returns the new length. */
static int texts_unique(const char **texts, int len)
{
	int n = 0;

	if (len > 0)
		qsort(texts, (size_t)len, sizeof(*texts), text_order);
	for (int i = 0; i < len; i++)
		if (!n || strcmp(texts[n - 1], texts[i]))
			texts[n++] = texts[i];
	return n;
}

/* Subjects of this kind that an agent has on either side. *ret is the caller's; the texts are lent. */
static int subjects_list(const struct work *w, const char *agents[2], enum measure_of of, const char ***ret)
{
	const char **list = NULL;
	int len = 0;

	*ret = NULL;
	for (int side = 0; side < 2; side++)
		for (int i = 0; i < w->side[side]->len; i++) {
			struct run_agent *a = NULL;
			const char **more;

			HASH_FIND_STR(w->side[side]->runs[i]->agents, agents[side], a);
			if (!a)
				continue;
			more = reallocarray(list, (size_t)(len + a->len), sizeof(*more));
			if (!more) {
				free(list);
				return -ENOMEM;
			}
			list = more;
			for (int n = 0; n < a->len; n++)
				if (a->series[n]->of == of)
					list[len++] = a->series[n]->subject;
		}
	*ret = list;
	return texts_unique(list, len);
}

static int agent_compare(struct work *w, const char *agents[2])
{
	const char *name = !strcmp(agents[0], agents[1]) ? keep(w, "%s", agents[0]) : keep(w, "%s -> %s", agents[0], agents[1]);
	int err = 0;

	for (int side = 0; side < 2; side++)
		w->samples[side] = (struct samples){.seed = random_next(&w->seed)};
	for (enum measure_of of = 0; of < MEASURE_KINDS && !err; of++) {
		_cleanup_free_ const char **subjects = NULL;
		int len = subjects_list(w, agents, of, &subjects);

		err = len < 0 ? len : 0;
		for (int i = 0; i < len; i++)
			for (int id = 0; id < MEASURE_COUNT && !err; id++)
				if (measure_infos[id].of == of)
					err = measure_compare(w, agents, name, of, subjects[i], (enum measure_id)id);
	}
	samples_fini(&w->samples[0]);
	samples_fini(&w->samples[1]);
	return err;
}

/* ---- findings ---- */

struct found_side {
	const struct finding *finding; /* the dearest; NULL: not there */
	int runs, found;
	const char *unjudged;
};

static struct found_side found_find(const struct compare_side *s, const char *agent, enum finding_id id)
{
	struct found_side ret = {0};

	for (int i = 0; i < s->len; i++) {
		struct run_agent *a = NULL;

		HASH_FIND_STR(s->runs[i]->agents, agent, a);
		if (!a)
			continue;
		ret.runs++;
		ret.found += a->found[id];
		if (a->unjudged[id])
			ret.unjudged = a->unjudged[id];
		if (a->found[id] && (!ret.finding || a->findings[id].cost_s > ret.finding->cost_s))
			ret.finding = &a->findings[id];
	}
	if (2 * ret.found < ret.runs)
		ret.finding = NULL;
	return ret;
}

static int findings_compare(struct work *w, const char *agents[2])
{
	for (int id = 0; id < FINDING_COUNT; id++) {
		struct found_side base = found_find(w->side[0], agents[0], (enum finding_id)id);
		struct found_side new = found_find(w->side[1], agents[1], (enum finding_id)id);
		struct comparison_finding *more;

		if (!base.finding && !new.finding)
			continue;
		more = reallocarray(w->c->findings, (size_t)w->c->findings_len + 1, sizeof(*more));
		if (!more)
			return -ENOMEM;
		w->c->findings = more;
		more += w->c->findings_len++;
		*more = (struct comparison_finding){.agent = keep(w, "%s", agents[1]),
		        .in_base = base.finding,
		        .in_new = new.finding,
		        .unjudged = !base.finding  ? base.unjudged
		                    : !new.finding ? new.unjudged
		                                   : NULL};
		if (base.finding)
			more->base = *base.finding;
		if (new.finding)
			more->new = *new.finding;
	}
	return 0;
}

/* ---- what makes the sides unlike ---- */

static void warn_reduced(struct work *w, const struct run *r, const char *which)
{
	char names[128] = "";

	for (int p = 0; p < PROBE_COUNT; p++)
		if (r->probes_reduced & 1U << p)
			snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", *names ? ", " : "", probe_infos[p].name);
	if (*names)
		warnf(w, "%s: the budget left less detail for a part of the time, of: %s (record with --budget off keeps it)", which, names);
}

static void warn_run(struct work *w, const struct run *r, int side, int n)
{
	const char *which = w->side[side]->len > 1 ? keep(w, "%s recording %d", side_names[side], n + 1)
	                                           : keep(w, "the %s recording", side_names[side]);

	if (!r->intervals)
		warnf(w, "%s has no intervals", which);
	if (r->lost >= LOST_TOLD)
		warnf(w, "%s lost %.1f %% of its records", which, r->lost * 100);
	if (r->missing)
		warnf(w, "%s misses intervals", which);
	warn_reduced(w, r, which);
}

static void warn_unlike(struct work *w)
{
	const struct run *first = w->side[0]->len ? w->side[0]->runs[0] : NULL;
	double shortest = INFINITY, longest = 0;
	bool cpus = false, interval = false;
	uint32_t probes = 0;

	for (int side = 0; side < 2; side++)
		for (int i = 0; i < w->side[side]->len; i++) {
			const struct run *r = w->side[side]->runs[i];

			warn_run(w, r, side, i);
			shortest = fmin(shortest, r->duration_s);
			longest = fmax(longest, r->duration_s);
			if (!cpus && r->cpus != first->cpus)
				warnf(w, "made on hosts of %d and %d CPUs", first->cpus, r->cpus);
			if (!interval && fabs(r->interval_s - first->interval_s) > 1e-6)
				warnf(w, "intervals of %g s and of %g s: peaks within an interval are not alike",
				        first->interval_s, r->interval_s);
			cpus = cpus || r->cpus != first->cpus;
			interval = interval || fabs(r->interval_s - first->interval_s) > 1e-6;
			probes |= r->probes_off ^ first->probes_off;
		}
	for (int p = 0; p < PROBE_COUNT; p++)
		if (probes & 1U << p)
			warnf(w, "probe %s was on in a part of the recordings only", probe_infos[p].name);
	if (shortest > 0 && longest > UNLIKE * shortest)
		warnf(w, "the longest recording took %.3g times as long as the shortest", longest / shortest);
}

static void warn_agents(struct work *w, const char *agents[2])
{
	int processes[2] = {0}, runs[2] = {0};

	for (int side = 0; side < 2; side++)
		for (int i = 0; i < w->side[side]->len; i++) {
			struct run_agent *a = NULL;

			HASH_FIND_STR(w->side[side]->runs[i]->agents, agents[side], a);
			processes[side] += a ? a->processes : 0;
			runs[side] += a != NULL;
		}
	for (int side = 0; side < 2; side++)
		if (!runs[side])
			warnf(w, "agent %s is in the %s recording%s only", agents[1 - side], side_names[1 - side],
			        w->side[1 - side]->len > 1 ? "s" : "");
	if (runs[0] && runs[1] && processes[0] * runs[1] != processes[1] * runs[0])
		warnf(w, "agent %s: %.3g of that name in a base recording, %.3g in a new one; figures are the mean of one",
		        agents[1], (double)processes[0] / runs[0], (double)processes[1] / runs[1]);
}

/* ---- all of it ---- */

/* As if it was the only one of so many rows that has changed. */
static double row_detectable(const struct work *w, const struct comparison *row, int rows)
{
	double deviation = sqrt(row->spread.variance), seen = 0, change;

	if (row->verdict == VERDICT_INSUFFICIENT || !(row->spread.freedom > 0) || !(row->least > 0))
		return NAN;
	if (deviation > 0)
		seen = deviation * student_beyond(fmin(w->limits->false_rate / rows, 1 - CONFIDENCE), row->spread.freedom);
	change = fmax(row->least, seen) + POWER_Z * deviation;
	return measure_infos[row->measure].group == GROUP_ERRORS ? change : expm1(change);
}

static void verdicts(struct work *w, double *p)
{
	int len = 0;
	double kept;

	for (int i = 0; i < w->c->len; i++) /* those within their limits are compared, too */
		if (w->c->rows[i].verdict != VERDICT_INSUFFICIENT)
			p[len++] = isnan(w->c->rows[i].p) ? 1 : w->c->rows[i].p;
	kept = false_discovery_limit(p, len, w->limits->false_rate);
	for (int i = 0; i < w->c->len; i++) {
		struct comparison *row = &w->c->rows[i];

		row->detectable = row_detectable(w, row, len);
		if (row->verdict != VERDICT_INSUFFICIENT && row->p <= kept && row->p < 1 - CONFIDENCE)
			row->verdict = (row->change > 0) == measure_infos[row->measure].more_is_better ? VERDICT_IMPROVED
			                                                                               : VERDICT_DEGRADED;
		w->c->counts[row->verdict]++;
	}
}

static int row_order(const void *a, const void *b)
{
	static const int rank[VERDICT_COUNT] = {
	        [VERDICT_DEGRADED] = 0, [VERDICT_IMPROVED] = 1, [VERDICT_INSUFFICIENT] = 2, [VERDICT_STABLE] = 3};
	const struct comparison *x = a, *y = b;
	double of_x = isnan(x->change) ? -1 : fabs(x->change), of_y = isnan(y->change) ? -1 : fabs(y->change);
	int by = rank[x->verdict] - rank[y->verdict];

	if (!by)
		by = strcmp(x->agent, y->agent);
	if (!by && of_x != of_y)
		return of_x < of_y ? 1 : -1;
	if (!by)
		by = (int)x->measure - (int)y->measure;
	return by ? by : strcmp(x->subject, y->subject);
}

/* Names of all agents of a side. */
static int names_list(const struct compare_side *s, const char ***list, int *len)
{
	for (int i = 0; i < s->len; i++)
		for (struct run_agent *a = s->runs[i]->agents; a; a = a->hh.next) {
			const char **more = reallocarray(*list, (size_t)*len + 1, sizeof(*more));

			if (!more)
				return -ENOMEM;
			*list = more;
			more[(*len)++] = a->name;
		}
	return 0;
}

static bool side_has(const struct compare_side *s, const char *name)
{
	struct run_agent *a = NULL;

	for (int i = 0; i < s->len && !a; i++)
		HASH_FIND_STR(s->runs[i]->agents, name, a);
	return a;
}

static int agents_compare(struct work *w, const struct compare_agents *agents)
{
	_cleanup_free_ const char **names = NULL;
	int len = 0, err = 0;

	if (agents && agents->base) {
		const char *pair[2] = {agents->base, agents->new};

		if (!side_has(w->side[0], pair[0]) || !side_has(w->side[1], pair[1]))
			return -ENOENT;
		warn_agents(w, pair);
		err = agent_compare(w, pair);
		return err ? err : findings_compare(w, pair);
	}
	for (int side = 0; side < 2 && !err; side++)
		err = names_list(w->side[side], &names, &len);
	len = err ? 0 : texts_unique(names, len);
	for (int i = 0; i < len && !err; i++) {
		const char *pair[2] = {names[i], names[i]};

		warn_agents(w, pair);
		if (!side_has(w->side[0], names[i]) || !side_has(w->side[1], names[i]))
			continue;
		err = agent_compare(w, pair);
		if (!err)
			err = findings_compare(w, pair);
	}
	return err;
}

int compare(const struct compare_side *base, const struct compare_side *new, const struct compare_limits *limits,
        const struct compare_agents *agents, struct comparisons **ret)
{
	struct comparisons *c = calloc(1, sizeof(*c));
	struct owner *owner = calloc(1, sizeof(*owner));
	struct work *w = calloc(1, sizeof(*w));
	_cleanup_free_ double *p = NULL;
	int err = -ENOMEM;

	if (c)
		c->owner = owner;
	if (!c || !owner || !w)
		goto out;
	*w = (struct work){.side = {base, new}, .limits = limits, .c = c, .owner = owner, .seed = 1};
	c->recordings[0] = base->len;
	c->recordings[1] = new->len;
	warn_unlike(w);
	err = agents_compare(w, agents);
	if (!err && owner->failed)
		err = -ENOMEM;
	if (err)
		goto out;
	p = calloc((size_t)c->len + 1, sizeof(*p));
	if (!p) {
		err = -ENOMEM;
		goto out;
	}
	verdicts(w, p);
	if (c->len)
		qsort(c->rows, (size_t)c->len, sizeof(*c->rows), row_order);
	*ret = c;
	c = NULL;
out:
	free(w);
	if (!c && err)
		free(owner);
	if (err)
		comparisons_free(c);
	return err;
}

void comparisons_free(struct comparisons *c)
{
	struct owner *o = c ? c->owner : NULL;

	if (!c)
		return;
	for (int i = 0; o && i < o->texts_len; i++)
		free(o->texts[i]);
	if (o) {
		free(o->texts);
		free(o->warnings);
	}
	free(o);
	free(c->rows);
	free(c->findings);
	free(c);
}
