/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The files are the agents' own and may say anything, and change or shrink while they are read. So they are read by hand with pread, never mapped, and
 * whatever they claim is bounded by what is there and by constants. Formats: System V gABI chapters 4 and 5; stapsdt notes as in systemtap's
 * "UserSpaceProbeImplementation".
 */
#include "probe/elf_sites.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/util.h"

#define SECTIONS_MAX 4096
#define SEGMENTS_MAX 128
#define STRINGS_MAX (64U << 20) /* bytes of names that a symbol table may have */
#define SYMBOLS_MAX (8U << 20)
#define NOTES_MAX (4U << 20) /* bytes */
#define CHUNK 4096 /* symbols read at once */

struct elf_file {
	int fd;
	Elf64_Ehdr header;
	Elf64_Phdr *segments;
	unsigned segments_len;
	Elf64_Shdr *sections; /* none: what a stripper left */
	unsigned sections_len;
};

static bool read_at(int fd, void *to, size_t size, uint64_t offset)
{
	return offset <= INT64_MAX - size && pread(fd, to, size, (off_t)offset) == (ssize_t)size;
}

/* NULL: not there, or more than max. The caller frees. */
static void *copy_at(int fd, uint64_t size, uint64_t offset, uint64_t max)
{
	void *p = size && size <= max ? malloc(size) : NULL;

	if (p && read_at(fd, p, size, offset))
		return p;
	free(p);
	return NULL;
}

enum elf_fit elf_fit(int fd)
{
#if defined(__x86_64__)
	const int machine = EM_X86_64;
#elif defined(__aarch64__)
	const int machine = EM_AARCH64;
#endif
	Elf64_Ehdr h; /* up to e_machine the same in both classes */

	if (!read_at(fd, &h, offsetof(Elf64_Ehdr, e_version), 0) || memcmp(h.e_ident, ELFMAG, SELFMAG) || h.e_ident[EI_DATA] != ELFDATA2LSB)
		return ELF_FOREIGN;
	if (h.e_ident[EI_CLASS] == ELFCLASS64)
		return h.e_machine == machine ? ELF_FITS : ELF_FOREIGN;
	/* x32 programs are of class 32, too. */
	return h.e_machine == machine || h.e_machine == EM_386 || h.e_machine == EM_ARM ? ELF_COMPAT : ELF_FOREIGN;
}

static void file_fini(struct elf_file *f)
{
	free(f->segments);
	free(f->sections);
}

static bool file_init(struct elf_file *f, int fd)
{
	const Elf64_Ehdr *h = &f->header;

	*f = (struct elf_file){ .fd = fd };
	if (elf_fit(fd) != ELF_FITS || !read_at(fd, &f->header, sizeof(f->header), 0))
		return false;
	if (h->e_phentsize == sizeof(Elf64_Phdr) && h->e_phnum <= SEGMENTS_MAX)
		f->segments = copy_at(fd, h->e_phnum * sizeof(Elf64_Phdr), h->e_phoff, UINT64_MAX);
	f->segments_len = f->segments ? h->e_phnum : 0;
	if (h->e_shentsize == sizeof(Elf64_Shdr) && h->e_shnum <= SECTIONS_MAX)
		f->sections = copy_at(fd, h->e_shnum * sizeof(Elf64_Shdr), h->e_shoff, UINT64_MAX);
	f->sections_len = f->sections ? h->e_shnum : 0;
	return true;
}

/* Where in the file an address lies that is loaded with these flags; 0: nowhere. */
static uint64_t file_offset(const struct elf_file *f, uint64_t address, uint32_t flags)
{
	for (unsigned i = 0; i < f->segments_len; i++) {
		const Elf64_Phdr *p = &f->segments[i];

		if (p->p_type == PT_LOAD && (p->p_flags & flags) == flags && address >= p->p_vaddr && address - p->p_vaddr < p->p_filesz)
			return address - p->p_vaddr + p->p_offset;
	}
	return 0;
}

/* ---- functions ---- */

static bool name_fits(const char *name, const char *wanted)
{
	size_t len;

	if (*name != *wanted)
		return false;
	len = strlen(wanted);
	return wanted[len - 1] == '*' ? !strncmp(name, wanted, len - 1) : !strcmp(name, wanted);
}

struct search {
	struct elf_site *sites;
	int n, left;
};

static void symbol_look(const struct elf_file *f, const Elf64_Sym *s, const char *name, struct search *q)
{
	for (int i = 0; i < q->n; i++) {
		struct elf_site *site = &q->sites[i];

		if (site->offset || !name_fits(name, site->name))
			continue;
		site->offset = file_offset(f, s->st_value, PF_X);
		if (!site->offset)
			continue;
		site->address = s->st_value;
		site->size = s->st_size;
		q->left--;
	}
}

static void table_search(const struct elf_file *f, const Elf64_Shdr *t, struct search *q)
{
	const Elf64_Shdr *strings = t->sh_link < f->sections_len ? &f->sections[t->sh_link] : NULL;
	uint64_t len = t->sh_size / sizeof(Elf64_Sym);
	_cleanup_free_ Elf64_Sym *chunk = NULL;
	_cleanup_free_ char *names = NULL;

	if (!strings || t->sh_entsize != sizeof(Elf64_Sym) || len > SYMBOLS_MAX)
		return;
	names = copy_at(f->fd, strings->sh_size, strings->sh_offset, STRINGS_MAX);
	chunk = malloc(CHUNK * sizeof(*chunk));
	if (!names || !chunk || names[strings->sh_size - 1])
		return;
	for (uint64_t at = 0; at < len && q->left; at += CHUNK) {
		size_t n = len - at < CHUNK ? len - at : CHUNK;

		if (!read_at(f->fd, chunk, n * sizeof(*chunk), t->sh_offset + at * sizeof(*chunk)))
			return;
		for (size_t i = 0; i < n; i++)
			if (ELF64_ST_TYPE(chunk[i].st_info) == STT_FUNC && chunk[i].st_shndx != SHN_UNDEF && chunk[i].st_name < strings->sh_size)
				symbol_look(f, &chunk[i], names + chunk[i].st_name, q);
	}
}

int elf_sites_find(int fd, struct elf_site *sites, int n)
{
	static const uint32_t types[] = { SHT_DYNSYM, SHT_SYMTAB };
	struct search q = { sites, n, n };
	struct elf_file f;

	for (int i = 0; i < n; i++)
		sites[i] = (struct elf_site){ .name = sites[i].name };
	if (!file_init(&f, fd))
		return -ENOEXEC;
	/* A file has one table of a kind at most; more would be there to keep us busy. */
	for (size_t k = 0; k < ARRAY_SIZE(types) && q.left; k++)
		for (unsigned i = 0; i < f.sections_len; i++)
			if (f.sections[i].sh_type == types[k]) {
				table_search(&f, &f.sections[i], &q);
				break;
			}
	file_fini(&f);
	return n - q.left;
}

/* ---- sections, USDT ---- */

/* The section of this name; NULL: there is none. */
static const Elf64_Shdr *section_named(const struct elf_file *f, const char *name)
{
	const Elf64_Shdr *s = f->header.e_shstrndx < f->sections_len ? &f->sections[f->header.e_shstrndx] : NULL;
	_cleanup_free_ char *names = s ? copy_at(f->fd, s->sh_size, s->sh_offset, 1 << 20) : NULL;

	if (!names || names[s->sh_size - 1])
		return NULL;
	for (unsigned i = 0; i < f->sections_len; i++)
		if (f->sections[i].sh_name < s->sh_size && !strcmp(names + f->sections[i].sh_name, name))
			return &f->sections[i];
	return NULL;
}

bool elf_section_find(int fd, const char *name, struct elf_section *ret)
{
	const Elf64_Shdr *s;
	struct elf_file f;

	*ret = (struct elf_section){};
	if (!file_init(&f, fd))
		return false;
	s = section_named(&f, name);
	if (s)
		*ret = (struct elf_section){ s->sh_offset, s->sh_size };
	file_fini(&f);
	return ret->size;
}

uint64_t elf_offset(int fd, uint64_t address)
{
	struct elf_file f;
	uint64_t offset = 0;

	if (file_init(&f, fd)) {
		offset = file_offset(&f, address, PF_X);
		file_fini(&f);
	}
	return offset;
}

struct usdt_place { /* what a note's descriptor begins with; three strings follow: provider, name, arguments */
	uint64_t address, base, semaphore;
};

/* The next of the strings from *at to end; NULL: it has no end. */
static const char *string_next(const char **at, const char *end)
{
	const char *s = *at, *stop = memchr(s, 0, end - s);

	if (!stop)
		return NULL;
	*at = stop + 1;
	return s;
}

/* Whether it is a place of this probe. moved: by how much the file's addresses differ from those at link time (prelink). */
static bool note_take(const struct elf_file *f, const char *desc, size_t size, uint64_t base, const char *provider, const char *name,
	struct usdt_site *ret)
{
	const char *at = desc + sizeof(struct usdt_place), *end = desc + size, *its_provider, *its_name, *args;
	struct usdt_place p;
	uint64_t moved;

	if (size < sizeof(p) || !(its_provider = string_next(&at, end)) || !(its_name = string_next(&at, end)) ||
		!(args = string_next(&at, end)) || strcmp(its_provider, provider) || strcmp(its_name, name))
		return false;
	memcpy(&p, desc, sizeof(p));
	moved = base ? base - p.base : 0;
	*ret = (struct usdt_site){ .offset = file_offset(f, p.address + moved, PF_X) };
	if (p.semaphore)
		ret->semaphore = file_offset(f, p.semaphore + moved, PF_W);
	snprintf(ret->args, sizeof(ret->args), "%s", args);
	/* Without its reference counter raised the program would jump over the place. */
	return ret->offset && (ret->semaphore || !p.semaphore);
}

static size_t align4(size_t n)
{
	return (n + 3) & ~(size_t)3;
}

static int notes_search(const struct elf_file *f, const char *notes, size_t size, uint64_t base, const char *provider, const char *name,
	struct usdt_site *ret, int max)
{
	int found = 0;

	for (size_t at = 0; found < max && size - at >= sizeof(Elf64_Nhdr);) {
		Elf64_Nhdr h;
		size_t left, owner;

		memcpy(&h, notes + at, sizeof(h));
		at += sizeof(h);
		left = size - at;
		owner = align4(h.n_namesz);
		if (owner > left || h.n_descsz > left - owner)
			break;
		if (h.n_type == 3 && h.n_namesz == sizeof("stapsdt") && !memcmp(notes + at, "stapsdt", sizeof("stapsdt")))
			found += note_take(f, notes + at + owner, h.n_descsz, base, provider, name, &ret[found]);
		left -= owner;
		at += owner + (align4(h.n_descsz) < left ? align4(h.n_descsz) : left);
	}
	return found;
}

int elf_usdt_find(int fd, const char *provider, const char *name, struct usdt_site *ret, int max)
{
	const Elf64_Shdr *notes, *base;
	_cleanup_free_ char *text = NULL;
	struct elf_file f;
	int found = 0;

	if (!file_init(&f, fd))
		return -ENOEXEC;
	notes = section_named(&f, ".note.stapsdt");
	base = section_named(&f, ".stapsdt.base");
	text = notes ? copy_at(fd, notes->sh_size, notes->sh_offset, NOTES_MAX) : NULL;
	if (text)
		found = notes_search(&f, text, notes->sh_size, base ? base->sh_addr : 0, provider, name, ret, max);
	file_fini(&f);
	return found;
}

/* ---- places in functions ---- */

#if defined(__x86_64__)
/* A register that carries no argument, nor is the stack pointer; from ModRM's r/m or reg and REX's extension. */
static bool register_free(unsigned low, bool extended)
{
	return extended ? low >= 2 : low == 0 || low == 3 || low == 5;
}

/*
 * Length of the instruction if it leaves arguments and control alone, as compilers put them in front of the first push or jump; 0 if not (known).
 * *pushed grows by what it takes from the stack pointer.
 */
static unsigned harmless(const uint8_t *c, unsigned *pushed)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa }, sub_rsp[] = { 0x48, 0x83, 0xec };
	unsigned rex = 0, mod, reg, rm;
	bool reg_free, rm_free, variable;

	if (!memcmp(c, endbr64, sizeof(endbr64)))
		return sizeof(endbr64);
	if (!memcmp(c, sub_rsp, sizeof(sub_rsp)) && c[3] < 0x80) {
		*pushed += c[3];
		return sizeof(sub_rsp) + 1;
	}
	if ((c[0] & 0xf0) == 0x40)
		rex = *c++;
	mod = c[1] >> 6;
	reg = c[1] >> 3 & 7;
	rm = c[1] & 7;
	reg_free = register_free(reg, rex & 4);
	rm_free = register_free(rm, rex & 1);
	variable = mod == 0 && rm == 5; /* relative to the instruction pointer */
	switch (c[0]) {
	case 0x85: /* test, */
	case 0x39: /* compare of registers */
		return mod == 3 ? 2 + !!rex : 0;
	case 0x31: /* xor, */
	case 0x89: /* mov: register to register */
		return mod == 3 && rm_free ? 2 + !!rex : 0;
	case 0x8b: /* mov, */
	case 0x8d: /* lea: of a variable, too */
		if (mod == 3 && c[0] == 0x8b && reg_free)
			return 2 + !!rex;
		return variable && reg_free ? 6 + !!rex : 0;
	case 0x80: /* compare with a constant of 8 bits, */
	case 0x83:
		if (reg != 7)
			return 0;
		return variable ? 7 + !!rex : mod == 3 ? 3 + !!rex : 0;
	case 0x81: /* of 32 bits */
		return mod == 3 && reg == 7 ? 6 + !!rex : 0;
	}
	return 0;
}

/* What the kernel emulates: push (since 5.2, e7ed9d9bd037), jumps and calls (since 3.16, 8f95505bc18a), arch/x86/kernel/uprobes.c. */
static bool emulated(const uint8_t *c)
{
	if (c[0] == 0x41)
		c++;
	if ((c[0] & 0xf8) == 0x50)
		return true;
	return (c[0] & 0xf0) == 0x70 || (c[0] == 0x0f && (c[1] & 0xf0) == 0x80) || c[0] == 0xe8 || c[0] == 0xe9 || c[0] == 0xeb || c[0] == 0x90;
}
#endif

/*
 * The kernel executes an instruction that it can't emulate out of line, in a page that it maps into the process, and takes a second
 * trap: seven times the cost in a virtual machine.
 */
uint64_t elf_cheap_place(int fd, uint64_t offset, unsigned *ret_pushed)
{
	*ret_pushed = 0;
#if defined(__x86_64__)
	uint8_t code[48] = {};
	unsigned at = 0, pushed = 0, len;

	if (pread(fd, code, sizeof(code), (off_t)offset) != sizeof(code))
		return offset;
	while (at < 32) {
		if (emulated(code + at)) {
			*ret_pushed = pushed;
			return offset + at;
		}
		len = harmless(code + at, &pushed);
		if (!len)
			break;
		at += len;
	}
#else
	(void)fd;
#endif
	return offset;
}

uint64_t elf_null_skip(int fd, uint64_t offset)
{
#if defined(__x86_64__)
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa }, test_rdi[] = { 0x48, 0x85, 0xff };
	uint8_t code[16] = {};
	unsigned at = 0;

	if (pread(fd, code, sizeof(code), (off_t)offset) != sizeof(code))
		return offset;
	if (!memcmp(code, endbr64, sizeof(endbr64)))
		at += sizeof(endbr64);
	if (memcmp(code + at, test_rdi, sizeof(test_rdi)))
		return offset;
	at += sizeof(test_rdi);
	if (code[at] == 0x74) /* je, near and far */
		return offset + at + 2;
	if (code[at] == 0x0f && code[at + 1] == 0x84)
		return offset + at + 6;
#else
	(void)fd;
#endif
	return offset;
}

/* ---- what a process has mapped ---- */

/* "\012" for a newline is all that the kernel writes in another way. */
static void path_take(const char *s, char *to, size_t size)
{
	size_t n = 0;

	for (; *s && *s != '\n' && n < size - 1; s++)
		if (!strncmp(s, "\\012", 4)) {
			to[n++] = '\n';
			s += 3;
		} else {
			to[n++] = *s;
		}
	to[n] = 0;
}

static bool line_parse(const char *line, struct mapped_file *ret, uint64_t *ret_offset)
{
	unsigned long long start, end, offset, inode;
	unsigned major, minor;
	int name = 0;
	char access[5];

	if (sscanf(line, "%llx-%llx %4s %llx %x:%x %llu %n", &start, &end, access, &offset, &major, &minor, &inode, &name) != 7 ||
		access[2] != 'x' || !inode || !name)
		return false;
	*ret = (struct mapped_file){ .dev = (uint64_t)major << 32 | minor, .inode = inode, .start = start, .end = end };
	*ret_offset = offset;
	path_take(line + name, ret->name, sizeof(ret->name));
	return true;
}

static bool known(const struct mapped_file *files, int n, const struct mapped_file *m)
{
	for (int i = 0; i < n; i++)
		if (files[i].inode == m->inode && files[i].dev == m->dev)
			return true;
	return false;
}

int mapped_file_open(pid_t pid, const struct mapped_file *m)
{
	char path[80];
	int fd;

	/* proc(5): a link to the file itself, which is found even if its name is gone or hidden by a mount. */
	snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", (int)pid, (unsigned long long)m->start, (unsigned long long)m->end);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* What to add to the file's addresses whose bytes from `offset` on are mapped. */
static uint64_t bias_find(pid_t pid, const struct mapped_file *m, uint64_t offset)
{
	_cleanup_close_ int fd = mapped_file_open(pid, m);
	uint64_t bias = m->start - offset;
	struct elf_file f;

	if (fd < 0 || !file_init(&f, fd))
		return bias;
	for (unsigned i = 0; i < f.segments_len; i++) {
		const Elf64_Phdr *p = &f.segments[i];

		/* Mapped from a page's begin on, the segment's first byte may lie behind it. */
		if (p->p_type == PT_LOAD && p->p_flags & PF_X && p->p_offset + p->p_filesz > offset) {
			bias += p->p_offset - p->p_vaddr;
			break;
		}
	}
	file_fini(&f);
	return bias;
}

int mapped_files(pid_t pid, struct mapped_file *ret, int max)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	bool any = false;
	size_t cap = 0;
	char path[32];
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	while (f && n < max && getline(&line, &cap, f) > 0) {
		uint64_t offset;

		any = true;
		if (!line_parse(line, &ret[n], &offset) || known(ret, n, &ret[n]))
			continue;
		ret[n].bias = bias_find(pid, &ret[n], offset);
		n++;
	}
	return any ? n : -ESRCH;
}
