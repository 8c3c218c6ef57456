/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The data of an interval as JSON. */
#include "model/recording_put.h"

#include <string.h>

#include "lib/util.h"

static void put_hist(struct json_text *j, const char *key, const struct hist *h)
{
	uint32_t lo = 0, hi = h->len;
	uint64_t counts[64];

	while (hi > lo && !hist_bucket(h, hi - 1))
		hi--;
	while (lo < hi && !hist_bucket(h, lo))
		lo++;
	put_open(j, key, "{");
	put_int(j, "scale", h->scale);
	put_u64(j, "count", h->count);
	put_u64(j, "sum", h->sum);
	put_u64(j, "min", h->min);
	put_u64(j, "max", h->max);
	put_u64(j, "zero_count", h->zero_count);
	put_int(j, "offset", lo < hi ? h->offset + (int64_t)lo : 0);
	put_open(j, "bucket_counts", "[");
	while (lo < hi) {
		uint32_t n = 0;

		for (; n < ARRAY_SIZE(counts) && lo < hi; n++, lo++)
			counts[n] = hist_bucket(h, lo);
		put_u64s(j, counts, n);
	}
	put_close(j, "]");
	put_close(j, "}");
}

/* Counters that are 0 are left out: a reader takes what is absent as 0. Gauges of probes that are on are always there for
 * an agent, since there 0 is a statement; its parts (tools, peers: probe_on is NULL) have none of their own as a rule. */
static void put_metrics(struct json_text *j, const struct metric_set *s, const bool *probe_on)
{
	bool gauges = probe_on;

	put_open(j, "counters", "{");
	for (int m = 0; m < METRIC_IDS; m++) {
		if (metric_infos[m].type == METRIC_COUNTER && s->value[m])
			put_u64(j, metric_infos[m].name, s->value[m]);
		gauges |= (metric_infos[m].type == METRIC_GAUGE || metric_infos[m].type == METRIC_PEAK) && s->value[m];
	}
	put_close(j, "}");
	if (gauges) {
		put_open(j, "gauges", "{");
		for (int m = 0; m < METRIC_IDS; m++) {
			const struct metric_info *info = &metric_infos[m];

			if ((info->type == METRIC_GAUGE || info->type == METRIC_PEAK) &&
			    (s->value[m] || (probe_on && probe_on[info->probe])))
				put_u64(j, info->name, s->value[m]);
		}
		put_close(j, "}");
	}
	put_open(j, "hist", "{");
	for (int m = 0; m < METRIC_IDS; m++)
		if (s->hist[m] && s->hist[m]->count)
			put_hist(j, metric_infos[m].name, s->hist[m]);
	put_close(j, "}");
}

static void put_ledger(struct json_text *j, const char *key, const struct ledger *l)
{
	put_open(j, key, "{");
	for (int s = 0; s < STATE_COUNT; s++)
		if (l->ns[s])
			put_ns(j, state_infos[s].name, l->ns[s]);
	put_close(j, "}");
}

static void put_concurrency(struct json_text *j, const struct concurrency *all)
{
	put_open(j, "concurrency", "{");
	for (int i = 0; i < CLASS_COUNT; i++) {
		const struct concurrency *c = &all[i];

		if (!c->outstanding_ns && !c->busy_ns && !c->max)
			continue;
		put_open(j, class_infos[i].name, "{");
		put_ns(j, "outstanding_s", c->outstanding_ns);
		put_ns(j, "busy_s", c->busy_ns);
		if (c->busy_ns)
			put_fraction(j, "mean", (double)c->outstanding_ns / (double)c->busy_ns);
		put_u64(j, "max", c->max);
		put_close(j, "}");
	}
	put_close(j, "}");
}

static void put_peer(struct json_text *j, const struct peer_data *p)
{
	put_open(j, NULL, "{");
	put_string(j, "peer", p->peer);
	put_string(j, "name", p->name);
	put_string(j, "class", class_infos[p->class].name);
	put_string(j, "side", p->server ? "server" : "client");
	if (p->multiplexed)
		put_bool(j, "multiplexed", true);
	if (p->summed)
		put_u64(j, "summed", p->summed);
	put_metrics(j, &p->metrics, NULL);
	put_close(j, "}");
}

static void put_tool(struct json_text *j, const struct tool_data *t)
{
	put_open(j, NULL, "{");
	put_string(j, "name", t->name);
	if (t->runs_live)
		put_u64(j, "runs_live", t->runs_live);
	put_metrics(j, &t->metrics, NULL);
	put_open(j, "ledger", "{");
	put_ledger(j, "main_s", &t->main);
	put_close(j, "}");
	put_close(j, "}");
}

static void put_samples(struct json_text *j, const struct sample_set *sets)
{
	bool any = false;

	for (int i = 0; i < SAMPLE_COUNT; i++) {
		size_t len;
		_cleanup_free_ struct sample *all = sample_set_by_stack(&sets[i], &len);

		if (!sets[i].len)
			continue;
		j->failed |= !all;
		if (!any)
			put_open(j, "samples", "{");
		any = true;
		put_open(j, sample_infos[i].name, "[");
		for (size_t n = 0; n < len; n++) {
			put_open(j, NULL, "[");
			put_u64(j, NULL, all[n].stack);
			put_u64(j, NULL, all[n].value);
			put_close(j, "]");
		}
		put_close(j, "]");
	}
	if (any)
		put_close(j, "}");
}

static void put_rate(struct json_text *j, const char *key, struct heap_rate r)
{
	put_open(j, key, "{");
	put_real(j, "mean", r.mean);
	put_real(j, "low", r.low);
	put_real(j, "high", r.high);
	put_close(j, "}");
}

static void put_heap(struct json_text *j, const struct heap_data *h)
{
	if (h->mode == HEAP_NONE)
		return;
	put_open(j, "heap", "{");
	put_string(j, "mode", heap_mode_names[h->mode]);
	for (const struct heap_field *f = heap_fields; f < heap_fields + HEAP_FIELDS; f++) {
		const void *sum = heap_field_at(h, f);

		if (f->whole && *(const uint64_t *)sum)
			put_u64(j, f->name, *(const uint64_t *)sum);
		else if (!f->whole && *(const double *)sum > 0)
			put_real(j, f->name, *(const double *)sum);
	}
	if (h->mode == HEAP_FULL)
		put_real(j, "kept", h->kept);
	if (h->windows) { /* for the reader; ours takes the sums */
		put_rate(j, "allocs_per_s", heap_rate_allocs(h));
		put_rate(j, "bytes_per_s", heap_rate_bytes(h));
	}
	put_close(j, "}");
}

static void put_rivals(struct json_text *j, const struct agent_data *a)
{
	if (a->rivals[0].ns) {
		put_open(j, "rivals", "[");
		for (const struct rival *r = a->rivals; r < a->rivals + RIVALS_KEPT && r->ns; r++) {
			char name[sizeof(r->name) + 1] = "";

			memcpy(name, r->name, sizeof(r->name));
			put_open(j, NULL, "{");
			put_string(j, "name", name);
			put_u64(j, "ns", r->ns);
			put_close(j, "}");
		}
		put_close(j, "]");
	}
	if (a->rivals_other_ns)
		put_u64(j, "rivals_other_ns", a->rivals_other_ns);
}

static void put_wakers(struct json_text *j, const struct agent_data *a)
{
	if (!a->wakers[0].wakes)
		return;
	put_open(j, "wakers", "[");
	for (const struct waker *w = a->wakers; w < a->wakers + WAKERS_KEPT && w->wakes; w++) {
		char name[sizeof(w->name) + 1] = "";

		memcpy(name, w->name, sizeof(w->name));
		put_open(j, NULL, "{");
		put_string(j, "thread", name);
		put_u64(j, "wakes", w->wakes);
		put_u64(j, "gaps_ns", w->gaps_ns);
		put_u64(j, "cpu_ns", w->cpu_ns);
		put_close(j, "}");
	}
	put_close(j, "]");
}

static void put_notes(struct json_text *j, const struct agent_data *a)
{
	if (!a->notes_len)
		return;
	put_open(j, "notes", "[");
	for (int i = 0; i < a->notes_len; i++)
		put_string(j, NULL, a->notes[i]);
	put_close(j, "]");
}

void put_agent_data(struct json_text *j, const struct agent_data *a, const struct agent_info *info, const bool probe_on[PROBE_COUNT])
{
	bool on[PROBE_COUNT];

	memcpy(on, probe_on, sizeof(on));
	on[PROBE_HEAP] &= a->heap.mode == HEAP_FULL; /* nothing else knows what lives */
	put_open(j, NULL, "{");
	put_int(j, "id", a->id);
	put_bool(j, "alive", a->alive);
	if (info && info->has_exit)
		put_int(j, "exit_code", info->exit_code);
	if (info && info->merged > 1)
		put_int(j, "merged", info->merged);
	put_fraction(j, "observed_s", a->observed_s);
	put_metrics(j, &a->metrics, on);
	put_open(j, "ledger", "{");
	put_ledger(j, "main_s", &a->main);
	put_ledger(j, "threads_s", &a->threads);
	put_ledger(j, "critical_s", &a->critical);
	put_close(j, "}");
	put_concurrency(j, a->concurrency);
	put_open(j, "peers", "[");
	for (int i = 0; i < a->peers_len; i++)
		if (peer_active(&a->peers[i]))
			put_peer(j, &a->peers[i]);
	put_close(j, "]");
	put_open(j, "tools", "[");
	for (int i = 0; i < a->tools_len; i++)
		put_tool(j, &a->tools[i]);
	put_close(j, "]");
	put_samples(j, a->samples);
	put_heap(j, &a->heap);
	put_rivals(j, a);
	put_wakers(j, a);
	put_notes(j, a);
	put_close(j, "}");
}

void put_observer(struct json_text *j, const struct observer_data *o)
{
	put_open(j, "observer", "{");
	put_fraction(j, "cpu_s", o->cpu_s);
	if (o->bpf_s >= 0)
		put_fraction(j, "bpf_s", o->bpf_s);
	else
		put_null(j, "bpf_s");
	put_u64(j, "records", o->records);
	put_open(j, "lost", "{");
	for (int i = 0; i < o->losses && i < OBSERVER_LOSSES; i++)
		if (o->lost[i].count)
			put_u64(j, o->lost[i].reason, o->lost[i].count);
	put_close(j, "}");
	put_u64(j, "rss_bytes", o->rss_bytes);
	put_cost(j, &o->cost);
	put_close(j, "}");
}

static void put_container(struct json_text *j, const struct container *c)
{
	if (!*c->id)
		return;
	put_open(j, "container", "{");
	put_string(j, "id", c->id);
	if (*c->runtime)
		put_string(j, "runtime", c->runtime);
	if (*c->pod)
		put_string(j, "pod", c->pod);
	if (*c->qos)
		put_string(j, "qos", c->qos);
	put_close(j, "}");
}

void put_agent_info(struct json_text *j, const struct agent_info *a)
{
	put_int(j, "id", a->id);
	put_string(j, "name", a->name);
	put_int(j, "pid", a->pid);
	put_u64(j, "start_ticks", a->start_ticks);
	put_string(j, "cmdline", a->cmdline);
	put_string(j, "cgroup", a->cgroup);
	put_container(j, &a->container);
	if (a->ns_pid)
		put_int(j, "ns_pid", a->ns_pid);
}

static void put_frame(struct json_text *j, const struct frame *f)
{
	put_open(j, NULL, "{");
	put_string(j, "kind", frame_kind_names[f->kind]);
	put_string(j, "name", f->name);
	if (*f->file)
		put_string(j, "file", f->file);
	if (f->line)
		put_u64(j, "line", f->line);
	if (*f->module)
		put_string(j, "module", f->module);
	put_close(j, "}");
}

uint32_t put_frames(struct json_text *j, const struct stacks *s, uint32_t from, size_t len_max)
{
	uint32_t n = from;

	put_u64(j, "first_frame", from);
	put_open(j, "frames", "[");
	while (n < stacks_frames_len(s) && j->len < len_max && !j->failed)
		put_frame(j, stacks_frame_at(s, n++));
	put_close(j, "]");
	return n;
}

uint32_t put_stacks(struct json_text *j, const struct stacks *s, uint32_t from, size_t len_max)
{
	uint32_t n = from;

	put_u64(j, "first_stack", from);
	put_open(j, "stacks", "[");
	while (n < stacks_len(s) && j->len < len_max && !j->failed) {
		size_t len;
		const uint32_t *frames = stacks_at(s, n++, &len);

		put_open(j, NULL, "[");
		for (size_t i = 0; i < len; i++)
			put_u64(j, NULL, frames[i]);
		put_close(j, "]");
	}
	put_close(j, "]");
	return n;
}
