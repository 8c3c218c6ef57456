/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "lib_work.h"

#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/util.h"

char data[4096];

void spin_ns(uint64_t ns)
{
	for (uint64_t until = clock_ns() + ns; clock_ns() < until;)
		;
}

void sleep_ns(uint64_t ns)
{
	nanosleep(&(struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S}, NULL);
}

void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	worker_check(!sched_setaffinity(0, sizeof(set), &set));
}

void send_all(int fd, size_t len)
{
	worker_check(send(fd, data, len, MSG_NOSIGNAL) == (ssize_t)len);
}

void receive_all(int fd, size_t len)
{
	worker_check(recv(fd, data, len, MSG_WAITALL) == (ssize_t)len);
}

void readable_wait(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	worker_check(poll(&p, 1, -1) == 1);
}
