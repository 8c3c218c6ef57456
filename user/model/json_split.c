/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Long texts: their elements are found by brackets and quotes alone, and each is read when its turn comes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "model/json_tree.h"

/* Nothing here is sure that the text is JSON: that shows when the parts, and what is left without them, are read. */
struct scan {
	const char *at, *end;
	const char *hole, *hole_end; /* the array; NULL: there is none */
};

#define ZEROS "0,0,0,0," /* most buckets of a histogram are empty */

static inline void skip_blanks(struct scan *s)
{
	while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
		s->at++;
}

/* From a quote to behind the one that closes it. */
static bool skip_string(struct scan *s)
{
	for (s->at++; s->at < s->end; s->at++) {
		if (*s->at == '\\')
			s->at++;
		else if (*s->at == '"')
			return s->at++, true;
	}
	return false;
}

/* Past a value. Only brackets are counted: whether it is JSON shows when it is read. */
static bool skip_value(struct scan *s)
{
	/* 1: a bracket opens; 2: one closes; 3: a quote; 4: what ends a value that has no bracket. */
	static const unsigned char kinds[256] = {['{'] = 1,
	        ['['] = 1,
	        ['}'] = 2,
	        [']'] = 2,
	        ['"'] = 3,
	        [','] = 4,
	        [' '] = 4,
	        ['\t'] = 4,
	        ['\n'] = 4,
	        ['\r'] = 4};
	const char *begin = s->at;
	size_t depth = 0;

	while (s->at < s->end) {
		unsigned char kind = kinds[(unsigned char)*s->at];

		if (kind == 3) {
			if (!skip_string(s))
				return false;
			if (!depth)
				break;
			continue;
		}
		if (!depth && (kind == 2 || kind == 4))
			break;
		if (*s->at == '0' && depth) {
			while (s->end - s->at >= 8 && !memcmp(s->at, ZEROS, 8))
				s->at += 8;
			if (*s->at != '0')
				continue;
		}
		s->at++;
		depth += kind == 1;
		depth -= kind == 2;
		if (kind == 2 && !depth)
			break;
	}
	return !depth && s->at > begin && s->at <= s->end;
}

static int part_add(struct json_list *l, const char *text, size_t len)
{
	if (l->len == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		struct json_part *parts = reallocarray(l->parts, cap, sizeof(*parts));

		if (!parts)
			return -ENOMEM;
		l->parts = parts;
		l->cap = cap;
	}
	l->parts[l->len++] = (struct json_part){text, len};
	return 0;
}

static int skip_elements(struct scan *s, size_t max, struct json_list *list)
{
	s->at++;
	skip_blanks(s);
	if (s->at < s->end && *s->at == ']')
		return s->at++, 0;
	for (;;) {
		const char *begin = s->at;
		int err;

		if (!skip_value(s))
			return -EBADMSG;
		if (s->at - begin > JSON_TEXT_MAX || list->len == max)
			return -EFBIG;
		err = part_add(list, begin, (size_t)(s->at - begin));
		if (err)
			return err;
		skip_blanks(s);
		if (s->at == s->end || *s->at != ',')
			break;
		s->at++;
		skip_blanks(s);
	}
	return s->at < s->end && *s->at == ']' ? s->at++, 0 : -EBADMSG;
}

/* Finds the array called key among the members of the object; where anything is wrong with the others shows when they are read. */
static int find_hole(struct scan *s, const char *key, size_t max, struct json_list *list)
{
	const size_t key_len = strlen(key);
	bool seen = false;
	int err;

	skip_blanks(s);
	if (s->at == s->end || *s->at != '{')
		return -EBADMSG;
	s->at++;
	for (;;) {
		const char *name;
		bool wanted;

		skip_blanks(s);
		name = s->at;
		if (s->at == s->end || *name != '"' || !skip_string(s))
			return 0;
		wanted = (size_t)(s->at - name) == key_len + 2 && !memcmp(name + 1, key, key_len);
		if (wanted && seen)
			return -EBADMSG;
		seen |= wanted;
		skip_blanks(s);
		if (s->at == s->end || *s->at++ != ':')
			return 0;
		skip_blanks(s);
		if (wanted && s->at < s->end && *s->at == '[') {
			s->hole = s->at;
			err = skip_elements(s, max, list);
			if (err)
				return err;
			s->hole_end = s->at;
		} else if (!skip_value(s)) {
			return 0;
		}
		skip_blanks(s);
		if (s->at == s->end || *s->at++ != ',')
			return 0;
	}
}

/* The text with an empty array in place of the hole. */
static int read_rest(struct json_tree *t, const char *text, size_t len, const struct scan *s, const struct json_node **ret_root)
{
	const size_t before = s->hole ? (size_t)(s->hole - text) : len,
	             after = s->hole ? len - (size_t)(s->hole_end - text) : 0;
	_cleanup_free_ char *rest = NULL;

	if (before + after > JSON_TEXT_MAX)
		return -EFBIG;
	rest = malloc(before + 2 + after + JSON_TEXT_PADDING);
	if (!rest)
		return -ENOMEM;
	memcpy(rest, text, before);
	if (s->hole) {
		memcpy(rest + before, "[]", 2);
		memcpy(rest + before + 2, s->hole_end, after);
	}
	return json_tree_read(t, rest, before + (s->hole ? 2 : 0) + after, ret_root);
}

static int split_text(struct json_tree *t, const char *text, size_t len, const char *key, size_t max,
        const struct json_node **ret_root, struct json_list *list)
{
	struct scan s = {.at = text, .end = text + len};
	int err = find_hole(&s, key, max, list);

	list->texts = true;
	return err ? err : read_rest(t, text, len, &s, ret_root);
}

/* The same of a tree that has it all. */
static int split_tree(const struct json_node *root, const char *key, size_t max, struct json_list *list)
{
	struct json_walk walk = json_walk(root);
	struct json_node *array = NULL;
	const struct json_node *value;
	const char *name;
	int seen = 0;

	if (!json_is(root, NODE_OBJECT))
		return -EBADMSG;
	while (json_member(&walk, &name, &value)) {
		if (strcmp(name, key))
			continue;
		seen++;
		if (value->kind >= NODE_ARRAY && value->kind != NODE_OBJECT)
			array = (struct json_node *)value; /* of a tree of the caller's */
	}
	if (seen > 1)
		return -EBADMSG;
	if (!array)
		return 0;
	if (array->len > max)
		return -EFBIG;
	list->walk = json_walk(array);
	list->len = array->len;
	array->kind = NODE_ARRAY;
	array->len = 0; /* what is behind it is still found */
	return 0;
}

int json_tree_split(struct json_tree *t, const char *text, size_t len, const char *key, size_t max,
        const struct json_node **ret_root, struct json_list *list)
{
	int err;

	list->len = list->at = 0;
	list->walk = (struct json_walk){0};
	list->texts = false;
	if (len > JSON_WHOLE_MAX)
		return split_text(t, text, len, key, max, ret_root, list);
	err = json_tree_read(t, text, len, ret_root);
	return err ? err : split_tree(*ret_root, key, max, list);
}

int json_list_next(struct json_list *l, const struct json_node **ret)
{
	const struct json_part *part;
	int err;

	if (!l->texts)
		return json_element(&l->walk, ret);
	if (l->at == l->len)
		return 0;
	part = &l->parts[l->at++];
	err = json_tree_read(&l->element, part->text, part->len, ret);
	return err ? err : 1;
}

void json_list_fini(struct json_list *l)
{
	json_tree_fini(&l->element);
	free(l->parts);
	*l = (struct json_list){0};
}
