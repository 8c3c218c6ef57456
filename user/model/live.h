/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a session that runs has told so far: of each agent its sums, which only grow, and its last interval. For outputs that are asked at any time (a page of
 * metrics, a live view). Pure; not thread-safe.
 */
#ifndef STAKEOUT_LIVE_H
#define STAKEOUT_LIVE_H

#include "model/recording.h"

struct live_finding { /* a diagnosis that holds now, as whoever judges agents says */
	const char *name, *severity; /* lent, static */
	int rank; /* of the severity: 0 is the least */
	char subject[160]; /* printable UTF-8; "": the agent */
	double cost_s, cost_cpu_s, cost_bytes; /* a minute; 0: nothing, or not in this */
};

struct live_agent {
	struct agent_info info;
	struct agent_data total; /* of all its intervals; samples, rivals and notes as far as recording_sum.h bounds them */
	struct agent_data last; /* of the newest interval, empty when that says nothing of it */
	double first_s, last_s; /* begin of its first interval, end of the newest one that has it; since the header's start */
	bool told; /* some interval has had it */
	bool ended; /* no interval has it as alive any more */
	struct live_finding *found; /* owned; no two of one name and subject. See live_found() */
	int findings; /* -1: not judged */
};

struct live_alert { /* a rule that is missed now; strings are owned */
	char *rule, *agent, *subject; /* printable UTF-8; no two are the same */
	const char *severity; /* lent, static */
};

struct live_sink { /* of notices about them, since the beginning */
	const char *name; /* lent, static */
	uint64_t sent, dropped, queued;
};
#define LIVE_SINKS_MAX 8

struct live {
	struct header_data header; /* agents unset; see below */
	struct live_agent **agents; /* in order of ids; those that ended longer than keep_s ago are forgotten */
	int agents_len;
	double keep_s;
	double now_s, interval_s; /* end and length of the newest interval */
	uint64_t intervals;
	uint64_t forgotten; /* agents */
	uint64_t unrecorded; /* intervals that could not be written into a recording, as the daemon counts them */
	struct observer_data observer, observer_last; /* of all intervals, of the newest */
	bool judged; /* by rules; the following are what came of it, as the daemon knows it */
	struct live_alert *alerts;
	int alerts_len;
	bool alerts_odd; /* some of their names were not text */
	struct live_sink sinks[LIVE_SINKS_MAX];
	int sinks_len;
	int cap;
};

/* keep_s: how long an agent stays after its end, so that whoever asks now and then sees its last figures. */
void live_init(struct live *l, double keep_s);
void live_fini(struct live *l);
/* As a session tells it (watch/session.h). 0 or -ENOMEM. */
int live_start(struct live *l, const struct header_data *h);
int live_agent(struct live *l, const struct agent_info *a);
int live_interval(struct live *l, const struct interval_data *i);
/* What `from` says now, into an empty one. It lends the header's probes. 0 or -ENOMEM: live_fini() in either case. */
int live_copy(struct live *into, const struct live *from);
/* No alerts and sinks, then those of now. 0, -ENOMEM, or -ENOSPC. */
void live_alerts_reset(struct live *l);
int live_alert_add(struct live *l, const char *rule, const char *agent, const char *subject, const char *severity);
int live_sink_add(struct live *l, const struct live_sink *s);
/* What is found of an agent now: copied, each subject made printable; len -1: it isn't judged. 0, also when there is no such agent, or -ENOMEM. */
int live_found(struct live *l, int id, const struct live_finding *list, int len);
/* How many findings are to be told of a now; -1: it isn't judged, or the newest interval says nothing of it (it has ended). */
int live_findings(const struct live *l, const struct live_agent *a);
/* Rank of the worst of them; 0 without any. */
int live_findings_worst(const struct live_agent *a);
/* The agent with this id, or NULL. */
struct live_agent *live_find(const struct live *l, int id);

#endif
