// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The page of one agent: the sections of the report, of what there is so far. */
#include <errno.h>
#include <string.h>

#include "lib/util.h"
#include "sink/terminal_parts.h"
#include "top/frame.h"

struct page {
	const struct screen *s;
	const struct live_agent *agent;
	const struct agent_data *d;
	const struct outlooks *outlooks;
	struct top_view *v;
};

static int section_time(const struct page *p)
{
	struct peer_rows peers;
	int err = peer_rows_init(&peers, p->d);

	if (!err)
		err = terminal_ledger(p->s, p->d, &peers);
	peer_rows_fini(&peers);
	if (!err)
		terminal_limits(p->s, p->d);
	return err;
}

static int section_peers(const struct page *p)
{
	struct peer_rows peers;
	int err = peer_rows_init(&peers, p->d);

	if (!err)
		err = terminal_peers(p->s, p->d, &peers);
	peer_rows_fini(&peers);
	return err;
}

static int section_tools(const struct page *p)
{
	return terminal_tools(p->s, p->d);
}

static int section_loop(const struct page *p)
{
	int err = terminal_loop(p->s, &p->d->metrics);

	return err ? err : terminal_gc(p->s, p->d);
}

static bool has_hist(const struct agent_data *d, int m)
{
	return metric_infos[m].type == METRIC_HIST && d->metrics.hist[m] && d->metrics.hist[m]->count;
}

/* The next histogram that has values, in the direction of step; m itself when there is no other. */
static int hist_beside(const struct agent_data *d, int m, int step)
{
	for (int i = 1; i <= METRIC_IDS; i++) {
		int at = ((m + step * i) % METRIC_IDS + METRIC_IDS) % METRIC_IDS;

		if (has_hist(d, at))
			return at;
	}
	return m;
}

/* That of calls is what most come for. */
static int hist_first(const struct agent_data *d)
{
	return has_hist(d, M_EXCHANGE_NS) ? M_EXCHANGE_NS : hist_beside(d, -1, 1);
}

static int section_hists(const struct page *p)
{
	struct top_view *v = p->v;
	int err = terminal_hists(p->s, &p->d->metrics), m;

	for (; v->metric_step; v->metric_step -= v->metric_step < 0 ? -1 : 1)
		v->metric = hist_beside(p->d, v->metric < 0 ? hist_first(p->d) : v->metric, v->metric_step < 0 ? -1 : 1);
	m = v->metric < 0 ? hist_first(p->d) : v->metric;
	if (err || m < 0)
		return err;
	fputc('\n', p->s->out);
	screen_line(p->s, STYLE_BOLD, "  Histogram (n the next, N the one before)");
	return terminal_hist_drawn(p->s, p->d->metrics.hist[m], (enum metric_id)m);
}

static int section_memory(const struct page *p)
{
	const uint64_t *v = p->d->metrics.value;
	double observed_s = p->d->observed_s;
	struct outlook outlook;
	struct para para;

	outlooks_judge(p->outlooks, p->agent->info.id, &outlook);
	if (!v[M_RSS_BYTES] && !v[M_FAULTS_MINOR] && p->d->heap.mode == HEAP_NONE && !p->d->notes_len && !p->agent->info.container.id[0])
		return 0;
	fputc('\n', p->s->out);
	screen_line(p->s, STYLE_BOLD, "  Memory, and notes");
	para_begin(&para, p->s, "memory");
	para_part(&para, "%s resident", bytes_text((double)v[M_RSS_BYTES]));
	para_part(&para, "%s at the peak", bytes_text((double)v[M_RSS_PEAK_BYTES]));
	if (v[M_MEMORY_LIMIT_BYTES])
		para_part(&para, "%s left to the limit of %s", bytes_text((double)v[M_MEMORY_LEFT_BYTES]), bytes_text((double)v[M_MEMORY_LIMIT_BYTES]));
	if (observed_s > 0) {
		para_part(&para, "%s minor faults/s", rate_text((double)v[M_FAULTS_MINOR] / observed_s));
		para_part(&para, "%s major", rate_text((double)v[M_FAULTS_MAJOR] / observed_s));
	}
	para_end(&para);
	terminal_outlook(p->s, &outlook);
	terminal_container(p->s, &p->agent->info);
	terminal_notes(p->s, p->d);
	return terminal_heap(p->s, NULL, p->d); /* no samples are kept, so no stacks are asked for */
}

/* Every counter and gauge that has a value: one row of metrics.def is one here. */
static int section_figures(const struct page *p)
{
	static const struct table_column columns[] = {
		{ .title = "figure", .left = true },
		{ .title = "now" },
		{ .title = "/s" },
		{ .title = "", .left = true, .drop = 1, .flex = true, .clauses = true },
	};
	const struct screen *s = p->s;
	struct table t;

	table_init(&t, columns, ARRAY_SIZE(columns));
	for (int m = 0; m < METRIC_IDS; m++) {
		const struct metric_info *info = &metric_infos[m];
		double value = (double)p->d->metrics.value[m];

		if (info->type == METRIC_HIST || !(value > 0))
			continue;
		table_cell(&t, s, 0, "%s", info->name);
		table_cell(&t, s, 0, "%s", value_text(value, info->unit));
		if (info->type != METRIC_COUNTER || !(p->d->observed_s > 0))
			table_cell(&t, s, 0, "%s", "");
		else if (info->unit == UNIT_COUNT)
			table_cell(&t, s, 0, "%s", rate_text(value / p->d->observed_s));
		else
			table_cell(&t, s, 0, "%s", value_text(value / p->d->observed_s, info->unit));
		table_cell(&t, s, STYLE_DIM, "%s", info->help);
	}
	if (!t.used)
		return 0;
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, "  All counters and gauges");
	return table_print(&t, s);
}

static int (*const sections_print[SECTIONS])(const struct page *) = {
	section_time, section_peers, section_tools, section_loop, section_hists, section_memory, section_figures,
};
const char *const section_names[SECTIONS] = { "time", "peers", "tools", "loop", "histograms", "memory", "figures" };

static void print_findings(const struct screen *s, const struct recents_found *found)
{
	if (!found || !found->len)
		return;
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, "  Findings of the last %s", ns_text(found->seconds * 1e9));
	for (int i = 0; i < found->len; i++) {
		if (i)
			fputc('\n', s->out);
		terminal_finding(s, found->list, i, NULL);
	}
}

int agent_page(const struct screen *s, const struct live *l, const struct live_agent *a, const struct outlooks *outlooks, const struct recents_found *found,
	       struct top_view *v, long sections[SECTIONS])
{
	const struct cost_data *cost = v->all ? &l->observer.cost : &l->observer_last.cost;
	struct page p = { .s = s, .agent = a, .d = agent_figures(a, v->all), .outlooks = outlooks, .v = v };
	int err = 0;

	print_findings(s, found);
	for (int i = 0; i < SECTIONS && !err; i++) {
		fflush(s->out);
		sections[i] = ftell(s->out);
		err = sections_print[i](&p);
		fflush(s->out);
		if (err || ftell(s->out) > sections[i])
			continue;
		fputc('\n', s->out);
		screen_line(s, STYLE_DIM, "  %s: nothing %s%s%s", section_names[i], v->all ? "so far" : "in this interval",
			    cost_reduced_s(cost) > 0 ? ", with detail reduced to " : "", cost_reduced_s(cost) > 0 ? rung_infos[cost_lowest(cost)].name : "");
	}
	return err;
}
