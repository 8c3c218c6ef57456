/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Waits and the stacks that were read of them: what the stacks are charged adds up to the waits. */
#include "lib_world.h"

#define MIN_NS (10 * MS)

static struct world *w;
static int slot;

static int setup(void **state)
{
	(void)state;
	w = world_make(S);
	world_thresholds(w, MIN_NS, UINT64_MAX);
	slot = agent_make(w, ROOT);
	return slot > 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	world_free(w);
	return 0;
}

/* A wait of wait_ns from base on, which is over; the thread runs for 1 ms. Returns when it is switched out again. */
static uint64_t wait_over(uint64_t base, uint64_t wait_ns)
{
	struct so_cycle r = { .head = { .kind = SO_CYCLE, .slots = 1, .agent = slot, .tid = ROOT, .time_ns = base + wait_ns + 2 * MS },
			      .gap_ns = wait_ns + 2 * MS, .runq_ns = MS, .stint_ns = MS, .wait = SO_WAIT_SLEEP, .next = SO_WAIT_SLEEP };

	world_record(w, &r.head);
	return r.head.time_ns;
}

static void wait_read(uint64_t base, uint32_t stack)
{
	struct so_stack s = { .head = { .kind = SO_STACK, .agent = slot, .tid = ROOT }, .tgid = ROOT, .sample = SO_SAMPLE_OFFCPU, .key = base };

	world_stack(w, &s, stack);
}

static void task_seen(uint64_t base, uint64_t now)
{
	struct so_snap s = { .tid = ROOT, .tgid = ROOT, .agent = slot, .flags = SO_SNAP_LEADER, .wait = SO_WAIT_SLEEP, .base_ns = base, .now_ns = now };

	world_snap(w, &s);
}

static const struct agent_data *interval_close(uint64_t base, uint64_t end, bool last)
{
	int n;

	world_close_begin(w, end);
	task_seen(base, end + MS);
	world_close_end(w, last);
	return world_interval(w, &n)[0];
}

static uint64_t charged(const struct agent_data *a, uint32_t stack)
{
	uint64_t value = 0;
	size_t n;
	struct sample *all = sample_set_sorted(&a->samples[SAMPLE_OFFCPU_NS], &n);

	for (size_t i = 0; i < n; i++)
		value += all[i].stack == stack ? all[i].value : 0;
	free(all);
	return value;
}

static uint64_t sum(const struct agent_data *a)
{
	return sample_set_sum(&a->samples[SAMPLE_OFFCPU_NS]);
}

static void waits_of_one_interval(void **state)
{
	uint64_t base = S + MS;
	const struct agent_data *a;

	(void)state;
	task_seen(base, base);
	wait_read(base, 1);
	base = wait_over(base, 50 * MS);
	base = wait_over(base, MIN_NS - 1); /* too short */
	base = wait_over(base, MIN_NS); /* over before anybody looked */
	wait_read(base, 2);
	base = wait_over(base, 20 * MS);
	wait_read(base, 1);
	base = wait_over(base, 30 * MS);
	a = interval_close(base, base + MS, false);
	assert_int_equal(charged(a, 1), 80 * MS);
	assert_int_equal(charged(a, 2), 20 * MS);
	assert_int_equal(charged(a, STACK_OTHER), MIN_NS);
	assert_int_equal(sum(a), 110 * MS);
}

static void wait_over_three_intervals(void **state)
{
	uint64_t base = S + 100 * MS;
	const struct agent_data *a;

	(void)state;
	task_seen(base, base);
	wait_read(base, 5);
	a = interval_close(base, 2 * S, false);
	assert_int_equal(charged(a, 5), 900 * MS);
	world_next(w);
	wait_read(base - 50 * MS, 6); /* of a wait before it: too late */
	a = interval_close(base, 3 * S, false);
	assert_int_equal(charged(a, 5), S);
	world_next(w);
	base = wait_over(base, 2 * S);
	a = interval_close(base, 4 * S, true);
	assert_int_equal(charged(a, 5), 100 * MS);
	/* And what it waits in when the recording ends, up to the last look. */
	assert_int_equal(charged(a, STACK_OTHER), 4 * S + MS - base);
}

/* Not read yet when the interval ends: charged as a whole when it is. */
static void stack_comes_in_the_next_interval(void **state)
{
	uint64_t base = 2 * S - 15 * MS;
	const struct agent_data *a;

	(void)state;
	task_seen(base, base);
	a = interval_close(base, 2 * S, false);
	assert_int_equal(sum(a), 0);
	world_next(w);
	wait_read(base, 7);
	base = wait_over(base, 40 * MS);
	wait_read(base - 42 * MS, 8); /* it is over */
	base = wait_over(base, 30 * MS);
	a = interval_close(base, 3 * S, false);
	assert_int_equal(charged(a, 7), 40 * MS);
	assert_int_equal(charged(a, 8), 0);
	assert_int_equal(charged(a, STACK_OTHER), 30 * MS);
}

static void strangers_stack_is_nobodys(void **state)
{
	struct so_stack s = { .head = { .kind = SO_STACK, .agent = slot, .tid = ROOT + 1 }, .sample = SO_SAMPLE_OFFCPU, .key = S };
	uint64_t base = S + MS;
	const struct agent_data *a;

	(void)state;
	task_seen(base, base);
	world_stack(w, &s, 1);
	s.head.agent = slot + 1;
	world_stack(w, &s, 1);
	assert_int_equal(world_orphans(w), 1);
	base = wait_over(base, MIN_NS);
	a = interval_close(base, base + MS, false);
	assert_int_equal(charged(a, 1), 0);
	assert_int_equal(charged(a, STACK_OTHER), MIN_NS);
}

static void cpu_samples_count(void **state)
{
	struct so_stack s = { .head = { .kind = SO_STACK, .agent = slot, .tid = ROOT }, .tgid = ROOT, .sample = SO_SAMPLE_CPU, .value = 20 * MS };
	const struct agent_data *a;

	(void)state;
	task_seen(S, S);
	for (int i = 0; i < 3; i++)
		world_stack(w, &s, i < 2 ? 1 : 2);
	a = interval_close(S, 2 * S, false);
	assert_int_equal(sample_set_sum(&a->samples[SAMPLE_CPU_NS]), 60 * MS);
	assert_int_equal(a->metrics.value[M_PROFILE_SAMPLES], 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(waits_of_one_interval, setup, teardown),
		cmocka_unit_test_setup_teardown(wait_over_three_intervals, setup, teardown),
		cmocka_unit_test_setup_teardown(stack_comes_in_the_next_interval, setup, teardown),
		cmocka_unit_test_setup_teardown(strangers_stack_is_nobodys, setup, teardown),
		cmocka_unit_test_setup_teardown(cpu_samples_count, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
