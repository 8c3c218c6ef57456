/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A watching without end whose stacks are ever new ones: the table stays within its bounds, nothing is refused, and what is still referred to means the same. */
#include <stdio.h>

#include "lib_world.h"

#define INTERVALS 120
#define NEW 2000 /* stacks in each */

static uint32_t stack_of(struct world *w, const char *name)
{
	struct frame f = { .kind = FRAME_NATIVE, .name = name };
	uint32_t frame = stacks_frame(world_stacks(w), &f);

	return stacks_add(world_stacks(w), &frame, 1);
}

static void sample(struct world *w, int slot, const char *name, uint64_t value)
{
	struct so_stack s = { .head = { .kind = SO_STACK, .agent = slot, .tid = ROOT }, .tgid = ROOT, .sample = SO_SAMPLE_CPU, .value = value };

	world_stack(w, &s, stack_of(w, name));
}

static void wait_sampled(struct world *w, int slot, const char *name, uint64_t base_ns)
{
	struct so_stack s = { .head = { .kind = SO_STACK, .agent = slot, .tid = ROOT }, .tgid = ROOT, .sample = SO_SAMPLE_OFFCPU, .key = base_ns };

	world_stack(w, &s, stack_of(w, name));
}

static void place(struct world *w, int slot, uint32_t key, const char *name)
{
	struct so_stack s = { .head = { .kind = SO_STACK, .agent = slot, .tid = ROOT }, .tgid = ROOT, .sample = SO_SAMPLE_SITE, .key = key };

	world_stack(w, &s, stack_of(w, name));
}

static void allocation(struct world *w, int slot, uint32_t key, uint64_t address, uint64_t ns)
{
	struct so_alloc r = { .head = { .kind = SO_ALLOC, .slots = 1, .agent = slot, .tid = ROOT, .time_ns = ns }, .address = address, .bytes = 64, .site = key };

	world_record(w, &r.head);
}

static uint64_t weight(struct world *w, const struct agent_data *a, enum sample_id id, const char *name)
{
	const struct sample_set *set = &a->samples[id];
	uint64_t sum = 0;

	for (uint32_t i = 0; i < set->cap; i++) {
		size_t len;
		const uint32_t *frames = set->at[i].value ? stacks_at(world_stacks(w), set->at[i].stack, &len) : NULL;

		if (set->at[i].value)
			assert_non_null(frames);
		if (frames && !strcmp(stacks_frame_at(world_stacks(w), frames[0])->name, name))
			sum += set->at[i].value;
	}
	return sum;
}

static void close_one(struct world *w, int slot, uint64_t wait_ns, uint64_t end_ns)
{
	struct so_snap s = { .tid = ROOT, .tgid = ROOT, .agent = slot, .wait = SO_WAIT_POLL, .base_ns = wait_ns, .now_ns = end_ns + 1, .flags = SO_SNAP_LEADER };

	world_close_begin(w, end_ns);
	world_snap(w, &s);
	world_close_end(w, false);
	world_hold(w);
}

static const struct agent_data *held(struct world *w, uint64_t now_ns)
{
	int len;
	const struct agent_data *const *all = world_held(w, now_ns, &len);

	assert_int_equal(len, 1);
	return all[0];
}

static void test_ever_new_stacks(void **state)
{
	uint64_t generation;
	struct world *w;
	int slot;

	(void)state;
	w = world_make(S);
	world_forgets(w);
	world_thresholds(w, 1, 10 * S);
	slot = agent_make(w, ROOT);
	close_one(w, slot, S, 2 * S);
	wait_sampled(w, slot, "the one wait", S);
	place(w, slot, 7, "the one place");
	allocation(w, slot, 7, 0x1000, 2 * S + 1);
	held(w, 2 * S + 1);
	generation = stacks_generation(world_stacks(w));
	for (uint64_t i = 0; i < INTERVALS; i++) {
		uint64_t end_ns = (3 + i) * S;
		const struct agent_data *a;
		char name[64];

		for (int n = 0; n < NEW; n++) {
			snprintf(name, sizeof(name), "interval %llu stack %d", (unsigned long long)i, n);
			sample(w, slot, name, 1 + (uint64_t)n);
		}
		sample(w, slot, "the one that runs", 1000);
		close_one(w, slot, S, end_ns);
		world_stacks_tidy(w); /* also while one is held back */
		a = held(w, end_ns + 1);
		assert_int_equal(weight(w, a, SAMPLE_CPU_NS, name), NEW);
		assert_int_equal(weight(w, a, SAMPLE_CPU_NS, "the one that runs"), 1000);
		assert_int_equal(weight(w, a, SAMPLE_LIVE_BYTES, "the one place"), 64);
		assert_int_equal(weight(w, a, SAMPLE_OFFCPU_NS, "the one wait"), i ? S : 2 * S);
		assert_int_equal(weight(w, a, SAMPLE_CPU_NS, FRAME_OTHER), 0);
		assert_in_range(stacks_len(world_stacks(w)), 1, STACKS_MAX / 2 + NEW + 8);
		world_stacks_tidy(w);
	}
	assert_int_equal(stacks_refused(world_stacks(w)), 0);
	assert_true(stacks_generation(world_stacks(w)) > generation + 2);
	world_free(w);
}

static void test_renew(void **state)
{
	static bool keep[STACKS_MAX];
	static uint32_t numbers[STACKS_MAX];
	struct stacks *s = stacks_new();
	uint32_t frames[2] = { stacks_frame(s, &(struct frame){ .name = "x" }), stacks_frame(s, &(struct frame){ .name = "y" }) };
	uint32_t both = stacks_add(s, frames, 2), one = stacks_add(s, frames + 1, 1);
	size_t len;

	(void)state;
	keep[one] = true;
	assert_int_equal(stacks_renew(&s, keep, numbers), 0);
	assert_int_equal(stacks_generation(s), 1);
	assert_int_equal(stacks_len(s), 2);
	assert_int_equal(stacks_frames_len(s), 2);
	assert_int_equal(numbers[both], STACK_OTHER);
	assert_string_equal(stacks_frame_at(s, *stacks_at(s, numbers[one], &len))->name, "y");
	assert_false(stacks_crowded(s));
	stacks_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_ever_new_stacks), cmocka_unit_test(test_renew) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
