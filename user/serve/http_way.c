/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/http_way.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "lib/util.h"

#define RETRY_AFTER_MAX_S 3600 /* what the other side may ask for */
#define ANSWER_MAX (64 * 1024) /* what is read of an answer's body */
#define GZIP_LEVEL 1 /* speed first: totals repeat themselves, most is gained at once */

struct answer {
	char body[ANSWER_MAX];
	size_t len;
	char error[CURL_ERROR_SIZE];
};

struct http_way {
	struct sender_way way;
	char *url;
	char *ca; /* NULL: the system's */
	struct curl_slist *headers;
	struct http_way_options options; /* what isn't copied above is unset */
	CURLM *multi;
	CURL *easy;
	struct answer answer;
};

static void http_way_free(struct sender_way *w)
{
	struct http_way *h = (struct http_way *)w;

	curl_easy_cleanup(h->easy);
	curl_multi_cleanup(h->multi);
	curl_slist_free_all(h->headers);
	free(h->url);
	free(h->ca);
	free(h);
}

/* When memory is short it stays as it is. */
static bool compress_request(struct sender_way *w, uint8_t **bytes, size_t *len)
{
	z_stream z = { 0 };
	uint8_t *packed;
	bool done = false;
	size_t room;

	if (!((struct http_way *)w)->options.gzip)
		return true;
	if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, MAX_WBITS + 16, MAX_MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	room = deflateBound(&z, *len);
	packed = malloc(room);
	if (packed) {
		z.next_in = *bytes;
		z.avail_in = (uInt)*len;
		z.next_out = packed;
		z.avail_out = (uInt)room;
		if (deflate(&z, Z_FINISH) == Z_STREAM_END) {
			uint8_t *fit = realloc(packed, z.total_out);

			free(*bytes);
			*bytes = fit ? fit : packed;
			*len = z.total_out;
			packed = NULL;
			done = true;
		}
	}
	deflateEnd(&z);
	free(packed);
	return done;
}

static size_t body_take(char *data, size_t size, size_t n, void *ctx)
{
	struct answer *a = ctx;
	size_t len = size * n, room = sizeof(a->body) - a->len;

	memcpy(a->body + a->len, data, len < room ? len : room);
	a->len += len < room ? len : room;
	return len; /* the rest is read and forgotten */
}

/* As curl_easy_perform(), but what cuts the sender short ends it. */
static CURLcode transfer(struct http_way *h, struct sender *s)
{
	CURLcode result = CURLE_ABORTED_BY_CALLBACK;
	int running = 1, left;
	CURLMsg *message;

	if (curl_multi_add_handle(h->multi, h->easy) != CURLM_OK)
		return CURLE_OUT_OF_MEMORY;
	while (running && !sender_cut(s)) {
		if (curl_multi_perform(h->multi, &running) != CURLM_OK)
			break;
		if (running)
			curl_multi_poll(h->multi, NULL, 0, 100, NULL);
	}
	while ((message = curl_multi_info_read(h->multi, &left)))
		if (message->msg == CURLMSG_DONE)
			result = message->data.result;
#if LIBCURL_VERSION_NUM >= 0x075700
	if (result == CURLE_ABORTED_BY_CALLBACK)
		curl_easy_setopt(h->easy, CURLOPT_QUICK_EXIT, 1L); /* or a name that is being looked up is waited for */
#endif
	curl_multi_remove_handle(h->multi, h->easy);
	return result;
}

static void request_prepare(struct http_way *h, const uint8_t *bytes, size_t len)
{
	const long timeout_ms = (long)(h->options.timeout_s * 1e3);
	struct answer *a = &h->answer;
	CURL *c = h->easy;

	a->len = 0;
	a->error[0] = '\0';
	curl_easy_reset(c); /* connections stay */
	curl_easy_setopt(c, CURLOPT_URL, h->url);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, h->headers);
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, timeout_ms);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
	curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
	curl_easy_setopt(c, CURLOPT_POSTFIELDS, bytes);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, body_take);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, a);
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, a->error);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "stakeout");
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	if (h->ca) { /* it is read with each new connection, so that it may be renewed */
		curl_easy_setopt(c, CURLOPT_CAINFO, h->ca);
		curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
	}
}

static enum sender_outcome failed(struct http_way *h, CURLcode code, char *why, size_t why_len)
{
	const bool untrusted = code == CURLE_PEER_FAILED_VERIFICATION;
	const char *said = *h->answer.error ? h->answer.error : curl_easy_strerror(code), *files = untrusted ? strstr(said, " CAfile:") : NULL;
	long os_error = 0;

	curl_easy_getinfo(h->easy, CURLINFO_OS_ERRNO, &os_error);
	snprintf(why, why_len, "%s: %.*s%s%s%s", h->url, files ? (int)(files - said) : CURL_ERROR_SIZE, said, os_error ? ": " : "",
		 os_error ? strerror((int)os_error) : "", untrusted ? " (the key ca names a file with authorities to trust)" : "");
	return SENDER_LATER;
}

static enum sender_outcome attempt(struct sender_way *w, struct sender *s, const uint8_t *bytes, size_t len, double *ret_after_s, char *why, size_t why_len)
{
	struct http_way *h = (struct http_way *)w;
	char said[256] = "";
	enum sender_outcome o;
	curl_off_t after = 0;
	CURLcode code;
	long status = 0;

	request_prepare(h, bytes, len);
	code = transfer(h, s);
	if (code != CURLE_OK)
		return failed(h, code, why, why_len);
	curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(h->easy, CURLINFO_RETRY_AFTER, &after);
	o = h->options.outcome(status);
	if (o == SENDER_LATER && after > 0)
		*ret_after_s = after < RETRY_AFTER_MAX_S ? (double)after : RETRY_AFTER_MAX_S;
	if (h->options.answer)
		h->options.answer(h->options.ctx, o, h->answer.body, h->answer.len, said, sizeof(said));
	if (o != SENDER_SENT)
		snprintf(why, why_len, "%s: HTTP status %ld%s%s", h->url, status, *said ? ": " : "", said);
	else if (*said)
		snprintf(why, why_len, "%s: %s", h->url, said);
	return o;
}

static bool same(const struct sender_way *a, const struct sender_way *b)
{
	const struct http_way *ha = (const struct http_way *)a, *hb = (const struct http_way *)b;
	const struct curl_slist *x = ha->headers, *y = hb->headers;

	for (; x && y && !strcmp(x->data, y->data); x = x->next)
		y = y->next;
	return !x && !y && !strcmp(ha->url, hb->url) && !strcmp(ha->ca ? ha->ca : "", hb->ca ? hb->ca : "") &&
	       ha->options.timeout_s == hb->options.timeout_s;
}

static const struct sender_way_ops http_ops = { .prepare = compress_request, .attempt = attempt, .same = same, .free = http_way_free };

static bool header_add(struct http_way *h, const char *line)
{
	struct curl_slist *more = curl_slist_append(h->headers, line);

	if (more)
		h->headers = more;
	return more;
}

struct sender_way *http_way_new(const struct http_way_options *o)
{
	struct http_way *h = calloc(1, sizeof(*h));
	char type[128];
	bool ok;

	if (!h)
		return NULL;
	h->way = (struct sender_way){ &http_ops, o->queue ? o->queue : 1 };
	h->options = *o;
	h->options.url = h->options.type = h->options.ca = NULL;
	h->options.headers = NULL;
	h->url = strdup(o->url);
	h->ca = o->ca ? strdup(o->ca) : NULL;
	h->multi = curl_multi_init();
	h->easy = curl_easy_init();
	snprintf(type, sizeof(type), "Content-Type: %s", o->type);
	ok = h->url && !h->ca == !o->ca && h->multi && h->easy && header_add(h, type) && header_add(h, "Expect:") && (!o->gzip || header_add(h, "Content-Encoding: gzip"));
	for (int i = 0; ok && i < o->headers_len; i++)
		ok = header_add(h, o->headers[i]);
	if (ok)
		return &h->way;
	http_way_free(&h->way);
	return NULL;
}
