// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "sink/html.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "html/page.h"
#include "lib/util.h"
#include "sink/html_parts.h"
#include "sink/json.h"

#define HEAT_ROWS 48 /* of a heat map at most */
#define HIST_ROWS 96 /* of a metric's distribution */

static const char *const unit_names[] = { [UNIT_NS] = "ns", [UNIT_BYTES] = "bytes", [UNIT_COUNT] = "count" };
static const char *const type_names[] = { [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_PEAK] = "peak", [METRIC_HIST] = "histogram" };

/*
 * JSON into a <script>: where "<" stands in JSON it is in a string, and as an escape it can neither end the script nor begin a comment (HTML, "Restrictions
 * for contents of script elements"). U+2028 and U+2029 end lines in older JavaScript.
 */
static int escape_write(FILE *out, const char *text, size_t len)
{
	size_t from = 0;

	for (size_t i = 0; i < len; i++) {
		bool lt = text[i] == '<';
		bool separator = len - i > 2 && (!memcmp(text + i, "\u2028", 3) || !memcmp(text + i, "\u2029", 3));

		if (!lt && !separator)
			continue;
		fwrite(text + from, 1, i - from, out);
		fputs(lt ? "\\u003c" : !memcmp(text + i, "\u2028", 3) ? "\\u2028" : "\\u2029", out);
		i += separator ? 2 : 0;
		from = i + 1;
	}
	fwrite(text + from, 1, len - from, out);
	return ferror(out) ? -EIO : 0;
}

/* Writes what there is, and empties it. */
static int flush(FILE *out, struct json_text *j)
{
	int err = j->failed ? -ENOMEM : escape_write(out, j->text, j->len);

	json_text_reset(j);
	return err;
}

static int report_write(FILE *out, const struct recording *r, const char *file, const struct outlooks *outlooks, const struct objective_list *objectives,
	const struct trend_list *trends)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *memory = open_memstream(&text, &len);
	int err = memory ? json_report_short(memory, r, file, outlooks, objectives, trends) : -ENOMEM;

	if (memory && fclose(memory) && !err)
		err = -ENOMEM;
	return err ? err : escape_write(out, text, len);
}

/* ---- tables of names ---- */

static void put_tables(struct json_text *j)
{
	put_open(j, "metrics", "{");
	for (int m = 0; m < METRIC_IDS; m++) {
		put_open(j, metric_infos[m].name, "{");
		put_string(j, "type", type_names[metric_infos[m].type]);
		put_string(j, "unit", unit_names[metric_infos[m].unit]);
		put_string(j, "probe", probe_infos[metric_infos[m].probe].name);
		put_string(j, "help", metric_infos[m].help);
		put_close(j, "}");
	}
	put_close(j, "}");
	put_open(j, "states", "[");
	for (int s = 0; s < STATE_COUNT; s++) {
		char bar[2] = { state_infos[s].bar, 0 };

		put_open(j, NULL, "{");
		put_string(j, "name", state_infos[s].name);
		put_string(j, "bar", bar);
		put_string(j, "help", state_infos[s].help);
		put_close(j, "}");
	}
	put_close(j, "]");
	put_open(j, "measures", "{");
	for (int m = 0; m < MEASURE_COUNT; m++) {
		put_open(j, measure_infos[m].name, "{");
		put_string(j, "group", measure_group_names[measure_infos[m].group]);
		put_string(j, "help", measure_infos[m].help);
		put_close(j, "}");
	}
	put_close(j, "}");
	put_open(j, "samples", "{");
	for (int s = 0; s < SAMPLE_COUNT; s++) {
		put_open(j, sample_infos[s].name, "{");
		put_string(j, "unit", unit_names[sample_infos[s].unit]);
		put_string(j, "help", sample_infos[s].help);
		put_close(j, "}");
	}
	put_close(j, "}");
	put_open(j, "probes", "{");
	for (int p = 0; p < PROBE_COUNT; p++)
		put_string(j, probe_infos[p].name, probe_infos[p].help);
	put_close(j, "}");
	put_open(j, "probes_default", "[");
	for (int p = 0; p < PROBE_COUNT; p++)
		if (probe_infos[p].on)
			put_string(j, NULL, probe_infos[p].name);
	put_close(j, "]");
}

/* ---- over time ---- */

static void put_bins(struct json_text *j, const struct html_bins *b)
{
	put_open(j, "bins", "{");
	put_u64(j, "intervals_per_bin", b->per);
	put_open(j, "start_s", "[");
	for (int i = 0; i < b->len; i++)
		put_fraction(j, NULL, b->bin[i].start_s);
	put_close(j, "]");
	put_open(j, "end_s", "[");
	for (int i = 0; i < b->len; i++)
		put_fraction(j, NULL, b->bin[i].end_s);
	put_close(j, "]");
	put_open(j, "covered_s", "[");
	for (int i = 0; i < b->len; i++)
		put_fraction(j, NULL, b->bin[i].covered_s);
	put_close(j, "]");
	put_open(j, "intervals", "[");
	for (int i = 0; i < b->len; i++)
		put_u64(j, NULL, b->bin[i].intervals);
	put_close(j, "]");
	put_open(j, "observer_cpu_s", "[");
	for (int i = 0; i < b->len; i++)
		put_fraction(j, NULL, b->bin[i].cpu_s);
	put_close(j, "]");
	put_open(j, "lost", "[");
	for (int i = 0; i < b->len; i++)
		put_u64(j, NULL, b->bin[i].lost);
	put_close(j, "]");
	put_close(j, "}");
}

/* From first to last, by a getter of a cell; left out where all are 0. */
static void put_series(struct json_text *j, const char *key, const uint64_t *values, int len)
{
	for (int i = 0; i < len; i++) {
		if (!values[i])
			continue;
		put_open(j, key, "[");
		put_u64s(j, values, (size_t)len);
		put_close(j, "]");
		return;
	}
}

struct span { /* of bins in which the agent was */
	struct cell *const *cell; /* the first one */
	int first, len;
};

static struct span span_of(const struct bins_agent *a, int len)
{
	struct span s = { 0 };
	int last = len - 1;

	while (a && s.first < len && !a->cell[s.first])
		s.first++;
	while (a && last >= s.first && !a->cell[last])
		last--;
	if (a)
		s = (struct span){ &a->cell[s.first], s.first, last - s.first + 1 };
	return s;
}

static void put_ledger(struct json_text *j, const char *key, const struct span *s, size_t offset)
{
	put_open(j, key, "{");
	for (int state = 0; state < STATE_COUNT; state++) {
		uint64_t ns[BINS_MAX];

		for (int i = 0; i < s->len; i++)
			ns[i] = s->cell[i] ? ((const struct ledger *)((const char *)s->cell[i] + offset))->ns[state] : 0;
		put_series(j, state_infos[state].name, ns, s->len);
	}
	put_close(j, "}");
}

static void put_values(struct json_text *j, const struct span *s)
{
	put_open(j, "values", "{");
	for (int m = 0; m < METRIC_IDS; m++) {
		uint64_t values[BINS_MAX];

		if (metric_infos[m].type == METRIC_HIST)
			continue;
		for (int i = 0; i < s->len; i++)
			values[i] = s->cell[i] ? s->cell[i]->value[m] : 0;
		put_series(j, metric_infos[m].name, values, s->len);
	}
	put_close(j, "}");
}

static void put_quantiles(struct json_text *j, const char *key, const struct span *s, int heat, double q)
{
	put_open(j, key, "[");
	for (int i = 0; i < s->len; i++) {
		const struct hist *h = s->cell[i] ? s->cell[i]->hist[heat] : NULL;

		if (h)
			put_u64(j, NULL, (uint64_t)llround(hist_quantile(h, q)));
		else
			put_null(j, NULL);
	}
	put_close(j, "]");
}

static int rows_of(const struct span *s, int heat, int64_t *ret_first)
{
	int64_t first = INT64_MAX, last = INT64_MIN;

	for (int i = 0; i < s->len; i++) {
		const struct hist *h = s->cell[i] ? s->cell[i]->hist[heat] : NULL;

		for (uint32_t n = 0; h && n < h->len; n++) {
			int64_t row = (int64_t)h->offset + n;

			if (!hist_bucket(h, n))
				continue;
			first = row < first ? row : first;
			last = row > last ? row : last;
		}
	}
	*ret_first = first;
	return first > last ? 0 : (int)(last - first + 1);
}

/* All at the same scale, coarse enough. */
static int heat_coarsen(const struct span *s, int heat, int *ret_scale)
{
	int64_t first;
	int scale = HIST_SCALE, err = 0;

	for (int i = 0; i < s->len; i++)
		if (s->cell[i] && s->cell[i]->hist[heat] && s->cell[i]->hist[heat]->scale < scale)
			scale = s->cell[i]->hist[heat]->scale;
	for (;; scale--) {
		for (int i = 0; i < s->len && !err; i++)
			if (s->cell[i] && s->cell[i]->hist[heat])
				err = hist_downscale(s->cell[i]->hist[heat], scale);
		if (err || scale == HIST_SCALE_MIN || rows_of(s, heat, &first) <= HEAT_ROWS)
			break;
	}
	*ret_scale = scale;
	return err;
}

/* "cells": of each bin the row of the first count, then the counts; rows count from "offset". */
static void put_cells(struct json_text *j, const struct span *s, int heat, int64_t first)
{
	put_open(j, "cells", "[");
	for (int i = 0; i < s->len; i++) {
		const struct hist *h = s->cell[i] ? s->cell[i]->hist[heat] : NULL;
		uint32_t from = 0, to = h ? h->len : 0;

		while (from < to && !hist_bucket(h, from))
			from++;
		while (to > from && !hist_bucket(h, to - 1))
			to--;
		put_open(j, NULL, "[");
		if (from < to)
			put_int(j, NULL, h->offset + (int64_t)from - first);
		for (uint32_t n = from; n < to; n++)
			put_u64(j, NULL, hist_bucket(h, n));
		put_close(j, "]");
	}
	put_close(j, "]");
}

static int put_heat(struct json_text *j, const struct span *s, int heat)
{
	uint64_t counts[BINS_MAX];
	int64_t first = 0;
	bool any = false;
	int err, scale, rows;

	for (int i = 0; i < s->len; i++) {
		counts[i] = s->cell[i] && s->cell[i]->hist[heat] ? s->cell[i]->hist[heat]->count : 0;
		any = any || counts[i];
	}
	if (!any)
		return 0;
	put_open(j, metric_infos[heat_metrics[heat]].name, "{");
	put_series(j, "count", counts, s->len);
	put_quantiles(j, "p50", s, heat, 0.5); /* before the histograms are made coarser */
	put_quantiles(j, "p99", s, heat, 0.99);
	err = heat_coarsen(s, heat, &scale);
	rows = rows_of(s, heat, &first);
	put_int(j, "scale", scale);
	put_int(j, "rows", rows);
	put_int(j, "offset", rows ? first : 0);
	put_cells(j, s, heat, first);
	put_close(j, "}");
	return err;
}

static int put_timeline(struct json_text *j, const struct html_bins *b, int id)
{
	struct span s = span_of(html_bins_agent(b, id), b->len);
	int err = 0;

	put_open(j, "timeline", "{");
	put_int(j, "first", s.first);
	put_open(j, "observed_s", "[");
	for (int i = 0; i < s.len; i++) {
		if (s.cell[i])
			put_fraction(j, NULL, s.cell[i]->observed_s);
		else
			put_null(j, NULL);
	}
	put_close(j, "]");
	put_open(j, "ledger", "{");
	put_ledger(j, "critical", &s, offsetof(struct cell, critical));
	put_ledger(j, "main", &s, offsetof(struct cell, main));
	put_ledger(j, "threads", &s, offsetof(struct cell, threads));
	put_close(j, "}");
	put_values(j, &s);
	put_open(j, "heat", "{");
	for (int h = 0; h < HEATS && !err; h++)
		err = put_heat(j, &s, h);
	put_close(j, "}");
	put_close(j, "}");
	return err;
}

/* ---- an agent ---- */

static int put_hist(struct json_text *j, const char *key, const struct hist *h)
{
	struct hist copy;
	int err;

	hist_init(&copy);
	err = hist_merge(&copy, h);
	while (!err && copy.len > HIST_ROWS && copy.scale > HIST_SCALE_MIN)
		err = hist_downscale(&copy, copy.scale - 1);
	put_open(j, key, "{");
	put_int(j, "scale", copy.scale);
	put_int(j, "offset", copy.offset);
	put_u64(j, "zero", copy.zero_count);
	put_open(j, "counts", "[");
	for (uint32_t i = 0; i < copy.len; i++)
		put_u64(j, NULL, hist_bucket(&copy, i));
	put_close(j, "]");
	put_close(j, "}");
	hist_fini(&copy);
	return err;
}

/* What the report's JSON lacks: distributions, the time line, stacks as a tree. */
static int put_agent(struct json_text *j, const struct recording *r, const struct recording_agent *a, const struct html_bins *b)
{
	int err = 0;

	put_open(j, NULL, "{");
	put_int(j, "id", a->info.id);
	put_open(j, "hists", "{");
	for (int m = 0; m < METRIC_IDS && !err; m++)
		if (a->total.metrics.hist[m] && a->total.metrics.hist[m]->count)
			err = put_hist(j, metric_infos[m].name, a->total.metrics.hist[m]);
	put_close(j, "}");
	if (!err)
		err = put_timeline(j, b, a->info.id);
	if (!err)
		err = html_flames(j, r->stacks, &a->total);
	put_close(j, "}");
	return err;
}

static uint64_t cpu_ns(const struct recording_agent *a)
{
	return a->total.metrics.value[M_CPU_USER_NS] + a->total.metrics.value[M_CPU_SYSTEM_NS];
}

static int busier(const void *a, const void *b)
{
	const struct recording_agent *x = a, *y = b;
	uint64_t m = cpu_ns(x), n = cpu_ns(y);

	return m != n ? (m < n) - (m > n) : (x->info.id > y->info.id) - (x->info.id < y->info.id);
}

static int data_write(FILE *out, const struct recording *r, const char *file, const struct outlooks *outlooks, const struct objective_list *objectives,
	const struct trend_list *trends, const struct html_bins *bins, int left_out)
{
	struct json_text j = { 0 };
	int err = fputs("{\"report\":", out) == EOF ? -EIO : report_write(out, r, file, outlooks, objectives, trends);

	j.comma = true;
	put_int(&j, "agents_left_out", left_out);
	put_tables(&j);
	put_bins(&j, bins);
	put_open(&j, "agents", "[");
	for (int i = 0; i < r->agents_len && !err; i++) {
		bool comma;

		err = put_agent(&j, r, &r->agents[i], bins);
		comma = j.comma;
		if (!err)
			err = flush(out, &j);
		j.comma = comma;
	}
	put_close(&j, "]");
	put_raw(&j, "}", 1);
	if (!err)
		err = flush(out, &j);
	json_text_fini(&j);
	return err;
}

int html_report(FILE *out, const struct recording *r, const char *file, const struct outlooks *outlooks, const struct objective_list *objectives,
	const struct trend_list *trends, struct html_bins *bins)
{
	struct recording view = *r;
	_cleanup_free_ struct recording_agent *shown = NULL;
	int err;

	if (r->agents_len > HTML_AGENTS_MAX) {
		shown = malloc((size_t)r->agents_len * sizeof(*shown));
		if (!shown)
			return -ENOMEM;
		memcpy(shown, r->agents, (size_t)r->agents_len * sizeof(*shown));
		qsort(shown, (size_t)r->agents_len, sizeof(*shown), busier);
		view.agents = shown;
		view.agents_len = HTML_AGENTS_MAX;
	}
	errno = 0;
	fwrite(html_page_head, 1, sizeof(html_page_head) - 1, out);
	err = data_write(out, &view, file, outlooks, objectives, trends, bins, r->agents_len - view.agents_len);
	fwrite(html_page_tail, 1, sizeof(html_page_tail) - 1, out);
	if (!err && (fflush(out) || ferror(out)))
		err = -EIO;
	return err == -EIO && errno ? -errno : err;
}
