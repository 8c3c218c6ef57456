/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is to be changed, before all figures. */
#include <string.h>

#include "sink/format.h"
#include "sink/terminal_parts.h"

#define FINDINGS_SHOWN 12

static const int severity_styles[SEVERITY_COUNT] = {
        [SEVERITY_INFO] = STYLE_BOLD, [SEVERITY_WARNING] = 33, [SEVERITY_CRITICAL] = STYLE_BAD};

/* A paragraph of plain words, or nothing. */
static void print_words(const struct screen *s, const char *label, const char *text)
{
	struct para p;

	if (!*text)
		return;
	para_begin(&p, s, label);
	para_text(&p, text);
	para_end(&p);
}

void terminal_finding(const struct screen *s, const struct finding *list, int i, const char *agent)
{
	const struct finding *f = &list[i];
	const struct finding_info *info = &finding_infos[f->id];
	char about[CELL_BYTES * 2] = "", cost[FINDING_COST_BYTES];
	bool again = false;

	while (i-- > 0)
		again |= list[i].id == f->id;
	if (f->subject[0])
		text_fit(about, sizeof(about), f->subject, 60, s->utf8);
	screen_line(s, severity_styles[f->severity], "  %s: %s%s%s", severity_names[f->severity], info->title,
	        *about ? ": " : "", about);
	if (agent) {
		char name[CELL_BYTES], whose[CELL_BYTES + 32];

		text_fit(name, sizeof(name), agent, 30, s->utf8);
		snprintf(whose, sizeof(whose), "%d: %s", f->agent, name);
		print_words(s, "agent", whose);
	}
	print_words(s, "evidence", f->evidence);
	print_words(s, "costs", finding_cost(f, cost));
	print_words(s, "change", again ? "as above" : info->change);
	print_words(s, "unless", again ? "" : info->unless);
}

/* NULL: there is but one. */
static const char *agent_name(const struct recording *r, int id)
{
	if (r->agents_len < 2)
		return NULL;
	for (int i = 0; i < r->agents_len; i++)
		if (r->agents[i].info.id == id)
			return r->agents[i].info.name;
	return "?";
}

/* Probes that are on by default, and what could not be judged without them. */
static void print_unjudged(const struct screen *s, const struct recording *r)
{
	struct finding_input in = {0};
	struct para p;
	bool any = false;

	for (int i = 0; i < r->agents_len; i++)
		in.seconds = r->agents[i].total.observed_s > in.seconds ? r->agents[i].total.observed_s : in.seconds;
	finding_input_watched(&in, &r->header, &r->observer);
	for (int probe = 0; probe < PROBE_COUNT; probe++) {
		const char *why = NULL;
		int kinds = 0;

		for (int i = 0; i < FINDING_COUNT; i++)
			if (finding_infos[i].probe == (enum probe_id)probe && finding_unjudged(&in, (enum finding_id)i)) {
				why = finding_unjudged(&in, (enum finding_id)i);
				kinds++;
			}
		if (!why || !probe_infos[probe].on)
			continue;
		if (!any)
			para_begin(&p, s, "not judged");
		any = true;
		para_part(&p, "%d kind%s of what the probe %s tells: %s", kinds, kinds == 1 ? "" : "s", probe_infos[probe].name, why);
	}
	if (any) {
		para_end(&p);
		fputc('\n', s->out);
	}
}

int terminal_findings(const struct screen *s, const struct recording *r, const struct outlooks *outlooks)
{
	struct finding *list;
	int len, err = findings_recording(r, outlooks, &list, &len);

	if (err)
		return err;
	screen_line(s, STYLE_BOLD, "Findings");
	for (int i = 0; i < len && i < FINDINGS_SHOWN; i++) {
		terminal_finding(s, list, i, agent_name(r, list[i].agent));
		fputc('\n', s->out);
	}
	if (len > FINDINGS_SHOWN)
		screen_line(s, STYLE_DIM, "  and %d more that cost less (--json has all)", len - FINDINGS_SHOWN);
	if (!len)
		screen_line(s, STYLE_NONE, "  no findings");
	if (!len || len > FINDINGS_SHOWN)
		fputc('\n', s->out);
	print_unjudged(s, r);
	free(list);
	return 0;
}
