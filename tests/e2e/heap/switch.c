/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * switch LIBRARY TURNS: TURNS blocks of 777 bytes by its own allocator, as many of 5,555 by the one of a library that it opens then, and as many of 777 again when
 * that library is closed; between these parts it writes a line and waits for a byte. At the end it writes what the blocks held, as a sum.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t sum;

static void wait(const char *what)
{
	char c;

	dprintf(1, "%s\n", what);
	if (read(0, &c, 1) != 1)
		_exit(3);
}

static void work(void *(*get)(size_t), void (*give)(void *), size_t bytes, long turns)
{
	for (long i = 0; i < turns; i++) {
		unsigned char *p = get(bytes);

		memset(p, (int)(i & 0xff), bytes);
		sum = sum * 31 + p[i % bytes] + p[bytes - 1];
		give(p);
	}
}

int main(int argc, char **argv)
{
	void *(*get)(size_t);
	void (*give)(void *);
	void *library;
	long turns;

	if (argc != 3)
		return 2;
	turns = atol(argv[2]);
	wait("ready");
	work(malloc, free, 777, turns);
	wait("first");
	library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
	if (!library)
		return 4;
	get = (void *(*)(size_t))dlsym(library, "malloc");
	give = (void (*)(void *))dlsym(library, "free");
	if (!get || get == malloc)
		return 5;
	wait("open");
	work(get, give, 5555, turns);
	wait("second");
	dlclose(library);
	wait("closed");
	work(malloc, free, 777, turns);
	dprintf(1, "%llu\n", (unsigned long long)sum);
	wait("done");
	return 0;
}
