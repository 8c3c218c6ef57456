// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What a watch over rules says of random agents, against a judge who keeps every interval and adds all of them up anew each time: the same events with the same values, the same worst
 * ones.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fnmatch.h>

#include "judge/rule.h"
#include "lib/util.h"

#define INTERVALS 500
#define AGENTS 3
#define PEERS 4
#define TOOLS 3
#define SUBJECTS PEERS
#define RULES_MAX 40

static const char *const text =
        "rules:\n"
        "- {name: class95, class: llm, when: p95(exchange_ns) > 40ms, over: 20s, at_least: 5}\n"
        "- {name: class50, class: llm, when: p50(exchange_ns) > 30ms, over: 20s, at_least: 5}\n"
        "- {name: class99, class: db, when: p99(exchange_ns) > 60ms, over: 7s, at_least: 1, for: 3s}\n"
        "- {name: low, class: db, when: p50(exchange_ns) < 10ms, over: 15s, at_least: 2}\n"
        "- {name: least, class: llm, when: p90(exchange_ns) >= 45ms, over: 20s, clear: 20ms, at_least: 3}\n"
        "- {name: peers95, peer: '10.*', when: p95(exchange_ns) > 45ms, over: 12s, at_least: 3}\n"
        "- {name: peers0, peer: '10.*', when: p0(exchange_ns) > 8ms, over: 12s, at_least: 3}\n"
        "- {name: peers100, peer: '*.3', when: p100(exchange_ns) > 90ms, over: 5s, at_least: 1, for: 2s}\n"
        "- {name: zero, peer: '*', when: p50(ttfb_ns) > 0, over: 5s, at_least: 1}\n"
        "- {name: mean, tool: '*', when: mean(tool_ns) > 30ms, over: 30s, at_least: 2}\n"
        "- {name: tool95, tool: 't*', when: p95(tool_ns) > 70ms, over: 30s, at_least: 2}\n"
        "- {name: most, tool: '*', when: max(tool_ns) > 80ms, over: 10s, at_least: 1}\n"
        "- {name: ratio, tool: '*', when: p95(tool_ns) / p50(tool_ns) > 3, over: 25s, at_least: 4}\n"
        "- {name: few, tool: '*', when: total(exits) < 2, over: 10s}\n"
        "- {name: fails, tool: '*', when: total(exits_failed) / total(exits) > 30%, over: 10s, at_least: 3}\n"
        "- {name: rate, peer: '10.0.0.1', when: rate(exchanges) > 2, over: 8s}\n"
        "- {name: rss, when: last(rss_bytes) > 700B, for: 2s}\n"
        "- {name: peak, when: last(rss_peak_bytes) > 900B, over: 6s}\n"
        "- {name: cpu, when: rate(cpu_user_ns) + rate(cpu_system_ns) > 55%, over: 9s, for: 1s}\n"
        "- {name: share, when: share(idle) > 60%, over: 9s}\n"
        "- {name: old, when: age() > 30s}\n"
        "- {name: one, agent: 'agent1', when: p95(serve_ns) > 40ms, over: 10s, at_least: 4}\n"
        "- {name: long, when: p95(serve_ns) > 60ms, over: 100s, at_least: 4}\n"
        "- {name: short, when: max(serve_ns) > 60ms, over: 0.3s, at_least: 1}\n";

/* ---- what happens ---- */

static struct moment {
	double start_s, end_s;
	struct agent_data agents[AGENTS];
	bool there[AGENTS];
} moments[INTERVALS];
static struct agent_info infos[AGENTS];
static const char *const peers[PEERS] = {"10.0.0.1", "10.0.0.2", "192.168.0.3", "10.0.0.3"};
static const enum class_id classes[PEERS] = {CLASS_LLM, CLASS_LLM, CLASS_DB, CLASS_DB};
static unsigned seed;

static unsigned chance(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static void record(struct metric_set *s, enum metric_id m, double busy, double ns)
{
	for (int n = (int)(chance(8) * busy); n > 0; n--)
		assert_int_equal(
		        metric_record(s, m, chance(20) ? (uint64_t)(ns * exp((double)chance(2000) / 1000 - 1)) : 0), 0);
}

static void agent_make(struct agent_data *d, int agent, double slow, double seconds)
{
	double busy = chance(4) ? 1 : chance(3);

	d->id = agent + 1;
	d->alive = true;
	d->observed_s = seconds * (chance(10) ? 1 : 0.7);
	d->metrics.value[M_RSS_BYTES] = (uint64_t)(chance(900) * slow);
	d->metrics.value[M_RSS_PEAK_BYTES] = chance(1000);
	d->metrics.value[M_CPU_USER_NS] = (uint64_t)(chance(400000000) * slow);
	d->metrics.value[M_CPU_SYSTEM_NS] = chance(400000000);
	d->main.ns[STATE_IDLE] = chance(1000);
	d->main.ns[STATE_RUNNING] = chance(1000);
	record(&d->metrics, M_SERVE_NS, busy, 2e7 * slow);
	for (int p = 0; p < PEERS; p++) {
		struct peer_data *peer;

		if (!chance(3))
			continue;
		peer = agent_data_peer(d, p == 3 && !chance(3), peers[(p + agent) % PEERS], "");
		assert_non_null(peer);
		peer->class = classes[(p + agent) % PEERS];
		record(&peer->metrics, M_EXCHANGE_NS, busy, 2e7 * slow);
		record(&peer->metrics, M_TTFB_NS, busy / 4, 2);
		peer->metrics.value[M_EXCHANGES] = chance(6);
	}
	for (int t = 0; t < TOOLS; t++) {
		struct tool_data *tool;
		char name[8];

		if (!chance(3))
			continue;
		snprintf(name, sizeof(name), "%ct%d", t == 2 ? 'x' : 't', t);
		tool = agent_data_tool(d, name);
		assert_non_null(tool);
		record(&tool->metrics, M_TOOL_NS, busy / 3, 3e7 * slow);
		tool->metrics.value[M_EXITS] = chance(4);
		tool->metrics.value[M_EXITS_FAILED] = chance(2);
	}
}

static void moments_make(double interval_s)
{
	double now = 5;

	for (int i = 0; i < INTERVALS; i++) {
		struct moment *m = &moments[i];
		double slow = i / 60 % 3 == 2 ? 1.6 : 1;

		*m = (struct moment){.start_s = now};
		now += interval_s * (0.9 + 0.2 * chance(1000) / 1000) * (chance(100) ? 1 : 20);
		m->end_s = now;
		for (int a = 0; a < AGENTS; a++) {
			m->there[a] = a != 2 || i % 150 > 20; /* the last one comes and goes */
			agent_make(&m->agents[a], a, slow, m->end_s - m->start_s);
		}
	}
}

/* ---- who keeps everything ---- */

struct told {
	char *text;
	size_t len;
	FILE *out;
	double worst[RULES_MAX]; /* by rule */
	const struct rules *all;
};

static int on_event(void *ctx, const struct rule_event *e)
{
	struct told *t = ctx;

	fprintf(t->out, "%.9g %s %s %d %s since %.9g: %.12g worst %.12g\n", e->at_s, e->what == RULE_RAISED ? "+" : "-",
	        e->rule->name, e->agent, e->subject, e->since_s, e->value, e->worst);
	return 0;
}

static int on_value(void *ctx, int rule, int agent, const char *subject, double at_s, double value)
{
	struct told *t = ctx;
	bool above = t->all->at[rule].comparison <= RULE_AT_LEAST;

	(void)agent, (void)subject, (void)at_s;
	if (isnan(t->worst[rule]) || (above ? value > t->worst[rule] : value < t->worst[rule]))
		t->worst[rule] = value;
	return 0;
}

static void told_begin(struct told *t, const struct rules *all)
{
	*t = (struct told){.all = all};
	t->out = open_memstream(&t->text, &t->len);
	assert_non_null(t->out);
	for (int r = 0; r < RULES_MAX; r++)
		t->worst[r] = NAN;
}

static const char *subject_name(const struct rule *r, int subject)
{
	static const char *const tools[TOOLS] = {"tt0", "tt1", "xt2"};

	switch (r->each) {
	case EACH_AGENT:
		return subject ? NULL : "";
	case EACH_CLASS:
		return subject ? NULL : class_infos[r->class].name;
	case EACH_PEER:
		return fnmatch(r->peer, peers[subject], 0) ? NULL : peers[subject];
	default:
		return subject < TOOLS && !fnmatch(r->tool, tools[subject], 0) ? tools[subject] : NULL;
	}
}

/* The n-th set of figures that a subject has in an interval, or NULL. */
static const struct metric_set *subject_set(const struct rule *r, const struct agent_data *d, const char *name, int n)
{
	for (int p = 0; p < d->peers_len && (r->each == EACH_CLASS || r->each == EACH_PEER); p++) {
		const struct peer_data *peer = &d->peers[p];
		bool its = r->each == EACH_PEER ? !strcmp(peer->peer, name) : !peer->server && peer->class == r->class;

		if (its && !n--)
			return &peer->metrics;
	}
	for (int t = 0; t < d->tools_len && r->each == EACH_TOOL; t++)
		if (!strcmp(d->tools[t].name, name) && !n--)
			return &d->tools[t].metrics;
	return r->each == EACH_AGENT && !n ? &d->metrics : NULL;
}

struct naive { /* a rule and an agent */
	struct part {
		double start_s, end_s, seconds;
		int first; /* interval */
	} parts[INTERVALS];
	int first, next, closed;
	double first_s;
	bool begun;
	struct {
		bool holding, raised, alive;
		double since_s, worst;
	} tracks[SUBJECTS];
};

static void naive_time(struct naive *n, const struct moment *m, int i, double over_s, double seconds)
{
	struct part *p;

	while (n->first < n->next && (n->parts[n->first].start_s + n->parts[n->first].end_s) / 2 < m->end_s - over_s) {
		if (n->closed <= n->first)
			n->closed = n->next;
		n->first++;
	}
	p = &n->parts[n->next ? n->next - 1 : 0];
	if (n->next == n->first || n->next == n->closed || m->end_s - p->start_s > over_s / 10 + (m->end_s - m->start_s) / 2) {
		p = &n->parts[n->next++];
		*p = (struct part){.start_s = m->start_s, .first = i};
	}
	p->end_s = m->end_s;
	p->seconds += seconds;
}

/* All of the window, anew. Returns how often the subject was there. */
static int naive_sum(const struct naive *n, const struct rule *r, int agent, const char *name, int now, struct metric_set *sum,
        struct ledger *main)
{
	int added = 0;

	for (int i = n->parts[n->first].first; i <= now; i++) {
		const struct agent_data *d = &moments[i].agents[agent];
		const struct metric_set *set;

		for (int k = 0; (set = subject_set(r, d, name, k)); k++) {
			added++;
			assert_int_equal(metric_set_merge(sum, set), 0);
		}
		if (r->each == EACH_AGENT)
			ledger_merge(main, &d->main);
	}
	return added;
}

static bool beyond(const struct rule *r, double value, double limit)
{
	return r->comparison == RULE_ABOVE      ? value > limit
	       : r->comparison == RULE_AT_LEAST ? value >= limit
	       : r->comparison == RULE_BELOW    ? value < limit
	                                        : value <= limit;
}

static void naive_event(struct told *t, const struct naive *n, int rule, int agent, int subject, double at_s, double value)
{
	const struct rule *r = &t->all->at[rule];

	on_event(t, &(struct rule_event){.what = n->tracks[subject].raised ? RULE_RAISED : RULE_CLEARED,
	                    .rule = r,
	                    .agent = agent + 1,
	                    .subject = subject_name(r, subject),
	                    .since_s = n->tracks[subject].since_s,
	                    .at_s = at_s,
	                    .value = value,
	                    .worst = n->tracks[subject].worst});
}

static void naive_clear(struct told *t, struct naive *n, int rule, int agent, int subject, double at_s, double value)
{
	bool raised = n->tracks[subject].raised;

	n->tracks[subject].raised = n->tracks[subject].holding = false;
	if (raised)
		naive_event(t, n, rule, agent, subject, at_s, value);
}

static void naive_verdict(
        struct told *t, struct naive *n, int rule, int agent, int subject, const struct moment *m, double value, bool good)
{
	const struct rule *r = &t->all->at[rule];
	bool above = r->comparison <= RULE_AT_LEAST;

	if (n->tracks[subject].holding && !isnan(value))
		n->tracks[subject].worst =
		        above ? fmax(n->tracks[subject].worst, value) : fmin(n->tracks[subject].worst, value);
	if (n->tracks[subject].raised) {
		if (isnan(value) || !beyond(r, value, r->clear))
			naive_clear(t, n, rule, agent, subject, m->end_s, value);
		return;
	}
	if (!good || !beyond(r, value, r->limit)) {
		n->tracks[subject].holding = false;
		return;
	}
	if (!n->tracks[subject].holding) {
		n->tracks[subject].holding = true;
		n->tracks[subject].since_s = m->start_s;
		n->tracks[subject].worst = value;
	}
	n->tracks[subject].raised = m->end_s - n->tracks[subject].since_s >= r->for_s - 1e-6;
	if (n->tracks[subject].raised)
		naive_event(t, n, rule, agent, subject, m->end_s, value);
}

static void naive_judge(struct told *t, struct naive *n, int rule, int agent, int subject, int now)
{
	const struct rule *r = &t->all->at[rule];
	const struct moment *m = &moments[now];
	double seconds = 0, value = NAN, full = fmin(0.9 * r->over_s, r->over_s - 0.55 * (m->end_s - m->start_s));
	struct metric_set sum = {0};
	struct ledger main = {0};
	uint64_t support = 0;
	bool good;
	int added = naive_sum(n, r, agent, subject_name(r, subject), now, &sum, &main);

	for (int p = n->first; p < n->next; p++)
		seconds += n->parts[p].seconds;
	if ((added || n->tracks[subject].alive) && !(expression_spans(r->value) && seconds < full))
		value = expression_value(r->value,
		        &(struct subject){.metrics = &sum, .main = &main, .seconds = seconds, .age_s = m->end_s - n->first_s},
		        &support);
	metric_set_fini(&sum);
	good = !isnan(value) && support >= r->at_least;
	if (good)
		on_value(t, rule, agent + 1, "", m->end_s, value);
	naive_verdict(t, n, rule, agent, subject, m, value, good);
	n->tracks[subject].alive = added;
	if (!added)
		naive_clear(t, n, rule, agent, subject, m->end_s, NAN);
}

static void naive_interval(struct told *t, struct naive *n, int rule, int agent, int now)
{
	const struct rule *r = &t->all->at[rule];
	const struct moment *m = &moments[now];

	if (r->agent && fnmatch(r->agent, infos[agent].name, 0))
		return;
	if (!m->there[agent]) {
		for (int s = 0; s < SUBJECTS; s++)
			naive_clear(t, n, rule, agent, s, m->start_s, NAN);
		*n = (struct naive){0};
		return;
	}
	if (!n->begun)
		n->first_s = m->end_s - m->agents[agent].observed_s;
	n->begun = true;
	naive_time(n, m, now, r->over_s, m->agents[agent].observed_s);
	for (int s = 0; s < SUBJECTS; s++)
		if (subject_name(r, s))
			naive_judge(t, n, rule, agent, s, now);
}

/* ---- both ---- */

static void watch_all(struct told *t)
{
	struct rule_watch *w = rule_watch_new(t->all, on_event, t);

	assert_non_null(w);
	rule_watch_values(w, on_value);
	for (int i = 0; i < INTERVALS; i++) {
		const struct agent_data *data[AGENTS];
		const struct agent_info *info[AGENTS];
		struct interval_data interval = {.seq = (uint64_t)i,
		        .start_s = moments[i].start_s,
		        .end_s = moments[i].end_s,
		        .agents = data,
		        .infos = info};

		for (int a = 0; a < AGENTS; a++) {
			if (!moments[i].there[a])
				continue;
			data[interval.agents_len] = &moments[i].agents[a];
			info[interval.agents_len++] = &infos[a];
		}
		assert_int_equal(rule_watch_interval(w, &interval), 0);
	}
	rule_watch_free(w);
}

static void judge_all(struct told *t)
{
	struct naive *all = calloc((size_t)t->all->len * AGENTS, sizeof(*all));

	assert_non_null(all);
	for (int i = 0; i < INTERVALS; i++)
		for (int r = 0; r < t->all->len; r++)
			for (int a = 0; a < AGENTS; a++)
				naive_interval(t, &all[r * AGENTS + a], r, a, i);
	free(all);
}

static int line_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The order within an interval is nobody's business. Returns how many there are. */
static int lines_sort(struct told *t, char *lines[], int most)
{
	char *save = NULL;
	int n = 0;

	fclose(t->out);
	for (char *line = strtok_r(t->text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		assert_true(n < most);
		lines[n++] = line;
	}
	qsort(lines, (size_t)n, sizeof(*lines), line_order);
	return n;
}

#define LINES_MAX 20000
static char *said[LINES_MAX], *expected[LINES_MAX];

static void test_oracle(void **state)
{
	char why[600] = "", names[AGENTS][16];
	struct told told, naive;
	struct rules *rules;

	(void)state;
	if (rules_parse("x.yaml", text, &rules, why, sizeof(why)))
		fail_msg("%s", why);
	assert_true(rules->len <= RULES_MAX);
	for (int a = 0; a < AGENTS; a++) {
		snprintf(names[a], sizeof(names[a]), "agent%d", a);
		infos[a] = (struct agent_info){.id = a + 1, .name = names[a]};
	}
	for (seed = 1; seed <= 3; seed++) {
		unsigned first = seed;
		int n, len;

		moments_make(seed == 2 ? 0.4 : 1);
		told_begin(&told, rules);
		told_begin(&naive, rules);
		watch_all(&told);
		judge_all(&naive);
		n = lines_sort(&told, said, LINES_MAX);
		len = lines_sort(&naive, expected, LINES_MAX);
		for (int i = 0; i < n && i < len; i++)
			assert_string_equal(said[i], expected[i]);
		assert_int_equal(n, len);
		for (int r = 0; r < rules->len; r++) {
			assert_false(isnan(naive.worst[r])); /* each of them has something to say */
			if (told.worst[r] != naive.worst[r])
				fail_msg("%u, %s: worst %.17g, not %.17g", first, rules->at[r].name, told.worst[r],
				        naive.worst[r]);
		}
		assert_true(n > 300);
		for (int i = 0; i < INTERVALS; i++)
			for (int a = 0; a < AGENTS; a++)
				agent_data_fini(&moments[i].agents[a]);
		free(told.text);
		free(naive.text);
		seed = first;
	}
	rules_free(rules);
}

/* The middle of a bucket lies below the limit, but no value is below: then it is the smallest that counts. */
static void test_edge(void **state)
{
	uint64_t ns = (uint64_t)floor(hist_upper(hist_index(10000000, HIST_SCALE), HIST_SCALE));
	struct agent_data data = {.id = 1, .alive = true, .observed_s = 1};
	const struct agent_info info = {.id = 1, .name = (char *)"agent"};
	const struct interval_data interval = {.end_s = 1,
	        .agents = (const struct agent_data *[]){&data},
	        .infos = (const struct agent_info *[]){&info},
	        .agents_len = 1};
	char why[600] = "", file[200];
	struct rule_watch *w;
	struct rules *rules;
	struct told told;

	(void)state;
	snprintf(file, sizeof(file), "rules: [{name: edge, when: p50(serve_ns) > %lluns, at_least: 1}]",
	        (unsigned long long)ns - 9);
	if (rules_parse("x.yaml", file, &rules, why, sizeof(why)))
		fail_msg("%s", why);
	told_begin(&told, rules);
	w = rule_watch_new(rules, on_event, &told);
	assert_non_null(w);
	assert_int_equal(metric_record(&data.metrics, M_SERVE_NS, ns), 0);
	assert_int_equal(rule_watch_interval(w, &interval), 0);
	fclose(told.out);
	assert_non_null(strstr(told.text, "+ edge"));
	free(told.text);
	rule_watch_free(w);
	rules_free(rules);
	agent_data_fini(&data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_oracle), cmocka_unit_test(test_edge)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
