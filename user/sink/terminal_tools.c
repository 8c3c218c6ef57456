// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Tools, and what event loops did between their polls. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sink/format.h"
#include "sink/terminal_parts.h"

#define TOOLS_SHOWN 20
#define TOOL_STATES 3 /* named at most */
#define TOOL_STATE_LEAST 0.05 /* of the tool's time; the first is always named */

void cell_quantile(struct table *t, const struct screen *s, const struct hist *h, double q)
{
	if (h && h->count)
		table_cell(t, s, 0, "%s", ns_text(hist_quantile(h, q)));
	else
		table_cell(t, s, 0, "-");
}

static uint64_t tool_runs(const struct tool_data *t)
{
	const struct hist *h = t->metrics.hist[M_TOOL_NS];

	return (h ? h->count : 0) + t->runs_live;
}

static int tool_order(const void *a, const void *b)
{
	const struct tool_data *x = *(const struct tool_data *const *)a, *y = *(const struct tool_data *const *)b;
	double sx = hist_total(x->metrics.hist[M_TOOL_NS]), sy = hist_total(y->metrics.hist[M_TOOL_NS]);

	return sx < sy ? 1 : sx > sy ? -1 : strcmp(x->name, y->name);
}

/* "child 60 %, running 30 %": the states that most of the time went to, the largest first. */
static void cell_states(struct table *t, const struct screen *s, const struct ledger *l)
{
	double sum = (double)ledger_sum(l);
	struct ledger left = *l;
	char text[CELL_BYTES] = "";

	for (int n = 0; n < TOOL_STATES; n++) {
		size_t used = strlen(text);
		int most = 0;

		for (int i = 1; i < STATE_COUNT; i++)
			if (left.ns[i] > left.ns[most])
				most = i;
		if (!left.ns[most] || (n && (double)left.ns[most] < TOOL_STATE_LEAST * sum))
			break;
		snprintf(text + used, sizeof(text) - used, "%s%s %.0f %%", n ? ", " : "", state_infos[most].name, (double)left.ns[most] / sum * 100);
		left.ns[most] = 0;
	}
	table_cell(t, s, 0, "%s", text);
}

static void tool_row(struct table *t, const struct screen *s, const struct tool_data *tool)
{
	const struct metric_set *m = &tool->metrics;
	char name[CELL_BYTES];

	text_fit(name, sizeof(name), tool->name, 24, s->utf8);
	table_cell(t, s, 0, "%s", name);
	table_cell(t, s, 0, "%s", count_text((double)tool_runs(tool)));
	table_cell(t, s, 0, "%s", tool->runs_live ? count_text((double)tool->runs_live) : "");
	table_cell(t, s, m->value[M_EXITS_FAILED] ? STYLE_BAD : 0, "%s", count_text((double)m->value[M_EXITS_FAILED]));
	table_cell(t, s, 0, "%s", ns_text((double)m->value[M_CPU_USER_NS] + (double)m->value[M_CPU_SYSTEM_NS]));
	cell_quantile(t, s, m->hist[M_TOOL_NS], 0.5);
	cell_quantile(t, s, m->hist[M_TOOL_NS], 0.99);
	cell_quantile(t, s, m->hist[M_LAUNCH_NS], 0.5);
	cell_states(t, s, &tool->main);
}

int terminal_tools(const struct screen *s, const struct agent_data *a)
{
	static const struct table_column columns[] = {
		{ .title = "tool", .left = true },
		{ .title = "runs" },
		{ .title = "live", .drop = 5 },
		{ .title = "failed" },
		{ .title = "CPU", .drop = 3 },
		{ .title = "run p50" },
		{ .title = "run p99", .drop = 4 },
		{ .title = "launch p50", .drop = 6 },
		{ .title = "where its time went", .left = true, .drop = 2, .flex = true, .clauses = true },
	};
	_cleanup_free_ const struct tool_data **sorted = NULL;
	struct table t;

	if (!a->tools_len)
		return 0;
	sorted = calloc((size_t)a->tools_len, sizeof(const struct tool_data *));
	if (!sorted)
		return -ENOMEM;
	for (int i = 0; i < a->tools_len; i++)
		sorted[i] = &a->tools[i];
	qsort(sorted, (size_t)a->tools_len, sizeof(const struct tool_data *), tool_order);
	table_init(&t, columns, ARRAY_SIZE(columns));
	for (int i = 0; i < a->tools_len && i < TOOLS_SHOWN; i++)
		tool_row(&t, s, sorted[i]);
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, "  Tools");
	if (table_print(&t, s))
		return -ENOMEM;
	if (a->tools_len > TOOLS_SHOWN)
		screen_line(s, STYLE_DIM, "  and %d more%s", a->tools_len - TOOLS_SHOWN, s->live ? "" : " (--json lists all)");
	return 0;
}

static void loop_row(struct table *t, const struct screen *s, const char *what, const char *by, const struct hist *h)
{
	table_cell(t, s, 0, "%s%s", what, by);
	table_cell(t, s, 0, "%s", count_text((double)h->count));
	cell_quantile(t, s, h, 0.5);
	cell_quantile(t, s, h, 0.99);
	table_cell(t, s, 0, "%s", ns_text((double)h->max));
	table_cell(t, s, 0, "%s", ns_text((double)h->sum));
}

/* The blocked rows, by reason, where the time went first. */
static void loop_blocked(struct table *t, const struct screen *s, const struct metric_set *m)
{
	static const char prefix[] = "loop_blocked_";
	bool shown[METRIC_IDS] = { [M_LOOP_BLOCKED_NS] = true }; /* the sum of the others */

	for (;;) {
		int most = -1;
		char reason[32];

		for (int i = 0; i < METRIC_IDS; i++)
			if (!shown[i] && !strncmp(metric_infos[i].name, prefix, strlen(prefix)) && m->hist[i] && m->hist[i]->count &&
			    (most < 0 || m->hist[i]->sum > m->hist[most]->sum))
				most = i;
		if (most < 0)
			return;
		shown[most] = true;
		snprintf(reason, sizeof(reason), "%s", metric_infos[most].name + strlen(prefix));
		reason[strcspn(reason, "_")] = '\0'; /* of the unit */
		loop_row(t, s, "blocked: ", reason, m->hist[most]);
	}
}

static void print_polling(const struct screen *s, const struct metric_set *m)
{
	const struct hist *period = m->hist[M_WAKE_PERIOD_NS];
	const uint64_t *v = m->value;
	struct para p;

	if (v[M_WAKEUPS_IDLE]) {
		para_begin(&p, s, "polling");
		para_count(&p, v[M_WAKEUPS_IDLE], "wake-ups that did nothing");
		if (period && period->count)
			para_part(&p, "every %s (median)", ns_text(hist_quantile(period, 0.5)));
		para_end(&p);
	}
	if (v[M_SPINS_POLL] || v[M_SPINS_YIELD]) {
		para_begin(&p, s, "spinning");
		if (v[M_SPINS_POLL])
			para_count(&p, v[M_SPINS_POLL], "x seen in a poll that does not wait");
		if (v[M_SPINS_YIELD])
			para_count(&p, v[M_SPINS_YIELD], "x seen in sched_yield");
		para_end(&p);
	}
}

int terminal_loop(const struct screen *s, const struct metric_set *m)
{
	static const struct table_column columns[] = {
		{ .title = "a turn", .left = true }, { .title = "count" },		{ .title = "p50", .drop = 2 }, { .title = "p99" },
		{ .title = "max", .drop = 1 },	     { .title = "total", .drop = 3 },
	};
	const struct hist *busy = m->hist[M_LOOP_BUSY_NS];
	const uint64_t *v = m->value;
	struct table t;

	table_init(&t, columns, ARRAY_SIZE(columns));
	if (busy && busy->count)
		loop_row(&t, s, "busy", "", busy);
	loop_blocked(&t, s, m);
	if (!t.used && !v[M_WAKEUPS_IDLE] && !v[M_SPINS_POLL] && !v[M_SPINS_YIELD])
		return 0;
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, t.used ? "  Event loop (a turn: from one poll that waits to the next)" : "  Polling");
	if (t.used && table_print(&t, s))
		return -ENOMEM;
	print_polling(s, m);
	return 0;
}
