/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Figures for people: three significant digits and a unit, at most 8 columns wide, ASCII. */
#ifndef STAKEOUT_MODEL_FORMAT_H
#define STAKEOUT_MODEL_FORMAT_H

#include "model/metrics.h"

#define FORMAT_LEN 24 /* bytes of the caller's buffer */

/* "850 ns", "1.23 ms", "12.3 s", "16.7 min", "4.50 h", "12.0 d". Negative and NaN count as 0. Each returns buf. */
const char *format_ns(double ns, char buf[FORMAT_LEN]);
/* "512 B", "4.10 MiB". */
const char *format_bytes(double bytes, char buf[FORMAT_LEN]);
/* "123", "12.3 k", "4.50 M". */
const char *format_count(double count, char buf[FORMAT_LEN]);
/* A rate, which may lie below 1: "0.32", "12.3", "1.20 k". */
const char *format_rate(double per_s, char buf[FORMAT_LEN]);
/* One of ns, bytes and count. */
const char *format_value(double value, enum metric_unit unit, char buf[FORMAT_LEN]);

/* The same with a buffer that lives as long as the enclosing block. */
#define ns_text(v) format_ns((v), (char[FORMAT_LEN]){0})
#define bytes_text(v) format_bytes((v), (char[FORMAT_LEN]){0})
#define count_text(v) format_count((v), (char[FORMAT_LEN]){0})
#define rate_text(v) format_rate((v), (char[FORMAT_LEN]){0})
#define value_text(v, unit) format_value((v), (unit), (char[FORMAT_LEN]){0})

/*
 * Splits `whole` cells over n parts in proportion to part[], by largest remainders, so that ret[] sums to `whole`
 * exactly (or to 0 when all parts are 0). Ties go to the earlier part.
 */
void format_split(const uint64_t *part, int n, unsigned whole, unsigned *ret);

/* How a process ended, from its wait(2) status: "with status 3", "by signal 9 (KILL)". Returns buf. */
const char *format_exit(int code, char *buf, size_t size);

#endif
