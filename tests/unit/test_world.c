/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Scripted lives of agents, tools and threads, and what the intervals say of them. Of their sockets: test_world_sockets.c. */
#include <errno.h>

#include "lib_lives.h"

static void tools_are_kept_apart(void **ctx)
{
	struct world *w = world_make(S);
	int slot = agent_make(w, ROOT);
	struct so_snap s = snap(slot, ROOT, ROOT, S, S);
	const struct agent_data *a;

	(void)ctx;
	world_snap(w, &s);
	do_fork(w, slot, ROOT, 201, 201, S + 10 * MS);
	do_exec(w, slot, 201, 201, "grep", S + 11 * MS);
	do_fork(w, slot, ROOT, 202, 202, S + 20 * MS);
	do_exec(w, slot, 202, 202, "make", S + 21 * MS);
	do_fork(w, slot, 202, 203, 203, S + 22 * MS);
	cycle(w, slot, 201, S + 10 * MS, S + 50 * MS, 0, 40 * MS, 0, 0, SO_CYCLE_FIRST);
	do_exit(w, slot, 201, 201, 1 << 8, true, S + 61 * MS);
	cycle(w, slot, 201, S + 50 * MS, S + 62 * MS, 2 * MS, 10 * MS, 0, 0, SO_CYCLE_DEAD);
	close_waiting(w, slot, ROOT, S, 2 * S);

	a = closed(w, 0);
	assert_closes(a);
	assert_int_equal(a->metrics.value[M_FORKS], 3);
	assert_int_equal(a->metrics.value[M_EXECS], 2);
	assert_int_equal(a->metrics.value[M_EXITS], 1);
	assert_int_equal(a->metrics.value[M_EXITS_FAILED], 1);
	assert_int_equal(a->tools_len, 2);
	assert_int_equal(tool(a, "grep")->metrics.value[M_EXITS], 1);
	assert_int_equal(tool(a, "grep")->metrics.hist[M_TOOL_NS]->sum, 50 * MS);
	assert_int_equal(tool(a, "grep")->metrics.value[M_CPU_USER_NS] + tool(a, "grep")->metrics.value[M_CPU_SYSTEM_NS], 50 * MS);
	assert_int_equal(tool(a, "make")->metrics.value[M_FORKS], 1);
	assert_int_equal(tool(a, "make")->metrics.value[M_EXITS], 0);
	assert_int_equal(tool(a, "grep")->runs_live, 0);
	assert_int_equal(a->metrics.value[M_CPU_USER_NS] + a->metrics.value[M_CPU_SYSTEM_NS], 50 * MS);
	world_free(w);
}

/* Intervals of 100 ms; the agent begins within the first and ends within the last. */
static void the_main_ledger_closes(void **ctx)
{
	struct world *w = world_make(S);
	int slot = agent_make(w, ROOT);
	uint64_t base = S + 37 * MS, end = S;
	struct so_snap s = snap(slot, ROOT, ROOT, base, base);

	(void)ctx;
	world_snap(w, &s);
	for (int i = 0; i < 5; i++) {
		cycle(w, slot, ROOT, base, base + 50 * MS, 3 * MS, 7 * MS, SO_WAIT_NET, SO_WAIT_POLL, 0);
		base += 50 * MS;
		end += 100 * MS;
		close_waiting(w, slot, ROOT, base, end);
		assert_closes(closed(w, 0));
		world_next(w);
		cycle(w, slot, ROOT, base, base + 50 * MS, 0, 0, SO_WAIT_POLL, SO_WAIT_NET, 0);
		base += 50 * MS;
	}
	do_exit(w, slot, ROOT, ROOT, 0, true, base + 9 * MS);
	cycle(w, slot, ROOT, base, base + 10 * MS, 0, 10 * MS, 0, 0, SO_CYCLE_DEAD);
	assert_int_equal(world_agents_alive(w), 0);
	world_close_begin(w, end + 100 * MS);
	world_close_end(w, true);
	assert_closes(closed(w, 0));
	assert_false(closed(w, 0)->alive);
	assert_true(world_agent_info(w, 0)->has_exit);
	world_free(w);
}

static void an_exec_by_another_thread(void **ctx)
{
	struct world *w = world_make(S);
	int slot = agent_make(w, ROOT);
	struct so_snap s = snap(slot, ROOT, ROOT, S, S);
	const struct agent_data *a;

	(void)ctx;
	world_snap(w, &s);
	do_fork(w, slot, ROOT, 200, 200, S + MS);
	do_fork(w, slot, 200, 201, 200, S + 2 * MS); /* a thread */
	cycle(w, slot, 200, S + MS, S + 3 * MS, 0, 2 * MS, 0, 0, SO_CYCLE_FIRST | SO_CYCLE_DEAD);
	do_exec(w, slot, 200, 201, "worker", S + 4 * MS);
	cycle(w, slot, 200, S + 2 * MS, S + 9 * MS, 0, 7 * MS, 0, 0, 0);
	do_exit(w, slot, 200, 200, 0, true, S + 10 * MS);
	cycle(w, slot, 200, S + 9 * MS, S + 11 * MS, 0, 2 * MS, 0, 0, SO_CYCLE_DEAD);
	close_waiting(w, slot, ROOT, S, 2 * S);
	a = closed(w, 0);
	assert_closes(a);
	assert_int_equal(a->metrics.value[M_FORKS], 1);
	assert_non_null(tool(a, "worker"));
	assert_int_equal(tool(a, "worker")->metrics.hist[M_TOOL_NS]->count, 1);
	assert_int_equal(tool(a, "worker")->runs_live, 0);
	assert_int_equal(a->metrics.value[M_THREADS], 1);
	assert_int_equal(a->metrics.value[M_PROCESSES], 1);
	assert_int_equal(world_agents_alive(w), 1);
	world_free(w);
}

static void a_number_in_use_again(void **ctx)
{
	struct world *w = world_make(S);
	int slot = agent_make(w, ROOT);
	struct so_snap s = snap(slot, ROOT, ROOT, S, S), child = snap(slot, 200, 200, S + 6 * MS, S + 8 * MS);

	(void)ctx;
	world_snap(w, &s);
	do_fork(w, slot, ROOT, 200, 200, S + MS);
	do_exec(w, slot, 200, 200, "old", S + 2 * MS);
	do_fork(w, slot, ROOT, 200, 200, S + 5 * MS); /* the record of its death was lost */
	do_exec(w, slot, 200, 200, "new", S + 6 * MS);
	world_close_begin(w, S + 7 * MS);
	world_snap(w, &child);
	s.now_ns = S + 8 * MS;
	world_snap(w, &s);
	world_close_end(w, false);
	assert_closes(closed(w, 0));
	assert_int_equal(tool(closed(w, 0), "old")->runs_live, 0);
	assert_int_equal(tool(closed(w, 0), "new")->runs_live, 1);
	assert_int_equal(closed(w, 0)->metrics.value[M_PROCESSES], 2);
	world_next(w);
	close_waiting(w, slot, ROOT, S, S + 17 * MS); /* no snapshot names it: gone */
	assert_int_equal(tool(closed(w, 0), "new")->runs_live, 0);
	assert_int_equal(closed(w, 0)->metrics.value[M_PROCESSES], 1);
	world_free(w);
}

static void slots_are_used_again(void **ctx)
{
	struct world *w = world_make(S);
	int slot = 0;

	(void)ctx;
	for (int i = 1; i < SO_MAX_AGENTS; i++)
		assert_int_equal(agent_make(w, ROOT + i), i);
	assert_int_equal(agent_make(w, 5), -ENOSPC);
	world_close_begin(w, 2 * S); /* nothing was ever seen of them */
	world_close_end(w, false);
	world_next(w);
	assert_int_equal(world_agents_alive(w), 0);
	slot = agent_make(w, 5000);
	assert_true(slot > 0 && slot < SO_MAX_AGENTS);
	assert_int_equal(world_agents(w), SO_MAX_AGENTS); /* ids go on */
	assert_int_equal(world_agent_info(w, SO_MAX_AGENTS - 1)->pid, 5000);
	world_free(w);
}

/* A watching without end: agents that are over leave nothing behind. */
static void agents_are_forgotten(void **ctx)
{
	struct world *w = world_make(S);
	uint64_t now = S;
	size_t bytes = 0;
	int stays, len;

	(void)ctx;
	world_forgets(w);
	stays = agent_make(w, ROOT);
	for (int n = 0; n < 300; n++) {
		int comes = agent_make(w, 1000 + n);
		struct so_snap s = snap(stays, ROOT, ROOT, S, now + 10 * MS), c = snap(comes, 1000 + n, 1000 + n, now, now + 10 * MS);
		const struct agent_data *const *all;

		world_close_begin(w, now += 10 * MS);
		world_snap(w, &s);
		world_snap(w, &c);
		world_close_end(w, false);
		world_hold(w);
		all = world_held(w, now, &len);
		/* It, the one that stays, and the one before as ended. */
		assert_int_equal(len, n ? 3 : 2);
		for (int i = 0; i < len; i++) {
			assert_int_equal(world_interval_infos(w)[i]->id, all[i]->id);
			assert_int_equal(world_interval_infos(w)[i]->pid, all[i]->id ? 999 + all[i]->id : ROOT);
			assert_int_equal(all[i]->alive, !all[i]->id || all[i]->id == n + 1);
		}
		do_exit(w, comes, 1000 + n, 1000 + n, 0, true, now + MS);
		if (n == 10)
			bytes = world_bytes(w);
	}
	assert_int_equal(world_agents(w), 301);
	assert_in_range(world_places(w), 3, 5);
	assert_int_equal(world_bytes(w), bytes);
	world_free(w);
}

static void strangers_do_no_harm(void **ctx)
{
	static const uint8_t kinds[] = { SO_CYCLE, SO_CYCLE_LONG, SO_FORK, SO_EXEC, SO_EXIT, SO_CONNECT, SO_ACCEPT, SO_SEND, SO_RECV, SO_RETRANSMIT,
					 SO_MAP, SO_CANDIDATE, SO_SYNTHETIC };
	static const uint16_t slots[] = { 0, 7, SO_MAX_AGENTS - 1, SO_MAX_AGENTS, UINT16_MAX };
	struct world *w = world_make(S);
	int slot = agent_make(w, ROOT);
	_Alignas(8) uint8_t raw[4 * SO_SLOT_BYTES];

	(void)ctx;
	for (size_t k = 0; k < sizeof(kinds); k++)
		for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++)
			for (int fill = 0; fill < 256; fill += 51) {
				memset(raw, fill, sizeof(raw));
				*(struct so_head *)raw = (struct so_head){ kinds[k], 1, slots[i], 12345, S };
				world_record(w, (void *)raw);
			}
	assert_true(world_orphans(w) > 0);
	world_kmem(w, SO_MAX_AGENTS, 8, 8);
	assert_int_equal(world_agent_of(w, 12345), -1);
	close_waiting(w, slot, ROOT, S, 2 * S);
	assert_closes(closed(w, 0));
	assert_int_equal(closed(w, 0)->metrics.value[M_FORKS], 0);
	assert_int_equal(closed(w, 0)->metrics.value[M_SENT_BYTES], 0);
	world_free(w);
}

static void cpu_time_never_shrinks_and_memory_is_bounded(void **ctx)
{
	struct world *w = world_make(S);
	int slot = agent_make(w, ROOT);
	uint64_t base = S, told = 0;
	size_t empty;
	struct so_snap s = snap(slot, ROOT, ROOT, S, S);

	(void)ctx;
	world_snap(w, &s);
	empty = world_bytes(w);
	for (int i = 1; i <= 50; i++) {
		for (int j = 0; j < 20; j++) {
			uint64_t stint = 1000 + (i * 7919 + j * 104729) % 900000;

			cycle(w, slot, ROOT, base, base + 5 * MS, 1000 * j, stint, 1 + j % (SO_WAITS - 1), SO_WAIT_POLL, 0);
			base += 5 * MS;
			told += stint;
		}
		world_close_begin(w, base);
		s = snap(slot, ROOT, ROOT, base, base + MS);
		s.utime_ns = i % 3 ? i * MS : 4 * i * MS; /* the ratio that ticks see jumps about */
		s.stime_ns = i * i * MS / 4;
		world_snap(w, &s);
		world_close_end(w, false);
		assert_closes(closed(w, 0));
		assert_true(closed(w, 0)->metrics.value[M_CPU_USER_NS] <= 100 * MS); /* not wrapped around */
		assert_true(closed(w, 0)->metrics.value[M_CPU_SYSTEM_NS] <= 100 * MS);
		told -= closed(w, 0)->metrics.value[M_CPU_USER_NS] + closed(w, 0)->metrics.value[M_CPU_SYSTEM_NS];
		assert_int_equal(told, 0);
		world_next(w);
	}
	assert_true(world_bytes(w) - empty <= 64 << 10);
	world_free(w);
}

static void an_agent_that_is_gone_is_told_once(void **ctx)
{
	bool on[PROBE_COUNT] = {};
	struct world *w;
	int len, told = 0;

	(void)ctx;
	on[PROBE_CORE] = on[PROBE_PROC] = true; /* nobody tells how long it was there */
	w = world_new(on);
	world_start(w, S);
	agent_make(w, ROOT);
	for (int i = 1; i < 10; i++) {
		world_close_begin(w, S + i * S);
		world_close_end(w, false);
		if (i % 2) {
			world_hold(w);
			world_held(w, S + i * S + MS, &len);
		} else {
			world_interval(w, &len);
			world_next(w);
		}
		told += len;
	}
	assert_int_equal(told, 1);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tools_are_kept_apart),
		cmocka_unit_test(the_main_ledger_closes),
		cmocka_unit_test(an_exec_by_another_thread),
		cmocka_unit_test(a_number_in_use_again),
		cmocka_unit_test(slots_are_used_again),
		cmocka_unit_test(agents_are_forgotten),
		cmocka_unit_test(strangers_do_no_harm),
		cmocka_unit_test(cpu_time_never_shrinks_and_memory_is_bounded),
		cmocka_unit_test(an_agent_that_is_gone_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
