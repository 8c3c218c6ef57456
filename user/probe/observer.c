/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/observer.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/util.h"
#include "probe/features.h"
#include "probe/heap_full.h"
#include "probe/heap_windows.h"
#include "probe/hooks.h"
#include "probe/interpreters.h"
#include "probe/profiler.h"
#include "probe/runtimes.h"
#include "probe/syscalls.h"
#include "probe/uprobes.h"
#include "stakeout.skel.h"

#define RIVALS_MAX 8192 /* taken at a time */
#define WOKEN_FRESH_NS 100000000ULL /* the clocks drift by some parts in a million: by 1 us in that time */
#define NAP_NS 50000
#define FLOOR_RUNS 50 /* of fewer nothing is told */
#define SEED_TURNS 8 /* parents usually come before children in the task list; after pid wrap-around it takes more turns */

#define RELEASES 4

struct blind_change {
	uint64_t at_ns;
	bool blind;
};

struct observer {
	struct stakeout_bpf *skel;
	struct ring_buffer *ring, *stacks_ring; /* of stacks: NULL: none */
	struct bpf_link *seed, *snap, *seed_sockets, *walk_sockets;
	struct bpf_link *release, *releases[RELEASES]; /* of tasks; of what probes keep of them, NULL where they are off */
	struct hooks hooks;
	/* Parts that look at single processes; NULL: none. */
	struct uprobes *uprobes;
	struct heap_windows *heap_windows;
	struct heap_full *heap_full;
	struct runtimes *runtimes;
	struct profiler *profiler;
	struct interpreters *interpreters;
	struct observer_config cfg;
	observer_stack_fn stack_fn;
	void *stack_ctx;
	struct so_lane *lanes;
	size_t lanes_bytes;
	struct so_traffic *traffic; /* NULL: without the probe sock */
	size_t traffic_bytes;
	struct blind_change *blinds; /* not taken yet */
	size_t blinds_len, blinds_cap;
	int cpus, stats_fd, timing_fd; /* of bpf_stats: asked for by the user; for a while */
	struct bpf_link *empty; /* attached while programs are timed for a while */
	struct observer_time floor; /* of the empty program, when last told */
	uint64_t woken_ns; /* see observer_woken() */
	uint64_t counted, skipped, bpf_ns, bpf_runs; /* of the programs, when so much had been seen */
	observer_batch_fn batch_fn;
	void *batch_ctx;
	int64_t drained;
	struct probe_state probes[PROBE_COUNT];
};

static int print_none(enum libbpf_print_level level, const char *fmt, va_list args)
{
	if (log_level < LOG_LEVEL_DEBUG || level == LIBBPF_DEBUG)
		return 0;
	return vfprintf(stderr, fmt, args);
}

/* The probe that a program belongs to, by the prefix of its name; -1: none (benchmark). */
static int program_probe(const char *name)
{
	const char *sep = strstr(name, "__");

	for (int p = 0; sep && p < PROBE_COUNT; p++)
		if (strlen(probe_infos[p].name) == (size_t)(sep - name) && !strncmp(probe_infos[p].name, name, sep - name))
			return p;
	return -1;
}

static bool probe_is_on(const struct observer *o, int p)
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
	bpf_map__set_max_entries(o->skel->maps.records, cfg->ring_bytes);
	bpf_map__set_max_entries(o->skel->maps.lanes, cpus * SO_LANES);
	bpf_map__set_max_entries(o->skel->maps.traffic, cpus * SO_MAX_AGENTS);
	if (!probe_is_on(o, PROBE_SOCK)) {
		bpf_map__set_autocreate(o->skel->maps.sockets, false);
		bpf_map__set_autocreate(o->skel->maps.traffic, false);
	}
	if (!probe_is_on(o, PROBE_KMEM))
		bpf_map__set_autocreate(o->skel->maps.kmem_counts, false);
	if (!probe_is_on(o, PROBE_SCHED))
		bpf_map__set_autocreate(o->skel->maps.rivals, false);
	if (!probe_is_on(o, PROBE_NAMES))
		bpf_map__set_autocreate(o->skel->maps.lookups, false);
	bpf_map__set_max_entries(o->skel->maps.stack_rooms, cpus * SO_STACK_ROOMS);
	if (!stacks_wanted(o)) {
		bpf_map__set_autocreate(o->skel->maps.stacks, false);
		bpf_map__set_autocreate(o->skel->maps.stack_rooms, false);
		bpf_map__set_autocreate(o->skel->maps.pythons, false);
	}
	if (feature_has(FEATURE_UPROBE_MULTI, NULL, 0)) {
		bpf_program__set_expected_attach_type(o->skel->progs.names__call, UPROBE_MULTI);
		bpf_program__set_expected_attach_type(o->skel->progs.gc__pause, UPROBE_MULTI);
	}
	o->skel->rodata->cfg_wake_bytes = cfg->ring_bytes / 4;
	o->skel->rodata->cfg_page_bytes = sysconf(_SC_PAGESIZE);
	o->skel->rodata->cfg_cast = feature_has(FEATURE_RDONLY_CAST, NULL, 0);
	o->skel->rodata->cfg_candidates = cfg->candidates;
	o->skel->rodata->cfg_nr_mmap = __NR_mmap;
	o->skel->rodata->cfg_nr_mremap = __NR_mremap;
	o->skel->rodata->cfg_nr_yield = __NR_sched_yield;
	o->skel->rodata->cfg_pythons = stacks_wanted(o);
	o->skel->rodata->cfg_names = probe_is_on(o, PROBE_NAMES);
	o->skel->rodata->cfg_dup = probe_is_on(o, PROBE_DUP);
	if (probe_is_on(o, PROBE_DUP) && getrandom((void *)o->skel->rodata->cfg_dup_key, sizeof(o->skel->rodata->cfg_dup_key), 0) < 0)
		probe_give_up(o, PROBE_DUP, "no random key for its hash");
	syscalls_fill_waits((uint8_t *)o->skel->rodata->cfg_waits, sizeof(o->skel->rodata->cfg_waits));
	syscalls_fill_limits((uint8_t *)o->skel->rodata->cfg_limits, sizeof(o->skel->rodata->cfg_limits));
	syscalls_fill_buffers((uint8_t *)o->skel->rodata->cfg_buffers, sizeof(o->skel->rodata->cfg_buffers));
	programs_choose(o, cfg);
	heap_full_prepare(o->skel, probe_is_on(o, PROBE_HEAP) && cfg->heap_full);
	if (cfg->bpf_stats)
		o->stats_fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
	*ret = o;
	return 0;
}

static int on_batch(void *ctx, void *data, size_t size)
{
	struct observer *o = ctx;

	o->drained += size;
	o->batch_fn(o->batch_ctx, data, size);
	return 0;
}

static int on_stack(void *ctx, void *data, size_t size)
{
	struct observer *o = ctx;
	const struct so_stack *s = data;

	if (size < sizeof(*s) || s->bytes > size ||
	    sizeof(*s) + s->kernel_len * sizeof(uint64_t) + s->python_len * sizeof(struct so_python_frame) + s->user_bytes != s->bytes)
		return 0;
	o->stack_fn(o->stack_ctx, s);
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
	o->ring = ring_buffer__new(bpf_map__fd(o->skel->maps.records), on_batch, o, NULL);
	if (!o->ring)
		return -errno;
	if (stacks_wanted(o)) {
		o->stacks_ring = ring_buffer__new(bpf_map__fd(o->skel->maps.stacks), on_stack, o, NULL);
		if (!o->stacks_ring)
			return -errno;
		/* A sample that wakes us does so through the other ring's descriptor: see observer_doze(). */
		if (epoll_ctl(ring_buffer__epoll_fd(o->ring), EPOLL_CTL_ADD, ring_buffer__epoll_fd(o->stacks_ring), &(struct epoll_event){ .events = EPOLLIN }))
			return -errno;
	}
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
	if (bpf_program__autoload(s->progs.names__call)) {
		o->uprobes = uprobes_new(s->progs.names__call, feature_has(FEATURE_UPROBE_MULTI, NULL, 0));
		if (!o->uprobes)
			return -ENOMEM;
	}
	err = parts_attach(o);
	return err ? err : hooks_attach(&o->hooks, s->obj);
}

void observer_free(struct observer *o)
{
	if (!o)
		return;
	hooks_fini(&o->hooks);
	observer_timing(o, false);
	uprobes_free(o->uprobes);
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

/* Runs an iterator to its end; fn (may be NULL) gets each item, aligned to 8 bytes, that its program wrote. */
typedef void (*iter_fn)(void *ctx, const void *item);
static int iter_run(struct bpf_link *link, size_t item, iter_fn fn, void *ctx)
{
	_cleanup_close_ int fd = bpf_iter_create(bpf_link__fd(link));
	static char buf[64 * 1024];
	size_t have = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	for (;;) {
		size_t used = 0;

		n = read(fd, buf + have, sizeof(buf) - have);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		have += n;
		for (; fn && have - used >= item; used += item) {
			_Alignas(8) char copy[sizeof(struct so_snap)];

			memcpy(copy, buf + used, item);
			fn(ctx, copy);
		}
		have -= used;
		memmove(buf, buf + used, have);
	}
}

int observer_seed(struct observer *o, const uint32_t *tgids, const uint32_t *slots, int n)
{
	int seeds = bpf_map__fd(o->skel->maps.seeds), added = 0, err = 0;

	for (int i = 0; i < n && o->interpreters; i++)
		interpreters_look(o->interpreters, (pid_t)tgids[i], slots[i]);
	for (int i = 0; i < n && !err; i++)
		err = bpf_map_update_elem(seeds, &tgids[i], &slots[i], BPF_ANY) ? -errno : 0;
	for (int turn = 0; turn < SEED_TURNS && !err; turn++) {
		o->skel->bss->seeded = 0;
		err = iter_run(o->seed, 0, NULL, NULL);
		if (!o->skel->bss->seeded)
			break;
		added += o->skel->bss->seeded;
	}
	for (int i = 0; i < n; i++) {
		bpf_map_delete_elem(seeds, &tgids[i]);
		observer_process_seen(o, tgids[i], slots[i], SEEN_RUNNING, 0);
	}
	if (!err && added && o->seed_sockets)
		err = iter_run(o->seed_sockets, 0, NULL, NULL);
	return err ? err : added;
}

int observer_release(struct observer *o, const uint32_t *slots, int n)
{
	int releases = bpf_map__fd(o->skel->maps.releases), err = 0;

	for (int i = 0; i < n && !err; i++)
		err = bpf_map_update_elem(releases, &slots[i], &slots[i], BPF_ANY) ? -errno : 0;
	for (int turn = 0; turn < SEED_TURNS && !err; turn++) {
		o->skel->bss->released = 0;
		err = iter_run(o->release, 0, NULL, NULL);
		if (!o->skel->bss->released)
			break;
	}
	for (int i = 0; i < RELEASES && !err; i++)
		if (o->releases[i])
			err = iter_run(o->releases[i], 0, NULL, NULL);
	for (int i = 0; i < n; i++)
		bpf_map_delete_elem(releases, &slots[i]);
	return err;
}

void observer_process_seen(struct observer *o, uint32_t tgid, unsigned slot, enum seen how, uint64_t since_ns)
{
	pid_t pid = (pid_t)tgid;

	if (o->uprobes && how != SEEN_FORKED) /* its files are its parent's */
		uprobes_process(o->uprobes, pid);
	if (o->heap_windows)
		heap_windows_process(o->heap_windows, pid, slot, how);
	if (o->heap_full)
		heap_full_process(o->heap_full, pid, slot, how, since_ns);
	if (o->runtimes)
		runtimes_process(o->runtimes, pid, slot, how);
	if (o->interpreters)
		interpreters_process(o->interpreters, pid, slot, how);
}

void observer_process_gone(struct observer *o, uint32_t tgid)
{
	pid_t pid = (pid_t)tgid;

	if (o->heap_windows)
		heap_windows_gone(o->heap_windows, pid);
	if (o->heap_full)
		heap_full_gone(o->heap_full, pid);
	if (o->runtimes)
		runtimes_gone(o->runtimes, pid);
	if (o->interpreters)
		interpreters_gone(o->interpreters, pid);
}

/* Never fails: what can't be probed is left alone, and said. */
static void parts_work(struct observer *o)
{
	if (o->uprobes)
		uprobes_work(o->uprobes);
	if (o->heap_windows)
		heap_windows_work(o->heap_windows);
	if (o->heap_full)
		heap_full_work(o->heap_full);
	if (o->runtimes)
		runtimes_work(o->runtimes);
	if (o->interpreters)
		interpreters_work(o->interpreters);
}

int observer_stacks(struct observer *o, observer_stack_fn fn, void *ctx)
{
	o->stack_fn = fn;
	o->stack_ctx = ctx;
	return o->stacks_ring ? ring_buffer__consume(o->stacks_ring) : 0;
}

int observer_look(struct observer *o, uint64_t min_ns)
{
	return o->profiler && probe_is_on(o, PROBE_OFFCPU) ? profiler_look(o->profiler, min_ns) : 0;
}

struct snap_call {
	observer_snap_fn fn;
	void *ctx;
};

static void snap_call(void *ctx, const void *item)
{
	struct snap_call *c = ctx;

	c->fn(c->ctx, item);
}

void observer_woken(struct observer *o)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	if (!bpf_prog_test_run_opts(bpf_program__fd(o->skel->progs.core__clock), &opts))
		o->woken_ns = clock_ns();
}

int observer_snapshot(struct observer *o, observer_snap_fn fn, void *ctx)
{
	struct snap_call call = { fn, ctx };

	if (clock_ns() - o->woken_ns > WOKEN_FRESH_NS) {
		/* So long that it sleeps for sure: at a real-time priority there is no slack, and a shorter sleep is over before it begins. */
		nanosleep(&(struct timespec){ .tv_nsec = NAP_NS }, NULL);
		observer_woken(o);
	}
	return iter_run(o->snap, sizeof(struct so_snap), snap_call, &call);
}

struct socket_call {
	observer_socket_fn fn;
	void *ctx;
};

static void socket_call(void *ctx, const void *item)
{
	struct socket_call *c = ctx;

	c->fn(c->ctx, *(const uint32_t *)item);
}

int observer_sockets(struct observer *o, observer_socket_fn fn, void *ctx)
{
	struct socket_call call = { fn, ctx };

	return o->walk_sockets ? iter_run(o->walk_sockets, sizeof(uint32_t), socket_call, &call) : -EOPNOTSUPP;
}

int observer_flush(struct observer *o, bool all)
{
	int fd = bpf_program__fd(o->skel->progs.core__flush), busy = 0, err = 0;

	for (int cpu = 0; cpu < o->cpus; cpu++) {
		LIBBPF_OPTS(bpf_test_run_opts, opts, .flags = BPF_F_TEST_RUN_ON_CPU, .cpu = cpu);
		volatile struct so_lane *l = &o->lanes[cpu * SO_LANES];
		bool some = all;

		for (int i = 0; i < SO_LANES && !some; i++)
			some = l[i].used || l[i].busy;
		if (!some)
			continue;
		if (bpf_prog_test_run_opts(fd, &opts)) {
			if (errno != ENXIO) /* the CPU is offline */
				err = -errno;
			continue;
		}
		busy += opts.retval;
	}
	return err ? err : busy;
}

int64_t observer_drain(struct observer *o, observer_batch_fn fn, void *ctx)
{
	int n;

	o->batch_fn = fn;
	o->batch_ctx = ctx;
	o->drained = 0;
	n = ring_buffer__consume(o->ring);
	parts_work(o);
	return n < 0 ? n : o->drained;
}

void observer_doze(struct observer *o, bool on)
{
	o->skel->bss->dozing = on;
}

int observer_fd(const struct observer *o)
{
	return ring_buffer__epoll_fd(o->ring);
}

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
}

void observer_counts_read(struct observer *o, struct observer_counts *ret)
{
	observer_events_read(o, ret);
	program_counts_read(o, ret);
	ret->skipped = o->skipped;
	ret->bpf_ns = o->bpf_ns;
	ret->bpf_runs = o->bpf_runs;
}

/* Without memory two stretches become one, which is on the safe side. */
static void blind_note(struct observer *o, bool blind, uint64_t at_ns)
{
	struct blind_change *p;

	if (o->blinds_len == o->blinds_cap) {
		size_t cap = o->blinds_cap ? 2 * o->blinds_cap : 16;

		p = reallocarray(o->blinds, cap, sizeof(*p));
		if (!p) {
			if (o->blinds_len)
				o->blinds_len--;
			return;
		}
		o->blinds = p;
		o->blinds_cap = cap;
	}
	o->blinds[o->blinds_len++] = (struct blind_change){ at_ns, blind };
}

void observer_detail(struct observer *o, const struct so_detail *d)
{
	bool was = o->skel->bss->sock_era & 1;

	hooks_return(&o->hooks, d); /* before anything is taken for recorded, */
	o->skel->bss->detail = *d;
	if (was != (d->sock != SO_DETAIL_FULL)) {
		blind_note(o, !was, clock_ns()); /* before: no record that is made after all is older */
		o->skel->bss->sock_era++;
	}
	if ((o->skel->bss->names_era & 1) != (d->names == SO_DETAIL_COUNTS))
		o->skel->bss->names_era++;
	hooks_remove(&o->hooks, d); /* and after that */
}

void observer_blind_take(struct observer *o, observer_blind_fn fn, void *ctx)
{
	for (size_t i = 0; i < o->blinds_len; i++)
		fn(ctx, o->blinds[i].blind, o->blinds[i].at_ns);
	o->blinds_len = 0;
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

void observer_sampling(struct observer *o, double heap_part, double profile_part)
{
	if (o->heap_windows)
		heap_windows_rarer(o->heap_windows, heap_part);
	if (o->profiler)
		profiler_slower(o->profiler, profile_part);
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

int observer_synthesize(struct observer *o, int cpu, unsigned burst)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .flags = BPF_F_TEST_RUN_ON_CPU, .cpu = cpu);

	o->skel->bss->synthetic_burst = burst;
	return bpf_prog_test_run_opts(bpf_program__fd(o->skel->progs.bench__synth), &opts) ? -errno : 0;
}
