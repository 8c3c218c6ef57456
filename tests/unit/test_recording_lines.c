/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Recordings: lines that are made up, or other programs' are taken for what they are worth, and what is wrong with them is said. */
#include <errno.h>
#include <math.h>

#include "lib/util.h"
#include "lib_recording.h"

static void not_a_recording(void **ctx)
{
	static const struct {
		const char *text;
		int err;
		const char *why;
	} cases[] = {
		{ "", -ENODATA, "empty" },
		{ "\n", -EBADMSG, "header" },
		{ "hello\n", -EBADMSG, "header" },
		{ "hello", -EBADMSG, "not a recording" },
		{ "[]\n", -EBADMSG, "header" },
		{ "{}\n", -EBADMSG, "header" },
		{ "{\"kind\":1}\n", -EBADMSG, "kind" },
		{ "{\"kind\":\"header\"", -EBADMSG, "cut off" },
		{ "{\"kind\":\"header\",\"format\":\"other/1\"}\n", -EBADMSG, "header" },
		{ "{\"kind\":\"header\",\"format\":\"stakeout/2\"}\n", -EPROTONOSUPPORT, "stakeout/2" },
		{ "{\"kind\":\"header\",\"format\":\"stakeout/1\",\"agents\":{}}\n", -EBADMSG, "agents" },
		{ "{\"kind\":\"header\",\"format\":\"stakeout/1\",\"agents\":[{\"id\":-1}]}\n", -EBADMSG, "id" },
		{ "{\"kind\":\"header\",\"format\":\"stakeout/1\",\"agents\":[{\"id\":1},{\"id\":1}]}\n", -EBADMSG, "twice" },
		{ "\x1f\x8b garbage, not deflate", -EBADMSG, "damaged" },
	};
	struct recording *r;
	char why[200];

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(read_text(cases[i].text, &r, why, sizeof(why)), cases[i].err);
		assert_null(r);
		if (!strstr(why, cases[i].why))
			fail_msg("\"%s\" says \"%s\", not \"%s\"", cases[i].text, why, cases[i].why);
	}
	assert_int_equal(recording_read(in_dir(2, "none"), NULL, NULL, &r, why, sizeof(why)), -ENOENT);
	assert_int_equal(recording_read(dir, NULL, NULL, &r, why, sizeof(why)), -EISDIR);
}

/* Lines that are refused whole: nothing of them counts, those around them do. */
static void bad_lines(void **ctx)
{
#define GOOD "{\"kind\":\"interval\",\"seq\":0,\"start_s\":0,\"end_s\":1,\"agents\":[{\"id\":1,\"counters\":{\"forks\":5}}]}\n"
#define AGENT(text) "{\"kind\":\"interval\",\"seq\":1,\"agents\":[{\"id\":1,\"counters\":{\"forks\":7}," text "}]}\n"
#define HIST(text) AGENT("\"hist\":{\"oncpu_ns\":{" text "}}")
	static const char *const lines[] = {
		"\n",
		"not json\n",
		"[1]\n",
		"{\"no\":\"kind\"}\n",
		"{\"kind\":7}\n",
		GOOD, /* the same interval again */
		"{\"kind\":\"interval\",\"seq\":-1}\n",
		"{\"kind\":\"interval\",\"seq\":1.5}\n",
		"{\"kind\":\"interval\",\"seq\":99999999999999999999}\n",
		"{\"kind\":\"interval\",\"seq\":1,\"start_s\":2,\"end_s\":1}\n",
		"{\"kind\":\"interval\",\"seq\":1,\"end_s\":1e300}\n",
		"{\"kind\":\"interval\",\"seq\":1,\"agents\":{}}\n",
		"{\"kind\":\"interval\",\"seq\":1,\"agents\":[5]}\n",
		"{\"kind\":\"interval\",\"seq\":1,\"agents\":[{}]}\n",
		"{\"kind\":\"interval\",\"seq\":1,\"agents\":[{\"id\":9999999999}]}\n",
		"{\"kind\":\"interval\",\"seq\":1,\"agents\":[{\"id\":1},{\"id\":1}]}\n",
		"{\"kind\":\"interval\",\"seq\":1,\"observer\":{\"lost\":{\"x\":\"y\"}}}\n",
		AGENT("\"gauges\":[]"),
		AGENT("\"gauges\":{\"threads\":\"3\"}"),
		AGENT("\"alive\":1"),
		AGENT("\"ledger\":{\"main_s\":{\"running\":\"x\"}}"),
		AGENT("\"ledger\":{\"main_s\":{\"running\":-1}}"),
		AGENT("\"ledger\":{\"main_s\":{\"unheard_of\":\"x\"}}"),
		AGENT("\"ledger\":{\"critical_s\":[]}"),
		AGENT("\"ledger\":{\"critical_s\":{\"net.llm\":1e300}}"),
		AGENT("\"concurrency\":[]"),
		AGENT("\"concurrency\":{\"llm\":1}"),
		AGENT("\"concurrency\":{\"llm\":{\"busy_s\":-1}}"),
		AGENT("\"concurrency\":{\"llm\":{\"outstanding_s\":\"1\"}}"),
		AGENT("\"concurrency\":{\"unheard_of\":{\"max\":1.5}}"),
		AGENT("\"peers\":{}"),
		AGENT("\"peers\":[7]"),
		AGENT("\"peers\":[{}]"),
		AGENT("\"peers\":[{\"peer\":7}]"),
		AGENT("\"peers\":[{\"peer\":\"a\",\"name\":null}]"),
		AGENT("\"peers\":[{\"peer\":\"a\",\"class\":1}]"),
		AGENT("\"peers\":[{\"peer\":\"a\",\"side\":\"left\"}]"),
		AGENT("\"peers\":[{\"peer\":\"a\",\"side\":true}]"),
		AGENT("\"peers\":[{\"peer\":\"a\",\"multiplexed\":1}]"),
		AGENT("\"peers\":[{\"peer\":\"a\",\"summed\":-1}]"),
		AGENT("\"peers\":[{\"peer\":\"a\",\"counters\":{\"exchanges\":1.5}}]"),
		AGENT("\"peers\":[{\"peer\":\"a\",\"hist\":{\"ttfb_ns\":{\"scale\":5,\"count\":1}}}]"),
		AGENT("\"tools\":[{\"name\":\"x\",\"ledger\":7}]"),
		AGENT("\"tools\":[{\"name\":\"x\",\"ledger\":{\"main_s\":{\"running\":-1}}}]"),
		AGENT("\"tools\":[{}]"),
		AGENT("\"tools\":[{\"name\":5}]"),
		AGENT("\"hist\":{\"oncpu_ns\":5}"),
		HIST("\"count\":0"),
		HIST("\"scale\":6,\"count\":1,\"offset\":0,\"bucket_counts\":[1]"),
		HIST("\"scale\":-5,\"count\":1,\"offset\":0,\"bucket_counts\":[1]"),
		HIST("\"scale\":5,\"count\":2,\"offset\":0,\"bucket_counts\":[1]"),
		HIST("\"scale\":5,\"count\":1,\"offset\":2000000000,\"bucket_counts\":[1]"),
		HIST("\"scale\":5,\"count\":1,\"offset\":-2,\"bucket_counts\":[1]"),
		HIST("\"scale\":5,\"count\":1,\"offset\":0,\"bucket_counts\":[-1,2]"),
		HIST("\"scale\":5,\"count\":1,\"offset\":0,\"bucket_counts\":{}"),
		HIST("\"scale\":5,\"count\":1,\"min\":1,\"max\":1,\"zero_count\":1"),
		HIST("\"scale\":5,\"count\":1,\"min\":9,\"max\":3,\"offset\":0,\"bucket_counts\":[1]"),
		HIST("\"scale\":5,\"count\":1,\"zero_count\":9223372036854775807,\"offset\":0,"
		     "\"bucket_counts\":[9223372036854775807,3]"), /* adds up modulo 2^64 */
		"{\"kind\":\"agent\",\"id\":1}\n", /* announced already */
		"{\"kind\":\"header\",\"format\":\"stakeout/1\"}\n",
	};
	char text[4096], why[200];
	struct recording *r;

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		snprintf(text, sizeof(text), "%s%s%s", HEADER, GOOD, lines[i]);
		assert_int_equal(read_text(text, &r, why, sizeof(why)), 0);
		if (r->bad_lines != 1 || !strstr(r->note, "line 3"))
			fail_msg("%s: %llu bad lines, \"%s\"", lines[i], (unsigned long long)r->bad_lines, r->note);
		assert_int_equal(r->agents_len, 1);
		assert_int_equal(r->agents[0].total.metrics.value[M_FORKS], 5);
		assert_int_equal(r->intervals, 1);
		recording_free(r);
	}
}

static void unknown_things_are_ignored(void **ctx)
{
	struct recording *r;
	char why[200];

	(void)ctx;
	assert_int_equal(read_text(HEADER "{\"kind\":\"novelty\",\"seq\":\"x\"}\n"
				   "{\"kind\":\"interval\",\"seq\":0,\"new\":1,\"start_s\":0,\"end_s\":1,\"agents\":[{\"id\":1,"
				   "\"counters\":{\"unheard_of\":-1,\"execs\":4,\"oncpu_ns\":3},\"hist\":{\"new_ns\":7},"
				   "\"ledger\":{\"other_s\":7},\"peers\":[{\"peer\":\"a\",\"new\":[]}]},{\"id\":77}]}\n"
				   "{\"kind\":\"total\",\"seq\":1,\"end_s\":1,\"agents\":[{\"id\":1,\"counters\":{\"execs\":4}}]}\n",
				   &r, why, sizeof(why)), 0);
	assert_int_equal(r->bad_lines, 0);
	assert_true(r->complete);
	assert_string_equal(r->note, "");
	assert_int_equal(r->agents[0].total.metrics.value[M_EXECS], 4);
	assert_int_equal(r->agents_len, 2);
	assert_string_equal(r->agents[1].info.name, "agent 77"); /* its announcement may have been lost */
	recording_free(r);
}

/* Recordings from before there were peers, and states and classes of programs to come: the sums stay whole. */
static void states_of_other_programs(void **ctx)
{
	static const char line[] =
		HEADER "{\"kind\":\"interval\",\"seq\":0,\"start_s\":0,\"end_s\":1,\"agents\":[{\"id\":1,\"observed_s\":1,\"ledger\":{"
		"\"main_s\":{\"running\":0.1,\"net\":0.2,\"poll\":0.3,\"lock\":0.05,\"other\":0.01,\"dreaming\":0.04,\"net.quantum\":0.3},"
		"\"threads_s\":{\"net\":2,\"net.other\":1,\"poll\":3}},"
		"\"concurrency\":{\"other\":{\"outstanding_s\":1,\"busy_s\":1,\"max\":3},\"quantum\":{\"outstanding_s\":2,\"busy_s\":1,\"max\":2}},"
		"\"peers\":[{\"peer\":\"a:1\",\"class\":\"quantum\",\"summed\":9},{\"peer\":\"(other)\",\"class\":\"db\",\"summed\":9}]}]}\n";
	const struct agent_data *a;
	struct recording *r;
	char why[200];

	(void)ctx;
	assert_int_equal(read_text(line, &r, why, sizeof(why)), 0);
	assert_int_equal(r->bad_lines, 0);
	a = &r->agents[0].total;
	assert_int_equal(a->main.ns[STATE_RUNNING], 100000000);
	assert_int_equal(a->main.ns[STATE_NET_OTHER], 500000000);
	assert_int_equal(a->main.ns[STATE_POLL], 300000000);
	assert_int_equal(a->main.ns[STATE_OTHER], 50000000);
	assert_int_equal(ledger_sum(&a->main), NS_PER_S);
	assert_int_equal(a->threads.ns[STATE_NET_OTHER], 3 * NS_PER_S);
	assert_int_equal(ledger_sum(&a->threads), 6 * NS_PER_S);
	assert_int_equal(ledger_sum(&a->critical), 0);
	assert_int_equal(a->concurrency[CLASS_OTHER].outstanding_ns, 3 * NS_PER_S);
	assert_int_equal(a->concurrency[CLASS_OTHER].busy_ns, 2 * NS_PER_S);
	assert_int_equal(a->concurrency[CLASS_OTHER].max, 3);
	assert_int_equal(a->peers_len, 2);
	assert_int_equal(a->peers[0].class, CLASS_OTHER);
	assert_int_equal(a->peers[0].summed, 0); /* only the rest has any */
	assert_int_equal(a->peers[1].summed, 9);
	recording_free(r);
}

/* Names without end take bounded memory, and still every exchange and run is in the sums. */
static void names_without_end(void **ctx)
{
	enum { LINES = 2, NAMES = 4200 };
	uint64_t exchanges = 0, runs = 0, live = 0, summed = 0;
	struct recording *r;
	char why[200];
	FILE *f;

	(void)ctx;
	f = fopen(in_dir(0, "endless"), "w");
	assert_non_null(f);
	fputs(HEADER, f);
	for (int i = 0; i < LINES; i++) {
		fprintf(f, "{\"kind\":\"interval\",\"seq\":%d,\"start_s\":%d,\"end_s\":%d,\"agents\":[{\"id\":1,\"peers\":[", i, i, i + 1);
		for (int n = 0; n < NAMES; n++)
			fprintf(f, "%s{\"peer\":\"%d.%d%0*d\",\"counters\":{\"exchanges\":1}}", n ? "," : "", i, n, n == 7 ? 3000 : 1, 0);
		fprintf(f, "],\"tools\":[");
		for (int n = 0; n < NAMES; n++)
			fprintf(f, "%s{\"name\":\"%d.%d\",\"runs_live\":1,\"counters\":{\"execs\":1}}", n ? "," : "", i, n);
		fprintf(f, "]}]}\n");
	}
	fclose(f);
	assert_int_equal(recording_read(in_dir(0, "endless"), NULL, NULL, &r, why, sizeof(why)), 0);
	assert_int_equal(r->bad_lines, 0);
	for (int i = 0; i < r->agents[0].total.peers_len; i++) {
		const struct peer_data *p = &r->agents[0].total.peers[i];

		exchanges += peer_exchanges(p);
		summed += p->summed;
		assert_true(strlen(p->peer) < 256);
	}
	assert_int_equal(exchanges, LINES * NAMES);
	assert_true(r->agents[0].total.peers_len <= 4 * PEERS_KEPT_MAX);
	assert_int_equal(summed, LINES * NAMES - (r->agents[0].total.peers_len - 1));
	for (int i = 0; i < r->agents[0].total.tools_len; i++) {
		runs += r->agents[0].total.tools[i].metrics.value[M_EXECS];
		live = r->agents[0].total.tools[i].runs_live > live ? r->agents[0].total.tools[i].runs_live : live;
	}
	assert_int_equal(runs, LINES * NAMES);
	assert_true(r->agents[0].total.tools_len <= 4097);
	assert_int_equal(live, NAMES); /* of the last line: all its names are new, and none has room */
	recording_free(r);
}

/* The same over many agents: what all of them hold together is bounded. */
static void peers_of_many_agents(void **ctx)
{
	enum { AGENTS = 550, NAMES = 200 };
	uint64_t exchanges = 0, kept = 0;
	struct recording *r;
	char why[200];
	FILE *f;

	(void)ctx;
	f = fopen(in_dir(0, "many"), "w");
	assert_non_null(f);
	fputs("{\"kind\":\"header\",\"format\":\"stakeout/1\",\"agents\":[]}\n", f);
	for (int i = 0; i < AGENTS; i++) {
		fprintf(f, "{\"kind\":\"interval\",\"seq\":%d,\"agents\":[{\"id\":%d,\"peers\":[", i, i);
		for (int n = 0; n < NAMES; n++)
			fprintf(f, "%s{\"peer\":\"%d\",\"counters\":{\"exchanges\":%d}}", n ? "," : "", n, n);
		fprintf(f, "]}]}\n");
	}
	fclose(f);
	assert_int_equal(recording_read(in_dir(0, "many"), NULL, NULL, &r, why, sizeof(why)), 0);
	assert_int_equal(r->bad_lines, 0);
	assert_int_equal(r->agents_len, AGENTS);
	for (int a = 0; a < AGENTS; a++) {
		const struct agent_data *total = &r->agents[a].total;
		bool busiest = false;

		for (int i = 0; i < total->peers_len; i++) {
			exchanges += peer_exchanges(&total->peers[i]);
			busiest |= !strcmp(total->peers[i].peer, "199");
		}
		assert_true(busiest);
		kept += (uint64_t)total->peers_len;
	}
	assert_int_equal(exchanges, (uint64_t)AGENTS * NAMES * (NAMES - 1) / 2);
	assert_true(kept <= 100000 + AGENTS);
	recording_free(r);
}

static void gaps_and_differences(void **ctx)
{
#define AT(seq, n) "{\"kind\":\"interval\",\"seq\":" #seq ",\"agents\":[{\"id\":1,\"counters\":{\"execs\":" #n "}}]}\n"
#define TOTAL(n) "{\"kind\":\"total\",\"agents\":[{\"id\":1,\"counters\":{\"execs\":" #n "}}]}\n"
	struct recording *r;
	char why[200];

	(void)ctx;
	assert_int_equal(read_text(HEADER AT(0, 1) AT(3, 1) TOTAL(4), &r, why, sizeof(why)), 0);
	assert_true(r->gap);
	assert_non_null(strstr(r->note, "2 intervals missing"));
	assert_int_equal(r->agents[0].total.metrics.value[M_EXECS], 4); /* the total knows of the missing ones */
	recording_free(r);
	assert_int_equal(read_text(HEADER AT(0, 1) AT(1, 1) TOTAL(4), &r, why, sizeof(why)), 0);
	assert_non_null(strstr(r->note, "differs"));
	recording_free(r);
	assert_int_equal(read_text(HEADER AT(0, 1) TOTAL(1) AT(1, 1) TOTAL(1), &r, why, sizeof(why)), 0);
	assert_int_equal(r->bad_lines, 2);
	recording_free(r);
	/* One that goes on from another file begins elsewhere. */
	assert_int_equal(read_text("{\"kind\":\"header\",\"format\":\"stakeout/1\",\"first_seq\":7,\"agents\":[{\"id\":1}]}\n" AT(7, 1) AT(8, 1) TOTAL(2), &r, why,
				   sizeof(why)), 0);
	assert_string_equal(r->note, "");
	recording_free(r);
}

static int stop_at_once(void *ctx, const struct interval_data *i)
{
	(void)i;
	++*(int *)ctx;
	return -EINTR;
}

static void callback_stops_reading(void **ctx)
{
	struct recording *r = NULL;
	char why[200];
	int calls = 0;

	(void)ctx;
	store(in_dir(2, "text"), HEADER GOOD AT(1, 1), strlen(HEADER GOOD AT(1, 1)));
	assert_int_equal(recording_read(in_dir(2, "text"), stop_at_once, &calls, &r, why, sizeof(why)), -EINTR);
	assert_int_equal(calls, 1);
	assert_null(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(not_a_recording),
		cmocka_unit_test(bad_lines),
		cmocka_unit_test(unknown_things_are_ignored),
		cmocka_unit_test(states_of_other_programs),
		cmocka_unit_test(names_without_end),
		cmocka_unit_test(peers_of_many_agents),
		cmocka_unit_test(gaps_and_differences),
		cmocka_unit_test(callback_stops_reading),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
