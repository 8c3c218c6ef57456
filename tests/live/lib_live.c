/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "lib_live.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/util.h"
#include "probe/features.h"

#define WORKERS_MAX 64

static struct worker workers[WORKERS_MAX];
static int workers_len;
static struct live live;

/* --- workers --- */

struct worker *worker_start(worker_fn fn, void *arg)
{
	struct worker *w = &workers[workers_len];

	assert_true(workers_len < WORKERS_MAX);
	w->go_fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
	w->done_fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
	w->value = mmap(NULL, LIVE_VALUES * sizeof(*w->value), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(w->go_fd >= 0 && w->done_fd >= 0 && w->value != MAP_FAILED);
	fflush(stdout);
	fflush(stderr);
	w->pid = fork();
	assert_true(w->pid >= 0);
	if (!w->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn(w, arg));
	}
	workers_len++;
	return w;
}

static void event_post(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

static void event_take(int fd)
{
	uint64_t one;

	while (read(fd, &one, sizeof(one)) < 0)
		if (errno != EINTR)
			abort();
}

void worker_pause(struct worker *self)
{
	event_post(self->done_fd);
	event_take(self->go_fd);
}

void worker_check_at(bool ok, const char *what, const char *file, int line)
{
	if (ok)
		return;
	fprintf(stderr, "%s:%d: in a worker: %s: %s\n", file, line, what, strerror(errno));
	_exit(99);
}

void worker_go(struct worker *w)
{
	event_post(w->go_fd);
}

void worker_settle(struct worker *w)
{
	struct pollfd p = { .fd = w->done_fd, .events = POLLIN };
	int status;

	while (poll(&p, 1, 1000) < 1) /* the time limit only serves to see that it died */
		if (waitpid(w->pid, &status, WNOHANG) == w->pid) {
			w->pid = 0;
			fail_msg("worker ended with status %#x", status);
		}
	event_take(w->done_fd);
	task_blocked(w->pid, w->pid);
}

int worker_wait(struct worker *w)
{
	int status = -1;

	assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
	w->pid = 0;
	return status;
}

/* --- /proc --- */

/* The kernel itself answers "running" here as long as the thread is on a CPU or about to be: no guess from its state. */
void task_blocked(pid_t pid, pid_t tid)
{
	char path[64], buf[256];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	for (;;) {
		if (file_read(path, buf, sizeof(buf)) <= 0)
			fail_msg("%s cannot be read", path);
		if (strncmp(buf, "running", 7))
			return;
		sched_yield();
	}
}

long long status_number(pid_t pid, const char *key)
{
	char path[64], buf[8192], *at;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (file_read(path, buf, sizeof(buf)) <= 0)
		return -1;
	for (at = buf; (at = strstr(at, key)); at++)
		if (at == buf || at[-1] == '\n')
			return strtoll(at + strlen(key), NULL, 10);
	return -1;
}

struct schedstat schedstat_read(pid_t pid, pid_t tid)
{
	struct schedstat s = {};
	unsigned long long ran = 0, queued = 0, slices = 0;
	char path[64], buf[128];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", pid, tid);
	if (file_read(path, buf, sizeof(buf)) <= 0 || sscanf(buf, "%llu %llu %llu", &ran, &queued, &slices) != 3)
		fail_msg("%s cannot be read", path);
	s.ran_ns = ran;
	s.queued_ns = queued;
	s.slices = slices;
	return s;
}

/* --- the observer --- */

void live_need(enum probe_id p)
{
	char why[256];

	if (probe_available(p, why, sizeof(why)))
		return;
	print_message("skip: kernel: probe %s: %s\n", probe_infos[p].name, why);
	skip();
}

struct live *live_open(const struct observer_config *cfg)
{
	struct observer_config c = { .ring_bytes = 8 << 20 };
	char why[512] = "";

	if (cfg)
		c = *cfg;
	for (int p = 0; p < PROBE_COUNT; p++)
		c.probe_on[p] |= probe_infos[p].on;
	if (observer_new(&c, &live.observer, why, sizeof(why)))
		fail_msg("observer_new: %s", why);
	assert_int_equal(observer_load(live.observer), 0);
	assert_int_equal(observer_attach(live.observer), 0);
	for (int p = 0; p < PROBE_COUNT; p++)
		live.on[p] = !strcmp(observer_probes(live.observer)[p].state, "on");
	live.world = world_new(live.on);
	assert_non_null(live.world);
	live.collector = collector_new(live.observer, live.world, 100);
	assert_non_null(live.collector);
	return &live;
}

void live_watch(struct live *l, const pid_t *pids, int n)
{
	uint32_t tgids[WORKERS_MAX], slots[WORKERS_MAX];

	assert_true(n <= WORKERS_MAX);
	for (int i = 0; i < n; i++) {
		struct agent_info info = { .name = strdup("worker"), .pid = pids[i], .cmdline = strdup(""), .cgroup = strdup("") };
		int slot = world_agent_add(l->world, &info);

		assert_true(slot > 0);
		tgids[i] = pids[i];
		slots[i] = slot;
	}
	if (!l->start_ns) {
		l->start_ns = clock_ns();
		world_start(l->world, l->start_ns);
	}
	assert_true(observer_seed(l->observer, tgids, slots, n) >= n);
	assert_int_equal(collector_baseline(l->collector), 0);
}

void live_until(struct live *l, struct worker *w)
{
	struct pollfd p[2] = { { .fd = w->done_fd, .events = POLLIN }, { .fd = observer_fd(l->observer), .events = POLLIN } };

	do {
		poll(p, 2, (int)collector_pause_ms(l->collector));
		assert_true(collector_drain(l->collector) >= 0);
		if (waitpid(w->pid, NULL, WNOHANG | WNOWAIT) == w->pid)
			break;
	} while (!(p[0].revents & POLLIN));
	worker_settle(w);
}

struct live *live_alone(struct worker *w, const struct observer_config *cfg)
{
	struct live *l;

	worker_settle(w);
	l = live_open(cfg);
	live_watch(l, &w->pid, 1);
	worker_go(w);
	live_until(l, w);
	return l;
}

static void books_check(struct live *l, const struct observer_counts *before)
{
	const struct collector_counts *got = collector_counts(l->collector);
	struct observer_counts now;

	observer_counts_read(l->observer, &now);
	assert_int_equal(got->bad, 0);
	assert_int_equal(got->late, 0);
	for (int k = 0; k < SO_KINDS; k++) {
		uint64_t lost = 0;

		for (int r = 0; r < SO_LOSS_COUNT; r++)
			lost += now.lost[k][r];
		assert_int_equal(lost, 0);
		/* Strangers that connect to unix listeners may go on meanwhile; our workers are quiet. */
		assert_true(k == SO_ACCEPT || now.seen[k] == got->received[k]);
		assert_in_range(got->received[k], before->seen[k], now.seen[k]);
	}
}

const struct agent_data *live_close(struct live *l, bool last, int id)
{
	const struct agent_data *const *agents;
	const struct agent_info *const *infos;
	struct observer_counts before;
	int n;

	observer_counts_read(l->observer, &before);
	assert_int_equal(collector_close(l->collector, last, &l->end_ns), 0);
	if (last) {
		books_check(l, &before);
		world_interval(l->world, &n); /* which the total has only then */
		agents = world_total(l->world, &infos, &n);
	} else {
		agents = world_interval(l->world, &n);
	}
	for (int i = 0; i < n; i++)
		if (agents[i]->id == id)
			return agents[i];
	return NULL;
}

uint64_t counter_of(const struct agent_data *a, enum metric_id m)
{
	assert_non_null(a);
	return a->metrics.value[m];
}

uint64_t hist_count(const struct agent_data *a, enum metric_id m)
{
	assert_non_null(a);
	return a->metrics.hist[m] ? a->metrics.hist[m]->count : 0;
}

uint64_t hist_sum(const struct agent_data *a, enum metric_id m)
{
	assert_non_null(a);
	return a->metrics.hist[m] ? a->metrics.hist[m]->sum : 0;
}

const struct tool_data *tool_of(const struct agent_data *a, const char *name)
{
	for (int i = 0; i < a->tools_len; i++)
		if (!strcmp(a->tools[i].name, name))
			return &a->tools[i];
	return NULL;
}

void assert_near_at(double a, double b, double limit, const char *what, const char *file, int line)
{
	double off = a > b ? a - b : b - a;

	if (off <= limit)
		return;
	print_error("%s is %.0f, expected %.0f, off by %.0f (at most %.0f)\n", what, a, b, off, limit);
	_fail(file, line);
}

/* --- around each test --- */

int live_setup(void **state)
{
	(void)state;
	memset(&live, 0, sizeof(live));
	workers_len = 0;
	return 0;
}

int live_teardown(void **state)
{
	(void)state;
	for (int i = 0; i < workers_len; i++) {
		struct worker *w = &workers[i];

		if (w->pid) {
			kill(w->pid, SIGKILL);
			waitpid(w->pid, NULL, 0);
		}
		close(w->go_fd);
		close(w->done_fd);
		munmap((void *)w->value, LIVE_VALUES * sizeof(*w->value));
	}
	memset(workers, 0, sizeof(workers));
	collector_free(live.collector);
	world_free(live.world);
	observer_free(live.observer);
	return 0;
}
