/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the kernel side counts: of records, of what makes none, and of its own programs. */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/util.h"
#include "probe/observer_state.h"

#define RIVALS_MAX 8192 /* taken at a time */
#define FLOOR_RUNS 50 /* of fewer nothing is told */

int observer_programs(struct observer *o, struct observer_prog *ret, int max)
{
	struct bpf_program *prog;
	int n = 0;

	bpf_object__for_each_program(prog, o->skel->obj) {
		struct bpf_prog_info info = {};
		__u32 len = sizeof(info);

		if (n == max)
			break;
		if (!bpf_program__autoload(prog) || bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len))
			continue;
		ret[n++] = (struct observer_prog){ bpf_program__name(prog), info.run_cnt, info.run_time_ns, info.recursion_misses };
	}
	return n;
}

/* What the kernel counts of each program: a system call each, spared while nothing happens. */
static void program_counts_read(struct observer *o, const struct observer_counts *now)
{
	struct observer_prog progs[64];
	uint64_t seen = 0;
	int n;

	for (int k = 0; k < SO_KINDS; k++)
		seen += now->seen[k];
	for (int e = 0; e < SO_EVENTS; e++)
		seen += now->events[e];
	if (o->stats_fd < 0 && seen == o->counted)
		return;
	o->counted = seen;
	o->skipped = o->bpf_ns = o->bpf_runs = 0;
	n = observer_programs(o, progs, ARRAY_SIZE(progs));
	for (int i = 0; i < n; i++) {
		o->skipped += progs[i].skipped;
		o->bpf_ns += o->stats_fd >= 0 ? progs[i].ns : 0;
		o->bpf_runs += o->stats_fd >= 0 ? progs[i].runs : 0;
	}
}

void observer_events_read(struct observer *o, struct observer_counts *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (int i = 0; i < o->cpus * SO_LANES; i++) {
		volatile struct so_lane *l = &o->lanes[i];

		for (int k = 0; k < SO_KINDS; k++) {
			ret->seen[k] += l->seen[k];
			for (int r = 0; r < SO_LOSS_COUNT; r++)
				ret->lost[k][r] += l->lost[k][r];
		}
		for (int e = 0; e < SO_EVENTS; e++)
			ret->events[e] += l->events[e];
	}
	ret->tables_full = o->skel->bss->tables_full;
}

void observer_counts_read(struct observer *o, struct observer_counts *ret)
{
	observer_events_read(o, ret);
	program_counts_read(o, ret);
	ret->skipped = o->skipped;
	ret->bpf_ns = o->bpf_ns;
	ret->bpf_runs = o->bpf_runs;
}

void observer_traffic_read(struct observer *o, observer_traffic_fn fn, void *ctx)
{
	if (!o->traffic || !o->skel->bss->sock_era) /* there has been full detail all the time */
		return;
	for (unsigned slot = 1; slot < SO_MAX_AGENTS; slot++) {
		uint64_t sent = 0, received = 0;

		for (int cpu = 0; cpu < o->cpus; cpu++) {
			volatile struct so_traffic *t = &o->traffic[cpu * SO_MAX_AGENTS + slot];

			sent += t->sent_bytes;
			received += t->received_bytes;
		}
		if (sent || received)
			fn(ctx, slot, sent, received);
	}
}

int observer_timing(struct observer *o, bool on)
{
	if (!on && o->timing_fd >= 0) {
		close(o->timing_fd);
		o->timing_fd = -1;
	}
	if (on && o->timing_fd < 0 && o->stats_fd < 0)
		o->timing_fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (on && !o->empty)
		o->empty = bpf_program__attach(o->skel->progs.core__empty); /* without it the floor is the last one */
	if (!on && o->empty) {
		bpf_link__destroy(o->empty);
		o->empty = NULL;
	}
	return o->timing_fd >= 0 || o->stats_fd >= 0 || !on ? 0 : -errno;
}

void observer_times(struct observer *o, struct observer_time ret[PROBE_COUNT])
{
	struct bpf_program *prog;

	memset(ret, 0, PROBE_COUNT * sizeof(*ret));
	bpf_object__for_each_program(prog, o->skel->obj) {
		int probe = program_probe(bpf_program__name(prog));
		struct bpf_prog_info info = {};
		__u32 len = sizeof(info);

		if (probe < 0 || !bpf_program__autoload(prog) || bpf_program__expected_attach_type(prog) == BPF_TRACE_ITER ||
		    prog == o->skel->progs.core__empty || bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len))
			continue;
		if (prog == o->skel->progs.core__flush) { /* on each CPU in turn, one of which is ours */
			info.run_cnt -= info.run_cnt / o->cpus;
			info.run_time_ns -= info.run_time_ns / o->cpus;
		}
		ret[probe].runs += info.run_cnt;
		ret[probe].ns += info.run_time_ns;
	}
}

double observer_timing_floor(struct observer *o)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	struct observer_time was = o->floor;

	if (bpf_obj_get_info_by_fd(bpf_program__fd(o->skel->progs.core__empty), &info, &len) || info.run_cnt - was.runs < FLOOR_RUNS)
		return 0;
	o->floor = (struct observer_time){ .runs = info.run_cnt, .ns = info.run_time_ns };
	return (double)(o->floor.ns - was.ns) / (double)(o->floor.runs - was.runs);
}

void observer_kmem_read(struct observer *o, observer_kmem_fn fn, void *ctx)
{
	struct {
		uint32_t agent, bytes;
	} key, next;
	uint64_t values[SO_MAX_CPUS];
	void *from = NULL;
	int fd;

	if (!probe_is_on(o, PROBE_KMEM))
		return;
	fd = bpf_map__fd(o->skel->maps.kmem_counts);
	/* The counts only grow; fn's owner takes differences. */
	while (!bpf_map_get_next_key(fd, from, &next)) {
		uint64_t sum = 0;

		key = next;
		from = &key;
		if (bpf_map_lookup_elem(fd, &key, values))
			continue;
		for (int cpu = 0; cpu < o->cpus; cpu++)
			sum += values[cpu];
		fn(ctx, key.agent, key.bytes, sum);
	}
}

void observer_rivals_take(struct observer *o, observer_rival_fn fn, void *ctx)
{
	struct {
		uint32_t agent;
		char comm[SO_COMM_BYTES];
	} key;
	uint64_t ns;
	int fd;

	if (!probe_is_on(o, PROBE_SCHED))
		return;
	fd = bpf_map__fd(o->skel->maps.rivals);
	/* Always the first that is left, since each is taken out. Some may come back meanwhile. */
	for (int i = 0; i < RIVALS_MAX && !bpf_map_get_next_key(fd, NULL, &key); i++)
		if (!bpf_map_lookup_and_delete_elem(fd, &key, &ns))
			fn(ctx, key.agent, key.comm, ns);
}
