/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/json_tree.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "model/json_put.h"

/*
 * Nothing here looks for the end of the text: all loops stop at the character behind it, which none of them takes. Nodes and strings need no look
 * for room either: a node stands for at least two characters (with what separates it from the next), and a string with its NUL for at least its quotes.
 */
struct scan {
	const char *at, *end;
	struct json_node *node; /* the next free one */
	char *string; /* the next free byte */
	const char *hole, *hole_end; /* an array that is taken for empty; NULL: none */
};

static inline void skip_blanks(struct scan *s)
{
	while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
		s->at++;
}

static inline bool is_digit(char c)
{
	return (unsigned char)(c - '0') < 10;
}

/* ---- strings ---- */

/* Four hexadecimal digits; -1 when they are not. */
static int hex4(const char *at)
{
	int value = 0;

	for (int i = 0; i < 4; i++) {
		char c = at[i];
		int digit = is_digit(c)            ? c - '0'
		            : c >= 'a' && c <= 'f' ? c - 'a' + 10
		            : c >= 'A' && c <= 'F' ? c - 'A' + 10
		                                   : -1;

		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

static char *utf8_put(char *to, uint32_t c)
{
	if (c < 0x80) {
		*to++ = (char)c;
	} else if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*to++ = (char)(0xe0 | c >> 12);
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	} else {
		*to++ = (char)(0xf0 | c >> 18);
		*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	}
	return to;
}

/* Behind a backslash: six characters at most become three bytes, twelve become four. */
static bool take_escape(struct scan *s, char **to)
{
	static const char from[] = "\"\\/bfnrt", becomes[] = "\"\\/\b\f\n\r\t";
	const char c = *s->at++, *simple = c ? strchr(from, c) : NULL;
	int unit, low;

	if (simple) {
		*(*to)++ = becomes[simple - from];
		return true;
	}
	unit = c == 'u' ? hex4(s->at) : -1;
	if (unit <= 0 || (unit & 0xfc00) == 0xdc00) /* NUL would end the string; half of a pair is no character */
		return false;
	s->at += 4;
	if ((unit & 0xfc00) != 0xd800) {
		*to = utf8_put(*to, (uint32_t)unit);
		return true;
	}
	low = s->at[0] == '\\' && s->at[1] == 'u' ? hex4(s->at + 2) : -1;
	if (low < 0 || (low & 0xfc00) != 0xdc00)
		return false;
	s->at += 6;
	*to = utf8_put(*to, 0x10000 + ((uint32_t)(unit & 0x3ff) << 10 | (uint32_t)(low & 0x3ff)));
	return true;
}

static bool take_string(struct scan *s)
{
	char *to = s->string;
	struct json_node *n = s->node++;

	s->at++;
	for (;;) {
		unsigned char c = (unsigned char)*s->at;

		if (c == '"')
			break;
		if (c < 0x20)
			return false;
		if (c == '\\') {
			s->at++;
			if (!take_escape(s, &to))
				return false;
		} else if (c < 0x80) {
			*to++ = (char)c;
			s->at++;
		} else {
			size_t len = utf8_length((const unsigned char *)s->at);

			if (!len)
				return false;
			memcpy(to, s->at, len);
			to += len;
			s->at += len;
		}
	}
	s->at++;
	*n = (struct json_node){.kind = NODE_STRING, .len = (uint32_t)(to - s->string), .string = s->string};
	*to++ = '\0';
	s->string = to;
	return true;
}

/* ---- numbers ---- */

static locale_t plain_locale; /* (locale_t)0: there was no memory for it, and the program's own must do */

static void plain_locale_make(void)
{
	plain_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* The double next to the number at text, which is JSON's. */
static double real_slow(const char *text)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, plain_locale_make);
	return plain_locale ? strtod_l(text, NULL, plain_locale) : strtod(text, NULL);
}

/* digits * 10^exponent, exactly rounded: where both are doubles without an error one operation rounds once (Clinger, "How to read floating point numbers
 * accurately", 1990). NaN: not that simple. */
static double real_fast(uint64_t digits, int exponent)
{
	static const double tens[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
	        1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

	if (digits > (1ull << 53) || exponent < -22 || exponent > 22)
		return NAN;
	return exponent < 0 ? (double)digits / tens[-exponent] : (double)digits * tens[exponent];
}

/* The sign and digits behind an E. False: there are none. */
static bool take_exponent(struct scan *s, int *exponent)
{
	bool minus = *++s->at == '-';
	int value = 0;

	if (minus || *s->at == '+')
		s->at++;
	if (!is_digit(*s->at))
		return false;
	for (; is_digit(*s->at); s->at++)
		value = value < 100000 ? value * 10 + (*s->at - '0') : value;
	*exponent += minus ? -value : value;
	return true;
}

static bool take_number(struct scan *s)
{
	const char *begin = s->at;
	const bool minus = *begin == '-';
	struct json_node *n = s->node++;
	uint64_t digits = 0;
	int exponent = 0;
	bool exact = true; /* digits has all of them */
	double real;

	s->at += minus;
	if (!is_digit(*s->at) || (*s->at == '0' && is_digit(s->at[1])))
		return false;
	for (; is_digit(*s->at); s->at++) {
		exact &= digits < UINT64_MAX / 10 - 1;
		digits = digits * 10 + (uint64_t)(*s->at - '0');
	}
	if (*s->at != '.' && *s->at != 'e' && *s->at != 'E') {
		*n = (struct json_node){.kind = NODE_INTEGER, .integer = minus ? (int64_t)(0 - digits) : (int64_t)digits};
		return exact && digits <= (uint64_t)INT64_MAX + minus;
	}
	if (*s->at == '.') {
		if (!is_digit(*++s->at))
			return false;
		for (; is_digit(*s->at); s->at++, exponent--) {
			exact &= digits < UINT64_MAX / 10 - 1;
			digits = digits * 10 + (uint64_t)(*s->at - '0');
		}
	}
	if ((*s->at == 'e' || *s->at == 'E') && !take_exponent(s, &exponent))
		return false;
	real = exact ? real_fast(digits, exponent) : NAN;
	real = isnan(real) ? real_slow(begin) : minus ? -real : real;
	*n = (struct json_node){.kind = NODE_REAL, .real = real};
	return isfinite(real);
}

/* ---- values ---- */

static bool take_value(struct scan *s, int depth);

#define ZEROS "0,0,0,0," /* most buckets of a histogram are empty */
#define DIGITS_SURE 19 /* fit in 64 bits, if not signed */

/* Whole numbers up to the bracket, at a digit. False: it is some other array; what was done is undone by whoever puts the scan back. */
static bool take_numbers(struct scan *s)
{
	struct json_node *array = s->node;
	uint64_t *to = (uint64_t *)(array + 1), *first = to;
	const char *at = s->at;

	for (;;) {
		uint64_t value = 0;
		const char *begin = at;

		while (s->end - at >= 8 && !memcmp(at, ZEROS, 8)) {
			memset(to, 0, 4 * sizeof(*to));
			to += 4;
			at += 8;
		}
		begin = at;
		for (; is_digit(*at); at++)
			value = value * 10 + (uint64_t)(*at - '0');
		if (at == begin || at - begin > DIGITS_SURE || value > INT64_MAX || (*begin == '0' && at - begin > 1))
			return false;
		*to++ = value;
		s->at = at;
		if (*at != ',' && *at != ']') {
			skip_blanks(s);
			at = s->at;
		}
		if (*at == ']')
			break;
		if (*at != ',')
			return false;
		s->at = at + 1;
		if (!is_digit(*s->at))
			skip_blanks(s);
		at = s->at;
	}
	s->at++;
	if ((to - first) & 1) /* a whole number of nodes */
		*to++ = 0, *array = (struct json_node){.kind = NODE_NUMBERS, .len = (uint32_t)(to - first - 1)};
	else
		*array = (struct json_node){.kind = NODE_NUMBERS, .len = (uint32_t)(to - first)};
	s->node = (struct json_node *)to;
	array->nodes = (uint64_t)(s->node - array);
	return true;
}

static bool take_array(struct scan *s, int depth)
{
	struct json_node *n = s->node;
	const char *begin;
	uint32_t len = 0;

	if (s->at == s->hole) {
		*s->node++ = (struct json_node){.kind = NODE_ARRAY, .nodes = 1};
		s->at = s->hole_end;
		return true;
	}
	s->at++;
	skip_blanks(s);
	begin = s->at;
	if (is_digit(*begin)) {
		if (take_numbers(s))
			return true;
		s->at = begin;
	}
	s->node = n + 1;
	if (*s->at == ']') {
		s->at++;
	} else {
		for (;; len++) {
			if (!take_value(s, depth))
				return false;
			skip_blanks(s);
			if (*s->at++ != ',')
				break;
			skip_blanks(s);
		}
		if (s->at[-1] != ']')
			return false;
		len++;
	}
	*n = (struct json_node){.kind = NODE_ARRAY, .len = len, .nodes = (uint64_t)(s->node - n)};
	return true;
}

static bool take_object(struct scan *s, int depth)
{
	struct json_node *n = s->node++;
	uint32_t len = 0;

	s->at++;
	skip_blanks(s);
	if (*s->at == '}') {
		s->at++;
	} else {
		for (;; len++) {
			if (*s->at != '"' || !take_string(s))
				return false;
			skip_blanks(s);
			if (*s->at++ != ':')
				return false;
			skip_blanks(s);
			if (!take_value(s, depth))
				return false;
			skip_blanks(s);
			if (*s->at++ != ',')
				break;
			skip_blanks(s);
		}
		if (s->at[-1] != '}')
			return false;
		len++;
	}
	*n = (struct json_node){.kind = NODE_OBJECT, .len = len, .nodes = (uint64_t)(s->node - n)};
	return true;
}

static bool take_word(struct scan *s, const char *word, size_t len, enum node_kind kind)
{
	if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len))
		return false;
	s->at += len;
	*s->node++ = (struct json_node){.kind = kind};
	return true;
}

/* At a value's first character. */
static bool take_value(struct scan *s, int depth)
{
	switch (*s->at) {
	case '{':
		return depth < JSON_DEPTH_MAX && take_object(s, depth + 1);
	case '[':
		return depth < JSON_DEPTH_MAX && take_array(s, depth + 1);
	case '"':
		return take_string(s);
	case 't':
		return take_word(s, "true", 4, NODE_TRUE);
	case 'f':
		return take_word(s, "false", 5, NODE_FALSE);
	case 'n':
		return take_word(s, "null", 4, NODE_NULL);
	default:
		return take_number(s);
	}
}

/* ---- texts ---- */

static bool reserve(void *at, size_t *cap, size_t need, size_t size)
{
	void *p;

	if (need <= *cap)
		return true;
	need += need / 4;
	memcpy(&p, at, sizeof(p));
	free(p); /* nothing in it is needed any more */
	p = malloc(need * size);
	*cap = p ? need : 0;
	memcpy(at, &p, sizeof(p));
	return p;
}

/* The text but for the hole. */
static int read_text(struct json_tree *t, const char *text, size_t len, const char *hole, const char *hole_end,
        const struct json_node **ret_root)
{
	const size_t taken = len - (size_t)(hole_end - hole);
	struct scan s = {.at = text, .end = text + len, .hole = hole, .hole_end = hole_end};

	if (taken > JSON_TEXT_MAX)
		return -EFBIG;
	if (!reserve(&t->nodes, &t->nodes_cap, taken / 2 + 4, sizeof(*t->nodes)) ||
	        !reserve(&t->strings, &t->strings_cap, taken + 1, 1))
		return -ENOMEM;
	s.node = t->nodes;
	s.string = t->strings;
	skip_blanks(&s);
	if (s.at == s.end || !take_value(&s, 0))
		return -EBADMSG;
	skip_blanks(&s);
	if (s.at != s.end)
		return -EBADMSG;
	*ret_root = t->nodes;
	return 0;
}

int json_tree_read(struct json_tree *t, const char *text, size_t len, const struct json_node **ret_root)
{
	return read_text(t, text, len, NULL, NULL, ret_root);
}

void json_tree_fini(struct json_tree *t)
{
	free(t->nodes);
	free(t->strings);
	*t = (struct json_tree){0};
}

/* ---- splitting ---- */

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

static int skip_elements(struct scan *s, size_t max, struct json_parts *parts)
{
	s->at++;
	skip_blanks(s);
	if (s->at < s->end && *s->at == ']')
		return s->at++, 0;
	for (;;) {
		struct json_part part = {.text = s->at};

		if (!skip_value(s))
			return -EBADMSG;
		part.len = (size_t)(s->at - part.text);
		if (part.len > JSON_TEXT_MAX || parts->len == max)
			return -EFBIG;
		if (parts->len == parts->cap) {
			size_t cap = parts->cap ? parts->cap * 2 : 16;
			struct json_part *at = reallocarray(parts->at, cap, sizeof(*at));

			if (!at)
				return -ENOMEM;
			parts->at = at;
			parts->cap = cap;
		}
		parts->at[parts->len++] = part;
		skip_blanks(s);
		if (s->at == s->end || *s->at != ',')
			break;
		s->at++;
		skip_blanks(s);
	}
	return s->at < s->end && *s->at == ']' ? s->at++, 0 : -EBADMSG;
}

/* Finds the array called key among the members of the object; where anything is wrong with the others shows when they are read. */
static int find_hole(struct scan *s, const char *key, size_t max, struct json_parts *parts)
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
			err = skip_elements(s, max, parts);
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

int json_tree_split(struct json_tree *t, const char *text, size_t len, const char *key, size_t max,
        const struct json_node **ret_root, struct json_parts *parts)
{
	struct scan s = {.at = text, .end = text + len};
	int err;

	parts->len = 0;
	err = find_hole(&s, key, max, parts);
	return err ? err : read_text(t, text, len, s.hole, s.hole_end, ret_root);
}

void json_parts_fini(struct json_parts *p)
{
	free(p->at);
	*p = (struct json_parts){0};
}

/* ---- looking at it ---- */

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
