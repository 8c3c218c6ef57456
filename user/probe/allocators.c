/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The dynamic linker takes the first file in its order of search that defines a symbol, and tells that order to debuggers: a list that the program's
 * dynamic section points to (DT_DEBUG: r_debug, link_map; glibc's and musl's <link.h>). It lies in the process's own memory and may say anything: what
 * is read of it is bounded, and only files that the kernel says are mapped there count.
 */
#include "probe/allocators.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/util.h"
#include "probe/elf_sites.h"

#define FILES_MAX 512
#define SEGMENTS_MAX 64
#define DYNAMICS_MAX 256
#define CACHE_FILES 64

/* Names that tell whose allocator it is, beside its functions. */
enum { SIGN_GLIBC, SIGN_MUSL, SIGN_JEMALLOC, SIGN_TCMALLOC, SIGN_MIMALLOC, SIGN_COUNT };
static const struct {
	const char *symbol, *name;
} signs[SIGN_COUNT] = {
	[SIGN_GLIBC] = { "__libc_malloc", "glibc" },
	[SIGN_MUSL] = { "__libc_malloc_impl", "musl" },
	[SIGN_JEMALLOC] = { "mallctl", "jemalloc" },
	[SIGN_TCMALLOC] = { "tc_malloc", "tcmalloc" },
	[SIGN_MIMALLOC] = { "mi_malloc", "mimalloc" },
};

struct symbols { /* of one file */
	uint64_t dev, inode;
	struct elf_site fns[ALLOC_FN_COUNT];
	bool signs[SIGN_COUNT];
	bool any; /* it has a table of symbols with any of them */
};

/* ---- a file's symbols ---- */

/* An agent forks and runs the same few programs over and over: looking through the tables of a large one takes milliseconds. */
static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;
static struct symbols cache[CACHE_FILES];
static unsigned cache_at;

static bool cache_get(const struct mapped_file *m, struct symbols *ret)
{
	bool found = false;

	pthread_mutex_lock(&cache_lock);
	for (int i = 0; i < CACHE_FILES && !found; i++)
		if (cache[i].inode == m->inode && cache[i].dev == m->dev) {
			*ret = cache[i];
			found = true;
		}
	pthread_mutex_unlock(&cache_lock);
	return found;
}

static void cache_put(const struct symbols *s)
{
	pthread_mutex_lock(&cache_lock);
	cache[cache_at++ % CACHE_FILES] = *s;
	pthread_mutex_unlock(&cache_lock);
}

static void symbols_look(int fd, struct symbols *s)
{
	static const char *const names[ALLOC_FN_COUNT] = {
#define X(id, value, symbol) [value] = symbol,
		ALLOC_FNS(X)
#undef X
	};
	struct elf_site sites[ALLOC_FN_COUNT - 1 + SIGN_COUNT] = {};
	int n = ALLOC_FN_COUNT - 1;

	for (int i = 1; i < ALLOC_FN_COUNT; i++)
		sites[i - 1].name = names[i];
	for (int i = 0; i < SIGN_COUNT; i++)
		sites[n + i].name = signs[i].symbol;
	s->any = elf_sites_find(fd, sites, n + SIGN_COUNT) > 0;
	for (int i = 1; i < ALLOC_FN_COUNT; i++)
		s->fns[i] = sites[i - 1];
	for (int i = 0; i < SIGN_COUNT; i++)
		s->signs[i] = sites[n + i].offset;
}

static bool symbols_of(pid_t pid, const struct mapped_file *m, struct symbols *ret)
{
	_cleanup_close_ int fd = -1;

	if (cache_get(m, ret))
		return true;
	fd = mapped_file_open(pid, m);
	if (fd < 0)
		return false;
	memset(ret, 0, sizeof(*ret));
	ret->dev = m->dev;
	ret->inode = m->inode;
	symbols_look(fd, ret);
	cache_put(ret);
	return true;
}

/* ---- the order of search ---- */

static bool remote_read(pid_t pid, uint64_t from, void *to, size_t size)
{
	struct iovec local = { to, size }, remote = { (void *)(uintptr_t)from, size };

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)size;
}

struct program {
	uint64_t headers, headers_len; /* where its program headers are */
	uint64_t dynamic; /* where its dynamic section is; 0: none */
	bool linked; /* by a dynamic linker */
};

static bool program_read(pid_t pid, struct program *ret)
{
	Elf64_auxv_t aux[64];
	Elf64_Phdr segments[SEGMENTS_MAX];
	uint64_t bias = 0, dynamic = 0;
	char path[32];
	ssize_t size;

	*ret = (struct program){};
	snprintf(path, sizeof(path), "/proc/%d/auxv", (int)pid);
	size = file_read(path, (char *)aux, sizeof(aux));
	for (size_t i = 0; size > 0 && i < (size_t)size / sizeof(aux[0]); i++) {
		if (aux[i].a_type == AT_PHDR)
			ret->headers = aux[i].a_un.a_val;
		else if (aux[i].a_type == AT_PHNUM)
			ret->headers_len = aux[i].a_un.a_val;
	}
	if (!ret->headers || !ret->headers_len || ret->headers_len > SEGMENTS_MAX ||
	    !remote_read(pid, ret->headers, segments, ret->headers_len * sizeof(segments[0])))
		return false;
	for (size_t i = 0; i < ret->headers_len; i++) {
		if (segments[i].p_type == PT_PHDR)
			bias = ret->headers - segments[i].p_vaddr;
		else if (segments[i].p_type == PT_DYNAMIC)
			dynamic = segments[i].p_vaddr;
		else if (segments[i].p_type == PT_INTERP)
			ret->linked = true;
	}
	ret->dynamic = dynamic ? dynamic + bias : 0;
	return true;
}

/* First entry of the linker's list. 0: it has not made it yet. */
static uint64_t link_first(pid_t pid, const struct program *p)
{
	Elf64_Dyn d[DYNAMICS_MAX];
	struct r_debug debug;
	size_t n = DYNAMICS_MAX;

	/* How long the section is does not matter: it ends with DT_NULL, but may end at the end of what is mapped. */
	while (n && !remote_read(pid, p->dynamic, d, n * sizeof(d[0])))
		n /= 2;
	for (size_t i = 0; i < n && d[i].d_tag != DT_NULL; i++)
		if (d[i].d_tag == DT_DEBUG && d[i].d_un.d_ptr && remote_read(pid, d[i].d_un.d_ptr, &debug, sizeof(debug)))
			return debug.r_state == RT_CONSISTENT ? (uintptr_t)debug.r_map : 0;
	return 0;
}

/* Puts the files into the linker's order; returns how many of them it knows. */
static int files_order(pid_t pid, uint64_t first, struct mapped_file *files, int n)
{
	uint64_t at = first;
	int sorted = 0;

	for (int turn = 0; turn < FILES_MAX && at && sorted < n; turn++) {
		struct link_map m;

		if (!remote_read(pid, at, &m, sizeof(m)))
			break;
		for (int i = sorted; i < n; i++)
			if (files[i].bias == m.l_addr) {
				struct mapped_file moved = files[i];

				files[i] = files[sorted];
				files[sorted++] = moved;
				break;
			}
		at = (uintptr_t)m.l_next;
	}
	return sorted;
}

/* ---- the allocator ---- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void name_take(struct allocator *a, const struct mapped_file *m, const struct symbols *s)
{
	const char *name = "unknown";

	/* From the back: a file that has an allocator's own names beside the C library's is a static one with that allocator. */
	for (int i = SIGN_COUNT; i-- > 0 && !strcmp(name, "unknown");)
		if (s->signs[i])
			name = signs[i].name;
	/* Its dynamic library tells nothing but what the standards name. */
	if (!strncmp(base_name(m->name), "ld-musl-", strlen("ld-musl-")) || !strcmp(base_name(m->name), "libc.so"))
		name = "musl";
	snprintf(a->name, sizeof(a->name), "%s", name);
}

static bool site_known(const struct allocator *a, uint64_t address)
{
	for (int i = 1; i < ALLOC_FN_COUNT; i++)
		if (a->sites[i].address == address)
			return true;
	return false;
}

/* Takes functions from..to of what is number `file` of the allocator's files. */
static void sites_take(struct allocator *a, int file, const struct mapped_file *m, const struct symbols *s, int from, int to)
{
	for (int i = from; i <= to; i++) {
		const struct elf_site *e = &s->fns[i];

		if (!e->offset || a->sites[i].address || site_known(a, e->address + m->bias))
			continue;
		a->sites[i] = (struct alloc_site){ .address = e->address + m->bias, .offset = e->offset, .size = e->size, .file = file };
	}
	a->files[file].dev = m->dev;
	a->files[file].inode = m->inode;
	a->files[file].start = m->start;
	a->files[file].end = m->end;
	snprintf(a->files[file].path, sizeof(a->files[file].path), "%s", m->name);
	a->files_len = file + 1;
}

/* The C++ runtimes' operator new calls malloc. */
static bool calls_malloc(const struct mapped_file *m)
{
	return !strncmp(base_name(m->name), "libstdc++", strlen("libstdc++")) || !strncmp(base_name(m->name), "libc++", strlen("libc++"));
}

static int search(pid_t pid, const struct mapped_file *files, int n, struct allocator *a, bool *ret_any)
{
	int malloc_file = -1, new_file = -1;
	struct symbols s;

	for (int i = 0; i < n && (malloc_file < 0 || new_file < 0); i++) {
		if (!symbols_of(pid, &files[i], &s))
			continue;
		*ret_any |= s.any;
		if (malloc_file < 0 && s.fns[ALLOC_MALLOC].offset) {
			malloc_file = i;
			name_take(a, &files[i], &s);
			sites_take(a, 0, &files[i], &s, ALLOC_MALLOC, ALLOC_PVALLOC);
			sites_take(a, 0, &files[i], &s, ALLOC_REALLOCARRAY, ALLOC_FN_COUNT - 1);
		}
		if (new_file < 0 && s.fns[ALLOC_NEW].offset)
			new_file = i;
	}
	if (malloc_file < 0)
		return -ENOENT;
	if (new_file < 0 || (new_file != malloc_file && calls_malloc(&files[new_file])) || !symbols_of(pid, &files[new_file], &s))
		return 0;
	sites_take(a, new_file != malloc_file, &files[new_file], &s, ALLOC_NEW, ALLOC_DELETE_ARRAY_SIZED);
	return 0;
}

static const char *program_name(pid_t pid, char *buf, size_t size)
{
	char path[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, buf, size - 1);
	if (n < 0)
		return "?";
	buf[n] = 0;
	return base_name(text_sanitize(buf));
}

static int fit_check(pid_t pid, char *why, size_t why_len)
{
	_cleanup_close_ int fd = -1;
	char path[32], name[256];
	enum elf_fit fit;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ESRCH;
	fit = elf_fit(fd);
	if (fit == ELF_FITS)
		return 0;
	snprintf(why, why_len, "%s (pid %d) is %s", program_name(pid, name, sizeof(name)), (int)pid,
		 fit == ELF_COMPAT ? "a 32-bit program" : "no program of this machine's kind");
	return -ENOTSUP;
}

static int nothing_found(pid_t pid, bool linked, bool any, char *why, size_t why_len)
{
	char name[256];

	snprintf(why, why_len, "no allocator symbols in %s (pid %d): %s", program_name(pid, name, sizeof(name)), (int)pid,
		 linked ? "none of its files has a malloc" : any ? "statically linked, without malloc" : "statically linked and stripped");
	return -ENOENT;
}

/* False: it has run another one since p was read. */
static bool program_same(pid_t pid, const struct program *p)
{
	struct program now;

	return program_read(pid, &now) && now.headers == p->headers && now.headers_len == p->headers_len && now.dynamic == p->dynamic && now.linked == p->linked;
}

int allocator_find(pid_t pid, struct allocator *ret, char *why, size_t why_len)
{
	_cleanup_free_ struct mapped_file *files = calloc(FILES_MAX, sizeof(*files));
	struct program p;
	uint64_t first = 0;
	bool any = false;
	int n, err;

	*ret = (struct allocator){};
	if (why_len)
		*why = 0;
	if (!files)
		return -ENOMEM;
	err = fit_check(pid, why, why_len);
	if (err)
		return err;
	if (!program_read(pid, &p))
		return -ESRCH;
	if (p.linked) {
		first = p.dynamic ? link_first(pid, &p) : 0;
		if (!first)
			return -EAGAIN;
	}
	n = mapped_files(pid, files, FILES_MAX); /* only now: the linker is done */
	if (n < 0)
		return -ESRCH;
	if (p.linked) {
		n = files_order(pid, first, files, n);
	} else if (n > 1) {
		n = 1; /* the program itself; a library that it loads by its own means is none that its calls go to */
	}
	if (!search(pid, files, n, ret, &any))
		return 0;
	return program_same(pid, &p) ? nothing_found(pid, p.linked, any, why, why_len) : -EAGAIN;
}

static bool is_own(const struct allocator *a, const struct mapped_file *m)
{
	for (int i = 0; i < a->files_len; i++)
		if (a->files[i].start == m->start)
			return true;
	return false;
}

/* A C library whose malloc another file's stands before is no surprise. */
static bool other_malloc(pid_t pid, const struct allocator *a, const struct mapped_file *m)
{
	struct allocator named;
	struct symbols s;

	if (is_own(a, m) || !symbols_of(pid, m, &s) || !s.fns[ALLOC_MALLOC].offset)
		return false;
	name_take(&named, m, &s); /* tcmalloc has glibc's names, too */
	return strcmp(named.name, "glibc") && strcmp(named.name, "musl") && strncmp(base_name(m->name), "ld-", strlen("ld-"));
}

bool allocator_other(pid_t pid, const struct allocator *a, uint64_t *known, char *why, size_t why_len)
{
	_cleanup_free_ struct mapped_file *files = calloc(FILES_MAX, sizeof(*files));
	int n = files ? mapped_files(pid, files, FILES_MAX) : 0;
	uint64_t sum = 1;
	char name[256];

	for (int i = 0; i < n; i++)
		sum = sum * 31 + files[i].start + files[i].inode;
	if (n <= 0 || sum == *known)
		return false;
	*known = sum;
	for (int i = 0; i < n; i++) {
		if (!other_malloc(pid, a, &files[i]))
			continue;
		snprintf(why, why_len, "%s (pid %d) has another malloc in %s, besides %s's: what it asks of that one is not observed",
			 program_name(pid, name, sizeof(name)), (int)pid, base_name(text_sanitize(files[i].name)), a->name);
		return true;
	}
	return false;
}

bool allocator_stands(pid_t pid, const struct allocator *a)
{
	for (int i = 0; i < a->files_len; i++) {
		struct stat st;
		char path[80];

		snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", (int)pid, (unsigned long long)a->files[i].start,
			 (unsigned long long)a->files[i].end);
		if (stat(path, &st) || st.st_ino != a->files[i].inode)
			return false;
	}
	return a->files_len > 0;
}
