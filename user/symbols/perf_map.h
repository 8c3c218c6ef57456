/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Functions that a just-in-time compiler made, from the file it writes for profilers: lines "START SIZE name", numbers in hex (tools/perf/Documentation/
 * jit-interface.txt of the kernel's sources). The observed process writes it: any bytes may be in it.
 */
#ifndef STAKEOUT_PERF_MAP_H
#define STAKEOUT_PERF_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "model/stacks.h"

struct perf_map;

struct perf_map *perf_map_new(void);
void perf_map_free(struct perf_map *p); /* NULL is accepted */
/* Takes the next part of the file; lines may be cut anywhere between parts. */
void perf_map_feed(struct perf_map *p, const char *data, size_t n);
/* Reads what has been added to the file of process tgid since the last time. False: there is none, or none that may be believed. */
bool perf_map_read(struct perf_map *p, uint32_t tgid);
/* Name as the compiler gave it. NULL: none. Of functions that lie one over the other the later one counts. */
const char *perf_map_find(struct perf_map *p, uint64_t address);
/* Fills name, file and line of f from such a name: those of V8 tell where the function is. The texts point into buf and name. */
void perf_map_name(const char *name, char *buf, size_t size, struct frame *f);
size_t perf_map_bytes(const struct perf_map *p);

#endif
