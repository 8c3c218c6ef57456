/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/trace.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "lib/util.h"
#include "model/json_put.h"

#define OBSERVER_PID 1
#define TIDS 100 /* a process: its tracks are pid * TIDS and on */
#define LABEL_LEN 160
#define CMDLINE_SHOWN 200

enum track { TRACK_EVENTS, TRACK_MAIN, TRACK_WHOLE, TRACK_TOOLS };
_Static_assert(TRACK_TOOLS + TRACE_TOOLS_MAX < TIDS, "a number for each track");

struct peer_track {
	char name[LABEL_LEN]; /* of the counter */
	bool shown; /* its last value was not 0 */
	uint64_t seq; /* of the interval that had it last */
};

struct agent_track {
	int id, pid; /* pid: ours, since two agents may have had the same one */
	uint64_t seq; /* of the interval that had it last */
	bool ended;
	bool metric_shown[METRIC_IDS]; /* its last value was not 0 */
	bool state_seen[STATE_COUNT]; /* in any ledger: from then on it is told */
	char *tools[TRACE_TOOLS_MAX]; /* owned */
	int tools_len;
	struct peer_track peers[TRACE_PEERS_MAX];
	int peers_len;
	char *notes[NOTES_KEPT]; /* owned: those that were told */
	int notes_len;
	UT_hash_handle hh;
};

struct trace {
	FILE *out;
	struct json_text json;
	bool begun, any; /* any: an event was written */
	struct agent_track *agents; /* those of the last interval, by id */
	int pids;
	uint64_t seq; /* of the last interval */
	bool any_interval;
	int64_t start_us, end_us; /* of the last interval */
	double span_s;
	uint64_t tools_left_out, peers_left_out;
};

void *trace_new(FILE *out, const struct export_options *options)
{
	struct trace *t = calloc(1, sizeof(*t));

	(void)options;
	if (!t)
		return NULL;
	t->out = out;
	t->pids = OBSERVER_PID + 1;
	return t;
}

static void agent_free(struct trace *t, struct agent_track *a)
{
	HASH_DEL(t->agents, a);
	for (int i = 0; i < a->tools_len; i++)
		free(a->tools[i]);
	for (int i = 0; i < a->notes_len; i++)
		free(a->notes[i]);
	free(a);
}

void trace_free(void *trace)
{
	struct trace *t = trace;
	struct agent_track *a, *next;

	if (!t)
		return;
	HASH_ITER(hh, t->agents, a, next)
	agent_free(t, a);
	json_text_fini(&t->json);
	free(t);
}

/* ---- events ---- */

/* ph: the format's letter for the kind of event. */
static struct json_text *event_open(struct trace *t, const char *ph, const char *name, const char *category, int pid, int track)
{
	struct json_text *j = &t->json;

	if (t->any)
		put_raw(j, ",\n", 2);
	t->any = true;
	j->comma = false;
	put_open(j, NULL, "{");
	put_string(j, "ph", ph);
	put_string(j, "name", name);
	put_string(j, "cat", category);
	put_int(j, "pid", pid);
	put_int(j, "tid", (int64_t)pid * TIDS + track);
	return j;
}

static void args_open(struct json_text *j)
{
	put_open(j, "args", "{");
}

static void event_close(struct json_text *j)
{
	put_close(j, "}");
	put_close(j, "}");
}

/* key: process_name, thread_name .. */
static void metadata(struct trace *t, int pid, int track, const char *key, const char *arg, const char *value)
{
	struct json_text *j = event_open(t, "M", key, "__metadata", pid, track);

	put_int(j, "ts", 0);
	args_open(j);
	put_string(j, arg, value);
	event_close(j);
}

static void sort_index(struct trace *t, int pid, int track, const char *key, int index)
{
	struct json_text *j = event_open(t, "M", key, "__metadata", pid, track);

	put_int(j, "ts", 0);
	args_open(j);
	put_int(j, "sort_index", index);
	event_close(j);
}

static void track_name(struct trace *t, int pid, int track, const char *name)
{
	metadata(t, pid, track, "thread_name", "name", name);
	sort_index(t, pid, track, "thread_sort_index", track);
}

static struct json_text *slice_open(struct trace *t, const char *name, const char *category, int pid, int track)
{
	struct json_text *j = event_open(t, "X", name, category, pid, track);

	put_int(j, "ts", t->start_us);
	put_int(j, "dur", t->end_us - t->start_us);
	args_open(j);
	return j;
}

static struct json_text *counter_open(struct trace *t, const char *name, const char *category, int pid, int64_t us)
{
	struct json_text *j = event_open(t, "C", name, category, pid, TRACK_EVENTS);

	put_int(j, "ts", us);
	args_open(j);
	return j;
}

/* scope: "g", all of the time line; "p", the process. */
static struct json_text *instant_open(
        struct trace *t, const char *name, const char *category, int pid, const char *scope, int64_t us)
{
	struct json_text *j = event_open(t, "i", name, category, pid, TRACK_EVENTS);

	put_int(j, "ts", us);
	put_string(j, "s", scope);
	args_open(j);
	return j;
}

/* ---- counters ---- */

static const struct {
	const char *name;
	double q;
} quantiles[] = {{"p50", 0.5}, {"p99", 0.99}, {"max", 1}};

static void put_quantiles(struct json_text *j, const struct hist *h)
{
	for (size_t i = 0; i < ARRAY_SIZE(quantiles); i++)
		put_int(j, quantiles[i].name, h && h->count ? llround(fmin(hist_quantile(h, quantiles[i].q), 9e18)) : 0);
}

static void put_rate(struct trace *t, struct json_text *j, const char *key, uint64_t n)
{
	double rate = t->span_s > 0 ? (double)n / t->span_s : 0;

	if (rate < 1e6)
		put_fraction(j, key, round(rate * 1e3) / 1e3);
	else
		put_int(j, key, llround(fmin(rate, 9e18)));
}

/* s NULL: all of it is 0 from now on. */
static void metric_counter(struct trace *t, struct agent_track *a, enum metric_id m, const struct metric_set *s, int64_t us)
{
	const struct metric_info *info = &metric_infos[m];
	const struct hist *h = s ? s->hist[m] : NULL;
	uint64_t n = !s ? 0 : info->type == METRIC_HIST ? (h ? h->count : 0) : s->value[m];
	struct json_text *j;

	if (!n && !a->metric_shown[m])
		return;
	a->metric_shown[m] = n;
	j = counter_open(t, info->name, probe_infos[info->probe].name, a->pid, us);
	if (info->type == METRIC_COUNTER || info->type == METRIC_HIST)
		put_rate(t, j, "per_s", n);
	else
		put_u64(j, "value", n);
	if (info->type == METRIC_HIST)
		put_quantiles(j, h);
	event_close(j);
}

/* The states as parts of `whole` (in ns), times factor; l NULL: all 0. */
static void ledger_counter(struct trace *t, struct agent_track *a, const char *name, const struct ledger *l, double whole,
        double factor, int64_t us)
{
	struct json_text *j;
	bool any = false;

	for (int s = 0; s < STATE_COUNT; s++)
		any |= a->state_seen[s];
	if (!any)
		return;
	j = counter_open(t, name, "ledger", a->pid, us);
	for (int s = 0; s < STATE_COUNT; s++)
		if (a->state_seen[s])
			put_fraction(j, state_infos[s].name,
			        l && whole > 0 ? round((double)l->ns[s] / whole * factor * 1e3) / 1e3 : 0);
	event_close(j);
}

static void ledger_counters(struct trace *t, struct agent_track *a, const struct agent_data *d, int64_t us)
{
	for (int s = 0; s < STATE_COUNT && d; s++)
		a->state_seen[s] |= d->main.ns[s] || d->critical.ns[s] || d->threads.ns[s];
	ledger_counter(t, a, "main thread %", d ? &d->main : NULL, d ? (double)ledger_sum(&d->main) : 0, 100, us);
	ledger_counter(t, a, "whole agent %", d ? &d->critical : NULL, d ? (double)ledger_sum(&d->critical) : 0, 100, us);
	ledger_counter(t, a, "threads that are", d ? &d->threads : NULL, t->span_s * 1e9, 1, us);
}

static void peer_counter(
        struct trace *t, const struct agent_track *a, struct peer_track *track, const struct peer_data *p, int64_t us)
{
	const struct hist *h = p ? p->metrics.hist[p->server ? M_SERVE_NS : M_EXCHANGE_NS] : NULL;
	uint64_t n = p ? peer_exchanges(p) : 0;
	struct json_text *j;

	if (!n && !(h && h->count) && !track->shown)
		return;
	track->shown = n || (h && h->count);
	j = counter_open(t, track->name, "peer", a->pid, us);
	put_rate(t, j, "per_s", n);
	put_quantiles(j, h);
	event_close(j);
}

static void peers_write(struct trace *t, struct agent_track *a, const struct agent_data *d, uint64_t seq)
{
	for (int k = 0; k < d->peers_len; k++) {
		const struct peer_data *p = &d->peers[k];
		char name[LABEL_LEN];
		int n = 0;

		snprintf(name, sizeof(name), "%s %.60s%s%.60s ns", p->server ? "serving" : "peer", p->name, *p->name ? " " : "",
		        p->peer);
		while (n < a->peers_len && strcmp(a->peers[n].name, name))
			n++;
		if (n == TRACE_PEERS_MAX) {
			t->peers_left_out++;
			continue;
		}
		if (n == a->peers_len)
			memcpy(a->peers[a->peers_len++].name, name, sizeof(name));
		if (a->peers[n].seq == seq + 1) /* two whose names read the same: the first is shown */
			continue;
		a->peers[n].seq = seq + 1;
		peer_counter(t, a, &a->peers[n], p, t->start_us);
	}
	for (int n = 0; n < a->peers_len; n++)
		if (a->peers[n].seq != seq + 1)
			peer_counter(t, a, &a->peers[n], NULL, t->start_us);
}

/* What no interval says anything more of. */
static void counters_end(struct trace *t, struct agent_track *a, int64_t us)
{
	ledger_counters(t, a, NULL, us);
	for (int m = 0; m < METRIC_IDS; m++)
		metric_counter(t, a, (enum metric_id)m, NULL, us);
	for (int n = 0; n < a->peers_len; n++)
		peer_counter(t, a, &a->peers[n], NULL, us);
}

/* ---- slices and instants ---- */

static void ledger_slice(struct trace *t, const struct agent_track *a, enum track track, const struct ledger *l)
{
	struct json_text *j;
	int most = 0;

	for (int s = 1; s < STATE_COUNT; s++)
		if (l->ns[s] > l->ns[most])
			most = s;
	if (!l->ns[most] || t->end_us <= t->start_us)
		return;
	j = slice_open(t, state_infos[most].name, "ledger", a->pid, track);
	for (int s = 0; s < STATE_COUNT; s++)
		if (l->ns[s])
			put_ns(j, state_infos[s].name, l->ns[s]);
	event_close(j);
}

/* The number of its track, or -1. */
static int tool_track(struct trace *t, struct agent_track *a, const char *name)
{
	int n = 0;

	while (n < a->tools_len && strcmp(a->tools[n], name))
		n++;
	if (n < a->tools_len)
		return n;
	if (n == TRACE_TOOLS_MAX) {
		t->tools_left_out++;
		return -1;
	}
	a->tools[n] = strdup(name);
	if (!a->tools[n]) {
		t->json.failed = true;
		return -1;
	}
	a->tools_len++;
	track_name(t, a->pid, TRACK_TOOLS + n, name);
	return n;
}

static void tool_slice(struct trace *t, struct agent_track *a, const struct tool_data *tool)
{
	const struct hist *h = tool->metrics.hist[M_TOOL_NS];
	const uint64_t *v = tool->metrics.value, cpu_ns = v[M_CPU_USER_NS] + v[M_CPU_SYSTEM_NS];
	struct json_text *j;
	int track;

	if ((!(h && h->count) && !tool->runs_live && !cpu_ns) || t->end_us <= t->start_us)
		return;
	track = tool_track(t, a, tool->name);
	if (track < 0)
		return;
	j = slice_open(t, tool->name, "tool", a->pid, TRACK_TOOLS + track);
	put_u64(j, "ended", h ? h->count : 0);
	put_u64(j, "failed", v[M_EXITS_FAILED]);
	put_u64(j, "at_work", tool->runs_live);
	put_ns(j, "cpu_s", cpu_ns);
	put_quantiles(j, h);
	event_close(j);
}

static void notes_write(struct trace *t, struct agent_track *a, const struct agent_data *d)
{
	for (int i = 0; i < d->notes_len; i++) {
		struct json_text *j;
		int n = 0;

		while (n < a->notes_len && strcmp(a->notes[n], d->notes[i]))
			n++;
		if (n < a->notes_len || n == NOTES_KEPT)
			continue;
		a->notes[n] = strdup(d->notes[i]);
		if (!a->notes[n]) {
			t->json.failed = true;
			return;
		}
		a->notes_len++;
		j = instant_open(t, "note", "agent", a->pid, "p", t->start_us);
		put_string(j, "note", d->notes[i]);
		event_close(j);
	}
}

static void steps_write(struct trace *t, const struct observer_data *o)
{
	for (uint64_t i = 0; i < o->cost.steps && i < STEPS_KEPT; i++) {
		const struct detail_step *s = &o->cost.step[i];
		char name[80];
		struct json_text *j;

		snprintf(name, sizeof(name), "detail: %s to %s", rung_infos[s->from].name, rung_infos[s->to].name);
		j = instant_open(t, name, "observer", OBSERVER_PID, "g", llround(s->at_s * 1e6));
		put_string(j, "why", s->why);
		event_close(j);
	}
}

static void observer_write(struct trace *t, const struct observer_data *o)
{
	struct json_text *j;
	uint64_t lost = 0;

	steps_write(t, o);
	for (int i = 0; i < o->losses; i++)
		lost += o->lost[i].count;
	if (lost) {
		j = instant_open(t, "records lost", "observer", OBSERVER_PID, "g", t->start_us);
		for (int i = 0; i < o->losses; i++)
			if (o->lost[i].count)
				put_u64(j, o->lost[i].reason, o->lost[i].count);
		event_close(j);
	}
	j = counter_open(t, "CPU %", "observer", OBSERVER_PID, t->start_us);
	put_fraction(j, "collector", t->span_s > 0 ? o->cpu_s / t->span_s * 100 : 0);
	if (o->bpf_s >= 0)
		put_fraction(j, "bpf", t->span_s > 0 ? o->bpf_s / t->span_s * 100 : 0);
	event_close(j);
	j = counter_open(t, "records", "observer", OBSERVER_PID, t->start_us);
	put_rate(t, j, "per_s", o->records);
	event_close(j);
}

/* ---- intervals ---- */

static struct agent_track *agent_of(struct trace *t, const struct agent_info *info)
{
	struct agent_track *a;
	char name[LABEL_LEN], cmdline[CMDLINE_SHOWN];

	HASH_FIND_INT(t->agents, &info->id, a);
	if (a)
		return a;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->id = info->id;
	a->pid = t->pids++;
	HASH_ADD_INT(t->agents, id, a);
	snprintf(name, sizeof(name), "%.120s (pid %d)", info->name, info->pid);
	snprintf(cmdline, sizeof(cmdline), "%s", info->cmdline);
	metadata(t, a->pid, TRACK_EVENTS, "process_name", "name", text_sanitize(name));
	metadata(t, a->pid, TRACK_EVENTS, "process_labels", "labels", text_sanitize(cmdline));
	sort_index(t, a->pid, TRACK_EVENTS, "process_sort_index", a->pid);
	track_name(t, a->pid, TRACK_EVENTS, "events");
	track_name(t, a->pid, TRACK_MAIN, "main thread, mostly");
	track_name(t, a->pid, TRACK_WHOLE, "whole agent, mostly");
	return a;
}

static void agent_write(struct trace *t, struct agent_track *a, const struct agent_data *d, uint64_t seq)
{
	ledger_slice(t, a, TRACK_MAIN, &d->main);
	ledger_slice(t, a, TRACK_WHOLE, &d->critical);
	ledger_counters(t, a, d, t->start_us);
	for (int k = 0; k < d->tools_len; k++)
		tool_slice(t, a, &d->tools[k]);
	for (int m = 0; m < METRIC_IDS; m++)
		metric_counter(t, a, (enum metric_id)m, &d->metrics, t->start_us);
	peers_write(t, a, d, seq);
	notes_write(t, a, d);
	if (!d->alive && !a->ended)
		event_close(instant_open(t, "ended", "agent", a->pid, "p", t->end_us));
	a->ended = !d->alive;
	a->seq = seq;
}

/* What the whole is about, and what the metrics are: viewers show it as the trace's properties. */
static void begin(struct trace *t, const struct header_data *h)
{
	struct json_text *j = &t->json;

	t->begun = true;
	put_open(j, NULL, "{");
	put_string(j, "displayTimeUnit", "ms");
	put_open(j, "otherData", "{");
	put_string(j, "source", "stakeout");
	put_string(j, "host", h->host.name);
	put_string(j, "kernel", h->host.kernel);
	put_string(j, "start", h->start);
	for (int m = 0; m < METRIC_IDS; m++)
		put_string(j, metric_infos[m].name, metric_infos[m].help);
	put_close(j, "}");
	put_open(j, "traceEvents", "[");
	put_raw(j, "\n", 1);
	metadata(t, OBSERVER_PID, TRACK_EVENTS, "process_name", "name", "stakeout itself");
	sort_index(t, OBSERVER_PID, TRACK_EVENTS, "process_sort_index", INT32_MAX);
	track_name(t, OBSERVER_PID, TRACK_EVENTS, "events");
}

static int flush(struct trace *t)
{
	if (t->json.failed)
		return -ENOMEM;
	fwrite(t->json.text, 1, t->json.len, t->out);
	json_text_reset(&t->json);
	return 0;
}

static void gap_write(struct trace *t, uint64_t missing)
{
	struct json_text *j = instant_open(t, "intervals missing", "observer", OBSERVER_PID, "g", t->end_us);
	struct agent_track *a, *next;

	put_u64(j, "count", missing);
	event_close(j);
	HASH_ITER(hh, t->agents, a, next)
	counters_end(t, a, t->end_us);
}

int trace_interval(void *trace, const struct interval_data *i)
{
	struct trace *t = trace;
	struct agent_track *a, *next;
	int64_t start_us = llround(i->start_s * 1e6), end_us = llround(i->end_s * 1e6);

	if (!t->begun)
		begin(t, i->header);
	if (t->any_interval && i->seq != t->seq + 1)
		gap_write(t, i->seq - t->seq - 1);
	/* Intervals that overlap, as no recorder writes them, would make slices that do. */
	t->start_us = t->any_interval && start_us < t->end_us ? t->end_us : start_us;
	t->end_us = end_us > t->start_us ? end_us : t->start_us;
	t->span_s = i->end_s - i->start_s;
	t->seq = i->seq;
	t->any_interval = true;
	for (int n = 0; n < i->agents_len; n++) {
		a = agent_of(t, i->infos[n]);
		if (!a)
			return -ENOMEM;
		agent_write(t, a, i->agents[n], i->seq);
	}
	observer_write(t, &i->observer);
	HASH_ITER(hh, t->agents, a, next)
	{
		if (a->seq == i->seq)
			continue;
		counters_end(t, a, t->start_us); /* it is gone since then */
		agent_free(t, a);
	}
	return flush(t);
}

int trace_end(void *trace, const struct recording *r)
{
	struct trace *t = trace;
	struct agent_track *a, *next;
	struct json_text *j = &t->json;

	if (!t->begun)
		begin(t, &r->header);
	HASH_ITER(hh, t->agents, a, next)
	counters_end(t, a, t->end_us);
	if (*r->note) {
		j = instant_open(t, "recording", "observer", OBSERVER_PID, "g", t->end_us);
		put_string(j, "note", r->note);
		event_close(j);
	}
	if (t->tools_left_out || t->peers_left_out) {
		j = instant_open(t, "left out", "observer", OBSERVER_PID, "g", t->end_us);
		put_u64(j, "intervals_of_tools", t->tools_left_out);
		put_u64(j, "intervals_of_peers", t->peers_left_out);
		event_close(j);
	}
	put_raw(j, "\n]}\n", 4);
	return flush(t);
}
