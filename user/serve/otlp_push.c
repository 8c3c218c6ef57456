/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* OTLP/HTTP: requests in protobuf, pushed to an endpoint (a collector, or a backend that takes OTLP). */
#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/util.h"
#include "serve/otlp_common.h"
#include "serve/otlp_sender.h"

#define METRICS_PATH "/v1/metrics"
#define CLOSE_S 5 /* at most, for what is still to be sent: less where an answer may take less */

struct otlp_push {
	struct otlp_teller teller;
	struct otlp_sender *sender;
	double close_s;
	bool leaving;
};

/* "http://HOST[:PORT][/PATH]" becomes that of its metrics, which is the caller's. NULL: not one, why says so. */
static char *metrics_url(const char *endpoint, char *why, size_t why_len)
{
	size_t len = strlen(endpoint), path = strlen(METRICS_PATH);
	CURLU *u = curl_url();
	char *scheme = NULL, *url = NULL;
	bool ok = u && !curl_url_set(u, CURLUPART_URL, endpoint, 0) && !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
		  (!strcmp(scheme, "http") || !strcmp(scheme, "https"));

	curl_free(scheme);
	curl_url_cleanup(u);
	while (len && endpoint[len - 1] == '/')
		len--;
	if (!ok)
		snprintf(why, why_len, "endpoint '%s' is no address; want http://HOST:PORT or https://HOST:PORT", endpoint);
	else if (strpbrk(endpoint, "?#"))
		snprintf(why, why_len, "endpoint '%s': want no query in it; " METRICS_PATH " is added to what there is", endpoint);
	else if (asprintf(&url, "%.*s%s", (int)len, endpoint, len >= path && !strncmp(endpoint + len - path, METRICS_PATH, path) ? "" : METRICS_PATH) < 0)
		url = NULL;
	return url;
}

static bool headers_ok(const struct config_otlp *o, char *why, size_t why_len)
{
	for (int i = 0; i < o->headers_len; i++) {
		const char *h = o->headers[i];
		size_t name = strcspn(h, ": \t");

		if (!name || h[name] != ':' || strpbrk(h, "\r\n")) {
			snprintf(why, why_len, "header %d ('%.*s..'): want \"Name: value\"", i + 1, (int)name, h);
			return false;
		}
	}
	return true;
}

static bool ca_ok(const char *ca, char *why, size_t why_len)
{
	if (!ca || !access(ca, R_OK))
		return true;
	snprintf(why, why_len, "cannot read %s: %s", ca, strerror(errno));
	return false;
}

/* *ret borrows of o, and has a URL to be freed. 0, or negative errno and why. */
static int options_of(const struct config_otlp *o, struct otlp_sender_options *ret, char **ret_url, char *why, size_t why_len)
{
	*ret = (struct otlp_sender_options){
		.ca = o->ca, .headers = o->headers, .headers_len = o->headers_len, .timeout_s = o->timeout_s, .queue = o->queue
	};
	*ret_url = metrics_url(o->endpoint, why, why_len);
	if (!*ret_url || !headers_ok(o, why, why_len) || !ca_ok(o->ca, why, why_len))
		return *why ? -EINVAL : -ENOMEM;
	ret->url = *ret_url;
	return 0;
}

static double close_s(const struct config_otlp *o)
{
	return o->timeout_s < CLOSE_S ? o->timeout_s : CLOSE_S;
}

static int otlp_push_open(const struct output_context *c, void **ret, char *why, size_t why_len)
{
	const struct config_otlp *o = &c->config->otlp;
	struct otlp_sender_options options;
	_cleanup_free_ char *url = NULL;
	struct otlp_push *p;
	int err;

	*ret = NULL;
	if (!o->endpoint)
		return 0;
	err = options_of(o, &options, &url, why, why_len);
	if (err)
		return err;
	p = calloc(1, sizeof(*p));
	if (!p || curl_global_init(CURL_GLOBAL_DEFAULT)) {
		free(p);
		return -ENOMEM;
	}
	p->close_s = close_s(o);
	err = otlp_teller_init(&p->teller, c);
	if (!err)
		p->sender = otlp_sender_new(&options, &err);
	if (!err) {
		*ret = p;
		return 0;
	}
	otlp_teller_fini(&p->teller);
	curl_global_cleanup();
	free(p);
	return err;
}

static int request_put(struct otlp_push *p)
{
	struct otlp_push_counts counts;
	struct otlp_request *r;
	uint8_t *bytes = NULL;
	size_t len = 0;
	int err;

	otlp_sender_counts(p->sender, &counts);
	r = otlp_teller_request(&p->teller, &counts);
	err = r ? otlp_request_pack(r, &bytes, &len) : -ENOMEM;
	otlp_request_free(r);
	return err ? err : otlp_sender_put(p->sender, bytes, len);
}

static int otlp_push_interval(void *output, char *why, size_t why_len)
{
	struct otlp_push *p = output;
	int err = otlp_teller_due(&p->teller) ? request_put(p) : 0;

	return err ? err : otlp_sender_state(p->sender, why, why_len);
}

/* What waits stays, and goes where the new configuration says. */
static int otlp_push_change(void *output, const struct output_context *c, char *why, size_t why_len)
{
	const struct config_otlp *o = &c->config->otlp;
	struct otlp_push *p = output;
	struct otlp_sender_options options;
	_cleanup_free_ char *url = NULL;
	int err;

	if (!o->endpoint)
		return 1;
	err = options_of(o, &options, &url, why, why_len);
	if (!err)
		err = otlp_sender_change(p->sender, &options);
	if (!err)
		err = otlp_teller_change(&p->teller, c->config);
	if (!err)
		p->close_s = close_s(o);
	return err;
}

static bool otlp_push_leave(void *output)
{
	struct otlp_push *p = output;

	if (!p->leaving) {
		p->leaving = true;
		if (otlp_teller_behind(&p->teller) && request_put(p))
			log_err(-ENOMEM, "OTLP push: the last request");
		otlp_sender_end(p->sender, p->close_s);
	}
	return otlp_sender_ended(p->sender);
}

static void otlp_push_close(void *output)
{
	struct otlp_push *p = output;
	uint64_t lost;

	otlp_push_leave(p);
	lost = otlp_sender_close(p->sender, p->close_s);
	if (lost)
		log_warn("OTLP push: %llu requests were not sent", (unsigned long long)lost);
	otlp_teller_fini(&p->teller);
	curl_global_cleanup();
	free(p);
}

const struct output_kind otlp_push_output = {
	.name = "OTLP push", .open = otlp_push_open, .interval = otlp_push_interval, .change = otlp_push_change, .leave = otlp_push_leave,
	.close = otlp_push_close
};
