/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The profile goes out in parts: a message's repeated fields may stand in any number of pieces one after the other (Protocol Buffers, Encoding, "Last One
 * Wins": parsers merge them), so that no more of it is in memory than its table of strings.
 */
#include "sink/pprof.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <uthash.h>

#include "lib/timestamp.h"
#include "lib/util.h"
#include "proto/pprof.pb-c.h"
#include "sink/frames.h"

/* What pprof calls them: "cpu", "alloc_space" and "inuse_.." are those of Go's runtime/pprof. */
static const struct pprof_type {
	const char *type, *unit;
} pprof_types[SAMPLE_COUNT] = {
	[SAMPLE_CPU_NS] = { "cpu", "nanoseconds" },	    [SAMPLE_OFFCPU_NS] = { "offcpu", "nanoseconds" },
	[SAMPLE_ALLOC_BYTES] = { "alloc_space", "bytes" },  [SAMPLE_LIVE_BYTES] = { "inuse_space", "bytes" },
	[SAMPLE_LIVE_BLOCKS] = { "inuse_objects", "count" }, [SAMPLE_LEAK_BYTES] = { "leak_space", "bytes" },
};

struct string {
	char *text; /* owned */
	int64_t index;
	UT_hash_handle hh;
};

struct pprof {
	gzFile out;
	const struct recording *r;
	bool present[SAMPLE_COUNT];
	int types; /* of them */
	struct string *strings;
	int64_t strings_len;
	int64_t *mapping_names; /* string indices */
	size_t mappings, mappings_cap;
	uint8_t *packed;
	size_t packed_cap;
	int err; /* the first */
};

/* Index of text in the string table; what isn't UTF-8 is made so, since the format's strings have to be. */
static int64_t string_of(struct pprof *p, const char *text)
{
	char *clean = strdup(text);
	struct string *s = NULL;

	if (clean) {
		text_sanitize(clean);
		HASH_FIND_STR(p->strings, clean, s);
		if (s) {
			free(clean);
			return s->index;
		}
		s = malloc(sizeof(*s));
	}
	if (!s) {
		free(clean);
		p->err = p->err ? p->err : -ENOMEM;
		return 0;
	}
	*s = (struct string){ .text = clean, .index = p->strings_len++ };
	HASH_ADD_KEYPTR(hh, p->strings, s->text, strlen(s->text), s);
	return s->index;
}

static void part_write(struct pprof *p, const Pprof__Profile *part)
{
	size_t len = pprof__profile__get_packed_size(part);

	if (p->err)
		return;
	if (len > p->packed_cap) {
		uint8_t *packed = realloc(p->packed, len);

		if (!packed) {
			p->err = -ENOMEM;
			return;
		}
		p->packed = packed;
		p->packed_cap = len;
	}
	pprof__profile__pack(part, p->packed);
	errno = 0;
	if (len && gzwrite(p->out, p->packed, (unsigned)len) != (int)len)
		p->err = errno ? -errno : -EIO;
}

/* CPU time that a stack stands for, on average; 0: not known. */
static int64_t period_of(const struct recording *r)
{
	uint64_t sum = 0, samples = 0;

	for (int i = 0; i < r->agents_len; i++) {
		sum += sample_set_sum(&r->agents[i].total.samples[SAMPLE_CPU_NS]);
		samples += r->agents[i].total.metrics.value[M_PROFILE_SAMPLES];
	}
	return samples ? (int64_t)(sum / samples) : 0;
}

static void head_write(struct pprof *p)
{
	Pprof__ValueType types[SAMPLE_COUNT], *type_list[SAMPLE_COUNT], period = PPROF__VALUE_TYPE__INIT;
	Pprof__Profile part = PPROF__PROFILE__INIT;
	char comment[1024];
	int64_t comments[1];

	string_of(p, ""); /* has to be the first */
	for (int i = 0; i < SAMPLE_COUNT; i++) {
		Pprof__ValueType *type = &types[part.n_sample_type];

		if (!p->present[i])
			continue;
		pprof__value_type__init(type);
		type->type = string_of(p, pprof_types[i].type);
		type->unit = string_of(p, pprof_types[i].unit);
		if (!part.n_sample_type)
			part.default_sample_type = type->type;
		type_list[part.n_sample_type++] = type;
	}
	part.sample_type = type_list;
	timestamp_parse(p->r->header.start, &part.time_nanos);
	part.duration_nanos = (int64_t)(p->r->duration_s * 1e9);
	part.period = p->present[SAMPLE_CPU_NS] ? period_of(p->r) : 0;
	if (part.period) {
		period.type = string_of(p, pprof_types[SAMPLE_CPU_NS].type);
		period.unit = string_of(p, pprof_types[SAMPLE_CPU_NS].unit);
		part.period_type = &period;
	}
	snprintf(comment, sizeof(comment), "stakeout: host %s, kernel %s", p->r->header.host.name, p->r->header.host.kernel);
	comments[0] = string_of(p, comment);
	part.comment = comments;
	part.n_comment = 1;
	part_write(p, &part);
}

/* The frames that samples refer to. NULL: out of memory. */
static bool *frames_used(const struct recording *r)
{
	bool *used = calloc(stacks_frames_len(r->stacks) + 1, sizeof(*used));

	for (int i = 0; i < r->agents_len * SAMPLE_COUNT && used; i++) {
		const struct sample_set *set = &r->agents[i / SAMPLE_COUNT].total.samples[i % SAMPLE_COUNT];

		for (uint32_t n = 0; n < set->cap; n++) {
			size_t len = 0;
			const uint32_t *frames = set->at[n].value ? stacks_at(r->stacks, set->at[n].stack, &len) : NULL;

			for (size_t f = 0; f < len; f++)
				used[frames[f]] = true;
		}
	}
	return used;
}

/* Number of the mapping called so, from 1; written when it is new. There are about as many as libraries. */
static uint64_t mapping_of(struct pprof *p, const char *module)
{
	Pprof__Mapping mapping = PPROF__MAPPING__INIT, *list[] = { &mapping };
	Pprof__Profile part = PPROF__PROFILE__INIT;
	int64_t name = string_of(p, module);

	for (size_t i = 0; i < p->mappings; i++)
		if (p->mapping_names[i] == name)
			return i + 1;
	if (p->mappings == p->mappings_cap) {
		size_t cap = p->mappings_cap ? p->mappings_cap * 2 : 64;
		int64_t *names = reallocarray(p->mapping_names, cap, sizeof(*names));

		if (!names) {
			p->err = p->err ? p->err : -ENOMEM;
			return 0;
		}
		p->mapping_names = names;
		p->mappings_cap = cap;
	}
	p->mapping_names[p->mappings++] = name;
	mapping.id = p->mappings;
	mapping.filename = name;
	mapping.has_functions = mapping.has_filenames = mapping.has_line_numbers = true; /* else pprof looks for the file, to find its own */
	part.mapping = list;
	part.n_mapping = 1;
	part_write(p, &part);
	return mapping.id;
}

/* A frame is a function and the one place in it: locations and functions have its number, from 1. */
static void frame_write(struct pprof *p, uint32_t number)
{
	const struct frame *f = stacks_frame_at(p->r->stacks, number);
	Pprof__Function function = PPROF__FUNCTION__INIT, *functions[] = { &function };
	Pprof__Location location = PPROF__LOCATION__INIT, *locations[] = { &location };
	Pprof__Line line = PPROF__LINE__INIT, *lines[] = { &line };
	Pprof__Profile part = PPROF__PROFILE__INIT;
	char name[FRAME_TEXT];

	function.id = location.id = line.function_id = number + 1ull;
	function.name = string_of(p, frame_function(f, name)); /* no system_name: pprof would take "<module>" for an argument of a template */
	function.filename = string_of(p, f->file);
	function.start_line = line.line = f->line;
	if (f->kind == FRAME_KERNEL)
		location.mapping_id = mapping_of(p, "[kernel.kallsyms]");
	else if (f->module[0])
		location.mapping_id = mapping_of(p, f->module);
	location.line = lines;
	location.n_line = 1;
	part.function = functions;
	part.n_function = 1;
	part.location = locations;
	part.n_location = 1;
	part_write(p, &part);
}

static void frames_write(struct pprof *p)
{
	_cleanup_free_ bool *used = frames_used(p->r);

	if (!used) {
		p->err = p->err ? p->err : -ENOMEM;
		return;
	}
	if (p->r->agents_len) /* what pprof calls the profile's file is its first mapping */
		mapping_of(p, p->r->agents[0].info.name);
	for (uint32_t i = 0; i < stacks_frames_len(p->r->stacks) && !p->err; i++)
		if (used[i])
			frame_write(p, i);
}

static bool tool_known(const struct agent_data *a, const char *name)
{
	for (int i = 0; i < a->tools_len; i++)
		if (!strcmp(a->tools[i].name, name))
			return true;
	return false;
}

static void sample_write(struct pprof *p, const struct recording_agent *agent, int type, const struct sample *sample)
{
	Pprof__Label labels[3] = { PPROF__LABEL__INIT, PPROF__LABEL__INIT, PPROF__LABEL__INIT };
	Pprof__Label *list[3] = { &labels[0], &labels[1], &labels[2] };
	Pprof__Sample one = PPROF__SAMPLE__INIT, *samples[] = { &one };
	Pprof__Profile part = PPROF__PROFILE__INIT;
	uint64_t locations[STACK_FRAMES_MAX + 1];
	int64_t values[SAMPLE_COUNT] = { 0 };
	size_t len = 0;
	const uint32_t *frames = stacks_at(p->r->stacks, sample->stack, &len);
	const struct frame *outermost = len ? stacks_frame_at(p->r->stacks, frames[len - 1]) : NULL;

	for (size_t i = 0; i < len && i <= STACK_FRAMES_MAX; i++)
		locations[one.n_location_id++] = frames[i] + 1ull;
	values[type] = sample->value <= INT64_MAX ? (int64_t)sample->value : INT64_MAX;
	labels[0].key = string_of(p, "agent");
	labels[0].str = string_of(p, agent->info.name);
	one.n_label = 1;
	if (outermost && outermost->kind == FRAME_PROCESS) {
		labels[1].key = string_of(p, "process");
		labels[1].str = string_of(p, outermost->name);
		labels[2].key = string_of(p, "tool");
		labels[2].str = labels[1].str;
		one.n_label = tool_known(&agent->total, outermost->name) ? 3 : 2;
	}
	one.location_id = locations;
	one.value = values;
	one.n_value = (size_t)p->types;
	one.label = list;
	part.sample = samples;
	part.n_sample = 1;
	part_write(p, &part);
}

static void samples_write(struct pprof *p, const struct recording_agent *agent)
{
	for (int i = 0, type = 0; i < SAMPLE_COUNT; i++) {
		const struct sample_set *set = &agent->total.samples[i];

		if (!p->present[i])
			continue;
		for (uint32_t n = 0; n < set->cap && !p->err; n++)
			if (set->at[n].value)
				sample_write(p, agent, type, &set->at[n]);
		type++;
	}
}

static void strings_write(struct pprof *p)
{
	struct string *s, *next;

	HASH_ITER(hh, p->strings, s, next) { /* in the order in which they were added */
		Pprof__Profile part = PPROF__PROFILE__INIT;

		part.string_table = &s->text;
		part.n_string_table = 1;
		part_write(p, &part);
	}
}

static void pprof_fini(struct pprof *p)
{
	struct string *s, *next;

	HASH_ITER(hh, p->strings, s, next) {
		HASH_DEL(p->strings, s);
		free(s->text);
		free(s);
	}
	free(p->mapping_names);
	free(p->packed);
}

int pprof_samples(const struct recording *r, bool ret_present[SAMPLE_COUNT])
{
	int n = 0;

	for (int i = 0; i < SAMPLE_COUNT; i++) {
		ret_present[i] = false;
		for (int a = 0; a < r->agents_len; a++)
			ret_present[i] = ret_present[i] || r->agents[a].total.samples[i].len;
		n += ret_present[i];
	}
	return n;
}

int pprof_write(int fd, const struct recording *r)
{
	struct pprof p = { .r = r };
	int copy = dup(fd);

	p.types = pprof_samples(r, p.present);
	p.out = copy >= 0 ? gzdopen(copy, "wb") : NULL;
	if (!p.out) {
		if (copy >= 0)
			close(copy);
		return copy >= 0 ? -ENOMEM : -errno;
	}
	head_write(&p);
	frames_write(&p);
	for (int i = 0; i < r->agents_len && !p.err; i++)
		samples_write(&p, &r->agents[i]);
	strings_write(&p);
	errno = 0;
	if (gzclose(p.out) != Z_OK && !p.err)
		p.err = errno ? -errno : -EIO;
	pprof_fini(&p);
	return p.err;
}
