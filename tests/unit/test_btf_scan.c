/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The pass over a BTF blob: every kind's size, members within anonymous structs, and blobs that are cut off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "probe/btf_scan.h"

#define INFO(kind, n) ((uint32_t)(kind) << 24 | (n))
static const char strings[] = "\0outer\0inner\0number\0choice\0last";
enum { OUTER = 1, INNER = 7, NUMBER = 13, CHOICE = 20, LAST = 27 };

/* A struct whose member `inner` is in an anonymous struct (type 2), an int, one of each kind that has a tail, and a typedef at the end. */
static const uint32_t types[] = {
	OUTER, INFO(BTF_KIND_STRUCT, 1), 4, 0, 2, 0, /* 1 */
	0, INFO(BTF_KIND_STRUCT, 1), 4, INNER, 3, 0, /* 2 */
	NUMBER, INFO(BTF_KIND_INT, 0), 4, 32, /* 3 */
	0, INFO(BTF_KIND_ARRAY, 0), 0, 3, 3, 7, /* 4 */
	CHOICE, INFO(BTF_KIND_ENUM, 2), 4, NUMBER, 0, LAST, 1, /* 5 */
	0, INFO(BTF_KIND_ENUM64, 1), 8, NUMBER, 0, 1, /* 6 */
	0, INFO(BTF_KIND_FUNC_PROTO, 1), 3, INNER, 3, /* 7 */
	INNER, INFO(BTF_KIND_VAR, 0), 3, 0, /* 8 */
	OUTER, INFO(BTF_KIND_DATASEC, 1), 4, 8, 0, 4, /* 9 */
	INNER, INFO(BTF_KIND_DECL_TAG, 0), 1, 0, /* 10 */
	LAST, INFO(BTF_KIND_TYPEDEF, 0), 3, /* 11 */
};
#define TYPES 11

/* A file with the first `size` bytes of the blob that has so many bytes of types. */
static int blob(uint32_t type_bytes, size_t size, struct btf_blob *ret)
{
	struct {
		struct btf_header head;
		uint8_t rest[sizeof(types) + sizeof(strings)];
	} b = { .head = { .magic = BTF_MAGIC, .version = BTF_VERSION, .hdr_len = sizeof(b.head), .type_len = type_bytes,
			  .str_off = type_bytes, .str_len = sizeof(strings) } };
	char path[] = "/tmp/test_btf_scan.XXXXXX";
	int fd = mkstemp(path), err;

	assert_true(fd >= 0);
	memcpy(b.rest, types, type_bytes);
	memcpy(b.rest + type_bytes, strings, sizeof(strings));
	assert_int_equal(write(fd, &b, size < sizeof(b) ? size : sizeof(b)), size < sizeof(b) ? size : sizeof(b));
	close(fd);
	err = btf_blob_open(path, ret);
	unlink(path);
	return err;
}

static void every_type_is_passed(void **ctx)
{
	const struct btf_type *t = NULL, *found[TYPES + 1] = {};
	struct btf_blob b;
	bool bad = false;
	int n = 0;

	(void)ctx;
	assert_int_equal(blob(sizeof(types), SIZE_MAX, &b), 0);
	while ((t = btf_scan_next(&b, t, &bad))) {
		assert_true(n < TYPES);
		found[++n] = t;
	}
	assert_false(bad);
	assert_int_equal(n, TYPES);
	assert_string_equal(btf_scan_name(&b, found[1]->name_off), "outer");
	assert_string_equal(btf_scan_name(&b, found[TYPES]->name_off), "last");
	assert_string_equal(btf_scan_name(&b, sizeof(strings)), "");
	assert_true(btf_scan_member(&b, found[1], "inner"));
	assert_false(btf_scan_member(&b, found[1], "outer"));
	assert_true(btf_scan_member(&b, found[5], "last"));
	assert_false(btf_scan_member(&b, found[3], "number"));
	btf_blob_close(&b);
}

/* Wherever the types end: either between two of them, or it is said. */
static void what_is_cut_off_is_told(void **ctx)
{
	int whole = 0;

	(void)ctx;
	for (uint32_t len = 0; len <= sizeof(types); len += 4) {
		const struct btf_type *t = NULL;
		struct btf_blob b;
		bool bad = false;

		assert_int_equal(blob(len, SIZE_MAX, &b), 0);
		while ((t = btf_scan_next(&b, t, &bad)))
			;
		whole += !bad;
		btf_blob_close(&b);
	}
	assert_int_equal(whole, TYPES + 1);
	for (size_t size = 0; size < sizeof(struct btf_header) + sizeof(types) + sizeof(strings); size++) {
		struct btf_blob b;

		assert_true(blob(sizeof(types), size, &b) < 0);
	}
}

/* A kind of a later kernel has a size that nobody knows. */
static void unknown_kinds_are_told(void **ctx)
{
	const uint32_t unknown[] = { 0, INFO(31, 0), 0 };
	struct btf_blob b = { .types = (const uint8_t *)unknown, .types_end = (const uint8_t *)unknown + sizeof(unknown), .strings = "" };
	bool bad = false;

	(void)ctx;
	assert_null(btf_scan_next(&b, NULL, &bad));
	assert_true(bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_is_passed),
		cmocka_unit_test(what_is_cut_off_is_told),
		cmocka_unit_test(unknown_kinds_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
