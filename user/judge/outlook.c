/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the Mann-Kendall test calls a trend is not always one to warn of: a program that has warmed up, one that took a large block once, a heap that grows until the next
 * collection. So only the latter part of the series is judged, and the growth must go on through all of it.
 */
#include "judge/outlook.h"

#include <math.h>
#include <stddef.h>

#include "judge/stats.h"

#define POINTS_MIN 20
#define SPAN_MIN_S 10.0
#define JUDGED_FROM (1.0 / 3) /* of the time; before that a program may warm up */
#define MATERIAL_BYTES (1024.0 * 1024)
#define MATERIAL_SHARE 0.01 /* of the level */
#define PARTS 6 /* of the judged time */
#define STEPS (PARTS - 1)
#define STUDENT 5.0 /* quantile 0.99625 of Student's t with STEPS - 1 degrees of freedom: random walks pass in 1 of 100 */

const char *const outlook_names[4] = { "insufficient data", "steady", "growing", "shrinking" };

void outlook_add(struct outlook_series *s, double t_s, uint64_t rss_bytes, uint64_t limit_bytes, uint64_t left_bytes)
{
	if (!isfinite(t_s) || (s->len && t_s <= s->t_s[s->len - 1]))
		return;
	s->limit_bytes = limit_bytes;
	s->left_bytes = left_bytes;
	if (!s->every)
		s->every = 1;
	if (++s->skipped < s->every)
		return;
	s->skipped = 0;
	if (s->len == OUTLOOK_POINTS) {
		for (int i = 0; i < OUTLOOK_POINTS / 2; i++) {
			s->t_s[i] = s->t_s[2 * i + 1];
			s->bytes[i] = s->bytes[2 * i + 1];
		}
		s->len = OUTLOOK_POINTS / 2;
		s->skipped = s->every; /* this one is half way to the next */
		s->every *= 2;
		return;
	}
	s->t_s[s->len] = t_s;
	s->bytes[s->len++] = (double)rss_bytes;
}

/* ---- the part that is judged ---- */

static struct points judged(const struct outlook_series *s)
{
	double from = s->t_s[0] + (s->t_s[s->len - 1] - s->t_s[0]) * JUDGED_FROM;
	int first = 0;

	while (s->t_s[first] < from)
		first++;
	return (struct points){ s->t_s + first, s->bytes + first, s->len - first };
}

/* ---- the verdict ---- */

static bool material(const struct points *p, double slope)
{
	double growth = fabs(slope) * (p->t[p->n - 1] - p->t[0]);

	return growth > MATERIAL_BYTES && growth > MATERIAL_SHARE * stats_median(p->y, p->n);
}

/*
 * Whether it went on all the time: the steps from part to part, whose levels are their medians, are alike, by Student's test that their mean is not 0.
 * That leaves out who takes a step or two, who comes to rest, and who strays.
 */
static bool goes_on(const struct points *p, double slope)
{
	double level[PARTS], mean, square = 0;

	for (int i = 0; i < PARTS; i++) {
		int from = p->n * i / PARTS, to = p->n * (i + 1) / PARTS;

		level[i] = stats_median(p->y + from, to - from);
	}
	mean = (level[PARTS - 1] - level[0]) / STEPS;
	if (mean * slope <= 0)
		return false;
	for (int i = 1; i < PARTS; i++) {
		double off = level[i] - level[i - 1] - mean;

		square += off * off;
	}
	return fabs(mean) > STUDENT * sqrt(square / (STEPS - 1) / STEPS);
}

static void limit_judge(const struct outlook_series *s, struct outlook *ret)
{
	ret->limit_bytes = s->limit_bytes;
	if (ret->verdict != OUTLOOK_GROWING || !s->limit_bytes)
		return;
	ret->to_limit_s = s->left_bytes / ret->slope;
	ret->to_limit_low_s = s->left_bytes / ret->high;
	ret->to_limit_high_s = s->left_bytes / ret->low;
}

void outlook_judge(const struct outlook_series *s, struct outlook *ret)
{
	struct points p;
	struct slope slope;

	*ret = (struct outlook){ .verdict = OUTLOOK_INSUFFICIENT, .to_limit_s = -1, .to_limit_low_s = -1, .to_limit_high_s = -1 };
	ret->limit_bytes = s->limit_bytes;
	if (s->len < POINTS_MIN || s->t_s[s->len - 1] - s->t_s[0] < SPAN_MIN_S)
		return;
	p = judged(s);
	if (p.n < 2 * PARTS || slope_find(&p, NULL, false, &slope))
		return;
	ret->slope = slope.slope;
	ret->low = slope.low;
	ret->high = slope.high;
	ret->verdict = OUTLOOK_STEADY;
	if (material(&p, ret->slope) && goes_on(&p, ret->slope))
		ret->verdict = ret->low > 0 ? OUTLOOK_GROWING : ret->high < 0 ? OUTLOOK_SHRINKING : OUTLOOK_STEADY;
	limit_judge(s, ret);
}
