/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Scanning: a table of the processes that matter. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "probe/targets_parts.h"

struct table { /* open addressing by pid; half empty at least */
	struct proc *slots; /* pid 0: free */
	size_t cap, used;
};

static struct proc *table_slot(struct proc *slots, size_t cap, pid_t pid)
{
	size_t i = ((uint32_t)pid * 2654435761u) & (cap - 1);

	while (slots[i].pid && slots[i].pid != pid)
		i = (i + 1) & (cap - 1);
	return &slots[i];
}

/* Finds or adds. NULL when out of memory. Pointers are good until the next call. */
static struct proc *table_get(struct table *table, pid_t pid)
{
	struct proc *p;

	if (table->used * 2 >= table->cap) {
		size_t cap = table->cap ? table->cap * 2 : 256;
		struct proc *slots = calloc(cap, sizeof(*slots));

		if (!slots)
			return NULL;
		for (size_t i = 0; i < table->cap; i++)
			if (table->slots[i].pid)
				*table_slot(slots, cap, table->slots[i].pid) = table->slots[i];
		free(table->slots);
		table->slots = slots;
		table->cap = cap;
	}
	p = table_slot(table->slots, table->cap, pid);
	if (!p->pid) {
		p->pid = pid;
		table->used++;
	}
	return p;
}

static int table_add_match(struct table *table, pid_t pid, const struct matcher *m)
{
	struct proc *p = table_get(table, pid);

	if (!p)
		return -ENOMEM;
	if (!p->by)
		p->by = m;
	return 0;
}

/* Finds or adds, and reads its stat once. NULL when gone or out of memory. */
static struct proc *table_read(const struct targets *t, struct table *table, pid_t pid)
{
	struct proc *p = table_get(table, pid);

	if (p && !p->known)
		p->known = proc_stat(t, pid, p) ? -1 : 1;
	return p && p->known > 0 ? p : NULL;
}

static int collect_regex(const struct targets *t, struct table *table)
{
	int err = 0, fd = openat(t->proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	if (!dir) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	while (!err && (e = readdir(dir))) {
		pid_t pid = isdigit((unsigned char)e->d_name[0]) ? atoi(e->d_name) : 0;

		const struct matcher *m = pid > 0 ? match_regex(t, pid) : NULL;

		if (m)
			err = table_add_match(table, pid, m);
	}
	closedir(dir);
	return err;
}

/* The processes of the cgroup open as fd (which it closes) and of those below. */
static int collect_below(int fd, struct table *table, const struct matcher *m)
{
	DIR *dir = fdopendir(fd);
	const struct dirent *e;
	int err = 0, procs_fd;
	FILE *procs;
	pid_t pid;

	if (!dir) {
		close(fd);
		return 0;
	}
	procs_fd = openat(fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	procs = procs_fd >= 0 ? fdopen(procs_fd, "r") : NULL;
	/* Pid 0 is a process that this pid namespace can't name. */
	while (procs && !err && fscanf(procs, "%d", &pid) == 1)
		if (pid > 0)
			err = table_add_match(table, pid, m);
	if (procs)
		fclose(procs);
	while (!err && (e = readdir(dir))) {
		int sub;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		sub = openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (sub >= 0) /* else it was removed meanwhile */
			err = collect_below(sub, table, m);
	}
	closedir(dir);
	return err;
}

static int collect_pids(const struct targets *t, const struct matcher *m, struct table *table)
{
	int err = 0;

	for (int i = 0; i < m->pids_len && !err; i++) {
		const struct proc *p = table_read(t, table, m->pids[i].pid);

		if (p && p->start_ticks == m->pids[i].start_ticks)
			err = table_add_match(table, p->pid, m);
	}
	return err;
}

/* One that was awaited may have come. */
static void place_look(struct place *p)
{
	char why[256];

	if (p->awaited && !p->at.dir)
		place_resolve(p, p->awaited, why, sizeof(why));
}

static int collect_places(struct table *table, struct matcher *m)
{
	int err = 0;

	for (int i = 0; i < m->places_len && !err; i++) {
		struct place *p = &m->places[i];
		int fd;

		place_look(p);
		fd = p->at.dir ? open(p->at.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
		if (fd >= 0) /* else it was removed; a cgroup that is gone holds no process */
			err = collect_below(fd, table, m);
	}
	return err;
}

static int collect(struct targets *t, struct table *table, bool arrivals)
{
	bool regexes = false;
	int err = 0;

	for (int i = 0; i < t->len && !err && !arrivals; i++) {
		err = collect_pids(t, &t->matchers[i], table);
		regexes |= t->matchers[i].has_regex;
	}
	if (!err && regexes)
		err = collect_regex(t, table);
	for (int i = 0; i < t->len && !err; i++)
		err = collect_places(table, &t->matchers[i]);
	return err;
}

/* arrivals: not all that match are in the table. */
static bool has_matching_ancestor(const struct targets *t, struct table *table, pid_t ppid, bool arrivals)
{
	while (ppid > 0) {
		const struct proc *up = table_read(t, table, ppid);

		if (!up)
			return false;
		if (up->by ? proc_eligible(t, up) : arrivals && proc_match(t, up))
			return true;
		ppid = up->ppid;
	}
	return false;
}

static int pid_order(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return (x > y) - (x < y);
}

static int scan(struct targets *t, bool arrivals, target_fn fn, void *ctx)
{
	struct table table = { 0 };
	pid_t *pids = NULL;
	size_t len = 0;
	int err = collect(t, &table, arrivals);

	if (err)
		goto out;
	pids = calloc(table.used + 1, sizeof(*pids));
	if (!pids) {
		err = -ENOMEM;
		goto out;
	}
	for (size_t i = 0; i < table.cap; i++)
		if (table.slots[i].by)
			pids[len++] = table.slots[i].pid;
	qsort(pids, len, sizeof(*pids), pid_order);
	for (size_t i = 0; i < len && !err; i++) {
		const struct proc *found = table_read(t, &table, pids[i]);
		struct target target;
		struct proc p;

		if (!found || !proc_eligible(t, found))
			continue;
		p = *found; /* the table may move */
		if (has_matching_ancestor(t, &table, p.ppid, arrivals))
			continue;
		err = target_fill(t, p.by, &p, &target);
		if (!err)
			err = fn(ctx, &target);
	}
out:
	free(pids);
	free(table.slots);
	return err;
}

int targets_scan(struct targets *t, target_fn fn, void *ctx)
{
	return scan(t, false, fn, ctx);
}

int targets_arrivals(struct targets *t, target_fn fn, void *ctx)
{
	for (int i = 0; i < t->len; i++)
		if (t->matchers[i].places_len)
			return scan(t, true, fn, ctx);
	return 0;
}
