// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Starting a command that waits until we watch it: see target_spawn in targets.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/util.h"
#include "probe/targets.h"

/* Where execvp would find file. New string in *ret, or -ENOENT, -EACCES, -ENOMEM. */
static int command_find(const char *file, char **ret)
{
	const char *path = getenv("PATH"), *end;
	int err = -ENOENT;

	if (!*file)
		return -ENOENT;
	if (!path)
		path = "/usr/local/bin:/usr/bin:/bin";
	for (const char *dir = path;; dir = end + 1) {
		char *full;
		struct stat st;
		int len;

		end = strchrnul(dir, ':');
		len = (int)(end - dir);
		if (strchr(file, '/'))
			full = strdup(file);
		else if (asprintf(&full, "%.*s%s%s", len, dir, len ? "/" : "./", file) < 0)
			full = NULL;
		if (!full)
			return -ENOMEM;
		if (!stat(full, &st)) {
			if (S_ISREG(st.st_mode) && !faccessat(AT_FDCWD, full, X_OK, AT_EACCESS)) {
				*ret = full;
				return 0;
			}
			err = -EACCES;
		}
		free(full);
		if (!*end || strchr(file, '/'))
			return err;
	}
}

/* Our own signal handling must not leak into the command. What was ignored before we came (nohup) stays ignored. */
static void reset_signals(void)
{
	static const int ours[] = { SIGINT, SIGTERM, SIGPIPE, SIGCHLD, SIGWINCH, SIGUSR1, SIGUSR2 };
	sigset_t none;

	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		signal(ours[i], SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* What is a terminal of the standard streams is none any more. */
static void terminal_leave(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i <= STDERR_FILENO && fd >= 0; i++)
		if (isatty(i))
			dup2(fd, i);
}

static void child_run(const char *file, char *const argv[], int go_fd, int err_fd) __attribute__((noreturn));
static void child_run(const char *file, char *const argv[], int go_fd, int err_fd)
{
	char go;
	ssize_t n;
	int err;

	reset_signals();
	do {
		n = read(go_fd, &go, 1);
	} while (n < 0 && errno == EINTR);
	if (n != 1) /* stakeout is gone, or gave up */
		_exit(127);
	execvp(file, argv); /* file has a slash: no search, only the fallback to sh for scripts without a #! line */
	err = errno;
	n = write(err_fd, &err, sizeof(err));
	_exit(n == sizeof(err) ? 127 : 126);
}

int target_spawn(char *const argv[], bool no_terminal, struct target_child *ret)
{
	int go[2] = { -1, -1 }, report[2] = { -1, -1 };
	_cleanup_free_ char *file = NULL;
	int err = command_find(argv[0], &file);
	pid_t pid;

	if (err)
		return err;
	if (pipe2(go, O_CLOEXEC) || pipe2(report, O_CLOEXEC)) {
		err = -errno;
		goto out;
	}
	pid = fork();
	if (pid < 0) {
		err = -errno;
		goto out;
	}
	if (!pid) {
		close(go[1]); /* so that only we hold it, and our end is its end */
		close(report[0]);
		if (no_terminal)
			terminal_leave();
		child_run(file, argv, go[0], report[1]);
	}
	*ret = (struct target_child){ .pid = pid, .go_fd = go[1], .err_fd = report[0] };
	go[1] = report[0] = -1;
out:
	for (int i = 0; i < 2; i++) {
		if (go[i] >= 0)
			close(go[i]);
		if (report[i] >= 0)
			close(report[i]);
	}
	return err;
}

/* A byte into a pipe whose reader may have been killed: without SIGPIPE. */
static ssize_t write_quietly(int fd, const void *byte)
{
	const struct timespec zero = { 0 };
	sigset_t pipe_set, old;
	ssize_t n;
	int err;

	sigemptyset(&pipe_set);
	sigaddset(&pipe_set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &pipe_set, &old);
	do {
		n = write(fd, byte, 1);
	} while (n < 0 && errno == EINTR);
	err = errno;
	if (n < 0 && err == EPIPE)
		sigtimedwait(&pipe_set, NULL, &zero);
	sigprocmask(SIG_SETMASK, &old, NULL);
	errno = err;
	return n;
}

int target_release(struct target_child *c)
{
	int child_err = 0, err = 0;
	ssize_t n;

	if (write_quietly(c->go_fd, "g") != 1) {
		err = errno == EPIPE ? -ESRCH : -errno;
	} else {
		do {
			n = read(c->err_fd, &child_err, sizeof(child_err));
		} while (n < 0 && errno == EINTR);
		if (n == sizeof(child_err))
			err = -child_err;
	}
	close(c->go_fd);
	close(c->err_fd);
	c->go_fd = c->err_fd = -1;
	return err;
}
