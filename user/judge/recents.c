/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "judge/recents.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#define PART_S 60.0 /* what the newer sums reach back at most; the older ones are of so much before */
#define JUDGE_S 5.0 /* judging costs about what an interval does */
#define TURNS 5

enum { OLDER, NEWER };

struct recent_agent {
	int id;
	struct agent_data sums[2];
	double judged_s;
	struct recents_found found;
	UT_hash_handle hh;
};

static void agent_free(struct recents *r, struct recent_agent *a)
{
	HASH_DEL(r->agents, a);
	agent_data_fini(&a->sums[OLDER]);
	agent_data_fini(&a->sums[NEWER]);
	free(a);
}

static struct recent_agent *agent_find(const struct recents *r, int id)
{
	struct recent_agent *a;

	HASH_FIND_INT(r->agents, &id, a);
	return a;
}

static struct recent_agent *agent_add(struct recents *r, int id)
{
	struct recent_agent *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->id = a->sums[OLDER].id = a->sums[NEWER].id = id;
	HASH_ADD_INT(r->agents, id, a);
	return a;
}

/* What is newer gets older; agents of whom nothing is left are forgotten. */
static void turn(struct recents *r, double now_s)
{
	struct recent_agent *a, *next;

	r->began_s = now_s;
	r->observer[OLDER] = r->observer[NEWER];
	r->observer[NEWER] = (struct observer_data){.bpf_s = -1};
	HASH_ITER(hh, r->agents, a, next) {
		agent_data_fini(&a->sums[OLDER]);
		a->sums[OLDER] = a->sums[NEWER];
		a->sums[NEWER] = (struct agent_data){.id = a->id};
		if (!(a->sums[OLDER].observed_s > 0))
			agent_free(r, a);
	}
}

static int judge(
        struct recents *r, struct recent_agent *a, const struct header_data *h, const struct outlooks *outlooks, const struct agent_info *info)
{
	struct agent_data sum = {.id = a->id};
	struct observer_data observer = r->observer[OLDER];
	struct finding_input in = {.info = info, .data = &sum};
	struct outlook memory;
	int err = agent_data_merge(&sum, &a->sums[OLDER]);

	if (!err)
		err = agent_data_merge(&sum, &a->sums[NEWER]);
	observer_data_merge(&observer, &r->observer[NEWER]);
	finding_input_watched(&in, h, &observer);
	in.seconds = sum.observed_s;
	if (outlooks) {
		outlooks_judge(outlooks, a->id, &memory);
		in.memory = &memory;
	}
	if (!err) {
		a->found.len = findings_judge(&in, a->found.list, RECENTS_KEPT);
		a->found.seconds = sum.observed_s;
		a->found.judged = sum.observed_s >= FINDING_SECONDS_MIN;
	}
	agent_data_fini(&sum);
	return err;
}

int recents_interval(struct recents *r, const struct header_data *h, const struct outlooks *outlooks, const struct interval_data *i)
{
	int err = 0;

	if (i->end_s - r->began_s > PART_S)
		turn(r, i->start_s);
	observer_data_merge(&r->observer[NEWER], &i->observer);
	for (int n = 0; n < i->agents_len && !err; n++) {
		const struct agent_data *d = i->agents[n];
		struct recent_agent *a = agent_find(r, d->id);
		struct agent_data lean = *d;

		if (!a)
			a = agent_add(r, d->id);
		if (!a)
			return -ENOMEM;
		memset(lean.samples, 0, sizeof(lean.samples)); /* stacks have no bound here, and nothing is judged by them */
		err = agent_data_merge(&a->sums[NEWER], &lean);
		if (err || (a->found.judged && i->end_s - a->judged_s < JUDGE_S))
			continue;
		/* Agents that came together are judged by turns from then on: all at once would hold up whoever takes the intervals. */
		a->judged_s = i->end_s - (a->found.judged ? 0 : JUDGE_S * (a->id % TURNS) / TURNS);
		err = judge(r, a, h, outlooks, i->infos ? i->infos[n] : NULL);
	}
	return err;
}

const struct recents_found *recents_of(const struct recents *r, int agent)
{
	const struct recent_agent *a = r ? agent_find(r, agent) : NULL;

	return a && a->found.judged ? &a->found : NULL;
}

int recents_tell(const struct recents *r, struct live *l)
{
	int err = 0;

	for (int i = 0; i < l->agents_len && !err; i++) {
		const struct recents_found *found = recents_of(r, l->agents[i]->info.id);
		struct live_finding list[RECENTS_KEPT];

		for (int n = 0; found && n < found->len; n++) {
			const struct finding *f = &found->list[n];

			list[n] = (struct live_finding){.name = finding_infos[f->id].name, .severity = severity_names[f->severity],
			        .rank = f->severity, .cost_s = f->cost_s, .cost_cpu_s = f->cost_cpu_s, .cost_bytes = f->cost_bytes};
			snprintf(list[n].subject, sizeof(list[n].subject), "%s", f->subject);
		}
		err = live_found(l, l->agents[i]->info.id, list, found ? found->len : -1);
	}
	return err;
}

int recents_copy(struct recents *into, const struct recents *from)
{
	struct recent_agent *a, *next, *copy;

	*into = (struct recents){.began_s = from->began_s};
	HASH_ITER(hh, from->agents, a, next) {
		copy = agent_add(into, a->id);
		if (!copy)
			return -ENOMEM;
		copy->found = a->found;
		copy->judged_s = a->judged_s;
	}
	return 0;
}

void recents_fini(struct recents *r)
{
	struct recent_agent *a, *next;

	HASH_ITER(hh, r->agents, a, next)
		agent_free(r, a);
	*r = (struct recents){0};
}
