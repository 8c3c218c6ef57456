/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "lib/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "lib/util.h"

#define FILE_MODE 0640
#define GZIP_WINDOW (15 + 16) /* largest window, gzip wrapper */
#define BUFFER_BYTES (1u << 16)
#define NAMES_MAX 1000 /* tried for what has its name not yet */

struct outfile {
	int fd, err; /* the first one: nothing is written after it, so that a torn piece stays the last */
	FILE *stream;
	char *path; /* owned: what it will be called; NULL: written in place */
	char *temp; /* owned: what it is called until then; NULL: it has no name yet */
	struct outfile_options options;
	bool gzip;
	uint64_t written, whole; /* bytes; whole: up to the last piece's end */
	z_stream deflate;
};

static int write_fd(struct outfile *o, const char *p, size_t len)
{
	while (len && !o->err) {
		ssize_t n = write(o->fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			o->err = n < 0 ? -errno : -EIO;
			break;
		}
		p += n;
		len -= (size_t)n;
		o->written += (uint64_t)n;
	}
	return o->err;
}

static int write_deflated(struct outfile *o, const char *p, size_t len, int flush)
{
	unsigned char out[BUFFER_BYTES];

	o->deflate.next_in = (unsigned char *)p;
	o->deflate.avail_in = (uInt)len;
	do {
		o->deflate.next_out = out;
		o->deflate.avail_out = sizeof(out);
		if (deflate(&o->deflate, flush) == Z_STREAM_ERROR)
			o->err = -EIO;
		write_fd(o, (char *)out, sizeof(out) - o->deflate.avail_out);
	} while (!o->err && !o->deflate.avail_out);
	return o->err;
}

/* stdio's writer: remembers the first error, which ferror() does not tell. */
static ssize_t stream_write(void *cookie, const char *p, size_t len)
{
	struct outfile *o = cookie;
	int err = o->gzip ? write_deflated(o, p, len, Z_NO_FLUSH) : write_fd(o, p, len);

	if (!err)
		return (ssize_t)len;
	errno = -err;
	return 0;
}

static mode_t mode_of(const struct outfile *o)
{
	return o->options.mode ? o->options.mode : FILE_MODE;
}

static void temp_forget(struct outfile *o)
{
	free(o->temp);
	o->temp = NULL;
}

/* Finds a name beside the file's that nobody has, and makes what is to have it: make() returns 0 or a negative errno. */
static int temp_make(struct outfile *o, int (*make)(struct outfile *o))
{
	int err = -EEXIST;

	for (unsigned int n = 0; n < NAMES_MAX && err == -EEXIST; n++) {
		temp_forget(o);
		if (asprintf(&o->temp, "%s.%d.%u", o->path, getpid(), n) < 0) {
			o->temp = NULL;
			return -ENOMEM;
		}
		err = make(o);
	}
	if (err)
		temp_forget(o); /* not ours */
	return err;
}

static int make_file(struct outfile *o)
{
	o->fd = open(o->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_of(o));
	return o->fd < 0 ? -errno : 0;
}

static int link_to(const struct outfile *o, const char *path)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", o->fd);
	return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) ? -errno : 0;
}

static int make_link(struct outfile *o)
{
	return link_to(o, o->temp);
}

/* A file without a name in the directory that path is in; where the file system has no such files, one with a name of its own. */
static int open_temp(struct outfile *o)
{
	_cleanup_free_ char *copy = strdup(o->path);

	if (!copy)
		return -ENOMEM;
	o->fd = open(dirname(copy), O_TMPFILE | O_WRONLY | O_CLOEXEC, mode_of(o));
	if (o->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
		return -errno;
	return temp_make(o, make_file);
}

static int open_grows(struct outfile *o, const char *path)
{
	struct stat st;

	o->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | (o->options.force ? O_TRUNC : O_EXCL), mode_of(o));
	if (o->fd < 0)
		return -errno;
	/* One that is overwritten may have been readable by everybody. */
	if (!fstat(o->fd, &st) && S_ISREG(st.st_mode) && (st.st_mode & 07777 & ~mode_of(o)) && fchmod(o->fd, mode_of(o)))
		return -errno;
	return 0;
}

static int open_whole(struct outfile *o, const char *path)
{
	struct stat st;
	int err = stat(path, &st) ? -errno : 0;

	if (!err && !S_ISREG(st.st_mode) && !o->options.replaces) {
		o->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
		return o->fd < 0 ? -errno : 0;
	}
	if (!err && !o->options.force)
		return -EEXIST;
	if (err && err != -ENOENT && !o->options.replaces)
		return err;
	o->path = err || o->options.replaces ? strdup(path) : realpath(path, NULL);
	return o->path ? open_temp(o) : -ENOMEM;
}

static int open_path(struct outfile *o, const char *path)
{
	int err = o->options.grows ? open_grows(o, path) : open_whole(o, path);

	return !err && o->options.mode && fchmod(o->fd, o->options.mode) ? -errno : err;
}

static void outfile_free(struct outfile *o)
{
	if (o->stream)
		fclose(o->stream);
	if (o->gzip)
		deflateEnd(&o->deflate);
	if (o->fd >= 0)
		close(o->fd);
	free(o->path);
	free(o->temp);
	free(o);
}

struct outfile *outfile_open(const char *path, const struct outfile_options *options, int *ret_err)
{
	static const cookie_io_functions_t calls = {.write = stream_write};
	struct outfile *o = calloc(1, sizeof(*o));
	size_t len = strlen(path);

	*ret_err = -ENOMEM;
	if (!o)
		return NULL;
	o->fd = -1;
	o->options = *options;
	if (strcmp(path, "-")) {
		*ret_err = open_path(o, path);
	} else {
		o->fd = dup(STDOUT_FILENO);
		*ret_err = o->fd < 0 ? -errno : 0;
	}
	if (*ret_err)
		goto fail;
	*ret_err = -ENOMEM;
	if (len > 3 && !strcmp(path + len - 3, ".gz")) {
		if (deflateInit2(&o->deflate, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
			goto fail;
		o->gzip = true;
	}
	o->stream = fopencookie(o, "w", calls);
	if (!o->stream)
		goto fail;
	setvbuf(o->stream, NULL, _IOFBF, BUFFER_BYTES);
	*ret_err = 0;
	return o;
fail:
	if (o->temp)
		unlink(o->temp);
	outfile_free(o);
	return NULL;
}

FILE *outfile_stream(struct outfile *o)
{
	return o->stream;
}

int outfile_write(struct outfile *o, const void *data, size_t len)
{
	return o->gzip ? write_deflated(o, data, len, Z_NO_FLUSH) : write_fd(o, data, len);
}

int outfile_flush(struct outfile *o)
{
	if (fflush(o->stream) && !o->err)
		o->err = errno ? -errno : -EIO;
	if (o->gzip && !o->err)
		write_deflated(o, "", 0, Z_SYNC_FLUSH);
	if (!o->err)
		o->whole = o->written;
	return o->err;
}

uint64_t outfile_bytes(const struct outfile *o)
{
	return o->whole;
}

int outfile_error(const struct outfile *o)
{
	return o->err;
}

/* Some file systems tell only now what could not be written. */
static int close_fd(struct outfile *o)
{
	int fd = o->fd;

	o->fd = -1;
	return close(fd) ? -errno : 0;
}

static int give_name(struct outfile *o)
{
	int err = 0;

	if (o->path && !o->temp)
		err = o->options.force ? temp_make(o, make_link) : link_to(o, o->path);
	if (!err)
		err = close_fd(o);
	if (!err && o->temp && renameat2(AT_FDCWD, o->temp, AT_FDCWD, o->path, o->options.force ? 0 : RENAME_NOREPLACE))
		err = -errno;
	if (!err)
		temp_forget(o);
	return err;
}

/* Only of a regular file, and only of what was written now. */
static void torn_cut(const struct outfile *o)
{
	struct stat st;

	if (o->options.grows && o->written > o->whole && !fstat(o->fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == o->written &&
	    ftruncate(o->fd, (off_t)o->whole))
		return; /* readers know what to make of it */
}

int outfile_commit(struct outfile *o)
{
	int err;

	if (!o)
		return 0;
	if (fflush(o->stream) && !o->err)
		o->err = errno ? -errno : -EIO;
	if (o->gzip && !o->err)
		write_deflated(o, "", 0, Z_FINISH);
	if (o->err)
		torn_cut(o);
	else
		o->err = give_name(o);
	err = o->err;
	outfile_discard(o);
	return err;
}

void outfile_discard(struct outfile *o)
{
	if (!o)
		return;
	if (!o->err)
		o->err = -ECANCELED; /* nothing that is still buffered goes out */
	if (o->temp)
		unlink(o->temp);
	outfile_free(o);
}

int outfile_end(struct outfile *o, int err)
{
	int met = o ? o->err : 0;

	if (!err)
		return outfile_commit(o);
	outfile_discard(o);
	return met ? met : err;
}
