/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A time line in the JSON trace event format, for ui.perfetto.dev and other viewers that read it. A recording holds intervals, not single events, and so does
 * this: each agent is a process; two tracks say what its main thread, and the agent as a whole, mostly did in each interval; further ones in which
 * intervals a tool was at work. Shares of the states, metrics and peers are counters, whose value holds for the interval that begins there. What
 * happened at a time (a step of detail, records lost, a note, an agent's end) is an instant event.
 */
#ifndef STAKEOUT_TRACE_H
#define STAKEOUT_TRACE_H

#include "sink/export.h"

#define TRACE_TOOLS_MAX 32 /* of an agent, each with a track; further ones are counted */
#define TRACE_PEERS_MAX 32

void *trace_new(FILE *out, const struct export_options *options);
int trace_interval(void *trace, const struct interval_data *i);
int trace_end(void *trace, const struct recording *r);
void trace_free(void *trace);

#endif
