/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What notices look like where they go. Texts are appended; j->failed when out of memory. */
#ifndef STAKEOUT_SERVE_ALERT_TEXT_H
#define STAKEOUT_SERVE_ALERT_TEXT_H

#include "judge/alerts.h"
#include "model/json_put.h"
#include "serve/config.h"

struct alert_context { /* lent */
	const char *host; /* name of this one */
	const struct config_label *labels; /* of all that leaves it */
	int labels_len;
	int64_t now_ns;
	double resend_s; /* Alertmanager hears of what fires so often */
};

/* "alert model-slow: claude, llm: p95(exchange_ns) > 3s: 4.2 s", of one that is over "alert over: ..". */
#define ALERT_LINE_LEN 512
const char *alert_line(const struct alert *a, char buf[ALERT_LINE_LEN]);

/* A notice as one line of JSON: of a file, a webhook, a command's input. */
void alert_notice_json(const struct alert_context *c, const struct notice *n, struct json_text *j);
/* As Alertmanager's API (v2) takes them. One that fires ends by itself after four times resend_s, unless it is sent again. */
void alert_manager_json(const struct alert_context *c, const struct notice *n, struct json_text *j);
/* A datagram of systemd's journal, or of syslog (RFC 3164): of the notice's first alert. */
void alert_journal_text(const struct alert_context *c, const struct notice *n, struct json_text *j);
void alert_syslog_text(const struct alert_context *c, const struct notice *n, struct json_text *j);

#endif
