/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A page of metrics as the configuration asks for it. */
#ifndef STAKEOUT_SERVE_METRICS_PAGE_H
#define STAKEOUT_SERVE_METRICS_PAGE_H

#include "serve/config.h"
#include "sink/prometheus.h"

/* native: for pages with native histograms. NULL when out of memory. */
struct prometheus *prometheus_of(const struct config *c, bool native);

#endif
