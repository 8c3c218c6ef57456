/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How much detail the budget allows. Pure: is told at each tick what watching cost and what it was allowed, and what it would cost on each rung of the ladder
 * (include/governor.def), and says which rung to stand on.
 *
 * The budget is a share of the agents' CPU time, and a rate at least, and holds over any 10 s as well as at present. Down it goes as soon as what is saved up is used up, or
 * the last 10 s took more than theirs: at once to the first rung that is predicted to fit, but to none that saves next to nothing. Up it goes when a higher rung has been predicted
 * to fit well below the budget for a while, and for the longer the more often that has turned out wrong.
 */
#ifndef STAKEOUT_MODEL_GOVERNOR_H
#define STAKEOUT_MODEL_GOVERNOR_H

#include <stdbool.h>
#include <stdint.h>

enum rung {
#define RUNG(id, name, sched, sock, names, peak, heap, profile, help) RUNG_##id,
#define MARK(rung, how, metric)
#include "governor.def"
#undef RUNG
#undef MARK
	RUNG_COUNT
};

enum mark { MARK_ESTIMATED, MARK_PARTIAL, MARK_COUNT };

struct rung_info {
	const char *name;
	uint32_t sched, sock, names, peak; /* enum so_detail_level */
	double heap, profile; /* part that is kept */
	const char *help;
};
extern const struct rung_info rung_infos[RUNG_COUNT];
extern const char *const mark_names[MARK_COUNT];

/* -1: none has that name. */
int rung_find(const char *name);
/* What a metric is where `lowest` was the lowest rung; a mark of a lower rung supersedes one of a higher. -1: as with full detail. */
int rung_mark(enum rung lowest, const char *metric);
/* The patterns of all metrics with that mark, in ret. Returns how many: RUNG_MARKS at most. */
#define RUNG_MARKS 64
int rung_marks(enum rung lowest, enum mark how, const char *ret[RUNG_MARKS]);

#define GOVERNOR_WHY 80

#define GOVERNOR_SLOTS 20

struct governor_slot {
	double dt_s, cost_s, cpu_s;
};

struct governor {
	double share, floor_rate; /* of the agents' CPU time; CPU seconds a second that it is at least */
	enum rung rung;
	double saved_s; /* of the present budget; below 0: overdrawn */
	double cost_rate, cpu_rate; /* CPU seconds a second, smoothed */
	double fits_s[RUNG_COUNT]; /* for how long each rung has been predicted to fit */
	double hold_s; /* for so long it must, before going up */
	double since_s; /* on this rung */
	bool rose; /* the last step went up */
	struct governor_slot slots[GOVERNOR_SLOTS]; /* the last 10 s */
	unsigned slot;
};

struct governor_tick {
	double dt_s; /* since the last one */
	double cost_s; /* CPU time that watching took in it */
	double cpu_s; /* and the agents */
	double predicted[RUNG_COUNT]; /* CPU seconds a second that each rung costs at the present rates of events; on the present one: that it should */
};

void governor_init(struct governor *g, double share, double floor_rate);
/* What the budget is of dt_s in which the agents took cpu_s. */
double governor_budget(const struct governor *g, double dt_s, double cpu_s);
/* True when there is a step: *g has the new rung, and why says the reason. */
bool governor_tick(struct governor *g, const struct governor_tick *t, char why[GOVERNOR_WHY]);

/* A rate, after dt_s in which it was `new`: old rates fade exponentially. */
double rate_smoothed(double old, double new, double dt_s);

#endif
