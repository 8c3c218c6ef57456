/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Messages put together by bytes, and names that were found in some. */
#ifndef LIB_TEXT_H
#define LIB_TEXT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collect/names.h"

static inline void assert_name_is_clean(const char *name)
{
	assert_true(strlen(name) < NAME_BYTES);
	assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-"), strlen(name));
	assert_null(strstr(name, ".."));
	assert_int_not_equal(*name, '.');
}

struct text {
	uint8_t data[2048];
	size_t len;
};

static inline void add(struct text *t, const void *data, size_t len)
{
	memcpy(t->data + t->len, data, len);
	t->len += len;
}

static inline void add_number(struct text *t, unsigned value, size_t bytes)
{
	while (bytes--)
		t->data[t->len++] = (uint8_t)(value >> 8 * bytes);
}

#endif
