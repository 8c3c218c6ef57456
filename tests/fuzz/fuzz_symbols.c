/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What observed processes can put before the symbolizer: perf maps, lines of maps, ELF files, mangled names, stacks. The first byte says which. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "symbols/code_files.h"
#include "symbols/demangle.h"
#include "symbols/native.h"
#include "symbols/perf_map.h"
#include "symbols/symbolizer.h"

#define PATCH_BYTES 5

const char *__lsan_default_suppressions(void);
/* libelf (0.188) does not free what it has read of some damaged section tables: some 100 bytes a file. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libelf.so";
}

static void perf_maps(const uint8_t *data, size_t n)
{
	struct perf_map *p = perf_map_new();
	size_t half = n / 3;
	uint64_t at = 0;
	char buf[256];

	perf_map_feed(p, (const char *)data, half);
	memcpy(&at, data, n < sizeof(at) ? n : sizeof(at));
	for (int i = 0; i < 8; i++) {
		struct frame f = { .file = "" };
		const char *name = perf_map_find(p, at >> (8 * i));

		if (name)
			perf_map_name(name, buf, sizeof(buf), &f);
		perf_map_feed(p, (const char *)data + half, i ? 0 : n - half);
	}
	perf_map_free(p);
}

static void text_with(const uint8_t *data, size_t n, int which)
{
	char *s = calloc(1, n + 1), buf[200];
	struct maps_line line;
	struct frame f = { .file = "" };

	memcpy(s, data, n);
	if (which == 0)
		demangle(s, buf, sizeof(buf));
	if (which == 1)
		perf_map_name(s, buf, sizeof(buf), &f);
	if (which == 2)
		maps_line_parse(s, &line);
	free(s);
}

/* Where a change goes: half of them into the headers at both ends. */
static size_t patch_offset(uint32_t at, size_t bytes)
{
	if (at & 1)
		return at / 4 % bytes;
	return at & 2 ? at / 4 % 1024 : bytes - 1 - at / 4 % 2560;
}

/* A real program with some bytes changed: 4 bytes of offset and the value, each. */
static void elf_files(const uint8_t *data, size_t n)
{
	static uint8_t *base;
	static size_t base_bytes;
	struct module *m = module_new("/usr/bin/program");
	int fd = memfd_create("elf", MFD_CLOEXEC);
	uint64_t at, start;

	if (!base) {
		int from = open("/bin/true", O_RDONLY);

		base = malloc(1 << 20);
		base_bytes = (size_t)read(from, base, 1 << 20);
		close(from);
	}
	if (write(fd, base, base_bytes) < 0)
		abort();
	for (size_t i = 0; i + PATCH_BYTES <= n; i += PATCH_BYTES) {
		uint32_t offset;

		memcpy(&offset, data + i, sizeof(offset));
		if (pwrite(fd, data + i + 4, 1, (off_t)patch_offset(offset, base_bytes)) < 0)
			abort();
	}
	if (module_load(m, fd))
		for (uint64_t offset = 0; offset < base_bytes; offset += 61)
			if (module_address(m, offset, &at)) {
				module_function(m, at, &start);
				module_rule(m, at);
			}
	close(fd);
	module_free(m);
}

/* Registers and stack from the input, code addresses of this very process. */
static void stacks_of(const uint8_t *data, size_t n)
{
	static struct native *native;
	struct so_stack *s = calloc(1, sizeof(*s) + n);
	uint64_t at[256], *words = (uint64_t *)(s + 1);
	bool cut;
	int len;

	if (!native)
		native = native_new();
	s->tgid = (uint32_t)getpid();
	memcpy(words, data, n & ~7ULL);
	s->user_bytes = n & ~7ULL;
	for (size_t i = 0; i < n / 8; i++) {
		if ((words[i] & 0xff) < 64)
			words[i] = (uint64_t)(uintptr_t)stacks_of + (words[i] >> 44) - (1 << 19);
		else if ((words[i] & 0xff) < 128)
			words[i] = (uint64_t)(uintptr_t)printf + (words[i] >> 44) - (1 << 19);
		else if ((words[i] & 0xff) < 192)
			words[i] = 0x700000000000 + (words[i] >> 56) * 8;
	}
	memcpy(s->regs, words, n >= sizeof(s->regs) ? sizeof(s->regs) : 0);
	s->regs[SO_REG_SP] = 0x700000000000;
	len = native_unwind(native, s, at, 256, &cut);
	for (int i = 0; i < len; i++) {
		struct frame f;

		native_name(native, s->tgid, at[i], i > 0, &f);
	}
	free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (!n)
		return 0;
	switch (data[0] % 6) {
	case 0:
		perf_maps(data + 1, n - 1);
		break;
	case 1:
	case 2:
	case 3:
		text_with(data + 1, n - 1, data[0] % 6 - 1);
		break;
	case 4:
		elf_files(data + 1, n - 1);
		break;
	case 5:
		stacks_of(data + 1, n - 1);
		break;
	}
	return 0;
}
