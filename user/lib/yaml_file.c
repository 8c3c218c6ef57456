/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "lib/yaml_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

#include "lib/util.h"

#define FILE_BYTES_MAX (1 << 20) /* nobody writes that much by hand */

struct yaml_file {
	char *path;
	char *text;
	size_t len;
	yaml_document_t doc;
	bool parsed;
};

void yaml_file_free(struct yaml_file *f)
{
	if (!f)
		return;
	if (f->parsed)
		yaml_document_delete(&f->doc);
	free(f->text);
	free(f->path);
	free(f);
}

static int text_read(struct yaml_file *f, char *why, size_t why_len)
{
	struct stat st;
	ssize_t n;

	if (stat(f->path, &st)) {
		n = -errno;
	} else if (!S_ISREG(st.st_mode)) { /* a fifo would keep us waiting */
		n = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	} else {
		f->text = malloc(FILE_BYTES_MAX + 1);
		n = f->text ? file_read(f->path, f->text, FILE_BYTES_MAX + 1) : -ENOMEM;
	}
	if (n == FILE_BYTES_MAX)
		n = -EFBIG;
	if (n < 0) {
		snprintf(why, why_len, "%s: %s", f->path, n == -EINVAL ? "not a regular file" : strerror((int)-n));
		return (int)n;
	}
	f->len = (size_t)n;
	return 0;
}

static int parse_failed(const struct yaml_file *f, const yaml_parser_t *p, char *why, size_t why_len)
{
	size_t line = p->problem_mark.line, column = p->problem_mark.column;

	if (p->error == YAML_MEMORY_ERROR)
		return snprintf(why, why_len, "%s: out of memory", f->path), -ENOMEM;
	if (p->error == YAML_READER_ERROR) { /* which has no mark */
		line = column = 0;
		for (size_t i = 0; i < p->problem_offset && i < f->len; i++) {
			column = f->text[i] == '\n' ? 0 : column + (((unsigned char)f->text[i] & 0xc0) != 0x80);
			line += f->text[i] == '\n';
		}
	}
	snprintf(why, why_len, "%s:%zu:%zu: not YAML: %s%s%s", f->path, line + 1, column + 1, p->problem ? p->problem : "cannot be parsed", p->context ? ", " : "",
		 p->context ? p->context : "");
	return -EINVAL;
}

static int text_parse(struct yaml_file *f, char *why, size_t why_len)
{
	yaml_document_t more;
	yaml_parser_t p;
	int err = 0;

	if (!yaml_parser_initialize(&p))
		return -ENOMEM;
	yaml_parser_set_input_string(&p, (const unsigned char *)f->text, f->len);
	f->parsed = yaml_parser_load(&p, &f->doc);
	if (!f->parsed) {
		err = parse_failed(f, &p, why, why_len);
	} else if (yaml_document_get_root_node(&f->doc)) {
		if (!yaml_parser_load(&p, &more)) {
			err = parse_failed(f, &p, why, why_len);
		} else {
			if (yaml_document_get_root_node(&more)) {
				snprintf(why, why_len, "%s:%zu:%zu: a second document; one is expected", f->path, more.start_mark.line + 1, more.start_mark.column + 1);
				err = -EINVAL;
			}
			yaml_document_delete(&more);
		}
	}
	yaml_parser_delete(&p);
	return err;
}

/* text NULL: what is in the file. */
static int file_make(const char *path, const char *text, struct yaml_file **ret, char *why, size_t why_len)
{
	struct yaml_file *f = calloc(1, sizeof(*f));
	int err = -ENOMEM;

	*why = '\0';
	if (f && (f->path = strdup(path)) && text) {
		f->text = strdup(text);
		f->len = strlen(text);
		err = f->text ? 0 : -ENOMEM;
	} else if (f && f->path) {
		err = text_read(f, why, why_len);
	}
	if (!err)
		err = text_parse(f, why, why_len);
	if (err) {
		if (!*why)
			snprintf(why, why_len, "%s: %s", path, strerror(-err));
		yaml_file_free(f);
		return err;
	}
	*ret = f;
	return 0;
}

int yaml_file_read(const char *path, struct yaml_file **ret, char *why, size_t why_len)
{
	return file_make(path, NULL, ret, why, why_len);
}

int yaml_file_parse(const char *path, const char *text, struct yaml_file **ret, char *why, size_t why_len)
{
	return file_make(path, text, ret, why, why_len);
}

const unsigned char *yaml_file_text(const struct yaml_file *f, size_t *ret_len)
{
	*ret_len = f->len;
	return (const unsigned char *)f->text;
}

/* --- places --- */

static const yaml_node_t *node_at(const struct yaml_file *f, yaml_place at)
{
	return at ? yaml_document_get_node((yaml_document_t *)&f->doc, at) : NULL;
}

static const char *scalar(const yaml_node_t *n)
{
	return n && n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

yaml_place yaml_file_root(const struct yaml_file *f)
{
	return yaml_document_get_root_node((yaml_document_t *)&f->doc) ? 1 : 0;
}

static const yaml_node_pair_t *pair_at(const yaml_node_t *n, int i)
{
	const yaml_node_pair_t *p;

	if (!n || n->type != YAML_MAPPING_NODE)
		return NULL;
	p = n->data.mapping.pairs.start + i;
	return p < n->data.mapping.pairs.top ? p : NULL;
}

static int entries(const yaml_node_t *n)
{
	return n->type == YAML_SEQUENCE_NODE ? (int)(n->data.sequence.items.top - n->data.sequence.items.start) : 0;
}

yaml_place yaml_file_key(const struct yaml_file *f, yaml_place mapping, const char *key)
{
	const yaml_node_t *n = node_at(f, mapping);
	const yaml_node_pair_t *p;

	for (int i = 0; (p = pair_at(n, i)); i++) {
		const char *name = scalar(node_at(f, p->key));

		if (name && !strcmp(name, key))
			return p->value;
	}
	return 0;
}

yaml_place yaml_file_entry(const struct yaml_file *f, yaml_place sequence, int i)
{
	const yaml_node_t *n = node_at(f, sequence);

	return n && i < entries(n) ? n->data.sequence.items.start[i] : 0;
}

int yaml_file_pair(const struct yaml_file *f, yaml_place mapping, int i, const char **ret_key, const char **ret_value)
{
	const yaml_node_pair_t *p = pair_at(node_at(f, mapping), i);

	if (!p)
		return 0;
	*ret_key = scalar(node_at(f, p->key));
	*ret_value = scalar(node_at(f, p->value));
	return *ret_key && *ret_value;
}

const char *yaml_file_value(const struct yaml_file *f, yaml_place at)
{
	return scalar(node_at(f, at));
}

int yaml_file_line(const struct yaml_file *f, yaml_place at)
{
	const yaml_node_t *n = node_at(f, at);

	return n ? (int)n->start_mark.line + 1 : 1;
}

/* Where a value's text begins: behind its quote. The text of one that goes over lines, or is escaped, is not as in the file: then at its beginning. */
static size_t column_of(const yaml_node_t *n, int column)
{
	size_t start = n->start_mark.column + 1, written = n->end_mark.index - n->start_mark.index, chars = 0;
	bool quoted = n->type == YAML_SCALAR_NODE && n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;

	if (!column || n->type != YAML_SCALAR_NODE || n->start_mark.line != n->end_mark.line)
		return start;
	for (size_t i = 0; i < n->data.scalar.length; i++)
		chars += (n->data.scalar.value[i] & 0xc0) != 0x80;
	return written == chars + 2 * quoted ? start + quoted + (size_t)column - 1 : start;
}

static void blame(const struct yaml_file *f, yaml_place at, int column, char *why, size_t why_len, const char *fmt, va_list args)
{
	const yaml_node_t *n = node_at(f, at);
	size_t len;

	snprintf(why, why_len, "%s:%zu:%zu: ", f->path, n ? n->start_mark.line + 1 : 1, n ? column_of(n, column) : 1);
	len = strlen(why);
	vsnprintf(why + len, why_len - len, fmt, args);
}

int yaml_file_blame(const struct yaml_file *f, yaml_place at, char *why, size_t why_len, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	blame(f, at, 0, why, why_len, fmt, args);
	va_end(args);
	return -EINVAL;
}

int yaml_file_blame_in(const struct yaml_file *f, yaml_place at, int column, char *why, size_t why_len, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	blame(f, at, column, why, why_len, fmt, args);
	va_end(args);
	return -EINVAL;
}

/* --- the schema --- */

struct check {
	const struct yaml_file *f;
	char *why;
	size_t why_len;
};

#define BLAME(c, at, ...) yaml_file_blame((c)->f, at, (c)->why, (c)->why_len, __VA_ARGS__)

static int value_check(const struct check *c, const char *name, yaml_place at, const cyaml_schema_value_t *v);

static const cyaml_schema_field_t *field_find(const cyaml_schema_field_t *fields, const char *key)
{
	while (fields->key && strcmp(fields->key, key))
		fields++;
	return fields->key ? fields : NULL;
}

static int key_unknown(const struct check *c, const char *section, yaml_place at, const char *key, const cyaml_schema_field_t *fields)
{
	const char *names[64];
	char list[512] = "", hint[64];
	int n = 0;

	for (; fields[n].key && n < (int)ARRAY_SIZE(names); n++) {
		names[n] = fields[n].key;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", n ? ", " : "", names[n]);
	}
	return BLAME(c, at, "unknown key '%.64s'%s%s%s; there are %s", key, name_hint(key, names, n, hint, sizeof(hint)), *section ? " in " : "", section, list);
}

static int mapping_check(const struct check *c, const char *name, yaml_place at, const cyaml_schema_field_t *fields)
{
	const yaml_node_t *n = node_at(c->f, at);
	const yaml_node_pair_t *p;
	int err = 0;

	for (int i = 0; (p = pair_at(n, i)) && !err; i++) {
		const char *key = scalar(node_at(c->f, p->key));
		const cyaml_schema_field_t *field = key ? field_find(fields, key) : NULL;
		char path[128];

		if (!key)
			return BLAME(c, p->key, "a key is not a text");
		if (!field)
			return key_unknown(c, name, p->key, key, fields);
		if (yaml_file_key(c->f, at, key) != p->value)
			return BLAME(c, p->key, "'%s' is there twice", key);
		snprintf(path, sizeof(path), "%s%s%s", name, *name ? "." : "", key);
		err = value_check(c, path, p->value, &field->value);
	}
	for (; fields->key && !err; fields++)
		if (!(fields->value.flags & CYAML_FLAG_OPTIONAL) && !yaml_file_key(c->f, at, fields->key))
			err = BLAME(c, at, "'%s' is missing%s%s", fields->key, *name ? " in " : "", name);
	return err;
}

static int sequence_check(const struct check *c, const char *name, yaml_place at, const cyaml_schema_value_t *v)
{
	int len = entries(node_at(c->f, at)), err = 0;

	if (len < (int)v->sequence.min)
		return BLAME(c, at, "%s is empty", name);
	for (int i = 0; i < len && !err; i++)
		err = value_check(c, name, yaml_file_entry(c->f, at, i), v->sequence.entry);
	return err;
}

static int texts_check(const struct check *c, const char *name, yaml_place at)
{
	const yaml_node_pair_t *p;
	int err = 0;

	for (int i = 0; (p = pair_at(node_at(c->f, at), i)) && !err; i++) {
		const char *key = scalar(node_at(c->f, p->key));

		if (!key)
			err = BLAME(c, p->key, "a key of %s is not a text", name);
		else if (yaml_file_key(c->f, at, key) != p->value)
			err = BLAME(c, p->key, "'%.64s' is there twice in %s", key, name);
		else if (!scalar(node_at(c->f, p->value)))
			err = BLAME(c, p->value, "%s.%.64s is not a text", name, key);
	}
	return err;
}

static bool is_empty(const yaml_node_t *n)
{
	return n->type == YAML_SCALAR_NODE && !n->data.scalar.length && n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static int value_check(const struct check *c, const char *name, yaml_place at, const cyaml_schema_value_t *v)
{
	static const char *const types[] = { [YAML_SCALAR_NODE] = "one value", [YAML_SEQUENCE_NODE] = "a list", [YAML_MAPPING_NODE] = "a section" };
	const yaml_node_t *n = node_at(c->f, at);
	yaml_node_type_t wanted = YAML_SCALAR_NODE;

	if (v->type == CYAML_SEQUENCE)
		wanted = YAML_SEQUENCE_NODE;
	else if (v->type == CYAML_MAPPING || v->type == CYAML_IGNORE)
		wanted = YAML_MAPPING_NODE;
	if (is_empty(n) && (v->flags & CYAML_FLAG_POINTER_NULL) == CYAML_FLAG_POINTER_NULL)
		return 0;
	if (n->type != wanted)
		return BLAME(c, at, "%s is %s; %s is expected%s", *name ? name : "the file", n->type == YAML_SCALAR_NODE && is_empty(n) ? "empty" : types[n->type],
			     types[wanted],
			     wanted == YAML_SEQUENCE_NODE ? ", each entry behind a '-'" :
			     wanted == YAML_MAPPING_NODE ? ", 'key: value' lines" : "");
	if (wanted == YAML_SCALAR_NODE && memchr(n->data.scalar.value, 0, n->data.scalar.length))
		return BLAME(c, at, "%s has a NUL within", name);
	if (v->type == CYAML_IGNORE)
		return texts_check(c, name, at);
	if (wanted == YAML_MAPPING_NODE)
		return mapping_check(c, name, at, v->mapping.fields);
	return wanted == YAML_SEQUENCE_NODE ? sequence_check(c, name, at, v) : 0;
}

int yaml_file_check(const struct yaml_file *f, const cyaml_schema_value_t *schema, char *why, size_t why_len)
{
	const struct check c = { f, why, why_len };
	const cyaml_schema_field_t *needed = schema->mapping.fields;

	while (needed->key && (needed->value.flags & CYAML_FLAG_OPTIONAL))
		needed++;
	if (!yaml_file_root(f) && needed->key)
		return yaml_file_blame(f, 0, why, why_len, "the file is empty; it needs '%s' at least", needed->key);
	return yaml_file_root(f) ? value_check(&c, "", yaml_file_root(f), schema) : 0;
}
