/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What targets are made of. For targets*.c. targets_specs.c: what was asked for; targets_proc.c: what /proc says of a process; targets.c: what matches;
 * targets_scan.c: all that match.
 */
#ifndef STAKEOUT_TARGETS_PARTS_H
#define STAKEOUT_TARGETS_PARTS_H

#include <regex.h>

#include "probe/cgroups.h"
#include "probe/targets.h"

#define CMDLINE_BYTES 65536 /* matched */
#define ANCESTORS_MAX 64 /* of our own; deeper nesting of processes is not real */

struct proc { /* what /proc/PID/stat says of a process */
	pid_t pid, ppid;
	uint64_t start_ticks;
	char comm[64];
	bool alive, kthread;
	const struct matcher *by; /* that it matches; this and the rest is in use in the table of a scan only */
	int known; /* 0: not read yet, 1: read, -1: gone */
};

struct ident {
	pid_t pid;
	uint64_t start_ticks;
};

struct place { /* a cgroup whose processes are meant */
	struct cgroup_at at; /* dir NULL: not there yet */
	bool container; /* it is found by a container's id */
	char *awaited; /* what was asked for, when that may come later; NULL: it was there */
};

struct matcher { /* one spec */
	struct ident *pids;
	int pids_len;
	bool has_regex;
	regex_t regex;
	struct place places[2];
	int places_len;
	char *name;
	uint64_t by; /* see struct target */
};

struct targets {
	int proc_fd;
	pid_t self;
	pid_t ancestors[ANCESTORS_MAX];
	int ancestors_len;
	struct matcher *matchers;
	int len;
	char **command; /* owned copies, NULL-terminated; of the only spec then */
	char *buf; /* CMDLINE_BYTES + 1 */
};

/* targets_proc.c */
/* Reads /proc/PID/FILE, NUL-terminated. Bytes or negative errno. */
ssize_t proc_read(const struct targets *t, pid_t pid, const char *file, char *buf, size_t size);
/* Fills all of *p that is not for scans only. 0 or negative errno: it is gone. */
int proc_stat(const struct targets *t, pid_t pid, struct proc *p);
/* Arguments joined by blanks into t->buf. Length; 0 for kernel threads, zombies and the gone. */
size_t proc_cmdline(const struct targets *t, pid_t pid);
/* Path of the process in the hierarchy that has `controller` ("": v2), in buf; NULL when there is none. */
char *proc_cgroup(const struct targets *t, pid_t pid, const char *controller, char *buf, size_t size);
/* Describes the process, which came by m. 0 or -ENOMEM. */
int target_fill(const struct targets *t, const struct matcher *m, const struct proc *p, struct target *ret);

/* targets.c */
/* Alive, of user space, and not ourselves. */
bool proc_eligible(const struct targets *t, const struct proc *p);
/* The first matcher whose regex matches; NULL: none. */
const struct matcher *match_regex(const struct targets *t, pid_t pid);
/* The matcher by which p is meant: pids before regexes before cgroups, and among them the first; NULL: none. */
const struct matcher *proc_match(const struct targets *t, const struct proc *p);

/* targets_specs.c */
/* Looks for what `wanted` names: a cgroup's path, or a container. 0, or negative errno and a line of why. */
int place_resolve(struct place *p, const char *wanted, char *why, size_t why_len);

#endif
