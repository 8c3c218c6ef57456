/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What watching cost, and its budget: summed, written and read. */
#include "model/recording_cost.h"

#include <stdio.h>
#include <string.h>

#include "lib/util.h"
#include "model/metrics.h"
#include "model/recording_parse.h"
#include "model/recording_put.h"

const char *const cost_part_names[COST_PARTS] = { "bpf", "traps", "collector" };

void cost_step(struct cost_data *c, double at_s, enum rung from, enum rung to, const char *why)
{
	if (c->steps < STEPS_KEPT) {
		struct detail_step *s = &c->step[c->steps];

		*s = (struct detail_step){ .at_s = at_s, .from = from, .to = to };
		snprintf(s->why, sizeof(s->why), "%s", why);
	}
	c->steps++;
}

void cost_merge(struct cost_data *into, const struct cost_data *from)
{
	uint64_t steps;

	if (__builtin_add_overflow(into->steps, from->steps, &steps))
		steps = UINT64_MAX;
	into->governed |= from->governed;
	into->budget_s += from->budget_s;
	for (int p = 0; p < COST_PARTS; p++)
		into->part_s[p] += from->part_s[p];
	for (int r = 0; r < RUNG_COUNT; r++)
		into->rung_s[r] += from->rung_s[r];
	for (uint64_t i = 0; i < from->steps && i < STEPS_KEPT && into->steps < STEPS_KEPT; i++)
		cost_step(into, from->step[i].at_s, from->step[i].from, from->step[i].to, from->step[i].why);
	into->steps = steps;
}

double cost_sum_s(const struct cost_data *c)
{
	double sum = 0;

	for (int p = 0; p < COST_PARTS; p++)
		sum += c->part_s[p];
	return sum;
}

enum rung cost_lowest(const struct cost_data *c)
{
	int r = RUNG_COUNT - 1;

	while (r > 0 && !(c->rung_s[r] > 0))
		r--;
	return (enum rung)r;
}

double cost_reduced_s(const struct cost_data *c)
{
	double sum = 0;

	for (int r = RUNG_FULL + 1; r < RUNG_COUNT; r++)
		sum += c->rung_s[r];
	return sum;
}

/* ---- writing ---- */

/* Metrics that the lowest rung does this to. */
static void put_marked(struct json_text *j, enum mark how, enum rung lowest)
{
	bool any = false;

	for (int m = 0; m < METRIC_IDS; m++) {
		if (rung_mark(lowest, metric_infos[m].name) != (int)how)
			continue;
		if (!any)
			put_open(j, mark_names[how], "[");
		any = true;
		put_string(j, NULL, metric_infos[m].name);
	}
	if (any)
		put_close(j, "]");
}

static void put_steps(struct json_text *j, const struct cost_data *c)
{
	if (!c->steps)
		return;
	put_u64(j, "steps_count", c->steps);
	put_open(j, "steps", "[");
	for (uint64_t i = 0; i < c->steps && i < STEPS_KEPT; i++) {
		put_open(j, NULL, "{");
		put_fraction(j, "at_s", c->step[i].at_s);
		put_string(j, "from", rung_infos[c->step[i].from].name);
		put_string(j, "to", rung_infos[c->step[i].to].name);
		put_string(j, "why", c->step[i].why);
		put_close(j, "}");
	}
	put_close(j, "]");
}

void put_cost(struct json_text *j, const struct cost_data *c)
{
	enum rung lowest = cost_lowest(c);

	if (!c->governed)
		return;
	put_fraction(j, "budget_s", c->budget_s);
	put_open(j, "cost_s", "{");
	for (int p = 0; p < COST_PARTS; p++)
		put_fraction(j, cost_part_names[p], c->part_s[p]);
	put_close(j, "}");
	put_string(j, "detail", rung_infos[lowest].name);
	put_open(j, "detail_s", "{");
	for (int r = 0; r < RUNG_COUNT; r++)
		if (c->rung_s[r] > 0)
			put_fraction(j, rung_infos[r].name, c->rung_s[r]);
	put_close(j, "}");
	put_steps(j, c);
	put_marked(j, MARK_ESTIMATED, lowest);
	put_marked(j, MARK_PARTIAL, lowest);
}

/* ---- reading ---- */

static int parse_step(struct refusal *r, const struct json_node *obj, struct cost_data *c)
{
	const char *from = "", *to = "";
	char why[GOVERNOR_WHY] = "";
	double at_s = 0;
	int err;

	if (obj->kind != NODE_OBJECT)
		return refuse(r, "a step is not an object");
	err = take_seconds(r, obj, "at_s", &at_s);
	if (!err)
		err = take_string(r, obj, "from", &from);
	if (!err)
		err = take_string(r, obj, "to", &to);
	if (!err)
		err = take_text(r, obj, "why", why, sizeof(why));
	if (!err && rung_find(from) >= 0 && rung_find(to) >= 0) /* rungs of a later program: there is nothing to say of them */
		cost_step(c, at_s, (enum rung)rung_find(from), (enum rung)rung_find(to), why);
	return err;
}

int parse_cost(struct refusal *r, const struct json_node *observer, struct cost_data *c)
{
	const struct json_node *parts, *rungs, *steps, *value;
	struct json_walk walk;
	uint64_t count = 0;
	int err = take_seconds(r, observer, "budget_s", &c->budget_s);

	c->governed = json_get(observer, "budget_s");
	if (!err)
		err = take_child(r, observer, "cost_s", NODE_OBJECT, &parts);
	for (int p = 0; p < COST_PARTS && !err; p++)
		err = take_seconds(r, parts, cost_part_names[p], &c->part_s[p]);
	if (!err)
		err = take_child(r, observer, "detail_s", NODE_OBJECT, &rungs);
	for (int n = 0; n < RUNG_COUNT && !err; n++)
		err = take_seconds(r, rungs, rung_infos[n].name, &c->rung_s[n]);
	if (!err)
		err = take_child(r, observer, "steps", NODE_ARRAY, &steps);
	if (!err)
		err = take_u64(r, observer, "steps_count", &count);
	if (err)
		return err;
	for (walk = json_walk(steps); json_element(&walk, &value);) {
		err = parse_step(r, value, c);
		if (err)
			return err;
	}
	if (count > c->steps)
		c->steps = count;
	return 0;
}
