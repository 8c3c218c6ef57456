/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The tasks, sockets and processes of agents: taken in, let go, and read. */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/util.h"
#include "probe/observer_state.h"

#define WOKEN_FRESH_NS 100000000ULL /* the clocks drift by some parts in a million: by 1 us in that time */
#define NAP_NS 50000
#define SEED_TURNS 8 /* parents usually come before children in the task list; after pid wrap-around it takes more turns */

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

	for (int l = 0; l < LIBRARIES && how != SEEN_FORKED; l++) /* then its files are its parent's */
		if (o->uprobes[l])
			uprobes_process(o->uprobes[l], pid, how == SEEN_RUNNING);
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
