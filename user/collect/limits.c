/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/world_model.h"

uint64_t world_cpu_ns(const struct world *w)
{
	uint64_t sum = 0;

	for (int i = 0; i < w->len; i++)
		if (w->agents[i]->spoke)
			sum += w->agents[i]->cur.metrics.value[M_CPU_USER_NS] + w->agents[i]->cur.metrics.value[M_CPU_SYSTEM_NS];
	return sum;
}

bool world_limits_known(const struct world *w, int place)
{
	return w->agents[place]->limits_known;
}

bool world_limits_wanted(const struct world *w, int place)
{
	return w->agents[place]->alive || !w->agents[place]->limits_over;
}

void world_limits(struct world *w, int place, const struct limits_reading *r)
{
	struct agent *a = w->agents[place];
	struct metric_set *s = &a->cur.metrics;

	a->limits_over = !a->alive;
	if (a->limits_known && w->probe_on[PROBE_SCHED]) {
		metric_add(s, M_THROTTLES, minus(r->throttles, a->limits.throttles));
		metric_add(s, M_THROTTLED_NS, minus(r->throttled_ns, a->limits.throttled_ns));
		metric_add(s, M_PRESSURE_CPU_NS, minus(r->pressure_cpu_ns, a->limits.pressure_cpu_ns));
		metric_add(s, M_STEAL_NS, minus(r->steal_ns, a->limits.steal_ns));
	}
	if (w->probe_on[PROBE_MEM]) {
		s->value[M_MEMORY_LIMIT_BYTES] = r->memory_limit_bytes;
		s->value[M_MEMORY_LEFT_BYTES] = r->memory_left_bytes;
	}
	a->limits = *r;
	a->limits_known = true;
}
