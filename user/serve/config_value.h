/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Values as a configuration file spells them. */
#ifndef STAKEOUT_CONFIG_VALUE_H
#define STAKEOUT_CONFIG_VALUE_H

#include <stddef.h>

enum value_kind { /* and the type of the member */
	VALUE_TEXT, /* const char *, not empty */
	VALUE_PATH, /* const char *, absolute */
	VALUE_REGEX, /* const char *, POSIX extended */
	VALUE_LISTEN, /* const char *, HOST:PORT or unix:PATH */
	VALUE_URL, /* const char *, http:// or https:// */
	VALUE_FLAG, /* bool */
	VALUE_SECONDS, /* double; 90, 1.5, 500ms, 30s, 5m, 1h, 7d */
	VALUE_MS, /* double, in ms; spelled like seconds */
	VALUE_BYTES, /* uint64_t; 65536, 64K, 8M, 1G, 2T */
	VALUE_POWER, /* unsigned, a power of two; spelled like bytes */
	VALUE_COUNT, /* uint64_t */
	VALUE_NUMBER, /* double, a whole number */
	VALUE_BUDGET, /* double, percent; `off` is 0 */
	VALUE_SEVERITY, /* int, an enum severity; `off` is SEVERITY_COUNT */
	VALUE_TIME, /* int64_t, ns since 1970; RFC 3339 */
	VALUE_PIDS, /* struct target_spec's pids and pids_len: the member is pids; a list to be freed */
	VALUE_KINDS
};

/* Stores text (which must outlive it) as the kind's type. 0, or a negative errno and why: what is wrong with it and what is possible, to be read behind the value: "is not ..". */
int value_set(enum value_kind kind, const char *text, double min, double max, void *member, char *why, size_t why_len);

#endif
