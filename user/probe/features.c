// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/util.h"
#include "probe/btf_scan.h"
#include "probe/features.h"

#define UPROBE_FILE "/sys/bus/event_source/devices/uprobe/type"
#define BTF_FILE "/sys/kernel/btf/vmlinux"
#define USER_NS_INIT "user:[4026531837]" /* PROC_USER_INIT_INO: the same on every kernel */
#define CAP_BIT(cap) (1ULL << (cap))
enum { CAP_SYS_ADMIN_NR = 21, CAP_PERFMON_NR = 38, CAP_BPF_NR = 39 }; /* include/uapi/linux/capability.h */

const struct feature_info feature_infos[FEATURE_COUNT] = {
	[FEATURE_BTF] = { "kernel BTF", "5.4, CONFIG_DEBUG_INFO_BTF" },
	[FEATURE_ROOT] = { "privileges", "5.8 for CAP_BPF and CAP_PERFMON in place of CAP_SYS_ADMIN" },
	[FEATURE_TASK_STORAGE] = { "task storage for tracing", "5.12, commit a10787e6d58c" },
	[FEATURE_SK_STORAGE] = { "socket storage for tracing", "5.11, commit 8e4597c627fb" },
	[FEATURE_RINGBUF] = { "BPF ring buffer", "5.8, commit 457f44363a88" },
	[FEATURE_ITER_TASK] = { "task iterator", "5.8, commit eaaacd23910f" },
	[FEATURE_SCHED_INFO] = { "run-queue times in sched_info", "CONFIG_SCHED_INFO" },
	[FEATURE_TP_SCHED_SWITCH] = { "tracepoint sched_switch", "2.6" },
	[FEATURE_TP_SCHED_PROCESS_FORK] = { "tracepoint sched_process_fork", "2.6" },
	[FEATURE_TP_SCHED_PROCESS_EXEC] = { "tracepoint sched_process_exec", "3.4" },
	[FEATURE_TP_SCHED_PROCESS_EXIT] = { "tracepoint sched_process_exit", "2.6" },
	[FEATURE_TP_SIGNAL_GENERATE] = { "tracepoint signal_generate", "2.6" },
	[FEATURE_TP_RSS_STAT] = { "tracepoint rss_stat", "5.5" },
	[FEATURE_TP_VM_UNMAPPED_AREA] = { "tracepoint vm_unmapped_area", "5.8" },
	[FEATURE_TP_INET_SOCK_SET_STATE] = { "tracepoint inet_sock_set_state", "4.16" },
	[FEATURE_TP_SOCK_SEND_LENGTH] = { "tracepoint sock_send_length", "6.3" },
	[FEATURE_TP_SOCK_RECV_LENGTH] = { "tracepoint sock_recv_length", "6.3" },
	[FEATURE_TP_SK_DATA_READY] = { "tracepoint sk_data_ready", "6.3" },
	[FEATURE_TP_TCP_RETRANSMIT_SKB] = { "tracepoint tcp_retransmit_skb", "4.15" },
	[FEATURE_TP_KMALLOC] = { "tracepoint kmalloc", "2.6" },
	[FEATURE_TP_KMEM_CACHE_ALLOC] = { "tracepoint kmem_cache_alloc", "2.6" },
	[FEATURE_ITER_TASK_FILE] = { "open file iterator", "5.8, commit eaaacd23910f" },
	[FEATURE_RDONLY_CAST] = { "kernel function bpf_rdonly_cast", "6.2" },
	[FEATURE_RAW_TP_RUN] = { "test runs of raw_tp programs", "5.10, commit 1b4d60ec162f" },
	[FEATURE_UPROBE] = { "uprobes", "4.17, CONFIG_UPROBE_EVENTS" },
	[FEATURE_UPROBE_MULTI] = { "links of many uprobes", "6.6, commit 89ae89f53d20" },
	[FEATURE_BREAKPOINTS] = { "hardware breakpoints", "2.6.33, CONFIG_HAVE_HW_BREAKPOINT" },
	[FEATURE_SAMPLES] = { "samples at perf events", "4.9, commit 0515e5999a46; CONFIG_PERF_EVENTS" },
	[FEATURE_ITER_SLEEPS] = { "sleepable iterators", "5.18, commits b77fb25dcb34 and 376040e47334" },
	[FEATURE_FENTRY] = { "programs at functions", "5.5, commit fec56f5890d9; arm64: 6.4" },
	[FEATURE_LOCKDOWN_OK] = { "lockdown", "5.4, kernel_lockdown(7)" },
};

/*
 * Features that show in the kernel's BTF: a type or function of that name, or a member of a type. The trace_* hooks of
 * tp_btf programs have a typedef each. Looking costs microseconds where loading a trial program costs a millisecond.
 */
static const struct btf_sign {
	enum feature_id feature;
	uint32_t kind;
	const char *name;
	const char *member; /* NULL: the name is enough */
} btf_signs[] = {
	/* Before tracing programs could use task storage, it was kept in the LSM's blob and not in task_struct. */
	{ FEATURE_TASK_STORAGE, BTF_KIND_STRUCT, "task_struct", "bpf_storage" },
	{ FEATURE_SK_STORAGE, BTF_KIND_FUNC, "bpf_sk_storage_get_tracing", NULL },
	{ FEATURE_RINGBUF, BTF_KIND_ENUM, "bpf_map_type", "BPF_MAP_TYPE_RINGBUF" },
	{ FEATURE_ITER_TASK, BTF_KIND_FUNC, "bpf_iter_task", NULL },
	{ FEATURE_SCHED_INFO, BTF_KIND_STRUCT, "sched_info", "run_delay" },
	{ FEATURE_TP_SCHED_SWITCH, BTF_KIND_TYPEDEF, "btf_trace_sched_switch", NULL },
	{ FEATURE_TP_SCHED_PROCESS_FORK, BTF_KIND_TYPEDEF, "btf_trace_sched_process_fork", NULL },
	{ FEATURE_TP_SCHED_PROCESS_EXEC, BTF_KIND_TYPEDEF, "btf_trace_sched_process_exec", NULL },
	{ FEATURE_TP_SCHED_PROCESS_EXIT, BTF_KIND_TYPEDEF, "btf_trace_sched_process_exit", NULL },
	{ FEATURE_TP_SIGNAL_GENERATE, BTF_KIND_TYPEDEF, "btf_trace_signal_generate", NULL },
	{ FEATURE_TP_RSS_STAT, BTF_KIND_TYPEDEF, "btf_trace_rss_stat", NULL },
	{ FEATURE_TP_VM_UNMAPPED_AREA, BTF_KIND_TYPEDEF, "btf_trace_vm_unmapped_area", NULL },
	{ FEATURE_TP_INET_SOCK_SET_STATE, BTF_KIND_TYPEDEF, "btf_trace_inet_sock_set_state", NULL },
	{ FEATURE_TP_SOCK_SEND_LENGTH, BTF_KIND_TYPEDEF, "btf_trace_sock_send_length", NULL },
	{ FEATURE_TP_SOCK_RECV_LENGTH, BTF_KIND_TYPEDEF, "btf_trace_sock_recv_length", NULL },
	{ FEATURE_TP_SK_DATA_READY, BTF_KIND_TYPEDEF, "btf_trace_sk_data_ready", NULL },
	{ FEATURE_TP_TCP_RETRANSMIT_SKB, BTF_KIND_TYPEDEF, "btf_trace_tcp_retransmit_skb", NULL },
	{ FEATURE_TP_KMALLOC, BTF_KIND_TYPEDEF, "btf_trace_kmalloc", NULL },
	{ FEATURE_TP_KMEM_CACHE_ALLOC, BTF_KIND_TYPEDEF, "btf_trace_kmem_cache_alloc", NULL },
	{ FEATURE_ITER_TASK_FILE, BTF_KIND_FUNC, "bpf_iter_task_file", NULL },
	{ FEATURE_RDONLY_CAST, BTF_KIND_FUNC, "bpf_rdonly_cast", NULL },
	{ FEATURE_UPROBE_MULTI, BTF_KIND_STRUCT, "bpf_uprobe_multi_link", NULL },
	{ FEATURE_ITER_SLEEPS, BTF_KIND_FUNC, "bpf_copy_from_user_task", NULL },
	{ FEATURE_RAW_TP_RUN, BTF_KIND_FUNC, "bpf_prog_test_run_raw_tp", NULL },
};

/* In the order of the probes; what all else rests on comes first, so that it is also the first reason given. */
static const struct probe_requirement requirements[] = {
	{ PROBE_CORE, FEATURE_ROOT, "-", NULL },
	{ PROBE_CORE, FEATURE_BTF, "-", NULL },
	{ PROBE_CORE, FEATURE_LOCKDOWN_OK, "-", NULL },
	{ PROBE_CORE, FEATURE_TASK_STORAGE, "map", NULL },
	{ PROBE_CORE, FEATURE_RINGBUF, "map", NULL },
	{ PROBE_CORE, FEATURE_ITER_TASK, "iter/task", NULL },
	{ PROBE_CORE, FEATURE_RAW_TP_RUN, "raw_tp", NULL },
	{ PROBE_CORE, FEATURE_TP_SCHED_PROCESS_FORK, "tp_btf/sched_process_fork", NULL },
	{ PROBE_CORE, FEATURE_TP_SCHED_PROCESS_EXEC, "tp_btf/sched_process_exec", NULL },
	{ PROBE_CORE, FEATURE_TP_SCHED_PROCESS_EXIT, "tp_btf/sched_process_exit", NULL },
	{ PROBE_SCHED, FEATURE_TP_SCHED_SWITCH, "tp_btf/sched_switch", NULL },
	{ PROBE_SCHED, FEATURE_SCHED_INFO, "-", NULL },
	{ PROBE_PROC, FEATURE_TP_SCHED_PROCESS_FORK, "tp_btf/sched_process_fork", NULL },
	{ PROBE_PROC, FEATURE_TP_SCHED_PROCESS_EXEC, "tp_btf/sched_process_exec", NULL },
	{ PROBE_PROC, FEATURE_TP_SCHED_PROCESS_EXIT, "tp_btf/sched_process_exit", NULL },
	{ PROBE_PROC, FEATURE_TP_SIGNAL_GENERATE, "tp_btf/signal_generate", "how long tools take to end when told to" },
	{ PROBE_MEM, FEATURE_TP_VM_UNMAPPED_AREA, "tp_btf/vm_unmapped_area", "mmap sizes" },
	{ PROBE_PEAK, FEATURE_TP_RSS_STAT, "tp_btf/rss_stat", NULL },
	{ PROBE_SOCK, FEATURE_SK_STORAGE, "map", NULL },
	{ PROBE_SOCK, FEATURE_TP_SOCK_SEND_LENGTH, "tp_btf/sock_send_length", NULL },
	{ PROBE_SOCK, FEATURE_TP_SOCK_RECV_LENGTH, "tp_btf/sock_recv_length", NULL },
	{ PROBE_SOCK, FEATURE_TP_INET_SOCK_SET_STATE, "tp_btf/inet_sock_set_state", NULL },
	{ PROBE_SOCK, FEATURE_TP_SK_DATA_READY, "tp_btf/sk_data_ready", "connects and accepts of unix sockets, times of arrival" },
	{ PROBE_SOCK, FEATURE_TP_TCP_RETRANSMIT_SKB, "tp_btf/tcp_retransmit_skb", "retransmits" },
	{ PROBE_SOCK, FEATURE_ITER_TASK_FILE, "iter/task_file", "sockets that were open before" },
	{ PROBE_NAMES, FEATURE_UPROBE, "uprobe", "names that getaddrinfo resolved" },
	{ PROBE_NAMES, FEATURE_TP_INET_SOCK_SET_STATE, "tp_btf/inet_sock_set_state", "such names in time where the answer is kept for long" },
	{ PROBE_DUP, FEATURE_SK_STORAGE, "map", NULL },
	{ PROBE_DUP, FEATURE_UPROBE, "uprobe", "requests over TLS" },
	{ PROBE_KMEM, FEATURE_TP_KMALLOC, "tp_btf/kmalloc", NULL },
	{ PROBE_KMEM, FEATURE_TP_KMEM_CACHE_ALLOC, "tp_btf/kmem_cache_alloc", NULL },
	{ PROBE_GC, FEATURE_UPROBE, "uprobe", NULL },
	{ PROBE_HEAP, FEATURE_BREAKPOINTS, "-", "sampling (+heap)" },
	{ PROBE_HEAP, FEATURE_UPROBE, "uprobe", "+heap=full" },
	{ PROBE_PROFILE, FEATURE_SAMPLES, "perf_event", NULL },
	{ PROBE_OFFCPU, FEATURE_ITER_SLEEPS, "iter.s/task", NULL },
};

/* By tracepoint, a row for each function in place of it. */
static const struct probe_requirement stand_ins[] = {
	{ PROBE_SOCK, FEATURE_TP_SOCK_SEND_LENGTH, "fexit/inet_sendmsg", NULL },
	{ PROBE_SOCK, FEATURE_TP_SOCK_SEND_LENGTH, "fexit/inet6_sendmsg", "sends over IPv6" },
	{ PROBE_SOCK, FEATURE_TP_SOCK_SEND_LENGTH, "fexit/unix_stream_sendmsg", "sends on unix sockets" },
	{ PROBE_SOCK, FEATURE_TP_SOCK_SEND_LENGTH, "fexit/unix_dgram_sendmsg", "unix datagrams sent" },
	{ PROBE_SOCK, FEATURE_TP_SOCK_SEND_LENGTH, "fexit/unix_seqpacket_sendmsg", "unix packets sent" },
	{ PROBE_SOCK, FEATURE_TP_SOCK_SEND_LENGTH, "fexit/tcp_sendpage", "files sent over TCP by sendfile" },
	{ PROBE_SOCK, FEATURE_TP_SOCK_SEND_LENGTH, "fexit/unix_stream_sendpage", "files sent on unix sockets by sendfile" },
	{ PROBE_SOCK, FEATURE_TP_SOCK_RECV_LENGTH, "fexit/inet_recvmsg", NULL },
	{ PROBE_SOCK, FEATURE_TP_SOCK_RECV_LENGTH, "fexit/inet6_recvmsg", "receives over IPv6" },
	{ PROBE_SOCK, FEATURE_TP_SOCK_RECV_LENGTH, "fexit/unix_stream_recvmsg", "receives on unix sockets" },
	{ PROBE_SOCK, FEATURE_TP_SOCK_RECV_LENGTH, "fexit/unix_dgram_recvmsg", "unix datagrams received" },
	{ PROBE_SOCK, FEATURE_TP_SOCK_RECV_LENGTH, "fexit/unix_seqpacket_recvmsg", "unix packets received" },
	{ PROBE_SOCK, FEATURE_TP_SK_DATA_READY, "fentry/sock_def_readable", NULL },
};

static struct {
	enum { UNKNOWN, HAS, LACKS } state;
	char why[160];
} cache[FEATURE_COUNT];

static struct btf *vmlinux; /* 6 MB: kept until features_forget(), see kernel_btf() */

static bool lacks(enum feature_id f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool lacks(enum feature_id f, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(cache[f].why, sizeof(cache[f].why), fmt, args);
	va_end(args);
	return false;
}

/* ---- BTF ---- */

/* All signs in one pass. */
static int find_signs(void)
{
	const struct btf_type *type = NULL;
	struct btf_blob blob;
	bool bad = false;
	int err = btf_blob_open(BTF_FILE, &blob);

	if (err)
		return err;
	while ((type = btf_scan_next(&blob, type, &bad))) {
		uint32_t kind = BTF_INFO_KIND(type->info);
		const char *name;

		if (kind != BTF_KIND_TYPEDEF && kind != BTF_KIND_FUNC && kind != BTF_KIND_STRUCT && kind != BTF_KIND_ENUM)
			continue;
		name = btf_scan_name(&blob, type->name_off);
		if (*name != 'b' && *name != 't' && *name != 's') /* first letters of all the names sought */
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(btf_signs); i++) {
			const struct btf_sign *s = &btf_signs[i];

			if (kind == s->kind && !strcmp(name, s->name) && (!s->member || btf_scan_member(&blob, type, s->member)))
				cache[s->feature].state = HAS;
		}
	}
	btf_blob_close(&blob);
	return bad ? -EBADMSG : 0;
}

/* With an index of its types, which few features need. Loaded when it is first asked for; NULL: it can't be, and errno says why. */
static struct btf *kernel_btf(void)
{
	libbpf_print_fn_t print;

	if (vmlinux)
		return vmlinux;
	print = libbpf_set_print(NULL);
	vmlinux = btf__load_vmlinux_btf();
	libbpf_set_print(print);
	return vmlinux;
}

/* Id of the type, or negative. */
static int btf_find(const char *name, uint32_t kind)
{
	struct btf *btf = kernel_btf();

	return btf ? btf__find_by_name_kind(btf, name, kind) : -ENOENT;
}

void features_forget(void)
{
	btf__free(vmlinux);
	vmlinux = NULL;
}

static bool test_btf(enum feature_id f)
{
	int err;

	/* libbpf would go on to look for a kernel image in /boot, but what counts is what the kernel itself can resolve. */
	if (access(BTF_FILE, R_OK))
		return lacks(f, "%s: %s; the kernel needs CONFIG_DEBUG_INFO_BTF=y", BTF_FILE, strerror(errno));
	err = find_signs();
	return !err || lacks(f, "%s can't be parsed: %s", BTF_FILE, strerror(-err));
}

/* For all features that have a sign: found is noted when the BTF is loaded. */
static bool test_sign(enum feature_id f)
{
	if (!feature_has(FEATURE_BTF, NULL, 0))
		return lacks(f, "%s is unknown without the kernel's BTF", feature_infos[f].name);
	return cache[f].state == HAS || lacks(f, "this kernel has no %s (since %s)", feature_infos[f].name, feature_infos[f].since);
}

static bool kernel_tracepoint(const char *name)
{
	char type[128];

	if (!feature_has(FEATURE_BTF, NULL, 0))
		return false;
	snprintf(type, sizeof(type), "btf_trace_%s", name);
	for (size_t i = 0; i < ARRAY_SIZE(btf_signs); i++)
		if (!strcmp(btf_signs[i].name, type))
			return feature_has(btf_signs[i].feature, NULL, 0);
	return btf_find(type, BTF_KIND_TYPEDEF) > 0;
}

/* ---- the rest ---- */

static bool test_root(enum feature_id f)
{
	const uint64_t enough = CAP_BIT(CAP_BPF_NR) | CAP_BIT(CAP_PERFMON_NR);
	char status[8192], ns[64];
	const char *line;
	unsigned long long caps = 0;
	ssize_t len;
	int fd;

	if (file_read("/proc/self/status", status, sizeof(status)) <= 0)
		return lacks(f, "/proc/self/status can't be read");
	line = strstr(status, "\nCapEff:");
	if (line)
		sscanf(line + 8, "%llx", &caps);
	if (!(caps & CAP_BIT(CAP_SYS_ADMIN_NR)) && (caps & enough) != enough)
		return lacks(f, "not root: run as root, or with CAP_BPF and CAP_PERFMON");
	len = readlink("/proc/self/ns/user", ns, sizeof(ns) - 1);
	if (len > 0) {
		ns[len] = 0;
		if (strcmp(ns, USER_NS_INIT))
			return lacks(f, "root of a user namespace only; run as root of the host");
	}
	/* Containers often filter bpf(2) even for root. */
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "so_probe", 4, 4, 1, NULL);
	if (fd < 0)
		return lacks(f, "bpf(2) is refused: %s (a container's seccomp filter?)", strerror(errno));
	close(fd);
	return true;
}

static bool test_lockdown(enum feature_id f)
{
	char text[128];

	/* "none integrity [confidentiality]"; no file: no lockdown in this kernel, or securityfs is not mounted. */
	if (file_read("/sys/kernel/security/lockdown", text, sizeof(text)) <= 0 || !strstr(text, "[confidentiality]"))
		return true;
	return lacks(f, "kernel lockdown is \"confidentiality\", which keeps BPF from reading kernel memory");
}

static bool test_uprobe(enum feature_id f)
{
	return !access(UPROBE_FILE, R_OK) || lacks(f, "this kernel has no uprobes (since %s)", feature_infos[f].since);
}

/* Tried, without setting it. That all registers are in use at the moment is no lack. */
static bool test_breakpoints(enum feature_id f)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_BREAKPOINT,
		.bp_type = HW_BREAKPOINT_X,
		.bp_addr = (uintptr_t)test_breakpoints,
		.bp_len = sizeof(long),
		.exclude_kernel = 1,
		.disabled = 1,
	};
	int fd = syscall(__NR_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return errno == ENOSPC || lacks(f, "%s are refused: %s", feature_infos[f].name, strerror(errno));
	close(fd);
	return true;
}

/* The event itself is opened, and closed at once. */
static bool test_samples(enum feature_id f)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = NS_PER_S,
	};
	int fd = syscall(__NR_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return lacks(f, "perf events are refused: %s", strerror(errno));
	close(fd);
	return true;
}

/* Some machines refuse them (by architecture, by configuration, by a hypervisor) though the BTF shows nothing of it: tried on a
 * function that the kernel has for that. */
static bool test_fentry(enum feature_id f)
{
	const struct bpf_insn nothing[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_TRACE_FEXIT);
	int function, prog, link;

	if (!feature_has(FEATURE_BTF, NULL, 0))
		return lacks(f, "%s are unknown without the kernel's BTF", feature_infos[f].name);
	function = btf_find("bpf_fentry_test1", BTF_KIND_FUNC);
	if (function < 0)
		return lacks(f, "this kernel has no %s (since %s)", feature_infos[f].name, feature_infos[f].since);
	opts.attach_btf_id = function;
	prog = bpf_prog_load(BPF_PROG_TYPE_TRACING, "so_probe", "Dual BSD/GPL", nothing, ARRAY_SIZE(nothing), &opts);
	if (prog < 0)
		return lacks(f, "%s are refused: %s", feature_infos[f].name, strerror(errno));
	link = bpf_raw_tracepoint_open(NULL, prog);
	if (link < 0)
		lacks(f, "%s can't be attached: %s", feature_infos[f].name, strerror(errno));
	else
		close(link);
	close(prog);
	return link >= 0;
}

bool feature_has(enum feature_id f, char *why, size_t why_len)
{
	static bool (*const tests[FEATURE_COUNT])(enum feature_id f) = {
		[FEATURE_BTF] = test_btf,
		[FEATURE_ROOT] = test_root,
		[FEATURE_UPROBE] = test_uprobe,
		[FEATURE_BREAKPOINTS] = test_breakpoints,
		[FEATURE_SAMPLES] = test_samples,
		[FEATURE_FENTRY] = test_fentry,
		[FEATURE_LOCKDOWN_OK] = test_lockdown,
	};

	if (cache[f].state == UNKNOWN)
		cache[f].state = (tests[f] ? tests[f] : test_sign)(f) ? HAS : LACKS;
	if (why && why_len)
		snprintf(why, why_len, "%s", cache[f].why);
	return cache[f].state == HAS;
}

const struct probe_requirement *probe_requirements(enum probe_id p, int *ret_len)
{
	size_t first = 0, end;

	while (first < ARRAY_SIZE(requirements) && requirements[first].probe != p)
		first++;
	for (end = first; end < ARRAY_SIZE(requirements) && requirements[end].probe == p;)
		end++;
	*ret_len = (int)(end - first);
	return requirements + first;
}

const struct probe_requirement *probe_stand_ins(enum probe_id p, enum feature_id tracepoint, int *ret_len)
{
	size_t first = 0, end;

	while (first < ARRAY_SIZE(stand_ins) && (stand_ins[first].probe != p || stand_ins[first].feature != tracepoint))
		first++;
	for (end = first; end < ARRAY_SIZE(stand_ins) && stand_ins[end].probe == p && stand_ins[end].feature == tracepoint;)
		end++;
	*ret_len = (int)(end - first);
	return stand_ins + first;
}

static bool kernel_function(const char *name)
{
	return feature_has(FEATURE_FENTRY, NULL, 0) && btf_find(name, BTF_KIND_FUNC) > 0;
}

bool feature_section(const char *section)
{
	const char *name = strchr(section, '/');

	if (*section == '?')
		section++;
	if (!strcmp(section, "uprobe"))
		return feature_has(FEATURE_UPROBE, NULL, 0);
	if (name && !strncmp(section, "tp_btf/", strlen("tp_btf/")))
		return kernel_tracepoint(name + 1);
	if (!name || (strncmp(section, "fentry/", strlen("fentry/")) && strncmp(section, "fexit/", strlen("fexit/"))))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(stand_ins); i++)
		if (!strcmp(stand_ins[i].how, section))
			return !feature_has(stand_ins[i].feature, NULL, 0) && kernel_function(name + 1);
	return false;
}

/* Whether programs at functions can do the job of a tracepoint that is missing. */
static bool tracepoint_replaced(enum probe_id p, enum feature_id tracepoint)
{
	int len;
	const struct probe_requirement *s = probe_stand_ins(p, tracepoint, &len);

	for (int i = 0; i < len; i++)
		if (!s[i].without && !feature_section(s[i].how))
			return false;
	return len;
}

bool probe_available(enum probe_id p, char *why, size_t why_len)
{
	int len;
	const struct probe_requirement *r = probe_requirements(p, &len);

	for (int i = 0; i < len; i++)
		if (!r[i].without && !feature_has(r[i].feature, why, why_len) && !tracepoint_replaced(p, r[i].feature))
			return false;
	if (why && why_len)
		*why = 0;
	return true;
}
