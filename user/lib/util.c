/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "lib/util.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Length of the valid, printable UTF-8 sequence at s (NUL-terminated), or 0. C0, DEL and C1 controls are not printable; surrogates,
 * overlong forms and code points beyond U+10FFFF are not valid. */
static size_t utf8_printable(const unsigned char *s)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t min;
	} forms[] = { { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 } };

	if (*s < 0x80)
		return *s >= 0x20 && *s != 0x7f;
	for (size_t more = 1; more <= ARRAY_SIZE(forms); more++) {
		uint32_t c = *s & (uint32_t)~forms[more - 1].mask & 0xff;

		if ((*s & forms[more - 1].mask) != forms[more - 1].lead)
			continue;
		for (size_t i = 1; i <= more; i++) {
			if ((s[i] & 0xc0) != 0x80) /* stops at the NUL as well */
				return 0;
			c = c << 6 | (s[i] & 0x3f);
		}
		if (c < forms[more - 1].min || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || c < 0xa0)
			return 0;
		/* Directional overrides and line separators let a name rewrite the line around it. */
		if (c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069))
			return 0;
		return more + 1;
	}
	return 0;
}

char *text_sanitize(char *s)
{
	unsigned char *p = (unsigned char *)s;

	while (*p) {
		size_t len = utf8_printable(p);

		if (len)
			p += len;
		else
			*p++ = '?';
	}
	return s;
}

ssize_t file_read(const char *path, char *buf, size_t size)
{
	return file_read_at(AT_FDCWD, path, buf, size);
}

ssize_t file_read_at(int dir_fd, const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = -1;
	size_t len = 0;

	if (!size)
		return -EINVAL;
	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (len < size - 1) {
		ssize_t n = read(fd, buf + len, size - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		len += (size_t)n;
	}
	buf[len] = '\0';
	return (ssize_t)len;
}

int descriptors_reach(uint64_t wanted, uint64_t *ret_max)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	if (ret_max)
		*ret_max = limit.rlim_max;
	if (limit.rlim_cur >= wanted)
		return 0;
	limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	return limit.rlim_cur < wanted ? -EMFILE : 0;
}

int parse_int(const char *s, long long min, long long max, long long *ret)
{
	const char *digits = *s == '-' || *s == '+' ? s + 1 : s;
	long long v;

	/* strtoll alone would take leading blanks and an empty string */
	if (!*digits || strspn(digits, "0123456789") != strlen(digits))
		return -EINVAL;
	errno = 0;
	v = strtoll(s, NULL, 10);
	if (errno == ERANGE || v < min || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

int parse_seconds(const char *s, double min, double max, double *ret)
{
	const char *digits = *s == '-' || *s == '+' ? s + 1 : s;
	const char *p = digits;
	size_t dots = 0;
	double v;

	/* Digits with at most one point: no exponents, hexadecimals, "inf" or "nan" as strtod would take. */
	for (; *p; p++) {
		if (*p == '.')
			dots++;
		else if (!isdigit((unsigned char)*p))
			return -EINVAL;
	}
	if (dots > 1 || (size_t)(p - digits) <= dots)
		return -EINVAL;
	v = strtod(s, NULL); /* the program never sets LC_NUMERIC: the point is a point */
	if (!isfinite(v) || v < min || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

bool label_name_valid(const char *name)
{
	return *name && !strchr("0123456789", *name) && strncmp(name, "__", 2) != 0 &&
	       !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")];
}

/* Levenshtein distance of words shorter than 32; longer ones are far from everything. */
static int distance(const char *a, const char *b)
{
	int la = (int)strlen(a), lb = (int)strlen(b), row[33];

	if (la > 32 || lb > 32)
		return 1000;
	for (int j = 0; j <= lb; j++)
		row[j] = j;
	for (int i = 1; i <= la; i++) {
		int diagonal = row[0];

		row[0] = i;
		for (int j = 1; j <= lb; j++) {
			int best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}

const char *name_hint(const char *word, const char *const *names, int names_len, char *buf, size_t buf_len)
{
	const char *nearest = NULL;
	int best = (int)strlen(word) / 3 + 1; /* a third of the letters may be wrong, and one more */

	*buf = 0;
	for (int i = 0; i < names_len; i++) {
		int d = distance(word, names[i]);

		if (d <= best && d < (int)strlen(names[i])) {
			nearest = names[i];
			best = d - 1;
		}
	}
	if (nearest)
		snprintf(buf, buf_len, " (did you mean '%s'?)", nearest);
	return buf;
}
