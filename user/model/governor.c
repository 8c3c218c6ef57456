/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/governor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "abi.h"
#include "lib/util.h"

#define SMOOTH_S 0.4 /* short, since a step of the load must be answered within a second */
#define SLOT_S 0.5
#define SAVED_S 0.5 /* so much time's budget may be saved up: shorter bursts keep full detail */
#define DEBT_S 10.0 /* what is overdrawn by more than so much time's budget is forgotten: outlays that no rung saves, such as reading symbols */
#define FITS 0.9 /* of the budget, going down */
#define FITS_WELL 0.7 /* going up */
#define SAVES 0.2 /* of the cost: a rung that saves less is not worth what it gives up, */
#define COSTS_LITTLE 0.1 /* and one that costs only so much more is worth having in any case */
#define MISS_MIN 0.4 /* of a prediction, that things may cost */
#define HOLD_S 3.0
#define HOLD_MAX_S 120.0
#define RELAPSE_S 15.0 /* going down so soon after having gone up: that was a mistake */
#define CALM_S 60.0 /* so long on one rung: earlier mistakes count half */

const struct rung_info rung_infos[RUNG_COUNT] = {
#define RUNG(id, name, sched, sock, names, peak, heap, profile, help) \
	{ name, SO_DETAIL_##sched, SO_DETAIL_##sock, SO_DETAIL_##names, SO_DETAIL_##peak, heap / 100.0, profile / 100.0, help },
#define MARK(rung, how, metric)
#include "governor.def"
#undef RUNG
#undef MARK
};

const char *const mark_names[MARK_COUNT] = { "estimated", "partial" };

static const struct {
	enum rung rung;
	enum mark how;
	const char *metric;
} marks[] = {
#define RUNG(id, name, sched, sock, names, peak, heap, profile, help)
#define MARK(rung, how, metric) { RUNG_##rung, MARK_##how, metric },
#include "governor.def"
#undef RUNG
#undef MARK
};

int rung_find(const char *name)
{
	for (int r = 0; r < RUNG_COUNT; r++)
		if (!strcmp(name, rung_infos[r].name))
			return r;
	return -1;
}

static bool metric_matches(const char *pattern, const char *metric)
{
	size_t len = strcspn(pattern, "*");

	return !strncmp(pattern, metric, len) && (pattern[len] == '*' || !metric[len]);
}

int rung_mark(enum rung lowest, const char *metric)
{
	int how = -1;

	for (size_t i = 0; i < ARRAY_SIZE(marks); i++) /* in the order of the rungs */
		if (marks[i].rung <= lowest && metric_matches(marks[i].metric, metric))
			how = marks[i].how;
	return how;
}

int rung_marks(enum rung lowest, enum mark how, const char *ret[RUNG_MARKS])
{
	int n = 0;

	_Static_assert(ARRAY_SIZE(marks) <= RUNG_MARKS, "room for all marks");
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
		bool last = marks[i].rung <= lowest && marks[i].how == how;

		for (size_t j = i + 1; j < ARRAY_SIZE(marks) && last; j++)
			last = marks[j].rung > lowest || strcmp(marks[i].metric, marks[j].metric) != 0;
		if (last)
			ret[n++] = marks[i].metric;
	}
	return n;
}

void governor_init(struct governor *g, double share, double floor_rate)
{
	*g = (struct governor){ .share = share, .floor_rate = floor_rate, .hold_s = HOLD_S };
}

double governor_budget(const struct governor *g, double dt_s, double cpu_s)
{
	return fmax(g->share * cpu_s, g->floor_rate * dt_s);
}

double rate_smoothed(double old, double new, double dt_s)
{
	return old + (1 - exp(-dt_s / SMOOTH_S)) * (new - old);
}

static void step(struct governor *g, enum rung to, double cost_rate)
{
	g->rose = to < g->rung;
	g->rung = to;
	g->since_s = 0;
	g->cost_rate = fmax(cost_rate, 0); /* what it was on the other rung says nothing any more */
	memset(g->fits_s, 0, sizeof(g->fits_s));
}

struct allowance {
	double rate; /* at present */
	double mean; /* over the last 10 s */
	double left_s; /* of these */
};

static struct allowance allowance(const struct governor *g)
{
	struct allowance a = { .rate = governor_budget(g, 1, g->cpu_rate) };
	double dt_s = 0, cost_s = 0, cpu_s = 0;

	for (int i = 0; i < GOVERNOR_SLOTS; i++) {
		dt_s += g->slots[i].dt_s;
		cost_s += g->slots[i].cost_s;
		cpu_s += g->slots[i].cpu_s;
	}
	a.left_s = governor_budget(g, dt_s, cpu_s) - cost_s;
	a.mean = governor_budget(g, dt_s, cpu_s) / dt_s;
	return a;
}

static struct allowance account(struct governor *g, const struct governor_tick *t)
{
	struct governor_slot *s = &g->slots[g->slot];
	struct allowance a;

	if (s->dt_s >= SLOT_S) {
		g->slot = (g->slot + 1) % GOVERNOR_SLOTS;
		s = &g->slots[g->slot];
		*s = (struct governor_slot){ 0 };
	}
	s->dt_s += t->dt_s;
	s->cost_s += t->cost_s;
	s->cpu_s += t->cpu_s;
	g->cost_rate = rate_smoothed(g->cost_rate, t->cost_s / t->dt_s, t->dt_s);
	g->cpu_rate = rate_smoothed(g->cpu_rate, t->cpu_s / t->dt_s, t->dt_s);
	a = allowance(g);
	g->saved_s = fmin(g->saved_s + a.rate * t->dt_s - t->cost_s, SAVED_S * a.rate);
	g->saved_s = fmax(g->saved_s, -DEBT_S * a.rate);
	g->since_s += t->dt_s;
	if (g->since_s >= CALM_S && g->hold_s > HOLD_S) {
		g->hold_s = fmax(g->hold_s / 2, HOLD_S);
		g->since_s = 0;
	}
	return a;
}

/*
 * The first rung below that fits and, where none does, the one that costs least. By how much the prediction misses on this rung it is taken to miss on the others. Rungs
 * that save next to nothing are not looked at.
 */
static enum rung rung_below(const struct governor *g, const struct governor_tick *t, double limit)
{
	double miss = g->cost_rate - t->predicted[g->rung];
	enum rung best = g->rung;

	for (int r = g->rung + 1; r < RUNG_COUNT; r++) {
		if (t->predicted[best] - t->predicted[r] >= SAVES * g->cost_rate)
			best = (enum rung)r;
		if (best != g->rung && t->predicted[best] + miss <= limit)
			break;
	}
	return best;
}

static bool down(struct governor *g, const struct governor_tick *t, const struct allowance *a, char why[GOVERNOR_WHY])
{
	double allowed = a->left_s < 0 ? fmin(a->mean, a->rate) : a->rate, miss = g->cost_rate - t->predicted[g->rung];
	enum rung to;

	if ((g->saved_s >= 0 && a->left_s >= 0) || g->cost_rate <= allowed)
		return false;
	to = rung_below(g, t, FITS * allowed);
	if (to == g->rung)
		return false;
	snprintf(why, GOVERNOR_WHY, "watching took %.2f %% of a CPU, the budget is %.2f %%", 100 * g->cost_rate, 100 * allowed);
	if (g->rose && g->since_s < RELAPSE_S)
		g->hold_s = fmin(2 * g->hold_s, HOLD_MAX_S);
	step(g, to, t->predicted[to] + miss);
	return true;
}

/* What a rung should cost. What costs more than predicted on this rung does so on any; what costs less, in proportion. */
static double expected(const struct governor *g, const struct governor_tick *t, enum rung r)
{
	double here = t->predicted[g->rung];

	if (g->cost_rate >= here)
		return t->predicted[r] + g->cost_rate - here;
	return t->predicted[r] * fmax(g->cost_rate / here, MISS_MIN);
}

static bool up(struct governor *g, const struct governor_tick *t, const struct allowance *a, char why[GOVERNOR_WHY])
{
	bool rich = g->saved_s >= 0 && a->left_s >= 0;
	double allowed = fmin(a->rate, a->mean);

	for (int r = 0; r < (int)g->rung; r++) {
		double more = t->predicted[r] - t->predicted[g->rung], cost = expected(g, t, (enum rung)r);
		bool fits = rich && cost <= FITS_WELL * allowed;

		g->fits_s[r] = fits || more <= COSTS_LITTLE * g->cost_rate ? g->fits_s[r] + t->dt_s : 0;
		if (g->fits_s[r] < g->hold_s)
			continue;
		snprintf(why, GOVERNOR_WHY, "it should take %.2f %% of a CPU there, the budget is %.2f %%", 100 * cost,
			 100 * allowed);
		step(g, (enum rung)r, cost);
		return true;
	}
	return false;
}

bool governor_tick(struct governor *g, const struct governor_tick *t, char why[GOVERNOR_WHY])
{
	struct allowance a;

	if (!(t->dt_s > 0))
		return false;
	a = account(g, t);
	return down(g, t, &a, why) || up(g, t, &a, why);
}
