/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "lib_findings.h"

/* 100 connects of 1 ms with handshakes of 20 ms, an exchange each: 99 of them in vain. */
static struct metric_set *handshakes(struct made *m)
{
	struct metric_set *p;

	made_init(m);
	p = made_peer(m, "10.0.0.1:443", "api.example.com", CLASS_HTTP);
	p->value[M_CONNECTS] = p->value[M_EXCHANGES] = m->data.metrics.value[M_CONNECTS] = 100;
	made_values(p, M_CONNECT_NS, 100, 1 * MS);
	made_values(p, M_HANDSHAKE_NS, 100, 20 * MS);
	return p;
}

static void connects_that_could_be_saved(void **ctx)
{
	struct made m;

	(void)ctx;
	handshakes(&m);
	assert_int_equal(made_judge(&m, FINDING_REUSE), 1);
	assert_near(m.found[0].cost_s, 99 * 0.021);
	assert_string_equal(m.found[0].subject, "http api.example.com:443");
	assert_string_equal(m.found[0].evidence, "100 connects for 100 requests, where 1 open at once would do; on average a "
	                                         "connect took 1.00 ms and a TLS handshake 20.0 ms");
	made_fini(&m);
}

static void what_runs_at_once_needs_its_connections(void **ctx)
{
	struct made m;

	(void)ctx;
	handshakes(&m);
	m.data.concurrency[CLASS_HTTP] = (struct concurrency){.outstanding_ns = 8000, .busy_ns = 2000, .max = 10};
	assert_int_equal(made_judge(&m, FINDING_REUSE), 1);
	assert_near(m.found[0].cost_s, 90 * 0.021 / 4);
	m.data.concurrency[CLASS_HTTP].max = 100;
	assert_int_equal(made_judge(&m, FINDING_REUSE), 0);
	made_fini(&m);
}

static void a_pool_is_no_fault(void **ctx)
{
	struct made m;
	struct metric_set *p = handshakes(&m);

	(void)ctx;
	p->value[M_EXCHANGES] = 400;
	assert_int_equal(made_judge(&m, FINDING_REUSE), 1);
	p->value[M_EXCHANGES] = 401;
	assert_int_equal(made_judge(&m, FINDING_REUSE), 0);
	p->value[M_EXCHANGES] = 0; /* nobody answers: another fault */
	assert_int_equal(made_judge(&m, FINDING_REUSE), 0);
	made_fini(&m);
}

static void neither_are_few_or_rare_connects(void **ctx)
{
	struct made m;
	struct metric_set *p = handshakes(&m);

	(void)ctx;
	p->value[M_CONNECTS] = p->value[M_EXCHANGES] = m.data.metrics.value[M_CONNECTS] = 4;
	p->hist[M_HANDSHAKE_NS]->sum = (uint64_t)(10000 * MS);
	assert_int_equal(made_judge(&m, FINDING_REUSE), 0);
	p->value[M_CONNECTS] = p->value[M_EXCHANGES] = m.data.metrics.value[M_CONNECTS] = 5;
	assert_int_equal(made_judge(&m, FINDING_REUSE), 1);
	m.in.seconds = 200;
	assert_int_equal(made_judge(&m, FINDING_REUSE), 0);
	made_fini(&m);
}

/* A tool that is started a hundred times can't share connections with itself. */
static void connects_of_tools_do_not_count(void **ctx)
{
	struct made m;

	(void)ctx;
	handshakes(&m);
	agent_data_tool(&m.data, "curl")->metrics.value[M_CONNECTS] = 97;
	assert_int_equal(made_judge(&m, FINDING_REUSE), 0);
	m.data.tools[0].metrics.value[M_CONNECTS] = 50;
	assert_int_equal(made_judge(&m, FINDING_REUSE), 1);
	assert_near(m.found[0].cost_s, 49 * 0.021);
	made_fini(&m);
}

static void many_cheap_connects_are_worth_a_word(void **ctx)
{
	struct made m;
	struct metric_set *p;

	(void)ctx;
	made_init(&m);
	p = made_peer(&m, "/run/redis.sock", "", CLASS_CACHE);
	p->value[M_CONNECTS] = p->value[M_EXCHANGES] = m.data.metrics.value[M_CONNECTS] = 120;
	made_values(p, M_CONNECT_NS, 120, 20000);
	assert_int_equal(made_judge(&m, FINDING_REUSE), 1);
	assert_int_equal(m.found[0].severity, SEVERITY_INFO);
	p->value[M_CONNECTS] = m.data.metrics.value[M_CONNECTS] = 119;
	assert_int_equal(made_judge(&m, FINDING_REUSE), 0);
	made_fini(&m);
}

static void addresses_behind_one_name_are_one(void **ctx)
{
	struct made m;
	char address[32];

	(void)ctx;
	made_init(&m);
	for (int i = 0; i < 8; i++) {
		struct metric_set *p;

		snprintf(address, sizeof(address), "10.0.0.%d:443", i);
		p = made_peer(&m, address, i < 6 ? "api.example.com" : "", CLASS_HTTP);
		p->value[M_CONNECTS] = p->value[M_EXCHANGES] = 2;
		m.data.metrics.value[M_CONNECTS] += 2;
		made_values(p, M_CONNECT_NS, 2, 100 * MS);
	}
	assert_int_equal(made_judge(&m, FINDING_REUSE), 1);
	assert_near(m.found[0].cost_s, 1.1);
	assert_string_equal(m.found[0].subject, "http api.example.com:443");
	made_fini(&m);
}

static void what_serves_or_is_multiplexed_is_left_alone(void **ctx)
{
	struct made m;

	(void)ctx;
	handshakes(&m);
	m.data.peers[0].multiplexed = true;
	assert_int_equal(made_judge(&m, FINDING_REUSE), 0);
	m.data.peers[0].multiplexed = false;
	m.data.peers[0].server = true;
	assert_int_equal(made_judge(&m, FINDING_REUSE), 0);
	made_fini(&m);
}

/* Calls to a far peer: a round trip of 80 ms, an answer after another 20. */
static struct metric_set *far(struct made *m)
{
	struct metric_set *p;

	made_init(m);
	p = made_peer(m, "203.0.113.1:443", "", CLASS_HTTP);
	p->value[M_EXCHANGES] = 100;
	made_values(p, M_CONNECT_NS, 1, 80 * MS);
	made_values(p, M_RTT_NS, 100, 81 * MS);
	made_values(p, M_TTFB_NS, 100, 100 * MS);
	return p;
}

static void a_network_that_is_slow(void **ctx)
{
	struct metric_set *p;
	struct made m;

	(void)ctx;
	far(&m);
	assert_int_equal(made_judge(&m, FINDING_SLOW_NETWORK), 1);
	assert_near(m.found[0].cost_s, 8);
	assert_int_equal(m.len, 1);
	m.data.concurrency[CLASS_HTTP] = (struct concurrency){.outstanding_ns = 8000, .busy_ns = 2000, .max = 10};
	assert_int_equal(made_judge(&m, FINDING_SLOW_NETWORK), 1);
	assert_near(m.found[0].cost_s, 2);
	made_fini(&m);
	p = far(&m); /* few calls */
	hist_reset(p->hist[M_TTFB_NS]);
	made_values(p, M_TTFB_NS, 9, 100 * MS);
	assert_int_equal(made_judge(&m, FINDING_SLOW_NETWORK), 0);
	made_fini(&m);
	p = far(&m); /* how far it is isn't known: held-back acknowledgements look the same */
	hist_reset(p->hist[M_CONNECT_NS]);
	assert_int_equal(made_judge(&m, FINDING_SLOW_NETWORK), 0);
	made_fini(&m);
}

/* The only connect was held up by a busy machine; the round trips of the kernel tell better. And no answer comes sooner than one. */
static void a_network_that_only_looks_slow(void **ctx)
{
	struct metric_set *p;
	struct made m;

	(void)ctx;
	p = far(&m);
	hist_reset(p->hist[M_RTT_NS]);
	made_values(p, M_RTT_NS, 100, 0.2 * MS);
	assert_int_equal(made_judge(&m, FINDING_SLOW_NETWORK), 0);
	made_fini(&m);
	p = far(&m);
	made_values(p, M_TTFB_NS, 1, 3 * MS);
	assert_int_equal(made_judge(&m, FINDING_SLOW_NETWORK), 0);
	made_fini(&m);
	p = far(&m); /* the peer takes longer */
	hist_reset(p->hist[M_TTFB_NS]);
	made_values(p, M_TTFB_NS, 100, 200 * MS);
	assert_int_equal(made_judge(&m, FINDING_SLOW_NETWORK), 0);
	made_fini(&m);
}

static void segments_that_are_sent_again(void **ctx)
{
	static const struct {
		const char *peer;
		unsigned lost, requests, held, wanted;
	} cases[] = {
	        {"203.0.113.1:443", 10, 1000, 10, 1},
	        {"203.0.113.1:443", 9, 1000, 9, 0},
	        {"203.0.113.1:443", 4, 100, 4, 0},
	        {"203.0.113.1:443", 10, 1000, 1, 0},
	        {"127.0.0.1:443", 10, 1000, 10, 0},
	        {"[::1]:443", 10, 1000, 10, 0},
	        {"/run/x.sock", 10, 1000, 10, 0},
	        {"203.0.113.1:443", 100, 1000, 10, 1},
	        {"[2001:db8::1]:443", 10, 1000, 10, 1},
	};

	(void)ctx;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct metric_set *p;
		struct made m;

		made_init(&m);
		p = made_peer(&m, cases[i].peer, "", CLASS_DB);
		p->value[M_RETRANSMITS] = cases[i].lost;
		p->value[M_EXCHANGES] = cases[i].requests;
		made_values(p, M_EXCHANGE_NS, cases[i].requests - cases[i].held, 5 * MS);
		made_values(p, M_EXCHANGE_NS, cases[i].held, 210 * MS);
		assert_int_equal(made_judge(&m, FINDING_RETRANSMITS), cases[i].wanted);
		if (cases[i].wanted)
			assert_near(m.found[0].cost_s, 10 * 0.2);
		made_fini(&m);
	}
}

/* Slow is another thing for a model than for a cache. */
static void a_peer_that_is_slow(void **ctx)
{
	static const struct {
		enum class_id class;
		double ttfb_ms;
		unsigned n, wanted;
	} cases[] = {
	        {CLASS_LLM, 1100, 20, 1},
	        {CLASS_LLM, 900, 40, 0},
	        {CLASS_LLM, 5000, 4, 0},
	        {CLASS_LLM, 1100, 10, 0},
	        {CLASS_DB, 110, 200, 1},
	        {CLASS_DB, 90, 400, 0},
	        {CLASS_CACHE, 22, 800, 1},
	};

	(void)ctx;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct made m;
		struct metric_set *p;

		made_init(&m);
		p = made_peer(&m, "203.0.113.1:1", "", cases[i].class);
		p->value[M_EXCHANGES] = cases[i].n;
		made_values(p, M_TTFB_NS, cases[i].n, cases[i].ttfb_ms * MS);
		made_values(p, M_CONNECT_NS, 1, 3 * MS);
		assert_int_equal(made_judge(&m, FINDING_SLOW_PEER), cases[i].wanted);
		assert_int_equal(m.len, cases[i].wanted);
		if (cases[i].wanted) {
			assert_near(made_finding(&m, FINDING_SLOW_PEER)->cost_s, cases[i].n * cases[i].ttfb_ms / 1e3);
			assert_int_equal(made_finding(&m, FINDING_SLOW_PEER)->severity, SEVERITY_INFO);
		}
		made_fini(&m);
	}
}

static void streams_that_stall(void **ctx)
{
	static const struct {
		enum class_id class;
		double gap_ms, stall_ms;
		unsigned gaps, stalls, wanted;
	} cases[] = {
	        {CLASS_LLM, 20, 900, 100, 3, 1},
	        {CLASS_LLM, 20, 900, 100, 1, 0},
	        {CLASS_LLM, 20, 900, 20, 3, 0},
	        {CLASS_LLM, 20, 450, 100, 3, 0},
	        {CLASS_LLM, 100, 900, 100, 3, 0},
	        {CLASS_HTTP, 20, 900, 100, 3, 0},
	        {CLASS_LLM, 100, 1100, 100, 3, 1},
	};

	(void)ctx;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct made m;
		struct metric_set *p;

		made_init(&m);
		p = made_peer(&m, "203.0.113.1:443", "", cases[i].class);
		p->value[M_EXCHANGES] = 5;
		made_values(p, M_CHUNK_GAP_NS, cases[i].gaps, cases[i].gap_ms * MS);
		made_values(p, M_CHUNK_GAP_NS, cases[i].stalls, cases[i].stall_ms * MS);
		assert_int_equal(made_judge(&m, FINDING_STALLS), cases[i].wanted);
		assert_int_equal(m.len, cases[i].wanted);
		if (cases[i].wanted)
			assert_near(m.found[0].cost_s, cases[i].stalls * (cases[i].stall_ms - cases[i].gap_ms) / 1e3);
		made_fini(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(connects_that_could_be_saved),
	        cmocka_unit_test(what_runs_at_once_needs_its_connections),
	        cmocka_unit_test(a_pool_is_no_fault),
	        cmocka_unit_test(neither_are_few_or_rare_connects),
	        cmocka_unit_test(connects_of_tools_do_not_count),
	        cmocka_unit_test(many_cheap_connects_are_worth_a_word),
	        cmocka_unit_test(addresses_behind_one_name_are_one),
	        cmocka_unit_test(what_serves_or_is_multiplexed_is_left_alone),
	        cmocka_unit_test(a_network_that_is_slow),
	        cmocka_unit_test(a_network_that_only_looks_slow),
	        cmocka_unit_test(segments_that_are_sent_again),
	        cmocka_unit_test(a_peer_that_is_slow),
	        cmocka_unit_test(streams_that_stall),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
