/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Weights by stack. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "model/stacks.h"

#define CAP_MIN 8

const struct sample_info sample_infos[SAMPLE_COUNT] = {
#define SUM false
#define LAST true
#define SAMPLE(id, name, probe, unit, type, help) [SAMPLE_##id] = { name, PROBE_##probe, UNIT_##unit, type, help },
#include "samples.def"
#undef SAMPLE
};

int sample_find(const char *name)
{
	for (int i = 0; i < SAMPLE_COUNT; i++)
		if (!strcmp(sample_infos[i].name, name))
			return i;
	return -1;
}

void sample_set_fini(struct sample_set *s)
{
	free(s->at);
	*s = (struct sample_set){ 0 };
}

void sample_set_reset(struct sample_set *s)
{
	if (s->len)
		memset(s->at, 0, s->cap * sizeof(*s->at));
	s->len = 0;
}

/* The entry of the stack, or the free one where it belongs. The steps grow (1, 2, 3 ..: with a power of two they come by all places), so that
 * numbers that were chosen to lie side by side do not add up to long ways. */
static struct sample *place(const struct sample_set *s, uint32_t stack)
{
	uint32_t at = stack * 2654435769u; /* 2^32 / golden ratio: neighbours spread */

	at ^= at >> 16;
	for (uint32_t step = 1;; at += step++) {
		struct sample *e = &s->at[at & (s->cap - 1)];

		if (!e->value || e->stack == stack)
			return e;
	}
}

/* cap: a power of two, of more places than there are entries. */
static int resize(struct sample_set *s, uint32_t cap)
{
	struct sample_set wide = { .at = calloc(cap, sizeof(*wide.at)), .cap = cap, .len = s->len };

	if (!wide.at)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->cap; i++)
		if (s->at[i].value)
			*place(&wide, s->at[i].stack) = s->at[i];
	free(s->at);
	*s = wide;
	return 0;
}

static void add(struct sample *e, uint32_t stack, uint64_t value)
{
	e->stack = stack;
	if (__builtin_add_overflow(e->value, value, &e->value))
		e->value = UINT64_MAX;
}

int sample_set_add(struct sample_set *s, uint32_t stack, uint64_t value)
{
	struct sample *e;

	if (!value)
		return 0;
	e = s->cap ? place(s, stack) : NULL;
	if (e && e->value) {
		add(e, stack, value);
		return 0;
	}
	if (s->len >= SAMPLE_STACKS_MAX && stack != STACK_OTHER)
		return sample_set_add(s, STACK_OTHER, value);
	if ((s->len + 1) * 4 > s->cap * 3 && resize(s, s->cap ? s->cap * 2 : CAP_MIN))
		return -ENOMEM;
	add(place(s, stack), stack, value);
	s->len++;
	return 0;
}

int sample_set_merge(struct sample_set *into, const struct sample_set *from, bool last)
{
	int err = 0;

	if (last)
		sample_set_reset(into);
	for (uint32_t i = 0; i < from->cap && from->len && !err; i++)
		err = sample_set_add(into, from->at[i].stack, from->at[i].value);
	return err;
}

int sample_set_renumber(struct sample_set *s, const uint32_t *numbers)
{
	struct sample_set fresh = { 0 };
	int err = 0;

	for (uint32_t i = 0; i < s->cap && !err; i++)
		if (s->at[i].value)
			err = sample_set_add(&fresh, numbers[s->at[i].stack], s->at[i].value);
	if (err) {
		sample_set_fini(&fresh);
		return err;
	}
	sample_set_fini(s);
	*s = fresh;
	return 0;
}

uint64_t sample_set_sum(const struct sample_set *s)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < s->cap && s->len; i++)
		if (__builtin_add_overflow(sum, s->at[i].value, &sum))
			return UINT64_MAX;
	return sum;
}

/* qsort: the largest first. */
static int by_value(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	if (x->value != y->value)
		return x->value < y->value ? 1 : -1;
	return (x->stack > y->stack) - (x->stack < y->stack);
}

static int by_stack(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return (x->stack > y->stack) - (x->stack < y->stack);
}

static struct sample *sorted(const struct sample_set *s, int (*compare)(const void *, const void *), size_t *ret_len)
{
	struct sample *all = s->len ? malloc(s->len * sizeof(*all)) : NULL;
	size_t len = 0;

	for (uint32_t i = 0; i < s->cap && all; i++)
		if (s->at[i].value)
			all[len++] = s->at[i];
	if (all)
		qsort(all, len, sizeof(*all), compare);
	*ret_len = len;
	return all;
}

struct sample *sample_set_sorted(const struct sample_set *s, size_t *ret_len)
{
	return sorted(s, by_value, ret_len);
}

struct sample *sample_set_by_stack(const struct sample_set *s, size_t *ret_len)
{
	return sorted(s, by_stack, ret_len);
}

int sample_set_trim(struct sample_set *s, uint32_t keep)
{
	struct sample_set few = { 0 };
	size_t len;
	_cleanup_free_ struct sample *all = s->len > keep ? sample_set_sorted(s, &len) : NULL;
	int err = 0;

	if (s->len <= keep)
		return 0;
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < len && !err; i++)
		err = sample_set_add(&few, i < keep ? all[i].stack : STACK_OTHER, all[i].value);
	sample_set_fini(err ? &few : s);
	if (!err)
		*s = few;
	return err;
}

size_t sample_set_bytes(const struct sample_set *s)
{
	return s->cap * sizeof(*s->at);
}
