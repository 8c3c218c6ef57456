/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Findings in general: their order and number, and when there is nothing to judge. */
#include "lib_findings.h"

/* Connects that took so long in all, each with one exchange. */
static void churn(struct made *m, const char *address, unsigned connects, double each_ns)
{
	struct metric_set *p = made_peer(m, address, "", CLASS_HTTP);

	p->value[M_CONNECTS] = p->value[M_EXCHANGES] = connects;
	m->data.metrics.value[M_CONNECTS] += connects;
	made_values(p, M_CONNECT_NS, connects, each_ns);
}

static void nothing_is_found_of_nothing(void **ctx)
{
	struct made m;

	(void)ctx;
	made_init(&m);
	assert_int_equal(findings_judge(&m.in, m.found, FOUND_MAX), 0);
	made_fini(&m);
}

static void the_dearest_come_first_and_the_cheapest_are_dropped(void **ctx)
{
	struct made m;
	char address[32];

	(void)ctx;
	made_init(&m);
	for (int i = 0; i < 40; i++) {
		snprintf(address, sizeof(address), "10.0.0.%d:443", i * 7 % 40);
		churn(&m, address, 10, (i * 7 % 40 + 4) * 50 * MS);
	}
	assert_int_equal(made_judge(&m, FINDING_REUSE), FOUND_MAX);
	for (int i = 0; i < FOUND_MAX; i++) {
		snprintf(address, sizeof(address), "http 10.0.0.%d:443", 39 - i);
		assert_string_equal(m.found[i].subject, address);
		assert_true(!i || m.found[i].severity <= m.found[i - 1].severity);
		assert_true(!i || m.found[i].cost_s < m.found[i - 1].cost_s);
	}
	assert_int_equal(findings_judge(&m.in, m.found, 0), 0);
	assert_int_equal(findings_judge(&m.in, m.found, 1), 1);
	assert_string_equal(m.found[0].subject, "http 10.0.0.39:443");
	made_fini(&m);
}

static void severity_is_by_cost(void **ctx)
{
	static const struct {
		double each_ms;
		int severity; /* -1: not told */
	} cases[] = {{30, -1}, {36, SEVERITY_INFO}, {160, SEVERITY_INFO}, {175, SEVERITY_WARNING}, {1300, SEVERITY_WARNING},
	        {1400, SEVERITY_CRITICAL}};

	(void)ctx;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct made m;

		made_init(&m);
		churn(&m, "10.0.0.1:443", 10, cases[i].each_ms * MS);
		assert_int_equal(made_judge(&m, FINDING_REUSE), cases[i].severity >= 0);
		if (cases[i].severity >= 0)
			assert_int_equal(m.found[0].severity, cases[i].severity);
		made_fini(&m);
	}
}

/* Each way in which the same agent can't be judged. */
static void what_was_not_seen_is_not_judged(void **ctx)
{
	struct probe_state off = {.name = "sock", .state = "off", .why = ""};
	struct header_data header = {.probes_len = 1};
	struct observer_data lossy = {.records = 900, .losses = 1, .lost = {{"ring_full", 100}}}, whole = {.records = 1000};
	struct observer_data reduced = {.cost = {.governed = true, .rung_s = {[RUNG_FULL] = 50, [RUNG_NO_CALLS] = 10}}};
	struct made m;

	(void)ctx;
	made_init(&m);
	churn(&m, "10.0.0.1:443", 100, 50 * MS);
	finding_input_watched(&m.in, &header, &whole);
	assert_int_equal(made_judge(&m, FINDING_REUSE), 1);
	assert_null(finding_unjudged(&m.in, FINDING_REUSE));

	finding_input_watched(&m.in, NULL, &lossy);
	assert_int_equal(made_judge(&m, FINDING_REUSE), 0);
	assert_non_null(strstr(finding_unjudged(&m.in, FINDING_REUSE), "lost"));
	m.in.lost = 0;

	finding_input_watched(&m.in, NULL, &reduced);
	assert_int_equal(made_judge(&m, FINDING_REUSE), 0);
	assert_non_null(strstr(finding_unjudged(&m.in, FINDING_REUSE), "budget"));
	m.in.probes_reduced = 0;

	m.in.seconds = 1.5;
	assert_int_equal(made_judge(&m, FINDING_REUSE), 0);
	assert_non_null(finding_unjudged(&m.in, FINDING_REUSE));
	m.in.seconds = SECONDS;

	header.probes[0] = off;
	finding_input_watched(&m.in, &header, NULL);
	assert_int_equal(made_judge(&m, FINDING_REUSE), 0);
	assert_non_null(strstr(finding_unjudged(&m.in, FINDING_REUSE), "off"));
	made_fini(&m);
}

static void names_are_found(void **ctx)
{
	(void)ctx;
	for (int i = 0; i < FINDING_COUNT; i++) {
		assert_int_equal(finding_find(finding_infos[i].name), i);
		assert_true(*finding_infos[i].title && *finding_infos[i].change && *finding_infos[i].unless);
	}
	assert_int_equal(finding_find("connections"), -1);
}

static void costs_are_told_as_far_as_there_are_any(void **ctx)
{
	struct finding f = {0};
	char text[FINDING_COST_BYTES];

	(void)ctx;
	assert_string_equal(finding_cost(&f, text), "");
	f.cost_s = 5.6;
	assert_string_equal(finding_cost(&f, text), "5.60 s of time a minute");
	f.cost_cpu_s = 0.2;
	f.cost_bytes = 1 << 20;
	assert_string_equal(finding_cost(&f, text), "5.60 s of time, 200 ms of CPU, 1.00 MiB of memory a minute");
	f.cost_s = f.cost_bytes = 0;
	assert_string_equal(finding_cost(&f, text), "200 ms of CPU a minute");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(nothing_is_found_of_nothing),
	        cmocka_unit_test(the_dearest_come_first_and_the_cheapest_are_dropped),
	        cmocka_unit_test(severity_is_by_cost),
	        cmocka_unit_test(what_was_not_seen_is_not_judged),
	        cmocka_unit_test(names_are_found),
	        cmocka_unit_test(costs_are_told_as_far_as_there_are_any),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
