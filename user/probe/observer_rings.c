/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What comes out of the kernel side: batches of records, and stack samples. */
#include <bpf/bpf.h>
#include <errno.h>
#include <sys/epoll.h>

#include "probe/observer_state.h"

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

int rings_open(struct observer *o, bool stacks)
{
	o->ring = ring_buffer__new(bpf_map__fd(o->skel->maps.records), on_batch, o, NULL);
	if (!o->ring)
		return -errno;
	if (stacks) {
		o->stacks_ring = ring_buffer__new(bpf_map__fd(o->skel->maps.stacks), on_stack, o, NULL);
		if (!o->stacks_ring)
			return -errno;
		/* A sample that wakes us does so through the other ring's descriptor: see observer_doze(). */
		if (epoll_ctl(ring_buffer__epoll_fd(o->ring), EPOLL_CTL_ADD, ring_buffer__epoll_fd(o->stacks_ring), &(struct epoll_event){ .events = EPOLLIN }))
			return -errno;
	}
	return 0;
}

/* Never fails: what can't be probed is left alone, and said. */
static void parts_work(struct observer *o)
{
	for (int l = 0; l < LIBRARIES; l++)
		if (o->uprobes[l])
			uprobes_work(o->uprobes[l]);
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

int observer_synthesize(struct observer *o, int cpu, unsigned burst)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .flags = BPF_F_TEST_RUN_ON_CPU, .cpu = cpu);

	o->skel->bss->synthetic_burst = burst;
	return bpf_prog_test_run_opts(bpf_program__fd(o->skel->progs.bench__synth), &opts) ? -errno : 0;
}
