/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/hlog.h"

#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "lib/timestamp.h"
#include "lib/util.h"
#include "sink/tags.h"

#define COOKIE 0x1c849303u /* V2 */
#define COOKIE_COMPRESSED 0x1c849304u
#define COOKIE_WORDS 0x10u /* counts are variable-length words */
#define DIGITS 3
#define HALF_BITS 10 /* log2 of the buckets in an octave, with three digits */
#define HALF (1u << HALF_BITS)
#define VALUE_MAX ((uint64_t)INT64_MAX) /* theirs are signed */
#define TRACKABLE_MIN                                                                                                          \
	((1ULL << 42) - 1) /* 73 min: readers that add lines up in an array as large as the first line's find room */
#define BYTES_MIN 4096

/* ---- the encoding of one histogram ---- */

struct encoder {
	struct hlog_bytes *bytes;
	uint32_t next; /* index of the first count that is not written */
	uint32_t index; /* of the count that is being summed up */
	uint64_t count;
	bool failed;
};

static bool bytes_room(struct hlog_bytes *b, size_t more)
{
	size_t cap = b->cap ? b->cap : BYTES_MIN;
	unsigned char *at;

	if (b->len + more <= b->cap)
		return true;
	while (cap < b->len + more)
		cap *= 2;
	at = realloc(b->at, cap);
	if (!at)
		return false;
	b->at = at;
	b->cap = cap;
	return true;
}

uint32_t hlog_index(uint64_t value)
{
	const uint32_t octave = 63u - (uint32_t)__builtin_clzll(value | (2 * HALF - 1)) - HALF_BITS;

	return (octave << HALF_BITS) + (uint32_t)(value >> octave);
}

size_t hlog_zigzag(int64_t n, unsigned char to[9])
{
	uint64_t left = (uint64_t)n << 1 ^ (n < 0 ? UINT64_MAX : 0);
	size_t len = 0;

	while (len < 8 && left >> 7) {
		to[len++] = (unsigned char)(left | 0x80);
		left >>= 7;
	}
	to[len++] = (unsigned char)left;
	return len;
}

static void encode_word(struct encoder *e, int64_t n)
{
	if (!bytes_room(e->bytes, 9))
		e->failed = true;
	else
		e->bytes->len += hlog_zigzag(n, e->bytes->at + e->bytes->len);
}

/* Writes the count that was summed up, after the zeros before it: a single one as it is, more as their number, negative. */
static void encode_flush(struct encoder *e)
{
	uint32_t zeros = e->index - e->next;

	if (!e->count)
		return;
	if (zeros)
		encode_word(e, zeros > 1 ? -(int64_t)zeros : 0);
	encode_word(e, e->count > INT64_MAX ? INT64_MAX : (int64_t)e->count);
	e->next = e->index + 1;
	e->count = 0;
}

/* n values; they come in rising order. */
static void encode_values(struct encoder *e, uint64_t value, uint64_t n)
{
	uint32_t index = hlog_index(value < VALUE_MAX ? value : VALUE_MAX);

	if (!n)
		return;
	if (index != e->index)
		encode_flush(e);
	e->index = index;
	e->count += n;
}

static uint64_t whole(double value)
{
	return value < (double)VALUE_MAX ? (uint64_t)llround(value) : VALUE_MAX;
}

static void encode_buckets(struct encoder *e, const struct hist *h)
{
	const int64_t min_at = h->min ? hist_index(h->min, h->scale) - (int64_t)h->offset : -1;
	const int64_t max_at = h->max ? hist_index(h->max, h->scale) - (int64_t)h->offset : -1;

	encode_values(e, 0, h->zero_count);
	for (uint32_t i = 0; i < h->len; i++) {
		uint64_t n = hist_bucket(h, i);
		bool least = n && i == min_at, most;

		n -= least;
		most = n && i == max_at;
		n -= most;
		encode_values(e, h->min, least);
		encode_values(e, whole(hist_bucket_value(h, i)), n);
		encode_values(e, h->max, most);
	}
	encode_flush(e);
}

int hlog_encode(const struct hist *h, struct hlog_bytes *b)
{
	struct {
		uint32_t cookie, payload, normalizing_offset, digits;
		uint64_t lowest, highest, ratio;
	} head = {
	        .cookie = htobe32(COOKIE | COOKIE_WORDS),
	        .digits = htobe32(DIGITS),
	        .lowest = htobe64(1),
	        .ratio = htobe64(0x3ff0000000000000), /* 1.0 */
	};
	struct encoder e = {.bytes = b};
	uint64_t highest = TRACKABLE_MIN;

	while (highest < h->max && highest < VALUE_MAX)
		highest = highest << 1 | 1;
	head.highest = htobe64(highest);
	b->len = 0;
	if (!bytes_room(b, sizeof(head)))
		return -ENOMEM;
	b->len = sizeof(head);
	encode_buckets(&e, h);
	if (e.failed)
		return -ENOMEM;
	head.payload = htobe32((uint32_t)(b->len - sizeof(head)));
	memcpy(b->at, &head, sizeof(head));
	return 0;
}

/* ---- the log ---- */

struct hlog {
	FILE *out;
	bool begun;
	z_stream deflate;
	struct hlog_bytes plain, packed, text;
	struct tags *tags;
};

void *hlog_new(FILE *out, const struct export_options *options)
{
	struct hlog *l = calloc(1, sizeof(*l));

	(void)options;
	if (!l)
		return NULL;
	l->out = out;
	l->tags = tags_new();
	if (l->tags && deflateInit(&l->deflate, Z_DEFAULT_COMPRESSION) == Z_OK)
		return l;
	tags_free(l->tags);
	free(l);
	return NULL;
}

static void head_write(struct hlog *l, const struct header_data *h)
{
	int64_t start_ns = 0;
	char host[sizeof(h->host.name)];

	l->begun = true;
	timestamp_parse(h->start, &start_ns);
	memcpy(host, h->host.name, sizeof(host));
	fprintf(l->out, "#[Histogram log format version 1.3]\n#[stakeout, host %s]\n", text_sanitize(host));
	if (start_ns) { /* lines count from it */
		char text[TIMESTAMP_LEN];
		double start_s = (double)start_ns / 1e9;

		fprintf(l->out, "#[StartTime: %.3f (seconds since epoch), %s]\n#[BaseTime: %.3f (seconds since epoch)]\n",
		        start_s, timestamp_format(start_ns, text), start_s);
	}
	fprintf(l->out, "#[values in ns or bytes, as the metric's name says; Interval_Max in millions of them]\n"
	                "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n");
}

static int base64_make(const struct hlog_bytes *from, struct hlog_bytes *to)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	to->len = 0;
	if (!bytes_room(to, (from->len + 2) / 3 * 4))
		return -ENOMEM;
	for (size_t i = 0; i < from->len; i += 3) {
		size_t n = from->len - i < 3 ? from->len - i : 3;
		uint32_t group = 0;

		for (size_t k = 0; k < n; k++)
			group |= (uint32_t)from->at[i + k] << (16 - 8 * k);
		for (size_t k = 0; k < 4; k++)
			to->at[to->len++] = (unsigned char)(k <= n ? digits[group >> (18 - 6 * k) & 63] : '=');
	}
	return 0;
}

/* The compressed form of what is in `plain`, in `packed`. */
static int pack(struct hlog *l)
{
	const size_t head = 8;
	uint32_t words[2] = {htobe32(COOKIE_COMPRESSED | COOKIE_WORDS)};
	uLong room = deflateBound(&l->deflate, (uLong)l->plain.len);

	l->packed.len = 0;
	if (!bytes_room(&l->packed, head + room))
		return -ENOMEM;
	deflateReset(&l->deflate);
	l->deflate.next_in = l->plain.at;
	l->deflate.avail_in = (uInt)l->plain.len;
	l->deflate.next_out = l->packed.at + head;
	l->deflate.avail_out = (uInt)room;
	if (deflate(&l->deflate, Z_FINISH) != Z_STREAM_END)
		return -EIO;
	words[1] = htobe32((uint32_t)(room - l->deflate.avail_out));
	memcpy(l->packed.at, words, head);
	l->packed.len = head + room - l->deflate.avail_out;
	return 0;
}

static int hist_write(struct hlog *l, const struct interval_data *i, const char *tag, const struct hist *h)
{
	int err = hlog_encode(h, &l->plain);

	if (!err)
		err = pack(l);
	if (!err)
		err = base64_make(&l->packed, &l->text);
	if (err)
		return err;
	fprintf(l->out, "Tag=%s,%.3f,%.3f,%.3f,", tag, i->start_s, i->end_s - i->start_s, (double)h->max / 1e6);
	fwrite(l->text.at, 1, l->text.len, l->out);
	putc('\n', l->out);
	return 0;
}

static int set_write(struct hlog *l, const struct interval_data *i, const char *prefix, const struct metric_set *s)
{
	int err = 0;

	for (int m = 0; m < METRIC_IDS && !err; m++) {
		char tag[2 * TAG_LEN + 64];

		if (!s->hist[m] || !s->hist[m]->count)
			continue;
		snprintf(tag, sizeof(tag), "%s/%s", prefix, metric_infos[m].name);
		err = hist_write(l, i, tag, s->hist[m]);
	}
	return err;
}

static int part_write(struct hlog *l, const struct interval_data *i, const char *agent, const char *kind, const char *name,
        const struct metric_set *s)
{
	char prefix[2 * TAG_LEN], part[TAG_LEN / 2];

	snprintf(prefix, sizeof(prefix), "%s/%s/%s", agent, kind, tag_text(name, part, sizeof(part)));
	return set_write(l, i, prefix, s);
}

int hlog_interval(void *hlog, const struct interval_data *i)
{
	struct hlog *l = hlog;
	int err = 0;

	if (!l->begun)
		head_write(l, i->header);
	for (int n = 0; n < i->agents_len && !err; n++) {
		const struct agent_data *a = i->agents[n];
		const char *agent = tags_agent(l->tags, i->infos[n]);

		err = agent ? set_write(l, i, agent, &a->metrics) : -ENOMEM;
		for (int k = 0; k < a->peers_len && !err; k++) {
			const struct peer_data *p = &a->peers[k];

			err = part_write(l, i, agent, p->server ? "served" : "peer", *p->name ? p->name : p->peer, &p->metrics);
		}
		for (int k = 0; k < a->tools_len && !err; k++)
			err = part_write(l, i, agent, "tool", a->tools[k].name, &a->tools[k].metrics);
	}
	return err;
}

int hlog_end(void *hlog, const struct recording *r)
{
	struct hlog *l = hlog;

	if (!l->begun)
		head_write(l, &r->header);
	if (*r->note)
		fprintf(l->out, "#[recording: %s]\n", r->note);
	return 0;
}

void hlog_free(void *hlog)
{
	struct hlog *l = hlog;

	if (!l)
		return;
	deflateEnd(&l->deflate);
	free(l->plain.at);
	free(l->packed.at);
	free(l->text.at);
	tags_free(l->tags);
	free(l);
}
