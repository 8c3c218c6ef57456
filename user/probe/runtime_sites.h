/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where in a file a language's runtime begins and ends the pauses of its garbage collector. */
#ifndef STAKEOUT_RUNTIME_SITES_H
#define STAKEOUT_RUNTIME_SITES_H

#include <stdbool.h>
#include <stdint.h>

#include "abi.h"

#define RUNTIME_SITES_MAX 16

enum runtime_id { RUNTIME_NONE, RUNTIME_PYTHON, RUNTIME_V8, RUNTIME_GO };

struct runtime_sites {
	enum runtime_id runtime; /* NONE: no runtime that is known here */
	const char *missing; /* of a known runtime without places: why; else NULL */
	int len;
	uint64_t offsets[RUNTIME_SITES_MAX];
	uint64_t ref_ctrs[RUNTIME_SITES_MAX]; /* of USDT probes; 0: none */
	struct so_gc_site sites[RUNTIME_SITES_MAX]; /* process not filled */
};

/* Looks at an open executable or library. 10 to 50 ms for a large one. */
void runtime_sites_find(int fd, struct runtime_sites *ret);
/* The first argument of a USDT probe, as its note describes it: whether the kernel side can read it. Fills the argument's fields of *ret. */
bool usdt_argument_parse(const char *args, struct so_gc_site *ret);

#endif
