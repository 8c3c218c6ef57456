/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * One pass over a BTF blob, without an index of it. The kernel's has some 140,000 types: libbpf copies all of it and notes where each type is, which takes
 * three times as long as the pass, and does so once more for itself when it loads an object.
 */
#ifndef STAKEOUT_BTF_SCAN_H
#define STAKEOUT_BTF_SCAN_H

#include <linux/btf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct btf_blob {
	const uint8_t *data;
	size_t size;
	bool mapped; /* else allocated */
	const uint8_t *types, *types_end;
	const char *strings;
	uint32_t strings_len;
};

/* Maps the file, or reads it where it can't be mapped (sysfs before 6.16). 0, -errno, or -EBADMSG: it is no BTF of this machine's byte order. */
int btf_blob_open(const char *path, struct btf_blob *ret);
void btf_blob_close(struct btf_blob *b);
/* The type behind t, or NULL at the end; t NULL: the first one, whose id is 1. *ret_bad is set when the blob ends within a type, or has an unknown kind. */
const struct btf_type *btf_scan_next(const struct btf_blob *b, const struct btf_type *t, bool *ret_bad);
/* "" beyond the strings. */
const char *btf_scan_name(const struct btf_blob *b, uint32_t offset);
/* Whether a struct, union or enum has such a member; those of anonymous structs and unions count as the outer type's own. */
bool btf_scan_member(const struct btf_blob *b, const struct btf_type *t, const char *name);

#endif
