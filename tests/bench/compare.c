/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What comparing two recordings takes, reading apart: tests/bench/compare AGENTS INTERVALS PERCENT. Each agent calls peers of all classes and runs ten tools; PERCENT is by how much
 * its figures differ between the sides.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "judge/compare.h"
#include "judge/student.h"
#include "lib/util.h"

#define VARIANTS 16 /* of intervals */
#define TOOLS 10
#define CALLS 20 /* of a class in an interval */

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
		fprintf(stderr, "compare: failed\n");
		exit(1);
	}
}

static void times_make(struct metric_set *s, enum metric_id m, int n, double ns)
{
	for (int i = 0; i < n; i++)
		must(!metric_record(s, m, (uint64_t)(ns * exp((double)random_below(&seed, 2000) / 1000 - 1))));
}

static void agent_make(struct agent_data *d, double factor)
{
	*d = (struct agent_data){.alive = true, .observed_s = 1};
	d->metrics.value[M_CPU_USER_NS] = (uint64_t)((2e8 + random_below(&seed, 100000000)) * factor);
	d->metrics.value[M_RSS_BYTES] = d->metrics.value[M_RSS_PEAK_BYTES] = (uint64_t)(2e8 * factor);
	d->threads.ns[STATE_RUNNABLE] = (uint64_t)(2e8 * factor);
	d->threads.ns[STATE_IDLE] = 800000000;
	times_make(&d->metrics, M_LOOP_BUSY_NS, CALLS, 1e7 * factor);
	times_make(&d->metrics, M_SERVE_NS, CALLS, 1e7 * factor);
	for (int c = 0; c < CLASS_COUNT; c++) {
		char name[32];
		struct peer_data *p;

		snprintf(name, sizeof(name), "10.0.0.%d:80", c);
		p = agent_data_peer(d, false, name, "");
		must(p);
		p->class = (enum class_id)c;
		times_make(&p->metrics, M_EXCHANGE_NS, CALLS, 5e7 * factor);
		times_make(&p->metrics, M_TTFB_NS, CALLS, 2e7 * factor);
		p->metrics.value[M_EXCHANGES] = CALLS;
		p->metrics.value[M_ERRORS_RESET] = factor > 1 ? random_below(&seed, 3) : 0;
	}
	for (int t = 0; t < TOOLS; t++) {
		char name[32];
		struct tool_data *tool;

		snprintf(name, sizeof(name), "tool%d", t);
		tool = agent_data_tool(d, name);
		must(tool);
		times_make(&tool->metrics, M_TOOL_NS, 3, 1e8 * factor);
		tool->metrics.value[M_EXITS] = 3;
	}
}

static struct compare_side *side_make(int agents, int intervals, double factor, double *ret_s)
{
	struct compare_side *s = compare_side_new();
	struct agent_data variants[VARIANTS];
	struct agent_info *infos = calloc((size_t)agents, sizeof(*infos));
	const struct agent_info **all = calloc((size_t)agents, sizeof(*all));
	const struct agent_data **data = calloc((size_t)agents, sizeof(*data));
	struct recording r = {.header.interval_s = 1, .intervals = (uint64_t)intervals, .duration_s = intervals};
	uint64_t begin;

	seed = 1; /* without a change both sides are alike */
	must(s && infos && all && data && !compare_side_begin(s));
	for (int v = 0; v < VARIANTS; v++)
		agent_make(&variants[v], factor);
	for (int i = 0; i < agents; i++) {
		char name[32];

		snprintf(name, sizeof(name), "agent%d", i);
		infos[i] = (struct agent_info){.id = 0, .name = strdup(name)};
		must(infos[i].name);
		all[i] = &infos[i];
	}
	begin = cpu_ns();
	for (int n = 0; n < intervals; n++) {
		struct interval_data i = {
		        .seq = (uint64_t)n, .start_s = n, .end_s = n + 1, .agents = data, .infos = all, .agents_len = agents};

		for (int a = 0; a < agents; a++)
			data[a] = &variants[random_below(&seed, VARIANTS)];
		must(!compare_side_interval(s, &i));
	}
	*ret_s = (double)(cpu_ns() - begin) / 1e9;
	must(!compare_side_end(s, &r));
	for (int v = 0; v < VARIANTS; v++)
		agent_data_fini(&variants[v]);
	for (int i = 0; i < agents; i++)
		free(infos[i].name);
	free(infos);
	free(all);
	free(data);
	return s;
}

int main(int argc, char **argv)
{
	int agents = argc > 3 ? atoi(argv[1]) : 0, intervals = argc > 3 ? atoi(argv[2]) : 0;
	struct compare_side *base, *new;
	struct comparisons *c;
	double taken_s[2];
	uint64_t begin, ns;

	if (agents < 1 || intervals < 1) {
		fprintf(stderr, "usage: compare AGENTS INTERVALS PERCENT\n");
		return 2;
	}
	base = side_make(agents, intervals, 1, &taken_s[0]);
	new = side_make(agents, intervals, 1 + atof(argv[3]) / 100, &taken_s[1]);
	begin = cpu_ns();
	must(!compare(base, new, &compare_defaults, NULL, &c));
	ns = cpu_ns() - begin;
	printf("%d agents, %d intervals: %d comparisons, %d degraded, in %.1f ms of CPU; taking the intervals in: %.2f and "
	       "%.2f s\n",
	        agents, intervals, c->len, c->counts[VERDICT_DEGRADED], (double)ns / 1e6, taken_s[0], taken_s[1]);
	comparisons_free(c);
	compare_side_free(base);
	compare_side_free(new);
	return 0;
}
