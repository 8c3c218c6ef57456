/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/alert_sinks.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/util.h"
#include "serve/http_way.h"
#include "serve/ways.h"

#define CLOSE_S 5 /* at most, for what is still to be sent */
#define API "/api/v2/alerts"

/* ---- ways ---- */

/* Too many, not now, or broken for the time being: it is worth another attempt. */
static enum sender_outcome outcome_of(long status)
{
	if (status >= 200 && status < 300)
		return SENDER_SENT;
	return status == 408 || status == 429 || status >= 500 ? SENDER_LATER : SENDER_REFUSED;
}

static void answer_take(void *ctx, enum sender_outcome o, const char *body, size_t len, char *why, size_t why_len)
{
	(void)ctx;
	if (o == SENDER_SENT)
		return;
	snprintf(why, why_len, "%.*s", len < 160 ? (int)len : 160, body);
	why[strcspn(why, "\r\n")] = '\0';
	text_sanitize(why);
}

static struct sender_way *post(const struct config_alerts *a, const char *url)
{
	return http_way_new(&(struct http_way_options){ .url = url, .type = "application/json", .timeout_s = a->timeout_s, .queue = a->queue,
							.outcome = outcome_of, .answer = answer_take });
}

static struct sender_way *alertmanager_way(const struct config_alerts *a)
{
	_cleanup_free_ char *url = NULL;
	size_t len = strlen(a->alertmanager);

	while (len && a->alertmanager[len - 1] == '/')
		len--;
	if (asprintf(&url, "%.*s" API, (int)len, a->alertmanager) < 0) {
		url = NULL;
		return NULL;
	}
	return post(a, url);
}

static struct sender_way *webhook_way(const struct config_alerts *a)
{
	return post(a, a->webhook);
}

static struct sender_way *file_way(const struct config_alerts *a)
{
	return append_way_new(a->file, a->queue);
}

static struct sender_way *journal_way(const struct config_alerts *a)
{
	return datagram_way_new(a->journal, a->queue);
}

static struct sender_way *syslog_way(const struct config_alerts *a)
{
	return datagram_way_new(a->syslog, a->queue);
}

static struct sender_way *command_way(const struct config_alerts *a)
{
	return command_way_new(a->command, a->command_user, a->command_timeout_s, a->queue);
}

/* ---- sinks ---- */

/* One row a sink. */
static const struct {
	const char *name; /* its key in the configuration */
	size_t key; /* offset of that */
	struct sender_way *(*way)(const struct config_alerts *a);
	void (*write)(const struct alert_context *c, const struct notice *n, struct json_text *j);
	bool each; /* a request has one alert */
	bool resent; /* it wants to hear of all that fires every now and then */
} rows[] = {
#define KEY(key) #key, offsetof(struct config_alerts, key)
	{ KEY(file), file_way, alert_notice_json, false, false },
	{ KEY(journal), journal_way, alert_journal_text, true, false },
	{ KEY(syslog), syslog_way, alert_syslog_text, true, false },
	{ KEY(command), command_way, alert_notice_json, false, false },
	{ KEY(webhook), webhook_way, alert_notice_json, false, false },
	{ KEY(alertmanager), alertmanager_way, alert_manager_json, false, true },
#undef KEY
};
_Static_assert(ARRAY_SIZE(rows) <= ALERT_SINKS_MAX, "a place each");

static bool asked_for(size_t i, const struct config_alerts *a)
{
	return a->on && *(const char *const *)((const char *)a + rows[i].key);
}

static void counts_add(struct sender_counts *to, const struct sender_counts *from)
{
	to->sent += from->sent;
	to->retries += from->retries;
	for (int i = 0; i < SENDER_LOSSES; i++)
		to->dropped[i] += from->dropped[i];
}

static void sender_done(struct alert_sink *k, size_t i, struct sender *s)
{
	struct sender_counts c;
	uint64_t lost;

	sender_end(s, CLOSE_S);
	while (!sender_ended(s))
		usleep(10000);
	sender_counts(s, &c);
	lost = sender_close(s, CLOSE_S);
	c.dropped[SENDER_LOSS_REFUSED] += lost;
	counts_add(&k->ended, &c);
	if (lost)
		log_warn("alerts: %s: %llu notices were not sent", rows[i].name, (unsigned long long)lost);
}

/* Without waiting for it, unless the one before has not come to its end either. */
static void sink_leave(struct alert_sinks *s, size_t i)
{
	if (!s->at[i].sender)
		return;
	if (s->leaving[i])
		sender_done(&s->at[i], i, s->leaving[i]);
	s->leaving[i] = s->at[i].sender;
	s->at[i].sender = NULL;
	s->at[i].ailing = false;
	sender_end(s->leaving[i], CLOSE_S);
}

bool alert_sinks_leave(struct alert_sinks *s)
{
	bool left = true;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		sink_leave(s, i);
		left = left && (!s->leaving[i] || sender_ended(s->leaving[i]));
	}
	return left;
}

int alert_sinks_change(struct alert_sinks *s, const struct config *c, char *why, size_t why_len)
{
	int err = 0;

	if (!s->curl && curl_global_init(CURL_GLOBAL_DEFAULT))
		return snprintf(why, why_len, "cannot set up libcurl"), -ENOMEM;
	s->curl = true;
	for (size_t i = 0; i < ARRAY_SIZE(rows) && !err; i++) {
		struct alert_sink *k = &s->at[i];

		if (!asked_for(i, &c->alerts))
			sink_leave(s, i);
		else if (k->sender)
			err = sender_change(k->sender, rows[i].way(&c->alerts));
		else
			k->sender = sender_new(rows[i].way(&c->alerts), &err);
		if (err)
			snprintf(why, why_len, "%s: %s", rows[i].name, strerror(-err));
	}
	return err;
}

static int request_put(struct alert_sink *k, size_t i, const struct alert_context *c, const struct notice *n)
{
	struct json_text j = { 0 };

	rows[i].write(c, n, &j);
	if (!j.failed && j.text)
		return sender_put(k->sender, (uint8_t *)j.text, j.len);
	json_text_fini(&j);
	return -ENOMEM;
}

int alert_sinks_put(struct alert_sinks *s, const struct alert_context *c, const struct notice *n)
{
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct alert_sink *k = &s->at[i];
		int failed = 0;

		if (!k->sender)
			continue;
		if (!rows[i].each)
			failed = request_put(k, i, c, n);
		for (int a = 0; rows[i].each && a < n->len && !failed; a++)
			failed = request_put(k, i, c, &(struct notice){ n->agent, &n->alerts[a], 1, n->alerts[a]->firing });
		err = err ? err : failed;
	}
	return err;
}

struct all {
	const struct alert **at;
	int len;
};

static int told_add(void *ctx, const struct alert *of)
{
	struct all *all = ctx;

	if (of->told_ns)
		all->at[all->len++] = of;
	return 0;
}

/* A queue that isn't empty has news, or what can't be told now anyway. */
static void resend(struct alert_sink *k, size_t i, const struct alert_context *c, const struct alerts *a, const struct sender_counts *counts)
{
	struct all all = { 0 };

	if (counts->queued || c->now_ns - k->resent_ns < (int64_t)(c->resend_s * 1e9))
		return;
	k->resent_ns = c->now_ns;
	all.at = calloc((size_t)alerts_count(a) + 1, sizeof(*all.at));
	if (!all.at)
		return;
	alerts_firing(a, told_add, &all);
	if (all.len)
		request_put(k, i, c, &(struct notice){ "", all.at, all.len, all.len });
	free(all.at);
}

static void sink_look(struct alert_sink *k, size_t i, const struct sender_counts *c)
{
	uint64_t dropped = c->dropped[SENDER_LOSS_QUEUE_FULL] + c->dropped[SENDER_LOSS_REFUSED];
	char why[512];
	int err = sender_state(k->sender, why, sizeof(why));

	if (err && !k->ailing)
		log_err(0, "alerts: %s: %s", rows[i].name, why);
	else if (!err && k->ailing)
		log_info("alerts: %s: works again", rows[i].name);
	k->ailing = err;
	if (dropped && !k->told_dropped)
		log_warn("alerts: %s: notices are dropped: %s", rows[i].name, c->dropped[SENDER_LOSS_QUEUE_FULL] ? "the queue is full, the oldest go" : "they were refused");
	k->told_dropped = err ? dropped : 0;
}

void alert_sinks_look(struct alert_sinks *s, const struct alert_context *c, const struct alerts *a)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct sender_counts counts;

		if (s->leaving[i] && sender_ended(s->leaving[i])) {
			sender_done(&s->at[i], i, s->leaving[i]);
			s->leaving[i] = NULL;
		}
		if (!s->at[i].sender)
			continue;
		sender_counts(s->at[i].sender, &counts);
		sink_look(&s->at[i], i, &counts);
		if (rows[i].resent)
			resend(&s->at[i], i, c, a, &counts);
	}
}

int alert_sinks_tell(struct alert_sinks *s, struct live *l)
{
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows) && !err; i++) {
		struct sender_counts c = { 0 };

		if (!s->at[i].sender)
			continue;
		sender_counts(s->at[i].sender, &c);
		counts_add(&c, &s->at[i].ended);
		err = live_sink_add(l, &(struct live_sink){ rows[i].name, c.sent, c.dropped[SENDER_LOSS_QUEUE_FULL] + c.dropped[SENDER_LOSS_REFUSED], c.queued });
	}
	return err;
}

void alert_sinks_close(struct alert_sinks *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) /* all at once: the end of one isn't the beginning of the next */
		if (s->at[i].sender)
			sender_end(s->at[i].sender, CLOSE_S);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (s->leaving[i])
			sender_done(&s->at[i], i, s->leaving[i]);
		if (s->at[i].sender)
			sender_done(&s->at[i], i, s->at[i].sender);
	}
	if (s->curl)
		curl_global_cleanup();
	*s = (struct alert_sinks){ 0 };
}
