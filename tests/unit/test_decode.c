/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Sizes and kinds are checked before a record is read. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collect/decode.h"

static const struct {
	uint8_t kind, slots;
} kinds[] = {
#define X(id, value, slots, type) { value, slots },
	SO_RECORDS(X)
#undef X
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static unsigned slots_of(unsigned kind)
{
	for (size_t i = 0; i < KINDS; i++)
		if (kinds[i].kind == kind)
			return kinds[i].slots;
	return 0;
}

static void only_the_right_size_of_a_known_kind(void **ctx)
{
	_Alignas(8) uint8_t data[256 * SO_SLOT_BYTES] = {};

	(void)ctx;
	for (unsigned kind = 0; kind < 256; kind++)
		for (unsigned slots = 0; slots < 256; slots++) {
			bool good = slots && slots == slots_of(kind);
			const struct so_head *h = NULL;
			size_t pos = 0;

			data[0] = kind;
			data[1] = slots;
			assert_int_equal(decode_next(data, sizeof(data), &pos, &h), good ? 1 : -EBADMSG);
			assert_int_equal(pos, good ? slots * SO_SLOT_BYTES : 0);
			assert_ptr_equal(h, good ? data : NULL);
		}
}

/* One record of each kind; cut at each byte, in memory of just that size, so that the sanitizer sees a read beyond. */
static void a_batch_cut_at_each_byte(void **ctx)
{
	uint8_t whole[SO_BATCH_SLOTS * SO_SLOT_BYTES] = {};
	size_t ends[KINDS], size = 0;

	(void)ctx;
	for (size_t i = 0; i < KINDS; i++) {
		whole[size] = kinds[i].kind;
		whole[size + 1] = kinds[i].slots;
		size += kinds[i].slots * SO_SLOT_BYTES;
		ends[i] = size;
	}
	for (size_t cut = 0; cut <= size; cut++) {
		uint8_t *data = malloc(cut ? cut : 1);
		const struct so_head *h;
		size_t pos = 0, n = 0, want = 0;
		int err;

		assert_non_null(data);
		memcpy(data, whole, cut);
		while (want < KINDS && ends[want] <= cut)
			want++;
		while ((err = decode_next(data, cut, &pos, &h)) > 0) {
			assert_true(n < KINDS);
			assert_int_equal(h->kind, kinds[n++].kind);
		}
		assert_int_equal(n, want);
		assert_int_equal(pos, want ? ends[want - 1] : 0);
		assert_int_equal(err, pos == cut ? 0 : -EBADMSG);
		free(data);
	}
}

static void a_position_beyond_the_end(void **ctx)
{
	_Alignas(8) uint8_t data[SO_SLOT_BYTES] = { SO_CYCLE, 1 };
	const struct so_head *h;
	size_t pos = 2 * SO_SLOT_BYTES;

	(void)ctx;
	assert_int_equal(decode_next(data, sizeof(data), &pos, &h), -EBADMSG);
	pos = SIZE_MAX;
	assert_int_equal(decode_next(data, sizeof(data), &pos, &h), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_right_size_of_a_known_kind),
		cmocka_unit_test(a_batch_cut_at_each_byte),
		cmocka_unit_test(a_position_beyond_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
