/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What rules, comparisons and trends are about: a figure of an agent, a peer or a tool over a span of time, as text.
 *
 *   sum     = product { ("+" | "-") product }
 *   product = factor { ("*" | "/") factor }
 *   factor  = NUMBER [UNIT] | "(" sum ")" | FUNCTION "(" [NAME] ")"
 *
 * UNIT: ns us ms s m h, B K M G (1024), %. Values are in base units: seconds, bytes, plain numbers; metrics in _ns count as seconds. Only like is added to like.
 *
 *   p50(h) p95(h) p99.9(h) ..   percentile of a histogram (any number in 0..100)
 *   mean(h) max(h) min(h) count(h) sum(h)
 *   rate(c)                     of a counter a second (of CPU time: CPUs); of a histogram: values a second
 *   total(c)                    of a counter in the span
 *   last(g)                     of a gauge or peak
 *   share(STATE)                of the main thread's ledger, 0..1; share_threads, share_critical: of the others. "net.*": all that begin so
 *   age()                       seconds since the agent began to be watched
 *
 * Where there are no data (an empty histogram, a share of nothing, a division by zero) the value is NAN: no verdict ever rests on it.
 */
#ifndef STAKEOUT_EXPRESSION_H
#define STAKEOUT_EXPRESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/ledger.h"
#include "model/metrics.h"

struct expression;

struct subject { /* whose figure; lent */
	const struct metric_set *metrics;
	const struct ledger *main, *threads, *critical; /* NULL: it has none (a peer); tools have only main */
	double seconds; /* of the span, as far as it was watched */
	double age_s; /* since the agent began to be watched, at the span's end */
};

#define EXPRESSION_MAX 4096 /* bytes of text */

enum quantity_kind { QUANTITY_PLAIN, QUANTITY_TIME, QUANTITY_BYTES, QUANTITY_OTHER }; /* number or share; seconds; bytes, also a second; products of those */

/* NULL: why says in one line what is wrong and what is possible (the nearest name of an unknown one), *ret_column where, in characters from 1. */
struct expression *expression_parse(const char *text, int *ret_column, char *why, size_t why_len);
void expression_free(struct expression *e);
/*
 * NAN: no data. ret_support (may be NULL): how many events the value rests on, the fewest of the values in any of its histograms and of the events in any divisor that counts
 * events (count() and total() of plain counters); UINT64_MAX without either.
 */
double expression_value(const struct expression *e, const struct subject *s, uint64_t *ret_support);
/* For display: UNIT_NS (value in seconds), UNIT_BYTES, UNIT_COUNT. ratio: a share, time a time (CPUs), or a quotient of like things: shown in percent. */
enum metric_unit expression_unit(const struct expression *e, bool *ret_ratio);
enum quantity_kind expression_kind(const struct expression *e);
/* Whether it reads this metric; for what has to be kept. */
bool expression_uses(const struct expression *e, enum metric_id m);
/* Whether it reads the ledgers. */
bool expression_uses_share(const struct expression *e);
/* Whether it is of a span that must have passed (rates, totals, shares), not of single events or of now. */
bool expression_spans(const struct expression *e);
/* Whether its value changes only when something happens: it reads no rate, no age and no gauge. */
bool expression_events(const struct expression *e);
/* Whether it reads a gauge or peak. */
bool expression_reads_gauge(const struct expression *e);
/* Whether it has no value unless a histogram that it reads has one. */
bool expression_needs_values(const struct expression *e);
/* Whether all it reads of histograms is how many values they have and their sum. */
bool expression_sums(const struct expression *e);
/* Whether it is just a percentile of a histogram: which one, and at which share (0..1). */
bool expression_quantile(const struct expression *e, enum metric_id *ret_metric, double *ret_quantile);
/* The probes without which it has no value: 1 << PROBE_x. */
unsigned expression_probes(const struct expression *e);
/* A number with its unit as above ("3s", "85%", "512M", "40"): 0, or -EINVAL and why. ret_kind may be NULL. */
int quantity_parse(const char *text, double *ret, char *why, size_t why_len);
int quantity_parse_kind(const char *text, double *ret, enum quantity_kind *ret_kind, char *why, size_t why_len);

#endif
