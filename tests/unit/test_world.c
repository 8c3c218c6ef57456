/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Scripted lives of agents, tools and threads, and what the intervals say of them. */
#include <errno.h>
#include <limits.h>
#include <sys/socket.h>

#include "lib_world.h"

#define HEAD(k, n, a, t, ns) { .kind = SO_##k, .slots = n, .agent = a, .tid = t, .time_ns = ns }

static void cycle(struct world *w, int slot, unsigned tid, uint64_t base, uint64_t now, uint64_t runq, uint64_t stint, int wait, int next, int flags)
{
	struct so_cycle r = { HEAD(CYCLE, 1, slot, tid, now), now - base, runq, stint, wait, next, flags };

	world_record(w, &r.head);
}

static void do_fork(struct world *w, int slot, unsigned tid, unsigned child, unsigned tgid, uint64_t ns)
{
	struct so_fork r = { .head = HEAD(FORK, 1, slot, tid, ns), .child_tid = child, .child_tgid = tgid };

	world_record(w, &r.head);
}

static void do_exec(struct world *w, int slot, unsigned tgid, unsigned old_tid, const char *comm, uint64_t ns)
{
	struct so_exec r = { .head = HEAD(EXEC, 2, slot, tgid, ns), .tgid = tgid, .old_tid = old_tid, .since_fork_ns = MS };

	memcpy(r.comm, comm, strlen(comm));
	world_record(w, &r.head);
}

static void do_exit(struct world *w, int slot, unsigned tid, unsigned tgid, int code, bool group_dead, uint64_t ns)
{
	struct so_exit r = { .head = HEAD(EXIT, 4, slot, tid, ns), .tgid = tgid, .code = code, .group_dead = group_dead };

	world_record(w, &r.head);
}

static struct so_snap snap(int slot, unsigned tid, unsigned tgid, uint64_t base, uint64_t now)
{
	return (struct so_snap){ .tid = tid, .tgid = tgid, .agent = slot, .wait = SO_WAIT_POLL, .base_ns = base, .now_ns = now,
				 .flags = tid == tgid ? SO_SNAP_LEADER : 0 };
}

static const struct agent_data *closed(struct world *w, int id)
{
	const struct agent_data *const *all;
	int len;

	all = world_interval(w, &len);
	for (int i = 0; i < len; i++)
		if (all[i]->id == id)
			return all[i];
	return NULL;
}

static const struct tool_data *tool(const struct agent_data *a, const char *name)
{
	for (int i = 0; i < a->tools_len; i++)
		if (!strcmp(a->tools[i].name, name))
			return &a->tools[i];
	return NULL;
}

static void assert_closes(const struct agent_data *a)
{
	assert_non_null(a);
	assert_int_equal(ledger_sum(&a->main), (uint64_t)(a->observed_s * 1e9 + 0.5));
}

/* One snapshot of the root, waiting since `base`. */
static void close_waiting(struct world *w, int slot, unsigned root, uint64_t base, uint64_t end)
{
	struct so_snap s = snap(slot, root, root, base, end + MS);

	world_close_begin(w, end);
	world_snap(w, &s);
	world_close_end(w, false);
}

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

/* ---- sockets ---- */

static void do_open(struct world *w, int slot, unsigned tgid, unsigned number, unsigned address, unsigned port, uint64_t ns)
{
	struct so_open r = { .head = HEAD(OPEN, 6, slot, tgid, ns), .socket = number, .family = AF_INET, .type = SOCK_STREAM, .role = SO_ROLE_CLIENT,
			     .remote_port = port, .thread = tgid };
	struct so_connect c = { .head = HEAD(CONNECT, 1, slot, tgid, ns + 1000), .duration_ns = 1000, .socket = number, .family = AF_INET };

	memcpy(r.remote, &address, sizeof(address));
	world_record(w, &r.head);
	world_record(w, &c.head);
}

static void transfer(struct world *w, int kind, int slot, unsigned tid, unsigned number, unsigned bytes, uint64_t ns)
{
	struct so_transfer r = { .head = { kind, 1, slot, tid, ns }, .bytes = bytes, .socket = number, .ago = kind == SO_RECV };

	world_record(w, &r.head);
}

static void do_close(struct world *w, int slot, unsigned tgid, unsigned number, unsigned error, bool by_peer, uint64_t ns)
{
	struct so_close r = { .head = HEAD(CLOSE, 1, slot, tgid, ns), .socket = number, .error = error, .by_peer = by_peer };

	world_record(w, &r.head);
}

static void client_hello(struct world *w, int slot, unsigned tid, unsigned number, uint64_t ns)
{
	struct so_content r = { .head = HEAD(CONTENT, 17, slot, tid, ns), .socket = number, .bytes = 100, .data = { 0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3 } };

	world_record(w, &r.head);
}

static struct world *start_one(int *ret_slot)
{
	struct world *w = world_make(S);
	struct so_snap s;

	*ret_slot = agent_make(w, ROOT);
	s = snap(*ret_slot, ROOT, ROOT, S, S);
	world_snap(w, &s);
	return w;
}

/* An event loop that polls from 1.001 s on, but for one microsecond at each of the moments. */
static void poll_between(struct world *w, int slot, const uint64_t *at, int len)
{
	uint64_t base = S;

	for (int i = 0; i < len; i++) {
		cycle(w, slot, ROOT, base, at[i], 0, 1000, i ? SO_WAIT_POLL : SO_WAIT_NONE, SO_WAIT_POLL, 0);
		base = at[i];
	}
}

static void handshakes_are_waited_for(void **ctx)
{
	int slot;
	struct world *w = start_one(&slot);
	const uint64_t hello = S + MS, flight = S + 101 * MS, answer = S + 301 * MS;
	const struct agent_data *a;

	(void)ctx;
	do_open(w, slot, ROOT, 1, 7, 443, S + 1);
	client_hello(w, slot, ROOT, 1, hello - 1000);
	transfer(w, SO_SEND, slot, ROOT, 1, 517, hello - 1000);
	poll_between(w, slot, &hello, 1);
	transfer(w, SO_RECV, slot, ROOT, 1, 2800, flight - 1000);
	transfer(w, SO_SEND, slot, ROOT, 1, 64, flight - 500);
	transfer(w, SO_SEND, slot, ROOT, 1, 300, flight - 400);
	cycle(w, slot, ROOT, hello, flight, 0, 1000, SO_WAIT_POLL, SO_WAIT_POLL, 0);
	transfer(w, SO_RECV, slot, ROOT, 1, 2800, answer - 1000);
	cycle(w, slot, ROOT, flight, answer, 0, 1000, SO_WAIT_POLL, SO_WAIT_POLL, 0);
	close_waiting(w, slot, ROOT, answer, S + 400 * MS);
	a = closed(w, 0);
	assert_closes(a);
	assert_int_equal(a->main.ns[STATE_NET_HTTP], 300 * MS - 2000);
	assert_int_equal(a->main.ns[STATE_IDLE], 99 * MS);
	assert_int_equal(a->metrics.hist[M_HANDSHAKE_NS]->count, 1);
	assert_int_equal(a->concurrency[CLASS_HTTP].outstanding_ns, 200 * MS - 600); /* a handshake is no exchange */
	assert_int_equal(a->concurrency[CLASS_HTTP].max, 1);
	world_free(w);
}

/* A request that nobody answered was waited for all the same: up to the reset, the agent's own close, its death. */
static void requests_without_an_answer(void **ctx)
{
	(void)ctx;
	for (int how = 0; how < 4; how++) {
		int slot;
		struct world *w = start_one(&slot);
		const uint64_t asked = S + MS, ended = S + 401 * MS;
		const struct agent_data *a;

		do_open(w, slot, ROOT, 1, 7, 5432, S + 1);
		transfer(w, SO_SEND, slot, ROOT, 1, 500, asked);
		poll_between(w, slot, &asked, 1);
		if (how < 3) {
			cycle(w, slot, ROOT, asked, ended, 0, 0, SO_WAIT_POLL, SO_WAIT_POLL, 0);
			do_close(w, slot, ROOT, 1, how ? 0 : ECONNRESET, how == 1, ended);
			close_waiting(w, slot, ROOT, ended, S + 500 * MS);
		} else {
			do_exit(w, slot, ROOT, ROOT, 9, true, ended);
			cycle(w, slot, ROOT, asked, ended, 0, 0, SO_WAIT_POLL, 0, SO_CYCLE_DEAD);
			world_close_begin(w, S + 500 * MS);
			world_close_end(w, false);
		}
		a = closed(w, 0);
		assert_closes(a);
		assert_int_equal(a->main.ns[STATE_NET_DB], 400 * MS);
		assert_int_equal(a->critical.ns[STATE_NET_DB], 400 * MS + 1000); /* and the connect, while main was kept from running */
		assert_int_equal(a->main.ns[STATE_IDLE], how < 3 ? 99 * MS : 0);
		assert_int_equal(a->metrics.value[M_ERRORS_RESET], how == 0);
		assert_int_equal(a->metrics.value[M_ERRORS_UNANSWERED], how == 1);
		assert_int_equal(a->metrics.value[M_EXCHANGES], 0);
		world_free(w);
	}
}

/* Sends and receives are counted only from 0.1 s to 0.3 s: one exchange is outstanding at the begin, what is waited for is not known, and at the end neither
 * what a connection carried that goes on. */
static void a_time_without_detail(void **ctx)
{
	int slot;
	struct world *w = start_one(&slot);
	const uint64_t asked = S + MS, answered = S + 400 * MS;
	struct so_transfer r = { .head = { SO_SEND, 1, slot, ROOT, S + 310 * MS }, .bytes = 100, .socket = 1, .flags = SO_TRANSFER_GAP };
	const struct agent_data *a;

	(void)ctx;
	do_open(w, slot, ROOT, 1, 7, 5432, S + 1);
	transfer(w, SO_SEND, slot, ROOT, 1, 500, asked);
	poll_between(w, slot, &asked, 1);
	world_blind(w, true, S + 100 * MS);
	world_blind(w, false, S + 300 * MS);
	transfer(w, SO_RECV, slot, ROOT, 1, 50, S + 200 * MS); /* was on its way: no end of the exchange */
	world_record(w, &r.head);
	transfer(w, SO_RECV, slot, ROOT, 1, 500, answered);
	cycle(w, slot, ROOT, asked, answered, 0, 0, SO_WAIT_POLL, SO_WAIT_POLL, 0);
	transfer(w, SO_SEND, slot, ROOT, 1, 500, S + 500 * MS);
	transfer(w, SO_RECV, slot, ROOT, 1, 500, S + 600 * MS);
	do_close(w, slot, ROOT, 1, 0, true, S + 700 * MS);
	world_traffic(w, slot, 1000, 2000);
	world_traffic(w, slot, 1500, 2000);
	close_waiting(w, slot, ROOT, answered, S + 800 * MS);
	a = closed(w, 0);
	assert_closes(a);
	assert_int_equal(a->metrics.value[M_EXCHANGES], 1);
	assert_int_equal(a->metrics.hist[M_EXCHANGE_NS]->max, 100 * MS);
	assert_int_equal(a->metrics.value[M_SENT_BYTES], 500 + 100 + 500 + 1500);
	assert_int_equal(a->metrics.value[M_RECEIVED_BYTES], 50 + 500 + 500 + 2000);
	assert_int_equal(a->main.ns[STATE_POLL], 200 * MS);
	assert_int_equal(a->main.ns[STATE_NET_DB], 99 * MS + 90 * MS + 100 * MS); /* up to 0.1 s, from 0.31 s to 0.4 s, from 0.5 s to 0.6 s */
	assert_int_equal(a->main.ns[STATE_IDLE], 10 * MS + 100 * MS + 200 * MS);
	world_next(w);
	world_blind(w, true, S + 900 * MS); /* and one that goes on */
	close_waiting(w, slot, ROOT, answered, 2 * S);
	a = closed(w, 0);
	assert_closes(a);
	assert_int_equal(a->main.ns[STATE_POLL], 100 * MS);
	assert_int_equal(a->main.ns[STATE_IDLE], 100 * MS);
	world_free(w);
}

static uint64_t peers_sum(const struct agent_data *a, enum metric_id m, uint64_t *ret_summed)
{
	uint64_t sum = 0;

	*ret_summed = 0;
	for (int i = 0; i < a->peers_len; i++) {
		sum += metric_infos[m].type == METRIC_HIST ? a->peers[i].metrics.hist[m] ? a->peers[i].metrics.hist[m]->sum : 0 : a->peers[i].metrics.value[m];
		*ret_summed += a->peers[i].summed;
	}
	return sum;
}

/* However many peers there are: a bounded number is kept, and their sum is the agent's. */
static void peers_are_summed_exactly(void **ctx)
{
	static const struct peer_rules rules;
	static const enum metric_id metrics[] = { M_EXCHANGES, M_EXCHANGE_NS, M_CONNECTS, M_SENT_BYTES, M_RECEIVED_BYTES, M_ERRORS_RESET };
	int slot;
	struct world *w = start_one(&slot);
	uint64_t now = S, summed, end;
	size_t bytes[2] = {};
	unsigned number = 0, busiest = 0;

	(void)ctx;
	world_peers(w, &rules, 10);
	for (int i = 0; i < 4; i++) {
		for (int n = 0; n < 2000; n++) {
			unsigned peer = n % 3 ? n : n % 7; /* some are busier */

			do_open(w, slot, ROOT, ++number, 1 + peer, 1000 + peer, now += 1000);
			transfer(w, SO_SEND, slot, ROOT, number, 100 + n, now += 1000);
			transfer(w, SO_RECV, slot, ROOT, number, 1000 + n, now += 2000 + n);
			do_close(w, slot, ROOT, number, n % 5 ? 0 : ECONNRESET, true, now += 1000);
		}
		end = now + MS;
		close_waiting(w, slot, ROOT, S, end);
		assert_closes(closed(w, 0));
		assert_true(closed(w, 0)->peers_len <= 11);
		for (size_t m = 0; m < sizeof(metrics) / sizeof(*metrics); m++) {
			const struct metric_set *all = &closed(w, 0)->metrics;

			assert_int_equal(peers_sum(closed(w, 0), metrics[m], &summed),
					 metric_infos[metrics[m]].type == METRIC_HIST ? all->hist[metrics[m]]->sum : all->value[metrics[m]]);
		}
		assert_int_equal(closed(w, 0)->metrics.value[M_EXCHANGES], 2000);
		assert_true(summed > 1000);
		for (int i = 0; i < closed(w, 0)->peers_len; i++) { /* the busiest are exact by themselves */
			const struct peer_data *p = &closed(w, 0)->peers[i];
			int port = strchr(p->peer, ':') ? atoi(strchr(p->peer, ':') + 1) - 1000 : INT_MAX, seen = 0;

			for (int n = 0; n < 2000; n++)
				seen += (n % 3 ? n : n % 7) == port;
			if (port < 7)
				assert_int_equal(p->metrics.value[M_EXCHANGES], seen);
			busiest += port < 7;
		}
		world_next(w);
		bytes[i > 1] = world_bytes(w);
		now = end + 2 * MS;
	}
	assert_int_equal(busiest, 4 * 7);
	assert_true(bytes[1] <= bytes[0] + bytes[0] / 8); /* it doesn't grow any more */
	world_free(w);
}

/* A socket that goes from a tool of one agent to a thread of another that nobody has seen before. */
static void a_socket_handed_on(void **ctx)
{
	struct world *w = world_make(S);
	int slot[2] = { agent_make(w, ROOT), agent_make(w, 500) };
	struct so_snap s[2] = { snap(slot[0], ROOT, ROOT, S, S), snap(slot[1], 500, 500, S, S) };

	(void)ctx;
	world_snap(w, &s[0]);
	world_snap(w, &s[1]);
	for (int i = 0; i < 5; i++) {
		do_fork(w, slot[0], ROOT, 200 + i, 200 + i, S + MS);
		do_exec(w, slot[0], 200 + i, 200 + i, (const char *[]){ "a", "b", "c", "d", "e" }[i], S + 2 * MS);
	}
	do_open(w, slot[0], 204, 1, 7, 5432, S + 3 * MS);
	transfer(w, SO_SEND, slot[0], 204, 1, 100, S + 4 * MS);
	transfer(w, SO_RECV, slot[1], 777, 1, 100, S + 5 * MS);
	transfer(w, SO_SEND, slot[1], 777, 1, 100, S + 6 * MS);
	do_close(w, slot[1], 777, 1, ECONNRESET, true, S + 7 * MS);
	world_close_begin(w, S + 10 * MS);
	s[0].now_ns = s[1].now_ns = S + 11 * MS;
	world_snap(w, &s[0]);
	world_snap(w, &s[1]);
	world_close_end(w, false);
	assert_closes(closed(w, 0));
	assert_closes(closed(w, 1));
	assert_int_equal(tool(closed(w, 0), "e")->metrics.value[M_SENT_BYTES], 100);
	assert_int_equal(closed(w, 1)->metrics.value[M_SENT_BYTES], 100);
	assert_int_equal(closed(w, 1)->metrics.value[M_RECEIVED_BYTES], 100);
	assert_int_equal(closed(w, 1)->metrics.value[M_ERRORS_RESET], 1);
	assert_int_equal(closed(w, 0)->metrics.value[M_ERRORS_RESET], 0);
	world_free(w);
}

/* The number of an agent's tool turns up in another agent: records in between were lost. */
static void a_number_of_another_agent(void **ctx)
{
	(void)ctx;
	for (int how = 0; how < 4; how++) {
		struct world *w = world_make(S);
		int slot[2] = { agent_make(w, ROOT), agent_make(w, 500) };
		struct so_snap s[3] = { snap(slot[0], ROOT, ROOT, S, S), snap(slot[1], 500, 500, S, S), snap(slot[1], 203, 203, S + 9 * MS, S + 11 * MS) };

		world_snap(w, &s[0]);
		world_snap(w, &s[1]);
		for (int i = 0; i < 4; i++) {
			do_fork(w, slot[0], ROOT, 200 + i, 200 + i, S + MS);
			do_exec(w, slot[0], 200 + i, 200 + i, (const char *[]){ "a", "b", "c", "d" }[i], S + 2 * MS);
		}
		switch (how) {
		case 0:
			do_fork(w, slot[1], 500, 203, 203, S + 3 * MS);
			break;
		case 1:
			do_fork(w, slot[1], 203, 204, 203, S + 3 * MS); /* a thread of it */
			break;
		case 2:
			do_exec(w, slot[1], 203, 203, "new", S + 3 * MS);
			break;
		}
		assert_int_equal(world_agent_of(w, 203), how == 1 ? -1 : how < 3);
		world_close_begin(w, S + 10 * MS);
		s[0].now_ns = s[1].now_ns = S + 11 * MS;
		for (int i = 0; i < 3; i++)
			world_snap(w, &s[i]);
		world_close_end(w, false);
		assert_closes(closed(w, 0));
		assert_closes(closed(w, 1));
		assert_int_equal(tool(closed(w, 0), "d")->runs_live, 0);
		assert_int_equal(world_agent_of(w, 203), 1);
		assert_int_equal(closed(w, 1)->metrics.value[M_PROCESSES], 2);
		world_free(w);
	}
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

/* So much happens in one interval that it is resolved piece by piece, the one before it being held back or not. */
static void an_interval_too_full_to_keep(void **ctx)
{
	(void)ctx;
	for (int held = 0; held < 2; held++) {
		int slot, len;
		struct world *w = start_one(&slot);
		uint64_t base = S, end = 2 * S;
		const struct agent_data *const *all;
		const struct agent_info *const *infos;
		struct so_snap s[2];
		size_t most = 0;

		do_open(w, slot, ROOT, 1, 7, 6379, S + 1);
		do_fork(w, slot, ROOT, 201, ROOT, S + 2); /* a thread that waits all the time */
		cycle(w, slot, 201, S + 2, S + 3, 0, 1, 0, SO_WAIT_POLL, SO_CYCLE_FIRST);
		s[0] = snap(slot, ROOT, ROOT, S, end + MS);
		s[1] = snap(slot, 201, ROOT, S + 3, end + MS);
		world_close_begin(w, end);
		world_snap(w, &s[0]);
		world_snap(w, &s[1]);
		world_close_end(w, false);
		if (held) {
			world_hold(w);
		} else {
			world_interval(w, &len);
			world_next(w);
		}
		for (int i = 0; i < 450000; i++) { /* asks, polls for 9 us, reads, polls for nothing */
			uint64_t now = i ? base + 10000 : end + 10000;

			if (i && i % 2 == 0)
				transfer(w, SO_RECV, slot, ROOT, 1, 10, now - 1000);
			else if (i)
				transfer(w, SO_SEND, slot, ROOT, 1, 10, now);
			cycle(w, slot, ROOT, base, now, 0, 1000, SO_WAIT_POLL, SO_WAIT_POLL, 0);
			base = now;
			if (i % 10000 == 0 && world_bytes(w) > most)
				most = world_bytes(w);
		}
		assert_true(most < 64 << 20);
		if (held) {
			all = world_held(w, base, &len);
			assert_int_equal(len, 1);
			assert_int_equal(ledger_sum(&all[0]->main), S);
			assert_int_equal(ledger_sum(&all[0]->critical), S);
		}
		s[0] = snap(slot, ROOT, ROOT, base, base + 2 * MS);
		s[1] = snap(slot, 201, ROOT, S + 3, base + 2 * MS);
		world_close_begin(w, base + MS);
		world_snap(w, &s[0]);
		world_snap(w, &s[1]);
		world_close_end(w, false);
		all = world_interval(w, &len);
		assert_int_equal(ledger_sum(&all[0]->main), base + MS - end);
		assert_int_equal(ledger_sum(&all[0]->critical), base + MS - end);
		assert_int_equal(all[0]->main.ns[STATE_NET_CACHE], 224999 * 9000ULL + MS); /* the last one is not answered */
		assert_int_equal(all[0]->threads.ns[STATE_NET_CACHE], 2 * (224999 * 9000ULL + MS)); /* the other one waits for the same */
		assert_int_equal(all[0]->critical.ns[STATE_NET_CACHE], 224999 * 9000ULL + MS);
		assert_int_equal(all[0]->concurrency[CLASS_CACHE].outstanding_ns, 224999 * 9000ULL + MS);
		assert_int_equal(all[0]->concurrency[CLASS_CACHE].busy_ns, 224999 * 9000ULL + MS);
		world_next(w);
		all = world_total(w, &infos, &len);
		assert_int_equal(ledger_sum(&all[0]->critical), base + MS - S);
		assert_int_equal(ledger_sum(&all[0]->main), base + MS - S);
		world_free(w);
	}
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
		cmocka_unit_test(handshakes_are_waited_for),
		cmocka_unit_test(requests_without_an_answer),
		cmocka_unit_test(a_time_without_detail),
		cmocka_unit_test(peers_are_summed_exactly),
		cmocka_unit_test(a_socket_handed_on),
		cmocka_unit_test(a_number_of_another_agent),
		cmocka_unit_test(an_agent_that_is_gone_is_told_once),
		cmocka_unit_test(an_interval_too_full_to_keep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
