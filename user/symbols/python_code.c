/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Code objects and their texts. A string is one of the compact ones of PEP 393: a head that tells length and width, and the characters behind it, of 1, 2
 * or 4 bytes. It says that it is a string by its type, which must be the same for name and file: so that what is no code object isn't taken for one.
 */
#include <string.h>

#include "symbols/python_parts.h"

/* Bits of PyASCIIObject.state. */
#define STATE_KIND(state) ((state) >> 2 & 7) /* bytes a character */
#define STATE_COMPACT 32
#define STATE_ASCII 64
#define CODE_BYTES_MAX 256

struct text_head { /* PyASCIIObject, what all versions share */
	uint64_t references, type;
	int64_t length; /* characters */
	int64_t hash;
	uint32_t state;
};

static uint32_t min_of(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t max_of(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

bool python_code_read(const struct python_memory *m, const struct python_shape *s, uint64_t code, struct python_code *ret)
{
	uint32_t first = min_of(min_of(s->code_name, s->code_plain), min_of(s->code_file, python_code_word(s)));
	uint32_t end = max_of(max_of(s->code_name, s->code_plain), max_of(s->code_file, python_code_word(s))) + 8;
	uint8_t bytes[CODE_BYTES_MAX];
	uint64_t word, plain, hash;

	if (end - first > sizeof(bytes) || !code || !memory_read(m, code + first, bytes, end - first))
		return false;
	memcpy(&ret->name, bytes + s->code_name - first, sizeof(ret->name));
	memcpy(&ret->file, bytes + s->code_file - first, sizeof(ret->file));
	memcpy(&ret->line, bytes + s->code_line - first, sizeof(ret->line));
	memcpy(&word, bytes + python_code_word(s) - first, sizeof(word));
	memcpy(&plain, bytes + s->code_plain - first, sizeof(plain));
	if (!ret->name || !ret->file || (int32_t)ret->line < 0 || !plain || !memory_read(m, plain + PYTHON_TEXT_HASH, &hash, sizeof(hash)))
		return false;
	ret->identity = so_python_identity(word, hash);
	return true;
}

/* Returns the bytes written, 0 where it doesn't fit in `room`. */
static size_t utf8_put(char *to, size_t room, uint32_t c)
{
	if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || !c) /* half a pair; or what would end the text */
		c = 0xfffd;
	if (c < 0x80 && room >= 1)
		return to[0] = c, 1;
	if (c >= 0x80 && c < 0x800 && room >= 2)
		return to[0] = 0xc0 | c >> 6, to[1] = 0x80 | (c & 63), 2;
	if (c >= 0x800 && c < 0x10000 && room >= 3)
		return to[0] = 0xe0 | c >> 12, to[1] = 0x80 | (c >> 6 & 63), to[2] = 0x80 | (c & 63), 3;
	if (c >= 0x10000 && room >= 4)
		return to[0] = 0xf0 | c >> 18, to[1] = 0x80 | (c >> 12 & 63), to[2] = 0x80 | (c >> 6 & 63), to[3] = 0x80 | (c & 63), 4;
	return 0;
}

static uint32_t character(const uint8_t *from, unsigned width)
{
	uint16_t two;
	uint32_t four;

	if (width == 1)
		return *from;
	if (width == 2)
		return memcpy(&two, from, sizeof(two)), two;
	return memcpy(&four, from, sizeof(four)), four;
}

/* A string as UTF-8 in at most size bytes. *type: the address of its type. */
static bool text_read(const struct python_memory *m, const struct python_shape *s, uint64_t address, char *to, size_t size, uint64_t *ret_type)
{
	uint8_t raw[PYTHON_FILE_BYTES * 4];
	struct text_head h;
	size_t n, len = 0, put;
	unsigned width;

	if (!memory_read(m, address, &h, offsetof(struct text_head, state) + sizeof(h.state)))
		return false;
	width = STATE_KIND(h.state);
	if (h.length < 0 || !(h.state & STATE_COMPACT) || (width != 1 && width != 2 && width != 4) || (h.state & STATE_ASCII && width != 1))
		return false;
	n = h.length < (int64_t)size ? (size_t)h.length : size;
	if (n && !memory_read(m, address + (h.state & STATE_ASCII ? s->text_ascii : s->text_wide), raw, n * width))
		return false;
	for (size_t i = 0; i < n; i++, len += put)
		if (!(put = utf8_put(to + len, size - 1 - len, character(raw + i * width, width))))
			break;
	to[len] = 0;
	*ret_type = h.type;
	return h.type != 0;
}

bool python_code_texts(const struct python_memory *m, const struct python_shape *s, const struct python_code *c, char name[PYTHON_NAME_BYTES],
		       char file[PYTHON_FILE_BYTES])
{
	uint64_t name_type, file_type;

	return text_read(m, s, c->name, name, PYTHON_NAME_BYTES, &name_type) && text_read(m, s, c->file, file, PYTHON_FILE_BYTES, &file_type) &&
	       name_type == file_type;
}
