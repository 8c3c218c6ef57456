/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a comparison of recordings found: for a person, for a program, for a CI system. */
#ifndef STAKEOUT_DIFF_H
#define STAKEOUT_DIFF_H

#include "judge/compare.h"
#include "sink/terminal.h"

struct diff_view {
	const struct comparisons *c;
	const struct compare_limits *limits;
	const char *const *files[2]; /* of base, and new */
	int files_len[2];
	bool all; /* stable rows, too */
};

/* Each: 0, -ENOMEM, or what writing to out met (-EPIPE, -ENOSPC ..). */
int terminal_diff(FILE *out, const struct diff_view *v, const struct terminal_options *o);
/* One object in one line. */
int json_diff(FILE *out, const struct diff_view *v);
/* JUnit XML: a suite an agent, a case a measure; what is degraded has failed, insufficient data are skipped. */
int junit_diff(FILE *out, const struct diff_view *v);

#define FIGURE_BYTES 32
/* A value of the measure with its unit; "-" where there is none. Returns buf. */
const char *measure_text(enum measure_id measure, double value, char buf[FIGURE_BYTES]);
/* "+12 %", of errors "+1.2 points". Returns buf. */
const char *change_text(enum measure_id measure, double change, char buf[FIGURE_BYTES]);

#endif
