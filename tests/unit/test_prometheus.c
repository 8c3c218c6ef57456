/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Pages of Prometheus metrics: borders, buckets, labels, what is folded, what a client gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#include <cmocka.h>

#include "lib/util.h"
#include "model/live.h"
#include "proto/prometheus.pb-c.h"
#include "sink/prometheus.h"
#include "sink/prometheus_page.h"

#define VALUES 3000

static void begin(struct live *l)
{
	struct header_data h = {.host = {.name = "host", .cpus = 2}, .interval_s = 1, .start = "2026-01-02T03:04:05.250Z"};

	for (int i = 0; i < PROBE_COUNT; i++) {
		h.probes[i].name = probe_infos[i].name;
		h.probes[i].state = "on";
	}
	h.probes_len = PROBE_COUNT;
	live_init(l, 60);
	assert_int_equal(live_start(l, &h), 0);
}

static void come(struct live *l, int id, int pid, const char *name)
{
	struct agent_info who = {
	        .id = id, .name = (char *)name, .pid = pid, .cmdline = (char *)"secret", .cgroup = (char *)"/a"};

	assert_int_equal(live_agent(l, &who), 0);
}

static void tell(struct live *l, const struct agent_data *const *agents, int len)
{
	struct interval_data i = {
	        .start_s = l->now_s,
	        .end_s = l->now_s + 1,
	        .agents = agents,
	        .agents_len = len,
	        .observer = {.cpu_s = 0.5, .bpf_s = -1, .records = 10, .losses = 1, .lost = {{"ring", 2}}},
	};

	assert_int_equal(live_interval(l, &i), 0);
}

static struct prometheus *new_of(bool native, uint64_t max_series)
{
	const struct prometheus_label labels[] = {{"site", "a\"b"}, {"agent", "TAKEN"}, {"9", "no name"}};
	const struct prometheus_options o = {
	        .max_series = max_series, .native = native, .labels = labels, .labels_len = 3, .version = "1"};
	struct prometheus *p = prometheus_new(&o);

	assert_non_null(p);
	return p;
}

static char *page_of(struct prometheus *p, const struct live *l, enum prometheus_format format, size_t *ret_len)
{
	struct prometheus_page *page;
	char *text;

	assert_int_equal(prometheus_update(p, l), 0);
	assert_int_equal(prometheus_take(p, l, format, &page), 0);
	assert_int_equal(prometheus_render(page, &text, ret_len), 0);
	return text;
}

/* The value of the line that begins so, summed over all that do; -1 when there is none. */
static double sum_of(const char *page, const char *begin)
{
	double sum = 0;
	int found = 0;

	for (const char *at = page; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
		if (strncmp(at, begin, strlen(begin)) != 0)
			continue;
		found++;
		sum += strtod(memrchr(at, ' ', strcspn(at, "\n")), NULL);
	}
	return found ? sum : -1;
}

static int lines_of(const char *page)
{
	int n = 0;

	for (const char *at = page; *at; at = strchr(at, '\n') + 1)
		n += *at != '#';
	return n;
}

static uint64_t some_value(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (*state >> 20) >> (*state >> 59); /* all sizes */
}

/* By the values themselves: how many are at or below each border. */
static void test_classic_counts_are_exact(void **state)
{
	static const enum metric_unit units[] = {UNIT_NS, UNIT_BYTES, UNIT_COUNT};

	(void)state;
	for (size_t u = 0; u < ARRAY_SIZE(units); u++) {
		for (int scale = HIST_SCALE; scale >= 0; scale--) {
			uint64_t at_most[PROMETHEUS_BORDERS] = {0}, counts[PROMETHEUS_BORDERS], seed = u + 1;
			struct hist h;

			hist_init(&h);
			for (int n = 0; n < VALUES; n++) {
				/* as well as the borders and their neighbours */
				uint64_t border = classic_border(units[u], n % PROMETHEUS_BORDERS);
				uint64_t value = n < 3 * PROMETHEUS_BORDERS ? border + (uint64_t)(n / PROMETHEUS_BORDERS) - 1
				                                            : some_value(&seed);

				assert_int_equal(hist_record(&h, value), 0);
				for (int i = 0; i < PROMETHEUS_BORDERS; i++)
					at_most[i] += value <= classic_border(units[u], i);
			}
			assert_int_equal(hist_downscale(&h, scale), 0);
			classic_counts(&h, units[u], counts);
			assert_memory_equal(counts, at_most, sizeof(counts));
			hist_fini(&h);
		}
	}
}

typedef Io__Prometheus__Client__MetricFamily family_message;

/* The family called name on a page, and how many there are. */
static family_message *family_find(const char *page, size_t len, const char *name, int *ret_families)
{
	family_message *found = NULL;
	size_t at = 0;
	int n = 0;

	while (at < len) {
		size_t size = 0;
		family_message *f;

		for (int shift = 0;; shift += 7) {
			assert_true(at < len);
			size |= (size_t)(page[at] & 0x7f) << shift;
			if (!(page[at++] & 0x80))
				break;
		}
		assert_true(size <= len - at);
		f = io__prometheus__client__metric_family__unpack(NULL, size, (const uint8_t *)page + at);
		assert_non_null(f);
		n++;
		at += size;
		if (!strcmp(f->name, name)) {
			assert_null(found);
			found = f;
		} else {
			io__prometheus__client__metric_family__free_unpacked(f, NULL);
		}
	}
	*ret_families = n;
	return found;
}

/* Spans and deltas back to (index, count); returns how many buckets hold something. */
static int native_read(const Io__Prometheus__Client__Histogram *h, int32_t *indices, uint64_t *counts)
{
	int64_t count = 0;
	int32_t index = 0;
	size_t delta = 0;
	int n = 0;

	for (size_t s = 0; s < h->n_positive_span; s++) {
		assert_true(s == 0 || h->positive_span[s]->offset > 0);
		index += h->positive_span[s]->offset;
		for (uint32_t i = 0; i < h->positive_span[s]->length; i++, index++) {
			assert_true(delta < h->n_positive_delta);
			count += h->positive_delta[delta++];
			assert_true(count >= 0);
			if (count) {
				indices[n] = index;
				counts[n++] = (uint64_t)count;
			}
		}
	}
	assert_int_equal(delta, h->n_positive_delta);
	return n;
}

static void native_check(const Io__Prometheus__Client__Histogram *got, const struct hist *h, double unit, double tolerance)
{
	static int32_t indices[4096];
	static uint64_t counts[4096];
	int n = native_read(got, indices, counts), at = 0;
	uint64_t sum = got->zero_count;

	assert_int_equal(got->sample_count, h->count);
	assert_int_equal(got->zero_count, h->zero_count);
	assert_true(fabs(got->sample_sum - (double)h->sum * unit) <= 1e-12 * got->sample_sum);
	assert_int_equal(got->schema, h->scale);
	for (uint32_t i = 0; i < h->len; i++) {
		if (!hist_bucket(h, i))
			continue;
		/* The upper border of Prometheus' bucket, by its definition, and ours. */
		double theirs = exp2(ldexp(indices[at], -got->schema)),
		       ours = hist_upper(h->offset + (int32_t)i, h->scale) * unit;

		assert_true(at < n);
		assert_int_equal(counts[at], hist_bucket(h, i));
		assert_true(fabs(theirs / ours - 1) <= tolerance);
		sum += counts[at++];
	}
	assert_int_equal(at, n);
	assert_int_equal(sum, h->count);
}

static void test_native_buckets_are_ours(void **state)
{
	struct agent_data d = {.id = 1, .alive = true, .observed_s = 1};
	const struct agent_data *agents[] = {&d};
	struct prometheus *p = new_of(true, 1000);
	family_message *f;
	uint64_t seed = 7;
	struct live l;
	size_t len;
	char *page;
	int families;

	(void)state;
	begin(&l);
	come(&l, 1, 10, "a");
	for (int n = 0; n < VALUES; n++) {
		assert_int_equal(metric_record(&d.metrics, M_RUNQ_NS, n % 10 ? some_value(&seed) : 0), 0);
		assert_int_equal(metric_record(&d.metrics, M_SEND_BYTES, some_value(&seed) + 1), 0);
	}
	tell(&l, agents, 1);
	page = page_of(p, &l, PROMETHEUS_PROTOBUF, &len);
	f = family_find(page, len, "stakeout_runq_seconds", &families);
	assert_non_null(f);
	assert_true(families > 20);
	assert_string_equal(f->unit, "seconds");
	assert_int_equal(f->type, IO__PROMETHEUS__CLIENT__METRIC_TYPE__HISTOGRAM);
	assert_int_equal(f->n_metric, 1);
	native_check(f->metric[0]->histogram, d.metrics.hist[M_RUNQ_NS], 1e-9, 0.0062);
	io__prometheus__client__metric_family__free_unpacked(f, NULL);
	f = family_find(page, len, "stakeout_send_bytes", &families);
	native_check(f->metric[0]->histogram, d.metrics.hist[M_SEND_BYTES], 1, 1e-12);
	assert_int_equal(f->metric[0]->histogram->n_bucket, PROMETHEUS_BORDERS);
	io__prometheus__client__metric_family__free_unpacked(f, NULL);
	f = family_find(page, len, "stakeout_cpu_user_seconds_total", &families);
	assert_true(f->metric[0]->counter->value == 0);
	io__prometheus__client__metric_family__free_unpacked(f, NULL);
	free(page);
	prometheus_free(p);
	live_fini(&l);
	agent_data_fini(&d);
}

static void test_shift(void **state)
{
	(void)state;
	for (int scale = HIST_SCALE_MIN; scale <= HIST_SCALE; scale++) {
		assert_int_equal(native_shift(UNIT_NS, scale), 1 - hist_seconds_shift(scale));
		assert_int_equal(native_shift(UNIT_BYTES, scale), 1);
	}
}

static void text_check(const char *page, bool open)
{
	const char *labels = "{site=\"a\\\"b\",agent=\"a\\\"\\\\?b?\",pid=\"10\"";
	char line[256];

	assert_null(strstr(page, "secret")); /* arguments of commands are not for everybody */
	assert_null(strstr(page, "TAKEN"));
	assert_null(strchr(page, '\xff'));
	snprintf(line, sizeof(line), "stakeout_cpu_user_seconds_total%s} 1.000000023\n", labels);
	assert_non_null(strstr(page, line));
	snprintf(line, sizeof(line), "stakeout_rss_bytes%s} 4096\n", labels);
	assert_non_null(strstr(page, line));
	snprintf(line, sizeof(line), "stakeout_runq_seconds_bucket%s,le=\"1.024e-06\"} 1\n", labels);
	assert_non_null(strstr(page, line));
	snprintf(line, sizeof(line), "stakeout_runq_seconds_sum%s} 0.005001\n", labels);
	assert_non_null(strstr(page, line));
	snprintf(line, sizeof(line), "stakeout_send_bytes_bucket%s,le=\"%s\"} 1\n", labels, open ? "16.0" : "16");
	assert_non_null(strstr(page, line));
	assert_non_null(strstr(page, "le=\"1.048576e+06\""));
	snprintf(line, sizeof(line), "stakeout_ledger_seconds_total%s,view=\"main\",state=\"net.llm\"} 0.5\n", labels);
	assert_non_null(strstr(page, line));
	snprintf(line, sizeof(line), "stakeout_tool_execs_total%s,tool=\"git\"} 3\n", labels);
	assert_non_null(strstr(page, line));
	snprintf(line, sizeof(line),
	        "stakeout_peer_exchanges_total%s,peer=\"10.0.0.5:443\",name=\"api\",class=\"llm\",side=\"client\"} 4\n",
	        labels);
	assert_non_null(strstr(page, line));
	assert_non_null(strstr(page, "stakeout_observer_lost_total{site=\"a\\\"b\",reason=\"ring\"} 2\n"));
	assert_non_null(
	        strstr(page, open ? "# TYPE stakeout_cpu_user_seconds counter\n# UNIT stakeout_cpu_user_seconds seconds\n"
	                          : "# TYPE stakeout_cpu_user_seconds_total counter\n"));
	assert_true((strstr(page, "# EOF\n") != NULL) == open);
	assert_true(fabs(sum_of(page, "stakeout_last_interval_timestamp_seconds") - 1767323046.25) < 0.01);
}

static void test_text(void **state)
{
	struct agent_data d = {.id = 1, .alive = true, .observed_s = 1};
	const struct agent_data *agents[] = {&d};
	struct prometheus *p = new_of(false, 20000);
	struct peer_data *peer = agent_data_peer(&d, false, "10.0.0.5:443", "api");
	struct live l;

	(void)state;
	begin(&l);
	come(&l, 1, 10, "a\"\\\nb\xff");
	peer->class = CLASS_LLM;
	metric_add(&peer->metrics, M_EXCHANGES, 4);
	metric_add(&agent_data_tool(&d, "git")->metrics, M_EXECS, 3);
	metric_add(&d.metrics, M_CPU_USER_NS, 1000000023);
	metric_add(&d.metrics, M_RSS_BYTES, 4096);
	d.main.ns[STATE_NET_LLM] = NS_PER_S / 2;
	assert_int_equal(metric_record(&d.metrics, M_RUNQ_NS, 1000), 0);
	assert_int_equal(metric_record(&d.metrics, M_RUNQ_NS, 5000000), 0);
	assert_int_equal(metric_record(&d.metrics, M_SEND_BYTES, 16), 0);
	assert_int_equal(metric_record(&d.metrics, M_SEND_BYTES, 17), 0);
	tell(&l, agents, 1);
	for (int open = 0; open < 2; open++) {
		size_t len;
		char *page = page_of(p, &l, open ? PROMETHEUS_OPENMETRICS : PROMETHEUS_TEXT, &len);

		assert_int_equal(strlen(page), len);
		text_check(page, open);
		free(page);
	}
	prometheus_free(p);
	live_fini(&l);
	agent_data_fini(&d);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* One row of metrics.def is enough: it shows with its help, type and unit, for agents, tools and peers. */
static void test_every_metric_shows(void **state)
{
	struct agent_data d = {.id = 1, .alive = true, .observed_s = 1};
	const struct agent_data *agents[] = {&d};
	struct prometheus *p = new_of(false, 200000);
	struct metric_set *sets[] = {
	        &d.metrics, &agent_data_tool(&d, "git")->metrics, &agent_data_peer(&d, true, "x:1", "")->metrics};
	char *names[3 * METRIC_IDS + 100], *page, *binary, *rest;
	int types = 0, helps = 0, families;
	struct live l;
	size_t len;

	(void)state;
	begin(&l);
	come(&l, 1, 10, "a");
	for (size_t s = 0; s < ARRAY_SIZE(sets); s++) {
		for (enum metric_id m = 0; m < METRIC_IDS; m++) {
			if (metric_infos[m].type == METRIC_HIST)
				assert_int_equal(metric_record(sets[s], m, 5), 0);
			else
				metric_add(sets[s], m, 5);
		}
	}
	tell(&l, agents, 1);
	page = page_of(p, &l, PROMETHEUS_TEXT, &len);
	for (enum metric_id m = 0; m < METRIC_IDS; m++) {
		const char *name = metric_infos[m].name;
		size_t cut = metric_infos[m].unit == UNIT_NS ? 3 : metric_infos[m].unit == UNIT_BYTES ? 6 : 0;
		const char *unit = metric_infos[m].unit == UNIT_NS      ? "_seconds"
		                   : metric_infos[m].unit == UNIT_BYTES ? "_bytes"
		                                                        : "";
		char line[256];

		snprintf(line, sizeof(line), "# HELP stakeout_%.*s%s%s %s\n", (int)(strlen(name) - cut), name, unit,
		        metric_infos[m].type == METRIC_COUNTER ? "_total" : "", metric_infos[m].help);
		if (!strstr(page, line))
			fail_msg("no line %s", line);
	}
	for (char *line = strtok_r(page, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		helps += !strncmp(line, "# HELP ", 7);
		if (!strncmp(line, "# TYPE ", 7)) {
			line[7 + strcspn(line + 7, " ")] = '\0';
			names[types++] = line + 7;
		}
	}
	assert_int_equal(types, helps);
	/* gauges are of agents only: of tools and peers there are sums */
	assert_true(types > 2 * METRIC_IDS);
	qsort(names, (size_t)types, sizeof(*names), by_text);
	for (int i = 1; i < types; i++)
		assert_string_not_equal(names[i - 1], names[i]);
	binary = page_of(p, &l, PROMETHEUS_PROTOBUF, &len);
	for (int i = 0; i < types; i++) {
		family_message *f = family_find(binary, len, names[i], &families);

		if (!f)
			fail_msg("no family %s", names[i]);
		assert_int_equal(families, types);
		io__prometheus__client__metric_family__free_unpacked(f, NULL);
	}
	free(binary);
	free(page);
	prometheus_free(p);
	live_fini(&l);
	agent_data_fini(&d);
}

#define PEERS 40
#define FOLD_SERIES 300
#define ROUNDS 12

struct seen { /* what a client remembers of one series */
	char series[256];
	double value;
};

/* What a family's series, and those that are new, have grown by since the last page: as a client adds it up. None may have fallen. */
static double growth(const char *page, const char *family, struct seen *seen, int *seen_len)
{
	double sum = 0;

	for (const char *at = page; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
		const char *end = memrchr(at, ' ', strcspn(at, "\n"));
		double value;
		int i = 0;

		if (strncmp(at, family, strlen(family)) != 0)
			continue;
		value = strtod(end, NULL);
		while (i < *seen_len &&
		        (strlen(seen[i].series) != (size_t)(end - at) || memcmp(seen[i].series, at, (size_t)(end - at)) != 0))
			i++;
		if (i == *seen_len) {
			assert_in_range(++*seen_len, 1, 1000);
			seen[i] = (struct seen){0};
			assert_true((size_t)(end - at) < sizeof(seen[i].series));
			memcpy(seen[i].series, at, (size_t)(end - at));
		}
		assert_true(value >= seen[i].value);
		sum += value - seen[i].value;
		seen[i].value = value;
	}
	return sum;
}

/* Nothing is counted twice or left out, no series falls, and the page stays within its limit, whoever comes and goes. */
static void test_what_is_beyond_is_folded(void **state)
{
	static struct seen seen[1000], times[1000];
	struct prometheus *p = new_of(false, FOLD_SERIES);
	int seen_len = 0, times_len = 0;
	struct live l;

	(void)state;
	begin(&l);
	l.keep_s = 2;
	for (int round = 0; round < ROUNDS; round++) {
		struct agent_data d[2] = {
		        {.id = 1, .alive = true, .observed_s = 1}, {.id = 2, .alive = round < 4, .observed_s = 1}};
		const struct agent_data *agents[] = {&d[0], &d[1]};
		const int len = round < 5 ? 2 : 1;
		size_t page_len;
		char *page;

		come(&l, 1, 10, "a");
		if (len == 2)
			come(&l, 2, 11, "b");
		for (int i = 0; i < len * PEERS; i++) {
			struct peer_data *peer;
			char name[32];

			snprintf(name, sizeof(name), "10.0.%d.%d:80", i % len, i % (round + 11));
			peer = agent_data_peer(&d[i % len], false, name, "");
			metric_add(&peer->metrics, M_EXCHANGES, 1);
			assert_int_equal(metric_record(&peer->metrics, M_EXCHANGE_NS, 1000), 0);
		}
		tell(&l, agents, len);
		page = page_of(p, &l, PROMETHEUS_TEXT, &page_len);
		assert_in_range(lines_of(page), 80, FOLD_SERIES + 2 * (PROMETHEUS_BORDERS + 5));
		assert_true(sum_of(page, "stakeout_series_folded") > 0);
		assert_true(sum_of(page, "stakeout_folded{site=\"a\\\"b\",level=\"peer\"}") > 0);
		assert_true(growth(page, "stakeout_peer_exchanges_total{", seen, &seen_len) == len * PEERS);
		assert_true(growth(page, "stakeout_peer_exchange_seconds_count{", times, &times_len) == len * PEERS);
		free(page);
		agent_data_fini(&d[0]);
		agent_data_fini(&d[1]);
	}
	assert_true(seen_len > 4);
	prometheus_free(p);
	live_fini(&l);
}

static void test_agents_beyond_are_folded(void **state)
{
	enum { AGENTS = 60 };
	struct agent_data d[AGENTS];
	const struct agent_data *agents[AGENTS];
	struct prometheus *p = new_of(false, 1000);
	struct live l;
	char *page;
	size_t len;

	(void)state;
	begin(&l);
	for (int i = 0; i < AGENTS; i++) {
		d[i] = (struct agent_data){.id = i, .alive = true, .observed_s = 1};
		metric_add(&d[i].metrics, M_FORKS, 1);
		d[i].main.ns[STATE_IDLE] = NS_PER_S;
		agents[i] = &d[i];
		come(&l, i, 100 + i, "a");
	}
	for (int round = 1; round <= 4; round++) {
		if (round == 3)
			l.now_s += 100; /* all but those of this interval are forgotten */
		tell(&l, agents, round < 3 ? AGENTS : 1);
		page = page_of(p, &l, PROMETHEUS_TEXT, &len);
		assert_in_range(lines_of(page), 80, 1100);
		assert_true(sum_of(page, "stakeout_forks_total{site=\"a\\\"b\",agent=\"(other)\"") >= 30);
		if (round < 3) {
			assert_true(sum_of(page, "stakeout_forks_total") == (double)AGENTS * round);
			assert_true(sum_of(page, "stakeout_ledger_seconds_total") == (double)AGENTS * round);
		}
		free(page);
	}
	prometheus_free(p);
	live_fini(&l);
}

/* What is not text becomes '?': two names may become one, and so may two agents; no line is told twice. */
static void test_labels_are_told_once(void **state)
{
	struct agent_data d[3] = {{.id = 1, .alive = true, .observed_s = 1}, {.id = 2, .alive = true, .observed_s = 1},
	        {.id = 3, .alive = true, .observed_s = 1}};
	const struct agent_data *agents[] = {&d[0], &d[1], &d[2]};
	static const char *const tools[] = {"x\xfe", "x\xff", "x\n", "(other)", "x?", "y"};
	struct prometheus *p = new_of(false, 20000);
	char *page, *rest, *lines[20000];
	int n = 0;
	struct live l;
	size_t len;

	(void)state;
	begin(&l);
	come(&l, 1, 10, "a\x01");
	come(&l, 2, 10, "a\x02");
	come(&l, 3, 10, "b");
	for (size_t i = 0; i < ARRAY_SIZE(tools); i++)
		metric_add(&agent_data_tool(&d[2], tools[i])->metrics, M_EXECS, 1);
	for (int side = 0; side < 2; side++) {
		metric_add(&agent_data_peer(&d[2], side, PEER_REST, "")->metrics, M_CONNECTS, 1);
		metric_add(&agent_data_peer(&d[2], side, "p", "")->metrics, M_CONNECTS, 1);
		metric_add(&agent_data_peer(&d[2], side, "p", "\xff")->metrics, M_CONNECTS, 1);
		metric_add(&agent_data_peer(&d[2], side, "p", "\xfe")->metrics, M_CONNECTS, 1);
	}
	tell(&l, agents, 3);
	page = page_of(p, &l, PROMETHEUS_TEXT, &len);
	assert_true(sum_of(page, "stakeout_tool_execs_total") == (double)ARRAY_SIZE(tools));
	assert_true(sum_of(page, "stakeout_peer_connects_total") == 8);
	assert_true(sum_of(page, "stakeout_folded{site=\"a\\\"b\",level=\"agent\"}") == 1);
	for (char *line = strtok_r(page, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (*line == '#')
			continue;
		*strrchr(line, ' ') = '\0';
		lines[n++] = line;
	}
	qsort(lines, (size_t)n, sizeof(*lines), by_text);
	for (int i = 1; i < n; i++)
		assert_string_not_equal(lines[i - 1], lines[i]);
	free(page);
	prometheus_free(p);
	live_fini(&l);
	for (int i = 0; i < 3; i++)
		agent_data_fini(&d[i]);
}

#define WHO "site=\"a\\\"b\",agent=\"a\",pid=\"10\""

/* What is found now, and nothing of what isn't; last of all that wants room on the page. */
static void test_findings(void **state)
{
	const struct live_finding found[] = {{.name = "polling", .severity = "critical", .rank = 2, .subject = "thread \"x\"\n", .cost_cpu_s = 0.5},
	        {.name = "memory-growth", .severity = "info", .cost_s = 1.5, .cost_bytes = 2e6}};
	struct agent_data d[2] = {{.id = 1, .alive = true, .observed_s = 1}, {.id = 2, .alive = true, .observed_s = 1}};
	const struct agent_data *agents[] = {&d[0], &d[1]};
	struct prometheus *p = new_of(false, 20000), *small;
	int without, with;
	struct live l;
	char *page;
	size_t len;

	(void)state;
	begin(&l);
	come(&l, 1, 10, "a");
	come(&l, 2, 11, "b");
	tell(&l, agents, 2);
	page = page_of(p, &l, PROMETHEUS_TEXT, &len);
	assert_null(strstr(page, "stakeout_finding"));
	without = lines_of(page);
	free(page);
	assert_int_equal(live_found(&l, 1, found, 2), 0);
	assert_int_equal(live_found(&l, 2, NULL, 0), 0);
	tell(&l, agents, 2);
	page = page_of(p, &l, PROMETHEUS_TEXT, &len);
	assert_true(sum_of(page, "stakeout_findings{" WHO "} ") == 2);
	assert_true(sum_of(page, "stakeout_findings{") == 2);
	assert_true(sum_of(page, "stakeout_finding_severity{" WHO ",finding=\"polling\",subject=\"thread \\\"x\\\"?\"} ") == 3);
	assert_true(sum_of(page, "stakeout_finding_severity{" WHO ",finding=\"memory-growth\",subject=\"\"} ") == 1);
	assert_true(sum_of(page, "stakeout_finding_cpu_seconds_per_minute{") == 0.5);
	assert_true(sum_of(page, "stakeout_finding_cost_seconds_per_minute{") == 1.5);
	assert_true(sum_of(page, "stakeout_finding_memory_bytes_per_minute{") == 2e6);
	with = lines_of(page);
	assert_int_equal(with, without + 2 + 2 + 3);
	free(page);
	/* a page with room for the agents only: they are told as before, and what is left out is counted */
	for (int room = 1; room <= 20000; room *= 2) {
		small = new_of(false, (uint64_t)room);
		page = page_of(small, &l, PROMETHEUS_TEXT, &len);
		if (sum_of(page, "stakeout_agent_alive{" WHO "} ") == 1 && sum_of(page, "stakeout_findings{" WHO "} ") < 0)
			assert_true(sum_of(page, "stakeout_series_folded") >= 6);
		if (room > 10000)
			assert_true(sum_of(page, "stakeout_series_folded") == 0);
		free(page);
		prometheus_free(small);
	}
	assert_int_equal(live_found(&l, 1, NULL, 0), 0);
	tell(&l, agents, 1);
	page = page_of(p, &l, PROMETHEUS_TEXT, &len);
	assert_true(sum_of(page, "stakeout_findings{") == 0); /* the second one has ended */
	assert_true(sum_of(page, "stakeout_finding_") < 0);
	free(page);
	prometheus_free(p);
	live_fini(&l);
}

static void test_accept(void **state)
{
	static const struct {
		const char *header;
		enum prometheus_format format;
	} cases[] = {
	        {NULL, PROMETHEUS_TEXT},
	        {"", PROMETHEUS_TEXT},
	        {"*/*", PROMETHEUS_TEXT},
	        {"text/html,application/xhtml+xml,*/*;q=0.8", PROMETHEUS_TEXT},
	        /* Prometheus 2.42 without and with native histograms */
	        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/"
	         "plain;version=0.0.4;q=0.5,*/*;q=0.1",
	                PROMETHEUS_OPENMETRICS},
	        {"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/"
	         "openmetrics-text;version=1.0.0;q=0.8,*/*;q=0.1",
	                PROMETHEUS_PROTOBUF},
	        /* 3.x: an escaping scheme comes along */
	        {"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.6,text/"
	         "plain;version=0.0.4;q=0.3",
	                PROMETHEUS_OPENMETRICS},
	        {"application/vnd.google.protobuf;proto=other;encoding=delimited, text/plain", PROMETHEUS_TEXT},
	        {"application/vnd.google.protobuf; proto=\"io.prometheus.client.MetricFamily\"; encoding=delimited ; q=0.2 , "
	         "text/plain;q=0.1",
	                PROMETHEUS_PROTOBUF},
	        {"application/openmetrics-text;q=0,text/plain;q=0.1", PROMETHEUS_TEXT},
	        {"application/openmetrics-text;q=2", PROMETHEUS_TEXT},
	        {"APPLICATION/OpenMetrics-Text", PROMETHEUS_OPENMETRICS},
	        {",,;;=;q=;q,application/openmetrics-text;;,", PROMETHEUS_OPENMETRICS},
	};
	char huge[5000];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(prometheus_accept(cases[i].header), cases[i].format);
	memset(huge, ';', sizeof(huge));
	huge[sizeof(huge) - 1] = '\0';
	assert_int_equal(prometheus_accept(huge), PROMETHEUS_TEXT);
	assert_true(prometheus_accept_coding("deflate, gzip;q=0.5", "gzip"));
	assert_true(prometheus_accept_coding("*", "gzip"));
	assert_false(prometheus_accept_coding("gzip;q=0, *", "gzip"));
	assert_false(prometheus_accept_coding("identity", "gzip"));
	assert_false(prometheus_accept_coding(NULL, "gzip"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_classic_counts_are_exact),
	        cmocka_unit_test(test_native_buckets_are_ours),
	        cmocka_unit_test(test_shift),
	        cmocka_unit_test(test_text),
	        cmocka_unit_test(test_every_metric_shows),
	        cmocka_unit_test(test_what_is_beyond_is_folded),
	        cmocka_unit_test(test_agents_beyond_are_folded),
	        cmocka_unit_test(test_labels_are_told_once),
	        cmocka_unit_test(test_findings),
	        cmocka_unit_test(test_accept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
