/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "symbols/elf_symbols.h"

#include <gelf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "symbols/demangle.h"

#define TABLE_BYTES_MAX (24u << 20) /* a million symbols */
#define STRINGS_BYTES_MAX (128u << 20)
#define TEXTS_BYTES_MAX (1u << 26) /* as many as the bits of symbol.name can tell */
#define NAME_MAX_BYTES 2048
#define PRETTY_BYTES 512
#define NESTING_MAX 8 /* symbols before the nearest one that may still reach over an address */

static bool text_keep(struct symbols *s, const char *name, size_t len, uint32_t *ret)
{
	if (s->texts_len + len + 1 > s->texts_cap) {
		size_t cap = s->texts_cap ? s->texts_cap + s->texts_cap / 2 : 4096;
		char *p;

		cap = cap < s->texts_len + len + 1 ? s->texts_len + len + 1 : cap;
		p = cap <= TEXTS_BYTES_MAX ? realloc(s->texts, cap) : NULL;
		if (!p)
			return false;
		s->texts = p;
		s->texts_cap = cap;
	}
	*ret = (uint32_t)s->texts_len;
	memcpy(s->texts + s->texts_len, name, len);
	s->texts[s->texts_len + len] = '\0';
	s->texts_len += len + 1;
	return true;
}

/* What people write comes before what libraries call it within: read before __read and __GI___read. */
static unsigned name_rank(const char *name, const GElf_Sym *sym)
{
	unsigned underscores = 0, binding = GELF_ST_BIND(sym->st_info);

	while (underscores < 3 && name[underscores] == '_')
		underscores++;
	return underscores * 4 + (binding == STB_GLOBAL ? 0 : binding == STB_WEAK ? 1 : 2);
}

/* The section of code that a symbol lies in. */
static bool symbol_section(Elf *elf, const GElf_Sym *sym, GElf_Shdr *ret)
{
	Elf_Scn *scn = sym->st_shndx < SHN_LORESERVE ? elf_getscn(elf, sym->st_shndx) : NULL;

	return scn && gelf_getshdr(scn, ret) && ret->sh_flags & SHF_EXECINSTR && sym->st_value >= ret->sh_addr &&
	       sym->st_value - ret->sh_addr < ret->sh_size;
}

static bool symbol_wanted(Elf *elf, const GElf_Sym *sym, const char *name, GElf_Shdr *section)
{
	unsigned type = GELF_ST_TYPE(sym->st_info);

	if (sym->st_shndx == SHN_UNDEF || !sym->st_value || !*name)
		return false;
	/* Labels of assembly without a type count, but not the marks of code and data ("$x") and the assembler's own (".L1"). */
	if (type == STT_NOTYPE ? *name == '$' || *name == '.' : type != STT_FUNC && type != STT_GNU_IFUNC)
		return false;
	return symbol_section(elf, sym, section);
}

static bool symbol_keep(struct symbols *s, const GElf_Sym *sym, const char *name, const GElf_Shdr *section)
{
	uint64_t left = section->sh_addr + section->sh_size - sym->st_value;
	uint64_t size = sym->st_size && sym->st_size < left ? sym->st_size : left;
	uint32_t text;

	if (s->len == s->cap) {
		uint32_t cap = s->cap ? s->cap + s->cap / 2 : 256;
		struct symbol *p = realloc(s->at, cap * sizeof(*p));

		if (!p)
			return false;
		s->at = p;
		s->cap = cap;
	}
	if (!text_keep(s, name, strcspn(name, "@"), &text)) /* without the version: "name@@GLIBC_2.34" */
		return false;
	s->at[s->len++] = (struct symbol){
		.address = sym->st_value,
		.size = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX,
		.name = text,
		.mangled = true,
		.sizeless = !sym->st_size,
		.rank = name_rank(name, sym),
	};
	return true;
}

static uint32_t table_add(struct symbols *s, Elf *elf, Elf_Scn *scn, const GElf_Shdr *table)
{
	Elf_Scn *strings = elf_getscn(elf, table->sh_link);
	Elf_Data *data, *texts;
	uint32_t before = s->len;
	GElf_Shdr shdr;
	size_t n;

	if (!strings || !gelf_getshdr(strings, &shdr) || shdr.sh_type != SHT_STRTAB)
		return 0;
	if (table->sh_size > TABLE_BYTES_MAX || shdr.sh_size > STRINGS_BYTES_MAX || (table->sh_flags | shdr.sh_flags) & SHF_COMPRESSED)
		return 0;
	data = elf_getdata(scn, NULL);
	texts = elf_getdata(strings, NULL);
	if (!data || !data->d_buf || !texts || !texts->d_buf)
		return 0;
	n = data->d_size / gelf_fsize(elf, ELF_T_SYM, 1, EV_CURRENT);
	for (size_t i = 1; i < n; i++) {
		const char *name;
		GElf_Sym sym;
		size_t room;

		if (!gelf_getsym(data, (int)i, &sym) || sym.st_name >= texts->d_size)
			continue;
		name = (const char *)texts->d_buf + sym.st_name;
		room = texts->d_size - sym.st_name;
		room = room < NAME_MAX_BYTES ? room : NAME_MAX_BYTES;
		if (strnlen(name, room) < room && symbol_wanted(elf, &sym, name, &shdr) && !symbol_keep(s, &sym, name, &shdr))
			break;
	}
	return s->len - before;
}

uint32_t symbols_add(struct symbols *s, Elf *elf, uint32_t type)
{
	Elf_Scn *scn = NULL;
	uint32_t added = 0;
	GElf_Shdr shdr;

	while ((scn = elf_nextscn(elf, scn)))
		if (gelf_getshdr(scn, &shdr) && shdr.sh_type == type)
			added += table_add(s, elf, scn, &shdr);
	return added;
}

static int symbol_order(const void *x, const void *y)
{
	const struct symbol *a = x, *b = y;

	if (a->address != b->address)
		return a->address < b->address ? -1 : 1;
	if (a->sizeless != b->sizeless)
		return a->sizeless - b->sizeless;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return a->name < b->name ? -1 : a->name > b->name;
}

void symbols_sort(struct symbols *s)
{
	uint32_t n = 0;

	if (!s->len)
		return;
	qsort(s->at, s->len, sizeof(*s->at), symbol_order);
	for (uint32_t i = 0; i < s->len; i++)
		if (!n || s->at[i].address != s->at[n - 1].address)
			s->at[n++] = s->at[i];
	s->len = n;
	for (uint32_t i = 0; i + 1 < n; i++)
		if (s->at[i].sizeless && s->at[i + 1].address - s->at[i].address < s->at[i].size)
			s->at[i].size = (uint32_t)(s->at[i + 1].address - s->at[i].address);
}

struct symbol *symbols_find(const struct symbols *s, uint64_t address)
{
	uint32_t low = 0, high = s->len;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (s->at[mid].address <= address)
			low = mid + 1;
		else
			high = mid;
	}
	for (uint32_t back = 0; back < NESTING_MAX && back < low; back++) {
		struct symbol *at = &s->at[low - 1 - back];

		if (address - at->address < at->size)
			return at;
	}
	return NULL;
}

const char *symbols_name(struct symbols *s, struct symbol *at)
{
	char pretty[PRETTY_BYTES];
	uint32_t text;

	if (at->mangled) {
		at->mangled = false;
		if (demangle(s->texts + at->name, pretty, sizeof(pretty)) && text_keep(s, pretty, strlen(pretty), &text))
			at->name = text;
	}
	return s->texts + at->name;
}

void symbols_fini(struct symbols *s)
{
	free(s->at);
	free(s->texts);
	*s = (struct symbols){};
}

size_t symbols_bytes(const struct symbols *s)
{
	return s->cap * sizeof(*s->at) + s->texts_cap;
}
