/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The daemon's alerts: rules over its intervals, what is to be told of them, and to whom. Rules of what is known at an interval's end are judged at once; those that
 * need to know what waits were for, when that is known, at most a second later.
 */
#ifndef STAKEOUT_SERVE_ALERTING_H
#define STAKEOUT_SERVE_ALERTING_H

#include "judge/recents.h"
#include "model/live.h"
#include "model/recording.h"
#include "serve/config.h"

struct alerting;

/* Takes c's rules; c is lent until alerting_change() or alerting_close(). start_ns: CLOCK_MONOTONIC, to which intervals' times refer; h: the session's header, copied as far as it is needed. What was told
 * before a restart is known from the state file; one that can't be read is told, and begun anew. 0, or a negative errno and why. */
int alerting_open(struct config *c, uint64_t start_ns, const struct header_data *h, struct alerting **ret, char *why, size_t why_len);
/* Other rules, sinks and silences from now on; what fires goes on doing so where its rule is still there. As alerting_open(): what could not be changed stays as it was. */
int alerting_change(struct alerting *a, struct config *c, char *why, size_t why_len);
/* Whether it uses this one; a may be NULL. */
bool alerting_uses(const struct alerting *a, const struct config *c);
/* An interval at its end, and again when it has been resolved. 0 or -ENOMEM. */
int alerting_closed(struct alerting *a, const struct interval_data *i);
int alerting_interval(struct alerting *a, const struct interval_data *i);
/* What is found of the agents of the same interval, before alerting_interval(). 0 or -ENOMEM. */
int alerting_found(struct alerting *a, const struct recents *r, const struct live *l);
/* What pages of metrics tell. 0 or -ENOMEM. */
int alerting_tell(struct alerting *a, struct live *l);
/* No alerts are asked for any more; to be called with each interval until it returns true: then alerting_close() has nothing to wait for. */
bool alerting_leave(struct alerting *a);
/* Alerts go on firing: who is back soon goes on where this ended. NULL is accepted. */
void alerting_close(struct alerting *a);

#endif
