/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Whether a request was made before, byte for byte (the probe dup, off by default): a keyed hash of what each send of a client has in the process's memory. The key is
 * drawn at start and kept nowhere; of the contents, nothing but the hash and the length leaves the kernel. SipHash-2-4 (Aumasson, Bernstein: "SipHash: a fast
 * short-input PRF", 2012), since whoever can choose what is sent must not be able to make two requests look the same.
 *
 * A part of the sends of sock.bpf.h, all of which is left out by the verifier while the probe is off; and of dup.bpf.c.
 */
#ifndef STAKEOUT_DUP_BPF_H
#define STAKEOUT_DUP_BPF_H

#include "core.bpf.h"

#define DUP_CHUNK_BYTES 128
#define DUP_CHUNKS 8 /* of each buffer: all of it, or its first and its last four */
#define DUP_BUFFERS 8 /* of a send; one of more is not looked at */

extern const volatile bool cfg_dup;
extern const volatile __u64 cfg_dup_key[2];

struct dup_hash {
	u64 v[4];
	u64 from; /* the buffer */
	u32 len;
	u32 failed; /* it could not be read */
};

static __always_inline u64 rotl64(u64 x, int n)
{
	return x << n | x >> (64 - n);
}

static __always_inline void sip_round(u64 v[4])
{
	v[0] += v[1];
	v[1] = rotl64(v[1], 13) ^ v[0];
	v[0] = rotl64(v[0], 32);
	v[2] += v[3];
	v[3] = rotl64(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl64(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl64(v[1], 17) ^ v[2];
	v[2] = rotl64(v[2], 32);
}

static __always_inline void sip_word(u64 v[4], u64 word)
{
	v[3] ^= word;
	sip_round(v);
	sip_round(v);
	v[0] ^= word;
}

static __always_inline void dup_begin(struct dup_hash *h)
{
	h->v[0] = cfg_dup_key[0] ^ 0x736f6d6570736575ULL;
	h->v[1] = cfg_dup_key[1] ^ 0x646f72616e646f6dULL;
	h->v[2] = cfg_dup_key[0] ^ 0x6c7967656e657261ULL;
	h->v[3] = cfg_dup_key[1] ^ 0x7465646279746573ULL;
	h->failed = 0;
}

static __always_inline u64 dup_end(struct dup_hash *h)
{
	h->v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(h->v);
	return h->v[0] ^ h->v[1] ^ h->v[2] ^ h->v[3];
}

static long dup_chunk(u32 i, struct dup_hash *h)
{
	u64 words[DUP_CHUNK_BYTES / 8] = {};
	u32 at = i * DUP_CHUNK_BYTES, len;

	if (at >= h->len || h->failed)
		return 1;
	if (i >= DUP_CHUNKS / 2 && h->len > DUP_CHUNKS * DUP_CHUNK_BYTES)
		at = h->len - (DUP_CHUNKS - i) * DUP_CHUNK_BYTES;
	len = h->len - at;
	if (len > DUP_CHUNK_BYTES)
		len = DUP_CHUNK_BYTES;
	if (bpf_probe_read_user(words, len, (void *)(h->from + at)))
		h->failed = 1;
	for (int j = 0; j < DUP_CHUNK_BYTES / 8; j++)
		sip_word(h->v, words[j]);
	return 0;
}

/* One buffer of a send; its length is hashed, too, so that the same bytes in other parts are something else. */
static __noinline int dup_buffer(struct dup_hash *h, u64 from, u32 len)
{
	h->from = from;
	h->len = len;
	bpf_loop(DUP_CHUNKS, dup_chunk, h, 0);
	sip_word(h->v, len);
	return 0;
}

struct dup_vector { /* struct iovec */
	u64 base, len;
};

/* The buffers of a vector, as far as `bytes` of them went. */
static __noinline __attribute__((unused)) int dup_vector(struct dup_hash *h, u64 vector, u32 count, u32 bytes)
{
	struct dup_vector v;

	if (count > DUP_BUFFERS)
		return -1;
	for (u32 i = 0; i < DUP_BUFFERS; i++) {
		if (i >= count || !bytes)
			break;
		if (bpf_probe_read_user(&v, sizeof(v), (void *)(vector + i * sizeof(v))))
			return -1;
		if (v.len > bytes)
			v.len = bytes;
		if (v.len)
			dup_buffer(h, v.base, v.len);
		bytes -= v.len;
	}
	return bytes ? -1 : 0;
}

#endif
