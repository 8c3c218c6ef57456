/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where in the cgroup hierarchies (v2, or one of v1) a path lies that a user gave. */
#ifndef STAKEOUT_CGROUPS_H
#define STAKEOUT_CGROUPS_H

#include <stddef.h>

struct cgroup_at { /* a directory in a cgroup hierarchy */
	char *dir; /* where it is mounted */
	char *path; /* the same as /proc/PID/cgroup shows it */
	char *controller; /* first controller of a v1 hierarchy; "" for v2 */
};

/* path: a directory of a cgroup file system, or relative to the root of a hierarchy, the v2 one first. 0 and *ret filled (see
 * cgroup_fini), -EINVAL: outside the hierarchies, -ESRCH: not there, -ENOMEM; why gets one line then. */
int cgroup_resolve(const char *path, struct cgroup_at *ret, char *why, size_t why_len);
/* The cgroup of the container with this id (or the beginning of one that is hexadecimal, at least CONTAINER_PREFIX_MIN digits), or name; where several hierarchies
 * have it, in one where it has processes. Errors as above; -EINVAL also: too short, or several begin so. */
int cgroup_of_container(const char *wanted, struct cgroup_at *ret, char *why, size_t why_len);
void cgroup_fini(struct cgroup_at *c);
/* Path of a process in the hierarchy that has `controller` ("": v2), within text, which is what /proc/PID/cgroup says and gets cut up;
 * NULL when there is none. */
char *cgroup_in(char *text, const char *controller);


struct cgroup_mount_at { /* where a hierarchy is mounted; dir NULL: nowhere */
	char *dir;
	char *root; /* what of it is mounted there, usually "/" */
};
/* The v1 hierarchy with this controller, or ("") v2. */
void cgroup_mount_find(const char *controller, struct cgroup_mount_at *ret);
void cgroup_mount_fini(struct cgroup_mount_at *m);
/* What of a path lies below a mount's root: "" or "/..."; NULL when it lies elsewhere. */
const char *cgroup_below(const char *path, const char *root);

#endif
