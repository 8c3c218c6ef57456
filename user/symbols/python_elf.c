/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The interpreter's symbols from the memory of the process itself: no file is opened, and one that was deleted or lies in a container is no different. An
 * interpreter exports what extension modules need, _PyRuntime among it, also where it is linked into the executable and stripped. Formats: System V gABI
 * chapter 5; DT_GNU_HASH as glibc's elf/dl-lookup.c reads it.
 */
#include <elf.h>
#include <string.h>

#include "symbols/python_parts.h"

#define SEGMENTS_MAX 64
#define DYNAMIC_MAX 128 /* entries */
#define CHAIN_MAX 4096 /* symbols in a bucket */

struct image {
	const struct python_memory *memory;
	uint64_t bias;
	uint64_t symbols, strings, hash; /* addresses */
};

static bool header_fits(const Elf64_Ehdr *h)
{
	return !memcmp(h->e_ident, ELFMAG, SELFMAG) && h->e_ident[EI_CLASS] == ELFCLASS64 && h->e_phentsize == sizeof(Elf64_Phdr) &&
	       h->e_phnum <= SEGMENTS_MAX;
}

/* glibc writes the addresses that it has relocated back into the table, musl and glibc before its start don't. */
static uint64_t dynamic_address(const struct image *i, uint64_t value)
{
	return value < i->bias ? value + i->bias : value;
}

static bool dynamic_read(struct image *i, uint64_t address)
{
	Elf64_Dyn d;

	for (int n = 0; n < DYNAMIC_MAX; n++) {
		if (!memory_read(i->memory, address + n * sizeof(d), &d, sizeof(d)))
			return false;
		if (d.d_tag == DT_NULL)
			break;
		if (d.d_tag == DT_SYMTAB)
			i->symbols = dynamic_address(i, d.d_un.d_ptr);
		else if (d.d_tag == DT_STRTAB)
			i->strings = dynamic_address(i, d.d_un.d_ptr);
		else if (d.d_tag == DT_GNU_HASH)
			i->hash = dynamic_address(i, d.d_un.d_ptr);
	}
	return i->symbols && i->strings && i->hash;
}

static bool image_read(struct image *i, uint64_t header)
{
	Elf64_Phdr segments[SEGMENTS_MAX];
	const Elf64_Phdr *dynamic = NULL;
	bool placed = false;
	Elf64_Ehdr h;

	if (!memory_read(i->memory, header, &h, sizeof(h)) || !header_fits(&h) ||
	    !memory_read(i->memory, header + h.e_phoff, segments, h.e_phnum * sizeof(*segments)))
		return false;
	for (int n = 0; n < h.e_phnum; n++) {
		if (segments[n].p_type == PT_LOAD && !segments[n].p_offset) {
			i->bias = header - segments[n].p_vaddr;
			placed = true;
		} else if (segments[n].p_type == PT_DYNAMIC) {
			dynamic = &segments[n];
		}
	}
	return placed && dynamic && dynamic_read(i, i->bias + dynamic->p_vaddr);
}

static uint32_t name_hash(const char *name)
{
	uint32_t h = 5381;

	for (; *name; name++)
		h = h * 33 + (unsigned char)*name;
	return h;
}

/* Address of the symbol of that number if it is the one of that name, and defined. */
static uint64_t symbol_value(const struct image *i, uint32_t number, const char *name)
{
	char found[32];
	Elf64_Sym s;
	size_t len = strlen(name) + 1;

	if (len > sizeof(found) || !memory_read(i->memory, i->symbols + (uint64_t)number * sizeof(s), &s, sizeof(s)) || s.st_shndx == SHN_UNDEF)
		return 0;
	if (!memory_read(i->memory, i->strings + s.st_name, found, len) || memcmp(found, name, len))
		return 0;
	return i->bias + s.st_value;
}

uint64_t python_symbol(const struct python_memory *m, uint64_t header, const char *name)
{
	struct image i = { .memory = m };
	uint32_t table[4], hash = name_hash(name), number, h; /* buckets, first symbol hashed, words of the filter, its shift */
	uint64_t buckets, value;

	if (!image_read(&i, header) || !memory_read(m, i.hash, table, sizeof(table)) || !table[0])
		return 0;
	buckets = i.hash + sizeof(table) + (uint64_t)table[2] * sizeof(uint64_t);
	if (!memory_read(m, buckets + (uint64_t)(hash % table[0]) * sizeof(uint32_t), &number, sizeof(number)) || number < table[1])
		return 0;
	for (int n = 0; n < CHAIN_MAX; n++, number++) {
		uint64_t at = buckets + ((uint64_t)table[0] + (number - table[1])) * sizeof(uint32_t);

		if (!memory_read(m, at, &h, sizeof(h)))
			return 0;
		if ((h | 1) == (hash | 1) && (value = symbol_value(&i, number, name)))
			return value;
		if (h & 1) /* the last of the bucket */
			return 0;
	}
	return 0;
}

uint32_t python_version_of_name(const char *path)
{
	const char *base = strrchr(path, '/');
	unsigned major = 0, minor = 0;

	base = base ? base + 1 : path;
	if (!strncmp(base, "lib", 3))
		base += 3;
	if (strncmp(base, "python", 6))
		return 0;
	for (base += 6; *base >= '0' && *base <= '9' && major < 100; base++)
		major = major * 10 + (*base - '0');
	if (base[0] != '.' || base[1] < '0' || base[1] > '9')
		return 0;
	for (base++; *base >= '0' && *base <= '9' && minor < 100; base++)
		minor = minor * 10 + (*base - '0');
	return major && major < 100 && minor < 100 ? major << 8 | minor : 0;
}
