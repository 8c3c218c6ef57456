/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Buckets of histograms one after the other, of which the oldest are dropped: a word each, as a rule. Private to window*.c. */
#ifndef STAKEOUT_WINDOW_LOG_H
#define STAKEOUT_WINDOW_LOG_H

#include "model/hist.h"

struct bucket_log { /* zero-initialised */
	uint32_t *words;
	uint32_t first, len, cap; /* in use: first .. len - 1 */
};

/* Writes down a histogram's buckets. Returns how many words that took, or -ENOMEM. */
int64_t bucket_log_add(struct bucket_log *l, const struct hist *h);
/* Of the last so many words: each bucket once. Returns how many they are then, or -ENOMEM (nothing is changed). */
int64_t bucket_log_tidy(struct bucket_log *l, uint32_t words);
/* The oldest so many words go. */
void bucket_log_drop(struct bucket_log *l, uint32_t words);
/* All there is, into h, whose minimum and maximum stay; count and sum are the caller's. 0 or negative errno. */
int bucket_log_gather(const struct bucket_log *l, struct hist *h);
void bucket_log_fini(struct bucket_log *l);
/* Heap bytes. */
size_t bucket_log_bytes(const struct bucket_log *l);

#endif
