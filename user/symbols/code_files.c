/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "symbols/code_files.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uthash.h>
#include <utlist.h>

#include "lib/util.h"

#define FILES_MAX 512 /* that nobody maps any more are given up from there on */
#define FILES_BYTES_MAX ((size_t)192 << 20) /* of their symbols and unwinding tables */
#define HELD_OPEN_MAX 128 /* files whose contents have not been needed yet */

struct file_key {
	uint64_t device, inode, size, changed_ns;
};

struct code_file {
	struct file_key key;
	struct module *module;
	uint32_t refs; /* mappings of processes */
	int fd; /* -1: not held */
	char *path;
	UT_hash_handle hh;
	struct code_file *prev, *next; /* by last use */
};

struct code_files {
	struct code_file *by_key, *by_use;
	uint32_t len, held;
};

bool maps_line_parse(char *line, struct maps_line *ret)
{
	char rights[8];
	unsigned major, minor;
	int at = 0;

	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %x:%x %" SCNu64 "%n", &ret->start, &ret->end, rights, &ret->offset, &major,
		   &minor, &ret->inode, &at) != 7 ||
	    !at || ret->end <= ret->start)
		return false;
	while (line[at] == ' ')
		at++;
	ret->device = (uint64_t)major << 32 | minor;
	ret->code = strlen(rights) == 4 && rights[2] == 'x';
	ret->path = line + at;
	return true;
}

struct code_files *code_files_new(void)
{
	return calloc(1, sizeof(struct code_files));
}

static void fd_drop(struct code_files *f, struct code_file *e)
{
	if (e->fd < 0)
		return;
	close(e->fd);
	e->fd = -1;
	f->held--;
}

static void entry_free(struct code_files *f, struct code_file *e)
{
	fd_drop(f, e);
	HASH_DEL(f->by_key, e);
	DL_DELETE(f->by_use, e);
	f->len--;
	module_free(e->module);
	free(e->path);
	free(e);
}

void code_files_free(struct code_files *f)
{
	struct code_file *e, *next;

	if (!f)
		return;
	DL_FOREACH_SAFE(f->by_use, e, next)
		entry_free(f, e);
	free(f);
}

size_t code_files_bytes(const struct code_files *f)
{
	size_t bytes = sizeof(*f);
	const struct code_file *e;

	DL_FOREACH(f->by_use, e)
		bytes += sizeof(*e) + strlen(e->path) + 1 + module_bytes(e->module);
	return bytes;
}

/* What the process sees behind the link, which leads to the file itself whatever its name and mount namespace have become: proc_pid_map_files(5). Where
 * that is not allowed, what lies at the path in the process's own root. */
static int map_open(uint32_t tgid, uint64_t start, uint64_t end, const char *file, int flags)
{
	struct open_how how = { .flags = (uint64_t)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	_cleanup_close_ int root = -1;
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/map_files/%" PRIx64 "-%" PRIx64, tgid, start, end);
	fd = open(path, flags | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/%u/root", tgid);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root < 0 ? -1 : (int)syscall(SYS_openat2, root, file, &how, sizeof(how));
}

static bool file_key(int fd, struct file_key *ret)
{
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return false;
	*ret = (struct file_key){ st.st_dev, st.st_ino, (uint64_t)st.st_size,
				  (uint64_t)st.st_mtim.tv_sec * NS_PER_S + (uint64_t)st.st_mtim.tv_nsec };
	return true;
}

/* A descriptor for reading, of a file that is looked at without opening it first: to open a device may have effects. */
static int file_open(uint32_t tgid, uint64_t start, uint64_t end, const struct code_file *e)
{
	_cleanup_close_ int place = map_open(tgid, start, end, e->path, O_PATH);
	struct file_key key;
	char path[48];

	if (place < 0 || !file_key(place, &key) || memcmp(&key, &e->key, sizeof(key)))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", place);
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

static struct code_file *entry_new(struct code_files *f, const struct file_key *key, const char *path)
{
	struct code_file *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->key = *key;
	e->fd = -1;
	e->path = strdup(path);
	e->module = module_new(path);
	if (!e->path || !e->module) {
		free(e->path);
		module_free(e->module);
		free(e);
		return NULL;
	}
	HASH_ADD(hh, f->by_key, key, sizeof(e->key), e);
	DL_APPEND(f->by_use, e);
	f->len++;
	return e;
}

/* Gives up what nobody maps, the longest unused first; then contents of files that are mapped: they are read again when needed. */
static void files_trim(struct code_files *f, const struct code_file *keep)
{
	size_t bytes = code_files_bytes(f);
	struct code_file *e, *next;

	DL_FOREACH_SAFE(f->by_use, e, next) {
		size_t had = module_bytes(e->module);

		if (f->len <= FILES_MAX && bytes <= FILES_BYTES_MAX)
			return;
		if (e->refs || e == keep)
			continue;
		bytes -= had;
		entry_free(f, e);
	}
	DL_FOREACH(f->by_use, e) {
		size_t had = module_bytes(e->module);

		if (bytes <= FILES_BYTES_MAX)
			return;
		if (e == keep)
			continue;
		module_unload(e->module);
		bytes -= had - module_bytes(e->module);
	}
}

struct code_file *code_files_get(struct code_files *f, uint32_t tgid, const struct maps_line *at)
{
	_cleanup_close_ int place = map_open(tgid, at->start, at->end, at->path, O_PATH);
	struct code_file *e;
	struct file_key key;

	if (place < 0 || !file_key(place, &key))
		return NULL;
	HASH_FIND(hh, f->by_key, &key, sizeof(key), e);
	if (!e) {
		e = entry_new(f, &key, at->path);
		if (!e)
			return NULL;
		files_trim(f, e);
	}
	e->refs++;
	if (e->fd < 0 && !module_loaded(e->module) && f->held < HELD_OPEN_MAX) {
		e->fd = file_open(tgid, at->start, at->end, e);
		f->held += e->fd >= 0;
	}
	return e;
}

void code_files_put(struct code_files *f, struct code_file *e)
{
	if (!e || --e->refs)
		return;
	/* A file held open keeps its file system busy. */
	if (module_loaded(e->module))
		fd_drop(f, e);
	else
		entry_free(f, e);
}

struct module *code_files_module(struct code_files *f, struct code_file *e, uint32_t tgid, uint64_t start, uint64_t end)
{
	if (f->by_use->prev != e) {
		DL_DELETE(f->by_use, e);
		DL_APPEND(f->by_use, e);
	}
	if (!module_loaded(e->module)) {
		int fd = e->fd >= 0 ? e->fd : file_open(tgid, start, end, e);

		if (fd < 0)
			return NULL;
		module_load(e->module, fd);
		if (fd != e->fd)
			close(fd);
		fd_drop(f, e);
		files_trim(f, e);
	}
	return e->module;
}
