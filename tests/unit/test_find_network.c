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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
