/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What judging takes of a CPU, reading apart: tests/bench/judge rules|trends|diff AGENTS INTERVALS CALLS [PERCENT]. Each agent calls peers of all classes and runs ten tools: CALLS a class
 * and a sixth of that a tool in an interval (0.1: in one of ten). PERCENT is by how much the figures of diff's sides differ.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "judge/compare.h"
#include "judge/objectives.h"
#include "judge/student.h"
#include "judge/trend.h"
#include "lib/util.h"

#define VARIANTS 128 /* of an agent's interval: as much memory as is read of so many agents */
#define TOOLS 10
#define SPREAD 1.0 /* of logarithms, on either side */

static uint64_t seed = 1;

/* CPU time: the machine may be busy with other things. */
static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void must(bool good)
{
	if (!good) {
		fprintf(stderr, "judge: failed\n");
		exit(1);
	}
}

/* As many as `calls` says on the average. */
static int some(double calls)
{
	return (int)calls + (random_below(&seed, 1 << 20) < (calls - floor(calls)) * (1 << 20));
}

static uint64_t times_make(struct metric_set *s, enum metric_id m, int n, double ns)
{
	for (int i = 0; i < n; i++)
		must(!metric_record(s, m, (uint64_t)(ns * exp(SPREAD * ((double)random_below(&seed, 2000) / 1000 - 1)))));
	return (uint64_t)n;
}

static void peers_make(struct agent_data *d, double calls, double factor)
{
	for (int c = 0; c < CLASS_COUNT; c++) {
		struct peer_data *p;
		char name[32];
		int n = some(calls);

		snprintf(name, sizeof(name), "10.0.0.%d:80", c);
		p = agent_data_peer(d, false, name, "");
		must(p);
		p->class = (enum class_id)c;
		p->metrics.value[M_EXCHANGES] = times_make(&p->metrics, M_EXCHANGE_NS, n, 2e7 * factor);
		times_make(&p->metrics, M_TTFB_NS, n, 1e7 * factor);
		p->metrics.value[M_ERRORS_RESET] = n && factor > 1 ? random_below(&seed, 3) : 0;
		d->metrics.value[M_EXCHANGES] += p->metrics.value[M_EXCHANGES];
	}
}

static void agent_make(struct agent_data *d, double calls, double factor)
{
	*d = (struct agent_data){.alive = true, .observed_s = 1};
	d->metrics.value[M_CPU_USER_NS] = (uint64_t)((2e8 + random_below(&seed, 100000000)) * factor);
	d->metrics.value[M_RSS_BYTES] = d->metrics.value[M_RSS_PEAK_BYTES] = (uint64_t)(2e8 * factor);
	d->metrics.value[M_MEMORY_LIMIT_BYTES] = 1 << 30;
	d->metrics.value[M_MEMORY_LEFT_BYTES] = 1 << 29;
	d->threads.ns[STATE_RUNNABLE] = (uint64_t)(2e8 * factor);
	d->threads.ns[STATE_IDLE] = 800000000;
	times_make(&d->metrics, M_LOOP_BUSY_NS, some(calls), 1e7 * factor);
	times_make(&d->metrics, M_LOOP_BLOCKED_NS, some(calls), 1e6 * factor);
	times_make(&d->metrics, M_SERVE_NS, some(calls), 1e7 * factor);
	peers_make(d, calls, factor);
	for (int t = 0; t < TOOLS; t++) {
		struct tool_data *tool;
		char name[32];

		snprintf(name, sizeof(name), "tool%d", t);
		tool = agent_data_tool(d, name);
		must(tool);
		tool->metrics.value[M_EXITS] = times_make(&tool->metrics, M_TOOL_NS, some(calls / 6), 1e8 * factor);
	}
}

/* ---- intervals ---- */

struct fleet {
	struct agent_data variants[VARIANTS];
	struct agent_info *infos;
	const struct agent_info **all;
	const struct agent_data **data;
	int agents;
};

static void fleet_make(struct fleet *f, int agents, double calls, double factor)
{
	seed = 1; /* without a change both sides are alike */
	*f = (struct fleet){.agents = agents};
	f->infos = calloc((size_t)agents, sizeof(*f->infos));
	f->all = calloc((size_t)agents, sizeof(*f->all));
	f->data = calloc((size_t)agents, sizeof(*f->data));
	must(f->infos && f->all && f->data);
	for (int v = 0; v < VARIANTS; v++)
		agent_make(&f->variants[v], calls, factor);
	for (int i = 0; i < agents; i++) {
		char name[32];

		snprintf(name, sizeof(name), "agent%d", i);
		f->infos[i] = (struct agent_info){.id = i, .name = strdup(name)};
		must(f->infos[i].name);
		f->all[i] = &f->infos[i];
	}
}

static void fleet_free(struct fleet *f)
{
	for (int v = 0; v < VARIANTS; v++)
		agent_data_fini(&f->variants[v]);
	for (int i = 0; i < f->agents; i++)
		free(f->infos[i].name);
	free(f->infos);
	free(f->all);
	free(f->data);
}

/* CPU time in fn, ms: in all, and of the longest interval. */
static double fleet_run(struct fleet *f, int intervals, recording_interval_fn fn, void *ctx, double *ret_worst)
{
	uint64_t sum = 0, worst = 0;

	for (int n = 0; n < intervals; n++) {
		struct interval_data i = {.seq = (uint64_t)n,
		        .start_s = n,
		        .end_s = n + 1,
		        .agents = f->data,
		        .infos = f->all,
		        .agents_len = f->agents};
		uint32_t first = random_below(&seed, VARIANTS);
		uint64_t begin;

		for (int a = 0; a < f->agents; a++) {
			f->variants[(first + (uint32_t)a) % VARIANTS].id = a;
			f->data[a] = &f->variants[(first + (uint32_t)a) % VARIANTS];
		}
		begin = cpu_ns();
		must(!fn(ctx, &i));
		begin = cpu_ns() - begin;
		sum += begin;
		worst = begin > worst ? begin : worst;
	}
	*ret_worst = (double)worst / 1e6;
	return (double)sum / 1e6;
}

/* ---- what is measured ---- */

static int watch_interval(void *watch, const struct interval_data *i)
{
	return rule_watch_interval(watch, i);
}

static void rules_bench(int agents, int intervals, double calls)
{
	struct rules *rules = rules_default();
	struct objectives *o = rules ? objectives_new(rules) : NULL;
	struct rule_watch *watch = rules ? rule_watch_new(rules, NULL, NULL) : NULL;
	const struct objective *all;
	struct fleet f;
	double ms, worst, judged;
	uint64_t begin;

	must(o && watch);
	fleet_make(&f, agents, calls, 1);
	ms = fleet_run(&f, intervals, watch_interval, watch, &worst);
	printf("rules as in serve: %.3f ms an interval, worst %.2f; %.2f s for 3,600; %zu KiB\n", ms / intervals, worst,
	        ms / intervals * 3.6, rule_watch_bytes(watch) >> 10);
	ms = fleet_run(&f, intervals, objectives_interval, o, &worst);
	begin = cpu_ns();
	must(!objectives_judge(o, &all));
	judged = (double)(cpu_ns() - begin) / 1e6;
	printf("objectives:        %.3f ms an interval, worst %.2f; %.2f s for 3,600; then %.1f ms\n", ms / intervals, worst,
	        ms / intervals * 3.6, judged);
	objectives_free(o);
	rule_watch_free(watch);
	rules_free(rules);
	fleet_free(&f);
}

static void trends_bench(int agents, int intervals, double calls)
{
	struct trends *t = trends_new();
	struct rules *rules = rules_default();
	const struct trend *list;
	struct fleet f;
	double ms, worst;
	uint64_t begin;
	int len;

	must(t && rules);
	fleet_make(&f, agents, calls, 1);
	ms = fleet_run(&f, intervals, trends_interval, t, &worst);
	begin = cpu_ns();
	must(!trends_judge(t, rules, &list, &len));
	printf("trends: %.3f ms an interval, worst %.2f; %.2f s for 3,600; %d series judged in %.1f ms\n", ms / intervals,
	        worst, ms / intervals * 3.6, len, (double)(cpu_ns() - begin) / 1e6);
	trends_free(t);
	rules_free(rules);
	fleet_free(&f);
}

static struct compare_side *side_make(int agents, int intervals, double calls, double factor, double *ret_ms)
{
	struct recording r = {.header.interval_s = 1, .intervals = (uint64_t)intervals, .duration_s = intervals};
	struct compare_side *s = compare_side_new();
	struct fleet f;
	double worst;

	must(s && !compare_side_begin(s));
	fleet_make(&f, agents, calls, factor);
	*ret_ms = fleet_run(&f, intervals, compare_side_interval, s, &worst);
	must(!compare_side_end(s, &r));
	fleet_free(&f);
	return s;
}

static void diff_bench(int agents, int intervals, double calls, double factor)
{
	struct compare_side *base, *new;
	struct comparisons *c;
	double taken_ms[2];
	uint64_t begin, ns;

	base = side_make(agents, intervals, calls, 1, &taken_ms[0]);
	new = side_make(agents, intervals, calls, factor, &taken_ms[1]);
	begin = cpu_ns();
	must(!compare(base, new, &compare_defaults, NULL, &c));
	ns = cpu_ns() - begin;
	printf("diff: %d comparisons, %d degraded, in %.1f ms; taking the intervals in: %.2f and %.2f s\n", c->len,
	        c->counts[VERDICT_DEGRADED], (double)ns / 1e6, taken_ms[0] / 1e3, taken_ms[1] / 1e3);
	comparisons_free(c);
	compare_side_free(base);
	compare_side_free(new);
}

int main(int argc, char **argv)
{
	int agents = argc > 4 ? atoi(argv[2]) : 0, intervals = argc > 4 ? atoi(argv[3]) : 0;
	double calls = argc > 4 ? atof(argv[4]) : 0;

	if (agents < 1 || agents > VARIANTS || intervals < 1 || !(calls > 0)) {
		fprintf(stderr, "usage: judge rules|trends|diff AGENTS INTERVALS CALLS [PERCENT]; up to %d agents\n", VARIANTS);
		return 2;
	}
	if (!strcmp(argv[1], "rules"))
		rules_bench(agents, intervals, calls);
	else if (!strcmp(argv[1], "trends"))
		trends_bench(agents, intervals, calls);
	else
		diff_bench(agents, intervals, calls, 1 + (argc > 5 ? atof(argv[5]) : 0) / 100);
	return 0;
}
