// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Files of rules, windows against sums made by hand, and when rules are raised and cleared. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "judge/rule.h"
#include "judge/window.h"
#include "lib/util.h"

/* ---- files ---- */

static struct rules *rules_of(const char *text)
{
	struct rules *r = NULL;
	char why[600] = "";

	if (rules_parse("x.yaml", text, &r, why, sizeof(why)))
		fail_msg("%s", why);
	return r;
}

static void test_file(void **state)
{
	struct rules *r = rules_of("rules:\n"
				   "- name: a\n"
				   "  when: p95(exchange_ns) > 3s\n"
				   "- {name: b, when: 'last(rss_bytes) >= 512M', clear: 400M, over: 5m, for: 30s, at_least: 7, severity: critical, help: \"do: it\", agent: 'x*'}\n"
				   "- {name: c, class: llm, when: 'rate(exchanges) < 0.5'}\n"
				   "- {name: d, tool: git, when: 'p50(tool_ns) <= 20ms', severity: info}\n"
				   "- {name: e, peer: '10.*', when: 'total(exchanges) > 0'}\n");
	char buf[64];

	(void)state;
	assert_int_equal(r->len, 5);
	assert_string_equal(r->at[0].name, "a");
	assert_int_equal(r->at[0].comparison, RULE_ABOVE);
	assert_float_equal(r->at[0].limit, 3, 0);
	assert_float_equal(r->at[0].clear, 2.7, 1e-9);
	assert_float_equal(r->at[0].over_s, 60, 0);
	assert_float_equal(r->at[0].for_s, 0, 0);
	assert_int_equal(r->at[0].at_least, 20);
	assert_int_equal(r->at[0].severity, SEVERITY_WARNING);
	assert_int_equal(r->at[0].each, EACH_AGENT);
	assert_int_equal(r->at[0].line, 2);
	assert_null(r->at[0].help);
	assert_string_equal(rule_limit_text(&r->at[0], buf, sizeof(buf)), "> 3s");
	assert_int_equal(r->at[1].comparison, RULE_AT_LEAST);
	assert_float_equal(r->at[1].limit, 536870912.0, 0);
	assert_float_equal(r->at[1].clear, 419430400.0, 0);
	assert_float_equal(r->at[1].over_s, 300, 0);
	assert_float_equal(r->at[1].for_s, 30, 0);
	assert_int_equal(r->at[1].at_least, 7);
	assert_int_equal(r->at[1].severity, SEVERITY_CRITICAL);
	assert_string_equal(r->at[1].help, "do: it");
	assert_string_equal(r->at[1].agent, "x*");
	assert_string_equal(rule_limit_text(&r->at[1], buf, sizeof(buf)), ">= 512M for 30s");
	assert_int_equal(r->at[2].comparison, RULE_BELOW);
	assert_float_equal(r->at[2].clear, 0.55, 1e-9);
	assert_int_equal(r->at[2].each, EACH_CLASS);
	assert_int_equal(r->at[2].class, CLASS_LLM);
	assert_int_equal(r->at[3].each, EACH_TOOL);
	assert_int_equal(r->at[3].comparison, RULE_AT_MOST);
	assert_int_equal(r->at[4].each, EACH_PEER);
	rules_free(r);
}

static void test_default(void **state)
{
	struct rules *r = rules_default();

	(void)state;
	assert_non_null(r);
	assert_true(r->len >= 12);
	for (int i = 0; i < r->len; i++)
		assert_non_null(r->at[i].help);
	assert_non_null(strstr(rules_text(r), "rules:\n"));
	rules_free(r);
}

static void test_bad_files(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{ "", "x.yaml:1:1: the file is empty; it needs 'rules' at least" },
		{ "rules: []\n", "x.yaml:1:8: rules is empty" },
		{ "rulez:\n- {name: a}\n", "x.yaml:1:1: unknown key 'rulez' (did you mean 'rules'?)" },
		{ "rules:\n- name: a\n", "x.yaml:2:3: 'when' is missing in rules" },
		{ "rules:\n- when: age() > 3s\n", "x.yaml:2:3: 'name' is missing in rules" },
		{ "rules:\n- name: a\n  when: age() > 3s\n  sevrity: info\n", "x.yaml:4:3: unknown key 'sevrity' (did you mean 'severity'?) in rules; there are name, when, clear" },
		{ "rules:\n- name: a\n  when: p95(exchang_ns) > 3s\n", "x.yaml:3:13: unknown metric 'exchang_ns' (did you mean 'exchange_ns'?)" },
		{ "rules:\n- name: a\n  when: \"p95(exchang_ns) > 3s\"\n", "x.yaml:3:14: unknown metric" },
		{ "rules:\n- {name: \xc3\xa4, when: age() > 3s}\n", "x.yaml:2:10: name '\xc3\xa4': letters, digits" },
		{ "rules:\n- {when: 'p95(exchange_ns) > 3', name: a}\n", "x.yaml:2:30: '3' is a plain number, but the expression is a time: like 3s or 250ms is expected" },
		{ "rules:\n- {when: p95(exchange_ns) > 3 parsecs, name: a}\n", "x.yaml:2:29: unknown unit 'parsecs'; units are ns, us" },
		{ "rules:\n- {when: last(rss_bytes) > 85%, name: a}\n", "x.yaml:2:28: '85%' is a plain number, but the expression is bytes: like 512M is expected" },
		{ "rules:\n- {when: p95(exchange_ns), name: a}\n", "x.yaml:2:26: the end where a comparison (> >= < <=) is expected" },
		{ "rules:\n- {when: p95(exchange_ns) == 3s, name: a}\n", "x.yaml:2:27: '=' where a comparison" },
		{ "rules:\n- {when: p95(exchange_ns) >, name: a}\n", "the end is no number" },
		{ "rules:\n- {when: age() > 3s > 4s, name: a}\n", "x.yaml:2:18: '>' behind the number" },
		{ "rules:\n- {when: last(rss_bytes) * age() > 3, name: a}\n", "a product of units: nothing to compare with" },
		{ "rules:\n- {name: a, when: age() > 3s, clear: 4s}\n", "x.yaml:2:38: clear '4s' lies beyond the limit (> 3s)" },
		{ "rules:\n- {name: a, when: age() < 3s, clear: 2s}\n", "clear '2s' lies beyond the limit (< 3s)" },
		{ "rules:\n- {name: a, when: age() > 3s, clear: 2}\n", "'2' is a plain number, but the expression is a time" },
		{ "rules:\n- {name: a, when: age() > 3s, over: 60}\n", "x.yaml:2:37: '60' is no time: like 60s or 5m is expected" },
		{ "rules:\n- {name: a, when: age() > 3s, over: 0s}\n", "'0s' is out of range: 1ms to 168h" },
		{ "rules:\n- {name: a, when: age() > 3s, for: 200h}\n", "'200h' is out of range: 0s to 168h" },
		{ "rules:\n- {name: a, when: age() > 3s, at_least: many}\n", "at_least 'many': a number of events from 1" },
		{ "rules:\n- {name: a, when: age() > 3s, severity: warn}\n", "unknown severity 'warn'; there are info, warning, critical" },
		{ "rules:\n- {name: a, when: p95(exchange_ns) > 3s, class: lm}\n", "unknown class 'lm' (did you mean 'llm'?); there are llm, db" },
		{ "rules:\n- {name: a, when: p95(exchange_ns) > 3s, class: llm, tool: x}\n", "of class, peer and tool a rule has one" },
		{ "rules:\n- {name: a, when: last(rss_bytes) > 3M, class: llm}\n", "rss_bytes is not known of a class of peers, only of agents" },
		{ "rules:\n- {name: a, when: p95(tool_ns) > 3s, peer: '*'}\n", "tool_ns is not known of a peer, only of agents and tools" },
		{ "rules:\n- {name: a, when: share(idle) > 3%, peer: '*'}\n", "a peer has no ledger" },
		{ "rules:\n- {name: a, when: age() > 3s, agent: ''}\n", "an empty pattern matches nothing" },
		{ "rules:\n- {name: a, when: age() > 3s}\n- {name: a, when: age() > 3s}\n", "x.yaml:3:10: name 'a' is there twice: line 2 has it, too" },
		{ "rules:\n- {name: a, name: b, when: age() > 3s}\n", "'name' is there twice" },
		{ "rules:\n- name: a\n  when:\n  - 3\n", "x.yaml:4:3: rules.when is a list; one value is expected" },
		{ "rules: 3\n", "rules is one value; a list is expected" },
		{ "rules:\n\t- x\n", "x.yaml:2:1: not YAML" },
		{ "rules:\n- {name: \"\\e[31m\", when: age() > 3s}\n", "name '?[31m'" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rules *r = NULL;
		char why[600] = "";

		if (!rules_parse("x.yaml", rows[i].text, &r, why, sizeof(why)))
			fail_msg("taken for good: %s", rows[i].text);
		if (strncmp(why, "x.yaml:", 7) || !strstr(why, rows[i].says) || strchr(why, '\n'))
			fail_msg("%s\n  said: %s\n  not:  %s", rows[i].text, why, rows[i].says);
		assert_null(r);
	}
}

/* ---- windows ---- */

#define STEPS 400

/* Random intervals: what a window says is the sum of the intervals from some point on, which lies where the span begins, to within half a part. */
static void window_compare(double over_s, double interval_s, unsigned seed)
{
	char why[200];
	int column;
	struct expression *e = expression_parse("p95(exchange_ns) * total(exchanges) * last(outstanding_max) * share(idle) * last(rss_bytes)", &column, why, sizeof(why));
	static struct metric_set sets[STEPS];
	static struct ledger ledgers[STEPS];
	static double starts[STEPS + 1];
	struct window_time time = { .over_s = over_s, .first = 1, .next = 1 };
	struct window_plan plan;
	struct window *w;
	struct window_sum sum = { 0 };
	double part_s = fmax(over_s / 10, interval_s);

	assert_non_null(e);
	window_plan_init(&plan, e, over_s);
	w = window_new(&plan);
	memset(sets, 0, sizeof(sets));
	memset(ledgers, 0, sizeof(ledgers));
	starts[0] = 100;
	for (int i = 0; i < STEPS; i++) {
		struct metric_set want = { 0 };
		struct ledger ledger = { 0 };
		double seconds = 0;
		int from = i;

		starts[i + 1] = starts[i] + interval_s * (0.98 + 0.04 * rand_r(&seed) / RAND_MAX);
		for (int n = rand_r(&seed) % 5; n; n--)
			assert_int_equal(metric_record(&sets[i], M_EXCHANGE_NS, (uint64_t)rand_r(&seed) % 100000), 0);
		sets[i].value[M_EXCHANGES] = (uint64_t)rand_r(&seed) % 10;
		sets[i].value[M_OUTSTANDING_MAX] = (uint64_t)rand_r(&seed) % 1000;
		sets[i].value[M_RSS_BYTES] = (uint64_t)rand_r(&seed);
		ledgers[i].ns[STATE_IDLE] = (uint64_t)rand_r(&seed);
		assert_int_equal(window_time_interval(&time, starts[i], starts[i + 1], starts[i + 1] - starts[i]), 0);
		window_expire(w, &time);
		assert_int_equal(window_add(w, &time, &sets[i], true, (const struct ledger *const[3]){ &ledgers[i] }), 0);
		assert_int_equal(window_sum(w, &time, true, &sum), 0);
		/* as far back as it says */
		for (seconds = 0; from >= 0 && seconds < sum.seconds - 1e-6; from--)
			seconds += starts[from + 1] - starts[from];
		from++;
		assert_float_equal(seconds, sum.seconds, 1e-6);
		if (from > 0) {
			if (fabs(sum.seconds - over_s) > part_s / 2 + interval_s / 2 + 0.02 * over_s)
				fail_msg("over %g at %g: %g s", over_s, interval_s, sum.seconds);
		}
		for (int k = from; k <= i; k++) {
			assert_int_equal(metric_set_merge(&want, &sets[k]), 0);
			ledger_merge(&ledger, &ledgers[k]);
		}
		assert_int_equal(sum.view.value[M_EXCHANGES], want.value[M_EXCHANGES]);
		assert_int_equal(sum.view.value[M_OUTSTANDING_MAX], want.value[M_OUTSTANDING_MAX]);
		assert_int_equal(sum.view.value[M_RSS_BYTES], sets[i].value[M_RSS_BYTES]);
		assert_int_equal(sum.ledgers[0].ns[STATE_IDLE], ledger.ns[STATE_IDLE]);
		if (want.hist[M_EXCHANGE_NS]) {
			const struct hist *a = want.hist[M_EXCHANGE_NS], *b = sum.view.hist[M_EXCHANGE_NS];

			assert_true(b && a->count == b->count && a->sum == b->sum && a->min == b->min && a->max == b->max);
			for (int q = 0; q <= 20; q++)
				assert_float_equal(hist_quantile(a, q / 20.0), hist_quantile(b, q / 20.0), 0);
		} else {
			assert_true(!sum.view.hist[M_EXCHANGE_NS] || !sum.view.hist[M_EXCHANGE_NS]->count);
		}
		metric_set_fini(&want);
	}
	for (int i = 0; i < STEPS; i++)
		metric_set_fini(&sets[i]);
	window_sum_fini(&sum);
	window_free(w);
	expression_free(e);
}

static void test_windows(void **state)
{
	static const double spans[][2] = { { 60, 1 }, { 1, 1 }, { 3, 1 }, { 0.5, 1 }, { 10, 1 }, { 15, 1 }, { 16, 1 }, { 17, 1 }, { 31, 1 }, { 100, 0.1 }, { 7.3, 0.25 }, { 2.5, 1 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(spans); i++)
		window_compare(spans[i][0], spans[i][1], (unsigned)i + 1);
}

/* ---- watching ---- */

static struct world {
	struct rule_watch *watch;
	struct agent_data data;
	struct agent_info info;
	struct interval_data interval;
	const struct agent_data *datas[1];
	const struct agent_info *infos[1];
	char log[2000];
	double t;
} world;

static int log_event(void *ctx, const struct rule_event *e)
{
	size_t len = strlen(world.log);
	char since[20] = "";

	(void)ctx;
	if (e->what == RULE_RAISED)
		snprintf(since, sizeof(since), "(%.4g)", e->since_s);
	snprintf(world.log + len, sizeof(world.log) - len, "%.4g%s%s%s%s%s ", e->at_s, e->what == RULE_RAISED ? "+" : "-", e->rule->name, *e->subject ? ":" : "", e->subject, since);
	assert_string_equal(e->agent_name, "bot");
	assert_int_equal(e->agent, 7);
	return 0;
}

static void world_begin(const struct rules *rules)
{
	memset(&world, 0, sizeof(world));
	world.watch = rule_watch_new(rules, log_event, NULL);
	assert_non_null(world.watch);
	world.info = (struct agent_info){ .id = 7, .name = (char *)"bot" };
	world.data.id = 7;
	world.data.alive = true;
	world.datas[0] = &world.data;
	world.infos[0] = &world.info;
	world.interval = (struct interval_data){ .agents = world.datas, .infos = world.infos, .agents_len = 1 };
}

/* One interval of 1 s with what is in world.data, which begins anew then. */
static void step(void)
{
	world.data.observed_s = world.data.observed_s ? world.data.observed_s : 1;
	world.interval.start_s = world.t;
	world.interval.end_s = world.t = world.t + 1;
	assert_int_equal(rule_watch_interval(world.watch, &world.interval), 0);
	world.interval.seq++;
	metric_set_reset(&world.data.metrics);
	memset(&world.data.main, 0, sizeof(world.data.main));
	for (int i = 0; i < world.data.peers_len; i++)
		metric_set_reset(&world.data.peers[i].metrics);
	for (int i = 0; i < world.data.tools_len; i++)
		metric_set_reset(&world.data.tools[i].metrics);
	world.data.observed_s = 0;
}

static void step_rss(uint64_t bytes)
{
	world.data.metrics.value[M_RSS_BYTES] = bytes;
	step();
}

static void said(const char *what)
{
	if (strcmp(world.log, what))
		fail_msg("said %s not %s", world.log, what);
	*world.log = '\0';
}

static void world_end(void)
{
	rule_watch_free(world.watch);
	agent_data_fini(&world.data);
}

static void test_for_and_clear(void **state)
{
	struct rules *r = rules_of("rules: [{name: now, when: last(rss_bytes) > 100B, clear: 80B}, {name: held, when: last(rss_bytes) > 100B, for: 3s}]");
	static const uint64_t bytes[] = { 90, 101, 101, 90, 79, 200, 150, 101, 95, 91, 89 };

	(void)state;
	world_begin(r);
	for (size_t i = 0; i < ARRAY_SIZE(bytes); i++)
		step_rss(bytes[i]);
	said("2+now(1) 5-now 6+now(5) 8+held(5) 11-held ");
	step_rss(80);
	said("12-now ");
	world_end();
	rules_free(r);
}

static void test_comparisons(void **state)
{
	struct rules *r = rules_of("rules: [{name: above, when: last(rss_bytes) > 100B, clear: 100B}, {name: least, when: last(rss_bytes) >= 100B, clear: 100B},"
				   "{name: below, when: last(rss_bytes) < 100B, clear: 100B}, {name: most, when: last(rss_bytes) <= 100B, clear: 100B},"
				   "{name: any, when: last(rss_bytes) > 0}]");

	(void)state;
	world_begin(r);
	step_rss(100);
	said("1+least(0) 1+most(0) 1+any(0) ");
	step_rss(101);
	said("2+above(1) 2-most ");
	step_rss(99);
	said("3-above 3-least 3+below(2) 3+most(2) ");
	step_rss(0);
	said("4-any ");
	world_end();
	rules_free(r);
}

static void step_exchanges(struct peer_data *p, int n, uint64_t ms)
{
	for (int i = 0; i < n && p; i++)
		metric_record(&p->metrics, M_EXCHANGE_NS, ms * 1000000);
	step();
}

static void test_peers(void **state)
{
	struct rules *r = rules_of("rules: [{name: class, class: llm, when: p95(exchange_ns) > 3s, over: 5s, at_least: 10},"
				   "{name: peer, peer: '10.*', when: max(exchange_ns) > 3s, over: 3s, at_least: 1}]");
	struct peer_data *a, *b;

	(void)state;
	world_begin(r);
	step();
	assert_string_equal(rule_watch_silent(world.watch, 0), "no peer of class llm");
	assert_string_equal(rule_watch_silent(world.watch, 1), "no peer 10.*");
	assert_non_null(agent_data_peer(&world.data, false, "10.0.0.1:1", "model"));
	assert_non_null(agent_data_peer(&world.data, false, "10.0.0.2:1", ""));
	a = &world.data.peers[0];
	b = &world.data.peers[1];
	a->class = b->class = CLASS_LLM;
	step_exchanges(a, 9, 4000);
	said("2+peer:model (10.0.0.1:1)(1) ");
	assert_string_equal(rule_watch_silent(world.watch, 0), "9 events at most, at_least is 10");
	step_exchanges(b, 1, 4000); /* both peers are of the class */
	said("3+class:llm(2) 3+peer:10.0.0.2:1(2) ");
	assert_null(rule_watch_silent(world.watch, 0));
	step();
	said("");
	step(); /* the nine were in [1, 2] */
	said("5-peer:model (10.0.0.1:1) ");
	step();
	said("6-peer:10.0.0.2:1 ");
	step(); /* of the class's ten one is left, which is slow as well */
	said("");
	step();
	said("8-class:llm ");
	step_exchanges(a, 100, 10);
	said("");
	world_end();
	rules_free(r);
}

static void test_tools(void **state)
{
	struct rules *r = rules_of("rules: [{name: slow, tool: 'g*', when: mean(tool_ns) > 2s, over: 10s, at_least: 1}, {name: cpu, tool: '*', when: rate(cpu_user_ns) > 10%, over: 4s}]");
	struct tool_data *t;

	(void)state;
	world_begin(r);
	for (int i = 0; i < 4; i++)
		step();
	t = agent_data_tool(&world.data, "git");
	assert_non_null(t);
	metric_record(&t->metrics, M_TOOL_NS, 3000000000);
	t->metrics.value[M_CPU_USER_NS] = 350000000; /* of 4 s, not of the second since it was seen first: 9 % */
	step();
	said("5+slow:git(4) ");
	t = agent_data_tool(&world.data, "git");
	t->metrics.value[M_CPU_USER_NS] = 100000000;
	step();
	said("6+cpu:git(5) ");
	assert_non_null(agent_data_tool(&world.data, "bash"));
	world.data.alive = false;
	step();
	said("7-slow:git 7-cpu:git ");
	world_end();
	rules_free(r);
}

static void test_span(void **state)
{
	struct rules *r = rules_of("rules: [{name: busy, when: rate(cpu_user_ns) > 90%, over: 5s}, {name: idle, when: rate(cpu_user_ns) < 10%, over: 5s}]");

	(void)state;
	world_begin(r);
	for (int i = 0; i < 4; i++) {
		world.data.metrics.value[M_CPU_USER_NS] = 1000000000;
		step();
	}
	said("");
	assert_string_equal(rule_watch_silent(world.watch, 0), "watched for 4 s of the 5 s that it is of");
	world.data.metrics.value[M_CPU_USER_NS] = 1000000000;
	step();
	said("5+busy(4) ");
	world.t += 100; /* a gap: what was before is too old, what comes isn't enough yet */
	for (int i = 0; i < 4; i++)
		step();
	said("106-busy ");
	step();
	said("110+idle(109) ");
	world_end();
	rules_free(r);
}

static void test_ends(void **state)
{
	struct rules *r = rules_of("rules: [{name: big, when: last(rss_bytes) > 100B}, {name: old, when: age() > 3s}, {name: none, agent: other, when: age() > 3s},"
				   "{name: zero, when: total(exchanges) / total(forks) < 5}]");

	(void)state;
	world_begin(r);
	step_rss(200);
	said("1+big(0) ");
	world.interval.agents_len = 0; /* it vanished */
	step();
	said("1-big ");
	world.interval.agents_len = 1;
	step_rss(200);
	step_rss(200);
	said("3+big(2) ");
	world.data.alive = false;
	world.data.observed_s = 0.5;
	step();
	said("5-big ");
	world.data.alive = false; /* told of for a while */
	world.data.observed_s = 0;
	world.interval.start_s = world.t++;
	world.interval.end_s = world.t;
	assert_int_equal(rule_watch_interval(world.watch, &world.interval), 0);
	said("");
	world.data.alive = true;
	for (int i = 0; i < 4; i++)
		step();
	said("10+old(9) ");
	assert_string_equal(rule_watch_silent(world.watch, 2), "no agent is called other");
	assert_string_equal(rule_watch_silent(world.watch, 3), "its divisor is 0");
	world_end();
	rules_free(r);
}

static void test_probes(void **state)
{
	struct rules *r = rules_of("rules: [{name: big, when: last(rss_bytes) > 100B}, {name: net, when: share(net.llm) < 10%, over: 1s}, {name: few, when: rate(exchanges) < 1, over: 1s}]");
	struct header_data h = { .probes_len = 3, .probes = { { .name = "sched", .state = "on" }, { .name = "mem", .state = "off" },
							      { .name = "sock", .state = "unavailable", .why = "no \x1b[31mtracepoint" } } };

	(void)state;
	world_begin(r);
	world.interval.header = &h;
	world.data.main.ns[STATE_RUNNING] = 1000000000;
	step_rss(200);
	said("");
	assert_string_equal(rule_watch_silent(world.watch, 0), "the probe mem was off");
	assert_string_equal(rule_watch_silent(world.watch, 1), "the probe sock was unavailable: no ?[31mtracepoint");
	assert_non_null(rule_watch_silent(world.watch, 2));
	world_end();
	rules_free(r);
}

static int count_raised(void *ctx, const struct rule_event *e)
{
	assert_int_equal(e->what, RULE_RAISED);
	++*(int *)ctx;
	return 0;
}

static void test_reload(void **state)
{
	const char *first = "rules: [{name: a, when: last(rss_bytes) > 100B}, {name: b, when: last(rss_bytes) > 100B}, {name: c, tool: '*', when: p50(tool_ns) > 1s, over: 5s, at_least: 1},"
			    "{name: held, when: last(rss_bytes) > 100B, for: 3s}]";
	const char *second = "rules: [{name: c, tool: '*', when: p50(tool_ns) > 1s, over: 5s, at_least: 1, severity: critical}, {name: held, when: last(rss_bytes) > 100B, for: 3s},"
			     "{name: b, when: last(rss_bytes) > 300B}, {name: new, when: last(rss_bytes) > 1B}, {name: a, when: last(rss_bytes) > 100B}]";
	struct rules *r = rules_of(first), *other = rules_of(second);
	int raised = 0;

	(void)state;
	world_begin(r);
	metric_record(&agent_data_tool(&world.data, "git")->metrics, M_TOOL_NS, 3000000000);
	step_rss(200);
	said("1+a(0) 1+b(0) 1+c:git(0) ");
	assert_int_equal(rule_watch_rules(world.watch, other), 0);
	rules_free(r);
	said("1-b ");
	rule_watch_raised(world.watch, count_raised, &raised);
	assert_int_equal(raised, 2);
	step_rss(200);
	said("2+new(1) ");
	step_rss(200);
	said("3+held(0) ");
	for (int i = 0; i < 3; i++)
		step_rss(200);
	said("6-c:git ");
	assert_true(rule_watch_bytes(world.watch) > 1000);
	world_end();
	rules_free(other);
}

static int fail_now(void *ctx, const struct rule_event *e)
{
	(void)ctx, (void)e;
	return -5;
}

static void test_fn_fails(void **state)
{
	struct rules *r = rules_of("rules: [{name: a, when: last(rss_bytes) > 100B}, {name: b, when: last(rss_bytes) > 100B}]");

	(void)state;
	world_begin(r);
	rule_watch_free(world.watch);
	world.watch = rule_watch_new(r, fail_now, NULL);
	world.data.metrics.value[M_RSS_BYTES] = 200;
	world.data.observed_s = 1;
	world.interval.end_s = 1;
	assert_int_equal(rule_watch_interval(world.watch, &world.interval), -5);
	world_end();
	rules_free(r);
}

/* Many names must not cost memory without bound. */
static void test_many_subjects(void **state)
{
	struct rules *r = rules_of("rules: [{name: a, tool: '*', when: p50(tool_ns) > 1s, over: 2s, at_least: 1}]");
	size_t bytes = 0;

	(void)state;
	world_begin(r);
	for (int i = 0; i < 8; i++) {
		for (int n = 0; n < 600; n++) {
			char name[32];

			snprintf(name, sizeof(name), "tool-%d-%d", i, n);
			metric_record(&agent_data_tool(&world.data, name)->metrics, M_TOOL_NS, 1);
		}
		step();
		for (int n = 0; n < world.data.tools_len; n++) {
			free(world.data.tools[n].name);
			metric_set_fini(&world.data.tools[n].metrics);
		}
		world.data.tools_len = 0;
		if (i == 3)
			bytes = rule_watch_bytes(world.watch);
	}
	assert_true(rule_watch_bytes(world.watch) < 2 * bytes);
	assert_int_equal(rule_watch_unjudged(world.watch) > 0, 1);
	said("");
	world_end();
	rules_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file), cmocka_unit_test(test_default), cmocka_unit_test(test_bad_files), cmocka_unit_test(test_windows),
		cmocka_unit_test(test_for_and_clear), cmocka_unit_test(test_comparisons), cmocka_unit_test(test_peers), cmocka_unit_test(test_tools),
		cmocka_unit_test(test_span), cmocka_unit_test(test_ends), cmocka_unit_test(test_probes), cmocka_unit_test(test_reload),
		cmocka_unit_test(test_fn_fails), cmocka_unit_test(test_many_subjects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
