/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The table's layout since Go 1.18 (src/debug/gosym/pclntab.go): a header, and at offsets that it tells the functions' names, and the functions: pairs of
 * (distance of the entry from the beginning of the text, where its description lies), whose description begins with that distance and the name's place.
 */
#include "probe/go_functions.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/util.h"

#define TABLE_MAX (64U << 20)
#define MAGIC_1_18 0xfffffff0
#define MAGIC_1_20 0xfffffff1

struct header {
	uint32_t magic;
	uint8_t zero[2], quantum, pointer_bytes;
	uint64_t functions, files, text, names, units, file_names, counters, pairs;
};

static bool header_fits(const struct header *h, uint64_t size)
{
	/* Without the address of the text, which position-independent programs have only when they are loaded, a place would be a guess. */
	return (h->magic == MAGIC_1_18 || h->magic == MAGIC_1_20) && h->pointer_bytes == 8 && h->text && h->names < size && h->pairs < size &&
	       h->functions <= (size - h->pairs) / 8;
}

static void name_look(int fd, const char *name, uint64_t address, struct elf_site *sites, int n)
{
	for (int i = 0; i < n; i++)
		if (!sites[i].offset && !strcmp(name, sites[i].name)) {
			sites[i].offset = elf_offset(fd, address);
			sites[i].address = address;
		}
}

static void table_search(int fd, const char *table, uint64_t size, struct elf_site *sites, int n)
{
	struct header h;

	memcpy(&h, table, sizeof(h));
	if (!header_fits(&h, size))
		return;
	for (uint64_t i = 0; i < h.functions; i++) {
		uint32_t pair[2], described[2]; /* distance, place; distance, name */

		memcpy(pair, table + h.pairs + i * sizeof(pair), sizeof(pair));
		if (pair[1] > size - h.pairs || size - h.pairs - pair[1] < sizeof(described))
			return;
		memcpy(described, table + h.pairs + pair[1], sizeof(described));
		if (described[1] < size - h.names && !strncmp(table + h.names + described[1], "runtime.", 8))
			name_look(fd, table + h.names + described[1], h.text + pair[0], sites, n);
	}
}

int go_functions_find(int fd, struct elf_site *sites, int n)
{
	_cleanup_free_ char *table = NULL;
	struct elf_section s;

	if (!elf_section_find(fd, ".go.buildinfo", &s))
		return 0;
	if (!elf_section_find(fd, ".gopclntab", &s) || s.size < sizeof(struct header) || s.size > TABLE_MAX)
		return 1;
	table = malloc(s.size + 1);
	if (!table || pread(fd, table, s.size, (off_t)s.offset) != (ssize_t)s.size)
		return 1;
	table[s.size] = 0; /* ends the last name */
	table_search(fd, table, s.size, sites, n);
	return 1;
}
