// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Expressions: values against sums made by hand, kinds, messages with their columns, and hostile text. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "judge/expression.h"
#include "lib/util.h"

static struct metric_set metrics;
static struct ledger ledger, threads;
static struct subject subject;

/* 1000 exchanges of 1 .. 1000 ms, 500 of them model calls' errors; 2 s of CPU time in 10 s. */
static int make(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= 1000; i++)
		assert_int_equal(metric_record(&metrics, M_EXCHANGE_NS, i * 1000000), 0);
	for (uint64_t i = 1; i <= 10; i++)
		assert_int_equal(metric_record(&metrics, M_MAP_BYTES, i << 20), 0);
	metric_add(&metrics, M_EXCHANGES, 1000);
	metric_add(&metrics, M_CONNECTS_FAILED, 250);
	metric_add(&metrics, M_ERRORS_RESET, 50);
	metric_add(&metrics, M_CPU_USER_NS, 1500000000);
	metric_add(&metrics, M_CPU_SYSTEM_NS, 500000000);
	metric_add(&metrics, M_SENT_BYTES, 10 << 20);
	metrics.value[M_RSS_BYTES] = 900 << 20;
	metrics.value[M_MEMORY_LIMIT_BYTES] = 1000 << 20;
	metrics.value[M_MEMORY_LEFT_BYTES] = 100 << 20;
	metrics.value[M_OUTSTANDING_MAX] = 7;
	ledger.ns[STATE_RUNNING] = 2000000000;
	ledger.ns[STATE_NET_LLM] = 5000000000;
	ledger.ns[STATE_NET_DB] = 1000000000;
	ledger.ns[STATE_IDLE] = 2000000000;
	threads.ns[STATE_RUNNABLE] = 1;
	threads.ns[STATE_LOCK] = 3;
	subject = (struct subject){.metrics = &metrics, .main = &ledger, .threads = &threads, .seconds = 10, .age_s = 33};
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	metric_set_fini(&metrics);
	return 0;
}

static struct expression *parse(const char *text)
{
	char why[300] = "";
	int column = 0;
	struct expression *e = expression_parse(text, &column, why, sizeof(why));

	if (!e)
		fail_msg("%s: %d: %s", text, column, why);
	return e;
}

static void test_values(void **state)
{
	/* error: relative; what a histogram's bucket may be off by */
	static const struct {
		const char *text;
		double value, error;
		uint64_t support;
	} rows[] = {
		{ "p95(exchange_ns)", 0.95, 0.012, 1000 },
		{ "p50( exchange_ns )", 0.5, 0.012, 1000 },
		{ "p99.9(exchange_ns)", 0.999, 0.012, 1000 },
		{ "p0(exchange_ns)", 0.001, 1e-9, 1000 },
		{ "p100(exchange_ns)", 1, 1e-9, 1000 },
		{ "mean(exchange_ns)", 0.5005, 1e-9, 1000 },
		{ "max(exchange_ns)", 1, 1e-9, 1000 },
		{ "min(exchange_ns)", 0.001, 1e-9, 1000 },
		{ "count(exchange_ns)", 1000, 0, UINT64_MAX },
		{ "sum(exchange_ns)", 500.5, 1e-9, UINT64_MAX },
		{ "rate(exchange_ns)", 100, 0, UINT64_MAX },
		{ "sum(exchange_ns) / count(exchange_ns)", 0.5005, 1e-9, 1000 },
		{ "max(map_bytes)", 10 << 20, 0, 10 },
		{ "max(map_bytes) / 1M", 10, 0, 10 },
		{ "max(map_bytes) * p50(exchange_ns)", (10 << 20) * 0.5, 0.012, 10 },
		{ "rate(cpu_user_ns) + rate(cpu_system_ns)", 0.2, 1e-9, UINT64_MAX },
		{ "rate(sent_bytes)", 1 << 20, 1e-9, UINT64_MAX },
		{ "total(exchanges)", 1000, 0, UINT64_MAX },
		{ "total(errors_reset) / (total(exchanges) + total(connects_failed))", 0.04, 1e-9, 1250 },
		{ "total(errors_reset) / total(connects_failed) / total(exchanges)", 0.0002, 1e-9, 250 },
		{ "last(rss_bytes)", 900 << 20, 0, UINT64_MAX },
		{ "1 - last(memory_left_bytes) / last(memory_limit_bytes)", 0.9, 1e-9, UINT64_MAX },
		{ "last(outstanding_max)", 7, 0, UINT64_MAX },
		{ "share(net.llm)", 0.5, 1e-9, UINT64_MAX },
		{ "share(net.*)", 0.6, 1e-9, UINT64_MAX },
		{ "share(*)", 1, 1e-9, UINT64_MAX },
		{ "share_threads(lock)", 0.75, 1e-9, UINT64_MAX },
		{ "age()", 33, 0, UINT64_MAX },
		{ "age() - 30s", 3, 1e-9, UINT64_MAX },
		/* precedence, brackets, units */
		{ "2 + 3 * total(exchanges) / 10 - 4", 298, 0, UINT64_MAX },
		{ "(2 + 3) * (total(exchanges) - 4)", 4980, 0, UINT64_MAX },
		{ "3*total(exchanges)", 3000, 0, UINT64_MAX },
		{ "total(exchanges)/4/5", 50, 0, UINT64_MAX },
		{ "total(exchanges) - 10 - 5", 985, 0, UINT64_MAX },
		{ "last(rss_bytes) + 1K + 1B", (900 << 20) + 1025, 0, UINT64_MAX },
		{ "age() + 1h + 2 m + 3s + 500ms + 400us + 100ns", 33 + 3600 + 120 + 3 + 0.5 + 0.0004 + 1e-7, 1e-12, UINT64_MAX },
		{ "share(idle) * 50%", 0.1, 1e-9, UINT64_MAX },
		{ "\tshare(idle)\n + .5", 0.7, 1e-9, UINT64_MAX },
		/* no data */
		{ "p95(ttfb_ns)", NAN, 0, 0 },
		{ "mean(ttfb_ns) + p50(exchange_ns)", NAN, 0, 0 },
		{ "count(ttfb_ns)", 0, 0, UINT64_MAX },
		{ "share_critical(idle)", NAN, 0, UINT64_MAX },
		{ "total(exchanges) / total(forks)", NAN, 0, 0 },
		{ "total(forks) / total(forks)", NAN, 0, 0 },
		{ "1 / (total(exchanges) / total(forks))", NAN, 0, 0 },
		{ "total(exchanges) / (2 - 2)", NAN, 0, UINT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct expression *e = parse(rows[i].text);
		uint64_t support = 1;
		double v = expression_value(e, &subject, &support);

		if (isnan(rows[i].value) ? !isnan(v) : !(fabs(v - rows[i].value) <= rows[i].error * fabs(rows[i].value)))
			fail_msg("%s: %.12g, not %.12g", rows[i].text, v, rows[i].value);
		if (support != rows[i].support)
			fail_msg("%s: support %llu, not %llu", rows[i].text, (unsigned long long)support,
			        (unsigned long long)rows[i].support);
		assert_int_equal(isnan(expression_value(e, &subject, NULL)), isnan(v));
		expression_free(e);
	}
}

static void test_span(void **state)
{
	struct subject none = subject;
	struct expression *e = parse("rate(exchanges)");

	(void)state;
	none.seconds = 0;
	assert_true(isnan(expression_value(e, &none, NULL)));
	none.seconds = 1000;
	assert_float_equal(expression_value(e, &none, NULL), 1, 1e-9);
	expression_free(e);
}

static void test_kinds(void **state)
{
	static const struct {
		const char *text;
		enum metric_unit unit;
		enum quantity_kind kind;
		bool ratio, spans;
		unsigned probes;
	} rows[] = {
		{ "p95(exchange_ns)", UNIT_NS, QUANTITY_TIME, false, false, 1 << PROBE_SOCK },
		{ "last(rss_bytes)", UNIT_BYTES, QUANTITY_BYTES, false, false, 1 << PROBE_MEM },
		{ "rate(sent_bytes)", UNIT_BYTES, QUANTITY_BYTES, false, true, 1 << PROBE_SOCK },
		{ "total(sent_bytes) / sum(exchange_ns)", UNIT_BYTES, QUANTITY_BYTES, false, true, 1 << PROBE_SOCK },
		{ "total(forks)", UNIT_COUNT, QUANTITY_PLAIN, false, true, 1 << PROBE_PROC },
		{ "rate(cpu_user_ns) + rate(cpu_system_ns)", UNIT_COUNT, QUANTITY_PLAIN, true, true, 1 << PROBE_SCHED },
		{ "total(cpu_user_ns)", UNIT_NS, QUANTITY_TIME, false, true, 1 << PROBE_SCHED },
		{ "rate(exchange_ns)", UNIT_COUNT, QUANTITY_PLAIN, false, true, 1 << PROBE_SOCK },
		{ "share(lock)", UNIT_COUNT, QUANTITY_PLAIN, true, true, 1 << PROBE_SCHED },
		{ "1 - share(net.db)", UNIT_COUNT, QUANTITY_PLAIN, true, true, 1 << PROBE_SCHED | 1 << PROBE_SOCK },
		{ "total(errors_reset) / total(exchanges)", UNIT_COUNT, QUANTITY_PLAIN, true, false, 1 << PROBE_SOCK },
		{"p95(tool_ns) / p95(exchange_ns) * 2", UNIT_COUNT, QUANTITY_PLAIN, true, false,
	                1 << PROBE_PROC | 1 << PROBE_SOCK},
		{ "total(sent_bytes) / total(exchanges)", UNIT_BYTES, QUANTITY_BYTES, false, false, 1 << PROBE_SOCK },
		{ "share(lock) * 3s", UNIT_NS, QUANTITY_TIME, false, true, 1 << PROBE_SCHED },
		{ "last(rss_bytes) * age()", UNIT_COUNT, QUANTITY_OTHER, false, false, 1 << PROBE_MEM },
		{ "age()", UNIT_NS, QUANTITY_TIME, false, false, 0 },
		{ "total(exchanges) + 1", UNIT_COUNT, QUANTITY_PLAIN, false, true, 1 << PROBE_SOCK },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct expression *e = parse(rows[i].text);
		bool ratio;

		if (expression_unit(e, &ratio) != rows[i].unit || ratio != rows[i].ratio ||
		        expression_kind(e) != rows[i].kind || expression_spans(e) != rows[i].spans ||
		        expression_probes(e) != rows[i].probes)
			fail_msg("%s: unit %d kind %d ratio %d spans %d probes %x", rows[i].text, expression_unit(e, NULL),
			        expression_kind(e), ratio, expression_spans(e), expression_probes(e));
		expression_free(e);
	}
}

static void test_uses(void **state)
{
	struct expression *e = parse("p95(exchange_ns) * total(forks) / total(exits)");
	int used = 0;

	(void)state;
	for (int m = 0; m < METRIC_IDS; m++)
		used += expression_uses(e, (enum metric_id)m);
	assert_int_equal(used, 3);
	assert_true(expression_uses(e, M_EXCHANGE_NS) && expression_uses(e, M_FORKS) && expression_uses(e, M_EXITS));
	assert_false(expression_uses_share(e));
	expression_free(e);
	e = parse("share_critical(child)");
	assert_true(expression_uses_share(e));
	expression_free(e);
}

static void test_errors(void **state)
{
	static const struct {
		const char *text;
		int column;
		const char *says;
	} rows[] = {
		{ "", 1, "the end where a function, a number or '(' is expected" },
		{ "   ", 4, "the end where" },
		{ "p95(exchang_ns)", 5, "unknown metric 'exchang_ns' (did you mean 'exchange_ns'?)" },
		{ "1 + p95(exchange_n)", 9, "did you mean 'exchange_ns'?" },
		{ "p95(nonsense_at_all_anywhere)", 5, "unknown metric 'nonsense_at_all_anywhere'" },
		{ "men(exchange_ns)", 1, "unknown function 'men' (did you mean 'mean'?)" },
		{ "exchange_ns", 1, "exchange_ns is a histogram, for p50()" },
		{ "rss_bytes > 3", 1, "rss_bytes is a gauge, for last()" },
		{ "p101(exchange_ns)", 1, "percentiles are p0 to p100" },
		{ "p(exchange_ns)", 1, "unknown function 'p'" },
		{ "p95.5.5(exchange_ns)", 1, "unknown function 'p95.5.5'" },
		{ "p95(rss_bytes)", 5, "rss_bytes is a gauge, for last(), not for p95()" },
		{ "last(exchanges)", 6, "exchanges is a counter, for rate() or total(), not for last()" },
		{ "rate(rss_peak_bytes)", 6, "a peak, for last()" },
		{ "total(exchange_ns)", 7, "a histogram, for p50()" },
		{ "p95()", 5, "')' where the metric that p95 is of is expected" },
		{ "p95", 4, "the end where '(' is expected: p95 is a function" },
		{ "p95(exchange_ns", 16, "the end where ')' is expected" },
		{ "p95(exchange_ns, ttfb_ns)", 16, "',' where ')' is expected" },
		{ "share(net.lm)", 7, "unknown state 'net.lm' (did you mean 'net.llm'?); there are running, runnable" },
		{ "share(nets.*)", 7, "unknown state" },
		{ "share()", 7, "')' where a state of the ledger is expected" },
		{ "age(3)", 5, "age() is of nothing" },
		{ "total(forks) forks", 14, "'forks' where the expression should end" },
		{ "total(forks) > 3", 14, "'>' where the expression should end" },
		{ "total(forks) +", 15, "the end where" },
		{ "total(forks) + * 3", 16, "'*' where" },
		{ "-total(forks)", 1, "'-' where" },
		{ "(total(forks)", 14, "the end where ')' is expected" },
		{ "total(forks))", 13, "')' where the expression should end" },
		{ "3 parsecs * total(forks)", 3, "unknown unit 'parsecs'; units are ns, us, ms, s, m, h, B, K, M, G or %" },
		{ "3.4.5 * total(forks)", 1, "'3.4.5' is no number" },
		{ "3 + 4", 1, "a constant" },
		{ "p95(exchange_ns) + 3", 18, "'+' of unlike things: a time and a plain number" },
		{ "last(rss_bytes) - age()", 17, "'-' of unlike things: bytes and a time" },
		{ "p95(exchange_ns) * (1 + last(rss_bytes))", 23, "unlike things: a plain number and bytes" },
		{ "total(forks) \xc3\xa4", 14, "'\xc3\xa4' where" },
		{ "total(forks) * (\xc3\xa4 1)", 17, "'\xc3\xa4' where" },
		{ "/* \xc3\xa4\xc3\xa4 */ total(forks)", 1, "'/' where" },
		{ "p95(exch\x1b[31m)", 5, "unknown metric 'exch'" },
		{ "\x1b[31m", 1, "'?' where" },
		{ "\xff", 1, "'?' where" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char why[300] = "";
		int column = 0;
		struct expression *e = expression_parse(rows[i].text, &column, why, sizeof(why));

		if (e || column != rows[i].column || !strstr(why, rows[i].says))
			fail_msg("%s: %d: %s", rows[i].text, column, why);
	}
}

static void test_quantities(void **state)
{
	static const struct {
		const char *text;
		double value;
		enum quantity_kind kind;
	} rows[] = {
		{ "3s", 3, QUANTITY_TIME },
		{ "100ms", 0.1, QUANTITY_TIME },
		{ "1.5 m", 90, QUANTITY_TIME },
		{ "85%", 0.85, QUANTITY_PLAIN },
		{ "512M", 512 << 20, QUANTITY_BYTES },
		{ "40", 40, QUANTITY_PLAIN },
		{ " .5h ", 1800, QUANTITY_TIME },
		{ "0", 0, QUANTITY_PLAIN },
		{ "2 K", 2048, QUANTITY_BYTES },
	};
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "", "the end is no number" },
		{ "3 s x", "'x' behind the number" },
		{ "-3s", "'-' is no number" },
		{ "3S", "unknown unit 'S'" },
		{ "1e3", "unknown unit 'e3'" },
		{ "inf", "'inf' is no number" },
		{ "3..4", "'3..4' is no number" },
		{ "5%%", "'%' behind" },
		{ "99999999999999999999999999999", "is no number" },
	};
	char why[200];
	double v;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		enum quantity_kind kind;

		assert_int_equal(quantity_parse_kind(rows[i].text, &v, &kind, why, sizeof(why)), 0);
		assert_float_equal(v, rows[i].value, 1e-9);
		assert_int_equal(kind, rows[i].kind);
		assert_int_equal(quantity_parse(rows[i].text, &v, why, sizeof(why)), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(quantity_parse(bad[i].text, &v, why, sizeof(why)) < 0);
		if (!strstr(why, bad[i].says))
			fail_msg("%s: %s", bad[i].text, why);
	}
}

static void refused(const char *text, const char *says)
{
	char why[300] = "";
	int column;

	assert_null(expression_parse(text, &column, why, sizeof(why)));
	if (!strstr(why, says))
		fail_msg("%.20s..: %s", text, why);
}

static void test_bounds(void **state)
{
	static char text[(1 << 20) + 1];
	struct expression *e;
	size_t n = 0;

	(void)state;
	memset(text, '(', 1 << 20);
	refused(text, "too long: an expression has at most 4096 characters");
	text[4000] = '\0';
	refused(text, "nested too deeply; 32 levels are possible");
	memset(text, '9', 1 << 20);
	text[4000] = '\0';
	refused(text, "is no number");
	memset(text, 'x', 4000);
	refused(text, "unknown function 'xxxxxxxx");
	/* as deep as may be, with both a sum's and a product's left side waiting at each level */
	n = 0;
	for (int i = 0; i < 32; i++)
		n += (size_t)sprintf(text + n, "1+2*(");
	n += (size_t)sprintf(text + n, "1+2*total(forks)");
	memset(text + n, ')', 32);
	text[n + 32] = '\0';
	e = parse(text);
	assert_float_equal(expression_value(e, &subject, NULL), (double)((1ULL << 33) - 1), 1e-3);
	expression_free(e);
	/* as long as may be */
	n = (size_t)sprintf(text, "age()");
	for (int i = 0; i < 300; i++)
		n += (size_t)sprintf(text + n, "-1s");
	refused(text, "at most 256 numbers, functions and signs");
	text[strlen("age()") + 100 * strlen("-1s")] = '\0';
	e = parse(text);
	assert_float_equal(expression_value(e, &subject, NULL), 33 - 100, 1e-9);
	expression_free(e);
}

/* Pieces of the grammar in any order: nothing but a value or a message may come of it. */
static void test_random(void **state)
{
	static const char *const pieces[] = {"p95", "(", ")", "exchange_ns", "rss_bytes", "+", "-", "*", "/", "3", "s", "%",
	        " ", "share", "net.*", "age()", "total(forks)", ".", "\xc3", "max(map_bytes)", "(", ")", "1 - ", "* 2"};
	unsigned seed = 1;
	int good = 0;

	(void)state;
	for (int turn = 0; turn < 200000; turn++) {
		char text[512] = "", why[64] = "";
		int n = 1 + rand_r(&seed) % 12, column = 0;
		struct expression *e;

		for (int i = 0; i < n; i++)
			strcat(text, pieces[rand_r(&seed) % ARRAY_SIZE(pieces)]);
		e = expression_parse(text, &column, why, sizeof(why));
		assert_true(e || (*why && column >= 1 && column <= (int)strlen(text) + 1));
		if (e) {
			double v = expression_value(e, &subject, NULL);

			assert_true(isnan(v) || isfinite(v));
			good++;
		}
		expression_free(e);
	}
	assert_true(good > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_values),
	        cmocka_unit_test(test_span),
	        cmocka_unit_test(test_kinds),
	        cmocka_unit_test(test_uses),
	        cmocka_unit_test(test_errors),
	        cmocka_unit_test(test_quantities),
	        cmocka_unit_test(test_bounds),
	        cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, make, unmake);
}
