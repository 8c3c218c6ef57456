/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which families a page has, and what their series are. A metric of metrics.def is three families: of agents, of their tools, of their peers. */
#include "sink/prometheus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/timestamp.h"
#include "lib/util.h"
#include "sink/prometheus_fold.h"
#include "sink/prometheus_page.h"

#define OWN_SERIES 64 /* of the observer and the host, about */
#define REST "(other)"

struct prometheus {
	struct prometheus_options options;
	struct prometheus_label *labels; /* owned, strings as well */
	struct fold fold;
};

struct who { /* an agent, parts left out */
	struct ledger main, threads, critical;
	struct concurrency concurrency[CLASS_COUNT];
	const struct page_labels *info; /* NULL: a sum */
	bool alive;
	const struct live_finding *found;
	int findings; /* -1: none are told */
};

struct row { /* what has series of its own, or a sum of what has none; all of it is a copy */
	const struct page_labels *labels;
	const struct metric_set *total;
	const struct metric_set *now; /* of the newest interval, for gauges; NULL: they say nothing of it */
	const struct who *who; /* LEVEL_AGENT */
};

struct rows {
	struct row *at;
	size_t len, cap;
};

struct prometheus_page {
	const struct prometheus *p;
	struct page *page;
	const struct page_labels *base;
	struct rows rows[LEVELS];
	struct live live; /* without agents */
	int alive; /* agents */
	bool probe_on[PROBE_COUNT];
	uint64_t series_folded, folded[LEVELS];
	bool failed;
};

static const struct {
	const char *prefix, *of;
} levels[LEVELS] = {[LEVEL_AGENT] = {"", ""}, [LEVEL_TOOL] = {"tool_", ", by tool"}, [LEVEL_PEER] = {"peer_", ", by peer"}};

/* Names that series have, which a label of the user's cannot take. */
static const char *const own_labels[] = {"agent", "pid", "id", "cgroup", "container", "runtime", "pod", "tool", "peer", "name",
        "class", "side", "view", "state", "reason", "part", "rung", "probe", "level", "version", "finding", "subject", "rule", "severity", "sink", "le"};

static bool label_free(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(own_labels); i++) {
		if (!strcmp(name, own_labels[i]))
			return false;
	}
	return label_name_valid(name);
}

struct prometheus *prometheus_new(const struct prometheus_options *o)
{
	struct prometheus *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->options = *o;
	p->options.labels_len = 0;
	p->fold.native = o->native;
	p->fold.max_series = o->max_series;
	p->labels = calloc((size_t)o->labels_len + 1, sizeof(*p->labels));
	for (int i = 0; p->labels && i < o->labels_len; i++) {
		struct prometheus_label *l = &p->labels[p->options.labels_len];

		if (!label_free(o->labels[i].name))
			continue;
		l->name = strdup(o->labels[i].name);
		l->value = strdup(o->labels[i].value);
		p->options.labels_len++;
		if (!l->name || !l->value) {
			prometheus_free(p);
			return NULL;
		}
	}
	if (!p->labels) {
		prometheus_free(p);
		return NULL;
	}
	return p;
}

void prometheus_free(struct prometheus *p)
{
	if (!p)
		return;
	for (int i = 0; i < p->options.labels_len; i++) {
		free((char *)p->labels[i].name);
		free((char *)p->labels[i].value);
	}
	free(p->labels);
	fold_fini(&p->fold);
	free(p);
}

int prometheus_update(struct prometheus *p, const struct live *l)
{
	return fold_update(&p->fold, l, OWN_SERIES);
}

static struct row *row_add(struct prometheus_page *b, enum level level)
{
	struct rows *r = &b->rows[level];

	if (r->len == r->cap) {
		size_t cap = r->cap ? 2 * r->cap : 64;
		struct row *at = reallocarray(r->at, cap, sizeof(*at));

		if (!at) {
			b->failed = true;
			return NULL;
		}
		r->at = at;
		r->cap = cap;
	}
	r->at[r->len] = (struct row){0};
	return &r->at[r->len++];
}

static void *take(struct prometheus_page *b, const void *from, size_t size)
{
	void *to = chunk_alloc(b->page, &b->page->labels, size);

	return to ? memcpy(to, from, size) : NULL;
}

/* Counters, gauges and histograms as they are now; NULL of NULL. */
static const struct metric_set *set_take(struct prometheus_page *b, const struct metric_set *from, bool hists)
{
	struct metric_set *to = from ? take(b, from, sizeof(*from)) : NULL;

	for (enum metric_id m = 0; to && m < METRIC_IDS; m++) {
		const struct hist *h = from->hist[m];
		struct hist *copy;

		to->hist[m] = NULL;
		if (!hists || !h || !h->count)
			continue;
		copy = take(b, h, sizeof(*h));
		if (copy && h->wide)
			copy->buckets64 = take(b, h->buckets64, h->len * sizeof(*h->buckets64));
		else if (copy)
			copy->buckets32 = take(b, h->buckets32, h->len * sizeof(*h->buckets32));
		to->hist[m] = b->page->failed ? NULL : copy;
	}
	return to;
}

static void tool_row(
        struct prometheus_page *b, const struct page_labels *agent, const char *name, const struct metric_set *total)
{
	const struct prometheus_label l = {"tool", name};
	struct row *row = row_add(b, LEVEL_TOOL);

	if (!row)
		return;
	row->labels = page_label(b->page, agent, &l, 1);
	row->total = set_take(b, total, true);
}

static void peer_row(
        struct prometheus_page *b, const struct page_labels *agent, const struct peer_data *p, const struct metric_set *total)
{
	const struct prometheus_label l[] = {
	        {"peer", p->peer},
	        {"name", p->name},
	        {"class", class_infos[p->class].name},
	        {"side", p->server ? "server" : "client"},
	};
	struct row *row = row_add(b, LEVEL_PEER);

	if (!row)
		return;
	row->labels = page_label(b->page, agent, l, ARRAY_SIZE(l));
	row->total = set_take(b, total, true);
}

static void part_rows(
        struct prometheus_page *b, const struct page_labels *agent, const struct live_agent *a, const struct fold_agent *fold)
{
	for (int i = 0; i < a->total.tools_len; i++) {
		const struct tool_data *t = &a->total.tools[i];

		if (fold_apart(fold, t, NULL))
			tool_row(b, agent, t->name, &t->metrics);
	}
	if (fold->tools)
		tool_row(b, agent, REST, fold->tools);
	for (int i = 0; i < a->total.peers_len; i++) {
		const struct peer_data *p = &a->total.peers[i];

		if (fold_apart(fold, NULL, p))
			peer_row(b, agent, p, &p->metrics);
	}
	for (int side = 0; side < 2; side++) {
		const struct peer_data rest = {.peer = (char *)REST, .name = (char *)"", .class = CLASS_OTHER, .server = side};

		if (fold->peers[side])
			peer_row(b, agent, &rest, fold->peers[side]);
	}
}

static void agent_row(struct prometheus_page *b, const struct prometheus_label *l, const struct agent_data *d,
        const struct live_agent *live, int findings)
{
	struct row *row = row_add(b, LEVEL_AGENT);
	struct who who = {.main = d->main, .threads = d->threads, .critical = d->critical, .alive = live && !live->ended, .findings = findings};

	if (!row)
		return;
	row->labels = page_label(b->page, b->base, l, 2);
	row->total = set_take(b, &d->metrics, true);
	row->now = who.alive ? set_take(b, &live->last.metrics, false) : NULL;
	memcpy(who.concurrency, d->concurrency, sizeof(who.concurrency));
	if (live) {
		char id[16];
		const struct container *in = &live->info.container;
		const struct prometheus_label info[] = {{"id", id}, {"cgroup", live->info.cgroup}, {"container", in->id},
		        {"runtime", in->runtime}, {"pod", in->pod}};

		snprintf(id, sizeof(id), "%d", live->info.id);
		who.info = page_label(b->page, row->labels, info, ARRAY_SIZE(info));
		if (findings > 0)
			who.found = take(b, live->found, (size_t)findings * sizeof(*who.found));
	}
	row->who = take(b, &who, sizeof(who));
}

static void agent_rows(struct prometheus_page *b, const struct live *l)
{
	const struct fold *f = &b->p->fold;

	for (int i = 0; i < l->agents_len; i++) {
		const struct live_agent *a = l->agents[i];
		const struct fold_agent *fold = fold_find(f, a->info.id);
		char pid[16];
		const struct prometheus_label labels[] = {{"agent", a->info.name}, {"pid", pid}};

		b->alive += !a->ended;
		if (!fold || fold->folded)
			continue;
		snprintf(pid, sizeof(pid), "%d", a->info.pid);
		agent_row(b, labels, &a->total, a, fold->findings ? live_findings(l, a) : -1);
		if (!b->failed)
			part_rows(b, b->rows[LEVEL_AGENT].at[b->rows[LEVEL_AGENT].len - 1].labels, a, fold);
	}
	if (f->rest_used)
		agent_row(b, (const struct prometheus_label[]){{"agent", REST}, {"pid", ""}}, &f->rest, NULL, -1);
}

/* The metric's name without its unit, which comes last in ours. */
static void metric_family(struct family *f, const struct metric_info *m, const char *prefix, const char *of)
{
	static const struct {
		const char *suffix, *base;
	} units[] = {[UNIT_NS] = {"_ns", "seconds"}, [UNIT_BYTES] = {"_bytes", "bytes"}, [UNIT_COUNT] = {"", ""}};
	const char *suffix = units[m->unit].suffix;
	size_t len = strlen(m->name), cut = strlen(suffix);

	if (cut && len > cut && !strcmp(m->name + len - cut, suffix))
		len -= cut;
	snprintf(f->name, sizeof(f->name), "stakeout_%s%.*s%s%s", prefix, (int)len, m->name, *units[m->unit].base ? "_" : "",
	        units[m->unit].base);
	snprintf(f->help, sizeof(f->help), "%s%s", m->help, of);
	f->unit = units[m->unit].base;
	f->kind = m->type == METRIC_COUNTER ? FAMILY_COUNTER : m->type == METRIC_HIST ? FAMILY_HISTOGRAM : FAMILY_GAUGE;
}

static struct number unit_number(enum metric_unit unit, uint64_t n)
{
	return (struct number){.kind = unit == UNIT_NS ? NUMBER_NS : NUMBER_COUNT, .n = n};
}

static void metric_put(struct prometheus_page *b, enum level level, enum metric_id m)
{
	const struct metric_info *info = &metric_infos[m];
	const struct rows *rows = &b->rows[level];
	struct family f;

	metric_family(&f, info, levels[level].prefix, levels[level].of);
	page_family(b->page, &f);
	for (size_t i = 0; i < rows->len && !b->page->failed; i++) {
		const struct row *r = &rows->at[i];
		const struct hist *h = r->total->hist[m];

		if (info->type == METRIC_HIST) {
			if (h && h->count)
				page_hist(b->page, r->labels, h, info->unit);
		} else {
			const struct metric_set *from = info->type == METRIC_COUNTER ? r->total : r->now;

			if (from && fold_shows(b->probe_on, level, m, from->value[m]))
				page_number(b->page, r->labels, unit_number(info->unit, from->value[m]));
		}
	}
	page_family(b->page, NULL);
}

static void family_begin(struct prometheus_page *b, struct family *f, const char *name, enum family_kind kind, const char *unit,
        const char *help)
{
	snprintf(f->name, sizeof(f->name), "stakeout_%s", name);
	snprintf(f->help, sizeof(f->help), "%s", help);
	f->kind = kind;
	f->unit = unit;
	page_family(b->page, f);
}

#define COUNT(value) ((struct number){.n = (uint64_t)(value)})
#define REAL(value) ((struct number){.kind = NUMBER_REAL, .real = (value)})

static void number_put(
        struct prometheus_page *b, const struct page_labels *base, const struct prometheus_label *l, int len, struct number n)
{
	page_number(b->page, len ? page_label(b->page, base, l, len) : base, n);
}

static void ledgers_put(struct prometheus_page *b)
{
	static const struct {
		const char *view;
		size_t offset;
	} views[] = {{"main", offsetof(struct who, main)}, {"threads", offsetof(struct who, threads)},
	        {"critical", offsetof(struct who, critical)}};
	struct family f;

	family_begin(b, &f, "ledger_seconds", FAMILY_COUNTER, "seconds",
	        "where the time went: of the main thread, of all threads, and of the agent as a whole (critical), by state");
	for (size_t i = 0; i < b->rows[LEVEL_AGENT].len; i++) {
		const struct row *r = &b->rows[LEVEL_AGENT].at[i];

		for (size_t v = 0; v < ARRAY_SIZE(views); v++) {
			const struct ledger *ledger = (const struct ledger *)((const char *)r->who + views[v].offset);

			for (int s = 0; s < STATE_COUNT; s++) {
				const struct prometheus_label l[] = {{"view", views[v].view}, {"state", state_infos[s].name}};

				if (ledger->ns[s])
					number_put(b, r->labels, l, 2, unit_number(UNIT_NS, ledger->ns[s]));
			}
		}
	}
	page_family(b->page, NULL);
}

static void concurrency_put(struct prometheus_page *b)
{
	static const struct {
		const char *name, *help;
		size_t offset;
	} parts[] = {
	        {"outstanding_seconds",
	                "durations of exchanges, as the client, summed: by outstanding_busy_seconds, how many there are at "
	                "once",
	                offsetof(struct concurrency, outstanding_ns)},
	        {"outstanding_busy_seconds", "time with at least one exchange outstanding",
	                offsetof(struct concurrency, busy_ns)},
	};

	for (size_t part = 0; part < ARRAY_SIZE(parts); part++) {
		struct family f;

		family_begin(b, &f, parts[part].name, FAMILY_COUNTER, "seconds", parts[part].help);
		for (size_t i = 0; i < b->rows[LEVEL_AGENT].len; i++) {
			const struct row *r = &b->rows[LEVEL_AGENT].at[i];

			for (int c = 0; c < CLASS_COUNT; c++) {
				const struct concurrency *of = &r->who->concurrency[c];
				const struct prometheus_label l = {"class", class_infos[c].name};

				if (of->busy_ns)
					number_put(b, r->labels, &l, 1,
					        unit_number(
					                UNIT_NS, *(const uint64_t *)((const char *)of + parts[part].offset)));
			}
		}
		page_family(b->page, NULL);
	}
}

static void who_put(struct prometheus_page *b)
{
	const struct rows *rows = &b->rows[LEVEL_AGENT];
	struct family f;

	family_begin(b, &f, "agent_info", FAMILY_GAUGE, "", "who an agent is");
	for (size_t i = 0; i < rows->len; i++) {
		if (rows->at[i].who->info)
			page_number(b->page, rows->at[i].who->info, (struct number){.n = 1});
	}
	family_begin(
	        b, &f, "agent_alive", FAMILY_GAUGE, "", "whether it is there still: one that ended stays here for a while");
	for (size_t i = 0; i < rows->len; i++) {
		if (rows->at[i].who->info)
			page_number(b->page, rows->at[i].labels, (struct number){.n = rows->at[i].who->alive});
	}
	page_family(b->page, NULL);
}

/* What they cost, as reports have it. */
static const struct {
	const char *name, *help;
	size_t offset;
} finding_costs[] = {
	{ "finding_cost_seconds_per_minute", "time that the agent would save in a minute without it, estimated", offsetof(struct live_finding, cost_s) },
	{ "finding_cpu_seconds_per_minute", "CPU time that the agent would save in a minute without it, estimated", offsetof(struct live_finding, cost_cpu_s) },
	{ "finding_memory_bytes_per_minute", "memory that it takes in a minute", offsetof(struct live_finding, cost_bytes) },
};

static void finding_put(struct prometheus_page *b, const struct row *r, const struct live_finding *f, struct number n)
{
	const struct prometheus_label l[] = { { "finding", f->name }, { "subject", f->subject } };

	number_put(b, r->labels, l, ARRAY_SIZE(l), n);
}

static void findings_put(struct prometheus_page *b)
{
	const struct rows *rows = &b->rows[LEVEL_AGENT];
	struct family f;

	family_begin(b, &f, "findings", FAMILY_GAUGE, "", "findings of the last one to two minutes; absent: not judged yet");
	for (size_t i = 0; i < rows->len; i++)
		if (rows->at[i].who->findings >= 0)
			page_number(b->page, rows->at[i].labels, COUNT(rows->at[i].who->findings));
	family_begin(b, &f, "finding_severity", FAMILY_GAUGE, "", "each finding: 1 info, 2 warning, 3 critical");
	for (size_t i = 0; i < rows->len; i++)
		for (int n = 0; n < rows->at[i].who->findings; n++)
			finding_put(b, &rows->at[i], &rows->at[i].who->found[n], COUNT(rows->at[i].who->found[n].rank + 1));
	for (size_t c = 0; c < ARRAY_SIZE(finding_costs); c++) {
		family_begin(b, &f, finding_costs[c].name, FAMILY_GAUGE, "", finding_costs[c].help);
		for (size_t i = 0; i < rows->len; i++)
			for (int n = 0; n < rows->at[i].who->findings; n++) {
				const struct live_finding *found = &rows->at[i].who->found[n];
				double cost = *(const double *)((const char *)found + finding_costs[c].offset);

				if (cost > 0)
					finding_put(b, &rows->at[i], found, REAL(cost));
			}
	}
	page_family(b->page, NULL);
}

static void single_put(
        struct prometheus_page *b, const char *name, enum family_kind kind, const char *unit, const char *help, struct number n)
{
	struct family f;

	family_begin(b, &f, name, kind, unit, help);
	number_put(b, b->base, NULL, 0, n);
	page_family(b->page, NULL);
}

static void observer_put(struct prometheus_page *b)
{
	const struct live *l = &b->live;
	const struct observer_data *o = &l->observer;
	struct family f;
	int64_t start_ns = 0;

	timestamp_parse(l->header.start, &start_ns);
	single_put(b, "agents", FAMILY_GAUGE, "", "agents watched", COUNT(b->alive));
	single_put(b, "intervals", FAMILY_COUNTER, "", "intervals told", COUNT(l->intervals));
	single_put(b, "interval_seconds", FAMILY_GAUGE, "seconds", "length of an interval", REAL(l->header.interval_s));
	single_put(b, "last_interval_timestamp_seconds", FAMILY_GAUGE, "seconds", "end of the newest interval, since 1970",
	        REAL((double)start_ns / 1e9 + l->now_s));
	single_put(b, "observer_cpu_seconds", FAMILY_COUNTER, "seconds", "CPU time of stakeout itself", REAL(o->cpu_s));
	if (o->bpf_s >= 0)
		single_put(b, "observer_bpf_seconds", FAMILY_COUNTER, "seconds",
		        "CPU time of its programs in the kernel, as the kernel measured it", REAL(o->bpf_s));
	single_put(b, "observer_resident_memory_bytes", FAMILY_GAUGE, "bytes", "resident memory of stakeout itself",
	        COUNT(l->observer_last.rss_bytes));
	single_put(b, "recording_intervals_missed", FAMILY_COUNTER, "", "intervals that could not be written into a recording",
	        COUNT(l->unrecorded));
	single_put(b, "observer_records", FAMILY_COUNTER, "", "records taken from the kernel", COUNT(o->records));

	family_begin(b, &f, "observer_lost", FAMILY_COUNTER, "", "what was missed, by reason");
	for (int i = 0; i < o->losses; i++)
		number_put(b, b->base, &(struct prometheus_label){"reason", o->lost[i].reason}, 1, COUNT(o->lost[i].count));
	page_family(b->page, NULL);
}

static void alerts_put(struct prometheus_page *b)
{
	const struct live *l = &b->live;
	struct family f;

	if (!l->judged)
		return;
	family_begin(b, &f, "alert_firing", FAMILY_GAUGE, "", "1 for each rule that is missed, by agent and subject (a peer, class or tool)");
	for (int i = 0; i < l->alerts_len; i++) {
		const struct live_alert *a = &l->alerts[i];
		const struct prometheus_label labels[] = { { "rule", a->rule }, { "agent", a->agent }, { "subject", a->subject }, { "severity", a->severity } };

		number_put(b, b->base, labels, ARRAY_SIZE(labels), COUNT(1));
	}
	family_begin(b, &f, "alert_notifications", FAMILY_COUNTER, "", "notices that a sink took");
	for (int i = 0; i < l->sinks_len; i++)
		number_put(b, b->base, &(struct prometheus_label){ "sink", l->sinks[i].name }, 1, COUNT(l->sinks[i].sent));
	family_begin(b, &f, "alert_notifications_dropped", FAMILY_COUNTER, "", "notices that got lost: its queue was full, or it refused them");
	for (int i = 0; i < l->sinks_len; i++)
		number_put(b, b->base, &(struct prometheus_label){ "sink", l->sinks[i].name }, 1, COUNT(l->sinks[i].dropped));
	family_begin(b, &f, "alert_notifications_queued", FAMILY_GAUGE, "", "notices that wait for a sink");
	for (int i = 0; i < l->sinks_len; i++)
		number_put(b, b->base, &(struct prometheus_label){ "sink", l->sinks[i].name }, 1, COUNT(l->sinks[i].queued));
	page_family(b->page, NULL);
}

static void cost_put(struct prometheus_page *b)
{
	const struct cost_data *c = &b->live.observer.cost;
	struct family f;

	if (!c->governed)
		return;
	single_put(
	        b, "observer_budget_seconds", FAMILY_COUNTER, "seconds", "CPU time that watching may take", REAL(c->budget_s));
	family_begin(b, &f, "observer_cost_seconds", FAMILY_COUNTER, "seconds", "CPU time that it takes, estimated");
	for (int i = 0; i < COST_PARTS; i++)
		number_put(b, b->base, &(struct prometheus_label){"part", cost_part_names[i]}, 1, REAL(c->part_s[i]));
	family_begin(b, &f, "observer_detail_seconds", FAMILY_COUNTER, "seconds", "time with so much detail");
	for (int i = 0; i < RUNG_COUNT; i++)
		number_put(b, b->base, &(struct prometheus_label){"rung", rung_infos[i].name}, 1, REAL(c->rung_s[i]));
	page_family(b->page, NULL);
	single_put(b, "observer_detail_rung", FAMILY_GAUGE, "",
	        "how far down the ladder of detail the newest interval went: 0 is everything",
	        COUNT(cost_lowest(&b->live.observer_last.cost)));
	single_put(b, "observer_detail_steps", FAMILY_COUNTER, "", "changes of detail", COUNT(c->steps));
}

static void page_info_put(struct prometheus_page *b)
{
	static const char *const level_names[LEVELS] = {[LEVEL_AGENT] = "agent", [LEVEL_TOOL] = "tool", [LEVEL_PEER] = "peer"};
	const char *version = b->p->options.version ? b->p->options.version : "";
	struct family f;

	family_begin(b, &f, "build_info", FAMILY_GAUGE, "", "the program");
	number_put(b, b->base, &(struct prometheus_label){"version", version}, 1, COUNT(1));
	family_begin(b, &f, "probe_on", FAMILY_GAUGE, "", "whether a probe is at work");
	for (int i = 0; i < b->live.header.probes_len; i++) {
		const struct probe_state *s = &b->live.header.probes[i];

		number_put(b, b->base, &(struct prometheus_label){"probe", s->name}, 1, COUNT(!strcmp(s->state, "on")));
	}
	page_family(b->page, NULL);
	single_put(b, "series_folded", FAMILY_GAUGE, "",
	        "series left out of this page for max_series, or for labels that they would share", COUNT(b->series_folded));
	family_begin(b, &f, "folded", FAMILY_GAUGE, "", "agents, tools and peers whose figures are in the sums called (other)");
	for (int i = 0; i < LEVELS; i++)
		number_put(b, b->base, &(struct prometheus_label){"level", level_names[i]}, 1, COUNT(b->folded[i]));
	page_family(b->page, NULL);
}

void prometheus_page_free(struct prometheus_page *page)
{
	if (!page)
		return;
	for (int level = 0; level < LEVELS; level++)
		free(page->rows[level].at);
	page_free(page->page);
	live_alerts_reset(&page->live);
	free(page);
}

/* They may be gone by the time that the page is rendered. */
static int alerts_take(struct prometheus_page *b, const struct live *l)
{
	int err = 0;

	b->live.alerts = NULL;
	b->live.alerts_len = 0;
	for (int i = 0; i < l->alerts_len && !err; i++)
		err = live_alert_add(&b->live, l->alerts[i].rule, l->alerts[i].agent, l->alerts[i].subject, l->alerts[i].severity);
	return err;
}

int prometheus_take(
        const struct prometheus *p, const struct live *l, enum prometheus_format format, struct prometheus_page **ret)
{
	struct prometheus_page *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->p = p;
	b->live = *l;
	b->live.agents = NULL;
	b->live.agents_len = 0;
	b->failed |= alerts_take(b, l) != 0;
	memcpy(b->probe_on, p->fold.probe_on, sizeof(b->probe_on));
	memcpy(b->folded, p->fold.folded, sizeof(b->folded));
	b->series_folded = p->fold.series_folded;
	b->page = page_new(format);
	if (b->page) {
		b->base = page_label(b->page, NULL, p->labels, p->options.labels_len);
		agent_rows(b, l);
	}
	if (!b->page || b->failed || b->page->failed) {
		prometheus_page_free(b);
		return -ENOMEM;
	}
	*ret = b;
	return 0;
}

int prometheus_render(struct prometheus_page *b, char **ret, size_t *ret_len)
{
	int err;

	page_info_put(b);
	observer_put(b);
	cost_put(b);
	alerts_put(b);
	who_put(b);
	findings_put(b);
	ledgers_put(b);
	concurrency_put(b);
	for (int level = 0; level < LEVELS; level++) {
		for (enum metric_id m = 0; m < METRIC_IDS; m++)
			metric_put(b, level, m);
	}
	err = page_finish(b->page, ret, ret_len);
	prometheus_page_free(b);
	return err;
}
