/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "lib/outfile.h"
#include "lib/util.h"
#include "serve/ways.h"

struct path_way {
	struct sender_way way;
	char path[];
};

static const char *path_of(const struct sender_way *w)
{
	return ((const struct path_way *)w)->path;
}

static bool same_path(const struct sender_way *a, const struct sender_way *b)
{
	return !strcmp(path_of(a), path_of(b));
}

static void path_way_free(struct sender_way *w)
{
	free(w);
}

static struct sender_way *path_way_new(const struct sender_way_ops *ops, const char *path, uint64_t queue)
{
	struct path_way *p = calloc(1, sizeof(*p) + strlen(path) + 1);

	if (!p)
		return NULL;
	p->way = (struct sender_way){ ops, queue ? queue : 1 };
	memcpy(p->path, path, strlen(path) + 1);
	return &p->way;
}

static enum sender_outcome failed(const struct sender_way *w, int err, char *why, size_t why_len)
{
	snprintf(why, why_len, "%s: %s", path_of(w), strerror(-err));
	return SENDER_LATER;
}

/* All of it, or nothing: as far as the file can be cut. */
static int append(int fd, const uint8_t *bytes, size_t len)
{
	struct stat st;
	size_t done = 0;

	if (fstat(fd, &st))
		return -errno;
	while (done < len) {
		ssize_t n = write(fd, bytes + done, len - done);

		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		n = n < 0 ? -errno : -EIO;
		if (done && S_ISREG(st.st_mode) && ftruncate(fd, st.st_size))
			return (int)n;
		return (int)n;
	}
	return 0;
}

static enum sender_outcome append_attempt(struct sender_way *w, struct sender *s, const uint8_t *bytes, size_t len, double *ret_after_s, char *why, size_t why_len)
{
	/* A FIFO that nobody reads is not waited for. */
	_cleanup_close_ int fd = open(path_of(w), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
	int err = fd < 0 ? -errno : append(fd, bytes, len);

	(void)s, (void)ret_after_s;
	return err ? failed(w, err, why, why_len) : SENDER_SENT;
}

static const struct sender_way_ops append_ops = { .attempt = append_attempt, .same = same_path, .free = path_way_free };

struct sender_way *append_way_new(const char *path, uint64_t queue)
{
	return path_way_new(&append_ops, path, queue);
}

static enum sender_outcome replace_attempt(struct sender_way *w, struct sender *s, const uint8_t *bytes, size_t len, double *ret_after_s, char *why, size_t why_len)
{
	struct outfile *o;
	int err;

	(void)s, (void)ret_after_s;
	o = outfile_open(path_of(w), &(struct outfile_options){ .force = true, .replaces = true, .mode = 0600 }, &err);
	if (o)
		err = outfile_end(o, outfile_write(o, bytes, len));
	return err ? failed(w, err, why, why_len) : SENDER_SENT;
}

static const struct sender_way_ops replace_ops = { .attempt = replace_attempt, .same = same_path, .free = path_way_free };

struct sender_way *replace_way_new(const char *path)
{
	return path_way_new(&replace_ops, path, 1);
}

static enum sender_outcome datagram_attempt(struct sender_way *w, struct sender *s, const uint8_t *bytes, size_t len, double *ret_after_s, char *why, size_t why_len)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int err = 0;

	(void)s, (void)ret_after_s;
	if (strlen(path_of(w)) >= sizeof(to.sun_path))
		err = -ENAMETOOLONG;
	else
		strcpy(to.sun_path, path_of(w));
	if (!err && (fd < 0 || sendto(fd, bytes, len, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)) < 0))
		err = -errno;
	if (!err)
		return SENDER_SENT;
	failed(w, err, why, why_len);
	return err == -EMSGSIZE || err == -ENAMETOOLONG ? SENDER_REFUSED : SENDER_LATER;
}

static const struct sender_way_ops datagram_ops = { .attempt = datagram_attempt, .same = same_path, .free = path_way_free };

struct sender_way *datagram_way_new(const char *path, uint64_t queue)
{
	return path_way_new(&datagram_ops, path, queue);
}
