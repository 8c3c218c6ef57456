/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The interpreter's symbols, structures and strings, from memory that is made up here; and from memory that holds anything at all. */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/util.h"
#include "symbols/python_parts.h"

#define PIECES 16

struct fake {
	struct {
		uint64_t address;
		const void *bytes;
		size_t size;
	} pieces[PIECES];
	int len;
};

static bool fake_read(void *ctx, uint64_t address, void *to, size_t size)
{
	const struct fake *f = ctx;

	for (int i = 0; i < f->len; i++) {
		if (address < f->pieces[i].address || address - f->pieces[i].address > f->pieces[i].size ||
		    size > f->pieces[i].size - (address - f->pieces[i].address))
			continue;
		memcpy(to, (const char *)f->pieces[i].bytes + (address - f->pieces[i].address), size);
		return true;
	}
	return false;
}

static void fake_add(struct fake *f, uint64_t address, const void *bytes, size_t size)
{
	assert_in_range(f->len, 0, PIECES - 1);
	f->pieces[f->len].address = address;
	f->pieces[f->len].bytes = bytes;
	f->pieces[f->len].size = size;
	f->len++;
}

/* ---- symbols ---- */

enum { OTHER = 1, ELSEWHERE, RUNTIME, VERSION, SYMBOLS };

/* A loaded file with all symbols in one bucket. */
struct loaded {
	Elf64_Ehdr header;
	Elf64_Phdr segments[2];
	Elf64_Dyn dynamic[6];
	Elf64_Sym symbols[SYMBOLS];
	uint32_t hash[4];
	uint64_t filter;
	uint32_t bucket;
	uint32_t chain[SYMBOLS - 1];
	char strings[64];
};

static uint32_t hash_of(const char *s)
{
	uint32_t h = 5381;

	while (*s)
		h = (h << 5) + h + (unsigned char)*s++;
	return h;
}

/* vaddr: what the file says its first byte is loaded at; relocated: the dynamic linker has been there. */
static struct loaded loaded_at(uint64_t address, uint64_t vaddr, bool relocated)
{
	static const char strings[] = "\0_PyOther\0_PyElsewhere\0_PyRuntime\0Py_Version";
	struct loaded l = {
		.header = { .e_ident = ELFMAG, .e_phoff = offsetof(struct loaded, segments), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2 },
		.segments = { { .p_type = PT_LOAD, .p_vaddr = vaddr },
			      { .p_type = PT_DYNAMIC, .p_vaddr = vaddr + offsetof(struct loaded, dynamic) } },
		.symbols = { [OTHER] = { .st_name = 1, .st_value = vaddr + 0x10, .st_shndx = 5 },
			     [ELSEWHERE] = { .st_name = 10, .st_shndx = SHN_UNDEF },
			     [RUNTIME] = { .st_name = 23, .st_value = vaddr + 0x5000, .st_shndx = 5 },
			     [VERSION] = { .st_name = 34, .st_value = vaddr + 0x6000, .st_shndx = 5 } },
		.hash = { 1, 1, 1, 6 },
		.bucket = 1,
	};
	uint64_t base = relocated ? address : vaddr;

	l.header.e_ident[EI_CLASS] = ELFCLASS64;
	l.dynamic[0] = (Elf64_Dyn){ .d_tag = DT_STRTAB, .d_un.d_ptr = base + offsetof(struct loaded, strings) };
	l.dynamic[1] = (Elf64_Dyn){ .d_tag = DT_SYMTAB, .d_un.d_ptr = base + offsetof(struct loaded, symbols) };
	l.dynamic[2] = (Elf64_Dyn){ .d_tag = DT_GNU_HASH, .d_un.d_ptr = base + offsetof(struct loaded, hash) };
	memcpy(l.strings, strings, sizeof(strings));
	for (int i = OTHER; i < SYMBOLS; i++)
		l.chain[i - 1] = hash_of(strings + l.symbols[i].st_name) & ~1U;
	l.chain[SYMBOLS - 2] |= 1;
	return l;
}

static uint64_t look(const struct loaded *l, uint64_t address, const char *name)
{
	struct fake f = {};

	fake_add(&f, address, l, sizeof(*l));
	return python_symbol(&(struct python_memory){ fake_read, &f }, address, name);
}

static void symbols(void **ctx)
{
	static const struct {
		uint64_t address, vaddr;
	} cases[] = { { 0x7f0000000000, 0 }, { 0x7f0000000000, 0x1000 }, { 0x400000, 0x400000 } };

	(void)ctx;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (int relocated = 0; relocated < 2; relocated++) {
			uint64_t at = cases[i].address;
			struct loaded l = loaded_at(at, cases[i].vaddr, relocated);

			assert_int_equal(look(&l, at, "_PyRuntime"), at + 0x5000);
			assert_int_equal(look(&l, at, "Py_Version"), at + 0x6000);
			assert_int_equal(look(&l, at, "_PyElsewhere"), 0);
			assert_int_equal(look(&l, at, "_PyRuntim"), 0);
			assert_int_equal(look(&l, at, "a_name_longer_than_any_that_is_looked_for"), 0);
		}
	}
}

static void broken_files(void **ctx)
{
	const uint64_t at = 0x10000;
	struct loaded good = loaded_at(at, 0, true), bad;

	(void)ctx;
	assert_int_not_equal(look(&good, at, "_PyRuntime"), 0);
	bad = good;
	bad.header.e_ident[EI_CLASS] = ELFCLASS32;
	assert_int_equal(look(&bad, at, "_PyRuntime"), 0);
	bad = good;
	bad.header.e_phnum = 60000;
	assert_int_equal(look(&bad, at, "_PyRuntime"), 0);
	bad = good;
	bad.segments[0].p_offset = 0x1000; /* where it is loaded is not known */
	assert_int_equal(look(&bad, at, "_PyRuntime"), 0);
	bad = good;
	bad.hash[0] = 0;
	assert_int_equal(look(&bad, at, "_PyRuntime"), 0);
	bad = good;
	bad.bucket = 0;
	assert_int_equal(look(&bad, at, "_PyRuntime"), 0);
	bad = good;
	memset(bad.chain, 0, sizeof(bad.chain)); /* no end, and none that fits */
	assert_int_equal(look(&bad, at, "_PyRuntime"), 0);
	bad = good;
	for (size_t i = 0; i < ARRAY_SIZE(bad.dynamic); i++)
		bad.dynamic[i].d_tag = DT_NEEDED;
	assert_int_equal(look(&bad, at, "_PyRuntime"), 0);
}

static void versions_of_names(void **ctx)
{
	(void)ctx;
	assert_int_equal(python_version_of_name("/usr/bin/python3.11"), 0x030b);
	assert_int_equal(python_version_of_name("/usr/lib/libpython3.9.so.1.0"), 0x0309);
	assert_int_equal(python_version_of_name("/x/libpython3.13.so.1.0 (deleted)"), 0x030d);
	assert_int_equal(python_version_of_name("python2.7"), 0x0207);
	assert_int_equal(python_version_of_name("/usr/bin/python3"), 0);
	assert_int_equal(python_version_of_name("/python3.11/bin/agent"), 0);
	assert_int_equal(python_version_of_name("/lib/libpython3.so"), 0);
	assert_int_equal(python_version_of_name("/bin/python99999999999.1"), 0);
	assert_int_equal(python_version_of_name("/bin/python3.99999999999999999999"), 0);
	assert_int_equal(python_version_of_name(""), 0);
}

/* ---- structures ---- */

/* What 3.13.0 says of itself. */
static const uint64_t told[] = {
	0, 0x030d00f0, 0, /* cookie, version, free-threaded */
	228224, 616, 632, /* runtime: size, finalizing, interpreters.head */
	110576, 7272, 7264, 7344, 7520, 9176, 9072, 9080, 16, 8544, 0, 16, 8, /* interpreter, its lock */
	336, 0, 8, 16, 72, 152, 160, 248, 36, /* thread */
	80, 8, 0, 56, 72, 70, /* frame */
	208, 112, 120, 128, 136, 68, 52, 96, 104, 200, /* code */
};

static int shape_of(const uint64_t *numbers, uint32_t version, struct python_shape *s, char *why)
{
	struct fake f = {};

	fake_add(&f, 0x1000, numbers, sizeof(told));
	return python_shape_find(&(struct python_memory){ fake_read, &f }, 0x1000, version, s, why, 80);
}

static void shapes(void **ctx)
{
	uint64_t numbers[ARRAY_SIZE(told)];
	struct python_shape s;
	char why[80] = "";

	(void)ctx;
	memcpy(numbers, told, sizeof(told));
	memcpy(numbers, "xdebugpy", 8);
	assert_int_equal(shape_of(numbers, 0x030d, &s, why), 0);
	assert_int_equal(s.runtime_main, 640);
	assert_int_equal(s.walk[SO_PYTHON_FRAME_ENTRY], 70);
	assert_int_equal(s.walk[SO_PYTHON_FRAME_BYTES], 72);
	assert_int_equal(s.code_name, 128);
	for (uint32_t version = 0x0309; version <= 0x030c; version++) {
		assert_int_equal(shape_of(numbers, version, &s, why), 0);
		assert_int_equal(s.version, version);
	}
	assert_int_equal(shape_of(numbers, 0x0308, &s, why), -ENOTSUP);
	assert_string_equal(why, "Python 3.8 is not known");
	assert_int_equal(shape_of(numbers, 0x030e, &s, why), -ENOTSUP);
	assert_int_equal(shape_of(numbers, 0, &s, why), -ENOTSUP);
}

static void shapes_that_are_none(void **ctx)
{
	uint64_t numbers[ARRAY_SIZE(told)];
	struct python_shape s;
	char why[80] = "";

	(void)ctx;
	memcpy(numbers, told, sizeof(told)); /* no cookie */
	assert_int_equal(shape_of(numbers, 0x030d, &s, why), -ENOTSUP);
	memcpy(numbers, "xdebugpy", 8);
	numbers[2] = 1;
	assert_int_equal(shape_of(numbers, 0x030d, &s, why), -ENOTSUP);
	assert_string_equal(why, "Python 3.13 without the global lock");
	numbers[2] = 0;
	numbers[1] = 0x030e0000;
	assert_int_equal(shape_of(numbers, 0x030d, &s, why), -ENOTSUP);
	numbers[1] = told[1];
	for (size_t i = 28; i < 34; i++) { /* of a frame: more than is read of one, more than anything has */
		numbers[i] = 1000;
		assert_int_equal(shape_of(numbers, 0x030d, &s, why), i == 28 || i == 32 ? 0 : -ENOTSUP); /* its size and locals aren't used */
		numbers[i] = 1ULL << 40;
		assert_int_equal(shape_of(numbers, 0x030d, &s, why), -ENOTSUP);
		numbers[i] = told[i];
	}
}

/* ---- strings ---- */

#define ASCII (1 << 2 | 32 | 64)
#define LATIN (1 << 2 | 32)
#define UCS2 (2 << 2 | 32)
#define UCS4 (4 << 2 | 32)

struct text {
	uint64_t references, type;
	int64_t length, hash;
	uint32_t state, pad;
	uint8_t rest[40 + 4 * 600];
};

static const struct python_shape shape = {
	.code_plain = 120, .code_name = 128, .code_file = 112, .code_line = 68, .text_ascii = 40, .text_wide = 56,
};

static struct text text_of(uint32_t state, const void *characters, int64_t length)
{
	struct text t = { .references = 1, .type = 0x500, .length = length, .state = state };
	size_t head = state & 64 ? shape.text_ascii : shape.text_wide;

	memcpy((char *)&t + head, characters, (size_t)length * (state >> 2 & 7));
	return t;
}

static bool texts(const struct text *name, const struct text *file, char *ret_name, char *ret_file)
{
	struct fake f = {};

	fake_add(&f, 0x10000, name, sizeof(*name));
	fake_add(&f, 0x20000, file, sizeof(*file));
	return python_code_texts(&(struct python_memory){ fake_read, &f }, &shape, &(struct python_code){ .name = 0x10000, .file = 0x20000 },
				 ret_name, ret_file);
}

static void texts_of_all_widths(void **ctx)
{
	static const uint16_t two[] = { 0x95a2, 0x6570, 'f', 0xdc80, 0 };
	static const uint32_t four[] = { 0x1d4bb, 0xe9, 0x110000, 0xffffffff };
	struct text ascii = text_of(ASCII, "Agent.run", 9), latin = text_of(LATIN, "gr\366\337e", 5), ucs2 = text_of(UCS2, two, 5),
		    ucs4 = text_of(UCS4, four, 4), empty = text_of(ASCII, "", 0);
	char name[PYTHON_NAME_BYTES], file[PYTHON_FILE_BYTES];

	(void)ctx;
	assert_true(texts(&ascii, &latin, name, file));
	assert_string_equal(name, "Agent.run");
	assert_string_equal(file, "größe");
	assert_true(texts(&ucs2, &ucs4, name, file));
	assert_string_equal(name, "関数f\xef\xbf\xbd\xef\xbf\xbd");
	assert_string_equal(file, "𝒻é\xef\xbf\xbd\xef\xbf\xbd");
	assert_true(texts(&empty, &ascii, name, file));
	assert_string_equal(name, "");
}

static void texts_are_cut_between_characters(void **ctx)
{
	char name[PYTHON_NAME_BYTES], file[PYTHON_FILE_BYTES];
	struct text long_name, long_file;
	uint32_t wide[600];
	char plain[600];

	(void)ctx;
	memset(plain, 'x', sizeof(plain));
	for (size_t i = 0; i < ARRAY_SIZE(wide); i++)
		wide[i] = 0x20ac; /* 3 bytes in UTF-8 */
	long_name = text_of(UCS4, wide, 600);
	long_file = text_of(ASCII, plain, 600);
	assert_true(texts(&long_name, &long_file, name, file));
	assert_int_equal(strlen(name), (PYTHON_NAME_BYTES - 1) / 3 * 3);
	assert_int_equal(strlen(file), PYTHON_FILE_BYTES - 1);
	long_name.length = INT64_MAX; /* the beginning is there all the same */
	assert_true(texts(&long_name, &long_file, name, file));
}

static void what_is_no_text(void **ctx)
{
	struct text good = text_of(ASCII, "name", 4), bad;
	char name[PYTHON_NAME_BYTES], file[PYTHON_FILE_BYTES];

	(void)ctx;
	assert_true(texts(&good, &good, name, file));
	bad = good;
	bad.length = -1;
	assert_false(texts(&bad, &good, name, file));
	bad = good;
	bad.state &= ~32U; /* not compact */
	assert_false(texts(&bad, &good, name, file));
	bad = good;
	bad.state = 3 << 2 | 32;
	assert_false(texts(&bad, &good, name, file));
	bad = good;
	bad.state = 4 << 2 | 32 | 64; /* ASCII of 4 bytes a character */
	assert_false(texts(&bad, &good, name, file));
	bad = good;
	bad.type = 0x600; /* something else than the other one */
	assert_false(texts(&bad, &good, name, file));
	bad.type = 0;
	assert_false(texts(&bad, &bad, name, file));
}

static void codes(void **ctx)
{
	struct text plain = text_of(ASCII, "run", 3);
	const uint64_t name = 0x111111, file = 0x222222, plain_at = 0x20000;
	const uint32_t line = 4711;
	uint8_t code[200] = {};
	struct fake f = {};
	const struct python_memory m = { fake_read, &f };
	struct python_code c, other;

	(void)ctx;
	plain.hash = 0x123456789abcdef;
	memcpy(code + shape.code_plain, &plain_at, 8);
	memcpy(code + shape.code_name, &name, 8);
	memcpy(code + shape.code_file, &file, 8);
	memcpy(code + shape.code_line, &line, 4);
	fake_add(&f, 0x10000, code, sizeof(code));
	fake_add(&f, plain_at, &plain, sizeof(plain));
	assert_true(python_code_read(&m, &shape, 0x10000, &c));
	assert_int_equal(c.name, name);
	assert_int_equal(c.file, file);
	assert_int_equal(c.line, line);
	assert_int_equal(c.identity, so_python_identity((uint64_t)line << 32, plain.hash));
	plain.hash++; /* another name at the same address */
	assert_true(python_code_read(&m, &shape, 0x10000, &other));
	assert_int_not_equal(c.identity, other.identity);
	assert_false(python_code_read(&m, &shape, 0, &c));
	assert_false(python_code_read(&m, &shape, 0x10000 + sizeof(code) - shape.code_name, &c)); /* its end isn't there */
	memset(code + shape.code_line, 0xff, 4);
	assert_false(python_code_read(&m, &shape, 0x10000, &c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(symbols),
		cmocka_unit_test(broken_files),
		cmocka_unit_test(versions_of_names),
		cmocka_unit_test(shapes),
		cmocka_unit_test(shapes_that_are_none),
		cmocka_unit_test(texts_of_all_widths),
		cmocka_unit_test(texts_are_cut_between_characters),
		cmocka_unit_test(what_is_no_text),
		cmocka_unit_test(codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
