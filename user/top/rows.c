// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "judge/severity.h"
#include "lib/util.h"
#include "top/rows.h"

enum column_what { NAME, PID, CPU_PERCENT, SHARE_PERCENT, RATE, GAUGE, QUANTILE, TOOL_RUNS, ERRORS, FOUND };

struct column {
	struct top_column info;
	enum column_what what;
	enum metric_id metric;
	double q; /* of QUANTILE */
};

/* In the order of the list; the rightmost ones show on wide terminals only. */
/* clang-format off */
static const struct column columns[] = {
	{ { "agent",    'A', 0, 0,  "name of the agent" },                                               NAME,          0,                  0 },
	{ { "pid",      'I', 7, 9,  "process id" },                                                      PID,           0,                  0 },
	{ { "CPU%",     'C', 5, 0,  "CPU time of all its threads and tools, 100 is one CPU" },           CPU_PERCENT,   0,                  0 },
	{ { "runq%",    'Q', 5, 2,  "time in which they waited for a CPU, likewise" },                    SHARE_PERCENT, M_RUNQ_NS,         0 },
	{ { "waits/s",  'W', 7, 5,  "times a second that a thread began to wait" },                      RATE,          M_SWITCHES_VOLUNTARY, 0 },
	{ { "calls/s",  'L', 7, 0,  "requests a second to its peers that were answered" },               RATE,          M_EXCHANGES,        0 },
	{ { "p50",      '5', 6, 11, "half of the calls took no longer than this" },                      QUANTILE,      M_EXCHANGE_NS,      0.5 },
	{ { "p99",      '9', 6, 1,  "99 % of the calls took no longer than this" },                      QUANTILE,      M_EXCHANGE_NS,      0.99 },
	{ { "ttfb",     'B', 6, 12, "time to the first byte of an answer, median" },                     QUANTILE,      M_TTFB_NS,          0.5 },
	{ { "err",      'E', 5, 8,  "connections and calls that failed" },                               ERRORS,        0,                  0 },
	{ { "RSS",      'M', 6, 0,  "resident memory, of all its processes" },                           GAUGE,         M_RSS_BYTES,        0 },
	{ { "tools",    'T', 5, 4,  "runs of tools" },                                                   TOOL_RUNS,     0,                  0 },
	{ { "thr",      'H', 4, 6,  "threads, of all its processes" },                                   GAUGE,         M_THREADS,          0 },
	{ { "found",    'F', 5, 3,  "findings of the last minutes, and the severity of the worst" },         FOUND,         0,                  0 },
	{ { "served/s", 'V', 8, 15, "requests a second that it answered, as the server" },               RATE,          M_EXCHANGES_SERVED, 0 },
	{ { "sent/s",   'O', 6, 13, "bytes a second sent on sockets" },                                  RATE,          M_SENT_BYTES,       0 },
	{ { "recv/s",   'D', 6, 14, "bytes a second received" },                                         RATE,          M_RECEIVED_BYTES,   0 },
	{ { "turn p99", 'U', 8, 10, "99 % of the turns of its event loops took no longer" },              QUANTILE,      M_LOOP_BUSY_NS,     0.99 },
};
/* clang-format on */
#define COLUMNS ((int)ARRAY_SIZE(columns))
#define COLUMN_DEFAULT 2

static double errors_of(const struct metric_set *m)
{
	double sum = 0;

	for (int i = 0; i < METRIC_IDS; i++)
		if (!strncmp(metric_infos[i].name, "errors_", 7))
			sum += (double)m->value[i];
	return sum;
}

static double tool_runs(const struct agent_data *d)
{
	double sum = 0;

	for (int i = 0; i < d->tools_len; i++) {
		const struct hist *h = d->tools[i].metrics.hist[M_TOOL_NS];

		sum += (double)d->tools[i].runs_live + (h ? (double)h->count : 0);
	}
	return sum;
}

const struct agent_data *agent_figures(const struct live_agent *a, bool all)
{
	return all ? &a->total : &a->last;
}

bool looked_at(const struct live *l, bool all, enum metric_id m)
{
	const struct cost_data *c = all ? &l->observer.cost : &l->observer_last.cost;

	if (!c->governed || !(cost_reduced_s(c) > 0))
		return true;
	for (int r = 0; r < RUNG_COUNT; r++)
		if (c->rung_s[r] > 0 && rung_mark((enum rung)r, metric_infos[m].name) != MARK_PARTIAL)
			return true;
	return false;
}

/* Below 0: there is none. */
static double column_value(const struct column *c, const struct live *l, const struct live_agent *a, bool all)
{
	const struct agent_data *d = agent_figures(a, all);
	const struct hist *h = d->metrics.hist[c->metric];
	const uint64_t *v = d->metrics.value;

	if (c->what == PID)
		return a->info.pid;
	if (c->what == FOUND) /* the worst first, then by number */
		return a->findings <= 0 ? a->findings : live_findings_worst(a) * 1000.0 + a->findings;
	if (!(d->observed_s > 0) || (c->what == RATE && !v[c->metric] && !looked_at(l, all, c->metric)))
		return -1;
	switch (c->what) {
	case CPU_PERCENT:
		return 100 * ((double)v[M_CPU_USER_NS] + (double)v[M_CPU_SYSTEM_NS]) / 1e9 / d->observed_s;
	case SHARE_PERCENT:
		return h && h->count ? 100 * (double)h->sum / 1e9 / d->observed_s : looked_at(l, all, c->metric) ? 0 : -1;
	case RATE:
		return (double)v[c->metric] / d->observed_s;
	case GAUGE:
		return (double)v[c->metric];
	case QUANTILE:
		return h && h->count ? hist_quantile(h, c->q) : -1;
	case TOOL_RUNS:
		return tool_runs(d);
	case ERRORS:
		return errors_of(&d->metrics);
	default:
		return -1;
	}
}

/* "88.4 MiB" as "88.4M". */
static const char *compact(char *text)
{
	char *blank = strchr(text, ' '), *i;

	if (!blank)
		return text;
	memmove(blank, blank + 1, strlen(blank));
	i = strstr(blank, "iB");
	if (i)
		*i = '\0';
	return text;
}

/* "2crit", "0"; RECENTS_KEPT bounds the number to a digit. */
static const char *found_text(const struct live_agent *a, char buf[FORMAT_LEN])
{
	snprintf(buf, FORMAT_LEN, a->findings > 0 ? "%d%.4s" : "%d", a->findings, severity_names[live_findings_worst(a)]);
	return buf;
}

int column_style(int column, const struct live_agent *a)
{
	static const int styles[SEVERITY_COUNT] = { [SEVERITY_WARNING] = 33, [SEVERITY_CRITICAL] = 31 };

	return columns[column].what == FOUND && a->findings > 0 ? styles[live_findings_worst(a)] : 0;
}

const char *column_text(int column, const struct live *l, const struct live_agent *a, bool all, char buf[FORMAT_LEN])
{
	const struct column *c = &columns[column];
	double value = column_value(c, l, a, all);
	enum metric_unit unit = metric_infos[c->metric].unit;

	if (value < 0)
		snprintf(buf, FORMAT_LEN, "-");
	else if (c->what == PID)
		snprintf(buf, FORMAT_LEN, "%.0f", value);
	else if (c->what == FOUND)
		return found_text(a, buf);
	else if (c->what == CPU_PERCENT || c->what == SHARE_PERCENT)
		snprintf(buf, FORMAT_LEN, "%.*f", value < 999.95 ? 1 : 0, value);
	else if (c->what == GAUGE || c->what == QUANTILE || (c->what == RATE && unit != UNIT_COUNT))
		format_value(value, unit, buf);
	else if (c->what == RATE)
		format_rate(value, buf);
	else
		format_count(value, buf);
	compact(buf);
	return buf;
}

const struct top_column *column_info(int column)
{
	return column >= 0 && column < COLUMNS ? &columns[column].info : NULL;
}

int column_default(void)
{
	return COLUMN_DEFAULT;
}

int column_by_key(uint32_t key)
{
	for (int i = 0; i < COLUMNS; i++)
		if ((uint32_t)columns[i].info.key == key)
			return i;
	return -1;
}

int column_beside(int column, int step)
{
	return (column + step + COLUMNS) % COLUMNS;
}

/* Whether text has the word, whatever the case of ASCII letters. */
static bool text_has(const char *text, const char *word)
{
	return strcasestr(text, word) != NULL;
}

static bool agent_suits(const struct live_agent *a, const char *filter)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", a->info.pid);
	return !*filter || text_has(a->info.name, filter) || text_has(a->info.cmdline, filter) || text_has(a->info.container.id, filter) ||
	       !strcmp(pid, filter);
}

struct sorted {
	const struct live_agent *agent;
	double value;
	const char *name; /* where that is what counts */
	int sign;
};

static int sorted_order(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;
	int by = 0;

	if (x->name)
		by = strcasecmp(x->name, y->name);
	else if (x->value < y->value || x->value > y->value)
		by = x->value < y->value ? 1 : -1; /* the greatest first */
	if (by)
		return by * x->sign;
	return x->agent->info.id < y->agent->info.id ? -1 : x->agent->info.id > y->agent->info.id;
}

int top_rows_init(struct top_rows *r, const struct live *l, const struct top_view *v)
{
	const struct column *c = &columns[v->sort];
	const char *filter = v->typing ? v->typed : v->filter;
	/* pids rise, as names do */
	int sign = (v->reverse ? -1 : 1) * (c->what == PID ? -1 : 1);
	_cleanup_free_ struct sorted *sorted = calloc((size_t)l->agents_len + 1, sizeof(*sorted));

	*r = (struct top_rows){ .agents = calloc((size_t)l->agents_len + 1, sizeof(const struct live_agent *)), .all = l->agents_len };
	if (!r->agents || !sorted)
		return -ENOMEM;
	for (int i = 0; i < l->agents_len; i++) {
		const struct live_agent *a = l->agents[i];

		r->ended += a->ended;
		if (!agent_suits(a, filter))
			continue;
		sorted[r->len].agent = a;
		sorted[r->len].sign = sign;
		if (c->what == NAME)
			sorted[r->len].name = a->info.name;
		else
			sorted[r->len].value = column_value(c, l, a, v->all);
		r->len++;
	}
	qsort(sorted, (size_t)r->len, sizeof(*sorted), sorted_order);
	for (int i = 0; i < r->len; i++)
		r->agents[i] = sorted[i].agent;
	return 0;
}

void top_rows_fini(struct top_rows *r)
{
	free(r->agents);
	*r = (struct top_rows){ 0 };
}

int top_rows_at(const struct top_rows *r, int id)
{
	for (int i = 0; i < r->len; i++)
		if (r->agents[i]->info.id == id)
			return i;
	return -1;
}
