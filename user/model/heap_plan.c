/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/heap_plan.h"

#include <math.h>

/* A call of malloc and what a program does with the result take longer than this. */
#define CALL_MIN_S 5e-9

/* Shorter by this where the limit ended the window, longer by that where it saw a call and ended by itself: in balance about one in twelve is cut. */
#define SHORTER 0.6
#define LONGER 1.045
#define LONGER_EMPTY 1.01
#define SMOOTH 0.1 /* share of the newest window in an average */
#define PAIRED_GAPS 10 /* of traps that a gap between calls must be longer than, to need no second breakpoint */

void heap_plan_init(struct heap_plan *p)
{
	*p = (struct heap_plan){ .length_s = 200e-6, .hits = 4 };
}

bool heap_plan_paired(const struct heap_plan *p, double trap_s)
{
	return p->gap_s < PAIRED_GAPS * trap_s;
}

/* Rate that n calls in `own` seconds say, when each trap may have taken `error` seconds less or more. */
static double rate_error(double n, double own, double error)
{
	double low = fmax(own - n * error, n * CALL_MIN_S);

	return n / low - n / own;
}

static bool tally_cut(const struct heap_plan *p, const struct heap_tally *t, unsigned limit, double skip_s)
{
	return t->firsts + t->strangers >= limit && t->at_ns < (p->length_s + skip_s) * 1e9;
}

static void tally_read(const struct heap_plan *p, const struct heap_tally *t, unsigned limit, double skip_s, double trap_error_s,
		       struct heap_sight *s)
{
	double n = t->counted, own = p->length_s, bytes = t->bytes;

	if (tally_cut(p, t, limit, skip_s)) { /* all from the first call to the last one, which ended it */
		n = t->calls ? t->calls - 1 : 0;
		bytes = t->calls ? t->call_bytes * n / t->calls : 0;
		own = fmax(t->at_ns * 1e-9, n * CALL_MIN_S);
		s->cut = true;
	}
	s->counted += t->counted;
	s->any |= t->calls > 0;
	if (!(n > 0) || !(own > 0))
		return;
	s->rate += n / own;
	s->byte_rate += bytes / own;
	s->error += rate_error(n, own, trap_error_s);
	s->byte_error += rate_error(n, own, trap_error_s) * bytes / n;
}

struct heap_sight heap_plan_read(const struct heap_plan *p, const struct heap_tally *tallies, int n, unsigned limit, double skip_s,
				 double trap_error_s)
{
	struct heap_sight s = {};

	for (int i = 0; i < n; i++)
		tally_read(p, &tallies[i], limit, skip_s, trap_error_s, &s);
	return s;
}

static double smoothed(double old, double new)
{
	return old + SMOOTH * (new - old);
}

void heap_plan_adapt(struct heap_plan *p, const struct heap_tally *tallies, int n, const struct heap_sight *s)
{
	double factor = s->cut ? SHORTER : s->any ? LONGER : LONGER_EMPTY;

	for (int i = 0; i < n; i++)
		if (tallies[i].calls > 1 && tallies[i].at_ns > 0) {
			double gap = tallies[i].at_ns * 1e-9 / (tallies[i].calls - 1);

			p->gap_s = p->gap_s > 0 ? smoothed(p->gap_s, gap) : gap;
		}
	if (s->any)
		p->hits = smoothed(p->hits, s->counted);
	p->length_s = fmin(fmax(p->length_s * factor, HEAP_PLAN_MIN_S), HEAP_PLAN_MAX_S);
}
