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
	for (int i = 0; i < len; i++) {
		free(g[i].rules);
		free(g[i].marks);
		free(g[i].quantiles);
	}
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
			g->marks = calloc((size_t)rules->len, sizeof(*g->marks));
			g->quantiles = calloc((size_t)rules->len, sizeof(*g->quantiles));
			if (!g->rules || !g->marks || !g->quantiles) {
				groups_free(groups, len);
				return NULL;
			}
		}
		g->rules[g->rules_len++] = r;
		g->events = (g->rules_len == 1 || g->events) && expression_events(rule->value);
		g->values = (g->rules_len == 1 || g->values) && expression_needs_values(rule->value);
	}
	for (int i = 0; groups && i < len; i++)
		group_marks_init(&groups[i], rules);
	*ret_len = len;
	return groups;
}

/* ---- life ---- */

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
	for (int r = 0; r < rules->len; r++)
		w->status[r].worst = NAN;
	rule_watch_values(w, NULL);
	return w;
}

void rule_watch_values(struct rule_watch *w, rule_value_fn fn)
{
	w->value_fn = fn;
	for (int i = 0; i < w->groups_len; i++)
		group_marks_set(w, &w->groups[i]);
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
	int err;

	if (!a)
		return NULL;
	a->id = info->id;
	a->first_s = a->end_s = first_s;
	a->name = strdup(info->name);
	err = a->name ? 0 : -ENOMEM;
	for (int i = 0; i < w->groups_len && !err; i++) {
		struct group *g = &w->groups[i];

		a->groups[i].wanted = !g->agent || !fnmatch(g->agent, info->name, 0);
		if (a->groups[i].wanted)
			err = agent_group_time(a->groups, i, g->plan.over_s, w->intervals);
		for (int r = 0; a->groups[i].wanted && r < g->rules_len; r++)
			w->status[g->rules[r]].agent_seen = true;
	}
	HASH_ADD_INT(w->agents, id, a);
	if (err) {
		agent_free(w, a);
		return NULL;
	}
	return a;
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
	int err = 0;

	for (int i = 0; i < w->groups_len; i++)
		for (int n = 0; n < a->groups[i].heads_len && !err; n++)
			err = subject_clear(w, &w->groups[i], a, a->groups[i].heads[n].watch, at_s);
	agent_free(w, a);
	return err;
}

/* ---- intervals ---- */

static int group_judge(struct rule_watch *w, const struct turn *t, struct agent_group *ag)
{
	int err = 0;

	for (int n = 0; n < ag->heads_len && !err;) {
		struct subject_head *h = &ag->heads[n];
		bool changed = h->fed || h->anew;

		if (!h->fed && h->oldest < t->time->first) {
			changed = window_expire(h->watch->window, t->time);
			h->oldest = window_oldest(h->watch->window);
		}
		h->fed = h->anew = false;
		if (changed || h->busy || !t->group->events)
			err = subject_turn(w, t, h, changed);
		if (!err && h->oldest == UINT64_MAX) { /* nothing of it is left in the span */
			err = subject_clear(w, t->group, t->agent, h->watch, t->interval->end_s);
			subject_remove(ag, n);
		} else {
			n++;
		}
	}
	return err;
}

static int group_interval(struct rule_watch *w, struct agent_watch *a, int group, const struct interval_data *i, const struct agent_data *d, double age_s)
{
	struct agent_group *ag = &a->groups[group];
	const struct turn turn = { .interval = i, .agent = a, .group = &w->groups[group], .time = &ag->time->time, .age_s = age_s };
	int err = 0;

	if (ag->time->interval != w->intervals)
		err = window_time_interval(&ag->time->time, i->start_s, i->end_s, d->observed_s);
	ag->time->interval = w->intervals;
	if (!err)
		err = group_feed(w, &w->groups[group], ag, d);
	return err ? err : group_judge(w, &turn, ag);
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
	for (int n = 0; n < w->groups_len && !err; n++)
		if (a->groups[n].wanted)
			err = group_interval(w, a, n, i, d, age_s);
	return err || d->alive ? err : agent_end(w, a, i->end_s);
}

int rule_watch_interval(struct rule_watch *w, const struct interval_data *i)
{
	struct agent_watch *a, *next;
	int err = 0;

	if (i->header)
		rule_watch_probes(w, i->header);
	w->intervals++;
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
