/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/frames.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lib/util.h"

static bool starts_with(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

/* Base names of files, and what they begin with, whose functions nobody who writes an agent would change. */
static const char *const runtime_modules[] = { "node", "nodejs", "bun", "deno", "[vdso]", "linux-vdso.so.1" };
static const char *const runtime_prefixes[] = {
	"libc.so",  "libc-",	   "ld-linux",	  "ld-musl",	 "libpthread", "libm.so", "librt",   "libstdc++",
	"libgcc_s", "libjemalloc", "libtcmalloc", "libmimalloc", "libpython",  "python2", "python3", "libnode",
};

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

/*
 * A line of V8's perf map: "JS:*parse /app/agent.js:12:3", "LazyCompile:~main file:///app/x.mjs:1:1", "Function:^f node:fs:9:1", "Builtin:Call"
 * (V8, src/logging/log.cc, LowLevelLogger and PerfBasicLogger: event name, mark of the tier, name, script). ret_len: of the name that is
 * returned; *ret_script: what comes after it, "" nothing.
 */
static const char *jit_parse(const char *text, int *ret_len, const char **ret_script)
{
	static const char *const events[] = { "JS:", "LazyCompile:", "Function:", "Script:", "Eval:", "RegExp:", "Builtin:", "BytecodeHandler:", "Stub:" };
	const char *name = text, *script;

	for (size_t i = 0; i < ARRAY_SIZE(events) && name == text; i++)
		if (starts_with(text, events[i]))
			name += strlen(events[i]);
	if (name != text)
		name += strspn(name, "*~^+");
	script = name != text ? strchr(name, ' ') : NULL;
	*ret_script = script ? script + 1 : "";
	*ret_len = script ? (int)(script - name) : (int)strlen(name);
	return name;
}

bool frame_unnamed(const struct frame *f)
{
	return f->name[0] == '[' || !f->name[0];
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
	return f->kind == FRAME_NATIVE && (starts_with(f->module, "python2") || starts_with(f->module, "python3") || starts_with(f->module, "libpython"));
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

const char *frame_name(const struct frame *f, char buf[FRAME_TEXT])
{
	const char *name = f->name, *script = "";
	int len = (int)strlen(name);

	if (f->kind == FRAME_JIT)
		name = jit_parse(name, &len, &script);
	else if (f->kind != FRAME_PYTHON)
		len = (int)clone_cut(name);
	if (frame_unnamed(f))
		snprintf(buf, FRAME_TEXT, "no symbols");
	else if (!len)
		snprintf(buf, FRAME_TEXT, "%s", script[0] ? "(anonymous)" : f->name);
	else
		snprintf(buf, FRAME_TEXT, "%.*s", len, name);
	return buf;
}

/* "/app/src/x.js:12:3" without the column. */
static void script_where(const char *script, char buf[FRAME_TEXT])
{
	char *colon;

	snprintf(buf, FRAME_TEXT, "%s", short_path(script));
	colon = strrchr(buf, ':');
	if (colon && isdigit((unsigned char)colon[1]) && memchr(buf, ':', (size_t)(colon - buf)))
		*colon = '\0';
}

const char *frame_where(const struct frame *f, char buf[FRAME_TEXT])
{
	const char *script;
	int len;

	*buf = '\0';
	if (f->kind == FRAME_JIT) {
		jit_parse(f->name, &len, &script);
		script_where(script, buf);
	} else if (f->kind == FRAME_KERNEL) {
		snprintf(buf, FRAME_TEXT, "kernel");
	} else if (f->file[0]) {
		snprintf(buf, FRAME_TEXT, "%s", short_path(f->file));
		if (f->line)
			snprintf(buf + strlen(buf), FRAME_TEXT - strlen(buf), ":%u", f->line);
	} else {
		const char *tag = strstr(f->module, ".cpython-"); /* "_json.cpython-311-x86_64-linux-gnu.so": of which interpreter goes without saying */

		snprintf(buf, FRAME_TEXT, "%.*s%s", tag ? (int)(tag - f->module) : (int)strlen(f->module), f->module, tag ? ".so" : "");
	}
	return buf;
}

/* A program is its own, a shared library is not. What is of no file, "(other)" among it, is nobody's. */
static enum frame_role native_role(const struct frame *f)
{
	if (!f->module[0])
		return ROLE_RUNTIME;
	for (size_t i = 0; i < ARRAY_SIZE(runtime_modules); i++)
		if (!strcmp(f->module, runtime_modules[i]))
			return ROLE_RUNTIME;
	for (size_t i = 0; i < ARRAY_SIZE(runtime_prefixes); i++)
		if (starts_with(f->module, runtime_prefixes[i]))
			return ROLE_RUNTIME;
	return strstr(f->module, ".so") ? ROLE_LIBRARY : ROLE_OWN;
}

static enum frame_role jit_role(const struct frame *f)
{
	const char *script;
	int len;

	jit_parse(f->name, &len, &script);
	if (starts_with(script, "node:") || package_path(script))
		return ROLE_LIBRARY;
	return script[0] || !starts_with(f->name, "B") ? ROLE_OWN : ROLE_RUNTIME; /* Builtin, BytecodeHandler */
}

enum frame_role frame_role(const struct frame *f)
{
	if (f->kind == FRAME_PROCESS)
		return ROLE_PROCESS;
	if (f->kind == FRAME_KERNEL || frame_unnamed(f))
		return ROLE_RUNTIME;
	if (f->kind == FRAME_JIT)
		return jit_role(f);
	if (f->kind == FRAME_PYTHON)
		return package_path(f->file) || f->file[0] == '<' ? ROLE_LIBRARY : ROLE_OWN; /* "<frozen importlib._bootstrap>" */
	return native_role(f);
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

/* Of a stack with nothing but the runtime's functions: the innermost that has a name and is not the kernel's, else the innermost. */
static const struct frame *runtime_site(const struct stacks *s, const uint32_t *frames, size_t len)
{
	static const struct frame none = { .kind = FRAME_NATIVE, .name = "", .file = "", .module = "" };

	for (size_t i = 0; i < len; i++) {
		const struct frame *f = stacks_frame_at(s, frames[i]);

		if (f->kind != FRAME_KERNEL && f->kind != FRAME_PROCESS && !frame_unnamed(f))
			return f;
	}
	return len ? stacks_frame_at(s, frames[0]) : &none;
}

void stack_site(const struct stacks *s, uint32_t stack, struct site *ret)
{
	const struct frame *library = NULL, *callee = NULL;
	size_t len = 0;
	const uint32_t *frames = stacks_at(s, stack, &len);

	*ret = (struct site){ .in = "" };
	for (size_t i = 0; i < len; i++) {
		const struct frame *f = stacks_frame_at(s, frames[i]);
		enum frame_role role = frame_role(f);
		const char *call = syscall_name(f);

		if (call)
			ret->in = call;
		if (role == ROLE_PROCESS)
			continue;
		if (!ret->at && role == ROLE_RUNTIME) {
			callee = kernel_entry(f) ? callee : f;
		} else if (!ret->at) {
			ret->at = f;
		} else if (role != ROLE_RUNTIME && f != ret->at) {
			library = library ? library : f;
			if (role == ROLE_OWN && !ret->by)
				ret->by = f;
		}
	}
	if (!ret->by)
		ret->by = library;
	if (!ret->at)
		ret->at = runtime_site(s, frames, len);
	if (callee && callee != ret->at && !ret->in[0])
		ret->in = callee->name;
}
