/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "judge/trend.h"
#include "lib/timestamp.h"
#include "sink/json_parts.h"

/* Seconds since the recording's start, and on the clock where that is known. */
static void set_moment(json_t *j, const struct recording *r, double at_s)
{
	char stamp[TIMESTAMP_LEN];
	int64_t start;

	json_object_set_new(j, "at_s", number_json(at_s));
	if (!timestamp_parse(r->header.start, &start))
		json_object_set_new(j, "at", text_json(timestamp_format(start + (int64_t)(at_s * 1e9), stamp)));
}

static json_t *changes_json(const struct recording *r, const struct trend *t)
{
	json_t *list = json_array();

	for (int i = 0; i < t->changes_len; i++) {
		json_t *j = json_object();

		set_moment(j, r, t->changes[i].at_s);
		json_object_set_new(j, "before", number_json(t->changes[i].before));
		json_object_set_new(j, "after", number_json(t->changes[i].after));
		json_array_append_new(list, j);
	}
	return list;
}

static json_t *odd_json(const struct recording *r, const struct trend *t)
{
	json_t *list = json_array();

	for (int i = 0; i < t->odd_len; i++) {
		json_t *j = json_object();

		set_moment(j, r, t->odd[i].at_s);
		json_object_set_new(j, "value", number_json(t->odd[i].value));
		json_object_set_new(j, "expected", number_json(t->odd[i].expected));
		json_array_append_new(list, j);
	}
	return list;
}

/* In how many seconds; null: perhaps never. */
static json_t *miss_json(const struct trend_miss *m)
{
	json_t *j;

	if (!m->rule)
		return json_null();
	j = json_object();
	json_object_set_new(j, "rule", text_json(m->rule->name));
	json_object_set_new(j, "in_s", number_json(m->in_s));
	json_object_set_new(j, "in_low_s", number_json(m->in_low_s));
	json_object_set_new(j, "in_high_s", m->in_high_s < 0 ? json_null() : number_json(m->in_high_s));
	return j;
}

static json_t *trend_json(const struct recording *r, const struct trend *t)
{
	json_t *j = json_object();

	json_object_set_new(j, "agent", json_integer(t->agent));
	json_object_set_new(j, "agent_name", text_json(t->agent_name));
	json_object_set_new(j, "subject", text_json(t->subject));
	json_object_set_new(j, "measure", text_json(measure_infos[t->measure].name));
	json_object_set_new(j, "verdict", text_json(trend_names[t->verdict]));
	json_object_set_new(j, "points", json_integer(t->points));
	json_object_set_new(j, "span_s", number_json(t->span_s));
	json_object_set_new(j, "level", number_json(t->level));
	json_object_set_new(j, "first", number_json(t->first));
	json_object_set_new(j, "last", number_json(t->last));
	json_object_set_new(j, "slope_per_s", number_json(t->slope));
	json_object_set_new(j, "slope_low_per_s", number_json(t->low));
	json_object_set_new(j, "slope_high_per_s", number_json(t->high));
	json_object_set_new(j, "changes", changes_json(r, t));
	json_object_set_new(j, "miss", miss_json(&t->miss));
	json_object_set_new(j, "odd", odd_json(r, t));
	json_object_set_new(j, "odd_count", integer_json(t->odd_count));
	return j;
}

static bool reported(const struct recording *r, const struct trend *t)
{
	for (int a = 0; a < r->agents_len; a++)
		if (r->agents[a].info.id == t->agent)
			return true;
	return false;
}

json_t *trends_json(const struct recording *r, const struct trend_list *l, bool all)
{
	json_t *j = json_array();

	for (int i = 0; i < l->len; i++) {
		const struct trend *t = &l->at[i];

		if (reported(r, t) && (all || t->verdict > TREND_STEADY || t->changes_len || t->odd_count))
			json_array_append_new(j, trend_json(r, t));
	}
	return j;
}

json_t *trends_count_json(const struct recording *r, const struct trend_list *l)
{
	int counts[TREND_VERDICTS] = {0};
	json_t *j = json_object();

	for (int i = 0; i < l->len; i++)
		if (reported(r, &l->at[i]))
			counts[l->at[i].verdict]++;
	for (int v = 0; v < TREND_VERDICTS; v++)
		json_object_set_new(j, trend_names[v], json_integer(counts[v]));
	return j;
}
