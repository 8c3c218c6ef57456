/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/alert_findings.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct alert_finding {
	int agent; /* its id */
	char *agent_name; /* owned */
	struct finding found; /* as it was last */
	double since_s, seen_s; /* since the header's start */
	double worst; /* cost */
};

/* In a minute: seconds, or bytes of what costs no time. */
static double cost_of(const struct finding *f)
{
	return f->cost_bytes > 0 && !(f->cost_s > 0) && !(f->cost_cpu_s > 0) ? f->cost_bytes : fmax(f->cost_s, f->cost_cpu_s);
}

static struct alert_finding *find(const struct alert_findings *f, const struct finding *of, int agent)
{
	for (int i = 0; i < f->len; i++)
		if (f->at[i].agent == agent && f->at[i].found.id == of->id && !strcmp(f->at[i].found.subject, of->subject))
			return &f->at[i];
	return NULL;
}

static struct alert_finding *add(struct alert_findings *f, const struct agent_info *info, double now_s)
{
	struct alert_finding *a;

	if (f->len == f->cap) {
		int cap = f->cap ? 2 * f->cap : 8;
		struct alert_finding *at = reallocarray(f->at, (size_t)cap, sizeof(*at));

		if (!at)
			return NULL;
		f->at = at;
		f->cap = cap;
	}
	a = &f->at[f->len];
	*a = (struct alert_finding){ .agent = info->id, .agent_name = strdup(info->name), .since_s = now_s };
	f->len += a->agent_name != NULL;
	return a->agent_name ? a : NULL;
}

static int tell(const struct alert_finding *a, bool raised, double now_s, alert_findings_fn fn, void *ctx)
{
	const struct finding_info *info = &finding_infos[a->found.id];
	const double cost = cost_of(&a->found);
	const bool bytes = cost > 0 && cost == a->found.cost_bytes;
	char rule[64], summary[128], help[1024];
	struct alert_news news = { .raised = raised, .id = a->agent };

	snprintf(rule, sizeof(rule), ALERT_FINDINGS_MARK "%s", info->name);
	snprintf(summary, sizeof(summary), "%s: %s a minute", info->title, bytes ? "memory" : a->found.cost_s > 0 ? "time" : "CPU time");
	snprintf(help, sizeof(help), "%s; %s", a->found.evidence, info->change);
	news.about = (struct alert){ .rule = rule, .agent = a->agent_name, .subject = (char *)a->found.subject, .measure = rule, .summary = summary, .help = help,
				     .severity = a->found.severity, .since_ns = (int64_t)(a->since_s * 1e9), .ended_ns = (int64_t)(now_s * 1e9), .value = cost,
				     .worst = a->worst, .bytes = bytes, .seconds = !bytes };
	return fn(ctx, &news);
}

static int found_take(struct alert_findings *f, const struct finding *found, const struct agent_info *info, double now_s, alert_findings_fn fn, void *ctx)
{
	struct alert_finding *a = find(f, found, info->id);

	if (!a)
		a = add(f, info, now_s);
	if (!a)
		return -ENOMEM;
	a->found = *found;
	a->seen_s = now_s;
	a->worst = fmax(a->worst, cost_of(found));
	return tell(a, true, now_s, fn, ctx);
}

static bool is_over(const struct alert_finding *a, const struct live *l, int from)
{
	const struct live_agent *agent = live_find(l, a->agent);
	bool gone = !agent || (agent->ended && live_findings(l, agent) < 0);

	return gone || from == SEVERITY_COUNT || l->now_s - a->seen_s > ALERT_FINDINGS_OVER_S;
}

int alert_findings_look(struct alert_findings *f, const struct recents *r, const struct live *l, int from, alert_findings_fn fn, void *ctx)
{
	int err = 0, kept = 0;

	for (int i = 0; i < l->agents_len; i++) {
		const struct agent_info *info = &l->agents[i]->info;
		const struct recents_found *found = live_findings(l, l->agents[i]) < 0 ? NULL : recents_of(r, info->id);

		for (int n = 0; found && n < found->len && !err; n++)
			if ((int)found->list[n].severity >= from)
				err = found_take(f, &found->list[n], info, l->now_s, fn, ctx);
	}
	for (int i = 0; i < f->len; i++) {
		if (err || !is_over(&f->at[i], l, from)) {
			f->at[kept++] = f->at[i];
			continue;
		}
		err = tell(&f->at[i], false, l->now_s, fn, ctx);
		free(f->at[i].agent_name);
	}
	f->len = kept;
	return err;
}

void alert_findings_fini(struct alert_findings *f)
{
	for (int i = 0; i < f->len; i++)
		free(f->at[i].agent_name);
	free(f->at);
	*f = (struct alert_findings){ 0 };
}
