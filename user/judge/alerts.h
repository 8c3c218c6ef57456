/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * From rules that are missed to who is to be told what, and when. An alert is a rule, an agent's name and a subject; all agents of that name share it. Notices come by agent: one has all
 * that is to be told of it. An alert is told when it fires and nothing speaks against it: a silence, or a critical one about the same measure of the same subject (it inhibits); again
 * every repeat_s; and when it is over, if it was told before. What was told is kept over restarts (alerts_save, alerts_load). Pure: the clock is the caller's, in ns since 1970.
 */
#ifndef STAKEOUT_ALERTS_H
#define STAKEOUT_ALERTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "judge/severity.h"
#include "model/json_put.h"

struct silence { /* globs; NULL: any. Strings are lent until other options are set */
	const char *rule, *agent;
	int64_t until_ns; /* 0: without end */
};

struct alerts_options {
	double group_wait_s; /* from the first thing to be told of an agent to the notice */
	double repeat_s; /* 0: never */
	const struct silence *silences; /* lent */
	int silences_len;
};

struct alert {
	char *rule, *agent, *subject; /* subject: a peer, class or tool; "": the agent */
	char *measure; /* what the rule is about, for inhibition */
	char *summary, *help; /* "p95(exchange_ns) > 3s"; what to do, "" */
	enum severity severity;
	bool firing;
	bool inhibited, silenced; /* as of the newest look */
	int64_t since_ns, ended_ns; /* when it began to be so, and ended */
	double value, worst; /* newest, and since it began; NAN: none */
	bool bytes, seconds, ratio; /* what they are; none: plain numbers */
	int64_t told_ns; /* when somebody was told that it fires, last; 0: nobody has been since it began */
	bool left; /* fired before a restart, and no rule has said anything of it since */
	int64_t left_until_ns; /* then it is over */
	/* The implementation's. */
	int *ids; /* agents it fires for */
	int ids_len;
};

struct alert_news { /* lent during the call */
	bool raised; /* else cleared */
	int id; /* of the agent */
	struct alert about; /* rule to ratio as above; firing is not read, since_ns and ended_ns as far as they apply */
};

struct notice { /* lent during the call */
	const char *agent;
	const struct alert *const *alerts; /* those that fire first; told_ns 0: it is told the first time */
	int len, firing;
};
/* 0 or a negative errno, which alerts_look() returns: the alerts of the notice count as told all the same. */
typedef int (*notice_fn)(void *ctx, const struct notice *n);

struct alerts;

/* NULL when out of memory. */
struct alerts *alerts_new(const struct alerts_options *o);
void alerts_free(struct alerts *a);
/* Other options from now on. */
void alerts_change(struct alerts *a, const struct alerts_options *o);
/* What a rule says. 0 or -ENOMEM. */
int alerts_event(struct alerts *a, const struct alert_news *e, int64_t now_ns);
/* The newest value of one that fires, for those who are told of it again. */
void alerts_value(struct alerts *a, const char *rule, const char *agent, const char *subject, double value);
/* Tells what is due, to be called with each interval. 0, -ENOMEM, or the first error of fn. */
int alerts_look(struct alerts *a, int64_t now_ns, notice_fn fn, void *ctx);
/* All that fire, in no order. */
int alerts_firing(const struct alerts *a, int (*fn)(void *ctx, const struct alert *of), void *ctx);
int alerts_count(const struct alerts *a);
/* Changes with everything that a restart must know. */
uint64_t alerts_generation(const struct alerts *a);

/* ---- over restarts ---- */

/* As JSON, into an empty text; j->failed when out of memory. */
void alerts_save(const struct alerts *a, struct json_text *j);
/* What was saved, into one without alerts. Those that fired are held for firing until patience() says (in s from now_ns on; below 0: there is no such rule any more) that the
 * rule has had its time. JSON_TEXT_PADDING bytes can be read behind text. 0, -EBADMSG (it isn't such a text; nothing is loaded then) or -ENOMEM. */
int alerts_load(struct alerts *a, const char *text, size_t len, int64_t now_ns, double (*patience)(void *ctx, const char *rule), void *ctx);

#endif
