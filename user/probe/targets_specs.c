/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the user asked for, validated. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/util.h"
#include "probe/targets_parts.h"

int place_resolve(struct place *p, const char *wanted, char *why, size_t why_len)
{
	return p->container ? cgroup_of_container(wanted, &p->at, why, why_len) : cgroup_resolve(wanted, &p->at, why, why_len);
}

static int fail(int err, char *why, size_t why_len, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static int fail(int err, char *why, size_t why_len, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, why_len, fmt, args);
	va_end(args);
	return err;
}

/* The process that the thread `tid` belongs to; 0: unknown. */
static pid_t thread_group(const struct targets *t, pid_t tid)
{
	char buf[4096];
	const char *line;

	if (proc_read(t, tid, "status", buf, sizeof(buf)) <= 0)
		return 0;
	line = strstr(buf, "\nTgid:");
	return line ? atoi(line + 6) : 0;
}

static int add_pid(const struct targets *t, struct matcher *m, pid_t pid, char *why, size_t why_len)
{
	struct proc p;
	pid_t group;

	if (pid == t->self)
		return fail(-EPERM, why, why_len, "pid %d is stakeout itself; name another process", pid);
	if (proc_stat(t, pid, &p))
		return fail(-ESRCH, why, why_len, "no process with pid %d", pid);
	if (p.kthread)
		return fail(-EPERM, why, why_len, "pid %d (%s) is a kernel thread; only user processes can be agents", pid, p.comm);
	group = thread_group(t, pid);
	if (group && group != pid)
		return fail(-ESRCH, why, why_len, "%d is a thread of process %d; use -p %d", pid, group, group);
	if (!p.alive)
		return fail(-ESRCH, why, why_len, "process %d (%s) has ended and waits to be reaped", pid, p.comm);
	m->pids[m->pids_len++] = (struct ident){ pid, p.start_ticks };
	return 0;
}

static int set_regex(struct matcher *m, const char *regex, char *why, size_t why_len)
{
	char reason[128];
	int err = regcomp(&m->regex, regex, REG_EXTENDED | REG_NOSUB);

	if (err) {
		regerror(err, &m->regex, reason, sizeof(reason));
		return fail(-EINVAL, why, why_len, "bad regular expression '%s': %s (POSIX extended syntax)", regex, reason);
	}
	m->has_regex = true;
	return 0;
}

static int set_place(struct matcher *m, const char *wanted, bool container, bool awaited, char *why, size_t why_len)
{
	struct place *p = &m->places[m->places_len++];
	int err;

	p->container = container;
	err = place_resolve(p, wanted, why, why_len);
	if (err != -ESRCH || !awaited)
		return err;
	p->awaited = strdup(wanted);
	return p->awaited ? 0 : -ENOMEM;
}

#define FNV_BASIS 14695981039346656037u /* FNV-1a, 64 bits */
#define FNV_PRIME 1099511628211u

static uint64_t hash_text(uint64_t hash, const char *text)
{
	for (; text && *text; text++)
		hash = (hash ^ (unsigned char)*text) * FNV_PRIME;
	return hash * FNV_PRIME; /* as if its NUL were one more: ("a", "") is not ("", "a") */
}

static uint64_t spec_number(const struct target_spec *spec)
{
	const char *const texts[] = { spec->regex, spec->cgroup, spec->container };
	uint64_t hash = FNV_BASIS;
	char pid[32];

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		hash = hash_text(hash, texts[i]);
	for (int i = 0; i < spec->pids_len; i++) {
		snprintf(pid, sizeof(pid), "%d", spec->pids[i]);
		hash = hash_text(hash, pid);
	}
	return hash;
}

static int set_matcher(const struct targets *t, struct matcher *m, const struct target_spec *spec, char *why, size_t why_len)
{
	int err = 0;

	m->by = spec_number(spec);
	m->pids = calloc(spec->pids_len + 1, sizeof(*m->pids));
	m->name = spec->name ? strdup(spec->name) : NULL;
	if (!m->pids || (spec->name && !m->name))
		return -ENOMEM;
	for (int i = 0; i < spec->pids_len && !err; i++) {
		err = add_pid(t, m, spec->pids[i], why, why_len);
		if (err == -ESRCH && spec->awaited)
			err = 0;
	}
	if (!err && spec->regex)
		err = set_regex(m, spec->regex, why, why_len);
	if (!err && spec->cgroup)
		err = set_place(m, spec->cgroup, false, spec->awaited, why, why_len);
	if (!err && spec->container)
		err = set_place(m, spec->container, true, spec->awaited, why, why_len);
	return err;
}

static int set_command(struct targets *t, char *const argv[])
{
	int argc = 0;

	while (argv[argc])
		argc++;
	t->command = calloc(argc + 1, sizeof(*t->command));
	for (int i = 0; t->command && i < argc; i++)
		if (!(t->command[i] = strdup(argv[i])))
			return -ENOMEM;
	return t->command ? 0 : -ENOMEM;
}

static void find_ancestors(struct targets *t)
{
	struct proc p;

	for (pid_t pid = t->self; !proc_stat(t, pid, &p) && p.ppid > 0 && t->ancestors_len < ANCESTORS_MAX; pid = p.ppid)
		t->ancestors[t->ancestors_len++] = p.ppid;
}

int targets_new(const struct target_spec *specs, int len, struct targets **ret, char *why, size_t why_len)
{
	struct targets *t = calloc(1, sizeof(*t));
	int err = -ENOMEM;

	if (why_len)
		*why = 0;
	if (!t)
		return fail(err, why, why_len, "out of memory");
	t->self = getpid();
	t->proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->proc_fd < 0) {
		err = fail(-errno, why, why_len, "/proc is not readable: %s", strerror(errno));
		goto out;
	}
	t->buf = malloc(CMDLINE_BYTES + 1);
	t->matchers = calloc(len + 1, sizeof(*t->matchers));
	if (!t->buf || !t->matchers)
		goto out;
	find_ancestors(t);
	err = specs[0].command ? set_command(t, specs[0].command) : 0;
	for (; t->len < len && !err; t->len++)
		err = set_matcher(t, &t->matchers[t->len], &specs[t->len], why, why_len);
out:
	if (err) {
		if (why_len && !*why)
			fail(err, why, why_len, "%s", strerror(-err));
		targets_free(t);
		return err;
	}
	*ret = t;
	return 0;
}

static void matcher_fini(struct matcher *m)
{
	if (m->has_regex)
		regfree(&m->regex);
	for (int i = 0; i < m->places_len; i++) {
		cgroup_fini(&m->places[i].at);
		free(m->places[i].awaited);
	}
	free(m->pids);
	free(m->name);
}

void targets_free(struct targets *t)
{
	if (!t)
		return;
	if (t->proc_fd >= 0)
		close(t->proc_fd);
	for (int i = 0; t->command && t->command[i]; i++)
		free(t->command[i]);
	free(t->command);
	for (int i = 0; i < t->len; i++)
		matcher_fini(&t->matchers[i]);
	free(t->matchers);
	free(t->buf);
	free(t);
}

int targets_open_ended(const struct targets *t)
{
	for (int i = 0; i < t->len; i++) {
		const struct matcher *m = &t->matchers[i];

		if (m->has_regex)
			return 1;
		/* A cgroup may be made again under the same path; a container has its id for itself. */
		for (int j = 0; j < m->places_len; j++)
			if (!m->places[j].container || m->places[j].awaited || !access(m->places[j].at.dir, F_OK))
				return 1;
	}
	return 0;
}
