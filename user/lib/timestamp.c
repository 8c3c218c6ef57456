/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "lib/timestamp.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "lib/util.h"

#define NS_PER_MS 1000000

int64_t timestamp_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * (int64_t)NS_PER_S + t.tv_nsec;
}

/* Just so many digits, of a number from min to max, behind which *text goes on. */
static bool take_number(const char **text, int digits, int min, int max, int *ret)
{
	*ret = 0;
	for (; digits; digits--, ++*text) {
		if (!isdigit((unsigned char)**text))
			return false;
		*ret = *ret * 10 + (**text - '0');
	}
	return *ret >= min && *ret <= max;
}

static bool take_char(const char **text, char c)
{
	return toupper((unsigned char)**text) == c && ++*text;
}

static bool take_date(const char **text, struct tm *tm)
{
	bool is = take_number(text, 4, 0, 9999, &tm->tm_year) && take_char(text, '-') && take_number(text, 2, 1, 12, &tm->tm_mon) &&
	          take_char(text, '-') && take_number(text, 2, 1, 31, &tm->tm_mday);

	tm->tm_year -= 1900;
	tm->tm_mon--;
	return is;
}

static bool take_clock(const char **text, struct tm *tm)
{
	return take_number(text, 2, 0, 23, &tm->tm_hour) && take_char(text, ':') && take_number(text, 2, 0, 59, &tm->tm_min) &&
	       take_char(text, ':') && take_number(text, 2, 0, 59, &tm->tm_sec);
}

static bool take_fraction(const char **text, int64_t *ret_ns)
{
	int64_t unit = NS_PER_S;

	*ret_ns = 0;
	if (!take_char(text, '.'))
		return true;
	if (!isdigit((unsigned char)**text))
		return false;
	for (; isdigit((unsigned char)**text); ++*text) {
		unit /= 10;
		*ret_ns += (**text - '0') * unit;
	}
	return true;
}

/* "Z", or hours and minutes ahead of it. */
static bool take_zone(const char **text, int64_t *ret_s)
{
	bool behind = **text == '-';
	int hours, minutes;

	*ret_s = 0;
	if (take_char(text, 'Z'))
		return true;
	if ((!take_char(text, '+') && !take_char(text, '-')) || !take_number(text, 2, 0, 23, &hours) || !take_char(text, ':') ||
	    !take_number(text, 2, 0, 59, &minutes))
		return false;
	*ret_s = (behind ? -60 : 60) * (hours * 60LL + minutes);
	return true;
}

int timestamp_parse(const char *text, int64_t *ret_ns)
{
	struct tm tm = {0};
	int64_t s, ns, zone_s;
	int day;

	if (!take_date(&text, &tm) || (!take_char(&text, 'T') && !take_char(&text, ' ')) || !take_clock(&text, &tm) || !take_fraction(&text, &ns) ||
	    !take_zone(&text, &zone_s) || *text)
		return -EINVAL;
	day = tm.tm_mday;
	s = timegm(&tm) - zone_s;
	if (tm.tm_mday != day) /* a day that its month doesn't have has become one of the next month */
		return -EINVAL;
	if (s < 0 && ns) { /* or the first second that 64 bits hold a part of would be beyond them */
		s++;
		ns -= (int64_t)NS_PER_S;
	}
	if (__builtin_mul_overflow(s, (int64_t)NS_PER_S, &s) || __builtin_add_overflow(s, ns, &s))
		return -ERANGE;
	*ret_ns = s;
	return 0;
}

const char *timestamp_format(int64_t ns, char buf[TIMESTAMP_LEN])
{
	int64_t ms = ns / NS_PER_MS, rest = ns % NS_PER_MS;
	struct tm tm;
	size_t len;
	time_t s;

	if (rest >= NS_PER_MS / 2)
		ms++;
	else if (rest < -NS_PER_MS / 2)
		ms--;
	s = ms / 1000;
	ms %= 1000;
	if (ms < 0) {
		s--;
		ms += 1000;
	}
	gmtime_r(&s, &tm);
	len = strftime(buf, TIMESTAMP_LEN, "%Y-%m-%dT%H:%M:%S", &tm); /* years have four digits from 1677 to 2262 */
	snprintf(buf + len, TIMESTAMP_LEN - len, ".%03dZ", (int)ms);
	return buf;
}
