/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Recordings: what was written is what is read, and whatever is cut or damaged is noticed. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "lib/util.h"
#include "lib_recording.h"

#define BAD_NAME "we\x01ird\"\\\n\xff name \xc3\xa9 \xed\xa0\x80"
#define BAD_NAME_READ "we\x01ird\"\\\n\xef\xbf\xbd name \xc3\xa9 \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"

static void fill_peers(struct agent_data *a, uint64_t n)
{
	static const struct {
		const char *peer, *name;
		enum class_id class;
		bool server, multiplexed;
		uint64_t summed;
	} peers[] = {
		{ "10.0.0.5:5432", BAD_NAME, CLASS_DB, false, false, 0 },
		{ "10.0.0.5:5432", "", CLASS_VECTOR, true, false, 0 },
		{ "[::1]:443", "llm.example", CLASS_LLM, false, true, 0 },
		{ PEER_REST, "", CLASS_OTHER, false, true, 3 },
		{ PEER_REST, "", CLASS_OTHER, true, false, 4 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(peers); i++) {
		struct peer_data *p = agent_data_peer(a, peers[i].server, peers[i].peer, peers[i].name);

		assert_non_null(p);
		p->class = peers[i].class;
		p->multiplexed = peers[i].multiplexed;
		p->summed = peers[i].summed * n;
		metric_add(&p->metrics, p->server ? M_EXCHANGES_SERVED : M_EXCHANGES, n + i);
		assert_int_equal(metric_record(&p->metrics, M_EXCHANGE_NS, 1000000 * (n + i)), 0);
	}
	for (int c = 0; c < CLASS_COUNT; c += 2)
		a->concurrency[c] = (struct concurrency){ .outstanding_ns = 1500000001 + n, .busy_ns = 1000000000, .max = n + (uint64_t)c };
}

static void fill_agent(struct agent_data *a, int id, uint64_t n)
{
	struct tool_data *tool;

	a->id = id;
	a->alive = n < 3;
	a->observed_s = 1.000000001;
	metric_add(&a->metrics, M_FORKS, n);
	a->metrics.value[M_RSS_BYTES] = 1000 + n;
	a->metrics.value[M_RSS_PEAK_BYTES] = 5000 - n;
	for (uint64_t i = 0; i < 50; i++)
		assert_int_equal(metric_record(&a->metrics, M_ONCPU_NS, i * i * 1000 * n), 0);
	a->main.ns[STATE_RUNNING] = 123456789;
	a->main.ns[STATE_SLEEP] = 876543212;
	a->threads.ns[STATE_POLL] = 3 * NS_PER_S + n;
	for (int s = 0; s < STATE_COUNT; s++)
		a->critical.ns[s] = 1000000007ull * (uint64_t)s + n;
	if (id == 1)
		fill_peers(a, n);
	tool = agent_data_tool(a, BAD_NAME);
	assert_non_null(tool);
	tool->runs_live = n;
	metric_add(&tool->metrics, M_EXECS, 2);
	tool->main.ns[STATE_CHILD] = 250000000 + n;
	tool->main.ns[STATE_NET_OTHER] = n;
	assert_int_equal(metric_record(&tool->metrics, M_TOOL_NS, 5000000 * n), 0);
}

static struct agent_info infos[2] = {
	{ .id = 1, .name = (char *)"one", .pid = 100, .start_ticks = 12345, .cmdline = (char *)BAD_NAME, .cgroup = (char *)"/a",
	  .container = { "4f797c539e6c", "docker", "74c13223-5a00-11e9-b385-42010a80018d", "burstable" }, .ns_pid = 7 },
	{ .id = 2, .name = (char *)"two", .pid = 101, .cmdline = (char *)"", .cgroup = (char *)"/", .has_exit = true, .exit_code = 256 },
};

/* A recording of `intervals` intervals; agent 2 comes with the second. Leaves the sums in sum[2]. */
static void write_recording(const char *path, int intervals, bool total, struct agent_data sum[2])
{
	struct header_data header = { .start = "2026-01-02T03:04:05.678Z", .interval_s = 1, .agents = infos, .agents_len = 1 };
	const struct agent_info *const both[2] = { &infos[0], &infos[1] };
	struct observer_data observer_sum = { .bpf_s = -1 };
	struct recording_writer *w;
	int err;

	snprintf(header.host.name, sizeof(header.host.name), "host");
	header.host.cpus = 2;
	for (int p = 0; p < PROBE_COUNT; p++) {
		header.probes[p].name = probe_infos[p].name;
		header.probes[p].state = p == PROBE_KMEM ? "unavailable" : "on";
		snprintf(header.probes[p].why, sizeof(header.probes[p].why), p == PROBE_KMEM ? "because" : "");
	}
	header.probes_len = PROBE_COUNT;
	memset(sum, 0, 2 * sizeof(*sum));
	w = recording_open_write(path, true, &err);
	assert_non_null(w);
	assert_int_equal(recording_write_header(w, &header), 0);
	for (int i = 0; i < intervals; i++) {
		struct agent_data now[2] = { 0 };
		const struct agent_data *const pointers[2] = { &now[0], &now[1] };
		struct interval_data data = {
			.seq = (uint64_t)i, .start_s = i, .end_s = i + 1, .agents = pointers, .agents_len = i ? 2 : 1,
			.observer = { .cpu_s = 0.25, .bpf_s = -1, .records = 10, .rss_bytes = 4096, .losses = 1,
				      .lost = { { "ring_full", (uint64_t)i } } },
		};

		if (i == 1)
			assert_int_equal(recording_write_agent(w, &infos[1]), 0);
		for (int n = 0; n < data.agents_len; n++) {
			fill_agent(&now[n], n + 1, (uint64_t)i + 1);
			assert_int_equal(agent_data_merge(&sum[n], &now[n]), 0);
		}
		assert_int_equal(recording_write_interval(w, &data), 0);
		observer_sum.records += 10;
		observer_sum.cpu_s += 0.25;
		agent_data_fini(&now[0]);
		agent_data_fini(&now[1]);
	}
	if (total) {
		const struct agent_data *const pointers[2] = { &sum[0], &sum[1] };
		struct interval_data data = { .seq = (uint64_t)intervals, .end_s = intervals, .agents = pointers,
					      .agents_len = intervals > 1 ? 2 : 1, .observer = observer_sum };

		assert_int_equal(recording_write_total(w, &data, both), 0);
	}
	assert_int_equal(recording_close(w), 0);
}

static void assert_same_hist(const struct hist *a, const struct hist *b)
{
	if (!a || !a->count) {
		assert_true(!b || !b->count);
		return;
	}
	assert_non_null(b);
	assert_int_equal(a->scale, b->scale);
	assert_true(a->count == b->count && a->sum == b->sum && a->min == b->min && a->max == b->max);
	assert_int_equal(a->zero_count, b->zero_count);
	for (int32_t i = -1; i < 2048; i++) {
		uint32_t x = (uint32_t)(i - a->offset), y = (uint32_t)(i - b->offset);

		assert_int_equal(x < a->len ? hist_bucket(a, x) : 0, y < b->len ? hist_bucket(b, y) : 0);
	}
}

static void assert_same_metrics(const struct metric_set *a, const struct metric_set *b)
{
	for (int m = 0; m < METRIC_IDS; m++) {
		assert_int_equal(a->value[m], b->value[m]);
		assert_same_hist(a->hist[m], b->hist[m]);
	}
}

static void assert_same_agent(const struct agent_data *written, const struct agent_data *read)
{
	assert_int_equal(written->id, read->id);
	assert_int_equal(written->alive, read->alive);
	assert_true(fabs(written->observed_s - read->observed_s) < 1e-9);
	assert_same_metrics(&written->metrics, &read->metrics);
	assert_memory_equal(&written->main, &read->main, sizeof(read->main)); /* exact to the nanosecond */
	assert_memory_equal(&written->threads, &read->threads, sizeof(read->threads));
	assert_memory_equal(&written->critical, &read->critical, sizeof(read->critical));
	assert_memory_equal(written->concurrency, read->concurrency, sizeof(read->concurrency));
	assert_int_equal(written->tools_len, read->tools_len);
	for (int i = 0; i < read->tools_len; i++) {
		assert_string_equal(read->tools[i].name, BAD_NAME_READ);
		assert_int_equal(read->tools[i].runs_live, written->tools[i].runs_live);
		assert_same_metrics(&written->tools[i].metrics, &read->tools[i].metrics);
		assert_memory_equal(&written->tools[i].main, &read->tools[i].main, sizeof(read->tools[i].main));
	}
	assert_int_equal(written->peers_len, read->peers_len);
	for (int i = 0; i < read->peers_len; i++) {
		const struct peer_data *w = &written->peers[i], *p = &read->peers[i];

		assert_string_equal(p->peer, w->peer);
		assert_string_equal(p->name, strcmp(w->name, BAD_NAME) ? w->name : BAD_NAME_READ);
		assert_int_equal(p->class, w->class);
		assert_int_equal(p->server, w->server);
		assert_int_equal(p->multiplexed, w->multiplexed);
		assert_int_equal(p->summed, w->summed);
		assert_same_metrics(&w->metrics, &p->metrics);
	}
}

static int count_interval(void *ctx, const struct interval_data *i)
{
	uint64_t *seen = ctx;

	assert_int_equal(i->seq, *seen);
	assert_true(i->end_s == (double)i->seq + 1);
	assert_int_equal(i->agents_len, *seen ? 2 : 1);
	assert_int_equal(i->agents[0]->metrics.value[M_FORKS], *seen + 1);
	++*seen;
	return 0;
}

static void round_trip(const char *name, bool total)
{
	struct agent_data sum[2];
	struct recording *r;
	uint64_t seen = 0;
	char why[200];

	write_recording(in_dir(0, name), 4, total, sum);
	assert_int_equal(recording_read(in_dir(0, name), count_interval, &seen, &r, why, sizeof(why)), 0);
	assert_int_equal(seen, 4);
	assert_int_equal(r->intervals, 4);
	assert_true(r->duration_s == 4);
	assert_int_equal(r->complete, total);
	assert_int_equal(r->bad_lines, 0);
	assert_false(r->gap);
	assert_int_equal(*r->note != '\0', !total);
	assert_string_equal(r->header.host.name, "host");
	assert_string_equal(r->header.start, "2026-01-02T03:04:05.678Z");
	assert_int_equal(r->header.probes_len, PROBE_COUNT);
	assert_string_equal(r->header.probes[PROBE_KMEM].state, "unavailable");
	assert_string_equal(r->header.probes[PROBE_KMEM].why, "because");
	assert_int_equal(r->agents_len, 2);
	assert_string_equal(r->agents[0].info.cmdline, BAD_NAME_READ);
	assert_memory_equal(&r->agents[0].info.container, &infos[0].container, sizeof(infos[0].container));
	assert_int_equal(r->agents[0].info.ns_pid, 7);
	assert_string_equal(r->agents[1].info.container.id, "");
	assert_int_equal(r->agents[1].info.ns_pid, 0);
	assert_int_equal(r->agents[0].info.start_ticks, 12345);
	assert_int_equal(r->agents[1].info.pid, 101);
	assert_int_equal(r->agents[1].info.has_exit, total);
	assert_int_equal(r->agents[1].info.exit_code, total ? 256 : 0);
	assert_false(r->agents[0].info.has_exit);
	for (int i = 0; i < 2; i++) {
		assert_same_agent(&sum[i], &r->agents[i].total);
		agent_data_fini(&sum[i]);
	}
	assert_int_equal(r->observer.records, 40);
	assert_true(r->observer.cpu_s == 1 && r->observer.bpf_s == -1);
	if (!total) {
		assert_int_equal(r->observer.losses, 1);
		assert_string_equal(r->observer.lost[0].reason, "ring_full");
		assert_int_equal(r->observer.lost[0].count, 6);
	}
	recording_free(r);
}

static void plain_round_trip(void **ctx)
{
	(void)ctx;
	round_trip("plain.ndjson", true);
	round_trip("open.ndjson", false);
}

static void gzip_round_trip(void **ctx)
{
	unsigned char magic[2];
	int fd;

	(void)ctx;
	round_trip("packed.ndjson.gz", true);
	fd = open(in_dir(0, "packed.ndjson.gz"), O_RDONLY);
	assert_int_equal(read(fd, magic, 2), 2);
	close(fd);
	assert_int_equal(magic[0], 0x1f);
	assert_int_equal(magic[1], 0x8b);
	round_trip("open.ndjson.gz", false);
}

static void keys_of_peers(const json_t *agent)
{
	const json_t *peers = json_object_get(agent, "peers"), *peer = json_array_get(peers, 0), *rest = json_array_get(peers, 4);
	const json_t *llm = json_object_get(json_object_get(agent, "concurrency"), "llm");
	const json_t *tool = json_array_get(json_object_get(agent, "tools"), 0);

	assert_int_equal(json_array_size(peers), 5);
	assert_string_equal(json_string_value(json_object_get(peer, "peer")), "10.0.0.5:5432");
	assert_string_equal(json_string_value(json_object_get(peer, "name")), BAD_NAME_READ);
	assert_string_equal(json_string_value(json_object_get(peer, "class")), "db");
	assert_string_equal(json_string_value(json_object_get(peer, "side")), "client");
	assert_null(json_object_get(peer, "multiplexed"));
	assert_null(json_object_get(peer, "summed"));
	assert_null(json_object_get(peer, "gauges"));
	assert_int_equal(json_integer_value(json_object_get(json_object_get(peer, "counters"), "exchanges")), 2);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(json_object_get(peer, "hist"), "exchange_ns"), "count")), 1);
	assert_true(json_is_true(json_object_get(json_array_get(peers, 2), "multiplexed")));
	assert_string_equal(json_string_value(json_object_get(rest, "peer")), "(other)");
	assert_string_equal(json_string_value(json_object_get(rest, "side")), "server");
	assert_int_equal(json_integer_value(json_object_get(rest, "summed")), 8);
	assert_true(json_real_value(json_object_get(llm, "outstanding_s")) == 1.500000003);
	assert_true(json_real_value(json_object_get(llm, "busy_s")) == 1);
	assert_true(json_real_value(json_object_get(llm, "mean")) == 1.500000003);
	assert_int_equal(json_integer_value(json_object_get(llm, "max")), 2);
	assert_null(json_object_get(json_object_get(agent, "concurrency"), "db"));
	assert_true(json_real_value(json_object_get(json_object_get(json_object_get(tool, "ledger"), "main_s"), "child")) == 0.250000002);
	assert_true(json_is_object(json_object_get(json_object_get(agent, "ledger"), "critical_s")));
}

/* Another JSON reader gets the very keys of the format. */
static void keys_of_the_format(void **ctx)
{
	struct agent_data sum[2];
	json_t *line, *agent, *hist;
	char *text = NULL;
	size_t cap = 0;
	FILE *f;

	(void)ctx;
	write_recording(in_dir(0, "keys.ndjson"), 2, true, sum);
	agent_data_fini(&sum[0]);
	agent_data_fini(&sum[1]);
	f = fopen(in_dir(0, "keys.ndjson"), "r");
	for (int i = 0; i < 5; i++) {
		static const char *const kinds[] = { "header", "interval", "agent", "interval", "total" };
		ssize_t len = getline(&text, &cap, f);

		assert_true(len > 0);
		line = json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES, NULL);
		assert_non_null(line);
		assert_string_equal(json_string_value(json_object_get(line, "kind")), kinds[i]);
		if (i == 0) {
			assert_string_equal(json_string_value(json_object_get(line, "format")), "stakeout/1");
			assert_true(json_real_value(json_object_get(line, "interval_s")) == 1.0);
		}
		if (i == 3) {
			agent = json_array_get(json_object_get(line, "agents"), 0);
			assert_int_equal(json_integer_value(json_object_get(json_object_get(agent, "counters"), "forks")), 2);
			assert_null(json_object_get(json_object_get(agent, "counters"), "execs")); /* zeros are left out */
			/* a gauge of a probe that is on stays */
			assert_true(json_is_integer(json_object_get(json_object_get(agent, "gauges"), "threads")));
			hist = json_object_get(json_object_get(agent, "hist"), "oncpu_ns");
			assert_int_equal(json_integer_value(json_object_get(hist, "scale")), 5);
			assert_int_equal(json_integer_value(json_object_get(hist, "count")), 50);
			assert_int_equal(json_integer_value(json_object_get(hist, "zero_count")), 1);
			assert_int_equal(json_integer_value(json_object_get(hist, "offset")), hist_index(2000, 5));
			assert_true(json_integer_value(json_array_get(json_object_get(hist, "bucket_counts"), 0)) > 0);
			assert_null(json_object_get(json_object_get(agent, "hist"), "runq_ns"));
			assert_true(json_is_array(json_object_get(agent, "tools")));
			keys_of_peers(agent);
			assert_true(json_is_null(json_object_get(json_object_get(line, "observer"), "bpf_s")));
		}
		if (i == 4)
			assert_int_equal(json_integer_value(json_object_get(
						 json_array_get(json_object_get(line, "agents"), 1), "exit_code")), 256);
		json_decref(line);
	}
	/* decimal nanoseconds, as they are */
	rewind(f);
	assert_true(getline(&text, &cap, f) > 0 && getline(&text, &cap, f) > 0);
	assert_non_null(strstr(text, "\"main_s\":{\"running\":0.123456789,\"sleep\":0.876543212}"));
	assert_non_null(strstr(text, "\"poll\":3.000000001"));
	fclose(f);
	free(text);
}

/* Cut at every third byte, and at each around the lines' ends: an error before the header's end, from there on all whole lines and a note. */
static void cut_anywhere(const char *name, const char *cut_name)
{
	struct agent_data sum[2];
	size_t size, last_intervals = 0;
	bool header_read = false;
	char *data, why[200];

	write_recording(in_dir(0, name), 2, true, sum);
	agent_data_fini(&sum[0]);
	agent_data_fini(&sum[1]);
	size = load(in_dir(0, name), &data);
	for (size_t cut = 0; cut <= size; cut++) {
		struct recording *r = NULL;
		uint64_t whole = 0;
		int err;

		/* reading takes its time under the sanitizers */
		if (cut % 3 && cut > 2 && cut + 2 < size && !memchr(data + cut - 2, '\n', 4))
			continue;
		store(in_dir(1, cut_name), data, cut);
		err = recording_read(in_dir(1, cut_name), NULL, NULL, &r, why, sizeof(why));
		if (!cut)
			assert_int_equal(err, -ENODATA);
		if (err) {
			assert_false(header_read); /* once there is a header, it stays */
			assert_true(err == -ENODATA || err == -EBADMSG);
			assert_true(*why);
			assert_null(r);
			continue;
		}
		header_read = true;
		assert_int_equal(r->bad_lines, 0);
		assert_true(r->intervals >= last_intervals);
		last_intervals = r->intervals;
		assert_int_equal(*r->note == '\0', r->complete);
		for (int i = 0; i < r->agents_len && r->agents[i].info.id == 1; i++)
			whole = r->agents[i].total.metrics.value[M_FORKS];
		assert_int_equal(whole, r->complete ? 3 : r->intervals * (r->intervals + 1) / 2);
		if (!strstr(name, ".gz") && cut && data[cut - 1] != '\n')
			assert_non_null(strstr(r->note, "unusable"));
		if (cut == size)
			assert_true(r->complete);
		recording_free(r);
	}
	assert_int_equal(last_intervals, 2);
	free(data);
}

static void cut_plain(void **ctx)
{
	(void)ctx;
	cut_anywhere("whole.ndjson", "cut.ndjson");
}

static void cut_gzip(void **ctx)
{
	(void)ctx;
	cut_anywhere("whole.ndjson.gz", "cut.gz");
}

/* A flipped byte (each eleventh, since reading takes its time under the sanitizers) is either refused, or read without harm. */
static void damaged_bytes(void **ctx)
{
	static const char *const names[] = { "whole.ndjson", "whole.ndjson.gz" };

	(void)ctx;
	for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
		struct agent_data sum[2];
		char *data, why[200];
		size_t size;

		write_recording(in_dir(0, names[n]), 2, true, sum);
		agent_data_fini(&sum[0]);
		agent_data_fini(&sum[1]);
		size = load(in_dir(0, names[n]), &data);
		for (size_t i = 0; i < size; i += 11) {
			struct recording *r = NULL;

			data[i] ^= 0x41;
			store(in_dir(1, "damaged"), data, size);
			data[i] ^= 0x41;
			if (!recording_read(in_dir(1, "damaged"), NULL, NULL, &r, why, sizeof(why)))
				recording_free(r);
			else
				assert_true(*why);
		}
		free(data);
	}
}

/* A peer without figures is not written; one that is listed twice adds up. */
static void idle_and_double_peers(void **ctx)
{
#define PEER(n) "{\"peer\":\"a\",\"counters\":{\"exchanges\":" #n "},\"hist\":{\"ttfb_ns\":{\"scale\":5,\"count\":1,\"zero_count\":1}}}"
	struct agent_data now = { .id = 1 };
	const struct agent_data *const pointers[] = { &now };
	struct interval_data data = { .agents = pointers, .agents_len = 1, .end_s = 1 };
	struct header_data header = { .agents = infos, .agents_len = 1 };
	struct recording_writer *w;
	struct recording *r;
	struct peer_data *p;
	char why[200];
	int err;

	(void)ctx;
	assert_non_null(agent_data_peer(&now, false, "idle", "name"));
	p = agent_data_peer(&now, false, "empty", "");
	assert_int_equal(metric_record(&p->metrics, M_RTT_NS, 5), 0);
	hist_reset(p->metrics.hist[M_RTT_NS]);
	metric_add(&agent_data_peer(&now, false, "counts", "")->metrics, M_ERRORS_RESET, 1);
	assert_int_equal(metric_record(&agent_data_peer(&now, false, "hist", "")->metrics, M_RTT_NS, 0), 0);
	w = recording_open_write(in_dir(0, "idle"), true, &err);
	assert_non_null(w);
	recording_write_header(w, &header);
	recording_write_interval(w, &data);
	assert_int_equal(recording_close(w), 0);
	assert_int_equal(recording_read(in_dir(0, "idle"), NULL, NULL, &r, why, sizeof(why)), 0);
	assert_string_equal(r->agents[0].total.peers[0].peer, "counts");
	assert_string_equal(r->agents[0].total.peers[1].peer, "hist");
	assert_int_equal(r->agents[0].total.peers_len, 2);
	recording_free(r);
	agent_data_fini(&now);

	assert_int_equal(read_text(HEADER "{\"kind\":\"interval\",\"seq\":0,\"agents\":[{\"id\":1,\"peers\":[" PEER(3) "," PEER(4) "]}]}\n",
				   &r, why, sizeof(why)), 0);
	assert_int_equal(r->agents[0].total.peers_len, 1);
	assert_int_equal(peer_exchanges(&r->agents[0].total.peers[0]), 7);
	assert_int_equal(r->agents[0].total.peers[0].metrics.hist[M_TTFB_NS]->count, 2);
	recording_free(r);
}

/* Sums beyond what JSON readers take are held at 2^63 - 1; the counts stay exact. */
static void huge_values(void **ctx)
{
	struct agent_data now = { .id = 1 };
	const struct agent_data *const pointers[] = { &now };
	struct interval_data data = { .agents = pointers, .agents_len = 1, .end_s = 1 };
	struct header_data header = { .agents = infos, .agents_len = 1 };
	struct recording_writer *w;
	struct recording *r;
	const struct hist *h;
	char why[200];
	int err;

	(void)ctx;
	assert_int_equal(metric_record(&now.metrics, M_ONCPU_NS, UINT64_MAX), 0);
	now.metrics.value[M_SENT_BYTES] = UINT64_MAX;
	w = recording_open_write(in_dir(0, "huge"), true, &err);
	assert_non_null(w);
	recording_write_header(w, &header);
	recording_write_interval(w, &data);
	assert_int_equal(recording_close(w), 0);
	assert_int_equal(recording_read(in_dir(0, "huge"), NULL, NULL, &r, why, sizeof(why)), 0);
	assert_int_equal(r->bad_lines, 0);
	h = r->agents[0].total.metrics.hist[M_ONCPU_NS];
	assert_int_equal(h->count, 1);
	assert_true(h->max == INT64_MAX);
	assert_int_equal(hist_bucket(h, (uint32_t)(2047 - h->offset)), 1);
	assert_true(r->agents[0].total.metrics.value[M_SENT_BYTES] == INT64_MAX);
	recording_free(r);
	agent_data_fini(&now);
}

static void opening(void **ctx)
{
	struct recording_writer *w;
	struct stat st;
	int err;

	(void)ctx;
	umask(022);
	w = recording_open_write(in_dir(0, "new"), false, &err);
	assert_non_null(w);
	assert_int_equal(recording_close(w), 0);
	assert_int_equal(stat(in_dir(0, "new"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_null(recording_open_write(in_dir(0, "new"), false, &err));
	assert_int_equal(err, -EEXIST);
	store(in_dir(0, "new"), "old contents", 12);
	chmod(in_dir(0, "new"), 0644);
	w = recording_open_write(in_dir(0, "new"), true, &err);
	assert_non_null(w);
	assert_int_equal(recording_close(w), 0);
	assert_int_equal(stat(in_dir(0, "new"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_size, 0);
	assert_null(recording_open_write(in_dir(0, "no/such/dir"), true, &err));
	assert_int_equal(err, -ENOENT);
	assert_null(recording_open_write(dir, true, &err));
	assert_int_equal(err, -EISDIR);
	assert_int_equal(recording_close(NULL), 0);
}

/* The first error stays, and is what closing returns. */
static void full_disk(void **ctx)
{
	struct header_data header = { .agents = infos, .agents_len = 1 };
	struct interval_data data = { 0 };
	struct recording_writer *w;
	int err;

	(void)ctx;
	if (access("/dev/full", W_OK))
		skip();
	w = recording_open_write("/dev/full", true, &err);
	assert_non_null(w);
	assert_int_equal(recording_write_header(w, &header), -ENOSPC);
	assert_int_equal(recording_write_interval(w, &data), -ENOSPC);
	assert_int_equal(recording_close(w), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_round_trip),
		cmocka_unit_test(gzip_round_trip),
		cmocka_unit_test(keys_of_the_format),
		cmocka_unit_test(cut_plain),
		cmocka_unit_test(cut_gzip),
		cmocka_unit_test(damaged_bytes),
		cmocka_unit_test(idle_and_double_peers),
		cmocka_unit_test(huge_values),
		cmocka_unit_test(opening),
		cmocka_unit_test(full_disk),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
