/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/prometheus_page.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

#define CHUNK_BYTES (64 * 1024)

struct chunk {
	struct chunk *next;
	size_t used, size;
	max_align_t memory[];
};

void *chunk_alloc(struct page *p, struct chunk **c, size_t size)
{
	struct chunk *first = *c;
	void *at;

	size = (size + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
	if (!first || first->size - first->used < size) {
		size_t whole = size > CHUNK_BYTES ? size : CHUNK_BYTES;

		first = malloc(sizeof(*first) + whole);
		if (!first) {
			p->failed = true;
			return NULL;
		}
		*first = (struct chunk){.next = *c, .size = whole};
		*c = first;
	}
	at = (char *)first->memory + first->used;
	first->used += size;
	return at;
}

void chunk_free(struct chunk **c)
{
	while (*c) {
		struct chunk *next = (*c)->next;

		free(*c);
		*c = next;
	}
}

char *page_room(struct page *p, size_t len)
{
	if (p->failed)
		return NULL;
	if (p->out.cap - p->out.len < len) {
		size_t cap = 2 * p->out.cap + len + CHUNK_BYTES;
		char *at = realloc(p->out.at, cap);

		if (!at) {
			p->failed = true;
			return NULL;
		}
		p->out.at = at;
		p->out.cap = cap;
	}
	return p->out.at + p->out.len;
}

void page_bytes(struct page *p, const char *s, size_t len)
{
	char *at = page_room(p, len);

	if (at) {
		memcpy(at, s, len);
		p->out.len += len;
	}
}

struct page *page_new(enum prometheus_format format)
{
	struct page *p = calloc(1, sizeof(*p));

	if (p)
		p->format = format;
	return p;
}

void page_free(struct page *p)
{
	if (!p)
		return;
	chunk_free(&p->labels);
	chunk_free(&p->samples);
	free(p->metrics);
	free(p->out.at);
	free(p);
}

void label_clean(const char *value, char ret[LABEL_BYTES + 1])
{
	size_t len = strnlen(value, LABEL_BYTES + 1);

	if (len > LABEL_BYTES) {
		len = LABEL_BYTES;
		for (int i = 0; i < 3 && ((unsigned char)value[len] & 0xc0) == 0x80; i++) /* not within a character */
			len--;
	}
	memcpy(ret, value, len);
	ret[len] = '\0';
	text_sanitize(ret);
}

const struct page_labels *page_label(struct page *p, const struct page_labels *base, const struct prometheus_label *l, int len)
{
	struct page_labels *to = chunk_alloc(p, &p->labels, sizeof(*to));

	if (!to)
		return NULL;
	*to = (struct page_labels){0};
	if (p->format == PROMETHEUS_PROTOBUF)
		proto_labels(p, to, base, l, len);
	else
		text_labels(p, to, base, l, len);
	return p->failed ? NULL : to;
}

void page_family(struct page *p, const struct family *f)
{
	if (p->format == PROMETHEUS_PROTOBUF && p->begun)
		proto_family_end(p);
	if (f)
		p->family_now = *f;
	p->family = f ? &p->family_now : NULL;
	p->begun = false;
}

void page_number(struct page *p, const struct page_labels *labels, struct number n)
{
	if (!labels || p->failed)
		return;
	if (p->format == PROMETHEUS_PROTOBUF)
		proto_number(p, labels, n);
	else
		text_number(p, labels, n);
	p->begun = true;
}

void page_hist(struct page *p, const struct page_labels *labels, const struct hist *h, enum metric_unit unit)
{
	if (!labels || p->failed)
		return;
	if (p->format == PROMETHEUS_PROTOBUF)
		proto_hist(p, labels, h, unit);
	else
		text_hist(p, labels, h, unit);
	p->begun = true;
}

int page_finish(struct page *p, char **ret, size_t *ret_len)
{
	page_family(p, NULL);
	if (p->format == PROMETHEUS_OPENMETRICS)
		page_bytes(p, "# EOF\n", 6);
	page_bytes(p, "", 1); /* for whoever takes it as a string */
	if (p->failed)
		return -ENOMEM;
	*ret = p->out.at;
	*ret_len = p->out.len - 1;
	p->out = (struct bytes){0};
	return 0;
}

/* Powers of four, which are borders at any scale: 1.024 us to 18 min, 16 bytes to 16 GiB. */
uint64_t classic_border(enum metric_unit unit, int i)
{
	static const int first[] = {[UNIT_NS] = 10, [UNIT_BYTES] = 4, [UNIT_COUNT] = 0};

	return UINT64_C(1) << (first[unit] + 2 * i);
}

void classic_counts(const struct hist *h, enum metric_unit unit, uint64_t ret[PROMETHEUS_BORDERS])
{
	uint64_t sum = h->zero_count;
	uint32_t at = 0;

	for (int i = 0; i < PROMETHEUS_BORDERS; i++) {
		/* The bucket that ends at the border is the one that holds it. At scales below 0 a bucket may reach beyond it: what is in there is counted from its own
		 * border on. */
		uint64_t border = classic_border(unit, i);
		int32_t last = hist_index(border, h->scale);

		if (h->scale < 0 && hist_upper(last, h->scale) > (double)border)
			last--;
		while (at < h->len && h->offset + (int32_t)at <= last)
			sum += hist_bucket(h, at++);
		ret[i] = sum;
	}
}

int32_t native_shift(enum metric_unit unit, int scale)
{
	return 1 - (unit == UNIT_NS ? hist_seconds_shift(scale) : 0);
}

double base_value(enum metric_unit unit, uint64_t n)
{
	return unit == UNIT_NS ? (double)n / 1e9 : (double)n;
}
