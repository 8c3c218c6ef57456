/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "symbols/debug_file.h"

#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <limits.h>
#include <lzma.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/util.h"
#include "symbols/elf_file.h"

#define DEBUG_ROOT "/usr/lib/debug"
#define BUILD_ID_MAX 64
#define PACKED_BYTES_MAX (8u << 20)
#define UNPACKED_BYTES_MAX (64u << 20)
#define UNPACK_MEMORY_MAX (128u << 20) /* what the decoder may take for itself */

static int regular_open(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode))) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool build_id_is(int fd, const void *id, size_t len)
{
	Elf *elf = elf_file_open(fd);
	const void *other = NULL;
	bool is = elf && dwelf_elf_gnu_build_id(elf, &other) == (ssize_t)len && !memcmp(id, other, len);

	elf_end(elf);
	return is;
}

/* By name: see "Debugging Information in Separate Files" in GDB's manual. */
static int linked_open(Elf *elf, const char *dir, const void *id, size_t len)
{
	static const char *const forms[] = { "%s/%s", "%s/.debug/%s", DEBUG_ROOT "%s/%s" };
	GElf_Word crc;
	const char *name = dwelf_elf_gnu_debuglink(elf, &crc);
	char path[PATH_MAX];

	if (!name || !*name || strchr(name, '/'))
		return -ENOENT;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		int fd = snprintf(path, sizeof(path), forms[i], dir, name) < (int)sizeof(path) ? regular_open(path) : -1;
		if (fd >= 0 && build_id_is(fd, id, len))
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -ENOENT;
}

int debug_file_open(Elf *elf, const char *dir)
{
	char path[sizeof(DEBUG_ROOT) + 2 * BUILD_ID_MAX + 32];
	const uint8_t *id;
	ssize_t len = dwelf_elf_gnu_build_id(elf, (const void **)&id);
	size_t at;
	int fd;

	if (len < 2 || len > BUILD_ID_MAX)
		return -ENOENT;
	at = (size_t)snprintf(path, sizeof(path), DEBUG_ROOT "/.build-id/%02x/", id[0]);
	for (ssize_t i = 1; i < len; i++)
		at += (size_t)snprintf(path + at, sizeof(path) - at, "%02x", id[i]);
	snprintf(path + at, sizeof(path) - at, ".debug");
	fd = regular_open(path);
	return fd >= 0 ? fd : linked_open(elf, dir, id, (size_t)len);
}

static Elf_Data *embedded_find(Elf *elf)
{
	Elf_Scn *scn = NULL;
	GElf_Shdr shdr;
	size_t names;

	if (elf_getshdrstrndx(elf, &names))
		return NULL;
	while ((scn = elf_nextscn(elf, scn))) {
		const char *name;

		if (!gelf_getshdr(scn, &shdr) || shdr.sh_type != SHT_PROGBITS || shdr.sh_size > PACKED_BYTES_MAX)
			continue;
		name = elf_strptr(elf, names, shdr.sh_name);
		if (name && !strcmp(name, ".gnu_debugdata"))
			return elf_rawdata(scn, NULL);
	}
	return NULL;
}

Elf *debug_file_embedded(Elf *elf, uint8_t **ret_image)
{
	Elf_Data *packed = embedded_find(elf);
	size_t cap = packed ? 4 * packed->d_size + 4096 : 0;
	Elf *inner = NULL;

	*ret_image = NULL;
	for (lzma_ret done = LZMA_BUF_ERROR; packed && packed->d_buf && done == LZMA_BUF_ERROR && cap <= UNPACKED_BYTES_MAX; cap *= 4) {
		uint64_t memory = UNPACK_MEMORY_MAX;
		size_t in = 0, out = 0;

		free(*ret_image);
		*ret_image = malloc(cap);
		if (!*ret_image)
			return NULL;
		done = lzma_stream_buffer_decode(&memory, 0, NULL, packed->d_buf, &in, packed->d_size, *ret_image, &out, cap);
		if (done == LZMA_OK)
			inner = elf_memory((char *)*ret_image, out);
	}
	if (!inner) {
		free(*ret_image);
		*ret_image = NULL;
	}
	return inner;
}
