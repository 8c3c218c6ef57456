/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Room goes to agents first, the oldest first, and then to the parts of them that had series already, then to new ones, and last to what is found of each, which comes and goes. Sums of what is folded grow by what each interval told of it: what it
 * had while it had series of its own is not counted twice, nor taken back when it is forgotten.
 */
#include "sink/prometheus_fold.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sink/prometheus_page.h"

#define HIST_SERIES (PROMETHEUS_BORDERS + 3) /* classic: +Inf, _sum and _count */
#define AGENT_SERIES 2 /* info and alive */

static void set_free(struct metric_set *s)
{
	if (s)
		metric_set_fini(s);
	free(s);
}

static void fold_agent_free(struct fold_agent *a)
{
	set_free(a->tools);
	set_free(a->peers[0]);
	set_free(a->peers[1]);
	free(a->parts);
	free(a);
}

void fold_fini(struct fold *f)
{
	for (int i = 0; i < f->len; i++)
		fold_agent_free(f->agents[i]);
	free(f->agents);
	agent_data_fini(&f->rest);
	*f = (struct fold){0};
}

/* Where the agent with this id is, or would be. */
static int place_of(const struct fold *f, int id)
{
	int from = 0, to = f->len;

	while (from < to) {
		int at = from + (to - from) / 2;

		if (f->agents[at]->id < id)
			from = at + 1;
		else
			to = at;
	}
	return from;
}

struct fold_agent *fold_find(const struct fold *f, int id)
{
	int at = place_of(f, id);

	return at < f->len && f->agents[at]->id == id ? f->agents[at] : NULL;
}

static struct fold_agent *fold_agent_new(struct fold *f, int id)
{
	struct fold_agent *a = calloc(1, sizeof(*a));
	int at = place_of(f, id);

	if (!a)
		return NULL;
	if (f->len == f->cap) {
		int cap = f->cap ? 2 * f->cap : 16;
		struct fold_agent **agents = reallocarray(f->agents, (size_t)cap, sizeof(*agents));

		if (!agents) {
			free(a);
			return NULL;
		}
		f->agents = agents;
		f->cap = cap;
	}
	memmove(&f->agents[at + 1], &f->agents[at], (size_t)(f->len - at) * sizeof(*f->agents));
	f->agents[at] = a;
	f->len++;
	a->id = id;
	a->fresh = true;
	return a;
}

/* FNV-1a; the NUL is part of it, so that "ab", "c" is not "a", "bc". */
static uint64_t hash(uint64_t h, const char *s)
{
	do {
		h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
	} while (*s++);
	return h;
}

static uint64_t hash_clean(uint64_t h, const char *s)
{
	char clean[LABEL_BYTES + 1];

	label_clean(s, clean);
	return hash(h, clean);
}

static uint64_t hash_start(const struct tool_data *tool, const struct peer_data *peer)
{
	return UINT64_C(0xcbf29ce484222325) + (tool ? 0 : peer->server ? 1 : 2);
}

static uint64_t name_hash(const struct tool_data *tool, const struct peer_data *peer)
{
	const uint64_t start = hash_start(tool, peer);

	return tool ? hash(start, tool->name) : hash(hash(start, peer->peer), peer->name);
}

static uint64_t label_hash(const struct tool_data *tool, const struct peer_data *peer)
{
	const uint64_t start = hash_start(tool, peer);

	return tool ? hash_clean(start, tool->name) : hash_clean(hash_clean(start, peer->peer), peer->name);
}

static struct fold_part *part_find(const struct fold_agent *a, uint64_t name)
{
	for (int i = 0; i < a->parts_len; i++) {
		if (a->parts[i].name == name)
			return &a->parts[i];
	}
	return NULL;
}

bool fold_apart(const struct fold_agent *a, const struct tool_data *tool, const struct peer_data *peer)
{
	const struct fold_part *part = part_find(a, name_hash(tool, peer));

	return !a->folded && part && !part->folded;
}

/* One called as the sum is, or as another one once it is text, has no labels of its own. */
static bool part_must_fold(
        const struct fold_agent *a, uint64_t label, const struct tool_data *tool, const struct peer_data *peer)
{
	if (!strcmp(tool ? tool->name : peer->peer, PEER_REST))
		return true;
	for (int i = 0; i < a->parts_len; i++) {
		if (a->parts[i].label == label)
			return true;
	}
	return false;
}

bool fold_shows(const bool *probe_on, enum level level, enum metric_id m, uint64_t value)
{
	/* An agent's counters begin at 0, so that the first ones are an increase, too. */
	return value || (level == LEVEL_AGENT && metric_infos[m].type == METRIC_COUNTER && probe_on[metric_infos[m].probe]);
}

static uint64_t set_series(const struct fold *f, enum level level, const struct metric_set *s)
{
	uint64_t n = 0;

	for (enum metric_id m = 0; m < METRIC_IDS; m++) {
		if (metric_infos[m].type != METRIC_HIST)
			n += fold_shows(f->probe_on, level, m, s->value[m]);
		else if (s->hist[m] && s->hist[m]->count)
			n += f->native ? 1 : HIST_SERIES;
	}
	return n;
}

static uint64_t agent_series(const struct fold *f, const struct agent_data *d)
{
	uint64_t n = AGENT_SERIES + set_series(f, LEVEL_AGENT, &d->metrics);

	for (int i = 0; i < STATE_COUNT; i++)
		n += (d->main.ns[i] > 0) + (d->threads.ns[i] > 0) + (d->critical.ns[i] > 0);
	for (int i = 0; i < CLASS_COUNT; i++)
		n += 2 * (d->concurrency[i].busy_ns > 0);
	return n;
}

static int set_add(struct metric_set **to, const struct metric_set *from)
{
	if (!*to)
		*to = calloc(1, sizeof(**to));
	return *to ? metric_set_merge(*to, from) : -ENOMEM;
}

static int rest_add(struct fold *f, const struct agent_data *d)
{
	struct agent_data lean = {.metrics = d->metrics, .main = d->main, .threads = d->threads, .critical = d->critical};

	memcpy(lean.concurrency, d->concurrency, sizeof(lean.concurrency));
	f->rest_used = true;
	return agent_data_merge(&f->rest, &lean);
}

static const struct metric_set *tool_metrics(const struct agent_data *d, const char *name)
{
	for (int i = 0; i < d->tools_len; i++) {
		if (!strcmp(d->tools[i].name, name))
			return &d->tools[i].metrics;
	}
	return NULL;
}

static const struct metric_set *peer_metrics(const struct agent_data *d, const struct peer_data *p)
{
	for (int i = 0; i < d->peers_len; i++) {
		const struct peer_data *o = &d->peers[i];

		if (o->server == p->server && !strcmp(o->peer, p->peer) && !strcmp(o->name, p->name))
			return &o->metrics;
	}
	return NULL;
}

/* One tool or peer of an agent at an update; the room that is left in *room. old: only those that are known, or only new ones. */
static int part_update(struct fold *f, struct fold_agent *a, const struct live_agent *from, const struct tool_data *tool,
        const struct peer_data *peer, bool old, uint64_t *room)
{
	const struct metric_set *total = tool ? &tool->metrics : &peer->metrics, *delta;
	const uint64_t name = name_hash(tool, peer);
	struct fold_part *part = part_find(a, name);
	bool fresh = !part;
	uint64_t series;

	if (part ? part->seen || !old : old)
		return 0;
	if (!part) {
		if (a->parts_len == a->parts_cap) {
			int cap = a->parts_cap ? 2 * a->parts_cap : 8;
			struct fold_part *parts = reallocarray(a->parts, (size_t)cap, sizeof(*parts));

			if (!parts)
				return -ENOMEM;
			a->parts = parts;
			a->parts_cap = cap;
		}
		uint64_t label = label_hash(tool, peer);
		bool folded = part_must_fold(a, label, tool, peer);

		part = &a->parts[a->parts_len++];
		*part = (struct fold_part){.label = label, .name = name, .folded = folded};
	}
	part->seen = true;
	series = set_series(f, tool ? LEVEL_TOOL : LEVEL_PEER, total);
	if (!part->folded && series <= *room) {
		*room -= series;
		return 0;
	}
	part->folded = true;
	f->series_folded += series;
	f->folded[tool ? LEVEL_TOOL : LEVEL_PEER]++;
	delta = fresh ? total : tool ? tool_metrics(&from->last, tool->name) : peer_metrics(&from->last, peer);
	return delta ? set_add(tool ? &a->tools : &a->peers[peer->server], delta) : 0;
}

static int parts_update(struct fold *f, struct fold_agent *a, const struct live_agent *from, bool old, uint64_t *room)
{
	int err = 0;

	for (int i = 0; i < from->total.tools_len && !err; i++)
		err = part_update(f, a, from, &from->total.tools[i], NULL, old, room);
	for (int i = 0; i < from->total.peers_len && !err; i++)
		err = part_update(f, a, from, NULL, &from->total.peers[i], old, room);
	return err;
}

/* What is gone from live is forgotten here, too: names come and go without end. */
static void parts_sweep(struct fold_agent *a)
{
	int kept = 0;

	for (int i = 0; i < a->parts_len; i++) {
		if (a->parts[i].seen)
			a->parts[kept++] = a->parts[i];
	}
	a->parts_len = kept;
	for (int i = 0; i < kept; i++)
		a->parts[i].seen = false;
}

/* Both are in order of ids. */
static void agents_sweep(struct fold *f, const struct live *l)
{
	int kept = 0, at = 0;

	for (int i = 0; i < f->len; i++) {
		while (at < l->agents_len && l->agents[at]->info.id < f->agents[i]->id)
			at++;
		if (at < l->agents_len && l->agents[at]->info.id == f->agents[i]->id)
			f->agents[kept++] = f->agents[i];
		else
			fold_agent_free(f->agents[i]);
	}
	f->len = kept;
}

/* An agent whose name and pid a later one has as well would have the same labels. */
static bool has_namesake(const struct live *l, int at)
{
	for (int i = at + 1; i < l->agents_len; i++) {
		char one[LABEL_BYTES + 1], other[LABEL_BYTES + 1];

		if (l->agents[i]->info.pid != l->agents[at]->info.pid)
			continue;
		label_clean(l->agents[i]->info.name, one);
		label_clean(l->agents[at]->info.name, other);
		if (!strcmp(one, other))
			return true;
	}
	return false;
}

static int agent_update(struct fold *f, const struct live *l, int at, uint64_t *room)
{
	const struct live_agent *from = l->agents[at];
	struct fold_agent *a = fold_find(f, from->info.id);
	uint64_t series = agent_series(f, &from->total);

	if (!a)
		a = fold_agent_new(f, from->info.id);
	if (!a)
		return -ENOMEM;
	if (!a->folded && series <= *room && !has_namesake(l, at)) {
		*room -= series;
		a->fresh = false;
		return 0;
	}
	a->folded = true;
	f->folded[LEVEL_AGENT]++;
	f->series_folded += series;
	for (int i = 0; i < from->total.tools_len; i++)
		f->series_folded += set_series(f, LEVEL_TOOL, &from->total.tools[i].metrics);
	for (int i = 0; i < from->total.peers_len; i++)
		f->series_folded += set_series(f, LEVEL_PEER, &from->total.peers[i].metrics);
	return rest_add(f, a->fresh ? &from->total : &from->last);
}

/* Sums have series as well, which are taken off before anybody gets some. A sum of agents about to be begun will have as many as the largest of them, or some more. */
static uint64_t rest_series(const struct fold *f, const struct live *l, uint64_t room)
{
	uint64_t n = 0, all = 0, largest = 0;

	for (int i = 0; i < l->agents_len; i++) {
		uint64_t series = agent_series(f, &l->agents[i]->total);

		all += series;
		largest = series > largest ? series : largest;
	}
	if (f->rest_used)
		n = agent_series(f, &f->rest);
	else if (all > room)
		n = largest;

	for (int i = 0; i < f->len; i++) {
		const struct fold_agent *a = f->agents[i];

		if (a->folded)
			continue;
		n += a->tools ? set_series(f, LEVEL_TOOL, a->tools) : 0;
		n += a->peers[0] ? set_series(f, LEVEL_PEER, a->peers[0]) : 0;
		n += a->peers[1] ? set_series(f, LEVEL_PEER, a->peers[1]) : 0;
	}
	return n;
}

static uint64_t less(uint64_t room, uint64_t series)
{
	return room > series ? room - series : 0;
}

static void findings_update(struct fold *f, struct fold_agent *a, const struct live *l, const struct live_agent *from, uint64_t *room)
{
	const int findings = live_findings(l, from);
	uint64_t series = findings < 0 ? 0 : 1; /* their number */

	for (int i = 0; i < findings; i++) {
		const struct live_finding *found = &from->found[i];

		series += 1 + (found->cost_s > 0) + (found->cost_cpu_s > 0) + (found->cost_bytes > 0);
	}
	a->findings = !a->folded && series <= *room;
	if (a->findings)
		*room -= series;
	else
		f->series_folded += series;
}

int fold_update(struct fold *f, const struct live *l, uint64_t reserved)
{
	uint64_t room = less(f->max_series, reserved);
	int err = 0;

	if (f->intervals == l->intervals && f->intervals)
		return 0;
	f->intervals = l->intervals;
	for (int p = 0; p < PROBE_COUNT; p++)
		f->probe_on[p] = header_probe_on(&l->header, (enum probe_id)p, false);
	f->series_folded = 0;
	memset(f->folded, 0, sizeof(f->folded));
	agents_sweep(f, l);
	room = less(room, rest_series(f, l, room));
	for (int i = 0; i < l->agents_len && !err; i++)
		err = agent_update(f, l, i, &room);
	for (int pass = 0; pass < 2 && !err; pass++) {
		for (int i = 0; i < l->agents_len && !err; i++) {
			struct fold_agent *a = fold_find(f, l->agents[i]->info.id);

			if (!a->folded)
				err = parts_update(f, a, l->agents[i], pass == 0, &room);
		}
	}
	for (int i = 0; i < l->agents_len && !err; i++)
		findings_update(f, fold_find(f, l->agents[i]->info.id), l, l->agents[i], &room);
	for (int i = 0; i < f->len && !err; i++) {
		f->agents[i]->fresh = false;
		parts_sweep(f->agents[i]);
	}
	return err;
}
