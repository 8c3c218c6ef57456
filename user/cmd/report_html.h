/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef STAKEOUT_REPORT_HTML_H
#define STAKEOUT_REPORT_HTML_H

#include <stdbool.h>

#include "sink/html.h"

/* Writes the page to path ("-": standard output); one that is there only if force. Says what went wrong; returns the exit status. */
int report_html(const char *path, bool force, const struct recording *r, const char *file, const struct outlooks *outlooks, const struct objective_list *objectives,
	const struct trend_list *trends, struct html_bins *bins);

#endif
