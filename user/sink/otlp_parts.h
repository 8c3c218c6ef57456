/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * How a request is put together; nobody but the files of the OTLP sink includes it. All that a request is made of lies in chunks that go with it, so that parts may be
 * shared (the attributes of a peer by all its points). When memory runs out the request is marked, and what is added from then on is left out.
 */
#ifndef STAKEOUT_OTLP_PARTS_H
#define STAKEOUT_OTLP_PARTS_H

#include <stdbool.h>

#include "proto/otlp.pb-c.h"
#include "sink/otlp.h"

struct otlp_chunk;

struct otlp_request {
	Otlp__ExportMetricsServiceRequest message;
	struct otlp_chunk *chunks;
	bool failed; /* out of memory */
};

struct otlp_attributes {
	size_t n;
	Otlp__KeyValue **list;
};

enum otlp_kind { OTLP_COUNTER, OTLP_UP_DOWN, OTLP_GAUGE, OTLP_HIST };

struct otlp_instrument {
	const char *name, *unit, *description; /* name may go away, the others may not */
	enum otlp_kind kind;
};

struct otlp_resource { /* one that is being written */
	struct otlp_request *r;
	Otlp__ScopeMetrics *scope; /* NULL: out of memory */
	uint64_t start_ns, time_ns; /* of its points; since 1970 */
};

/* Zeroed, or NULL. */
void *otlp_take(struct otlp_request *r, size_t size);
/* A copy that is UTF-8 without control characters, or NULL. */
char *otlp_text(struct otlp_request *r, const char *text);
/* Adds one more; key is borrowed. NULL and "" are texts like others. */
void otlp_attribute_text(struct otlp_request *r, struct otlp_attributes *a, const char *key, const char *value);
void otlp_attribute_int(struct otlp_request *r, struct otlp_attributes *a, const char *key, int64_t value);
/* A copy of a, to which more can be added. */
struct otlp_attributes otlp_attributes_copy(struct otlp_request *r, const struct otlp_attributes *a);

void otlp_resource_begin(struct otlp_resource *ret, struct otlp_request *r, const struct otlp_attributes *a, uint64_t start_ns, uint64_t time_ns);
/* Adds a point to the metric of that name, which is made when it is not among the latest ones. */
void otlp_add_int(struct otlp_resource *to, const struct otlp_instrument *i, const struct otlp_attributes *a, uint64_t value);
void otlp_add_double(struct otlp_resource *to, const struct otlp_instrument *i, const struct otlp_attributes *a, double value);
/* seconds: h is in nanoseconds and is told in seconds, see otlp.h. */
void otlp_add_hist(struct otlp_resource *to, const struct otlp_instrument *i, const struct otlp_attributes *a, const struct hist *h, bool seconds);

#endif
