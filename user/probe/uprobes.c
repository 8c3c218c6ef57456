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

struct file_id { /* as the kernel tells it in the same place each time; never compared across places */
	uint64_t dev, inode;
};

struct mapped_library {
	struct file_id id;
	struct uprobe_link *link; /* NULL: it can't be probed */
};

struct young {
	pid_t pid;
	int tries;
	uint64_t due_ns;
};

struct uprobes {
	const struct wanted *wanted;
	const struct bpf_program *prog;
	bool multi;
	struct mapped_library libraries[FILES_MAX];
	int libraries_len;
	struct young young[YOUNG_MAX];
	int young_len;
	struct file_id programs[PROGRAMS_KNOWN]; /* whose library has been dealt with; a cache: one may push out another */
	struct mapped_file files[MAPPED_MAX]; /* of the process being looked at */
	uint64_t look_ns; /* of the token bucket: when the looks so far are paid for */
};

/* ---- what is wanted ---- */

enum found {
	FOUND_NONE, /* nothing of interest, nor will there be */
	FOUND_LATER, /* nothing so far */
	FOUND_LIBRARY,
	FOUND_GONE,
};

static bool begins(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static enum found libc_kind(const char *name)
{
	/* glibc now and before 2.34; musl, whose library is the dynamic linker too. */
	if (begins(name, "libc.so") || begins(name, "libc-2.") || begins(name, "ld-musl-"))
		return FOUND_LIBRARY;
	return begins(name, "ld-") || begins(name, "ld64") ? FOUND_LATER : FOUND_NONE;
}

/* Of Node and some builds of Python it is a part. */
static enum found tls_kind(const char *name)
{
	return begins(name, "libssl.so") || begins(name, "libssl-") || begins(name, "node") || begins(name, "python") ? FOUND_LIBRARY : FOUND_LATER;
}

struct places {
	int len;
	uint64_t offsets[2], cookies[2];
};

static void libc_places(int fd, struct places *ret)
{
	/* In this order, so that no call is noted whose end is not seen. */
	struct elf_site sites[] = { { .name = "freeaddrinfo" }, { .name = "getaddrinfo" } };
	unsigned pushed;

	if (elf_sites_find(fd, sites, ARRAY_SIZE(sites)) != ARRAY_SIZE(sites))
		return;
	*ret = (struct places){ .len = 2,
				.offsets = { elf_cheap_place(fd, elf_null_skip(fd, sites[0].offset), &pushed), elf_cheap_place(fd, sites[1].offset, &pushed) },
				.cookies = { SO_SITE_FREEADDRINFO, SO_SITE_GETADDRINFO } };
}

static void tls_places(int fd, struct places *ret)
{
	struct elf_site sites[] = { { .name = "SSL_write" }, { .name = "SSL_write_ex" } };
	unsigned pushed;

	if (elf_sites_find(fd, sites, ARRAY_SIZE(sites)) <= 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(sites); i++)
		if (sites[i].offset)
			ret->offsets[ret->len++] = elf_cheap_place(fd, sites[i].offset, &pushed);
}

static const struct wanted {
	enum found (*kind)(const char *name); /* of a mapped file, by the last part of its path */
	void (*places)(int fd, struct places *ret); /* ret is empty */
	bool only; /* there is one such file at most */
	uint64_t first_ns, retry_ns; /* from an exec to the first look; to the next, twice as long each time */
	int tries;
} wanted[] = {
	/* Mapped a moment after the exec, by the dynamic linker. */
	[LIBRARY_NAMES] = { libc_kind, libc_places, true, 0, 20000000, 6 },
	/* Tools that are gone sooner cost nothing. */
	[LIBRARY_TLS] = { tls_kind, tls_places, false, NS_PER_S / 4, NS_PER_S / 4, 7 },
};

struct uprobes *uprobes_new(enum library library, const struct bpf_program *prog, bool multi)
{
	struct uprobes *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->wanted = &wanted[library];
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

/* ---- libraries ---- */

static bool same(struct file_id a, struct file_id b)
{
	return a.dev == b.dev && a.inode == b.inode;
}

static struct mapped_library *library_find(struct uprobes *u, struct file_id id)
{
	for (int i = 0; i < u->libraries_len; i++)
		if (same(u->libraries[i].id, id))
			return &u->libraries[i];
	return NULL;
}

/* NULL: the process ended meanwhile, or its file can't be opened. There must be room. */
static struct mapped_library *library_add(struct uprobes *u, pid_t pid, const struct mapped_file *m)
{
	struct mapped_library *l = &u->libraries[u->libraries_len];
	_cleanup_close_ int fd = mapped_file_open(pid, m);
	struct places places = {};

	if (fd < 0)
		return NULL;
	u->libraries_len++;
	l->id = (struct file_id){ m->dev, m->inode };
	l->link = NULL;
	u->wanted->places(fd, &places);
	if (places.len)
		uprobe_link_new(u->prog, u->multi, 0, fd, places.offsets, NULL, places.cookies, places.len, &l->link);
	return l;
}

/* Attaches to what is wanted of what a process has mapped. */
static enum found maps_search(struct uprobes *u, pid_t pid)
{
	int n = mapped_files(pid, u->files, ARRAY_SIZE(u->files));
	enum found best = FOUND_NONE;

	if (n < 0)
		return FOUND_GONE;
	for (int i = 0; i < n && best != FOUND_LIBRARY; i++) {
		const struct mapped_file *m = &u->files[i];
		const char *slash = strrchr(m->name, '/');
		enum found kind = u->wanted->kind(slash ? slash + 1 : m->name);
		struct mapped_library *l;

		if (kind != FOUND_NONE)
			best = FOUND_LATER;
		if (kind != FOUND_LIBRARY)
			continue;
		l = library_find(u, (struct file_id){ m->dev, m->inode });
		if (!l && u->libraries_len < FILES_MAX) {
			l = library_add(u, pid, m);
			if (!l)
				return FOUND_GONE;
		}
		if (!l || l->link || u->wanted->only)
			best = FOUND_LIBRARY;
	}
	return best;
}

/* ---- processes ---- */

void uprobes_process(struct uprobes *u, pid_t pid, bool running)
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
	u->young[i] = (struct young){ .pid = pid, .due_ns = running || !u->wanted->first_ns ? 0 : clock_ns() + u->wanted->first_ns };
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
	switch (maps_search(u, y->pid)) {
	case FOUND_LATER:
		if (y->tries == u->wanted->tries)
			return true;
		y->due_ns = now + (u->wanted->retry_ns << y->tries++);
		return false;
	case FOUND_LIBRARY:
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
