/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The life of an observer: what it can do here, load, attach, free. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/log.h"
#include "probe/features.h"
#include "probe/observer_state.h"
#include "probe/syscalls.h"

static int print_none(enum libbpf_print_level level, const char *fmt, va_list args)
{
	if (log_level < LOG_LEVEL_DEBUG || level == LIBBPF_DEBUG)
		return 0;
	return vfprintf(stderr, fmt, args);
}

int program_probe(const char *name)
{
	const char *sep = strstr(name, "__");

	for (int p = 0; sep && p < PROBE_COUNT; p++)
		if (strlen(probe_infos[p].name) == (size_t)(sep - name) && !strncmp(probe_infos[p].name, name, sep - name))
			return p;
	return -1;
}

bool probe_is_on(const struct observer *o, int p)
{
	return p >= 0 && !strcmp(o->probes[p].state, "on");
}

static void probe_give_up(struct observer *o, enum probe_id p, const char *why)
{
	o->probes[p].state = "unavailable";
	snprintf(o->probes[p].why, sizeof(o->probes[p].why), "%s", why);
}

static void probes_decide(struct observer *o, const struct observer_config *cfg)
{
	for (int p = 0; p < PROBE_COUNT; p++) {
		struct probe_state *s = &o->probes[p];

		s->name = probe_infos[p].name;
		if (!cfg->probe_on[p] && p != PROBE_CORE)
			s->state = "off";
		else if (probe_available(p, s->why, sizeof(s->why)))
			s->state = "on";
		else
			s->state = "unavailable";
	}
	if (probe_is_on(o, PROBE_OFFCPU) && !probe_is_on(o, PROBE_SCHED))
		probe_give_up(o, PROBE_OFFCPU, "it needs the probe sched, which tells when a wait begins");
	if (probe_is_on(o, PROBE_DUP) && !probe_is_on(o, PROBE_SOCK))
		probe_give_up(o, PROBE_DUP, "it needs the probe sock, which sees the requests");
}

static bool stacks_wanted(const struct observer *o)
{
	return probe_is_on(o, PROBE_PROFILE) || probe_is_on(o, PROBE_OFFCPU) || probe_is_on(o, PROBE_HEAP);
}

static void programs_choose(struct observer *o, const struct observer_config *cfg)
{
	struct bpf_program *prog;

	bpf_object__for_each_program(prog, o->skel->obj) {
		const char *name = bpf_program__name(prog);
		bool on = probe_is_on(o, program_probe(name)) || (cfg->bench && !strncmp(name, "bench__", strlen("bench__")));

		bpf_program__set_autoload(prog, on && feature_section(bpf_program__section_name(prog)));
	}
}

/* Rooms of the maps; those of probes that are off are left out. */
static void maps_choose(struct observer *o)
{
	__typeof__(o->skel->maps) *maps = &o->skel->maps;

	bpf_map__set_max_entries(maps->records, o->cfg.ring_bytes);
	bpf_map__set_max_entries(maps->lanes, o->cpus * SO_LANES);
	bpf_map__set_max_entries(maps->traffic, o->cpus * SO_MAX_AGENTS);
	if (!probe_is_on(o, PROBE_SOCK)) {
		bpf_map__set_autocreate(maps->sockets, false);
		bpf_map__set_autocreate(maps->traffic, false);
	}
	if (!probe_is_on(o, PROBE_KMEM))
		bpf_map__set_autocreate(maps->kmem_counts, false);
	if (!probe_is_on(o, PROBE_SCHED))
		bpf_map__set_autocreate(maps->rivals, false);
	if (!probe_is_on(o, PROBE_NAMES))
		bpf_map__set_autocreate(maps->lookups, false);
	bpf_map__set_max_entries(maps->stack_rooms, o->cpus * SO_STACK_ROOMS);
	if (!stacks_wanted(o)) {
		bpf_map__set_autocreate(maps->stacks, false);
		bpf_map__set_autocreate(maps->stack_rooms, false);
		bpf_map__set_autocreate(maps->pythons, false);
	}
}

/* What the programs take as constant. */
static void config_fill(struct observer *o)
{
	__typeof__(o->skel->rodata) ro = o->skel->rodata;

	ro->cfg_wake_bytes = o->cfg.ring_bytes / 4;
	ro->cfg_page_bytes = sysconf(_SC_PAGESIZE);
	ro->cfg_cast = feature_has(FEATURE_RDONLY_CAST, NULL, 0);
	ro->cfg_candidates = o->cfg.candidates;
	ro->cfg_nr_mmap = __NR_mmap;
	ro->cfg_nr_mremap = __NR_mremap;
	ro->cfg_nr_yield = __NR_sched_yield;
	ro->cfg_pythons = stacks_wanted(o);
	ro->cfg_names = probe_is_on(o, PROBE_NAMES);
	ro->cfg_dup = probe_is_on(o, PROBE_DUP);
	if (probe_is_on(o, PROBE_DUP) && getrandom((void *)ro->cfg_dup_key, sizeof(ro->cfg_dup_key), 0) < 0)
		probe_give_up(o, PROBE_DUP, "no random key for its hash");
	syscalls_fill_waits((uint8_t *)ro->cfg_waits, sizeof(ro->cfg_waits));
	syscalls_fill_limits((uint8_t *)ro->cfg_limits, sizeof(ro->cfg_limits));
	syscalls_fill_buffers((uint8_t *)ro->cfg_buffers, sizeof(ro->cfg_buffers));
}

static void note_none(void *ctx, unsigned slot, const char *text)
{
	(void)ctx, (void)slot, (void)text;
}

static void heap_none(void *ctx, unsigned slot, const struct heap_data *delta)
{
	(void)ctx, (void)slot, (void)delta;
}

static const struct part_reports reports_none = { .note = note_none, .heap = heap_none };

int observer_new(const struct observer_config *cfg, struct observer **ret, char *why, size_t why_len)
{
	struct observer *o;
	int cpus;

	libbpf_set_print(print_none);
	if (!feature_has(FEATURE_ROOT, why, why_len))
		return -EPERM;
	if (!probe_available(PROBE_CORE, why, why_len))
		return -EOPNOTSUPP;
	o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	o->stats_fd = o->timing_fd = -1;
	o->cfg = *cfg;
	if (!o->cfg.reports)
		o->cfg.reports = &reports_none;
	probes_decide(o, cfg);
	o->skel = stakeout_bpf__open();
	if (!o->skel) {
		snprintf(why, why_len, "cannot open the BPF object: %s", strerror(errno));
		observer_free(o);
		return -EOPNOTSUPP;
	}
	cpus = libbpf_num_possible_cpus();
	if (cpus < 1 || cpus > SO_MAX_CPUS) {
		snprintf(why, why_len, "%d possible CPUs, at most %d are supported", cpus, SO_MAX_CPUS);
		observer_free(o);
		return -EOPNOTSUPP;
	}
	o->cpus = cpus;
	maps_choose(o);
	if (feature_has(FEATURE_UPROBE_MULTI, NULL, 0)) {
		bpf_program__set_expected_attach_type(o->skel->progs.names__call, UPROBE_MULTI);
		bpf_program__set_expected_attach_type(o->skel->progs.gc__pause, UPROBE_MULTI);
		bpf_program__set_expected_attach_type(o->skel->progs.dup__write, UPROBE_MULTI);
	}
	config_fill(o);
	programs_choose(o, cfg);
	heap_full_prepare(o->skel, probe_is_on(o, PROBE_HEAP) && cfg->heap_full);
	if (cfg->bpf_stats)
		o->stats_fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
	*ret = o;
	return 0;
}

static int traffic_map(struct observer *o)
{
	o->traffic_bytes = (size_t)o->cpus * SO_MAX_AGENTS * sizeof(struct so_traffic);
	o->traffic = mmap(NULL, o->traffic_bytes, PROT_READ, MAP_SHARED, bpf_map__fd(o->skel->maps.traffic), 0);
	if (o->traffic != MAP_FAILED)
		return 0;
	o->traffic = NULL;
	return -errno;
}

int observer_load(struct observer *o)
{
	int err = stakeout_bpf__load(o->skel);

	features_forget();
	if (err)
		return err;
	err = rings_open(o, stacks_wanted(o));
	if (err)
		return err;
	o->lanes_bytes = (size_t)o->cpus * SO_LANES * sizeof(struct so_lane);
	o->lanes = mmap(NULL, o->lanes_bytes, PROT_READ, MAP_SHARED, bpf_map__fd(o->skel->maps.lanes), 0);
	if (o->lanes == MAP_FAILED) {
		o->lanes = NULL;
		return -errno;
	}
	return probe_is_on(o, PROBE_SOCK) ? traffic_map(o) : 0;
}

static int attach_iter(struct bpf_program *prog, struct bpf_link **ret)
{
	*ret = bpf_program__attach_iter(prog, NULL);
	return *ret ? 0 : -errno;
}

/* What such a part can't do shows only now: its probe is then unavailable. */
static int parts_attach(struct observer *o)
{
	const struct part_reports *r = o->cfg.reports;
	char why[160] = "";

	if (probe_is_on(o, PROBE_HEAP)) {
		if (o->cfg.heap_full)
			o->heap_full = heap_full_new(o->skel, r, why, sizeof(why));
		else
			o->heap_windows = heap_windows_new(o->skel, o->cfg.heap_budget, r, why, sizeof(why));
		if (!o->heap_full && !o->heap_windows)
			probe_give_up(o, PROBE_HEAP, why);
	}
	if (probe_is_on(o, PROBE_PROFILE) || probe_is_on(o, PROBE_OFFCPU)) {
		o->profiler = profiler_new(o->skel, probe_is_on(o, PROBE_PROFILE) ? o->cfg.profile_hz : 0, probe_is_on(o, PROBE_OFFCPU),
					   why, sizeof(why));
		for (int p = PROBE_PROFILE; p <= PROBE_OFFCPU && !o->profiler; p++)
			if (probe_is_on(o, p))
				probe_give_up(o, p, why);
	}
	if (stacks_wanted(o)) {
		o->interpreters = interpreters_new(bpf_map__fd(o->skel->maps.pythons), r);
		if (!o->interpreters)
			return -ENOMEM;
	}
	if (probe_is_on(o, PROBE_GC)) {
		o->runtimes = runtimes_new(o->skel, r);
		if (!o->runtimes)
			return -ENOMEM;
	}
	return 0;
}

static int releases_attach(struct observer *o)
{
	struct stakeout_bpf *s = o->skel;
	struct bpf_program *const progs[RELEASES] = { s->progs.sock__release, s->progs.names__release, s->progs.gc__release, s->progs.heap__release };
	int err = attach_iter(s->progs.core__release, &o->release);

	for (int i = 0; i < RELEASES && !err; i++)
		if (bpf_program__autoload(progs[i]))
			err = attach_iter(progs[i], &o->releases[i]);
	return err;
}

static int libraries_attach(struct observer *o)
{
	const struct bpf_program *progs[LIBRARIES] = { [LIBRARY_NAMES] = o->skel->progs.names__call, [LIBRARY_TLS] = o->skel->progs.dup__write };

	for (int l = 0; l < LIBRARIES; l++) {
		if (!bpf_program__autoload(progs[l]))
			continue;
		o->uprobes[l] = uprobes_new((enum library)l, progs[l], feature_has(FEATURE_UPROBE_MULTI, NULL, 0));
		if (!o->uprobes[l])
			return -ENOMEM;
	}
	return 0;
}

int observer_attach(struct observer *o)
{
	struct stakeout_bpf *s = o->skel;
	int err;

	err = attach_iter(s->progs.core__seed, &o->seed);
	if (!err)
		err = attach_iter(s->progs.core__snap, &o->snap);
	if (!err && bpf_program__autoload(s->progs.sock__seed))
		err = attach_iter(s->progs.sock__seed, &o->seed_sockets);
	if (!err && bpf_program__autoload(s->progs.sock__walk))
		err = attach_iter(s->progs.sock__walk, &o->walk_sockets);
	if (!err)
		err = releases_attach(o);
	if (err)
		return err;
	err = libraries_attach(o);
	err = err ? err : parts_attach(o);
	return err ? err : hooks_attach(&o->hooks, s->obj);
}

void observer_free(struct observer *o)
{
	if (!o)
		return;
	hooks_fini(&o->hooks);
	observer_timing(o, false);
	for (int l = 0; l < LIBRARIES; l++)
		uprobes_free(o->uprobes[l]);
	heap_windows_free(o->heap_windows);
	heap_full_free(o->heap_full);
	runtimes_free(o->runtimes);
	profiler_free(o->profiler);
	interpreters_free(o->interpreters);
	ring_buffer__free(o->stacks_ring);
	bpf_link__destroy(o->seed);
	bpf_link__destroy(o->snap);
	bpf_link__destroy(o->seed_sockets);
	bpf_link__destroy(o->walk_sockets);
	bpf_link__destroy(o->release);
	for (int i = 0; i < RELEASES; i++)
		bpf_link__destroy(o->releases[i]);
	if (o->lanes)
		munmap(o->lanes, o->lanes_bytes);
	if (o->traffic)
		munmap(o->traffic, o->traffic_bytes);
	free(o->blinds);
	ring_buffer__free(o->ring);
	stakeout_bpf__destroy(o->skel);
	if (o->stats_fd >= 0)
		close(o->stats_fd);
	free(o);
}

const struct probe_state *observer_probes(const struct observer *o)
{
	return o->probes;
}
