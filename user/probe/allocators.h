/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The allocator of a process: which of the mapped files that define malloc and its kin its calls go to. */
#ifndef STAKEOUT_ALLOCATORS_H
#define STAKEOUT_ALLOCATORS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ALLOC_FN(id, symbol): functions of an allocator that are observed; their values are the cookies of probes. */
#define ALLOC_FNS(X)                             \
	X(MALLOC, 1, "malloc")                   \
	X(CALLOC, 2, "calloc")                   \
	X(REALLOC, 3, "realloc")                 \
	X(FREE, 4, "free")                       \
	X(POSIX_MEMALIGN, 5, "posix_memalign")   \
	X(ALIGNED_ALLOC, 6, "aligned_alloc")     \
	X(MEMALIGN, 7, "memalign")               \
	X(VALLOC, 8, "valloc")                   \
	X(PVALLOC, 9, "pvalloc")                 \
	X(NEW, 10, "_Znwm")                      \
	X(NEW_ARRAY, 11, "_Znam")                \
	X(DELETE, 12, "_ZdlPv")                  \
	X(DELETE_ARRAY, 13, "_ZdaPv")            \
	X(DELETE_SIZED, 14, "_ZdlPvm")           \
	X(DELETE_ARRAY_SIZED, 15, "_ZdaPvm")     \
	X(REALLOCARRAY, 16, "reallocarray")      \
	X(MALLOC_USABLE, 17, "sdallocx")
enum alloc_fn {
#define X(id, value, symbol) ALLOC_##id = value,
	ALLOC_FNS(X)
#undef X
	ALLOC_FN_COUNT
};

struct alloc_site {
	uint64_t address; /* in the process; 0: not observed, or not there */
	uint64_t offset; /* in the file */
	uint32_t size; /* of its code; 0: not known */
	uint8_t file; /* index in allocator.files */
};

struct allocator {
	char name[64]; /* "glibc", "musl", "jemalloc", "tcmalloc", "mimalloc", "unknown": for the reader */
	int files_len;
	struct {
		uint64_t dev, inode, start, end;
		char path[256];
	} files[2]; /* of more than one where operator new is of another file than malloc */
	struct alloc_site sites[ALLOC_FN_COUNT]; /* one place a function: an alias of another one is left out */
};

/* Finds it. 0; -ESRCH: the process is gone; -EAGAIN: it has not mapped its libraries yet, or runs another program now; -ENOENT: no symbols (why: in which file); -ENOTSUP: a
 * 32-bit process, or another machine's (why). */
int allocator_find(pid_t pid, struct allocator *ret, char *why, size_t why_len);
/* Whether a library has come into the process that has another malloc, which programs reach only by asking for it by hand (dlsym), so that it is not observed: looked
 * for again when other files are mapped than those that *known stands for (0 at first), as the caller keeps it. why: which one. */
bool allocator_other(pid_t pid, const struct allocator *a, uint64_t *known, char *why, size_t why_len);
/* Whether what it found still stands: the files are mapped where they were. */
bool allocator_stands(pid_t pid, const struct allocator *a);

#endif
