/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who is in recordings that are merged. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "lib/util.h"
#include "model/fleet_parts.h"

struct name {
	UT_hash_handle hh;
	int number;
	char text[];
};

int names_number(struct names *n, const char *text)
{
	struct name *found;
	size_t len = strlen(text);

	HASH_FIND(hh, n->by_text, text, len, found);
	if (found)
		return found->number;
	if (n->len == n->cap) {
		int cap = n->cap ? n->cap * 2 : 16;
		char **texts = reallocarray(n->texts, (size_t)cap, sizeof(*texts));

		if (!texts)
			return -1;
		n->texts = texts;
		n->cap = cap;
	}
	found = malloc(sizeof(*found) + len + 1);
	if (!found)
		return -1;
	memcpy(found->text, text, len + 1);
	found->number = n->len;
	n->texts[n->len++] = found->text;
	HASH_ADD(hh, n->by_text, text, len, found);
	return found->number;
}

void names_fini(struct names *n)
{
	struct name *name, *next;

	HASH_ITER(hh, n->by_text, name, next)
	{
		HASH_DEL(n->by_text, name);
		free(name);
	}
	free(n->texts);
	*n = (struct names){0};
}

void census_init(struct census *c)
{
	*c = (struct census){0};
	pthread_mutex_init(&c->lock, NULL);
}

void census_fini(struct census *c)
{
	for (int i = 0; i < c->infos_len; i++)
		agent_info_fini(&c->infos[i]);
	for (int i = 0; i < c->members_len; i++)
		state_fini(&c->members_at[i].state);
	names_fini(&c->hosts);
	names_fini(&c->agents);
	names_fini(&c->members);
	free(c->infos);
	free(c->members_at);
	pthread_mutex_destroy(&c->lock);
}

/* Room for one more in an array of len elements that grows at powers of two. */
static bool grow(void *array, int len, size_t size)
{
	void *p;

	if (len & (len - 1))
		return true;
	memcpy(&p, array, sizeof(p));
	p = reallocarray(p, len ? (size_t)len * 2 : 1, size);
	if (p)
		memcpy(array, &p, sizeof(p));
	return p;
}

/* The result's agent of this name. It looks like the first one that it stands for. */
static int agent_number(struct census *c, const struct agent_info *info, const char *name)
{
	struct agent_info own = *info;
	int n = names_number(&c->agents, name);

	if (n < 0 || n < c->infos_len)
		return n;
	own.id = n;
	own.name = (char *)name;
	own.has_exit = false;
	own.merged = 0;
	if (!grow(&c->infos, n, sizeof(*c->infos)) || agent_info_copy(&c->infos[n], &own))
		return -1;
	c->infos_len++;
	return n;
}

/* Of many processes only what they agree on is told. */
static void agent_join(struct agent_info *into, const struct agent_info *info)
{
	into->pid = into->ns_pid = 0;
	into->start_ticks = 0;
	if (strcmp(into->cgroup, info->cgroup))
		*into->cgroup = '\0';
	if (memcmp(&into->container, &info->container, sizeof(into->container)))
		memset(&into->container, 0, sizeof(into->container));
}

static int member_number(struct census *c, const char *key, const struct agent_info *info, const char *name)
{
	const int before = c->infos_len;
	int n = names_number(&c->members, key), agent;

	if (n < 0 || n < c->members_len)
		return n;
	agent = agent_number(c, info, name);
	if (agent < 0 || !grow(&c->members_at, n, sizeof(*c->members_at)))
		return -1;
	c->members_at[n] = (struct member){.agent = agent};
	c->members_len++;
	if (c->infos_len == before)
		agent_join(&c->infos[agent], info);
	return n;
}

int census_member(struct census *c, const struct host_info *host, const struct agent_info *info, const char *prefix)
{
	_cleanup_free_ char *key = NULL, *name = NULL;
	int n;

	if (asprintf(&name, "%s%s%s", prefix ? prefix : "", prefix ? "/" : "", info->name) < 0) {
		name = NULL;
		return -1;
	}
	if (asprintf(&key, "%s\n%s\n%d\n%ju\n%s", host->name, host->boot_id, info->pid, (uintmax_t)info->start_ticks, name) <
	        0) {
		key = NULL;
		return -1;
	}
	pthread_mutex_lock(&c->lock);
	n = member_number(c, key, info, name);
	pthread_mutex_unlock(&c->lock);
	return n;
}

/* ---- states ---- */

static const enum metric_id gauge_metrics[GAUGE_COUNT] = {
#undef PICK_GAUGE
#define PICK_GAUGE(id) [GAUGE_##id] = M_##id,
#define METRIC(id, name, probe, type, unit, help) PICK_##type(id)
#include "metrics.def"
#undef METRIC
};

void state_fini(struct state *s)
{
	for (int i = 0; i < s->tools_len; i++)
		free(s->tools[i].name);
	free(s->tools);
	for (int i = 0; s->last && i < SAMPLE_COUNT; i++)
		sample_set_fini(&s->last[i]);
	free(s->last);
	memset(s, 0, sizeof(*s));
}

static int state_take_samples(struct state *ret, struct agent_data *a)
{
	for (int i = 0; i < SAMPLE_COUNT; i++) {
		if (!sample_infos[i].last || !a->samples[i].len)
			continue;
		if (!ret->last)
			ret->last = calloc(SAMPLE_COUNT, sizeof(*ret->last));
		if (!ret->last)
			return -ENOMEM;
		ret->last[i] = a->samples[i];
		a->samples[i] = (struct sample_set){0};
	}
	return 0;
}

int state_take(struct state *ret, struct agent_data *a)
{
	ret->alive = a->alive;
	for (int g = 0; g < GAUGE_COUNT; g++) {
		ret->gauges[g] = a->metrics.value[gauge_metrics[g]];
		a->metrics.value[gauge_metrics[g]] = 0;
	}
	for (int i = 0; i < a->tools_len; i++) {
		struct state_tool *t;

		if (!a->tools[i].runs_live)
			continue;
		if (!grow(&ret->tools, ret->tools_len, sizeof(*ret->tools)))
			return -ENOMEM;
		t = &ret->tools[ret->tools_len];
		*t = (struct state_tool){strdup(a->tools[i].name), a->tools[i].runs_live};
		if (!t->name)
			return -ENOMEM;
		ret->tools_len++;
		a->tools[i].runs_live = 0;
	}
	return state_take_samples(ret, a);
}

int state_add(struct agent_data *a, const struct state *s)
{
	int err = 0;

	a->alive |= s->alive;
	for (int g = 0; g < GAUGE_COUNT; g++)
		a->metrics.value[gauge_metrics[g]] += s->gauges[g];
	for (int i = 0; s->last && i < SAMPLE_COUNT && !err; i++)
		err = sample_set_merge(&a->samples[i], &s->last[i], false);
	for (int i = 0; i < s->tools_len && !err; i++)
		/* Of a name that the sums have no room for there is none. */
		for (int t = 0; t < a->tools_len; t++)
			if (!strcmp(a->tools[t].name, s->tools[i].name))
				a->tools[t].runs_live += s->tools[i].live;
	return err;
}

void states_clear(struct agent_data *a)
{
	a->alive = false;
	for (int g = 0; g < GAUGE_COUNT; g++)
		a->metrics.value[gauge_metrics[g]] = 0;
	for (int i = 0; i < SAMPLE_COUNT; i++)
		if (sample_infos[i].last)
			sample_set_reset(&a->samples[i]);
	for (int i = 0; i < a->tools_len; i++)
		a->tools[i].runs_live = 0;
}
