/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Base-2 exponential histogram of unsigned 64-bit values, as in OpenTelemetry's ExponentialHistogram: bucket i holds
 * (b^i, b^(i+1)] with b = 2^(2^-scale). Zero is counted apart. Storage grows with the range in use.
 */
#ifndef STAKEOUT_HIST_H
#define STAKEOUT_HIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HIST_SCALE 5 /* b = 1.0219: a quantile is off by at most 1.1 % */
#define HIST_SCALE_MIN (-4)
#define HIST_LINE_BYTES 64

/* One cache line: of most agents nothing is in the cache when a record comes in. */
struct hist {
	int8_t scale;
	bool wide; /* buckets64 is in use (a count passed 2^32) */
	int32_t offset; /* index of buckets[0] */
	uint32_t len; /* buckets there are; those at the ends may be 0 */
	uint32_t cap;
	union {
		uint32_t *buckets32;
		uint64_t *buckets64;
	};
	uint64_t count, sum, min, max, zero_count; /* sum wraps modulo 2^64 */
};
_Static_assert(sizeof(struct hist) <= HIST_LINE_BYTES, "size of a histogram without its buckets");


/* An empty histogram at HIST_SCALE is all zero but for the scale; nothing is allocated. */
void hist_init(struct hist *h);
/* Frees the buckets; the struct itself is the caller's. NULL is accepted. */
void hist_fini(struct hist *h);
/* Empties it, keeping the storage. */
void hist_reset(struct hist *h);
/* Adds one value. Returns 0 or -ENOMEM (the histogram is then unchanged). */
int hist_record(struct hist *h, uint64_t value);
/* Adds n equal values. */
int hist_record_n(struct hist *h, uint64_t value, uint64_t n);
/* into = from, in the storage of `into` where that is large enough. 0 or -ENOMEM (into is then empty). */
int hist_copy(struct hist *into, const struct hist *from);
/* into += from; the coarser of the two scales wins. Exact. 0 or -ENOMEM. */
int hist_merge(struct hist *into, const struct hist *from);
/* Merges buckets until the scale is `scale` (<= h->scale). Exact. 0, -EINVAL or -ENOMEM (unchanged). */
int hist_downscale(struct hist *h, int scale);
/* Count of bucket number i (0..len-1). */
static inline uint64_t hist_bucket(const struct hist *h, uint32_t i)
{
	return h->wide ? h->buckets64[i] : h->buckets32[i];
}
/* Sets the buckets from `len` counts, the first at index `offset`; for readers. 0, -ENOMEM, or -EINVAL beyond the range. */
int hist_set_buckets(struct hist *h, int32_t offset, const uint64_t *counts, uint32_t len);
/* What stands for the values of bucket number i (0..len-1): its middle, within [min, max]. */
double hist_bucket_value(const struct hist *h, uint32_t i);
/* The value below or at which a share q (0..1) of the values lie, the middle of its bucket,
 * clamped to [min, max]. 0 for an empty histogram. */
double hist_quantile(const struct hist *h, double q);
double hist_mean(const struct hist *h);
/* Bucket index of value (> 0) at `scale`; integer arithmetic only, exact at the borders. */
int32_t hist_index(uint64_t value, int scale);
/* Upper border (inclusive) of bucket `index` at `scale`: b^(index+1), as a double. */
double hist_upper(int32_t index, int scale);
/*
 * By how many buckets a histogram of nanoseconds moves down to be one of seconds, at `scale`: 957 at HIST_SCALE. 10^9 is no power of b, so it is the nearest
 * number: what is read from the buckets comes out 0.62 % low there, a quarter of a bucket.
 */
int32_t hist_seconds_shift(int scale);
/* Bytes of heap in use. */
size_t hist_bytes(const struct hist *h);

#endif
