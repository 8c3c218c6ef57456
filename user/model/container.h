/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which container a process is in, as the path of its cgroup tells. */
#ifndef STAKEOUT_CONTAINER_H
#define STAKEOUT_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>

#define CONTAINER_SHORT 12 /* digits of an id that are shown, as container engines do */
#define CONTAINER_PREFIX_MIN 4 /* digits by which one can be named */

struct container { /* "" for what is not known; id "": no container */
	char id[128]; /* 64 hexadecimal digits, or the name, where the runtime has names (lxc, systemd-nspawn) */
	char runtime[24]; /* "docker", "containerd", "cri-o", "podman", "lxc", "systemd-nspawn", "garden" */
	char pod[40]; /* Kubernetes: uid of the pod, with hyphens */
	char qos[12]; /* Kubernetes: "guaranteed", "burstable", "besteffort" */
};

/* path: of a cgroup, v1 or v2. Of containers within containers the innermost. False (and id "") when it is in none; what serves a container
 * from outside of it (conmon, the supervisor of systemd-nspawn) is in none. */
bool container_parse(const char *path, struct container *ret);
/* The same of a whole /proc/PID/cgroup: of the first hierarchy that tells one. */
bool container_find(const char *proc_cgroup, struct container *ret);
/* Its id is made of hexadecimal digits alone, so that a part may stand for it. */
bool container_is_hex(const char *id);
/* What to show of the id: the first CONTAINER_SHORT digits, or the whole name. Returns buf. */
const char *container_short(const struct container *c, char *buf, size_t buf_len);

#endif
