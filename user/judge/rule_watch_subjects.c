// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Whom rules are about: an agent, peers or tools of it, and what comes into their windows. */
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge/rule_watch_parts.h"
#include "lib/util.h"

static const struct ledger *const no_ledgers[3] = {NULL};

/* ---- life ---- */

static void aliases_forget(struct agent_group *ag)
{
	for (int i = 0; i < ag->aliases_len; i++) {
		free(ag->aliases[i].name);
		free(ag->aliases[i].peer);
	}
	ag->aliases_len = ag->alias_at = 0;
}

struct subject_watch *subject_new(const struct group *g, const char *name)
{
	size_t size = sizeof(struct subject_watch) + (size_t)g->rules_len * sizeof(struct track), len = strlen(name);
	struct subject_watch *s = calloc(1, size + len + 1);

	if (!s)
		return NULL;
	s->name = memcpy((char *)s + size, name, len + 1);
	s->window = window_new(&g->plan);
	if (!s->window) {
		free(s);
		return NULL;
	}
	return s;
}

void subject_free(struct subject_watch *s)
{
	if (!s)
		return;
	window_free(s->window);
	free(s);
}

int subject_append(struct agent_group *ag, struct subject_watch *s)
{
	if (ag->heads_len == ag->heads_cap) {
		int cap = ag->heads_cap ? 2 * ag->heads_cap : 1;
		struct subject_head *more = reallocarray(ag->heads, (size_t)cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		ag->heads = more;
		ag->heads_cap = cap;
	}
	s->at = ag->heads_len++;
	ag->heads[s->at] = (struct subject_head){.watch = s, .oldest = window_oldest(s->window)};
	HASH_ADD_KEYPTR(hh, ag->subjects, s->name, strlen(s->name), s);
	return 0;
}

void subject_remove(struct agent_group *ag, int i)
{
	struct subject_watch *s = ag->heads[i].watch;
	int kept = 0;

	for (int a = 0; a < ag->aliases_len; a++) {
		if (ag->aliases[a].watch != s) {
			ag->aliases[kept++] = ag->aliases[a];
			continue;
		}
		free(ag->aliases[a].name);
		free(ag->aliases[a].peer);
	}
	ag->aliases_len = kept;
	ag->alias_at = 0;
	HASH_DEL(ag->subjects, s);
	subject_free(s);
	memmove(ag->heads + i, ag->heads + i + 1, (size_t)(--ag->heads_len - i) * sizeof(*ag->heads));
	for (; i < ag->heads_len; i++)
		ag->heads[i].watch->at = i;
}

void agent_group_fini(struct agent_group *ag)
{
	while (ag->heads_len)
		subject_remove(ag, ag->heads_len - 1);
	aliases_forget(ag);
	free(ag->heads);
	free(ag->aliases);
	if (ag->time && !--ag->time->users)
		free(ag->time);
}

int agent_group_time(struct agent_group *all, int i, double over_s, uint64_t now)
{
	for (int n = 0; n < i; n++) {
		struct time_share *t = all[n].time;

		if (!t || t->time.over_s != over_s || t->began != now)
			continue;
		t->users++;
		all[i].time = t;
		return 0;
	}
	all[i].time = calloc(1, sizeof(*all[i].time));
	if (!all[i].time)
		return -ENOMEM;
	*all[i].time = (struct time_share){
	        .time = {.over_s = over_s, .first = 1, .next = 1}, .users = 1, .began = now, .interval = now - 1};
	return 0;
}

/* ---- who it is ---- */

/* The watch of a subject, *ret; NULL: there are too many. 0 or -ENOMEM. */
static int subject_find(
        struct rule_watch *w, struct group *g, struct agent_group *ag, const char *name, struct subject_watch **ret)
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
	s = subject_new(g, name);
	if (!s || subject_append(ag, s)) {
		subject_free(s);
		return -ENOMEM;
	}
	g->seen = true;
	for (int r = 0; r < g->rules_len; r++)
		w->status[g->rules[r]].subject_seen = true;
	*ret = s;
	return 0;
}

/* What is called so in the data; NULL: not known yet. */
static struct alias *alias_find(struct agent_group *ag, const char *name, const char *peer)
{
	for (int i = 0; i < ag->aliases_len; i++) {
		int at = ag->alias_at + i < ag->aliases_len ? ag->alias_at + i : ag->alias_at + i - ag->aliases_len;
		struct alias *a = &ag->aliases[at];

		if (strcmp(a->name, name) || strcmp(a->peer, peer))
			continue;
		ag->alias_at = at + 1 < ag->aliases_len ? at + 1 : 0;
		return a;
	}
	return NULL;
}

static int alias_add(struct agent_group *ag, const char *name, const char *peer, struct subject_watch *s)
{
	struct alias a = {.watch = s};

	if (ag->aliases_len == RULE_SUBJECTS_MAX)
		aliases_forget(ag);
	if (ag->aliases_len == ag->aliases_cap) {
		int cap = 2 * ag->aliases_cap + 4;
		struct alias *more = reallocarray(ag->aliases, (size_t)cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		ag->aliases = more;
		ag->aliases_cap = cap;
	}
	a.name = strdup(name);
	a.peer = strdup(peer);
	if (!a.name || !a.peer) {
		free(a.name);
		free(a.peer);
		return -ENOMEM;
	}
	ag->aliases[ag->aliases_len++] = a;
	ag->alias_at = 0;
	return 0;
}

/* As it is shown. False: the group isn't about it. */
static bool peer_label(const struct group *g, const char *name, const char *peer, char buf[SUBJECT_LEN])
{
	if (fnmatch(g->peer, peer, 0) && (!*name || fnmatch(g->peer, name, 0)))
		return false;
	snprintf(buf, SUBJECT_LEN, *name ? "%.90s (%.60s)" : "%.0s%.150s", name, peer);
	text_sanitize(buf);
	return true;
}

static bool tool_label(const struct group *g, const char *name, char buf[SUBJECT_LEN])
{
	if (fnmatch(g->tool, name, 0))
		return false;
	snprintf(buf, SUBJECT_LEN, "%.150s", name);
	text_sanitize(buf);
	return true;
}

/* The watch of a peer or tool, *ret; NULL: none is wanted, or there are too many. 0 or -ENOMEM. */
static int named_find(struct rule_watch *w, struct group *g, struct agent_group *ag, const char *name, const char *peer,
        struct subject_watch **ret)
{
	struct alias *a = alias_find(ag, name, peer);
	char label[SUBJECT_LEN];
	int err = 0;

	*ret = a ? a->watch : NULL;
	if (a)
		return 0;
	if (g->each == EACH_TOOL ? !tool_label(g, name, label) : !peer_label(g, name, peer, label))
		return alias_add(ag, name, peer, NULL);
	err = subject_find(w, g, ag, label, ret);
	return err || !*ret ? err : alias_add(ag, name, peer, *ret);
}

/* ---- figures ---- */

/* Nothing that the group's rules could be about happened. */
static bool is_idle(const struct group *g, const struct metric_set *m)
{
	for (int i = 0; i < g->plan.metrics_len; i++) {
		int metric = g->plan.metrics[i];

		switch (metric_infos[metric].type) {
		case METRIC_HIST:
			if (m->hist[metric] && m->hist[metric]->count)
				return false;
			break;
		case METRIC_COUNTER:
			if (m->value[metric])
				return false;
			break;
		default:
			return false;
		}
	}
	return g->values && g->seen;
}

static int subject_feed(struct agent_group *ag, struct subject_watch *s, const struct metric_set *m, bool gauges,
        const struct ledger *const ledgers[3])
{
	struct subject_head *h = &ag->heads[s->at];
	int err;

	if (!h->fed)
		window_expire(s->window, &ag->time->time);
	h->fed = true;
	err = window_add(s->window, &ag->time->time, m, gauges, ledgers);
	h->oldest = window_oldest(s->window);
	return err;
}

/* Of what is there once: the agent, a class of its peers. */
static int single_feed(struct rule_watch *w, struct group *g, struct agent_group *ag, const char *name,
        const struct metric_set *m, bool gauges, const struct ledger *const ledgers[3])
{
	struct subject_watch *s = ag->heads_len ? ag->heads[0].watch : NULL;
	int err = s ? 0 : subject_find(w, g, ag, name, &s);

	return err || !s ? err : subject_feed(ag, s, m, gauges, ledgers);
}

static int peers_feed(struct rule_watch *w, struct group *g, struct agent_group *ag, const struct agent_data *d)
{
	int err = 0;

	for (int n = 0; n < d->peers_len && !err; n++) {
		const struct peer_data *p = &d->peers[n];
		struct subject_watch *s;

		if ((g->each == EACH_CLASS && (p->server || p->class != g->class)) || is_idle(g, &p->metrics))
			continue;
		if (g->each == EACH_CLASS) {
			err = single_feed(w, g, ag, class_infos[g->class].name, &p->metrics, false, no_ledgers);
			continue;
		}
		err = named_find(w, g, ag, p->name, p->peer, &s);
		if (!err && s)
			err = subject_feed(ag, s, &p->metrics, false, no_ledgers);
	}
	return err;
}

static int tools_feed(struct rule_watch *w, struct group *g, struct agent_group *ag, const struct agent_data *d)
{
	int err = 0;

	for (int n = 0; n < d->tools_len && !err; n++) {
		const struct ledger *const main[3] = {&d->tools[n].main};
		struct subject_watch *s;

		if (is_idle(g, &d->tools[n].metrics))
			continue;
		err = named_find(w, g, ag, d->tools[n].name, "", &s);
		if (!err && s)
			err = subject_feed(ag, s, &d->tools[n].metrics, false, main);
	}
	return err;
}

int group_feed(struct rule_watch *w, struct group *g, struct agent_group *ag, const struct agent_data *d)
{
	const struct ledger *const own[3] = {&d->main, &d->threads, &d->critical};

	switch (g->each) {
	case EACH_AGENT:
		return is_idle(g, &d->metrics) ? 0 : single_feed(w, g, ag, "", &d->metrics, d->alive, own);
	case EACH_TOOL:
		return tools_feed(w, g, ag, d);
	default:
		return peers_feed(w, g, ag, d);
	}
}
