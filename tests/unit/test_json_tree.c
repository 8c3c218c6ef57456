/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The tree for reading says what jansson says of the same text, and refuses what jansson refuses. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/util.h"
#include "model/json_tree.h"

static void same(const struct json_node *n, const json_t *j)
{
	struct json_walk walk = json_walk(n);
	const struct json_node *value;
	const char *key;
	size_t i = 0;

	switch (json_typeof(j)) {
	case JSON_NULL:
		assert_int_equal(n->kind, NODE_NULL);
		break;
	case JSON_TRUE:
		assert_int_equal(n->kind, NODE_TRUE);
		break;
	case JSON_FALSE:
		assert_int_equal(n->kind, NODE_FALSE);
		break;
	case JSON_INTEGER:
		assert_int_equal(n->kind, NODE_INTEGER);
		assert_true(n->integer == json_integer_value(j));
		break;
	case JSON_REAL:
		assert_int_equal(n->kind, NODE_REAL);
		assert_true(n->real == json_real_value(j) && signbit(n->real) == signbit(json_real_value(j)));
		break;
	case JSON_STRING:
		assert_int_equal(n->kind, NODE_STRING);
		assert_int_equal(n->len, json_string_length(j));
		assert_string_equal(n->string, json_string_value(j));
		break;
	case JSON_ARRAY:
		if (n->kind == NODE_NUMBERS) {
			size_t len;
			const uint64_t *numbers = json_numbers(n, &len);

			assert_int_equal(len, json_array_size(j));
			for (i = 0; i < len; i++)
				assert_true(numbers[i] == (uint64_t)json_integer_value(json_array_get(j, i)) &&
				            json_is_integer(json_array_get(j, i)));
			break;
		}
		assert_int_equal(n->kind, NODE_ARRAY);
		assert_int_equal(n->len, json_array_size(j));
		while (json_element(&walk, &value))
			same(value, json_array_get(j, i++));
		break;
	case JSON_OBJECT:
		assert_int_equal(n->kind, NODE_OBJECT);
		while (json_member(&walk, &key, &value)) /* of equal keys jansson keeps the last */
			same(json_get(n, key), json_object_get(j, key));
	}
}

/* As json_tree_read, of a copy without a byte to spare, behind which there is what may still change its meaning. */
static int read_copy(struct json_tree *t, const char *text, size_t len, const struct json_node **ret_root)
{
	char *line = malloc(len + JSON_TEXT_PADDING);
	int err;

	assert_non_null(line);
	memcpy(line, text, len);
	memset(line + len, '1', JSON_TEXT_PADDING);
	err = json_tree_read(t, line, len, ret_root);
	free(line); /* of the text nothing is needed any more */
	return err;
}

/* Both read the text. Returns whether it is JSON. */
static bool agree(const char *text, size_t len)
{
	json_t *j = json_loadb(text, len, JSON_DECODE_ANY, NULL);
	struct json_tree t = {0};
	const struct json_node *root;
	int err = read_copy(&t, text, len, &root);

	if (err != (j ? 0 : -EBADMSG))
		fail_msg("%d, jansson %s: %.*s", err, j ? "reads it" : "refuses it", (int)len, text);
	if (!err)
		same(root, j);
	json_tree_fini(&t);
	json_decref(j);
	return !err;
}

static void texts(void **ctx)
{
	static const char *const good[] = {
	        "0",
	        "-0",
	        "1",
	        "-1",
	        "9223372036854775807",
	        "-9223372036854775808",
	        "0.1",
	        "-0.0",
	        "1e5",
	        "1E+5",
	        "123.456e-7",
	        "4.35",
	        "0.999982764",
	        "9007199254740993.0",
	        "1.7976931348623157e308",
	        "5e-324",
	        "2.2250738585072014e-308",
	        "0.1000000000000000055511151231257827021181583404541015625",
	        "123456789012345678901234567890.5",
	        "\"\"",
	        "\"a\"",
	        "\"\\u00e9\\n\\\"\\\\\\/\\b\\f\\r\\t\"",
	        "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
	        "\"\\ud83d\\ude00\\uffff\"",
	        "[]",
	        "[ ]",
	        "{}",
	        "[0]",
	        "[0,0,0,0,0,0,0,0,1]",
	        "[0,0,0,0,0,0,0,0]",
	        "[0,0,0,0,0]",
	        "[ 1 , 2,3 ]",
	        "[1,-2]",
	        "[1,2.5]",
	        "[1,\"a\"]",
	        "[[1,2],[3,4]]",
	        "[[],[0]]",
	        "[999999999999999999]",
	        "[9223372036854775807,1]",
	        "[0,9223372036854775807]",
	        "true",
	        "false",
	        "null",
	        " [true,false,null] ",
	        "{\"a\":1,\"b\":[1,{\"c\":\"d\"}],\"a\":2}",
	        "{\"\":0}",
	        "[0,0,0,0,0.5]",
	        "[{\"a\":[0,1]},{\"a\":[]}]",
	        "\t{\"k\" : [ 0 , 0 ] }\r",
	};
	static const char *const bad[] = {
	        "",
	        " ",
	        "01",
	        "-",
	        "+1",
	        ".5",
	        "1.",
	        "1e",
	        "1e+",
	        "0x10",
	        "9223372036854775808",
	        "-9223372036854775809",
	        "99999999999999999999",
	        "1e999",
	        "NaN",
	        "inf",
	        "tru",
	        "truee",
	        "nul",
	        "'a'",
	        "\"",
	        "\"a",
	        "\"\\",
	        "\"\\x\"",
	        "\"\\u12\"",
	        "\"\\u0000\"",
	        "\"\\ud83d\"",
	        "\"\\ude00\"",
	        "\"\\ud83d\\u0041\"",
	        "\"\x01\"",
	        "\"\xff\"",
	        "\"\xc0\x80\"",
	        "\"\xed\xa0\x80\"",
	        "\"\xf4\x90\x80\x80\"",
	        "\"\xe0\x80\x80\"",
	        "\"a\\u0000b\"",
	        "{\"\\u0000\":1}",
	        "{\"a\":{\"b\\u0000\":1}}",
	        "[\"\\udc00\"]",
	        "\"\\ud83d\\ud83d\"",
	        "\xef\xbb\xbf{}",
	        "[18446744073709551615]",
	        "[1,18446744073709551616]",
	        "[1e400]",
	        "[-1e999]",
	        "[",
	        "]",
	        "[1",
	        "[1,",
	        "[1,]",
	        "[,1]",
	        "[1 2]",
	        "[01]",
	        "[0,00]",
	        "[0,0,0,0,",
	        "[9223372036854775808]",
	        "{",
	        "}",
	        "{\"a\"}",
	        "{\"a\":}",
	        "{\"a\":1,}",
	        "{a:1}",
	        "{\"a\":1 \"b\":2}",
	        "[1]]",
	        "[1}",
	        "{\"a\":[1}",
	        "1 2",
	        "[1] x",
	        "[-]",
	        "[--1]",
	};
	struct json_tree t = {0};
	const struct json_node *root;

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		if (!agree(good[i], strlen(good[i])))
			fail_msg("refused: %s", good[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (agree(bad[i], strlen(bad[i])))
			fail_msg("accepted: %s", bad[i]);
	/* jansson passes over a NUL; what a crash left as zeros is not JSON */
	assert_int_equal(read_copy(&t, "\"a\0b\"", 5, &root), -EBADMSG);
	assert_int_equal(read_copy(&t, "[0\0]", 4, &root), -EBADMSG);
	json_tree_fini(&t);
}

static const char sample[] = "{\"id\":0,\"alive\":true,\"observed_s\":1.000350317,\"name\":\"\xc3\xa9\\u20ac\\n\",\"hist\":{"
                             "\"oncpu_ns\":{\"scale\":5,"
                             "\"min\":-2424,\"bucket_counts\":[1,0,0,0,0,0,0,0,0,0,0,12,0,0,0,3]}},\"peers\":[{},{\"a\":[[1,2],"
                             "[3,4.5e1]]}],\"x\":null}";

/* Each text that is one byte off from a good one. */
static void mutations(void **ctx)
{
	static const char bytes[] = "\"\\,:[]{}0159.-+eEtfnu \n\x01\x80\xc3";
	char text[sizeof(sample)];
	const size_t len = strlen(sample);
	size_t good = 0;

	(void)ctx;
	assert_true(agree(sample, len));
	for (size_t i = 0; i < len; i++) {
		for (size_t b = 0; b < sizeof(bytes) - 1; b++) {
			memcpy(text, sample, sizeof(sample));
			text[i] = bytes[b];
			good += agree(text, len);
		}
		agree(sample, i);
		memcpy(text, sample, i);
		memcpy(text + i, sample + i + 1, len - i - 1);
		good += agree(text, len - 1);
	}
	assert_true(good > len);
}

/* Doubles of all sizes as programs print them. */
static void reals(void **ctx)
{
	uint64_t bits = 88172645463325252ull; /* xorshift64 */

	(void)ctx;
	for (int i = 0; i < 20000; i++) {
		char text[64];
		double d;

		bits ^= bits << 13;
		bits ^= bits >> 7;
		bits ^= bits << 17;
		memcpy(&d, &bits, sizeof(d));
		if (!isfinite(d))
			continue;
		snprintf(text, sizeof(text), "%.*e", i % 18, d);
		agree(text, strlen(text)); /* rounded up it may be beyond all doubles: then both refuse it */
		snprintf(text, sizeof(text), "%llu.%09llu", (unsigned long long)(bits >> 40),
		        (unsigned long long)(bits % 1000000000));
		assert_true(agree(text, strlen(text)));
	}
}

static void depth(void **ctx)
{
	char text[4 * JSON_DEPTH_MAX + JSON_TEXT_PADDING] = "";
	const size_t half = 2 * JSON_DEPTH_MAX;
	struct json_tree t = {0};
	const struct json_node *root;

	(void)ctx;
	memset(text, '[', half);
	memset(text + half, ']', half);
	assert_int_equal(json_tree_read(&t, text + half - JSON_DEPTH_MAX, 2 * JSON_DEPTH_MAX, &root), 0);
	assert_int_equal(json_tree_read(&t, text + half - JSON_DEPTH_MAX - 1, 2 * JSON_DEPTH_MAX + 2, &root), -EBADMSG);
	json_tree_fini(&t);
}

/* What is between the elements that tell, so that a text is short, or long enough to be split. */
static char *fill(const char *text, size_t blanks)
{
	const char *at = strchr(text, '~');
	char *full;
	int len = at ? asprintf(&full, "%.*s%*s%s", (int)(at - text), text, (int)blanks, "", at + 1) : asprintf(&full, "%s", text);

	assert_true(len >= 0);
	full = realloc(full, (size_t)len + 1 + JSON_TEXT_PADDING);
	assert_non_null(full);
	return full;
}

static int split(const char *text, size_t max, size_t *ret_len, char *ret_first, bool *ret_rest)
{
	struct json_tree t = {0};
	struct json_list list = {0};
	const struct json_node *root, *value;
	int err = json_tree_split(&t, text, strlen(text), "agents", max, &root, &list), got = 0;
	size_t len = list.len, seen = 0;

	*ret_len = len;
	*ret_rest = false;
	if (!err) {
		const struct json_node *agents = json_get(root, "agents");

		assert_true(!len || (json_is(agents, NODE_ARRAY) && !agents->len));
		*ret_rest = json_is(json_get(root, "a"), NODE_INTEGER);
		while ((got = json_list_next(&list, &value)) > 0)
			if (!seen++ && value->kind == NODE_STRING)
				snprintf(ret_first, 64, "%s", value->string);
			else if (seen == 1)
				snprintf(ret_first, 64, "%d", (int)value->kind);
		assert_true(got || seen == len);
		assert_int_equal(got ? json_list_next(&list, &value) <= 0 : json_list_next(&list, &value), got ? 1 : 0);
	}
	json_list_fini(&list);
	json_tree_fini(&t);
	return err ? err : got;
}

/* Short and long texts are read in two ways, and say the same. */
static void splitting(void **ctx)
{
	static const struct {
		const char *text; /* ~: blanks */
		int err;
		size_t len;
		const char *first; /* a string's text, or the kind */
		bool rest;
	} rows[] = {
	        {"{\"a\":1~}", 0, 0, "", true},
	        {"{\"agents\":[],\"a\":1~}", 0, 0, "", true},
	        {"{\"agents\":[ ~] ,\"a\":1}", 0, 0, "", true},
	        {"{\"agents\":[\"x~[1,\\\"]}\\\\\" , 2],\"a\":1}", 0, 2, "", true},
	        {"{\"agents\":[\"]}\\\"\" ~, 2],\"a\":1}", 0, 2, "]}\"", true},
	        {"{\"agents\":[{\"x\":[1,\"]}\\\"\"]} ~, 2],\"a\":1}", 0, 2, "7", true},
	        {" { \"b\" : {\"agents\":[1]} ~, \"agents\" : [ null ] , \"a\" : 1 } ", 0, 1, "0", true},
	        {"{\"agents\":[ 7 ,8 ~],\"a\":1}", 0, 2, "3", true},
	        {"{\"agents\":7,~\"a\":1}", 0, 0, "", true},
	        {"{\"a\":1,\"agents\":[1,2,3,4~]}", -EFBIG, 0, "", false},
	        {"{\"agents\":[1],~\"agents\":[2]}", -EBADMSG, 0, "", false},
	        {"{\"agents\":[1],\"agents\":2~}", -EBADMSG, 0, "", false},
	        {"{\"agents\":[1 ~ 2]}", -EBADMSG, 0, "", false},
	        {"{\"agents\":[1,~]}", -EBADMSG, 0, "", false},
	        {"{\"agents\":[1,{~]}", -EBADMSG, 0, "", false},
	        {"{\"agents\":[1,{]}~]}", -EBADMSG, 0, "", false},
	        {"{\"agents\":[1,tru~]}", -EBADMSG, 0, "", false},
	        {"{\"agents\":[1]~", -EBADMSG, 0, "", false},
	        {"{\"agents\":[1],~\"a\":}", -EBADMSG, 0, "", false},
	        {"{\"agents\":[1],\"a\":1} ~ x", -EBADMSG, 0, "", false},
	        {"{~\"agents\":[\"\\", -EBADMSG, 0, "", false},
	        {"[~]", -EBADMSG, 0, "", false},
	        {"~", -EBADMSG, 0, "", false},
	        {"", -EBADMSG, 0, "", false},
	};

	(void)ctx;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		const bool is_long = i >= ARRAY_SIZE(rows);
		const size_t row = i % ARRAY_SIZE(rows);
		char first[64] = "", *text = fill(rows[row].text, is_long ? JSON_WHOLE_MAX : 1);
		size_t len;
		bool rest;
		int err = split(text, 3, &len, first, &rest);

		if (err != rows[row].err)
			fail_msg("%s, %s: %d", rows[row].text, is_long ? "long" : "short", err);
		free(text);
		if (err)
			continue;
		assert_int_equal(len, rows[row].len);
		if (*rows[row].first)
			assert_string_equal(first, rows[row].first);
		assert_int_equal(rest, rows[row].rest);
	}
}

/* Of equal keys the last counts, whether they are asked for one by one or together, in whatever order. */
static void picking(void **ctx)
{
	static const struct json_key keys[] = {JSON_KEY("a"), JSON_KEY("bc"), JSON_KEY("d"), JSON_KEY("e")};
	static const char *const texts[] = {
	        "{\"a\":1,\"bc\":2,\"d\":3}",
	        "{\"d\":1,\"x\":[{\"a\":9}],\"bc\":2,\"bd\":5,\"a\":3}",
	        "{\"a\":1,\"a\":2,\"e\":{},\"a\":{\"a\":4}}",
	        "{\"z\":1}",
	        "{}",
	        "[1]",
	};
	struct json_tree t = {0};

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		const struct json_node *root, *picked[ARRAY_SIZE(keys)];

		assert_int_equal(read_copy(&t, texts[i], strlen(texts[i]), &root), 0);
		json_pick(root, keys, ARRAY_SIZE(keys), picked);
		for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
			assert_ptr_equal(picked[k], json_get(root, keys[k].name));
	}
	json_tree_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(texts), cmocka_unit_test(mutations), cmocka_unit_test(reals),
	        cmocka_unit_test(depth), cmocka_unit_test(splitting), cmocka_unit_test(picking)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
