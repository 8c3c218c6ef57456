/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is known of an agent's heap beyond its metrics: how it was observed, and rates with their intervals of confidence. */
#ifndef STAKEOUT_MODEL_HEAP_H
#define STAKEOUT_MODEL_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum heap_mode { HEAP_NONE = 0, HEAP_SAMPLED = 1, HEAP_FULL = 2, HEAP_MODES };
extern const char *const heap_mode_names[HEAP_MODES]; /* as in a recording */

/* Sums over windows, so that intervals add up. A window's rate is what it says of the whole agent (divided by the probability that this
 * process and this function were looked at), the time that its own traps took being taken out. */
struct heap_data {
	enum heap_mode mode;
	uint64_t windows; /* sampled: with a rate */
	uint64_t windows_thin; /* that saw too little to tell a size from */
	uint64_t windows_failed; /* that could not be opened */
	uint64_t samples; /* allocations seen in them */
	double open_s; /* time that windows were open */
	double trapped_s; /* time that the agent spent in our traps (calibrated) */
	double rate_sum, rate_sq; /* allocations a second */
	double byte_rate_sum, byte_rate_sq; /* bytes a second */
	double error_sum, byte_error_sum; /* per window: how far the uncertainty of the calibration moves the rate */
	double kept; /* full: part of the blocks whose life is followed, 1 all, less when the table was full; the smallest */
	uint64_t unknown_frees; /* full: of blocks from before, or not followed */
	uint64_t late, unseen; /* full: processes that were observed from some time after their start only (late_s: the sum); that ended before they were */
	double late_s;
};

/* What of it adds up, by the names of a recording: whole numbers (uint64_t) and others (double). */
struct heap_field {
	const char *name;
	size_t offset; /* in heap_data */
	bool whole;
};
#define HEAP_FIELDS 16
extern const struct heap_field heap_fields[HEAP_FIELDS];
static inline const void *heap_field_at(const struct heap_data *h, const struct heap_field *f)
{
	return (const char *)h + f->offset;
}

struct heap_rate {
	double mean, low, high; /* a second; 95 % */
	bool thin; /* too few windows to tell an interval */
};

/* into += from. */
void heap_data_merge(struct heap_data *into, const struct heap_data *from);
/* Allocations, or bytes, a second. All 0 and thin without windows. */
struct heap_rate heap_rate_allocs(const struct heap_data *h);
struct heap_rate heap_rate_bytes(const struct heap_data *h);

#endif
