/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/uprobes.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "abi.h"
#include "lib/util.h"
#include "probe/elf_sites.h"

#define FILES_MAX 16 /* taking the probes out of one takes up to a quarter of a second; further ones are left alone */
#define YOUNG_MAX 128 /* processes that wait for a look; of more the oldest are given up */
#define PROGRAMS_KNOWN 256
#define MAPPED_MAX 256
#define WORK_MAX 16 /* processes a call */

/* A tool-heavy agent starts 100 processes a second, of few programs; only a new program costs the reading of maps, 50 to 500 us each. */
#define LOOKS_BURST 32
#define LOOK_EVERY_NS (NS_PER_S / 16)

/* The C library is mapped a moment after the exec, by the dynamic linker. */
#define RETRY_NS 20000000ULL /* doubles each time */
#define TRIES_MAX 6

struct file_id { /* as the kernel tells it in the same place each time; never compared across places */
	uint64_t dev, inode;
};

struct library {
	struct file_id id;
	struct uprobe_link *link; /* NULL: it can't be probed */
};

struct young {
	pid_t pid;
	int tries;
	uint64_t due_ns;
};

struct uprobes {
	const struct bpf_program *prog;
	bool multi;
	struct library libraries[FILES_MAX];
	int libraries_len;
	struct young young[YOUNG_MAX];
	int young_len;
	struct file_id programs[PROGRAMS_KNOWN]; /* whose library has been dealt with; a cache: one may push out another */
	struct mapped_file files[MAPPED_MAX]; /* of the process being looked at */
	uint64_t look_ns; /* of the token bucket: when the looks so far are paid for */
};

struct uprobes *uprobes_new(const struct bpf_program *prog, bool multi)
{
	struct uprobes *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->prog = prog;
	u->multi = multi;
	return u;
}

void uprobes_free(struct uprobes *u)
{
	if (!u)
		return;
	for (int i = 0; i < u->libraries_len; i++)
		uprobe_link_free(u->libraries[i].link);
	free(u);
}

/* ---- what a process has mapped ---- */

enum found {
	FOUND_NONE, /* no C library, nor will there be one: statically linked */
	FOUND_LINKER, /* only the dynamic linker so far */
	FOUND_LIBRARY,
	FOUND_GONE,
};

static bool begins(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static enum found name_kind(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	/* glibc now and before 2.34; musl, whose library is the dynamic linker too. */
	if (begins(name, "libc.so") || begins(name, "libc-2.") || begins(name, "ld-musl-"))
		return FOUND_LIBRARY;
	return begins(name, "ld-") || begins(name, "ld64") ? FOUND_LINKER : FOUND_NONE;
}

static enum found maps_search(struct uprobes *u, pid_t pid, struct mapped_file *ret)
{
	int n = mapped_files(pid, u->files, ARRAY_SIZE(u->files));
	enum found best = FOUND_NONE;

	if (n < 0)
		return FOUND_GONE;
	for (int i = 0; i < n; i++) {
		enum found kind = name_kind(u->files[i].name);

		if (kind == FOUND_NONE)
			continue;
		best = kind;
		*ret = u->files[i];
		if (kind == FOUND_LIBRARY)
			break;
	}
	return best;
}

/* ---- the library ---- */

static struct uprobe_link *attach(const struct uprobes *u, int fd)
{
	/* In this order, so that no call is noted whose end is not seen. */
	struct elf_site sites[] = { { .name = "freeaddrinfo" }, { .name = "getaddrinfo" } };
	const uint64_t cookies[] = { SO_SITE_FREEADDRINFO, SO_SITE_GETADDRINFO };
	uint64_t offsets[ARRAY_SIZE(sites)];
	struct uprobe_link *link = NULL;
	unsigned pushed;

	if (elf_sites_find(fd, sites, ARRAY_SIZE(sites)) != ARRAY_SIZE(sites))
		return NULL;
	offsets[0] = elf_cheap_place(fd, elf_null_skip(fd, sites[0].offset), &pushed);
	offsets[1] = elf_cheap_place(fd, sites[1].offset, &pushed);
	uprobe_link_new(u->prog, u->multi, 0, fd, offsets, NULL, cookies, ARRAY_SIZE(sites), &link);
	return link;
}

/* False: the process ended meanwhile, or its file can't be opened. */
static bool library_add(struct uprobes *u, pid_t pid, const struct mapped_file *m)
{
	struct library *l = &u->libraries[u->libraries_len];
	_cleanup_close_ int fd = mapped_file_open(pid, m);

	if (fd < 0)
		return false;
	u->libraries_len++;
	l->id = (struct file_id){ m->dev, m->inode };
	l->link = attach(u, fd);
	return true;
}

static bool same(struct file_id a, struct file_id b)
{
	return a.dev == b.dev && a.inode == b.inode;
}

static bool library_known(const struct uprobes *u, struct file_id id)
{
	for (int i = 0; i < u->libraries_len; i++)
		if (same(u->libraries[i].id, id))
			return true;
	return u->libraries_len == FILES_MAX;
}

/* ---- processes ---- */

void uprobes_process(struct uprobes *u, pid_t pid)
{
	int i;

	for (i = 0; i < u->young_len && u->young[i].pid != pid; i++)
		;
	if (i == YOUNG_MAX) {
		memmove(u->young, u->young + 1, (YOUNG_MAX - 1) * sizeof(u->young[0]));
		i--;
	}
	if (i == u->young_len)
		u->young_len++;
	u->young[i] = (struct young){ .pid = pid };
}

static struct file_id *program_slot(struct uprobes *u, struct file_id id)
{
	return &u->programs[(id.inode * 0x9e3779b97f4a7c15ULL + id.dev) >> 56 & (PROGRAMS_KNOWN - 1)];
}

/* Too many looks lately? */
static bool look_allowed(struct uprobes *u, uint64_t now)
{
	uint64_t earliest = now > LOOKS_BURST * LOOK_EVERY_NS ? now - LOOKS_BURST * LOOK_EVERY_NS : 0;

	if (u->look_ns < earliest)
		u->look_ns = earliest;
	if (u->look_ns + LOOK_EVERY_NS > now)
		return false;
	u->look_ns += LOOK_EVERY_NS;
	return true;
}

/* True: done with it. */
static bool young_look(struct uprobes *u, struct young *y, uint64_t now)
{
	struct mapped_file m;
	struct file_id id;
	struct stat st;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)y->pid);
	if (stat(path, &st))
		return true;
	id = (struct file_id){ st.st_dev, st.st_ino };
	if (same(*program_slot(u, id), id))
		return true;
	if (!look_allowed(u, now)) {
		y->due_ns = now + LOOK_EVERY_NS;
		return false;
	}
	switch (maps_search(u, y->pid, &m)) {
	case FOUND_LINKER:
		if (y->tries == TRIES_MAX)
			return true;
		y->due_ns = now + (RETRY_NS << y->tries++);
		return false;
	case FOUND_LIBRARY:
		if (!library_known(u, (struct file_id){ m.dev, m.inode }) && !library_add(u, y->pid, &m))
			return true;
		break;
	case FOUND_NONE:
		break;
	case FOUND_GONE:
		return true;
	}
	*program_slot(u, id) = id;
	return true;
}

void uprobes_work(struct uprobes *u)
{
	int looked = 0, kept = 0;
	uint64_t now;

	if (!u->young_len)
		return;
	now = clock_ns();
	for (int i = 0; i < u->young_len; i++) {
		struct young y = u->young[i];

		if (looked < WORK_MAX && y.due_ns <= now) {
			looked++;
			if (young_look(u, &y, now))
				continue;
		}
		u->young[kept++] = y;
	}
	u->young_len = kept;
}
