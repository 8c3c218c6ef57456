/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/stacks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const frame_kind_names[FRAME_KINDS] = { "native", "kernel", "python", "jit", "process" };

/* Storage that never moves, given back all at once. */
#define CHUNK_BYTES 65536

struct chunk {
	struct chunk *next;
	size_t used;
	char at[CHUNK_BYTES];
};

/* Numbers by hash: open addressing, at most half full. */
struct index {
	struct place {
		uint32_t number; /* + 1; 0 is free */
		uint32_t hash;
	} *at;
	uint32_t cap, len; /* cap: a power of two */
};

struct stack {
	const uint32_t *frames;
	uint32_t len;
};

#define FRAME_BLOCK 1024 /* frames are kept in blocks, since pointers to them stay valid */

struct stacks {
	struct chunk *chunks; /* the first one has room */
	const char **texts; /* each once: frames are equal when their pointers are */
	struct frame *frames[FRAMES_MAX / FRAME_BLOCK];
	struct stack *stacks;
	struct index by_text, by_frame, by_stack;
	size_t texts_cap, stacks_cap;
	size_t bytes;
	uint64_t refused, generation;
	uint32_t seed; /* so that nobody can make up a recording all of whose stacks have one hash */
};

/* ---- storage ---- */

static bool room(const struct stacks *s, size_t more)
{
	return more <= STACKS_BYTES_MAX - s->bytes;
}

static void *keep(struct stacks *s, size_t bytes)
{
	struct chunk *c = s->chunks;
	void *at;

	if (!c || CHUNK_BYTES - c->used < bytes) {
		c = room(s, sizeof(*c)) ? malloc(sizeof(*c)) : NULL;
		if (!c)
			return NULL;
		c->next = s->chunks;
		c->used = 0;
		s->chunks = c;
		s->bytes += sizeof(*c);
	}
	at = c->at + c->used;
	c->used += (bytes + 3) & ~(size_t)3; /* aligned for numbers; the size of a chunk is a multiple */
	return at;
}

/* Room for one more in *array, of elements of this size. */
static bool array_grow(struct stacks *s, void *array, size_t len, size_t *cap, size_t size)
{
	size_t more = *cap ? *cap : 1024;
	void *p;

	if (len < *cap)
		return true;
	memcpy(&p, array, sizeof(p));
	p = room(s, more * size) ? realloc(p, (*cap + more) * size) : NULL;
	if (!p)
		return false;
	memcpy(array, &p, sizeof(p));
	*cap += more;
	s->bytes += more * size;
	return true;
}

/* ---- numbers by hash ---- */

static uint32_t mix(uint32_t hash, uint32_t word)
{
	hash = (hash ^ word) * 2654435769u; /* 2^32 / golden ratio */
	return hash ^ hash >> 15;
}

/* The next number with this hash, from place *at on, or -1. Start with *at = hash. */
static int64_t index_next(const struct index *x, uint32_t hash, uint32_t *at)
{
	while (x->cap) {
		const struct place *p = &x->at[*at & (x->cap - 1)];

		if (!p->number)
			break;
		++*at;
		if (p->hash == hash)
			return p->number - 1;
	}
	return -1;
}

static void index_put(struct index *x, struct place p)
{
	uint32_t at = p.hash;

	while (x->at[at & (x->cap - 1)].number)
		at++;
	x->at[at & (x->cap - 1)] = p;
}

/* Room for one more. */
static bool index_grow(struct stacks *s, struct index *x)
{
	struct index wide = { .cap = x->cap ? x->cap * 2 : 1024, .len = x->len };

	if ((x->len + 1) * 2 <= x->cap)
		return true;
	wide.at = room(s, wide.cap * sizeof(*wide.at)) ? calloc(wide.cap, sizeof(*wide.at)) : NULL;
	if (!wide.at)
		return false;
	for (uint32_t i = 0; i < x->cap; i++)
		if (x->at[i].number)
			index_put(&wide, x->at[i]);
	free(x->at);
	s->bytes += (wide.cap - x->cap) * sizeof(*wide.at);
	*x = wide;
	return true;
}

/* Numbers run from 0. */
static uint32_t index_add(struct index *x, uint32_t hash)
{
	index_put(x, (struct place){ .number = x->len + 1, .hash = hash });
	return x->len++;
}

/* ---- texts and frames ---- */

/* Length of a text, cut where it is too long, and not within a character. */
static size_t text_length(const char *text)
{
	size_t len = strnlen(text, FRAME_TEXT_MAX + 1);

	if (len > FRAME_TEXT_MAX)
		for (len = FRAME_TEXT_MAX; len > FRAME_TEXT_MAX - 3 && (text[len] & 0xc0) == 0x80;)
			len--;
	return len;
}

static uint32_t text_hash(uint32_t seed, const char *text, size_t len)
{
	uint32_t hash = mix(seed, (uint32_t)len), word;

	for (; len >= sizeof(word); text += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, text, sizeof(word));
		hash = mix(hash, word);
	}
	for (; len; len--)
		hash = mix(hash, (unsigned char)*text++);
	return hash;
}

static const char *text_keep(struct stacks *s, const char *text)
{
	size_t len = text ? text_length(text) : 0;
	uint32_t hash = text_hash(s->seed, text, len), at = hash;
	int64_t n;
	char *copy;

	while ((n = index_next(&s->by_text, hash, &at)) >= 0)
		if (!strncmp(s->texts[n], text ? text : "", len) && !s->texts[n][len])
			return s->texts[n];
	if (s->by_frame.len >= FRAMES_MAX) /* it would be of no use */
		return NULL;
	if (!index_grow(s, &s->by_text) || !array_grow(s, &s->texts, s->by_text.len, &s->texts_cap, sizeof(*s->texts)))
		return NULL;
	copy = keep(s, len + 1);
	if (!copy)
		return NULL;
	if (len)
		memcpy(copy, text, len);
	copy[len] = '\0';
	s->texts[index_add(&s->by_text, hash)] = copy;
	return copy;
}

static struct frame *frame_at(const struct stacks *s, uint32_t n)
{
	return &s->frames[n / FRAME_BLOCK][n % FRAME_BLOCK];
}

static uint32_t frame_hash(const struct stacks *s, const struct frame *f)
{
	const uintptr_t texts[] = { (uintptr_t)f->name, (uintptr_t)f->file, (uintptr_t)f->module };
	uint32_t hash = mix(mix(s->seed, f->kind), f->line);

	for (int i = 0; i < 3; i++)
		hash = mix(mix(hash, (uint32_t)texts[i]), (uint32_t)((uint64_t)texts[i] >> 32));
	return hash;
}

static bool frame_equal(const struct frame *a, const struct frame *b)
{
	return a->name == b->name && a->file == b->file && a->module == b->module && a->line == b->line && a->kind == b->kind;
}

/* Room for frame number n. */
static bool frames_grow(struct stacks *s, uint32_t n)
{
	struct frame **block = &s->frames[n / FRAME_BLOCK];

	if (*block)
		return true;
	*block = room(s, FRAME_BLOCK * sizeof(**block)) ? calloc(FRAME_BLOCK, sizeof(**block)) : NULL;
	if (*block)
		s->bytes += FRAME_BLOCK * sizeof(**block);
	return *block;
}

/* The answer to what finds no room. */
static uint32_t refuse_one(struct stacks *s)
{
	s->refused++;
	return 0;
}

uint32_t stacks_frame(struct stacks *s, const struct frame *f)
{
	struct frame kept = { f->kind, text_keep(s, f->name), text_keep(s, f->file), text_keep(s, f->module), f->line };
	uint32_t hash = frame_hash(s, &kept), at = hash, len = s->by_frame.len;
	int64_t n;

	if (!kept.name || !kept.file || !kept.module)
		return refuse_one(s);
	while ((n = index_next(&s->by_frame, hash, &at)) >= 0)
		if (frame_equal(frame_at(s, (uint32_t)n), &kept))
			return (uint32_t)n;
	if (len >= FRAMES_MAX || !index_grow(s, &s->by_frame) || !frames_grow(s, len))
		return refuse_one(s);
	*frame_at(s, len) = kept;
	return index_add(&s->by_frame, hash);
}

size_t stacks_frames_len(const struct stacks *s)
{
	return s->by_frame.len;
}

const struct frame *stacks_frame_at(const struct stacks *s, uint32_t frame)
{
	return frame < s->by_frame.len ? frame_at(s, frame) : NULL;
}

/* ---- stacks ---- */

/* Copies n frames to ret, the ones in the middle left out for a frame that says so. Returns how many. */
static size_t frames_cut(struct stacks *s, const uint32_t *frames, size_t n, uint32_t ret[STACK_FRAMES_MAX])
{
	const size_t inner = STACK_FRAMES_MAX / 2, outer = STACK_FRAMES_MAX - inner - 1;

	if (n > STACK_FRAMES_MAX) {
		memcpy(ret, frames, inner * sizeof(*ret));
		ret[inner] = stacks_frame(s, &(struct frame){ .kind = FRAME_NATIVE, .name = FRAMES_CUT });
		memcpy(ret + inner + 1, frames + n - outer, outer * sizeof(*ret));
		n = STACK_FRAMES_MAX;
	} else {
		memcpy(ret, frames, n * sizeof(*ret));
	}
	for (size_t i = 0; i < n; i++)
		if (ret[i] >= s->by_frame.len)
			ret[i] = 0;
	return n;
}

uint32_t stacks_add(struct stacks *s, const uint32_t *frames, size_t n)
{
	uint32_t cut[STACK_FRAMES_MAX], hash = s->seed, at, len = s->by_stack.len;
	uint32_t *kept;
	int64_t found;

	if (!n)
		return STACK_OTHER;
	n = frames_cut(s, frames, n, cut);
	for (size_t i = 0; i < n; i++)
		hash = mix(hash, cut[i]);
	at = hash;
	while ((found = index_next(&s->by_stack, hash, &at)) >= 0)
		if (s->stacks[found].len == n && !memcmp(s->stacks[found].frames, cut, n * sizeof(*cut)))
			return (uint32_t)found;
	if (len >= STACKS_MAX || !index_grow(s, &s->by_stack) || !array_grow(s, &s->stacks, len, &s->stacks_cap, sizeof(*s->stacks)))
		return refuse_one(s);
	kept = keep(s, n * sizeof(*kept));
	if (!kept)
		return refuse_one(s);
	memcpy(kept, cut, n * sizeof(*kept));
	s->stacks[len] = (struct stack){ kept, (uint32_t)n };
	return index_add(&s->by_stack, hash);
}

size_t stacks_len(const struct stacks *s)
{
	return s->by_stack.len;
}

const uint32_t *stacks_at(const struct stacks *s, uint32_t stack, size_t *ret_len)
{
	*ret_len = 0;
	if (stack >= s->by_stack.len)
		return NULL;
	*ret_len = s->stacks[stack].len;
	return s->stacks[stack].frames;
}

uint32_t stacks_translate(struct stacks *into, const struct stacks *from, uint32_t stack)
{
	uint32_t frames[STACK_FRAMES_MAX];
	size_t len;
	const uint32_t *at = stacks_at(from, stack, &len);

	if (into == from)
		return at ? stack : STACK_OTHER;
	for (size_t i = 0; i < len; i++)
		frames[i] = stacks_frame(into, stacks_frame_at(from, at[i]));
	return stacks_add(into, frames, len);
}

size_t stacks_bytes(const struct stacks *s)
{
	return s->bytes;
}

uint64_t stacks_refused(const struct stacks *s)
{
	return s->refused;
}

bool stacks_crowded(const struct stacks *s)
{
	return s->by_stack.len > STACKS_MAX / 2 || s->by_frame.len > FRAMES_MAX / 2 || s->bytes > STACKS_BYTES_MAX / 2;
}

int stacks_renew(struct stacks **table, const bool *keep, uint32_t *ret_numbers)
{
	const struct stacks *old = *table;
	struct stacks *fresh = stacks_new();

	if (!fresh)
		return -ENOMEM;
	for (uint32_t n = 0; n < STACKS_MAX; n++)
		ret_numbers[n] = n && n < old->by_stack.len && keep[n] ? stacks_translate(fresh, old, n) : STACK_OTHER;
	fresh->refused += old->refused;
	fresh->generation = old->generation + 1;
	stacks_free(*table);
	*table = fresh;
	return 0;
}

uint64_t stacks_generation(const struct stacks *s)
{
	return s->generation;
}

struct stacks *stacks_new(void)
{
	struct stacks *s = calloc(1, sizeof(*s));
	const uint32_t other = 0;

	if (!s)
		return NULL;
	s->bytes = sizeof(*s);
	s->seed = mix((uint32_t)(uintptr_t)s, (uint32_t)((uint64_t)(uintptr_t)s >> 32)); /* differs from run to run: the address is random */
	stacks_frame(s, &(struct frame){ .kind = FRAME_NATIVE, .name = FRAME_OTHER });
	stacks_add(s, &other, 1);
	if (s->by_stack.len)
		return s;
	stacks_free(s);
	return NULL;
}

void stacks_free(struct stacks *s)
{
	if (!s)
		return;
	for (struct chunk *c = s->chunks, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	for (size_t i = 0; i < FRAMES_MAX / FRAME_BLOCK; i++)
		free(s->frames[i]);
	free(s->texts);
	free(s->stacks);
	free(s->by_text.at);
	free(s->by_frame.at);
	free(s->by_stack.at);
	free(s);
}
