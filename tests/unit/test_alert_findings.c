/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Findings as alerts: raised once they are severe enough, over when they have not been for a while, or the agent has ended; and how long growth of memory is remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "serve/alert_findings.h"
#include "serve/diagnoses.h"

#define MS 1000000u
#define MIB (1024.0 * 1024)

struct told {
	int raised, cleared;
	enum severity severity;
	double ended_s, worst;
	char subject[160];
};

struct world {
	struct header_data header;
	struct live live;
	struct diagnoses diagnoses;
	struct alert_findings findings;
	struct agent_data data;
	struct told told;
	double now_s;
};

static int on_news(void *ctx, struct alert_news *news)
{
	struct told *t = ctx;

	assert_int_equal(strncmp(news->about.rule, ALERT_FINDINGS_MARK, strlen(ALERT_FINDINGS_MARK)), 0);
	assert_string_equal(news->about.agent, "agent");
	t->raised += news->raised;
	t->cleared += !news->raised;
	t->severity = news->about.severity;
	t->ended_s = (double)news->about.ended_ns / 1e9;
	t->worst = news->about.worst;
	strcpy(t->subject, news->about.subject);
	return 0;
}

static void begin(struct world *w)
{
	struct agent_info info = { .id = 1, .name = (char *)"agent", .pid = 7, .cmdline = (char *)"", .cgroup = (char *)"" };

	*w = (struct world){ .header = { .interval_s = 1, .host = { .cpus = 2 } }, .data = { .id = 1, .alive = true, .observed_s = 1 } };
	live_init(&w->live, 10);
	assert_int_equal(live_start(&w->live, &w->header), 0);
	assert_int_equal(live_agent(&w->live, &info), 0);
}

static void end(struct world *w)
{
	alert_findings_fini(&w->findings);
	diagnoses_fini(&w->diagnoses);
	live_fini(&w->live);
	agent_data_fini(&w->data);
}

/* An interval of the agent, as it is now. there: the interval tells of it. */
static void tell(struct world *w, int from, bool there)
{
	const struct agent_data *agents[] = { &w->data };
	struct interval_data i = { .start_s = w->now_s, .end_s = w->now_s + 1, .agents = agents, .agents_len = there };

	w->now_s++;
	assert_int_equal(diagnoses_interval(&w->diagnoses, &w->header, &i), 0);
	assert_int_equal(live_interval(&w->live, &i), 0);
	assert_int_equal(recents_tell(&w->diagnoses.recents, &w->live), 0);
	assert_int_equal(alert_findings_look(&w->findings, &w->diagnoses.recents, &w->live, from, on_news, &w->told), 0);
}

/* A connection a call from now on, with a handshake each; 0 calls: it does nothing any more. */
static void connects(struct world *w, int calls, unsigned handshake_ns)
{
	struct metric_set *p;

	agent_data_fini(&w->data);
	w->data = (struct agent_data){ .id = 1, .alive = true, .observed_s = 1 };
	if (!calls)
		return;
	p = &agent_data_peer(&w->data, false, "10.0.0.1:443", "api\xff")->metrics;
	metric_add(p, M_CONNECTS, (uint64_t)calls);
	metric_add(p, M_EXCHANGES, (uint64_t)calls);
	for (int i = 0; i < calls; i++) {
		assert_int_equal(metric_record(p, M_EXCHANGE_NS, 10 * MS), 0);
		assert_int_equal(metric_record(p, M_CONNECT_NS, MS), 0);
		assert_int_equal(metric_record(p, M_HANDSHAKE_NS, handshake_ns), 0);
	}
}

static void test_raised_and_over(void **state)
{
	struct world w;
	double gone_s;

	(void)state;
	begin(&w);
	connects(&w, 4, 100 * MS);
	tell(&w, SEVERITY_CRITICAL, true);
	assert_int_equal(w.told.raised, 0); /* not judged yet */
	for (int i = 0; i < 10; i++)
		tell(&w, SEVERITY_CRITICAL, true);
	assert_true(w.told.raised > 0 && !w.told.cleared && w.findings.len == 1);
	assert_int_equal(w.told.severity, SEVERITY_CRITICAL);
	assert_true(w.told.worst > 12);
	assert_string_equal(w.told.subject, "other api\xff:443");
	/* mended: what was stays in the last minutes for a while, and then a while more passes until it is over */
	connects(&w, 0, 0);
	while (w.told.raised) {
		w.told.raised = 0;
		tell(&w, SEVERITY_CRITICAL, true);
	}
	gone_s = w.now_s;
	assert_int_equal(w.told.cleared, 0);
	while (!w.told.cleared && w.now_s < 1000)
		tell(&w, SEVERITY_CRITICAL, true);
	assert_int_equal(w.told.cleared, 1);
	assert_true(w.now_s - gone_s >= ALERT_FINDINGS_OVER_S - 1 && w.now_s - gone_s <= ALERT_FINDINGS_OVER_S + 1);
	assert_true(w.told.ended_s == w.now_s);
	assert_int_equal(w.findings.len, 0);
	end(&w);
}

static void test_threshold(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	connects(&w, 4, 10 * MS); /* 2.4 s a minute: a warning */
	for (int i = 0; i < 12; i++)
		tell(&w, SEVERITY_CRITICAL, true);
	assert_int_equal(w.told.raised, 0);
	for (int i = 0; i < 2; i++)
		tell(&w, SEVERITY_WARNING, true);
	assert_int_equal(w.told.raised, 2);
	assert_int_equal(w.told.severity, SEVERITY_WARNING);
	tell(&w, SEVERITY_COUNT, true); /* asked for no more */
	assert_int_equal(w.told.cleared, 1);
	end(&w);
}

static void test_end_of_the_agent(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	connects(&w, 4, 100 * MS);
	for (int i = 0; i < 5; i++)
		tell(&w, SEVERITY_INFO, true);
	assert_int_equal(w.told.cleared, 0);
	tell(&w, SEVERITY_INFO, false);
	assert_int_equal(w.told.cleared, 1);
	assert_int_equal(w.findings.len, 0);
	end(&w);
}

/* Growth is found in minutes; that of long ago is no news, and agents that are gone leave nothing behind. */
static void test_memory(void **state)
{
	struct world w;
	bool grew = false, grows;

	(void)state;
	begin(&w);
	for (int s = 0; s < 8 * 3600; s++) {
		w.data.metrics.value[M_RSS_BYTES] = (uint64_t)((100 + (s < 3600 ? s : 3600)) * MIB);
		tell(&w, SEVERITY_COUNT, true);
		grows = live_find(&w.live, 1)->findings > 0;
		grew |= s < 600 && grows;
		if (s == 3500 || s == 8 * 3600 - 1)
			assert_int_equal(grows, s == 3500);
	}
	assert_true(grew);
	for (int s = 0; s < 2 * 3600; s++)
		tell(&w, SEVERITY_COUNT, false);
	assert_null(w.diagnoses.memory[0].agents);
	assert_null(w.diagnoses.memory[1].agents);
	assert_null(w.diagnoses.recents.agents);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_raised_and_over),
		cmocka_unit_test(test_threshold),
		cmocka_unit_test(test_end_of_the_agent),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
