/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Alerts, fed as rules would feed them, by a clock of the test's own. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "judge/alerts.h"
#include "lib/util.h"
#include "model/json_tree.h"

#define START_NS 1700000000000000000LL

static struct {
	struct alerts *alerts;
	struct alerts_options options;
	int64_t now_ns;
	char told[4096]; /* "AGENT[+RULE/SUBJECT -RULE/SUBJECT]" a notice; *: told before */
} t;

static int told(void *ctx, const struct notice *n)
{
	char *at = t.told + strlen(t.told), *end = t.told + sizeof(t.told);

	(void)ctx;
	at += snprintf(at, (size_t)(end - at), "%s[", n->agent);
	for (int i = 0; i < n->len; i++) {
		const struct alert *a = n->alerts[i];

		assert_int_equal(a->firing, i < n->firing);
		assert_string_equal(a->agent, n->agent);
		at += snprintf(at, (size_t)(end - at), "%s%s%s%s%s%s", i ? " " : "", a->firing ? "+" : "-", a->firing && a->told_ns ? "*" : "", a->rule,
			       *a->subject ? "/" : "", a->subject);
	}
	snprintf(at, (size_t)(end - at), "]");
	return 0;
}

static void look_at(double s, const char *expected)
{
	t.now_ns = START_NS + (int64_t)(s * 1e9);
	*t.told = '\0';
	assert_int_equal(alerts_look(t.alerts, t.now_ns, told, NULL), 0);
	assert_string_equal(t.told, expected);
}

/* severity: of the rule's name: c.. critical, i.. info, else warning. measure: what is before a dash. */
static void news(bool raised, int id, const char *rule, const char *agent, const char *subject)
{
	char measure[64];
	struct alert_news n = { .raised = raised, .id = id };

	snprintf(measure, sizeof(measure), "%s", strchr(rule, '-') ? strchr(rule, '-') : rule);
	n.about = (struct alert){ .rule = (char *)rule, .agent = (char *)agent, .subject = (char *)subject, .measure = measure, .summary = "x > 1",
				  .severity = *rule == 'c' ? SEVERITY_CRITICAL : *rule == 'i' ? SEVERITY_INFO : SEVERITY_WARNING,
				  .since_ns = t.now_ns - 1000000000, .ended_ns = t.now_ns, .value = 2, .worst = 3 };
	assert_int_equal(alerts_event(t.alerts, &n, t.now_ns), 0);
}

static int setup(void **state)
{
	(void)state;
	memset(&t, 0, sizeof(t));
	t.now_ns = START_NS;
	t.options.repeat_s = 100;
	t.alerts = alerts_new(&t.options);
	return !t.alerts;
}

static int teardown(void **state)
{
	(void)state;
	alerts_free(t.alerts);
	return 0;
}

static void test_fires_and_ends(void **state)
{
	(void)state;
	look_at(0, "");
	news(true, 1, "w-slow", "a", "llm");
	look_at(1, "a[+w-slow/llm]");
	assert_int_equal(alerts_count(t.alerts), 1);
	look_at(2, "");
	news(false, 1, "w-slow", "a", "llm");
	look_at(3, "a[-w-slow/llm]");
	look_at(4, "");
	assert_int_equal(alerts_count(t.alerts), 0);
	news(true, 1, "w-slow", "a", "llm");
	look_at(5, "a[+w-slow/llm]");
}

static void test_agents_of_a_name(void **state)
{
	(void)state;
	news(true, 1, "w-slow", "a", "");
	news(true, 2, "w-slow", "a", "");
	news(true, 2, "w-slow", "a", "");
	look_at(1, "a[+w-slow]");
	news(false, 1, "w-slow", "a", "");
	look_at(2, "");
	news(false, 3, "w-slow", "a", ""); /* never said so */
	look_at(3, "");
	news(false, 2, "w-slow", "a", "");
	look_at(4, "a[-w-slow]");
}

static void test_repeats(void **state)
{
	(void)state;
	news(true, 1, "w-slow", "a", "");
	look_at(0, "a[+w-slow]");
	look_at(99, "");
	news(true, 1, "w-other", "a", "");
	look_at(99.5, "a[+w-other]");
	look_at(100, "a[+*w-slow]");
	look_at(199.5, "a[+*w-other]");
	t.options.repeat_s = 0;
	alerts_change(t.alerts, &t.options);
	look_at(1e6, "");
}

static void test_groups(void **state)
{
	(void)state;
	t.options.group_wait_s = 10;
	alerts_change(t.alerts, &t.options);
	news(true, 1, "w-slow", "a", "");
	look_at(0, "");
	news(true, 2, "w-slow", "b", "");
	news(true, 1, "w-errors", "a", "db");
	look_at(5, "");
	look_at(10, "a[+w-slow +w-errors/db]");
	look_at(14.9, "");
	look_at(15, "b[+w-slow]");
	news(false, 1, "w-slow", "a", "");
	look_at(16, "");
	news(true, 1, "w-third", "a", "");
	look_at(26, "a[+w-third -w-slow]");
	/* Over before anybody was told: no news. Its group goes with it. */
	news(true, 3, "w-slow", "c", "");
	look_at(27, "");
	news(false, 3, "w-slow", "c", "");
	look_at(28, "");
	news(true, 3, "w-slow", "c", "");
	look_at(38, "");
	look_at(48, "c[+w-slow]");
}

static void test_inhibition(void **state)
{
	(void)state;
	news(true, 1, "w-slow", "a", "llm");
	look_at(0, "a[+w-slow/llm]");
	news(true, 1, "c-slow", "a", "llm");
	news(true, 1, "i-slow", "a", "llm");
	news(true, 1, "i-slow", "a", "db"); /* another subject */
	news(true, 1, "w-errors", "a", "llm"); /* another measure */
	news(true, 2, "w-slow", "b", "llm"); /* another agent */
	look_at(1, "a[+c-slow/llm +i-slow/db +w-errors/llm]b[+w-slow/llm]");
	look_at(102, "a[+*c-slow/llm +*i-slow/db +*w-errors/llm]b[+*w-slow/llm]");
	news(false, 1, "w-slow", "a", "llm"); /* was told: so is its end */
	look_at(103, "a[-w-slow/llm]");
	news(false, 1, "c-slow", "a", "llm");
	look_at(104, "a[+i-slow/llm -c-slow/llm]");
}

static void test_silences(void **state)
{
	static const struct silence silences[] = { { "w-*", "a", START_NS + 10000000000LL }, { NULL, "quiet*", 0 } };

	(void)state;
	t.options.silences = silences;
	t.options.silences_len = ARRAY_SIZE(silences);
	alerts_change(t.alerts, &t.options);
	news(true, 1, "w-slow", "a", "");
	news(true, 1, "c-other", "a", "");
	news(true, 2, "w-slow", "quietly", "");
	news(true, 3, "w-slow", "b", "");
	look_at(1, "a[+c-other]b[+w-slow]");
	look_at(9.9, "");
	look_at(10, "a[+w-slow]");
	t.options.silences_len = 0;
	alerts_change(t.alerts, &t.options);
	look_at(11, "quietly[+w-slow]");
}

/* ---- restarts ---- */

static double patience(void *ctx, const char *rule)
{
	(void)ctx;
	return strcmp(rule, "w-gone") ? 60 : -1;
}

static int load(const char *text, size_t len)
{
	_cleanup_free_ char *padded = calloc(1, len + JSON_TEXT_PADDING);

	assert_non_null(padded);
	memcpy(padded, text, len);
	alerts_free(t.alerts);
	t.alerts = alerts_new(&t.options);
	assert_non_null(t.alerts);
	return alerts_load(t.alerts, padded, len, t.now_ns, patience, NULL);
}

static void restart_at(double s)
{
	struct json_text j = { 0 };

	alerts_save(t.alerts, &j);
	assert_false(j.failed);
	t.now_ns = START_NS + (int64_t)(s * 1e9);
	assert_int_equal(load(j.text, j.len), 0);
	json_text_fini(&j);
}

static void test_restart(void **state)
{
	(void)state;
	news(true, 1, "w-slow", "a \"\x1b[1m\n", "llm");
	news(true, 1, "w-errors", "a \"\x1b[1m\n", "");
	news(true, 1, "w-gone", "b", "");
	look_at(0, "a \"\x1b[1m\n[+w-slow/llm +w-errors]b[+w-gone]");
	restart_at(10);
	assert_int_equal(alerts_count(t.alerts), 3);
	look_at(10, "b[-w-gone]"); /* there is no such rule any more */
	news(true, 7, "w-slow", "a \"\x1b[1m\n", "llm"); /* as before: no news */
	look_at(20, "");
	look_at(69, "");
	look_at(70, "a \"\x1b[1m\n[-w-errors]"); /* its rule had its time */
	look_at(99, "");
	look_at(100, "a \"\x1b[1m\n[+*w-slow/llm]"); /* the repeat interval goes on over the restart */
	restart_at(110);
	restart_at(120);
	look_at(120, "");
	news(true, 8, "w-slow", "a \"\x1b[1m\n", "llm");
	news(false, 8, "w-slow", "a \"\x1b[1m\n", "llm");
	look_at(121, "a \"\x1b[1m\n[-w-slow/llm]");
	restart_at(130);
	assert_int_equal(alerts_count(t.alerts), 0);
}

static void test_not_told_is_not_kept(void **state)
{
	(void)state;
	t.options.group_wait_s = 10;
	alerts_change(t.alerts, &t.options);
	news(true, 1, "w-slow", "a", "");
	look_at(0, "");
	restart_at(1);
	assert_int_equal(alerts_count(t.alerts), 0);
	news(true, 1, "w-slow", "a", "");
	look_at(2, "");
	look_at(12, "a[+w-slow]");
	news(false, 1, "w-slow", "a", "");
	restart_at(13); /* its end was waiting to be told */
	look_at(13, "");
	look_at(23, "a[-w-slow]");
}

static void test_generation(void **state)
{
	uint64_t before;

	(void)state;
	news(true, 1, "w-slow", "a", "");
	before = alerts_generation(t.alerts);
	look_at(0, "a[+w-slow]");
	assert_int_not_equal(alerts_generation(t.alerts), before);
	before = alerts_generation(t.alerts);
	news(true, 2, "w-slow", "a", "");
	look_at(1, "");
	assert_int_equal(alerts_generation(t.alerts), before);
}

static void test_states_that_are_none(void **state)
{
	static const char *const bad[] = { "", "{", "[]", "{}", "7", "{\"format\":\"stakeout/1\",\"alerts\":[]}", "{\"format\":\"stakeout-alerts/1\",\"alerts\":[1,2]}",
					   "{\"format\":\"stakeout-alerts/1\",\"alerts\":[{\"rule\":\"a\"}]}",
					   "{\"format\":\"stakeout-alerts/1\",\"alerts\":[{\"rule\":\"a\",\"agent\":\"b\",\"subject\":\"\",\"severity\":\"bad\",\"told_ns\":1}]}" };

	static const char future[] = "{\"format\":\"stakeout-alerts/1\",\"alerts\":[{\"rule\":\"w-slow\",\"agent\":\"b\",\"subject\":\"\",\"severity\":\"info\",\"firing\":true,"
				     "\"told_ns\":1800000000000000000}]}";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(load(bad[i], strlen(bad[i])), -74);
		assert_int_equal(alerts_count(t.alerts), 0);
	}
	/* A clock that has been set back since: it counts as told now. */
	t.now_ns = START_NS;
	assert_int_equal(load(future, strlen(future)), 0);
	news(true, 1, "w-slow", "b", "");
	look_at(99, "");
	look_at(100, "b[+*w-slow]");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_fires_and_ends), TEST(test_agents_of_a_name), TEST(test_repeats), TEST(test_groups), TEST(test_inhibition), TEST(test_silences),
		TEST(test_restart), TEST(test_not_told_is_not_kept), TEST(test_generation), TEST(test_states_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
