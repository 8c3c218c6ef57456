/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "symbols/perf_map.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/util.h"

#define FUNCTIONS_MAX (256u << 10)
#define TEXTS_BYTES_MAX (24u << 20)
#define FILE_BYTES_MAX (256u << 20)
#define READ_BYTES_MAX (4u << 20) /* at a time: some 10 ms */
#define LINE_BYTES_MAX 1024
#define OVERLAPS_MAX 16 /* functions before the nearest one that may still reach over an address */

struct function {
	uint64_t start;
	uint32_t size;
	uint32_t name; /* in the texts */
	uint32_t number; /* of its line: later ones count */
};

struct perf_map {
	struct function *at;
	uint32_t len, cap, lines;
	bool sorted;
	char *texts;
	size_t texts_len, texts_cap;
	char line[LINE_BYTES_MAX]; /* begin of one whose end has not come yet */
	size_t line_len;
	bool too_long; /* the rest of that line is left out */
	uint64_t file_dev, file_inode, file_at;
};

struct perf_map *perf_map_new(void)
{
	return calloc(1, sizeof(struct perf_map));
}

void perf_map_free(struct perf_map *p)
{
	if (!p)
		return;
	free(p->at);
	free(p->texts);
	free(p);
}

static void forget_all(struct perf_map *p)
{
	p->len = p->lines = 0;
	p->texts_len = p->line_len = 0;
	p->too_long = false;
	p->file_at = 0;
}

/* A hexadecimal number at *at, which it moves behind it and the blank after it. */
static bool number_take(const char **at, const char *end, uint64_t *ret)
{
	const char *s = *at;
	uint64_t v = 0;
	int digits = 0;

	if (end - s > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
		s += 2;
	for (; s < end && *s != ' '; s++, digits++) {
		int c = *s | 0x20;
		int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

		if (d < 0 || digits == 16)
			return false;
		v = v << 4 | (unsigned)d;
	}
	if (!digits || s == end)
		return false;
	*at = s + 1;
	*ret = v;
	return true;
}

static bool grow(void **p, size_t item, size_t want, size_t *cap, size_t max)
{
	size_t n = *cap ? *cap : 1024;
	void *q;

	if (want <= *cap)
		return true;
	while (n < want)
		n *= 2;
	q = want <= max ? realloc(*p, n * item) : NULL;
	if (!q)
		return false;
	*p = q;
	*cap = n;
	return true;
}

static void function_keep(struct perf_map *p, uint64_t start, uint64_t size, const char *name, size_t len)
{
	size_t cap = p->cap;
	bool room = grow((void **)&p->at, sizeof(*p->at), p->len + 1, &cap, FUNCTIONS_MAX);

	p->cap = (uint32_t)cap;
	if (!room || !grow((void **)&p->texts, 1, p->texts_len + len + 1, &p->texts_cap, TEXTS_BYTES_MAX))
		return;
	p->at[p->len++] = (struct function){ start, size < UINT32_MAX ? (uint32_t)size : UINT32_MAX, (uint32_t)p->texts_len, p->lines };
	memcpy(p->texts + p->texts_len, name, len);
	p->texts[p->texts_len + len] = '\0';
	p->texts_len += len + 1;
	p->sorted = false;
}

static void line_take(struct perf_map *p, const char *line, size_t n)
{
	const char *at = line, *end = line + n;
	uint64_t start, size;

	p->lines++;
	if (number_take(&at, end, &start) && number_take(&at, end, &size) && size && at < end && !memchr(at, '\0', (size_t)(end - at)))
		function_keep(p, start, size, at, (size_t)(end - at));
}

void perf_map_feed(struct perf_map *p, const char *data, size_t n)
{
	while (n) {
		const char *newline = memchr(data, '\n', n);
		size_t part = newline ? (size_t)(newline - data) : n;

		if (p->line_len + part > sizeof(p->line))
			p->too_long = true;
		if (!p->too_long) {
			memcpy(p->line + p->line_len, data, part);
			p->line_len += part;
		}
		if (newline) {
			if (!p->too_long)
				line_take(p, p->line, p->line_len);
			p->line_len = 0;
			p->too_long = false;
			part++;
		}
		data += part;
		n -= part;
	}
}

static int function_order(const void *x, const void *y)
{
	const struct function *a = x, *b = y;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return a->number < b->number ? -1 : a->number > b->number;
}

/* Of several that begin at the same place only the last is kept. */
static void functions_sort(struct perf_map *p)
{
	uint32_t n = 0;

	if (p->sorted || !p->len)
		return;
	qsort(p->at, p->len, sizeof(*p->at), function_order);
	for (uint32_t i = 0; i < p->len; i++) {
		if (n && p->at[n - 1].start == p->at[i].start)
			n--;
		p->at[n++] = p->at[i];
	}
	p->len = n;
	p->sorted = true;
}

const char *perf_map_find(struct perf_map *p, uint64_t address)
{
	const struct function *best = NULL;
	uint32_t low = 0, high;

	functions_sort(p);
	high = p->len;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (p->at[mid].start <= address)
			low = mid + 1;
		else
			high = mid;
	}
	for (uint32_t back = 0; back < OVERLAPS_MAX && back < low; back++) {
		const struct function *f = &p->at[low - 1 - back];

		if (address - f->start < f->size && (!best || f->number > best->number))
			best = f;
	}
	return best ? p->texts + best->name : NULL;
}

/* Number of the process in its own namespace, and its user. */
static bool process_identify(uint32_t tgid, uint32_t *ret_inner, uint32_t *ret_uid)
{
	char path[64], status[4096], *uid, *inner, *end;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%u/status", tgid);
	n = file_read(path, status, sizeof(status));
	if (n <= 0)
		return false;
	uid = strstr(status, "\nUid:\t");
	inner = strstr(status, "\nNSpid:\t");
	if (!uid || !inner)
		return false;
	*ret_uid = (uint32_t)strtoul(uid + strlen("\nUid:\t"), NULL, 10);
	end = strchr(inner + 1, '\n');
	if (!end)
		return false;
	while (end > inner && end[-1] != '\t')
		end--;
	*ret_inner = (uint32_t)strtoul(end, NULL, 10);
	return true;
}

/* The file, as the process sees it: its own root, without a way out of it. A plain file of the process's user or root only: whoever else may write into
 * the same directory could tell lies. */
static int map_open(uint32_t tgid)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	_cleanup_close_ int root = -1;
	uint32_t inner, uid;
	struct stat st;
	char path[64];
	int fd;

	if (!process_identify(tgid, &inner, &uid))
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/%u/root", tgid);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	snprintf(path, sizeof(path), "tmp/perf-%u.map", inner);
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || (st.st_uid != uid && st.st_uid != 0)) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

bool perf_map_read(struct perf_map *p, uint32_t tgid)
{
	_cleanup_close_ int fd = map_open(tgid);
	uint64_t until;
	struct stat st;
	char buf[65536];
	ssize_t n;

	if (fd < 0 || fstat(fd, &st))
		return false;
	if (st.st_ino != p->file_inode || st.st_dev != p->file_dev || (uint64_t)st.st_size < p->file_at) {
		forget_all(p);
		p->file_inode = st.st_ino;
		p->file_dev = st.st_dev;
	}
	until = p->file_at + READ_BYTES_MAX < FILE_BYTES_MAX ? p->file_at + READ_BYTES_MAX : FILE_BYTES_MAX;
	while (p->file_at < until && (n = pread(fd, buf, sizeof(buf), (off_t)p->file_at)) > 0) {
		perf_map_feed(p, buf, (size_t)n);
		p->file_at += (uint64_t)n;
	}
	return true;
}

/* V8 tells "KIND:MARK function file:line:column", MARK being how far it has optimised: JSFunction names, "LazyCompile:*foo /app/a.js:10:3". */
static const char *v8_function(const char *name)
{
	static const char *const kinds[] = { "JS:", "LazyCompile:", "Function:", "Eval:", "Script:", "Callback:" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strncmp(name, kinds[i], strlen(kinds[i])))
			continue;
		name += strlen(kinds[i]);
		return *name && strchr("*~^+-'", *name) ? name + 1 : name;
	}
	return NULL;
}

/* Cuts ":NUMBER" off the end of s. */
static bool number_cut(char *s, uint32_t *ret)
{
	char *colon = strrchr(s, ':');
	long long n;

	if (!colon || parse_int(colon + 1, 0, UINT32_MAX, &n))
		return false;
	*colon = '\0';
	*ret = (uint32_t)n;
	return true;
}

/* Where the place begins that follows a function's name; both may have blanks in them ("get size", "/app/my files/a.js"). */
static char *v8_place(char *s)
{
	static const char *const begins[] = { " /", " file:", " node:" };

	for (size_t i = 0; i < ARRAY_SIZE(begins); i++)
		if (strstr(s, begins[i]))
			return strstr(s, begins[i]);
	return strrchr(s, ' ');
}

void perf_map_name(const char *name, char *buf, size_t size, struct frame *f)
{
	const char *function = v8_function(name);
	uint32_t last, before; /* of the numbers: line and column, or the line alone */
	char *place;

	f->name = name;
	if (!function || strlen(function) >= size)
		return;
	memcpy(buf, function, strlen(function) + 1);
	f->name = *buf && *buf != ' ' ? buf : "(anonymous)";
	place = v8_place(buf);
	if (!place)
		return;
	*place++ = '\0';
	if (number_cut(place, &last))
		f->line = number_cut(place, &before) ? before : last;
	f->file = place;
}

size_t perf_map_bytes(const struct perf_map *p)
{
	return sizeof(*p) + p->cap * sizeof(*p->at) + p->texts_cap;
}
