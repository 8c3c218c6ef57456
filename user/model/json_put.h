/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A JSON text composed in memory: 64-bit integers and decimal nanoseconds stay exact, and it costs no tree of objects. A value has a key, or NULL in an
 * array.
 */
#ifndef STAKEOUT_JSON_PUT_H
#define STAKEOUT_JSON_PUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_text {
	char *text; /* owned; not NUL-terminated */
	size_t len, cap;
	bool comma; /* the next value needs one before it */
	bool failed; /* out of memory: the text is not whole */
};

void json_text_fini(struct json_text *j);
/* Empties it, keeping its storage. */
void json_text_reset(struct json_text *j);
void put_raw(struct json_text *j, const char *text, size_t len);
/* bracket: "{" or "["; "}" or "]". */
void put_open(struct json_text *j, const char *key, const char *bracket);
void put_close(struct json_text *j, const char *bracket);
/* Control characters escaped, each byte that is not UTF-8 replaced by U+FFFD. NULL is "". */
void put_string(struct json_text *j, const char *key, const char *s);
/* JSON readers, jansson among them, take integers as signed 64-bit: larger values are written as 2^63 - 1. */
void put_u64(struct json_text *j, const char *key, uint64_t n);
/* Elements of an array that is open. */
void put_u64s(struct json_text *j, const uint64_t *n, size_t len);
void put_int(struct json_text *j, const char *key, int64_t n);
void put_bool(struct json_text *j, const char *key, bool b);
void put_null(struct json_text *j, const char *key);
/* As seconds: an exact decimal of nanoseconds, trailing zeros cut to one digit. Sums of what is written are exact. */
void put_ns(struct json_text *j, const char *key, uint64_t ns);
/* To nine digits behind the point; 0 unless above 0. */
void put_fraction(struct json_text *j, const char *key, double f);
/* All digits, so that it is read as it was; 0 when it is not finite: JSON has no word for that. */
void put_real(struct json_text *j, const char *key, double f);
/* Length of the valid UTF-8 sequence at s, or 0. Looks no further than the first byte that is wrong: at the latest at what ends s. */
size_t utf8_length(const unsigned char *s);

#endif
