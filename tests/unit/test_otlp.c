/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* OpenTelemetry metrics: names, buckets, what protobuf and JSON say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>

#include "proto/otlp.pb-c.h"
#include "sink/otlp.h"
#include "sink/otlp_names.h"

#define AGENT 7

static struct agent_info info = { .id = AGENT, .name = (char *)"bot", .pid = 42, .start_ticks = 99, .cmdline = (char *)"./bot", .cgroup = (char *)"/" };

/* A session that has told one interval of one agent. */
static void begin(struct live *l, struct agent_data *d)
{
	struct header_data h = { .host = { .name = "host", .arch = "x86_64", .kernel = "6.18", .boot_id = "b" }, .start = "2026-01-02T03:04:05.678Z",
				 .interval_s = 1, .agents = &info, .agents_len = 1, .probes_len = PROBE_COUNT };
	const struct agent_data *agents[] = { d };
	struct interval_data i = { .start_s = 0, .end_s = 1, .agents = agents, .agents_len = 1, .observer = { .cpu_s = 0.5, .bpf_s = -1 } };

	for (int p = 0; p < PROBE_COUNT; p++)
		h.probes[p] = (struct probe_state){ .name = probe_infos[p].name, .state = "on" };
	d->id = AGENT;
	d->alive = true;
	d->observed_s = 1;
	live_init(l, 10);
	assert_int_equal(live_start(l, &h), 0);
	assert_int_equal(live_interval(l, &i), 0);
}

/* As its reader has it: packed, and unpacked again. */
static Otlp__ExportMetricsServiceRequest *unpacked(const struct live *l, const struct otlp_context *c)
{
	struct otlp_request *r = otlp_request_new(l, c);
	Otlp__ExportMetricsServiceRequest *m;
	uint8_t *bytes = NULL;
	size_t len;

	assert_non_null(r);
	assert_int_equal(otlp_request_pack(r, &bytes, &len), 0);
	m = otlp__export_metrics_service_request__unpack(NULL, len, bytes);
	assert_non_null(m);
	free(bytes);
	otlp_request_free(r);
	return m;
}

static Otlp__Metric *metric(const Otlp__ExportMetricsServiceRequest *m, size_t resource, const char *name)
{
	Otlp__ScopeMetrics *s = m->resource_metrics[resource]->scope_metrics[0];

	for (size_t i = 0; i < s->n_metrics; i++)
		if (!strcmp(s->metrics[i]->name, name))
			return s->metrics[i];
	fail_msg("no %s", name);
	return NULL;
}

static const char *attribute(Otlp__KeyValue *const *list, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(list[i]->key, key))
			return list[i]->value->string_value;
	return NULL;
}

/* Each row of metrics.def is told, under a name that nothing else has, with its help and a unit. */
static void test_every_metric_is_told(void **state)
{
	const struct otlp_context c = { 0 };
	Otlp__ExportMetricsServiceRequest *m;
	struct agent_data d = { 0 };
	struct live l;
	Otlp__ScopeMetrics *s;

	(void)state;
	for (int i = 0; i < METRIC_IDS; i++) {
		if (metric_infos[i].type == METRIC_HIST)
			assert_int_equal(metric_record(&d.metrics, (enum metric_id)i, 1000 + (uint64_t)i), 0);
		else
			d.metrics.value[i] = 1000 + (uint64_t)i;
	}
	begin(&l, &d);
	m = unpacked(&l, &c);
	assert_int_equal(m->n_resource_metrics, 2);
	for (int i = 0; i < METRIC_IDS; i++) {
		const struct otlp_convention *convention = otlp_convention_agent((enum metric_id)i);
		char own[96];
		Otlp__Metric *one = metric(m, 1, convention ? convention->name : otlp_name("", (enum metric_id)i, own, sizeof(own)));

		assert_true(*one->unit && *one->description);
		if (metric_infos[i].type == METRIC_HIST) {
			assert_int_equal(one->data_case, OTLP__METRIC__DATA_EXPONENTIAL_HISTOGRAM);
			assert_true(one->exponential_histogram->data_points[0]->sum == 1000 + i);
		} else if (!convention) {
			assert_int_equal((one->data_case == OTLP__METRIC__DATA_SUM ? one->sum->data_points : one->gauge->data_points)[0]->as_int, 1000 + i);
		}
	}
	s = m->resource_metrics[1]->scope_metrics[0];
	for (size_t i = 0; i < s->n_metrics; i++)
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(s->metrics[i]->name, s->metrics[k]->name);
	otlp__export_metrics_service_request__free_unpacked(m, NULL);
	live_fini(&l);
	agent_data_fini(&d);
}

/* OTLP's bucket i holds (b^i, b^(i+1)]: each value lies in the one that counts it, borders (powers of two) included. */
static void test_buckets(void **state)
{
	const uint64_t values[] = { 1, 2, 3, 4, 5, 1000, 1024, 1025, 1ull << 32, (1ull << 32) + 1, 1ull << 63, UINT64_MAX };
	const struct otlp_context c = { 0 };

	(void)state;
	for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
		Otlp__ExponentialHistogramDataPoint *p;
		Otlp__ExportMetricsServiceRequest *m;
		struct agent_data d = { 0 };
		struct live l;
		long double base, low, high;

		assert_int_equal(metric_record(&d.metrics, M_RUNQ_NS, values[v]), 0);
		assert_int_equal(metric_record(&d.metrics, M_RUNQ_NS, 0), 0);
		begin(&l, &d);
		m = unpacked(&l, &c);
		p = metric(m, 1, "stakeout.runq")->exponential_histogram->data_points[0];
		assert_int_equal(p->positive->n_bucket_counts, 1);
		assert_int_equal(p->positive->bucket_counts[0], 1);
		assert_int_equal(p->count, 2);
		assert_int_equal(p->zero_count, 1);
		base = powl(2, powl(2, -p->scale));
		low = powl(base, p->positive->offset);
		high = powl(base, p->positive->offset + 1);
		assert_true(low * (1 - 1e-15L) <= values[v] && values[v] <= high * (1 + 1e-15L));
		if (!(values[v] & (values[v] - 1))) /* a border belongs to the bucket below */
			assert_true(fabsl(high - values[v]) < 1e-12L * values[v]);
		assert_true(p->min == 0 && p->max == (double)values[v]);
		otlp__export_metrics_service_request__free_unpacked(m, NULL);
		live_fini(&l);
		agent_data_fini(&d);
	}
}

/* A convention's seconds: what a bucket stands for is off by less than a percent, of any scale to which buckets are coarse. */
static void test_seconds(void **state)
{
	const struct otlp_context c = { 0 };

	(void)state;
	for (uint64_t ns = 1; ns < 1ull << 62; ns = ns * 3 + 1) {
		Otlp__ExportMetricsServiceRequest *m;
		Otlp__ExponentialHistogramDataPoint *p;
		struct agent_data d = { 0 };
		struct peer_data *peer = agent_data_peer(&d, false, "10.0.0.5:5432", "db.internal");
		struct live l;
		double base, low, high;

		peer->class = CLASS_DB;
		assert_int_equal(metric_record(&peer->metrics, M_EXCHANGE_NS, ns), 0);
		begin(&l, &d);
		m = unpacked(&l, &c);
		p = metric(m, 1, "db.client.operation.duration")->exponential_histogram->data_points[0];
		base = pow(2, pow(2, -p->scale));
		low = pow(base, p->positive->offset);
		high = pow(base, p->positive->offset + 1);
		assert_true(low < (double)ns / 1e9 * 1.0001 && (double)ns / 1e9 < high * 1.0063);
		assert_true(p->sum == (double)ns / 1e9);
		assert_string_equal(metric(m, 1, "db.client.operation.duration")->unit, "s");
		assert_string_equal(attribute(p->attributes, p->n_attributes, "db.system.name"), "postgresql");
		assert_string_equal(attribute(p->attributes, p->n_attributes, "server.address"), "db.internal");
		assert_string_equal(attribute(p->attributes, p->n_attributes, "network.peer.address"), "10.0.0.5");
		otlp__export_metrics_service_request__free_unpacked(m, NULL);
		live_fini(&l);
		agent_data_fini(&d);
	}
}

static void test_edges(void **state)
{
	const struct otlp_label labels[] = { { "site", "a\xff" "b\033" }, { "", "" } };
	const struct otlp_push_counts push = { .sent = 3, .dropped = { 4, 5 }, .rejected_points = 6, .queued = 2 };
	const struct otlp_context c = { .labels = labels, .labels_len = 2, .host_id = "id", .push = &push, .shift_ns = 3600000000000 };
	Otlp__ExportMetricsServiceRequest *m;
	struct agent_data d = { 0 };
	Otlp__Resource *r;
	struct live l;

	(void)state;
	d.metrics.value[M_FORKS] = UINT64_MAX;
	begin(&l, &d);
	l.agents[0]->info.ns_pid = 3;
	l.agents[0]->info.container = (struct container){ .id = "c0ffee", .runtime = "docker", .pod = "p" };
	m = unpacked(&l, &c);
	assert_true(metric(m, 1, "stakeout.forks")->sum->data_points[0]->as_int == INT64_MAX);
	/* the clock was set an hour ahead since: the beginning stays where it was */
	assert_true(metric(m, 1, "stakeout.forks")->sum->data_points[0]->time_unix_nano == (1767323045678ull + 3601000) * 1000000);
	assert_true(metric(m, 1, "stakeout.forks")->sum->data_points[0]->start_time_unix_nano == 1767323045678ull * 1000000);
	r = m->resource_metrics[1]->resource;
	assert_string_equal(attribute(r->attributes, r->n_attributes, "service.name"), "bot");
	assert_string_equal(attribute(r->attributes, r->n_attributes, "service.instance.id"), "b/42/99");
	assert_string_equal(attribute(r->attributes, r->n_attributes, "host.id"), "id");
	assert_string_equal(attribute(r->attributes, r->n_attributes, "host.arch"), "amd64");
	assert_string_equal(attribute(r->attributes, r->n_attributes, "site"), "a?b?");
	assert_string_equal(attribute(r->attributes, r->n_attributes, "container.id"), "c0ffee");
	assert_string_equal(attribute(r->attributes, r->n_attributes, "container.runtime"), "docker");
	assert_string_equal(attribute(r->attributes, r->n_attributes, "k8s.pod.uid"), "p");
	assert_int_equal(metric(m, 0, "stakeout.otlp.dropped")->sum->data_points[OTLP_LOSS_REFUSED]->as_int, 5);
	assert_int_equal(metric(m, 0, "stakeout.otlp.rejected")->sum->data_points[0]->as_int, 6);
	otlp__export_metrics_service_request__free_unpacked(m, NULL);
	live_fini(&l);
	agent_data_fini(&d);
}

static json_t *metric_in(json_t *request, size_t resource, const char *name)
{
	json_t *list = json_object_get(json_array_get(json_object_get(request, "resourceMetrics"), resource), "scopeMetrics"), *m;
	size_t i;

	json_array_foreach(json_object_get(json_array_get(list, 0), "metrics"), i, m)
		if (!strcmp(json_string_value(json_object_get(m, "name")), name))
			return m;
	fail_msg("no %s", name);
	return NULL;
}

/* Keys in lower camel case, 64-bit integers as strings, enums as numbers, what is 0 left out but for the value itself. */
static void test_json(void **state)
{
	const char *const want = "{\"dataPoints\":[{\"startTimeUnixNano\":\"1767323045678000000\",\"timeUnixNano\":\"1767323046678000000\",\"count\":\"2\","
				 "\"sum\":1,\"scale\":5,\"zeroCount\":\"1\",\"positive\":{\"bucketCounts\":[\"1\"],\"offset\":-1},\"min\":0,\"max\":1}],"
				 "\"aggregationTemporality\":2}";
	const struct otlp_context c = { 0 };
	struct agent_data d = { 0 };
	struct otlp_request *r;
	struct json_text text = { 0 };
	json_t *root, *one, *expected;
	struct live l;

	(void)state;
	assert_int_equal(metric_record(&d.metrics, M_RUNQ_NS, 0), 0);
	assert_int_equal(metric_record(&d.metrics, M_RUNQ_NS, 1), 0);
	begin(&l, &d);
	r = otlp_request_new(&l, &c);
	otlp_request_json(r, &text);
	assert_false(text.failed);
	root = json_loadb(text.text, text.len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	one = json_array_get(json_object_get(json_object_get(metric_in(root, 1, "stakeout.forks"), "sum"), "dataPoints"), 0);
	assert_string_equal(json_string_value(json_object_get(one, "asInt")), "0");
	one = json_object_get(metric_in(root, 1, "stakeout.runq"), "exponentialHistogram");
	expected = json_loads(want, 0, NULL);
	assert_true(json_equal(one, expected));
	json_decref(expected);
	json_decref(root);
	json_text_fini(&text);
	otlp_request_free(r);
	live_fini(&l);
	agent_data_fini(&d);
}

static void test_peers(void **state)
{
	static const struct {
		const char *peer, *address;
		int port;
	} rows[] = { { "10.0.0.5:5432", "10.0.0.5", 5432 }, { "[::1]:80", "::1", 80 },	 { "/run/a:1", "/run/a:1", -1 },
		     { "@x:5", "@x:5", -1 },		    { "socketpair", "socketpair", -1 }, { "(other)", "(other)", -1 },
		     { ":80", "", 80 },			    { "", "", -1 },		       { "a:99999", "a:99999", -1 } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct otlp_peer at;

		otlp_peer_parse(rows[i].peer, &at);
		assert_string_equal(at.address, rows[i].address);
		assert_int_equal(at.port, rows[i].port);
	}
}

static void test_systems(void **state)
{
	struct peer_data p = { .peer = (char *)"/run/postgresql/.s.PGSQL.5432", .name = (char *)"", .class = CLASS_DB };
	struct otlp_peer at;

	(void)state;
	otlp_peer_parse(p.peer, &at);
	assert_string_equal(otlp_db_system(&p, &at), "postgresql");
	p.peer = (char *)"[::1]:6379";
	otlp_peer_parse(p.peer, &at);
	assert_string_equal(otlp_db_system(&p, &at), "redis");
	p.peer = (char *)"10.0.0.1:1";
	otlp_peer_parse(p.peer, &at);
	assert_null(otlp_db_system(&p, &at));
	p.name = (char *)"bedrock-runtime.eu-west-1.amazonaws.com";
	assert_string_equal(otlp_provider(&p), "aws.bedrock");
	p.name = (char *)"llm.internal";
	assert_null(otlp_provider(&p));
}

static void test_answers(void **state)
{
	Otlp__ExportMetricsPartialSuccess part = OTLP__EXPORT_METRICS_PARTIAL_SUCCESS__INIT;
	Otlp__ExportMetricsServiceResponse whole = OTLP__EXPORT_METRICS_SERVICE_RESPONSE__INIT;
	struct otlp_answer a;
	uint8_t bytes[128];
	size_t len;

	(void)state;
	part.rejected_data_points = 12;
	part.error_message = (char *)"no\n";
	whole.partial_success = &part;
	len = otlp__export_metrics_service_response__pack(&whole, bytes);
	otlp_answer_parse(bytes, len, false, &a);
	assert_int_equal(a.rejected_points, 12);
	assert_string_equal(a.message, "no?");
	for (size_t cut = 0; cut <= len; cut++)
		otlp_answer_parse(bytes, cut, true, &a);
	otlp_answer_parse("<html>", 6, false, &a);
	assert_int_equal(a.rejected_points, 0);
	assert_string_equal(a.message, "");
}

static void test_peaks(void **state)
{
	struct agent_data d = { 0 };
	struct otlp_peaks peaks = { 0 };
	const struct otlp_context c = { .peaks = &peaks };
	Otlp__ExportMetricsServiceRequest *m;
	struct live l;

	(void)state;
	d.metrics.value[M_RSS_PEAK_BYTES] = 900;
	begin(&l, &d);
	assert_int_equal(otlp_peaks_take(&peaks, &l), 0);
	l.agents[0]->last.metrics.value[M_RSS_PEAK_BYTES] = 5;
	assert_int_equal(otlp_peaks_take(&peaks, &l), 0);
	m = unpacked(&l, &c);
	assert_int_equal(metric(m, 1, "stakeout.rss_peak")->gauge->data_points[0]->as_int, 900);
	otlp__export_metrics_service_request__free_unpacked(m, NULL);
	otlp_peaks_reset(&peaks);
	m = unpacked(&l, &c);
	assert_int_equal(metric(m, 1, "stakeout.rss_peak")->gauge->data_points[0]->as_int, 5);
	otlp__export_metrics_service_request__free_unpacked(m, NULL);
	live_fini(&l);
	agent_data_fini(&d);
}

static void test_findings(void **state)
{
	const struct live_finding found[] = { { .name = "polling", .severity = "critical", .rank = 2, .subject = "thread \xff", .cost_cpu_s = 0.5 },
					      { .name = "serial-calls", .severity = "info", .subject = "llm a, db b", .cost_s = 1.5 } };
	const struct otlp_context c = { 0 };
	Otlp__ExportMetricsServiceRequest *m;
	struct agent_data d = { 0 };
	Otlp__NumberDataPoint *p;
	struct live l;

	(void)state;
	begin(&l, &d);
	m = unpacked(&l, &c);
	for (size_t i = 0; i < m->resource_metrics[1]->scope_metrics[0]->n_metrics; i++)
		assert_null(strstr(m->resource_metrics[1]->scope_metrics[0]->metrics[i]->name, "finding"));
	otlp__export_metrics_service_request__free_unpacked(m, NULL);
	assert_int_equal(live_found(&l, AGENT, found, 2), 0);
	m = unpacked(&l, &c);
	assert_int_equal(metric(m, 1, "stakeout.findings")->gauge->data_points[0]->as_int, 2);
	assert_int_equal(metric(m, 1, "stakeout.finding.severity")->gauge->n_data_points, 2);
	p = metric(m, 1, "stakeout.finding.severity")->gauge->data_points[0];
	assert_int_equal(p->as_int, 3);
	assert_string_equal(attribute(p->attributes, p->n_attributes, "stakeout.finding.name"), "polling");
	assert_string_equal(attribute(p->attributes, p->n_attributes, "stakeout.finding.subject"), "thread ?");
	assert_int_equal(metric(m, 1, "stakeout.finding.cpu")->gauge->n_data_points, 1);
	assert_true(metric(m, 1, "stakeout.finding.cpu")->gauge->data_points[0]->as_double == 0.5);
	p = metric(m, 1, "stakeout.finding.cost")->gauge->data_points[0];
	assert_true(p->as_double == 1.5);
	assert_string_equal(attribute(p->attributes, p->n_attributes, "stakeout.finding.subject"), "llm a, db b");
	assert_string_equal(metric(m, 1, "stakeout.finding.cost")->unit, "s/min");
	otlp__export_metrics_service_request__free_unpacked(m, NULL);
	live_fini(&l);
	agent_data_fini(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_metric_is_told), cmocka_unit_test(test_buckets), cmocka_unit_test(test_seconds),
		cmocka_unit_test(test_edges),		     cmocka_unit_test(test_json),    cmocka_unit_test(test_peers),
		cmocka_unit_test(test_systems),		     cmocka_unit_test(test_answers), cmocka_unit_test(test_peaks),
		cmocka_unit_test(test_findings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
