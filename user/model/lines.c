/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RAW_BYTES 65536
#define BUF_BYTES_MIN 262144
#define INFLATE_BYTES 8192 /* unpacked at a time: what is suspended keeps what is unpacked */

/* Bytes read, 0 at the end, or negative errno. */
static ssize_t read_some(int fd, void *to, size_t size)
{
	ssize_t n;

	do
		n = read(fd, to, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t raw_fill(struct lines *l)
{
	ssize_t n;

	if (!l->raw)
		l->raw = malloc(RAW_BYTES);
	if (!l->raw)
		return -ENOMEM;
	n = read_some(l->fd, l->raw, RAW_BYTES);
	if (n < 0)
		return n;
	l->raw_at = 0;
	l->raw_len = (size_t)n;
	return n;
}

/* Looks at the first two bytes. 0 or negative errno. */
static int input_start(struct lines *l)
{
	struct stat st;
	ssize_t n;

	l->raw = malloc(RAW_BYTES);
	if (!l->raw)
		return -ENOMEM;
	do { /* a pipe may hand over a single byte first */
		n = read_some(l->fd, l->raw + l->raw_len, RAW_BYTES - l->raw_len);
		if (n < 0)
			return (int)n;
		l->raw_len += (size_t)n;
	} while (n && l->raw_len < 2);
	if (l->owns_fd && !fstat(l->fd, &st) && S_ISREG(st.st_mode)) {
		l->regular = true;
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	l->gzip = l->raw_len >= 2 && l->raw[0] == 0x1f && l->raw[1] == 0x8b;
	if (!l->gzip)
		return 0;
	if (inflateInit2(&l->inflate, 15 + 16) == Z_OK) /* the largest window, gzip wrapper */
		return 0;
	l->gzip = false;
	return -ENOMEM;
}

static ssize_t input_inflate(struct lines *l, char *buf, size_t size)
{
	z_stream *z = &l->inflate;
	ssize_t n;
	int ret;

	z->next_out = (unsigned char *)buf;
	z->avail_out = (uInt)size;
	while (z->avail_out == size && !l->damaged) {
		if (l->raw_at == l->raw_len) {
			n = raw_fill(l);
			if (n < 0)
				return n;
			if (!n) {
				l->truncated = !l->member_done;
				break;
			}
		}
		if (l->member_done) { /* gzip files may be concatenated */
			inflateReset(z);
			l->member_done = false;
		}
		z->next_in = l->raw + l->raw_at;
		z->avail_in = (uInt)(l->raw_len - l->raw_at);
		ret = inflate(z, Z_NO_FLUSH);
		l->raw_at = l->raw_len - z->avail_in;
		if (ret == Z_STREAM_END)
			l->member_done = true;
		else if (ret == Z_MEM_ERROR)
			return -ENOMEM;
		else if (ret != Z_OK && ret != Z_BUF_ERROR)
			l->damaged = true;
	}
	return (ssize_t)(size - z->avail_out);
}

static ssize_t input_read(struct lines *l, char *buf, size_t size)
{
	size_t len;

	if (l->gzip)
		return input_inflate(l, buf, size < INFLATE_BYTES ? size : INFLATE_BYTES);
	if (l->raw_at == l->raw_len)
		return read_some(l->fd, buf, size);
	len = l->raw_len - l->raw_at < size ? l->raw_len - l->raw_at : size;
	memcpy(buf, l->raw + l->raw_at, len);
	l->raw_at += len;
	return (ssize_t)len;
}

static int make_room(struct lines *l)
{
	if (l->start) {
		memmove(l->buf, l->buf + l->start, l->end - l->start);
		l->end -= l->start;
		l->scan -= l->start;
		l->start = 0;
	}
	if (l->skipping || (l->end == l->cap && l->cap >= LINE_BYTES_MAX)) {
		l->skipping = true;
		l->tail += l->end;
		l->scan = l->end = 0;
	}
	if (l->end == l->cap) {
		size_t cap = l->cap >= BUF_BYTES_MIN ? l->cap * 2 : BUF_BYTES_MIN;
		char *buf = realloc(l->buf, cap + LINE_PADDING);

		if (!buf)
			return -ENOMEM;
		l->buf = buf;
		l->cap = cap;
	}
	return 0;
}

/* After a suspension. 0 or negative errno. */
static int reopen(struct lines *l)
{
	struct stat st;

	if (l->fd >= 0)
		return 0;
	l->fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (l->fd < 0 || fstat(l->fd, &st))
		return -errno;
	if (st.st_dev != l->dev || st.st_ino != l->ino)
		return -ESTALE;
	return lseek(l->fd, l->at, SEEK_SET) < 0 ? -errno : 0;
}

void lines_suspend(struct lines *l, bool close_fd)
{
	size_t left = l->end - l->start, again = l->raw_len - l->raw_at + (l->gzip ? 0 : left);
	char *few;

	if (!l->regular || l->fd < 0 || (again && lseek(l->fd, -(off_t)again, SEEK_CUR) < 0))
		return;
	free(l->raw);
	l->raw = NULL;
	l->raw_len = l->raw_at = 0;
	if (l->gzip && left) {
		memmove(l->buf, l->buf + l->start, left);
		few = realloc(l->buf, left + LINE_PADDING);
		l->buf = few ? few : l->buf;
		l->cap = few ? left : l->cap;
		l->end = left;
	} else {
		free(l->buf);
		l->buf = NULL;
		l->cap = l->end = 0;
	}
	l->start = l->scan = l->last = 0;
	if (!close_fd)
		return;
	l->at = lseek(l->fd, 0, SEEK_CUR);
	close(l->fd);
	l->fd = -1;
}

void lines_unread(struct lines *l)
{
	l->start = l->scan = l->last;
	l->number--;
}

int lines_next(struct lines *l, const char **ret_line, size_t *ret_len)
{
	int err = reopen(l);

	if (err)
		return err;
	for (;;) {
		char *newline = l->end > l->scan ? memchr(l->buf + l->scan, '\n', l->end - l->scan) : NULL;
		ssize_t n;

		if (newline) {
			*ret_line = l->skipping ? NULL : l->buf + l->start;
			*ret_len = (size_t)(newline - (l->buf + l->start));
			l->last = l->start;
			l->start = l->scan = (size_t)(newline - l->buf) + 1;
			l->skipping = false;
			l->tail = 0;
			l->number++;
			return 1;
		}
		l->scan = l->end;
		n = make_room(l);
		if (!n)
			n = input_read(l, l->buf + l->end, l->cap - l->end);
		if (n <= 0) {
			l->tail += l->end - l->start;
			return (int)n;
		}
		if (!l->number && !l->end && !l->skipping)
			l->first = *l->buf;
		l->end += (size_t)n;
	}
}

struct lines *lines_open(const char *path, int *ret_err)
{
	struct lines *l = calloc(1, sizeof(*l));

	*ret_err = -ENOMEM;
	if (!l)
		return NULL;
	l->owns_fd = strcmp(path, "-");
	l->path = strdup(path);
	if (!l->path) {
		free(l);
		return NULL;
	}
	l->fd = l->owns_fd ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) : STDIN_FILENO;
	*ret_err = l->fd < 0 ? -errno : input_start(l);
	if (!*ret_err)
		return l;
	lines_close(l);
	return NULL;
}

void lines_close(struct lines *l)
{
	if (!l)
		return;
	if (l->gzip)
		inflateEnd(&l->inflate);
	if (l->owns_fd && l->fd >= 0)
		close(l->fd);
	free(l->buf);
	free(l->raw);
	free(l->path);
	free(l);
}
