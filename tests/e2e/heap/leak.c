/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A server of requests that come every millisecond: one function keeps 1 KiB of each, another one has a pool; both ask the same wrapper. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *pool[256];

static __attribute__((noinline)) void *xmalloc(size_t n)
{
	void *p = malloc(n);

	if (!p)
		abort();
	return memset(p, 1, n);
}

__attribute__((noinline)) void **session_remember(void **last)
{
	void **p = xmalloc(1024);

	*p = last;
	return p;
}

__attribute__((noinline)) void buffer_replace(unsigned i)
{
	free(pool[i % 256]);
	pool[i % 256] = xmalloc(1000 + i % 50);
}

int main(void)
{
	void **last = NULL;

	for (unsigned i = 0;; i++) {
		last = session_remember(last);
		buffer_replace(i);
		buffer_replace(i * 7);
		usleep(1000);
	}
}
