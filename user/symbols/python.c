/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "symbols/python.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct pythons {
	int unused;
};

struct pythons *pythons_new(void)
{
	return calloc(1, sizeof(struct pythons));
}

void pythons_free(struct pythons *p)
{
	free(p);
}

void pythons_forget(struct pythons *p, uint32_t tgid)
{
	(void)p, (void)tgid;
}

int python_layout(uint32_t tgid, struct so_python *ret, char *why, size_t why_len)
{
	(void)tgid, (void)ret, (void)why, (void)why_len;
	return -ENOENT;
}

bool python_name(struct pythons *p, uint32_t tgid, const struct so_python_frame *at, struct frame *f)
{
	(void)p, (void)tgid, (void)at, (void)f;
	return false;
}

bool python_is_eval(const char *name)
{
	static const char eval[] = "_PyEval_EvalFrameDefault";

	return !strncmp(name, eval, sizeof(eval) - 1) && (!name[sizeof(eval) - 1] || name[sizeof(eval) - 1] == '.');
}
