/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Intervals of the grid: sums of what recordings say of one stretch of time. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "model/fleet_parts.h"

/* The double next to a whole number of nanoseconds. */
static double whole_ns(double s)
{
	return round(s * 1e9) / 1e9;
}

int sum_add(struct totals *t, struct recording *rec, struct agent_data *into, struct agent_data *from)
{
	const int id = into->id;
	const bool alive = into->alive;
	int err = totals_add(t, rec, into, from);

	into->id = id;
	into->alive = alive;
	into->observed_s = whole_ns(into->observed_s);
	return err;
}

void observer_add(struct observer_data *into, const struct observer_data *from)
{
	const uint64_t rss = into->rss_bytes;
	struct cost_data *c = &into->cost;

	observer_data_merge(into, from);
	into->rss_bytes = rss;
	into->cpu_s = whole_ns(into->cpu_s);
	if (into->bpf_s >= 0)
		into->bpf_s = whole_ns(into->bpf_s);
	c->budget_s = whole_ns(c->budget_s);
	for (int p = 0; p < COST_PARTS; p++)
		c->part_s[p] = whole_ns(c->part_s[p]);
	for (int r = 0; r < RUNG_COUNT; r++)
		c->rung_s[r] = whole_ns(c->rung_s[r]);
}

void slot_reset(struct slot *s)
{
	struct recording *sum = &s->sum;

	for (int i = 0; i < sum->agents_len; i++) {
		s->place[sum->agents[i].total.id] = 0;
		agent_data_fini(&sum->agents[i].total);
	}
	sum->agents_len = 0;
	sum->observer = (struct observer_data){.bpf_s = -1};
	s->totals = (struct totals){0};
	for (size_t i = 0; i < s->sightings_len; i++)
		state_fini(&s->sightings[i].state);
	s->sightings_len = 0;
}

void slot_fini(struct slot *s)
{
	slot_reset(s);
	free(s->sum.agents);
	free(s->place);
	free(s->sightings);
	memset(s, 0, sizeof(*s));
}

static bool place_grow(struct slot *s, int agent)
{
	int len = s->place_len ? s->place_len : 16;
	int *place;

	if (agent < s->place_len)
		return true;
	while (len <= agent)
		len *= 2;
	place = reallocarray(s->place, (size_t)len, sizeof(*place));
	if (!place)
		return false;
	memset(place + s->place_len, 0, (size_t)(len - s->place_len) * sizeof(*place));
	s->place = place;
	s->place_len = len;
	return true;
}

struct agent_data *slot_agent(struct slot *s, int agent)
{
	struct recording *sum = &s->sum;
	struct recording_agent *fresh;

	if (!place_grow(s, agent))
		return NULL;
	if (s->place[agent])
		return &sum->agents[s->place[agent] - 1].total;
	if (sum->agents_len == s->agents_cap) {
		int cap = s->agents_cap ? s->agents_cap * 2 : 1;

		fresh = reallocarray(sum->agents, (size_t)cap, sizeof(*fresh));
		if (!fresh)
			return NULL;
		sum->agents = fresh;
		s->agents_cap = cap;
	}
	fresh = &sum->agents[sum->agents_len++];
	*fresh = (struct recording_agent){.total.id = agent};
	s->place[agent] = sum->agents_len;
	return &fresh->total;
}

int slot_add(struct slot *s, int agent, struct agent_data *a)
{
	struct agent_data *into = slot_agent(s, agent);

	return into ? sum_add(&s->totals, &s->sum, into, a) : -ENOMEM;
}

struct sighting *slot_sighting(struct slot *s, int source)
{
	if (s->sightings_len == s->sightings_cap) {
		size_t cap = s->sightings_cap ? s->sightings_cap * 2 : 16;
		struct sighting *more = reallocarray(s->sightings, cap, sizeof(*more));

		if (!more)
			return NULL;
		s->sightings = more;
		s->sightings_cap = cap;
	}
	s->sightings[s->sightings_len] = (struct sighting){.source = source, .member = -1};
	return &s->sightings[s->sightings_len++];
}

int slot_merge(struct slot *into, struct slot *from)
{
	int err = 0;

	for (int i = 0; i < from->sum.agents_len && !err; i++)
		err = slot_add(into, from->sum.agents[i].total.id, &from->sum.agents[i].total);
	for (size_t i = 0; i < from->sightings_len && !err; i++) {
		struct sighting *s = slot_sighting(into, 0);

		if (!s)
			err = -ENOMEM;
		else
			*s = from->sightings[i];
		if (!err)
			from->sightings[i].state = (struct state){0}; /* moved */
	}
	observer_add(&into->sum.observer, &from->sum.observer);
	slot_reset(from);
	return err;
}

static size_t agent_bytes(const struct agent_data *a)
{
	size_t bytes = sizeof(struct recording_agent) + metric_set_bytes(&a->metrics);

	for (int i = 0; i < a->tools_len; i++)
		bytes += sizeof(*a->tools) + metric_set_bytes(&a->tools[i].metrics);
	for (int i = 0; i < a->peers_len; i++)
		bytes += sizeof(*a->peers) + metric_set_bytes(&a->peers[i].metrics);
	for (int i = 0; i < SAMPLE_COUNT; i++)
		bytes += sample_set_bytes(&a->samples[i]);
	return bytes;
}

size_t slot_bytes(const struct slot *s)
{
	size_t bytes = sizeof(*s) + s->sightings_cap * sizeof(*s->sightings);

	for (int i = 0; i < s->sum.agents_len; i++)
		bytes += agent_bytes(&s->sum.agents[i].total);
	return bytes;
}
