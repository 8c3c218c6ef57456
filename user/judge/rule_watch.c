// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Rules that are about the same figures of the same subjects over the same time share a group: one window a subject. Each interval goes into the windows of its
 * agents, their peers and tools; then each rule looks at its windows.
 */
#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge/rule_watch_parts.h"
#include "lib/util.h"

#define NEARLY 0.9 /* of the span must have been watched for what is of a span */
#define SLACK_S 1e-6 /* times are sums of floating-point numbers */

/* ---- groups ---- */

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

bool rule_group_same(const struct group *a, const struct group *b)
{
	return a->each == b->each && a->class == b->class && same_text(a->agent, b->agent) && same_text(a->peer, b->peer) && same_text(a->tool, b->tool) &&
	       window_plan_same(&a->plan, &b->plan);
}

static void groups_free(struct group *g, int len)
{
	for (int i = 0; i < len; i++)
		free(g[i].rules);
	free(g);
}

static struct group *groups_new(const struct rules *rules, int *ret_len)
{
	struct group *groups = calloc((size_t)rules->len + 1, sizeof(*groups));
	int len = 0;

	for (int r = 0; groups && r < rules->len; r++) {
		const struct rule *rule = &rules->at[r];
		struct group *g = &groups[len];
		int i = 0;

		*g = (struct group){ .each = rule->each, .class = rule->class, .agent = rule->agent, .peer = rule->peer, .tool = rule->tool };
		window_plan_init(&g->plan, rule->value, rule->over_s);
		while (i < len && !rule_group_same(&groups[i], g))
			i++;
		g = &groups[i];
		if (i == len) {
			len++;
			g->rules = calloc((size_t)rules->len, sizeof(*g->rules));
			if (!g->rules) {
				groups_free(groups, len);
				return NULL;
			}
		}
		g->rules[g->rules_len++] = r;
		g->events = (g->rules_len == 1 || g->events) && expression_events(rule->value);
	}
	*ret_len = len;
	return groups;
}

/* ---- life ---- */

static void subject_free(struct agent_group *g, struct subject_watch *s)
{
	HASH_DEL(g->subjects, s);
	window_free(s->window);
	free(s);
}

static void agent_group_fini(struct agent_group *g)
{
	struct subject_watch *s, *next;

	HASH_ITER(hh, g->subjects, s, next)
		subject_free(g, s);
	window_free(g->clock);
}

static void agent_free(struct rule_watch *w, struct agent_watch *a)
{
	HASH_DEL(w->agents, a);
	for (int i = 0; i < w->groups_len; i++)
		agent_group_fini(&a->groups[i]);
	free(a->name);
	free(a);
}

struct rule_watch *rule_watch_new(const struct rules *rules, rule_event_fn fn, void *ctx)
{
	struct rule_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->rules = rules;
	w->fn = fn;
	w->ctx = ctx;
	w->groups = groups_new(rules, &w->groups_len);
	w->status = calloc((size_t)rules->len + 1, sizeof(*w->status));
	if (!w->groups || !w->status) {
		rule_watch_free(w);
		return NULL;
	}
	return w;
}

void rule_watch_values(struct rule_watch *w, rule_value_fn fn)
{
	w->value_fn = fn;
}

void rule_watch_free(struct rule_watch *w)
{
	struct agent_watch *a, *next;

	if (!w)
		return;
	HASH_ITER(hh, w->agents, a, next)
		agent_free(w, a);
	groups_free(w->groups, w->groups ? w->groups_len : 0);
	free(w->status);
	window_sum_fini(&w->sum);
	free(w);
}

void rule_watch_probes(struct rule_watch *w, const struct header_data *h)
{
	w->missing = 0;
	for (int p = 0; p < PROBE_COUNT && h->probes_len; p++) {
		const struct probe_state *found = NULL;

		for (int i = 0; i < h->probes_len && !found; i++)
			if (!strcmp(h->probes[i].name, probe_infos[p].name))
				found = &h->probes[i];
		if (found && !strcmp(found->state, "on"))
			continue;
		w->missing |= 1U << p;
		snprintf(w->missing_why[p].state, sizeof(w->missing_why[p].state), "%s", found ? found->state : "not known");
		snprintf(w->missing_why[p].why, sizeof(w->missing_why[p].why), "%s", found ? found->why : "");
	}
}

static struct agent_watch *agent_new(struct rule_watch *w, const struct agent_info *info, double first_s)
{
	struct agent_watch *a = calloc(1, sizeof(*a) + (size_t)w->groups_len * sizeof(a->groups[0]));

	if (!a)
		return NULL;
	a->id = info->id;
	a->first_s = a->end_s = first_s;
	a->name = strdup(info->name);
	for (int i = 0; i < w->groups_len; i++) {
		struct group *g = &w->groups[i];

		a->groups[i].wanted = !g->agent || !fnmatch(g->agent, info->name, 0);
		for (int r = 0; a->groups[i].wanted && r < g->rules_len; r++)
			w->status[g->rules[r]].agent_seen = true;
	}
	HASH_ADD_INT(w->agents, id, a);
	if (!a->name) {
		agent_free(w, a);
		return NULL;
	}
	return a;
}

/* The watch of a subject, *ret; NULL: there are too many. 0 or -ENOMEM. */
static int subject_find(struct rule_watch *w, const struct group *g, struct agent_group *ag, const char *name, struct subject_watch **ret)
{
	struct subject_watch *s;

	HASH_FIND_STR(ag->subjects, name, s);
	*ret = s;
	if (s)
		return 0;
	if (HASH_COUNT(ag->subjects) >= RULE_SUBJECTS_MAX) {
		w->unjudged++;
		return 0;
	}
	s = calloc(1, sizeof(*s) + (size_t)g->rules_len * sizeof(s->tracks[0]));
	if (!s)
		return -ENOMEM;
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->window = window_new(&g->plan, ag->clock);
	if (!s->window) {
		free(s);
		return -ENOMEM;
	}
	HASH_ADD_STR(ag->subjects, name, s);
	for (int r = 0; r < g->rules_len; r++)
		w->status[g->rules[r]].subject_seen = true;
	*ret = s;
	return 0;
}

/* ---- events ---- */

int rule_event_tell(const struct rule_watch *w, rule_event_fn fn, void *ctx, int what, int rule, const struct agent_watch *a, const struct subject_watch *s, const struct track *t, double at_s,
		      double value)
{
	const struct rule_event e = { .what = what, .rule = &w->rules->at[rule], .agent = a->id, .agent_name = a->name, .subject = s->name,
				      .since_s = t->since_s, .at_s = at_s, .value = value, .worst = t->worst };

	return fn ? fn(ctx, &e) : 0;
}

/* Ends what is raised for a subject. */
static int subject_clear(struct rule_watch *w, const struct group *g, const struct agent_watch *a, struct subject_watch *s, double at_s)
{
	int err = 0;

	for (int r = 0; r < g->rules_len && !err; r++) {
		struct track *t = &s->tracks[r];

		if (t->raised)
			err = rule_event_tell(w, w->fn, w->ctx, RULE_CLEARED, g->rules[r], a, s, t, at_s, NAN);
		t->raised = t->holding = false;
	}
	return err;
}

static int agent_end(struct rule_watch *w, struct agent_watch *a, double at_s)
{
	struct subject_watch *s, *next;
	int err = 0;

	for (int i = 0; i < w->groups_len; i++)
		HASH_ITER(hh, a->groups[i].subjects, s, next)
			err = err ? err : subject_clear(w, &w->groups[i], a, s, at_s);
	agent_free(w, a);
	return err;
}

/* ---- figures ---- */

static bool peer_matches(const struct group *g, const struct peer_data *p)
{
	if (g->each == EACH_CLASS)
		return !p->server && p->class == g->class;
	return !fnmatch(g->peer, p->peer, 0) || (*p->name && !fnmatch(g->peer, p->name, 0));
}

static void peer_name(const struct group *g, const struct peer_data *p, char buf[SUBJECT_LEN])
{
	if (g->each == EACH_CLASS)
		snprintf(buf, SUBJECT_LEN, "%s", class_infos[g->class].name);
	else
		snprintf(buf, SUBJECT_LEN, *p->name ? "%.90s (%.60s)" : "%.0s%.150s", p->name, p->peer);
	text_sanitize(buf);
}

static int subject_add(struct rule_watch *w, struct agent_group *ag, const struct group *g, const char *name, const struct interval_data *i, double seconds, const struct metric_set *m, bool gauges,
		       const struct ledger *const ledgers[3])
{
	struct subject_watch *s;
	int err = subject_find(w, g, ag, name, &s);

	if (err || !s)
		return err;
	if (!s->fed)
		err = window_interval(s->window, i->start_s, i->end_s, seconds);
	s->fed = true;
	return err ? err : window_add(s->window, m, gauges, ledgers[0], ledgers[1], ledgers[2]);
}

static int group_add(struct rule_watch *w, struct agent_group *ag, const struct group *g, const struct interval_data *i, const struct agent_data *d)
{
	const struct ledger *none[3] = { NULL }, *own[3] = { &d->main, &d->threads, &d->critical };
	char name[SUBJECT_LEN];
	int err = 0;

	if (g->each == EACH_AGENT)
		return subject_add(w, ag, g, "", i, d->observed_s, &d->metrics, d->alive, own);
	for (int n = 0; n < d->peers_len && g->each != EACH_TOOL && !err; n++) {
		if (!peer_matches(g, &d->peers[n]))
			continue;
		peer_name(g, &d->peers[n], name);
		err = subject_add(w, ag, g, name, i, d->observed_s, &d->peers[n].metrics, false, none);
	}
	for (int n = 0; n < d->tools_len && g->each == EACH_TOOL && !err; n++) {
		const struct ledger *main[3] = { &d->tools[n].main };

		if (fnmatch(g->tool, d->tools[n].name, 0))
			continue;
		snprintf(name, sizeof(name), "%.150s", d->tools[n].name);
		err = subject_add(w, ag, g, text_sanitize(name), i, d->observed_s, &d->tools[n].metrics, false, main);
	}
	if (!err && !ag->clock)
		ag->clock = window_new(&g->plan, NULL);
	if (!err)
		err = ag->clock ? window_interval(ag->clock, i->start_s, i->end_s, d->observed_s) : -ENOMEM;
	return err;
}

/* ---- verdicts ---- */

static bool beyond(const struct rule *r, double value, double limit)
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

/* The rule's value of the sum at hand, or NAN; *ret_good: a verdict may rest on it. */
static double rule_value(struct rule_watch *w, int rule, const struct window_sum *sum, double age_s, double interval_s, bool *ret_good)
{
	const struct rule *r = &w->rules->at[rule];
	struct status *status = &w->status[rule];
	const struct subject of = { .metrics = &sum->view, .main = &sum->ledgers[0], .threads = &sum->ledgers[1], .critical = &sum->ledgers[2],
				    .seconds = sum->seconds, .age_s = age_s };
	/* Intervals need not divide the span: a window may be short by half of one. */
	double full = fmin(NEARLY * r->over_s, r->over_s - 0.55 * interval_s);
	uint64_t support;
	double value;

	*ret_good = false;
	if (w->missing & expression_probes(r->value))
		return NAN;
	for (int m = 0; m < METRIC_IDS && !sum->gauges; m++)
		if ((metric_infos[m].type == METRIC_GAUGE || metric_infos[m].type == METRIC_PEAK) && expression_uses(r->value, (enum metric_id)m))
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

static int rule_judge(struct rule_watch *w, int rule, const struct agent_watch *a, struct subject_watch *s, struct track *t, const struct interval_data *i)
{
	const struct rule *r = &w->rules->at[rule];
	bool good = t->good, above = r->comparison == RULE_ABOVE || r->comparison == RULE_AT_LEAST;
	double value = t->now;
	int err = good && w->value_fn ? w->value_fn(w->ctx, rule, a->id, s->name, i->end_s, value) : 0;

	if (err)
		return err;
	if (t->holding && !isnan(value))
		t->worst = above ? fmax(t->worst, value) : fmin(t->worst, value);
	if (t->raised) {
		if (!isnan(value) && beyond(r, value, r->clear))
			return 0;
		t->raised = t->holding = false;
		return rule_event_tell(w, w->fn, w->ctx, RULE_CLEARED, rule, a, s, t, i->end_s, value);
	}
	if (!good || !beyond(r, value, r->limit)) {
		t->holding = false;
		return 0;
	}
	if (!t->holding) {
		t->holding = true;
		t->since_s = i->start_s;
		t->worst = value;
	}
	t->raised = i->end_s - t->since_s >= r->for_s - SLACK_S;
	return t->raised ? rule_event_tell(w, w->fn, w->ctx, RULE_RAISED, rule, a, s, t, i->end_s, value) : 0;
}

/* What its rules' values are now. 0 or -ENOMEM. */
static int subject_values(struct rule_watch *w, const struct group *g, struct subject_watch *s, double age_s, double interval_s)
{
	uint64_t changes = window_changes(s->window);
	int err;

	if (g->events && changes == s->changes)
		return 0;
	err = window_sum(s->window, &w->sum);
	if (err)
		return err;
	s->changes = changes;
	s->added = w->sum.added;
	for (int r = 0; r < g->rules_len; r++)
		s->tracks[r].now = rule_value(w, g->rules[r], &w->sum, age_s, interval_s, &s->tracks[r].good);
	return 0;
}

static int group_judge(struct rule_watch *w, struct agent_watch *a, struct agent_group *ag, const struct group *g, const struct interval_data *i, const struct agent_data *d, double age_s)
{
	struct subject_watch *s, *next;
	int err = 0;

	HASH_ITER(hh, ag->subjects, s, next) {
		if (!s->fed) /* it did nothing */
			err = window_interval(s->window, i->start_s, i->end_s, d->observed_s);
		s->fed = false;
		if (!err)
			err = subject_values(w, g, s, age_s, i->end_s - i->start_s);
		for (int r = 0; r < g->rules_len && !err; r++)
			err = rule_judge(w, g->rules[r], a, s, &s->tracks[r], i);
		if (!err && !s->added) { /* nothing of it is left in the span */
			err = subject_clear(w, g, a, s, i->end_s);
			subject_free(ag, s);
		}
		if (err)
			return err;
	}
	return 0;
}

static int agent_interval(struct rule_watch *w, const struct interval_data *i, const struct agent_data *d, const struct agent_info *info)
{
	struct agent_watch *a;
	double age_s;
	int err = 0;

	HASH_FIND_INT(w->agents, &d->id, a);
	if (!a && !d->alive && !(d->observed_s > 0)) /* its end was told before */
		return 0;
	if (!a)
		a = agent_new(w, info, i->end_s - d->observed_s);
	if (!a)
		return -ENOMEM;
	age_s = d->alive ? i->end_s - a->first_s : a->end_s - a->first_s + d->observed_s;
	a->end_s = i->end_s;
	a->seen = true;
	for (int n = 0; n < w->groups_len && !err; n++) {
		if (!a->groups[n].wanted)
			continue;
		err = group_add(w, &a->groups[n], &w->groups[n], i, d);
		if (!err)
			err = group_judge(w, a, &a->groups[n], &w->groups[n], i, d, age_s);
	}
	return err || d->alive ? err : agent_end(w, a, i->end_s);
}

int rule_watch_interval(struct rule_watch *w, const struct interval_data *i)
{
	struct agent_watch *a, *next;
	int err = 0;

	if (i->header)
		rule_watch_probes(w, i->header);
	for (int n = 0; n < i->agents_len && !err; n++)
		err = agent_interval(w, i, i->agents[n], i->infos[n]);
	HASH_ITER(hh, w->agents, a, next) {
		if (!a->seen && !err)
			err = agent_end(w, a, i->start_s);
		else
			a->seen = false;
	}
	return err;
}
