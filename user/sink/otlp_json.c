/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A message as OTLP/JSON, from its description: that what goes out as JSON and as protobuf is the same needs no second list of fields. ProtoJSON, but for what OTLP asks otherwise: enums are numbers.
 */
#include "sink/otlp_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void put_message(struct json_text *j, const char *key, const ProtobufCMessage *m);

/* snake_case to lowerCamelCase. */
static const char *key_of(const char *name, char *buf, size_t buf_len)
{
	size_t n = 0;

	for (; *name && n + 1 < buf_len; name++) {
		if (*name == '_' && name[1] >= 'a' && name[1] <= 'z')
			buf[n++] = (char)(*++name - 'a' + 'A');
		else
			buf[n++] = *name;
	}
	buf[n] = '\0';
	return buf;
}

/* 64-bit integers are strings: many readers of JSON know doubles only. */
static void put_whole(struct json_text *j, const char *key, bool negative, uint64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%s%" PRIu64, negative ? "-" : "", n);
	put_string(j, key, text);
}

static size_t size_of(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_MESSAGE:
	case PROTOBUF_C_TYPE_STRING:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_ENUM:
		return sizeof(int32_t);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	default:
		return sizeof(uint64_t);
	}
}

static void put_value(struct json_text *j, const char *key, ProtobufCType type, const void *at)
{
	switch (type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		put_message(j, key, *(const ProtobufCMessage *const *)at);
		break;
	case PROTOBUF_C_TYPE_STRING:
		put_string(j, key, *(const char *const *)at);
		break;
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_ENUM:
		put_int(j, key, *(const int32_t *)at);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		put_bool(j, key, *(const protobuf_c_boolean *)at);
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		put_real(j, key, *(const double *)at);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SFIXED64: {
		int64_t n = *(const int64_t *)at;

		put_whole(j, key, n < 0, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
		break;
	}
	default: /* uint64, fixed64: otlp.proto has no other types */
		put_whole(j, key, false, *(const uint64_t *)at);
		break;
	}
}

/* Without a presence of its own what is 0 or empty is left out, as on the wire. */
static bool is_empty(ProtobufCType type, const void *at)
{
	static const char nothing[sizeof(uint64_t)];
	const char *text;

	if (type != PROTOBUF_C_TYPE_STRING)
		return !memcmp(at, nothing, size_of(type));
	text = *(const char *const *)at;
	return !text || !*text;
}

/* Counts of buckets are most of a request, and most of them have one digit. */
static void put_counts(struct json_text *j, const uint64_t *counts, size_t n)
{
	char text[4096];
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		if (len + 24 > sizeof(text)) {
			put_raw(j, text, len);
			len = 0;
		}
		if (i)
			text[len++] = ',';
		text[len++] = '"';
		if (counts[i] < 10)
			text[len++] = (char)('0' + counts[i]);
		else
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%" PRIu64, counts[i]);
		text[len++] = '"';
	}
	put_raw(j, text, len);
}

static void put_field(struct json_text *j, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	const char *at = (const char *)m + f->offset;
	const void *quantifier = (const char *)m + f->quantifier_offset;
	char key[64];

	key_of(f->name, key, sizeof(key));
	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		size_t n = *(const size_t *)quantifier, size = size_of(f->type);
		const char *list = *(const char *const *)at;

		if (!n)
			return;
		put_open(j, key, "[");
		if (f->type == PROTOBUF_C_TYPE_UINT64)
			put_counts(j, (const uint64_t *)list, n);
		for (size_t i = 0; i < n && f->type != PROTOBUF_C_TYPE_UINT64; i++)
			put_value(j, NULL, f->type, list + i * size);
		put_close(j, "]");
	} else if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
		if (*(const uint32_t *)quantifier == f->id)
			put_value(j, key, f->type, at);
	} else if (!is_empty(f->type, at)) {
		put_value(j, key, f->type, at);
	}
}

static void put_message(struct json_text *j, const char *key, const ProtobufCMessage *m)
{
	put_open(j, key, "{");
	for (unsigned i = 0; i < m->descriptor->n_fields; i++)
		put_field(j, m, &m->descriptor->fields[i]);
	put_close(j, "}");
}

void otlp_request_json(const struct otlp_request *r, struct json_text *j)
{
	put_message(j, NULL, &r->message.base);
}
