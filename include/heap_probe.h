/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the two sides of the full heap share: cookies of its probes, and where a process has code. */
#ifndef STAKEOUT_HEAP_PROBE_H
#define STAKEOUT_HEAP_PROBE_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define SO_HEAP_SITES_MAX 65536
#define SO_HEAP_PROCESSES_MAX 1024

/* Cookie of a probe: what the function's arguments are, and by how many bytes the stack pointer has moved there since the entry. */
enum so_heap_function {
	SO_HEAP_MALLOC = 1, /* size */
	SO_HEAP_CALLOC = 2, /* count, size */
	SO_HEAP_REALLOC = 3, /* block, size */
	SO_HEAP_REALLOCARRAY = 4, /* block, count, size */
	SO_HEAP_POSIX_MEMALIGN = 5, /* place, alignment, size */
	SO_HEAP_MEMALIGN = 6, /* alignment, size */
	SO_HEAP_TRIAL = 0xff,
};
#define SO_HEAP_PUSHED_SHIFT 8

/* Granules of 64 KiB that hold code, by number, in a hash table of buckets of two; one that finds no room is left out. */
#define SO_HEAP_GRANULE_SHIFT 16
#define SO_HEAP_BUCKETS 4096
struct so_heap_code {
	__u32 granules[SO_HEAP_BUCKETS][2]; /* 0: none */
	__u32 deep; /* 1: some of it is of no file, made by a compiler of the process's own */
};

static inline __attribute__((always_inline)) __u32 so_heap_bucket(__u32 granule)
{
	return granule * 2654435769u >> 20; /* 2^32 / golden ratio; 12 bits */
}

#endif
