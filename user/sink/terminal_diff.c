/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The comparison that a person reads: what has changed first, what could not be told and why, findings that went and came. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "sink/diff.h"
#include "sink/format.h"
#include "sink/terminal_parts.h"

#define NAME_WIDTH 24
#define UNSURE_SHOWN 12 /* rows of insufficient data, unless all are asked for */

static const struct {
	const char *title;
	int style;
} sections[VERDICT_COUNT] = {
        [VERDICT_DEGRADED] = {"Degraded", STYLE_BAD},
        [VERDICT_IMPROVED] = {"Improved", 32},
        [VERDICT_INSUFFICIENT] = {"Insufficient data", STYLE_BOLD},
        [VERDICT_STABLE] = {"Stable", STYLE_BOLD},
};

static void cell_name(struct table *t, const struct screen *s, const char *name, int width)
{
	char fit[CELL_BYTES];

	text_fit(fit, sizeof(fit), name, width, s->utf8);
	table_cell(t, s, 0, "%s", fit);
}

/* "+12 to +19 %": the unit once. */
static void cell_interval(struct table *t, const struct screen *s, const struct comparison *row)
{
	char low[FIGURE_BYTES], high[FIGURE_BYTES];
	size_t unit;

	if (isnan(row->low)) {
		table_cell(t, s, 0, "-");
		return;
	}
	change_text(row->measure, row->low, low);
	change_text(row->measure, row->high, high);
	unit = strcspn(low, " ");
	if (low[0] != 'x' && strchr(high, ' ') && !strcmp(low + unit, strchr(high, ' ')))
		low[unit] = '\0';
	table_cell(t, s, 0, "%s to %s", low, high);
}

/* How many there were of what is judged by its values: "360, 60". Fewer calls may each do more. */
static void cell_values(struct table *t, const struct screen *s, const struct comparison *row, enum verdict verdict)
{
	enum measure_group group = measure_infos[row->measure].group;

	if (verdict == VERDICT_INSUFFICIENT)
		table_cell(t, s, 0, "%s", "");
	else if (group == GROUP_TIME || group == GROUP_ERRORS)
		table_cell(t, s, 0, "%s, %s", count_text((double)row->base_n), count_text((double)row->new_n));
	else
		table_cell(t, s, 0, "-");
}

static int print_rows(const struct screen *s, const struct diff_view *v, enum verdict verdict, int most, bool agents)
{
	const struct table_column columns[] = {
	        {.title = "agent", .left = true, .flex = true},
	        {.title = "of", .left = true, .flex = true},
	        {.title = "measure", .left = true},
	        {.title = "base"},
	        {.title = "new"},
	        {.title = "change"},
	        {.title = verdict == VERDICT_STABLE ? "seen from" : "95 % interval", .drop = 1},
	        {.title = "values", .drop = 2},
	        {.title = "why", .left = true, .clauses = true},
	};
	struct table t;
	int shown = 0;

	table_init(&t, columns, ARRAY_SIZE(columns));
	for (int i = 0; i < v->c->len && shown < most; i++) {
		const struct comparison *row = &v->c->rows[i];
		char text[FIGURE_BYTES];

		if (row->verdict != verdict)
			continue;
		shown++;
		cell_name(&t, s, agents ? row->agent : "", NAME_WIDTH);
		cell_name(&t, s, row->subject, NAME_WIDTH);
		table_cell(&t, s, 0, "%s", measure_infos[row->measure].name);
		table_cell(&t, s, 0, "%s", measure_text(row->measure, row->base, text));
		table_cell(&t, s, 0, "%s", measure_text(row->measure, row->new, text));
		if (verdict == VERDICT_INSUFFICIENT) {
			table_cell(&t, s, 0, "-");
			table_cell(&t, s, 0, "-");
		} else {
			table_cell(&t, s, STYLE_BOLD, "%s", change_text(row->measure, row->change, text));
			if (verdict == VERDICT_STABLE)
				table_cell(&t, s, 0, "%s", change_text(row->measure, row->detectable, text));
			else
				cell_interval(&t, s, row);
		}
		cell_values(&t, s, row, verdict);
		cell_name(&t, s, row->why ? row->why : "", CELL_BYTES);
	}
	return table_print(&t, s);
}

static int print_section(const struct screen *s, const struct diff_view *v, enum verdict verdict, bool agents)
{
	int count = v->c->counts[verdict], most = verdict == VERDICT_INSUFFICIENT && !v->all ? UNSURE_SHOWN : count, err;

	if (!count || (verdict == VERDICT_STABLE && !v->all))
		return 0;
	screen_line(s, sections[verdict].style, "%s", sections[verdict].title);
	err = print_rows(s, v, verdict, most, agents);
	if (count > most)
		screen_line(s, STYLE_DIM, "  and %d more (--all shows them)", count - most);
	fputc('\n', s->out);
	return err;
}

static void print_finding(const struct screen *s, const struct comparison_finding *f, bool agents)
{
	const struct finding *what = f->in_new ? &f->new : &f->base;
	const char *change = f->in_base && f->in_new ? "stays" : f->in_new ? "came" : "went away";
	char agent[CELL_BYTES] = "", base[FINDING_COST_BYTES], new[FINDING_COST_BYTES], about[CELL_BYTES];
	struct para p;

	if (f->unjudged)
		change = f->in_new ? "new only" : "base only";
	if (agents)
		text_fit(agent, sizeof(agent), f->agent, NAME_WIDTH, s->utf8);
	text_fit(about, sizeof(about), what->subject, 40, s->utf8);
	para_begin(&p, s, change);
	para_part(&p, "%s%s%s", agent, *agent ? ": " : "", finding_infos[what->id].title);
	if (*about)
		para_part(&p, "%s", about);
	if (f->in_base && f->in_new && *finding_cost(&f->base, base) && *finding_cost(&f->new, new))
		para_part(&p, "%s before and %s now", base, new);
	else if (*finding_cost(what, base))
		para_part(&p, "%s %s", f->in_new ? "costs" : "did cost", base);
	if (f->unjudged)
		para_part(&p, "could not be judged in the other: %s", f->unjudged);
	para_end(&p);
}

static void print_findings(const struct screen *s, const struct diff_view *v, bool agents)
{
	int stay = 0;

	for (int i = 0; i < v->c->findings_len; i++)
		stay += v->c->findings[i].in_base && v->c->findings[i].in_new;
	if (!v->c->findings_len)
		return;
	screen_line(s, STYLE_BOLD, "Findings");
	for (int kind = 0; kind < 3; kind++)
		for (int i = 0; i < v->c->findings_len; i++) {
			const struct comparison_finding *f = &v->c->findings[i];
			int is = !f->in_base ? 0 : !f->in_new ? 1 : 2;

			if (is == kind && (is < 2 || v->all))
				print_finding(s, f, agents);
		}
	if (stay && !v->all)
		screen_line(s, STYLE_DIM, "  %d as before (--all shows them)", stay);
	fputc('\n', s->out);
}

/* From which change for the worse on it would have been seen, by measure: of the row that shows the smallest. */
static void print_detectable(const struct screen *s, const struct diff_view *v)
{
	struct para p;
	bool begun = false;

	for (int id = 0; id < MEASURE_COUNT; id++) {
		double least = INFINITY;
		char text[FIGURE_BYTES];

		for (int i = 0; i < v->c->len; i++) {
			const struct comparison *row = &v->c->rows[i];

			if (row->measure == (enum measure_id)id && row->verdict == VERDICT_STABLE && row->detectable < least)
				least = row->detectable;
		}
		if (isinf(least))
			continue;
		if (!begun)
			para_begin(&p, s, "seen");
		para_part(&p, "%s%s %s", begun ? "" : "nine of ten changes for the worse show, where it is stable, from this size on, at best: ",
		        measure_infos[id].name, change_text((enum measure_id)id, least, text));
		begun = true;
	}
	if (!begun)
		return;
	para_part(&p, "%snear half of it with runs four times as long", v->all ? "" : "row by row with --all, ");
	para_end(&p);
}

/* How much such a comparison can tell, and what makes the sides unlike. */
static void print_notes(const struct screen *s, const struct diff_view *v)
{
	struct para p;
	char fit[512];

	screen_line(s, STYLE_BOLD, "Notes");
	for (int i = 0; i < v->c->warnings_len; i++) {
		text_fit(fit, sizeof(fit), v->c->warnings[i], 400, s->utf8);
		para_begin(&p, s, i ? "" : "unlike");
		para_text(&p, fit);
		para_end(&p);
	}
	print_detectable(s, v);
	para_begin(&p, s, "limits");
	for (int g = 0; g < MEASURE_GROUPS; g++)
		para_part(
		        &p, "%s %g %s", measure_group_names[g], v->limits->limit[g] * 100, g == GROUP_ERRORS ? "points" : "%");
	for (int i = 0; i < MEASURE_COUNT; i++)
		if (v->limits->measure[i] > 0)
			para_part(&p, "%s %g %s", measure_infos[i].name, v->limits->measure[i] * 100,
			        measure_infos[i].group == GROUP_ERRORS ? "points" : "%");
	para_end(&p);
	if (v->c->recordings[0] == 1 || v->c->recordings[1] == 1) {
		para_begin(&p, s, "sure");
		para_text(&p, v->c->recordings[0] == v->c->recordings[1]
		                      ? "of these two runs: with one recording a side, what differs from run to run anyway "
		                        "can't be told "
		                        "from a change. Several a side can: --base A1 A2 A3 --new B1 B2 B3"
		                      : "as far as one run shows on the side that has a single recording: what differs from "
		                        "run to run "
		                        "anyway can't be told from a change there");
		para_end(&p);
	}
}

static bool several_agents(const struct comparisons *c)
{
	for (int i = 1; i < c->len; i++)
		if (strcmp(c->rows[i].agent, c->rows[0].agent))
			return true;
	return false;
}

/* "a.ndjson", or "a.ndjson and 3 more". */
static void files_text(const struct screen *s, const struct diff_view *v, int side, char *buf, size_t size)
{
	const int width = s->width / 2 - 14;
	const char *path = v->files[side][0], *last = strrchr(path, '/');
	char name[CELL_BYTES];

	text_fit(name, sizeof(name), last && (int)strlen(path) > width ? last + 1 : path, width, s->utf8);
	if (v->files_len[side] > 1)
		snprintf(buf, size, "%s and %d more", name, v->files_len[side] - 1);
	else
		snprintf(buf, size, "%s", name);
}

int terminal_diff(FILE *out, const struct diff_view *v, const struct terminal_options *o)
{
	static const enum verdict order[] = {VERDICT_DEGRADED, VERDICT_IMPROVED, VERDICT_INSUFFICIENT, VERDICT_STABLE};
	struct screen s = {.out = out, .width = o->width, .color = o->color, .utf8 = o->utf8};
	char base[CELL_BYTES + 32], new[CELL_BYTES + 32];
	bool agents = several_agents(v->c);
	int err = 0;

	files_text(&s, v, 0, base, sizeof(base));
	files_text(&s, v, 1, new, sizeof(new));
	screen_line(&s, STYLE_BOLD, "%s -> %s", base, new);
	if (v->c->len && !agents) {
		char fit[CELL_BYTES];

		text_fit(fit, sizeof(fit), v->c->rows[0].agent, 60, s.utf8);
		screen_line(&s, STYLE_NONE, "  agent %s", fit);
	}
	screen_line(&s, STYLE_NONE, "  %d degraded, %d improved, %d stable, %d of insufficient data",
	        v->c->counts[VERDICT_DEGRADED], v->c->counts[VERDICT_IMPROVED], v->c->counts[VERDICT_STABLE],
	        v->c->counts[VERDICT_INSUFFICIENT]);
	if (!v->c->len)
		screen_line(&s, STYLE_NONE, "  nothing to compare: no agent has data on both sides");
	fputc('\n', out);
	for (size_t i = 0; i < ARRAY_SIZE(order) && !err; i++)
		err = print_section(&s, v, order[i], agents);
	print_findings(&s, v, agents);
	print_notes(&s, v);
	if (!err && (fflush(out) || ferror(out)))
		err = errno ? -errno : -EIO;
	return err;
}
