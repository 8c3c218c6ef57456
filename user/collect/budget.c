/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/budget.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "collect/costs.h"
#include "lib/util.h"
#include "model/governor.h"

#define FLOOR_RATE 0.002 /* of one CPU: what watching may take of agents that do next to nothing */
#define TICK_S 0.1 /* shortest time between two looks at the counts */
#define CALIBRATION_S 0.1 /* how long the kernel's accounting is on */
#define FLOOR_NS 60 /* what it adds to a run, until a calibration has told; measured: 47 to 89 */

struct budget {
	struct observer *observer;
	struct governor governor;
	struct costs costs;
	uint64_t start_ns;
	/* CPU time of the agents: by records as they come, and as much more a second as was missing at the end of the last interval, when it is known exactly. */
	double recorded_s; /* since the last tick */
	double interval_recorded_s, interval_told_s; /* since the interval began: by records; with what was added to them */
	double more_rate, more_s; /* added to them: a second; and once, over the next second */
	uint64_t closed_ns; /* when the last interval was */
	double trapped_s;
	bool calibrates;
	struct cost_counts before; /* when that began */
	struct observer_time times[PROBE_COUNT];
	struct cost_data told; /* since the last budget_take() */
};

static double process_cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void counts_read(struct budget *b, struct cost_counts *ret)
{
	struct observer_counts n;

	observer_events_read(b->observer, &n);
	ret->at_s = (double)clock_ns() * 1e-9;
	memcpy(ret->seen, n.seen, sizeof(ret->seen));
	memcpy(ret->events, n.events, sizeof(ret->events));
	ret->cpu_s = process_cpu_s();
	ret->trapped_s = b->trapped_s;
}

static void detail_set(struct budget *b)
{
	const struct rung_info *r = &rung_infos[b->governor.rung];

	observer_detail(b->observer, &(struct so_detail){ .sched = r->sched, .sock = r->sock, .names = r->names, .peak = r->peak });
	observer_sampling(b->observer, r->heap, r->profile);
}

struct budget *budget_new(struct observer *o, double share)
{
	struct budget *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->observer = o;
	governor_init(&b->governor, share, FLOOR_RATE);
	return b;
}

void budget_free(struct budget *b)
{
	free(b);
}

void budget_start(struct budget *b, uint64_t start_ns)
{
	struct cost_counts now;

	b->start_ns = b->closed_ns = start_ns;
	counts_read(b, &now);
	costs_init(&b->costs, FLOOR_NS, &now);
	b->told = (struct cost_data){ .governed = true };
}

/* A stint that began before the interval has been counted up to its begin. */
static void stint_add(struct budget *b, const struct so_head *r, uint64_t stint_ns)
{
	uint64_t in_interval = r->time_ns > b->closed_ns ? r->time_ns - b->closed_ns : 0;

	b->recorded_s += (double)(stint_ns < in_interval ? stint_ns : in_interval) * 1e-9;
}

void budget_record(struct budget *b, const struct so_head *r)
{
	switch (r->kind) {
	case SO_CYCLE:
		stint_add(b, r, ((const struct so_cycle *)r)->stint_ns);
		break;
	case SO_CYCLE_LONG:
		stint_add(b, r, ((const struct so_cycle_long *)r)->stint_ns);
		break;
	case SO_CYCLES:
		stint_add(b, r, ((const struct so_cycles *)r)->stint_ns);
		break;
	}
}

void budget_trapped(struct budget *b, double seconds)
{
	b->trapped_s += seconds;
}

static void calibration_end(struct budget *b, const struct cost_counts *now)
{
	struct observer_time times[PROBE_COUNT];
	struct cost_run runs[PROBE_COUNT];
	double floor_ns;

	observer_times(b->observer, times);
	floor_ns = observer_timing_floor(b->observer);
	observer_timing(b->observer, false);
	b->calibrates = false;
	if (floor_ns > 0)
		b->costs.floor_ns = floor_ns;
	for (int p = 0; p < PROBE_COUNT; p++)
		runs[p] = (struct cost_run){ .runs = times[p].runs - b->times[p].runs, .ns = times[p].ns - b->times[p].ns };
	costs_calibrate(&b->costs, &b->before, now, runs, b->governor.rung);
}

static void calibration_begin(struct budget *b)
{
	if (observer_timing(b->observer, true))
		return;
	observer_times(b->observer, b->times);
	counts_read(b, &b->before);
	b->calibrates = true;
}

static void calibration_work(struct budget *b, const struct cost_counts *now)
{
	if (b->calibrates && now->at_s - b->before.at_s >= CALIBRATION_S)
		calibration_end(b, now);
	else if (!b->calibrates && costs_uncertain(&b->costs, now->at_s, b->governor.rung))
		calibration_begin(b);
}

/* What was counted on the old rung says nothing of the new one. */
static void calibration_drop(struct budget *b)
{
	if (b->calibrates)
		observer_timing(b->observer, false);
	b->calibrates = false;
}

/* The agents' CPU time in dt_s up to now. */
static double agents_cpu(struct budget *b, double dt_s)
{
	double more = fmin(dt_s, 1) * b->more_s, cpu_s = b->recorded_s + b->more_rate * dt_s + more;

	b->more_s -= more;
	b->interval_recorded_s += b->recorded_s;
	b->interval_told_s += cpu_s;
	b->recorded_s = 0;
	return fmax(cpu_s, 0);
}

/* Where switches are counted only, no record tells of CPU time: it is taken to go on as before. */
static void rung_changed(struct budget *b, enum rung from)
{
	bool counted = rung_infos[from].sched == SO_DETAIL_COUNTS, counts = rung_infos[b->governor.rung].sched == SO_DETAIL_COUNTS;

	if (counted != counts)
		b->more_rate = counts ? b->governor.cpu_rate : 0;
	calibration_drop(b);
	detail_set(b);
}

static void tick(struct budget *b, double min_s)
{
	enum rung from = b->governor.rung;
	double parts[COST_PARTS];
	struct governor_tick t;
	char why[GOVERNOR_WHY];
	struct cost_counts now;

	if ((double)clock_ns() * 1e-9 - b->costs.last.at_s < min_s)
		return;
	counts_read(b, &now);
	t = (struct governor_tick){ .dt_s = now.at_s - b->costs.last.at_s };
	t.cpu_s = agents_cpu(b, t.dt_s);
	costs_tick(&b->costs, &now, from, parts);
	for (int p = 0; p < COST_PARTS; p++) {
		t.cost_s += parts[p];
		b->told.part_s[p] += parts[p];
	}
	b->told.rung_s[from] += t.dt_s;
	calibration_work(b, &now);
	for (int r = 0; r < RUNG_COUNT; r++)
		t.predicted[r] = costs_predict(&b->costs, (enum rung)r, from);
	if (!governor_tick(&b->governor, &t, why))
		return;
	rung_changed(b, from);
	cost_step(&b->told, now.at_s - (double)b->start_ns * 1e-9, from, b->governor.rung, why);
}

void budget_tick(struct budget *b)
{
	tick(b, TICK_S);
}

double budget_pause_ms(const struct budget *b, double pause_ms)
{
	return b->calibrates ? fmin(pause_ms, 1e3 * CALIBRATION_S) : pause_ms;
}

void budget_close(struct budget *b, const struct world *w)
{
	uint64_t now = clock_ns();
	double exact_s = (double)world_cpu_ns(w) * 1e-9, dt_s = (double)(now - b->closed_ns) * 1e-9;

	/* What records told since the last tick is this interval's, though the next tick takes it. */
	b->more_rate = fmax(exact_s - b->interval_recorded_s - b->recorded_s, 0) / dt_s;
	b->more_s = exact_s - b->interval_told_s - b->recorded_s; /* below 0: it was too much */
	b->told.budget_s += governor_budget(&b->governor, dt_s, exact_s);
	b->interval_recorded_s = b->interval_told_s = -b->recorded_s;
	b->closed_ns = now;
}

void budget_take(struct budget *b, struct cost_data *ret)
{
	tick(b, 1e-6);
	*ret = b->told;
	b->told = (struct cost_data){ .governed = true };
}
