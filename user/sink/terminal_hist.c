// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Histograms: the table of all of them, and one drawn. */
#include <string.h>

#include "sink/format.h"
#include "sink/terminal_parts.h"

#define HIST_ROWS 20
#define STYLE_BAR 32

/* The event loop and garbage collection have tables of their own, heaps their section. */
static bool has_section(const char *name)
{
	return !strncmp(name, "loop_", 5) || !strncmp(name, "gc_", 3) || !strncmp(name, "heap_", 5);
}

int terminal_hists(const struct screen *s, const struct metric_set *m)
{
	static const struct table_column columns[] = {
		{ .title = "histogram", .left = true }, { .title = "count" }, { .title = "mean", .drop = 2 }, { .title = "p50" },
		{ .title = "p90", .drop = 3 },		{ .title = "p99" },   { .title = "max", .drop = 1 },
	};
	struct table t;

	table_init(&t, columns, ARRAY_SIZE(columns));
	for (int i = 0; i < METRIC_IDS; i++) {
		const struct hist *h = metric_infos[i].type == METRIC_HIST ? m->hist[i] : NULL;
		enum metric_unit unit = metric_infos[i].unit;

		if (!h || !h->count || has_section(metric_infos[i].name))
			continue;
		table_cell(&t, s, 0, "%s", metric_infos[i].name);
		table_cell(&t, s, 0, "%s", count_text((double)h->count));
		table_cell(&t, s, 0, "%s", value_text(hist_mean(h), unit));
		table_cell(&t, s, 0, "%s", value_text(hist_quantile(h, 0.5), unit));
		table_cell(&t, s, 0, "%s", value_text(hist_quantile(h, 0.9), unit));
		table_cell(&t, s, 0, "%s", value_text(hist_quantile(h, 0.99), unit));
		table_cell(&t, s, 0, "%s", value_text((double)h->max, unit));
	}
	if (!t.used)
		return 0;
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, "  How long and how large (all threads and tools)");
	return table_print(&t, s);
}

/* A bar of value/most of `width` columns; eighths of a block where the locale has them. */
static void hist_bar(const struct screen *s, double share, int width)
{
	static const char *const eighths[] = { "", "\u258f", "\u258e", "\u258d", "\u258c", "\u258b", "\u258a", "\u2589" };
	int n = (int)(share * width * 8 + 0.5);

	if (n <= 0)
		n = 1;
	style_begin(s, STYLE_BAR);
	for (int i = 0; i < n / 8; i++)
		fputs(s->utf8 ? "\u2588" : "#", s->out);
	if (s->utf8)
		fputs(eighths[n % 8], s->out);
	else if (n % 8)
		fputc(n / 8 ? (n % 8 >= 4 ? '#' : '.') : '.', s->out);
	style_end(s, STYLE_BAR);
	fputc('\n', s->out);
}

static void hist_row(const struct screen *s, double low, double high, enum metric_unit unit, uint64_t count, uint64_t most, int digits)
{
	int used = 2 + 9 + 4 + 9 + 2 + digits + 2;

	fprintf(s->out, "  %9s .. %9s  %*ju  ", value_text(low, unit), value_text(high, unit), digits, (uintmax_t)count);
	if (count)
		hist_bar(s, (double)count / (double)most, s->width - used);
	else
		fputc('\n', s->out);
}

/* Coarser and coarser copies until the rows fit; down-scaling is exact, so the counts are too. */
static int print_hist(const struct screen *s, const struct hist *h, enum metric_id m)
{
	enum metric_unit unit = metric_infos[m].unit;
	uint32_t first = 0, end = 0;
	struct hist copy;
	char number[24];
	uint64_t most;
	int err, digits;

	hist_init(&copy);
	err = hist_merge(&copy, h);
	for (int scale = copy.scale; !err; scale--) {
		err = hist_downscale(&copy, scale);
		for (first = 0; first < copy.len && !hist_bucket(&copy, first); first++)
			;
		for (end = copy.len; end > first && !hist_bucket(&copy, end - 1); end--)
			;
		if (end - first + !!copy.zero_count <= HIST_ROWS || scale == HIST_SCALE_MIN)
			break;
	}
	most = copy.zero_count;
	for (uint32_t i = first; i < end; i++)
		if (hist_bucket(&copy, i) > most)
			most = hist_bucket(&copy, i);
	digits = snprintf(number, sizeof(number), "%ju", (uintmax_t)most);
	if (!err && copy.zero_count)
		hist_row(s, 0, 0, unit, copy.zero_count, most, digits);
	for (uint32_t i = first; i < end && !err; i++) {
		int32_t index = copy.offset + (int32_t)i;

		hist_row(s, hist_upper(index - 1, copy.scale), hist_upper(index, copy.scale), unit, hist_bucket(&copy, i), most, digits);
	}
	hist_fini(&copy);
	return err;
}

int terminal_hist(const struct screen *s, const struct recording_agent *agent, enum metric_id m)
{
	const struct hist *h = agent->total.metrics.hist[m];
	char name[CELL_BYTES];

	text_fit(name, sizeof(name), agent->info.name, s->width > 60 ? 40 : s->width - 20, s->utf8);
	if (agent->info.merged > 1)
		screen_line(s, STYLE_BOLD, "Agent %d: %s (sum of %d)", agent->info.id, name, agent->info.merged);
	else
		screen_line(s, STYLE_BOLD, "Agent %d: %s (pid %d)", agent->info.id, name, agent->info.pid);
	return terminal_hist_drawn(s, h, m);
}

int terminal_hist_drawn(const struct screen *s, const struct hist *h, enum metric_id m)
{
	enum metric_unit unit = metric_infos[m].unit;

	screen_line(s, 0, "  %s: %s", metric_infos[m].name, metric_infos[m].help);
	if (!h || !h->count) {
		screen_line(s, 0, "  no values");
		return 0;
	}
	screen_line(s, STYLE_DIM, "  %s values, mean %s, p50 %s, p90 %s, p99 %s, max %s", count_text((double)h->count),
		    value_text(hist_mean(h), unit), value_text(hist_quantile(h, 0.5), unit), value_text(hist_quantile(h, 0.9), unit),
		    value_text(hist_quantile(h, 0.99), unit), value_text((double)h->max, unit));
	fputc('\n', s->out);
	return print_hist(s, h, m);
}

