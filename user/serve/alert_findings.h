/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Findings of agents that run as alerts: what is found for the first time is raised, what has not been found for a while is over. */
#ifndef STAKEOUT_SERVE_ALERT_FINDINGS_H
#define STAKEOUT_SERVE_ALERT_FINDINGS_H

#include "judge/alerts.h"
#include "judge/recents.h"

#define ALERT_FINDINGS_MARK "finding:" /* how the names of such alerts' rules begin; no rule of a file has it */
#define ALERT_FINDINGS_OVER_S 60.0 /* not found for so long: it is over. At the border of a severity one comes and goes */

struct alert_finding;
struct alert_findings { /* zero-initialised: none */
	struct alert_finding *at; /* raised, and not over yet */
	int len, cap;
};

/* Times of news: s since the header's start, in since_ns and ended_ns as whole ns. 0 or a negative errno. */
typedef int (*alert_findings_fn)(void *ctx, struct alert_news *news);

/* With each interval, which l has already. from: the least severity; SEVERITY_COUNT: none, and what was raised is over. 0, -ENOMEM, or the first error of fn. */
int alert_findings_look(struct alert_findings *f, const struct recents *r, const struct live *l, int from, alert_findings_fn fn, void *ctx);
void alert_findings_fini(struct alert_findings *f);

#endif
