/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where notices go. A sink is one row of alert_sinks.c; each has a sender of its own, so that one that is away keeps none of the others waiting. */
#ifndef STAKEOUT_SERVE_ALERT_SINKS_H
#define STAKEOUT_SERVE_ALERT_SINKS_H

#include "model/live.h"
#include "serve/alert_text.h"
#include "serve/sender.h"

#define ALERT_SINKS_MAX 8

struct alert_sinks { /* zero-initialised: none */
	struct alert_sink {
		struct sender *sender; /* NULL: not asked for */
		bool ailing; /* it failed, and that has been told */
		uint64_t told_dropped; /* of the drops, those that have been told */
		int64_t resent_ns; /* when all that fires was put, last */
		struct sender_counts ended; /* of senders that are no more */
	} at[ALERT_SINKS_MAX];
	struct sender *leaving[ALERT_SINKS_MAX]; /* no longer asked for, but not at their end yet */
	bool curl; /* is set up */
};

/* As the configuration asks for. What waits goes where the new one says; of a sink that isn't asked for any more it is sent within 5 s, or lost. 0, or a negative errno and why. */
int alert_sinks_change(struct alert_sinks *s, const struct config *c, char *why, size_t why_len);
/* Puts the notice into all queues. 0 or -ENOMEM. */
int alert_sinks_put(struct alert_sinks *s, const struct alert_context *c, const struct notice *n);
/* With each interval: says what fails (once) and works again; tells Alertmanager of all that fires and has been told. */
void alert_sinks_look(struct alert_sinks *s, const struct alert_context *c, const struct alerts *a);
/* For pages of metrics. */
int alert_sinks_tell(struct alert_sinks *s, struct live *l);
/* None is asked for any more; to be called until it returns true: then alert_sinks_close() has nothing to wait for. */
bool alert_sinks_leave(struct alert_sinks *s);
/* Waits up to 5 s for what is still to be sent. */
void alert_sinks_close(struct alert_sinks *s);

#endif
