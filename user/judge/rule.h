/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Objectives, as rules that say when one is missed. A file of them:
 *
 *   rules:
 *     - name: model-slow
 *       when: p95(exchange_ns) > 3s      # expression, comparison (> >= < <=), quantity with unit
 *       class: llm                       # of peers: their sum within an agent. Or peer: GLOB (each), tool: GLOB (each), agent: GLOB
 *       over: 60s                        # the span the figure is of: the newest so many seconds (60s); rates and shares need nearly all of it
 *       for: 0s                          # how long it must hold (0s)
 *       clear: 2.7s                      # it ends when the figure is no more beyond this; 10 % inside the limit unless given
 *       at_least: 20                     # events that the figure must rest on for the rule to be missed (20): see expression_value()
 *       severity: warning                # info, warning (default), critical
 *       help: what to do about it
 */
#ifndef STAKEOUT_RULE_H
#define STAKEOUT_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "judge/expression.h"
#include "judge/severity.h"
#include "model/classes.h"
#include "model/recording.h"

enum rule_each { EACH_AGENT, EACH_CLASS, EACH_PEER, EACH_TOOL };

struct rule {
	const char *name, *text, *help; /* text: of `when`; help: NULL or what to do */
	struct expression *value;
	enum { RULE_ABOVE, RULE_AT_LEAST, RULE_BELOW, RULE_AT_MOST } comparison;
	double limit, clear; /* in base units */
	double over_s, for_s;
	uint64_t at_least;
	enum severity severity;
	enum rule_each each;
	enum class_id class; /* of EACH_CLASS */
	const char *agent, *peer, *tool; /* globs; NULL: any */
	int line; /* in its file */
	const char *limit_text; /* of `when`: comparison and quantity */
};

struct rules {
	struct rule *at;
	int len;
	void *owner; /* of all strings */
};

/* Reads a file. 0, or negative errno and why: one line, "FILE:LINE:COLUMN: what is wrong and what is expected". */
int rules_load(const char *path, struct rules **ret, char *why, size_t why_len);
/* The same of a text; messages call it `path`. */
int rules_parse(const char *path, const char *text, struct rules **ret, char *why, size_t why_len);
/* Those that come with the program (tools/rules/default.yaml). NULL when out of memory. */
struct rules *rules_default(void);
/* The file's text, comments and all; lent. */
const char *rules_text(const struct rules *r);
void rules_free(struct rules *r);
/* Whether two rules judge the same figures by the same limit. */
bool rule_same(const struct rule *a, const struct rule *b);
/* "> 3s", "> 85% for 1m": what is missed, as the file has it; buf is the caller's, and returned. */
const char *rule_limit_text(const struct rule *r, char *buf, size_t len);

/* ---- rules over the intervals of a recording, or of a session that runs ---- */

struct rule_event { /* lent during the call */
	enum { RULE_RAISED, RULE_CLEARED } what;
	const struct rule *rule;
	int agent; /* id */
	const char *agent_name;
	const char *subject; /* peer, class or tool; "": the agent */
	double since_s, at_s; /* when it began to be so, and now; since the header's start */
	double value, worst; /* now, and since it began; NAN: there are no data any more, or the subject is gone */
};
typedef int (*rule_event_fn)(void *ctx, const struct rule_event *e);
/* A value that a verdict rests on, each interval anew; at_s: the interval's end. 0, or what rule_watch_interval() shall return. */
typedef int (*rule_value_fn)(void *ctx, int rule, int agent, const char *subject, double at_s, double value);

#define RULE_SUBJECTS_MAX 1000 /* peers or tools of an agent that a rule judges at once */

struct rule_watch;

/* rules are lent until rule_watch_free(). Memory is bounded by rules, subjects alive and the windows' histograms. NULL when out of memory. */
struct rule_watch *rule_watch_new(const struct rules *rules, rule_event_fn fn, void *ctx);
/* Tells of values as well, to fn with the same ctx. */
void rule_watch_values(struct rule_watch *w, rule_value_fn fn);
/* Which probes are on: rules that need others judge nothing. Of a recording's intervals it is taken by itself; without it all count as on. */
void rule_watch_probes(struct rule_watch *w, const struct header_data *h);
/* In order of time. What is raised for an agent that isn't alive at the end, or is no more there, is cleared. 0, -ENOMEM, or what fn returned. */
int rule_watch_interval(struct rule_watch *w, const struct interval_data *i);
/* Other rules from now on (a reload): what both have (rule_same()) keeps its state; of the others fn is told that they are cleared. The old rules may be freed then.
 * 0 or negative errno; nothing is changed when out of memory. */
int rule_watch_rules(struct rule_watch *w, const struct rules *rules);
/* The raised ones, each through fn with `what` RULE_RAISED. */
int rule_watch_raised(const struct rule_watch *w, rule_event_fn fn, void *ctx);
/* A rule that never had a value: why ("the probe heap was off", "no peer of class vector"), or NULL when it had one. Holds until the next call. */
const char *rule_watch_silent(const struct rule_watch *w, int rule);
/* Times that a subject wasn't judged since there were RULE_SUBJECTS_MAX already. */
uint64_t rule_watch_unjudged(const struct rule_watch *w);
/* Heap bytes. */
size_t rule_watch_bytes(const struct rule_watch *w);
void rule_watch_free(struct rule_watch *w);

#endif
