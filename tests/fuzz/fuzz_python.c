/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A process whose memory says anything at all, as its interpreter's file, as what an interpreter says of itself, as code objects and strings. The input
 * is all of its memory, over and over again, so that whatever address it names has something to say.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "symbols/python_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t size;
	unsigned reads;
};

static bool input_read(void *ctx, uint64_t address, void *to, size_t size)
{
	struct input *in = ctx;
	uint8_t *out = to;

	if (++in->reads > 100000) /* no end in sight */
		abort();
	if (address % 7 == 6) /* some of it can't be read */
		return false;
	for (size_t i = 0; i < size; i++)
		out[i] = in->data[(address + i) % in->size];
	return true;
}

/* Well-formed UTF-8 with its end where it should be. */
static void check_text(const char *text, size_t size)
{
	const unsigned char *at = (const unsigned char *)text;

	if (strnlen(text, size) == size)
		abort();
	while (*at) {
		int more = *at < 0x80 ? 0 : *at >= 0xf0 ? 3 : *at >= 0xe0 ? 2 : 1;

		if ((*at >= 0x80 && *at < 0xc2) || *at > 0xf4)
			abort();
		for (at++; more; more--, at++)
			if ((*at & 0xc0) != 0x80)
				abort();
	}
}

static void check_code(const struct python_memory *m, const struct python_shape *s, uint64_t address)
{
	char name[PYTHON_NAME_BYTES], file[PYTHON_FILE_BYTES];
	struct python_code c;

	if (!python_code_read(m, s, address, &c) || !python_code_texts(m, s, &c, name, file))
		return;
	check_text(name, sizeof(name));
	check_text(file, sizeof(file));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t versions[] = { 0x0309, 0x030a, 0x030b, 0x030c, 0x030d };
	struct input in = { data, size, 0 };
	const struct python_memory m = { input_read, &in };
	struct python_shape s;
	char why[80];

	if (size < 8)
		return -1;
	python_symbol(&m, size, "_PyRuntime"); /* address 0 is never read: the first byte is at any multiple of the size */
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
		if (!python_shape_find(&m, size, versions[i], &s, why, sizeof(why)))
			check_code(&m, &s, data[0] + size);
	return 0;
}
