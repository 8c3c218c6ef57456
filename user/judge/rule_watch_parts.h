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
	bool values; /* and there is none where no histogram has any: of subjects without, nothing need be kept */
	bool seen; /* a subject of it */
	int *rules; /* numbers */
	int *marks; /* of the plan, a rule; -1: it has none */
	double *quantiles; /* that it is of */
	int rules_len;
};

struct status { /* of a rule */
	bool had; /* a value that a verdict could rest on */
	bool agent_seen, subject_seen, short_seen;
	uint64_t support; /* most, of values */
	double watched_s; /* longest span that was too short */
	double worst; /* that was told as a value; NAN: none */
};

struct track { /* one rule and one subject */
	bool holding, raised; /* beyond the limit; for long enough */
	bool told; /* of its values */
	bool calm; /* its value isn't known, only that it is not beyond the limit nor the worst */
	bool good; /* a verdict may rest on its newest value */
	double since_s, worst;
	double now; /* that value; NAN: none */
};

struct subject_watch {
	struct window *window;
	int at; /* among the group's heads */
	struct subject_watch *moved; /* to other rules */
	UT_hash_handle hh;
	char *name; /* behind the tracks */
	struct track tracks[]; /* in the order of the group's rules */
};

struct subject_head { /* what tells, interval by interval, whether there is anything to do */
	struct subject_watch *watch;
	uint64_t oldest; /* window_oldest() */
	bool fed; /* in this interval */
	bool anew; /* its rules are others */
	bool busy; /* a track is holding or raised */
};

struct alias { /* what a peer or tool is called in the data */
	char *name, *peer; /* owned; peer: of its address, else "" */
	struct subject_watch *watch; /* NULL: the group isn't about it */
};

struct time_share { /* of the groups of an agent that began together and reach back equally far */
	struct window_time time;
	int users;
	uint64_t began, interval; /* the watch's: when it began, and which it has had last */
};

struct agent_group {
	bool wanted; /* the agent's name matches */
	struct time_share *time; /* NULL: not wanted */
	struct subject_watch *subjects; /* by name */
	struct subject_head *heads; /* in order of appearance */
	int heads_len, heads_cap;
	struct alias *aliases; /* likewise */
	int aliases_len, aliases_cap, alias_at; /* at: where the next one is, as they come in the same order mostly */
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
	uint64_t intervals;
	struct window_sum sum;
	uint64_t unjudged;
	char silent[256];
};

/* What there is to do with one subject in one interval. */
struct turn {
	const struct interval_data *interval;
	const struct agent_watch *agent;
	const struct group *group;
	const struct window_time *time;
	double age_s;
};

/* Whether two groups judge the same figures of the same subjects. */
bool rule_group_same(const struct group *a, const struct group *b);
/* Tells fn, which may be NULL, of one rule and subject. 0, or what it returned. */
int rule_event_tell(const struct rule_watch *w, rule_event_fn fn, void *ctx, int what, int rule, const struct agent_watch *a, const struct subject_watch *s, const struct track *t, double at_s,
		    double value);

/* rule_watch_value.c: */

/* Which marks help the group's rules; its rules are complete. */
void group_marks_init(struct group *g, const struct rules *rules);
/* Where they are, by the rules' limits and worst values. */
void group_marks_set(const struct rule_watch *w, struct group *g);
/* What its rules' values are, where they may have changed, and what follows. 0, -ENOMEM or what a callback returned. */
int subject_turn(struct rule_watch *w, const struct turn *t, struct subject_head *h, bool changed);

/* rule_watch_subjects.c: */

/* Without time, which agent_group_time() gives. */
void agent_group_fini(struct agent_group *ag);
/* The time of an agent's group number i: that of one before it that reaches back as far and begins now, else its own. 0 or -ENOMEM. */
int agent_group_time(struct agent_group *all, int i, double over_s, uint64_t now);
/* NULL when out of memory. */
struct subject_watch *subject_new(const struct group *g, const char *name);
void subject_free(struct subject_watch *s);
/* Becomes the group's last one. 0 or -ENOMEM. */
int subject_append(struct agent_group *ag, struct subject_watch *s);
/* Number i ends. */
void subject_remove(struct agent_group *ag, int i);
/* Adds the interval's figures of the agent, its peers or its tools. 0 or -ENOMEM. */
int group_feed(struct rule_watch *w, struct group *g, struct agent_group *ag, const struct agent_data *d);

#endif
