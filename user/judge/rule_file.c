// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Files of rules: one row of `keys` a key, with the function that takes it. Texts stay in the parsed file, which the rules own. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge/rule.h"
#include "lib/util.h"
#include "lib/yaml_file.h"
#include "rules/default.h"

#define RULES_MAX 1000
#define NAME_MAX_LEN 64
#define SPAN_MAX_S (7 * 86400.0)
#define INSIDE 0.1 /* `clear`, unless given: this share inside the limit */

static const char *const limit_signs[] = { [RULE_ABOVE] = ">", [RULE_AT_LEAST] = ">=", [RULE_BELOW] = "<", [RULE_AT_MOST] = "<=" };

struct loading {
	struct yaml_file *file;
	struct rules *rules;
	struct rule *rule; /* the one at hand */
	bool clear_given;
	char *why;
	size_t why_len;
};

#define BLAME(l, at, ...) yaml_file_blame((l)->file, at, (l)->why, (l)->why_len, __VA_ARGS__)
#define BLAME_IN(l, at, column, ...) yaml_file_blame_in((l)->file, at, column, (l)->why, (l)->why_len, __VA_ARGS__)

/* ---- keys ---- */

static int take_name(struct loading *l, yaml_place at, const char *text)
{
	size_t good = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

	if (text[good] || !*text || good > NAME_MAX_LEN)
		return BLAME(l, at, "name '%.64s': letters, digits, '-', '_' and '.' are possible, at most %d", text, NAME_MAX_LEN);
	for (int i = 0; i < l->rules->len; i++)
		if (&l->rules->at[i] != l->rule && !strcmp(l->rules->at[i].name, text))
			return BLAME(l, at, "name '%s' is there twice: line %d has it, too", text, l->rules->at[i].line);
	l->rule->name = text;
	return 0;
}

static const char *kind_text(enum quantity_kind kind)
{
	static const char *const texts[] = { "a plain number", "a time", "bytes", "a product of units" };

	return texts[kind];
}

/* A quantity of the kind that the rule's expression has. column: of its text within the value. */
static int quantity_take(struct loading *l, yaml_place at, int column, const char *text, double *ret)
{
	static const char *const examples[] = { "40 or 85%", "3s or 250ms", "512M", "40" };
	enum quantity_kind kind, wanted = expression_kind(l->rule->value);
	char why[160];

	if (quantity_parse_kind(text, ret, &kind, why, sizeof(why)))
		return BLAME_IN(l, at, column, "%s", why);
	if (wanted == QUANTITY_OTHER)
		return BLAME_IN(l, at, 1, "the expression is %s: nothing to compare with", kind_text(wanted));
	if (kind != wanted && *ret != 0)
		return BLAME_IN(l, at, column, "'%.40s' is %s, but the expression is %s: like %s is expected", text, kind_text(kind), kind_text(wanted), examples[wanted]);
	return 0;
}

/* Characters from the beginning of text to at, as a column. */
static int column_at(const char *text, const char *at)
{
	int column = 1;

	for (; text < at; text++)
		column += ((unsigned char)*text & 0xc0) != 0x80;
	return column;
}

static int take_when(struct loading *l, yaml_place at, const char *text)
{
	const char *sign = text + strcspn(text, "<>="), *limit = sign + 1;
	char left[EXPRESSION_MAX + 1], why[400];
	size_t len = (size_t)(sign - text);
	int column = 1;

	if (len > EXPRESSION_MAX)
		return BLAME(l, at, "too long: an expression has at most %d characters", EXPRESSION_MAX);
	memcpy(left, text, len);
	left[len] = '\0';
	l->rule->value = expression_parse(left, &column, why, sizeof(why));
	if (!l->rule->value)
		return BLAME_IN(l, at, column, "%s", why);
	if (*sign != '<' && *sign != '>')
		return BLAME_IN(l, at, column_at(text, sign), "%s where a comparison (> >= < <=) is expected", *sign ? "'='" : "the end");
	l->rule->comparison = *sign == '>' ? RULE_ABOVE : RULE_BELOW;
	if (*limit == '=') {
		l->rule->comparison = *sign == '>' ? RULE_AT_LEAST : RULE_AT_MOST;
		limit++;
	}
	limit += strspn(limit, " \t");
	l->rule->text = text;
	l->rule->limit_text = limit;
	return quantity_take(l, at, column_at(text, limit), limit, &l->rule->limit);
}

static int take_clear(struct loading *l, yaml_place at, const char *text)
{
	struct rule *r = l->rule;
	bool above = r->comparison == RULE_ABOVE || r->comparison == RULE_AT_LEAST;

	if (quantity_take(l, at, 1, text, &r->clear))
		return -EINVAL;
	if (above ? r->clear > r->limit : r->clear < r->limit)
		return BLAME(l, at, "clear '%.40s' lies beyond the limit (%s %.40s): it would end at once", text, limit_signs[r->comparison], r->limit_text);
	l->clear_given = true;
	return 0;
}

static int span_take(struct loading *l, yaml_place at, const char *text, double min, double *ret)
{
	enum quantity_kind kind;
	char why[160];

	if (quantity_parse_kind(text, ret, &kind, why, sizeof(why)))
		return BLAME_IN(l, at, 1, "%s", why);
	if (kind != QUANTITY_TIME && *ret != 0)
		return BLAME(l, at, "'%.40s' is no time: like 60s or 5m is expected", text);
	if (*ret < min || *ret > SPAN_MAX_S)
		return BLAME(l, at, "'%.40s' is out of range: %s to 168h", text, min > 0 ? "1ms" : "0s");
	return 0;
}

static int take_over(struct loading *l, yaml_place at, const char *text)
{
	return span_take(l, at, text, 0.001, &l->rule->over_s);
}

static int take_for(struct loading *l, yaml_place at, const char *text)
{
	return span_take(l, at, text, 0, &l->rule->for_s);
}

static int take_at_least(struct loading *l, yaml_place at, const char *text)
{
	long long n;

	if (parse_int(text, 1, 1000000000, &n))
		return BLAME(l, at, "at_least '%.40s': a number of events from 1 to 1000000000 is expected", text);
	l->rule->at_least = (uint64_t)n;
	return 0;
}

static int take_severity(struct loading *l, yaml_place at, const char *text)
{
	int s = severity_find(text);
	char hint[64];

	if (s < 0)
		return BLAME(l, at, "unknown severity '%.40s'%s; there are info, warning, critical", text, name_hint(text, severity_names, SEVERITY_COUNT, hint, sizeof(hint)));
	l->rule->severity = (enum severity)s;
	return 0;
}

static int take_help(struct loading *l, yaml_place at, const char *text)
{
	(void)at;
	l->rule->help = text;
	return 0;
}

static int glob_take(struct loading *l, yaml_place at, const char *text, const char **ret)
{
	if (!*text)
		return BLAME(l, at, "an empty pattern matches nothing; '*' matches all");
	*ret = text;
	return 0;
}

static int take_agent(struct loading *l, yaml_place at, const char *text)
{
	return glob_take(l, at, text, &l->rule->agent);
}

static int each_set(struct loading *l, yaml_place at, enum rule_each each)
{
	if (l->rule->each != EACH_AGENT)
		return BLAME(l, at, "of class, peer and tool a rule has one");
	l->rule->each = each;
	return 0;
}

static int take_class(struct loading *l, yaml_place at, const char *text)
{
	const char *names[CLASS_COUNT];
	char list[160] = "", hint[64];
	int c = class_find(text);

	for (int i = 0; i < CLASS_COUNT; i++) {
		names[i] = class_infos[i].name;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "", names[i]);
	}
	if (c < 0)
		return BLAME(l, at, "unknown class '%.40s'%s; there are %s", text, name_hint(text, names, CLASS_COUNT, hint, sizeof(hint)), list);
	l->rule->class = (enum class_id)c;
	return each_set(l, at, EACH_CLASS);
}

static int take_peer(struct loading *l, yaml_place at, const char *text)
{
	int err = glob_take(l, at, text, &l->rule->peer);

	return err ? err : each_set(l, at, EACH_PEER);
}

static int take_tool(struct loading *l, yaml_place at, const char *text)
{
	int err = glob_take(l, at, text, &l->rule->tool);

	return err ? err : each_set(l, at, EACH_TOOL);
}

/* In the order in which they are taken. */
static const struct rule_key {
	const char *name;
	bool required;
	int (*take)(struct loading *l, yaml_place at, const char *text);
} keys[] = {
	{ "name", true, take_name },	 { "when", true, take_when },	  { "clear", false, take_clear },	{ "class", false, take_class },
	{ "peer", false, take_peer },	 { "tool", false, take_tool },	  { "agent", false, take_agent },	{ "over", false, take_over },
	{ "for", false, take_for },	 { "at_least", false, take_at_least }, { "severity", false, take_severity }, { "help", false, take_help },
};

/* ---- the file ---- */

static const char *each_text(enum rule_each each)
{
	return each == EACH_TOOL ? "a tool" : each == EACH_PEER ? "a peer" : "a class of peers";
}

/* What the expression reads must be known of whom it is about. */
static int subject_check(struct loading *l, yaml_place when)
{
	const struct rule *r = l->rule;

	if (r->each == EACH_AGENT)
		return 0;
	for (int m = 0; m < METRIC_IDS; m++) {
		const struct metric_info *info = &metric_infos[m];
		bool gauge = info->type == METRIC_GAUGE || info->type == METRIC_PEAK;

		if (expression_uses(r->value, (enum metric_id)m) && (gauge || (r->each != EACH_TOOL && info->probe != PROBE_SOCK)))
			return BLAME(l, when, "%s is not known of %s, only of agents%s", info->name, each_text(r->each), gauge || info->probe == PROBE_SOCK ? "" : " and tools");
	}
	if (expression_uses_share(r->value) && r->each != EACH_TOOL)
		return BLAME(l, when, "%s has no ledger; share() is of agents and tools", each_text(r->each));
	return 0;
}

static int rule_take(struct loading *l, yaml_place at)
{
	struct rule *r = l->rule;

	*r = (struct rule){ .over_s = 60, .at_least = 20, .severity = SEVERITY_WARNING, .line = yaml_file_line(l->file, at) };
	l->clear_given = false;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		yaml_place value = yaml_file_key(l->file, at, keys[i].name);
		int err = value ? keys[i].take(l, value, yaml_file_value(l->file, value)) : 0;

		if (err)
			return err;
	}
	if (!l->clear_given)
		r->clear = r->limit * (r->comparison == RULE_ABOVE || r->comparison == RULE_AT_LEAST ? 1 - INSIDE : 1 + INSIDE);
	return subject_check(l, yaml_file_key(l->file, at, "when"));
}

static int schema_check(const struct loading *l)
{
	cyaml_schema_field_t fields[ARRAY_SIZE(keys) + 1] = { 0 };
	const cyaml_schema_value_t rule = { .type = CYAML_MAPPING, .mapping.fields = fields };
	const cyaml_schema_field_t top[] = { { .key = "rules", .value = { .type = CYAML_SEQUENCE, .sequence = { .entry = &rule, .min = 1, .max = RULES_MAX } } }, { 0 } };
	const cyaml_schema_value_t file = { .type = CYAML_MAPPING, .mapping.fields = top };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		fields[i].key = keys[i].name;
		fields[i].value.type = CYAML_STRING;
		fields[i].value.flags = keys[i].required ? CYAML_FLAG_DEFAULT : CYAML_FLAG_OPTIONAL;
	}
	return yaml_file_check(l->file, &file, l->why, l->why_len);
}

static int rules_take(struct loading *l)
{
	yaml_place list = yaml_file_key(l->file, yaml_file_root(l->file), "rules"), at;
	int n = 0;

	while (yaml_file_entry(l->file, list, n))
		n++;
	if (n > RULES_MAX)
		return BLAME(l, list, "%d rules; at most %d are possible", n, RULES_MAX);
	l->rules->at = calloc((size_t)n, sizeof(*l->rules->at));
	if (!l->rules->at)
		return -ENOMEM;
	for (int i = 0, err; i < n; i++) {
		at = yaml_file_entry(l->file, list, i);
		l->rule = &l->rules->at[i];
		l->rules->len = i + 1;
		err = rule_take(l, at);
		if (err)
			return err;
	}
	return 0;
}

static int rules_make(int err, struct yaml_file *file, const char *path, struct rules **ret, char *why, size_t why_len)
{
	struct loading l = { .file = file, .why = why, .why_len = why_len };

	if (!err) {
		l.rules = calloc(1, sizeof(*l.rules));
		if (!l.rules) {
			yaml_file_free(file);
			err = -ENOMEM;
		} else {
			l.rules->owner = file;
			err = schema_check(&l);
		}
	}
	if (!err)
		err = rules_take(&l);
	if (err) {
		if (err == -ENOMEM)
			snprintf(why, why_len, "%s: out of memory", path);
		text_sanitize(why);
		rules_free(l.rules);
		return err;
	}
	*ret = l.rules;
	return 0;
}

int rules_load(const char *path, struct rules **ret, char *why, size_t why_len)
{
	struct yaml_file *file = NULL;
	int err = yaml_file_read(path, &file, why, why_len);

	return rules_make(err, file, path, ret, why, why_len);
}

int rules_parse(const char *path, const char *text, struct rules **ret, char *why, size_t why_len)
{
	struct yaml_file *file = NULL;
	int err = yaml_file_parse(path, text, &file, why, why_len);

	return rules_make(err, file, path, ret, why, why_len);
}

struct rules *rules_default(void)
{
	struct rules *r = NULL;
	char why[512];

	return rules_parse("default rules", rules_default_text, &r, why, sizeof(why)) ? NULL : r;
}

const char *rules_text(const struct rules *r)
{
	size_t len;

	return (const char *)yaml_file_text(r->owner, &len);
}

void rules_free(struct rules *r)
{
	if (!r)
		return;
	for (int i = 0; i < r->len; i++)
		expression_free(r->at[i].value);
	free(r->at);
	yaml_file_free(r->owner);
	free(r);
}

/* ---- rules as text ---- */

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

bool rule_same(const struct rule *a, const struct rule *b)
{
	return same_text(a->name, b->name) && same_text(a->text, b->text) && a->each == b->each && a->class == b->class && a->over_s == b->over_s &&
	       same_text(a->agent, b->agent) && same_text(a->peer, b->peer) && same_text(a->tool, b->tool);
}

const char *rule_limit_text(const struct rule *r, char *buf, size_t len)
{
	snprintf(buf, len, "%s %s", limit_signs[r->comparison], r->limit_text);
	if (r->for_s > 0) {
		bool minutes = r->for_s >= 120 && fmod(r->for_s, 60) == 0;

		snprintf(buf + strlen(buf), len - strlen(buf), " for %g%s", minutes ? r->for_s / 60 : r->for_s, minutes ? "m" : "s");
	}
	return buf;
}
