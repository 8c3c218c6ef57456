/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What rules, comparisons and trends are about: a figure of an agent, a peer or a tool over a span of time, as text.
 *
 *   sum     = product { ("+" | "-") product }
 *   product = factor { ("*" | "/") factor }
 *   factor  = NUMBER [UNIT] | "(" sum ")" | FUNCTION "(" [NAME] ")"
 *
 * UNIT: ns us ms s m h, B K M G (1024), %. Values are in base units: seconds, bytes, plain numbers; metrics in _ns count as seconds.
 *
 *   p50(h) p95(h) p99.9(h) ..   percentile of a histogram (any number in 0..100)
 *   mean(h) max(h) min(h) count(h) sum(h)
 *   rate(c)                     of a counter a second; of a histogram: values a second
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

/* NULL: why says in one line what is wrong and what is possible (the nearest name of an unknown one), *ret_column where, from 1. */
struct expression *expression_parse(const char *text, int *ret_column, char *why, size_t why_len);
void expression_free(struct expression *e);
/* NAN: no data. ret_support (may be NULL): the fewest values that any of its histograms had; UINT64_MAX without histograms. */
double expression_value(const struct expression *e, const struct subject *s, uint64_t *ret_support);
/* For display: UNIT_NS (value in seconds), UNIT_BYTES, UNIT_COUNT. ratio: it is a share, or a quotient of like things: shown in percent. */
enum metric_unit expression_unit(const struct expression *e, bool *ret_ratio);
/* Whether it reads this metric; for what has to be kept. */
bool expression_uses(const struct expression *e, enum metric_id m);
/* A number with its unit as above ("3s", "85%", "512M", "40"): 0, or -EINVAL and why. */
int quantity_parse(const char *text, double *ret, char *why, size_t why_len);

#endif
