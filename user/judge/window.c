// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "judge/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "judge/window_log.h"
#include "lib/util.h"

#define PARTS_OF_SPAN 10
#define TIDY_WORDS 256 /* in the log of a part before its buckets are brought together */

struct slot {
	uint64_t value; /* of counters and peaks; of histograms how many; gauges are kept by the window */
	uint64_t sum, min, max; /* of histograms; the sum modulo 2^64 */
	uint32_t words; /* in the log */
};

struct part { /* followed by struct ledger[3] where those are kept */
	uint64_t number; /* 0: empty */
	uint64_t added;
	uint64_t beyond[WINDOW_MARKS]; /* values */
	struct slot slots[];
};

struct total {
	uint64_t value; /* of a counter; of a gauge: the newest; of a histogram: how many values */
	uint64_t sum; /* of a histogram */
	struct slot now; /* of the part at hand */
	struct bucket_log log; /* its buckets, part after part */
	uint32_t tidied; /* words of the part at hand when it was tidied up last */
	uint64_t low, low_part; /* a value that is in it as long as that part is: a small one */
};

struct window { /* what an interval touches lies together: of thousands of windows nothing is in a cache */
	const struct window_plan *plan;
	uint64_t oldest, added;
	uint64_t now, now_added; /* the part at hand, whose figures are not among `parts`; 0: none */
	char *parts; /* WINDOW_PARTS of part_size() */
	struct ledger *ledgers; /* 3 sums, or NULL; parts have theirs at once */
	bool gauges;
	uint64_t beyond[WINDOW_MARKS], now_beyond[WINDOW_MARKS];
	struct total totals[];
};

/* ---- plans ---- */

void window_plan_init(struct window_plan *p, const struct expression *e, double over_s)
{
	*p = (struct window_plan){.over_s = over_s, .ledgers = expression_uses_share(e)};
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

/* ---- time ---- */

static bool part_too_old(const struct window_time *t, double end_s)
{
	double start_s = t->parts[t->first % WINDOW_PARTS].start_s;

	return start_s + (t->parts[t->first % WINDOW_PARTS].end_s - start_s) / 2 < end_s - t->over_s;
}

/* Whether a new part begins with this interval. */
static bool part_begins(const struct window_time *t, double start_s, double end_s)
{
	uint64_t last = t->next - 1;

	if (t->next == t->first || t->next == t->closed)
		return true;
	return t->next - t->first < WINDOW_PARTS &&
	       end_s - t->parts[last % WINDOW_PARTS].start_s > t->over_s / PARTS_OF_SPAN + (end_s - start_s) / 2;
}

int window_time_interval(struct window_time *t, double start_s, double end_s, double seconds)
{
	uint64_t last;

	while (t->first < t->next && part_too_old(t, end_s)) {
		if (t->closed <= t->first) /* a whole span has passed: the next one begins with a part of its own */
			t->closed = t->next;
		t->first++;
	}
	if (part_begins(t, start_s, end_s)) {
		if (t->next - t->first == WINDOW_PARTS)
			return -EINVAL;
		t->parts[t->next % WINDOW_PARTS].start_s = start_s;
		t->parts[t->next++ % WINDOW_PARTS].seconds = 0;
	}
	last = (t->next - 1) % WINDOW_PARTS;
	t->parts[last].end_s = end_s;
	t->parts[last].seconds += seconds;
	t->seconds = 0; /* from anew: nothing is left of rounding */
	for (uint64_t i = t->first; i < t->next; i++)
		t->seconds += t->parts[i % WINDOW_PARTS].seconds;
	return 0;
}

/* ---- parts ---- */

static size_t part_size(const struct window_plan *p)
{
	return sizeof(struct part) + (size_t)p->metrics_len * sizeof(struct slot) +
	       (p->ledgers ? 3 * sizeof(struct ledger) : 0);
}

static struct part *part_at(const struct window *w, uint64_t number)
{
	return (struct part *)(w->parts + number % WINDOW_PARTS * part_size(w->plan));
}

static struct ledger *part_ledgers(const struct window *w, struct part *t)
{
	return (struct ledger *)&t->slots[w->plan->metrics_len];
}

/* Values in buckets beyond `top`, or more. */
static uint64_t hist_beyond(const struct hist *h, int32_t top)
{
	int64_t from = (int64_t)top + 1 - h->offset;
	uint64_t n = 0;

	if (h->scale != HIST_SCALE || top == WINDOW_TOP_NONE)
		return h->count;
	for (uint32_t i = from > 0 ? (uint32_t)(from < UINT32_MAX ? from : UINT32_MAX) : 0; i < h->len; i++)
		n += hist_bucket(h, i);
	return n;
}

/* ---- windows ---- */

struct window *window_new(const struct window_plan *p)
{
	struct window *w = calloc(1, sizeof(*w) + (size_t)p->metrics_len * sizeof(w->totals[0]));

	if (!w)
		return NULL;
	w->plan = p;
	w->oldest = UINT64_MAX;
	w->parts = calloc(WINDOW_PARTS, part_size(p));
	w->ledgers = p->ledgers ? calloc(3, sizeof(*w->ledgers)) : NULL;
	if (!w->parts || (p->ledgers && !w->ledgers)) {
		window_free(w);
		return NULL;
	}
	return w;
}

void window_free(struct window *w)
{
	if (!w)
		return;
	for (int i = 0; i < w->plan->metrics_len; i++)
		bucket_log_fini(&w->totals[i].log);
	free(w->parts);
	free(w->ledgers);
	free(w);
}

static void slot_add(struct slot *into, const struct slot *from, enum metric_type type)
{
	if (type == METRIC_PEAK) {
		into->value = from->value > into->value ? from->value : into->value;
		return;
	}
	if (type == METRIC_HIST && from->value)
		into->min = into->value && into->min < from->min ? into->min : from->min;
	into->max = from->max > into->max ? from->max : into->max;
	into->value += from->value;
	into->sum += from->sum;
	into->words += from->words;
}

/* What is at hand goes to the parts. */
static void part_close(struct window *w)
{
	struct part *t = part_at(w, w->now);

	if (!w->now)
		return;
	t->number = w->now;
	t->added += w->now_added;
	for (int i = 0; i < w->plan->marks_len; i++) {
		t->beyond[i] += w->now_beyond[i];
		w->now_beyond[i] = 0;
	}
	for (int i = 0; i < w->plan->metrics_len; i++) {
		slot_add(&t->slots[i], &w->totals[i].now, type_of(w->plan, i));
		w->totals[i].now = (struct slot){0};
		w->totals[i].tidied = 0;
	}
	w->now = w->now_added = 0;
}

void window_move(struct window *w, struct window *from)
{
	const struct window_plan *p = w->plan;
	char *parts = w->parts;
	struct ledger *ledgers = w->ledgers;

	part_close(from);
	memcpy(w, from, sizeof(*w) + (size_t)p->metrics_len * sizeof(w->totals[0]));
	w->plan = p;
	from->parts = parts;
	from->ledgers = ledgers;
	for (int i = 0; i < p->metrics_len; i++)
		from->totals[i].log = (struct bucket_log){0};
	memset(w->beyond, 0, sizeof(w->beyond));
	for (int i = 0; i < WINDOW_PARTS; i++)
		for (int m = 0; m < p->marks_len; m++) {
			struct part *t = part_at(w, (uint64_t)i);

			t->beyond[m] = t->slots[p->marks[m].slot].value;
			w->beyond[m] += t->beyond[m];
		}
}

static void part_drop(struct window *w, struct part *t)
{
	const struct window_plan *p = w->plan;

	for (int i = 0; i < p->metrics_len; i++) {
		struct slot *s = &t->slots[i];

		if (type_of(p, i) == METRIC_HIST || type_of(p, i) == METRIC_COUNTER)
			w->totals[i].value -= s->value;
		w->totals[i].sum -= s->sum;
		bucket_log_drop(&w->totals[i].log, s->words);
		*s = (struct slot){0};
	}
	for (int i = 0; i < p->marks_len; i++) {
		w->beyond[i] -= t->beyond[i];
		t->beyond[i] = 0;
	}
	for (int i = 0; p->ledgers && i < 3; i++)
		for (int state = 0; state < STATE_COUNT; state++) {
			w->ledgers[i].ns[state] -= part_ledgers(w, t)[i].ns[state];
			part_ledgers(w, t)[i].ns[state] = 0;
		}
	w->added -= t->added;
	t->added = t->number = 0;
}

bool window_expire(struct window *w, const struct window_time *t)
{
	bool any = false;

	while (w->oldest < t->first) {
		uint64_t number = w->oldest + 1;

		if (w->oldest == w->now)
			part_close(w);
		part_drop(w, part_at(w, w->oldest));
		while (number < t->next && part_at(w, number)->number != number && w->now != number)
			number++;
		w->oldest = number < t->next ? number : UINT64_MAX;
		any = true;
	}
	return any;
}

static void low_note(struct window *w, struct total *t, uint64_t value)
{
	if (t->low_part >= w->oldest && t->low < value)
		return;
	t->low = value;
	t->low_part = w->now;
}

static int hist_take(struct window *w, int slot, const struct hist *h)
{
	struct total *t = &w->totals[slot];
	struct slot *s = &t->now;
	int64_t words;

	if (!h || !h->count)
		return 0;
	words = bucket_log_add(&t->log, h);
	if (words < 0)
		return (int)words;
	s->words += (uint32_t)words;
	s->min = s->value && s->min < h->min ? s->min : h->min;
	s->max = s->max > h->max ? s->max : h->max;
	s->value += h->count;
	s->sum += h->sum;
	t->value += h->count;
	t->sum += h->sum;
	low_note(w, t, h->min);
	for (int i = 0; i < w->plan->marks_len; i++) {
		uint64_t n = w->plan->marks[i].slot == slot ? hist_beyond(h, w->plan->marks[i].top) : 0;

		w->now_beyond[i] += n;
		w->beyond[i] += n;
	}
	if (s->words <= TIDY_WORDS || s->words <= 2 * t->tidied)
		return 0;
	words = bucket_log_tidy(&t->log, s->words);
	if (words < 0)
		return (int)words;
	s->words = t->tidied = (uint32_t)words;
	return 0;
}

static void ledgers_add(struct window *w, const struct ledger *const ledgers[3])
{
	struct ledger *part = part_ledgers(w, part_at(w, w->now));

	for (int i = 0; i < 3; i++) {
		if (!ledgers[i])
			continue;
		ledger_merge(&w->ledgers[i], ledgers[i]);
		ledger_merge(&part[i], ledgers[i]);
	}
}

int window_add(struct window *w, const struct window_time *t, const struct metric_set *m, bool gauges,
        const struct ledger *const ledgers[3])
{
	const struct window_plan *p = w->plan;
	int err = 0;

	if (w->now != t->next - 1)
		part_close(w);
	w->now = t->next - 1;
	w->now_added++;
	w->added++;
	if (w->oldest == UINT64_MAX)
		w->oldest = w->now;
	for (int i = 0; i < p->metrics_len && !err; i++) {
		const uint64_t *value = &m->value[p->metrics[i]]; /* of histograms never looked at */
		struct total *total = &w->totals[i];

		switch (type_of(p, i)) {
		case METRIC_HIST:
			err = hist_take(w, i, m->hist[p->metrics[i]]);
			break;
		case METRIC_COUNTER:
			total->value += *value;
			total->now.value += *value;
			break;
		case METRIC_PEAK:
			total->now.value = *value > total->now.value ? *value : total->now.value;
			break;
		default:
			total->value = gauges ? *value : total->value;
			break;
		}
	}
	if (p->ledgers)
		ledgers_add(w, ledgers);
	w->gauges = w->gauges || gauges;
	return err;
}

uint64_t window_added(const struct window *w)
{
	return w->added;
}

uint64_t window_oldest(const struct window *w)
{
	return w->oldest;
}

uint64_t window_count(const struct window *w, int slot)
{
	return w->totals[slot].value;
}

/*
 * As hist_quantile() finds the bucket. What stands for it is its middle, unless all values are in it and above: then that would be the smallest of them, hence one below is asked for.
 */
bool window_within(const struct window *w, int mark, double q)
{
	const struct window_mark *k = &w->plan->marks[mark];
	const struct total *t = &w->totals[k->slot];

	if ((double)(t->value - w->beyond[mark]) < q * (double)t->value)
		return false;
	return t->low_part >= w->oldest && (!t->low || hist_index(t->low, HIST_SCALE) < k->top);
}

/* ---- sums ---- */

/* Goes through what is in a slot, part by part: begin with *n 0; NULL: that was all. */
static const struct slot *slot_next(const struct window *w, const struct window_time *t, int slot, uint64_t *n)
{
	for (*n = *n ? *n + 1 : w->oldest; *n < t->next; ++*n)
		if (part_at(w, *n)->number == *n)
			return &part_at(w, *n)->slots[slot];
	return *n == t->next ? &w->totals[slot].now : NULL;
}

static int hist_gather(const struct window *w, const struct window_time *t, int slot, struct hist *h)
{
	struct slot all = {0};
	uint64_t n = 0;

	for (const struct slot *s = slot_next(w, t, slot, &n); s; s = slot_next(w, t, slot, &n))
		slot_add(&all, s, METRIC_HIST);
	h->min = all.min;
	h->max = all.max;
	return bucket_log_gather(&w->totals[slot].log, h);
}

static int hist_sum(const struct window *w, const struct window_time *t, int slot, bool buckets, struct window_sum *s)
{
	struct hist **own = &s->metrics.hist[w->plan->metrics[slot]];
	int err = 0;

	if (!*own) {
		*own = aligned_alloc(HIST_LINE_BYTES, HIST_LINE_BYTES);
		if (!*own)
			return -ENOMEM;
		hist_init(*own);
	}
	s->view.hist[w->plan->metrics[slot]] = *own;
	hist_reset(*own);
	if (buckets && w->totals[slot].value)
		err = hist_gather(w, t, slot, *own);
	(*own)->count = w->totals[slot].value;
	(*own)->sum = w->totals[slot].sum;
	return err;
}

static uint64_t peak_of(const struct window *w, const struct window_time *t, int slot)
{
	struct slot all = {0};
	uint64_t n = 0;

	for (const struct slot *s = slot_next(w, t, slot, &n); s; s = slot_next(w, t, slot, &n))
		slot_add(&all, s, METRIC_PEAK);
	return all.value;
}

int window_sum(const struct window *w, const struct window_time *t, bool buckets, struct window_sum *s)
{
	const struct window_plan *p = w->plan;
	int err = 0;

	s->seconds = t->seconds;
	s->gauges = w->gauges;
	for (int i = 0; i < p->metrics_len && !err; i++) {
		enum metric_type type = type_of(p, i);

		if (type == METRIC_HIST)
			err = hist_sum(w, t, i, buckets, s);
		else
			s->view.value[p->metrics[i]] = type == METRIC_PEAK ? peak_of(w, t, i) : w->totals[i].value;
	}
	if (p->ledgers)
		memcpy(s->ledgers, w->ledgers, sizeof(s->ledgers));
	return err;
}

void window_sum_fini(struct window_sum *s)
{
	metric_set_fini(&s->metrics);
}

size_t window_bytes(const struct window *w)
{
	const struct window_plan *p = w->plan;
	size_t bytes = sizeof(*w) + (size_t)p->metrics_len * sizeof(w->totals[0]) + WINDOW_PARTS * part_size(p) +
	               (p->ledgers ? 3 * sizeof(*w->ledgers) : 0);

	for (int i = 0; i < p->metrics_len; i++)
		bytes += bucket_log_bytes(&w->totals[i].log);
	return bytes;
}
