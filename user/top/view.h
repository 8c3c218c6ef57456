/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the user of the live view has asked for, and how keys change it. Pure: knows no terminal. */
#ifndef STAKEOUT_VIEW_H
#define STAKEOUT_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#define FILTER_BYTES 64

/* Keys are Unicode characters, or one of these. */
enum top_key {
	TOP_KEY_NONE = 0,
	TOP_KEY_ESCAPE = 0x1b,
	TOP_KEY_UP = 0x110000,
	TOP_KEY_DOWN,
	TOP_KEY_LEFT,
	TOP_KEY_RIGHT,
	TOP_KEY_PAGE_UP,
	TOP_KEY_PAGE_DOWN,
	TOP_KEY_HOME,
	TOP_KEY_END,
	TOP_KEY_ENTER,
	TOP_KEY_BACKSPACE,
	TOP_KEY_HELP,
};

struct top_view {
	int width, height; /* of the terminal, in columns and rows */
	bool color, utf8, letters; /* as in struct screen */
	bool all; /* figures since the beginning, else of the last interval */
	bool paused, help, quit;
	int sort; /* a column */
	bool reverse; /* against the column's own order */
	char filter[FILTER_BYTES]; /* shown are agents whose name, command line or container's id has it, or whose pid it is */
	bool typing; /* a filter, which goes on from `typed` */
	char typed[FILTER_BYTES];
	int selected; /* agent id, -1: none yet */
	int selected_at; /* its row among all that are shown */
	int first; /* row at the top */
	int agent; /* the one whose page is shown; -1: the list */
	int scroll; /* of that page, or of help */
	int metric; /* a histogram that is drawn there; -1: the first that there is */
	/* What a key asked for and only the next frame can do, since it depends on what there is. */
	int move, page_move; /* rows, or pages */
	bool enter; /* the selected agent's page */
	int agent_step; /* to the next agent, or the one before */
	int section; /* to go to, from 1; 0: none */
	int metric_step;
	char message[160]; /* instead of the keys' names, until the next key */
};

void view_init(struct top_view *v);
/* Takes a key. false: it means nothing here, and nothing has changed. */
bool view_key(struct top_view *v, uint32_t key);

#endif
