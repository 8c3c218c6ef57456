/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/heap.h"

#include <math.h>

void heap_data_merge(struct heap_data *into, const struct heap_data *from)
{
	if (from->mode == HEAP_NONE)
		return;
	if (into->mode == HEAP_NONE)
		into->kept = 1;
	into->mode = from->mode;
	into->windows += from->windows;
	into->windows_thin += from->windows_thin;
	into->windows_failed += from->windows_failed;
	into->samples += from->samples;
	into->open_s += from->open_s;
	into->trapped_s += from->trapped_s;
	into->rate_sum += from->rate_sum;
	into->rate_sq += from->rate_sq;
	into->byte_rate_sum += from->byte_rate_sum;
	into->byte_rate_sq += from->byte_rate_sq;
	into->error_sum += from->error_sum;
	into->byte_error_sum += from->byte_error_sum;
	into->kept = fmin(into->kept, from->kept);
	into->unknown_frees += from->unknown_frees;
}

#define WINDOWS_MIN 8 /* of fewer no interval is told */

/* Mean of n windows with its standard error, widened by what the calibration leaves open. */
static struct heap_rate rate(uint64_t n, double sum, double sq, double error)
{
	struct heap_rate r = { .thin = n < WINDOWS_MIN };
	double variance, half;

	if (!n)
		return r;
	r.mean = sum / n;
	variance = n > 1 ? fmax(0, sq - sum * r.mean) / (n - 1) : r.mean * r.mean;
	half = 1.96 * sqrt(variance / n) + error / n;
	r.low = fmax(0, r.mean - half);
	r.high = r.mean + half;
	return r;
}

struct heap_rate heap_rate_allocs(const struct heap_data *h)
{
	return rate(h->windows, h->rate_sum, h->rate_sq, h->error_sum);
}

struct heap_rate heap_rate_bytes(const struct heap_data *h)
{
	return rate(h->windows, h->byte_rate_sum, h->byte_rate_sq, h->byte_error_sum);
}
