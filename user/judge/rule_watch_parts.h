/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a watch over rules consists of: private to rule_watch*.c. */
#ifndef STAKEOUT_RULE_WATCH_PARTS_H
#define STAKEOUT_RULE_WATCH_PARTS_H

#include <uthash.h>

#include "judge/rule.h"
#include "judge/window.h"

#define SUBJECT_LEN 160

struct group {
	struct window_plan plan;
	enum rule_each each;
	enum class_id class;
	const char *agent, *peer, *tool;
	bool events; /* its rules' values change only when something happens */
	int *rules; /* numbers */
	int rules_len;
};

struct status { /* of a rule, for those that want to know why it says nothing */
	bool had; /* a value that a verdict could rest on */
	bool agent_seen, subject_seen, short_seen;
	uint64_t support; /* most, of values */
	double watched_s; /* longest span that was too short */
};

struct track { /* one rule and one subject */
	bool holding, raised; /* beyond the limit; for long enough */
	double since_s, worst;
	double now; /* the newest value, NAN: none; a verdict may rest on it */
	bool good;
};

struct subject_watch {
	char name[SUBJECT_LEN];
	struct window *window;
	uint64_t added; /* what is in the window */
	uint64_t changes; /* the window's, when its rules' values were taken */
	bool fed; /* in this interval */
	struct subject_watch *moved; /* to other rules */
	UT_hash_handle hh;
	struct track tracks[]; /* in the order of the group's rules */
};

struct agent_group {
	bool wanted; /* the agent's name matches */
	struct window *clock; /* the agent's time, for subjects that come later */
	struct subject_watch *subjects;
};

struct agent_watch {
	int id;
	char *name;
	double first_s, end_s;
	bool seen; /* in this interval */
	struct agent_watch *moved; /* to other rules */
	UT_hash_handle hh;
	struct agent_group groups[];
};

struct rule_watch {
	const struct rules *rules;
	rule_event_fn fn;
	rule_value_fn value_fn;
	void *ctx;
	struct group *groups;
	int groups_len;
	struct status *status; /* by rule */
	struct agent_watch *agents;
	unsigned missing; /* probes that are not on: 1 << PROBE_x */
	struct probe_missing {
		char state[16], why[160];
	} missing_why[PROBE_COUNT];
	struct window_sum sum;
	uint64_t unjudged;
	char silent[256];
};

/* Whether two groups judge the same figures of the same subjects. */
bool rule_group_same(const struct group *a, const struct group *b);
/* Tells fn, which may be NULL, of one rule and subject. 0, or what it returned. */
int rule_event_tell(const struct rule_watch *w, rule_event_fn fn, void *ctx, int what, int rule, const struct agent_watch *a, const struct subject_watch *s, const struct track *t, double at_s,
		    double value);

#endif
