/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/frames.h"

#include <stdio.h>
#include <string.h>

#include "lib/util.h"

static bool starts_with(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

/* Base names of files, or what they begin with, whose functions nobody who writes an agent would change. */
static const char *const system_prefixes[] = {
	"libc.so", "libc-", "ld-linux", "ld-musl", "libpthread", "libm.so", "librt.so", "libstdc++", "libgcc_s", "linux-vdso", "[vdso]",
	"libjemalloc", "libtcmalloc", "libmimalloc",
};
static const char *const engines[] = { "node", "nodejs", "bun", "deno" };
static const char *const engine_prefixes[] = { "python2", "python3", "libpython", "libnode" };

/* Kernel functions between a process and what it asked for (x86-64, arm64). */
static const char *const kernel_entries[] = {
	"entry_SYSCALL_64", "do_syscall_64", "x64_sys_call", "el0t_64_sync", "el0_svc", "do_el0_svc", "invoke_syscall", "ret_from_fork", "asm_",
};

/* Directories below which a language keeps what is not the program's own. */
static const char *const package_dirs[] = { "/site-packages/", "/dist-packages/", "/node_modules/" };

/* What stands behind the directory of packages, or "/lib/python3.11/"; NULL: it is not below one. */
static const char *package_path(const char *path)
{
	const char *lib = strstr(path, "/lib/python"), *slash;

	for (size_t i = 0; i < ARRAY_SIZE(package_dirs); i++) {
		const char *at = strstr(path, package_dirs[i]);

		if (at)
			return at + strlen(package_dirs[i]);
	}
	slash = lib ? strchr(lib + strlen("/lib/python"), '/') : NULL;
	return slash ? slash + 1 : NULL;
}

static const char *short_path(const char *path)
{
	const char *package = package_path(path), *at;
	int parts = 0;

	if (package)
		return package;
	for (at = path + strlen(path); at > path; at--)
		if (at[-1] == '/' && ++parts == 2)
			break;
	return at;
}

bool frame_unnamed(const struct frame *f)
{
	return f->name[0] == '[' || !f->name[0];
}

bool frame_cut(const struct frame *f)
{
	return !strcmp(f->name, "[callers unknown]"); /* symbolizer.c's */
}

const char *frame_function(const struct frame *f, char buf[FRAME_TEXT])
{
	if (frame_unnamed(f) && f->module[0])
		snprintf(buf, FRAME_TEXT, "[%s]", f->module);
	else
		snprintf(buf, FRAME_TEXT, "%s", f->name[0] ? f->name : "[unknown]");
	return buf;
}

bool frame_interpreter(const struct frame *f)
{
	return f->kind == FRAME_NATIVE && (starts_with(f->module, "python") || starts_with(f->module, "libpython"));
}

/* Length of a name without what GCC calls its copies of a function: "f.isra.0", "f.constprop.1.cold". */
static size_t clone_cut(const char *name)
{
	static const char *const marks[] = { ".isra.", ".constprop.", ".part.", ".cold", ".lto_priv." };
	size_t len = strlen(name);

	for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
		const char *at = strstr(name, marks[i]);

		if (at && at > name && (size_t)(at - name) < len)
			len = (size_t)(at - name);
	}
	return len;
}

#define NAME_LONG 36

/* A native name in place: without what C++ calls nameless namespaces, and of a long one without the outermost namespaces. Returns where it begins. */
static const char *namespaces_cut(char *name)
{
	static const char nameless[] = "(anonymous namespace)::";
	char *at;

	while ((at = strstr(name, nameless)))
		memmove(at, at + strlen(nameless), strlen(at + strlen(nameless)) + 1);
	while (strlen(name) > NAME_LONG) {
		size_t len = strcspn(name, ":<(");

		if (name[len] != ':' || name[len + 1] != ':')
			break;
		name += len + 2;
	}
	return name;
}

const char *frame_name(const struct frame *f, char buf[FRAME_TEXT])
{
	char name[FRAME_TEXT];

	if (frame_unnamed(f)) {
		bool says = f->name[0] && !f->module[0] && strcmp(f->name, "[unknown]"); /* "[32-bit code]" */

		snprintf(buf, FRAME_TEXT, "%s", says ? f->name : "no symbols");
	} else if (f->kind == FRAME_NATIVE || f->kind == FRAME_KERNEL) {
		snprintf(name, sizeof(name), "%.*s", (int)clone_cut(f->name), f->name);
		snprintf(buf, FRAME_TEXT, "%s", namespaces_cut(name));
	} else {
		snprintf(buf, FRAME_TEXT, "%s", f->name);
	}
	return buf;
}

const char *frame_where(const struct frame *f, char buf[FRAME_TEXT])
{
	const char *tag = strstr(f->module, ".cpython-"); /* "_json.cpython-311-x86_64-linux-gnu.so": of which interpreter goes without saying */

	if (f->kind == FRAME_KERNEL)
		snprintf(buf, FRAME_TEXT, "kernel");
	else if (f->file[0] && f->line)
		snprintf(buf, FRAME_TEXT, "%.500s:%u", short_path(f->file), f->line);
	else if (f->file[0])
		snprintf(buf, FRAME_TEXT, "%s", short_path(f->file));
	else if (tag)
		snprintf(buf, FRAME_TEXT, "%.*s.so", (int)(tag - f->module), f->module);
	else
		snprintf(buf, FRAME_TEXT, "%s", f->module);
	return buf;
}

static bool in_list(const char *module, const char *const *list, size_t len, bool prefixes)
{
	for (size_t i = 0; i < len; i++)
		if (prefixes ? starts_with(module, list[i]) : !strcmp(module, list[i]))
			return true;
	return false;
}

/* A program is its own, a shared library is not. What is of no file, "(other)" among it, is nobody's. */
static enum frame_role native_role(const struct frame *f)
{
	if (!f->module[0] || in_list(f->module, system_prefixes, ARRAY_SIZE(system_prefixes), true))
		return ROLE_SYSTEM;
	if (in_list(f->module, engines, ARRAY_SIZE(engines), false) || in_list(f->module, engine_prefixes, ARRAY_SIZE(engine_prefixes), true))
		return ROLE_ENGINE;
	return strstr(f->module, ".so") ? ROLE_LIBRARY : ROLE_OWN;
}

/* "<frozen importlib._bootstrap>", "node:fs" */
static bool built_in(const char *file)
{
	return file[0] == '<' || starts_with(file, "node:");
}

enum frame_role frame_role(const struct frame *f)
{
	switch (f->kind) {
	case FRAME_PROCESS:
		return ROLE_PROCESS;
	case FRAME_KERNEL:
		return ROLE_SYSTEM;
	case FRAME_PYTHON:
	case FRAME_JIT:
		if (starts_with(f->name, "Builtin:") || starts_with(f->name, "BytecodeHandler:")) /* of V8 */
			return ROLE_ENGINE;
		return package_path(f->file) || built_in(f->file) ? ROLE_LIBRARY : ROLE_OWN;
	default:
		return native_role(f);
	}
}

/* Of a kernel function that is the entry of a system call, the call's name (the kernel's syscall_wrapper.h); else NULL. */
static const char *syscall_name(const struct frame *f)
{
	static const char *const prefixes[] = { "__x64_sys_", "__arm64_sys_", "__ia32_sys_", "__ia32_compat_sys_", "__se_sys_", "__do_sys_" };

	if (f->kind != FRAME_KERNEL)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (starts_with(f->name, prefixes[i]))
			return f->name + strlen(prefixes[i]);
	return strstr(f->name, "exc_page_fault") ? "page fault" : NULL;
}

static bool kernel_entry(const struct frame *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(kernel_entries) && f->kind == FRAME_KERNEL; i++)
		if (starts_with(f->name, kernel_entries[i]))
			return true;
	return false;
}

/* Number of the innermost frame from `from` on whose role is at least `role` (but a process's), with a name where `named`; len: none. */
static size_t frame_find(const struct stacks *s, const uint32_t *frames, size_t from, size_t len, enum frame_role role, bool named)
{
	for (; from < len; from++) {
		const struct frame *f = stacks_frame_at(s, frames[from]);
		enum frame_role is = frame_role(f);

		if (is >= role && is != ROLE_PROCESS && !(named && frame_unnamed(f)))
			break;
	}
	return from;
}

/* The innermost function of the system that has a name and is not the kernel's, else the innermost of all. */
static size_t system_site(const struct stacks *s, const uint32_t *frames, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		const struct frame *f = stacks_frame_at(s, frames[i]);

		if (f->kind != FRAME_KERNEL && f->kind != FRAME_PROCESS && !frame_unnamed(f))
			return i;
	}
	return 0;
}

static const char *waits_in(const struct stacks *s, const uint32_t *frames, size_t at)
{
	const char *callee = "";

	for (size_t i = 0; i < at; i++) {
		const struct frame *f = stacks_frame_at(s, frames[i]);
		const char *call = syscall_name(f);

		if (call)
			return call;
		if (!kernel_entry(f) && !frame_unnamed(f))
			callee = f->name;
	}
	return callee;
}

void stack_site(const struct stacks *s, uint32_t stack, struct site *ret)
{
	static const struct frame none = { .kind = FRAME_NATIVE, .name = "", .file = "", .module = "" };
	size_t len = 0, at, by;
	const uint32_t *frames = stacks_at(s, stack, &len);

	*ret = (struct site){ .at = &none, .in = "" };
	if (!len)
		return;
	at = frame_find(s, frames, 0, len, ROLE_LIBRARY, true);
	at = at < len ? at : frame_find(s, frames, 0, len, ROLE_ENGINE, true);
	at = at < len ? at : frame_find(s, frames, 0, len, ROLE_ENGINE, false); /* it tells the file, at least */
	at = at < len ? at : system_site(s, frames, len);
	ret->at = stacks_frame_at(s, frames[at]);
	ret->in = waits_in(s, frames, at);
	for (by = at; by < len && frames[by] == frames[at];) /* of recursion, another one */
		by = frame_find(s, frames, by + 1, len, ROLE_OWN, true);
	if (by >= len)
		for (by = at; by < len && frames[by] == frames[at];)
			by = frame_find(s, frames, by + 1, len, ROLE_ENGINE, true);
	if (by < len)
		ret->by = stacks_frame_at(s, frames[by]);
}
