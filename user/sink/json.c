// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/wait.h>

#include "lib/util.h"
#include "sink/json.h"
#include "sink/json_parts.h"
#include "sink/objectives.h"

static json_t *hist_json(const struct hist *h)
{
	json_t *j = json_object();

	json_object_set_new(j, "count", integer_json(h->count));
	json_object_set_new(j, "mean", number_json(hist_mean(h)));
	json_object_set_new(j, "p50", number_json(hist_quantile(h, 0.5)));
	json_object_set_new(j, "p90", number_json(hist_quantile(h, 0.9)));
	json_object_set_new(j, "p95", number_json(hist_quantile(h, 0.95)));
	json_object_set_new(j, "p99", number_json(hist_quantile(h, 0.99)));
	json_object_set_new(j, "min", integer_json(h->min));
	json_object_set_new(j, "max", integer_json(h->max));
	json_object_set_new(j, "sum", integer_json(h->sum));
	return j;
}

/* Metrics of probes that were off are left out: 0 would claim a measurement. With r NULL all that are 0 are. */
static void add_metrics(json_t *to, const struct recording *r, const struct metric_set *m)
{
	json_t *counters = json_object(), *gauges = json_object(), *hists = json_object();

	for (int i = 0; i < METRIC_IDS; i++) {
		const struct metric_info *info = &metric_infos[i];

		if (info->type == METRIC_HIST) {
			if (m->hist[i] && m->hist[i]->count)
				json_object_set_new(hists, info->name, hist_json(m->hist[i]));
		} else if (m->value[i] || (r && header_probe_on(&r->header, info->probe, true))) {
			json_object_set_new(info->type == METRIC_COUNTER ? counters : gauges, info->name, integer_json(m->value[i]));
		}
	}
	json_object_set_new(to, "counters", counters);
	json_object_set_new(to, "gauges", gauges);
	json_object_set_new(to, "hist", hists);
}

/* One ledger, as PART_s, PART_share and PART_sum_s. */
static void add_ledger(json_t *to, const char *part, const struct ledger *l)
{
	json_t *in_seconds = json_object(), *share = json_object();
	uint64_t sum = ledger_sum(l);
	char key[32];

	for (int i = 0; i < STATE_COUNT; i++) {
		json_object_set_new(in_seconds, state_infos[i].name, seconds_json(l->ns[i]));
		json_object_set_new(share, state_infos[i].name, number_json(sum ? (double)l->ns[i] / (double)sum : 0));
	}
	snprintf(key, sizeof(key), "%s_s", part);
	json_object_set_new(to, key, in_seconds);
	snprintf(key, sizeof(key), "%s_share", part);
	json_object_set_new(to, key, share);
	snprintf(key, sizeof(key), "%s_sum_s", part);
	json_object_set_new(to, key, seconds_json(sum));
}

static json_t *ledger_json(const struct agent_data *a)
{
	json_t *j = json_object();

	add_ledger(j, "main", &a->main);
	add_ledger(j, "threads", &a->threads);
	add_ledger(j, "critical", &a->critical);
	return j;
}

/* Of the classes that had any exchange; mean 1 says that the calls were serial. */
static json_t *concurrency_json(const struct agent_data *a)
{
	json_t *j = json_object();

	for (int i = 0; i < CLASS_COUNT; i++) {
		const struct concurrency *c = &a->concurrency[i];
		json_t *of;

		if (!c->outstanding_ns && !c->busy_ns && !c->max)
			continue;
		of = json_object();
		json_object_set_new(of, "outstanding_s", seconds_json(c->outstanding_ns));
		json_object_set_new(of, "busy_s", seconds_json(c->busy_ns));
		json_object_set_new(of, "mean", c->busy_ns ? number_json((double)c->outstanding_ns / (double)c->busy_ns) : json_null());
		json_object_set_new(of, "max", integer_json(c->max));
		json_object_set_new(j, class_infos[i].name, of);
	}
	return j;
}

static json_t *cpu_json(const struct metric_set *m, double observed_s)
{
	uint64_t user = m->value[M_CPU_USER_NS], system = m->value[M_CPU_SYSTEM_NS];
	json_t *j = json_object();

	json_object_set_new(j, "user_s", seconds_json(user));
	json_object_set_new(j, "system_s", seconds_json(system));
	if (observed_s > 0)
		json_object_set_new(j, "percent", number_json((double)(user + system) / 1e9 / observed_s * 100));
	return j;
}

static json_t *tools_json(const struct recording *r, const struct agent_data *a)
{
	json_t *list = json_array();

	for (int i = 0; i < a->tools_len; i++) {
		const struct tool_data *t = &a->tools[i];
		const struct hist *h = t->metrics.hist[M_TOOL_NS];
		json_t *j = json_object(), *ledger = json_object();

		json_object_set_new(j, "name", text_json(t->name));
		json_object_set_new(j, "runs", integer_json((h ? h->count : 0) + t->runs_live));
		json_object_set_new(j, "live", integer_json(t->runs_live));
		json_object_set_new(j, "failed", integer_json(t->metrics.value[M_EXITS_FAILED]));
		json_object_set_new(j, "cpu", cpu_json(&t->metrics, 0));
		add_ledger(ledger, "main", &t->main);
		json_object_set_new(j, "ledger", ledger);
		add_metrics(j, r, &t->metrics);
		json_array_append_new(list, j);
	}
	return list;
}

static json_t *peer_json(const struct peer_data *p, double observed_s)
{
	const uint64_t *v = p->metrics.value;
	uint64_t opened = v[p->server ? M_ACCEPTS : M_CONNECTS], exchanges = peer_exchanges(p);
	json_t *j = json_object();

	json_object_set_new(j, "peer", text_json(p->peer));
	json_object_set_new(j, "name", text_json(p->name));
	json_object_set_new(j, "class", text_json(class_infos[p->class].name));
	json_object_set_new(j, "side", text_json(p->server ? "server" : "client"));
	json_object_set_new(j, "multiplexed", json_boolean(p->multiplexed));
	json_object_set_new(j, "summed", integer_json(p->summed));
	json_object_set_new(j, "exchanges", integer_json(exchanges));
	json_object_set_new(j, "exchanges_per_s", observed_s > 0 ? number_json((double)exchanges / observed_s) : json_null());
	/* reuse of connections; without any opened while watched there is no telling */
	json_object_set_new(j, "exchanges_per_connection", opened ? number_json((double)exchanges / (double)opened) : json_null());
	json_object_set_new(j, "errors", integer_json(v[M_ERRORS_REFUSED] + v[M_ERRORS_TIMED_OUT] + v[M_ERRORS_UNREACHABLE] +
						 v[M_ERRORS_RESET] + v[M_ERRORS_UNANSWERED] + v[M_ERRORS_OTHER]));
	add_metrics(j, NULL, &p->metrics);
	return j;
}

static int busier(const void *a, const void *b)
{
	const struct peer_data *x = *(const struct peer_data *const *)a, *y = *(const struct peer_data *const *)b;
	uint64_t m = peer_exchanges(x), n = peer_exchanges(y);

	if (peer_is_rest(x) != peer_is_rest(y))
		return peer_is_rest(x) - peer_is_rest(y);
	return m != n ? (m < n) - (m > n) : (x > y) - (x < y);
}

/* The busiest first, what was summed of the others last. */
static json_t *peers_json(const struct agent_data *a)
{
	_cleanup_free_ const struct peer_data **order = calloc((size_t)a->peers_len + 1, sizeof(*order));
	json_t *list = order ? json_array() : NULL;

	if (!order)
		return NULL;
	for (int i = 0; i < a->peers_len; i++)
		order[i] = &a->peers[i];
	qsort(order, (size_t)a->peers_len, sizeof(*order), busier);
	for (int i = 0; i < a->peers_len; i++)
		json_array_append_new(list, peer_json(order[i], a->observed_s));
	return list;
}

static json_t *exit_json(const struct agent_info *info)
{
	json_t *j;

	if (!info->has_exit)
		return json_null();
	j = json_object();
	if (WIFSIGNALED(info->exit_code))
		json_object_set_new(j, "signal", json_integer(WTERMSIG(info->exit_code)));
	else
		json_object_set_new(j, "status", json_integer(WEXITSTATUS(info->exit_code)));
	return j;
}

/* The metrics of one probe that the terminal's report gathers in a line, by names of their own. */
static json_t *memory_json(const struct metric_set *m)
{
	json_t *j = json_object();

	json_object_set_new(j, "rss_bytes", integer_json(m->value[M_RSS_BYTES]));
	json_object_set_new(j, "rss_peak_bytes", integer_json(m->value[M_RSS_PEAK_BYTES]));
	json_object_set_new(j, "faults_minor", integer_json(m->value[M_FAULTS_MINOR]));
	json_object_set_new(j, "faults_major", integer_json(m->value[M_FAULTS_MAJOR]));
	json_object_set_new(j, "mapped_bytes", integer_json(m->hist[M_MAP_BYTES] ? m->hist[M_MAP_BYTES]->sum : 0));
	return j;
}

static json_t *sockets_json(const struct metric_set *m)
{
	static const enum metric_id shown[] = { M_CONNECTS, M_CONNECTS_FAILED, M_ACCEPTS, M_SENT_BYTES, M_RECEIVED_BYTES, M_RETRANSMITS };
	json_t *j = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(shown); i++)
		json_object_set_new(j, metric_infos[shown[i]].name, integer_json(m->value[shown[i]]));
	return j;
}

static json_t *container_json(const struct container *c)
{
	json_t *j;

	if (!*c->id)
		return json_null();
	j = json_object();
	json_object_set_new(j, "id", text_json(c->id));
	json_object_set_new(j, "runtime", *c->runtime ? text_json(c->runtime) : json_null());
	json_object_set_new(j, "pod", *c->pod ? text_json(c->pod) : json_null());
	json_object_set_new(j, "qos", *c->qos ? text_json(c->qos) : json_null());
	return j;
}

static json_t *agent_json(const struct recording *r, const struct recording_agent *agent, const struct outlooks *outlooks, bool stacks)
{
	const struct agent_info *info = &agent->info;
	const struct agent_data *a = &agent->total;
	json_t *j = json_object();

	json_object_set_new(j, "id", json_integer(info->id));
	json_object_set_new(j, "name", text_json(info->name));
	json_object_set_new(j, "pid", json_integer(info->pid));
	if (info->merged > 1)
		json_object_set_new(j, "merged", json_integer(info->merged));
	json_object_set_new(j, "start_ticks", integer_json(info->start_ticks));
	json_object_set_new(j, "cmdline", text_json(info->cmdline));
	json_object_set_new(j, "cgroup", text_json(info->cgroup));
	json_object_set_new(j, "container", container_json(&info->container));
	json_object_set_new(j, "ns_pid", info->ns_pid ? json_integer(info->ns_pid) : json_null());
	json_object_set_new(j, "alive", json_boolean(a->alive));
	json_object_set_new(j, "exit", exit_json(info));
	json_object_set_new(j, "observed_s", number_json(a->observed_s));
	json_object_set_new(j, "cpu", cpu_json(&a->metrics, a->observed_s));
	json_object_set_new(j, "ledger", ledger_json(a));
	add_metrics(j, r, &a->metrics);
	json_object_set_new(j, "concurrency", concurrency_json(a));
	json_object_set_new(j, "peers", peers_json(a));
	json_object_set_new(j, "tools", tools_json(r, a));
	if (header_probe_on(&r->header, PROBE_MEM, true))
		json_object_set_new(j, "memory", memory_json(&a->metrics));
	if (header_probe_on(&r->header, PROBE_SOCK, true))
		json_object_set_new(j, "sockets", sockets_json(&a->metrics));
	depth_json(j, r, agent, outlooks, stacks);
	return j;
}

/* Metrics that the lowest rung does this to. */
static json_t *marked_json(enum mark how, enum rung lowest)
{
	json_t *j = json_array();

	for (int m = 0; m < METRIC_IDS; m++)
		if (rung_mark(lowest, metric_infos[m].name) == (int)how)
			json_array_append_new(j, json_string(metric_infos[m].name));
	return j;
}

static json_t *steps_json(const struct cost_data *c)
{
	json_t *list = json_array();

	for (uint64_t i = 0; i < c->steps && i < STEPS_KEPT; i++) {
		json_t *j = json_object();

		json_object_set_new(j, "at_s", number_json(c->step[i].at_s));
		json_object_set_new(j, "from", json_string(rung_infos[c->step[i].from].name));
		json_object_set_new(j, "to", json_string(rung_infos[c->step[i].to].name));
		json_object_set_new(j, "why", text_json(c->step[i].why));
		json_array_append_new(list, j);
	}
	return list;
}

static void add_cost(json_t *to, const struct cost_data *c)
{
	json_t *parts = json_object(), *rungs = json_object();

	for (int p = 0; p < COST_PARTS; p++)
		json_object_set_new(parts, cost_part_names[p], number_json(c->part_s[p]));
	for (int r = 0; r < RUNG_COUNT; r++)
		if (c->rung_s[r] > 0)
			json_object_set_new(rungs, rung_infos[r].name, number_json(c->rung_s[r]));
	json_object_set_new(to, "budget_s", number_json(c->budget_s));
	json_object_set_new(to, "cost_s", parts);
	json_object_set_new(to, "detail", json_string(rung_infos[cost_lowest(c)].name));
	json_object_set_new(to, "detail_s", rungs);
	json_object_set_new(to, "reduced_s", number_json(cost_reduced_s(c)));
	json_object_set_new(to, "steps_count", integer_json(c->steps));
	json_object_set_new(to, "steps", steps_json(c));
	for (int how = 0; how < MARK_COUNT; how++)
		json_object_set_new(to, mark_names[how], marked_json((enum mark)how, cost_lowest(c)));
}

static json_t *observer_json(const struct observer_data *o)
{
	json_t *j = json_object(), *lost = json_object();
	uint64_t sum = 0;

	for (int i = 0; i < o->losses; i++) {
		json_object_set_new(lost, o->lost[i].reason, integer_json(o->lost[i].count));
		sum += o->lost[i].count;
	}
	json_object_set_new(j, "cpu_s", number_json(o->cpu_s));
	json_object_set_new(j, "bpf_s", o->bpf_s >= 0 ? number_json(o->bpf_s) : json_null());
	json_object_set_new(j, "rss_bytes", integer_json(o->rss_bytes));
	json_object_set_new(j, "records", integer_json(o->records));
	json_object_set_new(j, "lost", lost);
	json_object_set_new(j, "lost_sum", integer_json(sum));
	if (o->cost.governed)
		add_cost(j, &o->cost);
	return j;
}

static json_t *header_json(const struct recording *r, const char *file)
{
	const struct header_data *h = &r->header;
	json_t *j = json_object(), *host = json_object(), *probes = json_array();

	json_object_set_new(host, "name", text_json(h->host.name));
	json_object_set_new(host, "kernel", text_json(h->host.kernel));
	json_object_set_new(host, "arch", text_json(h->host.arch));
	json_object_set_new(host, "boot_id", text_json(h->host.boot_id));
	json_object_set_new(host, "cpus", json_integer(h->host.cpus));
	for (int i = 0; i < h->probes_len; i++) {
		json_t *probe = json_object();

		json_object_set_new(probe, "name", text_json(h->probes[i].name));
		json_object_set_new(probe, "state", text_json(h->probes[i].state));
		json_object_set_new(probe, "why", text_json(h->probes[i].why));
		json_array_append_new(probes, probe);
	}
	if (file)
		json_object_set_new(j, "file", text_json(file));
	json_object_set_new(j, "host", host);
	if (h->merged_files)
		json_object_set_new(j, "merged_files", json_integer(h->merged_files));
	json_object_set_new(j, "start", text_json(h->start));
	json_object_set_new(j, "interval_s", number_json(h->interval_s));
	json_object_set_new(j, "intervals", integer_json(r->intervals));
	json_object_set_new(j, "duration_s", number_json(r->duration_s));
	json_object_set_new(j, "complete", json_boolean(r->complete));
	json_object_set_new(j, "gap", json_boolean(r->gap));
	json_object_set_new(j, "bad_lines", integer_json(r->bad_lines));
	json_object_set_new(j, "note", text_json(r->note));
	json_object_set_new(j, "probes", probes);
	return j;
}

/* As `check` has it. NULL when out of memory. */
static json_t *objectives_json(const struct objective_list *l)
{
	struct json_text text = {0};
	json_t *j = NULL;

	objectives_put(&text, NULL, l->at, l->len);
	if (!text.failed)
		j = json_loadb(text.text, text.len, 0, NULL);
	json_text_fini(&text);
	return j;
}

static int report_write(FILE *out, const struct recording *r, const char *file, const struct outlooks *outlooks, const struct objective_list *objectives,
	const struct trend_list *trends, bool whole)
{
	json_t *root = header_json(r, file), *agents = json_array();
	int err = 0;

	for (int i = 0; i < r->agents_len; i++)
		json_array_append_new(agents, agent_json(r, &r->agents[i], outlooks, whole));
	json_object_set_new(root, "findings", findings_json(r, outlooks));
	json_object_set_new(root, "findings_not_judged", findings_unjudged_json(r));
	if (objectives)
		json_object_set_new(root, "objectives", objectives_json(objectives));
	if (trends)
		json_object_set_new(root, "trends", trends_json(r, trends, whole));
	if (trends && !whole)
		json_object_set_new(root, "trends_followed", trends_count_json(r, trends));
	json_object_set_new(root, "agents", agents);
	json_object_set_new(root, "observer", observer_json(&r->observer));
	/* jansson passes NULL on: a part that could not be made is a key that is missing, the root one that is NULL */
	errno = 0;
	if (!root)
		err = -ENOMEM;
	else if (json_dumpf(root, out, JSON_COMPACT | JSON_REAL_PRECISION(15)) || fputc('\n', out) == EOF || fflush(out))
		err = errno ? -errno : -EIO;
	json_decref(root);
	return err;
}

int json_report(FILE *out, const struct recording *r, const char *file, const struct outlooks *outlooks, const struct objective_list *objectives,
	const struct trend_list *trends)
{
	return report_write(out, r, file, outlooks, objectives, trends, true);
}

int json_report_short(FILE *out, const struct recording *r, const char *file, const struct outlooks *outlooks, const struct objective_list *objectives,
	const struct trend_list *trends)
{
	return report_write(out, r, file, outlooks, objectives, trends, false);
}
