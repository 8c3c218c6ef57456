/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/json_put.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

void json_text_fini(struct json_text *j)
{
	free(j->text);
	*j = (struct json_text){ 0 };
}

void json_text_reset(struct json_text *j)
{
	j->len = 0;
	j->comma = j->failed = false;
}

static bool reserve(struct json_text *j, size_t more)
{
	size_t cap = j->cap ? j->cap : 4096;
	char *text;

	if (j->failed)
		return false;
	if (j->len + more <= j->cap)
		return true;
	while (cap < j->len + more)
		cap *= 2;
	text = realloc(j->text, cap);
	if (!text) {
		j->failed = true;
		return false;
	}
	j->text = text;
	j->cap = cap;
	return true;
}

void put_raw(struct json_text *j, const char *text, size_t len)
{
	if (!reserve(j, len))
		return;
	memcpy(j->text + j->len, text, len);
	j->len += len;
}

/* By the Unicode standard's table 3-7. */
size_t utf8_length(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t more;

	if (*s < 0x80)
		return 1;
	if (*s < 0xc2 || *s > 0xf4)
		return 0;
	more = *s < 0xe0 ? 1 : *s < 0xf0 ? 2 : 3;
	if (*s == 0xe0)
		low = 0xa0; /* else overlong */
	else if (*s == 0xed)
		high = 0x9f; /* else a surrogate */
	else if (*s == 0xf0)
		low = 0x90;
	else if (*s == 0xf4)
		high = 0x8f; /* else beyond U+10FFFF */
	for (size_t i = 1; i <= more; i++, low = 0x80, high = 0xbf)
		if (s[i] < low || s[i] > high)
			return 0;
	return more + 1;
}

/* Length of what stands for itself at s: most text is nothing else. */
static size_t plain_length(const unsigned char *s)
{
	size_t n = 0;

	while (s[n] >= 0x20 && s[n] < 0x7f && s[n] != '"' && s[n] != '\\')
		n++;
	return n;
}

static void put_quoted(struct json_text *j, const char *text)
{
	const unsigned char *s = (const unsigned char *)(text ? text : "");

	put_raw(j, "\"", 1);
	while (*s) {
		size_t len = plain_length(s);
		char escape[8];

		if (!len)
			len = utf8_length(s);
		if (!len) {
			put_raw(j, "\xef\xbf\xbd", 3);
			s++;
		} else if (*s < 0x20 || *s == 0x7f) {
			put_raw(j, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04x", *s++));
		} else if (*s == '"' || *s == '\\') {
			escape[0] = '\\';
			escape[1] = (char)*s++;
			put_raw(j, escape, 2);
		} else {
			put_raw(j, (const char *)s, len);
			s += len;
		}
	}
	put_raw(j, "\"", 1);
}

/* What stands before a value. */
static void put_key(struct json_text *j, const char *key)
{
	if (j->comma)
		put_raw(j, ",", 1);
	j->comma = true;
	if (!key)
		return;
	put_quoted(j, key);
	put_raw(j, ":", 1);
}

void put_open(struct json_text *j, const char *key, const char *bracket)
{
	put_key(j, key);
	put_raw(j, bracket, 1);
	j->comma = false;
}

void put_close(struct json_text *j, const char *bracket)
{
	put_raw(j, bracket, 1);
	j->comma = true;
}

void put_string(struct json_text *j, const char *key, const char *s)
{
	put_key(j, key);
	put_quoted(j, s);
}

#define DIGITS_MAX 20

/* Writes n to `to`, which has room for DIGITS_MAX; returns how many digits. */
static size_t digits_write(char *to, uint64_t n)
{
	char digits[DIGITS_MAX];
	size_t at = sizeof(digits);

	if (n > INT64_MAX)
		n = INT64_MAX;
	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	memcpy(to, digits + at, sizeof(digits) - at);
	return sizeof(digits) - at;
}

void put_u64(struct json_text *j, const char *key, uint64_t n)
{
	put_key(j, key);
	if (reserve(j, DIGITS_MAX))
		j->len += digits_write(j->text + j->len, n);
}

void put_u64s(struct json_text *j, const uint64_t *n, size_t len)
{
	char *at;

	if (!len || !reserve(j, len * (DIGITS_MAX + 1)))
		return;
	at = j->text + j->len;
	for (size_t i = 0; i < len; i++) {
		if (j->comma || i)
			*at++ = ',';
		if (n[i] < 10) /* as most buckets */
			*at++ = (char)('0' + n[i]);
		else
			at += digits_write(at, n[i]);
	}
	j->len = (size_t)(at - j->text);
	j->comma = true;
}

void put_int(struct json_text *j, const char *key, int64_t n)
{
	char text[24];

	put_key(j, key);
	put_raw(j, text, (size_t)snprintf(text, sizeof(text), "%" PRId64, n));
}

void put_bool(struct json_text *j, const char *key, bool b)
{
	put_key(j, key);
	put_raw(j, b ? "true" : "false", b ? 4 : 5);
}

void put_null(struct json_text *j, const char *key)
{
	put_key(j, key);
	put_raw(j, "null", 4);
}

void put_ns(struct json_text *j, const char *key, uint64_t ns)
{
	char text[40];
	int len = snprintf(text, sizeof(text), "%" PRIu64 ".%09" PRIu64, (uint64_t)(ns / NS_PER_S), (uint64_t)(ns % NS_PER_S));

	while (text[len - 1] == '0' && text[len - 2] != '.')
		len--;
	put_key(j, key);
	put_raw(j, text, (size_t)len);
}

void put_fraction(struct json_text *j, const char *key, double f)
{
	if (!(f > 0)) /* NaN as well */
		f = 0;
	put_ns(j, key, f < 9e9 ? (uint64_t)llround(f * 1e9) : (uint64_t)9e18);
}

void put_real(struct json_text *j, const char *key, double f)
{
	char text[32];

	put_key(j, key);
	put_raw(j, text, (size_t)snprintf(text, sizeof(text), "%.*g", DBL_DECIMAL_DIG, isfinite(f) ? f : 0));
}
