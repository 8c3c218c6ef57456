/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What findings are made from: sums of histograms from a value on, an agent without its tools, the peers it calls. */
#include <string.h>

#include "judge/find.h"

double hist_from(const struct hist *h, double from, double *ret_count)
{
	double sum = 0, count = 0;

	for (uint32_t i = 0; h && i < h->len; i++) {
		double value = hist_bucket(h, i) ? hist_bucket_value(h, i) : 0;

		if (value < from || !hist_bucket(h, i))
			continue;
		count += (double)hist_bucket(h, i);
		sum += value * (double)hist_bucket(h, i);
	}
	if (ret_count)
		*ret_count = count;
	return sum;
}

static double minus_tools(const struct agent_data *a, enum metric_id m, double (*of)(const struct metric_set *, enum metric_id))
{
	double v = of(&a->metrics, m);

	for (int i = 0; i < a->tools_len; i++)
		v -= of(&a->tools[i].metrics, m);
	return v > 0 ? v : 0;
}

static double set_value(const struct metric_set *s, enum metric_id m)
{
	return (double)s->value[m];
}

static double set_sum(const struct metric_set *s, enum metric_id m)
{
	return s->hist[m] ? (double)s->hist[m]->sum : 0;
}

static double set_count(const struct metric_set *s, enum metric_id m)
{
	return s->hist[m] ? (double)s->hist[m]->count : 0;
}

double own_value(const struct agent_data *a, enum metric_id m)
{
	return minus_tools(a, m, set_value);
}

double own_sum(const struct agent_data *a, enum metric_id m)
{
	return minus_tools(a, m, set_sum);
}

double own_count(const struct agent_data *a, enum metric_id m)
{
	return minus_tools(a, m, set_count);
}

double own_from(const struct agent_data *a, enum metric_id m, double from, double *ret_count)
{
	double count, sum = hist_from(a->metrics.hist[m], from, &count);

	for (int i = 0; i < a->tools_len; i++) {
		double tool_count;

		sum -= hist_from(a->tools[i].metrics.hist[m], from, &tool_count);
		count -= tool_count;
	}
	*ret_count = count > 0 ? count : 0;
	return sum > 0 ? sum : 0;
}

/* ---- peers ---- */

static const char *port_of(const char *peer)
{
	const char *colon = strrchr(peer, ':');

	return colon ? colon : "";
}

static bool same_callee(const struct peer_data *a, const struct peer_data *b)
{
	return !b->server && a->name[0] && a->class == b->class && !strcmp(a->name, b->name) &&
	       !strcmp(port_of(a->peer), port_of(b->peer));
}

bool callee_next(const struct agent_data *a, int *at, struct callee *ret)
{
	for (; *at < a->peers_len; ++*at) {
		const struct peer_data *p = &a->peers[*at];
		bool told = false;

		if (p->server || peer_is_rest(p))
			continue;
		for (int i = 0; i < *at && !told; i++)
			told = same_callee(p, &a->peers[i]);
		if (told)
			continue;
		*ret = (struct callee){.of = {p}, .len = 1};
		for (int i = *at + 1; i < a->peers_len && ret->len < CALLEE_ADDRESSES; i++)
			if (same_callee(p, &a->peers[i]))
				ret->of[ret->len++] = &a->peers[i];
		++*at;
		return true;
	}
	return false;
}

double callee_value(const struct callee *c, enum metric_id m)
{
	double v = 0;

	for (int i = 0; i < c->len; i++)
		v += set_value(&c->of[i]->metrics, m);
	return v;
}

double callee_sum(const struct callee *c, enum metric_id m)
{
	double v = 0;

	for (int i = 0; i < c->len; i++)
		v += set_sum(&c->of[i]->metrics, m);
	return v;
}

double callee_count(const struct callee *c, enum metric_id m)
{
	double v = 0;

	for (int i = 0; i < c->len; i++)
		v += set_count(&c->of[i]->metrics, m);
	return v;
}

double callee_quantile(const struct callee *c, enum metric_id m, double q)
{
	struct hist all;
	double v;

	if (c->len == 1)
		return c->of[0]->metrics.hist[m] ? hist_quantile(c->of[0]->metrics.hist[m], q) : 0;
	hist_init(&all);
	for (int i = 0; i < c->len; i++)
		if (c->of[i]->metrics.hist[m])
			hist_merge(&all, c->of[i]->metrics.hist[m]); /* out of memory: of the others */
	v = hist_quantile(&all, q);
	hist_fini(&all);
	return v;
}

void callee_subject(const struct callee *c, struct finding *what)
{
	const struct peer_data *p = c->of[0];

	if (p->name[0] && strcmp(p->name, p->peer))
		subject(what, "%s %s%s", class_infos[p->class].name, p->name, port_of(p->peer));
	else
		subject(what, "%s %s", class_infos[p->class].name, p->peer);
}

bool callee_local(const struct callee *c)
{
	const char *peer = c->of[0]->peer;

	return !strncmp(peer, "127.", 4) || !strncmp(peer, "[::1]", 5) || !strchr(peer, ':') || peer[0] == '/' ||
	       peer[0] == '@';
}

bool callee_multiplexed(const struct callee *c)
{
	for (int i = 0; i < c->len; i++)
		if (c->of[i]->multiplexed)
			return true;
	return false;
}

double callee_parallel(const struct agent_data *a, const struct callee *c)
{
	const struct concurrency *of = &a->concurrency[c->of[0]->class];

	return of->busy_ns && of->outstanding_ns > of->busy_ns ? (double)of->outstanding_ns / (double)of->busy_ns : 1;
}
