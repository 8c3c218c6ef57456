/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/json_take.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COPY_MAX 4096 /* longer names and command lines are cut */

int refuse(struct refusal *r, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(r->text, sizeof(r->text), fmt, args);
	va_end(args);
	return -EBADMSG;
}

int to_u64(struct refusal *r, const struct json_node *v, const char *key, uint64_t *ret)
{
	if (!v)
		return 0;
	if (v->kind != NODE_INTEGER || v->integer < 0)
		return refuse(r, "\"%s\" is not a whole number from 0", key);
	*ret = (uint64_t)v->integer;
	return 0;
}

int take_u64(struct refusal *r, const struct json_node *obj, const char *key, uint64_t *ret)
{
	return to_u64(r, json_get(obj, key), key, ret);
}

int to_int(struct refusal *r, const struct json_node *v, const char *key, int min, int max, int *ret)
{
	if (!v)
		return 0;
	if (v->kind != NODE_INTEGER || v->integer < min || v->integer > max)
		return refuse(r, "\"%s\" is not a whole number from %d to %d", key, min, max);
	*ret = (int)v->integer;
	return 0;
}

int take_int(struct refusal *r, const struct json_node *obj, const char *key, int min, int max, int *ret)
{
	return to_int(r, json_get(obj, key), key, min, max, ret);
}

int take_bool(struct refusal *r, const struct json_node *obj, const char *key, bool *ret)
{
	const struct json_node *v = json_get(obj, key);

	if (!v)
		return 0;
	if (v->kind != NODE_TRUE && v->kind != NODE_FALSE)
		return refuse(r, "\"%s\" is neither true nor false", key);
	*ret = v->kind == NODE_TRUE;
	return 0;
}

/* NaN: it is none. */
static double number(const struct json_node *v)
{
	return json_is(v, NODE_REAL) ? v->real : json_is(v, NODE_INTEGER) ? (double)v->integer : NAN;
}

int take_seconds(struct refusal *r, const struct json_node *obj, const char *key, double *ret)
{
	const struct json_node *v = json_get(obj, key);
	double s = number(v);

	if (!v)
		return 0;
	if (!(s >= 0 && s <= SECONDS_MAX))
		return refuse(r, "\"%.60s\" is not a time in seconds", key);
	*ret = s;
	return 0;
}

int take_real(struct refusal *r, const struct json_node *obj, const char *key, double max, double *ret)
{
	const struct json_node *v = json_get(obj, key);
	double f = number(v);

	if (!v)
		return 0;
	if (!(f >= 0 && f <= max))
		return refuse(r, "\"%.60s\" is not a number from 0 to %g", key, max);
	*ret = f;
	return 0;
}

int to_ns(const struct json_node *v, uint64_t *ret)
{
	double s = number(v);

	if (!(s >= 0 && s <= SECONDS_MAX))
		return -EBADMSG;
	*ret = (uint64_t)llround(s * 1e9);
	return 0;
}

int take_ns(struct refusal *r, const struct json_node *obj, const char *key, uint64_t *ret)
{
	double s = -1;
	int err = take_seconds(r, obj, key, &s);

	if (!err && s >= 0)
		*ret = (uint64_t)llround(s * 1e9);
	return err;
}

int take_string(struct refusal *r, const struct json_node *obj, const char *key, const char **ret)
{
	const struct json_node *v = json_get(obj, key);

	if (!v)
		return 0;
	if (v->kind != NODE_STRING)
		return refuse(r, "\"%s\" is not a string", key);
	*ret = v->string;
	return 0;
}

int take_text(struct refusal *r, const struct json_node *obj, const char *key, char *buf, size_t size)
{
	const char *s = "";
	int err = take_string(r, obj, key, &s);

	if (!err)
		snprintf(buf, size, "%s", s);
	return err;
}

int take_copy(struct refusal *r, const struct json_node *obj, const char *key, char **ret)
{
	const char *s = "";
	int err = take_string(r, obj, key, &s);

	if (err)
		return err;
	*ret = strndup(s, COPY_MAX);
	return *ret ? 0 : -ENOMEM;
}

int take_child(struct refusal *r, const struct json_node *obj, const char *key, enum node_kind kind, const struct json_node **ret)
{
	*ret = json_get(obj, key);
	if (*ret && (*ret)->kind != kind && !(kind == NODE_ARRAY && (*ret)->kind == NODE_NUMBERS))
		return refuse(r, "\"%s\" is not %s", key, kind == NODE_ARRAY ? "an array" : "an object");
	return 0;
}
