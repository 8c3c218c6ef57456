/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The report as one HTML file that needs nothing else: template, styles and program are built in (user/sink/html/), figures are those of the JSON report. */
#ifndef STAKEOUT_HTML_H
#define STAKEOUT_HTML_H

#include <stdio.h>

#include "judge/objectives.h"
#include "judge/outlooks.h"
#include "judge/trend.h"
#include "model/recording.h"
#include "sink/html_bins.h"

#define HTML_AGENTS_MAX 200 /* in a page; of more the busiest, by CPU time */

/* r's agents beyond HTML_AGENTS_MAX are left out, which the page says. objectives and trends may be NULL; bins: of the same recording; their histograms are made coarser. 0, -ENOMEM, or what
 * writing to out met. */
int html_report(FILE *out, const struct recording *r, const char *file, const struct outlooks *outlooks, const struct objective_list *objectives,
	const struct trend_list *trends, struct html_bins *bins);

#endif
