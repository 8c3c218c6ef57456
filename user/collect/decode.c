/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "collect/decode.h"

#include <errno.h>

static const uint8_t record_slots[SO_KINDS] = {
#define X(id, value, slots, type) [value] = slots,
	SO_RECORDS(X)
#undef X
};

int decode_next(const void *data, size_t size, size_t *pos, const struct so_head **ret)
{
	const struct so_head *h;
	size_t bytes;

	if (*pos == size)
		return 0;
	if (*pos > size || size - *pos < SO_SLOT_BYTES)
		return -EBADMSG;
	h = (const struct so_head *)((const uint8_t *)data + *pos);
	if (h->kind >= SO_KINDS || !record_slots[h->kind] || h->slots != record_slots[h->kind])
		return -EBADMSG;
	bytes = (size_t)h->slots * SO_SLOT_BYTES;
	if (size - *pos < bytes)
		return -EBADMSG;
	*pos += bytes;
	*ret = h;
	return 1;
}
