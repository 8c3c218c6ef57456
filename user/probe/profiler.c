/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/profiler.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "abi.h"
#include "lib/util.h"
#include "stakeout.skel.h"

/* Waits whose stacks are read: naming one costs the collector some 15 us, and an agent may have thousands of threads that wait and wake up. */
#define LOOKS_A_S 2000
#define LOOKS_BURST 256

struct profiler {
	struct stakeout_bpf *skel;
	struct bpf_link **samples; /* by CPU; NULL: it is offline */
	int *events; /* the same for the perf events behind them, ours to keep; -1: none */
	double hz;
	int cpus;
	struct bpf_link *look;
	double allowed; /* waits that may be read */
	uint64_t allowed_ns; /* when that was */
};

/* Of a CPU, whoever runs there. It may come online later: then it is left out. */
static int event_open(int cpu, double hz)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_CPU_CLOCK, /* a timer: there is one on virtual machines too, which often have no hardware counters */
		.sample_period = (uint64_t)(1e9 / hz),
		.exclude_idle = 1,
	};

	return syscall(__NR_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

static int samples_attach(struct profiler *p, double hz, char *why, size_t why_len)
{
	int attached = 0, err = 0;

	p->cpus = libbpf_num_possible_cpus();
	p->samples = p->cpus > 0 ? calloc(p->cpus, sizeof(*p->samples)) : NULL;
	p->events = p->cpus > 0 ? calloc(p->cpus, sizeof(*p->events)) : NULL;
	p->hz = hz;
	if (!p->samples || !p->events)
		return snprintf(why, why_len, "out of memory"), -ENOMEM;
	for (int cpu = 0; cpu < p->cpus; cpu++) {
		int fd = event_open(cpu, hz);

		p->events[cpu] = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1; /* the link takes the other */
		if (fd >= 0)
			p->samples[cpu] = bpf_program__attach_perf_event(p->skel->progs.profile__sample, fd);
		if (p->samples[cpu]) {
			attached++;
			continue;
		}
		err = errno;
		if (fd >= 0)
			close(fd);
	}
	if (attached)
		return 0;
	snprintf(why, why_len, "perf events can't be opened: %s", strerror(err));
	return -err;
}

struct profiler *profiler_new(struct stakeout_bpf *skel, double hz, bool offcpu, char *why, size_t why_len)
{
	struct profiler *p = calloc(1, sizeof(*p));
	int err = 0;

	if (!p)
		return snprintf(why, why_len, "out of memory"), NULL;
	p->skel = skel;
	if (hz > 0) {
		skel->data->sample_ns = (uint64_t)(1e9 / hz);
		err = samples_attach(p, hz, why, why_len);
	}
	if (!err && offcpu) {
		p->look = bpf_program__attach_iter(skel->progs.offcpu__look, NULL);
		if (!p->look) {
			err = -errno;
			snprintf(why, why_len, "the task iterator can't be attached: %s", strerror(errno));
		}
	}
	if (err) {
		profiler_free(p);
		return NULL;
	}
	return p;
}

void profiler_free(struct profiler *p)
{
	if (!p)
		return;
	for (int cpu = 0; p->samples && cpu < p->cpus; cpu++)
		bpf_link__destroy(p->samples[cpu]);
	for (int cpu = 0; p->events && cpu < p->cpus; cpu++)
		if (p->events[cpu] >= 0)
			close(p->events[cpu]);
	free(p->samples);
	free(p->events);
	bpf_link__destroy(p->look);
	free(p);
}

void profiler_slower(struct profiler *p, double part)
{
	uint64_t period = (uint64_t)(1e9 / (p->hz * part));

	if (!p->events || p->skel->data->sample_ns == period)
		return;
	/* A sample between the two counts for one period and was taken by the other: one a CPU and step at most. */
	p->skel->data->sample_ns = period;
	for (int cpu = 0; cpu < p->cpus; cpu++)
		if (p->events[cpu] >= 0)
			ioctl(p->events[cpu], PERF_EVENT_IOC_PERIOD, &period);
}

/* As many as have been allowed since, and how they are to be spread over those that there were last time. */
static void look_begin(struct profiler *p, uint64_t min_ns)
{
	struct stakeout_bpf__bss *bss = p->skel->bss;
	uint64_t now = clock_ns();

	p->allowed += (now - p->allowed_ns) / 1e9 * LOOKS_A_S;
	p->allowed_ns = now;
	if (p->allowed > LOOKS_BURST)
		p->allowed = LOOKS_BURST;
	bss->look_min_ns = min_ns;
	bss->look_left = (uint32_t)p->allowed;
	bss->look_stride = 1 + bss->look_found / (bss->look_left + 1);
	bss->look_phase = (bss->look_phase + 1) % bss->look_stride;
	bss->look_found = 0;
}

int profiler_look(struct profiler *p, uint64_t min_ns)
{
	_cleanup_close_ int fd = -1;
	uint32_t read_len;
	char none[64]; /* nothing is written: the stacks go into their ring */
	ssize_t n;

	if (!p->look)
		return 0;
	fd = bpf_iter_create(bpf_link__fd(p->look));
	if (fd < 0)
		return -errno;
	look_begin(p, min_ns);
	do
		n = read(fd, none, sizeof(none));
	while (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)));
	if (n < 0)
		return -errno;
	read_len = (uint32_t)p->allowed - p->skel->bss->look_left;
	p->allowed -= read_len;
	return p->skel->bss->look_found > read_len;
}
