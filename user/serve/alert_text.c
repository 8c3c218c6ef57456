/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/alert_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "lib/timestamp.h"
#include "lib/util.h"
#include "model/format.h"

#define ALERTMANAGER_LIVES 4 /* times resend_s, as Prometheus does it: two lost requests are no news */

static const char *unit_of(const struct alert *a)
{
	return a->ratio ? "ratio" : a->seconds ? "seconds" : a->bytes ? "bytes" : "";
}

static const char *figure(const struct alert *a, double value, char buf[FORMAT_LEN])
{
	if (isnan(value))
		snprintf(buf, FORMAT_LEN, "no data");
	else if (a->ratio)
		snprintf(buf, FORMAT_LEN, "%.3g %%", value * 100);
	else if (a->seconds)
		format_ns(value * 1e9, buf);
	else if (a->bytes)
		format_bytes(value, buf);
	else
		format_rate(value, buf);
	return buf;
}

const char *alert_line(const struct alert *a, char buf[ALERT_LINE_LEN])
{
	char value[FORMAT_LEN], worst[FORMAT_LEN];

	figure(a, a->firing ? a->value : a->worst, value);
	figure(a, a->worst, worst);
	snprintf(buf, ALERT_LINE_LEN, "%s %s: %.100s%s%.150s: %.120s: %s%s", a->firing ? "alert" : "alert over:", a->rule, a->agent,
		 *a->subject ? ", " : "", a->subject, a->summary, a->firing ? "" : "worst ", value);
	return text_sanitize(buf);
}

static void put_time(struct json_text *j, const char *key, int64_t ns)
{
	char buf[TIMESTAMP_LEN];

	put_string(j, key, timestamp_format(ns, buf));
}

/* ---- files, webhooks, commands ---- */

static void put_alert(struct json_text *j, const struct alert *a)
{
	char line[ALERT_LINE_LEN];

	put_open(j, NULL, "{");
	put_string(j, "status", a->firing ? "firing" : "resolved");
	put_string(j, "rule", a->rule);
	put_string(j, "severity", severity_names[a->severity]);
	put_string(j, "agent", a->agent);
	put_string(j, "subject", a->subject);
	put_string(j, "when", a->summary);
	put_string(j, "message", alert_line(a, line));
	if (*a->help)
		put_string(j, "help", a->help);
	if (!isnan(a->value))
		put_real(j, "value", a->value);
	if (!isnan(a->worst))
		put_real(j, "worst", a->worst);
	if (*unit_of(a))
		put_string(j, "unit", unit_of(a));
	put_time(j, "since", a->since_ns);
	if (!a->firing)
		put_time(j, "until", a->ended_ns);
	else
		put_bool(j, "repeated", a->told_ns != 0);
	put_close(j, "}");
}

void alert_notice_json(const struct alert_context *c, const struct notice *n, struct json_text *j)
{
	put_open(j, NULL, "{");
	put_time(j, "time", c->now_ns);
	put_string(j, "host", c->host);
	put_string(j, "agent", n->agent);
	put_string(j, "status", n->firing ? "firing" : "resolved");
	if (c->labels_len) {
		put_open(j, "labels", "{");
		for (int i = 0; i < c->labels_len; i++)
			put_string(j, c->labels[i].name, c->labels[i].value);
		put_close(j, "}");
	}
	put_open(j, "alerts", "[");
	for (int i = 0; i < n->len; i++)
		put_alert(j, n->alerts[i]);
	put_close(j, "]");
	put_close(j, "}");
	put_raw(j, "\n", 1);
}

/* ---- Alertmanager ---- */

static void put_manager_labels(const struct alert_context *c, const struct alert *a, struct json_text *j)
{
	const char *const own[][2] = { { "alertname", a->rule }, { "agent", a->agent }, { "subject", a->subject }, { "severity", severity_names[a->severity] }, { "instance", c->host } };

	put_open(j, "labels", "{");
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (*own[i][1]) /* an empty one is none there */
			put_string(j, own[i][0], own[i][1]);
	for (int i = 0; i < c->labels_len; i++) {
		bool taken = !*c->labels[i].value;

		for (size_t k = 0; k < ARRAY_SIZE(own); k++)
			taken |= !strcmp(c->labels[i].name, own[k][0]);
		if (!taken)
			put_string(j, c->labels[i].name, c->labels[i].value);
	}
	put_close(j, "}");
}

void alert_manager_json(const struct alert_context *c, const struct notice *n, struct json_text *j)
{
	char line[ALERT_LINE_LEN];

	put_open(j, NULL, "[");
	for (int i = 0; i < n->len; i++) {
		const struct alert *a = n->alerts[i];

		put_open(j, NULL, "{");
		put_manager_labels(c, a, j);
		put_open(j, "annotations", "{");
		put_string(j, "summary", alert_line(a, line));
		if (*a->help)
			put_string(j, "description", a->help);
		put_close(j, "}");
		put_time(j, "startsAt", a->since_ns);
		put_time(j, "endsAt", a->firing ? c->now_ns + (int64_t)(ALERTMANAGER_LIVES * c->resend_s * 1e9) : a->ended_ns);
		put_close(j, "}");
	}
	put_close(j, "]");
}

/* ---- journal and syslog ---- */

static void put_format(struct json_text *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put_format(struct json_text *j, const char *fmt, ...)
{
	char buf[1024];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(buf, sizeof(buf), fmt, args);
	va_end(args);
	put_raw(j, buf, n < (int)sizeof(buf) ? (size_t)n : sizeof(buf) - 1);
}

/* By the protocol a value is one line. */
static void put_field(struct json_text *j, const char *name, const char *value)
{
	char buf[512];

	snprintf(buf, sizeof(buf), "%s", value);
	put_format(j, "%s=%s\n", name, text_sanitize(buf));
}

static int priority_of(const struct alert *a)
{
	static const int of[] = { [SEVERITY_INFO] = LOG_INFO, [SEVERITY_WARNING] = LOG_WARNING, [SEVERITY_CRITICAL] = LOG_CRIT };

	return a->firing ? of[a->severity] : LOG_NOTICE;
}

void alert_journal_text(const struct alert_context *c, const struct notice *n, struct json_text *j)
{
	const struct alert *a = n->alerts[0];
	char line[ALERT_LINE_LEN];

	(void)c;
	put_field(j, "MESSAGE", alert_line(a, line));
	put_format(j, "PRIORITY=%d\nSYSLOG_IDENTIFIER=stakeout\n", priority_of(a));
	put_field(j, "STAKEOUT_STATUS", a->firing ? "firing" : "resolved");
	put_field(j, "STAKEOUT_RULE", a->rule);
	put_field(j, "STAKEOUT_SEVERITY", severity_names[a->severity]);
	put_field(j, "STAKEOUT_AGENT", a->agent);
	put_field(j, "STAKEOUT_SUBJECT", a->subject);
	if (!isnan(a->value))
		put_format(j, "STAKEOUT_VALUE=%.9g\n", a->value);
}

void alert_syslog_text(const struct alert_context *c, const struct notice *n, struct json_text *j)
{
	const struct alert *a = n->alerts[0];
	const time_t now = (time_t)(c->now_ns / (int64_t)NS_PER_S);
	char line[ALERT_LINE_LEN], when[32];
	struct tm local;

	localtime_r(&now, &local);
	strftime(when, sizeof(when), "%b %e %H:%M:%S", &local);
	put_format(j, "<%d>%s stakeout[%d]: %s", LOG_DAEMON | priority_of(a), when, (int)getpid(), alert_line(a, line));
}
