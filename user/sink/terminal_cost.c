/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What watching cost, and, where that had to be kept within a budget, what detail it left. */
#include <math.h>
#include <string.h>

#include "sink/format.h"
#include "sink/terminal_parts.h"

#define PERIODS_SHOWN 4

static void print_budget(const struct screen *s, const struct cost_data *c)
{
	double sum_s = cost_sum_s(c);
	struct para p;

	para_begin(&p, s, "budget");
	para_part(&p, "%s of %s used", ns_text(sum_s * 1e9), ns_text(c->budget_s * 1e9));
	if (c->budget_s > 0)
		para_part(&p, "%.0f %%", 100 * sum_s / c->budget_s);
	if (!(cost_reduced_s(c) > 0))
		para_part(&p, "full detail throughout");
	para_end(&p);
}

/* From when to when, by the steps that were kept. */
static void print_periods(struct para *p, const struct cost_data *c)
{
	uint64_t kept = c->steps < STEPS_KEPT ? c->steps : STEPS_KEPT;
	int shown = 0;

	for (uint64_t i = 0; i < kept; i++) {
		double from_s = c->step[i].at_s;

		if (c->step[i].from != RUNG_FULL)
			continue;
		while (i + 1 < kept && c->step[i].to != RUNG_FULL)
			i++;
		if (shown++ == PERIODS_SHOWN) {
			para_part(p, "and so on");
			return;
		}
		if (c->step[i].to == RUNG_FULL)
			para_part(p, "from %.1f to %.1f s", from_s, c->step[i].at_s);
		else
			para_part(p, "from %.1f s on", from_s);
	}
}

/* Whether any metric that the pattern stands for was asked for. */
static bool wanted(const struct header_data *h, const char *pattern)
{
	for (int m = 0; m < METRIC_IDS; m++) {
		if (strncmp(metric_infos[m].name, pattern, strcspn(pattern, "*")) != 0)
			continue;
		if (header_probe_on(h, metric_infos[m].probe, false))
			return true;
	}
	return false;
}

static void print_marked(const struct screen *s, const struct header_data *h, const struct cost_data *c, enum mark how, const char *label, const char *what)
{
	const char *metrics[RUNG_MARKS];
	int n = rung_marks(cost_lowest(c), how, metrics), shown = 0;
	struct para p;

	for (int i = 0; i < n; i++) {
		if (!wanted(h, metrics[i]))
			continue;
		if (!shown++)
			para_begin(&p, s, label);
		para_part(&p, "%s%s%s", shown == 1 ? what : "", shown == 1 ? ": " : "", metrics[i]);
	}
	if (shown)
		para_end(&p);
}

void terminal_cost(const struct screen *s, const struct recording *r)
{
	const struct cost_data *c = &r->observer.cost;
	double reduced_s = cost_reduced_s(c), duration_s = r->duration_s;
	struct para p;

	if (!c->governed)
		return;
	print_budget(s, c);
	if (!(reduced_s > 0))
		return;
	para_begin(&p, s, "detail");
	para_part(&p, "reduced for %s", ns_text(reduced_s * 1e9));
	if (duration_s > 0)
		para_part(&p, "%.0f %% of the time", fmin(100, 100 * reduced_s / duration_s));
	print_periods(&p, c);
	for (int n = RUNG_FULL + 1; n < RUNG_COUNT; n++)
		if (c->rung_s[n] > 0)
			para_part(&p, "%s for %s (%s)", rung_infos[n].name, ns_text(c->rung_s[n] * 1e9), rung_infos[n].help);
	para_end(&p);
	print_marked(s, &r->header, c, MARK_ESTIMATED, "estimates", "from sums instead of single values");
	print_marked(s, &r->header, c, MARK_PARTIAL, "partial", "of the time with more detail only");
}
