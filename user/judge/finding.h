/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Diagnoses: what an agent does that costs it time or memory, how much, and what to change. One row of findings.def and one function each. Pure. */
#ifndef STAKEOUT_FINDING_H
#define STAKEOUT_FINDING_H

#include "judge/outlooks.h"
#include "judge/severity.h"
#include "model/recording.h"

enum finding_id {
#define FINDING(id, ...) FINDING_##id,
#include "findings.def"
#undef FINDING
	FINDING_COUNT
};

struct finding_info {
	const char *name; /* "connections-not-reused" */
	enum probe_id probe; /* that it needs */
	const char *title; /* "connections are not reused" */
	const char *change; /* what to do about it */
	const char *unless; /* when it does not apply */
};
extern const struct finding_info finding_infos[FINDING_COUNT];

/* By its name, or -1. */
int finding_find(const char *name);

struct finding {
	enum finding_id id;
	enum severity severity;
	int agent; /* id */
	char subject[160]; /* the peer, tool or thread it is about, any bytes; "": the agent */
	char evidence[400]; /* one sentence with its numbers */
	/* What it costs in a minute of watching; 0: nothing, or not in this. */
	double cost_s; /* seconds of wall clock that the agent would be quicker by */
	double cost_cpu_s; /* seconds of CPU */
	double cost_bytes; /* of memory */
};

#define FINDING_SECONDS_MIN 2.0 /* of watching: nothing is judged of less */

struct finding_input { /* of one agent; lent. What is not known is 0. */
	const struct agent_info *info;
	const struct agent_data *data; /* sums of the span */
	double seconds; /* of the span, as far as the agent was watched */
	const struct outlook *memory; /* NULL: none */
	const struct stacks *stacks; /* that data's samples refer to; NULL: not known, so they are not judged */
	int cpus; /* of the machine */
	uint32_t probes_off; /* 1 << enum probe_id: off, or not available here */
	uint32_t probes_reduced; /* likewise: the budget left them no more than counters for a part of the time */
	double lost; /* share of the records */
};

/* Fills in what header and observer (either may be NULL) know; the rest of *in stays as it is. */
void finding_input_watched(struct finding_input *in, const struct header_data *h, const struct observer_data *o);
/* Judges an agent: at most `max` findings into ret, the dearest first (severity, then cost). Returns how many. Never on too few data: every rule has a least number of
 * events and a least cost. */
int findings_judge(const struct finding_input *in, struct finding *ret, int max);
/* Why this one can't be judged of such input: a clause like "its probe was off"; NULL: it can. */
const char *finding_unjudged(const struct finding_input *in, enum finding_id id);
/* Of all agents of a recording, the dearest first. *ret is the caller's, to be freed. outlooks may be NULL. 0 or -ENOMEM. */
int findings_recording(const struct recording *r, const struct outlooks *outlooks, struct finding **ret, int *ret_len);
/* "5.60 s of time and 200 ms of CPU a minute"; "" when it costs neither. Returns buf. */
#define FINDING_COST_BYTES 128
const char *finding_cost(const struct finding *f, char buf[FINDING_COST_BYTES]);

#endif
