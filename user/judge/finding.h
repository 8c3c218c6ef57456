/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Diagnoses: what an agent does that costs it time or memory, how much, and what to change. One row of findings.def and one function each. Pure. */
#ifndef STAKEOUT_FINDING_H
#define STAKEOUT_FINDING_H

#include "judge/outlook.h"
#include "judge/severity.h"
#include "model/recording.h"

enum finding_id {
#define FINDING(id, name, ...) FINDING_##id,
#include "findings.def"
#undef FINDING
	FINDING_COUNT
};

struct finding_info {
	const char *name; /* "connections-not-reused" */
	const char *title; /* "connections are not reused" */
	const char *change; /* what to do about it */
	const char *unless; /* when it does not apply */
};
extern const struct finding_info finding_infos[FINDING_COUNT];

struct finding {
	enum finding_id id;
	enum severity severity;
	int agent; /* id */
	char subject[160]; /* the peer, tool or thread it is about, as text; "": the agent */
	char evidence[400]; /* one sentence with its numbers */
	double cost_s; /* seconds of wall clock a minute of watching that the agent would be quicker by; 0: none, or not in time */
	double cost_cpu_s; /* seconds of CPU a minute */
	double cost_bytes; /* of memory */
};

struct finding_input { /* of one agent; lent */
	const struct agent_info *info;
	const struct agent_data *data; /* sums of the span */
	double seconds; /* of the span, as far as the agent was watched */
	const struct outlook *memory; /* NULL: none */
};

/* Judges an agent: at most `max` findings into ret, the dearest first (severity, then cost). Returns how many. Never on too few data: every rule has a least number of
 * events and a least cost. */
int findings_judge(const struct finding_input *in, struct finding *ret, int max);

#endif
