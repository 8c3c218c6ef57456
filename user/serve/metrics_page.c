/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/metrics_page.h"

#include <stdlib.h>

#include "lib/util.h"
#include "version.h"

struct prometheus *prometheus_of(const struct config *c, bool native)
{
	_cleanup_free_ struct prometheus_label *labels = calloc((size_t)c->labels_len + 1, sizeof(*labels));
	struct prometheus_options o = {
	        .max_series = c->prometheus.max_series,
	        .native = native,
	        .labels = labels,
	        .labels_len = c->labels_len,
	        .version = STAKEOUT_VERSION,
	};

	if (!labels)
		return NULL;
	for (int i = 0; i < c->labels_len; i++)
		labels[i] = (struct prometheus_label){c->labels[i].name, c->labels[i].value};
	return prometheus_new(&o);
}
