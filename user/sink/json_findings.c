/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "judge/finding.h"
#include "sink/json_parts.h"

static json_t *finding_json(const struct recording *r, const struct finding *f)
{
	const struct finding_info *info = &finding_infos[f->id];
	json_t *j = json_object(), *cost = json_object();

	json_object_set_new(j, "finding", text_json(info->name));
	json_object_set_new(j, "severity", text_json(severity_names[f->severity]));
	json_object_set_new(j, "agent", json_integer(f->agent));
	for (int i = 0; i < r->agents_len; i++)
		if (r->agents[i].info.id == f->agent) {
			json_object_set_new(j, "agent_name", text_json(r->agents[i].info.name));
			json_object_set_new(j, "pid", json_integer(r->agents[i].info.pid));
		}
	json_object_set_new(j, "title", text_json(info->title));
	json_object_set_new(j, "subject", text_json(f->subject));
	json_object_set_new(j, "evidence", text_json(f->evidence));
	json_object_set_new(cost, "wall_s", number_json(f->cost_s));
	json_object_set_new(cost, "cpu_s", number_json(f->cost_cpu_s));
	json_object_set_new(cost, "bytes", number_json(f->cost_bytes));
	json_object_set_new(j, "cost_per_minute", cost);
	json_object_set_new(j, "change", text_json(info->change));
	json_object_set_new(j, "unless", text_json(info->unless));
	return j;
}

json_t *findings_json(const struct recording *r, const struct outlooks *outlooks)
{
	struct finding *list;
	int len;
	json_t *j;

	if (findings_recording(r, outlooks, &list, &len))
		return NULL;
	j = json_array();
	for (int i = 0; i < len; i++)
		json_array_append_new(j, finding_json(r, &list[i]));
	free(list);
	return j;
}

json_t *findings_unjudged_json(const struct recording *r)
{
	json_t *list = json_array();

	for (int a = 0; a < r->agents_len; a++) {
		struct finding_input in = {.data = &r->agents[a].total, .seconds = r->agents[a].total.observed_s};

		finding_input_watched(&in, &r->header, &r->observer);
		for (int i = 0; i < FINDING_COUNT; i++) {
			const char *why = r->agents[a].info.merged > 1 ? "a sum of several agents"
			                                               : finding_unjudged(&in, (enum finding_id)i);
			json_t *j = why ? json_object() : NULL;

			if (!why)
				continue;
			json_object_set_new(j, "agent", json_integer(r->agents[a].info.id));
			json_object_set_new(j, "finding", text_json(finding_infos[i].name));
			json_object_set_new(j, "probe", text_json(probe_infos[finding_infos[i].probe].name));
			json_object_set_new(j, "why", text_json(why));
			json_array_append_new(list, j);
		}
	}
	return list;
}
