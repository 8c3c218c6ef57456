/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef STAKEOUT_SERVE_GZIP_H
#define STAKEOUT_SERVE_GZIP_H

#include <stddef.h>

/* A text as one gzip member, at the fastest level. *ret is the caller's. 0, -ENOMEM, or -EFBIG beyond 4 GiB. */
int gzip_whole(const char *text, size_t len, char **ret, size_t *ret_len);

#endif
