/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The live view without a terminal: what its frames say, and what keys do. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>

#include "lib/util.h"
#include "top/frame.h"

#define MS 1000000ULL
#define TITLE_LINES 3

/* --- a world of agents --- */

struct world {
	struct live live;
	struct recents recents;
	struct agent_data data[64];
	struct agent_info info[64];
	int len;
	double now_s;
};

static void world_begin(struct world *w, const char *const *names, int len)
{
	struct header_data h = { .host = { .name = "host" }, .interval_s = 1, .agents = w->info, .agents_len = len };

	memset(w, 0, sizeof(*w));
	w->len = len;
	for (int i = 0; i < len; i++) {
		w->info[i] = (struct agent_info){ .id = i, .name = (char *)names[i], .pid = 1000 - i, .cmdline = (char *)"run --fast", .cgroup = (char *)"/" };
		w->data[i] = (struct agent_data){ .id = i, .alive = true, .observed_s = 1 };
	}
	live_init(&w->live, 5);
	assert_int_equal(live_start(&w->live, &h), 0);
}

/* An interval of one second with what the data say; those that are not alive are left out. */
static void world_tell(struct world *w)
{
	const struct agent_data *agents[64];
	struct interval_data i = { .start_s = w->now_s, .end_s = w->now_s + 1, .agents = agents, .observer = { .cpu_s = 0.004, .bpf_s = 0.001, .records = 500 } };

	for (int n = 0; n < w->len; n++)
		if (w->data[n].alive)
			agents[i.agents_len++] = &w->data[n];
	w->now_s++;
	assert_int_equal(live_interval(&w->live, &i), 0);
}

static void world_end(struct world *w)
{
	for (int i = 0; i < w->len; i++)
		agent_data_fini(&w->data[i]);
	live_fini(&w->live);
	recents_fini(&w->recents);
}

/* The same, judged as the program does. */
static void world_judge(struct world *w)
{
	const struct agent_data *agents[64];
	struct interval_data i = { .start_s = w->now_s, .end_s = w->now_s + 1, .agents = agents };

	for (int n = 0; n < w->len; n++)
		agents[i.agents_len++] = &w->data[n];
	world_tell(w);
	assert_int_equal(recents_interval(&w->recents, NULL, NULL, &i), 0);
	assert_int_equal(recents_tell(&w->recents, &w->live), 0);
}

static void set_cpu(struct world *w, int agent, double percent)
{
	w->data[agent].metrics.value[M_CPU_USER_NS] = (uint64_t)(percent * 1e7 / 2);
	w->data[agent].metrics.value[M_CPU_SYSTEM_NS] = (uint64_t)(percent * 1e7 / 2);
}

/* --- frames as text --- */

static int columns_of(const char *line)
{
	wchar_t wide[4096];
	size_t n = mbstowcs(wide, line, 4096);

	assert_true(n < 4096);
	return wcswidth(wide, n);
}

/* The frame with a newline behind each line; all must be as many as there are rows, none too wide, nor with a control character in it. */
static char *shot(struct world *w, struct top_view *v)
{
	struct top_frame f;
	char *text = calloc(1, 1 << 20);

	assert_int_equal(top_frame_init(&f, &w->live, NULL, &w->recents, v), 0);
	assert_int_equal(f.len, v->height);
	for (int i = 0; i < f.len; i++) {
		if (!v->color) {
			assert_null(strchr(f.lines[i], '\033'));
			assert_true(columns_of(f.lines[i]) >= 0); /* -1: something that can't be printed */
			assert_true(columns_of(f.lines[i]) <= v->width);
		}
		strcat(strcat(text, f.lines[i]), "\n");
	}
	top_frame_fini(&f);
	return text;
}

static void assert_has(struct world *w, struct top_view *v, const char *want)
{
	_cleanup_free_ char *text = shot(w, v);

	if (!strstr(text, want))
		fail_msg("no '%s' in\n%s", want, text);
}

static void assert_lacks(struct world *w, struct top_view *v, const char *word)
{
	_cleanup_free_ char *text = shot(w, v);

	if (strstr(text, word))
		fail_msg("there is '%s' in\n%s", word, text);
}

/* First letters of the names in the list, from the top. */
static void assert_order(struct world *w, struct top_view *v, const char *want)
{
	_cleanup_free_ char *text = shot(w, v);
	char got[64] = "";
	char *line = text;

	for (int i = 0; i < TITLE_LINES; i++)
		line = strchr(line, '\n') + 1;
	for (size_t n = 0; n + 1 < sizeof(got) && line[0] != '\n' && (line[0] == ' ' || line[0] == '>') && line[1] != ' '; n++) {
		got[n] = line[1];
		line = strchr(line, '\n') + 1;
	}
	assert_string_equal(got, want);
}

static char selected(struct world *w, struct top_view *v)
{
	struct top_frame f;
	char c;

	assert_int_equal(top_frame_init(&f, &w->live, NULL, NULL, v), 0);
	c = f.selected < 0 ? '-' : f.lines[f.selected][1];
	assert_true(f.selected < 0 || f.lines[f.selected][0] == '>');
	top_frame_fini(&f);
	return c;
}

static void keys(struct top_view *v, const char *text)
{
	for (; *text; text++)
		assert_true(view_key(v, (uint32_t)*text));
}

/* --- tests --- */

static const char *const abc[] = { "alpha", "beta", "gamma" };

static void test_figures(void **state)
{
	struct world w;
	struct top_view v;

	(void)state;
	view_init(&v);
	v.width = 200;
	world_begin(&w, abc, 1);
	assert_has(&w, &v, "waiting for the first interval");
	set_cpu(&w, 0, 42.5);
	w.data[0].metrics.value[M_SWITCHES_VOLUNTARY] = 1234;
	w.data[0].metrics.value[M_EXCHANGES] = 7;
	w.data[0].metrics.value[M_RSS_BYTES] = 88u << 20;
	w.data[0].metrics.value[M_THREADS] = 11;
	w.data[0].metrics.value[M_ERRORS_REFUSED] = 2;
	w.data[0].metrics.value[M_ERRORS_RESET] = 3;
	w.data[0].critical.ns[STATE_RUNNING] = 500 * MS;
	w.data[0].critical.ns[STATE_NET_LLM] = 500 * MS;
	assert_int_equal(metric_record(&w.data[0].metrics, M_RUNQ_NS, 250 * MS), 0);
	assert_int_equal(metric_record(&w.data[0].metrics, M_EXCHANGE_NS, 300 * MS), 0);
	agent_data_tool(&w.data[0], "git")->runs_live = 2;
	world_tell(&w);
	world_tell(&w);
	assert_has(&w, &v, "host  1 agent  0:00:02  last 1.00 s  by CPU%");
	assert_has(&w, &v, "sum: CPU 42.5 %, run queue 25.0 %, 1.23 k waits/s, 7.00 calls/s, 88.0 MiB\n");
	assert_has(&w, &v, ">alpha    1000  42.5  25.0   1.23k    7.00  300ms  300ms      -     5  88.0M     2   11     -        0     0B     0B        - ###");
	assert_has(&w, &v, "#MM");
	assert_has(&w, &v, "# running  M net.llm");
	assert_has(&w, &v, "observer  0.50 % CPU, 500 records/s, nothing lost, full detail");
	view_key(&v, 's'); /* counts add up, rates don't */
	assert_has(&w, &v, "since the beginning");
	assert_has(&w, &v, "42.5  25.0   1.23k    7.00  300ms  300ms      -    10  88.0M     2   11");
	view_key(&v, 's');
	w.data[0].observed_s = 0.5; /* it came within the interval */
	world_tell(&w);
	assert_has(&w, &v, "85.0  50.0   2.47k    14.0");
	world_end(&w);
}

static void test_order(void **state)
{
	struct world w;
	struct top_view v;

	(void)state;
	view_init(&v);
	world_begin(&w, abc, 3);
	set_cpu(&w, 0, 5);
	set_cpu(&w, 1, 50);
	set_cpu(&w, 2, 20);
	w.data[0].metrics.value[M_RSS_BYTES] = 3;
	w.data[1].metrics.value[M_RSS_BYTES] = 1;
	w.data[2].metrics.value[M_RSS_BYTES] = 2;
	world_tell(&w);
	assert_order(&w, &v, "bga");
	keys(&v, "r");
	assert_order(&w, &v, "agb");
	keys(&v, "M");
	assert_order(&w, &v, "agb");
	assert_has(&w, &v, "by RSS\n");
	keys(&v, "M");
	assert_order(&w, &v, "bga");
	assert_has(&w, &v, "by RSS, reversed");
	keys(&v, "A");
	assert_order(&w, &v, "abg");
	keys(&v, "I"); /* pids rise, and are given in falling order */
	assert_order(&w, &v, "gba");
	keys(&v, "<");
	assert_order(&w, &v, "abg");
	keys(&v, "<"); /* around to the last column, in which all are alike: by id then */
	assert_order(&w, &v, "abg");
	for (int i = 0; column_info(i); i++) {
		assert_int_equal(column_by_key((uint32_t)column_info(i)->key), i);
		assert_true((int)strlen(column_info(i)->title) <= (i ? column_info(i)->width : 8));
	}
	world_end(&w);
}

static void test_filter(void **state)
{
	struct world w;
	struct top_view v;

	(void)state;
	view_init(&v);
	world_begin(&w, abc, 3);
	w.info[2].cmdline = (char *)"node Server.js";
	live_fini(&w.live);
	live_init(&w.live, 5);
	for (int i = 0; i < 3; i++)
		live_agent(&w.live, &w.info[i]);
	world_tell(&w);
	keys(&v, "/BE");
	assert_order(&w, &v, "b"); /* at once, whatever the case */
	assert_has(&w, &v, "filter: BE_  1 of 3");
	assert_false(v.quit);
	view_key(&v, TOP_KEY_ENTER);
	assert_has(&w, &v, "filter: BE  1 of 3");
	keys(&v, "/q"); /* no command while one types */
	assert_has(&w, &v, "none of 3 agents suits the filter");
	view_key(&v, TOP_KEY_ESCAPE);
	assert_order(&w, &v, "b");
	view_key(&v, TOP_KEY_ESCAPE);
	assert_order(&w, &v, "abg");
	keys(&v, "/server");
	assert_order(&w, &v, "g");
	view_key(&v, 'U' - '@');
	keys(&v, "999");
	assert_order(&w, &v, "b"); /* by its pid */
	view_key(&v, TOP_KEY_BACKSPACE);
	assert_has(&w, &v, "filter: 99_  0 of 3");
	world_end(&w);
}

static void test_typed_text(void **state)
{
	struct top_view v;

	(void)state;
	view_init(&v);
	keys(&v, "/a");
	view_key(&v, 0xe9);
	view_key(&v, 0x65e5);
	view_key(&v, 0x1f600);
	assert_string_equal(v.typed, "aé日😀");
	view_key(&v, TOP_KEY_BACKSPACE);
	view_key(&v, TOP_KEY_BACKSPACE);
	assert_string_equal(v.typed, "aé");
	assert_false(view_key(&v, 0x1));
	assert_false(view_key(&v, TOP_KEY_UP));
	for (int i = 0; i < 100; i++)
		view_key(&v, 0x65e5);
	assert_true(strlen(v.typed) < FILTER_BYTES && mbstowcs(NULL, v.typed, 0) != (size_t)-1); /* cut between characters */
	for (int i = 0; i < 100; i++)
		view_key(&v, TOP_KEY_BACKSPACE);
	assert_string_equal(v.typed, "");
}

static void test_selection(void **state)
{
	static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j" };
	struct world w;
	struct top_view v;

	(void)state;
	view_init(&v);
	v.height = TITLE_LINES + 3 + 4; /* four agents at a time */
	world_begin(&w, names, 10);
	assert_int_equal(selected(&w, &v), '-');
	for (int i = 0; i < 10; i++)
		set_cpu(&w, i, 100 - i);
	world_tell(&w);
	assert_int_equal(selected(&w, &v), 'a');
	view_key(&v, TOP_KEY_UP);
	assert_int_equal(selected(&w, &v), 'a');
	view_key(&v, TOP_KEY_DOWN);
	view_key(&v, 'j');
	assert_int_equal(selected(&w, &v), 'c');
	assert_order(&w, &v, "abcd");
	view_key(&v, TOP_KEY_PAGE_DOWN);
	assert_int_equal(selected(&w, &v), 'g');
	assert_order(&w, &v, "defg");
	view_key(&v, TOP_KEY_END);
	assert_int_equal(selected(&w, &v), 'j');
	view_key(&v, TOP_KEY_HOME);
	assert_int_equal(selected(&w, &v), 'a');
	assert_order(&w, &v, "abcd");
	view_key(&v, TOP_KEY_DOWN);
	selected(&w, &v);
	set_cpu(&w, 1, 1); /* b goes to the end, and stays selected */
	world_tell(&w);
	assert_int_equal(selected(&w, &v), 'b');
	assert_order(&w, &v, "hijb");
	w.data[1].alive = false;
	for (int i = 0; i < 7; i++) /* and is forgotten: another takes its place */
		world_tell(&w);
	assert_int_equal(selected(&w, &v), 'j');
	world_end(&w);
}

static void test_an_agent_that_ended(void **state)
{
	struct world w;
	struct top_view v;

	(void)state;
	view_init(&v);
	world_begin(&w, abc, 2);
	w.data[0].critical.ns[STATE_RUNNING] = w.data[1].critical.ns[STATE_RUNNING] = 1000 * MS;
	world_tell(&w);
	assert_int_equal(selected(&w, &v), 'a');
	view_key(&v, TOP_KEY_ENTER);
	assert_has(&w, &v, "alpha  pid 1000  0:00:01");
	w.data[0].alive = false;
	world_tell(&w);
	world_tell(&w);
	assert_has(&w, &v, "pid 1000, ended");
	view_key(&v, TOP_KEY_ESCAPE);
	assert_has(&w, &v, "2 agents, 1 ended");
	assert_has(&w, &v, " ended\n");
	view_key(&v, 's');
	assert_has(&w, &v, ">alpha");
	view_key(&v, TOP_KEY_ENTER);
	assert_has(&w, &v, "pid 1000, ended  0:00:01");
	for (int i = 0; i < 5; i++)
		world_tell(&w);
	assert_has(&w, &v, "the agent ended more than 5 s ago: its page is closed");
	assert_has(&w, &v, ">beta");
	view_key(&v, TOP_KEY_DOWN); /* any key takes the message away */
	assert_lacks(&w, &v, "page is closed");
	world_end(&w);
}

/* One row of metrics.def is enough for a metric to be on the page. */
static void test_page(void **state)
{
	struct world w;
	struct top_view v;

	(void)state;
	view_init(&v);
	v.height = 300;
	world_begin(&w, abc, 3);
	for (int m = 0; m < METRIC_IDS; m++) {
		if (metric_infos[m].type == METRIC_HIST)
			assert_int_equal(metric_record(&w.data[1].metrics, (enum metric_id)m, 1000), 0);
		else
			w.data[1].metrics.value[m] = 1000;
	}
	agent_data_tool(&w.data[1], "git")->runs_live = 2;
	agent_data_note(&w.data[1], "heap: what could not be seen");
	agent_data_peer(&w.data[1], false, "10.0.0.5:5432", "db.internal")->metrics.value[M_EXCHANGES] = 5;
	w.data[1].main.ns[STATE_NET_DB] = 1000 * MS;
	world_tell(&w);
	assert_int_equal(selected(&w, &v), 'b');
	view_key(&v, TOP_KEY_ENTER);
	assert_has(&w, &v, "beta  pid 999");
	assert_has(&w, &v, "net.db");
	assert_has(&w, &v, "db.internal");
	assert_has(&w, &v, "git ");
	assert_has(&w, &v, "what could not be seen");
	for (int m = 0; m < METRIC_IDS; m++)
		if (strncmp(metric_infos[m].name, "loop_", 5) && strncmp(metric_infos[m].name, "gc_", 3) && strncmp(metric_infos[m].name, "heap_", 5))
			assert_has(&w, &v, metric_infos[m].name);
	assert_has(&w, &v, "exchange_ns: request and answer");
	keys(&v, "N");
	assert_has(&w, &v, "rtt_ns: smoothed");
	keys(&v, "nn");
	assert_has(&w, &v, "ttfb_ns: time to first byte");
	v.height = 24;
	for (int i = 0; i < SECTIONS; i++) {
		static const char *const titles[SECTIONS] = {
			"  Where the time went", "  Peers", "  Tools", "  Event loop", "  How long and how large", "  Memory, and notes", "  All counters",
		};
		_cleanup_free_ char *text = NULL;
		char *line;

		view_key(&v, (uint32_t)('1' + i));
		line = text = shot(&w, &v);
		for (int n = 0; n < TITLE_LINES; n++)
			line = strchr(line, '\n') + 1;
		assert_true(!strncmp(line, titles[i], strlen(titles[i])));
	}
	view_key(&v, TOP_KEY_RIGHT);
	assert_has(&w, &v, "alpha  pid 1000");
	view_key(&v, TOP_KEY_RIGHT);
	assert_has(&w, &v, "gamma  pid 998");
	view_key(&v, TOP_KEY_RIGHT);
	view_key(&v, TOP_KEY_LEFT);
	view_key(&v, TOP_KEY_RIGHT);
	assert_has(&w, &v, "beta  pid 999"); /* around the end */
	view_key(&v, TOP_KEY_ESCAPE);
	assert_int_equal(selected(&w, &v), 'b');
	world_end(&w);
}

static void test_pause(void **state)
{
	struct world w;
	struct world frozen = { .len = 0 };
	struct top_view v;
	char *before, *after;

	(void)state;
	view_init(&v);
	v.height = 100;
	world_begin(&w, abc, 3);
	for (int i = 0; i < 3; i++) {
		set_cpu(&w, i, 10 * i);
		assert_int_equal(metric_record(&w.data[i].metrics, M_EXCHANGE_NS, 5 * MS), 0);
		agent_data_tool(&w.data[i], "git")->runs_live = 2;
		w.data[i].main.ns[STATE_DISK] = w.data[i].critical.ns[STATE_DISK] = 1000 * MS;
	}
	world_tell(&w);
	world_tell(&w);
	assert_int_equal(live_copy(&frozen.live, &w.live), 0);
	for (int page = 0; page < 2; page++) {
		for (int all = 0; all < 2; all++) {
			v.all = all;
			before = shot(&w, &v);
			after = shot(&frozen, &v);
			assert_string_equal(before, after);
			free(before);
			free(after);
		}
		view_key(&v, TOP_KEY_ENTER);
	}
	before = shot(&frozen, &v);
	world_tell(&w);
	after = shot(&frozen, &v); /* it goes on without it */
	assert_string_equal(before, after);
	free(before);
	free(after);
	live_fini(&frozen.live);
	world_end(&w);
}

/* A peer that each call connects to anew, of an interval. */
static void set_reuse(struct agent_data *a, const char *peer, int calls, uint64_t handshake_ns)
{
	struct peer_data *p = agent_data_peer(a, false, "192.0.2.1:443", peer);

	p->class = CLASS_HTTP;
	p->metrics.value[M_EXCHANGES] = p->metrics.value[M_CONNECTS] = (uint64_t)calls;
	for (int i = 0; i < calls; i++) {
		assert_int_equal(metric_record(&p->metrics, M_EXCHANGE_NS, 10 * MS), 0);
		assert_int_equal(metric_record(&p->metrics, M_CONNECT_NS, MS), 0);
		assert_int_equal(metric_record(&p->metrics, M_HANDSHAKE_NS, handshake_ns), 0);
	}
}

/* A column says how many and how bad, the page which; what is minutes ago is forgotten; a pause keeps it. */
static void test_findings(void **state)
{
	struct world w;
	struct top_view v;
	struct recents copy;

	(void)state;
	view_init(&v);
	v.width = 80;
	world_begin(&w, abc, 3);
	set_reuse(&w.data[1], "api\033[2J.example.com", 4, 100 * MS);
	set_reuse(&w.data[2], "db", 2, 20 * MS);
	world_judge(&w);
	assert_lacks(&w, &v, "crit"); /* a second is too little */
	for (int i = 0; i < 9; i++)
		world_judge(&w);
	/* judged after 2 s, and each 5 s from then on; after 4 s where it is the second one's turn */
	assert_has(&w, &v, " found ");
	assert_has(&w, &v, " 1crit ");
	assert_has(&w, &v, " 1warn ");
	keys(&v, "F");
	assert_order(&w, &v, "bga");
	v.color = true;
	assert_has(&w, &v, "\033[31m1crit\033[0m");
	v.color = false;
	v.selected = 1;
	view_key(&v, TOP_KEY_ENTER);
	assert_has(&w, &v, "Findings of the last 6.00 s\n");
	assert_has(&w, &v, "  critical: connections are not reused: http api");
	assert_has(&w, &v, "evidence    24 connects for 24 requests");
	view_key(&v, TOP_KEY_ESCAPE);
	assert_int_equal(recents_copy(&copy, &w.recents), 0);
	assert_int_equal(recents_of(&copy, 1)->len, 1);
	assert_string_equal(recents_of(&copy, 1)->list[0].evidence, recents_of(&w.recents, 1)->list[0].evidence);
	recents_fini(&copy);
	for (int i = 0; i < 3; i++)
		agent_data_fini(&w.data[i]), w.data[i] = (struct agent_data){ .id = i, .alive = true, .observed_s = 1 };
	for (int i = 0; i < 45; i++)
		world_judge(&w);
	assert_has(&w, &v, " 1warn "); /* not forgotten yet, but of a longer time */
	for (int i = 0; i < 80; i++)
		world_judge(&w);
	assert_lacks(&w, &v, "warn");
	world_end(&w);
}

/* Names that try to write on the screen, and some that are merely wide. */
static void test_names(void **state)
{
	static const char *const names[] = {
		"\033[2J\033]0;owned\007", "new\nline\r\t", "bad \xff\xfe\xc0\xaf utf", "日本語のとても長い名前のエージェント", "e\u0301\u200b\u202egnp.exe", "%s%n%s",
		"", "a-name-that-is-far-longer-than-any-column-could-ever-be-and-then-some",
	};
	static const int widths[] = { 40, 41, 57, 80, 81, 120, 200, 1000 }, heights[] = { 8, 9, 24, 50, 200 };
	struct world w;
	struct top_view v;

	(void)state;
	world_begin(&w, names, ARRAY_SIZE(names));
	for (int i = 0; i < (int)ARRAY_SIZE(names); i++) {
		struct peer_data *p = agent_data_peer(&w.data[i], false, names[i], names[i]);

		p->metrics.value[M_EXCHANGES] = 1;
		agent_data_tool(&w.data[i], names[i])->runs_live = 1;
		agent_data_note(&w.data[i], names[i]);
		w.info[i].cmdline = (char *)names[i];
		w.data[i].critical.ns[STATE_LOCK] = 1000 * MS;
	}
	live_fini(&w.live);
	live_init(&w.live, 5);
	for (int i = 0; i < (int)ARRAY_SIZE(names); i++)
		live_agent(&w.live, &w.info[i]);
	world_tell(&w);
	for (size_t x = 0; x < ARRAY_SIZE(widths); x++) {
		for (size_t y = 0; y < ARRAY_SIZE(heights); y++) {
			view_init(&v);
			v.utf8 = y % 2;
			v.width = widths[x];
			v.height = heights[y];
			snprintf(v.filter, sizeof(v.filter), "%s", x % 2 ? "\033[31m" : "");
			free(shot(&w, &v));
			v.filter[0] = '\0';
			free(shot(&w, &v));
			view_key(&v, 'h');
			free(shot(&w, &v));
			view_key(&v, 'x');
			view_key(&v, TOP_KEY_ENTER);
			for (int i = 0; i < (int)ARRAY_SIZE(names); i++) {
				free(shot(&w, &v));
				view_key(&v, TOP_KEY_RIGHT);
			}
		}
	}
	/* Figures stand below one another, however wide the letters are. */
	view_init(&v);
	v.utf8 = true;
	for (int wide = 0; wide < 2; wide++) {
		char *text = shot(&w, &v), *line = text;

		for (int i = 0; i < TITLE_LINES; i++)
			line = strchr(line, '\n') + 1;
		for (int i = 0; i < (int)ARRAY_SIZE(names); i++) {
			char *end = strchr(line, '\n'), *figure = strstr(line, "   0.0   0.0 ");

			assert_true(figure && figure < end);
			*figure = '\0';
			assert_int_equal(columns_of(line), 16);
			line = end + 1;
		}
		free(text);
		v.utf8 = false;
	}
	world_end(&w);
}

/* In colour there are sequences for styles, and no others. */
static void test_colors(void **state)
{
	static const char *const names[] = { "\033[2J", "\033[5mblink" };
	struct world w;
	struct top_view v;
	char *text;

	(void)state;
	view_init(&v);
	v.color = v.utf8 = true;
	world_begin(&w, names, 2);
	w.data[0].critical.ns[STATE_LOCK] = w.data[1].critical.ns[STATE_RUNNING] = 1000 * MS;
	world_tell(&w);
	text = shot(&w, &v);
	for (const char *c = strchr(text, '\033'); c; c = strchr(c + 1, '\033')) {
		int sgr, len = 0;

		assert_int_equal(sscanf(c, "\033[%dm%n", &sgr, &len), 1);
		assert_true(len > 0 && (sgr <= 2 || (sgr >= 30 && sgr <= 37) || (sgr >= 90 && sgr <= 97)));
	}
	assert_non_null(strstr(text, "\033[31m\u2588"));
	free(text);
	v.letters = true; /* few colours: letters tell the states apart */
	text = shot(&w, &v);
	assert_null(strstr(text, "\u2588"));
	assert_non_null(strstr(text, "\033[31ml"));
	free(text);
	world_end(&w);
}

static void test_losses_and_sizes(void **state)
{
	struct world w;
	struct top_view v;

	(void)state;
	view_init(&v);
	world_begin(&w, abc, 1);
	world_tell(&w);
	w.live.observer = w.live.observer_last;
	observer_data_lost(&w.live.observer, "ring", 1500);
	assert_has(&w, &v, ", 1.50 k lost before, full detail");
	view_key(&v, 's');
	assert_has(&w, &v, ", 1.50 k lost, full detail");
	w.live.observer.cost.governed = true;
	w.live.observer.cost.rung_s[RUNG_COUNT - 1] = 0.5;
	assert_has(&w, &v, ", detail: ");
	/* Nobody looked: that is no 0. */
	v.width = 200;
	assert_has(&w, &v, "0       -      -      -");
	w.data[0].metrics.value[M_EXCHANGES] = 5;
	world_tell(&w);
	assert_has(&w, &v, "0    2.50      -      -");
	for (v.width = 1; v.width < 60; v.width++) {
		for (v.height = 1; v.height < 12; v.height++) {
			bool fits = v.width >= FRAME_WIDTH_MIN && v.height >= FRAME_HEIGHT_MIN;
			_cleanup_free_ char *text = shot(&w, &v);

			assert_true(fits == !!strstr(text, ">alpha"));
		}
	}
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_figures),	   cmocka_unit_test(test_order),
		cmocka_unit_test(test_filter),	   cmocka_unit_test(test_typed_text),
		cmocka_unit_test(test_selection),  cmocka_unit_test(test_an_agent_that_ended),
		cmocka_unit_test(test_page),	   cmocka_unit_test(test_pause),
		cmocka_unit_test(test_findings),
		cmocka_unit_test(test_names),	   cmocka_unit_test(test_colors),
		cmocka_unit_test(test_losses_and_sizes),
	};

	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
