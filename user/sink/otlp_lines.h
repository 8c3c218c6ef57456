/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A recording as OTLP/JSON lines: one request every OTLP_STEP_S of it, and one at its end, each with what there was by then. */
#ifndef STAKEOUT_OTLP_LINES_H
#define STAKEOUT_OTLP_LINES_H

#include <stdio.h>

#include "model/json_put.h"
#include "model/live.h"
#include "sink/otlp.h"

#define OTLP_STEP_S 10 /* as a daemon does by default; longer where the recording's intervals are */

struct otlp_lines {
	FILE *out;
	const struct recording *about; /* read before: header and agents; those that are not in it are left out */
	struct live live;
	struct otlp_peaks peaks;
	struct json_text text;
	double next_s;
	bool pending; /* the newest interval has not been told */
	int err; /* the first of writing, or -ENOMEM */
};

void otlp_lines_init(struct otlp_lines *o, FILE *out, const struct recording *about);
/* ctx: a struct otlp_lines. For recording_read(). */
int otlp_lines_interval(void *ctx, const struct interval_data *i);
/* Writes what is left. 0, -ENOMEM, or what writing met. */
int otlp_lines_end(struct otlp_lines *o);
void otlp_lines_fini(struct otlp_lines *o);

#endif
