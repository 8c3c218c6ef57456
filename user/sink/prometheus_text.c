/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The text format 0.0.4, and OpenMetrics 1.0, which is stricter: _total is no part of a counter's family, units have a line, quotes in help are escaped. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "sink/prometheus_page.h"

void text_labels(
        struct page *p, struct page_labels *to, const struct page_labels *base, const struct prometheus_label *l, int len)
{
	size_t size = base ? base->text_len : 0;
	char *at;

	for (int i = 0; i < len; i++)
		size += strlen(l[i].name) + 2 * LABEL_BYTES + 4;
	at = to->text = chunk_alloc(p, &p->labels, size + 1);
	if (!at)
		return;
	if (base && base->text_len)
		at = mempcpy(at, base->text, base->text_len);
	for (int i = 0; i < len; i++) {
		char value[LABEL_BYTES + 1];

		label_clean(l[i].value, value);
		if (at != to->text)
			*at++ = ',';
		at = stpcpy(stpcpy(at, l[i].name), "=\"");
		for (const char *c = value; *c; c++) { /* control characters are gone */
			if (*c == '"' || *c == '\\')
				*at++ = '\\';
			*at++ = *c;
		}
		*at++ = '"';
	}
	to->text_len = (size_t)(at - to->text);
}

static void text_put(struct page *p, const char *s)
{
	page_bytes(p, s, strlen(s));
}

static void family_begin(struct page *p)
{
	static const char *const kinds[] = {
	        [FAMILY_COUNTER] = "counter", [FAMILY_GAUGE] = "gauge", [FAMILY_HISTOGRAM] = "histogram"};
	const struct family *f = p->family;
	const bool open = p->format == PROMETHEUS_OPENMETRICS;
	const char *total = f->kind == FAMILY_COUNTER && !open ? "_total" : "";
	char line[sizeof(f->name) + 64], help[2 * sizeof(f->help)], *to = help;

	for (const char *c = f->help; *c; c++) {
		if (*c == '\\' || (*c == '"' && open))
			*to++ = '\\';
		*to++ = *c;
	}
	*to = '\0';
	snprintf(line, sizeof(line), "# HELP %s%s ", f->name, total);
	text_put(p, line);
	text_put(p, help);
	snprintf(line, sizeof(line), "\n# TYPE %s%s %s\n", f->name, total, kinds[f->kind]);
	text_put(p, line);
	if (open && *f->unit) {
		snprintf(line, sizeof(line), "# UNIT %s %s\n", f->name, f->unit);
		text_put(p, line);
	}
}

static char *digits(char *end, uint64_t n, int at_least)
{
	do {
		*--end = (char)('0' + n % 10);
		n /= 10;
		at_least--;
	} while (n || at_least > 0);
	return end;
}

/* Exact where it is a whole number or nanoseconds. Returns the length. */
static size_t number_text(char out[NUMBER_BYTES], struct number n)
{
	char buf[NUMBER_BYTES], *end = buf + sizeof(buf), *at = end;

	if (n.kind == NUMBER_REAL) {
		if (!isfinite(n.real))
			return (size_t)snprintf(out, NUMBER_BYTES, "%s", isnan(n.real) ? "NaN" : n.real > 0 ? "+Inf" : "-Inf");
		return (size_t)snprintf(out, NUMBER_BYTES, "%.15g", n.real);
	}
	if (n.kind == NUMBER_NS && n.n % NS_PER_S) {
		uint64_t fraction = n.n % NS_PER_S;
		int width = 9;

		for (; fraction % 10 == 0; width--)
			fraction /= 10;
		at = digits(end, fraction, width);
		*--at = '.';
	}
	at = digits(at, n.kind == NUMBER_NS ? n.n / NS_PER_S : n.n, 1);
	memcpy(out, at, (size_t)(end - at));
	return (size_t)(end - at);
}

/* name[suffix]{labels[,le="..."]} value */
static void line(struct page *p, const char *suffix, const struct page_labels *l, const char *le, struct number n)
{
	const char *name = p->family->name;
	size_t name_len = strlen(name), suffix_len = strlen(suffix), le_len = le ? strlen(le) : 0;
	char *at = page_room(p, name_len + suffix_len + l->text_len + le_len + NUMBER_BYTES + 16), *start = at;

	if (!at)
		return;
	at = mempcpy(mempcpy(at, name, name_len), suffix, suffix_len);
	if (l->text_len || le) {
		*at++ = '{';
		at = mempcpy(at, l->text, l->text_len);
		if (le) {
			if (l->text_len)
				*at++ = ',';
			at = mempcpy(at, "le=\"", 4);
			at = mempcpy(at, le, le_len);
			*at++ = '"';
		}
		*at++ = '}';
	}
	*at++ = ' ';
	at += number_text(at, n);
	*at++ = '\n';
	p->out.len += (size_t)(at - start);
}

void text_number(struct page *p, const struct page_labels *labels, struct number n)
{
	if (!p->begun)
		family_begin(p);
	line(p, p->family->kind == FAMILY_COUNTER ? "_total" : "", labels, NULL, n);
}

/* As Go's shortest form has it, so that a border is the same label whatever format it came in; OpenMetrics wants a fraction. */
static void border_text(char out[NUMBER_BYTES], double border, bool open)
{
	int precision = 1;

	while (precision < 17 && (snprintf(out, NUMBER_BYTES, "%.*e", precision - 1, border), strtod(out, NULL) != border))
		precision++;
	if (border < 1e-4 || border >= 1e6)
		return;
	snprintf(out, NUMBER_BYTES, "%.*g", precision > 6 ? precision : 6, border);
	if (open && !strchr(out, '.'))
		strcat(out, ".0");
}

void text_hist(struct page *p, const struct page_labels *labels, const struct hist *h, enum metric_unit unit)
{
	uint64_t counts[PROMETHEUS_BORDERS];

	if (!p->begun)
		family_begin(p);
	classic_counts(h, unit, counts);
	for (int i = 0; i < PROMETHEUS_BORDERS; i++) {
		char *border = p->borders[unit][i];

		if (!*border)
			border_text(border, base_value(unit, classic_border(unit, i)), p->format == PROMETHEUS_OPENMETRICS);
		line(p, "_bucket", labels, border, (struct number){.n = counts[i]});
	}
	line(p, "_bucket", labels, "+Inf", (struct number){.n = h->count});
	line(p, "_sum", labels, NULL, (struct number){.kind = unit == UNIT_NS ? NUMBER_NS : NUMBER_COUNT, .n = h->sum});
	line(p, "_count", labels, NULL, (struct number){.n = h->count});
}
