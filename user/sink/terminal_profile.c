/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Stacks: which code was on the CPU, and which code waited. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sink/format.h"
#include "sink/profile.h"
#include "sink/terminal_parts.h"

#define ROWS_SHOWN 12
#define PROCESSES_SHOWN 5
#define LEAST_SHOWN 0.005 /* of the whole: less is noise in a table */
#define UNKNOWN_TOLD 0.01
#define OWN_TOLD 0.01
#define OWNERS_SHOWN 6
#define WHERE_SHOWN 24 /* columns of a place: one long path must not cost a table all of them */

void cell_share(struct table *t, const struct screen *s, uint64_t part, uint64_t whole)
{
	double percent = whole ? (double)part / (double)whole * 100 : 0;

	if (part && percent < 0.05)
		table_cell(t, s, 0, "<0.1");
	else
		table_cell(t, s, 0, "%.1f", percent);
}

/* A file and its line, or what its end says of it. */
static void cell_where(struct table *t, const struct screen *s, const struct frame *f)
{
	char text[FRAME_TEXT], fit[FRAME_TEXT];
	const char *at = frame_where(f, text);
	bool whole = true;

	while (text_fit(fit, sizeof(fit), at, FRAME_TEXT, s->utf8) > WHERE_SHOWN - (whole ? 0 : 2)) {
		whole = false;
		do
			at++;
		while (((unsigned char)*at & 0xc0) == 0x80); /* within a character of UTF-8 */
	}
	table_cell(t, s, STYLE_DIM, "%s%s", whole ? "" : "..", at);
}

void cell_frame(struct table *t, const struct screen *s, const struct frame *f)
{
	char text[FRAME_TEXT];

	table_cell(t, s, 0, "%s", f ? frame_name(f, text) : "");
	if (f)
		cell_where(t, s, f);
	else
		table_cell(t, s, 0, "%s", "");
}

/* "python3 91 %, git 6 %, 3 others": only where there is more than one. */
static int print_processes(const struct screen *s, const struct stacks *stacks, const struct sample_set *set)
{
	size_t len, i = 0;
	_cleanup_free_ struct process_row *rows = profile_processes(stacks, set, &len);
	double sum = (double)sample_set_sum(set);
	struct para p;

	if (!rows)
		return -ENOMEM;
	if (len < 2)
		return 0;
	para_begin(&p, s, "by process");
	for (; i < len && i < PROCESSES_SHOWN && (!i || (double)rows[i].value >= LEAST_SHOWN * sum); i++)
		para_part(&p, "%s %.0f %%", rows[i].name[0] ? rows[i].name : "unknown", (double)rows[i].value / sum * 100);
	if (i < len)
		para_part(&p, "%zu %s", len - i, len - i == 1 ? "other" : "others");
	para_end(&p);
	return 0;
}

/* "score 62 %, digest 14 %": by the innermost function of the program's own, libraries and the kernel being at its service. */
static int print_owners(const struct screen *s, const struct stacks *stacks, const struct sample_set *set)
{
	size_t len;
	_cleanup_free_ struct function_row *rows = profile_owners(stacks, set, &len);
	double sum = (double)sample_set_sum(set);
	char name[FRAME_TEXT];
	struct para p;

	if (!rows)
		return -ENOMEM;
	if (!len || (double)rows[0].self < OWN_TOLD * sum)
		return 0;
	para_begin(&p, s, "own code");
	for (size_t i = 0; i < len && i < OWNERS_SHOWN && (double)rows[i].self >= OWN_TOLD * sum; i++)
		para_part(&p, "%s %.0f %%", frame_name(rows[i].frame, name), (double)rows[i].self / sum * 100);
	para_end(&p);
	return 0;
}

/* What part of the figures can't be trusted to name the code. */
static void print_unknown(const struct screen *s, const struct stacks *stacks, const struct sample_set *set)
{
	double sum = (double)sample_set_sum(set);
	struct profile_unknown unknown;
	struct para p;

	profile_unknown(stacks, set, &unknown);
	if ((double)unknown.whole < UNKNOWN_TOLD * sum && (double)unknown.leaf < UNKNOWN_TOLD * sum && (double)unknown.cut < UNKNOWN_TOLD * sum)
		return;
	para_begin(&p, s, "unknown");
	if ((double)unknown.leaf >= UNKNOWN_TOLD * sum)
		para_part(&p, "%.0f %% on top of the stack in code without symbols", (double)unknown.leaf / sum * 100);
	if ((double)unknown.whole >= UNKNOWN_TOLD * sum)
		para_part(&p, "%.0f %% in stacks of which no function has a name", (double)unknown.whole / sum * 100);
	if ((double)unknown.cut >= UNKNOWN_TOLD * sum)
		para_part(&p, "%.0f %% in stacks whose outer callers were not found", (double)unknown.cut / sum * 100);
	para_end(&p);
}

static int print_functions(const struct screen *s, const struct stacks *stacks, const struct sample_set *set)
{
	static const struct table_column columns[] = {
		{ .title = "self %" },
		{ .title = "total %", .drop = 2 },
		{ .title = "function", .left = true, .flex = true },
		{ .title = "where", .left = true, .drop = 3 },
	};
	size_t len;
	_cleanup_free_ struct function_row *rows = profile_functions(stacks, set, &len);
	uint64_t sum = sample_set_sum(set);
	struct table t;

	if (!rows)
		return -ENOMEM;
	table_init(&t, columns, ARRAY_SIZE(columns));
	for (size_t i = 0; i < len && i < ROWS_SHOWN && (!i || (double)rows[i].self >= LEAST_SHOWN * (double)sum); i++) {
		cell_share(&t, s, rows[i].self, sum);
		cell_share(&t, s, rows[i].total, sum);
		cell_frame(&t, s, rows[i].frame);
	}
	return table_print(&t, s);
}

int terminal_profile(const struct screen *s, const struct stacks *stacks, const struct agent_data *a)
{
	const struct sample_set *set = &a->samples[SAMPLE_CPU_NS];
	uint64_t samples = a->metrics.value[M_PROFILE_SAMPLES], sum = sample_set_sum(set);
	int err;

	if (!set->len)
		return 0;
	fputc('\n', s->out);
	if (samples)
		screen_line(s, STYLE_BOLD, "  CPU profile (%s sample%s, one for each %s on a CPU)", count_text((double)samples),
			    samples == 1 ? "" : "s", ns_text((double)sum / (double)samples));
	else
		screen_line(s, STYLE_BOLD, "  CPU profile (%s on a CPU)", ns_text((double)sum));
	err = print_functions(s, stacks, set);
	if (!err)
		err = print_owners(s, stacks, set);
	if (!err)
		err = print_processes(s, stacks, set);
	if (!err)
		print_unknown(s, stacks, set);
	return err;
}

int print_sites(const struct screen *s, const struct stacks *stacks, const struct sample_set *set, bool waits, size_t most)
{
	const struct table_column all[] = {
		{ .title = waits ? "waited" : "bytes" },
		{ .title = "%", .drop = 4 },
		{ .title = "in", .left = true },
		{ .title = "function", .left = true, .flex = true },
		{ .title = "where", .left = true, .drop = 3 },
		{ .title = "called by", .left = true, .flex = true, .drop = 2 },
		{ .title = "where", .left = true, .drop = 5 },
	};
	struct table_column columns[ARRAY_SIZE(all)];
	uint64_t sum = sample_set_sum(set);
	struct site_row *rows;
	size_t len, n = 0;
	struct table t;
	int err;

	rows = profile_sites(stacks, set, waits, &len);
	if (!rows)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (waits || i != 2) /* what an allocation is in says nothing */
			columns[n++] = all[i];
	table_init(&t, columns, (int)n);
	for (size_t i = 0; i < len && i < most && (!i || (double)rows[i].value >= LEAST_SHOWN * (double)sum); i++) {
		table_cell(&t, s, 0, "%s", waits ? ns_text((double)rows[i].value) : bytes_text((double)rows[i].value));
		cell_share(&t, s, rows[i].value, sum);
		if (waits)
			table_cell(&t, s, 0, "%s", rows[i].site.in);
		cell_frame(&t, s, rows[i].site.at);
		cell_frame(&t, s, rows[i].site.by);
	}
	err = table_print(&t, s);
	free(rows);
	return err;
}

int terminal_waits(const struct screen *s, const struct stacks *stacks, const struct agent_data *a)
{
	const struct sample_set *set = &a->samples[SAMPLE_OFFCPU_NS];
	int err;

	if (!set->len)
		return 0;
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, "  Waits (of all threads, as far as they were long enough to be looked at)");
	err = print_sites(s, stacks, set, true, ROWS_SHOWN);
	if (!err)
		print_unknown(s, stacks, set);
	return err;
}
