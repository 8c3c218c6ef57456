// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "judge/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

#define PARTS_OF_SPAN 10

union slot {
	uint64_t value; /* counters and peaks; gauges are kept by the window */
	struct hist *hist; /* NULL until the first value */
};

struct part {
	double start_s, end_s;
	double seconds;
	uint64_t added;
	struct ledger *ledgers; /* 3, or NULL where none are kept */
	union slot *slots;
};

struct window {
	const struct window_plan *plan;
	int first, len; /* parts in use: first, first + 1 .. modulo WINDOW_PARTS */
	int sums; /* the oldest so many hold the sum from themselves to the last of these */
	bool gauges;
	uint64_t changes;
	uint64_t *gauge; /* by slot */
	struct part back; /* the sum of the parts behind those */
	struct part parts[WINDOW_PARTS];
};

/* ---- plans ---- */

void window_plan_init(struct window_plan *p, const struct expression *e, double over_s)
{
	*p = (struct window_plan){ .over_s = over_s, .ledgers = expression_uses_share(e) };
	for (int m = 0; m < METRIC_IDS; m++)
		if (expression_uses(e, (enum metric_id)m))
			p->metrics[p->metrics_len++] = m;
}

bool window_plan_same(const struct window_plan *a, const struct window_plan *b)
{
	return a->over_s == b->over_s && a->ledgers == b->ledgers && a->metrics_len == b->metrics_len &&
	       !memcmp(a->metrics, b->metrics, (size_t)a->metrics_len * sizeof(a->metrics[0]));
}

static enum metric_type type_of(const struct window_plan *p, int slot)
{
	return metric_infos[p->metrics[slot]].type;
}

/* ---- parts ---- */

static int part_init(struct part *t, const struct window_plan *p)
{
	t->slots = calloc((size_t)p->metrics_len + 1, sizeof(*t->slots));
	t->ledgers = p->ledgers ? calloc(3, sizeof(*t->ledgers)) : NULL;
	return !t->slots || (p->ledgers && !t->ledgers) ? -ENOMEM : 0;
}

static void part_fini(struct part *t, const struct window_plan *p)
{
	for (int i = 0; t->slots && i < p->metrics_len; i++) {
		if (type_of(p, i) != METRIC_HIST)
			continue;
		hist_fini(t->slots[i].hist);
		free(t->slots[i].hist);
	}
	free(t->slots);
	free(t->ledgers);
}

static void part_reset(struct part *t, const struct window_plan *p)
{
	t->seconds = 0;
	t->added = 0;
	for (int i = 0; i < p->metrics_len; i++) {
		if (type_of(p, i) != METRIC_HIST)
			t->slots[i].value = 0;
		else if (t->slots[i].hist)
			hist_reset(t->slots[i].hist);
	}
	if (t->ledgers)
		memset(t->ledgers, 0, 3 * sizeof(*t->ledgers));
}

static int hist_need(struct hist **h)
{
	if (*h)
		return 0;
	*h = aligned_alloc(HIST_LINE_BYTES, HIST_LINE_BYTES);
	if (!*h)
		return -ENOMEM;
	hist_init(*h);
	return 0;
}

static int hist_add(struct hist **into, const struct hist *from)
{
	if (!from || !from->count)
		return 0;
	return hist_need(into) ? -ENOMEM : hist_merge(*into, from);
}

static void value_add(enum metric_type type, uint64_t *into, uint64_t from)
{
	if (type == METRIC_COUNTER)
		*into += from;
	else if (type == METRIC_PEAK && from > *into)
		*into = from;
}

static int part_merge(struct part *into, const struct part *from, const struct window_plan *p)
{
	int err = 0;

	into->seconds += from->seconds;
	into->added += from->added;
	if (!from->added)
		return 0;
	for (int i = 0; i < p->metrics_len && !err; i++) {
		if (type_of(p, i) == METRIC_HIST)
			err = hist_add(&into->slots[i].hist, from->slots[i].hist);
		else
			value_add(type_of(p, i), &into->slots[i].value, from->slots[i].value);
	}
	for (int i = 0; i < 3 && into->ledgers; i++)
		ledger_merge(&into->ledgers[i], &from->ledgers[i]);
	return err;
}

static int part_add(struct part *t, const struct window_plan *p, const struct metric_set *m, const struct ledger *const ledgers[3])
{
	int err = 0;

	t->added++;
	for (int i = 0; i < p->metrics_len && !err; i++) {
		if (type_of(p, i) == METRIC_HIST)
			err = hist_add(&t->slots[i].hist, m->hist[p->metrics[i]]);
		else
			value_add(type_of(p, i), &t->slots[i].value, m->value[p->metrics[i]]);
	}
	for (int i = 0; i < 3 && t->ledgers; i++)
		if (ledgers[i])
			ledger_merge(&t->ledgers[i], ledgers[i]);
	return err;
}

/* ---- windows ---- */

static struct part *part_at(struct window *w, int i)
{
	return &w->parts[(w->first + i) % WINDOW_PARTS];
}

static void times_copy(struct part *into, const struct part *from)
{
	into->start_s = from->start_s;
	into->end_s = from->end_s;
	into->seconds = from->seconds;
}

struct window *window_new(const struct window_plan *p, const struct window *like)
{
	struct window *w = calloc(1, sizeof(*w));
	int err;

	if (!w)
		return NULL;
	w->plan = p;
	w->gauge = calloc((size_t)p->metrics_len + 1, sizeof(*w->gauge));
	err = w->gauge ? part_init(&w->back, p) : -ENOMEM;
	for (int i = 0; i < WINDOW_PARTS && !err; i++)
		err = part_init(&w->parts[i], p);
	if (err) {
		window_free(w);
		return NULL;
	}
	if (like) {
		w->first = like->first;
		w->len = like->len;
		w->sums = like->sums;
		times_copy(&w->back, &like->back);
		for (int i = 0; i < WINDOW_PARTS; i++)
			times_copy(&w->parts[i], &like->parts[i]);
	}
	return w;
}

void window_free(struct window *w)
{
	if (!w)
		return;
	part_fini(&w->back, w->plan);
	for (int i = 0; i < WINDOW_PARTS; i++)
		part_fini(&w->parts[i], w->plan);
	free(w->gauge);
	free(w);
}

void window_plan_moved(struct window *w, const struct window_plan *p)
{
	w->plan = p;
}

/* Makes all parts sums from themselves to the last. */
static int parts_turn(struct window *w)
{
	int err = 0;

	for (int i = w->len - 2; i >= 0 && !err; i--)
		err = part_merge(part_at(w, i), part_at(w, i + 1), w->plan);
	w->sums = w->len;
	part_reset(&w->back, w->plan);
	return err;
}

static bool too_old(const struct window *w, const struct part *t, double end_s)
{
	return t->start_s + (t->end_s - t->start_s) / 2 < end_s - w->plan->over_s;
}

int window_interval(struct window *w, double start_s, double end_s, double seconds)
{
	struct part *open;
	int err = 0;

	while (w->len && too_old(w, part_at(w, 0), end_s) && !err) {
		if (!w->sums)
			err = parts_turn(w);
		w->changes += part_at(w, 0)->added > 0;
		part_reset(part_at(w, 0), w->plan);
		w->first = (w->first + 1) % WINDOW_PARTS;
		w->len--;
		w->sums--;
	}
	if (err)
		return err;
	open = w->len > w->sums ? part_at(w, w->len - 1) : NULL;
	if (!open || (w->len < WINDOW_PARTS && end_s - open->start_s > w->plan->over_s / PARTS_OF_SPAN + (end_s - start_s) / 2)) {
		if (w->len == WINDOW_PARTS) /* nothing but sums: only where time goes backwards */
			return -EINVAL;
		open = part_at(w, w->len++);
		part_reset(open, w->plan);
		open->start_s = start_s;
	}
	open->end_s = end_s;
	open->seconds += seconds;
	w->back.seconds += seconds;
	return 0;
}

int window_add(struct window *w, const struct metric_set *m, bool gauges, const struct ledger *main, const struct ledger *threads, const struct ledger *critical)
{
	const struct ledger *const ledgers[3] = { main, threads, critical };
	int err = part_add(part_at(w, w->len - 1), w->plan, m, ledgers);

	for (int i = 0; gauges && i < w->plan->metrics_len; i++)
		w->gauge[i] = m->value[w->plan->metrics[i]];
	w->gauges = w->gauges || gauges;
	w->changes++;
	return err ? err : part_add(&w->back, w->plan, m, ledgers);
}

uint64_t window_changes(const struct window *w)
{
	return w->changes;
}

/* ---- sums ---- */

/* The sum of two histograms, either of which may be missing: one of them where the other has nothing. */
static int hist_join(struct window_sum *s, int metric, struct hist *a, struct hist *b)
{
	struct hist **own = &s->metrics.hist[metric];
	int err;

	if (!a || !a->count || !b || !b->count) {
		s->view.hist[metric] = a && a->count ? a : b;
		return 0;
	}
	err = hist_need(own);
	if (!err)
		err = a->len > b->len ? hist_copy(*own, a) : hist_copy(*own, b);
	if (!err)
		err = hist_merge(*own, a->len > b->len ? b : a);
	s->view.hist[metric] = *own;
	return err;
}

int window_sum(const struct window *w, struct window_sum *s)
{
	const struct window_plan *p = w->plan;
	const struct part *back = &w->back, *front = w->sums ? part_at((struct window *)w, 0) : NULL;
	int err = 0;

	s->seconds = back->seconds + (front ? front->seconds : 0);
	s->added = back->added + (front ? front->added : 0);
	s->gauges = w->gauges;
	for (int i = 0; i < p->metrics_len && !err; i++) {
		enum metric_type type = type_of(p, i);
		int m = p->metrics[i];

		if (type == METRIC_HIST) {
			err = hist_join(s, m, front ? front->slots[i].hist : NULL, back->slots[i].hist);
			continue;
		}
		s->view.value[m] = type == METRIC_GAUGE ? w->gauge[i] : back->slots[i].value;
		if (front)
			value_add(type, &s->view.value[m], front->slots[i].value);
	}
	for (int i = 0; i < 3 && back->ledgers; i++) {
		s->ledgers[i] = back->ledgers[i];
		if (front)
			ledger_merge(&s->ledgers[i], &front->ledgers[i]);
	}
	return err;
}

void window_sum_fini(struct window_sum *s)
{
	metric_set_fini(&s->metrics);
}

static size_t part_bytes(const struct part *t, const struct window_plan *p)
{
	size_t bytes = (size_t)(p->metrics_len + 1) * sizeof(*t->slots) + (t->ledgers ? 3 * sizeof(*t->ledgers) : 0);

	for (int i = 0; i < p->metrics_len; i++)
		if (type_of(p, i) == METRIC_HIST && t->slots[i].hist)
			bytes += sizeof(struct hist) + hist_bytes(t->slots[i].hist);
	return bytes;
}

size_t window_bytes(const struct window *w)
{
	size_t bytes = sizeof(*w) + (size_t)(w->plan->metrics_len + 1) * sizeof(*w->gauge) + part_bytes(&w->back, w->plan);

	for (int i = 0; i < WINDOW_PARTS; i++)
		bytes += part_bytes(&w->parts[i], w->plan);
	return bytes;
}
