/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Points in time as recordings write them (RFC 3339), and as ns since 1970. */
#ifndef STAKEOUT_TIMESTAMP_H
#define STAKEOUT_TIMESTAMP_H

#include <stdint.h>

#define TIMESTAMP_LEN 25 /* bytes: "2026-11-21T17:29:04.745Z" and its end */

/* The wall clock. */
int64_t timestamp_now(void);
/*
 * The whole text as a date and a time of day of any zone, with any fraction of a second (below 1 ns it is dropped). 0; -EINVAL: it isn't one, as the 30th of
 * February isn't (nor are leap seconds, which no clock of ours tells); -ERANGE: not within what 64 bits of ns hold, 1677 to 2262. *ret_ns is left alone then.
 */
int timestamp_parse(const char *text, int64_t *ret_ns);
/* In UTC, to the nearest millisecond, a half upwards. Returns buf. */
const char *timestamp_format(int64_t ns, char buf[TIMESTAMP_LEN]);

#endif
