/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "judge/finding.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "judge/find.h"

#define LOST_MAX 0.05 /* of the records */
#define REDUCED_MAX 0.1 /* of the time */
#define KEPT_PER_AGENT 16

const struct finding_info finding_infos[FINDING_COUNT] = {
#define FINDING(id, function, name, probe, title, change, unless) [FINDING_##id] = {name, PROBE_##probe, title, change, unless},
#include "findings.def"
#undef FINDING
};

static void (*const finders[FINDING_COUNT])(struct found *) = {
#define FINDING(id, function, ...) [FINDING_##id] = find_##function,
#include "findings.def"
#undef FINDING
};

int finding_find(const char *name)
{
	for (int i = 0; i < FINDING_COUNT; i++)
		if (!strcmp(name, finding_infos[i].name))
			return i;
	return -1;
}

static bool probe_off(const struct header_data *h, enum probe_id probe)
{
	for (int i = 0; i < h->probes_len; i++)
		if (h->probes[i].name && !strcmp(h->probes[i].name, probe_infos[probe].name))
			return strcmp(h->probes[i].state, "on") != 0;
	return false; /* of a recording that doesn't say: nothing there to judge, if so */
}

static void observed(struct finding_input *in, const struct observer_data *o)
{
	double lost = 0, all = 0, sched = 0, sock = 0;

	for (int i = 0; i < o->losses; i++)
		lost += (double)o->lost[i].count;
	if (lost > 0)
		in->lost = lost / (lost + (double)o->records);
	for (int r = 0; r < RUNG_COUNT && o->cost.governed; r++) {
		all += o->cost.rung_s[r];
		sched += rung_infos[r].sched >= SO_DETAIL_COUNTS ? o->cost.rung_s[r] : 0;
		sock += rung_infos[r].sock >= SO_DETAIL_COUNTS ? o->cost.rung_s[r] : 0;
	}
	if (sched > REDUCED_MAX * all)
		in->probes_reduced |= 1U << PROBE_SCHED;
	if (sock > REDUCED_MAX * all)
		in->probes_reduced |= 1U << PROBE_SOCK;
}

void finding_input_watched(struct finding_input *in, const struct header_data *h, const struct observer_data *o)
{
	if (h)
		in->cpus = h->host.cpus;
	for (int p = 0; h && p < PROBE_COUNT; p++)
		if (probe_off(h, (enum probe_id)p))
			in->probes_off |= 1U << p;
	if (o)
		observed(in, o);
}

const char *finding_unjudged(const struct finding_input *in, enum finding_id id)
{
	uint32_t probe = 1U << finding_infos[id].probe;

	if (in->probes_off & probe)
		return "its probe was off";
	if (!(in->seconds >= FINDING_SECONDS_MIN))
		return "watched for less than 2 s";
	if (in->lost > LOST_MAX)
		return "more than 5 % of the records were lost";
	if (in->probes_reduced & probe)
		return "the budget left its probe no detail for a part of the time";
	return NULL;
}

/* ---- order ---- */

static double cost_of(const struct finding *f)
{
	return fmax(f->cost_s, f->cost_cpu_s);
}

/* Below 0: a comes first. */
static int dearer(const void *a, const void *b)
{
	const struct finding *x = a, *y = b;

	if (x->severity != y->severity)
		return (int)y->severity - (int)x->severity;
	return (cost_of(x) < cost_of(y)) - (cost_of(x) > cost_of(y));
}

void found_add(struct found *f, const struct finding *what)
{
	int at = f->len;

	while (at > 0 && dearer(what, &f->list[at - 1]) < 0)
		at--;
	if (at >= f->max)
		return;
	f->len += f->len < f->max;
	memmove(f->list + at + 1, f->list + at, (size_t)(f->len - at - 1) * sizeof(*what));
	f->list[at] = *what;
	f->list[at].agent = f->in->info ? f->in->info->id : f->in->data->id;
}

enum severity severity_of_cost(const struct finding *what)
{
	double cost = cost_of(what);

	return cost >= COST_CRITICAL_S ? SEVERITY_CRITICAL : cost >= COST_WARNING_S ? SEVERITY_WARNING : SEVERITY_INFO;
}

int findings_judge(const struct finding_input *in, struct finding *ret, int max)
{
	struct found f = {.in = in, .list = ret, .max = max};

	for (int i = 0; i < FINDING_COUNT && max > 0; i++)
		if (!finding_unjudged(in, (enum finding_id)i))
			finders[i](&f);
	return f.len;
}

int findings_recording(const struct recording *r, const struct outlooks *outlooks, struct finding **ret, int *ret_len)
{
	struct finding *list = calloc((size_t)r->agents_len * KEPT_PER_AGENT + 1, sizeof(*list));
	int len = 0;

	if (!list)
		return -ENOMEM;
	for (int i = 0; i < r->agents_len; i++) {
		const struct recording_agent *a = &r->agents[i];
		struct finding_input in = {.info = &a->info, .data = &a->total, .seconds = a->total.observed_s, .stacks = r->stacks};
		struct outlook memory;

		if (a->info.merged > 1)
			continue; /* sums of several agents: what one did to itself can't be told */
		finding_input_watched(&in, &r->header, &r->observer);
		if (outlooks) {
			outlooks_judge(outlooks, a->info.id, &memory);
			in.memory = &memory;
		}
		len += findings_judge(&in, list + len, KEPT_PER_AGENT);
	}
	qsort(list, (size_t)len, sizeof(*list), dearer);
	*ret = list;
	*ret_len = len;
	return 0;
}

const char *finding_cost(const struct finding *f, char buf[FINDING_COST_BYTES])
{
	size_t len = 0;

	buf[0] = '\0';
	if (f->cost_s > 0)
		len = (size_t)snprintf(buf, FINDING_COST_BYTES, "%s of time", ns_text(f->cost_s * 1e9));
	if (f->cost_cpu_s > 0)
		len += (size_t)snprintf(
		        buf + len, FINDING_COST_BYTES - len, "%s%s of CPU", len ? ", " : "", ns_text(f->cost_cpu_s * 1e9));
	if (f->cost_bytes > 0)
		len += (size_t)snprintf(
		        buf + len, FINDING_COST_BYTES - len, "%s%s of memory", len ? ", " : "", bytes_text(f->cost_bytes));
	if (len)
		snprintf(buf + len, FINDING_COST_BYTES - len, " a minute");
	return buf;
}
