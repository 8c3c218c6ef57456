/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The HTML report's bins, against sums made apart; and its data, which have to be JSON that no HTML parser takes for anything else. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/util.h"
#include "sink/html.h"

static void interval_add(struct html_bins *b, uint64_t seq, const struct agent_data *const *agents, int n)
{
	struct interval_data i = { .seq = seq, .start_s = (double)seq, .end_s = (double)seq + 1, .agents = agents, .agents_len = n };

	i.observer.cpu_s = 0.25;
	i.observer.losses = 1;
	i.observer.lost[0].reason = "ring_full";
	i.observer.lost[0].count = 2;
	assert_int_equal(html_bins_interval(b, &i), 0);
}

/* `intervals` intervals of `agents` agents, of which agent a comes at interval 10 a; checks that nothing is lost. */
static void bins_check(uint64_t intervals, int agents)
{
	struct html_bins b = { 0 };
	struct agent_data *data = calloc((size_t)agents, sizeof(*data));
	const struct agent_data **list = calloc((size_t)agents, sizeof(*list));
	uint64_t seen = 0, lost = 0;

	for (uint64_t seq = 0; seq < intervals; seq++) {
		int n = 0;

		for (int a = 0; a < agents && (uint64_t)a * 10 <= seq; a++) {
			data[a].id = a + 1;
			data[a].observed_s = 1;
			metric_set_reset(&data[a].metrics);
			data[a].metrics.value[M_EXCHANGES] = seq + (uint64_t)a;
			data[a].metrics.value[M_RSS_BYTES] = seq + 1;
			data[a].metrics.value[M_RSS_PEAK_BYTES] = 1000000 - seq;
			data[a].critical.ns[STATE_RUNNING] = seq * 3 + 1;
			assert_int_equal(metric_record(&data[a].metrics, M_EXCHANGE_NS, 1000 + seq), 0);
			list[n++] = &data[a];
		}
		interval_add(&b, seq, list, n);
	}
	assert_true(b.len <= BINS_MAX && b.len >= BINS_MIN);
	assert_true(b.cells <= CELLS_MAX + (size_t)agents || b.len <= 2 * BINS_MIN);
	for (int i = 0; i < b.len; i++) {
		assert_true(i == b.len - 1 || b.bin[i].intervals == b.per);
		assert_true(b.bin[i].start_s == (double)seen);
		seen += b.bin[i].intervals;
		lost += b.bin[i].lost;
		assert_true(b.bin[i].end_s == (double)seen && b.bin[i].covered_s == (double)b.bin[i].intervals);
	}
	assert_int_equal(seen, intervals);
	assert_int_equal(lost, 2 * intervals);
	for (int a = 0; a < agents; a++) {
		struct bins_agent *of = html_bins_agent(&b, a + 1);
		uint64_t exchanges = 0, running = 0, values = 0, want_exchanges = 0, want_running = 0, from = (uint64_t)a * 10, at = 0;

		for (int i = 0; i < b.len; i++) {
			const struct cell *c = of ? of->cell[i] : NULL;
			uint64_t first = at > from ? at : from;

			at += b.bin[i].intervals;
			assert_int_equal(c != NULL, at > from);
			if (!c)
				continue;
			exchanges += c->value[M_EXCHANGES];
			running += c->critical.ns[STATE_RUNNING];
			values += c->hist[0]->count;
			assert_int_equal(c->value[M_RSS_BYTES], at); /* the last one's */
			assert_int_equal(c->value[M_RSS_PEAK_BYTES], 1000000 - first);
			assert_true(c->observed_s == (double)(at - first));
		}
		for (uint64_t seq = from; seq < intervals; seq++) {
			want_exchanges += seq + (uint64_t)a;
			want_running += seq * 3 + 1;
		}
		assert_int_equal(exchanges, want_exchanges);
		assert_int_equal(running, want_running);
		assert_int_equal(values, intervals > from ? intervals - from : 0);
		metric_set_fini(&data[a].metrics);
	}
	html_bins_fini(&b);
	free(list);
	free(data);
}

static void test_bins(void **state)
{
	static const struct {
		uint64_t intervals;
		int agents;
	} cases[] = { { 16, 1 }, { 319, 1 }, { 320, 2 }, { 321, 2 }, { 5000, 3 }, { 1500, 120 }, { 700, 60 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		bins_check(cases[i].intervals, cases[i].agents);
}

/* The page of a recording with these texts in it; to be freed. */
static char *page_of(const char *text)
{
	char name[200], cmdline[200];
	struct frame frame = { .name = text, .file = text, .module = text };
	struct recording_agent agents[2] = { { .info = { .id = 1, .name = name, .pid = 7, .cmdline = cmdline, .cgroup = cmdline } }, { .info = { .id = 2, .name = name, .cmdline = name, .cgroup = name } } };
	struct recording r = { .agents = agents, .agents_len = 2, .stacks = stacks_new(), .duration_s = 1 };
	struct html_bins bins = { 0 };
	char *page = NULL;
	size_t len = 0;
	uint32_t number;
	FILE *out = open_memstream(&page, &len);

	snprintf(name, sizeof(name), "%s", text);
	snprintf(cmdline, sizeof(cmdline), "run %s", text);
	agents[0].total.observed_s = 1;
	assert_non_null(agent_data_tool(&agents[0].total, text));
	assert_non_null(agent_data_peer(&agents[0].total, false, text, text));
	assert_int_equal(agent_data_note(&agents[0].total, text), 0);
	number = stacks_frame(r.stacks, &frame);
	number = stacks_add(r.stacks, &number, 1);
	assert_int_equal(sample_set_add(&agents[0].total.samples[SAMPLE_CPU_NS], number, 5000000), 0);
	assert_int_equal(metric_record(&agents[0].total.metrics, M_EXCHANGE_NS, 1234), 0);
	interval_add(&bins, 0, (const struct agent_data *const[]){ &agents[0].total }, 1);
	assert_int_equal(html_report(out, &r, text, NULL, NULL, NULL, &bins), 0);
	fclose(out);
	html_bins_fini(&bins);
	agent_data_fini(&agents[0].total);
	stacks_free(r.stacks);
	return page;
}

static void test_hostile(void **state)
{
	static const char *const texts[] = { "agent", "</script><img src=x onerror=alert(1)>", "<!--<script>", "]]>\"'&lt;\\", "\xff\xfe\xc0\xaf\x80", "\x1b[31m\n\r\t\x01",
					     "\xe2\x80\xa8|\xe2\x80\xa9", "\xe2\x80", "@DATA@ @SCRIPT@" };
	static const char mark[] = "<script type=\"application/json\" id=\"data\">";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_free_ char *page = page_of(texts[i]);
		const char *from = strstr(page, mark) + strlen(mark), *to = strchr(from, '<');
		json_error_t error;
		json_t *data;

		/* the first "<" after the data begins is the one that ends them */
		assert_int_equal(strncmp(to, "</script>", 9), 0);
		assert_null(memmem(from, (size_t)(to - from), "\xe2\x80\xa8", 3));
		assert_null(memmem(from, (size_t)(to - from), "\xe2\x80\xa9", 3));
		data = json_loadb(from, (size_t)(to - from), 0, &error);
		assert_non_null(data);
		assert_int_equal(json_array_size(json_object_get(json_object_get(data, "report"), "agents")), 2);
		assert_int_equal(json_array_size(json_object_get(data, "agents")), 2);
		if (i < 4)
			assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(json_object_get(data, "report"), "agents"), 0), "name")), texts[i]);
		json_decref(data);
	}
}

/* More agents than a page takes: the busiest stay, and the rest is told of. */
static void test_many_agents(void **state)
{
	const int n = HTML_AGENTS_MAX + 50;
	struct recording_agent *agents = calloc((size_t)n, sizeof(*agents));
	struct recording r = { .agents = agents, .agents_len = n, .stacks = stacks_new(), .duration_s = 1 };
	struct html_bins bins = { 0 };
	char *page = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&page, &len);

	(void)state;
	for (int i = 0; i < n; i++) {
		agents[i].info = (struct agent_info){ .id = i, .name = "a", .cmdline = "a", .cgroup = "" };
		agents[i].total.metrics.value[M_CPU_USER_NS] = (uint64_t)i;
	}
	assert_int_equal(html_report(out, &r, "f", NULL, NULL, NULL, &bins), 0);
	fclose(out);
	assert_non_null(strstr(page, "\"agents_left_out\":50"));
	assert_null(strstr(page, "{\"id\":49,\"hists\""));
	assert_non_null(strstr(page, "{\"id\":50,\"hists\""));
	free(page);
	stacks_free(r.stacks);
	free(agents);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bins),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_many_agents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
