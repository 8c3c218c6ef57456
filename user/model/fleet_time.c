/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Times of day as recordings write them. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/util.h"
#include "model/fleet.h"

/* "Z", or hours and minutes ahead of it; the whole rest of the text. */
static bool zone_parse(const char *text, int64_t *ret_s)
{
	int hours, minutes, len = 0;
	char sign;

	*ret_s = 0;
	if (!strcmp(text, "Z") || !strcmp(text, "z"))
		return true;
	if (sscanf(text, "%c%2d:%2d%n", &sign, &hours, &minutes, &len) != 3 || text[len] || (sign != '+' && sign != '-'))
		return false;
	*ret_s = (sign == '+' ? 60 : -60) * (hours * 60LL + minutes);
	return true;
}

bool time_parse(const char *text, int64_t *ret_ns)
{
	struct tm tm = {0};
	int64_t fraction = 0, unit = NS_PER_S, zone;
	int len = 0;

	if (sscanf(text, "%4d-%2d-%2d%*1[Tt ]%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
	            &tm.tm_sec, &len) != 6 ||
	        !len || tm.tm_year < 1970 || tm.tm_year > 2261 || tm.tm_mon < 1 ||
	        tm.tm_mon > 12) /* what 64 bits of nanoseconds hold */
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	text += len;
	if (*text == '.')
		for (text++; *text >= '0' && *text <= '9'; text++) {
			unit /= 10;
			fraction += (*text - '0') * unit;
		}
	if (!zone_parse(text, &zone))
		return false;
	*ret_ns = ((int64_t)timegm(&tm) - zone) * (int64_t)NS_PER_S + fraction;
	return true;
}

void time_format(int64_t ns, char *buf, size_t size)
{
	time_t s = (time_t)(ns / (int64_t)NS_PER_S);
	struct tm tm;
	char day[32] = "";

	if (gmtime_r(&s, &tm))
		strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf, size, "%s.%03dZ", day, (int)(ns % (int64_t)NS_PER_S / 1000000));
}
