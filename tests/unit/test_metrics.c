/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The tables are sound, and sets of metrics merge as each type says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/ledger.h"
#include "model/metrics.h"
#include "model/recording.h"

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), n = strlen(end);

	return len >= n && !strcmp(s + len - n, end);
}

static void tables_are_sound(void **ctx)
{
	(void)ctx;
	for (int m = 0; m < METRIC_IDS; m++) {
		const struct metric_info *info = &metric_infos[m];

		assert_non_null(info->name);
		assert_int_equal(metric_find(info->name), m); /* names are unique */
		assert_true(info->probe < PROBE_COUNT);
		assert_true(*info->help);
		/* Names carry their unit. */
		assert_int_equal(ends_with(info->name, "_ns"), info->unit == UNIT_NS);
		assert_int_equal(ends_with(info->name, "_bytes"), info->unit == UNIT_BYTES);
	}
	for (int p = 0; p < PROBE_COUNT; p++)
		assert_int_equal(probe_find(probe_infos[p].name), p);
	for (int c = 0; c < CLASS_COUNT; c++) {
		char state[32];

		assert_int_equal(class_find(class_infos[c].name), c);
		assert_true(*class_infos[c].help);
		snprintf(state, sizeof(state), "net.%s", class_infos[c].name); /* the net states stand in the order of the classes */
		assert_int_equal(state_find(state), class_state((enum class_id)c));
	}
	for (int s = 0; s < STATE_COUNT; s++) {
		assert_int_equal(state_find(state_infos[s].name), s);
		for (int t = 0; t < s; t++)
			assert_int_not_equal(state_infos[s].bar, state_infos[t].bar);
	}
	assert_int_equal(metric_find("no_such"), -1);
	assert_int_equal(metric_find(""), -1);
	assert_int_equal(probe_find("no_such"), -1);
	assert_int_equal(state_find("no_such"), -1);
	assert_int_equal(state_find("net"), -1);
	assert_int_equal(class_find("no_such"), -1);
}

static void merge_by_type(void **ctx)
{
	struct metric_set a = { 0 }, b = { 0 };

	(void)ctx;
	metric_add(&a, M_FORKS, 3);
	metric_add(&b, M_FORKS, 4);
	a.value[M_THREADS] = 9;
	b.value[M_THREADS] = 2;
	a.value[M_RSS_PEAK_BYTES] = 900;
	b.value[M_RSS_PEAK_BYTES] = 200;
	assert_int_equal(metric_record(&b, M_RUNQ_NS, 1000), 0);
	assert_int_equal(metric_set_merge(&a, &b), 0);
	assert_int_equal(metric_set_merge(&a, &b), 0);
	assert_int_equal(a.value[M_FORKS], 11);
	assert_int_equal(a.value[M_THREADS], 2);
	assert_int_equal(a.value[M_RSS_PEAK_BYTES], 900);
	assert_non_null(a.hist[M_RUNQ_NS]);
	assert_int_equal(a.hist[M_RUNQ_NS]->count, 2);
	assert_null(a.hist[M_ONCPU_NS]); /* what never was costs nothing */
	assert_true(metric_set_bytes(&a) >= sizeof(struct hist));
	metric_set_reset(&a);
	assert_int_equal(a.value[M_FORKS] + a.value[M_THREADS] + a.value[M_RSS_PEAK_BYTES], 0);
	assert_int_equal(a.hist[M_RUNQ_NS]->count, 0);
	metric_set_fini(&a);
	metric_set_fini(&b);
	assert_int_equal(metric_set_bytes(&a), 0);
}

static void ledgers_add_up(void **ctx)
{
	struct ledger a = { 0 }, b = { 0 };

	(void)ctx;
	a.ns[STATE_RUNNING] = 1;
	b.ns[STATE_RUNNING] = 2;
	b.ns[STATE_OTHER] = 40;
	ledger_merge(&a, &b);
	assert_int_equal(a.ns[STATE_RUNNING], 3);
	assert_int_equal(ledger_sum(&a), 43);
}

static void agents_merge_with_their_tools(void **ctx)
{
	struct agent_data total = { 0 }, now = { .id = 7, .alive = true, .observed_s = 0.5 };
	char name[16];

	(void)ctx;
	for (int i = 0; i < 20; i++) {
		struct tool_data *tool;

		snprintf(name, sizeof(name), "tool%d", i);
		tool = agent_data_tool(&now, name);
		assert_non_null(tool);
		metric_add(&tool->metrics, M_EXECS, (uint64_t)i);
		tool->runs_live = 1;
		tool->main.ns[STATE_NET_DB] = (uint64_t)i + 1;
		assert_ptr_equal(agent_data_tool(&now, name), tool);
	}
	now.main.ns[STATE_SLEEP] = 10;
	now.critical.ns[STATE_NET_LLM] = 7;
	now.concurrency[CLASS_DB] = (struct concurrency){ .outstanding_ns = 30, .busy_ns = 20, .max = 3 };
	total.concurrency[CLASS_DB].max = 5;
	assert_int_equal(agent_data_merge(&total, &now), 0);
	assert_int_equal(agent_data_merge(&total, &now), 0);
	assert_int_equal(total.id, 7);
	assert_true(total.alive && total.observed_s == 1);
	assert_int_equal(total.tools_len, 20);
	assert_int_equal(agent_data_tool(&total, "tool19")->metrics.value[M_EXECS], 38);
	assert_int_equal(agent_data_tool(&total, "tool19")->runs_live, 1);
	assert_int_equal(agent_data_tool(&total, "tool19")->main.ns[STATE_NET_DB], 40);
	assert_int_equal(total.main.ns[STATE_SLEEP], 20);
	assert_int_equal(total.critical.ns[STATE_NET_LLM], 14);
	assert_int_equal(total.concurrency[CLASS_DB].outstanding_ns, 60);
	assert_int_equal(total.concurrency[CLASS_DB].busy_ns, 40);
	assert_int_equal(total.concurrency[CLASS_DB].max, 5);
	agent_data_fini(&total);
	agent_data_fini(&now);
}

static void leak_candidates_outlive_the_agent(void **ctx)
{
	struct agent_data total = { 0 }, now = { .alive = true };

	(void)ctx;
	assert_int_equal(sample_set_add(&now.samples[SAMPLE_LEAK_BYTES], 3, 1000), 0);
	assert_int_equal(sample_set_add(&now.samples[SAMPLE_LIVE_BYTES], 3, 1000), 0);
	assert_int_equal(agent_data_merge(&total, &now), 0);
	agent_data_extras_reset(&now);
	now.alive = false; /* it has freed everything on its way out */
	assert_int_equal(agent_data_merge(&total, &now), 0);
	assert_int_equal(sample_set_sum(&total.samples[SAMPLE_LIVE_BYTES]), 0);
	assert_int_equal(sample_set_sum(&total.samples[SAMPLE_LEAK_BYTES]), 1000);
	now.alive = true; /* in a living one they are gone when they are */
	assert_int_equal(agent_data_merge(&total, &now), 0);
	assert_int_equal(sample_set_sum(&total.samples[SAMPLE_LEAK_BYTES]), 0);
	agent_data_fini(&total);
	agent_data_fini(&now);
}

static struct peer_data *peer(struct agent_data *a, bool server, const char *address, const char *name, uint64_t exchanges)
{
	struct peer_data *p = agent_data_peer(a, server, address, name);

	assert_non_null(p);
	metric_add(&p->metrics, server ? M_EXCHANGES_SERVED : M_EXCHANGES, exchanges);
	return p;
}

static void peers_merge_by_side_address_and_name(void **ctx)
{
	struct agent_data total = { 0 }, now = { .id = 1 };
	struct peer_data *p;

	(void)ctx;
	p = peer(&now, false, "10.0.0.1:80", "", 1);
	assert_int_equal(p->class, CLASS_OTHER);
	assert_ptr_equal(agent_data_peer(&now, false, "10.0.0.1:80", ""), p);
	peer(&now, false, "10.0.0.1:80", "a.example", 2)->class = CLASS_LLM;
	peer(&now, true, "10.0.0.1:80", "", 4);
	peer(&now, false, "10.0.0.1:81", "", 8)->multiplexed = true;
	peer(&now, false, PEER_REST, "", 16)->summed = 3;
	assert_int_equal(now.peers_len, 5);
	assert_int_equal(agent_data_merge(&total, &now), 0);
	for (int i = 0; i < now.peers_len; i++) { /* what is known later counts; once multiplexed is multiplexed */
		now.peers[i].class = CLASS_HTTP;
		now.peers[i].multiplexed = false;
	}
	assert_int_equal(agent_data_merge(&total, &now), 0);
	assert_int_equal(total.peers_len, 5);
	for (int i = 0; i < 5; i++) {
		p = &total.peers[i];
		assert_string_equal(p->peer, now.peers[i].peer);
		assert_int_equal(peer_exchanges(p), 2 << i);
		assert_int_equal(p->class, CLASS_HTTP);
		assert_int_equal(p->multiplexed, i == 3);
		assert_int_equal(p->summed, peer_is_rest(p) ? 6 : 0);
		assert_int_equal(peer_is_rest(p), i == 4);
		assert_true(peer_active(p));
	}
	assert_false(peer_active(agent_data_peer(&total, false, "new", "")));
	agent_data_fini(&total);
	agent_data_fini(&now);
	assert_null(total.peers);
}

/* Figures that a seed decides, so that no two peers are alike, and some have none. */
static void random_peers(struct agent_data *a, uint64_t *seed, int n)
{
	static const enum metric_id counters[] = { M_EXCHANGES, M_EXCHANGES_SERVED, M_CONNECTS, M_ACCEPTS, M_SENT_BYTES, M_ERRORS_RESET };
	static const enum metric_id hists[] = { M_EXCHANGE_NS, M_SERVE_NS, M_RTT_NS };

	for (int i = 0; i < n; i++) {
		char address[32];
		struct peer_data *p;

		*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
		snprintf(address, sizeof(address), "10.0.%u.%u:80", (unsigned)(*seed >> 40 & 15), (unsigned)(*seed >> 48 & 255));
		p = agent_data_peer(a, *seed >> 60 & 1, address, *seed >> 61 & 1 ? "name" : "");
		assert_non_null(p);
		p->multiplexed |= !(*seed >> 56 & 7);
		for (size_t m = 0; m < sizeof(counters) / sizeof(*counters) && *seed >> 62; m++)
			metric_add(&p->metrics, counters[m], *seed >> (8 + m) & 0x3f);
		for (size_t m = 0; m < sizeof(hists) / sizeof(*hists) && *seed >> 62; m++)
			assert_int_equal(metric_record(&p->metrics, hists[m], *seed >> (16 + 8 * m) & (*seed & 1 ? 7 : UINT32_MAX)), 0);
	}
}

/* The sum over all peers of a side, the rest included. */
static void peers_sum(const struct agent_data *a, bool server, struct metric_set *sum)
{
	memset(sum, 0, sizeof(*sum));
	for (int i = 0; i < a->peers_len; i++)
		if (a->peers[i].server == server)
			assert_int_equal(metric_set_merge(sum, &a->peers[i].metrics), 0);
}

static void assert_same_sum(const struct metric_set *a, const struct metric_set *b)
{
	assert_memory_equal(a->value, b->value, sizeof(a->value));
	for (int m = 0; m < METRIC_IDS; m++) {
		const struct hist *h = a->hist[m], *k = b->hist[m];

		assert_int_equal(h ? h->count : 0, k ? k->count : 0);
		if (!h || !h->count)
			continue;
		assert_true(h->sum == k->sum && h->min == k->min && h->max == k->max && h->zero_count == k->zero_count);
		assert_int_equal(h->scale, k->scale);
		for (int32_t i = -1; i < 2048; i++) {
			uint32_t x = (uint32_t)(i - h->offset), y = (uint32_t)(i - k->offset);

			assert_int_equal(x < h->len ? hist_bucket(h, x) : 0, y < k->len ? hist_bucket(k, y) : 0);
		}
	}
}

static int actives(const struct agent_data *a)
{
	int n = 0;

	for (int i = 0; i < a->peers_len; i++)
		n += peer_active(&a->peers[i]) && !peer_is_rest(&a->peers[i]);
	return n;
}

static void trimming_loses_nothing(void **ctx)
{
	static const int keeps[] = { 300, 64, 63, 5, 1, 0 }; /* one after the other, of the same agent */
	uint64_t seed = 1;

	(void)ctx;
	for (int round = 0; round < 8; round++) {
		struct agent_data a = { 0 };
		struct metric_set before[2];
		uint64_t summed = 0;

		random_peers(&a, &seed, 800);
		assert_true(a.peers_len > 400);
		peers_sum(&a, false, &before[0]);
		peers_sum(&a, true, &before[1]);
		for (size_t k = 0; k < sizeof(keeps) / sizeof(*keeps); k++) {
			const int were = actives(&a);
			uint64_t least = UINT64_MAX;
			int rests = 0;

			assert_int_equal(agent_data_peers_trim(&a, keeps[k]), 0);
			for (int side = 0; side < 2; side++) {
				struct metric_set after;

				peers_sum(&a, side, &after);
				assert_same_sum(&before[side], &after);
				metric_set_fini(&after);
			}
			if (were > actives(&a))
				summed += (uint64_t)(were - actives(&a));
			for (int i = 0; i < a.peers_len; i++) {
				struct peer_data *p = &a.peers[i];

				if (peer_is_rest(p)) {
					rests++;
					assert_true(p->summed > 0);
					assert_int_equal(p->class, CLASS_OTHER);
				} else {
					assert_true(peer_exchanges(p) <= least); /* the busiest first */
					least = peer_exchanges(p);
					assert_int_equal(p->summed, 0);
				}
				assert_ptr_equal(agent_data_peer(&a, p->server, p->peer, p->name), p);
			}
			assert_true(rests <= 2);
			assert_true(a.peers_len - rests <= keeps[k]);
			assert_int_equal(agent_data_peer(&a, false, PEER_REST, "")->summed +
						 agent_data_peer(&a, true, PEER_REST, "")->summed, summed);
		}
		assert_int_equal(actives(&a), 0);
		metric_set_fini(&before[0]);
		metric_set_fini(&before[1]);
		agent_data_fini(&a);
	}
}

static void the_busiest_are_kept(void **ctx)
{
	struct agent_data a = { 0 };
	struct peer_data *p;

	(void)ctx;
	peer(&a, false, "idle", "", 0);
	peer(&a, false, "bytes", "", 0)->metrics.value[M_SENT_BYTES] = 9;
	peer(&a, true, "accepts", "", 0)->metrics.value[M_ACCEPTS] = 1;
	peer(&a, false, "one", "", 1);
	peer(&a, true, "two", "", 2);
	peer(&a, false, "connects", "", 0)->metrics.value[M_CONNECTS] = 2;
	assert_int_equal(agent_data_peers_trim(&a, 6), 0);
	assert_int_equal(a.peers_len, 6);
	assert_int_equal(agent_data_peers_trim(&a, 5), 0);
	assert_int_equal(a.peers_len, 5); /* what had no activity is not summed */
	assert_int_equal(agent_data_peers_trim(&a, 2), 0);
	assert_int_equal(a.peers_len, 4);
	assert_string_equal(a.peers[0].peer, "two");
	assert_string_equal(a.peers[1].peer, "one");
	p = agent_data_peer(&a, false, PEER_REST, "");
	assert_int_equal(p->summed, 2);
	assert_int_equal(p->metrics.value[M_SENT_BYTES], 9);
	p = agent_data_peer(&a, true, PEER_REST, "");
	assert_int_equal(p->summed, 1);
	assert_int_equal(p->metrics.value[M_ACCEPTS], 1);
	assert_int_equal(a.peers_len, 4);
	peer(&a, false, "bytes", "", 1)->metrics.value[M_SENT_BYTES] = 1; /* it comes back, goes again, and counts twice */
	peer(&a, false, "three", "", 3);
	assert_int_equal(agent_data_peers_trim(&a, 2), 0);
	assert_int_equal(agent_data_peer(&a, false, PEER_REST, "")->summed, 4);
	assert_int_equal(agent_data_peer(&a, false, PEER_REST, "")->metrics.value[M_SENT_BYTES], 10);
	agent_data_fini(&a);
}

/* Ever new peers: what a total takes stays bounded, and nothing is lost. More are kept where intervals have more. */
static void totals_are_bounded(void **ctx)
{
	static const int sizes[] = { PEERS_KEPT, 200 };

	(void)ctx;
	for (size_t k = 0; k < 2; k++) {
		struct agent_data total = { 0 };
		struct metric_set sum = { 0 };
		uint64_t exchanges = 0, seen;
		int most = 0;

		for (int interval = 0; interval < 40; interval++) {
			struct agent_data now = { .id = 1 };
			char address[32];

			peer(&now, false, "always", "", 1000);
			for (int i = 1; i < sizes[k]; i++) {
				snprintf(address, sizeof(address), "10.0.%d.%d:1", interval, i);
				peer(&now, false, address, "", (uint64_t)i);
				exchanges += (uint64_t)i;
			}
			exchanges += 1000;
			assert_int_equal(agent_data_merge(&total, &now), 0);
			agent_data_fini(&now);
			most = total.peers_len > most ? total.peers_len : most;
		}
		peers_sum(&total, false, &sum);
		assert_int_equal(sum.value[M_EXCHANGES], exchanges);
		metric_set_fini(&sum);
		assert_true(most > sizes[k] && most <= 4 * sizes[k]);
		assert_int_equal(agent_data_peer(&total, false, "always", "")->metrics.value[M_EXCHANGES], 40000);
		seen = agent_data_peer(&total, false, PEER_REST, "")->summed + (uint64_t)total.peers_len - 1;
		assert_int_equal(seen, 1 + 40 * (sizes[k] - 1));
		agent_data_fini(&total);
	}
}

/* Even when a single interval has very many. */
static void one_huge_interval(void **ctx)
{
	struct agent_data total = { 0 }, now = { .id = 1 };
	struct metric_set a, b;
	uint64_t seed = 7;

	(void)ctx;
	random_peers(&now, &seed, 6000);
	assert_true(now.peers_len > 4 * PEERS_KEPT_MAX);
	assert_int_equal(agent_data_merge(&total, &now), 0);
	assert_true(total.peers_len <= 4 * PEERS_KEPT_MAX);
	assert_true(agent_data_peer(&total, true, PEER_REST, "")->summed > 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(agent_data_merge(&total, &now), 0);
	assert_true(total.peers_len <= 4 * PEERS_KEPT_MAX);
	assert_int_equal(agent_data_merge(&now, &total), 0);
	for (int side = 0; side < 2; side++) {
		peers_sum(&now, side, &a);
		peers_sum(&total, side, &b);
		assert_int_equal(a.value[M_EXCHANGES] * 3, b.value[M_EXCHANGES] * 4);
		metric_set_fini(&a);
		metric_set_fini(&b);
	}
	agent_data_fini(&total);
	agent_data_fini(&now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_sound),
		cmocka_unit_test(merge_by_type),
		cmocka_unit_test(ledgers_add_up),
		cmocka_unit_test(agents_merge_with_their_tools), cmocka_unit_test(leak_candidates_outlive_the_agent),
		cmocka_unit_test(peers_merge_by_side_address_and_name),
		cmocka_unit_test(trimming_loses_nothing),
		cmocka_unit_test(the_busiest_are_kept),
		cmocka_unit_test(totals_are_bounded),
		cmocka_unit_test(one_huge_interval),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
