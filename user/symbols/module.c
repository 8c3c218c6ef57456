/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "symbols/module.h"

#include <elfutils/libdw.h>
#include <gelf.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "lib/util.h"
#include "symbols/debug_file.h"
#include "symbols/elf_file.h"
#include "symbols/elf_symbols.h"

#define SEGMENTS_MAX 16 /* of code */
#define STUBS_MAX 4
#define RULES_MIN 64
#define RULES_MAX 16384 /* kept of one file; when there are more it begins anew */
#define DEBUG_FRAME_BYTES_MAX (32u << 20) /* of all debugging data: libdw reads them together */
#define VDSO_BYTES_MAX (64u << 10)

struct segment {
	uint64_t offset, bytes, address;
};

/* Rules by address: a hash table with open addressing. */
struct rule_entry {
	uint64_t address; /* 0: free */
	struct rule rule;
};

struct module {
	char *path; /* as the process sees it */
	const char *name;
	bool loaded;
	struct segment segments[SEGMENTS_MAX];
	int segments_len;
	struct { /* procedure linkage tables */
		uint64_t address, bytes;
	} stubs[STUBS_MAX];
	int stubs_len;
	struct symbols symbols;
	/* Unwinding. The table of functions is libelf's copy: pairs of (begin, entry), relative to `starts_base`. */
	Elf *elf;
	Dwarf_CFI *cfi; /* NULL: none */
	Dwarf *debug; /* NULL: there is no unwinding table among debugging data */
	Dwarf_CFI *debug_cfi;
	const int32_t (*starts)[2];
	uint32_t starts_len;
	uint64_t starts_base;
	size_t unwind_bytes;
	struct rule_entry *rules;
	uint32_t rules_len, rules_cap;
	struct rule_expressions expressions;
	void *image; /* of the vDSO */
};

struct module *module_new(const char *path)
{
	struct module *m = calloc(1, sizeof(*m));
	char *cut;

	if (!m)
		return NULL;
	m->path = strdup(path);
	if (!m->path) {
		free(m);
		return NULL;
	}
	cut = strstr(m->path, " (deleted)");
	if (cut && !strcmp(cut, " (deleted)"))
		*cut = '\0';
	m->name = strrchr(m->path, '/') ? strrchr(m->path, '/') + 1 : m->path;
	return m;
}

void module_unload(struct module *m)
{
	dwarf_cfi_end(m->cfi);
	dwarf_end(m->debug);
	elf_end(m->elf);
	symbols_fini(&m->symbols);
	rule_expressions_fini(&m->expressions);
	free(m->rules);
	m->cfi = m->debug_cfi = NULL;
	m->debug = NULL;
	m->elf = NULL;
	m->rules = NULL;
	m->rules_len = m->rules_cap = 0;
	m->starts = NULL;
	m->starts_len = 0;
	m->unwind_bytes = 0;
	m->segments_len = m->stubs_len = 0;
	m->loaded = false;
}

void module_free(struct module *m)
{
	if (!m)
		return;
	module_unload(m);
	free(m->image);
	free(m->path);
	free(m);
}

/* The table by which unwinders search (Linux Standard Base, "Exception Frames"): its usual form only, offsets of 4 bytes from its own address. */
static void starts_find(struct module *m, const GElf_Phdr *phdr)
{
	static const uint8_t usual[4] = { 1, 0x1b, 0x03, 0x3b };
	Elf_Data *data = elf_getdata_rawchunk(m->elf, (int64_t)phdr->p_offset, phdr->p_filesz, ELF_T_BYTE);
	uint32_t n;

	if (!data || !data->d_buf || data->d_size < 12 || memcmp(data->d_buf, usual, sizeof(usual)))
		return;
	memcpy(&n, (const char *)data->d_buf + 8, sizeof(n));
	if (n > (data->d_size - 12) / sizeof(*m->starts) || (uintptr_t)data->d_buf % sizeof(int32_t))
		return;
	m->starts = (const void *)((const char *)data->d_buf + 12);
	m->starts_len = n;
	m->starts_base = phdr->p_vaddr;
	m->unwind_bytes += data->d_size;
}

static void segments_read(struct module *m)
{
	size_t n = 0;

	elf_getphdrnum(m->elf, &n);
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr phdr;

		if (!gelf_getphdr(m->elf, (int)i, &phdr))
			continue;
		if (phdr.p_type == PT_GNU_EH_FRAME)
			starts_find(m, &phdr);
		if (phdr.p_type == PT_LOAD && phdr.p_flags & PF_X && m->segments_len < SEGMENTS_MAX)
			m->segments[m->segments_len++] = (struct segment){ phdr.p_offset, phdr.p_filesz, phdr.p_vaddr };
	}
}

struct section_bytes {
	uint64_t eh_frame, debug_frame, debug; /* debug: of all sections of debugging data */
};

static void section_take(struct module *m, const char *name, const GElf_Shdr *shdr, struct section_bytes *ret)
{
	if (!strcmp(name, ".eh_frame"))
		ret->eh_frame = shdr->sh_size;
	if (!strcmp(name, ".debug_frame"))
		ret->debug_frame = shdr->sh_size;
	if (strstr(name, "debug_")) /* compressed ones may grow beyond measure */
		ret->debug += shdr->sh_flags & SHF_COMPRESSED || name[1] == 'z' ? UINT32_MAX : shdr->sh_size;
	if (!strncmp(name, ".plt", strlen(".plt")) && shdr->sh_flags & SHF_EXECINSTR && m->stubs_len < STUBS_MAX) {
		m->stubs[m->stubs_len].address = shdr->sh_addr;
		m->stubs[m->stubs_len++].bytes = shdr->sh_size;
	}
}

static struct section_bytes sections_read(struct module *m)
{
	struct section_bytes bytes = {};
	Elf_Scn *scn = NULL;
	size_t names;

	if (elf_getshdrstrndx(m->elf, &names))
		return bytes;
	while ((scn = elf_nextscn(m->elf, scn))) {
		GElf_Shdr shdr;
		const char *name = gelf_getshdr(scn, &shdr) ? elf_strptr(m->elf, names, shdr.sh_name) : NULL;

		if (name && shdr.sh_type != SHT_NOBITS)
			section_take(m, name, &shdr, &bytes);
	}
	return bytes;
}

static void unwinding_read(struct module *m)
{
	struct section_bytes bytes = sections_read(m);

	m->cfi = dwarf_getcfi_elf(m->elf);
	m->unwind_bytes += bytes.eh_frame;
	if (!bytes.debug_frame || bytes.debug > DEBUG_FRAME_BYTES_MAX)
		return;
	m->debug = dwarf_begin_elf(m->elf, DWARF_C_READ, NULL);
	m->debug_cfi = m->debug ? dwarf_getcfi(m->debug) : NULL;
	m->unwind_bytes += bytes.debug;
}

/* The symbols of the file, or those that were taken out of it; those for dynamic linking are there in any case. */
static void symbols_read(struct module *m, Elf *elf)
{
	uint32_t found = symbols_add(&m->symbols, elf, SHT_SYMTAB);
	_cleanup_free_ uint8_t *image = NULL;
	_cleanup_close_ int fd = -1;
	Elf *other = NULL;

	if (!found) {
		char *path = strdup(m->path);

		fd = path ? debug_file_open(elf, dirname(path)) : -1;
		free(path);
		other = fd >= 0 ? elf_file_open(fd) : debug_file_embedded(elf, &image);
		if (other)
			symbols_add(&m->symbols, other, SHT_SYMTAB);
		elf_end(other);
	}
	symbols_add(&m->symbols, elf, SHT_DYNSYM);
	symbols_sort(&m->symbols);
}

bool module_load(struct module *m, int fd)
{
	Elf *elf;

	if (m->loaded)
		return m->elf;
	m->loaded = true;
	m->elf = elf_file_open(fd);
	if (!m->elf)
		return false;
	segments_read(m);
	unwinding_read(m);
	elf_cntl(m->elf, ELF_C_FDDONE);
	/* By a second handle, so that what libelf has read of the symbol tables is given back. */
	elf = elf_file_open(fd);
	if (elf)
		symbols_read(m, elf);
	elf_end(elf);
	return true;
}

struct module *module_vdso(void)
{
	const void *at = (const void *)getauxval(AT_SYSINFO_EHDR); /* vdso(7) */
	struct module *m = at ? module_new("[vdso]") : NULL;
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	const Elf64_Ehdr *ehdr = at;

	if (!m)
		return NULL;
	/* Its section headers come last (the kernel builds it so), which tells its size. */
	if (ehdr->e_shoff + (uint64_t)ehdr->e_shnum * ehdr->e_shentsize > bytes)
		bytes = ehdr->e_shoff + (uint64_t)ehdr->e_shnum * ehdr->e_shentsize;
	m->loaded = true;
	m->image = bytes <= VDSO_BYTES_MAX ? malloc(bytes) : NULL;
	if (!m->image)
		return m;
	memcpy(m->image, at, bytes);
	elf_version(EV_CURRENT);
	m->elf = elf_memory(m->image, bytes);
	if (m->elf) {
		segments_read(m);
		unwinding_read(m);
		symbols_read(m, m->elf);
	}
	return m;
}

bool module_loaded(const struct module *m)
{
	return m->loaded;
}

bool module_address(const struct module *m, uint64_t offset, uint64_t *ret)
{
	for (int i = 0; i < m->segments_len; i++) {
		const struct segment *s = &m->segments[i];

		if (offset >= s->offset && offset - s->offset < s->bytes) {
			*ret = offset - s->offset + s->address;
			return true;
		}
	}
	return false;
}

/* Begin of the function by the unwinding table: the last one at or before the address. */
static bool start_find(const struct module *m, uint64_t address, uint64_t *ret)
{
	int64_t wanted = (int64_t)(address - m->starts_base);
	uint32_t low = 0, high = m->starts_len;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (m->starts[mid][0] <= wanted)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low)
		return false;
	*ret = m->starts_base + (uint64_t)(int64_t)m->starts[low - 1][0];
	return true;
}

static struct rule_entry *entry_find(struct module *m, uint64_t address)
{
	uint32_t mask = m->rules_cap - 1, i = (uint32_t)((address * 0x9e3779b97f4a7c15ULL) >> 32) & mask;

	while (m->rules[i].address && m->rules[i].address != address)
		i = (i + 1) & mask;
	return &m->rules[i];
}

/* Room for one more rule. */
static bool rules_grow(struct module *m)
{
	uint32_t old_cap = m->rules_cap;
	struct rule_entry *old = m->rules;

	if (m->rules_len < m->rules_cap / 2)
		return true;
	m->rules_cap = !old_cap ? RULES_MIN : old_cap < RULES_MAX ? 2 * old_cap : RULES_MAX;
	m->rules = calloc(m->rules_cap, sizeof(*m->rules));
	m->rules_len = 0;
	if (!m->rules) {
		m->rules_cap = 0;
		free(old);
		return false;
	}
	for (uint32_t i = 0; i < old_cap && old_cap < RULES_MAX; i++) {
		if (!old[i].address)
			continue;
		*entry_find(m, old[i].address) = old[i];
		m->rules_len++;
	}
	free(old);
	return true;
}

static void rule_find(struct module *m, uint64_t address, struct rule *ret)
{
	Dwarf_Frame *frame = NULL;

	*ret = (struct rule){};
	if ((m->cfi && !dwarf_cfi_addrframe(m->cfi, address, &frame)) || (m->debug_cfi && !dwarf_cfi_addrframe(m->debug_cfi, address, &frame))) {
		rule_make(ret, frame, &m->expressions);
		free(frame);
		return;
	}
	/* Linkers leave the stubs of static programs without a rule. */
	for (int i = 0; i < m->stubs_len; i++)
		if (address - m->stubs[i].address < m->stubs[i].bytes)
			rule_make_stub(ret);
}

const struct rule *module_rule(struct module *m, uint64_t address)
{
	struct rule_entry *e;

	if (!address || !rules_grow(m))
		return NULL;
	e = entry_find(m, address);
	if (!e->address) {
		e->address = address;
		rule_find(m, address, &e->rule);
		m->rules_len++;
	}
	return e->rule.cfa.how == RULE_UNKNOWN && !e->rule.last ? NULL : &e->rule;
}

const char *module_function(struct module *m, uint64_t address, uint64_t *ret_start)
{
	struct symbol *s = symbols_find(&m->symbols, address);

	*ret_start = address;
	if (s) {
		*ret_start = s->address;
		return symbols_name(&m->symbols, s);
	}
	if (module_rule(m, address)) /* the table tells where functions begin, not where they end */
		start_find(m, address, ret_start);
	return NULL;
}

const struct rule_expressions *module_expressions(const struct module *m)
{
	return &m->expressions;
}

const char *module_name(const struct module *m)
{
	return m->name;
}

size_t module_bytes(const struct module *m)
{
	return sizeof(*m) + strlen(m->path) + 1 + symbols_bytes(&m->symbols) + m->unwind_bytes + m->rules_cap * sizeof(*m->rules) +
	       rule_expressions_bytes(&m->expressions);
}
