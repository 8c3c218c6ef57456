/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a running session has told so far as a page of Prometheus metrics: in the text format 0.0.4, as OpenMetrics 1.0 text, or as protobuf with native histograms.
 *
 * Names are stakeout_<metric>, stakeout_tool_<metric> and stakeout_peer_<metric>, in base units. A histogram of the classic kind has borders that are borders of ours
 * as well, so that its counts are exact. A native one has our buckets one for one, of schema 5. A nanosecond is no power of b = 2^(1/32) seconds, so that no
 * bucket border in nanoseconds is one in seconds: times are moved by 957 buckets (hist_seconds_shift), which is 10^-9 but for a factor of 0.99385. Their quantiles come out 0.62 % low, a quarter of
 * a bucket; counts, sums and what is added up over hosts are exact. Sizes are not moved, and have no such error.
 */
#ifndef STAKEOUT_PROMETHEUS_H
#define STAKEOUT_PROMETHEUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/live.h"

enum prometheus_format { PROMETHEUS_TEXT, PROMETHEUS_OPENMETRICS, PROMETHEUS_PROTOBUF, PROMETHEUS_FORMATS };

struct prometheus_label { /* name: as label_name_valid() says; value: any bytes */
	const char *name, *value;
};

struct prometheus_options {
	uint64_t max_series; /* of a page; what is beyond is folded */
	bool native; /* pages are protobuf only, where a histogram is one series */
	const struct prometheus_label *labels; /* of every series; copied. Those called as one of ours are left out */
	int labels_len;
	const char *version; /* of the program; static */
};

/*
 * Which agents, tools and peers have series of their own. Counters must not jump: what once had series keeps them while it lives and there is room; what has none goes into its agent's
 * "(other)" (agents: into one called so), and stays there.
 */
struct prometheus;

/* NULL when out of memory. */
struct prometheus *prometheus_new(const struct prometheus_options *o);
void prometheus_free(struct prometheus *p);
/* A new interval is in l; to be called with each of them from the first page on. 0 or -ENOMEM. */
int prometheus_update(struct prometheus *p, const struct live *l);
/* What a page tells, taken from l as it was at the last update: quick, so that whoever shares l is not held up. *ret is the caller's. 0 or -ENOMEM. */
struct prometheus_page;
int prometheus_take(
        const struct prometheus *p, const struct live *l, enum prometheus_format format, struct prometheus_page **ret);
/* The page as text or protobuf, in any thread; p must still be there. Frees page. *ret is the caller's, freed by free(). 0 or -ENOMEM. */
int prometheus_render(struct prometheus_page *page, char **ret, size_t *ret_len);
void prometheus_page_free(struct prometheus_page *page);

/* As a response's Content-Type. */
const char *prometheus_content_type(enum prometheus_format format);
/* What to answer a request with this Accept header (NULL: none): the format with the highest weight, the first of equals; text when it names none. */
enum prometheus_format prometheus_accept(const char *accept);
/* Whether an Accept-Encoding header (NULL: none) takes this coding. */
bool prometheus_accept_coding(const char *accept_encoding, const char *coding);

#endif
