/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which processes are agents: by pid, by command line, by cgroup, by container, or a command that we start. Reads /proc, knows no BPF. */
#ifndef STAKEOUT_TARGETS_H
#define STAKEOUT_TARGETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "model/container.h"

struct target_spec { /* what the user asked for; strings are borrowed. Kinds may be combined, except command with the others */
	const pid_t *pids;
	int pids_len;
	const char *regex; /* POSIX extended, matched against the command line (arguments joined by blanks) */
	const char *cgroup; /* a path below the cgroup file system, or relative to its root */
	const char *container; /* its id or name, or the beginning of its id */
	char *const *command; /* NULL-terminated argv */
	const char *name; /* label; NULL: the process's own name */
	bool awaited; /* a pid that is gone, or a cgroup or container that is not there (yet), is no error */
	bool no_terminal; /* the command gets /dev/null for those of its standard streams that are a terminal: the screen is ours */
};

struct target { /* one agent's root process; strings owned, see target_fini */
	pid_t pid;
	uint64_t start_ticks; /* field 22 of /proc/PID/stat: with the pid it identifies the process for good */
	char *name;
	char *cmdline;
	char *cgroup;
	struct container container; /* id "": in none that is known */
	int ns_pid; /* its pid in the innermost of its pid namespaces; 0: that is ours */
	uint64_t by; /* which spec it came by: a number that specs of the same meaning have, whatever their label, in other targets, too */
};
void target_fini(struct target *t);

struct targets;
/* Compiles and validates len specs, one at least; a command can only be the only one. -EINVAL: bad regex, cgroup path outside the hierarchy; -ESRCH: a pid, cgroup or container that doesn't exist; -EPERM: a kernel thread
 * or our own pid. why gets one line without newline that says what was wrong and what is possible. */
int targets_new(const struct target_spec *specs, int len, struct targets **ret, char *why, size_t why_len);
void targets_free(struct targets *t);
/* Whether later execs (regex) or arrivals (cgroup, or container as long as it is there) can add agents. */
int targets_open_ended(const struct targets *t);
/* Calls fn for every root process that matches now: a match with a matching ancestor is not a root, nor are we, our ancestors (for the
 * regex), or kernel threads. fn takes over the strings of *t. Stops at the first nonzero return, and returns it. */
typedef int (*target_fn)(void *ctx, struct target *t);
int targets_scan(struct targets *t, target_fn fn, void *ctx);
/* The same for processes of cgroups alone, since no exec tells of those that move in. */
int targets_arrivals(struct targets *t, target_fn fn, void *ctx);
/* Whether pid (which just called exec, or turned up) is a root process that matches now: 1 and *ret filled, or 0 (also when it is
 * gone). With a command in the spec, that is our child from target_spawn, named after the command even before its exec. */
int targets_match(struct targets *t, pid_t pid, struct target *ret);

/* Whether a spec with this number is among them. */
bool targets_have(const struct targets *t, uint64_t by);
/* Whether the process, or one that it descends from, matches now; true for one that is gone. */
bool targets_mean(struct targets *t, pid_t pid, uint64_t start_ticks);

/* Starts argv stopped before its exec: the child waits until target_release. It has our environment, directory and standard streams (no_terminal: see target_spec), default
 * signal handlers and mask, and dies unreleased if we do. 0, or negative errno (-ENOENT: command not found, found out before forking;
 * -EACCES: not executable). */
struct target_child {
	pid_t pid;
	int go_fd; /* writing a byte lets it exec */
	int err_fd; /* closes on a successful exec, else carries its errno */
};
int target_spawn(char *const argv[], bool no_terminal, struct target_child *ret);
/* Lets it go. 0, or the negative errno of its exec. */
int target_release(struct target_child *c);

#endif
