/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Files of tests, in a directory of their own, and recordings in them. */
#ifndef LIB_RECORDING_H
#define LIB_RECORDING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/recording.h"

static char dir[] = "/tmp/stakeout-test-XXXXXX";
static char path_buf[3][256];

/* Path of a file of this name; good until slot (0 to 2) is used again. */
static inline const char *in_dir(int slot, const char *name)
{
	snprintf(path_buf[slot], sizeof(path_buf[slot]), "%s/%s", dir, name);
	return path_buf[slot];
}

static inline int make_dir(void **ctx)
{
	(void)ctx;
	return mkdtemp(dir) ? 0 : -1;
}

static inline int remove_dir(void **ctx)
{
	char command[64];

	(void)ctx;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

/* The whole file, with a NUL behind it; the caller frees it. Its size. */
static inline size_t load(const char *path, char **ret)
{
	FILE *f = fopen(path, "r");
	long size;

	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	rewind(f);
	*ret = malloc((size_t)size + 1);
	assert_int_equal(fread(*ret, 1, (size_t)size, f), (size_t)size);
	(*ret)[size] = '\0';
	fclose(f);
	return (size_t)size;
}

static inline void store(const char *path, const char *data, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	fclose(f);
}

#define HEADER "{\"kind\":\"header\",\"format\":\"stakeout/1\",\"agents\":[{\"id\":1,\"name\":\"a\"}]}\n"

/* Reads the text as a recording; returns, and fills in, what recording_read() does. */
static inline int read_text(const char *text, struct recording **r, char *why, size_t why_len)
{
	store(in_dir(2, "text"), text, strlen(text));
	*r = NULL;
	return recording_read(in_dir(2, "text"), NULL, NULL, r, why, why_len);
}

/* Reads the file whose path is in slot 0, in which nothing is wrong. */
static inline struct recording *read_file(recording_interval_fn fn, void *ctx)
{
	struct recording *r = NULL;
	char why[200];

	if (recording_read(path_buf[0], fn, ctx, &r, why, sizeof(why)))
		fail_msg("%s", why);
	assert_non_null(r->stacks);
	return r;
}

/* A stack as "inner;middle;outer". */
static inline const char *stack_text(const struct stacks *s, uint32_t stack)
{
	static char text[2048];
	size_t len, at = 0;
	const uint32_t *frames = stacks_at(s, stack, &len);

	assert_non_null(frames);
	for (size_t i = 0; i < len; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", i ? ";" : "", stacks_frame_at(s, frames[i])->name);
	return text;
}

/* What the first agent's total has of this stack. */
static inline uint64_t weight(const struct recording *r, enum sample_id id, const char *stack)
{
	size_t len;
	struct sample *all = sample_set_sorted(&r->agents[0].total.samples[id], &len);
	uint64_t value = 0;

	for (size_t i = 0; i < len; i++)
		if (!strcmp(stack_text(r->stacks, all[i].stack), stack))
			value += all[i].value;
	free(all);
	return value;
}

/* Reads HEADER and the text, in whose own lines something may be wrong. */
static inline struct recording *read_after_header(const char *text)
{
	FILE *f = fopen(in_dir(0, "text"), "w");

	assert_non_null(f);
	assert_true(fputs(HEADER, f) >= 0 && fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	return read_file(NULL, NULL);
}

#endif
