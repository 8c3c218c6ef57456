/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/profile.h"

#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

#define MODULES_MAX 256 /* without names, told apart */

/* --- by function --- */

struct sums { /* by number of frame */
	uint64_t *self, *total;
	uint32_t *seen; /* in which sample last, from 1 */
	uint32_t *row; /* the frame that stands for it, + 1; 0: not looked up */
	size_t len;
	uint32_t modules[MODULES_MAX], modules_len; /* frames that stand for code without names */
};

static void sums_fini(struct sums *s)
{
	free(s->self);
	free(s->total);
	free(s->seen);
	free(s->row);
}

static bool sums_init(struct sums *sums, const struct stacks *s)
{
	size_t len = stacks_frames_len(s), room = len + 1;

	*sums = (struct sums){
		.self = calloc(room, sizeof(*sums->self)),
		.total = calloc(room, sizeof(*sums->total)),
		.seen = calloc(room, sizeof(*sums->seen)),
		.row = calloc(room, sizeof(*sums->row)),
		.len = len,
	};
	return sums->self && sums->total && sums->seen && sums->row;
}

/* Frames without a name are as many as there are addresses: the first one of each module stands for the others. */
static uint32_t row_find(struct sums *sums, const struct stacks *s, uint32_t frame)
{
	const struct frame *f = stacks_frame_at(s, frame);

	if (f->kind == FRAME_PROCESS || !frame_unnamed(f) || !f->module[0])
		return frame;
	for (uint32_t m = 0; m < sums->modules_len; m++)
		if (!strcmp(stacks_frame_at(s, sums->modules[m])->module, f->module))
			return sums->modules[m];
	if (sums->modules_len < MODULES_MAX)
		sums->modules[sums->modules_len++] = frame;
	return frame;
}

static uint32_t row_of(struct sums *sums, const struct stacks *s, uint32_t frame)
{
	if (!sums->row[frame])
		sums->row[frame] = row_find(sums, s, frame) + 1;
	return sums->row[frame] - 1;
}

static bool has_python(const struct stacks *s, const uint32_t *frames, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (stacks_frame_at(s, frames[i])->kind == FRAME_PYTHON)
			return true;
	return false;
}

/* It is a function to be told of. */
static bool frame_counts(const struct frame *f, bool python)
{
	return f->kind != FRAME_PROCESS && !frame_cut(f) && !(python && frame_interpreter(f));
}

static void sums_add(struct sums *sums, const struct stacks *s, const struct sample *sample, uint32_t number)
{
	size_t len = 0;
	const uint32_t *frames = stacks_at(s, sample->stack, &len);
	bool python = has_python(s, frames, len), top = true;

	for (size_t i = 0; i < len; i++) {
		uint32_t row = row_of(sums, s, frames[i]);

		if (!frame_counts(stacks_frame_at(s, row), python))
			continue;
		if (top)
			sums->self[row] += sample->value;
		top = false;
		if (sums->seen[row] != number)
			sums->total[row] += sample->value;
		sums->seen[row] = number;
	}
}

static int function_order(const void *a, const void *b)
{
	const struct function_row *x = a, *y = b;

	if (x->self != y->self)
		return x->self < y->self ? 1 : -1;
	if (x->total != y->total)
		return x->total < y->total ? 1 : -1;
	return strcmp(x->frame->name, y->frame->name);
}

/* The innermost function of the program's own that has a name, where there is one. */
static void sums_own(struct sums *sums, const struct stacks *s, const struct sample *sample)
{
	size_t len = 0;
	const uint32_t *frames = stacks_at(s, sample->stack, &len);

	for (size_t i = 0; i < len; i++) {
		const struct frame *f = stacks_frame_at(s, frames[i]);

		if (frame_role(f) != ROLE_OWN || frame_unnamed(f))
			continue;
		sums->self[frames[i]] += sample->value;
		sums->total[frames[i]] += sample->value;
		return;
	}
}

static struct function_row *sums_rows(const struct stacks *s, const struct sample_set *set, bool own, size_t *ret_len)
{
	struct function_row *rows = NULL;
	struct sums sums;
	size_t len = 0;
	uint32_t number = 0;

	*ret_len = 0;
	if (!sums_init(&sums, s))
		goto out;
	for (uint32_t i = 0; i < set->cap; i++) {
		if (set->at[i].value && own)
			sums_own(&sums, s, &set->at[i]);
		else if (set->at[i].value)
			sums_add(&sums, s, &set->at[i], ++number);
	}
	for (size_t i = 0; i < sums.len; i++)
		len += sums.total[i] > 0;
	rows = calloc(len + 1, sizeof(*rows));
	if (!rows)
		goto out;
	for (uint32_t i = 0; i < sums.len; i++)
		if (sums.total[i])
			rows[(*ret_len)++] = (struct function_row){ stacks_frame_at(s, i), sums.self[i], sums.total[i] };
	qsort(rows, *ret_len, sizeof(*rows), function_order);
out:
	sums_fini(&sums);
	return rows;
}

struct function_row *profile_functions(const struct stacks *s, const struct sample_set *set, size_t *ret_len)
{
	return sums_rows(s, set, false, ret_len);
}

struct function_row *profile_owners(const struct stacks *s, const struct sample_set *set, size_t *ret_len)
{
	return sums_rows(s, set, true, ret_len);
}

/* --- by site --- */

static int site_compare(const void *a, const void *b)
{
	const struct site_row *x = a, *y = b;

	if (x->site.at != y->site.at)
		return x->site.at < y->site.at ? -1 : 1;
	if (x->site.by != y->site.by)
		return x->site.by < y->site.by ? -1 : 1;
	return strcmp(x->site.in, y->site.in);
}

static int site_order(const void *a, const void *b)
{
	const struct site_row *x = a, *y = b;
	int by_name;

	if (x->value != y->value)
		return x->value < y->value ? 1 : -1;
	by_name = strcmp(x->site.at->name, y->site.at->name);
	return by_name ? by_name : strcmp(x->site.in, y->site.in);
}

struct site_row *profile_sites(const struct stacks *s, const struct sample_set *set, bool waits, size_t *ret_len)
{
	struct site_row *rows = calloc((size_t)set->len + 1, sizeof(*rows));
	size_t len = 0, kept = 0;

	*ret_len = 0;
	if (!rows)
		return NULL;
	for (uint32_t i = 0; i < set->cap && len < set->len; i++) {
		if (!set->at[i].value)
			continue;
		stack_site(s, set->at[i].stack, &rows[len].site);
		if (!waits)
			rows[len].site.in = "";
		rows[len++].value = set->at[i].value;
	}
	qsort(rows, len, sizeof(*rows), site_compare);
	for (size_t i = 0; i < len; i++) {
		if (kept && !site_compare(&rows[kept - 1], &rows[i]))
			rows[kept - 1].value += rows[i].value;
		else
			rows[kept++] = rows[i];
	}
	qsort(rows, kept, sizeof(*rows), site_order);
	*ret_len = kept;
	return rows;
}

/* --- by process --- */

static const char *process_name(const struct stacks *s, uint32_t stack)
{
	size_t len = 0;
	const uint32_t *frames = stacks_at(s, stack, &len);
	const struct frame *f = len ? stacks_frame_at(s, frames[len - 1]) : NULL;

	return f && f->kind == FRAME_PROCESS ? f->name : "";
}

static int process_compare(const void *a, const void *b)
{
	return strcmp(((const struct process_row *)a)->name, ((const struct process_row *)b)->name);
}

static int process_order(const void *a, const void *b)
{
	const struct process_row *x = a, *y = b;

	return x->value != y->value ? (x->value < y->value ? 1 : -1) : strcmp(x->name, y->name);
}

struct process_row *profile_processes(const struct stacks *s, const struct sample_set *set, size_t *ret_len)
{
	struct process_row *rows = calloc((size_t)set->len + 1, sizeof(*rows));
	size_t len = 0, kept = 0;

	*ret_len = 0;
	if (!rows)
		return NULL;
	for (uint32_t i = 0; i < set->cap && len < set->len; i++)
		if (set->at[i].value)
			rows[len++] = (struct process_row){ process_name(s, set->at[i].stack), set->at[i].value };
	qsort(rows, len, sizeof(*rows), process_compare);
	for (size_t i = 0; i < len; i++) {
		if (kept && !process_compare(&rows[kept - 1], &rows[i]))
			rows[kept - 1].value += rows[i].value;
		else
			rows[kept++] = rows[i];
	}
	qsort(rows, kept, sizeof(*rows), process_order);
	*ret_len = kept;
	return rows;
}

/* --- what is not known --- */

void profile_unknown(const struct stacks *s, const struct sample_set *set, struct profile_unknown *ret)
{
	*ret = (struct profile_unknown){ 0 };
	for (uint32_t n = 0; n < set->cap; n++) {
		size_t len = 0;
		const uint32_t *frames = set->at[n].value ? stacks_at(s, set->at[n].stack, &len) : NULL;
		bool python = has_python(s, frames, len), named = false, leaf = false, cut = false, top = true;

		for (size_t i = 0; i < len && set->at[n].stack != STACK_OTHER; i++) {
			const struct frame *f = stacks_frame_at(s, frames[i]);

			cut = cut || frame_cut(f);
			if (!frame_counts(f, python))
				continue;
			leaf = leaf || (top && frame_unnamed(f));
			named = named || !frame_unnamed(f);
			top = false;
		}
		if (cut)
			ret->cut += set->at[n].value;
		if (!named)
			ret->whole += set->at[n].value;
		else if (leaf)
			ret->leaf += set->at[n].value;
	}
}
