/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * HdrHistogram log (format 1.3, histograms in the V2 compressed encoding): a line an interval and histogram, tagged AGENT/METRIC, AGENT/peer/NAME/METRIC or
 * AGENT/tool/NAME/METRIC.
 *
 * HdrHistogram's buckets are linear within an octave. With three significant digits, 1024 to an octave, they are at most 1/1024 of their
 * value wide, ours 1/46: no two of ours share one of theirs, and the largest of ours span 23. Each of our buckets is put where
 * its middle is (hist_bucket_value), but for one value each of the smallest and the largest, which are known. So counts
 * are exact, and a quantile is off by 1.1 % (our bucket) and 0.1 % (theirs).
 */
#ifndef STAKEOUT_HLOG_H
#define STAKEOUT_HLOG_H

#include "sink/export.h"

void *hlog_new(FILE *out, const struct export_options *options);
int hlog_interval(void *hlog, const struct interval_data *i);
int hlog_end(void *hlog, const struct recording *r);
void hlog_free(void *hlog);

struct hlog_bytes { /* what the encoding is composed in; zero-initialised is empty */
	unsigned char *at; /* owned */
	size_t len, cap;
};
/* Index of value in the array of counts. */
uint32_t hlog_index(uint64_t value);
/* One integer as ZigZag LEB128 of at most 9 bytes, the ninth being whole; n > INT64_MIN. Returns the number of bytes written to `to`. */
size_t hlog_zigzag(int64_t n, unsigned char to[9]);
/* h in the V2 encoding, not compressed, in place of what was in b. 0 or -ENOMEM. */
int hlog_encode(const struct hist *h, struct hlog_bytes *b);

#endif
