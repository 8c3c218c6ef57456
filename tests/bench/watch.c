/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel side alone, timed by the kernel (bpf_stats): attaches, makes the processes given agents, drains, and answers each line
 * on stdin with the programs' counters as JSON.
 *
 *   watch floor             the empty programs only
 *   watch PROBE,.. PID..    the empty programs and these probes; summed: with less detail of sched; counts: with counters only
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/util.h"
#include "probe/observer.h"

#define DRAIN_MS 20

static void on_batch(void *ctx, const void *data, size_t size)
{
	(void)data;
	*(uint64_t *)ctx += size;
}

static void counters_tell(struct observer *o)
{
	struct observer_prog progs[64];
	struct observer_counts n;
	uint64_t lost = 0;
	int len = observer_programs(o, progs, ARRAY_SIZE(progs));

	observer_counts_read(o, &n);
	for (int k = 0; k < SO_KINDS; k++)
		for (int r = 0; r < SO_LOSS_COUNT; r++)
			lost += n.lost[k][r];
	printf("{\"seen\": %llu, \"sends\": %llu, \"receives\": %llu, \"lost\": %llu", (unsigned long long)(n.seen[SO_CYCLE] + n.seen[SO_CYCLE_LONG]),
	       (unsigned long long)(n.seen[SO_SEND] + n.events[SO_EVENT_SEND]),
	       (unsigned long long)(n.seen[SO_RECV] + n.events[SO_EVENT_RECV]), (unsigned long long)lost);
	for (int i = 0; i < len; i++)
		printf(", \"%s\": [%llu, %llu]", progs[i].name, (unsigned long long)progs[i].runs, (unsigned long long)progs[i].ns);
	puts("}");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct observer_config cfg = { .ring_bytes = 8 << 20, .bpf_stats = true, .bench = true };
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	uint32_t tgids[SO_MAX_AGENTS], slots[SO_MAX_AGENTS];
	struct observer *o = NULL;
	char why[256] = "", line[16];
	uint64_t bytes = 0;
	int n = 0, level = SO_DETAIL_FULL, few;

	for (char *name = strtok(argc > 1 ? argv[1] : NULL, ","); name && strcmp(name, "floor"); name = strtok(NULL, ",")) {
		int p;

		if (!strcmp(name, "summed") || !strcmp(name, "counts")) {
			level = *name == 's' ? SO_DETAIL_SUMMED : SO_DETAIL_COUNTS;
			continue;
		}
		p = probe_find(name);

		if (p < 0)
			return fprintf(stderr, "watch: no probe %s\n", name), 2;
		cfg.probe_on[p] = true;
	}
	for (int i = 2; i < argc && n < SO_MAX_AGENTS - 1; i++, n++) {
		tgids[n] = atoi(argv[i]);
		slots[n] = n + 1;
	}
	if (observer_new(&cfg, &o, why, sizeof(why)) || observer_load(o) || observer_attach(o) ||
	    (n && observer_seed(o, tgids, slots, n) < n)) {
		fprintf(stderr, "watch: cannot attach %s\n", why);
		return 1;
	}
	few = level == SO_DETAIL_COUNTS ? SO_DETAIL_COUNTS : SO_DETAIL_FULL;
	observer_detail(o, &(struct so_detail){ .sched = level, .sock = few, .names = few });
	puts("ready");
	fflush(stdout);
	for (;;) {
		int some = poll(&in, 1, DRAIN_MS);

		observer_flush(o, false);
		observer_drain(o, on_batch, &bytes);
		if (some <= 0)
			continue;
		if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
			break;
		counters_tell(o);
	}
	observer_free(o);
	return 0;
}
