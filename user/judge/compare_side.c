/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A side as its recordings are read: what the measures need, in at most BLOCKS blocks of neighbouring intervals a recording. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge/compare_parts.h"
#include "lib/util.h"

/* ---- what is kept ---- */

static void kept_add(struct kept *k, enum metric_id m)
{
	if (k->index[m] >= 0)
		return;
	if (metric_infos[m].type == METRIC_HIST) {
		k->index[m] = k->hists_len;
		k->hist[k->hists_len++] = m;
	} else {
		k->index[m] = k->values_len;
		k->value[k->values_len++] = m;
	}
}

static int measures_init(struct measures *m)
{
	char why[256];
	int column;

	for (int of = 0; of < MEASURE_KINDS; of++)
		for (int i = 0; i < METRIC_IDS; i++)
			m->kept[of].index[i] = -1;
	for (int id = 0; id < MEASURE_COUNT; id++) {
		struct expression *e = expression_parse(measure_infos[id].expression, &column, why, sizeof(why));

		if (!e)
			return -EINVAL;
		m->expression[id] = e;
		m->quantile[id] = expression_quantile(e, &m->metric[id], &m->share[id]);
		for (int i = 0; i < METRIC_IDS; i++)
			if (expression_uses(e, (enum metric_id)i))
				kept_add(&m->kept[measure_infos[id].of], (enum metric_id)i);
	}
	return 0;
}

struct compare_side *compare_side_new(void)
{
	struct compare_side *s = calloc(1, sizeof(*s));

	if (s && measures_init(&s->measures)) {
		compare_side_free(s);
		return NULL;
	}
	return s;
}

/* ---- freeing ---- */

static void series_free(struct series *s, const struct measures *m)
{
	if (s->hists)
		for (int i = 0; i < BLOCKS * m->kept[s->of].hists_len; i++)
			hist_fini(&s->hists[i]);
	free(s->hists);
	free(s->values);
	free(s->subject);
	free(s);
}

static void run_agent_free(struct run_agent *a, const struct measures *m)
{
	for (int i = 0; i < a->len; i++)
		series_free(a->series[i], m);
	free(a->series);
	free(a->name);
	free(a);
}

static void run_free(struct run *r, const struct measures *m)
{
	struct run_agent *a, *next;

	HASH_ITER(hh, r->agents, a, next)
	{
		HASH_DEL(r->agents, a);
		run_agent_free(a, m);
	}
	outlooks_fini(&r->outlooks);
	free(r->by_position);
	free(r->ids);
	free(r);
}

void compare_side_free(struct compare_side *s)
{
	if (!s)
		return;
	for (int i = 0; i < s->len; i++)
		run_free(s->runs[i], &s->measures);
	free(s->runs);
	for (int i = 0; i < MEASURE_COUNT; i++)
		expression_free(s->measures.expression[i]);
	free(s);
}

/* ---- whose ---- */

static struct series *series_new(struct run_agent *a, const struct measures *m, enum measure_of of, const char *subject)
{
	const struct kept *k = &m->kept[of];
	struct series *s, **more = reallocarray(a->series, (size_t)a->len + 1, sizeof(*more));

	if (!more)
		return NULL;
	a->series = more;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->of = of;
	s->subject = strdup(subject);
	s->values = calloc((size_t)BLOCKS * (size_t)k->values_len + 1, sizeof(*s->values));
	s->hists = calloc((size_t)BLOCKS * (size_t)k->hists_len + 1, sizeof(*s->hists));
	if (!s->subject || !s->values || !s->hists) {
		series_free(s, m);
		return NULL;
	}
	for (int i = 0; i < BLOCKS * k->hists_len; i++)
		hist_init(&s->hists[i]);
	a->series[a->len++] = s;
	return s;
}

static struct series *series_of_class(struct run_agent *a, const struct measures *m, enum class_id class)
{
	if (!a->classes[class])
		a->classes[class] = series_new(a, m, OF_CLASS, class_infos[class].name);
	return a->classes[class];
}

/* *at is where the search begins: tools come in the same order each time. */
static struct series *series_of_tool(struct run_agent *a, const struct measures *m, const char *name, int *at)
{
	for (int i = 0; i < a->len; i++) {
		int n = (*at + i) % a->len;

		if (a->series[n]->of == OF_TOOL && !strcmp(a->series[n]->subject, name)) {
			*at = n + 1;
			return a->series[n];
		}
	}
	*at = a->len + 1;
	return series_new(a, m, OF_TOOL, name);
}

static struct run_agent *run_agent_new(struct run *r, const struct measures *m, const char *name)
{
	struct run_agent *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->name = strdup(name);
	if (!a->name || !series_new(a, m, OF_AGENT, "")) {
		run_agent_free(a, m);
		return NULL;
	}
	HASH_ADD_KEYPTR(hh, r->agents, a->name, strlen(a->name), a);
	return a;
}

/* Agents keep their positions from interval to interval, mostly. */
static struct run_agent *run_agent_at(
        struct run *r, const struct measures *m, int position, int id, const struct agent_info *info)
{
	struct run_agent *a = NULL;

	if (position >= r->positions) {
		int positions = 2 * position + 16;
		struct run_agent **agents = reallocarray(r->by_position, (size_t)positions, sizeof(*agents));
		int *ids = agents ? reallocarray(r->ids, (size_t)positions, sizeof(*ids)) : NULL;

		if (agents)
			r->by_position = agents;
		if (!ids)
			return NULL;
		r->ids = ids;
		memset(agents + r->positions, 0, (size_t)(positions - r->positions) * sizeof(*agents));
		r->positions = positions;
	}
	if (r->by_position[position] && r->ids[position] == id)
		return r->by_position[position];
	HASH_FIND_STR(r->agents, info->name, a);
	if (!a)
		a = run_agent_new(r, m, info->name);
	r->by_position[position] = a;
	r->ids[position] = id;
	return a;
}

/* ---- blocks ---- */

static int series_add(struct series *s, const struct kept *k, int block, const struct metric_set *from, double seconds)
{
	struct kept_value *values = s->values + block * k->values_len;
	struct hist *hists = s->hists + block * k->hists_len;

	for (int i = 0; i < k->values_len; i++) {
		double value = (double)from->value[k->value[i]];

		switch (metric_infos[k->value[i]].type) {
		case METRIC_GAUGE:
			if (value > 0 && seconds > 0) {
				values[i].sum += value * seconds;
				values[i].seconds += seconds;
			}
			break;
		case METRIC_PEAK:
			values[i].sum = value > values[i].sum ? value : values[i].sum;
			break;
		default:
			values[i].sum += value;
			break;
		}
	}
	for (int i = 0; i < k->hists_len; i++) {
		const struct hist *h = from->hist[k->hist[i]];

		if (h && h->count && hist_merge(&hists[i], h))
			return -ENOMEM;
	}
	return 0;
}

/* Two neighbours become one, in the place of `to`, whose histograms move. */
static int series_pair(struct series *s, const struct kept *k, int to)
{
	for (int i = 0; i < k->values_len; i++) {
		struct kept_value *into = &s->values[to * k->values_len + i];
		const struct kept_value *a = &s->values[2 * to * k->values_len + i];
		const struct kept_value *b = a + k->values_len;
		bool peak = metric_infos[k->value[i]].type == METRIC_PEAK;

		*into = (struct kept_value){
		        peak ? (a->sum > b->sum ? a->sum : b->sum) : a->sum + b->sum, a->seconds + b->seconds};
	}
	for (int i = 0; i < k->hists_len; i++) {
		struct hist *into = &s->hists[to * k->hists_len + i], *a = &s->hists[2 * to * k->hists_len + i], swap;

		if (hist_merge(a, a + k->hists_len))
			return -ENOMEM;
		swap = *into; /* when to is 0, they are the same */
		*into = *a;
		*a = swap;
	}
	return 0;
}

static void series_clear(struct series *s, const struct kept *k, int from)
{
	memset(s->values + from * k->values_len, 0, (size_t)((BLOCKS - from) * k->values_len) * sizeof(*s->values));
	for (int i = from * k->hists_len; i < BLOCKS * k->hists_len; i++)
		hist_reset(&s->hists[i]);
}

static int run_agent_pair(struct run_agent *a, const struct measures *m)
{
	for (int to = 0; to < BLOCKS; to++) {
		bool pair = to < BLOCKS / 2;

		a->seconds[to] = pair ? a->seconds[2 * to] + a->seconds[2 * to + 1] : 0;
		a->intervals[to] = pair ? a->intervals[2 * to] + a->intervals[2 * to + 1] : 0;
		for (int l = 0; l < LEDGERS; l++) {
			if (pair) {
				a->ledgers[to][l] = a->ledgers[2 * to][l];
				ledger_merge(&a->ledgers[to][l], &a->ledgers[2 * to + 1][l]);
			} else {
				a->ledgers[to][l] = (struct ledger){0};
			}
		}
	}
	for (int i = 0; i < a->len; i++) {
		const struct kept *k = &m->kept[a->series[i]->of];

		for (int to = 0; to < BLOCKS / 2; to++)
			if (series_pair(a->series[i], k, to))
				return -ENOMEM;
		series_clear(a->series[i], k, BLOCKS / 2);
	}
	return 0;
}

/* The block that the next interval belongs to, or -ENOMEM. */
static int run_block(struct run *r, const struct measures *m)
{
	if (r->blocks && r->filled < r->every)
		return r->blocks - 1;
	if (r->blocks == BLOCKS) {
		for (struct run_agent *a = r->agents; a; a = a->hh.next)
			if (run_agent_pair(a, m))
				return -ENOMEM;
		r->blocks = BLOCKS / 2;
		r->every *= 2;
	}
	r->filled = 0;
	return r->blocks++;
}

/* ---- reading ---- */

int compare_side_begin(struct compare_side *s)
{
	struct run **more = reallocarray(s->runs, (size_t)s->len + 1, sizeof(*more));

	if (!more)
		return -ENOMEM;
	s->runs = more;
	s->runs[s->len] = calloc(1, sizeof(**more));
	if (!s->runs[s->len])
		return -ENOMEM;
	s->runs[s->len++]->every = 1;
	return 0;
}

static int agent_add(struct run_agent *a, const struct measures *m, int block, const struct agent_data *d)
{
	int err = series_add(a->series[0], &m->kept[OF_AGENT], block, &d->metrics, d->observed_s), at = 1;

	a->seconds[block] += d->observed_s;
	a->intervals[block] += d->observed_s > 0;
	ledger_merge(&a->ledgers[block][LEDGER_MAIN], &d->main);
	ledger_merge(&a->ledgers[block][LEDGER_THREADS], &d->threads);
	ledger_merge(&a->ledgers[block][LEDGER_CRITICAL], &d->critical);
	for (int i = 0; i < d->peers_len && !err; i++) {
		const struct peer_data *p = &d->peers[i];
		struct series *s = p->server ? NULL : series_of_class(a, m, p->class);

		if (!p->server)
			err = s ? series_add(s, &m->kept[OF_CLASS], block, &p->metrics, d->observed_s) : -ENOMEM;
	}
	for (int i = 0; i < d->tools_len && !err; i++) {
		struct series *s = series_of_tool(a, m, d->tools[i].name, &at);

		err = s ? series_add(s, &m->kept[OF_TOOL], block, &d->tools[i].metrics, d->observed_s) : -ENOMEM;
	}
	return err;
}

int compare_side_interval(void *side, const struct interval_data *i)
{
	struct compare_side *s = side;
	struct run *r = s->runs[s->len - 1];
	int block = run_block(r, &s->measures), err = block < 0 ? block : outlooks_interval(&r->outlooks, i);

	for (int n = 0; n < i->agents_len && !err; n++) {
		struct run_agent *a = run_agent_at(r, &s->measures, n, i->agents[n]->id, i->infos[n]);

		err = a ? agent_add(a, &s->measures, block, i->agents[n]) : -ENOMEM;
	}
	r->filled++;
	return err;
}

static void unjudged_find(struct run_agent *a, const struct recording *r, const struct recording_agent *agent)
{
	struct finding_input in = {.data = &agent->total, .seconds = agent->total.observed_s};

	finding_input_watched(&in, &r->header, &r->observer);
	for (int i = 0; i < FINDING_COUNT; i++) {
		const char *why =
		        agent->info.merged > 1 ? "a sum of several agents" : finding_unjudged(&in, (enum finding_id)i);

		if (a->processes == 1 || !a->unjudged[i])
			a->unjudged[i] = why;
	}
}

/* The dearest comes first in the list. */
static int findings_take(struct run *run, const struct recording *r)
{
	_cleanup_free_ struct finding *list = NULL;
	int len = 0, err = findings_recording(r, &run->outlooks, &list, &len);

	for (int i = 0; i < len && !err; i++) {
		struct run_agent *a = NULL;

		for (int n = 0; n < r->agents_len && !a; n++)
			if (r->agents[n].info.id == list[i].agent)
				HASH_FIND_STR(run->agents, r->agents[n].info.name, a);
		if (!a || a->found[list[i].id])
			continue;
		a->findings[list[i].id] = list[i];
		a->found[list[i].id] = true;
	}
	return err;
}

int compare_side_end(struct compare_side *s, const struct recording *r)
{
	struct run *run = s->runs[s->len - 1];
	struct finding_input in = {0};

	finding_input_watched(&in, &r->header, &r->observer);
	run->probes_off = in.probes_off;
	run->probes_reduced = in.probes_reduced;
	run->lost = in.lost;
	run->cpus = r->header.host.cpus;
	run->interval_s = r->header.interval_s;
	run->intervals = r->intervals;
	run->duration_s = r->duration_s;
	run->missing = r->gap;
	for (int i = 0; i < r->agents_len; i++) {
		const struct recording_agent *agent = &r->agents[i];
		struct run_agent *a = NULL;

		HASH_FIND_STR(run->agents, agent->info.name, a);
		if (!a)
			a = run_agent_new(run, &s->measures, agent->info.name);
		if (!a)
			return -ENOMEM;
		a->processes += agent->info.merged > 1 ? agent->info.merged : 1;
		unjudged_find(a, r, agent);
	}
	return findings_take(run, r);
}
