/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What this kernel has, found by looking at its BTF or by trying; never by version number. Results are cached. */
#ifndef STAKEOUT_FEATURES_H
#define STAKEOUT_FEATURES_H

#include <stdbool.h>
#include <stddef.h>

#include "model/metrics.h"

enum feature_id {
	FEATURE_BTF, /* /sys/kernel/btf/vmlinux is there and parses */
	FEATURE_ROOT, /* CAP_BPF + CAP_PERFMON, or CAP_SYS_ADMIN */
	FEATURE_TASK_STORAGE, /* usable from tracing programs */
	FEATURE_SK_STORAGE, /* the same for socket storage */
	FEATURE_RINGBUF,
	FEATURE_ITER_TASK,
	FEATURE_SCHED_INFO, /* task_struct.sched_info.run_delay */
	FEATURE_TP_SCHED_SWITCH, /* tp_btf hooks: BTF type btf_trace_<name> */
	FEATURE_TP_SCHED_PROCESS_FORK,
	FEATURE_TP_SCHED_PROCESS_EXEC,
	FEATURE_TP_SCHED_PROCESS_EXIT,
	FEATURE_TP_SIGNAL_GENERATE,
	FEATURE_TP_RSS_STAT,
	FEATURE_TP_VM_UNMAPPED_AREA,
	FEATURE_TP_INET_SOCK_SET_STATE,
	FEATURE_TP_SOCK_SEND_LENGTH,
	FEATURE_TP_SOCK_RECV_LENGTH,
	FEATURE_TP_SK_DATA_READY,
	FEATURE_TP_TCP_RETRANSMIT_SKB,
	FEATURE_TP_KMALLOC,
	FEATURE_TP_KMEM_CACHE_ALLOC,
	FEATURE_ITER_TASK_FILE,
	FEATURE_RAW_TP_RUN, /* raw_tp programs can be run on a CPU of our choice (BPF_PROG_TEST_RUN) */
	FEATURE_RDONLY_CAST, /* kernel function bpf_rdonly_cast; without it the same by slower reads */
	FEATURE_UPROBE, /* uprobes by perf_event_open */
	FEATURE_UPROBE_MULTI, /* links to many uprobes at once; without it one by one */
	FEATURE_BREAKPOINTS, /* perf events of the CPUs' breakpoint registers */
	FEATURE_SAMPLES, /* perf events of the software clock */
	FEATURE_ITER_SLEEPS, /* sleepable iterators, bpf_copy_from_user_task() */
	FEATURE_FENTRY, /* fentry and fexit programs; wanted only where a tracepoint is missing */
	FEATURE_LOCKDOWN_OK, /* lockdown is not "confidentiality" */
	FEATURE_COUNT
};

/* Attach type BPF_TRACE_UPROBE_MULTI, which older headers lack. */
#define UPROBE_MULTI 48

struct feature_info {
	const char *name; /* for people: "tracepoint sched_switch" */
	const char *since; /* kernel version and commit or document that brought it, for the reader of a message */
};
extern const struct feature_info feature_infos[FEATURE_COUNT];

/* Whether the kernel has it. why (may be NULL) gets the reason when not, "" otherwise. */
bool feature_has(enum feature_id f, char *why, size_t why_len);

/* What a probe is built on. A probe is available when all that it needs is; what is optional only leaves out a part of it. */
struct probe_requirement {
	enum probe_id probe;
	enum feature_id feature;
	const char *how; /* mechanism, as in the program's section: "tp_btf/sched_switch"; "-" when no program hangs on it */
	const char *without; /* what is missing without an optional one; NULL: required */
};
/* The requirements of a probe, ret_len of them. */
const struct probe_requirement *probe_requirements(enum probe_id p, int *ret_len);
/* What stands in for a tracepoint of a probe where the kernel lacks it: programs at functions, ret_len of them, whose rows have that
 * tracepoint as their feature. Where it is there, they are not loaded. */
const struct probe_requirement *probe_stand_ins(enum probe_id p, enum feature_id tracepoint, int *ret_len);
/* Whether a program with this section ("?tp_btf/sched_switch", "fexit/inet_sendmsg") can do its job here, and is needed for it. */
bool feature_section(const char *section);
/* Gives back the memory that answers took (6 MB); what is asked later takes it again. */
void features_forget(void);
/* Whether the kernel gives the probe all that it needs. why (may be NULL) gets the first reason when not, "" otherwise. */
bool probe_available(enum probe_id p, char *why, size_t why_len);

#endif
