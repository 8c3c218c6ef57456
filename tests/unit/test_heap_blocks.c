/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Live blocks against a plain list, the bound on their number, and which places count as leaks. */
#include "collect/heap.h"
#include "lib_world.h"

#define AGE (10 * S)

static uint64_t random_next(uint64_t *state) /* xorshift64* */
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

struct sets {
	struct sample_set of[SITES_SETS];
};

static void sets_close(struct sites *s, uint64_t now_ns, struct sets *ret)
{
	struct sample_set *const sets[SITES_SETS] = { &ret->of[0], &ret->of[1], &ret->of[2], &ret->of[3] };

	for (int i = 0; i < SITES_SETS; i++)
		sample_set_reset(&ret->of[i]);
	assert_int_equal(sites_close(s, now_ns, sets), 0);
}

static void sets_fini(struct sets *s)
{
	for (int i = 0; i < SITES_SETS; i++)
		sample_set_fini(&s->of[i]);
}

static uint64_t of_stack(const struct sample_set *s, uint32_t stack)
{
	uint64_t value = 0;
	size_t n;
	struct sample *all = sample_set_sorted(s, &n);

	for (size_t i = 0; all && i < n; i++)
		if (all[i].stack == stack)
			value = all[i].value;
	free(all);
	return value;
}

/* --- against a plain list --- */

#define SLOTS 4096
#define KEYS 7

struct plain {
	uint64_t bytes, born_ns;
	uint32_t key;
	bool live;
};

static void a_story_equals_a_plain_list(void **state)
{
	struct sites *s = sites_new(AGE);
	struct blocks *b = blocks_new(s, 1);
	struct plain *plain = calloc(SLOTS, sizeof(*plain));
	uint64_t seed = 42, allocated[KEYS + 1] = {};
	struct sets sets = {};
	struct heap_totals t;

	(void)state;
	for (uint32_t k = 1; k <= KEYS; k++)
		sites_stack(s, 1, k, 100 + k);
	for (uint64_t now = 1; now <= 200000; now++) {
		uint64_t r = random_next(&seed), slot = r % SLOTS, address = 0x7f0000001000 + slot * 16;
		struct plain *p = &plain[slot];
		struct freed f = {};

		if (p->live) {
			assert_true(blocks_release(b, address, &f));
			assert_int_equal(f.bytes, p->bytes);
			assert_int_equal(f.born_ns, p->born_ns);
			assert_int_equal(f.key, p->key);
			if (r >> 60 == 0) { /* it was not */
				blocks_restore(b, &f);
				continue;
			}
			p->live = false;
		} else {
			assert_false(blocks_release(b, address, &f));
			*p = (struct plain){ .bytes = r >> 40, .born_ns = now, .key = 1 + (r >> 20) % KEYS, .live = true };
			blocks_alloc(b, address, p->bytes, p->key, now);
			allocated[p->key] += p->bytes;
		}
	}
	sites_totals(s, &t);
	sets_close(s, 200000, &sets);
	assert_true(t.kept == 1);
	for (uint32_t k = 1; k <= KEYS; k++) {
		uint64_t bytes = 0, n = 0;

		for (int i = 0; i < SLOTS; i++)
			if (plain[i].live && plain[i].key == k) {
				bytes += plain[i].bytes;
				n++;
			}
		assert_int_equal(of_stack(&sets.of[SITES_LIVE_BYTES], 100 + k), bytes);
		assert_int_equal(of_stack(&sets.of[SITES_LIVE_BLOCKS], 100 + k), n);
		assert_int_equal(of_stack(&sets.of[SITES_ALLOC_BYTES], 100 + k), allocated[k]);
		t.live_bytes -= bytes;
		t.live_blocks -= n;
	}
	assert_int_equal(t.live_bytes, 0);
	assert_int_equal(t.live_blocks, 0);
	blocks_free(b);
	sites_totals(s, &t);
	assert_int_equal(t.live_bytes, 0);
	sets_fini(&sets);
	sites_free(s);
	free(plain);
}

static void an_address_given_twice_is_one_block(void **state)
{
	struct sites *s = sites_new(AGE);
	struct blocks *b = blocks_new(s, 1);
	struct heap_totals t;
	struct freed f;

	(void)state;
	blocks_alloc(b, 0x1000, 10, 1, 1);
	blocks_alloc(b, 0x1000, 20, 1, 2);
	sites_totals(s, &t);
	assert_int_equal(t.live_blocks, 1);
	assert_int_equal(t.live_bytes, 20);
	assert_true(blocks_release(b, 0x1000, &f));
	assert_int_equal(f.born_ns, 2);
	assert_false(blocks_release(b, 0x1000, &f));
	blocks_free(b);
	sites_free(s);
}

static void of_too_many_blocks_a_part_is_followed(void **state)
{
	struct sites *s = sites_new(AGE);
	struct blocks *b = blocks_new(s, 1), *other = blocks_new(s, 2);
	const uint64_t n = 3ULL * BLOCKS_MAX;
	uint64_t known = 0;
	struct heap_totals t;
	struct freed f;

	(void)state;
	blocks_alloc(other, 0x10, 5, 1, 1);
	for (uint64_t i = 1; i <= n; i++)
		blocks_alloc(b, i * 64, 100, 1, i);
	sites_totals(s, &t);
	assert_true(t.kept == 0.25);
	assert_in_range(t.live_blocks, n * 99 / 100, n * 101 / 100); /* sigma of 3/4 M blocks kept: 0.1 % */
	assert_in_range(t.live_bytes, n * 99, n * 101);
	assert_in_range(sites_bytes(s), 1, 64 << 20);
	for (uint64_t i = 1; i <= n; i++)
		known += blocks_release(b, i * 64, &f);
	assert_in_range(known, n / 4 * 99 / 100, n / 4 * 101 / 100);
	blocks_free(other);
	sites_totals(s, &t);
	assert_int_equal(t.live_blocks, 0);
	blocks_free(b);
	sites_free(s);
}

static void a_process_that_ends_takes_its_places_along(void **state)
{
	struct sites *s = sites_new(AGE);
	struct sets sets = {};
	size_t bytes = 0;

	(void)state;
	for (uint32_t tgid = 1; tgid <= 1000; tgid++) {
		struct blocks *b = blocks_new(s, tgid);

		for (uint32_t key = 1; key <= 100; key++) {
			sites_stack(s, tgid, key, key);
			blocks_alloc(b, key * 16, 1000, key, tgid * S);
		}
		blocks_free(b);
		sets_close(s, tgid * S, &sets);
		assert_int_equal(of_stack(&sets.of[SITES_ALLOC_BYTES], 100), 1000); /* what it did is told all the same */
		assert_int_equal(of_stack(&sets.of[SITES_LIVE_BYTES], 100), 0);
		if (tgid == 10)
			bytes = sites_bytes(s);
	}
	assert_int_equal(sites_bytes(s), bytes);
	sets_fini(&sets);
	sites_free(s);
}

static void of_too_many_places_the_rest_is_unknown(void **state)
{
	struct sites *s = sites_new(AGE);
	struct blocks *b = blocks_new(s, 1);
	struct sets sets = {};
	uint64_t sum;

	(void)state;
	for (uint32_t key = 1; key <= 2 * SITES_MAX; key++) {
		sites_stack(s, 1, key, 7);
		blocks_alloc(b, key * 16ULL, 1, key, 1);
	}
	sets_close(s, 1, &sets);
	sum = of_stack(&sets.of[SITES_LIVE_BYTES], 7) + of_stack(&sets.of[SITES_LIVE_BYTES], STACK_OTHER);
	assert_int_equal(sum, 2 * SITES_MAX);
	assert_in_range(of_stack(&sets.of[SITES_LIVE_BYTES], 7), SITES_MAX / 2, SITES_MAX);
	sets_fini(&sets);
	blocks_free(b);
	sites_free(s);
}

/* --- leaks: an interval a second; how many of them name the place --- */

typedef void (*behaviour_fn)(struct blocks *b, uint64_t second, uint64_t *seed);

struct verdict {
	int named; /* intervals with a candidate */
	int named_late; /* of the last quarter */
};

static struct verdict watch(behaviour_fn fn, uint64_t seconds, uint64_t seed)
{
	struct sites *s = sites_new(AGE);
	struct blocks *b = blocks_new(s, 1);
	struct verdict v = {};
	struct sets sets = {};

	sites_stack(s, 1, 1, 5);
	for (uint64_t second = 1; second <= seconds; second++) {
		fn(b, second, &seed);
		sets_close(s, second * S, &sets);
		if (of_stack(&sets.of[SITES_LEAK_BYTES], 5)) {
			v.named++;
			v.named_late += second > seconds * 3 / 4;
		}
	}
	sets_fini(&sets);
	blocks_free(b);
	sites_free(s);
	return v;
}

static void block_new(struct blocks *b, uint64_t n, uint64_t bytes, uint64_t second)
{
	blocks_alloc(b, 0x10000 + n * 16, bytes, 1, second * S - S / 2);
}

static void block_drop(struct blocks *b, uint64_t n)
{
	struct freed f;

	blocks_release(b, 0x10000 + n * 16, &f);
}

static void does_leak(struct blocks *b, uint64_t second, uint64_t *seed)
{
	(void)seed;
	for (int i = 0; i < 10; i++)
		block_new(b, second * 10 + i, 1024, second);
}

/* One in ten of its blocks stays, the others live some seconds. */
static void leaks_some(struct blocks *b, uint64_t second, uint64_t *seed)
{
	(void)seed;
	for (int i = 0; i < 100; i++)
		block_new(b, second * 100 + i, 1024, second);
	for (int i = 10; i < 100 && second > 15; i++)
		block_drop(b, (second - 15) * 100 + i);
}

static void leaks_at_times(struct blocks *b, uint64_t second, uint64_t *seed)
{
	if (random_next(seed) >> 62 == 0)
		does_leak(b, second, seed);
}

static void fills_a_cache(struct blocks *b, uint64_t second, uint64_t *seed)
{
	(void)seed;
	if (second <= 60)
		does_leak(b, second, seed);
}

/* The same, and then replaces the oldest. */
static void fills_and_turns_over(struct blocks *b, uint64_t second, uint64_t *seed)
{
	does_leak(b, second, seed);
	for (int i = 0; i < 10 && second > 60; i++)
		block_drop(b, (second - 60) * 10 + i);
}

/* Gathers for a minute, then throws away all. */
static void saws(struct blocks *b, uint64_t second, uint64_t *seed)
{
	does_leak(b, second, seed);
	if (second % 60 == 0)
		for (uint64_t n = (second - 59) * 10; n < (second + 1) * 10; n++)
			block_drop(b, n);
}

/* 1,000 blocks, each replaced at times. */
static void keeps_a_pool(struct blocks *b, uint64_t second, uint64_t *seed)
{
	for (int i = 0; i < 50; i++) {
		uint64_t n = second == 1 ? (uint64_t)i * 20 : random_next(seed) % 1000;

		block_drop(b, n);
		block_new(b, n, 100 + random_next(seed) % 1000, second);
	}
}

/* As many as there are requests under way, at random, for up to a minute. */
static void serves_long_requests(struct blocks *b, uint64_t second, uint64_t *seed)
{
	for (int i = 0; i < 20; i++)
		block_new(b, second * 20 + i, 1000, second);
	for (uint64_t i = 0; i < 20 && second > 60; i++)
		block_drop(b, (second - 60) * 20 + i);
	for (int i = 0; i < 15; i++)
		block_drop(b, second * 20 - random_next(seed) % 1000);
}

static void leaks_are_named(void **state)
{
	(void)state;
	assert_true(watch(does_leak, 60, 1).named > 30); /* 10 s to age, 6 to see growth */
	assert_int_equal(watch(does_leak, 1000, 1).named_late, 250);
	assert_int_equal(watch(leaks_some, 1000, 1).named_late, 250);
	assert_true(watch(leaks_at_times, 1000, 1).named_late > 225);
}

static void what_does_not_leak_is_not_named(void **state)
{
	static const behaviour_fn innocent[] = { fills_a_cache, fills_and_turns_over, saws, keeps_a_pool, serves_long_requests };

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++)
		for (size_t i = 0; i < sizeof(innocent) / sizeof(innocent[0]); i++)
			assert_int_equal(watch(innocent[i], 1000, seed).named_late, 0);
	/* While it fills, a cache looks like a leak; soon after, no more. */
	assert_int_equal(watch(fills_a_cache, 150, 1).named_late, 0);
	assert_true(watch(saws, 1000, 1).named < 100);
	assert_int_equal(watch(keeps_a_pool, 1000, 1).named_late, 0);
}

/* --- records --- */

static struct world *world;

static void setup_agent(void)
{
	const struct so_snap snap = { .tid = 10, .tgid = 10, .agent = 1, .on = SO_ON_CPU, .flags = SO_SNAP_LEADER | SO_SNAP_ROOT, .now_ns = S };

	world = world_make(S);
	world_thresholds(world, UINT64_MAX, AGE);
	assert_int_equal(agent_make(world, 10), 1);
	world_snap(world, &snap);
}

static const struct agent_data *closed(void)
{
	const struct so_snap snap = { .tid = 10, .tgid = 10, .agent = 1, .on = SO_ON_CPU, .flags = SO_SNAP_LEADER | SO_SNAP_ROOT, .now_ns = 9 * S };
	const struct agent_data *const *agents;
	int n;

	world_close_begin(world, 9 * S);
	world_snap(world, &snap);
	world_close_end(world, true);
	agents = world_interval(world, &n);
	assert_int_equal(n, 1);
	return agents[0];
}

static void tell_alloc(uint64_t now_ns, uint64_t address, uint32_t bytes)
{
	const struct so_alloc r = { { SO_ALLOC, 1, 1, 10, now_ns }, address, bytes, 1 };

	world_record(world, &r.head);
}

static void tell_sampled(uint64_t now_ns, uint32_t bytes, uint32_t copies)
{
	const struct so_alloc r = { { SO_ALLOC, 1, 1, 10, now_ns }, 0, bytes, copies };

	world_record(world, &r.head);
}

static void tell_free(uint64_t now_ns, uint64_t address, uint64_t flags)
{
	const struct so_free r = { { SO_FREE, 1, 1, 10, now_ns }, address, flags };

	world_record(world, &r.head);
}

static uint64_t hist_sum(const struct agent_data *a, enum metric_id m)
{
	return a->metrics.hist[m] ? a->metrics.hist[m]->sum : 0;
}

static void records_become_figures(void **state)
{
	const struct agent_data *a;

	(void)state;
	setup_agent();
	tell_alloc(2 * S, 0x1000, 100);
	tell_alloc(2 * S, 0x2000, 200);
	tell_free(2 * S + 5, 0x1000, 0);
	tell_free(2 * S + 6, 0x9000, 0); /* from before */
	tell_free(2 * S + 7, 0x2000, SO_FREE_MAYBE); /* a reallocation that works */
	tell_alloc(2 * S + 9, 0x2000, 300);
	tell_free(2 * S + 10, 0x2000, SO_FREE_MAYBE); /* and one that fails */
	tell_free(2 * S + 11, 0x2000, SO_FREE_NOT);
	tell_alloc(2 * S + 12, 0, 50); /* of a sampling window: only its size */
	tell_sampled(2 * S + 13, 1000, 3); /* which counts three times */
	a = closed();
	assert_int_equal(a->metrics.value[M_HEAP_ALLOCS], 3);
	assert_int_equal(a->metrics.value[M_HEAP_FREES], 3);
	assert_int_equal(a->metrics.value[M_HEAP_LIVE_BLOCKS], 1);
	assert_int_equal(a->metrics.value[M_HEAP_LIVE_BYTES], 300);
	assert_int_equal(hist_sum(a, M_HEAP_ALLOC_BYTES), 650 + 3 * 1000);
	assert_int_equal(a->metrics.hist[M_HEAP_LIFETIME_NS]->count, 2);
	assert_int_equal(hist_sum(a, M_HEAP_LIFETIME_NS), 5 + 7);
	assert_int_equal(a->heap.mode, HEAP_FULL);
	assert_int_equal(a->heap.unknown_frees, 1);
	assert_true(a->heap.kept == 1);
	world_free(world);
}

/* What the agent's last process leaves is the state at the end: also after its blocks are gone. */
static void what_is_left_at_the_end_is_told(void **state)
{
	const struct so_exit end = { .head = { SO_EXIT, 4, 1, 10, 3 * S }, .tgid = 10, .group_dead = 1 };
	const struct so_cycle dead = { .head = { SO_CYCLE, 1, 1, 10, 3 * S + 1 }, .gap_ns = 1, .flags = SO_CYCLE_DEAD };
	const struct agent_data *const *agents;
	const struct agent_data *a;
	int n;

	(void)state;
	setup_agent();
	tell_alloc(2 * S, 0x1000, 100);
	tell_alloc(2 * S, 0x2000, 200);
	tell_free(2 * S + 5, 0x1000, 0);
	world_record(world, &end.head);
	world_record(world, &dead.head);
	world_close_begin(world, 9 * S);
	world_close_end(world, true);
	agents = world_interval(world, &n);
	assert_int_equal(n, 1);
	a = agents[0];
	assert_false(a->alive);
	assert_int_equal(a->metrics.value[M_HEAP_LIVE_BLOCKS], 1);
	assert_int_equal(a->metrics.value[M_HEAP_LIVE_BYTES], 200);
	assert_int_equal(sample_set_sum(&a->samples[SAMPLE_LIVE_BYTES]), 200);
	assert_int_equal(sample_set_sum(&a->samples[SAMPLE_LIVE_BLOCKS]), 1);
	assert_int_equal(sample_set_sum(&a->samples[SAMPLE_ALLOC_BYTES]), 300);
	world_free(world);
}

static void pauses_go_to_their_generation(void **state)
{
	static const uint8_t generations[] = { SO_GENERATION_UNKNOWN, SO_GENERATION_YOUNG, SO_GENERATION_MIDDLE, SO_GENERATION_FULL, 77 };
	const struct agent_data *a;

	(void)state;
	setup_agent();
	for (size_t i = 0; i < sizeof(generations); i++) {
		const struct so_gc r = { { SO_GC, 1, 1, 10, 2 * S }, 1 << i, generations[i], {} };

		world_record(world, &r.head);
	}
	a = closed();
	assert_int_equal(hist_sum(a, M_GC_PAUSE_NS), 31);
	assert_int_equal(hist_sum(a, M_GC_PAUSE_YOUNG_NS), 2);
	assert_int_equal(hist_sum(a, M_GC_PAUSE_MIDDLE_NS), 4);
	assert_int_equal(hist_sum(a, M_GC_PAUSE_FULL_NS), 8);
	assert_int_equal(a->heap.mode, HEAP_NONE);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_story_equals_a_plain_list),
		cmocka_unit_test(an_address_given_twice_is_one_block),
		cmocka_unit_test(of_too_many_blocks_a_part_is_followed),
		cmocka_unit_test(a_process_that_ends_takes_its_places_along),
		cmocka_unit_test(of_too_many_places_the_rest_is_unknown),
		cmocka_unit_test(leaks_are_named),
		cmocka_unit_test(what_does_not_leak_is_not_named),
		cmocka_unit_test(records_become_figures),
		cmocka_unit_test(what_is_left_at_the_end_is_told),
		cmocka_unit_test(pauses_go_to_their_generation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
