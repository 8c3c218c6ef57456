/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is compared between recordings and followed over one: the rows of include/measures.def. */
#ifndef STAKEOUT_MEASURE_H
#define STAKEOUT_MEASURE_H

#include "judge/expression.h"

enum measure_id {
#define MEASURE(id, name, ...) MEASURE_##id,
#include "measures.def"
#undef MEASURE
	MEASURE_COUNT
};

enum measure_group { GROUP_CPU, GROUP_MEMORY, GROUP_TIME, GROUP_ERRORS, MEASURE_GROUPS }; /* limits are set a group */
enum measure_of { OF_AGENT, OF_CLASS, OF_TOOL };

struct measure_info {
	const char *name; /* "exchange_p95" */
	const char *expression;
	enum measure_group group;
	enum measure_of of; /* whose: one row an agent, a class of peers, a tool */
	bool more_is_better;
	const char *help;
};
extern const struct measure_info measure_infos[MEASURE_COUNT];
extern const char *const measure_group_names[MEASURE_GROUPS]; /* "cpu", "memory", "time", "errors" */

/* By their names, or -1. The name of a group may also be that of a measure in it. */
int measure_find(const char *name);
int measure_group_find(const char *name);

#endif
