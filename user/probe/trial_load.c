/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/trial_load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/util.h"

#define BATCH 16 /* between two looks at the clock */
#define MAP_BYTES (64 << 10)
#define MESSAGE_BYTES 64

struct wish {
	uint32_t op;
	uint64_t ns;
};

struct hands { /* what it works with */
	int to[2], back[2]; /* pipes to the thread that hands bytes back */
	int listener, here, there; /* a connection with itself */
	struct sockaddr_in address;
};

static void *hand_back(void *arg)
{
	struct hands *h = arg;
	char c;

	while (read(h->to[0], &c, 1) == 1 && write(h->back[1], &c, 1) == 1)
		;
	return NULL;
}

static int connection(const struct hands *h, int *ret_there)
{
	int here = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret_there = -1;
	if (here >= 0 && !connect(here, (const struct sockaddr *)&h->address, sizeof(h->address)))
		*ret_there = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
	return here;
}

static int hands_init(struct hands *h)
{
	socklen_t len = sizeof(h->address);
	pthread_t thread;
	cpu_set_t all, one;

	/* Switches are between threads of one CPU: else they would be with the idle task. */
	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(all), &all))
		return -errno;
	for (int c = 0; c < CPU_SETSIZE && !CPU_COUNT(&one); c++)
		if (CPU_ISSET(c, &all))
			CPU_SET(c, &one);
	if (sched_setaffinity(0, sizeof(one), &one) || pipe2(h->to, O_CLOEXEC) || pipe2(h->back, O_CLOEXEC))
		return -errno;
	h->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	h->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (h->listener < 0 || bind(h->listener, (const struct sockaddr *)&h->address, sizeof(h->address)) ||
	        listen(h->listener, 16) || getsockname(h->listener, (struct sockaddr *)&h->address, &len))
		return -errno;
	h->here = connection(h, &h->there);
	if (h->here < 0 || h->there < 0)
		return -errno;
	return -pthread_create(&thread, NULL, hand_back, h);
}

static uint64_t switches(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)(u.ru_nvcsw + u.ru_nivcsw);
}

static bool exchange(int out, int in, char *buf, size_t len)
{
	return write(out, buf, len) == (ssize_t)len && read(in, buf, len) == (ssize_t)len;
}

static bool connect_close(const struct hands *h)
{
	const struct linger at_once = {.l_onoff = 1}; /* nothing of it is left behind */
	int there, here = connection(h, &there);

	if (here >= 0)
		setsockopt(here, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	if (here >= 0)
		close(here);
	if (there >= 0)
		close(there);
	return here >= 0 && there >= 0;
}

/* Pages touched; 0: it failed. */
static unsigned map(bool touch)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned n = 0;
	char *p = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 0;
	for (size_t at = 0; touch && at < MAP_BYTES; at += page, n++)
		((volatile char *)p)[at] = 1;
	munmap(p, MAP_BYTES);
	return touch ? n : 1;
}

static bool process(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	return pid > 0 && waitpid(pid, NULL, 0) == pid;
}

static bool open_close(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	return fd >= 0 && !close(fd);
}

/* How many it did; 0: it failed. */
static uint64_t once(const struct hands *h, uint32_t op)
{
	char buf[MESSAGE_BYTES] = "";

	switch (op) {
	case TRIAL_SWITCH: /* counted by the kernel */
		return exchange(h->to[1], h->back[0], buf, 1);
	case TRIAL_MESSAGE:
		return exchange(h->here, h->there, buf, sizeof(buf));
	case TRIAL_CONNECTION:
		return connect_close(h);
	case TRIAL_MAPPING:
		return map(false);
	case TRIAL_PAGE:
		return map(true);
	case TRIAL_PROCESS:
		return process();
	default:
		return open_close();
	}
}

static int64_t work(const struct hands *h, const struct wish *wish)
{
	uint64_t end_ns = clock_ns() + wish->ns, before = switches(), n = 0;

	do {
		for (int i = 0; i < BATCH; i++) {
			uint64_t more = once(h, wish->op);

			if (!more)
				return errno ? -errno : -EIO;
			n += more;
		}
	} while (clock_ns() < end_ns);
	return (int64_t)(wish->op == TRIAL_SWITCH ? switches() - before : n);
}

static void serve(int fd)
{
	struct hands h = {};
	int64_t answer = hands_init(&h);
	struct wish wish;

	if (write(fd, &answer, sizeof(answer)) != sizeof(answer))
		return;
	while (read(fd, &wish, sizeof(wish)) == sizeof(wish)) {
		answer = work(&h, &wish);
		if (write(fd, &answer, sizeof(answer)) != sizeof(answer))
			return;
	}
}

int trial_load_start(struct trial_load *l)
{
	int fds[2];
	int64_t err;

	*l = (struct trial_load){.pid = -1, .fd = -1};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
		return -errno;
	fflush(NULL);
	l->pid = fork();
	if (!l->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[0]);
		serve(fds[1]);
		_exit(0);
	}
	close(fds[1]);
	l->fd = fds[0];
	err = l->pid > 0 ? trial_load_answer(l) : -errno;
	if (err < 0)
		trial_load_stop(l);
	return (int)err;
}

int trial_load_ask(const struct trial_load *l, enum trial_op op, uint64_t ns)
{
	const struct wish wish = {.op = op, .ns = ns};

	return send(l->fd, &wish, sizeof(wish), MSG_NOSIGNAL) == sizeof(wish) ? 0 : -errno;
}

int64_t trial_load_answer(const struct trial_load *l)
{
	int64_t answer;
	ssize_t n;

	do
		n = read(l->fd, &answer, sizeof(answer));
	while (n < 0 && errno == EINTR);
	return n == sizeof(answer) ? answer : n < 0 ? -errno : -ECHILD;
}

void trial_load_stop(struct trial_load *l)
{
	if (l->fd >= 0)
		close(l->fd);
	if (l->pid > 0) {
		kill(l->pid, SIGKILL);
		waitpid(l->pid, NULL, 0);
	}
	*l = (struct trial_load){.pid = -1, .fd = -1};
}
