/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where the time goes: against the kernel's own counts, against waits of known reason and length, and that it all adds up. */
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/util.h"
#include "lib_work.h"

static volatile int sink;

/* --- against /proc --- */

/* Two of them share a CPU: they run out of their time and preempt each other. */
static int busy_and_asleep(struct worker *self, void *arg)
{
	(void)arg;
	pin(0);
	worker_pause(self);
	for (int i = 0; i < 100; i++) {
		spin_ns(2000000);
		sleep_ns(200000);
		sched_yield();
	}
	worker_pause(self);
	return 0;
}

static void test_against_proc(void **state)
{
	struct worker *w[2];
	struct schedstat before[2], after;
	long long voluntary[2], involuntary[2];
	const struct agent_data *a;
	struct live *l;

	(void)state;
	for (int i = 0; i < 2; i++) {
		w[i] = worker_start(busy_and_asleep, NULL);
		worker_settle(w[i]);
		before[i] = schedstat_read(w[i]->pid, w[i]->pid);
		voluntary[i] = status_number(w[i]->pid, "voluntary_ctxt_switches:");
		involuntary[i] = status_number(w[i]->pid, "nonvoluntary_ctxt_switches:");
	}
	l = live_open(NULL);
	live_watch(l, (pid_t[]){ w[0]->pid, w[1]->pid }, 2);
	worker_go(w[0]);
	worker_go(w[1]);
	live_until(l, w[0]);
	live_until(l, w[1]);
	for (int i = 0; i < 2; i++) {
		const struct agent_info *const *infos;
		uint64_t ran, queued, slices;
		int len;

		after = schedstat_read(w[i]->pid, w[i]->pid);
		voluntary[i] = status_number(w[i]->pid, "voluntary_ctxt_switches:") - voluntary[i];
		involuntary[i] = status_number(w[i]->pid, "nonvoluntary_ctxt_switches:") - involuntary[i];
		if (i == 0)
			live_close(l, true, 0);
		a = world_total(l->world, &infos, &len)[i];
		ran = after.ran_ns - before[i].ran_ns;
		queued = after.queued_ns - before[i].queued_ns;
		slices = after.slices - before[i].slices;
		/* The load does what it should. Not 100: on a starved emulator a short sleep may be over before it begins. */
		assert_true(voluntary[i] >= 10 && involuntary[i] >= 1);
		assert_int_equal(counter_of(a, M_SWITCHES_VOLUNTARY), voluntary[i]);
		assert_int_equal(counter_of(a, M_SWITCHES_INVOLUNTARY), involuntary[i]);
		assert_near(hist_sum(a, M_ONCPU_NS), ran, ran / 100 > 2000000 ? ran / 100 : 2000000);
		assert_near(hist_sum(a, M_RUNQ_NS), queued, queued / 100 > 2000000 ? queued / 100 : 2000000);
		assert_near(hist_count(a, M_ONCPU_NS), slices, slices / 100 + 2);
		assert_near(counter_of(a, M_CPU_USER_NS) + counter_of(a, M_CPU_SYSTEM_NS), ran, ran / 100 > 2000000 ? ran / 100 : 2000000);
	}
}

/* --- waits of a known reason --- */

#define WAITS 8
#define WAIT_NS 5000000ULL

struct scene { /* shared by the waiting worker and the test, which ends each wait */
	int pipe[2], socket[2];
	uint32_t *futex;
	volatile uint64_t *value; /* of the worker */
};

struct reason {
	const char *name;
	enum metric_id metric;
	void (*wait)(struct scene *s, int turn);
	void (*end)(struct scene *s, int turn); /* NULL: it ends by itself after WAIT_NS */
	bool children; /* the worker has a child a turn, waiting in pause() */
};

static void pipe_wait(struct scene *s, int turn)
{
	char c;

	(void)turn;
	worker_check(read(s->pipe[0], &c, 1) == 1);
}

static void pipe_end(struct scene *s, int turn)
{
	(void)turn;
	assert_int_equal(write(s->pipe[1], "x", 1), 1);
}

static void poll_wait(struct scene *s, int turn)
{
	struct pollfd p = { .fd = s->pipe[0], .events = POLLIN };

	worker_check(poll(&p, 1, -1) == 1);
	pipe_wait(s, turn);
}

static void recv_wait(struct scene *s, int turn)
{
	char c;

	(void)turn;
	worker_check(recv(s->socket[0], &c, 1, 0) == 1);
}

static void read_socket_wait(struct scene *s, int turn)
{
	char c;

	(void)turn;
	worker_check(read(s->socket[0], &c, 1) == 1);
}

static void socket_end(struct scene *s, int turn)
{
	(void)turn;
	assert_int_equal(send(s->socket[1], "x", 1, 0), 1);
}

static void futex_wait(struct scene *s, int turn)
{
	(void)turn;
	worker_check(syscall(SYS_futex, s->futex, FUTEX_WAIT, 0, NULL, NULL, 0) == 0);
}

static void futex_end(struct scene *s, int turn)
{
	(void)turn;
	assert_int_equal(syscall(SYS_futex, s->futex, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
}

static void child_wait(struct scene *s, int turn)
{
	worker_check(waitpid(s->value[turn], NULL, 0) == (pid_t)s->value[turn]);
}

static void child_end(struct scene *s, int turn)
{
	kill(s->value[turn], SIGKILL);
}

static void sleep_wait(struct scene *s, int turn)
{
	(void)s, (void)turn;
	sleep_ns(WAIT_NS);
}

static const struct reason reasons[] = {
	{ "sleep", M_WAIT_SLEEP_NS, sleep_wait, NULL, false },
	{ "futex", M_WAIT_LOCK_NS, futex_wait, futex_end, false },
	{ "pipe", M_WAIT_PIPE_NS, pipe_wait, pipe_end, false },
	{ "poll", M_WAIT_POLL_NS, poll_wait, pipe_end, false },
	{ "child", M_WAIT_CHILD_NS, child_wait, child_end, true },
	{ "recv", M_WAIT_NET_NS, recv_wait, socket_end, false },
	{ "read of a socket", M_WAIT_NET_NS, read_socket_wait, socket_end, false },
};

struct play {
	const struct reason *reason;
	struct scene *scene;
};

static int waiter(struct worker *self, void *arg)
{
	struct play *p = arg;
	uint64_t start;

	p->scene->value = self->value;
	for (int i = 0; i < WAITS && p->reason->children; i++) {
		pid_t pid = fork();

		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		self->value[i] = pid;
	}
	worker_pause(self);
	start = clock_ns();
	for (int i = 0; i < WAITS; i++) {
		self->value[WAITS + 2] = i + 1;
		p->reason->wait(p->scene, i);
		self->value[WAITS + 1] = i + 1;
	}
	self->value[WAITS] = clock_ns() - start;
	worker_pause(self);
	return 0;
}

static void reason_check(const struct reason *r)
{
	struct scene scene;
	struct play play = { r, &scene };
	const struct agent_data *a;
	uint64_t least = r->end ? 0 : WAITS * WAIT_NS, sum;
	struct worker *w;
	struct live *l;

	assert_int_equal(pipe(scene.pipe), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, scene.socket), 0);
	scene.futex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(scene.futex != MAP_FAILED);
	w = worker_start(waiter, &play);
	scene.value = w->value;
	worker_settle(w);
	for (int i = 0; i < WAITS && r->children; i++)
		task_blocked(w->value[i], w->value[i]);
	l = live_open(NULL);
	live_watch(l, &w->pid, 1);
	worker_go(w);
	for (int i = 0; i < WAITS && r->end; i++) {
		uint64_t from;

		while (w->value[WAITS + 2] <= (uint64_t)i)
			sched_yield();
		task_blocked(w->pid, w->pid);
		from = clock_ns();
		sleep_ns(WAIT_NS); /* the length of the wait, not a wait for something to have happened */
		least += clock_ns() - from;
		r->end(&scene, i);
		while (w->value[WAITS + 1] <= (uint64_t)i) /* a child takes its time to die */
			sched_yield();
	}
	live_until(l, w);
	a = live_close(l, true, 0);
	sum = hist_sum(a, r->metric);
	for (int m = M_WAIT_NET_NS; m <= M_WAIT_OTHER_NS; m++) {
		uint64_t expected = m == (int)r->metric ? WAITS : m == M_WAIT_OTHER_NS ? 2 /* for the test's word */ : 0;

		if (m == M_WAIT_POLL_NS && r->children)
			expected = WAITS; /* the children in pause() */
		if (m == M_WAIT_FAULT_NS)
			continue; /* a page may be on its way at any time */
		if (hist_count(a, m) != expected)
			fail_msg("%s: %s has %d waits, not %d", r->name, metric_infos[m].name, (int)hist_count(a, m), (int)expected);
	}
	/* The test saw it blocked that long, the worker was in its calls that long: the wait lies between. A timer is armed before the switch: what
	 * the worker ran, and waited for a CPU, may be of that. */
	if (sum + hist_sum(a, M_ONCPU_NS) + hist_sum(a, M_RUNQ_NS) < least - least / 100 || sum > w->value[WAITS])
		fail_msg("%s: %.3f ms of %s, not in %.3f..%.3f", r->name, sum / 1e6, metric_infos[r->metric].name, least / 1e6,
			 w->value[WAITS] / 1e6);
	close(scene.pipe[0]), close(scene.pipe[1]), close(scene.socket[0]), close(scene.socket[1]);
	munmap(scene.futex, 4096);
}

static void test_wait_reasons(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		reason_check(&reasons[i]);
		live_teardown(state);
		live_setup(state);
	}
}

/* --- the ledger --- */

static int ledger_spin(struct worker *self, void *arg)
{
	(void)arg;
	worker_pause(self);
	for (;;)
		sink++;
	return 0;
}

static int ledger_sleep(struct worker *self, void *arg)
{
	(void)arg;
	worker_pause(self);
	sleep_ns(3600 * NS_PER_S);
	return 0;
}

static int ledger_mix(struct worker *self, void *arg)
{
	(void)arg;
	worker_pause(self);
	for (;;) {
		spin_ns(300000);
		sleep_ns(300000);
	}
	return 0;
}

#define INTERVALS 6
#define INTERVAL_NS 100000000ULL

enum { SPINS, SLEEPS, STOPPED, STOPPED_ASLEEP, MIXES, PARTS };

/* Drains until the interval's end. */
static void interval_run(struct live *l, uint64_t until)
{
	struct pollfd p = { .fd = observer_fd(l->observer), .events = POLLIN };
	uint64_t now;

	while ((now = clock_ns()) < until) {
		double ms = collector_pause_ms(l->collector), left = (until - now) / 1e6 + 1;

		poll(&p, 1, (int)(ms < left ? ms : left));
		assert_true(collector_drain(l->collector) >= 0);
	}
}

static void ledger_check(const struct agent_data *a, int part, uint64_t length, bool whole)
{
	uint64_t sum = ledger_sum(&a->main), is;

	assert_near(a->observed_s * 1e9, length, whole ? 1000 : length);
	assert_near(sum, a->observed_s * 1e9, a->observed_s * 1e6);
	if (!whole)
		return;
	assert_near(ledger_sum(&a->threads), sum, 1000); /* one thread each */
	switch (part) {
	case SPINS:
		is = a->main.ns[STATE_RUNNING] + a->main.ns[STATE_RUNNABLE];
		assert_true(a->main.ns[STATE_RUNNING] > 0);
		break;
	case SLEEPS:
		is = a->main.ns[STATE_SLEEP];
		break;
	case MIXES:
		is = a->main.ns[STATE_RUNNING] + a->main.ns[STATE_RUNNABLE] + a->main.ns[STATE_SLEEP];
		assert_true(a->main.ns[STATE_RUNNING] > 0 && a->main.ns[STATE_SLEEP] > 0);
		break;
	default:
		is = a->main.ns[STATE_OTHER] + (part == STOPPED_ASLEEP ? a->main.ns[STATE_SLEEP] : 0);
	}
	assert_near(is, length, length / 1000.);
}

static void stopped_wait(pid_t pid)
{
	siginfo_t info;

	assert_int_equal(waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT), 0);
	task_blocked(pid, pid);
}

static void test_ledger_closes(void **state)
{
	static const worker_fn fns[PARTS] = { ledger_spin, ledger_sleep, ledger_spin, ledger_sleep, ledger_mix };
	struct worker *w[PARTS];
	pid_t pids[PARTS];
	uint64_t sums[PARTS] = {}, last_ns, first_ns = 0;
	struct live *l;

	(void)state;
	for (int i = 0; i < PARTS; i++) {
		w[i] = worker_start(fns[i], NULL);
		worker_settle(w[i]);
		pids[i] = w[i]->pid;
	}
	l = live_open(NULL);
	for (int i = 0; i < PARTS; i++)
		worker_go(w[i]);
	task_blocked(pids[SLEEPS], pids[SLEEPS]);
	task_blocked(pids[STOPPED_ASLEEP], pids[STOPPED_ASLEEP]);
	for (int i = STOPPED; i <= STOPPED_ASLEEP; i++) {
		kill(pids[i], SIGSTOP);
		stopped_wait(pids[i]);
	}
	live_watch(l, pids, PARTS);
	last_ns = l->start_ns;
	for (int t = 0; t < INTERVALS; t++) {
		const struct agent_data *const *agents;
		int n;

		interval_run(l, last_ns + INTERVAL_NS);
		live_close(l, false, 0);
		agents = world_interval(l->world, &n);
		assert_int_equal(n, PARTS);
		for (int i = 0; i < PARTS; i++) {
			ledger_check(agents[i], i, l->end_ns - last_ns, t > 0); /* the first one begins with the seeding */
			if (t > 0)
				sums[i] += ledger_sum(&agents[i]->main);
		}
		last_ns = l->end_ns;
		if (t == 0)
			first_ns = last_ns;
		world_next(l->world);
	}
	for (int i = 0; i < PARTS; i++)
		assert_near(sums[i], last_ns - first_ns, (last_ns - first_ns) / 1000);
	assert_int_equal(collector_counts(l->collector)->late, 0);
}

/* --- threads that move and take over --- */

#define MOVES 40

static int mover(struct worker *self, void *arg)
{
	(void)arg;
	pin(0);
	worker_pause(self);
	for (int i = 0; i < MOVES; i++)
		pin((i + 1) % 2);
	worker_pause(self);
	return 0;
}

static void test_migrations(void **state)
{
	const struct agent_data *a;
	struct worker *w;
	struct live *l;

	(void)state;
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		print_message("skip: kernel: has one CPU only\n");
		skip();
	}
	w = worker_start(mover, NULL);
	l = live_alone(w, NULL);
	a = live_close(l, true, 0);
	assert_int_equal(counter_of(a, M_MIGRATIONS), MOVES);
	assert_near(ledger_sum(&a->main), a->observed_s * 1e9, a->observed_s * 1e6);
}

static int exec_pipe[2];

static void *exec_main(void *arg)
{
	(void)arg;
	execl("/proc/self/exe", "tool", "--pause", NULL);
	_exit(98);
}

static int thread_execer(struct worker *self, void *arg)
{
	pthread_t t;

	(void)arg;
	close(exec_pipe[0]);
	worker_pause(self);
	pthread_create(&t, NULL, exec_main, NULL);
	pthread_join(t, NULL);
	return 97;
}

static void test_exec_from_thread(void **state)
{
	struct worker *w;
	const struct agent_data *a;
	struct live *l;
	uint64_t begin, length;
	char c;

	(void)state;
	assert_int_equal(pipe2(exec_pipe, O_CLOEXEC), 0);
	w = worker_start(thread_execer, NULL);
	close(exec_pipe[1]);
	worker_settle(w);
	l = live_open(NULL);
	live_watch(l, &w->pid, 1);
	begin = clock_ns();
	worker_go(w);
	assert_int_equal(read(exec_pipe[0], &c, 1), 0); /* its end closes with the exec */
	close(exec_pipe[0]);
	/* It is through with the start of the program when it waits in pause(): an interval later at the latest. */
	do
		interval_run(l, clock_ns() + INTERVAL_NS);
	while (task_blocked(w->pid, w->pid), status_number(w->pid, "SigCgt:") < 0);
	length = clock_ns() - begin;
	a = live_close(l, true, 0);
	assert_int_equal(counter_of(a, M_EXECS), 1);
	assert_int_equal(counter_of(a, M_THREADS), 1);
	assert_int_equal(counter_of(a, M_EXITS), 0);
	assert_int_equal(a->tools_len, 0); /* an agent that executes something is still the agent */
	assert_near(ledger_sum(&a->main), a->observed_s * 1e9, a->observed_s * 1e6);
	assert_in_range(ledger_sum(&a->main), length, l->end_ns - l->start_ns);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		LIVE_TEST(test_against_proc), LIVE_TEST(test_wait_reasons),	LIVE_TEST(test_ledger_closes),
		LIVE_TEST(test_migrations),   LIVE_TEST(test_exec_from_thread),
	};

	if (argc == 2 && !strcmp(argv[1], "--pause"))
		return pause();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
