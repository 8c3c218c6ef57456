/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Uprobes at functions of libraries that agents have mapped. Attached once a file, for all processes: whether one is an agent's is asked in the program, so
 * who maps a known file later is covered without a further look.
 */
#ifndef STAKEOUT_UPROBES_H
#define STAKEOUT_UPROBES_H

#include <stdbool.h>
#include <sys/types.h>

struct bpf_program;
struct uprobes;

enum library { /* what is wanted of it */
	LIBRARY_NAMES, /* libc: getaddrinfo, freeaddrinfo */
	LIBRARY_TLS, /* OpenSSL, also within an executable: SSL_write, SSL_write_ex. Programs map it when they need it: processes are looked at for half a minute, less and less often */
	LIBRARIES,
};

/* The program is loaded and outlives it; multi: with the attach type BPF_TRACE_UPROBE_MULTI. NULL: out of memory. */
struct uprobes *uprobes_new(enum library library, const struct bpf_program *prog, bool multi);
/* Takes the probes out again: some 50 ms a file, 250 without multi. NULL is accepted. */
void uprobes_free(struct uprobes *u);
/* Notes a process of an agent, to be looked at soon: after seeding (running), and after each exec. Costs no system call. */
void uprobes_process(struct uprobes *u, pid_t pid, bool running);
/* Looks at the noted processes that are due, a few at a time, and attaches to what they have mapped. A stat() a process where its
 * program is known, else it reads /proc/PID/maps, so many a second at most; 10 to 30 ms where a library is new, 50 where it has 100,000 symbols. Never fails: what can't
 * be probed is left alone. */
void uprobes_work(struct uprobes *u);

#endif
