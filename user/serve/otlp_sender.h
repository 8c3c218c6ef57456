/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Requests on their way to an OTLP/HTTP endpoint, compressed: a sender (serve/sender.h), of which no connection, no answer in time, 429, 502, 503 and 504 are worth another attempt. Totals
 * are cumulative, so that the newest request says most.
 */
#ifndef STAKEOUT_SERVE_OTLP_SENDER_H
#define STAKEOUT_SERVE_OTLP_SENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sink/otlp.h"

struct otlp_sender;

struct otlp_sender_options { /* copied */
	const char *url; /* of the metrics, complete */
	const char *ca; /* PEM file of the authorities that https is checked by; NULL: the system's */
	const char *const *headers; /* "Name: value" */
	int headers_len;
	double timeout_s; /* of one request */
	uint64_t queue; /* requests, the one under way included; at least 1 */
};

/* NULL, with *ret_err: -ENOMEM or what starting the thread met. */
struct otlp_sender *otlp_sender_new(const struct otlp_sender_options *o, int *ret_err);
/* From now on: an attempt under way at another endpoint is given up, and made anew; what waits stays. 0 or -ENOMEM (nothing changes). */
int otlp_sender_change(struct otlp_sender *s, const struct otlp_sender_options *o);
/* Takes over a request, packed, that lies in malloc()'s memory. 0 or -ENOMEM. */
int otlp_sender_put(struct otlp_sender *s, uint8_t *bytes, size_t len);
void otlp_sender_counts(struct otlp_sender *s, struct otlp_push_counts *ret);
/* How the newest attempt went: 0, or a negative errno and why, one line. */
int otlp_sender_state(struct otlp_sender *s, char *why, size_t why_len);
/* Each request that waits is tried once more from now on, until one fails or within_s is over; nothing is to be put any more. Nobody waits for it. */
void otlp_sender_end(struct otlp_sender *s, double within_s);
/* Whether that is over. */
bool otlp_sender_ended(struct otlp_sender *s);
/* As otlp_sender_end(), unless that has been called, and waits for it. Returns how many requests are lost. */
uint64_t otlp_sender_close(struct otlp_sender *s, double within_s);

#endif
