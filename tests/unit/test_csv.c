/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Cells of tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/util.h"
#include "sink/csv.h"

static void test_text(void **state)
{
	static const char *const rows[][2] = {
	        {"", ""},
	        {"demo", "demo"},
	        {"a,b", "\"a,b\""},
	        {"say \"hi\"", "\"say \"\"hi\"\"\""},
	        {" x", "\" x\""},
	        {"x ", "\"x \""},
	        {"=1+1", "'=1+1"},
	        {"=a,b", "\"'=a,b\""},
	        {"+1", "'+1"},
	        {"-1", "'-1"},
	        {"@f", "'@f"},
	        {"a=1", "a=1"},
	        {"\n=1", "?=1"},
	        {"a\r\nb", "a??b"},
	        {"\x1b[2J", "?[2J"},
	        {"bad\xff", "bad?"},
	        {"f\xc3\xbcr", "f\xc3\xbcr"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *text = NULL;
		size_t len;
		FILE *out = open_memstream(&text, &len);

		csv_text(out, rows[i][0]);
		fclose(out);
		assert_string_equal(text, rows[i][1]);
		free(text);
	}
}

static size_t cells(const char *line)
{
	size_t n = 1;

	for (; *line && *line != '\n'; line++)
		n += *line == ',';
	return n;
}

/* Whatever a row lacks, it has as many cells as the row of names. */
static void test_rows(void **state)
{
	struct agent_info info = {.id = 3, .name = (char *)"demo", .cmdline = (char *)"", .cgroup = (char *)""};
	struct header_data header = {.start = "2026-01-02T03:04:05.678Z", .host = {.name = "h"}};
	const struct agent_info *infos[] = {&info};

	(void)state;
	for (int rows = 0; rows < ROWS_COUNT; rows++) {
		struct export_options options = {.rows = (enum export_rows)rows};
		struct agent_data agent = {.id = 3, .alive = true};
		const struct agent_data *agents[] = {&agent};
		struct interval_data interval = {.end_s = 1.5,
		        .agents = agents,
		        .agents_len = 1,
		        .observer.bpf_s = -1,
		        .infos = infos,
		        .header = &header};
		char *text = NULL, *second;
		size_t len;
		FILE *out = open_memstream(&text, &len);
		void *csv = csv_new(out, &options);

		assert_non_null(agent_data_peer(&agent, true, "10.0.0.5:5432", ""));
		assert_non_null(agent_data_tool(&agent, "sh"));
		assert_int_equal(metric_record(&agent.metrics, M_RUNQ_NS, 5), 0);
		assert_int_equal(csv_interval(csv, &interval), 0);
		fclose(out);
		csv_free(csv);
		second = strchr(text, '\n') + 1;
		assert_int_equal(cells(second), cells(text));
		assert_non_null(strstr(second, "2026-01-02T03:04:05.678Z,0,1.5,h"));
		assert_ptr_equal(strchr(second, '\n') + 1, text + len);
		free(text);
		agent_data_fini(&agent);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_text),
	        cmocka_unit_test(test_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
