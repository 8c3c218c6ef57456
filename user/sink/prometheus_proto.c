/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The protobuf format: MetricFamily messages, each after its length. Histograms are native, and classic as well for scrapers that take no others. */
#include <stdlib.h>
#include <string.h>

#include "proto/prometheus.pb-c.h"
#include "sink/prometheus_page.h"

#define MESSAGE(name) Io__Prometheus__Client__##name

/* Below it is the zero bucket; what Prometheus' own libraries take, so that theirs and ours add up. All our values are 0 or well above. */
#define ZERO_THRESHOLD 0x1p-128

void proto_labels(
        struct page *p, struct page_labels *to, const struct page_labels *base, const struct prometheus_label *l, int len)
{
	size_t before = base ? base->pairs_len : 0;

	to->pairs = chunk_alloc(p, &p->labels, (before + (size_t)len) * sizeof(*to->pairs));
	if (!to->pairs)
		return;
	if (before)
		memcpy(to->pairs, base->pairs, before * sizeof(*to->pairs));
	for (int i = 0; i < len; i++) {
		MESSAGE(LabelPair) *pair = chunk_alloc(p, &p->labels, sizeof(*pair));
		char *name = chunk_alloc(p, &p->labels, strlen(l[i].name) + 1);
		char *value = chunk_alloc(p, &p->labels, LABEL_BYTES + 1);

		if (!pair || !name || !value)
			return;
		io__prometheus__client__label_pair__init(pair);
		label_clean(l[i].value, value);
		pair->name = strcpy(name, l[i].name);
		pair->value = value;
		to->pairs[before + (size_t)i] = pair;
	}
	to->pairs_len = before + (size_t)len;
}

static MESSAGE(Metric) * metric_new(struct page *p, const struct page_labels *labels)
{
	MESSAGE(Metric) *m = chunk_alloc(p, &p->samples, sizeof(*m));

	if (!m)
		return NULL;
	if (p->metrics_len == p->metrics_cap) {
		size_t cap = p->metrics_cap ? 2 * p->metrics_cap : 64;
		void **metrics = reallocarray(p->metrics, cap, sizeof(*metrics));

		if (!metrics) {
			p->failed = true;
			return NULL;
		}
		p->metrics = metrics;
		p->metrics_cap = cap;
	}
	io__prometheus__client__metric__init(m);
	m->n_label = labels->pairs_len;
	m->label = (MESSAGE(LabelPair) **)labels->pairs;
	p->metrics[p->metrics_len++] = m;
	return m;
}

void proto_number(struct page *p, const struct page_labels *labels, struct number n)
{
	double value = n.kind == NUMBER_REAL ? n.real : base_value(n.kind == NUMBER_NS ? UNIT_NS : UNIT_COUNT, n.n);
	MESSAGE(Metric) *m = metric_new(p, labels);

	if (!m)
		return;
	if (p->family->kind == FAMILY_COUNTER) {
		m->counter = chunk_alloc(p, &p->samples, sizeof(*m->counter));
		if (!m->counter)
			return;
		io__prometheus__client__counter__init(m->counter);
		m->counter->has_value = true;
		m->counter->value = value;
	} else {
		m->gauge = chunk_alloc(p, &p->samples, sizeof(*m->gauge));
		if (!m->gauge)
			return;
		io__prometheus__client__gauge__init(m->gauge);
		m->gauge->has_value = true;
		m->gauge->value = value;
	}
}

static void classic_put(struct page *p, MESSAGE(Histogram) * to, const struct hist *h, enum metric_unit unit)
{
	MESSAGE(Bucket) *buckets = chunk_alloc(p, &p->samples, PROMETHEUS_BORDERS * sizeof(*buckets));
	uint64_t counts[PROMETHEUS_BORDERS];

	to->bucket = chunk_alloc(p, &p->samples, PROMETHEUS_BORDERS * sizeof(*to->bucket));
	if (!buckets || !to->bucket)
		return;
	classic_counts(h, unit, counts);
	for (int i = 0; i < PROMETHEUS_BORDERS; i++) {
		io__prometheus__client__bucket__init(&buckets[i]);
		buckets[i].has_cumulative_count = buckets[i].has_upper_bound = true;
		buckets[i].cumulative_count = counts[i];
		buckets[i].upper_bound = base_value(unit, classic_border(unit, i));
		to->bucket[i] = &buckets[i];
	}
	to->n_bucket = PROMETHEUS_BORDERS;
}

/* Runs of buckets that hold something; a gap of one or two empty ones costs less within a span than a new span does. */
static void native_put(struct page *p, MESSAGE(Histogram) * to, const struct hist *h, enum metric_unit unit)
{
	MESSAGE(BucketSpan) *spans = chunk_alloc(p, &p->samples, (h->len + 1) * sizeof(*spans)), *span = NULL;
	int32_t next = 0; /* the index after the last span */
	int64_t before = 0;

	to->positive_span = chunk_alloc(p, &p->samples, (h->len + 1) * sizeof(*to->positive_span));
	to->positive_delta = chunk_alloc(p, &p->samples, (h->len + 1) * sizeof(*to->positive_delta));
	if (!spans || !to->positive_span || !to->positive_delta)
		return;
	for (uint32_t i = 0; i < h->len; i++) {
		int32_t index = h->offset + (int32_t)i + native_shift(unit, h->scale);
		int64_t n = (int64_t)hist_bucket(h, i);

		if (!n)
			continue;
		if (span && index - next <= 2) {
			for (; next < index; next++) {
				to->positive_delta[to->n_positive_delta++] = -before;
				before = 0;
				span->length++;
			}
		} else {
			span = &spans[to->n_positive_span];
			io__prometheus__client__bucket_span__init(span);
			span->has_offset = span->has_length = true;
			span->offset = index - next;
			to->positive_span[to->n_positive_span++] = span;
		}
		to->positive_delta[to->n_positive_delta++] = n - before;
		span->length++;
		before = n;
		next = index + 1;
	}
}

void proto_hist(struct page *p, const struct page_labels *labels, const struct hist *h, enum metric_unit unit)
{
	MESSAGE(Metric) *m = metric_new(p, labels);
	MESSAGE(Histogram) *to = m ? chunk_alloc(p, &p->samples, sizeof(*to)) : NULL;

	if (!to)
		return;
	io__prometheus__client__histogram__init(to);
	m->histogram = to;
	to->has_sample_count = to->has_sample_sum = to->has_schema = to->has_zero_threshold = to->has_zero_count = true;
	to->sample_count = h->count;
	to->sample_sum = base_value(unit, h->sum);
	to->schema = h->scale;
	to->zero_threshold = ZERO_THRESHOLD;
	to->zero_count = h->zero_count;
	classic_put(p, to, h, unit);
	native_put(p, to, h, unit);
}

static size_t varint(uint8_t *to, uint64_t n)
{
	size_t len = 0;

	for (; n >= 0x80; n >>= 7)
		to[len++] = (uint8_t)(n | 0x80);
	to[len++] = (uint8_t)n;
	return len;
}

void proto_family_end(struct page *p)
{
	static const MESSAGE(MetricType) types[] = {
	        [FAMILY_COUNTER] = IO__PROMETHEUS__CLIENT__METRIC_TYPE__COUNTER,
	        [FAMILY_GAUGE] = IO__PROMETHEUS__CLIENT__METRIC_TYPE__GAUGE,
	        [FAMILY_HISTOGRAM] = IO__PROMETHEUS__CLIENT__METRIC_TYPE__HISTOGRAM,
	};
	const struct family *from = p->family;
	MESSAGE(MetricFamily) f = IO__PROMETHEUS__CLIENT__METRIC_FAMILY__INIT;
	char name[sizeof(from->name) + sizeof("_total")];

	if (!p->failed) {
		size_t len;
		char *at;

		stpcpy(stpcpy(name, from->name), from->kind == FAMILY_COUNTER ? "_total" : "");
		f.name = name;
		f.help = (char *)from->help;
		f.has_type = true;
		f.type = types[from->kind];
		f.unit = *from->unit ? (char *)from->unit : NULL;
		f.n_metric = p->metrics_len;
		f.metric = (MESSAGE(Metric) **)p->metrics;
		len = io__prometheus__client__metric_family__get_packed_size(&f);
		at = page_room(p, len + 10);
		if (at) {
			size_t head = varint((uint8_t *)at, len);

			p->out.len += head + io__prometheus__client__metric_family__pack(&f, (uint8_t *)at + head);
		}
	}
	p->metrics_len = 0;
	chunk_free(&p->samples);
}
