/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include <errno.h>

#include "sink/diff.h"
#include "sink/json_parts.h"

static json_t *row_json(const struct comparison *row, const struct compare_limits *limits)
{
	const struct measure_info *info = &measure_infos[row->measure];
	json_t *j = json_object();

	json_object_set_new(j, "agent", text_json(row->agent));
	if (info->of == OF_CLASS)
		json_object_set_new(j, "class", text_json(row->subject));
	if (info->of == OF_TOOL)
		json_object_set_new(j, "tool", text_json(row->subject));
	json_object_set_new(j, "measure", text_json(info->name));
	json_object_set_new(j, "unit",
	        text_json(info->group == GROUP_TIME     ? "s"
	                  : info->group == GROUP_MEMORY ? "bytes"
	                                                : "ratio"));
	json_object_set_new(j, "verdict", text_json(verdict_names[row->verdict]));
	json_object_set_new(j, "base", number_json(row->base));
	json_object_set_new(j, "new", number_json(row->new));
	json_object_set_new(j, "change", number_json(row->change));
	json_object_set_new(j, "absolute", json_boolean(info->group == GROUP_ERRORS));
	json_object_set_new(j, "low", number_json(row->low));
	json_object_set_new(j, "high", number_json(row->high));
	json_object_set_new(j, "p", number_json(row->p));
	json_object_set_new(j, "limit", number_json(compare_limit(limits, row->measure)));
	json_object_set_new(j, "detectable", number_json(row->detectable));
	json_object_set_new(j, "base_n", integer_json(row->base_n));
	json_object_set_new(j, "new_n", integer_json(row->new_n));
	if (row->why)
		json_object_set_new(j, "why", text_json(row->why));
	return j;
}

static json_t *cost_json(const struct finding *f)
{
	json_t *j = json_object();

	json_object_set_new(j, "subject", text_json(f->subject));
	json_object_set_new(j, "severity", text_json(severity_names[f->severity]));
	json_object_set_new(j, "evidence", text_json(f->evidence));
	json_object_set_new(j, "wall_s", number_json(f->cost_s));
	json_object_set_new(j, "cpu_s", number_json(f->cost_cpu_s));
	json_object_set_new(j, "bytes", number_json(f->cost_bytes));
	return j;
}

static json_t *finding_json(const struct comparison_finding *f)
{
	const struct finding_info *info = &finding_infos[f->in_new ? f->new.id : f->base.id];
	json_t *j = json_object();

	json_object_set_new(j, "agent", text_json(f->agent));
	json_object_set_new(j, "finding", text_json(info->name));
	json_object_set_new(j, "title", text_json(info->title));
	json_object_set_new(j, "change",
	        text_json(f->in_base && f->in_new ? "stays"
	                  : f->unjudged           ? "unknown"
	                  : f->in_new             ? "came"
	                                          : "went"));
	if (f->in_base)
		json_object_set_new(j, "base", cost_json(&f->base));
	if (f->in_new)
		json_object_set_new(j, "new", cost_json(&f->new));
	if (f->unjudged)
		json_object_set_new(j, "not_judged", text_json(f->unjudged));
	return j;
}

int json_diff(FILE *out, const struct diff_view *v)
{
	static const char *const sides[2] = {"base", "new"};
	json_t *j = json_object(), *rows = json_array(), *findings = json_array(), *warnings = json_array(),
	       *counts = json_object();
	int err;

	for (int side = 0; side < 2; side++) {
		json_t *files = json_array();

		for (int i = 0; i < v->files_len[side]; i++)
			json_array_append_new(files, text_json(v->files[side][i]));
		json_object_set_new(j, sides[side], files);
	}
	for (int i = 0; i < VERDICT_COUNT; i++)
		json_object_set_new(
		        counts, i == VERDICT_INSUFFICIENT ? "insufficient" : verdict_names[i], json_integer(v->c->counts[i]));
	for (int i = 0; i < v->c->len; i++)
		json_array_append_new(rows, row_json(&v->c->rows[i], v->limits));
	for (int i = 0; i < v->c->findings_len; i++)
		json_array_append_new(findings, finding_json(&v->c->findings[i]));
	for (int i = 0; i < v->c->warnings_len; i++)
		json_array_append_new(warnings, text_json(v->c->warnings[i]));
	json_object_set_new(j, "single_runs", json_boolean(v->c->recordings[0] == 1 || v->c->recordings[1] == 1));
	json_object_set_new(j, "counts", counts);
	json_object_set_new(j, "comparisons", rows);
	json_object_set_new(j, "findings", findings);
	json_object_set_new(j, "warnings", warnings);
	errno = 0;
	err = json_dumpf(j, out, JSON_COMPACT) || fputc('\n', out) == EOF || fflush(out) ? errno ? -errno : -EIO : 0;
	json_decref(j);
	return err;
}
