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

struct outfile {
	int fd, err;
	FILE *stream;
	char *path; /* owned: what it will be called; NULL: written in place */
	char *temp; /* owned: what it is called until then; NULL: it has no name yet */
	bool force, gzip;
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

/* A file without a name in the directory that path is in; where the file system has no such files, one with a name of its own. */
static int open_temp(struct outfile *o)
{
	_cleanup_free_ char *copy = strdup(o->path);

	if (!copy)
		return -ENOMEM;
	o->fd = open(dirname(copy), O_TMPFILE | O_WRONLY | O_CLOEXEC, FILE_MODE);
	if (o->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
		return -errno;
	if (asprintf(&o->temp, "%s.XXXXXX", o->path) < 0) {
		o->temp = NULL;
		return -ENOMEM;
	}
	o->fd = mkostemp(o->temp, O_CLOEXEC);
	if (o->fd < 0) {
		int err = -errno;

		free(o->temp);
		o->temp = NULL;
		return err;
	}
	return fchmod(o->fd, FILE_MODE) ? -errno : 0;
}

static int open_path(struct outfile *o, const char *path)
{
	struct stat st;
	int err = stat(path, &st) ? -errno : 0;

	if (!err && !S_ISREG(st.st_mode)) {
		o->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
		return o->fd < 0 ? -errno : 0;
	}
	if (!err && !o->force)
		return -EEXIST;
	if (err && err != -ENOENT)
		return err;
	o->path = err ? strdup(path) : realpath(path, NULL); /* what a link points to is replaced, not the link */
	return o->path ? open_temp(o) : -ENOMEM;
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

struct outfile *outfile_open(const char *path, bool force, int *ret_err)
{
	static const cookie_io_functions_t calls = {.write = stream_write};
	struct outfile *o = calloc(1, sizeof(*o));
	size_t len = strlen(path);

	*ret_err = -ENOMEM;
	if (!o)
		return NULL;
	o->fd = -1;
	o->force = force;
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

int outfile_error(const struct outfile *o)
{
	return o->err;
}

/* From a file without a name to one that can be renamed. */
static int name_temp(struct outfile *o)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", o->fd);
	if (!o->force)
		return linkat(AT_FDCWD, self, AT_FDCWD, o->path, AT_SYMLINK_FOLLOW) ? -errno : 0;
	for (unsigned int n = 0; n < 1000; n++) {
		free(o->temp);
		if (asprintf(&o->temp, "%s.%d.%u", o->path, getpid(), n) < 0) {
			o->temp = NULL;
			return -ENOMEM;
		}
		if (!linkat(AT_FDCWD, self, AT_FDCWD, o->temp, AT_SYMLINK_FOLLOW))
			return 0;
		if (errno != EEXIST)
			break;
	}
	free(o->temp);
	o->temp = NULL;
	return -errno;
}

static int give_name(struct outfile *o)
{
	int err = 0;

	if (!o->path)
		return 0;
	if (!o->temp)
		err = name_temp(o);
	if (!err && o->temp && renameat2(AT_FDCWD, o->temp, AT_FDCWD, o->path, o->force ? 0 : RENAME_NOREPLACE))
		err = -errno;
	if (!err) {
		free(o->temp);
		o->temp = NULL;
	}
	return err;
}

int outfile_commit(struct outfile *o)
{
	int err;

	if (fflush(o->stream) && !o->err)
		o->err = errno ? -errno : -EIO;
	if (o->gzip && !o->err)
		write_deflated(o, "", 0, Z_FINISH);
	if (!o->err)
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
