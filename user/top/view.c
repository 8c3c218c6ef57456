// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <limits.h>
#include <string.h>

#include "top/rows.h"
#include "top/view.h"

#define FAR (INT_MAX / 4) /* beyond any list, and no sum of two overflows */

void view_init(struct top_view *v)
{
	*v = (struct top_view){ .width = 80, .height = 24, .sort = column_default(), .selected = -1, .agent = -1, .metric = -1 };
}

/* UTF-8 of a printable character, or nothing where it has no room. */
static void text_append(char *text, size_t size, uint32_t c)
{
	char bytes[4];
	size_t used = strlen(text), n = 0;

	if (c < 0x80) {
		bytes[n++] = (char)c;
	} else if (c < 0x800) {
		bytes[n++] = (char)(0xc0 | c >> 6);
		bytes[n++] = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		bytes[n++] = (char)(0xe0 | c >> 12);
		bytes[n++] = (char)(0x80 | (c >> 6 & 0x3f));
		bytes[n++] = (char)(0x80 | (c & 0x3f));
	} else {
		bytes[n++] = (char)(0xf0 | c >> 18);
		bytes[n++] = (char)(0x80 | (c >> 12 & 0x3f));
		bytes[n++] = (char)(0x80 | (c >> 6 & 0x3f));
		bytes[n++] = (char)(0x80 | (c & 0x3f));
	}
	if (used + n >= size)
		return;
	memcpy(text + used, bytes, n);
	text[used + n] = '\0';
}

/* Cuts the last character. */
static void text_shorten(char *text)
{
	size_t len = strlen(text);

	while (len && ((unsigned char)text[--len] & 0xc0) == 0x80)
		;
	text[len] = '\0';
}

/* The list follows what is typed; Escape brings the old filter back. */
static bool key_typing(struct top_view *v, uint32_t key)
{
	switch (key) {
	case TOP_KEY_ENTER:
		v->typing = false;
		memcpy(v->filter, v->typed, sizeof(v->filter));
		return true;
	case TOP_KEY_ESCAPE:
		v->typing = false;
		return true;
	case TOP_KEY_BACKSPACE:
		text_shorten(v->typed);
		return true;
	case 'U' - '@': /* Ctrl-U, as the line discipline has it */
		v->typed[0] = '\0';
		return true;
	default:
		if (key < 0x20 || key == 0x7f || key >= TOP_KEY_UP)
			return false;
		text_append(v->typed, sizeof(v->typed), key);
		return true;
	}
}

static bool key_move(struct top_view *v, uint32_t key)
{
	switch (key) {
	case TOP_KEY_UP:
	case 'k':
		v->move--;
		return true;
	case TOP_KEY_DOWN:
	case 'j':
		v->move++;
		return true;
	case TOP_KEY_PAGE_UP:
		v->page_move--;
		return true;
	case TOP_KEY_PAGE_DOWN:
		v->page_move++;
		return true;
	case TOP_KEY_HOME:
		v->move = -FAR;
		return true;
	case TOP_KEY_END:
		v->move = FAR;
		return true;
	default:
		return false;
	}
}

static bool key_list(struct top_view *v, uint32_t key)
{
	int column = column_by_key(key);

	switch (key) {
	case TOP_KEY_ENTER:
		v->enter = true;
		return true;
	case TOP_KEY_LEFT:
	case '<':
		v->sort = column_beside(v->sort, -1);
		v->reverse = false;
		return true;
	case TOP_KEY_RIGHT:
	case '>':
		v->sort = column_beside(v->sort, 1);
		v->reverse = false;
		return true;
	case 'r':
		v->reverse = !v->reverse;
		return true;
	case '/':
		v->typing = true;
		memcpy(v->typed, v->filter, sizeof(v->typed));
		return true;
	case TOP_KEY_ESCAPE:
		if (!v->filter[0])
			return false;
		v->filter[0] = '\0';
		return true;
	default:
		if (column < 0)
			return false;
		v->reverse = v->sort == column && !v->reverse;
		v->sort = column;
		return true;
	}
}

static bool key_agent(struct top_view *v, uint32_t key)
{
	switch (key) {
	case TOP_KEY_ESCAPE:
	case TOP_KEY_ENTER:
	case TOP_KEY_BACKSPACE:
		v->agent = -1;
		v->scroll = 0;
		return true;
	case TOP_KEY_LEFT:
	case '<':
		v->agent_step--;
		return true;
	case TOP_KEY_RIGHT:
	case '>':
		v->agent_step++;
		return true;
	case 'n':
		v->metric_step++;
		return true;
	case 'N':
		v->metric_step--;
		return true;
	default:
		if (key < '1' || key > '9')
			return false;
		v->section = (int)key - '0';
		return true;
	}
}

static bool key_help(struct top_view *v, uint32_t key)
{
	if (key_move(v, key))
		return true;
	v->help = false;
	v->scroll = 0;
	return true;
}

bool view_key(struct top_view *v, uint32_t key)
{
	bool told = v->message[0];

	v->message[0] = '\0';
	if (v->typing)
		return key_typing(v, key) || told;
	if (key == 'q') {
		v->quit = true;
		return true;
	}
	if (v->help)
		return key_help(v, key);
	switch (key) {
	case 'h':
	case '?':
	case TOP_KEY_HELP:
		v->help = true;
		v->scroll = 0;
		return true;
	case 'p':
	case ' ':
		v->paused = !v->paused;
		return true;
	case 's':
		v->all = !v->all;
		return true;
	case 'L' - '@': /* Ctrl-L: whoever paints does it anew */
		return true;
	default:
		return key_move(v, key) || (v->agent < 0 ? key_list(v, key) : key_agent(v, key)) || told;
	}
}
