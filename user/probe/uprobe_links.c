/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/util.h"
#include "probe/elf_sites.h"
#include "probe/features.h"

struct uprobe_link {
	int fd; /* of many places; -1: none */
	int len;
	struct bpf_link *links[]; /* instead, one a place */
};

/*
 * A link of many places goes in and out five times faster than one perf event a place. By hand, for libbpf before 1.3. The kernel has had all of these
 * fields since it has had the link (6.6, 89ae89f53d20 to b733eeade420). Before 6.10 (46ba0e49b642) `pid` let through a process's first thread only.
 */
static int link_multi(const struct bpf_program *prog, bool at_return, pid_t pid, const char *path, const uint64_t *offsets, const uint64_t *ref_ctrs,
	const uint64_t *cookies, int n)
{
	struct {
		uint32_t prog_fd, target_fd, attach_type, flags;
		uint64_t path, offsets, ref_ctr_offsets, cookies;
		uint32_t cnt, uprobe_flags, pid, pad;
	} attr = {
		.prog_fd = bpf_program__fd(prog),
		.attach_type = UPROBE_MULTI,
		.path = (uintptr_t)path,
		.offsets = (uintptr_t)offsets,
		.ref_ctr_offsets = (uintptr_t)ref_ctrs,
		.cookies = (uintptr_t)cookies,
		.cnt = n,
		.uprobe_flags = at_return ? 1 : 0, /* BPF_F_UPROBE_MULTI_RETURN */
		.pid = pid,
	};
	int fd = syscall(__NR_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));

	return fd < 0 ? -errno : fd;
}

static int links_single(struct uprobe_link *l, const struct bpf_program *prog, bool at_return, pid_t pid, const char *path, const uint64_t *offsets,
	const uint64_t *ref_ctrs, const uint64_t *cookies, int n)
{
	for (; l->len < n; l->len++) {
		LIBBPF_OPTS(bpf_uprobe_opts, opts, .bpf_cookie = cookies ? cookies[l->len] : 0,
			.ref_ctr_offset = ref_ctrs ? ref_ctrs[l->len] : 0, .retprobe = at_return);

		l->links[l->len] = bpf_program__attach_uprobe_opts(prog, pid ? pid : -1, path, offsets[l->len], &opts);
		if (!l->links[l->len])
			return -errno;
	}
	return 0;
}

static int link_new(const struct bpf_program *prog, bool multi, bool at_return, pid_t pid, int fd, const uint64_t *offsets, const uint64_t *ref_ctrs,
	const uint64_t *cookies, int n, struct uprobe_link **ret)
{
	struct uprobe_link *l = calloc(1, sizeof(*l) + n * sizeof(l->links[0]));
	char path[32];
	int err = 0;

	if (!l)
		return -ENOMEM;
	l->fd = -1;
	/* The kernel follows this to the very file that is open, wherever and in whose mount namespace it lies. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (multi) {
		l->fd = link_multi(prog, at_return, pid, path, offsets, ref_ctrs, cookies, n);
		err = l->fd < 0 ? l->fd : 0;
	} else {
		err = links_single(l, prog, at_return, pid, path, offsets, ref_ctrs, cookies, n);
	}
	if (err) {
		uprobe_link_free(l);
		return err;
	}
	*ret = l;
	return 0;
}

int uprobe_link_new(const struct bpf_program *prog, bool multi, pid_t pid, int fd, const uint64_t *offsets, const uint64_t *ref_ctrs,
	const uint64_t *cookies, int n, struct uprobe_link **ret)
{
	return link_new(prog, multi, false, pid, fd, offsets, ref_ctrs, cookies, n, ret);
}

int uprobe_return_link_new(const struct bpf_program *prog, bool multi, pid_t pid, int fd, const uint64_t *offsets, const uint64_t *cookies, int n,
	struct uprobe_link **ret)
{
	return link_new(prog, multi, true, pid, fd, offsets, NULL, cookies, n, ret);
}

void uprobe_link_free(struct uprobe_link *l)
{
	if (!l)
		return;
	cleanup_close(&l->fd);
	for (int i = 0; i < l->len; i++)
		bpf_link__destroy(l->links[i]);
	free(l);
}
