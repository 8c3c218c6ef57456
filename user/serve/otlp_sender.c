/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/otlp_sender.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/http_way.h"

struct otlp_sender {
	struct sender *sender;
	_Atomic uint64_t rejected_points;
};

/* By OTLP's specification. */
static enum sender_outcome outcome_of(long status)
{
	if (status >= 200 && status < 300)
		return SENDER_SENT;
	return status == 429 || status == 502 || status == 503 || status == 504 ? SENDER_LATER : SENDER_REFUSED;
}

static void answer_take(void *ctx, enum sender_outcome o, const char *body, size_t len, char *why, size_t why_len)
{
	struct otlp_sender *s = ctx;
	struct otlp_answer a = { 0 };

	otlp_answer_parse(body, len, o != SENDER_SENT, &a);
	if (o != SENDER_SENT) {
		snprintf(why, why_len, "%s", a.message);
	} else if (a.rejected_points > 0) {
		atomic_fetch_add(&s->rejected_points, (uint64_t)a.rejected_points);
		snprintf(why, why_len, "%lld data points rejected%s%s", (long long)a.rejected_points, *a.message ? ": " : "", a.message);
	}
}

static struct sender_way *way_of(struct otlp_sender *s, const struct otlp_sender_options *o)
{
	return http_way_new(&(struct http_way_options){ .url = o->url, .type = "application/x-protobuf", .gzip = true, .ca = o->ca, .headers = o->headers,
							.headers_len = o->headers_len, .timeout_s = o->timeout_s, .queue = o->queue, .outcome = outcome_of,
							.answer = answer_take, .ctx = s });
}

struct otlp_sender *otlp_sender_new(const struct otlp_sender_options *o, int *ret_err)
{
	struct otlp_sender *s = calloc(1, sizeof(*s));

	*ret_err = -ENOMEM;
	if (!s)
		return NULL;
	s->sender = sender_new(way_of(s, o), ret_err);
	if (s->sender)
		return s;
	free(s);
	return NULL;
}

int otlp_sender_change(struct otlp_sender *s, const struct otlp_sender_options *o)
{
	return sender_change(s->sender, way_of(s, o));
}

int otlp_sender_put(struct otlp_sender *s, uint8_t *bytes, size_t len)
{
	return sender_put(s->sender, bytes, len);
}

_Static_assert((int)OTLP_LOSS_QUEUE_FULL == SENDER_LOSS_QUEUE_FULL && (int)OTLP_LOSS_REFUSED == SENDER_LOSS_REFUSED && (int)OTLP_LOSSES == SENDER_LOSSES, "the same losses");

void otlp_sender_counts(struct otlp_sender *s, struct otlp_push_counts *ret)
{
	struct sender_counts c;

	sender_counts(s->sender, &c);
	*ret = (struct otlp_push_counts){ .sent = c.sent, .retries = c.retries, .rejected_points = atomic_load(&s->rejected_points), .queued = c.queued };
	memcpy(ret->dropped, c.dropped, sizeof(ret->dropped));
}

int otlp_sender_state(struct otlp_sender *s, char *why, size_t why_len)
{
	return sender_state(s->sender, why, why_len);
}

void otlp_sender_end(struct otlp_sender *s, double within_s)
{
	sender_end(s->sender, within_s);
}

bool otlp_sender_ended(struct otlp_sender *s)
{
	return sender_ended(s->sender);
}

uint64_t otlp_sender_close(struct otlp_sender *s, double within_s)
{
	uint64_t lost = sender_close(s->sender, within_s);

	free(s);
	return lost;
}
