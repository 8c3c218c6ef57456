// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <errno.h>
#include <fts.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/util.h"
#include "model/container.h"
#include "probe/cgroups.h"

char *cgroup_in(char *text, const char *controller)
{
	char *line, *save = NULL;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *names = strchr(line, ':'), *path, *name, *save_name = NULL;

		path = names ? strchr(names + 1, ':') : NULL;
		if (!path)
			continue;
		*names++ = 0;
		*path++ = 0;
		if (!*controller && !*names)
			return path;
		for (name = strtok_r(names, ",", &save_name); name; name = strtok_r(NULL, ",", &save_name))
			if (!strcmp(name, controller))
				return path;
	}
	return NULL;
}

struct cgroup_mount {
	char *dir; /* mount point */
	char *root; /* what of the hierarchy is mounted there, usually "/" */
	char *options; /* a v1 hierarchy's controllers are among them; "" for v2 */
};

/* \040 and the like, as mountinfo writes blanks. In place. */
static char *unescape(char *s)
{
	char *to = s;

	for (const char *from = s; *from; to++)
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] && from[3]) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	*to = 0;
	return s;
}

/* Cgroup mounts, v2 first. Number found; the caller frees with mounts_free. */
static int mounts_read(struct cgroup_mount **ret)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	struct cgroup_mount *mounts = NULL;
	size_t cap = 0;
	int len = 0;

	while (f && getline(&line, &cap, f) > 0) {
		char *root = NULL, *dir = NULL, *type = NULL, *options = NULL, *rest = strstr(line, " - ");
		struct cgroup_mount *grown;
		bool v2;

		if (!rest || sscanf(line, "%*d %*d %*s %ms %ms", &root, &dir) != 2 || sscanf(rest + 3, "%ms %*s %ms", &type, &options) != 2 ||
		    (strcmp(type, "cgroup") && strcmp(type, "cgroup2")) ||
		    !(grown = realloc(mounts, (len + 1) * sizeof(*mounts)))) {
			free(root);
			free(dir);
			free(type);
			free(options);
			continue;
		}
		mounts = grown;
		v2 = !strcmp(type, "cgroup2");
		free(type);
		if (v2) {
			*options = 0;
			memmove(mounts + 1, mounts, len * sizeof(*mounts));
		}
		mounts[v2 ? 0 : len] = (struct cgroup_mount){ unescape(dir), unescape(root), options };
		len++;
	}
	*ret = mounts;
	return len;
}

static void mounts_free(struct cgroup_mount *mounts, int len)
{
	for (int i = 0; i < len; i++) {
		free(mounts[i].dir);
		free(mounts[i].root);
		free(mounts[i].options);
	}
	free(mounts);
}

/* What of path lies below dir: "" or "/..."; NULL when it lies elsewhere. */
static const char *path_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return !strncmp(path, dir, len) && (!path[len] || path[len] == '/') ? path + len : NULL;
}

/* The controller (from /proc/self/cgroup) by which the lines of this v1 hierarchy are told apart. */
static char *mount_controller(const struct cgroup_mount *m)
{
	char buf[8192], *line, *save = NULL;

	if (!*m->options)
		return strdup("");
	if (file_read("/proc/self/cgroup", buf, sizeof(buf)) <= 0)
		return NULL;
	for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *name = strchr(line, ':'), option[128], all[1024];

		if (!name)
			continue;
		name[1 + strcspn(name + 1, ",:")] = 0;
		snprintf(option, sizeof(option), ",%s,", name + 1);
		snprintf(all, sizeof(all), ",%s,", m->options);
		if (name[1] && strstr(all, option))
			return strdup(name + 1);
	}
	return NULL;
}

static int use_mount(struct cgroup_at *c, const struct cgroup_mount *m, const char *dir)
{
	const char *below = path_below(dir, m->dir);

	c->dir = strdup(dir);
	c->controller = mount_controller(m);
	/* With the root "/" of a hierarchy in front, a path below it would begin with two slashes. */
	if (asprintf(&c->path, "%s%s", strcmp(m->root, "/") || !*below ? m->root : "", below) < 0)
		c->path = NULL;
	return c->dir && c->path && c->controller ? 0 : -ENOMEM;
}

int cgroup_resolve(const char *path, struct cgroup_at *ret, char *why, size_t why_len)
{
	struct cgroup_mount *mounts;
	int len = mounts_read(&mounts), err = 0;
	/* A path with ".." in it that leads nowhere was meant to lead out. */
	bool outside = *path == '/' || strstr(path, ".."), done = false;

	/* As a path of the file system, if it is absolute; then below each hierarchy's root, as /proc/PID/cgroup shows them. */
	for (int pass = *path == '/' ? 0 : 1; pass < 2 && !done; pass++)
		for (int i = 0; i < len && !done; i++) {
			_cleanup_free_ char *joined = NULL, *real = NULL;
			const char *candidate = path;
			struct stat st;

			if (pass) {
				if (asprintf(&joined, "%s/%s", mounts[i].dir, path) < 0)
					joined = NULL;
				candidate = joined;
			} else if (path_below(path, mounts[i].dir)) {
				outside = false;
			}
			real = candidate ? realpath(candidate, NULL) : NULL;
			if (!real || stat(real, &st) || !S_ISDIR(st.st_mode))
				continue;
			if (!path_below(real, mounts[i].dir)) {
				outside = true;
				continue;
			}
			err = use_mount(ret, &mounts[i], real);
			done = true;
		}
	if (!len) {
		err = -EINVAL;
		snprintf(why, why_len, "--cgroup %s: no cgroup file system is mounted", path);
	} else if (!done) {
		err = outside ? -EINVAL : -ESRCH;
		snprintf(why, why_len, "%s%s%s; give a directory below %s, or relative to it", outside ? "cgroup " : "no cgroup ", path,
			 outside ? " is outside the hierarchy" : "", mounts[0].dir);
	} else if (err) {
		snprintf(why, why_len, "cgroup %s: %s", path, strerror(-err));
	}
	mounts_free(mounts, len);
	return err;
}

/* ---- containers ---- */

struct found { /* a container, in one hierarchy */
	struct container container;
	char *dir; /* its topmost cgroup, where it is mounted */
	int mount;
	bool populated; /* processes are in it */
};

struct found_list {
	struct found *at;
	int len;
};

static void found_free(struct found_list *l)
{
	for (int i = 0; i < l->len; i++)
		free(l->at[i].dir);
	free(l->at);
}

static bool has_processes(const char *dir)
{
	char path[4096], byte[2];

	return snprintf(path, sizeof(path), "%s/cgroup.procs", dir) < (int)sizeof(path) && file_read(path, byte, sizeof(byte)) > 0;
}

/* A cgroup that belongs to container c: its topmost one when it is the first in this hierarchy. 0 or -ENOMEM. */
static int found_note(struct found_list *l, const struct container *c, int mount, const char *dir)
{
	struct found *f = l->at, *grown;

	while (f < l->at + l->len && strcmp(f->container.id, c->id))
		f++;
	if (f == l->at + l->len) {
		grown = realloc(l->at, (l->len + 1) * sizeof(*l->at));
		if (!grown)
			return -ENOMEM;
		l->at = grown;
		f = &l->at[l->len++];
		*f = (struct found){ .container = *c, .mount = -1 };
	}
	if (f->populated)
		return 0;
	if (f->mount != mount) {
		free(f->dir);
		f->dir = strdup(dir);
		f->mount = mount;
	}
	f->populated = has_processes(dir);
	return f->dir ? 0 : -ENOMEM;
}

static int containers_scan(const struct cgroup_mount *m, int mount, struct found_list *l)
{
	char *paths[] = { m->dir, NULL };
	FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	const FTSENT *e;
	int err = 0;

	if (!tree)
		return -errno;
	while (!err && (e = fts_read(tree))) {
		struct container c;

		if (e->fts_info == FTS_D && container_parse(e->fts_path + strlen(m->dir), &c))
			err = found_note(l, &c, mount, e->fts_path);
	}
	fts_close(tree);
	return err;
}

/* The whole id, or the beginning of one that has no other meaning. */
static bool container_is(const struct container *c, const char *wanted)
{
	return !strcmp(c->id, wanted) || (container_is_hex(c->id) && strlen(wanted) >= CONTAINER_PREFIX_MIN && !strncmp(c->id, wanted, strlen(wanted)));
}

/* Those that match, or all (wanted NULL), as "4f797c539e6c (docker), web (lxc)". Returns buf. */
static const char *containers_list(const struct found_list *l, const char *wanted, char *buf, size_t buf_len)
{
	int more = 0;

	*buf = 0;
	for (int i = 0; i < l->len; i++) {
		const struct container *c = &l->at[i].container;
		char id[sizeof(c->id)];
		size_t len = strlen(buf);

		if (wanted && !container_is(c, wanted))
			continue;
		if (len + sizeof(c->id) + 64 > buf_len)
			more++;
		else
			snprintf(buf + len, buf_len - len, "%s%s%s%s%s", len ? ", " : "", container_short(c, id, sizeof(id)),
				*c->runtime ? " (" : "", c->runtime, *c->runtime ? ")" : "");
	}
	if (more)
		snprintf(buf + strlen(buf), buf_len - strlen(buf), " and %d more", more);
	return buf;
}

/* The one that is meant. 0, or as cgroup_of_container. */
static int container_choose(const struct found_list *l, const char *wanted, const struct found **ret, char *why, size_t why_len)
{
	char list[400];
	int matches = 0;

	for (int i = 0; i < l->len; i++) {
		const struct container *c = &l->at[i].container;

		if (!container_is(c, wanted))
			continue;
		*ret = &l->at[i];
		if (!strcmp(c->id, wanted)) /* a whole name, though it may be the beginning of an id */
			return 0;
		matches++;
	}
	if (matches == 1)
		return 0;
	if (matches) {
		snprintf(why, why_len, "--container %.64s stands for %d: %s", wanted, matches, containers_list(l, wanted, list, sizeof(list)));
		return -EINVAL;
	}
	if (!l->len)
		snprintf(why, why_len, "no container %.64s: no cgroup of this host is a container's", wanted);
	else
		snprintf(why, why_len, "no container %.64s%s; there are %s", wanted,
			 container_is_hex(wanted) && strlen(wanted) < CONTAINER_PREFIX_MIN ? " (an id takes 4 digits at least)" : "",
			 containers_list(l, NULL, list, sizeof(list)));
	return -ESRCH;
}

int cgroup_of_container(const char *wanted, struct cgroup_at *ret, char *why, size_t why_len)
{
	struct cgroup_mount *mounts;
	struct found_list list = { 0 };
	const struct found *found = NULL;
	const char *scheme = strstr(wanted, "://"); /* as Kubernetes has it: containerd://ID */
	int len = mounts_read(&mounts), err = 0;

	for (int i = 0; i < len && !err; i++)
		err = containers_scan(&mounts[i], i, &list);
	if (!len)
		err = (snprintf(why, why_len, "--container %.64s: no cgroup file system is mounted", wanted), -EINVAL);
	else if (err)
		snprintf(why, why_len, "--container %.64s: cannot read the cgroups: %s", wanted, strerror(-err));
	else
		err = container_choose(&list, scheme ? scheme + 3 : wanted, &found, why, why_len);
	if (!err && use_mount(ret, &mounts[found->mount], found->dir))
		err = (snprintf(why, why_len, "--container %.64s: out of memory", wanted), -ENOMEM);
	found_free(&list);
	mounts_free(mounts, len);
	return err;
}

void cgroup_fini(struct cgroup_at *c)
{
	free(c->dir);
	free(c->path);
	free(c->controller);
	*c = (struct cgroup_at){ 0 };
}

void cgroup_mount_find(const char *controller, struct cgroup_mount_at *ret)
{
	struct cgroup_mount *mounts;
	int len = mounts_read(&mounts);
	char wanted[64];

	*ret = (struct cgroup_mount_at){ 0 };
	snprintf(wanted, sizeof(wanted), ",%s,", controller);
	for (int i = 0; i < len && !ret->dir; i++) {
		char all[1024];

		snprintf(all, sizeof(all), ",%s,", mounts[i].options);
		if (*controller ? !strstr(all, wanted) : *mounts[i].options)
			continue;
		ret->dir = mounts[i].dir;
		ret->root = mounts[i].root;
		mounts[i].dir = mounts[i].root = NULL;
	}
	mounts_free(mounts, len);
}

void cgroup_mount_fini(struct cgroup_mount_at *m)
{
	free(m->dir);
	free(m->root);
	*m = (struct cgroup_mount_at){ 0 };
}

const char *cgroup_below(const char *path, const char *root)
{
	return strcmp(root, "/") ? path_below(path, root) : path;
}
