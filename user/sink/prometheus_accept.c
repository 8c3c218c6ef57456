/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* HTTP's content negotiation (RFC 9110, 12.5), as far as a page of metrics needs it. Headers are a stranger's bytes. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sink/prometheus.h"

#define PROTOBUF_TYPE "application/vnd.google.protobuf"

const char *prometheus_content_type(enum prometheus_format format)
{
	static const char *const types[PROMETHEUS_FORMATS] = {
	        [PROMETHEUS_TEXT] = "text/plain; version=0.0.4; charset=utf-8",
	        [PROMETHEUS_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
	        [PROMETHEUS_PROTOBUF] = PROTOBUF_TYPE "; proto=io.prometheus.client.MetricFamily; encoding=delimited",
	};

	return types[format];
}

struct span { /* of a header, blanks at its ends left out */
	const char *at;
	size_t len;
};

static struct span trim(const char *at, size_t len)
{
	for (; len && (*at == ' ' || *at == '\t'); at++)
		len--;
	while (len && (at[len - 1] == ' ' || at[len - 1] == '\t'))
		len--;
	return (struct span){at, len};
}

/* Cuts off what is before the next `separator`. False at the end. */
static bool next_of(const char **rest, char separator, struct span *ret)
{
	size_t len;

	if (!*rest)
		return false;
	len = strcspn(*rest, (char[]){separator, '\0'});
	*ret = trim(*rest, len);
	*rest = (*rest)[len] ? *rest + len + 1 : NULL;
	return true;
}

static bool is(struct span s, const char *text)
{
	return s.len == strlen(text) && !strncasecmp(s.at, text, s.len);
}

/* The value of parameter `name` (with its '='), quotes taken off. */
static bool parameter(struct span s, const char *name, struct span *ret)
{
	size_t len = strlen(name);

	if (s.len < len || strncasecmp(s.at, name, len))
		return false;
	*ret = trim(s.at + len, s.len - len);
	if (ret->len >= 2 && ret->at[0] == '"' && ret->at[ret->len - 1] == '"')
		*ret = (struct span){ret->at + 1, ret->len - 2};
	return true;
}

/* In thousandths, as many as there may be: "0.5", "1". What is no number is 0: not wanted. */
static int weight(struct span s)
{
	int value = 0, digit = 100;

	if (!s.len || (*s.at != '0' && *s.at != '1') || (s.len > 1 && s.at[1] != '.') || s.len > 5)
		return 0;
	value = *s.at == '1' ? 1000 : 0;
	for (size_t i = 2; i < s.len; i++, digit /= 10) {
		if (!isdigit((unsigned char)s.at[i]))
			return 0;
		value += digit * (s.at[i] - '0');
	}
	return value > 1000 ? 1000 : value;
}

/* The format that one media range asks for, or -1; and how much it is wanted. */
static int range_format(struct span range, int *ret_weight)
{
	struct {
		struct span type, proto, encoding, version;
	} found = {0};
	char text[256];
	const char *rest = text;
	struct span part, q;

	*ret_weight = 1000;
	if (range.len >= sizeof(text))
		return -1;
	*(char *)mempcpy(text, range.at, range.len) = '\0';
	next_of(&rest, ';', &found.type);
	while (next_of(&rest, ';', &part)) {
		if (parameter(part, "q=", &q))
			*ret_weight = weight(q);
		else if (!parameter(part, "proto=", &found.proto) && !parameter(part, "encoding=", &found.encoding))
			parameter(part, "version=", &found.version);
	}
	if (is(found.type, PROTOBUF_TYPE))
		return is(found.proto, "io.prometheus.client.MetricFamily") && is(found.encoding, "delimited")
		               ? PROMETHEUS_PROTOBUF
		               : -1;
	if (is(found.type, "application/openmetrics-text"))
		return !found.version.len || is(found.version, "1.0.0") ? PROMETHEUS_OPENMETRICS : -1;
	if (is(found.type, "text/plain"))
		return !found.version.len || is(found.version, "0.0.4") ? PROMETHEUS_TEXT : -1;
	return is(found.type, "*/*") || is(found.type, "text/*") ? PROMETHEUS_TEXT : -1;
}

enum prometheus_format prometheus_accept(const char *accept)
{
	int best = PROMETHEUS_TEXT, best_weight = 0;
	struct span range;

	while (next_of(&accept, ',', &range)) {
		int w, format = range_format(range, &w);

		if (format >= 0 && w > best_weight) {
			best = format;
			best_weight = w;
		}
	}
	return best;
}

bool prometheus_accept_coding(const char *accept_encoding, const char *coding)
{
	int named = -1, any = -1;
	struct span range;

	while (next_of(&accept_encoding, ',', &range)) {
		const char *q = memchr(range.at, ';', range.len);
		struct span type = q ? trim(range.at, (size_t)(q - range.at)) : range;
		struct span value = q ? trim(q + 1, range.len - (size_t)(q + 1 - range.at)) : (struct span){0};
		int w = q && parameter(value, "q=", &value) ? weight(value) : 1000;

		if (is(type, coding))
			named = w;
		else if (is(type, "*"))
			any = w;
	}
	return named >= 0 ? named > 0 : any > 0;
}
