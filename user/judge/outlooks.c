/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "judge/outlooks.h"

#include <errno.h>
#include <stdlib.h>

#include <uthash.h>

struct agent_series {
	int id;
	struct outlook_series series;
	UT_hash_handle hh;
};

static struct agent_series *series_of(struct outlooks *o, int id)
{
	struct agent_series *a;

	HASH_FIND_INT(o->agents, &id, a);
	if (a)
		return a;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->id = id;
	HASH_ADD_INT(o->agents, id, a);
	return a;
}

int outlooks_interval(void *outlooks, const struct interval_data *i)
{
	for (int n = 0; n < i->agents_len; n++) {
		const struct agent_data *a = i->agents[n];
		const uint64_t *v = a->metrics.value;
		struct agent_series *s;

		if (!a->alive || !v[M_RSS_BYTES]) /* of one that is gone nothing is resident, which is no trend */
			continue;
		s = series_of(outlooks, a->id);
		if (!s)
			return -ENOMEM;
		outlook_add(&s->series, i->end_s, v[M_RSS_BYTES], v[M_MEMORY_LIMIT_BYTES], v[M_MEMORY_LEFT_BYTES]);
	}
	return 0;
}

void outlooks_judge(const struct outlooks *o, int agent, struct outlook *ret)
{
	struct agent_series *a = NULL;

	if (o)
		HASH_FIND_INT(o->agents, &agent, a);
	*ret = (struct outlook){ .verdict = OUTLOOK_INSUFFICIENT, .to_limit_s = -1, .to_limit_low_s = -1, .to_limit_high_s = -1 };
	if (a)
		outlook_judge(&a->series, ret);
}

void outlooks_fini(struct outlooks *o)
{
	struct agent_series *a, *next;

	HASH_ITER(hh, o->agents, a, next) {
		HASH_DEL(o->agents, a);
		free(a);
	}
}
