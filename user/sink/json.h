/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The report for programs: the figures of the terminal's, as one JSON object in one line. */
#ifndef STAKEOUT_JSON_H
#define STAKEOUT_JSON_H

#include "judge/objectives.h"
#include "judge/outlooks.h"
#include "judge/trend.h"
#include "model/recording.h"

/* 0, -ENOMEM, or what writing to out met (-EPIPE, -ENOSPC ..). file: the recording's name, or NULL; outlooks: on the agents' memory, objectives: what became of
 * them, trends: how figures went; any may be NULL. */
int json_report(FILE *out, const struct recording *r, const char *file, const struct outlooks *outlooks, const struct objective_list *objectives,
	const struct trend_list *trends);
/* The same without the stacks themselves (of profiles the sums and the functions are left), and of trends those that are not steady, and how many of each verdict there are. */
int json_report_short(FILE *out, const struct recording *r, const char *file, const struct outlooks *outlooks, const struct objective_list *objectives,
	const struct trend_list *trends);

#endif
