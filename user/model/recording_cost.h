/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What watching cost by the recorder's own estimate, its budget, and how much detail that left: part of struct observer_data. */
#ifndef STAKEOUT_RECORDING_COST_H
#define STAKEOUT_RECORDING_COST_H

#include <stdbool.h>
#include <stdint.h>

#include "model/governor.h"

enum cost_part { COST_BPF, COST_TRAPS, COST_COLLECTOR, COST_PARTS };
extern const char *const cost_part_names[COST_PARTS];

struct detail_step {
	double at_s; /* since the header's start */
	enum rung from, to;
	char why[GOVERNOR_WHY];
};
#define STEPS_KEPT 32 /* of a recording's total; of an interval there are never as many */

struct cost_data {
	bool governed; /* there was a budget; else nothing of the rest is set */
	double budget_s; /* CPU time that watching might take */
	double part_s[COST_PARTS]; /* and did, estimated */
	double rung_s[RUNG_COUNT]; /* time on each rung */
	uint64_t steps; /* all of them */
	struct detail_step step[STEPS_KEPT]; /* the first */
};

void cost_step(struct cost_data *c, double at_s, enum rung from, enum rung to, const char *why);
/* into += from. */
void cost_merge(struct cost_data *into, const struct cost_data *from);
double cost_sum_s(const struct cost_data *c);
/* The lowest rung that any time was spent on. */
enum rung cost_lowest(const struct cost_data *c);
/* Time with less than full detail. */
double cost_reduced_s(const struct cost_data *c);

#endif
