/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/http_parts.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "lib/util.h"

#define FILE_BYTES (64 * 1024)
#define UNIX_PREFIX "unix:"

/* A socket that nobody listens on any more is left over from one that was killed. */
static bool left_over(const struct sockaddr_un *address)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd < 0 || lstat(address->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	return connect(fd, (const struct sockaddr *)address, sizeof(*address)) && errno == ECONNREFUSED;
}

static int listen_unix(const char *path, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	if (left_over(&address))
		unlink(path);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)))
		return -errno;
	/* Nobody can connect before it listens. */
	if (chmod(path, 0660) || listen(fd, SOMAXCONN)) {
		int err = -errno;

		unlink(path);
		return err;
	}
	*ret_fd = fd;
	fd = -1;
	return 0;
}

static int listen_tcp(const struct addrinfo *a, int *ret_fd)
{
	_cleanup_close_ int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int on = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, SOMAXCONN))
		return -errno;
	*ret_fd = fd;
	fd = -1;
	return 0;
}

/* "[::1]:9469" or "127.0.0.1:9469" in its parts. */
static bool split_address(const char *where, char *host, size_t host_len, const char **ret_port)
{
	const bool bracket = *where == '[';
	const char *end = bracket ? strchr(where, ']') : strrchr(where, ':'), *port = end ? end + 1 : NULL;
	size_t len = end ? (size_t)(end - where) - bracket : 0;
	long long number;

	if (!end || len >= host_len || (bracket && *port++ != ':') || (!bracket && memchr(where, ':', len)))
		return false;
	memcpy(host, where + bracket, len);
	host[len] = '\0';
	*ret_port = port;
	return len && !parse_int(port, 1, 65535, &number);
}

int http_listen(const char *where, int *ret_fd, const char **ret_unlink, char *why, size_t why_len)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *found = NULL;
	char host[64];
	const char *port;
	int err;

	*ret_unlink = NULL;
	if (!strncmp(where, UNIX_PREFIX, strlen(UNIX_PREFIX))) {
		const char *path = where + strlen(UNIX_PREFIX);

		err = listen_unix(path, ret_fd);
		if (!err)
			*ret_unlink = path;
	} else if (!split_address(where, host, sizeof(host), &port) || getaddrinfo(host, port, &hints, &found)) {
		snprintf(why, why_len, "cannot listen on %s: expected ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH", where);
		return -EINVAL;
	} else {
		err = listen_tcp(found, ret_fd);
		freeaddrinfo(found);
	}
	if (err)
		snprintf(why, why_len, "cannot listen on %s: %s", where, strerror(-err));
	return err;
}

int http_file_text(const char *path, char **ret, char *why, size_t why_len)
{
	_cleanup_free_ char *text = malloc(FILE_BYTES);
	ssize_t len = text ? file_read(path, text, FILE_BYTES) : -ENOMEM;

	if (len == FILE_BYTES - 1)
		len = -EFBIG;
	if (len < 0) {
		snprintf(why, why_len, "cannot read %s: %s", path, strerror((int)-len));
		return (int)len;
	}
	*ret = text;
	text = NULL;
	return 0;
}

int http_auth_init(struct http_auth *a, const char *user, const char *password_file, char *why, size_t why_len)
{
	_cleanup_free_ char *password = NULL;
	int err = http_file_text(password_file, &password, why, why_len), n;

	if (err)
		return err;
	password[strcspn(password, "\r\n")] = '\0';
	if (!*password) {
		snprintf(why, why_len, "%s: expected a password in its first line", password_file);
		return -EINVAL;
	}
	n = asprintf(&a->expected, "%s:%s", user, password);
	explicit_bzero(password, strlen(password));
	if (n >= 0)
		return 0;
	a->expected = NULL;
	snprintf(why, why_len, "out of memory");
	return -ENOMEM;
}

void http_auth_fini(struct http_auth *a)
{
	if (a->expected)
		explicit_bzero(a->expected, strlen(a->expected));
	free(a->expected);
	a->expected = NULL;
}

/* Base64 (RFC 4648) into at most `size` bytes, NUL-terminated. Its length, or -1 when it isn't that. */
static int base64_decode(const char *from, char *to, size_t size)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned bits = 0, held = 0;
	size_t len = 0;

	for (; *from && *from != '='; from++) {
		const char *digit = strchr(alphabet, *from);

		if (!digit || len + 1 >= size)
			return -1;
		bits = bits << 6 | (unsigned)(digit - alphabet);
		held += 6;
		if (held >= 8) {
			held -= 8;
			to[len++] = (char)(bits >> held);
		}
	}
	to[len] = '\0';
	return from[strspn(from, "=")] ? -1 : (int)len;
}

bool http_auth_granted(const struct http_auth *a, const char *authorization)
{
	char given[1024];
	size_t expected_len;
	unsigned differs = 0;
	int len;

	if (!a->expected)
		return true;
	if (!authorization || strncasecmp(authorization, "Basic ", 6) != 0)
		return false;
	authorization += 6;
	authorization += strspn(authorization, " ");
	len = base64_decode(authorization, given, sizeof(given));
	if (len < 0)
		return false;
	expected_len = strlen(a->expected);
	for (int i = 0; i < len; i++)
		differs |= (unsigned char)given[i] ^ (unsigned char)a->expected[(size_t)i % expected_len];
	explicit_bzero(given, sizeof(given));
	return !differs && (size_t)len == expected_len;
}

struct http_client {
	struct http_client *before, *after;
	int fd;
	bool shut;
};

static void client_unlink(struct http_clients *c, struct http_client *client)
{
	*(client->before ? &client->before->after : &c->first) = client->after;
	*(client->after ? &client->after->before : &c->last) = client->before;
}

static void client_append(struct http_clients *c, struct http_client *client)
{
	client->before = c->last;
	client->after = NULL;
	*(c->last ? &c->last->after : &c->first) = client;
	c->last = client;
}

struct http_client *http_client_new(struct http_clients *c, int fd)
{
	struct http_client *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	client->fd = fd;
	client_append(c, client);
	if (++c->len <= c->max)
		return client;
	/* It is closed, and told of as gone, once the daemon sees the end of it. */
	for (struct http_client *idle = c->first; idle; idle = idle->after) {
		if (idle->shut)
			continue;
		idle->shut = true;
		shutdown(idle->fd, SHUT_RDWR);
		break;
	}
	return client;
}

void http_client_served(struct http_clients *c, struct http_client *client)
{
	if (!client)
		return;
	client_unlink(c, client);
	client_append(c, client);
}

void http_client_gone(struct http_clients *c, struct http_client *client)
{
	if (!client)
		return;
	client_unlink(c, client);
	c->len--;
	free(client);
}
