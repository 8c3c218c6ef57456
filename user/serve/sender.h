/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Requests on their way to somebody who may be slow, or away: a bounded queue, and a thread that hands on what is in it, in order. What fails for the time being is tried again, at
 * growing distances or when the other side asks for it; what is refused is dropped. When the queue is full the oldest request goes: the newest says most. Nobody who puts waits.
 */
#ifndef STAKEOUT_SERVE_SENDER_H
#define STAKEOUT_SERVE_SENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sender_outcome { SENDER_SENT, SENDER_LATER, SENDER_REFUSED };
enum sender_loss { SENDER_LOSS_QUEUE_FULL, SENDER_LOSS_REFUSED, SENDER_LOSSES };

struct sender_counts { /* what became of requests; since the beginning */
	uint64_t sent, retries, dropped[SENDER_LOSSES];
	uint64_t queued; /* now */
};

struct sender;

/* How a request gets there: the head of a kind's own struct. All calls but same() are made in the thread. */
struct sender_way {
	const struct sender_way_ops *ops;
	uint64_t queue; /* requests, the one under way included; at least 1 */
};

struct sender_way_ops {
	/* Once, before the first attempt: may replace *bytes, which lie in malloc()'s memory. False: memory is short, later again. NULL: nothing to do. */
	bool (*prepare)(struct sender_way *w, uint8_t **bytes, size_t *len);
	/* Ends early when sender_cut(). *ret_after_s: when the other side wants it again; left alone when it doesn't say. why: of what did not go well, one line, with
	 * where that is; left alone otherwise. */
	enum sender_outcome (*attempt)(struct sender_way *w, struct sender *s, const uint8_t *bytes, size_t len, double *ret_after_s, char *why, size_t why_len);
	/* Both lead to the same place in the same way; of the same ops. */
	bool (*same)(const struct sender_way *a, const struct sender_way *b);
	void (*free)(struct sender_way *w);
};

/* Takes over way, also when it fails: NULL, with *ret_err a negative errno of starting the thread. way NULL: -ENOMEM. */
struct sender *sender_new(struct sender_way *way, int *ret_err);
/* From now on: an attempt under way by another one is given up, and made anew; what waits stays. Takes over way. NULL: -ENOMEM, nothing changes. */
int sender_change(struct sender *s, struct sender_way *way);
/* Takes over a request that lies in malloc()'s memory. 0 or -ENOMEM. */
int sender_put(struct sender *s, uint8_t *bytes, size_t len);
void sender_counts(struct sender *s, struct sender_counts *ret);
/* How the newest attempt went: 0, or a negative errno and why, one line. */
int sender_state(struct sender *s, char *why, size_t why_len);
/* For ways: an attempt is to end now. */
bool sender_cut(struct sender *s);
/* Each request that waits is tried once more from now on, until one fails or within_s is over; nothing is to be put any more. Nobody waits for it. */
void sender_end(struct sender *s, double within_s);
/* Whether that is over. */
bool sender_ended(struct sender *s);
/* As sender_end(), unless that has been called, and waits for it. Returns how many requests are lost. */
uint64_t sender_close(struct sender *s, double within_s);

#endif
