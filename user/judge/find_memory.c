/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Memory that is taken anew all the time, that only grows, or that takes long to collect. */
#include <string.h>

#include "judge/find.h"
#include "lib/util.h"

#define PAGE_BYTES 4096.0
#define CHURN_TIMES_MIN 4.0 /* so often all that it ever had resident was touched anew: who starts touches it once */
#define FAULTS_A_FORK 4000.0 /* copies of pages after a fork, and a program's start, are no churn */
/* What a minor fault of anonymous memory takes at most, with its part of the unmapping; what waits and transfers take of the system's time. */
#define FAULT_MAX_NS 4000.0
#define SWITCH_NS 2000.0
#define TRANSFER_NS 3000.0

#define BLOCKS_SHARE 0.2 /* of its CPU time: an interpreter's objects take a tenth */
#define BLOCKS_CPU_MIN_NS 0.5e9 /* some 25 samples */
#define ALLOCATOR_DEPTH 3 /* operator new, malloc, _int_malloc */

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

static bool is_allocator(const char *name)
{
	static const char *const names[] = {"malloc", "free", "cfree", "calloc", "realloc", "__libc_malloc", "__libc_free", "__libc_calloc", "__libc_realloc", "_int_malloc",
	        "_int_free", "_int_realloc", "malloc_consolidate", "unlink_chunk", "tcache_init", "aligned_alloc", "posix_memalign", "PyObject_Malloc", "PyObject_Calloc",
	        "PyObject_Realloc", "PyObject_Free", "PyMem_Malloc", "PyMem_Calloc", "PyMem_Free", "runtime.mallocgc"};
	static const char *const starts[] = {"operator new", "operator delete", "_int_free_", "__rust_alloc", "__rust_dealloc", "je_", "mi_malloc", "mi_free", "tc_"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
		if (!strncmp(name, starts[i], strlen(starts[i])))
			return true;
	return false;
}

/* In an allocator's own code: what the kernel does for it is churn. */
static bool stack_allocates(const struct stacks *stacks, const uint32_t *frames, size_t len)
{
	for (size_t i = 0; i < len && i < ALLOCATOR_DEPTH; i++) {
		const struct frame *f = stacks_frame_at(stacks, frames[i]);

		if (!f || f->kind != FRAME_NATIVE)
			return false;
		if (is_allocator(f->name))
			return true;
	}
	return false;
}

static bool stack_of_tool(const struct agent_data *a, const struct stacks *stacks, const uint32_t *frames, size_t len)
{
	const struct frame *process = len ? stacks_frame_at(stacks, frames[len - 1]) : NULL;

	for (int i = 0; process && process->kind == FRAME_PROCESS && i < a->tools_len; i++)
		if (!strcmp(process->name, a->tools[i].name))
			return true;
	return false;
}

/* CPU time in allocators, and all of it, by the profile; of the agent without its tools. */
static double allocating_ns(const struct finding_input *in, double *ret_all)
{
	const struct sample_set *set = &in->data->samples[SAMPLE_CPU_NS];
	double ns = 0;

	*ret_all = 0;
	for (uint32_t i = 0; i < set->cap; i++) {
		size_t len;
		const uint32_t *frames = set->at[i].value ? stacks_at(in->stacks, set->at[i].stack, &len) : NULL;

		if (!frames || stack_of_tool(in->data, in->stacks, frames, len))
			continue;
		*ret_all += (double)set->at[i].value;
		if (stack_allocates(in->stacks, frames, len))
			ns += (double)set->at[i].value;
	}
	return ns;
}

/* By the profile, since probes at malloc take many times as long as it does: the probe heap says how many blocks there are, if it is on. */
void find_small_blocks(struct found *f)
{
	const struct agent_data *a = f->in->data;
	double all, ns = f->in->stacks ? allocating_ns(f->in, &all) : 0;
	struct heap_rate rate = heap_rate_allocs(&a->heap);
	struct finding what = {.id = FINDING_SMALL_BLOCKS, .cost_cpu_s = a_minute(f->in, ns)};
	char sizes[128] = "", more[128] = "";

	if (ns < BLOCKS_CPU_MIN_NS || what.cost_cpu_s < COST_TOLD_S || ns < BLOCKS_SHARE * all)
		return;
	what.severity = severity_of_cost(&what);
	if (own_count(a, M_HEAP_ALLOC_BYTES) > 0)
		snprintf(sizes, sizeof(sizes), "; blocks of %s (median)", bytes_text(hist_quantile(a->metrics.hist[M_HEAP_ALLOC_BYTES], 0.5)));
	if (own_count(a, M_HEAP_LIFETIME_NS) > 0)
		snprintf(more, sizeof(more), ", that live for %s", ns_text(hist_quantile(a->metrics.hist[M_HEAP_LIFETIME_NS], 0.5)));
	else if (a->heap.mode == HEAP_SAMPLED && !rate.thin)
		snprintf(more, sizeof(more), ", %s to %s a second (95 %%)", rate_text(rate.low), rate_text(rate.high));
	evidence(&what, "%.0f %% of its CPU time (%s) was spent in the allocator itself, by the profile%s%s", ns / all * 100, ns_text(ns), sizes, more);
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
