/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Allocates and frees by every function there is, in several threads that also free each other's blocks, and counts itself. It waits for a byte on standard
 * input, works, prints its books as one line of JSON, and waits again: while it waits, its heap stands still.
 * usage: allocs THREADS TURNS
 */
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS_MAX 16
#define SHARED 512 /* blocks that threads hand over to one another */
#define OWN 64

struct block {
	void *at;
	size_t bytes;
};

struct books {
	uint64_t allocs, frees, alloc_bytes, live_blocks, live_bytes;
};

static struct block shared[SHARED];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t begin, end;
static struct books books[THREADS_MAX];
static long turns;

static void took(struct books *k, struct block *b, void *at, size_t bytes)
{
	if (!at)
		abort();
	*b = (struct block){ at, bytes };
	k->allocs++;
	k->alloc_bytes += bytes;
	k->live_blocks++;
	k->live_bytes += bytes;
}

static void gave(struct books *k, struct block *b)
{
	k->frees++;
	k->live_blocks--; /* of another thread's: the sums are right */
	k->live_bytes -= b->bytes;
	b->at = NULL;
}

static void block_new(struct books *k, struct block *b, unsigned how, size_t bytes)
{
	void *p = NULL;

	switch (how % 7) {
	case 0:
	case 1:
		took(k, b, malloc(bytes), bytes);
		break;
	case 2:
		took(k, b, calloc(3, bytes), 3 * bytes);
		break;
	case 3:
		took(k, b, realloc(NULL, bytes), bytes);
		break;
	case 4:
		if (posix_memalign(&p, 64, bytes))
			abort();
		took(k, b, p, bytes);
		break;
	case 5:
		bytes = (bytes + 63) & ~(size_t)63;
		took(k, b, aligned_alloc(64, bytes), bytes);
		break;
	case 6:
		took(k, b, memalign(256, bytes), bytes);
		break;
	}
}

static void block_end(struct books *k, struct block *b, unsigned how, size_t bytes)
{
	void *p = b->at;

	if (how % 4 == 0) { /* goes on as another one */
		gave(k, b);
		took(k, b, realloc(p, bytes), bytes);
		return;
	}
	gave(k, b);
	free(p);
}

static void *work(void *arg)
{
	struct books *k = arg;
	uint64_t seed = 88172645463325252ULL + (k - books);
	struct block own[OWN] = {};

	for (;;) {
		pthread_barrier_wait(&begin);
		for (long i = 0; i < turns; i++) {
			struct block mine = {}, *b;

			seed ^= seed << 13; /* xorshift64 */
			seed ^= seed >> 7;
			seed ^= seed << 17;
			b = &own[seed % OWN];
			if (b->at)
				block_end(k, b, seed >> 20, 1 + (seed >> 30) % 3000);
			else
				block_new(k, b, seed >> 20, 1 + (seed >> 30) % (seed >> 60 ? 500 : 200000));
			if ((seed >> 40) % 4)
				continue;
			pthread_mutex_lock(&lock); /* swaps it against somebody's */
			mine = shared[(seed >> 8) % SHARED];
			shared[(seed >> 8) % SHARED] = *b;
			pthread_mutex_unlock(&lock);
			*b = mine;
		}
		pthread_barrier_wait(&end);
	}
	return NULL;
}

static void books_print(int threads)
{
	struct books sum = {};
	char line[256];
	int n;

	for (int i = 0; i < threads; i++) {
		sum.allocs += books[i].allocs;
		sum.frees += books[i].frees;
		sum.alloc_bytes += books[i].alloc_bytes;
		sum.live_blocks += books[i].live_blocks;
		sum.live_bytes += books[i].live_bytes;
	}
	n = snprintf(line, sizeof(line), "{\"allocs\": %lu, \"frees\": %lu, \"alloc_bytes\": %lu, \"live_blocks\": %lu, \"live_bytes\": %lu}\n", sum.allocs,
		     sum.frees, sum.alloc_bytes, sum.live_blocks, sum.live_bytes);
	if (write(1, line, n) != n)
		abort();
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 1;
	pthread_t t;
	char c;

	turns = argc > 2 ? atol(argv[2]) : 1000;
	if (threads < 1 || threads > THREADS_MAX)
		return 2;
	pthread_barrier_init(&begin, NULL, threads + 1);
	pthread_barrier_init(&end, NULL, threads + 1);
	for (int i = 0; i < threads; i++)
		if (pthread_create(&t, NULL, work, &books[i]))
			return 1;
	books_print(0); /* is ready */
	while (read(0, &c, 1) == 1) {
		pthread_barrier_wait(&begin);
		pthread_barrier_wait(&end);
		books_print(threads);
	}
	_exit(0);
}
