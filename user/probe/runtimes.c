/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The collector's thread only notes who came and went, and hands over a process when it has lived for a second: tools that are gone by then cost nothing.
 * What takes long (reading a runtime's symbols: 50 ms; attaching: 10 to 30 ms; detaching: 100 ms, mostly the kernel's waiting) is done by a thread of its
 * own, which gets the scheduling of ordinary programs: see SCHED_RESET_ON_FORK in record.c.
 */
#include "probe/runtimes.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uthash.h>

#include "abi.h"
#include "lib/util.h"
#include "probe/elf_sites.h"
#include "probe/features.h"
#include "probe/runtime_sites.h"
#include "stakeout.skel.h"

#define AGE_NS NS_PER_S /* of a process, before it is looked at */
#define BURST 4
#define ATTACH_EVERY_NS (NS_PER_S / 4) /* beyond the burst */
#define FILES_KNOWN 64
#define MAPPED_MAX 512
/* Pauses a second: at 1.0 to 1.2 us a pause, two traps, 0.5 % of the time of a thread that has a CPU for itself. The kernel asks each link at the same place
 * whether it is for this process: measured with 41 of them, 3.1 us. */
#define RATE_MAX 4000.0
#define LINKS_DOUBLE 20 /* other links, that double the price */
#define RATE_LOOK_NS (2 * NS_PER_S)
#define DETACHERS 16 /* links that are taken out at once in the end: each is a wait for the kernel */
#define NOTE_BYTES 160

struct note {
	unsigned slot;
	char text[NOTE_BYTES];
	struct note *next;
};

struct job { /* for the worker */
	pid_t pid;
	unsigned slot;
	bool gone;
	struct job *next;
};

struct known { /* to the collector's thread */
	pid_t pid;
	unsigned slot;
	uint64_t due_ns;
	UT_hash_handle hh;
};

struct watched { /* by the worker */
	pid_t pid;
	unsigned slot;
	struct uprobe_link *link; /* NULL: to be looked at */
	int index; /* in the counts */
	uint64_t counted, looked_ns;
	char name[64];
	UT_hash_handle hh;
};

struct known_file {
	dev_t dev;
	ino_t inode;
	struct timespec changed; /* an inode's number is used again */
	struct runtime_sites sites;
	uint8_t told[SO_MAX_AGENTS / 8]; /* agents that have a note of it; bit by slot */
};

struct runtimes {
	const struct bpf_program *prog;
	const uint64_t *counts; /* by process, as the kernel side counts them */
	bool multi;
	const struct part_reports *reports;
	/* Collector's thread: */
	struct known *young, *handed; /* young: in the order of their time */
	/* Both, under the lock: */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	bool running, stop;
	bool asleep; /* the worker, until `pauses` changes */
	uint64_t pauses; /* of all processes, when it looked last */
	struct job *jobs, **jobs_end;
	struct note *notes;
	/* Worker: */
	struct watched *watched;
	bool used[SO_GC_PROCESSES];
	int links;
	struct known_file files[FILES_KNOWN];
	int files_len, files_next;
	struct mapped_file mapped[MAPPED_MAX];
	uint64_t paid_ns; /* of the token bucket: when the attaches so far are paid for */
};

/* ---- collector's thread ---- */

static void job_post(struct runtimes *r, pid_t pid, unsigned slot, bool gone)
{
	struct job *j = malloc(sizeof(*j));

	if (!j)
		return;
	*j = (struct job){ .pid = pid, .slot = slot, .gone = gone };
	pthread_mutex_lock(&r->lock);
	*r->jobs_end = j;
	r->jobs_end = &j->next;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
}

void runtimes_gone(struct runtimes *r, pid_t pid)
{
	struct known *k;

	HASH_FIND_INT(r->young, &pid, k);
	if (k) {
		HASH_DEL(r->young, k);
		free(k);
	}
	HASH_FIND_INT(r->handed, &pid, k);
	if (k) {
		job_post(r, pid, k->slot, true);
		HASH_DEL(r->handed, k);
		free(k);
	}
}

void runtimes_process(struct runtimes *r, pid_t pid, unsigned slot, enum seen how)
{
	struct known *k;

	HASH_FIND_INT(r->handed, &pid, k);
	if (k && how == SEEN_RUNNING)
		return;
	runtimes_gone(r, pid);
	k = malloc(sizeof(*k));
	if (!k)
		return;
	*k = (struct known){ .pid = pid, .slot = slot, .due_ns = clock_ns() + (how == SEEN_RUNNING ? 0 : AGE_NS) };
	HASH_ADD_INT(r->young, pid, k);
}

static void young_hand_over(struct runtimes *r)
{
	uint64_t now = r->young ? clock_ns() : 0;
	struct known *k, *next;

	HASH_ITER(hh, r->young, k, next) {
		if (k->due_ns > now)
			continue;
		HASH_DEL(r->young, k);
		HASH_ADD_INT(r->handed, pid, k);
		job_post(r, k->pid, k->slot, false);
	}
}

static uint64_t pauses_sum(const struct runtimes *r)
{
	uint64_t sum = 0;

	for (int i = 0; i < SO_GC_PROCESSES; i++)
		sum += r->counts[i];
	return sum;
}

void runtimes_work(struct runtimes *r)
{
	struct note *notes, *next;

	young_hand_over(r);
	pthread_mutex_lock(&r->lock);
	notes = r->notes;
	r->notes = NULL;
	if (r->asleep && r->pauses != pauses_sum(r)) {
		r->asleep = false;
		pthread_cond_signal(&r->wake);
	}
	pthread_mutex_unlock(&r->lock);
	for (; notes; notes = next) {
		next = notes->next;
		r->reports->note(r->reports->ctx, notes->slot, notes->text);
		free(notes);
	}
}

/* ---- worker ---- */

static void note_post(struct runtimes *r, unsigned slot, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void note_post(struct runtimes *r, unsigned slot, const char *fmt, ...)
{
	struct note *n = malloc(sizeof(*n));
	va_list args;

	if (!n)
		return;
	n->slot = slot;
	va_start(args, fmt);
	vsnprintf(n->text, sizeof(n->text), fmt, args);
	va_end(args);
	text_sanitize(n->text);
	pthread_mutex_lock(&r->lock);
	n->next = r->notes;
	r->notes = n;
	pthread_mutex_unlock(&r->lock);
}

static bool same_file(const struct known_file *f, const struct stat *st)
{
	return f->inode == st->st_ino && f->dev == st->st_dev && f->changed.tv_sec == st->st_ctim.tv_sec &&
	       f->changed.tv_nsec == st->st_ctim.tv_nsec;
}

static struct known_file *file_look(struct runtimes *r, int fd)
{
	struct known_file *f;
	struct stat st;

	if (fstat(fd, &st))
		return NULL;
	for (int i = 0; i < r->files_len; i++)
		if (same_file(&r->files[i], &st))
			return &r->files[i];
	f = &r->files[r->files_next];
	r->files_next = (r->files_next + 1) % FILES_KNOWN;
	if (r->files_len < FILES_KNOWN)
		r->files_len++;
	*f = (struct known_file){ .dev = st.st_dev, .inode = st.st_ino, .changed = st.st_ctim };
	runtime_sites_find(fd, &f->sites);
	return f;
}

static int exe_open(pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

/* Interpreters and engines that come as libraries. */
static bool name_fits(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	return !strncmp(name, "libpython", 9) || !strncmp(name, "libnode", 7) || !strncmp(name, "libv8", 5);
}

/* The file with the process's runtime, if there is one; *ret_fd is open then. */
static struct known_file *runtime_find(struct runtimes *r, pid_t pid, int *ret_fd)
{
	int fd = exe_open(pid), n;
	struct known_file *f = fd < 0 ? NULL : file_look(r, fd);

	n = f && f->sites.runtime == RUNTIME_NONE ? mapped_files(pid, r->mapped, MAPPED_MAX) : 0;
	for (int i = 0; i < n && f->sites.runtime == RUNTIME_NONE; i++) {
		if (!name_fits(r->mapped[i].name))
			continue;
		cleanup_close(&fd);
		fd = mapped_file_open(pid, &r->mapped[i]);
		f = fd < 0 ? NULL : file_look(r, fd);
		if (!f)
			break;
	}
	if (f && f->sites.runtime != RUNTIME_NONE) {
		*ret_fd = fd;
		return f;
	}
	cleanup_close(&fd);
	return NULL;
}

static void name_read(pid_t pid, char *ret, size_t size)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (file_read(path, ret, size) <= 0)
		*ret = 0;
	ret[strcspn(ret, "\n")] = 0;
}

/* Once an agent and file. */
static void missing_tell(struct runtimes *r, struct known_file *f, const struct watched *w)
{
	uint8_t bit = 1 << w->slot % 8, *told = &f->told[w->slot / 8 % sizeof(f->told)];

	if (*told & bit)
		return;
	*told |= bit;
	note_post(r, w->slot, "gc: %s (pid %d): %s", w->name, (int)w->pid, f->sites.missing);
}

static int index_take(struct runtimes *r)
{
	for (int i = 0; i < SO_GC_PROCESSES; i++)
		if (!r->used[i]) {
			r->used[i] = true;
			return i;
		}
	return -1;
}

static void link_make(struct runtimes *r, struct watched *w, const struct runtime_sites *s, int fd)
{
	uint64_t cookies[RUNTIME_SITES_MAX];
	int err;

	w->index = index_take(r);
	if (w->index < 0) {
		note_post(r, w->slot, "gc: %s (pid %d) is not watched: more than %d processes are", w->name, (int)w->pid, SO_GC_PROCESSES);
		return;
	}
	for (int i = 0; i < s->len; i++) {
		struct so_gc_site site = s->sites[i];

		site.process = w->index;
		memcpy(&cookies[i], &site, sizeof(site));
	}
	err = uprobe_link_new(r->prog, r->multi, w->pid, fd, s->offsets, s->ref_ctrs, cookies, s->len, &w->link);
	if (err) {
		r->used[w->index] = false;
		if (err != -ESRCH) /* it has ended */
			note_post(r, w->slot, "gc: %s (pid %d): no probes: %s", w->name, (int)w->pid, strerror(-err));
		return;
	}
	r->links++;
	w->counted = r->counts[w->index];
	w->looked_ns = clock_ns();
}

static void watched_remove(struct runtimes *r, struct watched *w)
{
	if (w->link) {
		uprobe_link_free(w->link);
		r->used[w->index] = false;
		r->links--;
	}
	HASH_DEL(r->watched, w);
	free(w);
}

/* Attaches to it, or is done with it. */
static void watched_look(struct runtimes *r, struct watched *w)
{
	_cleanup_close_ int fd = -1;
	struct known_file *f = runtime_find(r, w->pid, &fd);

	if (f) {
		name_read(w->pid, w->name, sizeof(w->name));
		if (f->sites.missing)
			missing_tell(r, f, w);
		else
			link_make(r, w, &f->sites, fd);
	}
	if (!w->link)
		watched_remove(r, w);
	else
		r->paid_ns += ATTACH_EVERY_NS;
}

static bool attach_allowed(struct runtimes *r, uint64_t now)
{
	if (r->paid_ns + BURST * ATTACH_EVERY_NS < now)
		r->paid_ns = now - BURST * ATTACH_EVERY_NS;
	return r->paid_ns + ATTACH_EVERY_NS <= now;
}

/* Lets go of who collects so often that the traps would cost it dear. */
static void rate_check(struct runtimes *r, struct watched *w, uint64_t now)
{
	uint64_t count = r->counts[w->index];
	double rate;

	if (now - w->looked_ns < RATE_LOOK_NS)
		return;
	rate = (count - w->counted) * 1e9 / (now - w->looked_ns);
	w->counted = count;
	w->looked_ns = now;
	if (rate <= RATE_MAX / (1 + (double)(r->links - 1) / LINKS_DOUBLE))
		return;
	note_post(r, w->slot, "gc: %s (pid %d) collects %.0f times a second: no longer watched, since that would slow it", w->name,
		(int)w->pid, rate);
	watched_remove(r, w);
}

static void jobs_take(struct runtimes *r, struct job *jobs)
{
	struct job *next;

	for (; jobs; jobs = next) {
		struct watched *w;

		next = jobs->next;
		HASH_FIND_INT(r->watched, &jobs->pid, w);
		if (w)
			watched_remove(r, w);
		w = jobs->gone ? NULL : calloc(1, sizeof(*w));
		if (w) {
			w->pid = jobs->pid;
			w->slot = jobs->slot;
			HASH_ADD_INT(r->watched, pid, w);
		}
		free(jobs);
	}
}

/* With the lock held. Where no process has paused since the last look, the collector's thread tells when one does. */
static uint64_t rest(struct runtimes *r, uint64_t wait_ns)
{
	uint64_t before = r->pauses;

	if (wait_ns != RATE_LOOK_NS)
		return wait_ns;
	r->pauses = pauses_sum(r);
	r->asleep = r->pauses == before;
	return r->asleep ? UINT64_MAX : wait_ns;
}

/* One step of the work; returns how long it can wait for the next one. */
static uint64_t work_step(struct runtimes *r)
{
	uint64_t now = clock_ns();
	struct watched *w, *next, *waits = NULL;

	HASH_ITER(hh, r->watched, w, next)
		if (w->link)
			rate_check(r, w, now);
		else if (!waits)
			waits = w;
	if (!waits)
		return r->watched ? RATE_LOOK_NS : UINT64_MAX;
	if (!attach_allowed(r, now))
		return ATTACH_EVERY_NS;
	watched_look(r, waits);
	return 0;
}

/* With the lock held. */
static void work_wait(struct runtimes *r, uint64_t wait_ns)
{
	uint64_t until = clock_ns() + wait_ns;
	struct timespec t = { .tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S };

	if (wait_ns == UINT64_MAX)
		pthread_cond_wait(&r->wake, &r->lock);
	else
		pthread_cond_timedwait(&r->wake, &r->lock, &t);
}

static void *work(void *ctx)
{
	struct runtimes *r = ctx;
	uint64_t wait_ns = UINT64_MAX;

	pthread_mutex_lock(&r->lock);
	while (!r->stop) {
		struct job *jobs = r->jobs;

		if (!jobs && wait_ns)
			work_wait(r, rest(r, wait_ns));
		jobs = r->jobs;
		r->jobs = NULL;
		r->jobs_end = &r->jobs;
		pthread_mutex_unlock(&r->lock);
		jobs_take(r, jobs);
		wait_ns = work_step(r);
		pthread_mutex_lock(&r->lock);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* ---- its life ---- */

static bool worker_start(struct runtimes *r)
{
	pthread_condattr_t attr;
	sigset_t all, old;
	int err;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->wake, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&r->lock, NULL);
	/* Signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&r->thread, NULL, work, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	r->running = !err;
	return r->running;
}

struct runtimes *runtimes_new(struct stakeout_bpf *skel, const struct part_reports *reports)
{
	struct runtimes *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->prog = skel->progs.gc__pause;
	r->counts = (const uint64_t *)skel->bss->gc_counts;
	r->multi = feature_has(FEATURE_UPROBE_MULTI, NULL, 0);
	r->reports = reports;
	r->jobs_end = &r->jobs;
	if (worker_start(r))
		return r;
	runtimes_free(r);
	return NULL;
}

static void *detach(void *ctx)
{
	struct watched *w = ctx;

	uprobe_link_free(w->link);
	free(w);
	return NULL;
}

/* Some at a time, side by side. */
static void watched_free(struct runtimes *r)
{
	pthread_t threads[DETACHERS];
	struct watched *w, *next;
	int n = 0;

	HASH_ITER(hh, r->watched, w, next) {
		HASH_DEL(r->watched, w);
		if (pthread_create(&threads[n], NULL, detach, w)) {
			detach(w);
			continue;
		}
		if (++n < DETACHERS)
			continue;
		while (n)
			pthread_join(threads[--n], NULL);
	}
	while (n)
		pthread_join(threads[--n], NULL);
}

static void known_free(struct known **table)
{
	struct known *k, *next;

	HASH_ITER(hh, *table, k, next) {
		HASH_DEL(*table, k);
		free(k);
	}
}

void runtimes_free(struct runtimes *r)
{
	struct note *n, *next_note;
	struct job *j, *next_job;

	if (!r)
		return;
	if (r->running) {
		pthread_mutex_lock(&r->lock);
		r->stop = true;
		pthread_cond_signal(&r->wake);
		pthread_mutex_unlock(&r->lock);
		pthread_join(r->thread, NULL);
	}
	watched_free(r);
	known_free(&r->young);
	known_free(&r->handed);
	for (n = r->notes; n; n = next_note) {
		next_note = n->next;
		free(n);
	}
	for (j = r->jobs; j; j = next_job) {
		next_job = j->next;
		free(j);
	}
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
