/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/config_value.h"

#include <ctype.h>
#include <errno.h>
#include <regex.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "judge/severity.h"
#include "lib/timestamp.h"
#include "lib/util.h"
#include "probe/targets.h"

#define TIMES "a time: seconds, or with ms, s, m, h or d behind, such as 90s"
#define SIZES "a size: bytes, or with K, M, G or T behind, such as 8M"

struct unit {
	const char *name;
	double factor;
};
static const struct unit time_units[] = { { "ms", 1e-3 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 } };
static const struct unit size_units[] = { { "K", 1024. }, { "M", 1048576. }, { "G", 1073741824. }, { "T", 1099511627776. } };

static int wrong(char *why, size_t why_len, const char *expected)
{
	snprintf(why, why_len, "is not %s", expected);
	return -EINVAL;
}

/* A number with one of the units behind it, or none; in units of factor 1. 0 or -EINVAL. */
static int united_parse(const char *text, const struct unit *units, size_t units_len, double *ret)
{
	size_t digits = strspn(text, "0123456789.");
	double factor = 1;
	char number[32];

	if (text[digits]) {
		const struct unit *u = units;

		while (u < units + units_len && strcasecmp(u->name, text + digits))
			u++;
		if (u == units + units_len)
			return -EINVAL;
		factor = u->factor;
	}
	if (digits >= sizeof(number))
		return -EINVAL;
	snprintf(number, sizeof(number), "%.*s", (int)digits, text);
	if (parse_seconds(number, 0, 1e18, ret))
		return -EINVAL;
	*ret *= factor;
	return 0;
}

/* The shortest way to spell n. */
static const char *spell(double n, const struct unit *units, size_t units_len, char *buf, size_t size)
{
	const char *name = "";
	double factor = 1;

	for (size_t i = 0; i < units_len; i++)
		if ((n >= units[i].factor || (i == 0 && units[i].factor < 1 && n > 0)) && n / units[i].factor == (double)(uint64_t)(n / units[i].factor)) {
			name = units[i].name;
			factor = units[i].factor;
		}
	snprintf(buf, size, "%.10g%s", n / factor, name);
	return buf;
}

static int united_set(const char *text, const struct unit *units, size_t units_len, const char *expected, double scale, double min, double max,
		      double *ret, char *why, size_t why_len)
{
	char low[32], high[32];
	double n;

	if (united_parse(text, units, units_len, &n))
		return wrong(why, why_len, expected);
	n *= scale;
	if (n < min || n > max) {
		snprintf(why, why_len, "is out of range: %s to %s", spell(min / scale, units, units_len, low, sizeof(low)),
			 spell(max / scale, units, units_len, high, sizeof(high)));
		return -ERANGE;
	}
	*ret = n;
	return 0;
}

static int bytes_set(const char *text, double min, double max, uint64_t *ret, char *why, size_t why_len)
{
	double n;
	int err = united_set(text, size_units, ARRAY_SIZE(size_units), SIZES, 1, min, max, &n, why, why_len);

	if (!err)
		*ret = (uint64_t)n;
	return err;
}

static int power_set(const char *text, double min, double max, unsigned *ret, char *why, size_t why_len)
{
	uint64_t n;
	int err = bytes_set(text, min, max, &n, why, why_len);

	if (!err && n & (n - 1))
		return wrong(why, why_len, "a power of two, such as 4M, 8M or 16M");
	if (!err)
		*ret = (unsigned)n;
	return err;
}

static int count_set(const char *text, double min, double max, long long *ret, char *why, size_t why_len)
{
	int err = parse_int(text, (long long)min, (long long)max, ret);

	if (err)
		snprintf(why, why_len, "is %s: %.10g to %.10g", err == -ERANGE ? "out of range" : "not a whole number", min, max);
	return err;
}

static int budget_set(const char *text, double min, double max, double *ret, char *why, size_t why_len)
{
	int err = strcmp(text, "off") && strcmp(text, "false") ? parse_seconds(text, min, max, ret) : (*ret = 0, 0); /* YAML 1.1 says that off is false */

	if (err)
		snprintf(why, why_len, "is %s: percent from %.10g to %.10g, or off", err == -ERANGE ? "out of range" : "not a number", min, max);
	return err;
}

static int flag_set(const char *text, bool *ret, char *why, size_t why_len)
{
	static const char *const words[][2] = { { "false", "true" }, { "no", "yes" }, { "off", "on" } };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		for (int b = 0; b < 2; b++)
			if (!strcasecmp(text, words[i][b])) {
				*ret = b;
				return 0;
			}
	return wrong(why, why_len, "true or false");
}

static int severity_set(const char *text, int *ret, char *why, size_t why_len)
{
	int found = !strcasecmp(text, "off") ? SEVERITY_COUNT : severity_find(text);

	if (found < 0)
		return wrong(why, why_len, "info, warning, critical or off");
	*ret = found;
	return 0;
}

static int regex_check(const char *text, char *why, size_t why_len)
{
	char reason[128];
	regex_t regex;
	int err = regcomp(&regex, text, REG_EXTENDED | REG_NOSUB);

	if (!err) {
		regfree(&regex);
		return 0;
	}
	regerror(err, &regex, reason, sizeof(reason));
	snprintf(why, why_len, "is not a regular expression (POSIX extended): %s", reason);
	return -EINVAL;
}

/* HOST:PORT with HOST in brackets when it has colons, or unix:/PATH. */
static int listen_check(const char *text, char *why, size_t why_len)
{
	const char *colon = strrchr(text, ':');
	long long port;

	if (!strncmp(text, "unix:/", 6) && strlen(text + 5) < 108) /* what sun_path holds */
		return 0;
	if (colon && colon > text && !parse_int(colon + 1, 0, 65535, &port) &&
	    (text[0] == '[' ? colon[-1] == ']' : !memchr(text, ':', (size_t)(colon - text))))
		return 0;
	return wrong(why, why_len, "an address: HOST:PORT, such as 127.0.0.1:9469 or [::1]:9469, or unix:/PATH");
}

static int pids_set(const char *text, double min, double max, struct target_spec *spec, char *why, size_t why_len)
{
	pid_t *pids = calloc(strlen(text) / 2 + 1, sizeof(*pids));
	const char *end;
	int n = 0;

	if (!pids)
		return -ENOMEM;
	for (const char *s = text;; s = end + 1) {
		char word[32];
		long long pid;

		end = strchrnul(s, ',');
		s += strspn(s, " ");
		snprintf(word, sizeof(word), "%.*s", (int)(end - s), s);
		if (end - s >= (int)sizeof(word) || parse_int(word, (long long)min, (long long)max, &pid)) {
			free(pids);
			return wrong(why, why_len, "a process id, or several with commas between: 4711,4712");
		}
		pids[n++] = (pid_t)pid;
		if (!*end)
			break;
	}
	spec->pids = pids;
	spec->pids_len = n;
	return 0;
}

static int text_check(enum value_kind kind, const char *text, char *why, size_t why_len)
{
	switch (kind) {
	case VALUE_PATH:
		return text[0] == '/' ? 0 : wrong(why, why_len, "an absolute path: it begins with /");
	case VALUE_REGEX:
		return regex_check(text, why, why_len);
	case VALUE_LISTEN:
		return listen_check(text, why, why_len);
	case VALUE_URL:
		return !strncmp(text, "http://", 7) || !strncmp(text, "https://", 8) ? 0 : wrong(why, why_len, "a URL: it begins with http:// or https://");
	default:
		return 0;
	}
}

int value_set(enum value_kind kind, const char *text, double min, double max, void *member, char *why, size_t why_len)
{
	long long n;
	int err;

	*why = '\0';
	if (!*text)
		return wrong(why, why_len, "a value: it is empty");
	switch (kind) {
	case VALUE_FLAG:
		return flag_set(text, member, why, why_len);
	case VALUE_SECONDS:
	case VALUE_MS:
		return united_set(text, time_units, ARRAY_SIZE(time_units), TIMES, kind == VALUE_MS ? 1e3 : 1, min, max, member, why, why_len);
	case VALUE_BYTES:
		return bytes_set(text, min, max, member, why, why_len);
	case VALUE_POWER:
		return power_set(text, min, max, member, why, why_len);
	case VALUE_COUNT:
	case VALUE_NUMBER:
		err = count_set(text, min, max, &n, why, why_len);
		if (!err && kind == VALUE_COUNT)
			*(uint64_t *)member = (uint64_t)n;
		else if (!err)
			*(double *)member = (double)n;
		return err;
	case VALUE_BUDGET:
		return budget_set(text, min, max, member, why, why_len);
	case VALUE_SEVERITY:
		return severity_set(text, member, why, why_len);
	case VALUE_TIME:
		return timestamp_parse(text, member) ? wrong(why, why_len, "a date and a time with its zone, such as 2026-11-30T08:00:00Z") : 0;
	case VALUE_PIDS:
		return pids_set(text, min, max, (struct target_spec *)((char *)member - offsetof(struct target_spec, pids)), why, why_len);
	default:
		err = text_check(kind, text, why, why_len);
		if (!err)
			*(const char **)member = text;
		return err;
	}
}
