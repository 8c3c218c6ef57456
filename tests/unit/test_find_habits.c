/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "lib_findings.h"

static void bursts(struct metric_set *p, unsigned n, unsigned exchanges, double each_ns, double bytes)
{
	made_values(p, M_BURST_EXCHANGES, n, exchanges);
	made_values(p, M_BURST_NS, n, exchanges * each_ns);
	made_values(p, M_REQUEST_BYTES, n * exchanges, bytes);
}

static void many_queries_in_place_of_one(void **ctx)
{
	struct made m;
	struct metric_set *p;

	(void)ctx;
	made_init(&m);
	p = made_peer(&m, "10.0.0.1:5432", "", CLASS_DB);
	bursts(p, 20, 11, 10 * MS, 80);
	bursts(p, 10, 2, 10 * MS, 80); /* pairs are none */
	assert_int_equal(made_judge(&m, FINDING_BURST), 1);
	assert_near(m.found[0].cost_s, 20 * 10 * 0.010);
	assert_int_equal(m.found[0].severity, SEVERITY_WARNING);
	assert_string_equal(m.found[0].subject, "db 10.0.0.1:5432");
	assert_non_null(strstr(m.found[0].evidence, "20 times, 11 requests"));
	m.data.concurrency[CLASS_DB] = (struct concurrency){.outstanding_ns = 4000000000, .busy_ns = 1000000000, .max = 4};
	assert_int_equal(made_judge(&m, FINDING_BURST), 1);
	assert_near(m.found[0].cost_s, 20 * 10 * 0.010 / 4);
	m.data.concurrency[CLASS_DB] = (struct concurrency){.outstanding_ns = 500000000, .busy_ns = 400000000, .max = 4};
	assert_int_equal(made_judge(&m, FINDING_BURST), 1); /* never more than there was */
	assert_near(m.found[0].cost_s, 0.4 * 10 / 11);
	made_fini(&m);
}

static void what_is_no_burst(void **ctx)
{
	static const struct {
		enum class_id class;
		unsigned n, exchanges;
		double ms, bytes;
		int found;
	} cases[] = {
	        {CLASS_DB, 20, 11, 10, 80, 1}, {CLASS_DB, 20, 4, 30, 80, 0},    {CLASS_DB, 2, 11, 100, 80, 0},
	        {CLASS_DB, 20, 11, 1, 80, 0},  {CLASS_DB, 20, 11, 10, 9000, 0}, {CLASS_HTTP, 20, 11, 10, 80, 0},
	        {CLASS_LLM, 20, 11, 10, 80, 0}, {CLASS_CACHE, 20, 11, 10, 80, 1},
	};

	(void)ctx;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct made m;

		made_init(&m);
		bursts(made_peer(&m, "10.0.0.1:1", "", cases[i].class), cases[i].n, cases[i].exchanges, cases[i].ms * MS, cases[i].bytes);
		assert_int_equal(made_judge(&m, FINDING_BURST), cases[i].found);
		if (cases[i].class == CLASS_CACHE)
			assert_int_equal(m.found[0].severity, SEVERITY_INFO);
		made_fini(&m);
	}
}

static void serial_calls(void **ctx)
{
	struct made m;

	(void)ctx;
	made_init(&m);
	made_values(&m.data.metrics, M_SERIAL_SAVED_NS, 100, 30 * MS);
	m.data.metrics.value[M_EXCHANGES_SERIAL] = 250;
	assert_int_equal(made_judge(&m, FINDING_SERIAL), 0); /* with whom, nobody knows */
	made_peer(&m, "10.0.0.1:80", "a", CLASS_HTTP)->value[M_EXCHANGES_SERIAL] = 50;
	made_peer(&m, "10.0.0.2:80", "b", CLASS_HTTP)->value[M_EXCHANGES_SERIAL] = 100;
	made_peer(&m, "10.0.0.3:80", "c", CLASS_DB)->value[M_EXCHANGES_SERIAL] = 90;
	assert_int_equal(made_judge(&m, FINDING_SERIAL), 1);
	assert_near(m.found[0].cost_s, 3);
	assert_int_equal(m.found[0].severity, SEVERITY_INFO); /* one lower than its cost: the calls may need each other */
	assert_string_equal(m.found[0].evidence, "100 times, 2.5 calls to different peers one right after another on average, mostly http b:80 and db c:80; "
	                                         "at once they would take 30.0 ms less each time");
	made_fini(&m);
	made_init(&m);
	made_values(&m.data.metrics, M_SERIAL_SAVED_NS, 9, 300 * MS); /* few */
	assert_int_equal(made_judge(&m, FINDING_SERIAL), 0);
	made_fini(&m);
}

static void small_writes(void **ctx)
{
	struct made m;
	struct metric_set *p;

	(void)ctx;
	made_init(&m);
	p = made_peer(&m, "10.0.0.1:80", "", CLASS_HTTP);
	made_values(p, M_REQUEST_SENDS, 100, 2);
	made_values(p, M_REQUEST_BYTES, 100, 300);
	assert_int_equal(made_judge(&m, FINDING_SMALL_WRITES), 0); /* two sends are no fault */
	made_values(p, M_ACK_STALL_NS, 50, 41 * MS);
	assert_int_equal(made_judge(&m, FINDING_SMALL_WRITES), 1);
	assert_near(m.found[0].cost_s, 50 * 0.041);
	made_fini(&m);

	made_init(&m);
	p = made_peer(&m, "10.0.0.1:80", "", CLASS_HTTP);
	made_values(p, M_REQUEST_SENDS, 400, 20);
	made_values(p, M_REQUEST_BYTES, 400, 20 * 50);
	assert_int_equal(made_judge(&m, FINDING_SMALL_WRITES), 1);
	assert_true(m.found[0].cost_s == 0);
	assert_int_equal(m.found[0].severity, SEVERITY_INFO);
	made_values(p, M_REQUEST_BYTES, 1000, 1 << 20); /* these are no small ones */
	assert_int_equal(made_judge(&m, FINDING_SMALL_WRITES), 0);
	made_fini(&m);
}

static void repeated_requests(void **ctx)
{
	struct made m;
	struct metric_set *p;

	(void)ctx;
	made_init(&m);
	p = made_peer(&m, "10.0.0.1:80", "", CLASS_HTTP);
	p->value[M_EXCHANGES] = 100;
	p->value[M_REQUESTS_REPEATED] = 40;
	made_values(p, M_REPEATED_NS, 40, 50 * MS);
	assert_int_equal(made_judge(&m, FINDING_REPEATS), 1);
	assert_near(m.found[0].cost_s, 2);
	assert_int_equal(m.found[0].severity, SEVERITY_WARNING);
	p->value[M_EXCHANGES] = 1000; /* a small part of all */
	assert_int_equal(made_judge(&m, FINDING_REPEATS), 0);
	m.in.probes_off = 1U << PROBE_DUP;
	assert_non_null(finding_unjudged(&m.in, FINDING_REPEATS));
	made_fini(&m);
}

static void polling(void **ctx)
{
	struct made m;

	(void)ctx;
	made_init(&m);
	agent_data_waker(&m.data, &(struct waker){.name = "poller", .wakes = 6000, .gaps_ns = 6000 * 10 * (uint64_t)MS, .cpu_ns = 6000 * 150000ULL});
	agent_data_waker(&m.data, &(struct waker){.name = "cheap", .wakes = 600, .gaps_ns = 600 * 100 * (uint64_t)MS, .cpu_ns = 600 * 100000ULL});
	agent_data_waker(&m.data, &(struct waker){.name = "spinner", .wakes = 500, .cpu_ns = 20000000000ULL});
	agent_data_waker(&m.data, &(struct waker){.name = "worker", .wakes = 6000, .gaps_ns = 6000 * 10 * (uint64_t)MS, .cpu_ns = 6000 * 300000ULL});
	assert_int_equal(made_judge(&m, FINDING_POLLING), 2);
	assert_string_equal(m.found[0].subject, "thread spinner");
	assert_int_equal(m.found[0].severity, SEVERITY_CRITICAL);
	assert_string_equal(m.found[1].subject, "thread poller");
	assert_near(m.found[1].cost_cpu_s, 0.9);
	assert_string_equal(m.found[1].evidence, "woke every 10.0 ms, 6.00 k times, by a timer and did nothing: 150 us on a CPU each time");
	made_fini(&m);
}

/* Of one name and about one period they are one; the dearest are kept. */
static void wakers(void **ctx)
{
	struct agent_data a = {0}, b = {0};

	(void)ctx;
	agent_data_waker(&a, &(struct waker){.name = "t", .wakes = 10, .gaps_ns = 1000, .cpu_ns = 5});
	agent_data_waker(&a, &(struct waker){.name = "t", .wakes = 10, .gaps_ns = 1100, .cpu_ns = 6});
	agent_data_waker(&a, &(struct waker){.name = "t", .wakes = 10, .gaps_ns = 5000, .cpu_ns = 60});
	agent_data_waker(&a, &(struct waker){.name = "t", .wakes = 10, .gaps_ns = 0, .cpu_ns = 1});
	assert_int_equal(a.wakers[0].gaps_ns, 5000);
	assert_int_equal(a.wakers[1].gaps_ns, 2100);
	assert_int_equal(a.wakers[1].wakes, 20);
	assert_int_equal(a.wakers[1].cpu_ns, 11);
	assert_int_equal(a.wakers[2].gaps_ns, 0);
	assert_int_equal(a.wakers[3].wakes, 0);
	for (unsigned i = 0; i < 2 * WAKERS_KEPT; i++) {
		struct waker w = {.name = {(char)('a' + i % 26)}, .wakes = 1, .gaps_ns = 1, .cpu_ns = 100 + i};

		agent_data_waker(&b, &w);
	}
	assert_int_equal(agent_data_merge(&b, &a), 0);
	for (unsigned i = 0; i < WAKERS_KEPT; i++)
		assert_int_equal(b.wakers[i].cpu_ns, 100 + 2 * WAKERS_KEPT - 1 - i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(many_queries_in_place_of_one),
	        cmocka_unit_test(what_is_no_burst),
	        cmocka_unit_test(serial_calls),
	        cmocka_unit_test(small_writes),
	        cmocka_unit_test(repeated_requests),
	        cmocka_unit_test(polling),
	        cmocka_unit_test(wakers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
