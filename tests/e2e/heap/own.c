/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A program with an allocator of its own, whose functions call one another: realloc by malloc and free, calloc by malloc, reallocarray by a jump. And some of
 * its calls never return: malloc of LEFT bytes is left by a longjmp, from deep in the stack and from high up.
 * Like allocs.c it counts itself, and waits for a byte before and after each turn.
 */
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LEFT 4242
#define ARENA (512u << 20)
#define TURNS 2000

struct chunk {
	size_t bytes;
	struct chunk *next;
};

static char arena[ARENA] __attribute__((aligned(16))); /* of pages that are touched only when used */
static size_t used;
static struct chunk *spare;
static jmp_buf left;
static struct {
	unsigned long allocs, frees, alloc_bytes, live_blocks, live_bytes;
} books;

__attribute__((noinline)) void *malloc(size_t n)
{
	struct chunk *c = spare;

	if (n == LEFT)
		longjmp(left, 1);
	if (c && c->bytes >= n) {
		spare = c->next;
		return c + 1;
	}
	c = (struct chunk *)(arena + used);
	used += sizeof(*c) + ((n + 15) & ~(size_t)15);
	if (used > ARENA)
		return NULL;
	c->bytes = n;
	return c + 1;
}

__attribute__((noinline)) void free(void *p)
{
	struct chunk *c = (struct chunk *)p - 1;

	if (!p)
		return;
	c->next = spare;
	spare = c;
}

__attribute__((noinline)) void *calloc(size_t n, size_t size)
{
	void *p = malloc(n * size);

	return p ? memset(p, 0, n * size) : NULL;
}

__attribute__((noinline)) void *realloc(void *old, size_t n)
{
	void *p;

	if (!old)
		return malloc(n); /* a jump */
	p = malloc(n);
	if (!p)
		return NULL;
	memcpy(p, old, n < ((struct chunk *)old - 1)->bytes ? n : ((struct chunk *)old - 1)->bytes);
	free(old);
	return p;
}

static void took(size_t n)
{
	books.allocs++;
	books.alloc_bytes += n;
	books.live_blocks++;
	books.live_bytes += n;
}

static void gave(size_t n)
{
	books.frees++;
	books.live_blocks--;
	books.live_bytes -= n;
}

/* At some depth of the stack, which is written all over on the way. */
static __attribute__((noinline)) int at_depth(unsigned depth, void (*fn)(unsigned), unsigned arg)
{
	volatile char room[512];

	memset((char *)room, 0x5a, sizeof(room));
	if (depth)
		return at_depth(depth - 1, fn, arg) + room[depth % 512];
	fn(arg);
	return room[0];
}

static void some_calls(unsigned i)
{
	void *volatile p = malloc(100 + i);

	took(100 + i);
	p = realloc(p, 300);
	gave(100 + i);
	took(300);
	free(p);
	gave(300);
	p = calloc(3, 10);
	took(30);
	p = realloc(NULL, 70);
	took(70);
	free(p);
	gave(70);
}

static void never_returns(unsigned i)
{
	void *volatile p;

	(void)i;
	p = malloc(LEFT);
	(void)p;
}

static void turn(void)
{
	for (volatile unsigned i = 0; i < TURNS; i++) {
		at_depth(i % 7, some_calls, i);
		if (!setjmp(left))
			at_depth(i % 5, never_returns, i);
		at_depth(3 + i % 11, some_calls, i);
	}
}

static void books_print(void)
{
	char line[256];
	int n = snprintf(line, sizeof(line), "{\"allocs\": %lu, \"frees\": %lu, \"alloc_bytes\": %lu, \"live_blocks\": %lu, \"live_bytes\": %lu}\n",
			 books.allocs, books.frees, books.alloc_bytes, books.live_blocks, books.live_bytes);

	if (write(1, line, n) != n)
		_exit(1);
}

int main(void)
{
	char c;

	books_print();
	while (read(0, &c, 1) == 1) {
		turn();
		books_print();
	}
	_exit(0);
}
