// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Parsed by recursive descent into steps for a stack of values, with the kind of each value (seconds, bytes, shares) worked out on the way. */
#include "judge/expression_parts.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

#define STEPS_MAX 256
#define WORD_SHOWN 40 /* characters of it in messages */

/* ---- functions ---- */

enum of { OF_METRIC, OF_STATE, OF_NOTHING };
enum is { IS_VALUE, IS_COUNT, IS_RATE, IS_SHARE, IS_TIME }; /* what comes out: in the metric's unit; events; a second; .. */

#define HISTS (1U << METRIC_HIST)
#define COUNTERS (1U << METRIC_COUNTER)
#define GAUGES (1U << METRIC_GAUGE | 1U << METRIC_PEAK)

static const struct function {
	const char *name;
	enum op op;
	enum of of;
	unsigned types; /* of metrics */
	enum is is;
	enum book book;
} functions[] = {
	{ "p95", OP_QUANTILE, OF_METRIC, HISTS, IS_VALUE, 0 }, /* and the other percentiles */
	{ "mean", OP_MEAN, OF_METRIC, HISTS, IS_VALUE, 0 },
	{ "max", OP_MAX, OF_METRIC, HISTS, IS_VALUE, 0 },
	{ "min", OP_MIN, OF_METRIC, HISTS, IS_VALUE, 0 },
	{ "count", OP_COUNT, OF_METRIC, HISTS, IS_COUNT, 0 },
	{ "sum", OP_SUM, OF_METRIC, HISTS, IS_VALUE, 0 },
	{ "rate", OP_RATE, OF_METRIC, COUNTERS | HISTS, IS_RATE, 0 },
	{ "total", OP_TOTAL, OF_METRIC, COUNTERS, IS_COUNT, 0 },
	{ "last", OP_LAST, OF_METRIC, GAUGES, IS_VALUE, 0 },
	{ "share", OP_SHARE, OF_STATE, 0, IS_SHARE, BOOK_MAIN },
	{ "share_threads", OP_SHARE, OF_STATE, 0, IS_SHARE, BOOK_THREADS },
	{ "share_critical", OP_SHARE, OF_STATE, 0, IS_SHARE, BOOK_CRITICAL },
	{ "age", OP_AGE, OF_NOTHING, 0, IS_TIME, 0 },
};

/* What to read a metric of this type with. */
static const char *const readers[] = {
	[METRIC_COUNTER] = "a counter, for rate() or total()",
	[METRIC_GAUGE] = "a gauge, for last()",
	[METRIC_PEAK] = "a peak, for last()",
	[METRIC_HIST] = "a histogram, for p50() .. p99.9(), mean(), max(), min(), count(), sum() or rate()",
};

/* ---- units ---- */

static const struct unit {
	const char *name;
	double factor;
	enum quantity_kind kind;
} units[] = {
	{ "ns", 1e-9, QUANTITY_TIME },
	{ "us", 1e-6, QUANTITY_TIME },
	{ "ms", 1e-3, QUANTITY_TIME },
	{ "s", 1, QUANTITY_TIME },
	{ "m", 60, QUANTITY_TIME },
	{ "h", 3600, QUANTITY_TIME },
	{ "B", 1, QUANTITY_BYTES },
	{ "K", 1024, QUANTITY_BYTES },
	{ "M", 1 << 20, QUANTITY_BYTES },
	{ "G", 1 << 30, QUANTITY_BYTES },
	{ "%", 0.01, QUANTITY_PLAIN },
};
#define UNITS_TEXT "ns, us, ms, s, m, h, B, K, M, G or %%"

/* ---- the text ---- */

struct parser {
	const char *text, *p;
	int nesting;
	bool failed;
	int *column;
	char *why;
	size_t why_len;
	struct step steps[STEPS_MAX];
	int len;
};

static bool in_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.';
}

static void blanks_skip(struct parser *p)
{
	p->p += strspn(p->p, " \t\r\n");
}

static size_t word_len(const char *s)
{
	size_t n = 0;

	while (in_word(s[n]))
		n++;
	return n;
}

/* Keeps the first message: later ones come of it. Returns false. */
static bool __attribute__((format(printf, 3, 4))) blame(struct parser *p, const char *at, const char *fmt, ...)
{
	va_list args;

	if (p->failed)
		return false;
	p->failed = true;
	*p->column = 1;
	for (const char *c = p->text; c < at; c++)
		*p->column += ((unsigned char)*c & 0xc0) != 0x80;
	va_start(args, fmt);
	vsnprintf(p->why, p->why_len, fmt, args);
	va_end(args);
	text_sanitize(p->why);
	return false;
}

/* What stands there, for a message: a word whole, else a character, or the end. */
#define HERE_LEN (WORD_SHOWN + 24)
static const char *here(const char *s, char buf[HERE_LEN])
{
	int n = (int)word_len(s);

	if (!*s)
		return "the end";
	if (!n)
		for (n = 1; ((unsigned char)s[n] & 0xc0) == 0x80; n++)
			;
	snprintf(buf, HERE_LEN, "'%.*s%s'", n > WORD_SHOWN ? WORD_SHOWN : n, s, n > WORD_SHOWN ? ".." : "");
	return buf;
}
#define here_text(s) here((s), (char[HERE_LEN]){0})

static bool step_add(struct parser *p, const char *at, struct step s)
{
	if (p->len == STEPS_MAX)
		return blame(p, at, "too long: an expression has at most %d numbers, functions and signs", STEPS_MAX);
	p->steps[p->len++] = s;
	return true;
}

/* The digits at *s as a number; 0 or -EINVAL. */
static int digits_parse(const char **s, double *ret)
{
	size_t n = strspn(*s, "0123456789.");
	char buf[40];

	if (!n || n >= sizeof(buf))
		return -EINVAL;
	memcpy(buf, *s, n);
	buf[n] = '\0';
	if (parse_seconds(buf, 0, 1e18, ret))
		return -EINVAL;
	*s += n;
	return 0;
}

/* A number with its unit at *s, which is moved behind it; 0, or -EINVAL with why and *s at what is wrong. */
static int quantity_take(const char **s, double *ret, enum quantity_kind *ret_kind, char *why, size_t why_len)
{
	const char *unit;
	size_t len;

	if (digits_parse(s, ret)) {
		snprintf(why, why_len, "%s is no number; like 3, 0.5, 250ms, 85%% or 512M is expected", here_text(*s));
		return -EINVAL;
	}
	unit = *s + strspn(*s, " \t");
	len = *unit == '%' ? 1 : word_len(unit);
	*ret_kind = QUANTITY_PLAIN;
	if (!len)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (strlen(units[i].name) != len || memcmp(units[i].name, unit, len))
			continue;
		*ret *= units[i].factor;
		*ret_kind = units[i].kind;
		*s = unit + len;
		return 0;
	}
	snprintf(why, why_len, "unknown unit %s; units are " UNITS_TEXT, here_text(unit));
	*s = unit;
	return -EINVAL;
}

int quantity_parse_kind(const char *text, double *ret, enum quantity_kind *ret_kind, char *why, size_t why_len)
{
	const char *s = text + strspn(text, " \t");
	enum quantity_kind kind;
	double value;
	int err = quantity_take(&s, &value, &kind, why, why_len);

	if (!err && s[strspn(s, " \t")]) {
		snprintf(why, why_len, "%s behind the number", here_text(s + strspn(s, " \t")));
		err = -EINVAL;
	}
	if (err) {
		text_sanitize(why);
		return err;
	}
	*ret = value;
	if (ret_kind)
		*ret_kind = kind;
	return 0;
}

int quantity_parse(const char *text, double *ret, char *why, size_t why_len)
{
	return quantity_parse_kind(text, ret, NULL, why, why_len);
}

/* ---- kinds ---- */

static const char *kind_text(const struct kind *k)
{
	if (!k->time && !k->bytes)
		return "a plain number";
	if (k->time == 1 && !k->bytes)
		return "a time";
	return k->bytes == 1 && !k->time ? "bytes" : "a product of units";
}

static struct kind kind_sum(const struct kind *a, const struct kind *b)
{
	bool data = a->data || b->data;

	return (struct kind){.time = a->time,
	        .bytes = a->bytes,
	        .data = data,
	        .ratio = data && (a->ratio || !a->data) && (b->ratio || !b->data),
	        .counts = data && (a->counts || !a->data) && (b->counts || !b->data)};
}

static struct kind kind_product(const struct kind *a, const struct kind *b, int sign)
{
	struct kind k = {.time = a->time + sign * b->time, .bytes = a->bytes + sign * b->bytes, .data = a->data || b->data};

	if (!k.time && !k.bytes)
		k.ratio = (sign < 0 && a->data && b->data) || (a->ratio && !b->data) || (sign > 0 && b->ratio && !a->data);
	return k;
}

/* ---- grammar ---- */

static bool parse_sum(struct parser *p, struct kind *k);

static const struct function *function_find(const char *word, size_t len, double *ret_quantile)
{
	double percent;
	const char *s = word + 1;

	if (*word == 'p' && len > 1 && isdigit((unsigned char)*s) && !digits_parse(&s, &percent) && s == word + len) {
		*ret_quantile = percent / 100;
		return &functions[0];
	}
	for (size_t i = 1; i < ARRAY_SIZE(functions); i++)
		if (strlen(functions[i].name) == len && !memcmp(functions[i].name, word, len))
			return &functions[i];
	return NULL;
}

static bool function_unknown(struct parser *p, const char *word, size_t len)
{
	const char *names[ARRAY_SIZE(functions)];
	char copy[WORD_SHOWN + 1], hint[64];
	int m;

	for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
		names[i] = functions[i].name;
	snprintf(copy, sizeof(copy), "%.*s", (int)len, word);
	m = metric_find(copy);
	if (m >= 0)
		return blame(p, word, "%s is %s: say which", copy, readers[metric_infos[m].type]);
	return blame(p, word,
	        "unknown function %s%s; there are p50, p95, p99.9 .., mean, max, min, count, sum, rate, total, last, share, "
	        "share_threads, share_critical, age",
	        here_text(word), name_hint(copy, names, ARRAY_SIZE(names), hint, sizeof(hint)));
}

static bool metric_take(
	struct parser *p, const struct function *f, const char *fname, int fname_len, struct step *s, struct kind *k)
{
	const char *names[METRIC_IDS], *word = p->p;
	size_t len = word_len(word);
	const struct metric_info *info;
	char copy[WORD_SHOWN + 1], hint[64];
	int m;

	if (!len)
		return blame(p, word, "%s where the metric that %.*s is of is expected", here_text(word), fname_len, fname);
	snprintf(copy, sizeof(copy), "%.*s", (int)len, word);
	m = len < sizeof(copy) ? metric_find(copy) : -1;
	if (m < 0) {
		for (int i = 0; i < METRIC_IDS; i++)
			names[i] = metric_infos[i].name;
		return blame(p, word, "unknown metric %s%s", here_text(word),
		        name_hint(copy, names, METRIC_IDS, hint, sizeof(hint)));
	}
	info = &metric_infos[m];
	if (!(f->types & 1U << info->type))
		return blame(p, word, "%s is %s, not for %.*s()", info->name, readers[info->type], fname_len, fname);
	s->metric = (enum metric_id)m;
	p->p += len;
	k->time = info->unit == UNIT_NS;
	k->bytes = info->unit == UNIT_BYTES;
	k->counts = f->is == IS_COUNT && (info->unit == UNIT_COUNT || f->op == OP_COUNT);
	if (f->op == OP_COUNT || (f->op == OP_RATE && info->type == METRIC_HIST))
		k->time = k->bytes = 0;
	else if (f->op == OP_RATE && info->unit == UNIT_NS)
		*k = (struct kind){.ratio = true};
	return true;
}

static bool state_take(struct parser *p, struct step *s)
{
	const char *names[STATE_COUNT], *word = p->p;
	size_t len = word_len(word), prefix = 0;
	char copy[WORD_SHOWN + 1], hint[64], list[256] = "";
	bool any = word[len] == '*';

	if (any)
		prefix = len++;
	for (int i = 0; i < STATE_COUNT; i++) {
		const char *name = state_infos[i].name;

		names[i] = name;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "", name);
		if (any ? !strncmp(name, word, prefix) : strlen(name) == len && !memcmp(name, word, len))
			s->states |= 1U << i;
	}
	if (!len)
		return blame(p, word, "%s where a state of the ledger is expected: %s", here_text(word), list);
	snprintf(copy, sizeof(copy), "%.*s", (int)len, word);
	if (!s->states)
		return blame(p, word, "unknown state %s%s; there are %s", here_text(word),
		        name_hint(copy, names, STATE_COUNT, hint, sizeof(hint)), list);
	p->p += len;
	return true;
}

static bool parse_call(struct parser *p, struct kind *k)
{
	const char *word = p->p;
	size_t len = word_len(word);
	struct step s = {0};
	const struct function *f = function_find(word, len, &s.number);

	*k = (struct kind){0};
	if (!f)
		return function_unknown(p, word, len);
	if (f->op == OP_QUANTILE && s.number > 1)
		return blame(p, word, "%s: percentiles are p0 to p100", here_text(word));
	s.op = f->op;
	s.book = f->book;
	p->p += len;
	blanks_skip(p);
	if (*p->p != '(')
		return blame(p, p->p, "%s where '(' is expected: %.*s is a function", here_text(p->p), (int)len, word);
	p->p++;
	blanks_skip(p);
	if (f->of == OF_METRIC && !metric_take(p, f, word, (int)len, &s, k))
		return false;
	if (f->of == OF_STATE && !state_take(p, &s))
		return false;
	blanks_skip(p);
	if (*p->p != ')')
		return blame(p, p->p,
		        f->of == OF_NOTHING ? "%s where ')' is expected: age() is of nothing" : "%s where ')' is expected",
		        here_text(p->p));
	p->p++;
	k->data = true;
	k->ratio = k->ratio || f->is == IS_SHARE;
	k->time += f->is == IS_TIME;
	return step_add(p, word, s);
}

static bool parse_brackets(struct parser *p, struct kind *k)
{
	const char *at = p->p++;

	if (++p->nesting > NESTING_MAX)
		return blame(p, at, "brackets are nested too deeply; %d levels are possible", NESTING_MAX);
	if (!parse_sum(p, k))
		return false;
	p->nesting--;
	if (*p->p != ')')
		return blame(p, p->p, "%s where ')' is expected", here_text(p->p));
	p->p++;
	return true;
}

static bool parse_number(struct parser *p, struct kind *k)
{
	struct step s = {.op = OP_NUMBER};
	const char *at = p->p;
	enum quantity_kind kind;
	char why[160];

	if (quantity_take(&p->p, &s.number, &kind, why, sizeof(why)))
		return blame(p, p->p, "%s", why);
	*k = (struct kind){.time = kind == QUANTITY_TIME, .bytes = kind == QUANTITY_BYTES};
	return step_add(p, at, s);
}

static bool parse_factor(struct parser *p, struct kind *k)
{
	bool good;

	blanks_skip(p);
	if (*p->p == '(')
		good = parse_brackets(p, k);
	else if (isdigit((unsigned char)*p->p) || *p->p == '.')
		good = parse_number(p, k);
	else if (in_word(*p->p))
		good = parse_call(p, k);
	else
		return blame(p, p->p, "%s where a function, a number or '(' is expected", here_text(p->p));
	blanks_skip(p);
	return good;
}

static bool parse_product(struct parser *p, struct kind *k)
{
	if (!parse_factor(p, k))
		return false;
	while (*p->p == '*' || *p->p == '/') {
		const char *at = p->p++;
		struct step s = {.op = *at == '*' ? OP_MULTIPLY : OP_DIVIDE};
		struct kind right;

		if (!parse_factor(p, &right))
			return false;
		s.counts = s.op == OP_DIVIDE && right.counts;
		*k = kind_product(k, &right, s.op == OP_DIVIDE ? -1 : 1);
		if (!step_add(p, at, s))
			return false;
	}
	return true;
}

static bool parse_sum(struct parser *p, struct kind *k)
{
	if (!parse_product(p, k))
		return false;
	while (*p->p == '+' || *p->p == '-') {
		const char *at = p->p++;
		struct step s = {.op = *at == '+' ? OP_ADD : OP_SUBTRACT};
		struct kind right;

		if (!parse_product(p, &right))
			return false;
		if (k->time != right.time || k->bytes != right.bytes)
			return blame(p, at, "'%c' of unlike things: %s and %s", *at, kind_text(k), kind_text(&right));
		*k = kind_sum(k, &right);
		if (!step_add(p, at, s))
			return false;
	}
	return true;
}

/* ---- the expression ---- */

static void needs_find(struct expression *e)
{
	bool events = false;

	for (int i = 0; i < e->steps_len; i++) {
		const struct step *s = &e->steps[i];

		if (s->op >= OP_QUANTILE && s->op <= OP_LAST) {
			e->metrics[s->metric] = true;
			e->probes |= 1U << metric_infos[s->metric].probe;
		}
		if (s->op == OP_SHARE) {
			e->share = true;
			e->probes |= 1U << PROBE_SCHED;
			for (int state = STATE_NET_LLM; state <= STATE_NET_OTHER; state++)
				if (s->states & 1U << state) /* without it such waits are polls */
					e->probes |= 1U << PROBE_SOCK;
		}
		e->spans = e->spans || s->op == OP_SHARE || s->op == OP_RATE || s->op == OP_TOTAL || s->op == OP_COUNT ||
		           s->op == OP_SUM;
		events = events || s->counts || (s->op >= OP_QUANTILE && s->op <= OP_MIN);
	}
	e->spans = e->spans && !events;
}

struct expression *expression_parse(const char *text, int *ret_column, char *why, size_t why_len)
{
	struct expression *e = NULL;
	struct parser *p = calloc(1, sizeof(*p));
	struct kind kind;

	*ret_column = 1;
	if (!p) {
		snprintf(why, why_len, "out of memory");
		return NULL;
	}
	*p = (struct parser){.text = text, .p = text, .column = ret_column, .why = why, .why_len = why_len};
	if (strlen(text) > EXPRESSION_MAX)
		blame(p, text, "too long: an expression has at most %d characters", EXPRESSION_MAX);
	else if (parse_sum(p, &kind) && *p->p)
		blame(p, p->p, "%s where the expression should end, or + - * / follow", here_text(p->p));
	else if (!p->failed && !kind.data)
		blame(p, text, "a constant: it reads no metric");
	if (!p->failed)
		e = calloc(1, sizeof(*e) + (size_t)p->len * sizeof(e->steps[0]));
	if (e) {
		e->kind = kind;
		e->steps_len = p->len;
		memcpy(e->steps, p->steps, (size_t)p->len * sizeof(e->steps[0]));
		needs_find(e);
	} else if (!p->failed) {
		snprintf(why, why_len, "out of memory");
	}
	free(p);
	return e;
}
