/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Breakpoints of heap windows on a busy process: the limit of hits holds whatever happens, sizes are those of the calls, and the process does not notice. */
#include <bpf/libbpf.h>
#include <string.h>

#include "lib/util.h"
#include "lib_live.h"
#include "probe/allocators.h"
#include "probe/heap_breaks.h"
#include "stakeout.skel.h"

#define BYTES 777
#define CALLS 600000
#define TURNS 2000 /* of an empty loop between them */
#define WINDOWS 10000
#define LIMIT 3
#define LONG_EVERY 20
#define SIZES 4

/* Allocates; value[0] is a sum over what it does. */
static int allocator(struct worker *self, void *arg)
{
	uint64_t sum = 0;

	(void)arg;
	worker_pause(self);
	for (int i = 0; i < CALLS; i++) {
		void *volatile p = malloc(BYTES + i % SIZES);

		*(volatile char *)p = (char)i;
		sum = sum * 31 + *(volatile unsigned char *)p;
		free(p);
		for (volatile int k = 0; k < TURNS; k++)
			;
	}
	self->value[0] = sum;
	worker_pause(self);
	return 0;
}

struct seen_heap {
	struct world *world;
	struct heap_data data;
};

static void on_note(void *ctx, unsigned slot, const char *text)
{
	struct seen_heap *s = ctx;

	world_note(s->world, slot, text);
}

static void on_heap(void *ctx, unsigned slot, const struct heap_data *delta)
{
	struct seen_heap *s = ctx;

	(void)slot;
	heap_data_merge(&s->data, delta);
}

static void test_same_result(void **state)
{
	struct seen_heap seen = {};
	struct part_reports reports = { .note = on_note, .heap = on_heap, .ctx = &seen };
	struct observer_config cfg = { .ring_bytes = 8 << 20, .heap_budget = 0.2, .reports = &reports };
	struct worker *w = worker_start(allocator, NULL), *alone = worker_start(allocator, NULL);
	const struct agent_data *a;
	struct live *l;

	(void)state;
	cfg.probe_on[PROBE_HEAP] = true;
	worker_settle(w);
	worker_settle(alone);
	l = live_open(&cfg);
	if (strcmp(observer_probes(l->observer)[PROBE_HEAP].state, "on")) {
		print_message("kernel: %s\n", observer_probes(l->observer)[PROBE_HEAP].why);
		skip();
	}
	seen.world = l->world;
	assert_int_equal(collector_stacks(l->collector, 0, true), 0);
	live_watch(l, &w->pid, 1);
	worker_go(w);
	live_until(l, w);
	worker_go(alone);
	worker_settle(alone);
	a = live_close(l, true, 0);
	assert_int_equal(w->value[0], alone->value[0]);
	assert_true(seen.data.windows > 0);
	assert_true(seen.data.samples > 0);
	assert_true(hist_count(a, M_HEAP_ALLOC_BYTES) > 0);
	assert_int_equal(a->metrics.hist[M_HEAP_ALLOC_BYTES]->min, BYTES);
	assert_true(a->metrics.hist[M_HEAP_ALLOC_BYTES]->max < BYTES + SIZES);
}

/* The program at the breakpoints alone. NULL: the kernel has none. */
static struct stakeout_bpf *program_load(struct heap_breaks **ret)
{
	struct stakeout_bpf *skel = stakeout_bpf__open();
	struct bpf_program *prog;

	assert_non_null(skel);
	bpf_object__for_each_program(prog, skel->obj)
		bpf_program__set_autoload(prog, prog == skel->progs.heap__hit);
	bpf_map__set_max_entries(skel->maps.lanes, libbpf_num_possible_cpus() * SO_LANES);
	bpf_map__set_max_entries(skel->maps.stack_rooms, libbpf_num_possible_cpus() * SO_STACK_ROOMS);
	assert_int_equal(stakeout_bpf__load(skel), 0);
	assert_int_equal(heap_breaks_new(skel, ret), 0);
	return skel;
}

/* One short window after the other, without any budget: the thread never has more hits than the limit allows. */
static void test_ten_thousand_windows(void **state)
{
	struct worker *w = worker_start(allocator, NULL), *alone = worker_start(allocator, NULL);
	struct heap_places places = { .tid = w->pid, .limit = LIMIT };
	struct heap_trap trap;
	struct allocator a;
	struct heap_breaks *b;
	struct stakeout_bpf *skel;
	uint64_t hits = 0;
	char why[200];

	(void)state;
	live_need(PROBE_CORE);
	skel = program_load(&b);
	if (heap_breaks_calibrate(b, &trap)) {
		print_message("kernel: no hardware breakpoints\n");
		skip();
	}
	worker_settle(w);
	worker_settle(alone);
	assert_int_equal(allocator_find(w->pid, &a, why, sizeof(why)), 0);
	worker_go(w);
	for (int i = 0; i < WINDOWS; i++) {
		const struct heap_tally *t;

		places.first = a.sites[ALLOC_MALLOC].address;
		places.second = i % 2 ? a.sites[ALLOC_FREE].address : 0;
		*heap_breaks_order(b) = (struct heap_window){ .tgid = w->pid, .args = HEAP_ARGS_1, .limit = LIMIT, .length_ns = 1000000, .trap_ns = 1 };
		assert_int_equal(heap_breaks_open(b, &places), 0);
		assert_int_equal(heap_breaks_enable(b), 0);
		if (i % LONG_EVERY == 0) /* on a busy machine the process is not running in most others */
			heap_breaks_wait(1000000);
		t = heap_breaks_close(b);
		assert_in_range(t->hits, 0, LIMIT + (places.second ? LIMIT + HEAP_BREAKS_SPARE : 0));
		hits += t->hits;
	}
	worker_go(alone);
	worker_settle(w);
	worker_settle(alone);
	assert_int_equal(w->value[0], alone->value[0]);
	assert_true(hits > WINDOWS / 100);
	heap_breaks_free(b);
	stakeout_bpf__destroy(skel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST(test_same_result),
		LIVE_TEST(test_ten_thousand_windows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
