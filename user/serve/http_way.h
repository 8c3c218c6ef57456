/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The way of requests that are POSTed to an address. curl_global_init() is the caller's. */
#ifndef STAKEOUT_SERVE_HTTP_WAY_H
#define STAKEOUT_SERVE_HTTP_WAY_H

#include "serve/sender.h"

struct http_way_options { /* copied */
	const char *url; /* complete */
	const char *type; /* of the content */
	bool gzip; /* requests are compressed */
	const char *ca; /* PEM file of the authorities that https is checked by; NULL: the system's */
	const char *const *headers; /* "Name: value" */
	int headers_len;
	double timeout_s; /* of one request */
	uint64_t queue;
	/* What a status means for a request. */
	enum sender_outcome (*outcome)(long status);
	/* For who wants to read the answer's body; in the sender's thread. why: what is to be said of it, if anything. May be NULL. */
	void (*answer)(void *ctx, enum sender_outcome o, const char *body, size_t len, char *why, size_t why_len);
	void *ctx;
};

/* NULL when out of memory. */
struct sender_way *http_way_new(const struct http_way_options *o);

#endif
