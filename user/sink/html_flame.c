// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Stacks added up to a tree, for a flame graph. Code without names is one function a file, also where it calls itself: its addresses say nothing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "lib/util.h"
#include "sink/frames.h"
#include "sink/html_parts.h"

#define SMALL 1000 /* a node below 1/SMALL of all is narrower than a pixel */

struct module { /* the first frame without a name that is of it stands for all */
	const char *name; /* the table's */
	uint32_t frame;
	UT_hash_handle hh;
};

struct node {
	uint32_t frame;
	uint64_t value;
	struct node *first, *next; /* children, in a list */
};

struct tree {
	struct node root;
	struct node *blocks; /* owned: arrays of nodes, linked by the first one's `next` */
	uint32_t used; /* of the first block */
};
#define BLOCK 1024

static struct node *node_new(struct tree *t)
{
	if (!t->blocks || t->used == BLOCK) {
		struct node *block = calloc(BLOCK, sizeof(*block));

		if (!block)
			return NULL;
		block->next = t->blocks;
		t->blocks = block;
		t->used = 1;
	}
	return &t->blocks[t->used++];
}

static void tree_fini(struct tree *t)
{
	for (struct node *block = t->blocks, *next; block; block = next) {
		next = block->next;
		free(block);
	}
}

static struct node *child_of(struct tree *t, struct node *parent, uint32_t frame)
{
	struct node *n = parent->first;

	while (n && n->frame != frame)
		n = n->next;
	if (n)
		return n;
	n = node_new(t);
	if (!n)
		return NULL;
	n->frame = frame;
	n->next = parent->first;
	parent->first = n;
	return n;
}

/* For each frame the one that stands for it; to be freed. NULL: out of memory. */
static uint32_t *frames_same(const struct stacks *s)
{
	size_t len = stacks_frames_len(s);
	uint32_t *same = calloc(len + 1, sizeof(*same));
	struct module *modules = NULL, *m, *next;

	for (uint32_t i = 0; same && i < len; i++) {
		const struct frame *f = stacks_frame_at(s, i);

		same[i] = i;
		if (f->kind != FRAME_NATIVE || !frame_unnamed(f) || !f->module[0])
			continue;
		HASH_FIND_STR(modules, f->module, m);
		if (!m) {
			m = malloc(sizeof(*m));
			if (!m) {
				free(same);
				same = NULL;
				break;
			}
			*m = (struct module){ .name = f->module, .frame = i };
			HASH_ADD_KEYPTR(hh, modules, m->name, strlen(m->name), m);
		}
		same[i] = m->frame;
	}
	HASH_ITER(hh, modules, m, next) {
		HASH_DEL(modules, m);
		free(m);
	}
	return same;
}

static int tree_fill(struct tree *t, const struct stacks *s, const uint32_t *same, const struct sample_set *set)
{
	size_t len = 0;
	_cleanup_free_ struct sample *sorted = sample_set_sorted(set, &len);

	if (!sorted && set->len)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		size_t depth = 0;
		const uint32_t *frames = stacks_at(s, sorted[i].stack, &depth);
		struct node *n = &t->root;

		n->value += sorted[i].value;
		while (depth--) {
			uint32_t frame = same[frames[depth]];

			if (n->frame == frame && n != &t->root && frame_unnamed(stacks_frame_at(s, frame)))
				continue;
			n = child_of(t, n, frame);
			if (!n)
				return -ENOMEM;
			n->value += sorted[i].value;
		}
	}
	return 0;
}

static int larger(const void *a, const void *b)
{
	const struct node *x = *(const struct node *const *)a, *y = *(const struct node *const *)b;

	return x->value != y->value ? (x->value < y->value) - (x->value > y->value) : (x->frame > y->frame) - (x->frame < y->frame);
}

struct flame { /* the arrays */
	uint64_t *depth, *frame, *value;
	size_t len, cap;
	uint64_t least;
};

static int flame_add(struct flame *f, uint64_t depth, const struct node *n)
{
	if (f->len == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 512;
		uint64_t **const arrays[] = { &f->depth, &f->frame, &f->value };

		for (size_t i = 0; i < ARRAY_SIZE(arrays); i++) {
			uint64_t *grown = reallocarray(*arrays[i], cap, sizeof(*grown));

			if (!grown)
				return -ENOMEM;
			*arrays[i] = grown;
		}
		f->cap = cap;
	}
	f->depth[f->len] = depth;
	f->frame[f->len] = n->frame;
	f->value[f->len++] = n->value;
	return 0;
}

/* Children of n, the largest first, each with all below it. Stacks are at most STACK_FRAMES_MAX deep, and so is this. */
static int flame_below(struct flame *f, const struct node *n, uint64_t depth)
{
	_cleanup_free_ const struct node **order = NULL;
	size_t len = 0;
	int err = 0;

	for (const struct node *c = n->first; c; c = c->next)
		len += c->value >= f->least;
	if (!len)
		return 0;
	order = malloc(len * sizeof(*order));
	if (!order)
		return -ENOMEM;
	len = 0;
	for (const struct node *c = n->first; c; c = c->next)
		if (c->value >= f->least)
			order[len++] = c;
	qsort(order, len, sizeof(*order), larger);
	for (size_t i = 0; i < len && !err; i++) {
		err = flame_add(f, depth, order[i]);
		if (!err)
			err = flame_below(f, order[i], depth + 1);
	}
	return err;
}

static void put_frame(struct json_text *j, const struct frame *frame)
{
	char name[FRAME_TEXT], where[FRAME_TEXT];

	put_open(j, NULL, "[");
	put_string(j, NULL, frame_function(frame, name));
	put_string(j, NULL, frame_where(frame, where));
	put_string(j, NULL, frame_kind_names[frame->kind]);
	put_close(j, "]");
}

/* Numbers of frames in the page, in the order of their first use. */
struct names {
	uint32_t *number; /* by frame, + 1; 0: none yet */
	uint32_t *used;
	size_t len;
	const uint32_t *same;
};

static void put_flame(struct json_text *j, const char *name, struct flame *f, struct names *names)
{
	for (size_t i = 0; i < f->len; i++) {
		uint32_t *number = &names->number[f->frame[i]];

		if (!*number) {
			names->used[names->len++] = (uint32_t)f->frame[i];
			*number = (uint32_t)names->len;
		}
		f->frame[i] = *number - 1;
	}
	put_open(j, name, "{");
	put_open(j, "depth", "[");
	put_u64s(j, f->depth, f->len);
	put_close(j, "]");
	put_open(j, "frame", "[");
	put_u64s(j, f->frame, f->len);
	put_close(j, "]");
	put_open(j, "value", "[");
	put_u64s(j, f->value, f->len);
	put_close(j, "]");
	put_close(j, "}");
}

static int flame_put(struct json_text *j, const struct stacks *s, const struct sample_set *set, const char *name, struct names *names)
{
	struct flame f = { 0 };
	struct tree t = { 0 };
	int err = tree_fill(&t, s, names->same, set);

	f.least = t.root.value / SMALL;
	if (!err)
		err = flame_below(&f, &t.root, 0);
	if (!err)
		put_flame(j, name, &f, names);
	tree_fini(&t);
	free(f.depth);
	free(f.frame);
	free(f.value);
	return err;
}

int html_flames(struct json_text *j, const struct stacks *s, const struct agent_data *a)
{
	_cleanup_free_ uint32_t *number = calloc(stacks_frames_len(s) + 1, sizeof(*number));
	_cleanup_free_ uint32_t *used = calloc(stacks_frames_len(s) + 1, sizeof(*used));
	_cleanup_free_ uint32_t *same = frames_same(s);
	struct names names = { number, used, 0, same };
	int err = number && used && same ? 0 : -ENOMEM;

	if (err)
		return err;
	put_open(j, "flames", "{");
	for (int i = 0; i < SAMPLE_COUNT && !err; i++)
		if (a->samples[i].len)
			err = flame_put(j, s, &a->samples[i], sample_infos[i].name, &names);
	put_open(j, "frames", "[");
	for (size_t i = 0; i < names.len; i++)
		put_frame(j, stacks_frame_at(s, used[i]));
	put_close(j, "]");
	put_close(j, "}");
	return err;
}
