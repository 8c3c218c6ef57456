/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * JSON by simdjson, whose document is made the tree of our header: C can walk it, the numbers of an array lie side by side, and what the library lets
 * pass and the header does not is refused on the way. Strings stay where the library put them.
 */
#include "model/json_tree.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include <simdjson.h>

namespace dom = simdjson::dom;

static_assert(JSON_TEXT_PADDING >= simdjson::SIMDJSON_PADDING,
        "the library looks further behind a text than its readers provide for");

struct json_parser {
	dom::parser parser;
	size_t capacity = 0; /* bytes of text */
};

/*
 * Nodes need no look for room: each but the root stands for at least two characters (with what separates it from the next), and each number of NODE_NUMBERS,
 * which takes half a node, as well.
 */
static bool put_value(json_node *&to, const dom::element &value);

static inline json_node *put(json_node *&to, node_kind kind)
{
	json_node *n = to++;

	n->kind = kind;
	n->len = 0;
	return n;
}

static bool put_string(json_node *&to, std::string_view text)
{
	json_node *n = put(to, NODE_STRING);

	n->len = static_cast<uint32_t>(text.size());
	n->string = text.data(); /* the library ends its strings with a NUL */
	return !std::memchr(text.data(), 0, text.size());
}

/* Whole numbers from 0. False: it is some other array, or empty; *to is as it was. */
static bool put_numbers(json_node *&to, const dom::array &array)
{
	json_node *n = to;
	auto *first = reinterpret_cast<uint64_t *>(n + 1), *at = first;

	for (dom::element e : array) {
		int64_t value;

		if (e.get(value) || value < 0)
			return false;
		*at++ = static_cast<uint64_t>(value);
	}
	if (at == first)
		return false;
	n->kind = NODE_NUMBERS;
	n->len = static_cast<uint32_t>(at - first);
	if (n->len & 1) /* a whole number of nodes */
		*at++ = 0;
	to = reinterpret_cast<json_node *>(at);
	n->nodes = static_cast<uint64_t>(to - n);
	return true;
}

static bool put_array(json_node *&to, const dom::array &array)
{
	json_node *n;

	if (put_numbers(to, array))
		return true;
	n = put(to, NODE_ARRAY);
	for (dom::element e : array) {
		if (!put_value(to, e))
			return false;
		n->len++;
	}
	n->nodes = static_cast<uint64_t>(to - n);
	return true;
}

static bool put_object(json_node *&to, const dom::object &object)
{
	json_node *n = put(to, NODE_OBJECT);

	for (dom::key_value_pair member : object) {
		if (!put_string(to, member.key) || !put_value(to, member.value))
			return false;
		n->len++;
	}
	n->nodes = static_cast<uint64_t>(to - n);
	return true;
}

/* What the library has checked the type of can't fail. False: a string has a NUL, or a whole number does not fit. */
static bool put_value(json_node *&to, const dom::element &value)
{
	switch (value.type()) {
	case dom::element_type::ARRAY:
		return put_array(to, value.get_array().value_unsafe());
	case dom::element_type::OBJECT:
		return put_object(to, value.get_object().value_unsafe());
	case dom::element_type::STRING:
		return put_string(to, value.get_string().value_unsafe());
	case dom::element_type::INT64:
		put(to, NODE_INTEGER)->integer = value.get_int64().value_unsafe();
		return true;
	case dom::element_type::DOUBLE:
		put(to, NODE_REAL)->real = value.get_double().value_unsafe();
		return true;
	case dom::element_type::BOOL:
		put(to, value.get_bool().value_unsafe() ? NODE_TRUE : NODE_FALSE)->nodes = 0;
		return true;
	case dom::element_type::NULL_VALUE:
		put(to, NODE_NULL)->nodes = 0;
		return true;
	default: /* UINT64: beyond 63 bits */
		return false;
	}
}

/* Room for a text of len bytes, with some to spare: the next one is seldom of just the same length. */
static int reserve(json_tree *t, size_t len)
{
	const size_t room = len + len / 4 + 64;

	if (!t->parser)
		t->parser = new (std::nothrow) json_parser;
	if (!t->parser)
		return -ENOMEM;
	if (t->parser->capacity >= len)
		return 0;
	t->parser->capacity = 0;
	std::free(t->nodes); /* nothing in it is needed any more */
	t->nodes = static_cast<json_node *>(std::malloc((room / 2 + 4) * sizeof(*t->nodes)));
	if (!t->nodes || t->parser->parser.allocate(room, JSON_DEPTH_MAX) || t->parser->parser.doc.allocate(room))
		return -ENOMEM;
	t->parser->capacity = room;
	return 0;
}

int json_tree_read(json_tree *t, const char *text, size_t len, const json_node **ret_root)
{
	dom::element root;
	json_node *to;
	int err;

	if (len > JSON_TEXT_MAX)
		return -EFBIG;
	err = reserve(t, len);
	if (err)
		return err;
	if (len && static_cast<unsigned char>(*text) == 0xef) /* a byte order mark, which later versions of the library skip */
		return -EBADMSG;
	if (t->parser->parser.parse(text, len, false).get(root))
		return -EBADMSG;
	to = t->nodes;
	if (!put_value(to, root))
		return -EBADMSG;
	*ret_root = t->nodes;
	return 0;
}

void json_tree_fini(json_tree *t)
{
	delete t->parser;
	std::free(t->nodes);
	*t = json_tree{};
}
