/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/heap.h"

#include <math.h>

const char *const heap_mode_names[HEAP_MODES] = { "none", "sampled", "full" };

#define WHOLE(field) { #field, offsetof(struct heap_data, field), true }
#define REAL(field, name) { name, offsetof(struct heap_data, field), false }
const struct heap_field heap_fields[HEAP_FIELDS] = {
	WHOLE(windows),
	WHOLE(windows_thin),
	WHOLE(windows_failed),
	WHOLE(samples),
	WHOLE(unknown_frees),
	WHOLE(late),
	WHOLE(unseen),
	REAL(late_s, "late_s"),
	REAL(open_s, "open_s"),
	REAL(trapped_s, "trapped_s"),
	REAL(rate_sum, "allocs_per_s_sum"),
	REAL(rate_sq, "allocs_per_s_squares"),
	REAL(error_sum, "allocs_per_s_error"),
	REAL(byte_rate_sum, "bytes_per_s_sum"),
	REAL(byte_rate_sq, "bytes_per_s_squares"),
	REAL(byte_error_sum, "bytes_per_s_error"),
};

void heap_data_merge(struct heap_data *into, const struct heap_data *from)
{
	if (from->mode == HEAP_NONE)
		return;
	if (into->mode == HEAP_NONE)
		into->kept = 1;
	into->mode = from->mode;
	into->kept = fmin(into->kept, from->kept);
	for (const struct heap_field *f = heap_fields; f < heap_fields + HEAP_FIELDS; f++) {
		void *sum = (char *)into + f->offset;

		if (f->whole)
			*(uint64_t *)sum += *(const uint64_t *)heap_field_at(from, f);
		else
			*(double *)sum += *(const double *)heap_field_at(from, f);
	}
}

#define WINDOWS_MIN 8 /* of fewer no interval is told */

/* Student's t for 95 %, by its expansion from the normal distribution's (Abramowitz and Stegun, 26.7.5): of few windows, how much they differ is not
 * well known either. From 7 degrees of freedom, that of WINDOWS_MIN, on it is right to half a percent. */
static double student(double freedom)
{
	const double z = 1.959964, z3 = z * z * z, z5 = z3 * z * z;

	return z + (z3 + z) / (4 * freedom) + (5 * z5 + 16 * z3 + 3 * z) / (96 * freedom * freedom);
}

/* Mean of n windows with its standard error, widened by what the calibration leaves open. */
static struct heap_rate rate(uint64_t n, double sum, double sq, double error)
{
	struct heap_rate r = { .thin = n < WINDOWS_MIN || !(sum > 0) }; /* where none saw anything, nothing says how seldom that is */
	double variance, half;

	if (!n)
		return r;
	r.mean = sum / n;
	variance = n > 1 ? fmax(0, sq - sum * r.mean) / (n - 1) : r.mean * r.mean;
	half = student(n > 1 ? n - 1 : 1) * sqrt(variance / n) + error / n;
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
