// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "lib/util.h"
#include "model/format.h"

struct scale {
	double from; /* first value shown in this unit */
	double divisor;
	const char *suffix;
};

/* The borders lie where the smaller unit would round to a fourth digit. */
static const struct scale ns_scales[] = {
	{ 72 * 3600e9, 86400e9, " d" }, { 99.95 * 60e9, 3600e9, " h" }, { 999.5e9, 60e9, " min" }, { 999.5e6, 1e9, " s" },
	{ 999.5e3, 1e6, " ms" },	{ 999.5, 1e3, " us" },		{ 0, 1, " ns" },
};

#define KIB 1024.0
static const struct scale byte_scales[] = {
	{ 1023.5 * KIB * KIB * KIB * KIB * KIB, KIB *KIB *KIB *KIB *KIB *KIB, " EiB" },
	{ 1023.5 * KIB * KIB * KIB * KIB, KIB *KIB *KIB *KIB *KIB, " PiB" },
	{ 1023.5 * KIB * KIB * KIB, KIB *KIB *KIB *KIB, " TiB" },
	{ 1023.5 * KIB * KIB, KIB *KIB *KIB, " GiB" },
	{ 1023.5 * KIB, KIB *KIB, " MiB" },
	{ 1023.5, KIB, " KiB" },
	{ 0, 1, " B" },
};

static const struct scale count_scales[] = {
	{ 999.5e15, 1e18, " E" }, { 999.5e12, 1e15, " P" }, { 999.5e9, 1e12, " T" }, { 999.5e6, 1e9, " G" },
	{ 999.5e3, 1e6, " M" },	  { 999.5, 1e3, " k" },	    { 0, 1, "" },
};

static const char *scaled(double value, const struct scale *s, char buf[FORMAT_LEN])
{
	double v;

	if (!(value > 0))
		value = 0;
	while (value < s->from)
		s++;
	v = value / s->divisor;
	if (s->divisor == 1)
		snprintf(buf, FORMAT_LEN, "%.0f%s", v, s->suffix);
	else
		snprintf(buf, FORMAT_LEN, "%.*f%s", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v, s->suffix);
	return buf;
}

const char *format_ns(double ns, char buf[FORMAT_LEN])
{
	return scaled(ns, ns_scales, buf);
}

const char *format_bytes(double bytes, char buf[FORMAT_LEN])
{
	return scaled(bytes, byte_scales, buf);
}

const char *format_count(double count, char buf[FORMAT_LEN])
{
	return scaled(count, count_scales, buf);
}

const char *format_rate(double per_s, char buf[FORMAT_LEN])
{
	if (!(per_s > 0))
		return format_count(0, buf);
	if (per_s >= 99.95)
		return format_count(per_s, buf);
	if (per_s < 0.005)
		snprintf(buf, FORMAT_LEN, "<0.01");
	else
		snprintf(buf, FORMAT_LEN, "%.*f", per_s < 9.995 ? 2 : 1, per_s);
	return buf;
}

const char *format_value(double value, enum metric_unit unit, char buf[FORMAT_LEN])
{
	switch (unit) {
	case UNIT_NS:
		return format_ns(value, buf);
	case UNIT_BYTES:
		return format_bytes(value, buf);
	default:
		return format_count(value, buf);
	}
}

void format_split(const uint64_t *part, int n, unsigned whole, unsigned *ret)
{
	unsigned given = 0;
	double sum = 0;

	for (int i = 0; i < n; i++)
		sum += (double)part[i];
	for (int i = 0; i < n; i++) {
		ret[i] = sum > 0 ? (unsigned)((double)part[i] / sum * whole) : 0;
		given += ret[i];
	}
	/* Fewer than n cells are left; the second loop is for floors that rounding put above the whole. */
	for (; sum > 0 && given < whole; given++) {
		double most = -1;
		int at = 0;

		for (int i = 0; i < n; i++) {
			double rest = (double)part[i] / sum * whole - ret[i];

			if (part[i] && rest > most) {
				most = rest;
				at = i;
			}
		}
		ret[at]++;
	}
	for (int i = n - 1; i >= 0 && given > whole; i--)
		for (; ret[i] && given > whole; given--)
			ret[i]--;
}

const char *format_exit(int code, char *buf, size_t size)
{
	const char *name;

	if (!WIFSIGNALED(code)) {
		snprintf(buf, size, "with status %d", WEXITSTATUS(code));
		return buf;
	}
	name = sigabbrev_np(WTERMSIG(code));
	if (name)
		snprintf(buf, size, "by signal %d (%s)", WTERMSIG(code), name);
	else
		snprintf(buf, size, "by signal %d", WTERMSIG(code));
	return buf;
}
