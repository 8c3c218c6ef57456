/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A YAML file, held against a libcyaml schema before libcyaml loads it: libcyaml's own messages name the line of the last value that it liked, and it takes any text for
 * true. Pure.
 */
#ifndef STAKEOUT_CONFIG_FILE_H
#define STAKEOUT_CONFIG_FILE_H

#include <cyaml/cyaml.h>
#include <stddef.h>

struct config_file;
/* Reads it whole, and parses it. 0, or a negative errno and why: "FILE:LINE: ..". */
int config_file_read(const char *path, struct config_file **ret, char *why, size_t why_len);
void config_file_free(struct config_file *f);
/* Every key is one of the schema's, none is there twice, required ones are there, values are of the schema's types. CYAML_IGNORE stands for a mapping of texts to texts. 0 or -EINVAL and why. */
int config_file_check(const struct config_file *f, const cyaml_schema_value_t *schema, char *why, size_t why_len);
const unsigned char *config_file_text(const struct config_file *f, size_t *ret_len);

/* A place in the file: 0 is none. */
typedef int config_place;
config_place config_file_root(const struct config_file *f);
/* The value of this key in a mapping, or entry n of a sequence. */
config_place config_file_key(const struct config_file *f, config_place mapping, const char *key);
config_place config_file_entry(const struct config_file *f, config_place sequence, int n);
/* Pair n of a mapping: its key and value, both texts. 0 when there are no more. */
int config_file_pair(const struct config_file *f, config_place mapping, int n, const char **ret_key, const char **ret_value);
/* A message about a place: "FILE:LINE: ..". Returns -EINVAL. */
int config_file_blame(const struct config_file *f, config_place at, char *why, size_t why_len, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#endif
