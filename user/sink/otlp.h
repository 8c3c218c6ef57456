/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a running session has told so far as OpenTelemetry metrics (OTLP): one ResourceMetrics an agent, and one of the observer itself. Sums and histograms are
 * cumulative. Metrics that a semantic convention names have that name (otlp_names.h), the others are stakeout.<metric>; those of a tool or of a peer are
 * stakeout.tool.<metric> and stakeout.peer.<metric>, so that nothing is counted twice where the points of one name are added up.
 *
 * Histograms are ours bucket by bucket: bucket i of ours is bucket i of OTLP's exponential histograms of the same scale. Times stay in nanoseconds (unit "ns"), since 10^9
 * is no power of b = 2^(1/32) and the borders of buckets would move. Conventions, though, ask for seconds: histograms of their names have each bucket 957 further down (hist_seconds_shift), which is
 * 10^-9 but for a factor of 0.9939, so that values read from buckets come out 0.62 % low, a quarter of a bucket. Counts are exact there as well; sum, min and max are those in
 * nanoseconds by 10^9.
 */
#ifndef STAKEOUT_OTLP_H
#define STAKEOUT_OTLP_H

#include <stddef.h>
#include <stdint.h>

#include "model/json_put.h"
#include "model/live.h"

struct otlp_label { /* any bytes */
	const char *name, *value;
};

enum otlp_loss { OTLP_LOSS_QUEUE_FULL, OTLP_LOSS_REFUSED, OTLP_LOSSES };
extern const char *const otlp_loss_names[OTLP_LOSSES];

struct otlp_push_counts { /* what became of requests; since the beginning */
	uint64_t sent, retries, dropped[OTLP_LOSSES];
	uint64_t rejected_points; /* of requests that were taken otherwise */
	uint64_t queued; /* now */
};

/* The highest value of each metric that is a peak of its interval, since the last request: most intervals have none of their own. Zero-initialised is empty. */
struct otlp_peaks {
	struct otlp_peak {
		int agent; /* its id; in rising order */
		uint64_t value[METRIC_IDS];
	} *of; /* owned */
	int len;
};

/* The newest interval of l, once each. 0 or -ENOMEM. */
int otlp_peaks_take(struct otlp_peaks *p, const struct live *l);
/* Begins anew. Also frees. */
void otlp_peaks_reset(struct otlp_peaks *p);

struct otlp_context {
	const char *host_id; /* NULL: not known */
	const struct otlp_peaks *peaks; /* NULL: of the newest interval */
	int64_t shift_ns; /* by how much the host's clock has been set since the beginning */
	const struct otlp_label *labels; /* attributes of every resource */
	int labels_len;
	const struct otlp_push_counts *push; /* NULL: this is not pushed */
};

struct otlp_request; /* an ExportMetricsServiceRequest; owns all that it is made of */

/* NULL when out of memory. */
struct otlp_request *otlp_request_new(const struct live *l, const struct otlp_context *context);
void otlp_request_free(struct otlp_request *r);
/* As protobuf; *ret is the caller's. 0 or -ENOMEM. */
int otlp_request_pack(const struct otlp_request *r, uint8_t **ret, size_t *ret_len);
/* As OTLP/JSON, in one line without its end, appended; j->failed when out of memory. */
void otlp_request_json(const struct otlp_request *r, struct json_text *j);

struct otlp_answer { /* what a receiver answered */
	int64_t rejected_points;
	char message[256]; /* "" when there is none; harmless */
};

/* Reads the body of an answer, protobuf: of one that took the request, or (error) of one that did not. Anything else gives an empty answer. */
void otlp_answer_parse(const void *body, size_t len, bool error, struct otlp_answer *ret);

#endif
