/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What an interval says of an agent beyond its metrics: samples of stacks, the heap, rivals, wakers and notes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/recording_parse.h"

#define NOTE_BYTES 512 /* of a note, with its NUL: longer ones are cut */
#define REAL_MAX 1e36 /* of a number that sums are made of: these stay finite */

/* ---- samples ---- */

static uint32_t stack_of(struct stack_numbers *n, uint64_t number)
{
	if (number == STACK_OTHER)
		return STACK_OTHER;
	if (number < n->stacks_end && n->stacks[number])
		return n->stacks[number];
	n->unknown++;
	return STACK_OTHER;
}

static int parse_set(struct parser *p, const struct json_node *array, struct sample_set *s, struct room *used)
{
	struct json_walk walk = json_walk(array);
	const struct json_node *entry;

	if (array->kind != NODE_ARRAY && array->kind != NODE_NUMBERS)
		return refuse(&p->refusal, "samples are not an array");
	while (json_element(&walk, &entry)) {
		size_t len;
		const uint64_t *pair = json_numbers(entry, &len);
		uint32_t before = s->len, number;

		if (!pair || len < 2)
			return refuse(&p->refusal, "a sample is not a stack and a whole number from 0");
		number = stack_of(&p->numbers, pair[0]);
		if (sample_set_add(s, used->samples < SAMPLES_MAX ? number : STACK_OTHER, pair[1]))
			return -ENOMEM;
		used->samples += s->len - before;
	}
	return 0;
}

static int parse_samples(struct parser *p, const struct json_node *agent, struct agent_data *a, struct room *used)
{
	const struct json_node *sets, *value;
	struct json_walk walk;
	const char *name;
	int err = take_child(&p->refusal, agent, "samples", NODE_OBJECT, &sets);

	if (err)
		return err;
	for (walk = json_walk(sets); json_member(&walk, &name, &value);) {
		int id = sample_find(name);

		if (id >= 0)
			err = parse_set(p, value, &a->samples[id], used);
		if (err)
			return err;
	}
	return 0;
}

/* ---- the heap ---- */

static enum heap_mode heap_mode_of(const char *name)
{
	for (int m = 0; m < HEAP_MODES; m++)
		if (!strcmp(name, heap_mode_names[m]))
			return (enum heap_mode)m;
	return HEAP_NONE; /* one of a later program: what its sums mean is not known */
}

static int parse_heap(struct refusal *r, const struct json_node *agent, struct heap_data *ret)
{
	struct heap_data h = { .kept = 1 };
	const char *mode = "";
	const struct json_node *heap;
	int err = take_child(r, agent, "heap", NODE_OBJECT, &heap);

	if (!err)
		err = take_string(r, heap, "mode", &mode);
	if (!err)
		err = take_real(r, heap, "kept", 1, &h.kept);
	for (const struct heap_field *f = heap_fields; f < heap_fields + HEAP_FIELDS && !err; f++) {
		void *sum = (char *)&h + f->offset;

		err = f->whole ? take_u64(r, heap, f->name, sum) : take_real(r, heap, f->name, REAL_MAX, sum);
	}
	h.mode = heap_mode_of(mode);
	if (!err && h.mode != HEAP_NONE)
		*ret = h;
	return err;
}

/* ---- rivals and notes ---- */

/* Bytes of a text that fit, without a part of a character. */
static size_t cut(const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);

	if (len > max)
		for (len = max; len && (text[len] & 0xc0) == 0x80;)
			len--;
	return len;
}

static int parse_rivals(struct refusal *r, const struct json_node *agent, struct agent_data *a)
{
	const struct json_node *rivals, *value;
	struct json_walk walk;
	uint64_t other = 0;
	int err = take_child(r, agent, "rivals", NODE_ARRAY, &rivals);

	if (err)
		return err;
	for (walk = json_walk(rivals); json_element(&walk, &value);) {
		char name[sizeof(a->rivals->name)] = "";
		const char *text = "";
		uint64_t ns = 0;

		if (value->kind != NODE_OBJECT)
			err = refuse(r, "a rival is not an object");
		if (!err)
			err = take_string(r, value, "name", &text);
		if (!err)
			err = take_u64(r, value, "ns", &ns);
		if (err)
			return err;
		memcpy(name, text, cut(text, sizeof(name) - 1));
		agent_data_rival(a, name, ns);
	}
	if (!err)
		err = take_u64(r, agent, "rivals_other_ns", &other);
	if (__builtin_add_overflow(a->rivals_other_ns, other, &a->rivals_other_ns))
		a->rivals_other_ns = UINT64_MAX;
	return err;
}

static int parse_wakers(struct refusal *r, const struct json_node *agent, struct agent_data *a)
{
	const struct json_node *wakers, *value;
	struct json_walk walk;
	int err = take_child(r, agent, "wakers", NODE_ARRAY, &wakers);

	if (err)
		return err;
	for (walk = json_walk(wakers); json_element(&walk, &value);) {
		struct waker w = {};
		const char *text = "";

		if (value->kind != NODE_OBJECT)
			err = refuse(r, "a waker is not an object");
		if (!err)
			err = take_string(r, value, "thread", &text);
		if (!err)
			err = take_u64(r, value, "wakes", &w.wakes);
		if (!err)
			err = take_u64(r, value, "gaps_ns", &w.gaps_ns);
		if (!err)
			err = take_u64(r, value, "cpu_ns", &w.cpu_ns);
		if (err)
			return err;
		memcpy(w.name, text, cut(text, sizeof(w.name) - 1));
		agent_data_waker(a, &w);
	}
	return 0;
}

static int parse_notes(struct refusal *r, const struct json_node *agent, struct agent_data *a, struct room *used)
{
	const struct json_node *notes, *value;
	struct json_walk walk;
	int err = take_child(r, agent, "notes", NODE_ARRAY, &notes);

	if (err)
		return err;
	for (walk = json_walk(notes); json_element(&walk, &value);) {
		char note[NOTE_BYTES] = "";
		const char *text = value->kind == NODE_STRING ? value->string : NULL;

		if (!text)
			return refuse(r, "a note is not a string");
		if (used->notes >= NOTES_MAX)
			continue;
		memcpy(note, text, cut(text, sizeof(note) - 1));
		used->notes -= (uint64_t)a->notes_len;
		if (agent_data_note(a, note))
			return -ENOMEM;
		used->notes += (uint64_t)a->notes_len;
	}
	return 0;
}

int parse_extras(struct parser *p, const struct json_node *obj, struct agent_data *a, struct room *used)
{
	int err = parse_samples(p, obj, a, used);

	if (!err)
		err = parse_heap(&p->refusal, obj, &a->heap);
	if (!err)
		err = parse_rivals(&p->refusal, obj, a);
	if (!err)
		err = parse_wakers(&p->refusal, obj, a);
	return err ? err : parse_notes(&p->refusal, obj, a, used);
}
