/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The report that a person reads. */
#ifndef STAKEOUT_TERMINAL_H
#define STAKEOUT_TERMINAL_H

#include "judge/objectives.h"
#include "judge/outlooks.h"
#include "judge/trend.h"
#include "model/recording.h"
#include "sink/table.h"

#define TERMINAL_WIDTH_MIN 40
#define TERMINAL_WIDTH_MAX 1000

struct terminal_options {
	int width; /* columns, TERMINAL_WIDTH_MIN to TERMINAL_WIDTH_MAX */
	bool color, utf8;
	int hist; /* a metric of type HIST: draw it instead of reporting; -1: report */
	const char *title; /* first line, e.g. the file's name; NULL: none */
	const struct objective_list *objectives; /* what became of them; NULL: not judged */
	const struct outlooks *outlooks; /* on the agents' memory; NULL: none */
	const struct trend_list *trends; /* NULL: not judged */
};

/* What suits `out`: colour on a terminal unless NO_COLOR is set to something, its width (else COLUMNS, else 80), blocks where the locale
 * is UTF-8. Sets LC_CTYPE from the environment. */
void terminal_options_detect(struct terminal_options *o, FILE *out);

/* 0, -ENOMEM, or what writing to out met (-EPIPE, -ENOSPC ..). */
int terminal_report(FILE *out, const struct recording *r, const struct terminal_options *o);

#endif
