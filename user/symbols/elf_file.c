/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "symbols/elf_file.h"

#include <gelf.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* libelf and libdw believe sizes as long as they lie within the file, and a sparse file can be as large as it likes: this is what they may read. */
#define SEGMENTS_MAX 128
#define SECTIONS_MAX 65000 /* from 65,280 on the number is told elsewhere: object files only */
#define NOTE_BYTES_MAX (1u << 20)
#define UNWIND_BYTES_MAX (64u << 20) /* the largest programs (browsers) have some 20 MiB */
#define UNTOLD_BYTES_MAX (256u << 20) /* file without sections: libdw takes the unwinding table to reach up to the end of the file */

#if defined(__aarch64__)
#define MACHINE EM_AARCH64
#else
#define MACHINE EM_X86_64
#endif

static bool segments_check(Elf *elf, size_t n, bool *ret_unwind)
{
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr phdr;

		if (!gelf_getphdr(elf, (int)i, &phdr))
			return false;
		if (phdr.p_type == PT_NOTE && phdr.p_filesz > NOTE_BYTES_MAX)
			return false;
		if (phdr.p_type == PT_GNU_EH_FRAME) {
			*ret_unwind = true;
			if (phdr.p_filesz > UNWIND_BYTES_MAX)
				return false;
		}
	}
	return true;
}

/* *ret_unwind: the unwinding table is a section. */
static bool sections_check(Elf *elf, bool *ret_unwind)
{
	Elf_Scn *scn = NULL;
	GElf_Shdr shdr;
	size_t names;

	if (elf_getshdrstrndx(elf, &names) || !elf_getscn(elf, names))
		return true; /* without names nobody looks at them */
	if (!gelf_getshdr(elf_getscn(elf, names), &shdr) || shdr.sh_size > NOTE_BYTES_MAX)
		return false;
	while ((scn = elf_nextscn(elf, scn))) {
		const char *name;

		if (!gelf_getshdr(scn, &shdr) || (shdr.sh_type == SHT_NOTE && shdr.sh_size > NOTE_BYTES_MAX))
			return false;
		name = elf_strptr(elf, names, shdr.sh_name);
		if (!name || strcmp(name, ".eh_frame"))
			continue;
		if (shdr.sh_size > UNWIND_BYTES_MAX)
			return false;
		*ret_unwind = true;
	}
	return true;
}

bool elf_file_check(Elf *elf, uint64_t size)
{
	bool unwind_segment = false, unwind_section = false;
	size_t segments, sections;
	GElf_Ehdr ehdr;

	if (elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &ehdr) || ehdr.e_ident[EI_CLASS] != ELFCLASS64 || ehdr.e_machine != MACHINE)
		return false;
	if (elf_getphdrnum(elf, &segments) || segments > SEGMENTS_MAX || elf_getshdrnum(elf, &sections) || sections > SECTIONS_MAX)
		return false;
	if (!segments_check(elf, segments, &unwind_segment) || !sections_check(elf, &unwind_section))
		return false;
	return !unwind_segment || unwind_section || size <= UNTOLD_BYTES_MAX;
}

Elf *elf_file_open(int fd)
{
	struct stat st;
	Elf *elf;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return NULL;
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (elf && elf_file_check(elf, (uint64_t)st.st_size))
		return elf;
	elf_end(elf);
	return NULL;
}
