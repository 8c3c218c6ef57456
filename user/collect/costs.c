/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/costs.h"

#include <math.h>
#include <stdlib.h>

#define TRAP_NS 1700 /* of a uprobe: from the breakpoint to the program and back, by a loop of malloc and free with and without one */
#define TRAPS_A_GC 2 /* begin and end */
#define TRAPS_A_LOOKUP 2 /* getaddrinfo, freeaddrinfo */
#define STACK_RECORDS 100 /* naming a stack costs the collector as much as so many cycles */
#define CALIBRATE_S 10.0 /* so old at most, */
#define CALIBRATE_MIN_S 1.0 /* and, when the load has changed, so old at least */
#define LOAD_CHANGED 2.0 /* times */
#define LOAD_MATTERS 2e-5 /* CPU seconds a second below which nothing needs to be known better */
#define EVENTS_FEW 50 /* in a calibration: too few to tell what one costs */
#define STRANGERS_ALL 0.01 /* so small a part of the runs for agents: what these cost is not told by what was measured */
#define STRANGERS_MOST 0.8
#define WEIGHT 0.5 /* of a calibration, against all before */
#define STRANGER_NS 5 /* until it has been calibrated */
#define RATIO_MAX 8.0 /* from the expected cost of an event: beyond that a calibration met something else */

/* The collector's point a second, by least squares: fixed + record_s x records, the older the lighter. As if it had been seen before that a record costs RECORD_S, over
 * rates that differ by RECORDS_PRIOR. */
#define POINT_S 1.0
#define POINT_FADES 0.97
#define RECORD_S 150e-9
#define RECORDS_PRIOR 2000.0
#define RECORD_MIN_S 20e-9
#define RECORD_MAX_S 3e-6
#define FORGET_S 30.0

/* Rates, a second, between which an event costs about the same: a rare one finds its caches cold (a switch that is only counted took 16 ns at 40,000 a second and 90 to
 * 160 at 1,500). */
static const double bands[COST_BANDS - 1] = { 5000, 20000 };

static int band_of(double rate)
{
	int b = 0;

	while (b < COST_BANDS - 1 && rate >= bands[b])
		b++;
	return b;
}

/* What an event costs until it has been calibrated, above an empty program, in ns: with full detail, summed, counted. */
static const double defaults[PROBE_COUNT][COST_LEVELS] = {
	[PROBE_CORE] = { 2500, 2500, 2500 },	[PROBE_SCHED] = { 180, 130, 40 },	  [PROBE_MEM] = { 150, 150, 150 },
	[PROBE_SOCK] = { 250, 250, 30 },	[PROBE_NAMES] = { 2000, 2000, 200 },	  [PROBE_GC] = { 500, 500, 500 },
	[PROBE_HEAP] = { 800, 800, 800 },	[PROBE_PROFILE] = { 15000, 15000, 15000 },
};

static unsigned level_of(int probe, enum rung rung)
{
	switch (probe) {
	case PROBE_SCHED:
		return rung_infos[rung].sched;
	case PROBE_SOCK:
		return rung_infos[rung].sock;
	case PROBE_NAMES:
		return rung_infos[rung].names;
	case PROBE_PEAK:
		return rung_infos[rung].peak;
	default:
		return SO_DETAIL_FULL;
	}
}

/* Its programs are not attached: nothing tells how much they would have to do, and what did is forgotten slowly, so that it is tried again. */
static bool is_off(int probe, enum rung rung)
{
	return level_of(probe, rung) == SO_DETAIL_OFF;
}

static void forget(struct costs *c, int probe, double dt_s)
{
	double kept = exp(-dt_s / FORGET_S);

	c->event_rate[probe] *= kept;
	c->probes[probe].strangers_rate *= kept;
}

/* Events that a probe's programs ran for, of agents. */
static uint64_t events_of(const struct cost_counts *n, int probe)
{
	switch (probe) {
	case PROBE_CORE:
		return n->seen[SO_FORK] + n->seen[SO_EXEC] + n->seen[SO_EXIT] + n->seen[SO_CANDIDATE];
	case PROBE_SCHED:
		return n->seen[SO_CYCLE] + n->seen[SO_CYCLE_LONG] + n->events[SO_EVENT_SWITCH];
	case PROBE_MEM:
		return n->seen[SO_MAP];
	case PROBE_SOCK:
		return n->seen[SO_SEND] + n->seen[SO_RECV] + n->events[SO_EVENT_SEND] + n->events[SO_EVENT_RECV];
	case PROBE_NAMES:
		return n->seen[SO_CONTENT] + n->seen[SO_RESOLVED];
	case PROBE_GC:
		return n->seen[SO_GC];
	case PROBE_HEAP:
		return n->seen[SO_ALLOC] + n->seen[SO_ALLOC_LONG] + n->seen[SO_FREE];
	case PROBE_PROFILE:
		return n->seen[SO_STACK];
	default:
		return 0;
	}
}

static uint64_t events_all(const struct cost_counts *n)
{
	uint64_t sum = 0;

	for (int p = 0; p < PROBE_COUNT; p++)
		sum += events_of(n, p);
	return sum;
}

static double traps_of(const struct cost_counts *n)
{
	return TRAPS_A_GC * (double)n->seen[SO_GC] + TRAPS_A_LOOKUP * (double)n->seen[SO_RESOLVED] + (double)events_of(n, PROBE_HEAP);
}

static double sched_records(const struct cost_counts *n)
{
	return (double)(n->seen[SO_CYCLE] + n->seen[SO_CYCLE_LONG] + n->seen[SO_CYCLES]);
}

static double sock_records(const struct cost_counts *n)
{
	return (double)(n->seen[SO_SEND] + n->seen[SO_RECV]);
}

/* All others: no rung changes them. */
static double rest_records(const struct cost_counts *n)
{
	double sum = STACK_RECORDS * (double)n->seen[SO_STACK];

	for (int k = 0; k < SO_STACK; k++)
		sum += (double)n->seen[k];
	return sum - sched_records(n) - sock_records(n);
}

void costs_init(struct costs *c, double floor_ns, const struct cost_counts *now)
{
	*c = (struct costs){ .floor_ns = floor_ns, .last = *now, .summed_share = 0.2, .collector.record_s = RECORD_S };
	for (int p = 0; p < PROBE_COUNT; p++) {
		c->probes[p].stranger_ns = STRANGER_NS;
	}
}

/* Over whole seconds, so that each holds the close of an interval, or its share. */
static void collector_learn(struct costs *c, double dt_s, double records, double cpu_s)
{
	double x, y, spread, a;

	c->collector.dt_s += dt_s;
	c->collector.records += records;
	c->collector.cpu_s += cpu_s;
	if (c->collector.dt_s < POINT_S)
		return;
	x = c->collector.records / c->collector.dt_s;
	y = c->collector.cpu_s / c->collector.dt_s;
	c->collector.weight = POINT_FADES * c->collector.weight + 1;
	c->collector.x = POINT_FADES * c->collector.x + x;
	c->collector.y = POINT_FADES * c->collector.y + y;
	c->collector.xx = POINT_FADES * c->collector.xx + x * x;
	c->collector.xy = POINT_FADES * c->collector.xy + x * y;
	spread = c->collector.xx - c->collector.x * c->collector.x / c->collector.weight;
	a = c->collector.xy - c->collector.x * c->collector.y / c->collector.weight;
	a = (a + RECORDS_PRIOR * RECORDS_PRIOR * RECORD_S) / (fmax(spread, 0) + RECORDS_PRIOR * RECORDS_PRIOR);
	a = fmin(fmax(a, RECORD_MIN_S), RECORD_MAX_S);
	c->collector.record_s = a;
	c->collector.fixed_rate = fmax((c->collector.y - a * c->collector.x) / c->collector.weight, 0);
	c->collector.dt_s = c->collector.records = c->collector.cpu_s = 0;
}

/* What is known of a level at the band that is nearest, in ns; 0: nothing. */
static double level_ns(const struct costs *c, int p, unsigned level, int band)
{
	for (int off = 0; off < COST_BANDS; off++)
		for (int b = 0; b < COST_BANDS; b++)
			if (abs(b - band) == off && c->probes[p].known[level][b])
				return c->probes[p].event_ns[level][b];
	return 0;
}

/* What an event costs when so many come a second. At a level that has not been calibrated it is off by as much as one is that has. */
static double event_s(const struct costs *c, int p, unsigned level, double rate)
{
	int band = band_of(rate);
	double ns = level_ns(c, p, level, band);

	for (unsigned l = 0; l < COST_LEVELS && !(ns > 0); l++)
		ns = level_ns(c, p, l, band) * defaults[p][level] / defaults[p][l];
	return (ns > 0 ? ns : defaults[p][level]) * 1e-9;
}

void costs_tick(struct costs *c, const struct cost_counts *now, enum rung rung, double ret_s[COST_PARTS])
{
	const struct cost_counts *last = &c->last;
	double dt_s = now->at_s - last->at_s, bpf_s = c->extra_s, rest, traps, trapped, sched, sock;

	c->extra_s = 0;
	for (int p = 0; p < PROBE_COUNT; p++) {
		double n = (double)(events_of(now, p) - events_of(last, p));

		if (is_off(p, rung)) {
			forget(c, p, dt_s);
			continue;
		}
		bpf_s += n * event_s(c, p, level_of(p, rung), n / dt_s) + dt_s * c->probes[p].strangers_rate;
		c->event_rate[p] = rate_smoothed(c->event_rate[p], n / dt_s, dt_s);
		if (p == PROBE_SCHED && rung_infos[rung].sched == SO_DETAIL_SUMMED && n > EVENTS_FEW)
			c->summed_share += 0.2 * ((sched_records(now) - sched_records(last)) / n - c->summed_share);
	}
	rest = rest_records(now) - rest_records(last);
	sched = sched_records(now) - sched_records(last);
	sock = sock_records(now) - sock_records(last);
	traps = traps_of(now) - traps_of(last);
	trapped = now->trapped_s - last->trapped_s;
	c->rest_records_rate = rate_smoothed(c->rest_records_rate, rest / dt_s, dt_s);
	c->trap_rate = rate_smoothed(c->trap_rate, traps / dt_s, dt_s);
	c->trapped_rate = rate_smoothed(c->trapped_rate, trapped / dt_s, dt_s);
	collector_learn(c, dt_s, sched + sock + rest, now->cpu_s - last->cpu_s);
	ret_s[COST_BPF] = bpf_s;
	ret_s[COST_TRAPS] = traps * TRAP_NS * 1e-9 + trapped;
	ret_s[COST_COLLECTOR] = now->cpu_s - last->cpu_s;
	c->last = *now;
}

/* CPU seconds a second of all BPF programs. */
static double bpf_rate(const struct costs *c, enum rung rung, enum rung on)
{
	double sum = 0;

	for (int p = 0; p < PROBE_COUNT; p++) {
		double part = p == PROBE_PROFILE ? rung_infos[rung].profile / rung_infos[on].profile : 1;

		if (is_off(p, rung))
			continue;
		sum += part * c->event_rate[p] * event_s(c, p, level_of(p, rung), c->event_rate[p]) + c->probes[p].strangers_rate;
	}
	return sum;
}

double costs_predict(const struct costs *c, enum rung rung, enum rung on)
{
	const struct rung_info *to = &rung_infos[rung];
	double records = c->rest_records_rate + (to->sock == SO_DETAIL_FULL) * c->event_rate[PROBE_SOCK];

	records += (to->sched == SO_DETAIL_SUMMED ? c->summed_share : to->sched == SO_DETAIL_FULL) * c->event_rate[PROBE_SCHED];
	records -= (1 - fmin(to->profile / rung_infos[on].profile, 1)) * STACK_RECORDS * c->event_rate[PROBE_PROFILE];
	return bpf_rate(c, rung, on) + c->trap_rate * TRAP_NS * 1e-9 + c->trapped_rate * to->heap / rung_infos[on].heap +
	       c->collector.fixed_rate + c->collector.record_s * fmax(records, 0);
}

bool costs_uncertain(const struct costs *c, double now_s, enum rung rung)
{
	double rate = bpf_rate(c, rung, rung), age_s = now_s - c->calibrated_s;

	if (!c->calibrated)
		return true;
	if (age_s >= CALIBRATE_S)
		return c->calibrated_events != events_all(&c->last); /* who sleeps is left alone */
	if (age_s < CALIBRATE_MIN_S || rate < LOAD_MATTERS)
		return false;
	for (int p = 0; p < PROBE_COUNT; p++) {
		unsigned level = level_of(p, rung);

		if (is_off(p, rung))
			continue;
		if (!c->probes[p].known[level][band_of(c->event_rate[p])] && c->event_rate[p] * event_s(c, p, level, c->event_rate[p]) > 0.1 * rate)
			return true;
	}
	return rate > LOAD_CHANGED * c->calibrated_rate || rate * LOAD_CHANGED < c->calibrated_rate;
}

static void moved(double *value, double to, bool first)
{
	*value = first ? to : *value + WEIGHT * (to - *value);
}

/*
 * Of net_ns, with n events of agents: what was for strangers, in ns. Where there was hardly any event, that is all that these don't explain. Else, of a hook with one run an event, the runs
 * that are left, and of others what it was before; but no more than most of it, since agents' events are known to be among it.
 */
static double strangers_ns(struct costs *c, int p, double n, double runs, double net_ns, double expected_ns, double dt_s)
{
	double rest = fmax(net_ns - n * expected_ns, 0), strangers = fmax(runs - n, 0);

	if (n < EVENTS_FEW || n < STRANGERS_ALL * runs) {
		if (strangers > EVENTS_FEW)
			c->probes[p].stranger_ns = rest / strangers;
		return rest;
	}
	if (p != PROBE_SCHED)
		return fmin(c->probes[p].strangers_rate * dt_s * 1e9, STRANGERS_MOST * net_ns);
	return fmin(strangers * c->probes[p].stranger_ns, STRANGERS_MOST * net_ns);
}

void costs_calibrate(struct costs *c, const struct cost_counts *before, const struct cost_counts *now, const struct cost_run runs[PROBE_COUNT], enum rung rung)
{
	double dt_s = now->at_s - before->at_s;

	if (!(dt_s > 0))
		return;
	for (int p = 0; p < PROBE_COUNT; p++) {
		double n = (double)(events_of(now, p) - events_of(before, p)), floor_ns = (double)runs[p].runs * c->floor_ns;
		double net_ns = fmax((double)runs[p].ns - floor_ns, 0), expected, others, each;
		unsigned level = level_of(p, rung);
		int band = band_of(n / dt_s);

		if (is_off(p, rung))
			continue;
		c->extra_s += floor_ns * 1e-9;
		expected = event_s(c, p, level, n / dt_s) * 1e9;
		others = strangers_ns(c, p, n, (double)runs[p].runs, net_ns, expected, dt_s);
		moved(&c->probes[p].strangers_rate, others / dt_s * 1e-9, !c->calibrated);
		if (n < EVENTS_FEW || n < STRANGERS_ALL * (double)runs[p].runs)
			continue;
		each = fmin(fmax((net_ns - others) / n, expected / RATIO_MAX), expected * RATIO_MAX);
		moved(&c->probes[p].event_ns[level][band], each, !c->probes[p].known[level][band]);
		c->probes[p].known[level][band] = true;
	}
	c->calibrated = true;
	c->calibrated_events = events_all(now);
	c->calibrated_s = now->at_s;
	c->calibrated_rate = bpf_rate(c, rung, rung);
}
