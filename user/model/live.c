/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/live.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

static void live_agent_free(struct live_agent *a)
{
	agent_info_fini(&a->info);
	agent_data_fini(&a->total);
	agent_data_fini(&a->last);
	free(a->found);
	free(a);
}

void live_init(struct live *l, double keep_s)
{
	*l = (struct live){ .keep_s = keep_s };
	l->observer.bpf_s = l->observer_last.bpf_s = -1;
}

void live_fini(struct live *l)
{
	for (int i = 0; i < l->agents_len; i++)
		live_agent_free(l->agents[i]);
	free(l->agents);
	live_alerts_reset(l);
	live_init(l, l->keep_s);
}

/* Where the agent with this id is, or would be. */
static int place_of(const struct live *l, int id)
{
	int from = 0, to = l->agents_len;

	while (from < to) {
		int at = from + (to - from) / 2;

		if (l->agents[at]->info.id < id)
			from = at + 1;
		else
			to = at;
	}
	return from;
}

struct live_agent *live_find(const struct live *l, int id)
{
	int at = place_of(l, id);

	return at < l->agents_len && l->agents[at]->info.id == id ? l->agents[at] : NULL;
}

int live_start(struct live *l, const struct header_data *h)
{
	int err = 0;

	l->header = *h;
	l->header.agents = NULL;
	l->header.agents_len = 0;
	for (int i = 0; i < h->agents_len && !err; i++)
		err = live_agent(l, &h->agents[i]);
	return err;
}

int live_agent(struct live *l, const struct agent_info *info)
{
	int at = place_of(l, info->id), err;
	struct live_agent *a;

	if (live_find(l, info->id))
		return 0;
	if (l->agents_len == l->cap) {
		int cap = l->cap ? 2 * l->cap : 16;
		struct live_agent **agents = reallocarray(l->agents, cap, sizeof(*agents));

		if (!agents)
			return -ENOMEM;
		l->agents = agents;
		l->cap = cap;
	}
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	err = agent_info_copy(&a->info, info);
	if (err) {
		free(a);
		return err;
	}
	a->total.id = a->last.id = info->id;
	a->findings = -1;
	a->last_s = l->now_s; /* one that no interval ever tells of is forgotten, too */
	memmove(&l->agents[at + 1], &l->agents[at], (l->agents_len - at) * sizeof(l->agents[0]));
	l->agents[at] = a;
	l->agents_len++;
	return 0;
}

static int agent_found(struct live_agent *a, const struct live_finding *list, int len)
{
	struct live_finding *found = len > 0 ? calloc((size_t)len, sizeof(*found)) : NULL;
	int kept = 0;

	if (len > 0 && !found)
		return -ENOMEM;
	for (int i = 0; i < len; i++) {
		struct live_finding *f = &found[kept];
		int at = 0;

		*f = list[i];
		text_sanitize(f->subject);
		while (at < kept && (strcmp(found[at].name, f->name) || strcmp(found[at].subject, f->subject)))
			at++;
		kept += at == kept;
	}
	free(a->found);
	a->found = found;
	a->findings = len < 0 ? -1 : kept;
	return 0;
}

int live_found(struct live *l, int id, const struct live_finding *list, int len)
{
	struct live_agent *a = live_find(l, id);

	return a ? agent_found(a, list, len) : 0;
}

int live_findings(const struct live *l, const struct live_agent *a)
{
	return a->last_s < l->now_s ? -1 : a->findings;
}

int live_findings_worst(const struct live_agent *a)
{
	int worst = 0;

	for (int i = 0; i < a->findings; i++)
		worst = a->found[i].rank > worst ? a->found[i].rank : worst;
	return worst;
}

/* Sums keep no stacks: their number has no bound here, and nobody asks for them. */
static struct agent_data without_samples(const struct agent_data *d)
{
	struct agent_data lean = *d;

	memset(lean.samples, 0, sizeof(lean.samples));
	return lean;
}

static int agent_take(struct live_agent *a, const struct agent_data *d, const struct interval_data *i)
{
	struct agent_data lean = without_samples(d);
	int err;

	agent_data_fini(&a->last);
	a->last.id = a->info.id;
	if (!a->told)
		a->first_s = i->end_s - d->observed_s;
	a->told = true;
	a->ended = !d->alive;
	a->last_s = i->end_s;
	err = agent_data_merge(&a->last, &lean);
	return err ? err : agent_data_merge(&a->total, &lean);
}

static void forget(struct live *l)
{
	int kept = 0;

	for (int i = 0; i < l->agents_len; i++) {
		struct live_agent *a = l->agents[i];

		if (a->ended && l->now_s - a->last_s > l->keep_s) {
			live_agent_free(a);
			l->forgotten++;
		} else {
			l->agents[kept++] = a;
		}
	}
	l->agents_len = kept;
}

int live_interval(struct live *l, const struct interval_data *i)
{
	int err = 0;

	l->now_s = i->end_s;
	l->interval_s = i->end_s - i->start_s;
	l->intervals++;
	l->observer_last = i->observer;
	observer_data_merge(&l->observer, &i->observer);
	for (int n = 0; n < i->agents_len && !err; n++) {
		struct live_agent *a = live_find(l, i->agents[n]->id);

		err = a ? agent_take(a, i->agents[n], i) : 0;
	}
	for (int n = 0; n < l->agents_len; n++) {
		struct live_agent *a = l->agents[n];

		if (a->last_s < i->end_s && a->last.observed_s) { /* it was in the one before */
			agent_data_fini(&a->last);
			a->last.id = a->info.id;
		}
		/* Announced with this interval at the latest: who is in none is gone. */
		if (a->last_s < i->end_s)
			a->ended = true;
	}
	forget(l);
	return err;
}

static void live_alert_fini(struct live_alert *a)
{
	free(a->rule);
	free(a->agent);
	free(a->subject);
}

void live_alerts_reset(struct live *l)
{
	for (int i = 0; i < l->alerts_len; i++)
		live_alert_fini(&l->alerts[i]);
	free(l->alerts);
	l->alerts = NULL;
	l->alerts_len = l->sinks_len = 0;
	l->alerts_odd = false;
}

static bool alert_told(const struct live *l, const struct live_alert *a)
{
	for (int i = 0; i < l->alerts_len; i++)
		if (!strcmp(l->alerts[i].rule, a->rule) && !strcmp(l->alerts[i].agent, a->agent) && !strcmp(l->alerts[i].subject, a->subject))
			return true;
	return false;
}

int live_alert_add(struct live *l, const char *rule, const char *agent, const char *subject, const char *severity)
{
	struct live_alert *grown = reallocarray(l->alerts, (size_t)l->alerts_len + 1, sizeof(*grown)), a;

	if (!grown)
		return -ENOMEM;
	l->alerts = grown;
	a = (struct live_alert){ strdup(rule), strdup(agent), strdup(subject), severity };
	if (!a.rule || !a.agent || !a.subject) {
		live_alert_fini(&a);
		return -ENOMEM;
	}
	text_sanitize(a.rule);
	text_sanitize(a.agent);
	text_sanitize(a.subject);
	l->alerts_odd = l->alerts_odd || strcmp(a.rule, rule) || strcmp(a.agent, agent) || strcmp(a.subject, subject);
	if (l->alerts_odd && alert_told(l, &a)) /* else there are none alike, and there may be thousands */
		live_alert_fini(&a);
	else
		grown[l->alerts_len++] = a;
	return 0;
}

int live_sink_add(struct live *l, const struct live_sink *s)
{
	if (l->sinks_len == LIVE_SINKS_MAX)
		return -ENOSPC;
	l->sinks[l->sinks_len++] = *s;
	return 0;
}

static int alerts_copy(struct live *into, const struct live *from)
{
	int err = 0;

	into->judged = from->judged;
	for (int i = 0; i < from->alerts_len && !err; i++)
		err = live_alert_add(into, from->alerts[i].rule, from->alerts[i].agent, from->alerts[i].subject, from->alerts[i].severity);
	memcpy(into->sinks, from->sinks, sizeof(into->sinks));
	into->sinks_len = from->sinks_len;
	return err;
}

int live_copy(struct live *into, const struct live *from)
{
	int err = 0;

	live_init(into, from->keep_s);
	for (int i = 0; i < from->agents_len && !err; i++) {
		const struct live_agent *a = from->agents[i];
		struct live_agent *copy;

		err = live_agent(into, &a->info);
		if (err)
			return err;
		copy = live_find(into, a->info.id);
		copy->first_s = a->first_s;
		copy->last_s = a->last_s;
		copy->told = a->told;
		copy->ended = a->ended;
		err = agent_found(copy, a->found, a->findings);
		if (!err)
			err = agent_data_merge(&copy->total, &a->total);
		if (!err)
			err = agent_data_merge(&copy->last, &a->last);
	}
	if (!err)
		err = alerts_copy(into, from);
	into->header = from->header;
	into->now_s = from->now_s;
	into->interval_s = from->interval_s;
	into->intervals = from->intervals;
	into->forgotten = from->forgotten;
	into->unrecorded = from->unrecorded;
	into->observer = from->observer;
	into->observer_last = from->observer_last;
	return err;
}
