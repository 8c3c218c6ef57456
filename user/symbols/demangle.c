/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "symbols/demangle.h"

#include <libiberty/demangle.h>
#include <setjmp.h>
#include <string.h>

#define MANGLED_MAX 2048

struct text {
	char *at;
	size_t len, size;
	jmp_buf full;
};

/* A few bytes of name can stand for gigabytes of text (substitutions of substitutions): what fits is enough, and the rest is never made. */
static void text_append(const char *s, size_t n, void *ctx)
{
	struct text *t = ctx;
	size_t room = t->size - 1 - t->len;

	memcpy(t->at + t->len, s, n < room ? n : room);
	t->len += n < room ? n : room;
	if (n > room)
		longjmp(t->full, 1);
}

static bool text_make(struct text *t, const char *name)
{
	if (rust_demangle_callback(name, DMGL_NO_OPTS, text_append, t))
		return true;
	t->len = 0;
	return name[1] == 'Z' && cplus_demangle_v3_callback(name, DMGL_NO_OPTS, text_append, t);
}

bool demangle(const char *name, char *buf, size_t size)
{
	struct text t = { .at = buf, .size = size };
	bool ok;

	if (name[0] != '_' || (name[1] != 'R' && name[1] != 'Z') || strnlen(name, MANGLED_MAX) == MANGLED_MAX)
		return false;
	ok = setjmp(t.full) || text_make(&t, name);
	t.at[t.len] = '\0';
	return ok && t.len;
}
