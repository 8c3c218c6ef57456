/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Typed access to JSON objects: an absent key leaves the default, a wrong type refuses the line, and the reason is kept. */
#ifndef STAKEOUT_JSON_TAKE_H
#define STAKEOUT_JSON_TAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "model/json_tree.h"

#define SECONDS_MAX 9e9 /* what 64 bits of nanoseconds hold, with room to add */

struct refusal {
	char text[160]; /* why the present line is refused; "": it isn't */
};

/* All return 0, -EBADMSG with *r filled in, or -ENOMEM. */
int refuse(struct refusal *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int take_u64(struct refusal *r, const struct json_node *obj, const char *key, uint64_t *ret);
/* The same of the member itself, or NULL. */
int to_u64(struct refusal *r, const struct json_node *v, const char *key, uint64_t *ret);
int take_int(struct refusal *r, const struct json_node *obj, const char *key, int min, int max, int *ret);
int to_int(struct refusal *r, const struct json_node *v, const char *key, int min, int max, int *ret);
int take_bool(struct refusal *r, const struct json_node *obj, const char *key, bool *ret);
int take_seconds(struct refusal *r, const struct json_node *obj, const char *key, double *ret);
/* A number from 0 to max. */
int take_real(struct refusal *r, const struct json_node *obj, const char *key, double max, double *ret);
/* Seconds as nanoseconds: 0, or -EBADMSG without a reason. */
int to_ns(const struct json_node *v, uint64_t *ret);
/* The same of a member. */
int take_ns(struct refusal *r, const struct json_node *obj, const char *key, uint64_t *ret);
/* *ret stays borrowed from obj. */
int take_string(struct refusal *r, const struct json_node *obj, const char *key, const char **ret);
/* Cut to size. */
int take_text(struct refusal *r, const struct json_node *obj, const char *key, char *buf, size_t size);
/* *ret is a fresh copy, of at most 4096 bytes; "" when absent. */
int take_copy(struct refusal *r, const struct json_node *obj, const char *key, char **ret);
/* An object or array (kind: NODE_OBJECT, NODE_ARRAY), or NULL when absent. */
int take_child(struct refusal *r, const struct json_node *obj, const char *key, enum node_kind kind, const struct json_node **ret);

#endif
