// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "sink/html_bins.h"

#include <errno.h>
#include <stdlib.h>

const enum metric_id heat_metrics[HEATS] = { M_EXCHANGE_NS, M_TTFB_NS, M_RUNQ_NS, M_TOOL_NS };

static void cell_free(struct cell *c)
{
	for (int h = 0; c && h < HEATS; h++) {
		hist_fini(c->hist[h]);
		free(c->hist[h]);
	}
	free(c);
}

static void values_merge(uint64_t *into, const uint64_t *from)
{
	for (int m = 0; m < METRIC_IDS; m++) {
		switch (metric_infos[m].type) {
		case METRIC_COUNTER:
			into[m] += from[m];
			break;
		case METRIC_GAUGE:
			into[m] = from[m];
			break;
		case METRIC_PEAK:
			into[m] = from[m] > into[m] ? from[m] : into[m];
			break;
		case METRIC_HIST:
			break;
		}
	}
}

static int heat_merge(struct hist **into, const struct hist *from)
{
	if (!from || !from->count)
		return 0;
	if (!*into) {
		*into = malloc(sizeof(**into));
		if (!*into)
			return -ENOMEM;
		hist_init(*into);
	}
	return hist_merge(*into, from);
}

static int cell_add(struct cell *c, const struct agent_data *a)
{
	int err = 0;

	c->observed_s += a->observed_s;
	ledger_merge(&c->main, &a->main);
	ledger_merge(&c->critical, &a->critical);
	ledger_merge(&c->threads, &a->threads);
	values_merge(c->value, a->metrics.value);
	for (int h = 0; h < HEATS && !err; h++)
		err = heat_merge(&c->hist[h], a->metrics.hist[heat_metrics[h]]);
	return err;
}

/* into += from, which is freed. */
static int cell_merge(struct cell *into, struct cell *from)
{
	int err = 0;

	into->observed_s += from->observed_s;
	ledger_merge(&into->main, &from->main);
	ledger_merge(&into->critical, &from->critical);
	ledger_merge(&into->threads, &from->threads);
	values_merge(into->value, from->value);
	for (int h = 0; h < HEATS && !err; h++)
		err = heat_merge(&into->hist[h], from->hist[h]);
	cell_free(from);
	return err;
}

static void bin_merge(struct bin *into, const struct bin *from)
{
	into->start_s = from->start_s < into->start_s ? from->start_s : into->start_s;
	into->end_s = from->end_s > into->end_s ? from->end_s : into->end_s;
	into->covered_s += from->covered_s;
	into->intervals += from->intervals;
	into->cpu_s += from->cpu_s;
	into->lost += from->lost;
}

/* Adds up neighbours: bin i becomes the sum of 2 i and 2 i + 1. */
static int bins_halve(struct html_bins *b)
{
	int len = (b->len + 1) / 2, err = 0;
	struct bins_agent *a, *next;

	for (int i = 0; i < len; i++) {
		struct bin sum = b->bin[2 * i];

		if (2 * i + 1 < b->len)
			bin_merge(&sum, &b->bin[2 * i + 1]);
		b->bin[i] = sum;
	}
	HASH_ITER(hh, b->agents, a, next) {
		for (int i = 0; i < len; i++) {
			struct cell *one = a->cell[2 * i], *other = 2 * i + 1 < b->len ? a->cell[2 * i + 1] : NULL;

			a->cell[2 * i] = NULL;
			if (2 * i + 1 < b->len)
				a->cell[2 * i + 1] = NULL;
			if (one && other) {
				int failed = cell_merge(one, other);

				err = err ? err : failed;
				b->cells--;
			}
			a->cell[i] = one ? one : other;
		}
	}
	b->len = len;
	b->per *= 2;
	return err;
}

/* The bin that the next interval belongs to; a negative errno. */
static int bin_next(struct html_bins *b, const struct interval_data *i)
{
	struct bin *last = b->len ? &b->bin[b->len - 1] : NULL;
	int err = 0;

	if (!b->per)
		b->per = 1;
	if (last && last->intervals < b->per)
		return b->len - 1;
	while (!err && (b->len == BINS_MAX || (b->cells > CELLS_MAX && b->len > BINS_MIN)))
		err = bins_halve(b);
	if (err)
		return err;
	if (b->len && b->bin[b->len - 1].intervals < b->per) /* an odd one was left over */
		return b->len - 1;
	b->bin[b->len] = (struct bin){ .start_s = i->start_s, .end_s = i->end_s };
	return b->len++;
}

struct bins_agent *html_bins_agent(const struct html_bins *b, int id)
{
	struct bins_agent *a;

	HASH_FIND_INT(b->agents, &id, a);
	return a;
}

static struct cell *cell_of(struct html_bins *b, int id, int bin)
{
	struct bins_agent *a = html_bins_agent(b, id);

	if (!a) {
		a = calloc(1, sizeof(*a));
		if (!a)
			return NULL;
		a->id = id;
		HASH_ADD_INT(b->agents, id, a);
	}
	if (!a->cell[bin]) {
		a->cell[bin] = calloc(1, sizeof(struct cell));
		b->cells += a->cell[bin] != NULL;
	}
	return a->cell[bin];
}

int html_bins_interval(void *bins, const struct interval_data *i)
{
	struct html_bins *b = bins;
	int at = bin_next(b, i), err = 0;
	struct bin one = { i->start_s, i->end_s, i->end_s - i->start_s, 1, i->observer.cpu_s, observer_data_lost_sum(&i->observer) };

	if (at < 0)
		return at;
	bin_merge(&b->bin[at], &one);
	for (int n = 0; n < i->agents_len && !err; n++) {
		struct cell *c = cell_of(b, i->agents[n]->id, at);

		err = c ? cell_add(c, i->agents[n]) : -ENOMEM;
	}
	return err;
}

void html_bins_fini(struct html_bins *b)
{
	struct bins_agent *a, *next;

	HASH_ITER(hh, b->agents, a, next) {
		HASH_DEL(b->agents, a);
		for (int i = 0; i < BINS_MAX; i++)
			cell_free(a->cell[i]);
		free(a);
	}
}
