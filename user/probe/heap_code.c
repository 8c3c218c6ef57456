/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/heap_code.h"

#include <bpf/bpf.h>
#include <stdio.h>
#include <string.h>

#include "heap_probe.h"
#include "lib/util.h"

static void granule_add(struct so_heap_code *c, uint32_t granule)
{
	uint32_t *bucket = c->granules[so_heap_bucket(granule)];

	if (bucket[0] == granule || bucket[1] == granule)
		return;
	if (!bucket[0])
		bucket[0] = granule;
	else if (!bucket[1])
		bucket[1] = granule;
}

void heap_code_update(int code_fd, pid_t pid)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ struct so_heap_code *c = calloc(1, sizeof(*c));
	_cleanup_free_ char *line = NULL;
	unsigned long long start, end, inode;
	uint32_t key = (uint32_t)pid;
	char path[32], execute;
	int name;
	size_t cap = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	while (c && f && getline(&line, &cap, f) > 0) {
		if (sscanf(line, "%llx-%llx %*c%*c%c%*c %*x %*x:%*x %llu %n", &start, &end, &execute, &inode, &name) != 4 || execute != 'x' || end >> 48)
			continue;
		c->deep |= !inode && line[name] != '['; /* [vdso], [uprobes] */
		for (uint64_t g = start >> SO_HEAP_GRANULE_SHIFT; g <= (end - 1) >> SO_HEAP_GRANULE_SHIFT; g++)
			granule_add(c, (uint32_t)g);
	}
	if (c && f)
		bpf_map_update_elem(code_fd, &key, c, BPF_ANY);
}

#define BATCH 1024

void heap_sites_drop(int sites_fd, uint32_t pid)
{
	_cleanup_free_ uint32_t *keys = calloc(2 * BATCH, sizeof(*keys));
	uint32_t *owners = keys + BATCH, from, to;
	bool more = keys;

	for (void *in = NULL; more; in = &from) {
		uint32_t n = BATCH;

		more = !bpf_map_lookup_batch(sites_fd, in, &to, keys, owners, &n, NULL);
		for (uint32_t i = 0; i < n; i++)
			if (owners[i] == pid)
				bpf_map_delete_elem(sites_fd, &keys[i]);
		from = to;
	}
}
