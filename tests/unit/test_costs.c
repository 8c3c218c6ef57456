/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The estimate of what watching costs, against a kernel and a collector whose costs are known. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "collect/costs.h"
#include "lib/util.h"

#define FLOOR_NS 60.0
#define TICK_S 0.1

struct truth {
	double switch_ns, stranger_ns, record_s, fixed_rate;
	double switches, strangers; /* a second */
};

/* The same from second to second: what is counted on a rung, and what the kernel would say of it. */
struct machine {
	struct truth truth;
	struct costs costs;
	struct cost_counts now;
	double bpf_s, cpu_s; /* what it really took */
	double estimated_bpf_s;
	uint64_t runs, ns;
};

static void begin(struct machine *m, struct truth truth)
{
	memset(m, 0, sizeof(*m));
	m->truth = truth;
	costs_init(&m->costs, FLOOR_NS, &m->now);
}

static void tick(struct machine *m, enum rung rung)
{
	const struct truth *t = &m->truth;
	double n = t->switches * TICK_S, strangers = t->strangers * TICK_S, each = t->switch_ns, parts[COST_PARTS], cpu_s;

	m->now.at_s += TICK_S;
	if (rung_infos[rung].sched == SO_DETAIL_FULL) {
		m->now.seen[SO_CYCLE] += (uint64_t)n;
	} else if (rung_infos[rung].sched == SO_DETAIL_SUMMED) {
		m->now.events[SO_EVENT_SWITCH] += (uint64_t)n;
		m->now.seen[SO_CYCLES] += (uint64_t)(n / 10);
		each *= 0.7;
	} else {
		m->now.events[SO_EVENT_SWITCH] += (uint64_t)n;
		each *= 0.2;
	}
	cpu_s = TICK_S * t->fixed_rate + t->record_s * (rung_infos[rung].sched == SO_DETAIL_FULL ? n : rung_infos[rung].sched == SO_DETAIL_SUMMED ? n / 10 : 0);
	m->now.cpu_s += cpu_s;
	m->cpu_s += cpu_s;
	m->bpf_s += (n * each + strangers * t->stranger_ns) * 1e-9;
	m->runs += (uint64_t)(n + strangers);
	m->ns += (uint64_t)(n * each + strangers * t->stranger_ns + (n + strangers) * FLOOR_NS);
	costs_tick(&m->costs, &m->now, rung, parts);
	m->estimated_bpf_s += parts[COST_BPF];
	assert_true(fabs(parts[COST_COLLECTOR] - cpu_s) < 1e-9);
}

static void calibrate(struct machine *m, enum rung rung)
{
	struct cost_counts before = m->now;
	struct cost_run runs[PROBE_COUNT] = { 0 };
	uint64_t at_runs = m->runs, at_ns = m->ns;

	tick(m, rung);
	runs[PROBE_SCHED] = (struct cost_run){ m->runs - at_runs, m->ns - at_ns };
	m->bpf_s += (double)(m->runs - at_runs) * FLOOR_NS * 1e-9; /* the accounting itself */
	costs_calibrate(&m->costs, &before, &m->now, runs, rung);
}

static void run(struct machine *m, enum rung rung, double seconds)
{
	for (int i = 0; i < (int)(seconds / TICK_S); i++)
		if (costs_uncertain(&m->costs, m->now.at_s, rung))
			calibrate(m, rung);
		else
			tick(m, rung);
}

static void assert_within(double value, double truth, double part)
{
	if (fabs(value - truth) > part * truth)
		fail_msg("%g, and it is %g", value, truth);
}

static const struct truth usual = { .switch_ns = 350, .stranger_ns = 4, .record_s = 90e-9, .fixed_rate = 0.0005, .switches = 50000, .strangers = 3000 };

static void test_steady(void **state)
{
	struct machine m;

	(void)state;
	begin(&m, usual);
	run(&m, RUNG_FULL, 30);
	assert_within(m.estimated_bpf_s, m.bpf_s, 0.05);
	/* One calibration every ten seconds, and those of a load that has just begun. */
	assert_false(costs_uncertain(&m.costs, m.now.at_s, RUNG_FULL) && costs_uncertain(&m.costs, m.costs.calibrated_s + 5, RUNG_FULL));
}

/* Dear events, cheap ones: the first guess is soon forgotten. */
static void test_unlike_the_guess(void **state)
{
	static const double costs_ns[] = { 60, 180, 900 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(costs_ns); i++) {
		struct truth t = usual;
		struct machine m;

		t.switch_ns = costs_ns[i];
		begin(&m, t);
		run(&m, RUNG_FULL, 3);
		m.bpf_s = m.estimated_bpf_s = 0;
		run(&m, RUNG_FULL, 20);
		assert_within(m.estimated_bpf_s, m.bpf_s, 0.05);
	}
}

/* A rare event costs many times as much as one of many: neither is taken for the other when the load steps up and down. */
static void test_bands(void **state)
{
	struct truth often = usual, seldom = usual;
	struct machine m;

	(void)state;
	often.strangers = seldom.strangers = 0;
	often.switch_ns = 80;
	seldom.switch_ns = 640;
	seldom.switches = 1500;
	begin(&m, often);
	run(&m, RUNG_FULL, 12);
	m.truth = seldom;
	run(&m, RUNG_FULL, 12);
	for (int i = 0; i < 2; i++) {
		m.truth = i ? seldom : often;
		m.bpf_s = m.estimated_bpf_s = 0;
		for (int j = 0; j < 10; j++)
			tick(&m, RUNG_FULL);
		assert_within(m.estimated_bpf_s, m.bpf_s, 0.05);
	}
}

static void test_strangers(void **state)
{
	struct truth t = usual;
	struct machine m;

	(void)state;
	t.switches = 0;
	t.strangers = 200000;
	begin(&m, t);
	run(&m, RUNG_FULL, 3);
	m.bpf_s = m.estimated_bpf_s = 0;
	run(&m, RUNG_FULL, 20);
	assert_within(m.estimated_bpf_s, m.bpf_s, 0.05);
}

/* A step of the load is calibrated at once, and each rung by itself. */
static void test_steps(void **state)
{
	struct truth t = usual;
	struct machine m;

	(void)state;
	t.switches = 1000;
	begin(&m, t);
	run(&m, RUNG_FULL, 20);
	m.truth.switches = 50000;
	m.bpf_s = m.estimated_bpf_s = 0;
	run(&m, RUNG_FULL, 10);
	assert_within(m.estimated_bpf_s, m.bpf_s, 0.1);
	for (int r = RUNG_SUMMED; r < RUNG_COUNT; r++) {
		run(&m, (enum rung)r, 2);
		m.bpf_s = m.estimated_bpf_s = 0;
		run(&m, (enum rung)r, 10);
		assert_within(m.estimated_bpf_s, m.bpf_s, 0.1);
	}
}

static double truth_of(const struct truth *t, double part, double records_share)
{
	return t->switches * part * t->switch_ns * 1e-9 + t->strangers * t->stranger_ns * 1e-9 + t->fixed_rate + t->switches * records_share * t->record_s;
}

/* What rungs cost on which it has been; and on which it has not, to the order of magnitude. */
static void test_predictions(void **state)
{
	struct machine m;

	(void)state;
	begin(&m, usual);
	run(&m, RUNG_FULL, 20);
	assert_within(costs_predict(&m.costs, RUNG_FULL, RUNG_FULL), truth_of(&usual, 1, 1), 0.15);
	assert_within(costs_predict(&m.costs, RUNG_COUNTERS, RUNG_FULL), truth_of(&usual, 0.2, 0), 0.9);
	assert_true(costs_predict(&m.costs, RUNG_SUMMED, RUNG_FULL) < costs_predict(&m.costs, RUNG_FULL, RUNG_FULL));
	run(&m, RUNG_SUMMED, 20);
	run(&m, RUNG_COUNTERS, 20);
	assert_within(costs_predict(&m.costs, RUNG_COUNTERS, RUNG_COUNTERS), truth_of(&usual, 0.2, 0), 0.15);
	assert_within(costs_predict(&m.costs, RUNG_SUMMED, RUNG_COUNTERS), truth_of(&usual, 0.7, 0.1), 0.15);
	assert_within(costs_predict(&m.costs, RUNG_FULL, RUNG_COUNTERS), truth_of(&usual, 1, 1), 0.15);
	for (int r = RUNG_FULL + 1; r < RUNG_COUNT; r++) /* a lower rung is never dearer */
		assert_true(costs_predict(&m.costs, (enum rung)r, RUNG_COUNTERS) <= costs_predict(&m.costs, (enum rung)(r - 1), RUNG_COUNTERS) + 1e-9);
}

/* Less load, by the same machine: what is predicted for the way up. */
static void test_less(void **state)
{
	struct machine m;

	(void)state;
	begin(&m, usual);
	run(&m, RUNG_FULL, 10);
	run(&m, RUNG_COUNTERS, 10);
	m.truth.switches = 1000;
	run(&m, RUNG_COUNTERS, 10);
	assert_within(costs_predict(&m.costs, RUNG_FULL, RUNG_COUNTERS), truth_of(&m.truth, 1, 1), 0.2);
}

static void test_traps(void **state)
{
	struct cost_counts now = { 0 };
	double parts[COST_PARTS];
	struct costs c;

	(void)state;
	costs_init(&c, FLOOR_NS, &now);
	now.at_s = 1;
	now.seen[SO_ALLOC] = 1000000;
	now.trapped_s = 0.25;
	costs_tick(&c, &now, RUNG_FULL, parts);
	assert_true(parts[COST_TRAPS] > 0.25 + 1 && parts[COST_TRAPS] < 0.25 + 4);
	assert_true(costs_predict(&c, RUNG_HEAP, RUNG_FULL) < costs_predict(&c, RUNG_FULL, RUNG_FULL));
}

#define SENDS 100000.0 /* a second */
#define SEND_NS 50.0
#define FAULTS 400000.0
#define FAULT_NS 40.0

/* Seconds of a load of sends and page faults; programs that are not attached see nothing of it. */
static double sends(struct costs *c, struct cost_counts *now, enum rung rung, double seconds)
{
	bool traffic = rung_infos[rung].sock != SO_DETAIL_OFF, peaks = rung_infos[rung].peak != SO_DETAIL_OFF;
	double parts[COST_PARTS], sum = 0;

	for (int i = 0; i < (int)(seconds / TICK_S); i++) {
		struct cost_run runs[PROBE_COUNT] = { 0 };
		struct cost_counts before = *now;

		now->at_s += TICK_S;
		now->cpu_s += TICK_S * 0.0005;
		if (traffic) {
			now->events[SO_EVENT_SEND] += (uint64_t)(SENDS * TICK_S);
			runs[PROBE_SOCK] = (struct cost_run){ (uint64_t)(SENDS * TICK_S), (uint64_t)(SENDS * TICK_S * (SEND_NS + FLOOR_NS)) };
		}
		if (peaks)
			runs[PROBE_PEAK] = (struct cost_run){ (uint64_t)(FAULTS * TICK_S), (uint64_t)(FAULTS * TICK_S * (FAULT_NS + FLOOR_NS)) };
		costs_tick(c, now, rung, parts);
		if (costs_uncertain(c, now->at_s, rung))
			costs_calibrate(c, &before, now, runs, rung);
		sum += parts[COST_BPF];
	}
	return sum;
}

/* What is taken away costs nothing, is known to have cost something, and that is forgotten. */
static void test_taken_away(void **state)
{
	const double traffic = SENDS * SEND_NS * 1e-9, peaks = FAULTS * FAULT_NS * 1e-9;
	struct cost_counts now = { 0 };
	struct costs c;

	(void)state;
	costs_init(&c, FLOOR_NS, &now);
	sends(&c, &now, RUNG_FULL, 10);
	assert_within(costs_predict(&c, RUNG_FULL, RUNG_FULL) - costs_predict(&c, RUNG_PEAKS, RUNG_FULL), peaks, 0.1);
	sends(&c, &now, RUNG_COUNTERS, 10);
	assert_within(costs_predict(&c, RUNG_COUNTERS, RUNG_COUNTERS) - costs_predict(&c, RUNG_NO_TRAFFIC, RUNG_COUNTERS), traffic, 0.1);
	assert_true(sends(&c, &now, RUNG_NO_TRAFFIC, 1) < 0.01 * traffic);
	assert_within(costs_predict(&c, RUNG_COUNTERS, RUNG_NO_TRAFFIC) - costs_predict(&c, RUNG_NO_TRAFFIC, RUNG_NO_TRAFFIC), traffic, 0.1);
	sends(&c, &now, RUNG_NO_TRAFFIC, 120);
	assert_true(costs_predict(&c, RUNG_COUNTERS, RUNG_NO_TRAFFIC) < 0.05 * traffic + costs_predict(&c, RUNG_NO_TRAFFIC, RUNG_NO_TRAFFIC));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steady),	    cmocka_unit_test(test_unlike_the_guess), cmocka_unit_test(test_bands),	     cmocka_unit_test(test_strangers), cmocka_unit_test(test_steps),
		cmocka_unit_test(test_taken_away),	     cmocka_unit_test(test_predictions), cmocka_unit_test(test_less),	     cmocka_unit_test(test_traps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
