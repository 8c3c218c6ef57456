// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The names that container engines give to cgroups. Nothing in the kernel says "container": what there is are the conventions of runc's and crun's cgroup drivers
 * (cgroupfs: directories, systemd: PREFIX-ID.scope), of the kubelet (kubepods, then the class of service, then the pod), and of LXC, systemd and Garden.
 */
#include "model/container.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lib/util.h"

#define ID_DIGITS 64
#define UID_HEX 32 /* a static pod's uid is a hash without hyphens */
#define UID_LEN 36

enum id_kind {
	ID_HEX, /* 64 hexadecimal digits */
	ID_GUID, /* Garden's: groups of hexadecimal digits, at least 28 characters */
	ID_TASK, /* Fargate's: 32 hexadecimal digits, a hyphen, a number */
	ID_NAME, /* anything; systemd's \xNN are resolved */
	ID_NONE, /* no container, for all that the name may look like one */
};

/* One form of a path's component; the first that fits counts. */
static const struct form {
	const char *parent; /* the component before it, NULL: any */
	const char *prefix, *suffix;
	enum id_kind kind;
	const char *runtime;
} forms[] = {
	{ NULL, "docker-", ".scope", ID_HEX, "docker" },
	{ NULL, "cri-containerd-", ".scope", ID_HEX, "containerd" },
	{ NULL, "nerdctl-", ".scope", ID_HEX, "containerd" },
	{ NULL, "crio-", ".scope", ID_HEX, "cri-o" }, /* crio-conmon-ID.scope doesn't fit, which is right: it is the monitor's */
	{ NULL, "crio-", "", ID_HEX, "cri-o" },
	{ NULL, "libpod-", ".scope", ID_HEX, "podman" },
	{ NULL, "libpod-", "", ID_HEX, "podman" },
	{ NULL, "libpod-payload-", "", ID_HEX, "podman" }, /* --cgroups=split */
	{ "docker", "", "", ID_HEX, "docker" },
	{ "actions_job", "", "", ID_HEX, "docker" }, /* GitHub's runners */
	{ "cri-containerd", "", "", ID_HEX, "containerd" }, /* SLICE:cri-containerd:ID, where systemd's form was given to the other driver */
	{ "k8s.io", "", "", ID_HEX, "containerd" }, /* namespaces of containerd */
	{ "default", "", "", ID_HEX, "containerd" },
	{ "crio", "", "", ID_HEX, "cri-o" },
	{ "libpod", "", "", ID_HEX, "podman" },
	{ NULL, "", "", ID_HEX, "" }, /* below kubepods, or a parent of the user's: any runtime */
	{ NULL, "", "", ID_TASK, "" },
	{ "garden", "", "", ID_GUID, "garden" },
	{ "good", "", "", ID_GUID, "garden" }, /* garden/good: not throttled; garden/bad: throttled */
	{ "bad", "", "", ID_GUID, "garden" },
	{ NULL, "lxc.payload.", "", ID_NAME, "lxc" },
	{ "lxc.payload", "", "", ID_NAME, "lxc" },
	{ "lxc", "", "", ID_NAME, "lxc" }, /* LXC before 4, Proxmox */
	{ "machine.slice", "machine-qemu\\x2d", ".scope", ID_NONE, "" }, /* libvirt: a virtual machine */
	{ "machine.slice", "machine-lxc\\x2d", ".scope", ID_NAME, "lxc" }, /* libvirt */
	{ "machine.slice", "machine-", ".scope", ID_NAME, "systemd-nspawn" },
	{ NULL, "systemd-nspawn@", ".service", ID_NAME, "systemd-nspawn" },
};

struct word { /* a component, within the path */
	const char *at;
	size_t len;
};

static bool word_is(const struct word *w, const char *text)
{
	return strlen(text) == w->len && !memcmp(w->at, text, w->len);
}

/* Cuts prefix and suffix off; false when it has not got both, or nothing is left. */
static bool word_strip(struct word *w, const char *prefix, const char *suffix)
{
	size_t before = strlen(prefix), after = strlen(suffix);

	if (w->len <= before + after || memcmp(w->at, prefix, before) || memcmp(w->at + w->len - after, suffix, after))
		return false;
	w->at += before;
	w->len -= before + after;
	return true;
}

/* Where text begins within the word; NULL: nowhere. */
static const char *word_find(const struct word *w, const char *text)
{
	return memmem(w->at, w->len, text, strlen(text));
}

/* Number of hexadecimal digits that it begins with. Engines write them in lower case. */
static size_t hex_len(const char *s, size_t len)
{
	size_t n = 0;

	while (n < len && (isdigit((unsigned char)s[n]) || (s[n] >= 'a' && s[n] <= 'f')))
		n++;
	return n;
}

static bool all_in(const struct word *w, const char *allowed)
{
	for (size_t i = 0; i < w->len; i++)
		if (!w->at[i] || !strchr(allowed, w->at[i]))
			return false;
	return true;
}

/* \xNN as systemd escapes names of units. False when it is too long, or holds a NUL. */
static bool name_copy(const struct word *w, char *ret, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < w->len; n++) {
		unsigned byte = (unsigned char)w->at[i];

		if (n + 1 >= size)
			return false;
		if (i + 3 < w->len && w->at[i] == '\\' && w->at[i + 1] == 'x' && hex_len(w->at + i + 2, 2) == 2) {
			sscanf(w->at + i + 2, "%2x", &byte);
			i += 4;
		} else {
			i++;
		}
		if (!byte)
			return false;
		ret[n] = (char)byte;
	}
	ret[n] = '\0';
	return n > 0;
}

static bool id_copy(const struct word *w, enum id_kind kind, char *ret, size_t size)
{
	size_t hex = hex_len(w->at, w->len);
	bool fits;

	switch (kind) {
	case ID_HEX:
		fits = w->len == ID_DIGITS && hex == ID_DIGITS;
		break;
	case ID_GUID:
		fits = w->len >= 28 && hex == 8 && all_in(w, "0123456789abcdef-");
		break;
	case ID_TASK:
		fits = hex == 32 && w->len > 33 && w->len <= 53 && w->at[32] == '-' && all_in(&(struct word){ w->at + 33, w->len - 33 }, "0123456789");
		break;
	case ID_NAME:
		return name_copy(w, ret, size);
	default:
		return false;
	}
	if (!fits || w->len >= size)
		return false;
	memcpy(ret, w->at, w->len);
	ret[w->len] = '\0';
	return true;
}

/* The uid of "podUID", with hyphens in place of what systemd's driver has for them. */
static void pod_copy(struct word w, char *ret, size_t size)
{
	static const size_t hyphens[] = { 8, 13, 18, 23 };

	if (!word_strip(&w, "pod", "") || (w.len != UID_HEX && w.len != UID_LEN) || w.len >= size)
		return;
	memcpy(ret, w.at, w.len);
	ret[w.len] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(hyphens) && w.len == UID_LEN; i++)
		if (ret[hyphens[i]] != '-' && ret[hyphens[i]] != '_')
			goto refuse;
		else
			ret[hyphens[i]] = '-';
	for (size_t i = 0, n = 0; i < w.len; i++)
		if (ret[i] == '-' ? n++ >= ARRAY_SIZE(hyphens) : !hex_len(ret + i, 1))
			goto refuse;
	return;
refuse:
	*ret = '\0';
}

/*
 * What the kubelet's directories say. cgroupfs: kubepods/[besteffort|burstable/]podUID; systemd: kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID.slice,
 * possibly below, and with the prefix of, another slice (kubelet-kubepods-..). Of the guaranteed class is what names none.
 */
static void kube_word(struct word w, bool *below, struct container *c)
{
	const char *last = memrchr(w.at, '-', w.len);
	bool slice = word_strip(&w, "", ".slice"), pods = word_find(&w, "kubepods");
	struct word pod = w;

	if (pods && !*below) {
		*below = true;
		snprintf(c->qos, sizeof(c->qos), "guaranteed");
	}
	if (!*below || *c->pod)
		return;
	if (slice ? word_find(&w, "-besteffort") != NULL : word_is(&w, "besteffort"))
		snprintf(c->qos, sizeof(c->qos), "besteffort");
	else if (slice ? word_find(&w, "-burstable") != NULL : word_is(&w, "burstable"))
		snprintf(c->qos, sizeof(c->qos), "burstable");
	if (slice && last) /* uids have no hyphens there */
		pod = (struct word){ last + 1, w.at + w.len - last - 1 };
	pod_copy(pod, c->pod, sizeof(c->pod));
}

/* One component: sets c to the container that it stands for, or to none where it stands for what is no longer one. */
static void container_word(const struct word *w, const struct word *parent, struct container *c)
{
	if (!strcmp(c->runtime, "systemd-nspawn") && word_is(w, "supervisor")) {
		*c->id = *c->runtime = '\0';
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		const struct form *f = &forms[i];
		char id[sizeof(c->id)];
		struct word rest = *w;

		if ((f->parent && !word_is(parent, f->parent)) || !word_strip(&rest, f->prefix, f->suffix))
			continue;
		if (f->kind == ID_NONE)
			return;
		if (!id_copy(&rest, f->kind, id, sizeof(id)))
			continue;
		memcpy(c->id, id, sizeof(id));
		snprintf(c->runtime, sizeof(c->runtime), "%s", f->runtime);
		return;
	}
}

static bool parse(const char *path, size_t path_len, struct container *ret)
{
	const char *end = path + path_len;
	struct word parent = { path, 0 };
	bool kube = false;

	*ret = (struct container){ 0 };
	for (const char *s = path; s < end;) {
		struct word w = { s, 0 };

		while (s < end && *s != '/' && *s != ':') /* the colon: see cri-containerd */
			s++;
		w.len = (size_t)(s++ - w.at);
		if (!w.len)
			continue;
		kube_word(w, &kube, ret);
		container_word(&w, &parent, ret);
		parent = w;
	}
	if (!*ret->id || !*ret->pod) /* kubepods with no pod is not Kubernetes' */
		*ret->pod = *ret->qos = '\0';
	return *ret->id != '\0';
}

bool container_parse(const char *path, struct container *ret)
{
	return parse(path, strlen(path), ret);
}

bool container_find(const char *proc_cgroup, struct container *ret)
{
	for (const char *line = proc_cgroup, *end; *line; line = *end ? end + 1 : end) {
		const char *path = strchr(line, ':');

		end = strchrnul(line, '\n');
		path = path && path < end ? memchr(path + 1, ':', (size_t)(end - path - 1)) : NULL;
		if (path && parse(path + 1, (size_t)(end - path - 1), ret))
			return true;
	}
	*ret = (struct container){ 0 };
	return false;
}

bool container_is_hex(const char *id)
{
	return *id && hex_len(id, strlen(id)) == strlen(id);
}

const char *container_short(const struct container *c, char *buf, size_t buf_len)
{
	snprintf(buf, buf_len, "%.*s", container_is_hex(c->id) ? CONTAINER_SHORT : (int)sizeof(c->id), c->id);
	return buf;
}
