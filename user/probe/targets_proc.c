/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What /proc says of a process, and of an agent. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "probe/agent_name.h"
#include "probe/targets_parts.h"

#define CMDLINE_KEPT 4096 /* handed out */
#define PF_KTHREAD 0x00200000 /* include/linux/sched.h; in the flags of /proc/PID/stat */

ssize_t proc_read(const struct targets *t, pid_t pid, const char *file, char *buf, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "%d/%s", pid, file);
	return file_read_at(t->proc_fd, path, buf, size);
}

int proc_stat(const struct targets *t, pid_t pid, struct proc *p)
{
	char buf[1024], state;
	const char *open, *close;
	unsigned flags;
	long threads;
	unsigned long long start;
	ssize_t n = proc_read(t, pid, "stat", buf, sizeof(buf));
	int len;

	if (n < 0)
		return (int)n;
	open = strchr(buf, '(');
	close = strrchr(buf, ')'); /* the name may itself contain ')' */
	if (!open || !close || close < open)
		return -ESRCH;
	if (sscanf(close + 1, " %c %d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld %*d %llu", &state, &p->ppid, &flags,
		   &threads, &start) != 5)
		return -ESRCH;
	len = (int)(close - open - 1);
	snprintf(p->comm, sizeof(p->comm), "%.*s", len, open + 1);
	p->pid = pid;
	p->start_ticks = start;
	p->kthread = flags & PF_KTHREAD;
	/* A first thread that ended before the others is a zombie, its process is not. */
	p->alive = (state != 'Z' && state != 'X') || threads > 1;
	return 0;
}

size_t proc_cmdline(const struct targets *t, pid_t pid)
{
	ssize_t n = proc_read(t, pid, "cmdline", t->buf, CMDLINE_BYTES + 1);

	if (n <= 0) {
		t->buf[0] = 0;
		return 0;
	}
	while (n > 0 && !t->buf[n - 1])
		n--;
	for (ssize_t i = 0; i < n; i++)
		if (!t->buf[i])
			t->buf[i] = ' ';
	return (size_t)n;
}

char *proc_cgroup(const struct targets *t, pid_t pid, const char *controller, char *buf, size_t size)
{
	return proc_read(t, pid, "cgroup", buf, size) > 0 ? cgroup_in(buf, controller) : NULL;
}

static char *argv_join(char *const *argv)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	for (int i = 0; argv[i] && ftell(f) < CMDLINE_KEPT; i++)
		fprintf(f, "%s%s", i ? " " : "", argv[i]);
	if (fclose(f))
		return NULL;
	if (len > CMDLINE_KEPT)
		text[CMDLINE_KEPT] = 0;
	return text;
}

/* Fills name and cmdline from /proc/PID/cmdline, whose arguments end in NUL. */
static void describe_running(const struct targets *t, const struct matcher *m, const struct proc *p, struct target *ret)
{
	char *argv[256];
	int argc = 0;
	ssize_t n = proc_read(t, p->pid, "cmdline", t->buf, CMDLINE_BYTES + 1);

	while (n > 0 && !t->buf[n - 1]) /* some end in a row of NULs: a title shorter than the arguments it replaced */
		n--;
	if (n < 0)
		n = 0;
	t->buf[n] = 0;
	for (ssize_t i = 0; i < n && argc < (int)ARRAY_SIZE(argv); i += (ssize_t)strlen(t->buf + i) + 1)
		argv[argc++] = t->buf + i;
	ret->name = m->name ? strdup(m->name) : agent_name(argv, argc, p->comm);
	for (ssize_t i = 0; i < n; i++)
		if (!t->buf[i])
			t->buf[i] = ' ';
	ret->cmdline = strndup(t->buf, CMDLINE_KEPT);
}

static void describe_command(const struct targets *t, const struct matcher *m, struct target *ret)
{
	int argc = 0;

	while (t->command[argc])
		argc++;
	ret->name = m->name ? strdup(m->name) : agent_name(t->command, argc, t->command[0]);
	ret->cmdline = argv_join(t->command);
}

void target_fini(struct target *t)
{
	free(t->name);
	free(t->cmdline);
	free(t->cgroup);
	*t = (struct target){ 0 };
}

/* The last of the pids that the line NSpid lists, from our namespace inwards; 0 when there is but one. */
static int innermost_pid(const char *status)
{
	const char *line = strstr(status, "\nNSpid:\t"), *end, *last;

	if (!line)
		return 0;
	line += strlen("\nNSpid:\t");
	end = strchrnul(line, '\n');
	last = memrchr(line, '\t', (size_t)(end - line));
	return last ? atoi(last + 1) : 0;
}

/* The container, and the pid within. */
static void target_place(const struct targets *t, struct target *ret)
{
	char buf[8192];

	if (proc_read(t, ret->pid, "cgroup", buf, sizeof(buf)) > 0)
		container_find(buf, &ret->container);
	if (proc_read(t, ret->pid, "status", buf, sizeof(buf)) > 0)
		ret->ns_pid = innermost_pid(buf);
}

int target_fill(const struct targets *t, const struct matcher *m, const struct proc *p, struct target *ret)
{
	char buf[8192];
	const char *path;

	*ret = (struct target){ .pid = p->pid, .start_ticks = p->start_ticks, .by = m->by };
	if (t->command)
		describe_command(t, m, ret);
	else
		describe_running(t, m, p, ret);
	path = proc_cgroup(t, p->pid, "", buf, sizeof(buf));
	if (!path) { /* a host without v2: the first hierarchy */
		ssize_t n = proc_read(t, p->pid, "cgroup", buf, sizeof(buf));
		char *colon = n > 0 ? strchr(buf, ':') : NULL;

		colon = colon ? strchr(colon + 1, ':') : NULL;
		path = colon ? strtok(colon + 1, "\n") : NULL;
	}
	ret->cgroup = strdup(path ? path : "");
	target_place(t, ret);
	if (ret->name && ret->cmdline && ret->cgroup)
		return 0;
	target_fini(ret);
	return -ENOMEM;
}
