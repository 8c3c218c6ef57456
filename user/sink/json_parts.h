/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the files of the JSON report share; nobody else includes it. */
#ifndef STAKEOUT_JSON_PARTS_H
#define STAKEOUT_JSON_PARTS_H

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "judge/outlooks.h"
#include "judge/trend.h"
#include "lib/util.h"
#include "model/recording.h"

/* Any bytes, as a JSON string: what isn't UTF-8 is made so. */
static inline json_t *text_json(const char *s)
{
	json_t *j = json_string(s);
	_cleanup_free_ char *clean = j ? NULL : strdup(s);

	return j ? j : json_string(clean ? text_sanitize(clean) : "");
}

/* JSON has no infinities. */
static inline json_t *number_json(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

static inline json_t *integer_json(uint64_t v)
{
	return v <= INT64_MAX ? json_integer((json_int_t)v) : json_real((double)v);
}

static inline json_t *seconds_json(uint64_t ns)
{
	return number_json((double)ns / 1e9);
}

/* Adds to an agent's object what its stacks, heap, garbage collection, limits and memory's outlook say, and its notes. stacks: also the stacks themselves. */
void depth_json(json_t *agent, const struct recording *r, const struct recording_agent *a, const struct outlooks *outlooks, bool stacks);

/* What is to be changed, the dearest first; NULL when out of memory. And what could not be judged, and why. */
json_t *findings_json(const struct recording *r, const struct outlooks *outlooks);
json_t *findings_unjudged_json(const struct recording *r);
/* Figures that were followed, those that are not steady first; only of agents that are reported. all: also those that there is nothing to tell of. */
json_t *trends_json(const struct recording *r, const struct trend_list *l, bool all);
/* How many have each verdict. */
json_t *trends_count_json(const struct recording *r, const struct trend_list *l);

#endif
