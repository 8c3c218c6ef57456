/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * JSON as a tree for reading, made to read much of it: simdjson reads the text; all nodes lie one behind the other in storage that is used again for the
 * next text, and an array of whole numbers takes eight bytes each, since nearly all of a recording is those. Strict: RFC 8259, with whole numbers that
 * fit in 64 bits signed, numbers that are finite, and strings that are UTF-8 and have no NUL.
 */
#ifndef STAKEOUT_JSON_TREE_H
#define STAKEOUT_JSON_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum node_kind {
	NODE_NULL,
	NODE_FALSE,
	NODE_TRUE,
	NODE_INTEGER,
	NODE_REAL,
	NODE_STRING,
	NODE_ARRAY,
	NODE_OBJECT,
	NODE_NUMBERS, /* an array of whole numbers from 0, of which there is at least one */
};

struct json_node {
	uint32_t kind; /* enum node_kind */
	uint32_t len; /* bytes of a string, elements of an array, members of an object */
	union {
		int64_t integer;
		double real;
		const char *string; /* ends with a NUL as well */
		uint64_t nodes; /* of an array or object: how many it takes, with itself */
	};
	/* An array's or object's elements follow, each with all its own; a member is a string and a value. */
};

struct json_tree { /* zero-initialised is empty */
	struct json_node *nodes; /* the first is the root */
	struct json_parser *parser; /* the library's, with the strings */
};

struct json_walk {
	const struct json_node *at;
	uint32_t left;
	bool numbers;
};

/* Elements of an array that is not in the tree, one after the other; zero-initialised is empty. */
struct json_list {
	size_t len; /* elements */
	/* The implementation's. */
	struct json_walk walk; /* of a tree that has them all */
	struct json_part { /* or their texts */
		const char *text;
		size_t len;
	} *parts; /* owned */
	size_t at, cap;
	bool texts;
	struct json_tree element; /* that text as a tree */
};

#define JSON_TEXT_MAX (32u << 20) /* bytes of a text that is made a tree; 4,000 busy peers make some 20 MB */
#define JSON_TEXT_PADDING 64 /* bytes behind a text that can be read, whatever they are */
#define JSON_WHOLE_MAX (128u << 10) /* a longer text is split: trees take up to 24 times its size */
#define JSON_DEPTH_MAX 1024

/* Reads the text, behind which JSON_TEXT_PADDING bytes can be read. *ret_root is valid until the tree is used again, or freed; the text need not be.
 * 0, -EBADMSG (not JSON), -EFBIG (too long) or -ENOMEM. */
int json_tree_read(struct json_tree *t, const char *text, size_t len, const struct json_node **ret_root);
/* The same of an object whose array called key becomes a list: of a long text one element at a time is a tree. In the tree the array is empty. The list is
 * valid as long as tree and text are. -EBADMSG also when there are two of that name, -EFBIG when an element is too long, or there are more than max. */
int json_tree_split(struct json_tree *t, const char *text, size_t len, const char *key, size_t max,
        const struct json_node **ret_root, struct json_list *list);
void json_tree_fini(struct json_tree *t);
/* The next element, valid until the next call. 1, 0 at the end, -EBADMSG or -ENOMEM. */
int json_list_next(struct json_list *l, const struct json_node **ret);
void json_list_fini(struct json_list *l);

/* The member called key (of several the last); NULL: there is none, or obj is NULL or no object. */
const struct json_node *json_get(const struct json_node *obj, const char *key);
struct json_key {
	const char *name;
	uint32_t len;
};
#define JSON_KEY(name) {name, sizeof(name) - 1}
/* Several members at once: ret[i] is what json_get says of keys[i]. Quickest where they come in the order of the keys. */
void json_pick(const struct json_node *obj, const struct json_key *keys, size_t len, const struct json_node **ret);
/* The numbers of NODE_NUMBERS, or of an array that is empty; NULL: it is something else. */
const uint64_t *json_numbers(const struct json_node *array, size_t *ret_len);

/* Over the elements of an array, or the members of an object; over none where it is neither, or NULL. */
struct json_walk json_walk(const struct json_node *of);
/* The next one; what NODE_NUMBERS has are all stood for by some NODE_INTEGER. False at the end. */
bool json_element(struct json_walk *w, const struct json_node **ret);
bool json_member(struct json_walk *w, const char **ret_key, const struct json_node **ret);

static inline bool json_is(const struct json_node *n, enum node_kind kind)
{
	return n && n->kind == (uint32_t)kind;
}

#ifdef __cplusplus
}
#endif

#endif
