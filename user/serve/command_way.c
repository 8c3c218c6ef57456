/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/util.h"
#include "model/format.h"
#include "serve/ways.h"

#define TURN_MS 100 /* so often it is looked whether the sender is cut short */
#define SAID_MAX 200 /* of what the program says on standard error */

struct command_way {
	struct sender_way way;
	char *path, *user;
	double timeout_s;
};

struct run { /* one run of the program */
	pid_t pid;
	int in, err; /* our ends of its pipes; -1: closed */
	const uint8_t *bytes;
	size_t len, written;
	char said[SAID_MAX + 1];
	size_t said_len;
};

static void command_free(struct sender_way *w)
{
	struct command_way *c = (struct command_way *)w;

	free(c->path);
	free(c->user);
	free(c);
}

static bool command_same(const struct sender_way *a, const struct sender_way *b)
{
	const struct command_way *x = (const struct command_way *)a, *y = (const struct command_way *)b;

	return !strcmp(x->path, y->path) && !strcmp(x->user, y->user) && x->timeout_s == y->timeout_s;
}

/* In the child, where only what signal handlers may call is safe: other threads may have held locks. Returns what failed, with errno. */
static const char *privileges_drop(uid_t uid, gid_t gid)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return "no_new_privs";
	/* System calls, since libc's ask all threads, which the child hasn't got. From root to another user all capabilities go. */
	if (syscall(SYS_setgroups, 0, NULL) || syscall(SYS_setresgid, gid, gid, gid) || syscall(SYS_setresuid, uid, uid, uid))
		return "become another user";
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return NULL;
}

static void signals_default(void)
{
	sigset_t none;

	for (int n = 1; n < NSIG; n++)
		signal(n, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void __attribute__((noreturn)) child(const char *path, uid_t uid, gid_t gid, int in, int out, int err)
{
	static char *const environment[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/", NULL };
	char *const argv[] = { (char *)path, NULL };
	const struct rlimit no_core = { 0, 0 };
	const char *failed = NULL, *reason;

	setsid();
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(126);
	syscall(SYS_close_range, 3, ~0U, 0);
	setrlimit(RLIMIT_CORE, &no_core);
	umask(077);
	if (chdir("/"))
		failed = "go to /";
	signals_default();
	if (!failed)
		failed = privileges_drop(uid, gid);
	if (!failed) {
		execve(path, argv, environment);
		failed = "run it";
	}
	reason = strerrorname_np(errno);
	(void)!write(2, "cannot ", 7);
	(void)!write(2, failed, strlen(failed));
	(void)!write(2, ": ", 2);
	(void)!write(2, reason, strlen(reason));
	_exit(126);
}

/* 0 or negative errno. */
static int start(const struct command_way *c, struct run *r, uid_t uid, gid_t gid)
{
	_cleanup_close_ int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int in[2], err[2], failed;

	if (null < 0 || pipe2(in, O_CLOEXEC))
		return -errno;
	if (pipe2(err, O_CLOEXEC)) {
		failed = -errno;
		close(in[0]);
		close(in[1]);
		return failed;
	}
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	r->pid = fork();
	failed = r->pid < 0 ? -errno : 0;
	if (!r->pid)
		child(c->path, uid, gid, in[0], null, err[1]);
	close(in[0]);
	close(err[1]);
	r->in = in[1];
	r->err = err[0];
	return failed;
}

static void fd_close(int *fd)
{
	cleanup_close(fd);
	*fd = -1;
}

static void feed(struct run *r)
{
	ssize_t n = write(r->in, r->bytes + r->written, r->len - r->written);

	if (n > 0)
		r->written += (size_t)n;
	if (r->written == r->len || (n < 0 && errno != EAGAIN && errno != EINTR)) /* it need not read */
		fd_close(&r->in);
}

static void listen_to(struct run *r)
{
	char buf[512];
	ssize_t n = read(r->err, buf, sizeof(buf));
	size_t room = SAID_MAX - r->said_len;

	if (n > 0) {
		memcpy(r->said + r->said_len, buf, (size_t)n < room ? (size_t)n : room);
		r->said_len += (size_t)n < room ? (size_t)n : room;
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		fd_close(&r->err);
	}
}

static bool has_ended(pid_t pid)
{
	siginfo_t info = { 0 };

	return !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid == pid;
}

/* Until it has ended (true), takes too long, or the sender is cut short. It is not reaped: its number stays that of its group. */
static bool attend(struct run *r, struct sender *s, double timeout_s)
{
	const uint64_t until = clock_ns() + (uint64_t)(timeout_s * 1e9);
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);

	for (;;) {
		struct pollfd fds[] = { { pidfd, POLLIN, 0 }, { r->in, POLLOUT, 0 }, { r->err, POLLIN, 0 } };

		poll(fds, ARRAY_SIZE(fds), TURN_MS);
		if (fds[1].revents)
			feed(r);
		if (fds[2].revents)
			listen_to(r);
		if (has_ended(r->pid)) {
			if (r->err >= 0)
				listen_to(r);
			return true;
		}
		if (clock_ns() >= until || sender_cut(s))
			return false;
	}
}

static int user_look(const char *name, uid_t *ret_uid, gid_t *ret_gid)
{
	char buf[4096];
	struct passwd p, *found;
	int err = getpwnam_r(name, &p, buf, sizeof(buf), &found);

	if (!found)
		return err ? -err : -ENOENT;
	*ret_uid = p.pw_uid;
	*ret_gid = p.pw_gid;
	return 0;
}

static enum sender_outcome judge(const struct command_way *c, struct run *r, bool ended, int status, char *why, size_t why_len)
{
	char how[64];

	if (ended && WIFEXITED(status) && !WEXITSTATUS(status))
		return SENDER_SENT;
	r->said[strcspn(r->said, "\n")] = '\0';
	text_sanitize(r->said);
	if (!ended)
		snprintf(why, why_len, "%s: killed, it took longer than %g s%s%s", c->path, c->timeout_s, *r->said ? "; it said: " : "", r->said);
	else
		snprintf(why, why_len, "%s: ended %s%s%s", c->path, format_exit(status, how, sizeof(how)), *r->said ? "; it said: " : "", r->said);
	return SENDER_LATER;
}

static enum sender_outcome command_attempt(struct sender_way *w, struct sender *s, const uint8_t *bytes, size_t len, double *ret_after_s, char *why, size_t why_len)
{
	struct command_way *c = (struct command_way *)w;
	struct run r = { .in = -1, .err = -1, .bytes = bytes, .len = len };
	int status = 0, err;
	bool ended;
	uid_t uid;
	gid_t gid;

	(void)ret_after_s;
	err = user_look(c->user, &uid, &gid);
	if (err || !uid) {
		snprintf(why, why_len, "%s: command_user '%s' %s", c->path, c->user, err ? "is not known" : "has all privileges: it is not run");
		return SENDER_LATER;
	}
	err = start(c, &r, uid, gid);
	if (err) {
		snprintf(why, why_len, "%s: cannot start it: %s", c->path, strerror(-err));
		fd_close(&r.in);
		fd_close(&r.err);
		return SENDER_LATER;
	}
	ended = attend(&r, s, c->timeout_s);
	kill(-r.pid, SIGKILL); /* with what it may have left behind */
	kill(r.pid, SIGKILL); /* should it not have come to be the head of a group yet */
	waitpid(r.pid, &status, 0);
	fd_close(&r.in);
	fd_close(&r.err);
	return judge(c, &r, ended, status, why, why_len);
}

static const struct sender_way_ops command_ops = { .attempt = command_attempt, .same = command_same, .free = command_free };

struct sender_way *command_way_new(const char *path, const char *user, double timeout_s, uint64_t queue)
{
	struct command_way *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->way = (struct sender_way){ &command_ops, queue ? queue : 1 };
	c->path = strdup(path);
	c->user = strdup(user);
	c->timeout_s = timeout_s;
	if (c->path && c->user)
		return &c->way;
	command_free(&c->way);
	return NULL;
}
