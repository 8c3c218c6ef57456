/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Lines of stacks: what a file's numbers stand for. A line continues the numbers of the lines before; where one of those was lost its numbers stay
 * unknown, and what refers to them counts as "(other)".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "model/recording_parse.h"

void stack_numbers_fini(struct stack_numbers *n)
{
	free(n->frames);
	free(n->stacks);
}

static int numbers_prepare(struct stack_numbers *n)
{
	if (!n->frames)
		n->frames = calloc(FRAMES_MAX, sizeof(*n->frames));
	if (!n->stacks)
		n->stacks = calloc(STACKS_MAX, sizeof(*n->stacks));
	if (!n->frames || !n->stacks)
		return -ENOMEM;
	if (!n->frames_end) /* number 0 is implied */
		n->frames_end = n->stacks_end = 1;
	return 0;
}

/* The array called key, or NULL, and the number of its first element. end: behind the numbers told so far. */
static int take_numbered(struct refusal *r, const struct json_node *obj, const char *key, const char *first_key, uint32_t end, size_t max, const struct json_node **ret,
			 uint64_t *ret_first)
{
	int err = take_child(r, obj, key, NODE_ARRAY, ret);

	*ret_first = 0;
	if (!err)
		err = take_u64(r, obj, first_key, ret_first);
	if (err || !*ret)
		return err;
	if (*ret_first < end)
		return refuse(r, "numbers of %s that were told before", key);
	if (*ret_first > max || (*ret)->len > max - *ret_first)
		return refuse(r, "more than %zu %s", max, key);
	return 0;
}

/* A kind of a later program is taken for native. */
static enum frame_kind frame_kind_of(const char *name)
{
	for (int k = 0; k < FRAME_KINDS; k++)
		if (!strcmp(name, frame_kind_names[k]))
			return (enum frame_kind)k;
	return FRAME_NATIVE;
}

/* The texts stay borrowed from obj. */
static int parse_frame(struct refusal *r, const struct json_node *obj, struct frame *ret)
{
	const char *kind = "";
	uint64_t line = 0;
	int err;

	*ret = (struct frame){ .name = "", .file = "", .module = "" };
	if (obj->kind != NODE_OBJECT)
		return refuse(r, "a frame is not an object");
	err = take_string(r, obj, "kind", &kind);
	if (!err)
		err = take_string(r, obj, "name", &ret->name);
	if (!err)
		err = take_string(r, obj, "file", &ret->file);
	if (!err)
		err = take_string(r, obj, "module", &ret->module);
	if (!err)
		err = take_u64(r, obj, "line", &line);
	if (!err && line > UINT32_MAX)
		err = refuse(r, "a line number beyond 32 bits");
	ret->kind = frame_kind_of(kind);
	ret->line = (uint32_t)line;
	return err;
}

static int check_stack(struct refusal *r, const struct json_node *stack)
{
	size_t len;

	if (stack->kind != NODE_ARRAY && stack->kind != NODE_NUMBERS)
		return refuse(r, "a stack is not an array");
	return json_numbers(stack, &len) ? 0 : refuse(r, "a frame's number is not a whole number from 0");
}

/* Nothing is taken of a line that is wrong somewhere. */
static int check_elements(struct refusal *r, const struct json_node *frames, const struct json_node *stacks)
{
	const struct json_node *value;
	struct json_walk walk;
	struct frame f;
	int err = 0;

	for (walk = json_walk(frames); json_element(&walk, &value);) {
		err = parse_frame(r, value, &f);
		if (err)
			return err;
	}
	for (walk = json_walk(stacks); json_element(&walk, &value);) {
		err = check_stack(r, value);
		if (err)
			return err;
	}
	return 0;
}

static uint32_t frame_of(struct stack_numbers *n, uint64_t number)
{
	if (!number)
		return 0;
	if (number < n->frames_end && n->frames[number])
		return n->frames[number];
	n->unknown++;
	return 0;
}

static int take_stack(struct stack_numbers *n, const struct json_node *stack, uint32_t *ret)
{
	size_t len;
	const uint64_t *numbers = json_numbers(stack, &len);
	_cleanup_free_ uint32_t *frames = calloc(len + 1, sizeof(*frames));

	if (!frames)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++)
		frames[i] = frame_of(n, numbers[i]);
	*ret = stacks_add(n->table, frames, len);
	return 0;
}

int parse_stacks(struct parser *p, const struct json_node *obj)
{
	struct stack_numbers *n = &p->numbers;
	struct refusal *r = &p->refusal;
	uint64_t first_frame, first_stack;
	const struct json_node *frames, *stacks, *value;
	struct json_walk walk;
	int err = numbers_prepare(n);

	if (!err)
		err = take_numbered(r, obj, "frames", "first_frame", n->frames_end, FRAMES_MAX, &frames, &first_frame);
	if (!err)
		err = take_numbered(r, obj, "stacks", "first_stack", n->stacks_end, STACKS_MAX, &stacks, &first_stack);
	if (!err)
		err = check_elements(r, frames, stacks);
	if (err)
		return err;
	for (walk = json_walk(frames); json_element(&walk, &value); first_frame++) {
		struct frame f;

		parse_frame(r, value, &f);
		n->frames[first_frame] = stacks_frame(n->table, &f);
		n->frames_end = (uint32_t)(first_frame + 1);
	}
	for (walk = json_walk(stacks); !err && json_element(&walk, &value); first_stack++) {
		err = take_stack(n, value, &n->stacks[first_stack]);
		n->stacks_end = (uint32_t)(first_stack + 1);
	}
	return err;
}
