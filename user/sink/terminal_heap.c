/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The heap: how much is allocated, where, what stays; and garbage collection. */
#include <errno.h>
#include <stdlib.h>

#include "sink/format.h"
#include "sink/profile.h"
#include "sink/terminal_parts.h"

#define SITES_SHOWN 10

/* "4.20 k allocations/s (3.90 k to 4.50 k, 95 %)" */
static void para_rate(struct para *p, const struct heap_rate *r, enum metric_unit unit, const char *what)
{
	const char *mean = unit == UNIT_COUNT ? rate_text(r->mean) : value_text(r->mean, unit);

	if (r->thin)
		para_part(p, "%s%s/s (too few windows for an interval)", mean, what);
	else if (unit == UNIT_COUNT)
		para_part(p, "%s%s/s (%s to %s, 95 %%)", mean, what, rate_text(r->low), rate_text(r->high));
	else
		para_part(p, "%s%s/s (%s to %s, 95 %%)", mean, what, value_text(r->low, unit), value_text(r->high, unit));
}

static void print_rates(const struct screen *s, const struct agent_data *a)
{
	const struct hist *sizes = a->metrics.hist[M_HEAP_ALLOC_BYTES];
	const uint64_t *v = a->metrics.value;
	struct para p;

	para_begin(&p, s, "rate");
	if (a->heap.mode == HEAP_SAMPLED && a->heap.windows) {
		struct heap_rate allocs = heap_rate_allocs(&a->heap), bytes = heap_rate_bytes(&a->heap);

		para_rate(&p, &allocs, UNIT_COUNT, " allocations");
		para_rate(&p, &bytes, UNIT_BYTES, "");
	} else if (a->heap.mode == HEAP_SAMPLED) {
		para_part(&p, "not known: no window saw enough");
	} else if (a->observed_s > 0) {
		para_part(&p, "%s allocations/s", rate_text((double)v[M_HEAP_ALLOCS] / a->observed_s));
		para_part(&p, "%s/s", bytes_text(hist_total(sizes) / a->observed_s));
	}
	para_end(&p);
}

static void print_sizes(const struct screen *s, const struct agent_data *a)
{
	const struct hist *sizes = a->metrics.hist[M_HEAP_ALLOC_BYTES], *lives = a->metrics.hist[M_HEAP_LIFETIME_NS];
	const uint64_t *v = a->metrics.value;
	struct para p;

	if (sizes && sizes->count) {
		para_begin(&p, s, "sizes");
		para_part(&p, "p50 %s", bytes_text(hist_quantile(sizes, 0.5)));
		para_part(&p, "p99 %s", bytes_text(hist_quantile(sizes, 0.99)));
		para_part(&p, "largest %s of %s %s", bytes_text((double)sizes->max), count_text((double)sizes->count),
			  a->heap.mode == HEAP_SAMPLED ? "that were seen" : "allocations");
		para_end(&p);
	}
	if (a->heap.mode != HEAP_FULL)
		return;
	para_begin(&p, s, "blocks");
	para_count(&p, v[M_HEAP_ALLOCS], "allocated");
	para_count(&p, v[M_HEAP_FREES], "freed");
	if (a->heap.unknown_frees)
		para_count(&p, a->heap.unknown_frees, "of them from before, or not followed");
	para_part(&p, "%s in %s left", bytes_text((double)v[M_HEAP_LIVE_BYTES]), count_text((double)v[M_HEAP_LIVE_BLOCKS]));
	para_end(&p);
	if (lives && lives->count) {
		para_begin(&p, s, "lifetime");
		para_part(&p, "p50 %s", ns_text(hist_quantile(lives, 0.5)));
		para_part(&p, "p99 %s", ns_text(hist_quantile(lives, 0.99)));
		para_part(&p, "longest %s", ns_text((double)lives->max));
		para_end(&p);
	}
}

/* What looking cost the agent, and what it missed. */
static void print_quality(const struct screen *s, const struct agent_data *a)
{
	const struct heap_data *h = &a->heap;
	struct para p;

	para_begin(&p, s, "observed");
	if (h->mode == HEAP_SAMPLED) {
		para_count(&p, h->windows, h->windows == 1 ? "window" : "windows");
		para_part(&p, "open for %s", ns_text(h->open_s * 1e9));
		if (h->windows_thin)
			para_count(&p, h->windows_thin, "more saw too little");
		if (h->windows_failed)
			para_count(&p, h->windows_failed, "could not be opened");
	} else if (h->kept < 1) {
		para_part(&p, "every allocation, but the lives of 1 in %.0f blocks only, scaled up (too many for the table)", 1 / h->kept);
	} else {
		para_part(&p, "every allocation");
	}
	if (h->late == 1)
		para_part(&p, "1 process only from %s after its start", ns_text(h->late_s * 1e9));
	else if (h->late)
		para_part(&p, "%s processes only from %s after their start (mean)", count_text((double)h->late), ns_text(h->late_s * 1e9 / (double)h->late));
	if (h->unseen)
		para_count(&p, h->unseen, h->unseen == 1 ? "process ended before it could be observed" : "processes ended before they could be observed");
	if (h->trapped_s > 0 && a->observed_s > 0)
		para_part(&p, "cost the agent %s (%.2f %% of its time)", ns_text(h->trapped_s * 1e9), h->trapped_s / a->observed_s * 100);
	para_end(&p);
}

static int places_print(const struct screen *s, const struct stacks *stacks, const struct agent_data *a, enum sample_id sample, const char *title)
{
	const struct sample_set *set = &a->samples[sample];

	if (!set->len)
		return 0;
	fputc('\n', s->out);
	screen_line(s, STYLE_DIM, "  %s: %s", title, bytes_text((double)sample_set_sum(set)));
	return print_sites(s, stacks, set, false, SITES_SHOWN);
}

int terminal_heap(const struct screen *s, const struct stacks *stacks, const struct agent_data *a)
{
	int err;

	if (a->heap.mode == HEAP_NONE)
		return 0;
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, a->heap.mode == HEAP_FULL ? "  Heap (all allocations)" : "  Heap (sampled)");
	print_rates(s, a);
	print_sizes(s, a);
	print_quality(s, a);
	err = places_print(s, stacks, a, SAMPLE_ALLOC_BYTES, "Allocated, by place");
	if (!err)
		err = places_print(s, stacks, a, SAMPLE_LIVE_BYTES, "Not freed at the end, by place");
	if (!err)
		err = places_print(s, stacks, a, SAMPLE_LEAK_BYTES, "Leak candidates (old, and growing)");
	return err;
}

int terminal_gc(const struct screen *s, const struct agent_data *a)
{
	static const struct {
		enum metric_id metric;
		const char *name;
	} generations[] = {
		{ M_GC_PAUSE_YOUNG_NS, "young" },
		{ M_GC_PAUSE_MIDDLE_NS, "middle" },
		{ M_GC_PAUSE_FULL_NS, "full" },
		{ M_GC_PAUSE_NS, "all" },
	};
	static const struct table_column columns[] = {
		{ .title = "generation", .left = true }, { .title = "count" }, { .title = "p50" },	       { .title = "p99" },
		{ .title = "max", .drop = 1 },		 { .title = "total" }, { .title = "% of time", .drop = 2 },
	};
	const struct hist *all = a->metrics.hist[M_GC_PAUSE_NS];
	struct table t;

	if (!all || !all->count)
		return 0;
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, "  Garbage collection (pauses)");
	table_init(&t, columns, ARRAY_SIZE(columns));
	for (size_t i = 0; i < ARRAY_SIZE(generations); i++) {
		const struct hist *h = a->metrics.hist[generations[i].metric];

		if (!h || !h->count)
			continue;
		table_cell(&t, s, 0, "%s", generations[i].name);
		table_cell(&t, s, 0, "%s", count_text((double)h->count));
		cell_quantile(&t, s, h, 0.5);
		cell_quantile(&t, s, h, 0.99);
		table_cell(&t, s, 0, "%s", ns_text((double)h->max));
		table_cell(&t, s, 0, "%s", ns_text((double)h->sum));
		cell_share(&t, s, h->sum, (uint64_t)(a->observed_s * 1e9));
	}
	return table_print(&t, s);
}
