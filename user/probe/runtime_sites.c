/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/runtime_sites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "probe/elf_sites.h"
#include "probe/go_functions.h"

#define USDT_PLACES_MAX 4 /* of one probe: the compiler may have copied the code around it */

static void site_add(struct runtime_sites *r, uint64_t offset, uint64_t ref_ctr, struct so_gc_site site)
{
	if (r->len == RUNTIME_SITES_MAX)
		return;
	r->offsets[r->len] = offset;
	r->ref_ctrs[r->len] = ref_ctr;
	r->sites[r->len++] = site;
}

/* ---- arguments of USDT probes, in the assembler's notation: size@operand ---- */

#if defined(__x86_64__)
/* In the order of struct pt_regs (arch/x86/include/asm/ptrace.h), with the names of their lower 32 bits. */
static const char *const registers[][2] = {
	{ "r15", "r15d" }, { "r14", "r14d" }, { "r13", "r13d" }, { "r12", "r12d" }, { "rbp", "ebp" }, { "rbx", "ebx" }, { "r11", "r11d" },
	{ "r10", "r10d" }, { "r9", "r9d" }, { "r8", "r8d" }, { "rax", "eax" }, { "rcx", "ecx" }, { "rdx", "edx" }, { "rsi", "esi" },
	{ "rdi", "edi" }, { "", "" }, { "", "" }, { "", "" }, { "", "" }, { "rsp", "esp" },
};

static int register_number(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(registers); i++)
		if (!strcmp(name, registers[i][0]) || !strcmp(name, registers[i][1]))
			return (int)i;
	return -1;
}

/* "%rbx", or "112(%rsp)". */
static bool operand_parse(const char *s, struct so_gc_site *ret)
{
	char name[8], *end;
	long displacement = strtol(s, &end, 10);
	int reg, stop = 0;

	if (sscanf(s, "%%%7[a-z0-9]%n", name, &stop) == 1) {
		ret->argument = SO_GC_ARGUMENT_REGISTER;
		end = (char *)s + stop;
		displacement = 0;
	} else if (sscanf(end, "(%%%7[a-z0-9])%n", name, &stop) == 1 && stop) {
		ret->argument = SO_GC_ARGUMENT_MEMORY;
		end += stop;
	} else {
		return false;
	}
	reg = register_number(name);
	if (reg < 0 || displacement < INT16_MIN || displacement > INT16_MAX || (*end && *end != ' '))
		return false;
	ret->reg = reg;
	ret->displacement = displacement;
	return true;
}
#elif defined(__aarch64__)
/* "x19", "w19", "sp"; struct pt_regs begins with x0 to x30 and sp. */
static int register_number(const char *name)
{
	unsigned n;
	int stop = 0;

	if (!strcmp(name, "sp"))
		return 31;
	return (name[0] == 'x' || name[0] == 'w') && sscanf(name + 1, "%u%n", &n, &stop) == 1 && !name[1 + stop] && n < 31 ? (int)n : -1;
}

/* "x19", "[sp]", or "[sp, 112]". */
static bool operand_parse(const char *s, struct so_gc_site *ret)
{
	char name[8];
	int displacement = 0, stop = 0, reg;

	if (sscanf(s, "[%7[a-z0-9], %d]%n", name, &displacement, &stop) == 2 && stop) {
		ret->argument = SO_GC_ARGUMENT_MEMORY;
	} else if (sscanf(s, "[%7[a-z0-9]]%n", name, &stop) == 1 && stop) {
		displacement = 0;
		ret->argument = SO_GC_ARGUMENT_MEMORY;
	} else if (sscanf(s, "%7[a-z0-9]%n", name, &stop) == 1) {
		ret->argument = SO_GC_ARGUMENT_REGISTER;
	} else {
		return false;
	}
	reg = register_number(name);
	if (reg < 0 || displacement < INT16_MIN || displacement > INT16_MAX || (s[stop] && s[stop] != ' '))
		return false;
	ret->reg = reg;
	ret->displacement = displacement;
	return true;
}
#endif

bool usdt_argument_parse(const char *args, struct so_gc_site *ret)
{
	struct so_gc_site parsed = *ret;
	int size, at = 0;

	/* The kernel side reads 4 bytes, of the machine's little end. */
	if (sscanf(args, "%d@%n", &size, &at) != 1 || !at || (abs(size) != 4 && abs(size) != 8) || !operand_parse(args + at, &parsed))
		return false;
	*ret = parsed;
	return true;
}

/* ---- CPython ---- */

/* False: no USDT probes. */
static bool python_find(int fd, struct runtime_sites *ret)
{
	struct usdt_site start[USDT_PLACES_MAX], end[USDT_PLACES_MAX];
	int starts = elf_usdt_find(fd, "python", "gc__start", start, USDT_PLACES_MAX);
	int ends = elf_usdt_find(fd, "python", "gc__done", end, USDT_PLACES_MAX);

	if (starts <= 0 || ends <= 0)
		return false;
	for (int i = 0; i < ends; i++)
		site_add(ret, end[i].offset, end[i].semaphore, (struct so_gc_site){ .site = SO_GC_END });
	for (int i = 0; i < starts; i++) {
		struct so_gc_site site = { .site = SO_GC_START };

		usdt_argument_parse(start[i].args, &site); /* unread, the generation is unknown */
		site_add(ret, start[i].offset, start[i].semaphore, site);
	}
	ret->runtime = RUNTIME_PYTHON;
	return true;
}

/* ---- runtimes whose functions we know ---- */

struct known_function {
	const char *name;
	uint8_t site, generation;
	bool optional;
};

/*
 * V8's own measure of a pause, which --trace-gc prints, lies between these two (src/heap/gc-tracer.cc; since 10.0, Node 18). Steps of incremental
 * marking and sweeping, and work on other threads, are not in it.
 */
static const struct known_function v8_functions[] = {
	{ "_ZN2v88internal8GCTracer19StopObservablePause*", SO_GC_END, 0, false },
	{ "_ZN2v88internal4Heap8ScavengeEv", SO_GC_MARK, SO_GENERATION_YOUNG, true },
	{ "_ZN2v88internal4Heap16MinorMarkCompactEv", SO_GC_MARK, SO_GENERATION_YOUNG, true },
	{ "_ZN2v88internal4Heap14MinorMarkSweepEv", SO_GC_MARK, SO_GENERATION_YOUNG, true },
	{ "_ZN2v88internal4Heap11MarkCompactEv", SO_GC_MARK, SO_GENERATION_FULL, true },
	{ "_ZN2v88internal8GCTracer20StartObservablePause*", SO_GC_START, SO_GENERATION_UNKNOWN, false },
};

/* Go stops the world twice a collection, and for other reasons, too: these are told from the collector's by what is called in between
 * (src/runtime/mgc.go: gcStart, gcMarkTermination). */
static const struct known_function go_functions[] = {
	{ "runtime.startTheWorldWithSema", SO_GC_END, 0, false },
	{ "runtime.gcMarkRootPrepare", SO_GC_MARK, SO_GENERATION_FULL, false },
	{ "runtime.gcMarkTermination", SO_GC_MARK, SO_GENERATION_FULL, false },
	{ "runtime.stopTheWorldWithSema", SO_GC_START, SO_GENERATION_NONE, false },
};

static bool functions_take(const struct known_function *f, const struct elf_site *at, int n, struct runtime_sites *ret)
{
	for (int i = 0; i < n; i++)
		if (!at[i].offset && !f[i].optional)
			return false;
	for (int i = 0; i < n; i++)
		if (at[i].offset)
			site_add(ret, at[i].offset, 0, (struct so_gc_site){ .site = f[i].site, .generation = f[i].generation });
	return true;
}

enum {
	AT_V8 = 0,
	AT_GO = AT_V8 + ARRAY_SIZE(v8_functions),
	AT_PYTHON = AT_GO + ARRAY_SIZE(go_functions),
	AT_NAPI,
	AT_LEN,
};

void runtime_sites_find(int fd, struct runtime_sites *ret)
{
	/* What only a Python interpreter defines; what programs define that run JavaScript and load modules made for Node. */
	struct elf_site at[AT_LEN] = { [AT_PYTHON] = { .name = "Py_BytesMain" }, [AT_NAPI] = { .name = "napi_create_object" } };

	memset(ret, 0, sizeof(*ret));
	if (python_find(fd, ret))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(v8_functions); i++)
		at[AT_V8 + i].name = v8_functions[i].name;
	for (size_t i = 0; i < ARRAY_SIZE(go_functions); i++)
		at[AT_GO + i].name = go_functions[i].name;
	elf_sites_find(fd, at, AT_LEN);
	if (functions_take(v8_functions, at + AT_V8, ARRAY_SIZE(v8_functions), ret)) {
		ret->runtime = RUNTIME_V8;
	} else if (functions_take(go_functions, at + AT_GO, ARRAY_SIZE(go_functions), ret)) {
		ret->runtime = RUNTIME_GO;
	} else if (at[AT_PYTHON].offset) {
		ret->runtime = RUNTIME_PYTHON;
		ret->missing = "this Python tells no garbage collections (built without USDT)";
	} else if (at[AT_NAPI].offset) {
		ret->runtime = RUNTIME_V8;
		ret->missing = "this JavaScript runtime tells no garbage collections (no symbols of V8's collector)";
	} else if (go_functions_find(fd, at + AT_GO, ARRAY_SIZE(go_functions)) > 0) {
		ret->runtime = RUNTIME_GO;
		if (!functions_take(go_functions, at + AT_GO, ARRAY_SIZE(go_functions), ret))
			ret->missing = "this Go program tells no garbage collections (no symbols of the runtime)";
	}
}
