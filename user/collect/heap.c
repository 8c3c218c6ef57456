/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/heap.h"

#include <stdbool.h>
#include <stdlib.h>

struct sites *sites_new(void)
{
	return calloc(1, 1);
}

void sites_free(struct sites *s)
{
	free(s);
}

void sites_stack(struct sites *s, uint32_t tgid, uint32_t key, uint32_t stack)
{
	(void)s, (void)tgid, (void)key, (void)stack;
}

struct blocks *blocks_new(struct sites *s, uint32_t tgid)
{
	(void)s, (void)tgid;
	return calloc(1, 1);
}

void blocks_free(struct blocks *b)
{
	free(b);
}

void blocks_alloc(struct blocks *b, uint64_t address, uint64_t bytes, uint32_t key, uint64_t now_ns)
{
	(void)b, (void)address, (void)bytes, (void)key, (void)now_ns;
}

bool blocks_release(struct blocks *b, uint64_t address, uint64_t now_ns, struct freed *ret)
{
	(void)b, (void)address, (void)now_ns, (void)ret;
	return false;
}

void sites_totals(const struct sites *s, struct heap_totals *ret)
{
	(void)s;
	*ret = (struct heap_totals){ .kept = 1 };
}

int sites_close(struct sites *s, uint64_t now_ns, uint64_t age_ns, struct sample_set ret[3])
{
	(void)s, (void)now_ns, (void)age_ns, (void)ret;
	return 0;
}

size_t sites_bytes(const struct sites *s)
{
	(void)s;
	return 0;
}
