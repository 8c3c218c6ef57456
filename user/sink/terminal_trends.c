/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What isn't steady: trends, changes, forecasts and odd moments, a paragraph each. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "judge/trend.h"
#include "lib/timestamp.h"
#include "sink/format.h"
#include "sink/terminal_parts.h"

#define TRENDS_SHOWN 12
#define VALUE_LEN 32

/* Those of one agent and subject that go the same way are told together: the one that tells when it changed, else the one that changed most, and the names of the others. */
struct told {
	const struct trend *list;
	bool *done;
	int len;
	const struct recording *recording;
};

static const char *value_format(enum measure_id m, double v, char buf[VALUE_LEN])
{
	char number[FORMAT_LEN];

	switch (measure_infos[m].group) {
	case GROUP_TIME:
		snprintf(buf, VALUE_LEN, "%s", format_ns(v * 1e9, number));
		break;
	case GROUP_MEMORY:
		snprintf(buf, VALUE_LEN, "%s", format_bytes(v, number));
		break;
	default:
		snprintf(buf, VALUE_LEN, "%.3g %%", v * 100);
		break;
	}
	return buf;
}
#define figure(m, v) value_format((m), (v), (char[VALUE_LEN]){0})

/* "64.0 s (12:31:05Z)" */
static const char *moment_format(const struct told *told, double at_s, char buf[64])
{
	char stamp[TIMESTAMP_LEN];
	int64_t start;

	if (timestamp_parse(told->recording->header.start, &start))
		snprintf(buf, 64, "%.1f s", at_s);
	else
		snprintf(buf, 64, "%.1f s (%.8sZ)", at_s, timestamp_format(start + (int64_t)(at_s * 1e9), stamp) + 11);
	return buf;
}
#define moment(told, at_s) moment_format((told), (at_s), (char[64]){0})

static bool same_subject(const struct trend *a, const struct trend *b)
{
	return a->agent == b->agent && measure_infos[a->measure].of == measure_infos[b->measure].of &&
	       !strcmp(a->subject, b->subject) && measure_infos[a->measure].group == measure_infos[b->measure].group;
}

static bool same_way(const struct trend *a, const struct trend *b, bool odd)
{
	if (odd)
		return b->odd_count;
	return a->verdict == b->verdict && (a->verdict != TREND_STEADY || b->changes_len);
}

/* Of those that are told together with the i-th, the one to be told. */
static int told_by(const struct told *told, int i, bool odd)
{
	const struct trend *t = &told->list[i];

	for (int n = i; n < told->len && !odd && !t->miss.rule; n++)
		if (!told->done[n] && same_subject(t, &told->list[n]) && same_way(t, &told->list[n], odd) &&
		        told->list[n].changes_len)
			return n;
	return i;
}

static void name_part(struct para *p, const struct told *told, const struct trend *t)
{
	char agent[CELL_BYTES], subject[CELL_BYTES], whose[CELL_BYTES + 16] = "";

	text_fit(agent, sizeof(agent), t->agent_name, 24, p->screen->utf8);
	text_fit(subject, sizeof(subject), t->subject, 24, p->screen->utf8);
	if (told->recording->agents_len > 1)
		snprintf(whose, sizeof(whose), "%d: %s, ", t->agent, agent);
	para_part(p, "%s%s%s%s", whose, subject, *subject ? " " : "", measure_infos[t->measure].name);
}

/* The names of those that are told together with it, which are done then. */
static void also_take(const struct told *told, int of, bool odd, char *names, size_t size)
{
	const struct trend *t = &told->list[of];

	*names = '\0';
	for (int i = 0; i < told->len; i++) {
		const struct trend *other = &told->list[i];
		size_t len = strlen(names);

		if (i == of || told->done[i] || !same_subject(t, other) || !same_way(t, other, odd))
			continue;
		told->done[i] = true;
		snprintf(names + len, size - len, "%s%s", len ? ", " : "", measure_infos[other->measure].name);
	}
}

static void slope_part(struct para *p, const struct trend *t)
{
	static const struct {
		double s;
		const char *name;
	} per[] = {{3600, "an hour"}, {60, "a minute"}, {1, "a second"}};
	int i = 0;

	while (i < 2 && t->span_s < per[i].s)
		i++;
	para_part(p, "%s %s (%s to %s)", figure(t->measure, fabs(t->slope) * per[i].s), per[i].name,
	        figure(t->measure, fmin(fabs(t->low), fabs(t->high)) * per[i].s),
	        figure(t->measure, fmax(fabs(t->low), fabs(t->high)) * per[i].s));
}

static void changes_part(struct para *p, const struct told *told, const struct trend *t)
{
	for (int i = 0; i < t->changes_len; i++)
		para_part(p, "at %s from %s to %s", moment(told, t->changes[i].at_s), figure(t->measure, t->changes[i].before),
		        figure(t->measure, t->changes[i].after));
}

static void miss_part(struct para *p, const struct trend *t)
{
	const struct trend_miss *m = &t->miss;

	if (!m->rule)
		return;
	if (m->in_high_s < 0)
		para_part(p, "misses %s in %s (%s at the earliest)", m->rule->name, ns_text(m->in_s * 1e9),
		        ns_text(m->in_low_s * 1e9));
	else
		para_part(p, "misses %s in %s (%s to %s)", m->rule->name, ns_text(m->in_s * 1e9), ns_text(m->in_low_s * 1e9),
		        ns_text(m->in_high_s * 1e9));
}

static void trend_print(const struct screen *s, const struct told *told, int i, const char *also)
{
	const struct trend *t = &told->list[i];
	struct para p;

	para_begin(&p, s, t->verdict == TREND_STEADY ? "changed" : trend_names[t->verdict]);
	name_part(&p, told, t);
	if (t->changes_len) {
		changes_part(&p, told, t);
	} else {
		para_part(&p, "%s -> %s", figure(t->measure, t->first), figure(t->measure, t->last));
		slope_part(&p, t);
	}
	miss_part(&p, t);
	if (*also)
		para_part(&p, "also %s", also);
	para_end(&p);
}

static void odd_print(const struct screen *s, const struct told *told, int i, const char *also)
{
	const struct trend *t = &told->list[i];
	int shown = t->odd_len < 2 ? t->odd_len : 2;
	struct para p;

	para_begin(&p, s, "odd");
	name_part(&p, told, t);
	for (int n = 0; n < shown; n++)
		para_part(&p, "%s at %s where %s was usual", figure(t->measure, t->odd[n].value), moment(told, t->odd[n].at_s),
		        figure(t->measure, t->odd[n].expected));
	if (t->odd_count > (uint64_t)shown)
		para_part(&p, "%s more", count_text((double)(t->odd_count - (uint64_t)shown)));
	if (*also)
		para_part(&p, "also %s", also);
	para_end(&p);
}

static bool agent_shown(const struct recording *r, int id)
{
	for (int i = 0; i < r->agents_len; i++)
		if (r->agents[i].info.id == id)
			return true;
	return false;
}

/* One kind after the other. Returns how many were left out. */
static int all_print(const struct screen *s, struct told *told, bool odd, int *shown)
{
	int left_out = 0;

	for (int i = 0; i < told->len; i++) {
		const struct trend *t = &told->list[i];
		bool tell = odd ? t->odd_count > 0 : t->verdict > TREND_STEADY || t->changes_len;
		char also[256];
		int by;

		if (!tell || told->done[i] || !agent_shown(told->recording, t->agent))
			continue;
		by = told_by(told, i, odd);
		told->done[by] = true;
		also_take(told, by, odd, also, sizeof(also));
		if (*shown == TRENDS_SHOWN) {
			left_out++;
			continue;
		}
		if (!(*shown)++)
			screen_line(s, STYLE_BOLD, "Trends");
		if (odd)
			odd_print(s, told, by, also);
		else
			trend_print(s, told, by, also);
	}
	return left_out;
}

int terminal_trends(const struct screen *s, const struct recording *r, const struct trend_list *l)
{
	_cleanup_free_ bool *done = calloc((size_t)l->len + 1, sizeof(*done));
	struct told told = {l->at, done, l->len, r};
	int shown = 0, left_out;

	if (!done)
		return -ENOMEM;
	left_out = all_print(s, &told, false, &shown);
	memset(done, 0, (size_t)l->len * sizeof(*done));
	left_out += all_print(s, &told, true, &shown);
	if (left_out)
		screen_line(s, STYLE_DIM, "  and %d more (--json has all)", left_out);
	if (shown)
		fputc('\n', s->out);
	return 0;
}
