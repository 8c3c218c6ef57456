/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "sink/csv.h"
#include "sink/hlog.h"
#include "sink/trace.h"

#define ROUNDING_S 5e-7 /* ends of intervals, and what is asked for, are decimals */

const char *const export_rows_names[ROWS_COUNT] = {"agents", "peers", "tools", "observer"};

const struct export_format export_formats[EXPORT_COUNT] = {
        [EXPORT_CSV] = {"csv", "a table: a row an interval and agent", csv_new, csv_interval, csv_end, csv_free},
        [EXPORT_HLOG] = {"hlog", "all histograms of each interval as an HdrHistogram log", hlog_new, hlog_interval, hlog_end,
                hlog_free},
        [EXPORT_TRACE] = {"trace", "a time line for ui.perfetto.dev", trace_new, trace_interval, trace_end, trace_free},
};

struct export
{
	const struct export_format *format;
	const struct export_options *options;
	FILE *out;
	void *sink;
	uint64_t intervals;
	/* The agents of an interval that are asked for. */
	const struct agent_data **agents;
	const struct agent_info **infos;
	int cap;
};

bool agent_info_matches(const struct agent_info *info, const char *wanted)
{
	long long id;

	return !strcmp(info->name, wanted) || (!parse_int(wanted, 0, INT32_MAX, &id) && info->id == id);
}

struct export *export_new(enum export_id format, FILE *out, const struct export_options *options)
{
	struct export *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->format = &export_formats[format];
	e->options = options;
	e->out = out;
	e->sink = e->format->new (out, options);
	if (e->sink)
		return e;
	free(e);
	return NULL;
}

static int select_agents(struct export *e, const struct interval_data *i, struct interval_data *ret)
{
	int n = 0;

	if (i->agents_len > e->cap) {
		free(e->agents);
		free(e->infos);
		e->agents = calloc((size_t)i->agents_len, sizeof(*e->agents));
		e->infos = calloc((size_t)i->agents_len, sizeof(*e->infos));
		e->cap = i->agents_len;
		if (!e->agents || !e->infos)
			return -ENOMEM;
	}
	for (int k = 0; k < i->agents_len; k++) {
		if (!agent_info_matches(i->infos[k], e->options->agent))
			continue;
		e->agents[n] = i->agents[k];
		e->infos[n++] = i->infos[k];
	}
	ret->agents = e->agents;
	ret->infos = e->infos;
	ret->agents_len = n;
	return 0;
}

int export_interval(void *export, const struct interval_data *i)
{
	struct export *e = export;
	const struct export_options *o = e->options;
	struct interval_data selected = *i;
	int err = 0;

	if (i->start_s < o->from_s - ROUNDING_S || (o->to_s > 0 && i->end_s > o->to_s + ROUNDING_S))
		return 0;
	e->intervals++;
	if (o->agent)
		err = select_agents(e, i, &selected);
	if (!err)
		err = e->format->interval(e->sink, &selected);
	return !err && ferror(e->out) ? -EIO : err;
}

int export_end(struct export *e, const struct recording *r)
{
	int err = e->format->end(e->sink, r);

	return !err && ferror(e->out) ? -EIO : err;
}

uint64_t export_intervals(const struct export *e)
{
	return e->intervals;
}

void export_free(struct export *e)
{
	if (!e)
		return;
	e->format->free(e->sink);
	free(e->agents);
	free(e->infos);
	free(e);
}
