/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Processes, threads and tools: exact counts of known work, none for a bystander. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib_live.h"

#define FORKS 50
#define TOOLS 12

static volatile int sink;

/* --- what the test program does when it is executed as a tool --- */

static const char *tool_arg(int argc, char **argv)
{
	return argc == 3 && !strcmp(argv[1], "--tool") ? argv[2] : NULL;
}

static pid_t tool_run_as(const char *path, const char *what)
{
	pid_t pid = fork();

	if (!pid) {
		execl(path, "tool", "--tool", what, NULL);
		_exit(98);
	}
	return pid;
}

/* The name of a tool is that of the file executed: "exe". */
static pid_t tool_run(const char *what)
{
	return tool_run_as("/proc/self/exe", what);
}

static int tool_main(const char *what)
{
	int status = 0;

	if (!strcmp(what, "nest")) { /* two further tools below this one, one after the other */
		waitpid(tool_run("0"), &status, 0);
		waitpid(tool_run("3"), &status, 0);
		return 0;
	}
	if (!strcmp(what, "kill"))
		raise(SIGKILL);
	return what[0] - '0';
}

/* --- forks --- */

static int forker(struct worker *self, void *arg)
{
	int n = *(int *)arg, status;

	worker_pause(self);
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(i % 5);
		worker_check(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == i % 5);
	}
	worker_pause(self);
	return 0;
}

static void test_forks(void **state)
{
	int n = FORKS;
	struct worker *w = worker_start(forker, &n), *stranger = worker_start(forker, &n), *idle = worker_start(forker, &n);
	const struct agent_data *a;
	struct live *l;

	(void)state;
	worker_settle(w);
	worker_settle(stranger);
	worker_settle(idle);
	l = live_open(NULL);
	live_watch(l, (pid_t[]){ w->pid, idle->pid }, 2);
	worker_go(stranger);
	worker_go(w);
	live_until(l, w);
	worker_settle(stranger);
	a = live_close(l, true, 0);
	assert_int_equal(counter_of(a, M_FORKS), FORKS);
	assert_int_equal(counter_of(a, M_EXITS), FORKS);
	assert_int_equal(counter_of(a, M_EXITS_FAILED), FORKS - FORKS / 5);
	assert_int_equal(counter_of(a, M_EXECS), 0);
	assert_int_equal(counter_of(a, M_PROCESSES), 1);
	assert_int_equal(counter_of(a, M_THREADS), 1);
	assert_int_equal(a->tools_len, 0);
	{
		const struct agent_info *const *infos;
		const struct agent_data *const *all;
		int len;

		all = world_total(l->world, &infos, &len);
		assert_int_equal(len, 2);
		for (int m = M_FORKS; m <= M_EXITS_FAILED; m++)
			assert_int_equal(all[1]->metrics.value[m], 0);
		assert_int_equal(hist_count(all[1], M_ONCPU_NS), 0);
	}
	assert_int_equal(world_orphans(l->world), 0);
}

/* --- tools --- */

static int tool_starter(struct worker *self, void *arg)
{
	int status;

	(void)arg;
	worker_pause(self);
	for (int i = 0; i < TOOLS; i++) {
		char what[2] = { '0' + i % 3, '\0' };

		worker_check(waitpid(tool_run(what), &status, 0) > 0 && WEXITSTATUS(status) == i % 3);
	}
	worker_check(waitpid(tool_run("kill"), &status, 0) > 0 && WTERMSIG(status) == SIGKILL);
	worker_check(waitpid(tool_run("nest"), &status, 0) > 0 && status == 0);
	worker_pause(self);
	return 0;
}

static void test_tools(void **state)
{
	struct worker *w = worker_start(tool_starter, NULL);
	const struct agent_data *a;
	const struct tool_data *t;
	const int runs = TOOLS + 1 + 3; /* the ones with a status, the killed one, the nest with its two */
	struct live *l;

	(void)state;
	l = live_alone(w, NULL);
	a = live_close(l, true, 0);
	assert_int_equal(counter_of(a, M_FORKS), runs);
	assert_int_equal(counter_of(a, M_EXECS), runs);
	assert_int_equal(counter_of(a, M_EXITS), runs);
	assert_int_equal(counter_of(a, M_EXITS_FAILED), TOOLS - TOOLS / 3 + 1 + 1);
	assert_int_equal(hist_count(a, M_TOOL_NS), runs);
	assert_int_equal(hist_count(a, M_LAUNCH_NS), runs);
	assert_int_equal(a->tools_len, 1);
	t = tool_of(a, "exe"); /* of /proc/self/exe */
	assert_non_null(t);
	assert_int_equal(t->metrics.value[M_EXECS], runs);
	assert_int_equal(t->metrics.value[M_FORKS], 2); /* the nest's */
	assert_int_equal(t->metrics.hist[M_TOOL_NS]->count, runs);
	assert_int_equal(t->runs_live, 0);
	/* A tool's own time on the CPU is a part of the agent's, and no tool ran longer than everything took. */
	assert_in_range(t->metrics.value[M_CPU_USER_NS] + t->metrics.value[M_CPU_SYSTEM_NS], 1, hist_sum(a, M_ONCPU_NS));
	assert_in_range(t->metrics.hist[M_TOOL_NS]->max, 1, l->end_ns - l->start_ns);
	assert_int_equal(world_orphans(l->world), 0);
}

#define ALPHAS 3
#define BETAS 4

/* Links to this program, so that it runs as tools of other names. */
static char folder[] = "/tmp/live-XXXXXX", alpha[64], beta[64];

static void links_make(void)
{
	char self[512];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	self[n] = '\0';
	assert_non_null(mkdtemp(strcpy(folder, "/tmp/live-XXXXXX")));
	snprintf(alpha, sizeof(alpha), "%s/alpha", folder);
	snprintf(beta, sizeof(beta), "%s/beta", folder);
	assert_int_equal(symlink(self, alpha), 0);
	assert_int_equal(symlink(self, beta), 0);
}

static void links_remove(void)
{
	unlink(alpha);
	unlink(beta);
	rmdir(folder);
}

static int name_starter(struct worker *self, void *arg)
{
	int status;

	(void)arg;
	worker_pause(self);
	for (int i = 0; i < ALPHAS + BETAS; i++)
		worker_check(waitpid(tool_run_as(i < ALPHAS ? alpha : beta, i < ALPHAS ? "0" : "1"), &status, 0) > 0);
	worker_pause(self);
	return 0;
}

static void test_tools_by_name(void **state)
{
	const struct tool_data *t;
	const struct agent_data *a;
	struct worker *w;
	struct live *l;

	(void)state;
	links_make();
	w = worker_start(name_starter, NULL);
	l = live_alone(w, NULL);
	links_remove();
	a = live_close(l, true, 0);
	assert_int_equal(a->tools_len, 2);
	t = tool_of(a, "alpha");
	assert_non_null(t);
	assert_int_equal(t->metrics.value[M_EXECS], ALPHAS);
	assert_int_equal(t->metrics.value[M_EXITS], ALPHAS);
	assert_int_equal(t->metrics.value[M_EXITS_FAILED], 0);
	t = tool_of(a, "beta");
	assert_non_null(t);
	assert_int_equal(t->metrics.value[M_EXECS], BETAS);
	assert_int_equal(t->metrics.value[M_EXITS_FAILED], BETAS);
	assert_int_equal(t->metrics.hist[M_TOOL_NS]->count, BETAS);
}

/* --- threads --- */

#define THREADS 7

static pthread_barrier_t barrier;

static void *thread_main(void *arg)
{
	(void)arg;
	pthread_barrier_wait(&barrier); /* all are there */
	pthread_barrier_wait(&barrier); /* the test has looked */
	return NULL;
}

static int threader(struct worker *self, void *arg)
{
	pthread_t t[THREADS];

	(void)arg;
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	worker_pause(self);
	for (int i = 0; i < THREADS; i++)
		worker_check(!pthread_create(&t[i], NULL, thread_main, NULL));
	pthread_barrier_wait(&barrier);
	worker_pause(self);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	worker_pause(self);
	return 0;
}

static void test_threads(void **state)
{
	struct worker *w = worker_start(threader, NULL);
	const struct agent_data *a;
	struct live *l;

	(void)state;
	l = live_alone(w, NULL);
	a = live_close(l, false, 0);
	assert_int_equal(counter_of(a, M_THREADS), THREADS + 1);
	assert_int_equal(counter_of(a, M_PROCESSES), 1);
	assert_int_equal(counter_of(a, M_FORKS), 0);
	world_next(l->world);
	worker_go(w);
	live_until(l, w);
	a = live_close(l, true, 0);
	assert_int_equal(counter_of(a, M_FORKS), 0); /* threads are no processes */
	assert_int_equal(counter_of(a, M_EXITS), 0);
	assert_int_equal(counter_of(a, M_THREADS), 1);
}

/* --- what was there before --- */

static int old_parent(struct worker *self, void *arg)
{
	int go[2], status;
	pid_t pid;

	(void)arg;
	worker_check(!pipe(go));
	pid = fork();
	if (!pid) { /* a descendant before attach, which forks in its turn while watched */
		char c;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(go[1]);
		(void)!read(go[0], &c, 1);
		for (int i = 0; i < 5; i++)
			waitpid(tool_run("0"), &status, 0);
		_exit(0);
	}
	self->value[0] = pid;
	worker_pause(self);
	worker_check(write(go[1], "x", 1) == 1);
	worker_check(waitpid(pid, &status, 0) == pid);
	worker_pause(self);
	return 0;
}

static void test_descendant_before_attach(void **state)
{
	struct worker *w = worker_start(old_parent, NULL);
	const struct agent_data *a;
	struct live *l;

	(void)state;
	worker_settle(w);
	l = live_open(NULL);
	live_watch(l, &w->pid, 1);
	assert_int_equal(world_agent_of(l->world, w->value[0]), 0);
	assert_int_equal(world_agent_of(l->world, getpid()), -1);
	worker_go(w);
	live_until(l, w);
	a = live_close(l, true, 0);
	assert_int_equal(counter_of(a, M_FORKS), 5);
	assert_int_equal(counter_of(a, M_EXECS), 5);
	assert_int_equal(counter_of(a, M_EXITS), 6);
	assert_int_equal(counter_of(a, M_EXITS_FAILED), 0);
	assert_int_equal(counter_of(a, M_PROCESSES), 1);
}

/* --- exec from another thread than the first --- */

static void *thread_exec(void *arg)
{
	(void)arg;
	execl("/proc/self/exe", "tool", "--tool", "4", NULL);
	_exit(98);
}

static int thread_execer(struct worker *self, void *arg)
{
	int status;

	(void)arg;
	worker_pause(self);
	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();

		if (!pid) {
			pthread_t t;

			pthread_create(&t, NULL, thread_exec, NULL);
			pthread_join(t, NULL);
			_exit(97);
		}
		worker_check(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 4);
	}
	worker_pause(self);
	return 0;
}

static void test_exec_from_thread(void **state)
{
	struct worker *w = worker_start(thread_execer, NULL);
	const struct agent_data *a;
	struct live *l;

	(void)state;
	l = live_alone(w, NULL);
	a = live_close(l, true, 0);
	assert_int_equal(counter_of(a, M_FORKS), 10);
	assert_int_equal(counter_of(a, M_EXECS), 10);
	assert_int_equal(counter_of(a, M_EXITS), 10);
	assert_int_equal(counter_of(a, M_EXITS_FAILED), 10);
	assert_int_equal(hist_count(a, M_TOOL_NS), 10);
	assert_int_equal(counter_of(a, M_PROCESSES), 1);
	assert_int_equal(counter_of(a, M_THREADS), 1);
	assert_int_equal(world_orphans(l->world), 0);
}

/* --- the end of an agent --- */

static int spinner(struct worker *self, void *arg)
{
	(void)arg;
	worker_pause(self);
	for (;;)
		sink++;
	return 0;
}

static void test_killed_agent_ends(void **state)
{
	struct worker *w = worker_start(spinner, NULL), *other = worker_start(spinner, NULL);
	const struct agent_data *a;
	struct live *l;

	(void)state;
	worker_settle(w);
	worker_settle(other);
	l = live_open(NULL);
	live_watch(l, (pid_t[]){ w->pid, other->pid }, 2);
	assert_int_equal(world_agents_alive(l->world), 2);
	worker_go(w);
	kill(w->pid, SIGKILL);
	assert_int_equal(worker_wait(w), SIGKILL);
	a = live_close(l, true, 0);
	assert_false(a->alive);
	assert_int_equal(counter_of(a, M_EXITS), 1);
	assert_int_equal(counter_of(a, M_EXITS_FAILED), 1);
	assert_int_equal(world_agents_alive(l->world), 1);
	assert_true(world_agent_info(l->world, 0)->has_exit);
	assert_int_equal(world_agent_info(l->world, 0)->exit_code, SIGKILL);
	assert_false(world_agent_info(l->world, 1)->has_exit);
}

int main(int argc, char **argv)
{
	const char *what = tool_arg(argc, argv);
	const struct CMUnitTest tests[] = {
		LIVE_TEST(test_forks),
		LIVE_TEST(test_tools),
		LIVE_TEST(test_tools_by_name),
		LIVE_TEST(test_threads),
		LIVE_TEST(test_descendant_before_attach),
		LIVE_TEST(test_exec_from_thread),
		LIVE_TEST(test_killed_agent_ends),
	};

	if (what)
		return tool_main(what);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
