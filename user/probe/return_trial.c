/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A probe at a return puts the address of a trampoline in the place of the caller's. On x86-64 since 6.11 (ff474a78cef5) that trampoline makes a system
 * call, which a seccomp filter may punish by death; since 6.14 (cf6cb56ef244) seccomp lets it pass, and this was taken back to stable kernels. So a version
 * tells nothing.
 */
#include "probe/return_trial.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/util.h"
#include "probe/elf_sites.h"

struct trial {
	int go[2], done[2]; /* pipes to the child and back */
};

static __attribute__((noinline)) int trial_call(volatile int *n)
{
	return ++*n;
}

/* Of this thread alone: nothing but write and exit, else death. */
static bool trial_confine(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_write, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_exit, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { ARRAY_SIZE(code), code };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

static void *trial_thread(void *arg)
{
	struct trial *t = arg;
	volatile int n = 0;
	char c = 0;

	if (read(t->go[0], &c, 1) == 1 && trial_confine()) {
		trial_call(&n);
		(void)!write(t->done[1], &c, 1);
	}
	syscall(SYS_exit, 0); /* of this thread */
	return NULL;
}

static void __attribute__((noreturn)) trial_child(struct trial *t)
{
	pthread_t thread;

	close(t->go[1]);
	if (!pthread_create(&thread, NULL, trial_thread, t))
		pthread_join(thread, NULL); /* killed or not */
	_exit(0);
}

/* Offset of the function in our own file; 0: not found. */
static uint64_t trial_offset(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/maps", "re");
	uint64_t at = (uintptr_t)trial_call;
	unsigned long long start, end, offset;
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%llx-%llx %*s %llx", &start, &end, &offset) == 3 && at >= start && at < end)
			return at - start + offset;
	return 0;
}

/* Lets the child go and waits for what it says; true: it said so. */
static bool trial_run(struct trial *t)
{
	char c = 0;
	ssize_t n;

	if (write(t->go[1], &c, 1) != 1)
		return false;
	do
		n = read(t->done[0], &c, 1);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

static int trial_attached(struct trial *t, pid_t child, const struct bpf_program *enter, const struct bpf_program *leave, bool multi, uint64_t cookie,
			  const volatile uint32_t hits[2])
{
	_cleanup_close_ int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct uprobe_link *links[2] = {};
	uint64_t offset = trial_offset();
	uint32_t before[2] = { hits[0], hits[1] };
	int err = fd < 0 ? -errno : offset ? 0 : -ESRCH;

	if (!err)
		err = uprobe_return_link_new(leave, multi, child, fd, &offset, &cookie, 1, &links[0]);
	if (!err)
		err = uprobe_link_new(enter, multi, child, fd, &offset, NULL, &cookie, 1, &links[1]);
	if (!err && !trial_run(t))
		err = -EPERM;
	if (!err && (hits[0] == before[0] || hits[1] == before[1]))
		err = -ENOENT;
	uprobe_link_free(links[1]);
	uprobe_link_free(links[0]);
	return err;
}

int return_trial(const struct bpf_program *enter, const struct bpf_program *leave, bool multi, uint64_t cookie, const volatile uint32_t hits[2])
{
	struct trial t = { { -1, -1 }, { -1, -1 } };
	pid_t child = -1;
	int err = 0;

	if (pipe2(t.go, O_CLOEXEC) || pipe2(t.done, O_CLOEXEC) || (child = fork()) < 0)
		err = -errno;
	if (!child)
		trial_child(&t);
	if (t.done[1] >= 0)
		close(t.done[1]);
	if (!err)
		err = trial_attached(&t, child, enter, leave, multi, cookie, hits);
	cleanup_close(&t.go[0]);
	cleanup_close(&t.go[1]);
	cleanup_close(&t.done[0]);
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return err;
}
