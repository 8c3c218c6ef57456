/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/gzip.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

#define GZIP_WINDOW (15 + 16) /* 16: with gzip's header */

int gzip_whole(const char *text, size_t len, char **ret, size_t *ret_len)
{
	z_stream z = {0};
	uLong bound;
	char *to;
	int done;

	if (len > UINT_MAX / 2)
		return -EFBIG;
	if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	bound = deflateBound(&z, len);
	to = malloc(bound);
	if (!to) {
		deflateEnd(&z);
		return -ENOMEM;
	}
	z.next_in = (Bytef *)text;
	z.avail_in = (uInt)len;
	z.next_out = (Bytef *)to;
	z.avail_out = (uInt)bound;
	done = deflate(&z, Z_FINISH);
	*ret_len = bound - z.avail_out;
	deflateEnd(&z);
	if (done != Z_STREAM_END) {
		free(to);
		return -ENOMEM;
	}
	*ret = to;
	return 0;
}
