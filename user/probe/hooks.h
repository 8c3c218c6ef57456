/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The programs that run at a place in the kernel, as opposed to those that are run when the collector asks: attached, and taken away where the budget has no room for them. */
#ifndef STAKEOUT_HOOKS_H
#define STAKEOUT_HOOKS_H

#include <bpf/libbpf.h>
#include <stdbool.h>

#include "abi.h"

#define HOOKS_MAX 32

struct hook {
	struct bpf_program *prog;
	struct bpf_link *link; /* NULL: not attached at present */
};

struct hooks { /* zero-initialised is empty */
	struct hook at[HOOKS_MAX];
	int len;
};

/* Attaches all programs of obj that were loaded and hook. 0 or negative errno; what was attached is hooks_fini()'s in any case. */
int hooks_attach(struct hooks *h, struct bpf_object *obj);
/* Attaches again what has a place at this detail. What can't be attached is tried at the next call. */
void hooks_return(struct hooks *h, const struct so_detail *d);
/* Takes away what has none. */
void hooks_remove(struct hooks *h, const struct so_detail *d);
void hooks_fini(struct hooks *h);

#endif
