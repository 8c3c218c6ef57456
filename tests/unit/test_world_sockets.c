/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Scripted lives of agents' sockets, and what the intervals say of them. */
#include <errno.h>
#include <limits.h>
#include <sys/socket.h>

#include "lib_lives.h"

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
		cmocka_unit_test(handshakes_are_waited_for),
		cmocka_unit_test(requests_without_an_answer),
		cmocka_unit_test(a_time_without_detail),
		cmocka_unit_test(peers_are_summed_exactly),
		cmocka_unit_test(a_socket_handed_on),
		cmocka_unit_test(a_number_of_another_agent),
		cmocka_unit_test(an_interval_too_full_to_keep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
