/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * OTLP/JSON lines in a file, as the collector's file exporter writes them and its otlpjsonfile receiver reads them. Lines are whole: one that could not be written is taken back.
 * At its size the file becomes FILE.1, in place of the one before. Who renames or removes it (logrotate) gets a new one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/util.h"
#include "serve/otlp_common.h"

#define FILE_MODE 0640 /* as a recording's */
#define LINE_BEGIN "{\"resourceMetrics\":"

struct otlp_file {
	struct otlp_teller teller;
	char *path, *older; /* owned */
	uint64_t max_bytes;
	int fd;
	bool regular; /* else a device or a pipe: not rotated, not cut */
	uint64_t bytes;
	struct json_text text;
	int err; /* of the newest line */
};

static void file_free(struct otlp_file *f)
{
	if (!f)
		return;
	if (f->fd >= 0)
		close(f->fd);
	otlp_teller_fini(&f->teller);
	json_text_fini(&f->text);
	free(f->path);
	free(f->older);
	free(f);
}

/* Bytes up to the end of the last whole line. Negative errno. */
static int64_t whole_lines(int fd, off_t size)
{
	char block[65536];

	while (size > 0) {
		size_t len = size < (off_t)sizeof(block) ? (size_t)size : sizeof(block);
		ssize_t got = pread(fd, block, len, size - (off_t)len);
		const char *end = got == (ssize_t)len ? memrchr(block, '\n', len) : NULL;

		if (got != (ssize_t)len)
			return got < 0 ? -errno : -EIO;
		if (end)
			return size - (off_t)len + (end - block) + 1;
		size -= (off_t)len;
	}
	return 0;
}

/* Opens the file that is there, or a new one, to append to it. */
static int file_open(struct otlp_file *f, char *why, size_t why_len)
{
	char begin[sizeof(LINE_BEGIN) - 1];
	struct stat st;
	int64_t whole;

	if (f->fd >= 0)
		close(f->fd);
	f->fd = open(f->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, FILE_MODE);
	if (f->fd < 0 || fstat(f->fd, &st)) {
		snprintf(why, why_len, "cannot open %s: %s", f->path, strerror(errno));
		return -errno;
	}
	f->regular = S_ISREG(st.st_mode);
	f->bytes = 0;
	if (!f->regular || !st.st_size)
		return 0;
	if (pread(f->fd, begin, sizeof(begin), 0) != sizeof(begin) || memcmp(begin, LINE_BEGIN, sizeof(begin))) {
		snprintf(why, why_len, "%s is there already and holds something else than OTLP/JSON lines: give the name of another file, or remove it", f->path);
		return -EEXIST;
	}
	whole = whole_lines(f->fd, st.st_size); /* the program, or the machine, may have ended within the last one */
	if (whole >= 0 && whole < st.st_size && ftruncate(f->fd, whole))
		whole = -errno;
	if (whole < 0) {
		snprintf(why, why_len, "cannot append to %s: %s", f->path, strerror((int)-whole));
		return (int)whole;
	}
	f->bytes = (uint64_t)whole;
	return 0;
}

static int otlp_file_open(const struct output_context *c, void **ret, char *why, size_t why_len)
{
	const struct config_otlp *o = &c->config->otlp;
	struct otlp_file *f;
	int err;

	*ret = NULL;
	if (!o->file)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->fd = -1;
	f->max_bytes = o->file_bytes;
	f->path = strdup(o->file);
	if (asprintf(&f->older, "%s.1", o->file) < 0)
		f->older = NULL;
	err = f->path && f->older ? otlp_teller_init(&f->teller, c) : -ENOMEM;
	if (!err)
		err = file_open(f, why, why_len);
	if (err)
		file_free(f);
	else
		*ret = f;
	return err;
}

/* Somebody has put the file aside. */
static bool file_moved(const struct otlp_file *f)
{
	struct stat ours, there;

	return f->regular && !fstat(f->fd, &ours) && (stat(f->path, &there) || there.st_ino != ours.st_ino || there.st_dev != ours.st_dev);
}

static int file_rotate(struct otlp_file *f, char *why, size_t why_len)
{
	if (rename(f->path, f->older)) {
		snprintf(why, why_len, "cannot rename %s to %s: %s", f->path, f->older, strerror(errno));
		return -errno;
	}
	return file_open(f, why, why_len);
}

static int line_append(struct otlp_file *f, char *why, size_t why_len)
{
	const struct json_text *j = &f->text;
	ssize_t wrote;
	int err = 0;

	if (f->fd < 0 || file_moved(f))
		err = file_open(f, why, why_len);
	if (!err && f->regular && f->bytes && f->bytes + j->len > f->max_bytes)
		err = file_rotate(f, why, why_len);
	if (err) {
		if (f->fd >= 0)
			close(f->fd);
		f->fd = -1; /* tried anew with the next line */
		return err;
	}
	wrote = write(f->fd, j->text, j->len);
	if (wrote == (ssize_t)j->len) {
		f->bytes += j->len;
		return 0;
	}
	err = wrote < 0 ? -errno : -ENOSPC;
	if (wrote > 0 && f->regular && ftruncate(f->fd, (off_t)f->bytes))
		err = -errno;
	snprintf(why, why_len, "cannot write %s: %s", f->path, strerror(-err));
	return err;
}

static int line_tell(struct otlp_file *f, char *why, size_t why_len)
{
	struct otlp_request *r = otlp_teller_request(&f->teller, NULL);

	if (!r)
		return -ENOMEM;
	json_text_reset(&f->text);
	otlp_request_json(r, &f->text);
	otlp_request_free(r);
	put_raw(&f->text, "\n", 1);
	return f->text.failed ? -ENOMEM : line_append(f, why, why_len);
}

static int otlp_file_interval(void *output, char *why, size_t why_len)
{
	struct otlp_file *f = output;

	if (otlp_teller_due(&f->teller))
		f->err = line_tell(f, why, why_len);
	return f->err;
}

static void otlp_file_close(void *output)
{
	struct otlp_file *f = output;
	char why[512] = "";
	int err = otlp_teller_behind(&f->teller) ? line_tell(f, why, sizeof(why)) : 0;

	if (err)
		log_err(*why ? 0 : err, "OTLP file: %s", *why ? why : f->path);
	file_free(f);
}

const struct output_kind otlp_file_output = {
	.name = "OTLP file", .open = otlp_file_open, .interval = otlp_file_interval, .close = otlp_file_close
};
