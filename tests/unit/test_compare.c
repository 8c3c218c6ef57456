/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Recordings of made-up agents whose true change is known, with noise as of real ones, straight into the comparison. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#include <cmocka.h>

#include "judge/compare_parts.h"
#include "judge/student.h"

#define MIB (1024.0 * 1024)

static uint64_t seed = 1;

static double uniform(void)
{
	return ((double)(random_next(&seed) >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(void)
{
	return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform());
}

static int poisson(double mean)
{
	double left = exp(-mean);
	int n = 0;

	for (double p = uniform(); p > left; p *= uniform())
		n++;
	return n;
}

/* How a load wanders: a first-order autoregressive process of the logarithm, bursts, and a slow drift. */
struct wander {
	double keeps, deviation, burst, drift;
	double level, phase, bursting;
};

static double wander_next(struct wander *w, double at)
{
	w->level = w->keeps * w->level + sqrt(1 - w->keeps * w->keeps) * w->deviation * normal();
	w->bursting = w->bursting > 0 ? w->bursting - 1 : uniform() < w->burst / 20 ? 5 + 10 * uniform() : 0;
	return exp(w->level + w->drift * sin(2 * M_PI * at + w->phase)) * (w->bursting > 0 ? 1.8 : 1);
}

static void wander_begin(struct wander *w, const struct wander *kind)
{
	*w = *kind;
	w->level = w->deviation * normal();
	w->phase = 2 * M_PI * uniform();
}

struct noise {
	const char *name;
	struct wander load, peer;
	double spread; /* of one call, of the logarithm */
	double runs; /* by which whole recordings differ, of the logarithm */
	double start; /* times as busy, in the first three seconds; 0: as later */
};

static const struct noise noises[] = {
        /* deviations of 5 to 15 %, that last for seconds to some ten seconds */
        {"steady", {.keeps = 0, .deviation = 0.1}, {.keeps = 0, .deviation = 0.05}, .spread = 0.4},
        {"wandering load", {.keeps = 0.9, .deviation = 0.15}, {.keeps = 0.8, .deviation = 0.1}, .spread = 0.5},
        {"bursts", {.keeps = 0.5, .deviation = 0.1, .burst = 0.2}, {.keeps = 0.5, .deviation = 0.1, .burst = 0.1},
                .spread = 0.6},
        {"slow drift", {.keeps = 0.9, .deviation = 0.1, .drift = 0.05}, {.keeps = 0.9, .deviation = 0.1, .drift = 0.05},
                .spread = 0.5},
        {"long memory", {.keeps = 0.95, .deviation = 0.1}, {.keeps = 0.95, .deviation = 0.1}, .spread = 0.5},
};
/* More than a comparison can see through: it must not say that it does. */
static const struct noise rough[] = {
        {"wide", {.keeps = 0.95, .deviation = 0.4}, {.keeps = 0.95, .deviation = 0.3}, .spread = 1},
        {"rare bursts", {.keeps = 0.5, .deviation = 0.2, .burst = 0.03}, {.keeps = 0.5, .deviation = 0.2, .burst = 0.03},
                .spread = 0.8},
        {"drift", {.keeps = 0.9, .deviation = 0.1, .drift = 0.3}, {.keeps = 0.9, .deviation = 0.1, .drift = 0.3},
                .spread = 0.5},
        {"long memory", {.keeps = 0.98, .deviation = 0.15}, {.keeps = 0.98, .deviation = 0.15}, .spread = 0.5},
};
#define ROUGH (sizeof(rough) / sizeof(*rough))
#define NOISES (sizeof(noises) / sizeof(*noises))

static void calls(struct metric_set *p, double mean, double ns, double spread, double failing)
{
	for (int n = poisson(mean); n > 0; n--) {
		double time = ns * exp(spread * normal());

		assert_int_equal(metric_record(p, M_EXCHANGE_NS, (uint64_t)time), 0);
		assert_int_equal(metric_record(p, M_TTFB_NS, (uint64_t)(time * (0.5 + 0.1 * uniform()))), 0);
		p->value[M_EXCHANGES]++;
		p->value[M_ERRORS_RESET] += uniform() < failing;
	}
}

struct change { /* true */
	double load; /* CPU and memory */
	double time; /* of calls */
	double failing; /* share of calls */
};

static void interval_make(
        struct agent_data *d, const struct noise *n, double busy, double slow, double rss, const struct change *c)
{
	struct peer_data *p;

	d->metrics.value[M_CPU_USER_NS] = (uint64_t)(4e8 * busy * c->load);
	d->metrics.value[M_CPU_SYSTEM_NS] = (uint64_t)(1e8 * busy * c->load);
	d->metrics.value[M_RSS_BYTES] = (uint64_t)(rss * c->load);
	d->metrics.value[M_RSS_PEAK_BYTES] = (uint64_t)(rss * c->load * (1 + 0.02 * uniform()));
	d->threads.ns[STATE_RUNNABLE] = (uint64_t)(1.5e8 * busy * c->load);
	d->threads.ns[STATE_IDLE] = 1000000000 - d->threads.ns[STATE_RUNNABLE];
	p = agent_data_peer(d, false, "10.0.0.1:443", "model");
	p->class = CLASS_LLM;
	calls(&p->metrics, 1.5 * busy, 8e8 * slow * c->time, n->spread, 0.01 + c->failing);
	p = agent_data_peer(d, false, "10.0.0.2:5432", "db");
	p->class = CLASS_DB;
	calls(&p->metrics, 4 * busy, 2e7 * slow * c->time, n->spread, 0.005 + c->failing);
}

static struct compare_side *side_add(
        struct compare_side *side, const char *name, const struct noise *noise, int intervals, const struct change *change)
{
	struct compare_side *s = side ? side : compare_side_new();
	struct agent_info info = {.id = 1, .name = (char *)name, .cmdline = "", .cgroup = ""};
	const struct agent_info *infos[] = {&info};
	struct recording_agent total = {.info = info, .total = {.id = 1, .observed_s = intervals}};
	struct recording r = {.header = {.interval_s = 1, .host = {.cpus = 4}},
	        .agents = &total,
	        .agents_len = 1,
	        .intervals = (uint64_t)intervals,
	        .duration_s = intervals};
	struct wander load, peer;
	double rss = 200 * MIB, run_load = exp(noise->runs * normal()), run_time = exp(noise->runs * normal());
	struct agent_data d = {.id = 1, .alive = true, .observed_s = 1};

	assert_non_null(s);
	assert_int_equal(compare_side_begin(s), 0);
	wander_begin(&load, &noise->load);
	wander_begin(&peer, &noise->peer);
	for (int i = 0; i < intervals; i++) {
		const struct agent_data *agents[] = {&d};
		struct interval_data data = {
		        .seq = (uint64_t)i, .start_s = i, .end_s = i + 1, .agents = agents, .infos = infos, .agents_len = 1};
		double at = (double)i / intervals, slow, busy;

		for (int p = 0; p < d.peers_len; p++)
			metric_set_reset(&d.peers[p].metrics);

		rss = 0.97 * rss + 0.03 * 200 * MIB * (1 + 0.1 * normal());
		slow = run_time * wander_next(&peer, at);
		busy = run_load * wander_next(&load, at) * (noise->start > 0 && i < 3 ? noise->start : 1);
		interval_make(&d, noise, busy, slow, rss, change);
		assert_int_equal(compare_side_interval(s, &data), 0);
	}
	agent_data_fini(&d);
	assert_int_equal(compare_side_end(s, &r), 0);
	return s;
}

struct tally {
	int rows, degraded, improved, pairs, pairs_degraded, insufficient;
	int of[MEASURE_COUNT], degraded_of[MEASURE_COUNT];
	double detectable_of[MEASURE_COUNT]; /* summed */
};

static void pair_tally(struct tally *t, const struct noise *noise, int runs, int intervals, const struct change *change)
{
	static const struct change none = {1, 1, 0};
	struct compare_side *base = NULL, *new = NULL;
	struct comparisons *c;

	for (int i = 0; i < runs; i++) {
		base = side_add(base, "agent", noise, intervals, &none);
		new = side_add(new, "agent", noise, intervals, change);
	}
	assert_int_equal(compare(base, new, &compare_defaults, NULL, &c), 0);
	for (int i = 0; i < c->len; i++) {
		const struct comparison *row = &c->rows[i];

		t->insufficient += row->verdict == VERDICT_INSUFFICIENT;
		if (row->verdict == VERDICT_INSUFFICIENT)
			continue;
		t->rows++;
		t->of[row->measure]++;
		t->detectable_of[row->measure] += row->detectable;
		t->improved += row->verdict == VERDICT_IMPROVED;
		t->degraded += row->verdict == VERDICT_DEGRADED;
		t->degraded_of[row->measure] += row->verdict == VERDICT_DEGRADED;
	}
	t->pairs++;
	t->pairs_degraded += c->counts[VERDICT_DEGRADED] > 0;
	comparisons_free(c);
	compare_side_free(base);
	compare_side_free(new);
}

#define PAIRS 8 /* of each noise and change: 200 */
#define SECONDS 1800

/* Shares of rows that are called degraded. Rows of pairs that do not differ are all false; a change that is as large as the limit may be called either. */
static void test_known_changes(void **state)
{
	static const double changes[] = {0, 0.05, 0.1, 0.2, 0.5};
	struct tally t[5] = {0};

	(void)state;
	seed = 1;
	for (int c = 0; c < 5; c++) {
		const struct change change = {1 + changes[c], 1 + changes[c], changes[c] / 10};

		for (size_t n = 0; n < NOISES; n++)
			for (int i = 0; i < PAIRS; i++)
				pair_tally(&t[c], &noises[n], 1, SECONDS, &change);
		printf("change %2.0f %%: %d of %d rows degraded, in %d of %d pairs; %d improved\n", 100 * changes[c],
		        t[c].degraded, t[c].rows, t[c].pairs_degraded, t[c].pairs, t[c].improved);
		assert_int_equal(t[c].improved, 0);
		assert_true(t[c].rows > 15 * t[c].pairs);
	}
	assert_true(t[0].degraded * 100 <= t[0].rows);
	assert_true(t[0].pairs_degraded * 100 <= t[0].pairs);
	assert_true(t[1].degraded * 100 <= t[1].rows);
	assert_true(t[4].degraded * 100 >= 99 * t[4].rows);
}

static void test_changes_of_one_and_a_half_limits(void **state)
{
	const struct change change = {1.15, 1.3, 0.015};
	struct tally t = {0};

	(void)state;
	seed = 2;
	for (size_t n = 0; n < NOISES; n++)
		for (int i = 0; i < PAIRS; i++)
			pair_tally(&t, &noises[n], 1, SECONDS, &change);
	printf("1.5 times the limit: %d of %d rows degraded\n", t.degraded, t.rows);
	assert_true(t.degraded * 100 >= 95 * t.rows);
}

static void test_rough_noise(void **state)
{
	const struct change none = {1, 1, 0};
	struct tally t = {0};

	(void)state;
	seed = 3;
	for (size_t n = 0; n < ROUGH; n++)
		for (int i = 0; i < 15; i++)
			pair_tally(&t, &rough[n], 1, i % 2 ? 300 : 900, &none);
	printf("rough noise: %d of %d rows degraded, %d improved, in %d of %d pairs\n", t.degraded, t.rows, t.improved,
	        t.pairs_degraded, t.pairs);
	assert_true(t.degraded * 100 <= t.rows);
}

/* Whole recordings differ by 15 %: with several a side that is seen, and what is more than that is found. */
static void test_noise_between_recordings(void **state)
{
	const struct noise noise = {
	        "runs", {.keeps = 0.5, .deviation = 0.1}, {.keeps = 0.5, .deviation = 0.1}, .spread = 0.5, .runs = 0.15};
	const struct change none = {1, 1, 0}, much = {2.5, 2.5, 0.1};
	struct tally one = {0}, several = {0}, found = {0};

	(void)state;
	seed = 4;
	for (int i = 0; i < 30; i++) {
		pair_tally(&one, &noise, 1, 200, &none);
		pair_tally(&several, &noise, 4, 200, &none);
		if (i < 10)
			pair_tally(&found, &noise, 4, 200, &much);
	}
	printf("noise between recordings: %d of %d rows wrong of one a side, %d of %d of four; %d of %d found of four\n",
	        one.degraded + one.improved, one.rows, several.degraded + several.improved, several.rows, found.degraded,
	        found.rows);
	assert_true((several.degraded + several.improved) * 100 <= several.rows);
	assert_true(found.degraded * 100 >= 95 * found.rows);
}

/* A minute whose first seconds are those of an interpreter that loads: once in each run, which is no noise. */
static void test_start_is_no_noise(void **state)
{
	const struct noise noise = {"start", {.deviation = 0.08}, {.deviation = 0.05}, .spread = 0.3, .start = 3};
	const struct change none = {1, 1, 0}, more = {1.15, 1, 0};
	struct tally same = {0}, changed = {0};

	(void)state;
	seed = 5;
	for (int i = 0; i < 40; i++) {
		pair_tally(&same, &noise, 1, 60, &none);
		pair_tally(&changed, &noise, 1, 60, &more);
	}
	printf("start: %d of %d rows wrong, %d of %d changes of CPU found\n", same.degraded + same.improved, same.rows,
	        changed.degraded_of[MEASURE_CPU], changed.of[MEASURE_CPU]);
	assert_true((same.degraded + same.improved) * 100 <= same.rows);
	assert_true(changed.degraded_of[MEASURE_CPU] * 100 >= 95 * changed.of[MEASURE_CPU]);
}

/* Of changes as large as is said of what hasn't changed, nine of ten are found; of such half as large, few. */
static void test_what_could_have_been_seen(void **state)
{
	const struct noise noise = {"steady", {.deviation = 0.2}, {.deviation = 0.1}, .spread = 0.4};
	struct tally same = {0}, found = {0}, half = {0};
	const int pairs = 60;
	double size;

	(void)state;
	seed = 6;
	for (int i = 0; i < pairs; i++)
		pair_tally(&same, &noise, 1, 60, &(struct change){1, 1, 0});
	size = same.detectable_of[MEASURE_CPU] / same.of[MEASURE_CPU];
	for (int i = 0; i < pairs; i++) {
		pair_tally(&found, &noise, 1, 60, &(struct change){1 + size, 1, 0});
		pair_tally(&half, &noise, 1, 60, &(struct change){1 + size / 2, 1, 0});
	}
	printf("CPU: said to be seen from %+.1f %%: %d of %d found, and %d half as large\n", 100 * size,
	        found.degraded_of[MEASURE_CPU], pairs, half.degraded_of[MEASURE_CPU]);
	assert_true(size > 0.1);
	assert_in_range(found.degraded_of[MEASURE_CPU], 0.8 * pairs, pairs);
	assert_in_range(half.degraded_of[MEASURE_CPU], 0, 0.5 * pairs);
}

static void test_same_files_same_verdict(void **state)
{
	const struct change none = {1, 1, 0}, more = {1.3, 1.5, 0.02};
	struct compare_side *base = side_add(NULL, "agent", &noises[1], 100, &none),
	                    *new = side_add(NULL, "agent", &noises[1], 100, &more);
	struct comparisons *a, *b, *back;

	(void)state;
	assert_int_equal(compare(base, new, &compare_defaults, NULL, &a), 0);
	assert_int_equal(compare(base, new, &compare_defaults, NULL, &b), 0);
	assert_int_equal(compare(new, base, &compare_defaults, NULL, &back), 0);
	assert_int_equal(a->len, b->len);
	for (int i = 0; i < a->len; i++) {
		assert_int_equal(a->rows[i].verdict, b->rows[i].verdict);
		assert_memory_equal(&a->rows[i].p, &b->rows[i].p, sizeof(double));
	}
	assert_true(a->counts[VERDICT_DEGRADED] > 2);
	assert_int_equal(back->counts[VERDICT_DEGRADED], 0);
	assert_true(back->counts[VERDICT_IMPROVED] > 2);
	comparisons_free(a);
	comparisons_free(b);
	comparisons_free(back);
	compare_side_free(base);
	compare_side_free(new);
}

static const struct comparison *row_of(const struct comparisons *c, const char *subject, enum measure_id measure)
{
	for (int i = 0; i < c->len; i++)
		if (c->rows[i].measure == measure && !strcmp(c->rows[i].subject, subject))
			return &c->rows[i];
	fail_msg("no row of %s %s", subject, measure_infos[measure].name);
	return NULL;
}

static bool warned(const struct comparisons *c, const char *text)
{
	for (int i = 0; i < c->warnings_len; i++)
		if (strstr(c->warnings[i], text))
			return true;
	return false;
}

/* A recording of one interval, whose figures the test sets. */
static struct compare_side *side_of(
        struct compare_side *s, const char *name, struct agent_data *d, int intervals, const struct header_data *h)
{
	struct agent_info info = {.id = 1, .name = (char *)name, .cmdline = "", .cgroup = ""};
	const struct agent_info *infos[] = {&info};
	const struct agent_data *agents[] = {d};
	struct recording_agent total = {.info = info, .total = {.id = 1, .observed_s = intervals}};
	struct recording r = {
	        .header = *h, .agents = &total, .agents_len = 1, .intervals = (uint64_t)intervals, .duration_s = intervals};

	s = s ? s : compare_side_new();
	assert_int_equal(compare_side_begin(s), 0);
	for (int i = 0; i < intervals; i++) {
		struct interval_data data = {
		        .seq = (uint64_t)i, .start_s = i, .end_s = i + 1, .agents = agents, .infos = infos, .agents_len = 1};

		assert_int_equal(compare_side_interval(s, &data), 0);
	}
	assert_int_equal(compare_side_end(s, &r), 0);
	return s;
}

static void test_unlike_recordings(void **state)
{
	struct agent_data d = {.id = 1, .alive = true, .observed_s = 1};
	struct header_data there = {.interval_s = 1, .host = {.cpus = 2}},
	                   other = {.interval_s = 0.5, .host = {.cpus = 8}, .probes_len = 1};
	struct compare_side *base, *new, *none = compare_side_new();
	const struct compare_agents pair = {"left", "right"}, missing = {"left", "nobody"};
	const struct recording empty = {.header = there};
	const struct comparison *row;
	struct comparisons *c;

	(void)state;
	d.metrics.value[M_RSS_BYTES] = d.metrics.value[M_RSS_PEAK_BYTES] = (uint64_t)(100 * MIB);
	d.metrics.value[M_CPU_USER_NS] = 100000000;
	other.probes[0] = (struct probe_state){.name = "sched", .state = "off"};
	base = side_of(NULL, "left", &d, 10, &there);
	d.metrics.value[M_RSS_BYTES] *= 2;
	new = side_of(NULL, "right", &d, 40, &other);
	assert_int_equal(compare(base, new, &compare_defaults, NULL, &c), 0);
	assert_int_equal(c->len, 0);
	assert_true(
	        warned(c, "agent left is in the base recording only") && warned(c, "agent right is in the new recording only"));
	comparisons_free(c);
	assert_int_equal(compare(base, new, &compare_defaults, &missing, &c), -ENOENT);
	assert_int_equal(compare(base, new, &compare_defaults, &pair, &c), 0);
	assert_true(warned(c, "hosts of 2 and 8 CPUs") && warned(c, "intervals of 1 s and of 0.5 s") &&
	            warned(c, "probe sched") && warned(c, "4 times as long"));
	row = row_of(c, "", MEASURE_CPU);
	assert_int_equal(row->verdict, VERDICT_INSUFFICIENT);
	assert_string_equal(row->why, "new: probe sched was off");
	row = row_of(c, "", MEASURE_RSS);
	assert_int_equal(row->verdict, VERDICT_DEGRADED);
	assert_true(row->base == 100 * MIB && row->new == 200 * MIB && row->change == 1);
	assert_string_equal(row->agent, "left -> right");
	assert_int_equal(row_of(c, "", MEASURE_RSS_PEAK)->verdict, VERDICT_STABLE);
	comparisons_free(c);
	assert_int_equal(compare_side_begin(none), 0);
	assert_int_equal(compare_side_end(none, &empty), 0);
	assert_int_equal(compare(base, none, &compare_defaults, NULL, &c), 0);
	assert_int_equal(c->len, 0);
	assert_true(warned(c, "the new recording has no intervals"));
	comparisons_free(c);
	compare_side_free(base);
	compare_side_free(new);
	compare_side_free(none);
	agent_data_fini(&d);
}

/* Whatever becomes of blocks as a recording grows, they sum to it. */
static void test_blocks_keep_all(void **state)
{
	static const int lengths[] = {5, 31, 32, 33, 64, 65, 1000, 4097};
	struct header_data h = {.interval_s = 1, .host = {.cpus = 2}};
	struct agent_data d = {.id = 1, .alive = true, .observed_s = 1};
	struct peer_data *p = agent_data_peer(&d, false, "10.0.0.1:443", "model");

	(void)state;
	p->class = CLASS_LLM;
	d.metrics.value[M_CPU_USER_NS] = 250000000;
	d.metrics.value[M_RSS_BYTES] = (uint64_t)(50 * MIB);
	for (int i = 1; i <= 100; i++)
		assert_int_equal(metric_record(&p->metrics, M_EXCHANGE_NS, (uint64_t)i * 1000000), 0);
	p->metrics.value[M_EXCHANGES] = 100;
	p->metrics.value[M_ERRORS_RESET] = 3;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		struct compare_side *s = side_of(NULL, "agent", &d, lengths[i], &h);
		struct comparisons *c;
		const struct comparison *row;

		assert_int_equal(compare(s, s, &compare_defaults, NULL, &c), 0);
		row = row_of(c, "llm", MEASURE_EXCHANGE_P50);
		assert_int_equal(row->base_n, 100 * lengths[i]);
		assert_true(fabs(row->base - 0.050) < 0.050 * 0.011);
		assert_true(fabs(row_of(c, "", MEASURE_CPU)->base - 0.25) < 1e-12);
		assert_true(row_of(c, "", MEASURE_RSS)->base == 50 * MIB);
		assert_true(fabs(row_of(c, "llm", MEASURE_ERRORS)->new - 0.03) < 1e-12);
		assert_int_equal(c->counts[VERDICT_DEGRADED] + c->counts[VERDICT_IMPROVED], 0);
		comparisons_free(c);
		compare_side_free(s);
	}
	agent_data_fini(&d);
}

/* What is compared can be resampled: a percentile, or an expression without histograms. */
static void test_measures(void **state)
{
	(void)state;
	for (int id = 0; id < MEASURE_COUNT; id++) {
		enum metric_id metric;
		double share;
		char why[128];
		int column;
		struct expression *e = expression_parse(measure_infos[id].expression, &column, why, sizeof(why));

		assert_non_null(e);
		if (!expression_quantile(e, &metric, &share))
			for (int m = 0; m < METRIC_IDS; m++)
				assert_false(expression_uses(e, (enum metric_id)m) && metric_infos[m].type == METRIC_HIST);
		assert_int_equal(measure_find(measure_infos[id].name), id);
		expression_free(e);
	}
}

/* Against tables (R. A. Fisher and F. Yates). */
static void test_student(void **state)
{
	(void)state;
	assert_true(fabs(student_p(12.706, 1) - 0.05) < 1e-5);
	assert_true(fabs(student_p(2.776, 4) - 0.05) < 1e-4);
	assert_true(fabs(student_p(2.750, 30) - 0.01) < 1e-4);
	assert_true(fabs(student_p(1.959964, 1e7) - 0.05) < 1e-6);
	assert_true(fabs(student_p(0, 3) - 1) < 1e-12 && student_p(INFINITY, 3) == 0);
	assert_true(fabs(student_beyond(0.05, 10) - 2.228139) < 1e-5);
	assert_true(fabs(student_beyond(0.001, 2) - 31.599) < 1e-2);
}

/* A percentile of blocks that count otherwise lies in the bucket that it lies in when they are added up so often. */
static void test_percentiles_of_samples(void **state)
{
	const struct change none = {1, 1, 0};
	struct compare_side *s = side_add(NULL, "agent", &noises[1], 320, &none);
	const struct kept *k = &s->measures.kept[OF_CLASS];

	(void)state;
	for (enum measure_id id = MEASURE_EXCHANGE_P50; id <= MEASURE_TTFB_P95; id++) {
		struct metric_set scratch = {0};
		struct figure f;

		assert_int_equal(figure_init(&f, s, "agent", OF_CLASS, "db", id, &scratch), 0);
		assert_int_equal(figure_below(&f), 0);
		for (int round = 0; round < 200; round++) {
			float weight[BLOCKS] = {0};
			struct hist sum;

			hist_init(&sum);
			for (int i = 0; i < f.columns; i++) {
				weight[i] = (float)(uniform() < 0.4 ? 0 : (int)(4 * uniform() * uniform()));
				for (int n = 0; n < (int)weight[i]; n++)
					assert_int_equal(
					        hist_merge(&sum, &f.column[i].series->hists[f.column[i].block * k->hists_len +
					                                                    k->index[s->measures.metric[id]]]),
					        0);
			}
			assert_float_equal(figure_at(&f, false, weight), log(hist_quantile(&sum, s->measures.share[id])),
			        0.0112); /* half a bucket and a bit */
			hist_fini(&sum);
		}
		figure_fini(&f);
		metric_set_fini(&scratch);
	}
	compare_side_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_student),
	        cmocka_unit_test(test_measures),
	        cmocka_unit_test(test_blocks_keep_all),
	        cmocka_unit_test(test_percentiles_of_samples),
	        cmocka_unit_test(test_unlike_recordings),
	        cmocka_unit_test(test_same_files_same_verdict),
	        cmocka_unit_test(test_known_changes),
	        cmocka_unit_test(test_changes_of_one_and_a_half_limits),
	        cmocka_unit_test(test_rough_noise),
	        cmocka_unit_test(test_noise_between_recordings),
	        cmocka_unit_test(test_start_is_no_noise),
	        cmocka_unit_test(test_what_could_have_been_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
