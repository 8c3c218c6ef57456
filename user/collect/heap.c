/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/heap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAP_MIN 64 /* power of two */
#define AGE_STEPS 8 /* a block's age is known to a step of the threshold */
#define AGE_SLOTS (AGE_STEPS + 1)

/*
 * Growth is told from the lowest fill of each of SEGMENTS parts of the time since a place first had old blocks. What is filled and emptied again
 * comes back to the same lows; noise around a level gives SEGMENTS rising lows in a row once in 720 times, and then hardly of this height.
 */
#define SEGMENTS 6
#define HISTORY_MAX 24 /* points; then pairs become one, of the lower of the two */
#define GROWTH_MIN 8 /* in the second half of that time, by at least 1/8 of the last low: to fill up once is no leak */

struct history {
	uint64_t low[HISTORY_MAX];
	uint64_t open; /* lowest of the point that is not full yet */
	uint32_t len, stride, fill; /* stride: intervals a point */
};

struct site {
	uint32_t tgid, key, stack;
	bool used, dead; /* dead: its process is gone; told once more */
	uint64_t live_bytes, live_blocks, alloc_bytes;
	uint64_t epoch; /* up to which births have been moved to old_bytes */
	uint64_t born[AGE_SLOTS]; /* live bytes by epoch of birth */
	uint64_t old_bytes;
	struct history *history; /* NULL: never had old blocks */
};

struct block { /* address 0: free */
	uint64_t address, born_ns;
	uint64_t bytes : 40, site : 24;
};
#define BLOCK_BYTES_MAX ((1ULL << 40) - 1)
_Static_assert(SITES_MAX < 1 << 24, "a block knows its site by 24 bits");

struct blocks {
	struct sites *sites;
	struct blocks *prev, *next; /* of the same agent */
	uint32_t tgid;
	struct block *at; /* open addressing, linear */
	size_t cap, len;
};

struct sites {
	uint64_t step_ns;
	struct blocks *blocks;
	struct site *at;
	uint32_t len, cap;
	uint32_t free; /* places in `at` that can be used again */
	uint32_t *index; /* hash table of numbers + 1 by process and key */
	size_t index_cap;
	size_t live; /* blocks in all tables */
	uint64_t live_bytes;
	unsigned shift; /* blocks are followed whose hash has this many low bits 0 */
};

static uint64_t mix(uint64_t x) /* finalizer of MurmurHash3 */
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ x >> 33;
}

/* ---- places ---- */

struct sites *sites_new(uint64_t age_ns)
{
	struct sites *s = calloc(1, sizeof(*s));

	if (s)
		s->step_ns = age_ns / AGE_STEPS + 1;
	return s;
}

void sites_free(struct sites *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->len; i++)
		free(s->at[i].history);
	free(s->at);
	free(s->index);
	free(s);
}

static size_t index_slot(const struct sites *s, uint32_t tgid, uint32_t key)
{
	size_t i = mix((uint64_t)tgid << 32 | key) & (s->index_cap - 1);

	for (; s->index[i]; i = (i + 1) & (s->index_cap - 1)) {
		const struct site *at = &s->at[s->index[i] - 1];

		if (at->tgid == tgid && at->key == key)
			break;
	}
	return i;
}

/* Fills the index anew from the places in use: after it has grown, and after some have gone. */
static int index_fill(struct sites *s, size_t cap)
{
	uint32_t *index = calloc(cap, sizeof(*index));

	if (!index)
		return -ENOMEM;
	free(s->index);
	s->index = index;
	s->index_cap = cap;
	for (uint32_t i = 0; i < s->len; i++)
		if (s->at[i].used)
			s->index[index_slot(s, s->at[i].tgid, s->at[i].key)] = i + 1;
	return 0;
}

static struct site *site_place(struct sites *s)
{
	if (s->free)
		for (uint32_t i = 0; i < s->len; i++)
			if (!s->at[i].used) {
				s->free--;
				return &s->at[i];
			}
	if (s->len == s->cap) {
		uint32_t cap = s->cap ? 2 * s->cap : CAP_MIN;
		struct site *at = realloc(s->at, cap * sizeof(*at));

		if (!at)
			return NULL;
		s->at = at;
		s->cap = cap;
	}
	return &s->at[s->len++];
}

/* Where there is no room, the place of key 0, "not known", stands for it. NULL: not even that. */
static struct site *site_get(struct sites *s, uint32_t tgid, uint32_t key)
{
	struct site *site;
	size_t slot;

	if (2 * (size_t)(s->len + 1) > s->index_cap && index_fill(s, s->index_cap ? 2 * s->index_cap : 2 * CAP_MIN))
		return NULL;
	slot = index_slot(s, tgid, key);
	if (s->index[slot]) {
		site = &s->at[s->index[slot] - 1];
		site->dead = false;
		return site;
	}
	if (key && s->len - s->free >= SITES_MAX - 1024) /* the rest is for the unknown places of processes */
		return site_get(s, tgid, 0);
	if (s->len - s->free >= SITES_MAX || !(site = site_place(s)))
		return NULL;
	*site = (struct site){ .tgid = tgid, .key = key, .stack = STACK_OTHER, .used = true };
	s->index[slot] = (uint32_t)(site - s->at) + 1;
	return site;
}

void sites_stack(struct sites *s, uint32_t tgid, uint32_t key, uint32_t stack)
{
	struct site *site = site_get(s, tgid, key);

	if (site && site->key)
		site->stack = stack;
}

void sites_stacks(struct sites *s, void (*fn)(void *ctx, uint32_t *stack), void *ctx)
{
	for (uint32_t i = 0; i < s->len; i++)
		if (s->at[i].used)
			fn(ctx, &s->at[i].stack);
}

/* Moves what was born long enough before epoch `now` to the old bytes. */
static void site_age(struct site *site, uint64_t now)
{
	for (uint64_t e = site->epoch + 1; e <= now && e <= site->epoch + AGE_SLOTS; e++) {
		site->old_bytes += site->born[e % AGE_SLOTS];
		site->born[e % AGE_SLOTS] = 0;
	}
	if (now > site->epoch)
		site->epoch = now;
}

/* ---- blocks ---- */

struct blocks *blocks_new(struct sites *s, uint32_t tgid)
{
	struct blocks *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->sites = s;
	b->tgid = tgid;
	b->next = s->blocks;
	if (b->next)
		b->next->prev = b;
	s->blocks = b;
	return b;
}

static bool followed(const struct sites *s, uint64_t hash)
{
	return !(hash & ((1ULL << s->shift) - 1));
}

/* The block, or the free place where it belongs. */
static size_t block_slot(const struct block *at, size_t cap, uint64_t address)
{
	size_t i = mix(address) >> 32 & (cap - 1); /* the low bits choose what is followed */

	while (at[i].address && at[i].address != address)
		i = (i + 1) & (cap - 1);
	return i;
}

static void live_add(struct sites *s, const struct block *b)
{
	struct site *site = &s->at[b->site];
	uint64_t epoch = b->born_ns / s->step_ns;

	site_age(site, epoch);
	if (site->epoch >= epoch + AGE_SLOTS)
		site->old_bytes += b->bytes;
	else
		site->born[epoch % AGE_SLOTS] += b->bytes;
	site->live_bytes += b->bytes;
	site->live_blocks++;
	s->live++;
	s->live_bytes += b->bytes;
}

static void live_drop(struct sites *s, const struct block *b)
{
	struct site *site = &s->at[b->site];
	uint64_t epoch = b->born_ns / s->step_ns;

	if (site->epoch >= epoch + AGE_SLOTS)
		site->old_bytes -= b->bytes;
	else
		site->born[epoch % AGE_SLOTS] -= b->bytes;
	site->live_bytes -= b->bytes;
	site->live_blocks--;
	s->live--;
	s->live_bytes -= b->bytes;
}

/* Empties place i, moving what stands behind it up. */
static void block_erase(struct blocks *b, size_t i)
{
	live_drop(b->sites, &b->at[i]);
	b->len--;
	for (size_t k = (i + 1) & (b->cap - 1); b->at[k].address; k = (k + 1) & (b->cap - 1)) {
		size_t home = mix(b->at[k].address) >> 32 & (b->cap - 1);

		if (((k - home) & (b->cap - 1)) >= ((k - i) & (b->cap - 1))) {
			b->at[i] = b->at[k];
			i = k;
		}
	}
	b->at[i].address = 0;
}

/* Follows half as many from now on. */
static void thin(struct sites *s)
{
	s->shift++;
	for (struct blocks *b = s->blocks; b; b = b->next)
		for (size_t i = 0; i < b->cap; i++)
			while (b->at[i].address && !followed(s, mix(b->at[i].address)))
				block_erase(b, i);
}

static int blocks_grow(struct blocks *b)
{
	size_t cap = b->cap ? 2 * b->cap : CAP_MIN;
	struct block *at = calloc(cap, sizeof(*at));

	if (!at)
		return -ENOMEM;
	for (size_t i = 0; i < b->cap; i++)
		if (b->at[i].address)
			at[block_slot(at, cap, b->at[i].address)] = b->at[i];
	free(b->at);
	b->at = at;
	b->cap = cap;
	return 0;
}

static void block_add(struct blocks *b, uint64_t address, uint64_t bytes, const struct site *site, uint64_t born_ns)
{
	struct sites *s = b->sites;
	uint64_t hash = mix(address);
	size_t i;

	if (!address || !followed(s, hash))
		return;
	if (s->live >= BLOCKS_MAX || (4 * (b->len + 1) > 3 * b->cap && blocks_grow(b))) {
		thin(s);
		if (!followed(s, hash) || b->len + 1 >= b->cap)
			return;
	}
	i = block_slot(b->at, b->cap, address);
	if (b->at[i].address) { /* its free was not seen */
		block_erase(b, i);
		i = block_slot(b->at, b->cap, address);
	}
	b->at[i] = (struct block){ .address = address, .born_ns = born_ns, .bytes = bytes < BLOCK_BYTES_MAX ? bytes : BLOCK_BYTES_MAX,
				   .site = site - s->at };
	b->len++;
	live_add(s, &b->at[i]);
}

void blocks_alloc(struct blocks *b, uint64_t address, uint64_t bytes, uint32_t key, uint64_t now_ns)
{
	struct site *site = site_get(b->sites, b->tgid, key);

	if (!site)
		return;
	site->alloc_bytes += bytes;
	block_add(b, address, bytes, site, now_ns);
}

bool blocks_release(struct blocks *b, uint64_t address, struct freed *ret)
{
	const struct block *at;
	size_t i;

	if (!b->cap)
		return false;
	i = block_slot(b->at, b->cap, address);
	at = &b->at[i];
	if (!at->address)
		return false;
	*ret = (struct freed){ .address = address, .bytes = at->bytes, .born_ns = at->born_ns, .key = b->sites->at[at->site].key };
	block_erase(b, i);
	return true;
}

void blocks_restore(struct blocks *b, const struct freed *f)
{
	struct site *site = site_get(b->sites, b->tgid, f->key);

	if (site)
		block_add(b, f->address, f->bytes, site, f->born_ns);
}

void blocks_free(struct blocks *b)
{
	struct sites *s;

	if (!b)
		return;
	s = b->sites;
	for (size_t i = 0; i < b->cap; i++)
		if (b->at[i].address)
			live_drop(s, &b->at[i]);
	for (uint32_t i = 0; i < s->len; i++)
		if (s->at[i].used && s->at[i].tgid == b->tgid)
			s->at[i].dead = true;
	if (b->prev)
		b->prev->next = b->next;
	else
		s->blocks = b->next;
	if (b->next)
		b->next->prev = b->prev;
	free(b->at);
	free(b);
}

/* ---- what they say ---- */

void sites_totals(const struct sites *s, struct heap_totals *ret)
{
	*ret = (struct heap_totals){ .live_bytes = s->live_bytes << s->shift, .live_blocks = (uint64_t)s->live << s->shift,
				     .kept = 1.0 / (1ULL << s->shift) };
}

static void history_halve(struct history *h)
{
	for (uint32_t i = 0; i < HISTORY_MAX / 2; i++)
		h->low[i] = h->low[2 * i] < h->low[2 * i + 1] ? h->low[2 * i] : h->low[2 * i + 1];
	h->len = HISTORY_MAX / 2;
	h->stride *= 2;
}

static void history_add(struct history *h, uint64_t value)
{
	if (!h->fill || value < h->open)
		h->open = value;
	if (++h->fill < h->stride)
		return;
	h->fill = 0;
	h->low[h->len++] = h->open;
	if (h->len == HISTORY_MAX)
		history_halve(h);
}

/* Whether the lows rise from each part of the time to the next, and the level now is not below the last of them. */
static bool history_grows(const struct history *h, uint64_t now)
{
	uint64_t middle = 0, last = 0;

	if (h->len < SEGMENTS)
		return false;
	for (uint32_t k = 0; k < SEGMENTS; k++) {
		uint64_t low = UINT64_MAX;

		for (uint32_t i = k * h->len / SEGMENTS; i < (k + 1) * h->len / SEGMENTS; i++)
			if (h->low[i] < low)
				low = h->low[i];
		if (k && low <= last)
			return false;
		if (k == SEGMENTS / 2)
			middle = low;
		last = low;
	}
	return now >= last && last - middle >= last / GROWTH_MIN;
}

static bool site_leaks(struct site *site)
{
	if (!site->history && site->old_bytes) {
		site->history = calloc(1, sizeof(*site->history));
		if (site->history)
			site->history->stride = 1;
	}
	if (!site->history)
		return false;
	history_add(site->history, site->old_bytes);
	return history_grows(site->history, site->old_bytes);
}

static int site_tell(struct site *site, unsigned shift, struct sample_set *const ret[SITES_SETS])
{
	const uint64_t values[SITES_SETS] = {
		[SITES_ALLOC_BYTES] = site->alloc_bytes,
		[SITES_LIVE_BYTES] = site->live_bytes << shift,
		[SITES_LIVE_BLOCKS] = site->live_blocks << shift,
		[SITES_LEAK_BYTES] = site_leaks(site) ? site->old_bytes << shift : 0,
	};
	int err = 0;

	for (int k = 0; k < SITES_SETS && !err; k++)
		if (values[k])
			err = sample_set_add(ret[k], site->stack, values[k]);
	site->alloc_bytes = 0;
	return err;
}

int sites_close(struct sites *s, uint64_t now_ns, struct sample_set *const ret[SITES_SETS])
{
	uint32_t gone = 0;
	int err = 0;

	for (uint32_t i = 0; i < s->len && !err; i++) {
		struct site *site = &s->at[i];

		if (!site->used)
			continue;
		site_age(site, now_ns / s->step_ns);
		err = site_tell(site, s->shift, ret);
		if (!site->dead)
			continue;
		free(site->history);
		*site = (struct site){};
		gone++;
	}
	s->free += gone;
	if (gone) /* without memory, the old index is not good either: names of places that are gone */
		return index_fill(s, s->index_cap) ? -ENOMEM : err;
	return err;
}

size_t sites_bytes(const struct sites *s)
{
	size_t n = sizeof(*s) + s->cap * sizeof(*s->at) + s->index_cap * sizeof(*s->index);

	for (const struct blocks *b = s->blocks; b; b = b->next)
		n += sizeof(*b) + b->cap * sizeof(*b->at);
	for (uint32_t i = 0; i < s->len; i++)
		n += s->at[i].history ? sizeof(struct history) : 0;
	return n;
}
