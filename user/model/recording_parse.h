/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Lines of a recording as data: a line is taken whole or not at all. What one line may hold is bounded; sums stay whole all the same. */
#ifndef STAKEOUT_RECORDING_PARSE_H
#define STAKEOUT_RECORDING_PARSE_H

#include "model/json_take.h"
#include "model/recording.h"

#define AGENTS_MAX 65536
#define TOOLS_MAX 65536 /* of all agents; further names are summed up as TOOL_REST */
#define AGENT_TOOLS_MAX 4096
#define TOOL_REST "(other)"
#define PEERS_MAX 100000 /* of all agents; further ones are summed up as PEER_REST, once a side and agent */
#define AGENT_PEERS_MAX (4 * PEERS_KEPT_MAX + 2) /* the most that merging leaves */
#define SAMPLES_MAX (1u << 21) /* stacks with a weight, of all agents: what comes after counts as STACK_OTHER */
#define NOTES_MAX 65536 /* of all agents; further ones are dropped */
#define LOSS_NAMES_MAX 64
#define MERGED_HOSTS_MAX 65536 /* names kept */

/* A file's numbers of frames and stacks, as those of our own table. */
struct stack_numbers {
	struct stacks *table; /* ours; not owned */
	uint32_t *frames, *stacks; /* by the file's number, owned; 0: not told. NULL: none were */
	uint32_t frames_end, stacks_end; /* numbers from here on are not told yet */
	uint64_t unknown; /* uses of numbers that were not told */
};

struct parser {
	struct refusal refusal;
	struct json_tree line; /* the present one, but for its agents */
	struct json_list agents; /* these */
	char *losses[LOSS_NAMES_MAX]; /* names of losses, owned: observer_data points at them */
	int losses_len;
	struct stack_numbers numbers;
};

struct room { /* used up of a line, by all its agents */
	uint64_t tools, peers, samples, notes;
};

struct parsed { /* an interval or total line */
	struct interval_data data;
	struct agent_data *agents; /* what data.agents points at */
	const struct agent_data **pointers;
	struct agent_exit { /* of each agent; in a total */
		bool has;
		int code;
		int merged;
	} *exits;
	int len;
};

/* All return 0, -EBADMSG with the refusal filled in, or -ENOMEM. */
/* *ret_info is the caller's, also after an error, by agent_info_fini. */
int parse_agent_info(struct parser *p, const struct json_node *obj, struct agent_info *ret_info);
/* Host, start and probes; not the agents. */
int parse_header(struct parser *p, const struct json_node *obj, struct header_data *ret_header);
/* What a sum of recordings says of them, in the recording and its header. */
int parse_merged(struct parser *p, const struct json_node *obj, struct recording *rec);
/* obj: split by "agents", which are in p->agents. *ret_parsed, all zero before, is the caller's, also after an error, by parsed_fini. */
int parse_interval(struct parser *p, const struct json_node *obj, struct parsed *ret_parsed);
/* One agent of an interval; its samples by our own numbers. *ret_agent, all zero before, is the caller's, also after an error. */
int parse_agent_data(struct parser *p, const struct json_node *obj, struct agent_data *ret_agent, struct agent_exit *ret_exit, struct room *used);
/* Samples, heap, rivals and notes of it. */
int parse_extras(struct parser *p, const struct json_node *obj, struct agent_data *a, struct room *used);
/* What an observer cost and its budget; all absent in older recordings. *c is all zero before. */
int parse_cost(struct refusal *r, const struct json_node *observer, struct cost_data *c);
/* A line of stacks: they are added to our table. */
int parse_stacks(struct parser *p, const struct json_node *obj);
void stack_numbers_fini(struct stack_numbers *n);
void parsed_fini(struct parsed *line);
/* Gives back what only the present line needs. */
void parser_trim(struct parser *p);
void parser_fini(struct parser *p);

#endif
