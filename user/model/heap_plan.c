/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/heap_plan.h"

#include <math.h>

/* Own time between calls below which it can't be told any more, as a share of the error of a trap; and by how much the rate may then be higher. */
#define GAP_SHARE 0.5
#define ERROR_MAX 20

/* Shorter by this where the limit ended the window, longer by that where it saw a call and ended by itself: in balance about one in twelve is cut. */
#define SHORTER 0.6
#define LONGER 1.045
#define LONGER_EMPTY 1.003
#define SMOOTH 0.05 /* share of the newest window in an average */
#define SHORTER_SIZES 0.8 /* one in six */
/* Least length of a window for sizes, as a share of what its traps take: shorter ones can't be told. What allocates faster than that is seen as if it did so as
 * fast. */
#define SIZES_SHARE 0.25
#define PAIRED_GAPS 4 /* of traps that a gap between calls must be longer than, to need no second breakpoint */

void heap_plan_init(struct heap_plan *p)
{
	*p = (struct heap_plan){ .length_s = 200e-6, .sizes_s = 200e-6, .hits = 4 };
}

bool heap_plan_paired(const struct heap_plan *p, double trap_s)
{
	return !(p->busy_rate > 0) || p->busy_rate * trap_s * PAIRED_GAPS > 1;
}

double heap_plan_weight(const struct heap_plan *p, double every_s, double probability)
{
	/* Where windows are cut, less is counted than the rate says. */
	double seen_s = p->rate > 0 && p->counted > 0 ? p->counted / p->rate : p->length_s;

	return every_s / (probability * seen_s);
}

double heap_plan_weight_sizes(const struct heap_plan *p, double every_s, double probability)
{
	return every_s / (probability * (p->seen_s > 0 ? p->seen_s : p->length_s));
}

/* By how much of it a rate may be higher, or lower, when the time between calls may be wrong by error_s. */
static double error_share(double busy_rate, double error_s)
{
	double share = busy_rate * error_s;

	return share < 1 ? fmin(share / (1 - share), ERROR_MAX) : ERROR_MAX;
}

static bool tally_cut(const struct heap_tally *t, unsigned limit, double end_s)
{
	return t->firsts + t->strangers >= limit && t->at_ns < end_s * 1e9;
}

static void tally_read(const struct heap_plan *p, const struct heap_tally *t, unsigned limit, double skip_s, double gap_min_s, struct heap_sight *s)
{
	double n = t->counted, own = p->length_s, bytes = t->bytes, gaps = t->calls ? t->calls - 1 : 0;
	double gaps_s = fmax(t->at_ns * 1e-9, gaps * gap_min_s);

	s->counted += t->counted;
	s->seen_s = own;
	s->any |= t->calls > 0;
	if (gaps > 0)
		s->busy_rate = fmax(s->busy_rate, gaps / gaps_s);
	if (tally_cut(t, limit, p->length_s + skip_s)) { /* all from the first call to the last one, which ended it */
		n = gaps;
		bytes = gaps > 0 ? t->call_bytes * gaps / t->calls : 0;
		s->seen_s = own = gaps_s;
		s->cut = true;
	}
	if (n > 0) {
		s->rate += n / own;
		s->byte_rate += bytes / own;
	}
}

struct heap_sight heap_plan_read(const struct heap_plan *p, const struct heap_tally *t, unsigned limit, double skip_s, double trap_error_s)
{
	struct heap_sight s = {};
	double share;

	tally_read(p, t, limit, skip_s, GAP_SHARE * trap_error_s, &s);
	/* Of the average of windows: in a single one chance moves the time between calls more than that. */
	share = error_share(p->busy_rate > 0 ? p->busy_rate : s.busy_rate, trap_error_s);
	s.error = s.rate * share;
	s.byte_error = s.byte_rate * share;
	return s;
}

struct heap_sight heap_plan_share(const struct heap_plan *p, const struct heap_sight *s, double told, double trap_error_s)
{
	struct heap_sight r = *s;
	double share = error_share(p->busy_rate, trap_error_s);

	if (s->sizes) {
		r.rate = p->rate;
		r.byte_rate = p->byte_rate;
		r.error = p->rate * share;
		r.byte_error = p->byte_rate * share;
		return r;
	}
	r.rate = p->rate + (s->rate - p->rate) / told;
	r.byte_rate = p->byte_rate + (s->byte_rate - p->byte_rate) / told;
	return r;
}

static double smoothed(double old, double new)
{
	return old + SMOOTH * (new - old);
}

/* The same for what begins at nothing: the first values are averaged. */
static double averaged(double old, double new, unsigned n)
{
	return old + fmax(SMOOTH, 1.0 / n) * (new - old);
}

struct heap_sight heap_plan_read_sizes(const struct heap_tally *t, unsigned limit, double length_s, double trap_error_s)
{
	struct heap_sight s = { .counted = t->counted, .seen_s = length_s, .any = t->calls > 0, .cut = tally_cut(t, limit, length_s), .sizes = true };

	if (s.cut)
		s.seen_s = fmin(fmax(t->at_ns * 1e-9, t->calls * GAP_SHARE * trap_error_s), length_s);
	return s;
}

double heap_plan_sizes_s(const struct heap_plan *p, double traps_s)
{
	return fmax(p->sizes_s, SIZES_SHARE * traps_s);
}

static double length_adapt(double length_s, const struct heap_sight *s, double shorter)
{
	double factor = s->cut ? shorter : s->any ? LONGER : LONGER_EMPTY;

	return fmin(fmax(length_s * factor, HEAP_PLAN_MIN_S), HEAP_PLAN_MAX_S);
}

void heap_plan_adapt(struct heap_plan *p, const struct heap_sight *s)
{
	p->counted = averaged(p->counted, s->counted, ++p->looks);
	p->seen_s = averaged(p->seen_s, s->seen_s, p->looks);
	if (s->any)
		p->hits = smoothed(p->hits, s->counted);
	if (s->sizes) {
		p->sizes_s = length_adapt(p->sizes_s, s, SHORTER_SIZES);
		return;
	}
	if (s->busy_rate > 0)
		p->busy_rate = p->busy_rate > 0 ? sqrt(smoothed(p->busy_rate * p->busy_rate, s->busy_rate * s->busy_rate)) : s->busy_rate;
	p->windows++;
	p->rate = averaged(p->rate, s->rate, p->windows);
	p->byte_rate = averaged(p->byte_rate, s->byte_rate, p->windows);
	p->length_s = length_adapt(p->length_s, s, SHORTER);
}
