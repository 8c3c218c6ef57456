/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A YAML file, held against a libcyaml schema before anybody loads it: libcyaml's own messages name the line of the last value that it liked, and it takes any text for
 * true. Lines and columns (characters) count from 1. Pure.
 */
#ifndef STAKEOUT_YAML_FILE_H
#define STAKEOUT_YAML_FILE_H

#include <cyaml/cyaml.h>
#include <stddef.h>

struct yaml_file;
/* Reads it whole, and parses it. 0, or a negative errno and why: "FILE:LINE:COLUMN: ..". */
int yaml_file_read(const char *path, struct yaml_file **ret, char *why, size_t why_len);
/* The same of a text that messages call path. */
int yaml_file_parse(const char *path, const char *text, struct yaml_file **ret, char *why, size_t why_len);
void yaml_file_free(struct yaml_file *f);
/* Every key is one of the schema's, none is there twice, required ones are there, values are of the schema's types. CYAML_IGNORE stands for a mapping of texts to texts. 0 or -EINVAL and why. */
int yaml_file_check(const struct yaml_file *f, const cyaml_schema_value_t *schema, char *why, size_t why_len);
const unsigned char *yaml_file_text(const struct yaml_file *f, size_t *ret_len);

/* A place in the file: 0 is none. */
typedef int yaml_place;
yaml_place yaml_file_root(const struct yaml_file *f);
/* The value of this key in a mapping, or entry n of a sequence. */
yaml_place yaml_file_key(const struct yaml_file *f, yaml_place mapping, const char *key);
yaml_place yaml_file_entry(const struct yaml_file *f, yaml_place sequence, int n);
/* Pair n of a mapping: its key and value, both texts. 0 when there are no more. */
int yaml_file_pair(const struct yaml_file *f, yaml_place mapping, int n, const char **ret_key, const char **ret_value);
/* The text there; NULL when it is none. */
const char *yaml_file_value(const struct yaml_file *f, yaml_place at);
int yaml_file_line(const struct yaml_file *f, yaml_place at);
/* A message about a place: "FILE:LINE:COLUMN: ..". Returns -EINVAL. */
int yaml_file_blame(const struct yaml_file *f, yaml_place at, char *why, size_t why_len, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* The same about character `column` (from 1) of the text there. */
int yaml_file_blame_in(const struct yaml_file *f, yaml_place at, int column, char *why, size_t why_len, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

#endif
