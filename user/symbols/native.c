/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "symbols/native.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uthash.h>
#include <utlist.h>

#include "lib/util.h"
#include "symbols/kernel_names.h"
#include "symbols/code_files.h"
#include "symbols/module.h"
#include "symbols/perf_map.h"
#include "symbols/rules.h"
#include "symbols/symbolizer.h"

#define PROCESSES_MAX 2048
#define MAPPINGS_MAX 8192 /* of code, of one process */
#define MAPS_TEXT_MAX (8u << 20)
#define MAPS_FRESH_NS (10 * NS_PER_S) /* older maps are read again before they are used */
#define MAPS_AGAIN_NS (NS_PER_S / 4) /* for an address that they don't have: at most so often */
#define PERF_MAP_AGAIN_NS (NS_PER_S / 4)

struct mapping { /* of code */
	uint64_t start, end, offset;
	struct code_file *file; /* NULL: memory without a file */
	bool vdso;
};

struct process {
	uint32_t tgid;
	bool gone; /* it has ended */
	uint64_t read_ns, missed_ns; /* when the maps were read; when an address was not found last; 0: never */
	struct mapping *maps; /* by address */
	uint32_t maps_len;
	struct perf_map *jit; /* NULL: not looked for yet */
	uint64_t jit_ns;
	UT_hash_handle hh;
	struct process *prev, *next; /* by last use */
};

struct native {
	struct process *by_tgid, *by_use;
	struct code_files *files;
	struct module *vdso; /* NULL: not needed yet */
	struct kernel_names *kernel; /* the same */
	char *maps_text; /* of the maps being read */
	size_t maps_text_cap;
	char text[1024];
};

struct native *native_new(void)
{
	struct native *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->files = code_files_new();
	if (!n->files) {
		free(n);
		return NULL;
	}
	return n;
}

static void maps_drop(struct native *n, struct process *p)
{
	for (uint32_t i = 0; i < p->maps_len; i++)
		code_files_put(n->files, p->maps[i].file);
	free(p->maps);
	p->maps = NULL;
	p->maps_len = 0;
}

static void process_free(struct native *n, struct process *p)
{
	HASH_DEL(n->by_tgid, p);
	DL_DELETE(n->by_use, p);
	maps_drop(n, p);
	perf_map_free(p->jit);
	free(p);
}

void native_free(struct native *n)
{
	struct process *p, *next;

	if (!n)
		return;
	DL_FOREACH_SAFE(n->by_use, p, next)
		process_free(n, p);
	code_files_free(n->files);
	module_free(n->vdso);
	kernel_names_free(n->kernel);
	free(n->maps_text);
	free(n);
}

static struct process *process_find(struct native *n, uint32_t tgid)
{
	struct process *p;

	HASH_FIND(hh, n->by_tgid, &tgid, sizeof(tgid), p);
	return p;
}

static struct process *process_get(struct native *n, uint32_t tgid)
{
	struct process *p = process_find(n, tgid);

	if (!p) {
		if (HASH_COUNT(n->by_tgid) >= PROCESSES_MAX)
			process_free(n, n->by_use);
		p = calloc(1, sizeof(*p));
		if (!p)
			return NULL;
		p->tgid = tgid;
		HASH_ADD(hh, n->by_tgid, tgid, sizeof(p->tgid), p);
		DL_APPEND(n->by_use, p);
	} else if (n->by_use->prev != p) {
		DL_DELETE(n->by_use, p);
		DL_APPEND(n->by_use, p);
	}
	return p;
}

void native_forget(struct native *n, uint32_t tgid)
{
	struct process *p = process_find(n, tgid);

	if (p)
		process_free(n, p);
}

void native_gone(struct native *n, uint32_t tgid)
{
	struct process *p = process_find(n, tgid);

	if (p)
		p->gone = true;
}

/* Reads all of /proc/TGID/maps. Bytes, or -1. */
static ssize_t maps_text_read(struct native *n, uint32_t tgid)
{
	_cleanup_close_ int fd = -1;
	char path[64];
	size_t len = 0;
	ssize_t got;

	snprintf(path, sizeof(path), "/proc/%u/maps", tgid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	for (;;) {
		if (len + 4096 > n->maps_text_cap) {
			size_t cap = n->maps_text_cap ? 2 * n->maps_text_cap : 64u << 10;
			char *p = cap <= MAPS_TEXT_MAX ? realloc(n->maps_text, cap) : NULL;

			if (!p)
				break;
			n->maps_text = p;
			n->maps_text_cap = cap;
		}
		got = read(fd, n->maps_text + len, n->maps_text_cap - len - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		len += (size_t)got;
	}
	if (n->maps_text)
		n->maps_text[len] = '\0';
	return len ? (ssize_t)len : -1;
}

struct maps_reading {
	struct mapping *at;
	uint32_t len, cap;
};

static void mapping_add(struct native *n, uint32_t tgid, const struct maps_line *line, struct maps_reading *r)
{
	struct mapping m = { .start = line->start, .end = line->end, .offset = line->offset };

	if (r->len == r->cap) {
		uint32_t cap = r->cap ? 2 * r->cap : 16;
		struct mapping *p = cap <= MAPPINGS_MAX ? realloc(r->at, cap * sizeof(*p)) : NULL;

		if (!p)
			return;
		r->at = p;
		r->cap = cap;
	}
	m.vdso = !strcmp(line->path, "[vdso]");
	if (line->inode)
		m.file = code_files_get(n->files, tgid, line);
	r->at[r->len++] = m;
}

static bool maps_read(struct native *n, struct process *p)
{
	struct maps_reading r = {};
	char *line, *rest;
	ssize_t len = maps_text_read(n, p->tgid);

	p->read_ns = clock_ns();
	if (len < 0)
		return false;
	for (line = n->maps_text; *line; line = rest) {
		struct maps_line at;

		rest = strchr(line, '\n');
		rest = rest ? rest + 1 : line + strlen(line);
		if (rest[-1] == '\n')
			rest[-1] = '\0';
		if (maps_line_parse(line, &at) && at.code && (!r.len || at.start >= r.at[r.len - 1].end))
			mapping_add(n, p->tgid, &at, &r);
	}
	maps_drop(n, p); /* after the new ones are there, so that files which stay aren't closed in between */
	p->maps = r.at;
	p->maps_len = r.len;
	return true;
}

void native_prepare(struct native *n, uint32_t tgid)
{
	struct process *p = process_get(n, tgid);

	if (p && !p->gone && !p->read_ns && !maps_read(n, p))
		process_free(n, p);
}

static const struct mapping *mapping_search(const struct process *p, uint64_t address)
{
	uint32_t low = 0, high = p->maps_len;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (p->maps[mid].end <= address)
			low = mid + 1;
		else
			high = mid;
	}
	return low < p->maps_len && address >= p->maps[low].start ? &p->maps[low] : NULL;
}

/* A library may have been loaded since the maps were read. */
static const struct mapping *mapping_find(struct native *n, struct process *p, uint64_t address)
{
	const struct mapping *m = mapping_search(p, address);
	uint64_t now_ns;

	if (m || p->gone)
		return m;
	now_ns = clock_ns();
	if (now_ns - p->read_ns < MAPS_AGAIN_NS || now_ns - p->missed_ns < MAPS_AGAIN_NS)
		return NULL;
	p->missed_ns = now_ns;
	return maps_read(n, p) ? mapping_search(p, address) : NULL;
}

/* The process with maps that are not too old. */
static struct process *process_read(struct native *n, uint32_t tgid)
{
	struct process *p = process_get(n, tgid);

	if (p && !p->gone && (!p->read_ns || clock_ns() - p->read_ns > MAPS_FRESH_NS))
		maps_read(n, p);
	return p;
}

/* The file that the code at an address comes from, and the address as the file's tables have it. */
static struct module *module_at(struct native *n, struct process *p, const struct mapping *m, uint64_t address, uint64_t *ret_address)
{
	struct module *module = NULL;

	if (m->vdso) {
		if (!n->vdso)
			n->vdso = module_vdso();
		module = n->vdso;
	} else if (m->file) {
		module = code_files_module(n->files, m->file, p->tgid, m->start, m->end);
	}
	return module && module_address(module, address - m->start + m->offset, ret_address) ? module : NULL;
}

enum step { STEP_UP, STEP_INTERRUPTED, STEP_END, STEP_CUT };

/* To the caller of the frame f. */
static enum step unwind_step(struct native *n, struct process *p, const struct mapping *m, uint64_t address, struct rule_frame *f)
{
	uint64_t at;
	struct module *module = module_at(n, p, m, address, &at);
	const struct rule *r = module ? module_rule(module, at) : NULL;

	if (r && r->last)
		return STEP_END;
	if (r) {
		if (!rule_apply(r, module_expressions(module), f))
			return STEP_CUT;
	} else if (!f->regs[SO_REG_FP] && f->known & 1u << SO_REG_FP) {
		return STEP_END; /* as the ABI has it in the outermost frame */
	} else if (!frame_pointer_step(f)) {
		return STEP_CUT;
	}
	if (!f->regs[SO_REG_IP])
		return STEP_END;
	return r && r->signal ? STEP_INTERRUPTED : STEP_UP;
}

int native_unwind(struct native *n, const struct so_stack *s, uint64_t *ret, int max, bool *ret_cut)
{
	struct process *p = process_read(n, s->tgid);
	struct rule_frame f = { .known = (1u << SO_REGS) - 1, .stack = so_stack_user(s), .bytes = s->user_bytes };
	bool caller = false;
	int len = 0;

	memcpy(f.regs, s->regs, sizeof(f.regs));
	f.base = f.regs[SO_REG_SP];
	*ret_cut = true;
	while (p && len < max) {
		uint64_t ip = f.regs[SO_REG_IP], address = ip - caller;
		const struct mapping *m = mapping_find(n, p, address);
		enum step step;

		if (!m && len)
			break;
		/* Who was interrupted has not called: one further, as of a caller, so that it is named by its own address. */
		ret[len] = ip + (len && !caller);
		len++;
		if (!m)
			break;
		step = unwind_step(n, p, m, address, &f);
		if (step == STEP_END)
			*ret_cut = false;
		if (step == STEP_END || step == STEP_CUT)
			break;
		caller = step == STEP_UP;
	}
	return len;
}

static const char *jit_name(struct process *p, uint64_t address)
{
	uint64_t now_ns;
	const char *name = p->jit ? perf_map_find(p->jit, address) : NULL;

	if (name || p->gone)
		return name;
	now_ns = clock_ns();
	if (p->jit_ns && now_ns - p->jit_ns < PERF_MAP_AGAIN_NS)
		return NULL;
	p->jit_ns = now_ns;
	if (!p->jit)
		p->jit = perf_map_new();
	return p->jit && perf_map_read(p->jit, p->tgid) ? perf_map_find(p->jit, address) : NULL;
}

void native_name(struct native *n, uint32_t tgid, uint64_t address, bool caller, struct frame *f)
{
	struct process *p = process_read(n, tgid);
	uint64_t at, start, where = address - caller;
	const struct mapping *m = p ? mapping_find(n, p, where) : NULL;
	struct module *module = m ? module_at(n, p, m, where, &at) : NULL;
	const char *name;

	*f = (struct frame){ .kind = FRAME_NATIVE, .name = "[unknown]", .file = "", .module = "" };
	if (module) {
		f->module = module_name(module);
		f->name = module_function(module, at, &start);
		if (f->name)
			return;
		snprintf(n->text, sizeof(n->text), "[%.255s+0x%" PRIx64 "]", f->module, start);
		f->name = n->text;
	} else if (p && (name = jit_name(p, where))) {
		f->kind = FRAME_JIT;
		perf_map_name(name, n->text, sizeof(n->text), f);
	}
}

void native_kernel_name(struct native *n, uint64_t address, struct frame *f)
{
	const char *module = "", *name;

	if (!n->kernel)
		n->kernel = kernel_names_read("/proc/kallsyms");
	name = n->kernel ? kernel_names_find(n->kernel, address, &module) : NULL;
	*f = (struct frame){ .kind = FRAME_KERNEL, .name = name ? name : "[unknown]", .file = "", .module = module };
}

size_t native_bytes(const struct native *n)
{
	size_t bytes = sizeof(*n) + n->maps_text_cap + code_files_bytes(n->files) + HASH_OVERHEAD(hh, n->by_tgid);
	const struct process *p;

	DL_FOREACH(n->by_use, p)
		bytes += sizeof(*p) + p->maps_len * sizeof(*p->maps) + (p->jit ? perf_map_bytes(p->jit) : 0);
	if (n->vdso)
		bytes += module_bytes(n->vdso);
	return bytes + (n->kernel ? kernel_names_bytes(n->kernel) : 0);
}
