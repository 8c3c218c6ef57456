/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What watching costs, and what it would cost with less detail. Pure: counts in, CPU time out.
 *
 * BPF programs: events, which are counted at all levels of detail, times what one costs, by probe and level. What one costs is calibrated now and then, by the kernel's own accounting
 * (bpf_stats), which is on only for a short while since it costs as much as a small program itself: the mean of an empty program is taken off each run. Runs for strangers, which nothing
 * counts, are taken to go on as in the last such while. Traps: uprobes by their count, the heap's breakpoints by its own measurement. The collector: the CPU time of this process.
 */
#ifndef STAKEOUT_COSTS_H
#define STAKEOUT_COSTS_H

#include <stdbool.h>
#include <stdint.h>

#include "abi.h"
#include "model/governor.h"
#include "model/metrics.h"
#include "model/recording_cost.h"

#define COST_LEVELS 3 /* enum so_detail_level, up to COUNTS */
#define COST_BANDS 3 /* of rates of events */

struct cost_counts { /* since the beginning */
	double at_s;
	uint64_t seen[SO_KINDS], events[SO_EVENTS]; /* as in struct observer_counts */
	double cpu_s; /* of this process */
	double trapped_s; /* of the agents, in windows of the heap */
};

struct cost_run { /* the programs of a probe, by the kernel's accounting */
	uint64_t runs, ns;
};

struct costs {
	double floor_ns; /* what the accounting adds to a run */
	struct {
		double event_ns[COST_LEVELS][COST_BANDS];
		bool known[COST_LEVELS][COST_BANDS];
		double stranger_ns; /* of a run for nobody */
		double strangers_rate; /* CPU seconds a second, of these */
	} probes[PROBE_COUNT];
	struct cost_counts last; /* at the last tick */
	/* Rates a second, smoothed: of events by probe, of traps and the heap's windows, of records in units of a cycle's. */
	double event_rate[PROBE_COUNT], trap_rate, trapped_rate, rest_records_rate;
	double summed_share; /* records a switch, where short ones are summed */
	double extra_s; /* of accounting itself, not told yet */
	struct { /* of the collector's CPU time over its records: weighted sums, see collector_learn() */
		double weight, x, y, xx, xy;
		double dt_s, records, cpu_s; /* since the last point */
		double record_s, fixed_rate; /* what they say */
	} collector;
	double calibrated_s, calibrated_rate; /* when, and at which rate of BPF's CPU time */
	uint64_t calibrated_events; /* of all probes until then */
	bool calibrated;
};

void costs_init(struct costs *c, double floor_ns, const struct cost_counts *now);
/* CPU seconds since the last tick, on this rung. */
void costs_tick(struct costs *c, const struct cost_counts *now, enum rung rung, double ret_s[COST_PARTS]);
/* CPU seconds a second on that rung, at the present rates, when rung is the present one. */
double costs_predict(const struct costs *c, enum rung rung, enum rung on);
/* A calibration is wanted: the last one was long ago, or of another load or rung. */
bool costs_uncertain(const struct costs *c, double now_s, enum rung rung);
/* What the kernel accounted for in dt_s from `before` to `now`, on one rung. */
void costs_calibrate(struct costs *c, const struct cost_counts *before, const struct cost_counts *now, const struct cost_run runs[PROBE_COUNT], enum rung rung);

#endif
