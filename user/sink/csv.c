/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/csv.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/timestamp.h"
#include "lib/util.h"

struct csv {
	FILE *out;
	enum export_rows rows;
	bool begun;
	bool comma; /* the next cell needs one before it */
	bool names; /* the row of names is being written, by what writes the others */
	int64_t start_ns;
	bool probe_on[PROBE_COUNT];
	char host[sizeof(((struct host_info *)0)->name)];
};

void *csv_new(FILE *out, const struct export_options *options)
{
	struct csv *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->out = out;
	c->rows = options->rows;
	return c;
}

void csv_free(void *csv)
{
	free(csv);
}

/* ---- cells: each writes its column's name, or its value ---- */

void csv_text(FILE *out, const char *s)
{
	_cleanup_free_ char *text = strdup(s);
	size_t len;
	bool quote;

	if (!text)
		return;
	text_sanitize(text);
	len = strlen(text);
	quote = strpbrk(text, ",\"") || (len && (text[0] == ' ' || text[len - 1] == ' '));
	if (quote)
		putc('"', out);
	if (len && strchr("=+-@", text[0]))
		putc('\'', out);
	for (const char *at = text; *at; at++) {
		if (*at == '"')
			putc('"', out);
		putc(*at, out);
	}
	if (quote)
		putc('"', out);
}

static bool cell(struct csv *c, const char *name)
{
	if (c->comma)
		putc(',', c->out);
	c->comma = true;
	if (c->names)
		fputs(name, c->out);
	return !c->names;
}

static void cell_text(struct csv *c, const char *name, const char *s)
{
	if (cell(c, name))
		csv_text(c->out, s);
}

static void cell_u64(struct csv *c, const char *name, uint64_t n)
{
	if (cell(c, name))
		fprintf(c->out, "%" PRIu64, n);
}

static void cell_empty(struct csv *c, const char *name)
{
	cell(c, name);
}

/* A decimal without zeros at its end. */
static void decimal_write(FILE *out, char *text)
{
	size_t len = strlen(text);

	while (text[len - 1] == '0')
		len--;
	fwrite(text, 1, len - (text[len - 1] == '.'), out);
}

/* Seconds, from ns exactly. */
static void cell_ns(struct csv *c, const char *name, uint64_t ns)
{
	char text[40];

	if (!cell(c, name))
		return;
	snprintf(text, sizeof(text), "%" PRIu64 ".%09" PRIu64, (uint64_t)(ns / NS_PER_S), (uint64_t)(ns % NS_PER_S));
	decimal_write(c->out, text);
}

static void cell_seconds(struct csv *c, const char *name, double s)
{
	char text[400]; /* of the largest double */

	if (!cell(c, name))
		return;
	snprintf(text, sizeof(text), "%.9f", isfinite(s) ? s : 0);
	decimal_write(c->out, text);
}

static void row_end(struct csv *c)
{
	putc('\n', c->out);
	c->comma = false;
}

/* ---- columns that rows of several kinds have; pointers are NULL in the row of names ---- */

static void interval_cells(struct csv *c, const struct interval_data *i)
{
	char text[TIMESTAMP_LEN] = "";

	if (i && c->start_ns)
		timestamp_format(c->start_ns + (int64_t)llround(i->start_s * 1e9), text);
	cell_text(c, "time", text);
	cell_seconds(c, "start_s", i ? i->start_s : 0);
	cell_seconds(c, "end_s", i ? i->end_s : 0);
	cell_text(c, "host", c->host);
}

static void agent_cells(struct csv *c, const struct agent_info *info)
{
	cell_u64(c, "agent_id", info ? (uint64_t)info->id : 0);
	cell_text(c, "agent", info ? info->name : "");
	cell_u64(c, "pid", info ? (uint64_t)info->pid : 0);
	cell_text(c, "container", info ? info->container.id : "");
}

static const char *detail_name(const struct observer_data *o)
{
	return o->cost.governed ? rung_infos[cost_lowest(&o->cost)].name : rung_infos[RUNG_FULL].name;
}

/* count, sum and max are exact; quantiles are the middle of a bucket, to the next whole number. */
static void hist_cells(struct csv *c, const char *metric, const struct hist *h, bool measured)
{
	static const struct {
		const char *name;
		double q;
	} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}};
	const bool any = h && h->count;
	char name[64];

	for (int sum = 0; sum < 2; sum++) {
		snprintf(name, sizeof(name), "%s_%s", metric, sum ? "sum" : "count");
		if (any || measured)
			cell_u64(c, name, !any ? 0 : sum ? h->sum : h->count);
		else
			cell_empty(c, name);
	}
	for (size_t k = 0; k < ARRAY_SIZE(quantiles); k++) {
		snprintf(name, sizeof(name), "%s_%s", metric, quantiles[k].name);
		if (cell(c, name) && any)
			fprintf(c->out, "%.0f", hist_quantile(h, quantiles[k].q));
	}
	snprintf(name, sizeof(name), "%s_max", metric);
	if (any)
		cell_u64(c, name, h->max);
	else
		cell_empty(c, name);
}

/* on: probes that measured; gauges: whether 0 is a statement for them. */
static void metric_cells(
        struct csv *c, const struct metric_set *s, const bool on[PROBE_COUNT], bool gauges, bool (*wanted)(enum metric_id))
{
	for (int m = 0; m < METRIC_IDS; m++) {
		const struct metric_info *info = &metric_infos[m];
		bool measured = on[info->probe] && (gauges || info->type == METRIC_COUNTER || info->type == METRIC_HIST);

		if (wanted && !wanted((enum metric_id)m))
			continue;
		if (info->type == METRIC_HIST)
			hist_cells(c, info->name, s ? s->hist[m] : NULL, measured);
		else if (s && !s->value[m] && !measured)
			cell_empty(c, info->name);
		else
			cell_u64(c, info->name, s ? s->value[m] : 0);
	}
}

static void ledger_cells(struct csv *c, const char *part, const struct ledger *l)
{
	for (int s = 0; s < STATE_COUNT; s++) {
		char name[64];

		snprintf(name, sizeof(name), "%s_%s_s", part, state_infos[s].name);
		for (char *dot = strchr(name, '.'); dot; dot = strchr(dot, '.'))
			*dot = '_'; /* net.llm: databases want plain names of columns */
		cell_ns(c, name, l ? l->ns[s] : 0);
	}
}

static void concurrency_cells(struct csv *c, const struct concurrency *all)
{
	for (int i = 0; i < CLASS_COUNT; i++) {
		const struct concurrency *of = all ? &all[i] : NULL;
		char name[64];

		snprintf(name, sizeof(name), "%s_outstanding_s", class_infos[i].name);
		cell_ns(c, name, of ? of->outstanding_ns : 0);
		snprintf(name, sizeof(name), "%s_busy_s", class_infos[i].name);
		cell_ns(c, name, of ? of->busy_ns : 0);
		snprintf(name, sizeof(name), "%s_outstanding_max", class_infos[i].name);
		cell_u64(c, name, of ? of->max : 0);
	}
}

/* ---- rows ---- */

static void agent_row(struct csv *c, const struct interval_data *i, const struct agent_info *info, const struct agent_data *a)
{
	bool on[PROBE_COUNT];

	memcpy(on, c->probe_on, sizeof(on));
	on[PROBE_HEAP] &= a && a->heap.mode == HEAP_FULL; /* nothing else counts allocations */
	interval_cells(c, i);
	agent_cells(c, info);
	cell_u64(c, "alive", a && a->alive);
	cell_seconds(c, "observed_s", a ? a->observed_s : 0);
	cell_u64(c, "lost", i ? observer_data_lost_sum(&i->observer) : 0);
	cell_text(c, "detail", i ? detail_name(&i->observer) : "");
	ledger_cells(c, "main", a ? &a->main : NULL);
	ledger_cells(c, "threads", a ? &a->threads : NULL);
	ledger_cells(c, "critical", a ? &a->critical : NULL);
	concurrency_cells(c, a ? a->concurrency : NULL);
	metric_cells(c, a ? &a->metrics : NULL, on, true, NULL);
	row_end(c);
}

/* Of an agent's metrics, those that peers have too. */
static bool of_peers(enum metric_id m)
{
	return metric_infos[m].probe == PROBE_SOCK;
}

static void peer_row(struct csv *c, const struct interval_data *i, const struct agent_info *info, const struct peer_data *p)
{
	interval_cells(c, i);
	agent_cells(c, info);
	cell_text(c, "peer", p ? p->peer : "");
	cell_text(c, "name", p ? p->name : "");
	cell_text(c, "class", p ? class_infos[p->class].name : "");
	cell_text(c, "side", p && p->server ? "server" : "client");
	cell_u64(c, "multiplexed", p && p->multiplexed);
	cell_u64(c, "summed", p ? p->summed : 0);
	metric_cells(c, p ? &p->metrics : NULL, c->probe_on, false, of_peers);
	row_end(c);
}

static void tool_row(struct csv *c, const struct interval_data *i, const struct agent_info *info, const struct tool_data *t)
{
	interval_cells(c, i);
	agent_cells(c, info);
	cell_text(c, "tool", t ? t->name : "");
	cell_u64(c, "runs_live", t ? t->runs_live : 0);
	ledger_cells(c, "main", t ? &t->main : NULL);
	metric_cells(c, t ? &t->metrics : NULL, c->probe_on, false, NULL);
	row_end(c);
}

static void observer_row(struct csv *c, const struct interval_data *i)
{
	static const struct observer_data none = {.bpf_s = -1};
	const struct observer_data *o = i ? &i->observer : &none;
	char reasons[512] = "", name[64];

	interval_cells(c, i);
	cell_seconds(c, "cpu_s", o->cpu_s);
	if (o->bpf_s >= 0)
		cell_seconds(c, "bpf_s", o->bpf_s);
	else
		cell_empty(c, "bpf_s");
	cell_u64(c, "rss_bytes", o->rss_bytes);
	cell_u64(c, "records", o->records);
	cell_u64(c, "lost", observer_data_lost_sum(o));
	for (int k = 0; k < o->losses; k++)
		if (o->lost[k].count)
			snprintf(reasons + strlen(reasons), sizeof(reasons) - strlen(reasons), "%s%.40s=%" PRIu64,
			        *reasons ? " " : "", o->lost[k].reason, o->lost[k].count);
	cell_text(c, "lost_reasons", reasons);
	cell_text(c, "detail", detail_name(o));
	cell_u64(c, "steps", o->cost.steps);
	if (o->cost.governed)
		cell_seconds(c, "budget_s", o->cost.budget_s);
	else
		cell_empty(c, "budget_s");
	for (int p = 0; p < COST_PARTS; p++) {
		snprintf(name, sizeof(name), "cost_%s_s", cost_part_names[p]);
		if (o->cost.governed)
			cell_seconds(c, name, o->cost.part_s[p]);
		else
			cell_empty(c, name);
	}
	row_end(c);
}

/* i NULL: the row of names. */
static void rows(struct csv *c, const struct interval_data *i, const struct agent_info *info, const struct agent_data *a)
{
	switch (c->rows) {
	case ROWS_PEERS:
		for (int n = 0; n < (a ? a->peers_len : 1); n++)
			peer_row(c, i, info, a ? &a->peers[n] : NULL);
		break;
	case ROWS_TOOLS:
		for (int n = 0; n < (a ? a->tools_len : 1); n++)
			tool_row(c, i, info, a ? &a->tools[n] : NULL);
		break;
	case ROWS_OBSERVER:
		observer_row(c, i);
		break;
	default:
		agent_row(c, i, info, a);
	}
}

static void begin(struct csv *c, const struct header_data *h)
{
	for (int p = 0; p < PROBE_COUNT; p++)
		c->probe_on[p] = header_probe_on(h, (enum probe_id)p, true);
	timestamp_parse(h->start, &c->start_ns);
	memcpy(c->host, h->host.name, sizeof(c->host));
	c->begun = c->names = true;
	rows(c, NULL, NULL, NULL);
	c->names = false;
}

int csv_interval(void *csv, const struct interval_data *i)
{
	struct csv *c = csv;

	if (!c->begun)
		begin(c, i->header);
	if (c->rows == ROWS_OBSERVER)
		rows(c, i, NULL, NULL);
	else
		for (int n = 0; n < i->agents_len; n++)
			rows(c, i, i->infos[n], i->agents[n]);
	return 0;
}

int csv_end(void *csv, const struct recording *r)
{
	struct csv *c = csv;

	if (!c->begun)
		begin(c, &r->header);
	return 0;
}
