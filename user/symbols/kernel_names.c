/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "symbols/kernel_names.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

#define FUNCTION_BYTES_MAX (1u << 20) /* behind the last symbol there is other memory */

struct function {
	uint64_t address;
	uint32_t name, module; /* in the texts; module 0: "" */
};

struct kernel_names {
	struct function *at;
	size_t len, cap;
	char *texts;
	size_t texts_len, texts_cap;
	char last_module[64];
	uint32_t last_module_at;
};

static bool text_keep(struct kernel_names *k, const char *s, uint32_t *ret)
{
	size_t n = strlen(s) + 1;

	if (k->texts_len + n > k->texts_cap) {
		size_t cap = k->texts_cap ? 2 * k->texts_cap : 1u << 16;
		char *p = realloc(k->texts, cap);

		if (!p)
			return false;
		k->texts = p;
		k->texts_cap = cap;
	}
	*ret = (uint32_t)k->texts_len;
	memcpy(k->texts + k->texts_len, s, n);
	k->texts_len += n;
	return true;
}

/* Modules' functions come one after the other, with the module's name in brackets. */
static bool module_keep(struct kernel_names *k, char *s, uint32_t *ret)
{
	s[strcspn(s, "]\n")] = '\0';
	if (strcmp(s, k->last_module)) {
		snprintf(k->last_module, sizeof(k->last_module), "%s", s);
		if (!text_keep(k, k->last_module, &k->last_module_at))
			return false;
	}
	*ret = k->last_module_at;
	return true;
}

/* "ADDRESS TYPE NAME[\t[MODULE]]" */
static bool line_take(struct kernel_names *k, char *line)
{
	char *at, *module;
	struct function f = { .address = strtoull(line, &at, 16) };

	if (!f.address || *at != ' ' || !at[1] || !strchr("tTwW", at[1]) || at[2] != ' ')
		return true;
	at += 3;
	module = strchr(at, '[');
	at[strcspn(at, "\t\n ")] = '\0';
	if (!text_keep(k, at, &f.name) || (module && !module_keep(k, module + 1, &f.module)))
		return false;
	if (k->len == k->cap) {
		size_t cap = k->cap ? 2 * k->cap : 4096;
		struct function *p = realloc(k->at, cap * sizeof(*p));

		if (!p)
			return false;
		k->at = p;
		k->cap = cap;
	}
	k->at[k->len++] = f;
	return true;
}

static int function_order(const void *x, const void *y)
{
	const struct function *a = x, *b = y;

	return a->address < b->address ? -1 : a->address > b->address;
}

struct kernel_names *kernel_names_read(const char *path)
{
	struct kernel_names *k = calloc(1, sizeof(*k));
	_cleanup_fclose_ FILE *f = k ? fopen(path, "re") : NULL;
	_cleanup_free_ char *line = NULL;
	bool room = k && text_keep(k, "", &k->last_module_at);
	size_t size = 0;

	while (f && room && getline(&line, &size, f) > 0)
		room = line_take(k, line);
	if (!room) {
		kernel_names_free(k);
		return NULL;
	}
	if (k->len)
		qsort(k->at, k->len, sizeof(*k->at), function_order);
	return k;
}

void kernel_names_free(struct kernel_names *k)
{
	if (!k)
		return;
	free(k->at);
	free(k->texts);
	free(k);
}

const char *kernel_names_find(const struct kernel_names *k, uint64_t address, const char **ret_module)
{
	size_t low = 0, high = k->len;

	*ret_module = "";
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (k->at[mid].address <= address)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low || address - k->at[low - 1].address > FUNCTION_BYTES_MAX)
		return NULL;
	/* Of several names of one place the first, as the kernel has them. */
	while (low > 1 && k->at[low - 2].address == k->at[low - 1].address)
		low--;
	*ret_module = k->texts + k->at[low - 1].module;
	return k->texts + k->at[low - 1].name;
}

size_t kernel_names_bytes(const struct kernel_names *k)
{
	return sizeof(*k) + k->cap * sizeof(*k->at) + k->texts_cap;
}
