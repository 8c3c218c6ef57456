// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "lib/util.h"
#include "sink/table.h"

#define INDENT 2
#define GAP 2
#define LABEL 10
#define NARROWEST 4 /* columns that a shortened cell keeps */
#define FLEX_NARROWEST 20

/* One character of clean text: its bytes and columns. Those that can't be shown as they are come back as '?'. */
static size_t next_char(const char *s, bool utf8, const char **ret, size_t *ret_len, int *ret_columns)
{
	mbstate_t state = { 0 };
	wchar_t c;
	size_t len;

	*ret = s;
	*ret_len = 1;
	*ret_columns = 1;
	if (!((unsigned char)*s & 0x80))
		return 1;
	if (!utf8) {
		for (len = 1; ((unsigned char)s[len] & 0xc0) == 0x80; len++)
			;
		*ret = "?";
		return len;
	}
	len = mbrtowc(&c, s, strlen(s), &state);
	if (len == 0 || len > 4) {
		*ret = "?";
		return 1;
	}
	*ret_columns = wcwidth(c);
	*ret_len = len;
	if (*ret_columns <= 0) {
		*ret = "?";
		*ret_len = 1;
		*ret_columns = 1;
	}
	return len;
}

int text_fit(char *ret, size_t size, const char *s, int width, bool utf8)
{
	/* More than fits can be cut off beforehand: a character has at most 4 bytes. */
	_cleanup_free_ char *clean = strndup(s, (size_t)(width > 0 ? width : 0) * 4 + 8);
	size_t used = 0, kept = 0; /* kept: bytes up to which the mark of a cut fits */
	int columns = 0, kept_columns = 0;
	const char *mark = width > 8 ? ".." : "";
	int mark_columns = (int)strlen(mark);

	*ret = '\0';
	if (!clean)
		return 0;
	text_sanitize(clean);
	for (const char *p = clean; *p;) {
		const char *c;
		size_t len;
		int w;

		p += next_char(p, utf8, &c, &len, &w);
		if (columns + w > width || used + len + 3 > size) {
			memcpy(ret + kept, mark, (size_t)mark_columns + 1);
			return kept_columns + mark_columns;
		}
		memcpy(ret + used, c, len);
		used += len;
		columns += w;
		if (columns + mark_columns <= width) {
			kept = used;
			kept_columns = columns;
		}
	}
	ret[used] = '\0';
	return columns;
}

void style_begin(const struct screen *s, int style)
{
	if (s->color && style)
		fprintf(s->out, "\033[%dm", style);
}

void style_end(const struct screen *s, int style)
{
	if (s->color && style)
		fputs("\033[0m", s->out);
}

void screen_line(const struct screen *s, int style, const char *fmt, ...)
{
	char text[2048], fit[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_fit(fit, sizeof(fit), text, s->width, s->utf8);
	style_begin(s, style);
	fputs(fit, s->out);
	style_end(s, style);
	fputc('\n', s->out);
}

void table_init(struct table *t, const struct table_column *columns, int columns_len)
{
	*t = (struct table){ .columns = columns, .columns_len = columns_len };
}

void table_cell(struct table *t, const struct screen *s, int style, const char *fmt, ...)
{
	struct table_cell *cell;
	char text[512];
	va_list ap;

	if (t->used == t->cap) {
		int cap = t->cap ? t->cap * 2 : 64;

		cell = reallocarray(t->cells, (size_t)cap, sizeof(*cell));
		if (!cell) {
			t->failed = true;
			return;
		}
		t->cells = cell;
		t->cap = cap;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cell = &t->cells[t->used++];
	cell->width = text_fit(cell->text, sizeof(cell->text), text, s->width, s->utf8);
	cell->style = style;
}

/* Widths of the columns, 0 for one that isn't shown; returns the width of the whole. */
static int table_widths(const struct table *t, int *width)
{
	int sum = INDENT - GAP;

	for (int c = 0; c < t->columns_len; c++) {
		bool any = false;

		width[c] = 0;
		for (int i = c; i < t->used; i += t->columns_len) {
			any = any || (t->cells[i].width && strcmp(t->cells[i].text, "-"));
			if (t->cells[i].width > width[c])
				width[c] = t->cells[i].width;
		}
		if (!any)
			width[c] = 0;
		if (width[c] && (int)strlen(t->columns[c].title) > width[c])
			width[c] = (int)strlen(t->columns[c].title);
		sum += width[c] ? width[c] + GAP : 0;
	}
	return sum;
}

static void table_shrink(const struct table *t, int *width, int sum, int limit)
{
	int natural[TABLE_COLUMNS];

	memcpy(natural, width, sizeof(*natural) * (size_t)t->columns_len);
	for (int c = 0; c < t->columns_len; c++)
		while (t->columns[c].flex && width[c] > FLEX_NARROWEST && sum > limit) {
			width[c]--;
			sum--;
		}
	while (sum > limit) {
		int at = -1;

		for (int c = 0; c < t->columns_len; c++)
			if (width[c] && t->columns[c].drop && (at < 0 || t->columns[c].drop > t->columns[at].drop))
				at = c;
		if (at < 0)
			break;
		sum -= width[at] + GAP;
		width[at] = 0;
	}
	/* A dropped column may leave room for what was shortened before. */
	for (int c = 0; c < t->columns_len; c++)
		while (t->columns[c].flex && width[c] && width[c] < natural[c] && sum < limit) {
			width[c]++;
			sum++;
		}
	while (sum > limit) {
		int at = -1;

		for (int c = 0; c < t->columns_len; c++)
			if (t->columns[c].left && width[c] > NARROWEST && (at < 0 || width[c] > width[at]))
				at = c;
		if (at < 0)
			break;
		width[at]--;
		sum--;
	}
}

/* The clauses of text that fit, in ret (CELL_BYTES); false: not even the first does. A comma or colon with no blank after it ends none. */
static bool clauses_fit(char *ret, const char *text, int width)
{
	int len = (int)strlen(text);

	while (len > width) {
		do
			len--;
		while (len > 0 && !((text[len] == ',' || text[len] == ':') && text[len + 1] == ' '));
		if (!len)
			return false;
	}
	snprintf(ret, CELL_BYTES, "%.*s", len, text);
	return true;
}

static void print_cell(const struct screen *s, const struct table_column *column, const char *text, int columns, int width, bool last, int style)
{
	char cut[CELL_BYTES], fit[CELL_BYTES];
	int pad;

	if (columns > width) {
		if (column->clauses && clauses_fit(cut, text, width))
			text = cut;
		columns = text_fit(fit, sizeof(fit), text, width, s->utf8);
		text = fit;
	}
	pad = width - columns;
	if (!column->left)
		fprintf(s->out, "%*s", pad, "");
	style_begin(s, style);
	fputs(text, s->out);
	style_end(s, style);
	if (column->left && !last)
		fprintf(s->out, "%*s", pad, "");
}

static void print_row(const struct table *t, const struct screen *s, const int *width, const struct table_cell *row)
{
	int last = 0;

	for (int c = 0; c < t->columns_len; c++)
		if (width[c] && (row ? row[c].text[0] : t->columns[c].title[0]))
			last = c;
	for (int c = 0, gap = INDENT; c <= last; c++) {
		const struct table_column *column = &t->columns[c];

		if (!width[c])
			continue;
		fprintf(s->out, "%*s", gap, "");
		gap = GAP;
		if (row)
			print_cell(s, column, row[c].text, row[c].width, width[c], c == last, row[c].style);
		else
			print_cell(s, column, column->title, (int)strlen(column->title), width[c], c == last, STYLE_DIM);
	}
	fputc('\n', s->out);
}

int table_print(struct table *t, const struct screen *s)
{
	int width[TABLE_COLUMNS], err = t->failed ? -ENOMEM : 0;

	if (!err) {
		table_shrink(t, width, table_widths(t, width), s->width);
		print_row(t, s, width, NULL);
		for (int i = 0; i + t->columns_len <= t->used; i += t->columns_len)
			print_row(t, s, width, &t->cells[i]);
	}
	free(t->cells);
	t->cells = NULL;
	return err;
}

void para_begin(struct para *p, const struct screen *s, const char *label)
{
	*p = (struct para){ .screen = s, .indent = INDENT + LABEL + GAP, .fresh = true };
	p->column = p->indent;
	fprintf(s->out, "%*s", INDENT, "");
	style_begin(s, STYLE_DIM);
	fputs(label, s->out);
	style_end(s, STYLE_DIM);
	fprintf(s->out, "%*s", LABEL + GAP - (int)strlen(label), "");
}

static void para_break(struct para *p)
{
	fprintf(p->screen->out, "\n%*s", p->indent, "");
	p->column = p->indent;
}

/* Puts down one piece of clean text that stays together, after a blank unless it begins the line. */
static void para_put(struct para *p, const char *text)
{
	int room = p->screen->width - p->indent - 1; /* one for a comma */
	char fit[4096];
	int columns = text_fit(fit, sizeof(fit), text, room, p->screen->utf8);

	if (p->column > p->indent) {
		if (p->column + 1 + columns > p->screen->width - 1) {
			para_break(p);
		} else {
			fputc(' ', p->screen->out);
			p->column++;
		}
	}
	fputs(fit, p->screen->out);
	p->column += columns;
}

void para_part(struct para *p, const char *fmt, ...)
{
	char text[1024], fit[4096];
	char *word, *next = NULL;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!p->fresh) {
		fputc(',', p->screen->out);
		p->column++;
	}
	p->fresh = false;
	if (text_fit(fit, sizeof(fit), text, (int)sizeof(text), p->screen->utf8) <= p->screen->width - p->indent - 1) {
		para_put(p, text);
		return;
	}
	for (word = strtok_r(text, " ", &next); word; word = strtok_r(NULL, " ", &next))
		para_put(p, word);
}

void para_text(struct para *p, const char *text)
{
	char words[1024];
	char *word, *next = NULL;

	snprintf(words, sizeof(words), "%s", text);
	for (word = strtok_r(words, " ", &next); word; word = strtok_r(NULL, " ", &next))
		para_put(p, word);
	p->fresh = false;
}

void para_end(struct para *p)
{
	fputc('\n', p->screen->out);
}
