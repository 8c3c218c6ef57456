/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Writing recordings: each line is composed in memory and written whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "model/recording_put.h"

#define FILE_MODE 0640
#define STACKS_LINE_BYTES (1u << 20) /* a line of stacks gets no longer than this and one of them */
#define GZIP_WINDOW (15 + 16) /* largest window, gzip wrapper */

struct recording_writer {
	int fd;
	bool owns_fd;
	int err; /* the first one; nothing is written after it, so a torn line stays the last */
	uint64_t written, whole; /* bytes; whole: up to the last line that is */
	struct json_text json; /* the line */
	uint32_t frames_told, stacks_told; /* numbers below are written */
	bool probe_on[PROBE_COUNT];
	bool gzip;
	z_stream deflate;
};

static int write_all(struct recording_writer *w, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(w->fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return w->err = n < 0 ? -errno : -EIO;
		p += n;
		len -= (size_t)n;
		w->written += (uint64_t)n;
	}
	return 0;
}

/* Compresses what is in `json` (maybe nothing) and writes it; flush: Z_SYNC_FLUSH or Z_FINISH. */
static int write_deflated(struct recording_writer *w, int flush)
{
	unsigned char out[16384];

	w->deflate.next_in = (unsigned char *)w->json.text;
	w->deflate.avail_in = (uInt)w->json.len;
	do {
		w->deflate.next_out = out;
		w->deflate.avail_out = sizeof(out);
		if (deflate(&w->deflate, flush) == Z_STREAM_ERROR)
			return w->err = -EIO;
		if (write_all(w, out, sizeof(out) - w->deflate.avail_out))
			return w->err;
	} while (!w->deflate.avail_out);
	return 0;
}

static void line_begin(struct recording_writer *w, const char *kind)
{
	json_text_reset(&w->json);
	put_open(&w->json, NULL, "{");
	put_string(&w->json, "kind", kind);
}

static int line_end(struct recording_writer *w)
{
	put_close(&w->json, "}");
	put_raw(&w->json, "\n", 1);
	if (w->json.failed)
		return w->err = -ENOMEM;
	if (w->json.len > UINT32_MAX)
		return w->err = -EFBIG; /* zlib counts a call's input in 32 bits; no reader would take such a line anyway */
	if (w->gzip ? write_deflated(w, Z_SYNC_FLUSH) : write_all(w, w->json.text, w->json.len))
		return w->err;
	w->whole = w->written;
	return 0;
}

int recording_write_header(struct recording_writer *w, const struct header_data *h)
{
	struct json_text *j = &w->json;

	if (w->err)
		return w->err;
	line_begin(w, "header");
	put_string(j, "format", "stakeout/1");
	put_open(j, "host", "{");
	put_string(j, "name", h->host.name);
	put_string(j, "kernel", h->host.kernel);
	put_string(j, "arch", h->host.arch);
	put_int(j, "cpus", h->host.cpus);
	put_string(j, "boot_id", h->host.boot_id);
	put_close(j, "}");
	put_string(j, "start", h->start);
	put_fraction(j, "interval_s", h->interval_s);
	if (h->first_seq)
		put_u64(j, "first_seq", h->first_seq);
	memset(w->probe_on, 0, sizeof(w->probe_on));
	put_open(j, "probes", "[");
	for (int i = 0; i < h->probes_len; i++) {
		int probe = probe_find(h->probes[i].name);

		if (probe >= 0)
			w->probe_on[probe] = !strcmp(h->probes[i].state, "on");
		put_open(j, NULL, "{");
		put_string(j, "name", h->probes[i].name);
		put_string(j, "state", h->probes[i].state);
		put_string(j, "why", h->probes[i].why);
		put_close(j, "}");
	}
	put_close(j, "]");
	put_open(j, "agents", "[");
	for (int i = 0; i < h->agents_len; i++) {
		put_open(j, NULL, "{");
		put_agent_info(j, &h->agents[i]);
		put_close(j, "}");
	}
	put_close(j, "]");
	if (h->merged_files) {
		put_open(j, "merged", "{");
		put_int(j, "files", h->merged_files);
		put_open(j, "hosts", "[");
		for (int i = 0; i < h->merged_hosts_len; i++)
			put_string(j, NULL, h->merged_hosts[i]);
		put_close(j, "]");
		put_close(j, "}");
	}
	return line_end(w);
}

int recording_write_agent(struct recording_writer *w, const struct agent_info *a)
{
	if (w->err)
		return w->err;
	line_begin(w, "agent");
	put_agent_info(&w->json, a);
	return line_end(w);
}

static int write_interval(struct recording_writer *w, const char *kind, const struct interval_data *i,
			  const struct agent_info *const *infos)
{
	struct json_text *j = &w->json;

	if (w->err)
		return w->err;
	line_begin(w, kind);
	put_u64(j, "seq", i->seq);
	put_fraction(j, "start_s", i->start_s);
	put_fraction(j, "end_s", i->end_s);
	put_open(j, "agents", "[");
	for (int n = 0; n < i->agents_len; n++)
		put_agent_data(j, i->agents[n], infos ? infos[n] : NULL, w->probe_on);
	put_close(j, "]");
	put_observer(j, &i->observer);
	return line_end(w);
}

int recording_write_stacks(struct recording_writer *w, const struct stacks *s)
{
	while (!w->err && (w->frames_told < stacks_frames_len(s) || w->stacks_told < stacks_len(s))) {
		line_begin(w, "stacks");
		if (w->frames_told < stacks_frames_len(s))
			w->frames_told = put_frames(&w->json, s, w->frames_told, STACKS_LINE_BYTES);
		if (w->stacks_told < stacks_len(s) && w->json.len < STACKS_LINE_BYTES) /* behind all frames */
			w->stacks_told = put_stacks(&w->json, s, w->stacks_told, STACKS_LINE_BYTES);
		line_end(w);
	}
	return w->err;
}

int recording_write_interval(struct recording_writer *w, const struct interval_data *i)
{
	return write_interval(w, "interval", i, NULL);
}

int recording_write_total(struct recording_writer *w, const struct interval_data *i, const struct agent_info *const *infos)
{
	return write_interval(w, "total", i, infos);
}

static int open_file(const char *path, bool force)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | (force ? O_TRUNC : O_EXCL), FILE_MODE);
	struct stat st;

	if (fd < 0)
		return -errno;
	/* An overwritten file may have been readable by everybody. */
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && (st.st_mode & 07777 & ~FILE_MODE) && fchmod(fd, FILE_MODE)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

struct recording_writer *recording_open_write(const char *path, bool force, int *ret_err)
{
	struct recording_writer *w = calloc(1, sizeof(*w));
	size_t len = strlen(path);

	*ret_err = -ENOMEM;
	if (!w)
		return NULL;
	for (int p = 0; p < PROBE_COUNT; p++)
		w->probe_on[p] = true; /* until the header says which are */
	w->frames_told = w->stacks_told = 1; /* number 0 is the same everywhere */
	w->gzip = len > 3 && !strcmp(path + len - 3, ".gz");
	if (w->gzip && deflateInit2(&w->deflate, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		goto out;
	w->owns_fd = strcmp(path, "-");
	w->fd = w->owns_fd ? open_file(path, force) : STDOUT_FILENO;
	if (w->fd >= 0) {
		*ret_err = 0;
		return w;
	}
	*ret_err = w->fd;
	if (w->gzip)
		deflateEnd(&w->deflate);
out:
	free(w);
	return NULL;
}

uint64_t recording_bytes(const struct recording_writer *w)
{
	return w->whole;
}

/* Only of a regular file, and only of what was written now. */
static void torn_cut(const struct recording_writer *w)
{
	struct stat st;

	if (w->owns_fd && w->written > w->whole && !fstat(w->fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == w->written &&
	    ftruncate(w->fd, (off_t)w->whole))
		return; /* readers know what to make of it */
}

int recording_close(struct recording_writer *w)
{
	int err;

	if (!w)
		return 0;
	json_text_reset(&w->json);
	if (w->gzip && !w->err)
		write_deflated(w, Z_FINISH);
	if (w->gzip)
		deflateEnd(&w->deflate);
	if (w->err)
		torn_cut(w);
	if (w->owns_fd && close(w->fd) && !w->err)
		w->err = -errno;
	err = w->err;
	json_text_fini(&w->json);
	free(w);
	return err;
}
