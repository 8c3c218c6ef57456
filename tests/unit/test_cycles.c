/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Cycles that came summed, or that nobody looked at: to the nanosecond what the same cycles one by one would give. */
#include "lib_world.h"

static struct so_snap snap_at(int slot, uint64_t base, uint64_t now, unsigned wait)
{
	return (struct so_snap){ .tid = ROOT, .tgid = ROOT, .agent = slot, .flags = SO_SNAP_LEADER | SO_SNAP_ROOT, .wait = wait, .base_ns = base, .now_ns = now };
}

static struct so_cycles run_of(int slot, uint64_t base, uint64_t end, uint64_t sent)
{
	return (struct so_cycles){ .head = { SO_CYCLES, 2, slot, ROOT, sent }, .gap_ns = end - base, .ago_ns = sent - end, .wait = SO_WAIT_LOCK,
				   .next = SO_WAIT_LOCK };
}

static const struct agent_data *close_at(struct world *w, uint64_t end, const struct so_snap *s)
{
	int n;

	world_close_begin(w, end);
	world_snap(w, s);
	world_close_end(w, false);
	return *world_interval(w, &n);
}

static uint64_t hist_n(const struct agent_data *d, enum metric_id m)
{
	return d->metrics.hist[m] ? d->metrics.hist[m]->count : 0;
}

static uint64_t hist_total(const struct agent_data *d, enum metric_id m)
{
	return d->metrics.hist[m] ? d->metrics.hist[m]->sum : 0;
}

static void a_run_counts_as_its_cycles(void **state)
{
	struct so_snap base, end;
	const struct agent_data *d;
	struct so_cycles r;
	struct world *w;
	int slot;

	(void)state;
	w = world_make(S);
	slot = agent_make(w, ROOT);
	base = snap_at(slot, S, S, SO_WAIT_LOCK);
	world_snap(w, &base);
	r = run_of(slot, S, S + 10 * MS, S + 10 * MS);
	r.runq_ns = 1000001;
	r.stint_ns = 3000002;
	r.waits = 3;
	r.voluntary = 3;
	r.involuntary = 1;
	world_record(w, &r.head);
	end = snap_at(slot, S + 10 * MS, S + 12 * MS, SO_WAIT_LOCK);
	d = close_at(w, S + 12 * MS, &end);
	assert_int_equal(d->main.ns[STATE_RUNNING], 3000002);
	assert_int_equal(d->main.ns[STATE_RUNNABLE], 1000001);
	assert_int_equal(d->main.ns[STATE_LOCK], 12 * MS - 4000003);
	assert_int_equal(d->metrics.value[M_SWITCHES_VOLUNTARY], 3);
	assert_int_equal(d->metrics.value[M_SWITCHES_INVOLUNTARY], 1);
	assert_int_equal(d->metrics.value[M_WAKEUPS], 3);
	assert_int_equal(hist_n(d, M_ONCPU_NS), 4);
	assert_int_equal(hist_total(d, M_ONCPU_NS), 3000002);
	assert_int_equal(d->metrics.hist[M_ONCPU_NS]->min, 750000);
	assert_int_equal(d->metrics.hist[M_ONCPU_NS]->max, 750001);
	assert_int_equal(hist_n(d, M_WAIT_LOCK_NS), 3);
	assert_int_equal(hist_total(d, M_WAIT_LOCK_NS), 10 * MS - 4000003);
	world_free(w);
}

/* A snapshot has seen the begin of the run, and the interval ended there: what it sent later is the whole. */
static void a_run_across_the_border_counts_once(void **state)
{
	uint64_t ran = 0, queued = 0, waited = 0, switches = 0, waits = 0, sum = 0;
	struct so_snap s;
	const struct agent_data *d;
	struct so_cycles r;
	struct world *w;
	int slot;

	(void)state;
	w = world_make(S);
	slot = agent_make(w, ROOT);
	s = snap_at(slot, S, S, SO_WAIT_LOCK);
	world_snap(w, &s);
	/* Two cycles up to 4 ms, 0.5 ms of the third one ran. */
	s = snap_at(slot, S + 4 * MS, S + 5 * MS, SO_WAIT_LOCK);
	s.run_gap_ns = 4 * MS;
	s.run_runq_ns = MS;
	s.run_stint_ns = 2 * MS;
	s.run_waits = s.run_voluntary = 2;
	s.run_wait = SO_WAIT_LOCK;
	s.stint_ns = MS / 2;
	for (int i = 0; i < 2; i++) { /* the second time the run has been sent, late: after a long cycle of which 1 s has passed */
		d = close_at(w, s.now_ns, &s);
		ran += d->main.ns[STATE_RUNNING];
		queued += d->main.ns[STATE_RUNNABLE];
		waited += d->main.ns[STATE_LOCK];
		sum += ledger_sum(&d->main);
		switches += d->metrics.value[M_SWITCHES_VOLUNTARY];
		waits += hist_n(d, M_WAIT_LOCK_NS);
		if (i == 0) {
			assert_int_equal(ran, 2 * MS + MS / 2);
			assert_int_equal(queued, MS);
			assert_int_equal(switches, 2);
		}
		world_next(w);
		r = run_of(slot, S, S + 8 * MS, S + S);
		r.runq_ns = 2 * MS;
		r.stint_ns = 3 * MS;
		r.waits = r.voluntary = 3;
		if (i == 0) {
			world_record(w, &r.head);
			s = snap_at(slot, S + 8 * MS, S + S, SO_WAIT_LOCK);
		}
	}
	assert_int_equal(ran, 3 * MS);
	assert_int_equal(queued, 2 * MS);
	assert_int_equal(waited, S - 5 * MS);
	assert_int_equal(sum, S);
	assert_int_equal(switches, 3);
	assert_int_equal(waits, 3);
	world_free(w);
}

/* Nobody looked at switches: snapshots and the kernel's own counts tell. */
static void what_nobody_looked_at(void **state)
{
	struct so_cycles r;
	struct so_snap s;
	const struct agent_data *d;
	struct world *w;
	int slot;

	(void)state;
	w = world_make(S);
	slot = agent_make(w, ROOT);
	s = snap_at(slot, S, S, SO_WAIT_LOCK);
	s.switches_voluntary = 7;
	s.switches_involuntary = 0xffffffff; /* only the low half is compared */
	world_snap(w, &s);
	s = snap_at(slot, S, S + 100 * MS, SO_WAIT_OTHER);
	s.flags |= SO_SNAP_COARSE;
	s.switches_voluntary = 17;
	s.switches_involuntary = 0x100000001;
	s.stint_ns = 30 * MS;
	s.runq_ns = 20 * MS;
	d = close_at(w, S + 100 * MS, &s);
	assert_int_equal(d->main.ns[STATE_RUNNING], 30 * MS);
	assert_int_equal(d->main.ns[STATE_RUNNABLE], 20 * MS);
	assert_int_equal(d->main.ns[STATE_OTHER], 50 * MS);
	assert_int_equal(d->metrics.value[M_SWITCHES_VOLUNTARY], 10);
	assert_int_equal(d->metrics.value[M_SWITCHES_INVOLUNTARY], 2);
	assert_int_equal(hist_n(d, M_ONCPU_NS) + hist_n(d, M_RUNQ_NS) + hist_n(d, M_WAIT_OTHER_NS), 0);
	world_next(w);
	r = run_of(slot, S, S + 150 * MS, S + 150 * MS);
	r.flags = SO_CYCLE_COARSE;
	r.wait = SO_WAIT_OTHER;
	r.stint_ns = 40 * MS;
	r.runq_ns = 25 * MS;
	r.voluntary = 20;
	r.involuntary = 1;
	world_record(w, &r.head);
	s = snap_at(slot, S + 150 * MS, S + 160 * MS, SO_WAIT_LOCK);
	s.switches_voluntary = 20;
	d = close_at(w, S + 160 * MS, &s);
	assert_int_equal(d->main.ns[STATE_RUNNING], 10 * MS);
	assert_int_equal(d->main.ns[STATE_RUNNABLE], 5 * MS);
	assert_int_equal(d->main.ns[STATE_OTHER], 35 * MS);
	assert_int_equal(d->main.ns[STATE_LOCK], 10 * MS);
	assert_int_equal(d->metrics.value[M_SWITCHES_VOLUNTARY], 3);
	assert_int_equal(d->metrics.value[M_SWITCHES_INVOLUNTARY], 0);
	assert_int_equal(hist_n(d, M_ONCPU_NS), 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_run_counts_as_its_cycles),
		cmocka_unit_test(a_run_across_the_border_counts_once),
		cmocka_unit_test(what_nobody_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
