/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "probe/btf_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/util.h"

#define DEPTH_MAX 8 /* of anonymous structs within each other */

static int blob_read(int fd, struct btf_blob *b)
{
	uint8_t *data = malloc(b->size);
	size_t have = 0;

	if (!data)
		return -ENOMEM;
	b->data = data;
	while (have < b->size) {
		ssize_t n = read(fd, data + have, b->size - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EBADMSG;
		have += (size_t)n;
	}
	return 0;
}

static int blob_check(struct btf_blob *b)
{
	const struct btf_header *h = (const void *)b->data;
	uint64_t end;

	if (b->size < sizeof(*h) || h->magic != BTF_MAGIC || h->hdr_len < sizeof(*h) || h->hdr_len > b->size)
		return -EBADMSG;
	end = b->size - h->hdr_len;
	if ((uint64_t)h->type_off + h->type_len > end || (uint64_t)h->str_off + h->str_len > end || h->type_off % 4 || h->hdr_len % 4)
		return -EBADMSG;
	b->types = b->data + h->hdr_len + h->type_off;
	b->types_end = b->types + h->type_len;
	b->strings = (const char *)b->data + h->hdr_len + h->str_off;
	b->strings_len = h->str_len;
	return b->strings_len && !b->strings[b->strings_len - 1] ? 0 : -EBADMSG;
}

int btf_blob_open(const char *path, struct btf_blob *ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct btf_blob b = {};
	struct stat st;
	void *map;
	int err = 0;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (st.st_size <= 0)
		return -EBADMSG;
	b.size = (size_t)st.st_size;
	map = mmap(NULL, b.size, PROT_READ, MAP_PRIVATE, fd, 0);
	b.mapped = map != MAP_FAILED;
	if (b.mapped)
		b.data = map;
	else
		err = blob_read(fd, &b);
	if (!err)
		err = blob_check(&b);
	if (err)
		btf_blob_close(&b);
	else
		*ret = b;
	return err;
}

void btf_blob_close(struct btf_blob *b)
{
	if (b->mapped)
		munmap((void *)b->data, b->size);
	else
		free((void *)b->data);
	memset(b, 0, sizeof(*b));
}

/* Bytes behind the type's head; -1: a kind that this does not know. */
static long tail_bytes(const struct btf_type *t)
{
	uint32_t n = BTF_INFO_VLEN(t->info);

	switch (BTF_INFO_KIND(t->info)) {
	case BTF_KIND_PTR:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case BTF_KIND_FLOAT:
	case BTF_KIND_TYPE_TAG:
		return 0;
	case BTF_KIND_INT:
		return sizeof(uint32_t);
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return n * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return n * sizeof(struct btf_enum);
	case BTF_KIND_ENUM64:
		return n * sizeof(struct btf_enum64);
	case BTF_KIND_FUNC_PROTO:
		return n * sizeof(struct btf_param);
	case BTF_KIND_VAR:
		return sizeof(struct btf_var);
	case BTF_KIND_DATASEC:
		return n * sizeof(struct btf_var_secinfo);
	case BTF_KIND_DECL_TAG:
		return sizeof(struct btf_decl_tag);
	}
	return -1;
}

const struct btf_type *btf_scan_next(const struct btf_blob *b, const struct btf_type *t, bool *ret_bad)
{
	const uint8_t *at = t ? (const uint8_t *)(t + 1) + tail_bytes(t) : b->types;
	size_t left = (size_t)(b->types_end - at);
	long tail;

	if (!left)
		return NULL;
	t = (const struct btf_type *)at;
	tail = left < sizeof(*t) ? -1 : tail_bytes(t);
	if (tail >= 0 && (size_t)tail <= left - sizeof(*t))
		return t;
	*ret_bad = true;
	return NULL;
}

const char *btf_scan_name(const struct btf_blob *b, uint32_t offset)
{
	return offset < b->strings_len ? b->strings + offset : "";
}

/* Counts up to it: rarely wanted. */
static const struct btf_type *type_by_id(const struct btf_blob *b, uint32_t id)
{
	const struct btf_type *t = NULL;
	bool bad = false;

	for (uint32_t i = 0; i < id; i++)
		if (!(t = btf_scan_next(b, t, &bad)))
			return NULL;
	return t;
}

static bool member_find(const struct btf_blob *b, const struct btf_type *t, const char *name, int depth)
{
	const struct btf_enum *e = (const void *)(t + 1);
	const struct btf_member *m = (const void *)(t + 1);
	uint32_t n = BTF_INFO_VLEN(t->info), kind = BTF_INFO_KIND(t->info);

	for (uint32_t i = 0; kind == BTF_KIND_ENUM && i < n; i++)
		if (!strcmp(btf_scan_name(b, e[i].name_off), name))
			return true;
	if (kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		const char *member = btf_scan_name(b, m[i].name_off);
		const struct btf_type *inner = *member || depth == DEPTH_MAX ? NULL : type_by_id(b, m[i].type);

		if (!strcmp(member, name) || (inner && member_find(b, inner, name, depth + 1)))
			return true;
	}
	return false;
}

bool btf_scan_member(const struct btf_blob *b, const struct btf_type *t, const char *name)
{
	return member_find(b, t, name, 0);
}
