/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Text within the width of a terminal: tables that drop columns, paragraphs that wrap, names cut to size. Every string that
 * is printed passes text_fit, so that no process name reaches the terminal with a control character in it.
 */
#ifndef STAKEOUT_TABLE_H
#define STAKEOUT_TABLE_H

#include <stdbool.h>
#include <stdio.h>

struct screen {
	FILE *out;
	int width; /* columns; no line is longer */
	bool color, utf8; /* utf8: LC_CTYPE is set to a UTF-8 locale */
	bool letters; /* too few colours to tell states apart: bars of letters, coloured all the same */
	bool live; /* no file that could be asked for more */
};

enum { STYLE_NONE = 0, STYLE_BOLD = 1, STYLE_DIM = 2 }; /* or an SGR colour, 31 to 97 */

/* s made harmless (see text_sanitize) and cut to `width` columns, the cut shown by ".."; ret gets at most size bytes. Characters
 * of no width, bidirectional controls among them, become '?'. Returns the columns used. */
int text_fit(char *ret, size_t size, const char *s, int width, bool utf8);

void style_begin(const struct screen *s, int style);
void style_end(const struct screen *s, int style);
/* One whole line in a style, cut to the width. */
void screen_line(const struct screen *s, int style, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define TABLE_COLUMNS 14
#define CELL_BYTES 128

struct table_column {
	const char *title;
	bool left; /* aligned */
	int drop; /* when the table is too wide, the column with the highest `drop` goes first; 0: never */
	bool flex; /* is shortened before any column is dropped */
	bool clauses; /* what is too long loses whole clauses, from comma or colon on: a sentence cut within a word reads badly */
};

struct table {
	const struct table_column *columns;
	int columns_len;
	struct table_cell {
		char text[CELL_BYTES];
		int width; /* columns on the screen */
		int style;
	} *cells; /* row after row */
	int used, cap;
	bool failed; /* out of memory */
};

/* columns_len <= TABLE_COLUMNS */
void table_init(struct table *t, const struct table_column *columns, int columns_len);
/* The next cell; rows fill from left to right. */
void table_cell(struct table *t, const struct screen *s, int style, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Prints title line and rows, indented by two, and frees. A column whose cells are all empty or "-" is left out. What still doesn't
 * fit is taken from the widest left-aligned column. 0 or -ENOMEM. */
int table_print(struct table *t, const struct screen *s);

/* A labelled paragraph of parts joined by commas; parts stay whole when they fit in a line. */
struct para {
	const struct screen *screen;
	int indent, column;
	bool fresh;
};
void para_begin(struct para *p, const struct screen *s, const char *label);
void para_part(struct para *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A whole text, broken between any of its words. */
void para_text(struct para *p, const char *text);
void para_end(struct para *p);

#endif
