/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/otlp_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

#define CHUNK_BYTES (256 * 1024)
#define SCOPE "stakeout"
#define LOOK_BACK 8 /* metrics among which one of the same name is looked for: those of a name come together */

struct otlp_chunk {
	struct otlp_chunk *next;
	size_t used, size;
	_Alignas(max_align_t) char bytes[];
};

void *otlp_take(struct otlp_request *r, size_t size)
{
	struct otlp_chunk *c = r->chunks;
	void *p;

	size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
	if (!c || c->size - c->used < size) {
		size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;

		c = malloc(sizeof(*c) + room);
		if (!c) {
			r->failed = true;
			return NULL;
		}
		c->used = 0;
		c->size = room;
		c->next = r->chunks;
		r->chunks = c;
	}
	p = c->bytes + c->used;
	c->used += size;
	return memset(p, 0, size);
}

char *otlp_text(struct otlp_request *r, const char *text)
{
	size_t len = text ? strlen(text) : 0;
	char *copy = otlp_take(r, len + 1);

	if (copy && len)
		text_sanitize(memcpy(copy, text, len + 1));
	return copy;
}

/* One more in a list of pointers that has room for a power of two. */
static bool append(struct otlp_request *r, void *list, size_t *n, void *item)
{
	void **items;

	if (!item)
		return false;
	memcpy(&items, list, sizeof(items)); /* of whatever type the pointers are */
	if (!(*n & (*n - 1))) {
		void **more = otlp_take(r, (*n ? 2 * *n : 1) * sizeof(*more));

		if (!more)
			return false;
		if (*n)
			memcpy(more, items, *n * sizeof(*more));
		items = more;
		memcpy(list, &items, sizeof(items));
	}
	items[(*n)++] = item;
	return true;
}

static Otlp__AnyValue *attribute(struct otlp_request *r, struct otlp_attributes *a, const char *key)
{
	struct pair {
		Otlp__KeyValue pair;
		Otlp__AnyValue value;
	} *p = otlp_take(r, sizeof(*p));

	if (!p)
		return NULL;
	otlp__key_value__init(&p->pair);
	otlp__any_value__init(&p->value);
	p->pair.key = (char *)key;
	p->pair.value = &p->value;
	return append(r, &a->list, &a->n, &p->pair) ? &p->value : NULL;
}

void otlp_attribute_text(struct otlp_request *r, struct otlp_attributes *a, const char *key, const char *value)
{
	char *text = otlp_text(r, value);
	Otlp__AnyValue *v = text ? attribute(r, a, key) : NULL;

	if (!v)
		return;
	v->value_case = OTLP__ANY_VALUE__VALUE_STRING_VALUE;
	v->string_value = text;
}

void otlp_attribute_int(struct otlp_request *r, struct otlp_attributes *a, const char *key, int64_t value)
{
	Otlp__AnyValue *v = attribute(r, a, key);

	if (!v)
		return;
	v->value_case = OTLP__ANY_VALUE__VALUE_INT_VALUE;
	v->int_value = value;
}

struct otlp_attributes otlp_attributes_copy(struct otlp_request *r, const struct otlp_attributes *a)
{
	struct otlp_attributes copy = { 0 };

	for (size_t i = 0; i < a->n; i++)
		append(r, &copy.list, &copy.n, a->list[i]);
	return copy;
}

void otlp_resource_begin(struct otlp_resource *ret, struct otlp_request *r, const struct otlp_attributes *a, uint64_t start_ns, uint64_t time_ns)
{
	struct whole {
		Otlp__ResourceMetrics metrics;
		Otlp__Resource resource;
		Otlp__ScopeMetrics scope_metrics;
		Otlp__InstrumentationScope scope;
	} *w = otlp_take(r, sizeof(*w));

	*ret = (struct otlp_resource){ .r = r, .start_ns = start_ns, .time_ns = time_ns };
	if (!w)
		return;
	otlp__resource_metrics__init(&w->metrics);
	otlp__resource__init(&w->resource);
	otlp__scope_metrics__init(&w->scope_metrics);
	otlp__instrumentation_scope__init(&w->scope);
	w->resource.attributes = a->list;
	w->resource.n_attributes = a->n;
	w->scope.name = (char *)SCOPE;
	w->metrics.resource = &w->resource;
	w->scope_metrics.scope = &w->scope;
	if (append(r, &w->metrics.scope_metrics, &w->metrics.n_scope_metrics, &w->scope_metrics) &&
	    append(r, &r->message.resource_metrics, &r->message.n_resource_metrics, &w->metrics))
		ret->scope = &w->scope_metrics;
}

static void metric_data(struct otlp_request *r, Otlp__Metric *m, enum otlp_kind kind)
{
	if (kind == OTLP_GAUGE && (m->gauge = otlp_take(r, sizeof(*m->gauge)))) {
		otlp__gauge__init(m->gauge);
		m->data_case = OTLP__METRIC__DATA_GAUGE;
	} else if (kind == OTLP_HIST && (m->exponential_histogram = otlp_take(r, sizeof(*m->exponential_histogram)))) {
		otlp__exponential_histogram__init(m->exponential_histogram);
		m->exponential_histogram->aggregation_temporality = OTLP__AGGREGATION_TEMPORALITY__AGGREGATION_TEMPORALITY_CUMULATIVE;
		m->data_case = OTLP__METRIC__DATA_EXPONENTIAL_HISTOGRAM;
	} else if ((kind == OTLP_COUNTER || kind == OTLP_UP_DOWN) && (m->sum = otlp_take(r, sizeof(*m->sum)))) {
		otlp__sum__init(m->sum);
		m->sum->aggregation_temporality = OTLP__AGGREGATION_TEMPORALITY__AGGREGATION_TEMPORALITY_CUMULATIVE;
		m->sum->is_monotonic = kind == OTLP_COUNTER;
		m->data_case = OTLP__METRIC__DATA_SUM;
	}
}

/* NULL when out of memory. */
static Otlp__Metric *metric_of(struct otlp_resource *to, const struct otlp_instrument *i)
{
	Otlp__ScopeMetrics *s = to->scope;
	Otlp__Metric *m;

	if (!s)
		return NULL;
	for (size_t n = s->n_metrics; n > 0 && n + LOOK_BACK > s->n_metrics; n--)
		if (!strcmp(s->metrics[n - 1]->name, i->name))
			return s->metrics[n - 1];
	m = otlp_take(to->r, sizeof(*m));
	if (!m)
		return NULL;
	otlp__metric__init(m);
	m->name = otlp_text(to->r, i->name);
	m->unit = (char *)i->unit;
	m->description = (char *)i->description;
	metric_data(to->r, m, i->kind);
	return m->name && m->data_case && append(to->r, &s->metrics, &s->n_metrics, m) ? m : NULL;
}

static Otlp__NumberDataPoint *number(struct otlp_resource *to, const struct otlp_instrument *i, const struct otlp_attributes *a)
{
	Otlp__Metric *m = metric_of(to, i);
	Otlp__NumberDataPoint *p = m ? otlp_take(to->r, sizeof(*p)) : NULL;
	bool added;

	if (!p)
		return NULL;
	otlp__number_data_point__init(p);
	p->start_time_unix_nano = i->kind == OTLP_GAUGE ? 0 : to->start_ns;
	p->time_unix_nano = to->time_ns;
	p->attributes = a->list;
	p->n_attributes = a->n;
	added = i->kind == OTLP_GAUGE ? append(to->r, &m->gauge->data_points, &m->gauge->n_data_points, p) :
					append(to->r, &m->sum->data_points, &m->sum->n_data_points, p);
	return added ? p : NULL;
}

void otlp_add_int(struct otlp_resource *to, const struct otlp_instrument *i, const struct otlp_attributes *a, uint64_t value)
{
	Otlp__NumberDataPoint *p = number(to, i, a);

	if (!p)
		return;
	p->value_case = OTLP__NUMBER_DATA_POINT__VALUE_AS_INT;
	p->as_int = value <= INT64_MAX ? (int64_t)value : INT64_MAX;
}

void otlp_add_double(struct otlp_resource *to, const struct otlp_instrument *i, const struct otlp_attributes *a, double value)
{
	Otlp__NumberDataPoint *p = number(to, i, a);

	if (!p)
		return;
	p->value_case = OTLP__NUMBER_DATA_POINT__VALUE_AS_DOUBLE;
	p->as_double = value;
}

/* Buckets that hold anything, from the first to the last of them. */
static Otlp__Buckets *buckets(struct otlp_request *r, const struct hist *h, int32_t shift)
{
	uint32_t first = 0, end = h->len;
	Otlp__Buckets *b = otlp_take(r, sizeof(*b));

	if (!b)
		return NULL;
	otlp__buckets__init(b);
	while (end > first && !hist_bucket(h, end - 1))
		end--;
	while (first < end && !hist_bucket(h, first))
		first++;
	if (first == end)
		return b;
	b->bucket_counts = otlp_take(r, (end - first) * sizeof(*b->bucket_counts));
	if (!b->bucket_counts)
		return NULL;
	b->offset = h->offset + (int32_t)first - shift;
	for (uint32_t i = first; i < end; i++)
		b->bucket_counts[b->n_bucket_counts++] = hist_bucket(h, i);
	return b;
}

void otlp_add_hist(struct otlp_resource *to, const struct otlp_instrument *i, const struct otlp_attributes *a, const struct hist *h, bool seconds)
{
	const double unit = seconds ? 1e9 : 1;
	Otlp__Metric *m = metric_of(to, i);
	Otlp__ExponentialHistogramDataPoint *p = m ? otlp_take(to->r, sizeof(*p)) : NULL;

	if (!p)
		return;
	otlp__exponential_histogram_data_point__init(p);
	p->attributes = a->list;
	p->n_attributes = a->n;
	p->start_time_unix_nano = to->start_ns;
	p->time_unix_nano = to->time_ns;
	p->count = h->count;
	p->scale = h->scale;
	p->zero_count = h->zero_count;
	p->positive = buckets(to->r, h, seconds ? hist_seconds_shift(h->scale) : 0);
	p->of_sum_case = OTLP__EXPONENTIAL_HISTOGRAM_DATA_POINT__OF_SUM_SUM;
	p->sum = (double)h->sum / unit;
	if (h->count) {
		p->of_min_case = OTLP__EXPONENTIAL_HISTOGRAM_DATA_POINT__OF_MIN_MIN;
		p->min = (double)h->min / unit;
		p->of_max_case = OTLP__EXPONENTIAL_HISTOGRAM_DATA_POINT__OF_MAX_MAX;
		p->max = (double)h->max / unit;
	}
	append(to->r, &m->exponential_histogram->data_points, &m->exponential_histogram->n_data_points, p);
}

int otlp_request_pack(const struct otlp_request *r, uint8_t **ret, size_t *ret_len)
{
	size_t len = otlp__export_metrics_service_request__get_packed_size(&r->message);
	uint8_t *bytes = malloc(len ? len : 1);

	if (!bytes)
		return -ENOMEM;
	*ret_len = otlp__export_metrics_service_request__pack(&r->message, bytes);
	*ret = bytes;
	return 0;
}

void otlp_request_free(struct otlp_request *r)
{
	while (r && r->chunks) {
		struct otlp_chunk *c = r->chunks;

		r->chunks = c->next;
		free(c);
	}
	free(r);
}

void otlp_answer_parse(const void *body, size_t len, bool error, struct otlp_answer *ret)
{
	*ret = (struct otlp_answer){ 0 };
	if (error) {
		Otlp__Status *s = otlp__status__unpack(NULL, len, body);

		if (s)
			snprintf(ret->message, sizeof(ret->message), "%s", s->message);
		otlp__status__free_unpacked(s, NULL);
	} else {
		Otlp__ExportMetricsServiceResponse *s = otlp__export_metrics_service_response__unpack(NULL, len, body);

		if (s && s->partial_success) {
			ret->rejected_points = s->partial_success->rejected_data_points;
			snprintf(ret->message, sizeof(ret->message), "%s", s->partial_success->error_message);
		}
		otlp__export_metrics_service_response__free_unpacked(s, NULL);
	}
	text_sanitize(ret->message);
}
