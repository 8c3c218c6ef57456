/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What http.c is made of: where to listen, who may ask, and who has to go when too many do. */
#ifndef STAKEOUT_SERVE_HTTP_PARTS_H
#define STAKEOUT_SERVE_HTTP_PARTS_H

#include <stdbool.h>
#include <stddef.h>

/* Listens on "ADDRESS:PORT", "[ADDRESS]:PORT" or "unix:PATH" (mode 0660; one that nobody listens on any more is replaced). *ret_unlink: the path to remove at the
 * end, within where; NULL: none. 0, or a negative errno and why. */
int http_listen(const char *where, int *ret_fd, const char **ret_unlink, char *why, size_t why_len);

/* A small file (64 KiB) as text. *ret is the caller's. 0, or a negative errno and why. */
int http_file_text(const char *path, char **ret, char *why, size_t why_len);

struct http_auth {
	char *expected; /* owned; "user:password"; NULL: anybody may ask */
};

/* The password is the file's first line. 0, or a negative errno and why. */
int http_auth_init(struct http_auth *a, const char *user, const char *password_file, char *why, size_t why_len);
void http_auth_fini(struct http_auth *a);
/* authorization: the header, or NULL. Takes as long for a wrong guess that is nearly right as for any other of its length. */
bool http_auth_granted(const struct http_auth *a, const char *authorization);

/*
 * Connections, by how long ago they were last of use. When there are too many the one that has been of none for longest is shut: a client that sends its request a byte at a time, or none, keeps
 * nobody else out. All of it is the daemon thread's.
 */
struct http_client;
struct http_clients {
	struct http_client *first, *last; /* first: longest of no use */
	unsigned len, max;
};

/* NULL when out of memory: it isn't counted then. */
struct http_client *http_client_new(struct http_clients *c, int fd);
/* A request was answered. client may be NULL. */
void http_client_served(struct http_clients *c, struct http_client *client);
void http_client_gone(struct http_clients *c, struct http_client *client);

#endif
