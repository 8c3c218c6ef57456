/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * An allocator that counts, for LD_PRELOAD: the witness of the full heap. It hands each call on to the next allocator, and keeps its books in the file that
 * $COUNTER names, mapped shared, so that the test reads them while the program stands still. It counts while the test says so, and only in the process
 * that began.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SLOTS (1u << 20)

struct block {
	uint64_t address, bytes, born_ns;
};

struct books { /* the test reads the head by these places */
	volatile uint64_t on;
	uint64_t allocs, frees, alloc_bytes, unknown_frees, live_blocks, live_bytes, lifetimes, lifetime_ns, full;
	struct block blocks[SLOTS];
};

static struct books *books;
static pid_t owner;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char early[65536]; /* what dlsym() itself asks for */
static size_t early_used;

static void *(*real_malloc)(size_t), *(*real_calloc)(size_t, size_t), *(*real_realloc)(void *, size_t), *(*real_memalign)(size_t, size_t);
static int (*real_posix_memalign)(void **, size_t, size_t);
static void (*real_free)(void *);

static void start(void)
{
	static int begun;
	const char *path;
	int fd;

	if (begun)
		return;
	begun = 1;
	real_calloc = dlsym(RTLD_NEXT, "calloc");
	real_malloc = dlsym(RTLD_NEXT, "malloc");
	real_realloc = dlsym(RTLD_NEXT, "realloc");
	real_memalign = dlsym(RTLD_NEXT, "memalign");
	real_posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
	real_free = dlsym(RTLD_NEXT, "free");
	path = getenv("COUNTER");
	fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	books = mmap(NULL, sizeof(*books), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (books == MAP_FAILED)
		books = NULL;
	close(fd);
	owner = getpid();
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static int counts(void)
{
	return books && books->on && getpid() == owner;
}

static uint32_t home(uint64_t address)
{
	return (address >> 4) * 0x9e3779b97f4a7c15ULL >> 44;
}

static uint32_t slot_of(uint64_t address)
{
	uint32_t i = home(address);

	while (books->blocks[i].address && books->blocks[i].address != address)
		i = (i + 1) & (SLOTS - 1);
	return i;
}

static void took(void *p, size_t n)
{
	int err = errno;
	uint32_t i;

	if (!p || !counts())
		return;
	pthread_mutex_lock(&lock);
	books->allocs++;
	books->alloc_bytes += n;
	books->live_blocks++;
	books->live_bytes += n;
	books->full |= books->live_blocks > SLOTS / 2;
	i = slot_of((uintptr_t)p);
	books->blocks[i] = (struct block){ (uintptr_t)p, n, now() };
	pthread_mutex_unlock(&lock);
	errno = err;
}

static void erase(uint32_t i)
{
	for (uint32_t k = (i + 1) & (SLOTS - 1); books->blocks[k].address; k = (k + 1) & (SLOTS - 1)) {
		uint32_t from = home(books->blocks[k].address);

		if (((k - from) & (SLOTS - 1)) >= ((k - i) & (SLOTS - 1))) {
			books->blocks[i] = books->blocks[k];
			i = k;
		}
	}
	books->blocks[i].address = 0;
}

static void gives(void *p)
{
	struct block *b;

	if (!p || !counts())
		return;
	pthread_mutex_lock(&lock);
	b = &books->blocks[slot_of((uintptr_t)p)];
	books->frees++;
	if (b->address) {
		books->live_blocks--;
		books->live_bytes -= b->bytes;
		books->lifetimes++;
		books->lifetime_ns += now() - b->born_ns;
		erase(b - books->blocks);
	} else {
		books->unknown_frees++;
	}
	pthread_mutex_unlock(&lock);
}

static void *early_take(size_t n)
{
	void *p = early + early_used;

	early_used += (n + 15) & ~(size_t)15;
	return early_used <= sizeof(early) ? p : NULL;
}

void *malloc(size_t n)
{
	void *p;

	start();
	p = real_malloc ? real_malloc(n) : early_take(n);
	took(p, n);
	return p;
}

void *calloc(size_t n, size_t size)
{
	void *p;

	start();
	p = real_calloc ? real_calloc(n, size) : early_take(n * size);
	took(p, n * size);
	return p;
}

void *realloc(void *old, size_t n)
{
	void *p;

	start();
	gives(old); /* before: another thread may be given the place before this one returns */
	p = real_realloc(old, n);
	if (!p && n)
		abort(); /* no test lets it fail under this witness */
	took(p, n);
	return p;
}

void free(void *p)
{
	if ((char *)p >= early && (char *)p < early + sizeof(early))
		return;
	start();
	gives(p);
	real_free(p);
}

void *memalign(size_t alignment, size_t n)
{
	void *p;

	start();
	p = real_memalign(alignment, n);
	took(p, n);
	return p;
}

void *aligned_alloc(size_t alignment, size_t n)
{
	return memalign(alignment, n);
}

int posix_memalign(void **ret, size_t alignment, size_t n)
{
	int err;

	start();
	err = real_posix_memalign(ret, alignment, n);
	if (!err)
		took(*ret, n);
	return err;
}
