/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the functions that make findings share; nobody else includes it. */
#ifndef STAKEOUT_FIND_H
#define STAKEOUT_FIND_H

#include <math.h>
#include <stdio.h>

#include "judge/finding.h"
#include "model/format.h"

/* Wall clock or CPU, seconds a minute: below the first nobody need care. */
#define COST_TOLD_S 0.3
#define COST_WARNING_S 1.5
#define COST_CRITICAL_S 12.0

struct found { /* of one agent, the dearest first */
	const struct finding_input *in;
	struct finding *list;
	int len, max;
};

#define FINDING(id, function, ...) void find_##function(struct found *f);
#include "findings.def"
#undef FINDING

/* Adds a finding, whose severity and costs are set; what doesn't fit is dropped, the cheapest first. Subject and evidence are the caller's to be filled in before. */
void found_add(struct found *f, const struct finding *what);
/* Of the larger of the costs in time; info below the limit of a warning. */
enum severity severity_of_cost(const struct finding *what);
#define evidence(what, ...) snprintf((what)->evidence, sizeof((what)->evidence), __VA_ARGS__)
#define subject(what, ...) snprintf((what)->subject, sizeof((what)->subject), __VA_ARGS__)

/* Nanoseconds of the span as seconds a minute. */
static inline double a_minute(const struct finding_input *in, double ns)
{
	return ns / 1e9 / in->seconds * 60;
}

static inline double seconds_of(uint64_t ns)
{
	return (double)ns / 1e9;
}

static inline const struct hist *hist_of(const struct metric_set *s, enum metric_id m)
{
	return s->hist[m] && s->hist[m]->count ? s->hist[m] : NULL;
}

/* Sum and number of the values of h from `from` on, by its buckets; h may be NULL. Returns the sum. */
double hist_from(const struct hist *h, double from, double *ret_count);
double own_from(const struct agent_data *a, enum metric_id m, double from, double *ret_count);
/* A counter, or a histogram's sum or count, of the agent without its tools. */
double own_value(const struct agent_data *a, enum metric_id m);
double own_sum(const struct agent_data *a, enum metric_id m);
double own_count(const struct agent_data *a, enum metric_id m);

/* How many threads at a time ran or wanted to, on average, if that is too many for the machine's CPUs; else 0. */
double crowd_of(const struct finding_input *in);
/* How long the main thread waited for CPython's interpreter lock, ns, as far as its threads contend for that; 0: they don't. */
double interpreter_ns(const struct finding_input *in);

/* Peers that the agent calls: the addresses behind one name, port and class are one. */
#define CALLEE_ADDRESSES 16
struct callee {
	const struct peer_data *of[CALLEE_ADDRESSES]; /* those beyond are left out */
	int len;
};
/* The next one, *at beginning as 0. False: no more. The sum of peers that are not kept apart is none. */
bool callee_next(const struct agent_data *a, int *at, struct callee *ret);
double callee_value(const struct callee *c, enum metric_id m);
double callee_sum(const struct callee *c, enum metric_id m);
double callee_count(const struct callee *c, enum metric_id m);
double callee_quantile(const struct callee *c, enum metric_id m, double q);
void callee_subject(const struct callee *c, struct finding *what);
/* On this machine: loopback, a unix socket. */
bool callee_local(const struct callee *c);
bool callee_multiplexed(const struct callee *c);
/* How many of its calls run at once on the average, 1 at least: what is lost in each of them is lost so many times at once. */
double callee_parallel(const struct agent_data *a, const struct callee *c);

#endif
