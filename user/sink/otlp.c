/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/otlp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/timestamp.h"
#include "lib/util.h"
#include "sink/otlp_names.h"
#include "sink/otlp_parts.h"

const char *const otlp_loss_names[OTLP_LOSSES] = { [OTLP_LOSS_QUEUE_FULL] = "queue_full", [OTLP_LOSS_REFUSED] = "refused" };

#define OBSERVER "stakeout" /* service.name of the program itself */

struct subject { /* an agent that is being told of */
	const struct live *live;
	const struct live_agent *agent;
	const struct otlp_peaks *peaks; /* or NULL */
	struct otlp_resource to;
};

static const struct otlp_attributes no_attributes;

static struct otlp_peak *peak_of(const struct otlp_peaks *p, int agent)
{
	for (int from = 0, to = p->len; from < to;) {
		int at = from + (to - from) / 2;

		if (p->of[at].agent == agent)
			return &p->of[at];
		if (p->of[at].agent < agent)
			from = at + 1;
		else
			to = at;
	}
	return NULL;
}

int otlp_peaks_take(struct otlp_peaks *p, const struct live *l)
{
	struct otlp_peak *of = calloc((size_t)l->agents_len + 1, sizeof(*of));

	if (!of)
		return -ENOMEM;
	for (int i = 0; i < l->agents_len; i++) {
		const struct live_agent *a = l->agents[i];
		const struct otlp_peak *before = peak_of(p, a->info.id);

		if (before)
			of[i] = *before;
		of[i].agent = a->info.id;
		for (int m = 0; m < METRIC_IDS; m++)
			if (metric_infos[m].type == METRIC_PEAK && of[i].value[m] < a->last.metrics.value[m])
				of[i].value[m] = a->last.metrics.value[m];
	}
	free(p->of);
	p->of = of;
	p->len = l->agents_len;
	return 0;
}

void otlp_peaks_reset(struct otlp_peaks *p)
{
	free(p->of);
	*p = (struct otlp_peaks){ 0 };
}

/* ns since 1970 of a time since the beginning. */
static uint64_t time_at(uint64_t start_ns, double s)
{
	return start_ns + (s > 0 ? (uint64_t)(s * 1e9 + 0.5) : 0);
}

/* The same by the clock as it is now, for times of points; never before they begin. */
static uint64_t time_shifted(uint64_t begin_ns, uint64_t start_ns, double s, int64_t shift_ns)
{
	int64_t t = (int64_t)time_at(start_ns, s) + shift_ns;

	return t > (int64_t)begin_ns ? (uint64_t)t : begin_ns;
}

/* A metric whose probe was off has no value: 0 would claim a measurement. */
/* What all resources of the host have. */
static void host_attributes(struct otlp_request *r, struct otlp_attributes *a, const struct live *l, const struct otlp_context *c)
{
	const struct host_info *host = &l->header.host;

	otlp_attribute_text(r, a, "host.name", host->name);
	otlp_attribute_text(r, a, "host.arch", otlp_arch(host->arch));
	if (c->host_id)
		otlp_attribute_text(r, a, "host.id", c->host_id);
	if (*host->boot_id)
		otlp_attribute_text(r, a, "stakeout.host.boot_id", host->boot_id);
	otlp_attribute_text(r, a, "os.type", "linux");
	otlp_attribute_text(r, a, "os.version", host->kernel);
	for (int i = 0; i < c->labels_len; i++) {
		char *name = otlp_text(r, c->labels[i].name);

		if (name)
			otlp_attribute_text(r, a, name, c->labels[i].value);
	}
}

static void container_attributes(struct otlp_request *r, struct otlp_attributes *a, const struct container *c)
{
	if (!*c->id)
		return;
	otlp_attribute_text(r, a, "container.id", c->id);
	if (*c->runtime)
		otlp_attribute_text(r, a, "container.runtime", c->runtime);
	if (*c->pod)
		otlp_attribute_text(r, a, "k8s.pod.uid", c->pod);
}

static struct otlp_attributes agent_attributes(struct otlp_request *r, const struct live *l, const struct agent_info *info, const struct otlp_context *c)
{
	struct otlp_attributes a = { 0 };
	char instance[320];

	/* A process of a host: no other one, ever, has these three. */
	snprintf(instance, sizeof(instance), "%s/%d/%llu", *l->header.host.boot_id ? l->header.host.boot_id : l->header.host.name, info->pid,
		 (unsigned long long)info->start_ticks);
	otlp_attribute_text(r, &a, "service.name", *info->name ? info->name : "unknown_service");
	otlp_attribute_text(r, &a, "service.instance.id", instance);
	otlp_attribute_int(r, &a, "process.pid", info->pid);
	otlp_attribute_text(r, &a, "process.command_line", info->cmdline);
	otlp_attribute_text(r, &a, "process.linux.cgroup", info->cgroup);
	if (info->ns_pid)
		otlp_attribute_int(r, &a, "process.vpid", info->ns_pid);
	container_attributes(r, &a, &info->container);
	host_attributes(r, &a, l, c);
	return a;
}

/* One metric of an agent, a tool or a peer. states: values of gauges; NULL: there are none. */
static void add_metric(struct otlp_resource *to, const char *scope, enum metric_id m, const struct otlp_convention *c, const struct otlp_attributes *a,
		       const struct metric_set *total, const uint64_t *states)
{
	const struct metric_info *info = &metric_infos[m];
	bool state = info->type == METRIC_GAUGE || info->type == METRIC_PEAK, seconds = c && info->unit == UNIT_NS;
	struct otlp_instrument i = { .unit = c ? c->unit : otlp_unit(info->unit), .description = c ? c->description : info->help };
	struct otlp_attributes more = *a;
	char name[96];

	i.name = c ? c->name : otlp_name(scope, m, name, sizeof(name));
	i.kind = info->type == METRIC_HIST ? OTLP_HIST : !state ? OTLP_COUNTER : c && c->up_down ? OTLP_UP_DOWN : OTLP_GAUGE;
	if (c && c->key) {
		more = otlp_attributes_copy(to->r, a);
		otlp_attribute_text(to->r, &more, c->key, c->value);
	}
	if (info->type == METRIC_HIST) {
		if (total->hist[m] && total->hist[m]->count)
			otlp_add_hist(to, &i, &more, total->hist[m], seconds);
	} else if (state) {
		if (states)
			otlp_add_int(to, &i, &more, states[m]);
	} else if (seconds) {
		otlp_add_double(to, &i, &more, (double)total->value[m] / 1e9);
	} else {
		otlp_add_int(to, &i, &more, total->value[m]);
	}
}

static bool has_value(const struct metric_set *s, enum metric_id m)
{
	return metric_infos[m].type == METRIC_HIST ? s->hist[m] && s->hist[m]->count : s->value[m] != 0;
}

/* Where the kernel tells of no limit there is none to tell of. */
static bool is_known(const struct live_agent *a, enum metric_id m)
{
	return (m != M_MEMORY_LIMIT_BYTES && m != M_MEMORY_LEFT_BYTES) || a->last.metrics.value[M_MEMORY_LIMIT_BYTES];
}

static void add_agent_metrics(struct subject *s)
{
	const struct live_agent *a = s->agent;
	const struct otlp_peak *peak = s->peaks ? peak_of(s->peaks, a->info.id) : NULL;
	uint64_t states[METRIC_IDS];

	for (int m = 0; m < METRIC_IDS; m++)
		states[m] = peak && metric_infos[m].type == METRIC_PEAK ? peak->value[m] : a->last.metrics.value[m];
	for (int m = 0; m < METRIC_IDS; m++)
		if (header_probe_on(&s->live->header, metric_infos[m].probe, false) && is_known(a, (enum metric_id)m))
			add_metric(&s->to, "", (enum metric_id)m, otlp_convention_agent((enum metric_id)m), &no_attributes, &a->total.metrics,
				   a->ended || !a->last.observed_s ? NULL : states);
}

static void add_ledger(struct otlp_resource *to, const char *name, const char *description, const struct otlp_attributes *a, const struct ledger *l)
{
	const struct otlp_instrument i = { .name = name, .unit = "ns", .description = description, .kind = OTLP_COUNTER };

	for (int n = 0; n < STATE_COUNT; n++) {
		struct otlp_attributes with;

		if (!l->ns[n])
			continue;
		with = otlp_attributes_copy(to->r, a);
		otlp_attribute_text(to->r, &with, "stakeout.state", state_infos[n].name);
		otlp_add_int(to, &i, &with, l->ns[n]);
	}
}

static void add_ledgers(struct subject *s)
{
	const struct agent_data *d = &s->agent->total;

	add_ledger(&s->to, "stakeout.ledger.main", "where the time of the main thread went", &no_attributes, &d->main);
	add_ledger(&s->to, "stakeout.ledger.threads", "where the time of all threads went", &no_attributes, &d->threads);
	add_ledger(&s->to, "stakeout.ledger.critical", "what the agent as a whole was doing: where the time went in which no thread ran", &no_attributes,
		   &d->critical);
}

static void add_concurrency(struct subject *s)
{
	static const struct otlp_instrument outstanding = { "stakeout.concurrency.outstanding", "ns", "durations of calls, summed", OTLP_COUNTER };
	static const struct otlp_instrument busy = { "stakeout.concurrency.busy", "ns", "time with at least one call outstanding", OTLP_COUNTER };
	struct otlp_resource *to = &s->to;

	for (int n = 0; n < CLASS_COUNT; n++) {
		const struct concurrency *c = &s->agent->total.concurrency[n];
		struct otlp_attributes a = { 0 };

		if (!c->outstanding_ns && !c->busy_ns)
			continue;
		otlp_attribute_text(to->r, &a, "stakeout.peer.class", class_infos[n].name);
		otlp_add_int(to, &outstanding, &a, c->outstanding_ns);
		otlp_add_int(to, &busy, &a, c->busy_ns);
	}
}

static const struct tool_data *tool_in(const struct agent_data *d, const char *name)
{
	for (int i = 0; i < d->tools_len; i++)
		if (!strcmp(d->tools[i].name, name))
			return &d->tools[i];
	return NULL;
}

/* Metric by metric, so that the points of one stand together. */
static void add_tools(struct subject *s)
{
	static const struct otlp_instrument live = { "stakeout.tool.live", "{process}", "processes of the tool that are alive", OTLP_GAUGE };
	const struct agent_data *d = &s->agent->total;
	struct otlp_attributes *a = otlp_take(s->to.r, ((size_t)d->tools_len + 1) * sizeof(*a));

	if (!a)
		return;
	for (int i = 0; i < d->tools_len; i++) {
		const struct tool_data *now = tool_in(&s->agent->last, d->tools[i].name);

		otlp_attribute_text(s->to.r, &a[i], "stakeout.tool.name", d->tools[i].name);
		otlp_add_int(&s->to, &live, &a[i], now ? now->runs_live : 0);
	}
	for (int m = 0; m < METRIC_IDS; m++)
		for (int i = 0; i < d->tools_len; i++)
			if (has_value(&d->tools[i].metrics, (enum metric_id)m))
				add_metric(&s->to, "tool.", (enum metric_id)m, NULL, &a[i], &d->tools[i].metrics, NULL);
	for (int i = 0; i < d->tools_len; i++)
		add_ledger(&s->to, "stakeout.tool.ledger", "where the time of the first threads of the tool's processes went", &a[i], &d->tools[i].main);
}

static struct otlp_attributes peer_attributes(struct otlp_request *r, const struct peer_data *p)
{
	struct otlp_attributes a = { 0 };
	struct otlp_peer at;

	otlp_peer_parse(p->peer, &at);
	otlp_attribute_text(r, &a, "stakeout.peer.class", class_infos[p->class].name);
	otlp_attribute_text(r, &a, "stakeout.peer.side", p->server ? "server" : "client");
	otlp_attribute_text(r, &a, "server.address", *p->name ? p->name : at.address);
	if (at.port >= 0)
		otlp_attribute_int(r, &a, "server.port", at.port);
	if (!peer_is_rest(p)) {
		otlp_attribute_text(r, &a, p->server ? "network.local.address" : "network.peer.address", at.address);
		if (at.port >= 0)
			otlp_attribute_int(r, &a, p->server ? "network.local.port" : "network.peer.port", at.port);
	}
	return a;
}

/* What the convention asks for besides; "_OTHER" is its word for what is not known. */
static struct otlp_attributes convention_attributes(struct otlp_request *r, const struct otlp_attributes *of, const struct peer_data *p)
{
	struct otlp_attributes a = otlp_attributes_copy(r, of);
	const char *provider = otlp_provider(p), *system;
	struct otlp_peer at;

	otlp_peer_parse(p->peer, &at);
	system = otlp_db_system(p, &at);
	switch (p->class) {
	case CLASS_LLM:
		otlp_attribute_text(r, &a, "gen_ai.operation.name", "_OTHER");
		otlp_attribute_text(r, &a, "gen_ai.provider.name", provider ? provider : "_OTHER");
		break;
	case CLASS_DB:
	case CLASS_CACHE:
	case CLASS_VECTOR:
		otlp_attribute_text(r, &a, "db.system.name", system ? system : "_OTHER");
		break;
	case CLASS_HTTP:
		otlp_attribute_text(r, &a, "http.request.method", "_OTHER");
		break;
	default:
		break;
	}
	return a;
}

static void add_peers(struct subject *s)
{
	const struct agent_data *d = &s->agent->total;
	struct otlp_attributes *a = otlp_take(s->to.r, ((size_t)d->peers_len + 1) * sizeof(*a));

	if (!a)
		return;
	for (int i = 0; i < d->peers_len; i++)
		a[i] = peer_attributes(s->to.r, &d->peers[i]);
	for (int m = 0; m < METRIC_IDS; m++) {
		for (int i = 0; i < d->peers_len; i++) {
			const struct peer_data *p = &d->peers[i];
			const struct otlp_convention *c = otlp_convention_peer((enum metric_id)m, p);
			struct otlp_attributes with;

			if (!has_value(&p->metrics, (enum metric_id)m))
				continue;
			with = c ? convention_attributes(s->to.r, &a[i], p) : a[i];
			add_metric(&s->to, "peer.", (enum metric_id)m, c, &with, &p->metrics, NULL);
		}
	}
}

static void add_rivals(struct subject *s)
{
	static const struct otlp_instrument time = { "stakeout.rival.time", "ns", "ran on a CPU while the agent waited for it", OTLP_COUNTER };
	const struct agent_data *d = &s->agent->total;

	for (int i = 0; i <= RIVALS_KEPT; i++) {
		const struct rival *v = i < RIVALS_KEPT ? &d->rivals[i] : NULL;
		uint64_t ns = v ? v->ns : d->rivals_other_ns;
		char name[sizeof(v->name) + 1] = "(other)";
		struct otlp_attributes a = { 0 };

		if (!ns)
			continue;
		if (v)
			snprintf(name, sizeof(name), "%.*s", (int)sizeof(v->name), v->name);
		otlp_attribute_text(s->to.r, &a, "stakeout.rival.name", name);
		otlp_add_int(&s->to, &time, &a, ns);
	}
}

/* Of a sampled heap there are rates, estimates over the newest interval. */
static void add_heap(struct subject *s)
{
	static const struct otlp_instrument allocs = { "stakeout.heap.alloc_rate", "{allocation}/s", "allocations a second (estimate)", OTLP_GAUGE };
	static const struct otlp_instrument bytes = { "stakeout.heap.alloc_bytes_rate", "By/s", "bytes allocated a second (estimate)", OTLP_GAUGE };
	const struct heap_data *h = &s->agent->last.heap;

	if (h->mode != HEAP_SAMPLED || !h->windows)
		return;
	otlp_add_double(&s->to, &allocs, &no_attributes, heap_rate_allocs(h).mean);
	otlp_add_double(&s->to, &bytes, &no_attributes, heap_rate_bytes(h).mean);
}

static void add_findings(struct subject *s)
{
	static const struct otlp_instrument number = { "stakeout.findings", "{finding}", "findings of the last one to two minutes", OTLP_GAUGE };
	static const struct otlp_instrument severity = { "stakeout.finding.severity", "{severity}", "each finding: 1 info, 2 warning, 3 critical", OTLP_GAUGE };
	static const struct {
		struct otlp_instrument instrument;
		size_t offset;
	} costs[] = {
		{ { "stakeout.finding.cost", "s/min", "time that the agent would save without it, estimated", OTLP_GAUGE }, offsetof(struct live_finding, cost_s) },
		{ { "stakeout.finding.cpu", "s/min", "CPU time that the agent would save without it, estimated", OTLP_GAUGE }, offsetof(struct live_finding, cost_cpu_s) },
		{ { "stakeout.finding.memory", "By/min", "memory that it takes", OTLP_GAUGE }, offsetof(struct live_finding, cost_bytes) },
	};
	const struct live_agent *of = s->agent;
	const int len = live_findings(s->live, of);
	struct otlp_attributes *a = otlp_take(s->to.r, ((size_t)(len > 0 ? len : 0) + 1) * sizeof(*a));

	if (len < 0 || !a)
		return;
	otlp_add_int(&s->to, &number, &no_attributes, (uint64_t)len);
	for (int i = 0; i < len; i++) {
		otlp_attribute_text(s->to.r, &a[i], "stakeout.finding.name", of->found[i].name);
		otlp_attribute_text(s->to.r, &a[i], "stakeout.finding.subject", of->found[i].subject);
		otlp_add_int(&s->to, &severity, &a[i], (uint64_t)of->found[i].rank + 1);
	}
	for (size_t c = 0; c < ARRAY_SIZE(costs); c++)
		for (int i = 0; i < len; i++) {
			double cost = *(const double *)((const char *)&of->found[i] + costs[c].offset);

			if (cost > 0)
				otlp_add_double(&s->to, &costs[c].instrument, &a[i], cost);
		}
}

static void add_agent(struct otlp_request *r, const struct live *l, const struct live_agent *a, const struct otlp_context *c, uint64_t start_ns)
{
	static const struct otlp_instrument observed = { "stakeout.observed", "s", "time that the agent was watched", OTLP_COUNTER };
	struct otlp_attributes attributes = agent_attributes(r, l, &a->info, c);
	struct subject s = { .live = l, .agent = a, .peaks = c->peaks };
	uint64_t begin_ns = time_at(start_ns, a->first_s);

	otlp_resource_begin(&s.to, r, &attributes, begin_ns, time_shifted(begin_ns, start_ns, a->last_s, c->shift_ns));
	otlp_add_double(&s.to, &observed, &no_attributes, a->total.observed_s);
	add_agent_metrics(&s);
	add_ledgers(&s);
	add_concurrency(&s);
	add_peers(&s);
	add_tools(&s);
	add_rivals(&s);
	add_heap(&s);
	add_findings(&s);
}

static void add_push(struct otlp_resource *to, const struct otlp_push_counts *p)
{
	static const struct otlp_instrument sent = { "stakeout.otlp.sent", "{request}", "requests that the endpoint took", OTLP_COUNTER };
	static const struct otlp_instrument retries = { "stakeout.otlp.retries", "{request}", "attempts to send one that failed and are made again", OTLP_COUNTER };
	static const struct otlp_instrument dropped = { "stakeout.otlp.dropped", "{request}", "requests that were given up", OTLP_COUNTER };
	static const struct otlp_instrument rejected = { "stakeout.otlp.rejected", "{data_point}", "data points that the endpoint did not take", OTLP_COUNTER };
	static const struct otlp_instrument queued = { "stakeout.otlp.queued", "{request}", "requests that wait for the endpoint", OTLP_GAUGE };

	otlp_add_int(to, &sent, &no_attributes, p->sent);
	otlp_add_int(to, &retries, &no_attributes, p->retries);
	for (int i = 0; i < OTLP_LOSSES; i++) {
		struct otlp_attributes a = { 0 };

		otlp_attribute_text(to->r, &a, "stakeout.reason", otlp_loss_names[i]);
		otlp_add_int(to, &dropped, &a, p->dropped[i]);
	}
	otlp_add_int(to, &rejected, &no_attributes, p->rejected_points);
	otlp_add_int(to, &queued, &no_attributes, p->queued);
}

static void add_lost(struct otlp_resource *to, const struct observer_data *o)
{
	static const struct otlp_instrument lost = { "stakeout.observer.lost", "{record}", "records of events that were lost", OTLP_COUNTER };

	for (int i = 0; i < o->losses; i++) {
		struct otlp_attributes a = { 0 };

		otlp_attribute_text(to->r, &a, "stakeout.reason", o->lost[i].reason);
		otlp_add_int(to, &lost, &a, o->lost[i].count);
	}
}

static void add_cost(struct otlp_resource *to, const struct cost_data *c)
{
	static const struct otlp_instrument budget = { "stakeout.observer.budget", "s", "CPU time that watching may take", OTLP_COUNTER };
	static const struct otlp_instrument cost = { "stakeout.observer.cost", "s", "CPU time that watching takes, estimated", OTLP_COUNTER };
	static const struct otlp_instrument detail = { "stakeout.observer.detail", "s", "time at each rung of detail", OTLP_COUNTER };

	otlp_add_double(to, &budget, &no_attributes, c->budget_s);
	for (int i = 0; i < COST_PARTS; i++) {
		struct otlp_attributes a = { 0 };

		otlp_attribute_text(to->r, &a, "stakeout.cost", cost_part_names[i]);
		otlp_add_double(to, &cost, &a, c->part_s[i]);
	}
	for (int i = 0; i < RUNG_COUNT; i++) {
		struct otlp_attributes a = { 0 };

		if (!(c->rung_s[i] > 0))
			continue;
		otlp_attribute_text(to->r, &a, "stakeout.detail", rung_infos[i].name);
		otlp_add_double(to, &detail, &a, c->rung_s[i]);
	}
}

static int agents_alive(const struct live *l)
{
	int n = 0;

	for (int i = 0; i < l->agents_len; i++)
		n += !l->agents[i]->ended;
	return n;
}

static void add_observer(struct otlp_request *r, const struct live *l, const struct otlp_context *c, uint64_t start_ns)
{
	static const struct otlp_instrument agents = { "stakeout.observer.agents", "{agent}", "agents that are watched", OTLP_UP_DOWN };
	static const struct otlp_instrument intervals = { "stakeout.observer.intervals", "{interval}", "intervals told", OTLP_COUNTER };
	static const struct otlp_instrument records = { "stakeout.observer.records", "{record}", "records of events taken in", OTLP_COUNTER };
	static const struct otlp_instrument cpu = { "process.cpu.time", "s", "CPU time of stakeout itself", OTLP_COUNTER };
	static const struct otlp_instrument bpf = { "stakeout.observer.bpf", "s", "run time of its BPF programs", OTLP_COUNTER };
	static const struct otlp_instrument memory = { "process.memory.usage", "By", "resident memory of stakeout itself", OTLP_UP_DOWN };
	struct otlp_attributes a = { 0 };
	struct otlp_resource to;
	char instance[320];

	snprintf(instance, sizeof(instance), "%s/%s", *l->header.host.boot_id ? l->header.host.boot_id : l->header.host.name, l->header.start);
	otlp_attribute_text(r, &a, "service.name", OBSERVER);
	otlp_attribute_text(r, &a, "service.instance.id", instance);
	host_attributes(r, &a, l, c);
	otlp_resource_begin(&to, r, &a, start_ns, time_shifted(start_ns, start_ns, l->now_s, c->shift_ns));
	otlp_add_int(&to, &agents, &no_attributes, (uint64_t)agents_alive(l));
	otlp_add_int(&to, &intervals, &no_attributes, l->intervals);
	otlp_add_int(&to, &records, &no_attributes, l->observer.records);
	add_lost(&to, &l->observer);
	otlp_add_double(&to, &cpu, &no_attributes, l->observer.cpu_s);
	if (l->observer.bpf_s >= 0)
		otlp_add_double(&to, &bpf, &no_attributes, l->observer.bpf_s);
	otlp_add_int(&to, &memory, &no_attributes, l->observer_last.rss_bytes);
	if (l->observer.cost.governed)
		add_cost(&to, &l->observer.cost);
	if (c->push)
		add_push(&to, c->push);
}

struct otlp_request *otlp_request_new(const struct live *l, const struct otlp_context *context)
{
	struct otlp_request *r = calloc(1, sizeof(*r));
	int64_t start = 0;
	uint64_t start_ns;

	if (!r)
		return NULL;
	timestamp_parse(l->header.start, &start);
	start_ns = start > 0 ? (uint64_t)start : 0;
	otlp__export_metrics_service_request__init(&r->message);
	add_observer(r, l, context, start_ns);
	for (int i = 0; i < l->agents_len; i++)
		if (l->agents[i]->told)
			add_agent(r, l, l->agents[i], context, start_ns);
	if (!r->failed)
		return r;
	otlp_request_free(r);
	return NULL;
}
