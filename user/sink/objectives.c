// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "sink/objectives.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "lib/timestamp.h"
#include "lib/util.h"
#include "sink/format.h"

#define MISSES_SHOWN 10 /* rows a rule */

const char *rule_value_text(const struct rule *r, double value, char *buf, size_t len)
{
	enum metric_unit unit;
	char text[FORMAT_LEN];
	bool ratio;

	unit = expression_unit(r->value, &ratio);
	if (isnan(value))
		snprintf(buf, len, "-");
	else if (ratio)
		snprintf(buf, len, "%.3g %%", value * 100);
	else if (unit == UNIT_NS)
		snprintf(buf, len, "%s", format_ns(value * 1e9, text));
	else
		snprintf(buf, len, "%s", unit == UNIT_BYTES ? format_bytes(value, text) : format_rate(value, text));
	return buf;
}
#define rule_value_shown(r, value) rule_value_text((r), (value), (char[32]){ 0 }, 32)

/* ---- the table ---- */

static const char *time_of_day(const char *start, double since_s, char buf[16])
{
	char stamp[TIMESTAMP_LEN];
	int64_t ns;

	if (timestamp_parse(start, &ns))
		snprintf(buf, 16, "%.0f s", since_s);
	else
		snprintf(buf, 16, "%.8s", strchr(timestamp_format(ns + (int64_t)(since_s * 1e9), stamp), 'T') + 1);
	return buf;
}

static void row_begin(struct table *t, const struct screen *s, const struct objective *o, const char *agent, const char *subject, double value, int style)
{
	char limit[80];

	table_cell(t, s, style, "%s", o->rule->name);
	table_cell(t, s, STYLE_NONE, "%s", agent);
	table_cell(t, s, STYLE_NONE, "%s", subject);
	table_cell(t, s, STYLE_NONE, "%s", rule_value_shown(o->rule, value));
	table_cell(t, s, STYLE_NONE, "%s", rule_limit_text(o->rule, limit, sizeof(limit)));
}

static int severity_style(enum severity s)
{
	return s == SEVERITY_CRITICAL ? 31 : s == SEVERITY_WARNING ? 33 : STYLE_NONE;
}

/* Whether the name alone doesn't tell whose it is. */
static bool name_shared(const struct objective *o, const struct objective_miss *m)
{
	for (int i = 0; i < o->misses_len; i++)
		if (o->misses[i].agent != m->agent && !strcmp(o->misses[i].agent_name, m->agent_name))
			return true;
	return false;
}

static void missed_rows(struct table *t, const struct screen *s, const struct objective *o, const char *start)
{
	int style = severity_style(o->rule->severity);

	for (int i = 0; i < o->misses_len && i < MISSES_SHOWN; i++) {
		const struct objective_miss *m = &o->misses[i];
		char times[32] = "", at[16], name[CELL_BYTES];

		if (m->times > 1)
			snprintf(times, sizeof(times), ", %d times", m->times);
		snprintf(name, sizeof(name), name_shared(o, m) ? "%.100s #%d" : "%.100s", m->agent_name, m->agent);
		row_begin(t, s, o, name, m->subject, m->worst, style);
		table_cell(t, s, style, "%s %s, %s%s%s", severity_names[o->rule->severity], time_of_day(start, m->since_s, at), ns_text(m->seconds * 1e9), times,
			   m->ongoing ? ", to the end" : "");
	}
	if (o->misses_len > MISSES_SHOWN || o->misses_more) {
		row_begin(t, s, o, "", "", NAN, style);
		table_cell(t, s, style, "missed by %s more", count_text((double)o->misses_len - MISSES_SHOWN + (double)o->misses_more));
	}
}

static void others_row(struct table *t, const struct screen *s, const struct objective *o)
{
	char silent[32] = "", agents[32];

	snprintf(agents, sizeof(agents), "%d agent%s", o->met, o->met == 1 ? "" : "s");
	if (o->silent)
		snprintf(silent, sizeof(silent), ", of %d no data", o->silent);
	row_begin(t, s, o, o->missed ? agents : o->worst_agent, o->missed ? "" : o->worst_subject, o->missed ? NAN : o->worst, STYLE_NONE);
	table_cell(t, s, STYLE_NONE, "met%s", silent);
}

/* One reason for all of them, or NULL. */
static const char *same_why(const struct objective *all, int len)
{
	for (int i = 0; i < len; i++)
		if (all[i].verdict != OBJECTIVE_SILENT || !all[i].why || strcmp(all[i].why, all[0].why))
			return NULL;
	return len ? all[0].why : NULL;
}

static void silent_print(const struct screen *s, const struct objective *all, int len)
{
	const char *same = same_why(all, len);
	struct para p;
	bool any = false;

	if (same && len > 1) {
		para_begin(&p, s, "no data");
		para_part(&p, "none of the %d rules: %s", len, same);
		para_end(&p);
		return;
	}
	for (int i = 0; i < len; i++) {
		if (all[i].verdict != OBJECTIVE_SILENT)
			continue;
		if (!any)
			para_begin(&p, s, "no data");
		any = true;
		para_part(&p, "%s (%s)", all[i].rule->name, all[i].why ? all[i].why : "too few");
	}
	if (any)
		para_end(&p);
}

/* What to do about what is missed. */
static void help_print(const struct screen *s, const struct objective *all, int len)
{
	for (int i = 0; i < len; i++) {
		struct para p;

		if (all[i].verdict != OBJECTIVE_MISSED || !all[i].rule->help)
			continue;
		para_begin(&p, s, "help");
		para_part(&p, "%s: %s", all[i].rule->name, all[i].rule->help);
		para_end(&p);
	}
}

int objectives_table(const struct screen *s, const struct objective *all, int len, const char *start)
{
	static const struct table_column columns[] = {
		{ .title = "rule", .left = true },		 { .title = "agent", .left = true, .flex = true }, { .title = "of", .left = true, .flex = true },
		{ .title = "worst" },				 { .title = "limit", .left = true },
		{ .title = "missed: since, for", .left = true, .clauses = true },
	};
	struct table t;
	int rows = 0;

	table_init(&t, columns, ARRAY_SIZE(columns));
	for (int v = OBJECTIVE_MISSED; v <= OBJECTIVE_MET; v++) {
		for (int i = 0; i < len; i++) {
			if (all[i].verdict != (enum objective_verdict)v)
				continue;
			rows++;
			if (v == OBJECTIVE_MISSED)
				missed_rows(&t, s, &all[i], start);
			if (all[i].met)
				others_row(&t, s, &all[i]);
		}
	}
	if (rows && table_print(&t, s))
		return -ENOMEM;
	help_print(s, all, len);
	silent_print(s, all, len);
	return 0;
}

/* ---- JSON ---- */

static void put_value(struct json_text *j, const char *key, double value)
{
	if (isfinite(value))
		put_real(j, key, value);
	else
		put_null(j, key);
}

static void put_miss(struct json_text *j, const struct objective_miss *m)
{
	put_open(j, NULL, "{");
	put_int(j, "agent", m->agent);
	put_string(j, "name", m->agent_name);
	put_string(j, "subject", m->subject);
	put_value(j, "worst", m->worst);
	put_real(j, "since_s", m->since_s);
	put_real(j, "seconds", m->seconds);
	put_int(j, "times", m->times);
	put_bool(j, "ongoing", m->ongoing);
	put_close(j, "}");
}

void objectives_put(struct json_text *j, const char *key, const struct objective *all, int len)
{
	static const char *const units[] = { [UNIT_NS] = "s", [UNIT_BYTES] = "bytes", [UNIT_COUNT] = "" };

	put_open(j, key, "[");
	for (int i = 0; i < len; i++) {
		const struct objective *o = &all[i];

		put_open(j, NULL, "{");
		put_string(j, "rule", o->rule->name);
		put_string(j, "severity", severity_names[o->rule->severity]);
		put_string(j, "when", o->rule->text);
		put_string(j, "unit", units[expression_unit(o->rule->value, NULL)]);
		put_value(j, "limit", o->rule->limit);
		put_string(j, "verdict", objective_names[o->verdict]);
		put_value(j, "worst", o->worst);
		put_string(j, "worst_agent", o->worst_agent);
		put_string(j, "worst_subject", o->worst_subject);
		put_int(j, "agents_met", o->met);
		put_int(j, "agents_missed", o->missed);
		put_int(j, "agents_no_data", o->silent);
		put_string(j, "why", o->verdict == OBJECTIVE_SILENT && o->why ? o->why : "");
		put_string(j, "help", o->rule->help);
		put_open(j, "misses", "[");
		for (int m = 0; m < o->misses_len; m++)
			put_miss(j, &o->misses[m]);
		put_close(j, "]");
		put_u64(j, "misses_more", o->misses_more);
		put_close(j, "}");
	}
	put_close(j, "]");
}
