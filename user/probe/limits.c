/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Files and units: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst, Documentation/scheduler/sched-bwc.rst, Documentation/accounting/psi.rst,
 * proc(5) of the kernel's documentation.
 */
#include "probe/limits.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uthash.h>

#include "lib/util.h"
#include "probe/cgroups.h"

#define LEVELS_OPEN 96 /* cgroups whose files are kept open: up to 5 each */
#define LEVELS_BRIEF 64 /* of the others, so many a round are read, in turn: what their sums grow by shows that much later */
#define DEPTH_MAX 16 /* of nesting; what lies deeper is left out */
#define REVISITS 8 /* processes a round, at most, that are looked at again: they may have moved */
#define REVISIT_ROUNDS 10 /* where there are fewer, each has its turn once in so many */
#define UNLIMITED (1ULL << 62) /* v1 writes a number near 2^63 */

enum level_file { FILE_CPU_STAT, FILE_PRESSURE, FILE_LIMIT, FILE_USAGE, FILE_MEMORY_STAT, FILES };

struct level { /* a directory of a hierarchy */
	char *dir;
	struct level *parent; /* NULL: the hierarchy's root */
	bool v2, has_cpu, has_memory;
	bool open; /* the files are kept open */
	bool has_pressure;
	int refs;
	int fds[FILES]; /* -1: there is none, or it is not open */
	uint64_t round; /* in which the following was read */
	uint64_t throttles, throttled_ns, pressure_ns;
	uint64_t limit, left; /* limit 0: none */
	UT_hash_handle hh;
};

struct place { /* of a process */
	pid_t pid;
	uint64_t round; /* when it was asked for last */
	bool found;
	struct level *cpu, *memory, *pressure; /* NULL: in no cgroup that we can read */
	struct {
		uint64_t throttles, throttled_ns;
	} last[DEPTH_MAX]; /* of `cpu` and the levels above */
	uint64_t pressure_last;
	struct limits_reading sum;
	UT_hash_handle hh;
};

struct limits {
	struct cgroup_mount_at cpu, memory, unified;
	int stat_fd, meminfo_fd, pressure_fd; /* of the machine */
	struct level *levels;
	struct place *places;
	uint64_t round;
	int revisits;
	unsigned closed, brief; /* levels that are not kept open; that may still be read in this round */
	uint64_t steal_ns, pressure_ns, total_bytes, available_bytes;
};

/* ---- files ---- */

static int file_open(const char *dir, const char *name)
{
	char path[4200];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -1;
	return open(path, O_RDONLY | O_CLOEXEC);
}

static bool fd_text(int fd, char *buf, size_t size)
{
	ssize_t n = fd < 0 ? -1 : pread(fd, buf, size - 1, 0);

	if (n <= 0)
		return false;
	buf[n] = 0;
	return true;
}

/* The number behind a word that begins a line ("nr_throttled 12", "MemTotal:  3 kB"), or behind "some ... total=". */
static bool text_number(const char *text, const char *word, uint64_t *ret)
{
	size_t len = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at += len)
		if ((at == text || at[-1] == '\n' || at[-1] == ' ') && (at[len] == ' ' || word[len - 1] == '=' || word[len - 1] == ':')) {
			*ret = strtoull(at + len, NULL, 10);
			return true;
		}
	return false;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=12" in us, first of its lines. */
static void pressure_read(int fd, uint64_t *ret_ns)
{
	char text[256];
	uint64_t us;

	if (fd_text(fd, text, sizeof(text)) && text_number(text, "total=", &us))
		*ret_ns = us * 1000;
}

static void throttle_read(struct level *l)
{
	char text[1024];
	uint64_t time;

	if (!fd_text(l->fds[FILE_CPU_STAT], text, sizeof(text)))
		return;
	text_number(text, "nr_throttled", &l->throttles);
	if (text_number(text, "throttled_usec", &time))
		l->throttled_ns = time * 1000;
	else if (text_number(text, "throttled_time", &time)) /* v1: ns */
		l->throttled_ns = time;
}

/* Most levels have no limit: for them one descriptor is enough. */
static void usage_open(struct level *v)
{
	if (v->fds[FILE_USAGE] >= 0)
		return;
	v->fds[FILE_USAGE] = file_open(v->dir, v->v2 ? "memory.current" : "memory.usage_in_bytes");
	v->fds[FILE_MEMORY_STAT] = file_open(v->dir, "memory.stat");
}

/* What is left includes pages of files that have not been used for a while: the kernel drops them first. */
static void memory_read(struct level *v)
{
	char text[8192];
	uint64_t limit, usage, inactive = 0;

	v->limit = 0;
	if (!fd_text(v->fds[FILE_LIMIT], text, sizeof(text)) || *text < '0' || *text > '9')
		return;
	limit = strtoull(text, NULL, 10);
	if (limit >= UNLIMITED)
		return;
	usage_open(v);
	if (!fd_text(v->fds[FILE_USAGE], text, sizeof(text)))
		return;
	usage = strtoull(text, NULL, 10);
	if (fd_text(v->fds[FILE_MEMORY_STAT], text, sizeof(text)))
		text_number(text, v->v2 ? "inactive_file" : "total_inactive_file", &inactive);
	usage -= inactive < usage ? inactive : usage;
	v->limit = limit ? limit : 1; /* 0 stands for none */
	v->left = usage < limit ? limit - usage : 0;
}

/* ---- levels ---- */

static void files_close(struct level *v)
{
	for (int i = 0; i < FILES; i++) {
		cleanup_close(&v->fds[i]);
		v->fds[i] = -1;
	}
}

static void files_open(struct level *v)
{
	char text[256];

	if (v->has_cpu)
		v->fds[FILE_CPU_STAT] = file_open(v->dir, "cpu.stat");
	if (v->has_memory)
		v->fds[FILE_LIMIT] = file_open(v->dir, v->v2 ? "memory.max" : "memory.limit_in_bytes");
	if (v->v2)
		v->fds[FILE_PRESSURE] = file_open(v->dir, "cpu.pressure");
	if (!fd_text(v->fds[FILE_PRESSURE], text, sizeof(text))) { /* switched off (cgroup.pressure) */
		cleanup_close(&v->fds[FILE_PRESSURE]);
		v->fds[FILE_PRESSURE] = -1;
	}
}

static void level_release(struct limits *l, struct level *v)
{
	while (v && !--v->refs) {
		struct level *parent = v->parent;

		files_close(v);
		l->closed -= !v->open;
		HASH_DELETE(hh, l->levels, v);
		free(v->dir);
		free(v);
		v = parent;
	}
}

/* The level of path ("/a/b") in a hierarchy, with those above it. The caller releases it. NULL: out of memory. */
static struct level *level_take(struct limits *l, const struct cgroup_mount_at *m, const char *path)
{
	bool top = !strcmp(path, "/") || !*path;
	char *dir = NULL, *slash;
	struct level *v;

	if (asprintf(&dir, "%s%s", m->dir, top ? "" : path) < 0)
		return NULL;
	HASH_FIND_STR(l->levels, dir, v);
	if (v) {
		free(dir);
		v->refs++;
		return v;
	}
	v = calloc(1, sizeof(*v));
	if (!v) {
		free(dir);
		return NULL;
	}
	*v = (struct level){ .dir = dir, .v2 = m == &l->unified, .refs = 1, .fds = { -1, -1, -1, -1, -1 } };
	v->has_cpu = m == &l->cpu || (v->v2 && !l->cpu.dir);
	v->has_memory = m == &l->memory || (v->v2 && !l->memory.dir);
	v->open = HASH_COUNT(l->levels) - l->closed < LEVELS_OPEN;
	l->closed += !v->open;
	if (v->open)
		files_open(v);
	HASH_ADD_KEYPTR(hh, l->levels, v->dir, strlen(v->dir), v);
	if (!top) {
		_cleanup_free_ char *above = strdup(path);

		slash = above ? strrchr(above, '/') : NULL;
		if (slash) {
			*slash = 0;
			v->parent = level_take(l, m, above);
		}
	}
	return v;
}

/* Whether the level's turn has come. */
static bool level_due(struct limits *l, const struct level *v)
{
	if (v->open || !v->round)
		return v->round != l->round;
	if (!l->brief || l->round - v->round <= l->closed / LEVELS_BRIEF)
		return false;
	l->brief--;
	return true;
}

static void level_read(struct limits *l, struct level *v)
{
	if (!level_due(l, v))
		return;
	v->round = l->round;
	if (!v->open)
		files_open(v);
	v->has_pressure = v->fds[FILE_PRESSURE] >= 0;
	throttle_read(v);
	pressure_read(v->fds[FILE_PRESSURE], &v->pressure_ns);
	memory_read(v);
	if (!v->open)
		files_close(v);
}

/* ---- processes ---- */

/* The process's level in the hierarchy of a controller: its own v1 hierarchy, or v2. */
static struct level *level_of(struct limits *l, const struct cgroup_mount_at *v1, const char *controller, const char *groups)
{
	_cleanup_free_ char *text = strdup(groups);
	const struct cgroup_mount_at *m = v1->dir ? v1 : &l->unified;
	const char *path = text && m->dir ? cgroup_in(text, v1->dir ? controller : "") : NULL, *below;

	below = path ? cgroup_below(path, m->root) : NULL;
	return below ? level_take(l, m, below) : NULL;
}

/* Of its cgroup, or else of the machine. */
static uint64_t pressure_of(struct limits *l, struct place *p)
{
	if (!p->pressure)
		return l->pressure_ns;
	level_read(l, p->pressure);
	return p->pressure->has_pressure ? p->pressure->pressure_ns : l->pressure_ns;
}

/* What was counted up to now is the base. */
static void place_begin(struct limits *l, struct place *p)
{
	int depth = 0;

	for (struct level *v = p->cpu; v && depth < DEPTH_MAX; v = v->parent, depth++) {
		level_read(l, v);
		p->last[depth].throttles = v->throttles;
		p->last[depth].throttled_ns = v->throttled_ns;
	}
	p->pressure_last = pressure_of(l, p);
}

static void place_release(struct limits *l, struct place *p)
{
	level_release(l, p->cpu);
	level_release(l, p->memory);
	level_release(l, p->pressure);
}

/* Finds out where it belongs; a process that is gone stays where it was. */
static void place_find(struct limits *l, struct place *p)
{
	char path[32], groups[8192];
	struct place now = *p;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)p->pid);
	if (file_read(path, groups, sizeof(groups)) <= 0)
		return;
	now.cpu = level_of(l, &l->cpu, "cpu", groups);
	now.memory = level_of(l, &l->memory, "memory", groups);
	now.pressure = level_of(l, &(struct cgroup_mount_at){ 0 }, "", groups);
	if (p->found && now.cpu == p->cpu && now.memory == p->memory && now.pressure == p->pressure) {
		place_release(l, &now);
		return;
	}
	place_release(l, p);
	p->cpu = now.cpu;
	p->memory = now.memory;
	p->pressure = now.pressure;
	p->found = true;
	place_begin(l, p);
}

static struct place *place_of(struct limits *l, pid_t pid)
{
	struct place *p;

	HASH_FIND_INT(l->places, &pid, p);
	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->pid = pid;
	HASH_ADD_INT(l->places, pid, p);
	place_begin(l, p);
	place_find(l, p);
	return p;
}

static void place_drop(struct limits *l, struct place *p)
{
	place_release(l, p);
	HASH_DEL(l->places, p);
	free(p);
}

/* Levels above each other may have their quota used up at the same time: of an interval the one counts that kept it waiting longest. */
static void throttles_add(struct limits *l, struct place *p)
{
	uint64_t most = 0, longest = 0;
	int depth = 0;

	for (struct level *v = p->cpu; v && depth < DEPTH_MAX; v = v->parent, depth++) {
		uint64_t times, ns;

		level_read(l, v);
		times = v->throttles - p->last[depth].throttles;
		ns = v->throttled_ns - p->last[depth].throttled_ns;
		p->last[depth].throttles = v->throttles;
		p->last[depth].throttled_ns = v->throttled_ns;
		if (ns > longest || (ns == longest && times > most)) {
			longest = ns;
			most = times;
		}
	}
	p->sum.throttles += most;
	p->sum.throttled_ns += longest;
}

static void pressure_add(struct limits *l, struct place *p)
{
	uint64_t now = pressure_of(l, p);

	p->sum.pressure_cpu_ns += now > p->pressure_last ? now - p->pressure_last : 0;
	p->pressure_last = now;
}

static void memory_find(struct limits *l, struct place *p)
{
	uint64_t limit = l->total_bytes, left = l->available_bytes;

	for (struct level *v = p->memory; v; v = v->parent) {
		level_read(l, v);
		if (v->limit && (v->left < left || !limit)) {
			limit = v->limit;
			left = v->left;
		}
	}
	p->sum.memory_limit_bytes = limit;
	p->sum.memory_left_bytes = left;
}

void limits_read(struct limits *l, pid_t pid, struct limits_reading *ret)
{
	struct place *p = place_of(l, pid);

	memset(ret, 0, sizeof(*ret));
	if (!p)
		return;
	p->round = l->round;
	throttles_add(l, p);
	pressure_add(l, p);
	memory_find(l, p);
	p->sum.steal_ns = l->steal_ns;
	*ret = p->sum;
}

/* ---- the machine ---- */

/* "cpu  user nice system idle iowait irq softirq steal ..." in ticks. */
static void steal_read(struct limits *l)
{
	unsigned long long ticks;
	char text[512];

	if (fd_text(l->stat_fd, text, sizeof(text)) && sscanf(text, "cpu %*u %*u %*u %*u %*u %*u %*u %llu", &ticks) == 1)
		l->steal_ns = ticks * (NS_PER_S / sysconf(_SC_CLK_TCK));
}

static void meminfo_read(struct limits *l)
{
	char text[512];
	uint64_t kib;

	if (!fd_text(l->meminfo_fd, text, sizeof(text)))
		return;
	if (text_number(text, "MemTotal:", &kib))
		l->total_bytes = kib << 10;
	if (text_number(text, "MemAvailable:", &kib))
		l->available_bytes = kib << 10;
}

void limits_begin(struct limits *l)
{
	l->round++;
	l->brief = LEVELS_BRIEF;
	steal_read(l);
	meminfo_read(l);
	pressure_read(l->pressure_fd, &l->pressure_ns);
}

void limits_end(struct limits *l)
{
	struct place *p, *next;
	unsigned n = 0, from = l->revisits, turns = (HASH_COUNT(l->places) + REVISIT_ROUNDS - 1) / REVISIT_ROUNDS;

	if (turns > REVISITS)
		turns = REVISITS;
	HASH_ITER(hh, l->places, p, next) {
		if (p->round != l->round) {
			place_drop(l, p);
			continue;
		}
		if (n >= from && n < from + turns)
			place_find(l, p);
		n++;
	}
	l->revisits = from + turns < n ? from + turns : 0;
}

struct limits *limits_new(void)
{
	struct limits *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	cgroup_mount_find("cpu", &l->cpu);
	cgroup_mount_find("memory", &l->memory);
	cgroup_mount_find("", &l->unified);
	l->stat_fd = file_open("/proc", "stat");
	l->meminfo_fd = file_open("/proc", "meminfo");
	l->pressure_fd = file_open("/proc/pressure", "cpu");
	return l;
}

void limits_free(struct limits *l)
{
	struct place *p, *next;

	if (!l)
		return;
	HASH_ITER(hh, l->places, p, next)
		place_drop(l, p);
	cgroup_mount_fini(&l->cpu);
	cgroup_mount_fini(&l->memory);
	cgroup_mount_fini(&l->unified);
	cleanup_close(&l->stat_fd);
	cleanup_close(&l->meminfo_fd);
	cleanup_close(&l->pressure_fd);
	free(l);
}
