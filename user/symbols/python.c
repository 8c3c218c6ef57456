/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Interpreters of processes, and the names of their code objects. Memory is read by process_vm_readv, which needs nobody to stop. A code object may be freed
 * and another one take its place: a sample says which one it saw, so that neither an old name nor a new one is given to it.
 */
#include "symbols/python.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "lib/util.h"
#include "symbols/python_parts.h"

#define CODES_MAX 32768 /* of all processes; when it is full it is emptied */
#define PROCESSES 1024 /* a power of 2; a process takes the place of another one with the same hash */
#define RETRY_NS NS_PER_S /* for what was no interpreter */

struct code {
	uint32_t process; /* struct process.number; 0: free */
	uint32_t identity, line;
	uint64_t address;
	char *texts; /* function and file, each with its NUL */
};

struct process {
	uint32_t tgid;
	uint32_t number; /* never used again: what was known under an old one is found no more. 0: no interpreter */
	uint64_t looked_ns;
	struct python_shape shape;
};

struct pythons {
	struct process processes[PROCESSES];
	uint32_t number;
	struct code *codes; /* hash table of twice CODES_MAX */
	size_t len;
};

static bool process_read(void *ctx, uint64_t address, void *to, size_t size)
{
	struct iovec local = { to, size }, remote = { (void *)address, size };

	return process_vm_readv(*(pid_t *)ctx, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

/* ---- the interpreter ---- */

struct interpreter {
	uint64_t runtime; /* 0: none was found */
	uint32_t version;
	bool named; /* a file is there whose name says Python; */
	bool library; /* its library, even */
};

static bool is_library(const char *path)
{
	const char *base = strrchr(path, '/');

	return base && !strncmp(base, "/libpython", 10) && strstr(base, ".so") && python_version_of_name(path);
}

static void image_look(const struct python_memory *m, uint64_t header, const char *path, struct interpreter *i)
{
	uint32_t version;
	uint64_t address;

	i->named |= python_version_of_name(path) != 0;
	i->library |= is_library(path);
	if (!i->version)
		i->version = python_version_of_name(path);
	i->runtime = python_symbol(m, header, "_PyRuntime");
	address = i->runtime ? python_symbol(m, header, "Py_Version") : 0; /* from 3.11 on */
	if (address && memory_read(m, address, &version, sizeof(version)))
		i->version = version >> 16;
}

/* The executable and the interpreter's library, in the order of their addresses, until one has it. -ESRCH: the process is gone. */
static int interpreter_find(const struct python_memory *m, uint32_t tgid, struct interpreter *i)
{
	char path[64], exe[4096], *line = NULL;
	_cleanup_fclose_ FILE *f = NULL;
	size_t cap = 0;
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/%u/exe", tgid);
	len = readlink(path, exe, sizeof(exe) - 1);
	snprintf(path, sizeof(path), "/proc/%u/maps", tgid);
	f = len < 0 ? NULL : fopen(path, "re");
	if (!f)
		return -ESRCH;
	exe[len] = 0;
	while (!i->runtime && (len = getline(&line, &cap, f)) > 0) {
		unsigned long long start, offset;
		int name = 0;

		line[len - 1] = 0;
		if (sscanf(line, "%llx-%*x %*4s %llx %*s %*s %n", &start, &offset, &name) == 2 && name && !offset &&
		    (!strcmp(line + name, exe) || is_library(line + name)))
			image_look(m, start, line + name, i);
	}
	free(line);
	return 0;
}

/* Address of the pointer to the thread state that had the lock last; 0: not known. */
static uint64_t holder_find(const struct python_memory *m, const struct python_shape *s, uint64_t runtime, uint64_t interpreter)
{
	uint64_t gil = interpreter + s->interpreter_gil;

	if (s->runtime_holder)
		return runtime + s->runtime_holder;
	if (!s->gil_inside && !memory_read(m, gil, &gil, sizeof(gil)))
		return 0;
	return gil ? gil + s->gil_holder : 0;
}

/* How threads are told apart: by pthread_self() where the kernel side can know it, which holds in all PID namespaces and after a fork. */
static int thread_choose(const struct python_shape *s, struct so_python *ret, char *why, size_t why_len)
{
#if defined(__x86_64__)
	ret->thread_by = SO_PYTHON_BY_POINTER;
	ret->offsets[SO_PYTHON_THREAD_ID] = s->thread_pointer;
#else
	ret->thread_by = SO_PYTHON_BY_TID;
	ret->offsets[SO_PYTHON_THREAD_ID] = s->thread_tid;
#endif
	if (ret->offsets[SO_PYTHON_THREAD_ID])
		return 0;
	snprintf(why, why_len, "Python %u.%u on this architecture", s->version >> 8, s->version & 255);
	return -ENOTSUP;
}

/* Whether the interpreter is up; and whether it looks as it should. */
static int state_check(const struct python_memory *m, const struct python_shape *s, struct so_python *python, char *why, size_t why_len)
{
	uint64_t interpreter, thread, back;

	if (!memory_read(m, python->runtime + s->runtime_main, &interpreter, sizeof(interpreter)) || !interpreter)
		return -EAGAIN;
	python->threads = interpreter + s->interpreter_threads;
	if (!memory_read(m, python->threads, &thread, sizeof(thread)))
		goto strange;
	if (!thread)
		return -EAGAIN;
	if (!memory_read(m, thread + s->thread_interpreter, &back, sizeof(back)) || back != interpreter)
		goto strange;
	python->holder = holder_find(m, s, python->runtime, interpreter);
	return 0;
strange:
	snprintf(why, why_len, "Python %u.%u, but not as it is built usually", s->version >> 8, s->version & 255);
	return -ENOTSUP;
}

static void offsets_fill(const struct python_shape *s, uint32_t *offsets)
{
	memcpy(offsets, s->walk, sizeof(s->walk));
	offsets[SO_PYTHON_CODE_WORD] = python_code_word(s);
	offsets[SO_PYTHON_CODE_NAME] = s->code_plain - python_code_word(s); /* it lies behind in all versions */
	offsets[SO_PYTHON_TEXT_HASH] = PYTHON_TEXT_HASH;
}

static int layout_find(uint32_t tgid, struct python_shape *shape, struct so_python *ret, char *why, size_t why_len)
{
	const struct python_memory m = { process_read, &tgid };
	struct so_python python = {};
	struct interpreter i = {};
	int err;

	if (interpreter_find(&m, tgid, &i))
		return -ENOENT;
	if (!i.runtime && i.named && !i.library && i.version >= 0x0307)
		return -EAGAIN; /* its library is not loaded yet */
	if (!i.runtime && !i.named)
		return -ENOENT;
	err = python_shape_find(&m, i.runtime, i.version, shape, why, why_len);
	if (err)
		return err;
	python.runtime = i.runtime;
	python.version = shape->version;
	offsets_fill(shape, python.offsets);
	err = thread_choose(shape, &python, why, why_len);
	if (!err)
		err = state_check(&m, shape, &python, why, why_len);
	if (!err)
		*ret = python;
	return err;
}

int python_layout(uint32_t tgid, struct so_python *ret, char *why, size_t why_len)
{
	struct python_shape shape;

	return layout_find(tgid, &shape, ret, why, why_len);
}

/* ---- names ---- */

struct pythons *pythons_new(void)
{
	struct pythons *p = calloc(1, sizeof(*p));

	if (p)
		p->codes = calloc(2 * CODES_MAX, sizeof(*p->codes));
	if (p && p->codes)
		return p;
	free(p);
	return NULL;
}

static void codes_empty(struct pythons *p)
{
	for (size_t i = 0; i < 2 * CODES_MAX; i++)
		free(p->codes[i].texts);
	memset(p->codes, 0, 2 * CODES_MAX * sizeof(*p->codes));
	p->len = 0;
}

void pythons_free(struct pythons *p)
{
	if (!p)
		return;
	codes_empty(p);
	free(p->codes);
	free(p);
}

static struct process *process_place(struct pythons *p, uint32_t tgid)
{
	return &p->processes[tgid * 2654435761U >> 22]; /* 10 bits: PROCESSES */
}

void pythons_forget(struct pythons *p, uint32_t tgid)
{
	struct process *x = process_place(p, tgid);

	if (x->tgid == tgid)
		*x = (struct process){};
}

/* NULL: no interpreter, as far as is known. */
static const struct process *process_get(struct pythons *p, uint32_t tgid)
{
	struct process *x = process_place(p, tgid);
	struct so_python python;
	uint64_t now_ns;
	char why[80];

	if (x->tgid == tgid && x->number)
		return x;
	now_ns = clock_ns();
	if (x->tgid == tgid && now_ns - x->looked_ns < RETRY_NS)
		return NULL;
	*x = (struct process){ .tgid = tgid, .looked_ns = now_ns };
	if (!layout_find(tgid, &x->shape, &python, why, sizeof(why)))
		x->number = ++p->number;
	return x->number ? x : NULL;
}

/* Its place in the table, taken or not. */
static struct code *code_place(struct pythons *p, uint32_t process, uint64_t address)
{
	size_t i = (address >> 4 ^ process) * 0x9e3779b97f4a7c15ULL >> 48; /* 16 bits: 2 * CODES_MAX */

	while (p->codes[i].process && (p->codes[i].process != process || p->codes[i].address != address))
		i = (i + 1) % (2 * CODES_MAX);
	return &p->codes[i];
}

static char *texts_read(const struct python_memory *m, const struct python_shape *s, const struct python_code *c)
{
	char name[PYTHON_NAME_BYTES], file[PYTHON_FILE_BYTES], *texts;
	size_t name_bytes, file_bytes;

	if (!python_code_texts(m, s, c, name, file))
		return NULL;
	name_bytes = strlen(name) + 1;
	file_bytes = strlen(file) + 1;
	texts = malloc(name_bytes + file_bytes);
	if (!texts)
		return NULL;
	memcpy(texts, name, name_bytes);
	memcpy(texts + name_bytes, file, file_bytes);
	return texts;
}

static void code_learn(struct pythons *p, struct code *c, const struct code *seen)
{
	if (!c->process && p->len >= CODES_MAX) {
		codes_empty(p);
		c = code_place(p, seen->process, seen->address);
	}
	p->len += !c->process;
	free(c->texts);
	*c = *seen;
}

/* The code object that a sample saw there. NULL: there is none, or another one by now. */
static const struct code *code_get(struct pythons *p, const struct process *x, uint64_t address, uint32_t identity)
{
	struct code *c = code_place(p, x->number, address), seen = { .process = x->number, .address = address };
	uint32_t tgid = x->tgid;
	const struct python_memory m = { process_read, &tgid };
	struct python_code is;

	if (c->process && (c->identity == identity || !identity))
		return c;
	if (!python_code_read(&m, &x->shape, address, &is) || (identity && is.identity != identity))
		return NULL;
	seen.texts = texts_read(&m, &x->shape, &is);
	if (!seen.texts)
		return NULL;
	seen.identity = is.identity;
	seen.line = is.line;
	code_learn(p, c, &seen);
	return code_place(p, x->number, address);
}

bool python_name(struct pythons *p, uint32_t tgid, const struct so_python_frame *at, struct frame *f)
{
	const struct process *x = process_get(p, tgid);
	const struct code *c = x ? code_get(p, x, at->code, at->flags >> SO_PYTHON_IDENTITY_SHIFT) : NULL;

	if (!c)
		return false;
	*f = (struct frame){
		.kind = FRAME_PYTHON, .name = c->texts, .file = c->texts + strlen(c->texts) + 1, .module = "", .line = c->line,
	};
	return true;
}

bool python_is_eval(const char *name)
{
	static const char eval[] = "_PyEval_EvalFrameDefault";

	/* The compiler makes further parts of it: .cold, .lto_priv.0 */
	return !strncmp(name, eval, sizeof(eval) - 1) && (!name[sizeof(eval) - 1] || name[sizeof(eval) - 1] == '.');
}
