/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What matches. */
#include <string.h>

#include "probe/targets_parts.h"

static bool is_ancestor(const struct targets *t, pid_t pid)
{
	for (int i = 0; i < t->ancestors_len; i++)
		if (t->ancestors[i] == pid)
			return true;
	return false;
}

/* `sudo stakeout record -n agent` matches its own regex: neither we nor who started us are meant. */
static bool is_meant(const struct targets *t, pid_t pid)
{
	return pid != t->self && !is_ancestor(t, pid);
}

const struct matcher *match_regex(const struct targets *t, pid_t pid)
{
	bool read = false;

	for (int i = 0; i < t->len; i++) {
		const struct matcher *m = &t->matchers[i];

		if (!m->has_regex)
			continue;
		if (!read && (!is_meant(t, pid) || !proc_cmdline(t, pid)))
			return NULL;
		read = true;
		if (!regexec(&m->regex, t->buf, 0, NULL, 0))
			return m;
	}
	return NULL;
}

static bool is_in(const struct targets *t, const struct cgroup_at *c, pid_t pid)
{
	char buf[8192];
	const char *path = c->dir ? proc_cgroup(t, pid, c->controller, buf, sizeof(buf)) : NULL;
	size_t len;

	if (!path)
		return false;
	len = strlen(c->path);
	if (len == 1) /* the root: all */
		return true;
	return !strncmp(path, c->path, len) && (!path[len] || path[len] == '/');
}

static bool matches_cgroup(const struct targets *t, const struct matcher *m, pid_t pid)
{
	for (int i = 0; i < m->places_len; i++)
		if (is_in(t, &m->places[i].at, pid))
			return true;
	return false;
}

static bool matches_pid(const struct matcher *m, const struct proc *p)
{
	for (int i = 0; i < m->pids_len; i++)
		if (m->pids[i].pid == p->pid && m->pids[i].start_ticks == p->start_ticks)
			return true;
	return false;
}

bool proc_eligible(const struct targets *t, const struct proc *p)
{
	return p->alive && !p->kthread && p->pid != t->self;
}

const struct matcher *proc_match(const struct targets *t, const struct proc *p)
{
	const struct matcher *m;

	if (!proc_eligible(t, p))
		return NULL;
	for (int i = 0; i < t->len; i++)
		if (matches_pid(&t->matchers[i], p))
			return &t->matchers[i];
	m = match_regex(t, p->pid);
	for (int i = 0; i < t->len && !m; i++)
		if (matches_cgroup(t, &t->matchers[i], p->pid))
			m = &t->matchers[i];
	return m;
}

int targets_match(struct targets *t, pid_t pid, struct target *ret)
{
	const struct matcher *m;
	struct proc p, up;

	if (proc_stat(t, pid, &p))
		return 0;
	if (t->command)
		return p.ppid == t->self && p.alive && !target_fill(t, &t->matchers[0], &p, ret);
	m = proc_match(t, &p);
	if (!m)
		return 0;
	for (pid_t ppid = p.ppid; ppid > 0; ppid = up.ppid)
		if (proc_stat(t, ppid, &up))
			break;
		else if (proc_match(t, &up))
			return 0;
	return !target_fill(t, m, &p, ret);
}

bool targets_have(const struct targets *t, uint64_t by)
{
	for (int i = 0; i < t->len; i++)
		if (t->matchers[i].by == by)
			return true;
	return false;
}

bool targets_mean(struct targets *t, pid_t pid, uint64_t start_ticks)
{
	struct proc p;

	if (proc_stat(t, pid, &p) || p.start_ticks != start_ticks || !p.alive)
		return true;
	do
		if (proc_match(t, &p))
			return true;
	while (p.ppid > 0 && !proc_stat(t, p.ppid, &p));
	return false;
}
