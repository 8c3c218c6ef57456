/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Looking at trees of JSON. */
#include <string.h>

#include "model/json_tree.h"

static inline const struct json_node *behind(const struct json_node *n)
{
	return n + (n->kind >= NODE_ARRAY ? n->nodes : 1);
}

const struct json_node *json_get(const struct json_node *obj, const char *key)
{
	const struct json_node *found = NULL, *at;
	const size_t len = strlen(key);

	if (!json_is(obj, NODE_OBJECT))
		return NULL;
	at = obj + 1;
	for (uint32_t i = 0; i < obj->len; i++) {
		if (at->len == len && !memcmp(at->string, key, len))
			found = at + 1;
		at = behind(at + 1);
	}
	return found;
}

static inline bool is_key(const struct json_node *n, const struct json_key *key)
{
	return n->len == key->len && !memcmp(n->string, key->name, key->len);
}

void json_pick(const struct json_node *obj, const struct json_key *keys, size_t len, const struct json_node **ret)
{
	const struct json_node *at;
	size_t next = 0; /* the key that is likely to come */

	memset(ret, 0, len * sizeof(*ret));
	if (!json_is(obj, NODE_OBJECT))
		return;
	at = obj + 1;
	for (uint32_t i = 0; i < obj->len; i++) {
		size_t k = next, tried = 0;

		while (tried < len && !is_key(at, &keys[k])) {
			k = k + 1 < len ? k + 1 : 0;
			tried++;
		}
		if (tried < len) {
			ret[k] = at + 1;
			next = k + 1 < len ? k + 1 : 0;
		}
		at = behind(at + 1);
	}
}

const uint64_t *json_numbers(const struct json_node *array, size_t *ret_len)
{
	static const uint64_t none;

	*ret_len = 0;
	if (json_is(array, NODE_ARRAY) && !array->len)
		return &none;
	if (!json_is(array, NODE_NUMBERS))
		return NULL;
	*ret_len = array->len;
	return (const uint64_t *)(array + 1);
}

struct json_walk json_walk(const struct json_node *of)
{
	if (!of || of->kind < NODE_ARRAY)
		return (struct json_walk){0};
	return (struct json_walk){.at = of + 1, .left = of->len, .numbers = of->kind == NODE_NUMBERS};
}

bool json_element(struct json_walk *w, const struct json_node **ret)
{
	static const struct json_node number = {.kind = NODE_INTEGER};

	if (!w->left)
		return false;
	w->left--;
	*ret = w->numbers ? &number : w->at;
	if (!w->numbers)
		w->at = behind(w->at);
	return true;
}

bool json_member(struct json_walk *w, const char **ret_key, const struct json_node **ret)
{
	if (!w->left)
		return false;
	w->left--;
	*ret_key = w->at->string;
	*ret = w->at + 1;
	w->at = behind(w->at + 1);
	return true;
}
