/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The daemon's configuration: what a file gives, and the line that each bad one gets. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/util.h"
#include "serve/config.h"
#include "serve/config_value.h"

#define TARGETS "targets: [{match: x}]\n"

static char path[] = "/tmp/test_config.XXXXXX";

static int load(const char *text, size_t len, struct config **ret, char *why, size_t why_len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	return config_load(path, ret, why, why_len);
}

static struct config *good(const char *text)
{
	struct config *c;
	char why[1024];

	if (load(text, strlen(text), &c, why, sizeof(why)))
		fail_msg("%s: %s", text, why);
	return c;
}

static void test_defaults(void **state)
{
	struct config *c = good(TARGETS);

	(void)state;
	assert_int_equal(c->targets_len, 1);
	assert_string_equal(c->targets[0].regex, "x");
	assert_null(c->targets[0].name);
	assert_true(c->watch.interval_s == 1);
	assert_int_equal(c->watch.ring_bytes, 8 << 20);
	assert_true(c->watch.budget_percent < 0);
	assert_null(c->recordings.directory);
	assert_null(c->prometheus.listen);
	assert_null(c->otlp.endpoint);
	assert_int_equal(c->prometheus.max_series, 20000);
	config_free(c);
}

static void test_everything(void **state)
{
	struct config *c = good("# all keys\n"
				"interval: 500ms\nbudget: off\npeers_kept: 10\ndrain: 50ms\nring_size: 16M\nleak_age: 1m\nbpf_stats: yes\n"
				"probes: [+heap=full, \"-names,+offcpu=20\"]\n"
				"peers:\n- 10.0.0.5:8000=llm/vllm\n- '*.internal=db'\n"
				"targets:\n"
				"- {name: codex, match: ^codex}\n"
				"- pid: 4711, 4712\n"
				"- name: \"\\u00fc \\\"quoted\\\"\"\n  cgroup: system.slice/agent.service\n"
				"recordings:\n  directory: /var/lib/stakeout\n  rotate: 1d\n  rotate_size: 1G\n  keep: 30d\n  max_size: 20G\n  compress: false\n"
				"prometheus:\n  textfile: /t/s.prom\n  listen: \"[::1]:9469\"\n  user: u\n  password_file: /p\n  tls_certificate: /c\n  tls_key: /k\n"
				"  max_series: 500\n  max_connections: 5\n  timeout: 3s\n"
				"otlp:\n  file: /o\n  file_size: 1M\n  endpoint: https://h/\n  headers: {Authorization: Bearer x, B: ''}\n"
				"  interval: 1m\n  timeout: 2\n  queue: 7\n"
				"labels:\n  env: prod\n  team: \"a: b\"\n");
	const struct watch_options *w = &c->watch;

	(void)state;
	assert_true(w->interval_s == 0.5 && w->budget_percent == 0 && w->peers_kept == 10 && w->drain_ms == 50 && w->leak_age_s == 60 && w->bpf_stats);
	assert_int_equal(w->ring_bytes, 16 << 20);
	assert_true(w->probe_on[PROBE_HEAP] && w->heap_full && !w->probe_on[PROBE_NAMES] && w->probe_on[PROBE_OFFCPU] && w->offcpu_ms == 20);
	assert_int_equal(w->peers.len, 2);
	assert_string_equal(w->peers.rules[0].name, "vllm");
	assert_int_equal(w->peers.rules[1].class, CLASS_DB);
	assert_int_equal(c->targets_len, 3);
	assert_string_equal(c->targets[0].name, "codex");
	assert_int_equal(c->targets[1].pids_len, 2);
	assert_int_equal(c->targets[1].pids[1], 4712);
	assert_string_equal(c->targets[2].name, "\xc3\xbc \"quoted\"");
	assert_string_equal(c->targets[2].cgroup, "system.slice/agent.service");
	assert_string_equal(c->recordings.directory, "/var/lib/stakeout");
	assert_true(c->recordings.rotate_s == 86400 && c->recordings.keep_s == 30 * 86400. && !c->recordings.compress);
	assert_int_equal(c->recordings.rotate_bytes, 1 << 30);
	assert_int_equal(c->recordings.max_bytes, 20ULL << 30);
	assert_string_equal(c->prometheus.listen, "[::1]:9469");
	assert_int_equal(c->prometheus.max_connections, 5);
	assert_true(c->prometheus.timeout_s == 3);
	assert_int_equal(c->otlp.file_bytes, 1 << 20);
	assert_int_equal(c->otlp.headers_len, 2);
	assert_string_equal(c->otlp.headers[0], "Authorization: Bearer x");
	assert_string_equal(c->otlp.headers[1], "B: ");
	assert_true(c->otlp.interval_s == 60 && c->otlp.timeout_s == 2);
	assert_int_equal(c->otlp.queue, 7);
	assert_int_equal(c->labels_len, 2);
	assert_string_equal(c->labels[1].name, "team");
	assert_string_equal(c->labels[1].value, "a: b");
	config_free(c);
	c = good(TARGETS "alerts: {findings: Off}\n");
	assert_true(c->findings && c->alerts.findings == SEVERITY_COUNT);
	config_free(c);
	c = good(TARGETS "alerts: {findings: warning}\n");
	assert_int_equal(c->alerts.findings, SEVERITY_WARNING);
	config_free(c);
}

/* The message is "FILE:LINE: " and then all of `says`, in this order, '*' standing for anything between. */
static const struct bad {
	const char *text;
	int line;
	const char *says;
} bads[] = {
	{ "", 1, "the file is empty; it needs 'targets'" },
	{ "# nothing\n", 1, "the file is empty" },
	{ "interval: 1s\n", 1, "'targets' is missing" },
	{ "targets: []\n", 1, "targets is empty" },
	{ "\ntargets:\n  match: x\n", 3, "targets is a section; a list is expected, each entry behind a '-'" },
	{ "targets: x\n", 1, "targets is one value; a list is expected" },
	{ "- targets\n", 1, "the file is a list; a section is expected" },
	{ "targets\n", 1, "the file is one value; a section is expected" },
	{ "targets:\n- x\n", 2, "targets is one value; a section is expected" },
	{ "targets:\n- name: a\n", 2, "a target needs one of match, pid, cgroup and container" },
	{ "targets:\n- match: x\n- match: y\n  cgroup: z\n", 3, "a target needs one of match, pid, cgroup and container, and only one" },
	{ "targets:\n- match: x\n  nmae: y\n", 3, "unknown key 'nmae' (did you mean 'name'?) in targets; there are name, match, pid, cgroup" },
	{ "targets:\n- match: 'x('\n", 2, "targets.match 'x(' is not a regular expression (POSIX extended): " },
	{ "targets:\n- match:\n", 2, "targets.match has no value" },
	{ "targets:\n- pid: 12x\n", 2, "targets.pid '12x' is not a process id" },
	{ "targets:\n- pid: 1,,2\n", 2, "targets.pid '1,,2' is not a process id" },
	{ "targets:\n- pid: 0\n", 2, "targets.pid '0' is not a process id" },
	{ TARGETS "intervall: 1\n", 2, "unknown key 'intervall' (did you mean 'interval'?); there are targets, *labels" },
	{ TARGETS "interval: 1s\ninterval: 2s\n", 3, "'interval' is there twice" },
	{ TARGETS "interval: 0.01\n", 2, "interval '0.01' is out of range: 100ms to 1h" },
	{ TARGETS "interval: 1h1m\n", 2, "interval '1h1m' is not a time: seconds, or with ms, s, m, h or d behind" },
	{ TARGETS "interval: -1\n", 2, "interval '-1' is not a time" },
	{ TARGETS "interval: 1e3\n", 2, "interval '1e3' is not a time" },
	{ TARGETS "interval: .\n", 2, "interval '.' is not a time" },
	{ TARGETS "interval: 99999999999999999999999999999999999999s\n", 2, "interval '9999*is not a time" },
	{ TARGETS "interval: [1]\n", 2, "interval is a list; one value is expected" },
	{ TARGETS "interval: ''\n", 2, "interval has no value" },
	{ TARGETS "interval: \"1\\0s\"\n", 2, "interval has a NUL within" },
	{ TARGETS "budget: 101\n", 2, "budget '101' is out of range: percent from 0 to 100, or off" },
	{ TARGETS "ring_size: 3M\n", 2, "ring_size '3M' is not a power of two" },
	{ TARGETS "ring_size: 4G\n", 2, "ring_size '4G' is out of range: 64K to 1G" },
	{ TARGETS "bpf_stats: maybe\n", 2, "bpf_stats 'maybe' is not true or false" },
	{ TARGETS "peers_kept: 1.5\n", 2, "peers_kept '1.5' is not a whole number: 1 to 1000" },
	{ TARGETS "probes: +heap\n", 2, "probes is one value; a list is expected" },
	{ TARGETS "probes:\n- -names\n- +haep\n", 4, "probes: unknown probe 'haep' (did you mean 'heap'?); probes: sched" },
	{ TARGETS "probes: [+heap=99]\n", 2, "probes: +heap=99 is out of range (percent from 0.01 to 50, or 'full')" },
	{ TARGETS "probes: [-core]\n", 2, "probes: probe 'core' can't be switched off" },
	{ TARGETS "peers: [x]\n", 2, "peers 'x': no class" },
	{ TARGETS "peers:\n- a=dbb\n", 3, "peers 'a=dbb': unknown class 'dbb'" },
	{ TARGETS "recordings:\n  rotate: 1h\n", 3, "recordings needs a directory" },
	{ TARGETS "recordings:\n  directory: here\n", 3, "recordings.directory 'here' is not an absolute path" },
	{ TARGETS "recordings:\n  directory: /x\n  max_size: 1M\n  rotate_size: 2M\n", 3, "recordings.max_size is less than recordings.rotate_size" },
	{ TARGETS "recordings:\n  directory: /x\n  max_sise: 1M\n", 4, "unknown key 'max_sise' (did you mean 'max_size'?) in recordings" },
	{ TARGETS "recordings:\n  directory: /x\n  max_size: 1Q\n", 4, "recordings.max_size '1Q' is not a size: bytes, or with K, M, G or T behind" },
	{ TARGETS "prometheus:\n  listen: 9469\n", 3, "prometheus.listen '9469' is not an address: HOST:PORT" },
	{ TARGETS "prometheus:\n  listen: ::1:9469\n", 3, "prometheus.listen '::1:9469' is not an address" },
	{ TARGETS "prometheus:\n  listen: unix:sock\n", 3, "prometheus.listen 'unix:sock' is not an address" },
	{ TARGETS "prometheus:\n  listen: a:99999\n", 3, "prometheus.listen 'a:99999' is not an address" },
	{ TARGETS "prometheus:\n  user: me\n", 3, "prometheus.user and prometheus.password_file go together" },
	{ TARGETS "prometheus:\n  tls_key: /k\n", 3, "prometheus.tls_certificate and prometheus.tls_key go together" },
	{ TARGETS "prometheus: [a]\n", 2, "prometheus is a list; a section is expected" },
	{ TARGETS "otlp:\n  endpoint: 127.0.0.1:4318\n", 3, "otlp.endpoint '127.0.0.1:4318' is not a URL" },
	{ TARGETS "otlp:\n  headers: [a]\n", 3, "otlp.headers is a list; a section is expected" },
	{ TARGETS "otlp:\n  headers: {a b: c}\n", 3, "otlp.headers: 'a b' is no header" },
	{ TARGETS "otlp:\n  headers: {a: \"b\\nc\"}\n", 3, "otlp.headers: 'a' is no header" },
	{ TARGETS "otlp:\n  queue: 0\n", 3, "otlp.queue '0' is out of range: 1 to 100000" },
	{ TARGETS "labels: {0a: b}\n", 2, "labels: '0a' can't be a label's name" },
	{ TARGETS "labels: {__a: b}\n", 2, "labels: '__a' can't be a label's name" },
	{ TARGETS "labels: {a: [b]}\n", 2, "labels.a is not a text" },
	{ TARGETS "alerts:\n  repaet: 1h\n", 3, "unknown key 'repaet' (did you mean 'repeat'?) in alerts" },
	{ TARGETS "alerts:\n  silences:\n  - {until: never, rule: a}\n", 4, "alerts.silences.until 'never' is not a date and a time with its zone" },
	{ TARGETS "alerts:\n  findings: bad\n", 3, "alerts.findings 'bad' is not info, warning, critical or off" },
	{ TARGETS "findings: false\nalerts:\n  findings: info\n", 4, "alerts.findings: nothing is found where findings are off" },
	{ TARGETS "alerts:\n  silences: [{}]\n", 3, "a silence needs rule or agent" },
	{ TARGETS "labels: {a: b, a: c}\n", 2, "'a' is there twice in labels" },
	{ TARGETS "? [a]\n: b\n", 2, "a key is not a text" },
	{ TARGETS "---\nmore: 1\n", 2, "a second document; one is expected" },
	{ TARGETS "a: b: c\n", 2, "not YAML: mapping values are not allowed" },
	{ TARGETS "\tinterval: 1\n", 2, "not YAML: " },
	{ TARGETS "interval: \"1\n", 3, "not YAML: found unexpected end of stream" },
	{ TARGETS "labels: {a: *b}\n", 2, "not YAML: found undefined alias" },
	{ TARGETS "x: \xff\n", 2, "not YAML: invalid leading UTF-8 octet" },
	{ TARGETS "labels: &l {a: *l}\n", 2, "labels.a is not a text" }, /* an endless loop */
	{ "targets: &t [*t]\n", 1, "targets is a list; a section is expected" },
};

/* Whether text begins with pattern, in which '*' is anything. */
static bool begins(const char *text, const char *pattern)
{
	char part[256];
	const char *star = strchr(pattern, '*'), *at;

	if (!star)
		return !strncmp(text, pattern, strlen(pattern));
	snprintf(part, sizeof(part), "%.*s", (int)(star - pattern), pattern);
	if (strncmp(text, part, strlen(part)))
		return false;
	at = strstr(text, star + 1);
	return at != NULL;
}

static void test_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bads); i++) {
		struct config *c = NULL;
		char why[1024] = "", head[128];
		const char *said;

		if (!load(bads[i].text, strlen(bads[i].text), &c, why, sizeof(why)))
			fail_msg("taken for good: %s", bads[i].text);
		snprintf(head, sizeof(head), "%s:%d:", path, bads[i].line);
		said = why + strlen(head) + strspn(why + strlen(head), "0123456789"); /* behind the column */
		if (strncmp(why, head, strlen(head)) || strchr(why, '\n') || strncmp(said, ": ", 2) || !begins(said + 2, bads[i].says))
			fail_msg("%s\n  said: %s\n  not:  %s%s", bads[i].text, why, head, bads[i].says);
	}
}

static void test_files(void **state)
{
	struct config *c;
	char why[1024];
	char *large = malloc(2 << 20);

	(void)state;
	assert_int_equal(config_load("/nowhere/at/all", &c, why, sizeof(why)), -ENOENT);
	assert_string_equal(why, "/nowhere/at/all: No such file or directory");
	assert_int_equal(config_load("/tmp", &c, why, sizeof(why)), -EISDIR);
	assert_int_equal(config_load("/dev/zero", &c, why, sizeof(why)), -EINVAL);
	assert_string_equal(why, "/dev/zero: not a regular file");
	memset(large, '#', 2 << 20);
	assert_int_equal(load(large, 2 << 20, &c, why, sizeof(why)), -EFBIG);
	free(large);
}

/* Sections may be there without anything in them. */
static void test_empty_sections(void **state)
{
	struct config *c = good(TARGETS "recordings:\nprometheus:\notlp:\nlabels: {}\nprobes: []\npeers: []\n");

	(void)state;
	assert_null(c->recordings.directory);
	config_free(c);
}

static void test_anchors(void **state)
{
	struct config *c = good("targets:\n- &t {match: x}\n- *t\n");

	(void)state;
	assert_int_equal(c->targets_len, 2);
	assert_string_equal(c->targets[1].regex, "x");
	config_free(c);
}

static void test_same(void **state)
{
	struct config *a = good(TARGETS "interval: 1s\nprobes: [+heap]\nprometheus: {listen: 'a:1'}\notlp: {headers: {a: b}}\n");
	struct config *b = good(TARGETS "interval: 2s\nprobes: [+heap, -names]\nprometheus: {listen: 'a:1'}\notlp: {headers: {a: c}}\n");
	struct config *c = good(TARGETS "interval: 1s\nprobes: [+heap]\nlabels: {x: y}\nprometheus: {listen: 'a:1'}\notlp: {headers: {a: b}}\n");
	struct config *d = good(TARGETS "prometheus: {tls_key: /k, tls_certificate: /c}\n");
	char buf[256];

	(void)state;
	assert_string_equal(config_fixed(a, a, buf, sizeof(buf)), "");
	assert_string_equal(config_fixed(a, b, buf, sizeof(buf)), "interval, probes");
	assert_true(config_same(a, a, CONFIG_PROMETHEUS));
	assert_true(config_same(a, b, CONFIG_PROMETHEUS));
	assert_false(config_same(a, b, CONFIG_OTLP));
	assert_true(config_same(a, a, CONFIG_OTLP));
	assert_false(config_same(a, c, CONFIG_PROMETHEUS)); /* labels are everywhere */
	assert_false(config_same(d, d, CONFIG_PROMETHEUS)); /* the files may be others */
	assert_false(config_same(a, d, CONFIG_PROMETHEUS));
	config_free(a);
	config_free(b);
	config_free(c);
	config_free(d);
}

/* Cut anywhere, it is good or bad, and does no harm. */
static void test_cut(void **state)
{
	static const char text[] = "interval: 500ms\nprobes: [+heap=full, \"-names\"]\npeers:\n- '*.internal=db'\ntargets:\n- &t {name: codex, match: ^codex}\n- *t\n"
				   "recordings:\n  directory: /var/lib/stakeout\notlp:\n  headers: {Authorization: Bearer x}\nlabels:\n  team: \"a: b\"\n";
	struct config *c;
	char why[1024];

	(void)state;
	for (size_t len = 0; len < sizeof(text); len++)
		if (!load(text, len, &c, why, sizeof(why)))
			config_free(c);
}

static int setup(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_everything), cmocka_unit_test(test_bad),	 cmocka_unit_test(test_files),
		cmocka_unit_test(test_empty_sections), cmocka_unit_test(test_anchors),	  cmocka_unit_test(test_same), cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
