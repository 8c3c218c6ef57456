/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/hist.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OCTAVE (1 << HIST_SCALE) /* buckets an octave at the finest scale */
#define GROW_MIN 16 /* buckets; a histogram of one typical value costs 64 bytes */

/*
 * floor(2^(63 + j/32)): the borders within an octave as 64-bit fixed point. For j > 0 the border is irrational, so "value > border" and
 * "value > floor(border)" are the same for integers, and for j = 0 it is a whole number: comparing with the floor is exact.
 */
static const uint64_t borders[OCTAVE + 1] = {
	0x8000000000000000u, 0x82cd8698ac2ba1d7u, 0x85aac367cc487b14u, 0x88980e8092da8527u,
	0x8b95c1e3ea8bd6e6u, 0x8ea4398b45cd53c0u, 0x91c3d373ab11c336u, 0x94f4efa8fef70961u,
	0x9837f0518db8a96fu, 0x9b8d39b9d54e5538u, 0x9ef5326091a111adu, 0xa27043030c496818u,
	0xa5fed6a9b15138eau, 0xa9a15ab4ea7c0ef8u, 0xad583eea42a14ac6u, 0xb123f581d2ac258fu,
	0xb504f333f9de6484u, 0xb8fbaf4762fb9ee9u, 0xbd08a39f580c36beu, 0xc12c4cca66709456u,
	0xc5672a115506daddu, 0xc9b9bd866e2f27a2u, 0xce248c151f8480e3u, 0xd2a81d91f12ae45au,
	0xd744fccad69d6af4u, 0xdbfbb797daf23755u, 0xe0ccdeec2a94e111u, 0xe5b906e77c8348a8u,
	0xeac0c6e7dd24392eu, 0xefe4b99bdcdaf5cbu, 0xf5257d152486cc2cu, 0xfa83b2db722a033au,
	UINT64_MAX, /* no value is above it */
};

/* Number of borders below the start of each 64th of an octave. Borders are more than a 64th apart, so one comparison settles the rest. */
static const uint8_t below[64] = {
	0, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 8, 9, 10, 10,
	11, 11, 12, 13, 13, 14, 14, 15, 15, 16, 16, 17, 17, 18, 18, 19,
	19, 20, 20, 21, 21, 22, 22, 22, 23, 23, 24, 24, 25, 25, 26, 26,
	26, 27, 27, 28, 28, 28, 29, 29, 30, 30, 30, 31, 31, 31, 32, 32,
};

static inline int32_t index_finest(uint64_t value)
{
	int exponent = 63 - __builtin_clzll(value);
	uint64_t mantissa = value << (63 - exponent);
	int32_t n = below[mantissa >> 57 & 63];

	n += borders[n] < mantissa;
	return exponent * OCTAVE + n - 1;
}

int32_t hist_index(uint64_t value, int scale)
{
	/* Halving the scale joins buckets 2i and 2i + 1: an arithmetic shift, also for bucket -1. */
	return index_finest(value) >> (HIST_SCALE - scale);
}

double hist_upper(int32_t index, int scale)
{
	return exp2(ldexp((double)index + 1, -scale));
}

int32_t hist_seconds_shift(int scale)
{
	return (int32_t)lround(ldexp(log2(1e9), scale));
}

void hist_init(struct hist *h)
{
	memset(h, 0, sizeof(*h));
	h->scale = HIST_SCALE;
}

void hist_fini(struct hist *h)
{
	if (!h)
		return;
	free(h->buckets32);
	hist_init(h);
}

static size_t bucket_size(const struct hist *h)
{
	return h->wide ? sizeof(*h->buckets64) : sizeof(*h->buckets32);
}

void hist_reset(struct hist *h)
{
	if (h->len)
		memset(h->buckets32, 0, h->len * bucket_size(h));
	h->count = h->sum = h->min = h->max = h->zero_count = 0;
}

size_t hist_bytes(const struct hist *h)
{
	return h->cap * bucket_size(h);
}

/* Makes buckets lo..hi exist. Every bucket allocated counts as in use, so that the hot path has one comparison; the side that grows gets an
 * eighth more, within what 64-bit values can reach. */
static int hist_cover(struct hist *h, int32_t lo, int32_t hi)
{
	const int32_t first = hist_index(1, h->scale), last = hist_index(UINT64_MAX, h->scale);
	int32_t old_lo = h->len ? h->offset : lo, old_hi = h->len ? h->offset + (int32_t)h->len - 1 : lo;
	int32_t new_lo = old_lo, new_hi = old_hi;
	int32_t slack = (int32_t)h->len / 8 > GROW_MIN ? (int32_t)h->len / 8 : GROW_MIN;
	uint32_t len;
	void *buckets;

	if (h->len && lo >= old_lo && hi <= old_hi)
		return 0;
	if (!h->len) {
		new_lo = lo & -(GROW_MIN / 2);
		new_hi = (hi | (GROW_MIN / 2 - 1));
	} else {
		if (lo < old_lo)
			new_lo = lo < old_lo - slack ? lo : old_lo - slack;
		if (hi > old_hi)
			new_hi = hi > old_hi + slack ? hi : old_hi + slack;
	}
	new_lo = new_lo < first ? first : new_lo;
	new_hi = new_hi > last ? last : new_hi;
	len = (uint32_t)(new_hi - new_lo + 1);
	buckets = calloc(len, bucket_size(h));
	if (!buckets)
		return -ENOMEM;
	if (h->len)
		memcpy((char *)buckets + (size_t)(old_lo - new_lo) * bucket_size(h), h->buckets32, h->len * bucket_size(h));
	free(h->buckets32);
	h->buckets32 = buckets;
	h->offset = new_lo;
	h->len = h->cap = len;
	return 0;
}

static int hist_widen(struct hist *h)
{
	uint64_t *wide;

	if (h->wide)
		return 0;
	wide = calloc(h->len ? h->len : 1, sizeof(*wide));
	if (!wide)
		return -ENOMEM;
	for (uint32_t i = 0; i < h->len; i++)
		wide[i] = h->buckets32[i];
	free(h->buckets32);
	h->buckets64 = wide;
	h->cap = h->len ? h->len : 1;
	h->wide = true;
	return 0;
}

/* Adds n to bucket `index`, which must exist. */
static int bucket_add(struct hist *h, int32_t index, uint64_t n)
{
	uint32_t i = (uint32_t)(index - h->offset);
	int err;

	if (!h->wide && n > UINT32_MAX - h->buckets32[i]) {
		err = hist_widen(h);
		if (err)
			return err;
	}
	if (h->wide)
		h->buckets64[i] += n;
	else
		h->buckets32[i] += (uint32_t)n;
	return 0;
}

static inline void hist_note(struct hist *h, uint64_t value, uint64_t n)
{
	if (value < h->min || !h->count)
		h->min = value;
	if (value > h->max)
		h->max = value;
	h->count += n;
	h->sum += value * n;
}

int hist_record_n(struct hist *h, uint64_t value, uint64_t n)
{
	int32_t index;
	int err;

	if (!n)
		return 0;
	if (!value) {
		h->zero_count += n;
		hist_note(h, 0, n);
		return 0;
	}
	index = hist_index(value, h->scale);
	err = hist_cover(h, index, index);
	if (!err)
		err = bucket_add(h, index, n);
	if (!err)
		hist_note(h, value, n);
	return err;
}

int hist_record(struct hist *h, uint64_t value)
{
	uint32_t i;

	if (value && !h->wide) {
		i = (uint32_t)(hist_index(value, h->scale) - h->offset);
		if (i < h->len && h->buckets32[i] != UINT32_MAX) {
			h->buckets32[i]++;
			hist_note(h, value, 1);
			return 0;
		}
	}
	return hist_record_n(h, value, 1);
}

/* Where no bucket can overflow, since there are no more values than fit in one: a plain addition. */
static bool hist_adds_plainly(const struct hist *h, const struct hist *from)
{
	return h->scale == from->scale && !h->wide && !from->wide && h->count <= UINT32_MAX && from->count <= UINT32_MAX - h->count;
}

static void buckets_add(uint32_t *restrict to, const uint32_t *restrict from, uint32_t len)
{
	uint32_t i = 0;

	for (; i + 8 <= len; i += 8) /* written out, so that compilers see the vectors at -O2 */
		for (uint32_t k = 0; k < 8; k++)
			to[i + k] += from[i + k];
	for (; i < len; i++)
		to[i] += from[i];
}

/* Adds the buckets of `from`, shifted to our scale (which is the coarser one, or the same). */
static int hist_add_buckets(struct hist *h, int scale, int32_t offset, const struct hist *from)
{
	const int shift = scale - h->scale;
	uint32_t lo = 0, hi = from->len;
	bool plain = scale == from->scale && hist_adds_plainly(h, from);
	int err;

	if (plain && hi && offset >= h->offset && offset + (int64_t)hi <= h->offset + (int64_t)h->len) {
		buckets_add(h->buckets32 + (offset - h->offset), from->buckets32, hi);
		return 0;
	}
	while (hi > lo && !hist_bucket(from, hi - 1))
		hi--;
	while (lo < hi && !hist_bucket(from, lo))
		lo++;
	if (lo == hi)
		return 0;
	err = hist_cover(h, (offset + (int32_t)lo) >> shift, (offset + (int32_t)hi - 1) >> shift);
	if (!err && plain) {
		buckets_add(h->buckets32 + (offset + (int32_t)lo - h->offset), from->buckets32 + lo, hi - lo);
		return 0;
	}
	for (uint32_t i = lo; i < hi && !err; i++) {
		uint64_t n = hist_bucket(from, i);

		if (n)
			err = bucket_add(h, (offset + (int32_t)i) >> shift, n);
	}
	return err;
}

int hist_downscale(struct hist *h, int scale)
{
	struct hist coarse = *h;
	int err;

	if (scale < HIST_SCALE_MIN || scale > h->scale)
		return -EINVAL;
	if (scale == h->scale)
		return 0;
	coarse.scale = (int8_t)scale;
	coarse.offset = 0;
	coarse.len = coarse.cap = 0;
	coarse.wide = false;
	coarse.buckets32 = NULL;
	err = hist_add_buckets(&coarse, h->scale, h->offset, h);
	if (err) {
		free(coarse.buckets32);
		return err;
	}
	free(h->buckets32);
	*h = coarse;
	return 0;
}

int hist_copy(struct hist *into, const struct hist *from)
{
	struct hist h = *from;

	if (into->wide || from->wide || into->cap < from->len) {
		hist_fini(into); /* empty, and at the finest scale */
		return hist_merge(into, from);
	}
	h.cap = into->cap;
	h.buckets32 = into->buckets32;
	if (h.len)
		memcpy(h.buckets32, from->buckets32, h.len * sizeof(*h.buckets32));
	*into = h;
	return 0;
}

int hist_merge(struct hist *into, const struct hist *from)
{
	int err;

	if (!from->count)
		return 0;
	if (from->scale < into->scale) {
		err = hist_downscale(into, from->scale);
		if (err)
			return err;
	}
	err = hist_add_buckets(into, from->scale, from->offset, from);
	if (err)
		return err;
	if (!into->count || from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
	into->count += from->count;
	into->sum += from->sum;
	into->zero_count += from->zero_count;
	return 0;
}

int hist_set_buckets(struct hist *h, int32_t offset, const uint64_t *counts, uint32_t len)
{
	const int32_t first = hist_index(1, h->scale), last = hist_index(UINT64_MAX, h->scale);
	uint64_t any = 0;
	int err;

	while (len && !counts[len - 1])
		len--;
	while (len && !*counts) {
		counts++;
		len--;
		if (offset == INT32_MAX) /* no bucket can follow */
			return -EINVAL;
		offset++;
	}
	if (len && (offset < first || offset > last || len > (uint32_t)(last - offset + 1)))
		return -EINVAL; /* not the index of any 64-bit value */
	free(h->buckets32);
	h->buckets32 = NULL;
	h->offset = 0;
	h->len = h->cap = 0;
	h->wide = false;
	if (!len)
		return 0;
	err = hist_cover(h, offset, offset + (int32_t)len - 1);
	if (err)
		return err;
	for (uint32_t i = 0; i < len; i++)
		any |= counts[i];
	if (any <= UINT32_MAX)
		for (uint32_t i = 0; i < len; i++)
			h->buckets32[offset - h->offset + (int32_t)i] = (uint32_t)counts[i];
	else
		for (uint32_t i = 0; i < len && !err; i++)
			err = bucket_add(h, offset + (int32_t)i, counts[i]);
	return err;
}

double hist_mean(const struct hist *h)
{
	return h->count ? (double)h->sum / (double)h->count : 0;
}

/* The geometric middle between the smallest and the largest integer of the bucket: off by 1.1 % at most, and exact for small values. */
double hist_bucket_value(const struct hist *h, uint32_t i)
{
	double low = floor(hist_upper(h->offset + (int32_t)i - 1, h->scale)) + 1;
	double high = floor(hist_upper(h->offset + (int32_t)i, h->scale));
	double value = high > low ? sqrt(low * high) : high;

	if (value < (double)h->min)
		return (double)h->min;
	return value > (double)h->max ? (double)h->max : value;
}

double hist_quantile(const struct hist *h, double q)
{
	double rank, seen;

	if (!h->count)
		return 0;
	if (!(q > 0))
		return (double)h->min;
	if (q >= 1)
		return (double)h->max;
	rank = q * (double)h->count;
	seen = (double)h->zero_count;
	if (h->zero_count && rank <= seen)
		return 0;
	for (uint32_t i = 0; i < h->len; i++) {
		double n = (double)hist_bucket(h, i);

		if (!n || seen + n < rank) {
			seen += n;
			continue;
		}
		return hist_bucket_value(h, i);
	}
	return (double)h->max;
}
