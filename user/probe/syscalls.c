/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/syscalls.h"

#include <sys/syscall.h>

#include "abi.h"

#define BY_FILE SYSCALL_WAIT_BY_FILE

static const struct {
	int nr;
	uint8_t wait;
} waits_by_syscall[] = {
	{ __NR_read, BY_FILE },
	{ __NR_write, BY_FILE },
	{ __NR_readv, BY_FILE },
	{ __NR_writev, BY_FILE },
	{ __NR_pread64, BY_FILE },
	{ __NR_pwrite64, BY_FILE },
	{ __NR_preadv, BY_FILE },
	{ __NR_pwritev, BY_FILE },
	{ __NR_preadv2, BY_FILE },
	{ __NR_pwritev2, BY_FILE },
	{ __NR_splice, BY_FILE },
	{ __NR_tee, BY_FILE },
	{ __NR_vmsplice, BY_FILE },
	{ __NR_sendfile, BY_FILE },
	{ __NR_ioctl, BY_FILE },
	{ __NR_close, BY_FILE },
	{ __NR_recvfrom, SO_WAIT_NET },
	{ __NR_recvmsg, SO_WAIT_NET },
	{ __NR_recvmmsg, SO_WAIT_NET },
	{ __NR_sendto, SO_WAIT_NET },
	{ __NR_sendmsg, SO_WAIT_NET },
	{ __NR_sendmmsg, SO_WAIT_NET },
	{ __NR_connect, SO_WAIT_NET },
	{ __NR_accept, SO_WAIT_ACCEPT },
	{ __NR_accept4, SO_WAIT_ACCEPT },
	{ __NR_fsync, SO_WAIT_DISK },
	{ __NR_fdatasync, SO_WAIT_DISK },
	{ __NR_sync, SO_WAIT_DISK },
	{ __NR_syncfs, SO_WAIT_DISK },
	{ __NR_msync, SO_WAIT_DISK },
	{ __NR_sync_file_range, SO_WAIT_DISK },
	{ __NR_openat, SO_WAIT_DISK },
	{ __NR_openat2, SO_WAIT_DISK },
	{ __NR_statx, SO_WAIT_DISK },
	{ __NR_newfstatat, SO_WAIT_DISK },
	{ __NR_fstat, SO_WAIT_DISK },
	{ __NR_getdents64, SO_WAIT_DISK },
	{ __NR_unlinkat, SO_WAIT_DISK },
	{ __NR_renameat2, SO_WAIT_DISK },
	{ __NR_mkdirat, SO_WAIT_DISK },
	{ __NR_linkat, SO_WAIT_DISK },
	{ __NR_symlinkat, SO_WAIT_DISK },
	{ __NR_readlinkat, SO_WAIT_DISK },
	{ __NR_faccessat, SO_WAIT_DISK },
	{ __NR_faccessat2, SO_WAIT_DISK },
	{ __NR_truncate, SO_WAIT_DISK },
	{ __NR_ftruncate, SO_WAIT_DISK },
	{ __NR_fallocate, SO_WAIT_DISK },
	{ __NR_copy_file_range, SO_WAIT_DISK },
	{ __NR_flock, SO_WAIT_LOCK },
	{ __NR_fcntl, SO_WAIT_LOCK },
	{ __NR_execve, SO_WAIT_DISK },
	{ __NR_execveat, SO_WAIT_DISK },
	{ __NR_futex, SO_WAIT_LOCK },
#ifdef __NR_futex_waitv
	{ __NR_futex_waitv, SO_WAIT_LOCK },
#endif
	{ __NR_semop, SO_WAIT_LOCK },
	{ __NR_semtimedop, SO_WAIT_LOCK },
	{ __NR_nanosleep, SO_WAIT_SLEEP },
	{ __NR_clock_nanosleep, SO_WAIT_SLEEP },
	{ __NR_epoll_pwait, SO_WAIT_EVENTS },
#ifdef __NR_epoll_pwait2
	{ __NR_epoll_pwait2, SO_WAIT_EVENTS },
#endif
	{ __NR_ppoll, SO_WAIT_POLL },
	{ __NR_pselect6, SO_WAIT_POLL },
	{ __NR_io_uring_enter, SO_WAIT_EVENTS },
	{ __NR_io_getevents, SO_WAIT_EVENTS },
	{ __NR_rt_sigtimedwait, SO_WAIT_POLL },
	{ __NR_rt_sigsuspend, SO_WAIT_POLL },
	{ __NR_wait4, SO_WAIT_CHILD },
	{ __NR_waitid, SO_WAIT_CHILD },
	/* A parent in vfork waits for its child's exec. */
	{ __NR_clone, SO_WAIT_CHILD },
	{ __NR_clone3, SO_WAIT_CHILD },
#ifdef __x86_64__ /* calls that newer architectures left out */
	{ __NR_vfork, SO_WAIT_CHILD },
	{ __NR_poll, SO_WAIT_POLL },
	{ __NR_select, SO_WAIT_POLL },
	{ __NR_epoll_wait, SO_WAIT_EVENTS },
	{ __NR_pause, SO_WAIT_POLL },
	{ __NR_open, SO_WAIT_DISK },
	{ __NR_stat, SO_WAIT_DISK },
	{ __NR_lstat, SO_WAIT_DISK },
	{ __NR_access, SO_WAIT_DISK },
	{ __NR_unlink, SO_WAIT_DISK },
	{ __NR_rename, SO_WAIT_DISK },
	{ __NR_mkdir, SO_WAIT_DISK },
	{ __NR_rmdir, SO_WAIT_DISK },
	{ __NR_readlink, SO_WAIT_DISK },
	{ __NR_getdents, SO_WAIT_DISK },
	{ __NR_creat, SO_WAIT_DISK },
#endif
};

void syscalls_fill_waits(uint8_t *waits, size_t len)
{
	for (size_t i = 0; i < sizeof(waits_by_syscall) / sizeof(waits_by_syscall[0]); i++)
		if (waits_by_syscall[i].nr >= 0 && (size_t)waits_by_syscall[i].nr < len)
			waits[waits_by_syscall[i].nr] = waits_by_syscall[i].wait;
}

/* As CFG_LIMIT_* on the kernel side: the argument's number, and its type. */
enum { LIMIT_MS = 0x10, LIMIT_TIMESPEC = 0x20, LIMIT_TIMEVAL = 0x30 };

static const struct {
	int nr;
	uint8_t how;
} limits_by_syscall[] = {
	{ __NR_epoll_pwait, LIMIT_MS | 4 },
#ifdef __NR_epoll_pwait2
	{ __NR_epoll_pwait2, LIMIT_TIMESPEC | 4 },
#endif
	{ __NR_ppoll, LIMIT_TIMESPEC | 3 },
	{ __NR_pselect6, LIMIT_TIMESPEC | 5 },
	{ __NR_io_getevents, LIMIT_TIMESPEC | 5 },
	{ __NR_rt_sigtimedwait, LIMIT_TIMESPEC | 3 },
#ifdef __x86_64__
	{ __NR_poll, LIMIT_MS | 3 },
	{ __NR_epoll_wait, LIMIT_MS | 4 },
	{ __NR_select, LIMIT_TIMEVAL | 5 },
#endif
};

/* As enum so_buffer on the kernel side. */
enum { BUFFER_PLAIN = 1, BUFFER_VECTOR = 2, BUFFER_MESSAGE = 3 };

static const struct {
	int nr;
	uint8_t how;
} buffers_by_syscall[] = {
	{ __NR_read, BUFFER_PLAIN },	  { __NR_write, BUFFER_PLAIN },	     { __NR_sendto, BUFFER_PLAIN },
	{ __NR_recvfrom, BUFFER_PLAIN },  { __NR_readv, BUFFER_VECTOR },     { __NR_writev, BUFFER_VECTOR },
	{ __NR_sendmsg, BUFFER_MESSAGE }, { __NR_recvmsg, BUFFER_MESSAGE },  { __NR_sendmmsg, BUFFER_MESSAGE },
	{ __NR_recvmmsg, BUFFER_MESSAGE },
};

void syscalls_fill_limits(uint8_t *limits, size_t len)
{
	for (size_t i = 0; i < sizeof(limits_by_syscall) / sizeof(limits_by_syscall[0]); i++)
		if ((size_t)limits_by_syscall[i].nr < len)
			limits[limits_by_syscall[i].nr] = limits_by_syscall[i].how;
}

void syscalls_fill_buffers(uint8_t *buffers, size_t len)
{
	for (size_t i = 0; i < sizeof(buffers_by_syscall) / sizeof(buffers_by_syscall[0]); i++)
		if ((size_t)buffers_by_syscall[i].nr < len)
			buffers[buffers_by_syscall[i].nr] = buffers_by_syscall[i].how;
}
