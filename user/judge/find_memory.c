/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Memory that is taken anew all the time, that only grows, or that takes long to collect. */
#include "judge/find.h"

#define PAGE_BYTES 4096.0
#define CHURN_TIMES_MIN 4.0 /* so often all that it ever had resident was touched anew: who starts touches it once */
#define FAULTS_A_FORK 4000.0 /* copies of pages after a fork, and a program's start, are no churn */
/* What a minor fault of anonymous memory takes at most, with its part of the unmapping; what waits and transfers take of the system's time. */
#define FAULT_MAX_NS 4000.0
#define SWITCH_NS 2000.0
#define TRANSFER_NS 3000.0

#define GROWTH_WARNING 0.01 /* of the resident memory, a minute */
#define LIMIT_CRITICAL_S 600.0
#define LIMIT_WARNING_S 86400.0
#define LIMIT_TOLD_S (100 * 86400.0)

#define GC_PAUSES_MIN 10 /* from 1 ms on: a single short one may have been preempted */
#define GC_MANY 1000 /* so many count however short */
#define GC_SHARE_MIN 0.01 /* of the time */
#define GC_LONG_NS 50e6 /* a pause that is felt */

void find_allocation_churn(struct found *f)
{
	const struct agent_data *a = f->in->data;
	double faults = own_value(a, M_FAULTS_MINOR), peak = (double)a->metrics.value[M_RSS_PEAK_BYTES],
	       touched = faults * PAGE_BYTES;
	double system = own_value(a, M_CPU_SYSTEM_NS), maps = own_count(a, M_MAP_BYTES);
	struct finding what = {.id = FINDING_ALLOCATION_CHURN};

	if (!(peak > 0) || touched < CHURN_TIMES_MIN * peak || faults < FAULTS_A_FORK * (double)a->metrics.value[M_FORKS])
		return;
	system -= own_value(a, M_SWITCHES_VOLUNTARY) * SWITCH_NS +
	          (own_count(a, M_SEND_BYTES) + own_count(a, M_RECV_BYTES)) * TRANSFER_NS;
	what.cost_cpu_s = a_minute(f->in, fmin(system, faults * FAULT_MAX_NS));
	if (what.cost_cpu_s < COST_TOLD_S)
		return;
	what.severity = severity_of_cost(&what);
	evidence(&what,
	        "%s page faults a second touched %s anew, %.0f times the %s that it ever had resident; %s mappings a second, "
	        "of %s on average",
	        rate_text(faults / f->in->seconds), bytes_text(touched), touched / peak, bytes_text(peak),
	        rate_text(maps / f->in->seconds), bytes_text(maps > 0 ? own_sum(a, M_MAP_BYTES) / maps : 0));
	found_add(f, &what);
}

void find_memory_growth(struct found *f)
{
	const struct outlook *o = f->in->memory;
	double rss = (double)f->in->data->metrics.value[M_RSS_BYTES];
	struct finding what = {.id = FINDING_MEMORY_GROWTH};

	if (!o || o->verdict != OUTLOOK_GROWING)
		return;
	what.cost_bytes = o->slope * 60;
	if (o->to_limit_s >= 0 && o->to_limit_s < LIMIT_WARNING_S)
		what.severity = o->to_limit_s < LIMIT_CRITICAL_S ? SEVERITY_CRITICAL : SEVERITY_WARNING;
	else if (what.cost_bytes > GROWTH_WARNING * rss)
		what.severity = SEVERITY_WARNING;
	if (o->to_limit_s >= 0 && o->to_limit_s < LIMIT_TOLD_S)
		evidence(&what, "it grows by %s/s (%s to %s, 95 %%), and reaches its limit of %s in %s", bytes_text(o->slope),
		        bytes_text(o->low), bytes_text(o->high), bytes_text((double)o->limit_bytes),
		        ns_text(o->to_limit_s * 1e9));
	else
		evidence(&what, "it grows by %s/s (%s to %s, 95 %%)", bytes_text(o->slope), bytes_text(o->low),
		        bytes_text(o->high));
	found_add(f, &what);
}

void find_gc_pauses(struct found *f)
{
	const struct agent_data *a = f->in->data;
	double pauses = own_count(a, M_GC_PAUSE_NS), sum = own_sum(a, M_GC_PAUSE_NS), full = own_sum(a, M_GC_PAUSE_FULL_NS),
	       felt, lengthy;
	double ran = (double)a->main.ns[STATE_RUNNING], waited = (double)a->main.ns[STATE_RUNNABLE];
	/* A pause may be long for want of a CPU, which is a finding of its own. But without pauses all their time is saved. */
	double collected = sum * (ran > 0 ? ran / (ran + waited) : 1);
	struct finding what = {.id = FINDING_GC, .cost_s = a_minute(f->in, sum)};

	own_from(a, M_GC_PAUSE_NS, GC_LONG_NS, &lengthy);
	own_from(a, M_GC_PAUSE_NS, 1e6, &felt);
	if ((felt < GC_PAUSES_MIN && pauses < GC_MANY) || collected / 1e9 < GC_SHARE_MIN * f->in->seconds)
		return;
	what.severity = severity_of_cost(&what);
	evidence(&what,
	        "%s pauses took %s, %.1f %% of the time; %.0f %% of that in full collections; %s were longer than 50 ms, the "
	        "longest %s",
	        count_text(pauses), ns_text(sum), sum / 1e7 / f->in->seconds, full / sum * 100, count_text(lengthy),
	        ns_text((double)a->metrics.hist[M_GC_PAUSE_NS]->max));
	found_add(f, &what);
}
