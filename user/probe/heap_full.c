/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A thread of its own puts the probes in and takes them out: that takes 10 to 100 ms a process, which the collector's thread doesn't have. Both share the
 * lists of orders and of reports, under a lock.
 */
#include "probe/heap_full.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "abi.h"
#include "heap_probe.h"
#include "lib/util.h"
#include "probe/allocators.h"
#include "probe/elf_sites.h"
#include "probe/features.h"
#include "probe/heap_code.h"
#include "probe/return_trial.h"
#include "stakeout.skel.h"

#define FILES_MAX ARRAY_SIZE(((struct allocator *)NULL)->files)
#define LINKS_A_FILE 3
#define FORKED_WAIT_NS 2000000ULL /* most children call exec at once: they are left alone */
#define RETRY_NS 2000000ULL /* doubles each time: libraries are mapped a moment after the exec */
#define TRIES_MAX 10
#define LOOK_AGAIN_NS NS_PER_S /* for new code and another allocator */
#define LATE_NS 5000000ULL /* what a process did before it was observed is told from here on */
#define SLOTS_TOLD 1024

enum order_kind { ORDER_PROCESS, ORDER_GONE };

struct order {
	struct order *next;
	enum order_kind kind;
	pid_t pid;
	unsigned slot;
	enum seen how;
	uint64_t since_ns; /* its program began; 0: not known */
};

struct report { /* a note, or, text NULL, what adds to the agent's heap */
	struct report *next;
	unsigned slot;
	char *text;
	struct heap_data delta;
};

#define EXEC_TOLD_NS 500000000ULL /* an exec shows in /proc before the collector tells of it, by a drain's time */

struct watched {
	struct watched *next;
	pid_t pid;
	unsigned slot;
	int tries;
	uint64_t files_known; /* see allocator_other */
	bool attached, told, replaced, seen, executed; /* replaced: its allocator is gone; seen: has been observed; executed: since a program of its own began */
	uint64_t due_ns, since_ns;
	struct allocator allocator;
	struct uprobe_link *links[FILES_MAX * LINKS_A_FILE];
};

struct heap_full {
	const struct bpf_program *enter, *leave, *release;
	int sites_fd, code_fd;
	bool multi;
	const struct part_reports *reports;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	struct order *orders, **orders_end;
	struct report *told, **told_end;
	struct watched *watched; /* the thread's own, as is late_told: agents of whom the first late process has been named, by slot */
	bool late_told[SLOTS_TOLD];
};

/* ---- the functions that are observed ---- */

/*
 * Operators of C++ are not: most call malloc, and one that doesn't may throw an exception through our probe at its return, which no unwinder can pass: the
 * process would be ended. So blocks of allocators that have operators of their own code (jemalloc, tcmalloc, mimalloc) are not seen there.
 */
static const uint8_t entries[ALLOC_FN_COUNT] = {
	[ALLOC_MALLOC] = SO_HEAP_MALLOC,
	[ALLOC_CALLOC] = SO_HEAP_CALLOC,
	[ALLOC_REALLOC] = SO_HEAP_REALLOC,
	[ALLOC_REALLOCARRAY] = SO_HEAP_REALLOCARRAY,
	[ALLOC_POSIX_MEMALIGN] = SO_HEAP_POSIX_MEMALIGN,
	[ALLOC_ALIGNED_ALLOC] = SO_HEAP_MEMALIGN,
	[ALLOC_MEMALIGN] = SO_HEAP_MEMALIGN,
	[ALLOC_VALLOC] = SO_HEAP_MALLOC,
	[ALLOC_PVALLOC] = SO_HEAP_MALLOC,
};

static bool releases(int fn)
{
	return fn == ALLOC_FREE || fn == ALLOC_MALLOC_USABLE;
}

struct places { /* of one file */
	int allocs_len, frees_len;
	uint64_t allocs[ALLOC_FN_COUNT], alloc_cookies[ALLOC_FN_COUNT];
	uint64_t frees[ALLOC_FN_COUNT], free_cookies[ALLOC_FN_COUNT];
};

/* A probe at a return needs the stack as it is at the entry. */
static void place_add_alloc(struct places *p, int fd, uint64_t offset, uint64_t function)
{
	unsigned pushed = 0;
	uint64_t at = elf_cheap_place(fd, offset, &pushed);

	p->allocs[p->allocs_len] = pushed ? offset : at;
	p->alloc_cookies[p->allocs_len++] = function;
}

static void place_add_free(struct places *p, int fd, uint64_t offset)
{
	unsigned pushed = 0;

	p->frees[p->frees_len] = elf_cheap_place(fd, elf_null_skip(fd, offset), &pushed);
	p->free_cookies[p->frees_len++] = (uint64_t)pushed << SO_HEAP_PUSHED_SHIFT;
}

static void places_find(const struct allocator *a, int file, int fd, struct places *ret)
{
	ret->allocs_len = ret->frees_len = 0;
	for (int fn = 0; fn < ALLOC_FN_COUNT; fn++) {
		const struct alloc_site *s = &a->sites[fn];

		if (!s->address || s->file != file)
			continue;
		if (entries[fn])
			place_add_alloc(ret, fd, s->offset, entries[fn]);
		else if (releases(fn))
			place_add_free(ret, fd, s->offset);
	}
}

/* ---- reports ---- */

static const struct heap_data nothing = { .mode = HEAP_NONE };

static void report(struct heap_full *h, unsigned slot, const char *text, const struct heap_data *delta)
{
	struct report *r = calloc(1, sizeof(*r));

	if (!r)
		return;
	r->slot = slot;
	r->text = text ? strdup(text) : NULL;
	r->delta = *delta;
	pthread_mutex_lock(&h->lock);
	*h->told_end = r;
	h->told_end = &r->next;
	pthread_mutex_unlock(&h->lock);
}

/* Once a process, which the text names. */
static void note_named(struct heap_full *h, struct watched *w, const char *what)
{
	char text[512];

	if (w->told)
		return;
	w->told = true;
	snprintf(text, sizeof(text), "heap: %s", what);
	report(h, w->slot, text, &nothing);
}

static void note(struct heap_full *h, struct watched *w, const char *what)
{
	char text[480];

	snprintf(text, sizeof(text), "%s (pid %d)", what, (int)w->pid);
	note_named(h, w, text);
}

static void comm_read(pid_t pid, char *ret, size_t size)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (file_read(path, ret, size) <= 0)
		*ret = 0;
	ret[strcspn(ret, "\n")] = 0;
}

/* It is observed from now on. Of an agent's programs that came to it late the first one is named: the agent's own, where it was started by us. */
static void seen_tell(struct heap_full *h, struct watched *w)
{
	uint64_t late_ns = w->since_ns ? clock_ns() - w->since_ns : 0;
	bool late = !w->seen && late_ns > LATE_NS, *told = &h->late_told[w->slot % SLOTS_TOLD];
	struct heap_data delta = { .mode = HEAP_FULL, .kept = 1, .late = late, .late_s = late ? (double)late_ns / NS_PER_S : 0 };
	char text[128], name[32];

	w->seen = true;
	report(h, w->slot, NULL, &delta);
	if (!late || !w->executed || *told)
		return;
	*told = true;
	comm_read(w->pid, name, sizeof(name));
	snprintf(text, sizeof(text), "heap: %s (pid %d) from %.2g s after its start", text_sanitize(name), (int)w->pid, delta.late_s);
	report(h, w->slot, text, &nothing);
}

/* ---- one process; all in the thread ---- */

/* Frees first, returns before entries: a block whose allocation is seen is seen going, and a call that is noted is seen to return. */
static int links_add(struct heap_full *h, struct watched *w, int file)
{
	struct uprobe_link **links = &w->links[file * LINKS_A_FILE];
	struct mapped_file m = { .dev = w->allocator.files[file].dev, .inode = w->allocator.files[file].inode,
				 .start = w->allocator.files[file].start, .end = w->allocator.files[file].end };
	_cleanup_close_ int fd = mapped_file_open(w->pid, &m);
	struct places p;
	int err = fd < 0 ? fd : 0;

	if (err)
		return err;
	places_find(&w->allocator, file, fd, &p);
	if (p.frees_len)
		err = uprobe_link_new(h->release, h->multi, w->pid, fd, p.frees, NULL, p.free_cookies, p.frees_len, &links[0]);
	if (!err && p.allocs_len)
		err = uprobe_return_link_new(h->leave, h->multi, w->pid, fd, p.allocs, p.alloc_cookies, p.allocs_len, &links[1]);
	if (!err && p.allocs_len)
		err = uprobe_link_new(h->enter, h->multi, w->pid, fd, p.allocs, NULL, p.alloc_cookies, p.allocs_len, &links[2]);
	return err;
}

static void links_drop(struct watched *w)
{
	for (int i = ARRAY_SIZE(w->links) - 1; i >= 0; i--) {
		uprobe_link_free(w->links[i]);
		w->links[i] = NULL;
	}
	w->attached = false;
}

/* Entries of the process in the kernel side's maps. */
static void traces_drop(struct heap_full *h, const struct watched *w)
{
	uint32_t pid = (uint32_t)w->pid;

	bpf_map_delete_elem(h->code_fd, &pid);
	heap_sites_drop(h->sites_fd, pid);
}

/* False: the process is gone. What fails otherwise may succeed later: another tool's probes stood in the way. */
static bool attach(struct heap_full *h, struct watched *w)
{
	char text[256];
	int err = 0;

	heap_code_update(h->code_fd, w->pid);
	for (int i = 0; i < w->allocator.files_len && !err; i++)
		err = links_add(h, w, i);
	if (err) {
		links_drop(w);
		if (err == -ESRCH || err == -ENOENT)
			return false;
		snprintf(text, sizeof(text), "the allocator can't be probed: %s", strerror(-err));
		note(h, w, text);
		return true;
	}
	w->attached = true;
	if (w->allocator.sites[ALLOC_NEW].address && strcmp(w->allocator.name, "glibc") && strcmp(w->allocator.name, "musl")) /* there they call malloc */
		note(h, w, "C++ operators new and delete of this process have code of their own and are not observed: an exception could not pass a probe");
	seen_tell(h, w);
	return true;
}

/* Looks for the allocator; true: to be looked at again, at due_ns. */
static bool look(struct heap_full *h, struct watched *w)
{
	char why[256] = "";
	int err;

	if (w->attached) {
		if (allocator_stands(w->pid, &w->allocator)) {
			heap_code_update(h->code_fd, w->pid);
			if (allocator_other(w->pid, &w->allocator, &w->files_known, why, sizeof(why)))
				note_named(h, w, why);
			w->due_ns = clock_ns() + LOOK_AGAIN_NS;
			return true;
		}
		links_drop(w);
		w->replaced = true; /* or it runs another program, which is about to be told */
		w->due_ns = clock_ns() + EXEC_TOLD_NS;
		return true;
	}
	if (w->replaced) {
		note(h, w, "the allocator was replaced while it was observed; what was allocated before counts as not freed");
		w->replaced = false;
	}
	err = allocator_find(w->pid, &w->allocator, why, sizeof(why));
	if (!err) {
		w->due_ns = clock_ns() + LOOK_AGAIN_NS;
		return attach(h, w);
	}
	if (err == -EAGAIN && w->tries < TRIES_MAX) {
		w->due_ns = clock_ns() + (RETRY_NS << w->tries++);
		return true;
	}
	if (*why)
		note_named(h, w, why);
	else if (err != -ESRCH)
		note(h, w, strerror(-err));
	return false;
}

static struct watched **watched_find(struct heap_full *h, pid_t pid)
{
	struct watched **at = &h->watched;

	while (*at && (*at)->pid != pid)
		at = &(*at)->next;
	return at;
}

static void watched_remove(struct heap_full *h, struct watched **at)
{
	struct watched *w = *at;

	*at = w->next;
	links_drop(w);
	traces_drop(h, w);
	free(w);
}

static void order_run(struct heap_full *h, const struct order *o)
{
	struct watched **at = watched_find(h, o->pid), *w;

	if (*at && o->kind == ORDER_GONE && !(*at)->seen && !(*at)->told)
		report(h, (*at)->slot, NULL, &(struct heap_data){ .mode = HEAP_FULL, .kept = 1, .unseen = 1 });
	if (*at && (o->kind == ORDER_GONE || o->how == SEEN_EXEC))
		watched_remove(h, at);
	else if (*at) /* known already */
		return;
	if (o->kind == ORDER_GONE)
		return;
	w = calloc(1, sizeof(*w));
	if (!w)
		return;
	w->pid = o->pid;
	w->slot = o->slot;
	w->since_ns = o->since_ns;
	w->executed = o->how == SEEN_EXEC;
	w->due_ns = clock_ns() + (o->how == SEEN_FORKED ? FORKED_WAIT_NS : 0);
	w->next = h->watched;
	h->watched = w;
}

/* Looks at what is due; returns when to look again. */
static uint64_t watched_work(struct heap_full *h)
{
	uint64_t next_ns = UINT64_MAX;

	for (struct watched **at = &h->watched; *at;) {
		struct watched *w = *at;

		if (w->due_ns <= clock_ns() && !look(h, w))
			w->due_ns = UINT64_MAX; /* it stays until it is gone, so that nothing is told twice */
		if (w->due_ns < next_ns)
			next_ns = w->due_ns;
		at = &w->next;
	}
	return next_ns;
}

static struct order *orders_take(struct heap_full *h)
{
	struct order *o = h->orders;

	h->orders = NULL;
	h->orders_end = &h->orders;
	return o;
}

/* Until there is an order, or it is next_ns. */
static struct order *orders_wait(struct heap_full *h, uint64_t next_ns, bool *ret_stop)
{
	struct timespec until = { .tv_sec = next_ns / NS_PER_S, .tv_nsec = next_ns % NS_PER_S };
	struct order *o;
	int err = 0;

	pthread_mutex_lock(&h->lock);
	while (!h->orders && !h->stop && !err)
		err = next_ns == UINT64_MAX ? pthread_cond_wait(&h->wake, &h->lock) : pthread_cond_timedwait(&h->wake, &h->lock, &until);
	o = orders_take(h);
	*ret_stop = h->stop;
	pthread_mutex_unlock(&h->lock);
	return o;
}

static void orders_free(struct order *o)
{
	while (o) {
		struct order *next = o->next;

		free(o);
		o = next;
	}
}

static void *thread_main(void *arg)
{
	struct heap_full *h = arg;
	uint64_t next_ns = UINT64_MAX;
	bool stop = false;

	for (;;) {
		struct order *list = orders_wait(h, next_ns, &stop);

		for (struct order *o = list; o && !stop; o = o->next)
			order_run(h, o);
		orders_free(list);
		if (stop)
			break;
		next_ns = watched_work(h);
	}
	while (h->watched)
		watched_remove(h, &h->watched);
	return NULL;
}

/* ---- the collector's side ---- */

void heap_full_prepare(struct stakeout_bpf *skel, bool on)
{
	struct bpf_program *progs[] = { skel->progs.heap__enter, skel->progs.heap__leave, skel->progs.heap__free };

	bpf_program__set_autoload(skel->progs.heap__release, on);
	for (size_t i = 0; i < ARRAY_SIZE(progs); i++) {
		bpf_program__set_autoload(progs[i], on);
		if (feature_has(FEATURE_UPROBE_MULTI, NULL, 0))
			bpf_program__set_expected_attach_type(progs[i], UPROBE_MULTI);
	}
	bpf_map__set_autocreate(skel->maps.heap_calls, on);
	bpf_map__set_autocreate(skel->maps.heap_sites, on);
	bpf_map__set_autocreate(skel->maps.heap_code, on);
}

static int thread_start(struct heap_full *h)
{
	sigset_t all, before;
	pthread_condattr_t attr;
	int err;

	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&h->wake, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
	err = pthread_create(&h->thread, NULL, thread_main, h);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

struct heap_full *heap_full_new(struct stakeout_bpf *skel, const struct part_reports *r, char *why, size_t why_len)
{
	struct heap_full *h = calloc(1, sizeof(*h));
	int err;

	if (!h) {
		snprintf(why, why_len, "out of memory");
		return NULL;
	}
	h->enter = skel->progs.heap__enter;
	h->leave = skel->progs.heap__leave;
	h->release = skel->progs.heap__free;
	h->sites_fd = bpf_map__fd(skel->maps.heap_sites);
	h->code_fd = bpf_map__fd(skel->maps.heap_code);
	h->multi = feature_has(FEATURE_UPROBE_MULTI, NULL, 0);
	h->reports = r;
	h->orders_end = &h->orders;
	h->told_end = &h->told;
	err = return_trial(h->enter, h->leave, h->multi, SO_HEAP_TRIAL, skel->bss->heap_trials);
	if (err == -EPERM)
		snprintf(why, why_len, "a process under seccomp would be killed by probes at the return of its functions (this kernel lets filters see their "
				       "system call); use +heap, which samples without them");
	else if (err == -ENOENT) /* a link of many places did so before 6.10 (46ba0e49b642) */
		snprintf(why, why_len, "this kernel's probes of one process reach its first thread only");
	else if (err)
		snprintf(why, why_len, "probes at functions and their returns can't be put in: %s", strerror(-err));
	else if ((err = thread_start(h)))
		snprintf(why, why_len, "no thread: %s", strerror(err));
	if (err) {
		free(h);
		return NULL;
	}
	return h;
}

static void order(struct heap_full *h, const struct order *what)
{
	struct order *o = malloc(sizeof(*o));

	if (!o)
		return;
	*o = *what;
	o->next = NULL;
	pthread_mutex_lock(&h->lock);
	*h->orders_end = o;
	h->orders_end = &o->next;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
}

void heap_full_process(struct heap_full *h, pid_t pid, unsigned slot, enum seen how, uint64_t since_ns)
{
	order(h, &(struct order){ .kind = ORDER_PROCESS, .pid = pid, .slot = slot, .how = how, .since_ns = since_ns });
}

void heap_full_gone(struct heap_full *h, pid_t pid)
{
	order(h, &(struct order){ .kind = ORDER_GONE, .pid = pid });
}

void heap_full_work(struct heap_full *h)
{
	struct report *r, *next;

	pthread_mutex_lock(&h->lock);
	r = h->told;
	h->told = NULL;
	h->told_end = &h->told;
	pthread_mutex_unlock(&h->lock);
	for (; r; r = next) {
		next = r->next;
		if (h->reports && r->text)
			h->reports->note(h->reports->ctx, r->slot, r->text);
		else if (h->reports)
			h->reports->heap(h->reports->ctx, r->slot, &r->delta);
		free(r->text);
		free(r);
	}
}

void heap_full_free(struct heap_full *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	h->reports = NULL; /* what is left has no reader */
	heap_full_work(h);
	pthread_cond_destroy(&h->wake);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
