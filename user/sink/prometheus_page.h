/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A page of metrics in one of Prometheus' formats, family by family. Whoever fills it does not know which format it is. */
#ifndef STAKEOUT_PROMETHEUS_PAGE_H
#define STAKEOUT_PROMETHEUS_PAGE_H

#include "model/hist.h"
#include "model/metrics.h"
#include "sink/prometheus.h"

#define NUMBER_BYTES 32
#define UNITS (UNIT_COUNT + 1)
#define PROMETHEUS_BORDERS 16 /* of a classic histogram, +Inf not counted */

enum family_kind { FAMILY_COUNTER, FAMILY_GAUGE, FAMILY_HISTOGRAM };

struct family {
	char name[96]; /* with its unit, without _total */
	enum family_kind kind;
	const char *unit; /* "seconds", "bytes"; "": none */
	char help[256];
};

struct number {
	enum { NUMBER_COUNT, NUMBER_NS, NUMBER_REAL } kind; /* NS: n nanoseconds, told as seconds */
	uint64_t n;
	double real;
};

struct page_labels; /* of any number of series; lives as long as its page */
struct page;

/* NULL when out of memory. */
struct page *page_new(enum prometheus_format format);
void page_free(struct page *p);
/* base (may be NULL) and l. Values are cleaned: what is not printable UTF-8 becomes '?', and they are cut at LABEL_BYTES. NULL when out of memory, which the page
 * remembers; functions below take it as a value and do nothing. */
const struct page_labels *page_label(struct page *p, const struct page_labels *base, const struct prometheus_label *l, int len);
/* Samples are of this family until the next call. It shows only if it gets any. f is copied. */
void page_family(struct page *p, const struct family *f);
void page_number(struct page *p, const struct page_labels *labels, struct number n);
void page_hist(struct page *p, const struct page_labels *labels, const struct hist *h, enum metric_unit unit);
/* Ends it. *ret is the caller's. 0 or -ENOMEM. */
int page_finish(struct page *p, char **ret, size_t *ret_len);

#define LABEL_BYTES 200
/* A label's value, cleaned, in ret. */
void label_clean(const char *value, char ret[LABEL_BYTES + 1]);

/* The borders of a classic histogram: each the upper border of one of our buckets, in the metric's own unit. */
uint64_t classic_border(enum metric_unit unit, int i);
/* How many values are at or below each border; what is above the last is left out. */
void classic_counts(const struct hist *h, enum metric_unit unit, uint64_t ret[PROMETHEUS_BORDERS]);
/* What to add to our bucket's index to have Prometheus', which counts by upper borders in base units. */
int32_t native_shift(enum metric_unit unit, int scale);
/* n of the metric's unit in its base unit. */
double base_value(enum metric_unit unit, uint64_t n);

/* What the formats are made of: prometheus_text.c and prometheus_proto.c. */
struct bytes {
	char *at; /* owned */
	size_t len, cap;
};

struct chunk; /* of memory that is freed all at once */

struct page {
	enum prometheus_format format;
	const struct family *family; /* family_now, or NULL */
	struct family family_now;
	bool begun; /* it has samples */
	struct bytes out;
	struct chunk *labels, *samples; /* of the page; of the family (protobuf) */
	void **metrics; /* of the family (protobuf) */
	size_t metrics_len, metrics_cap;
	char borders[UNITS][PROMETHEUS_BORDERS][NUMBER_BYTES]; /* as labels, once needed */
	bool failed; /* out of memory */
};

struct page_labels {
	char *text; /* a="x",b="y"; text formats */
	size_t text_len;
	void **pairs; /* protobuf */
	size_t pairs_len;
};

void *chunk_alloc(struct page *p, struct chunk **c, size_t size);
void chunk_free(struct chunk **c);
/* Space for len more bytes, of which the caller says by out.len how many it used; NULL when out of memory. */
char *page_room(struct page *p, size_t len);
void page_bytes(struct page *p, const char *s, size_t len);

void text_labels(
        struct page *p, struct page_labels *to, const struct page_labels *base, const struct prometheus_label *l, int len);
void text_number(struct page *p, const struct page_labels *labels, struct number n);
void text_hist(struct page *p, const struct page_labels *labels, const struct hist *h, enum metric_unit unit);

void proto_labels(
        struct page *p, struct page_labels *to, const struct page_labels *base, const struct prometheus_label *l, int len);
void proto_number(struct page *p, const struct page_labels *labels, struct number n);
void proto_hist(struct page *p, const struct page_labels *labels, const struct hist *h, enum metric_unit unit);
void proto_family_end(struct page *p);

#endif
