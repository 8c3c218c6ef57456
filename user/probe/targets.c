// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "lib/util.h"
#include "probe/agent_name.h"
#include "probe/cgroups.h"
#include "probe/targets.h"

#define CMDLINE_BYTES 65536 /* matched */
#define CMDLINE_KEPT 4096 /* handed out */
#define ANCESTORS_MAX 64 /* of our own; deeper nesting of processes is not real */
#define PF_KTHREAD 0x00200000 /* include/linux/sched.h; in the flags of /proc/PID/stat */

struct proc { /* what /proc/PID/stat says of a process */
	pid_t pid, ppid;
	uint64_t start_ticks;
	char comm[64];
	bool alive, kthread;
	const struct matcher *by; /* that it matches; this and the rest is in use in the table of a scan only */
	int known; /* 0: not read yet, 1: read, -1: gone */
};

struct ident {
	pid_t pid;
	uint64_t start_ticks;
};

struct place { /* a cgroup whose processes are meant */
	struct cgroup_at at; /* dir NULL: not there yet */
	bool container; /* it is found by a container's id */
	char *awaited; /* what was asked for, when that may come later; NULL: it was there */
};

struct matcher { /* one spec */
	struct ident *pids;
	int pids_len;
	bool has_regex;
	regex_t regex;
	struct place places[2];
	int places_len;
	char *name;
	uint64_t by; /* see struct target */
};

struct targets {
	int proc_fd;
	pid_t self;
	pid_t ancestors[ANCESTORS_MAX];
	int ancestors_len;
	struct matcher *matchers;
	int len;
	char **command; /* owned copies, NULL-terminated; of the only spec then */
	char *buf; /* CMDLINE_BYTES + 1 */
};

/* ---- /proc ---- */

/* Reads /proc/PID/FILE, NUL-terminated. Bytes or negative errno. */
static ssize_t proc_read(const struct targets *t, pid_t pid, const char *file, char *buf, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "%d/%s", pid, file);
	return file_read_at(t->proc_fd, path, buf, size);
}

static int proc_stat(const struct targets *t, pid_t pid, struct proc *p)
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

/* Arguments joined by blanks into t->buf. Length; 0 for kernel threads, zombies and the gone. */
static size_t proc_cmdline(const struct targets *t, pid_t pid)
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

/* Path of the process in the hierarchy that has `controller` ("": v2), in buf; NULL when there is none. */
static char *proc_cgroup(const struct targets *t, pid_t pid, const char *controller, char *buf, size_t size)
{
	return proc_read(t, pid, "cgroup", buf, size) > 0 ? cgroup_in(buf, controller) : NULL;
}

/* ---- describing an agent ---- */

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

static int target_fill(const struct targets *t, const struct matcher *m, const struct proc *p, struct target *ret)
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

/* ---- what matches ---- */

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

/* The first matcher whose regex matches. */
static const struct matcher *match_regex(const struct targets *t, pid_t pid)
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

static bool proc_eligible(const struct targets *t, const struct proc *p)
{
	return p->alive && !p->kthread && p->pid != t->self;
}

/* The matcher by which p is meant: pids before regexes before cgroups, and among them the first; NULL: none. */
static const struct matcher *proc_match(const struct targets *t, const struct proc *p)
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

/* ---- scanning: a table of the processes that matter ---- */

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

static int place_resolve(struct place *p, const char *wanted, char *why, size_t why_len)
{
	return p->container ? cgroup_of_container(wanted, &p->at, why, why_len) : cgroup_resolve(wanted, &p->at, why, why_len);
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

/* ---- validating what the user asked for ---- */

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
