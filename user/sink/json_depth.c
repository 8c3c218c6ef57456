/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The parts of the JSON report that look into an agent: stacks, heap, garbage collection, limits, outlook. */
#include <stdlib.h>

#include "sink/json_parts.h"
#include "sink/profile.h"

#define STACKS_SHOWN 200 /* of each kind; the rest is summed in "other" */
#define FUNCTIONS_SHOWN 100

static json_t *frame_json(const struct frame *f)
{
	json_t *j = json_object();

	json_object_set_new(j, "kind", text_json(frame_kind_names[f->kind]));
	json_object_set_new(j, "name", text_json(f->name));
	if (f->module[0])
		json_object_set_new(j, "module", text_json(f->module));
	if (f->file[0])
		json_object_set_new(j, "file", text_json(f->file));
	if (f->line)
		json_object_set_new(j, "line", integer_json(f->line));
	return j;
}

static json_t *stacks_json(const struct stacks *s, const struct sample_set *set, uint64_t *ret_other)
{
	json_t *list = json_array();
	size_t len = 0;
	_cleanup_free_ struct sample *sorted = sample_set_sorted(set, &len);

	*ret_other = 0;
	for (size_t i = 0; sorted && i < len; i++) {
		json_t *j, *frames;
		size_t frames_len = 0;
		const uint32_t *at = stacks_at(s, sorted[i].stack, &frames_len);

		if (i >= STACKS_SHOWN) {
			*ret_other += sorted[i].value;
			continue;
		}
		j = json_object();
		frames = json_array();
		for (size_t n = 0; n < frames_len; n++)
			json_array_append_new(frames, frame_json(stacks_frame_at(s, at[n])));
		json_object_set_new(j, "value", integer_json(sorted[i].value));
		json_object_set_new(j, "frames", frames);
		json_array_append_new(list, j);
	}
	return list;
}

static json_t *functions_json(const struct stacks *s, const struct sample_set *set)
{
	json_t *list = json_array();
	size_t len;
	_cleanup_free_ struct function_row *rows = profile_functions(s, set, &len);

	for (size_t i = 0; rows && i < len && i < FUNCTIONS_SHOWN; i++) {
		json_t *j = frame_json(rows[i].frame);
		char name[FRAME_TEXT];

		json_object_set_new(j, "name", text_json(frame_function(rows[i].frame, name)));
		json_object_set_new(j, "self", integer_json(rows[i].self));
		json_object_set_new(j, "total", integer_json(rows[i].total));
		json_array_append_new(list, j);
	}
	return list;
}

/* The kinds of stacks that there are, by name; frames innermost first. */
static json_t *profiles_json(const struct stacks *s, const struct agent_data *a, bool stacks)
{
	static const char *const units[] = { [UNIT_NS] = "ns", [UNIT_BYTES] = "bytes", [UNIT_COUNT] = "count" };
	json_t *j = json_object();

	for (int i = 0; i < SAMPLE_COUNT; i++) {
		const struct sample_set *set = &a->samples[i];
		struct profile_unknown unknown;
		uint64_t other;
		json_t *of;

		if (!set->len)
			continue;
		profile_unknown(s, set, &unknown);
		of = json_object();
		json_object_set_new(of, "unit", text_json(units[sample_infos[i].unit]));
		json_object_set_new(of, "sum", integer_json(sample_set_sum(set)));
		json_object_set_new(of, "stacks_len", integer_json(set->len));
		json_object_set_new(of, "unknown", integer_json(unknown.whole));
		json_object_set_new(of, "unknown_leaf", integer_json(unknown.leaf));
		json_object_set_new(of, "unknown_callers", integer_json(unknown.cut));
		json_object_set_new(of, "functions", functions_json(s, set));
		if (stacks) {
			json_object_set_new(of, "stacks", stacks_json(s, set, &other));
			json_object_set_new(of, "other", integer_json(other));
		}
		json_object_set_new(j, sample_infos[i].name, of);
	}
	return j;
}

static json_t *rate_json(const struct heap_rate *r)
{
	json_t *j = json_object();

	json_object_set_new(j, "per_s", number_json(r->mean));
	json_object_set_new(j, "low", r->thin ? json_null() : number_json(r->low));
	json_object_set_new(j, "high", r->thin ? json_null() : number_json(r->high));
	return j;
}

/* Sampled: rates with intervals of 95 %; full: what was counted. */
static json_t *heap_json(const struct agent_data *a)
{
	const struct heap_data *h = &a->heap;
	const struct hist *sizes = a->metrics.hist[M_HEAP_ALLOC_BYTES];
	struct heap_rate allocs = heap_rate_allocs(h), bytes = heap_rate_bytes(h);
	json_t *j = json_object();

	if (h->mode == HEAP_FULL && a->observed_s > 0) {
		allocs.mean = allocs.low = allocs.high = (double)a->metrics.value[M_HEAP_ALLOCS] / a->observed_s;
		bytes.mean = bytes.low = bytes.high = (sizes ? (double)sizes->sum : 0) / a->observed_s;
		allocs.thin = bytes.thin = false;
	}
	json_object_set_new(j, "mode", text_json(h->mode == HEAP_FULL ? "full" : "sampled"));
	json_object_set_new(j, "allocations", rate_json(&allocs));
	json_object_set_new(j, "bytes", rate_json(&bytes));
	json_object_set_new(j, "trapped_s", number_json(h->trapped_s));
	json_object_set_new(j, "slowdown", a->observed_s > 0 ? number_json(h->trapped_s / a->observed_s) : json_null());
	if (h->mode == HEAP_SAMPLED) {
		json_object_set_new(j, "windows", integer_json(h->windows));
		json_object_set_new(j, "windows_thin", integer_json(h->windows_thin));
		json_object_set_new(j, "windows_failed", integer_json(h->windows_failed));
		json_object_set_new(j, "samples", integer_json(h->samples));
		json_object_set_new(j, "open_s", number_json(h->open_s));
	} else {
		json_object_set_new(j, "kept", number_json(h->kept));
		json_object_set_new(j, "unknown_frees", integer_json(h->unknown_frees));
		json_object_set_new(j, "late", integer_json(h->late));
		json_object_set_new(j, "late_s", number_json(h->late_s));
		json_object_set_new(j, "unseen", integer_json(h->unseen));
	}
	return j;
}

/* By generation; how long the pauses were is among the histograms. */
static json_t *gc_json(const struct agent_data *a)
{
	static const struct {
		enum metric_id metric;
		const char *name;
	} generations[] = {
		{ M_GC_PAUSE_YOUNG_NS, "young" }, { M_GC_PAUSE_MIDDLE_NS, "middle" }, { M_GC_PAUSE_FULL_NS, "full" }, { M_GC_PAUSE_NS, "all" }
	};
	json_t *j = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(generations); i++) {
		const struct hist *h = a->metrics.hist[generations[i].metric];
		json_t *of;

		if (!h || !h->count)
			continue;
		of = json_object();
		json_object_set_new(of, "count", integer_json(h->count));
		json_object_set_new(of, "total_s", seconds_json(h->sum));
		json_object_set_new(of, "share", a->observed_s > 0 ? number_json((double)h->sum / 1e9 / a->observed_s) : json_null());
		json_object_set_new(j, generations[i].name, of);
	}
	return j;
}

static json_t *wakers_json(const struct agent_data *a)
{
	json_t *wakers = json_array();

	for (const struct waker *w = a->wakers; w < a->wakers + WAKERS_KEPT && w->wakes; w++) {
		char name[sizeof(w->name) + 1] = "";
		json_t *waker = json_object();

		memcpy(name, w->name, sizeof(w->name));
		json_object_set_new(waker, "thread", text_json(name));
		json_object_set_new(waker, "wakes", integer_json(w->wakes));
		json_object_set_new(waker, "period_s", seconds_json(w->gaps_ns / w->wakes));
		json_object_set_new(waker, "cpu_s", seconds_json(w->cpu_ns));
		json_array_append_new(wakers, waker);
	}
	return wakers;
}

static json_t *limits_json(const struct agent_data *a)
{
	const uint64_t *v = a->metrics.value;
	json_t *j = json_object(), *rivals = json_array();

	for (int i = 0; i < RIVALS_KEPT && a->rivals[i].ns; i++) {
		char name[sizeof(a->rivals[i].name) + 1] = "";
		json_t *rival = json_object();

		memcpy(name, a->rivals[i].name, sizeof(a->rivals[i].name));
		json_object_set_new(rival, "name", text_json(name));
		json_object_set_new(rival, "cpu_s", seconds_json(a->rivals[i].ns));
		json_array_append_new(rivals, rival);
	}
	json_object_set_new(j, "runnable_s", seconds_json(a->threads.ns[STATE_RUNNABLE]));
	json_object_set_new(j, "throttles", integer_json(v[M_THROTTLES]));
	json_object_set_new(j, "throttled_s", seconds_json(v[M_THROTTLED_NS]));
	json_object_set_new(j, "pressure_cpu_s", seconds_json(v[M_PRESSURE_CPU_NS]));
	json_object_set_new(j, "steal_s", seconds_json(v[M_STEAL_NS]));
	json_object_set_new(j, "rivals", rivals);
	json_object_set_new(j, "rivals_other_s", seconds_json(a->rivals_other_ns));
	return j;
}

/* Times are null where the limit is never reached, or there is none. */
static json_t *outlook_json(const struct outlook *o)
{
	json_t *j = json_object();

	json_object_set_new(j, "verdict", text_json(outlook_names[o->verdict]));
	if (o->verdict == OUTLOOK_INSUFFICIENT)
		return j;
	json_object_set_new(j, "bytes_per_s", number_json(o->slope));
	json_object_set_new(j, "low", number_json(o->low));
	json_object_set_new(j, "high", number_json(o->high));
	json_object_set_new(j, "limit_bytes", o->limit_bytes ? integer_json(o->limit_bytes) : json_null());
	json_object_set_new(j, "to_limit_s", o->to_limit_s >= 0 ? number_json(o->to_limit_s) : json_null());
	json_object_set_new(j, "to_limit_low_s", o->to_limit_low_s >= 0 ? number_json(o->to_limit_low_s) : json_null());
	json_object_set_new(j, "to_limit_high_s", o->to_limit_high_s >= 0 ? number_json(o->to_limit_high_s) : json_null());
	return j;
}

void depth_json(json_t *agent, const struct recording *r, const struct recording_agent *a, const struct outlooks *outlooks, bool stacks)
{
	json_t *notes = json_array();
	struct outlook outlook;

	outlooks_judge(outlooks, a->info.id, &outlook);
	for (int i = 0; i < a->total.notes_len; i++)
		json_array_append_new(notes, text_json(a->total.notes[i]));
	json_object_set_new(agent, "profiles", profiles_json(r->stacks, &a->total, stacks));
	if (a->total.heap.mode != HEAP_NONE)
		json_object_set_new(agent, "heap", heap_json(&a->total));
	json_object_set_new(agent, "gc", gc_json(&a->total));
	json_object_set_new(agent, "limits", limits_json(&a->total));
	json_object_set_new(agent, "wakers", wakers_json(&a->total));
	json_object_set_new(agent, "outlook", outlook_json(&outlook));
	json_object_set_new(agent, "notes", notes);
}
