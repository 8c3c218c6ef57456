/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A reader of recordings, and what it takes of their lines. For recording_read.c and recording_take.c. */
#ifndef STAKEOUT_RECORDING_TAKE_H
#define STAKEOUT_RECORDING_TAKE_H

#include "model/lines.h"
#include "model/recording_reader.h"
#include "model/recording_sum.h"

struct slot { /* of the agent table: open addressing, index + 1, 0 is free */
	int index;
};

struct recording_reader {
	struct recording rec; /* first: recording_free gets its address */
	struct reader_options options;
	struct lines *lines;
	struct parsed line; /* the last interval */
	double until_s, later_s; /* intervals are taken that lie before; where the next one lies when it does not */
	struct parser parser;
	struct slot *slots;
	uint32_t slots_len; /* a power of two */
	bool *announced; /* per agent */
	int agents_cap;
	struct totals totals;
	bool any_interval;
	uint64_t next_seq, missing;
	double first_start, last_end;
	bool total_differs, second_header;
	char first_bad[200];
	uint64_t *checks; /* per agent, without sums: see agent_check */
	const struct agent_info **infos; /* of the agents of the last interval that was told */
	int infos_cap;
};

/* 0, negative errno (-EBADMSG: refused), or, of an interval, enum reader_got. */
int reader_take(struct recording_reader *r, const struct json_node *obj);
/* The first line, which says what the file is. -EPROTONOSUPPORT: another format. */
int reader_take_header(struct recording_reader *r, const struct json_node *obj);

#endif
