/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef STAKEOUT_UTIL_H
#define STAKEOUT_UTIL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define NS_PER_S 1000000000ULL

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}
static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}
#define _cleanup_free_ __attribute__((cleanup(cleanup_free)))
#define _cleanup_close_ __attribute__((cleanup(cleanup_close)))
#define _cleanup_fclose_ __attribute__((cleanup(cleanup_fclose)))

/* CLOCK_MONOTONIC, the clock of the records, in ns. */
uint64_t clock_ns(void);
/* Replaces control characters, escapes included, by '?' in place, and cuts invalid UTF-8 likewise. For anything that came from a
 * process and goes to a terminal. Returns s. */
char *text_sanitize(char *s);
/* Reads a whole small file (a /proc file) into a NUL-terminated buffer of the caller's, NULs within kept. Bytes read or negative errno. */
ssize_t file_read(const char *path, char *buf, size_t size);
/* The same of a path from this directory on. */
ssize_t file_read_at(int dir_fd, const char *path, char *buf, size_t size);
/* Makes sure that the process can have so many descriptors open at once: raises the soft limit if it has to. *ret_max: as many as it can have; may be NULL. 0, or
 * -EMFILE when the hard limit is lower: as many as may be, then. */
int descriptors_reach(uint64_t wanted, uint64_t *ret_max);
/* Whole string as a decimal integer within [min, max]: 0, -EINVAL or -ERANGE. */
int parse_int(const char *s, long long min, long long max, long long *ret);
/* Seconds (>= min) as decimal fraction, the whole string: 0, -EINVAL or -ERANGE. */
int parse_seconds(const char *s, double min, double max, double *ret);
/* A label's name as Prometheus and OpenTelemetry both take it: [a-zA-Z_][a-zA-Z0-9_]*, but none that begins with __. */
bool label_name_valid(const char *name);
/* For messages about a mistyped word: " (did you mean 'NAME'?)" in buf when one of the names is near, else "". Returns buf. */
const char *name_hint(const char *word, const char *const *names, int names_len, char *buf, size_t buf_len);

enum exit_status { EXIT_DONE = 0, EXIT_MISSED = 1, EXIT_USAGE = 2, EXIT_DENIED = 3, EXIT_NO_TARGET = 4, EXIT_OUTPUT = 5 };

#endif
