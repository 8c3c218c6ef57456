// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Other rules while watching goes on, and what is known of the rules there are. */
#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge/rule_watch_parts.h"
#include "lib/util.h"

/* ---- other rules ---- */

/* Number of the rule in `rules` that is the same as r, or -1. */
static int rule_number(const struct rules *rules, const struct rule *r)
{
	for (int i = 0; i < rules->len; i++)
		if (rule_same(&rules->at[i], r))
			return i;
	return -1;
}

/* For each subject of `from` one with the tracks of `to`, in its `moved`. 0 or -ENOMEM. */
static int subjects_prepare(struct agent_group *into, struct agent_group *ag, const struct rule_watch *w, const struct group *from, const struct rules *rules, const struct group *to)
{
	for (int n = 0; n < ag->heads_len; n++) {
		struct subject_watch *s = ag->heads[n].watch;

		s->moved = subject_new(to, s->name);
		if (!s->moved)
			return -ENOMEM;
		for (int t = 0; t < to->rules_len; t++)
			for (int f = 0; f < from->rules_len; f++)
				if (rule_same(&rules->at[to->rules[t]], &w->rules->at[from->rules[f]]))
					s->moved->tracks[t] = s->tracks[f];
	}
	into->heads = calloc((size_t)ag->heads_len + 1, sizeof(*into->heads)); /* so that appending needs none */
	into->heads_cap = ag->heads_len + 1;
	return into->heads ? 0 : -ENOMEM;
}

static void subjects_move(struct agent_group *into, struct agent_group *ag)
{
	for (int n = 0; n < ag->heads_len; n++) {
		struct subject_watch *s = ag->heads[n].watch;

		window_move(s->moved->window, s->window);
		subject_append(into, s->moved);
		into->heads[n].anew = into->heads[n].busy = true;
		s->moved = NULL;
	}
	into->time = ag->time;
	if (into->time)
		into->time->users++;
}

static void moves_undo(struct rule_watch *w, const struct rule_watch *to)
{
	struct agent_watch *a, *next;

	HASH_ITER(hh, w->agents, a, next) {
		for (int i = 0; a->moved && i < to->groups_len; i++)
			agent_group_fini(&a->moved->groups[i]);
		free(a->moved);
		a->moved = NULL;
		for (int i = 0; i < w->groups_len; i++)
			for (int n = 0; n < a->groups[i].heads_len; n++) {
				subject_free(a->groups[i].heads[n].watch->moved);
				a->groups[i].heads[n].watch->moved = NULL;
			}
	}
}

static int group_number(const struct group *groups, int len, const struct group *g)
{
	for (int i = 0; i < len; i++)
		if (rule_group_same(&groups[i], g))
			return i;
	return -1;
}

/* All that needs memory. */
static int moves_prepare(struct rule_watch *w, const struct rule_watch *to)
{
	struct agent_watch *a, *next;

	HASH_ITER(hh, w->agents, a, next) {
		a->moved = calloc(1, sizeof(*a) + (size_t)to->groups_len * sizeof(a->groups[0]));
		if (!a->moved)
			return -ENOMEM;
		for (int i = 0; i < to->groups_len; i++) {
			const struct group *g = &to->groups[i];
			int from = group_number(w->groups, w->groups_len, g), err = 0;

			a->moved->groups[i].wanted = !g->agent || !fnmatch(g->agent, a->name, 0);
			if (from >= 0)
				err = subjects_prepare(&a->moved->groups[i], &a->groups[from], w, &w->groups[from], to->rules, g);
			else if (a->moved->groups[i].wanted)
				err = agent_group_time(a->moved->groups, i, g->plan.over_s, w->intervals);
			if (err)
				return err;
		}
	}
	return 0;
}

static void agent_move(struct rule_watch *w, struct rule_watch *to, struct agent_watch *a)
{
	struct agent_watch *n = a->moved;

	a->moved = NULL;
	n->id = a->id;
	n->name = a->name;
	a->name = NULL;
	n->first_s = a->first_s;
	n->end_s = a->end_s;
	for (int i = 0; i < to->groups_len; i++) {
		struct group *g = &to->groups[i];
		int from = group_number(w->groups, w->groups_len, g);

		for (int r = 0; n->groups[i].wanted && r < g->rules_len; r++)
			to->status[g->rules[r]].agent_seen = true;
		if (from >= 0)
			subjects_move(&n->groups[i], &a->groups[from]);
	}
	HASH_ADD_INT(to->agents, id, n);
}

/* Tells what ends with the old rules. */
static int gone_tell(struct rule_watch *w, const struct rules *rules)
{
	struct agent_watch *a, *next;
	int err = 0;

	HASH_ITER(hh, w->agents, a, next) {
		for (int i = 0; i < w->groups_len; i++) {
			const struct group *g = &w->groups[i];

			for (int n = 0; n < a->groups[i].heads_len; n++) {
				const struct subject_watch *s = a->groups[i].heads[n].watch;

				for (int r = 0; r < g->rules_len && !err; r++)
					if (s->tracks[r].raised && rule_number(rules, &w->rules->at[g->rules[r]]) < 0)
						err = rule_event_tell(w, w->fn, w->ctx, RULE_CLEARED, g->rules[r], a, s, &s->tracks[r], a->end_s, NAN);
			}
		}
	}
	return err;
}

int rule_watch_rules(struct rule_watch *w, const struct rules *rules)
{
	struct rule_watch *to = rule_watch_new(rules, w->fn, w->ctx), old;
	struct agent_watch *a, *next;
	int err = to ? moves_prepare(w, to) : -ENOMEM;

	if (err) {
		if (to)
			moves_undo(w, to);
		rule_watch_free(to);
		return err;
	}
	err = gone_tell(w, rules);
	for (int r = 0; r < w->rules->len; r++) {
		int n = rule_number(rules, &w->rules->at[r]);

		if (n >= 0)
			to->status[n] = w->status[r];
	}
	rule_watch_values(to, w->value_fn);
	HASH_ITER(hh, w->agents, a, next)
		agent_move(w, to, a);
	to->intervals = w->intervals;
	to->missing = w->missing;
	memcpy(to->missing_why, w->missing_why, sizeof(to->missing_why));
	to->unjudged = w->unjudged;
	moves_undo(w, to); /* subjects of groups that are no more */
	old = *w;
	*w = *to;
	*to = old;
	rule_watch_free(to);
	return err;
}

/* ---- what is known ---- */

int rule_watch_raised(const struct rule_watch *w, rule_event_fn fn, void *ctx)
{
	struct agent_watch *a, *next;
	int err = 0;

	HASH_ITER(hh, w->agents, a, next) {
		for (int i = 0; i < w->groups_len; i++) {
			for (int n = 0; n < a->groups[i].heads_len; n++) {
				const struct subject_watch *s = a->groups[i].heads[n].watch;

				for (int r = 0; r < w->groups[i].rules_len && !err; r++)
					if (s->tracks[r].raised)
						err = rule_event_tell(w, fn, ctx, RULE_RAISED, w->groups[i].rules[r], a, s, &s->tracks[r], a->end_s, s->tracks[r].now);
			}
		}
	}
	return err;
}

/* It has no value though all is there: a histogram without values, else a divisor that is 0. */
static void nothing_text(const struct rule *r, char *buf, size_t len)
{
	for (int m = 0; m < METRIC_IDS; m++) {
		if (metric_infos[m].type == METRIC_HIST && expression_uses(r->value, (enum metric_id)m)) {
			snprintf(buf, len, "no %s", metric_infos[m].name);
			return;
		}
	}
	snprintf(buf, len, "its divisor is 0");
}

const char *rule_watch_silent(const struct rule_watch *w, int rule)
{
	char *buf = (char *)w->silent;
	const struct rule *r = &w->rules->at[rule];
	const struct status *s = &w->status[rule];
	unsigned missing = w->missing & expression_probes(r->value);
	size_t len = sizeof(w->silent);

	if (s->had)
		return NULL;
	for (int p = 0; p < PROBE_COUNT; p++) {
		const struct probe_missing *m = &w->missing_why[p];

		if (!(missing & 1U << p))
			continue;
		snprintf(buf, len, "the probe %s was %s%s%.150s", probe_infos[p].name, m->state, *m->why ? ": " : "", m->why);
		return text_sanitize(buf);
	}
	if (!s->agent_seen)
		snprintf(buf, len, r->agent ? "no agent is called %.100s" : "no agent%.0s", r->agent);
	else if (!s->subject_seen && r->each == EACH_CLASS)
		snprintf(buf, len, "no peer of class %s", class_infos[r->class].name);
	else if (!s->subject_seen && r->each != EACH_AGENT)
		snprintf(buf, len, "no %s %.100s", r->each == EACH_PEER ? "peer" : "tool", r->each == EACH_PEER ? r->peer : r->tool);
	else if (s->support)
		snprintf(buf, len, "%llu events at most, at_least is %llu", (unsigned long long)s->support, (unsigned long long)r->at_least);
	else if (s->short_seen)
		snprintf(buf, len, "watched for %.3g s of the %.6g s that it is of", s->watched_s, r->over_s);
	else
		nothing_text(r, buf, len);
	return text_sanitize(buf);
}

uint64_t rule_watch_unjudged(const struct rule_watch *w)
{
	return w->unjudged;
}

static size_t agent_group_bytes(const struct agent_group *ag, const struct group *g)
{
	size_t bytes = (size_t)ag->heads_cap * sizeof(*ag->heads) + (size_t)ag->aliases_cap * sizeof(*ag->aliases);

	for (int i = 0; i < ag->aliases_len; i++)
		bytes += strlen(ag->aliases[i].name) + strlen(ag->aliases[i].peer) + 2;
	for (int i = 0; i < ag->heads_len; i++)
		bytes += sizeof(struct subject_watch) + (size_t)g->rules_len * sizeof(struct track) + strlen(ag->heads[i].watch->name) + 1 + window_bytes(ag->heads[i].watch->window);
	return bytes + (ag->time ? sizeof(*ag->time) / (size_t)ag->time->users : 0);
}

size_t rule_watch_bytes(const struct rule_watch *w)
{
	size_t bytes = sizeof(*w) + (size_t)w->groups_len * sizeof(*w->groups) + (size_t)w->rules->len * sizeof(*w->status) + metric_set_bytes(&w->sum.metrics);
	struct agent_watch *a, *next;

	HASH_ITER(hh, w->agents, a, next) {
		bytes += sizeof(*a) + (size_t)w->groups_len * sizeof(a->groups[0]) + strlen(a->name) + 1;
		for (int i = 0; i < w->groups_len; i++)
			bytes += agent_group_bytes(&a->groups[i], &w->groups[i]);
	}
	return bytes;
}
