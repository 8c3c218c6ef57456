/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What became of each rule over a recording: met, missed (by whom, when, how badly), or no data (why). Collects as the recording is read. Pure. */
#ifndef STAKEOUT_OBJECTIVES_H
#define STAKEOUT_OBJECTIVES_H

#include "judge/rule.h"

#define OBJECTIVE_MISSES_MAX 1000 /* subjects that are told of, a rule */

enum objective_verdict { OBJECTIVE_MISSED, OBJECTIVE_MET, OBJECTIVE_SILENT, OBJECTIVE_VERDICTS };
extern const char *const objective_names[OBJECTIVE_VERDICTS]; /* "missed", "met", "no data" */

struct objective_miss { /* one agent, peer or tool */
	int agent;
	const char *agent_name;
	const char *subject; /* "": the agent */
	double since_s; /* when it began to be so for the first time, since the header's start */
	double seconds; /* in all; until the figure was back inside the limit by what the rule says */
	double worst;
	int times;
	bool ongoing; /* at the recording's end */
};

struct objective { /* of one rule, in the file's order */
	const struct rule *rule;
	enum objective_verdict verdict;
	const struct objective_miss *misses; /* the longest first */
	int misses_len;
	uint64_t misses_more; /* beyond OBJECTIVE_MISSES_MAX */
	int met, missed, silent; /* agents; of those that no pattern leaves out */
	/* Of all values that a verdict could rest on, the one nearest to the limit, or furthest beyond; NAN: there was none. */
	double worst;
	const char *worst_agent, *worst_subject;
	const char *why; /* it is silent, or agents are; NULL */
};

struct objective_list { /* lent */
	const struct objective *at;
	int len;
};

struct objectives;
/* rules are lent until objectives_free(). NULL when out of memory. */
struct objectives *objectives_new(const struct rules *rules);
int objectives_interval(void *objectives, const struct interval_data *i); /* suits recording_read() */
/* After the last interval. *ret has as many as there are rules, owned by o. 0 or -ENOMEM. */
int objectives_judge(struct objectives *o, const struct objective **ret);
/* Whether a rule of severity warning or critical is missed: what `check` ends with. */
bool objectives_missed(const struct objective *all, int len);
/* Times that a peer or tool wasn't judged, since there were too many. */
uint64_t objectives_unjudged(const struct objectives *o);
void objectives_free(struct objectives *o);

#endif
