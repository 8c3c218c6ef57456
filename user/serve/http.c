/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Metrics over HTTP, by libmicrohttpd, in a thread of its own. A page is made at most once an interval for each format and coding, however many ask: it is taken from live
 * under the lock, and rendered without it.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <microhttpd.h>

#include "lib/util.h"
#include "serve/gzip.h"
#include "serve/http_parts.h"
#include "serve/metrics_page.h"
#include "serve/output.h"

#define HEADER_BYTES (16 * 1024) /* of a request */
#define SPARE 8 /* connections that are taken beyond the limit, to see who has to go */
#define OWN_DESCRIPTORS 512 /* for all but connections: without one of these to spare no interval could be closed */
#define CROWD 256 /* connections at once, after which what they took is given back */

enum coding { CODING_NONE, CODING_GZIP, CODINGS };

struct cached {
	struct MHD_Response *response; /* NULL: none */
	uint64_t intervals; /* of live, when it was made */
};

struct http {
	const struct output_context context;
	struct MHD_Daemon *daemon;
	int fd; /* that is to be listened on, until the daemon has its own; -1: none */
	const char *unlink; /* a unix socket's path; NULL: none */
	char *certificate, *key; /* PEM; owned, NULL: no TLS */
	struct http_auth auth;
	struct http_clients clients;
	unsigned most; /* connections at once since there were none */
	struct cached cache[PROMETHEUS_FORMATS][CODINGS]; /* of the daemon's thread */
	pthread_mutex_t lock; /* of what follows; taken after the context's */
	struct prometheus *pages[2]; /* of classic and native histograms, once somebody asked for them */
	_Atomic uint64_t last_ns; /* when the newest interval came; 0: none yet */
};

/* A response's text goes with it. NULL when out of memory. */
static struct MHD_Response *response_of(char *text, size_t len, const char *type, bool gzip)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);

	if (!r) {
		free(text);
		return NULL;
	}
	MHD_add_response_header(r, "Content-Type", type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(r, "Vary", "Accept, Accept-Encoding");
	if (gzip)
		MHD_add_response_header(r, "Content-Encoding", "gzip");
	return r;
}

static enum MHD_Result answer(
        struct MHD_Connection *c, unsigned status, const char *text, const char *header, const char *value)
{
	char *copy = strdup(text);
	struct MHD_Response *r = copy ? response_of(copy, strlen(copy), "text/plain; charset=utf-8", false) : NULL;
	enum MHD_Result done;

	if (!r)
		return MHD_NO;
	if (header)
		MHD_add_response_header(r, header, value);
	done = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return done;
}

/* What live has now, as the page that is to be made of it; unless the one that was made is of the same interval. */
static int page_take(
        struct http *h, enum prometheus_format format, uint64_t made, struct prometheus_page **ret, uint64_t *ret_intervals)
{
	const bool native = format == PROMETHEUS_PROTOBUF;
	const struct live *live = h->context.live;
	int err = 0;

	*ret = NULL;
	pthread_mutex_lock(h->context.lock);
	pthread_mutex_lock(&h->lock);
	*ret_intervals = live->intervals;
	if (made != live->intervals || !made) {
		if (!h->pages[native])
			h->pages[native] = prometheus_of(h->context.config, native);
		err = h->pages[native] ? prometheus_update(h->pages[native], live) : -ENOMEM;
		if (!err)
			err = prometheus_take(h->pages[native], live, format, ret);
	}
	pthread_mutex_unlock(&h->lock);
	pthread_mutex_unlock(h->context.lock);
	return err;
}

static struct MHD_Response *page_make(struct prometheus_page *page, enum prometheus_format format, enum coding coding)
{
	char *text;
	size_t len;

	if (prometheus_render(page, &text, &len))
		return NULL;
	if (coding == CODING_GZIP) {
		char *packed;
		size_t packed_len;
		int err = gzip_whole(text, len, &packed, &packed_len);

		free(text);
		if (err)
			return NULL;
		text = packed;
		len = packed_len;
	}
	return response_of(text, len, prometheus_content_type(format), coding == CODING_GZIP);
}

static enum MHD_Result answer_metrics(struct http *h, struct MHD_Connection *c)
{
	const char *accept = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Accept");
	const char *codings = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Accept-Encoding");
	const enum prometheus_format format = prometheus_accept(accept);
	const enum coding coding = prometheus_accept_coding(codings, "gzip") ? CODING_GZIP : CODING_NONE;
	struct cached *cached = &h->cache[format][coding];
	struct prometheus_page *page;
	uint64_t intervals;
	int err = page_take(h, format, cached->response ? cached->intervals : 0, &page, &intervals);

	if (!err && page) {
		if (cached->response)
			MHD_destroy_response(cached->response); /* it stays for whom it is being sent to */
		cached->response = page_make(page, format, coding);
		cached->intervals = intervals;
	}
	if (err || !cached->response)
		return answer(c, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n", NULL, NULL);
	return MHD_queue_response(c, MHD_HTTP_OK, cached->response);
}

/* Alive: intervals keep coming. They do up to a second after their end. */
static enum MHD_Result answer_health(struct http *h, struct MHD_Connection *c)
{
	const double limit_s = 3 * h->context.config->watch.interval_s + 5;
	const uint64_t last = h->last_ns;
	double age_s = last ? (double)(clock_ns() - last) / 1e9 : 0;
	char text[64];

	if (age_s <= limit_s)
		return answer(c, MHD_HTTP_OK, "ok\n", NULL, NULL);
	snprintf(text, sizeof(text), "no interval for %.0f s\n", age_s);
	return answer(c, MHD_HTTP_SERVICE_UNAVAILABLE, text, NULL, NULL);
}

static enum MHD_Result answer_ready(struct http *h, struct MHD_Connection *c)
{
	if (h->last_ns)
		return answer(c, MHD_HTTP_OK, "ready\n", NULL, NULL);
	return answer(c, MHD_HTTP_SERVICE_UNAVAILABLE, "no interval yet\n", "Retry-After", "1");
}

static enum MHD_Result answer_index(struct http *h, struct MHD_Connection *c)
{
	static const char page[] =
	        "<!doctype html>\n<html lang=\"en\">\n<head><meta "
	        "charset=\"utf-8\"><title>stakeout</title></head>\n<body>\n<h1>stakeout</h1>\n<ul>\n"
	        "<li><a href=\"/metrics\">/metrics</a>: for Prometheus; text, OpenMetrics, or protobuf with native histograms, "
	        "as the request's Accept asks</li>\n"
	        "<li><a href=\"/healthz\">/healthz</a>: whether intervals keep coming</li>\n"
	        "<li><a href=\"/readyz\">/readyz</a>: whether there has been one</li>\n</ul>\n</body>\n</html>\n";
	char *copy = strdup(page);
	struct MHD_Response *r = copy ? response_of(copy, sizeof(page) - 1, "text/html; charset=utf-8", false) : NULL;
	enum MHD_Result done;

	(void)h;
	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, "Content-Security-Policy", "default-src 'none'");
	done = MHD_queue_response(c, MHD_HTTP_OK, r);
	MHD_destroy_response(r);
	return done;
}

static const struct {
	const char *path;
	enum MHD_Result (*answer)(struct http *h, struct MHD_Connection *c);
	bool open; /* to anybody: what watches over daemons has no password, and learns nothing of agents */
} paths[] = {
        {"/", answer_index, false},
        {"/metrics", answer_metrics, false},
        {"/healthz", answer_health, true},
        {"/readyz", answer_ready, true},
};

static enum MHD_Result handle(void *ctx, struct MHD_Connection *c, const char *url, const char *method, const char *version,
        const char *data, size_t *data_len, void **request)
{
	static int seen;
	struct http *h = ctx;

	(void)version;
	(void)data;
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return answer(c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET or HEAD\n", "Allow", "GET, HEAD");
	if (!*request) { /* headers are there; to answer now would close the connection */
		*request = &seen;
		return MHD_YES;
	}
	*data_len = 0;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		if (strcmp(url, paths[i].path) != 0)
			continue;
		if (!paths[i].open &&
		        !http_auth_granted(&h->auth, MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization")))
			return answer(c, MHD_HTTP_UNAUTHORIZED, "user and password, please\n", "WWW-Authenticate",
			        "Basic realm=\"stakeout\", charset=\"UTF-8\"");
		return paths[i].answer(h, c);
	}
	return answer(c, MHD_HTTP_NOT_FOUND, "there is /metrics, /healthz and /readyz\n", NULL, NULL);
}

static void on_connection(void *ctx, struct MHD_Connection *c, void **socket, enum MHD_ConnectionNotificationCode what)
{
	struct http *h = ctx;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		*socket =
		        http_client_new(&h->clients, MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
		h->most = h->clients.len > h->most ? h->clients.len : h->most;
		return;
	}
	http_client_gone(&h->clients, *socket);
	if (h->clients.len)
		return;
	if (h->most >= CROWD)
		malloc_trim(0);
	h->most = 0;
}

static void on_completed(void *ctx, struct MHD_Connection *c, void **request, enum MHD_RequestTerminationCode how)
{
	struct http *h = ctx;
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	(void)request;
	(void)how;
	if (info)
		http_client_served(&h->clients, info->socket_context);
}

static void no_log(void *ctx, const char *format, va_list args)
{
	(void)ctx;
	(void)format;
	(void)args;
}

static void http_free(struct http *h)
{
	if (h->daemon)
		MHD_stop_daemon(h->daemon); /* its descriptor as well */
	if (h->fd >= 0)
		close(h->fd);
	if (h->unlink)
		unlink(h->unlink);
	for (int f = 0; f < PROMETHEUS_FORMATS; f++) {
		for (int c = 0; c < CODINGS; c++) {
			if (h->cache[f][c].response)
				MHD_destroy_response(h->cache[f][c].response);
		}
	}
	prometheus_free(h->pages[0]);
	prometheus_free(h->pages[1]);
	http_auth_fini(&h->auth);
	if (h->key)
		explicit_bzero(h->key, strlen(h->key));
	free(h->certificate);
	free(h->key);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static int daemon_start(struct http *h)
{
	const struct config_prometheus *o = &h->context.config->prometheus;
	const unsigned connections = (unsigned)(o->max_connections ? o->max_connections : 1);
	const bool tls = h->certificate;
	const struct MHD_OptionItem secrets[] = {
	        {tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, h->certificate},
	        {MHD_OPTION_HTTPS_MEM_KEY, 0, h->key},
	        {MHD_OPTION_END, 0, NULL},
	};
	sigset_t all, before;
	int fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 0); /* libmicrohttpd closes what it is given, also when it fails */

	if (fd < 0)
		return -errno;
	h->clients.max = connections;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
	h->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ITC | (tls ? MHD_USE_TLS : 0), 0,
	        NULL, NULL, handle, h, MHD_OPTION_EXTERNAL_LOGGER, no_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
	        MHD_OPTION_CONNECTION_LIMIT, connections + SPARE, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)ceil(o->timeout_s),
	        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
	        MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_ARRAY, secrets, MHD_OPTION_END);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!h->daemon)
		return -EINVAL;
	close(h->fd);
	h->fd = -1;
	return 0;
}

/* Both PEM files, whole. */
static int secrets_read(struct http *h, char *why, size_t why_len)
{
	const struct config_prometheus *o = &h->context.config->prometheus;
	int err = 0;

	if (o->user)
		err = http_auth_init(&h->auth, o->user, o->password_file, why, why_len);
	if (!err && o->tls_certificate)
		err = http_file_text(o->tls_certificate, &h->certificate, why, why_len);
	if (!err && o->tls_certificate)
		err = http_file_text(o->tls_key, &h->key, why, why_len);
	return err;
}

/* Connections must not take the descriptors that the watching itself needs. */
static int descriptors_check(const struct config_prometheus *o, char *why, size_t why_len)
{
	const uint64_t own = OWN_DESCRIPTORS + SPARE;
	uint64_t max = 0;
	int err = descriptors_reach(own + (uint64_t)o->max_connections, &max);

	if (err)
		snprintf(why, why_len, "max_connections %llu: the limit of open files, %llu, leaves %llu for connections (LimitNOFILE, ulimit -Hn)",
		        (unsigned long long)o->max_connections, (unsigned long long)max, (unsigned long long)(max > own ? max - own : 0));
	return err;
}

static int http_open(const struct output_context *c, void **ret, char *why, size_t why_len)
{
	const char *listen_on = c->config->prometheus.listen;
	struct http *h;
	int err;

	*ret = NULL;
	if (!listen_on)
		return 0;
	h = calloc(1, sizeof(*h));
	if (!h) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	memcpy((void *)&h->context, c, sizeof(*c));
	pthread_mutex_init(&h->lock, NULL);
	h->fd = -1;
	err = descriptors_check(&c->config->prometheus, why, why_len);
	if (!err)
		err = secrets_read(h, why, why_len);
	if (!err)
		err = http_listen(listen_on, &h->fd, &h->unlink, why, why_len);
	if (!err) {
		err = daemon_start(h);
		if (err)
			snprintf(why, why_len, "cannot serve HTTP%s on %s%s", h->certificate ? "S" : "", listen_on,
			        h->certificate ? ": tls_certificate and tls_key have to be PEM, and belong together" : "");
	}
	if (err) {
		http_free(h);
		return err;
	}
	*ret = h;
	return 0;
}

static int http_interval(void *output, char *why, size_t why_len)
{
	struct http *h = output;
	int err = 0;

	h->last_ns = clock_ns();
	pthread_mutex_lock(&h->lock);
	for (int i = 0; i < 2 && !err; i++)
		err = h->pages[i] ? prometheus_update(h->pages[i], h->context.live) : 0;
	pthread_mutex_unlock(&h->lock);
	if (err)
		snprintf(why, why_len, "out of memory");
	return err;
}

static void http_close(void *output)
{
	http_free(output);
}

const struct output_kind http_output = {.name = "http", .open = http_open, .interval = http_interval, .close = http_close};
