/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the live view shows, line by line: the list of agents, the page of one of them, or help. Pure: a frame is text with SGR
 * sequences (see style_begin in sink/table.h) in it, and of no others, whatever agents call themselves.
 */
#ifndef STAKEOUT_FRAME_H
#define STAKEOUT_FRAME_H

#include <stdio.h>

#include "judge/outlooks.h"
#include "judge/recents.h"
#include "sink/table.h"
#include "top/rows.h"

#define FRAME_WIDTH_MIN 40
#define FRAME_HEIGHT_MIN 8

struct top_frame {
	char *text; /* owned: the lines, each ended by a NUL */
	size_t size;
	const char **lines; /* owned; as many as the terminal has rows */
	int len;
	int selected; /* the line that is highlighted; -1: none */
};

/* outlooks and recents may be NULL. Does in v what keys have left to do. 0 or -ENOMEM; to be freed by top_frame_fini in either case. */
int top_frame_init(struct top_frame *f, const struct live *l, const struct outlooks *outlooks, const struct recents *recents, struct top_view *v);
void top_frame_fini(struct top_frame *f);

/* The parts. */

/* Body of the page of an agent, of any length. found: NULL: not judged. sections: where each of SECTIONS begins in what is written to s->out. 0 or -ENOMEM. */
#define SECTIONS 7
extern const char *const section_names[SECTIONS];
int agent_page(const struct screen *s, const struct live *l, const struct live_agent *a, const struct outlooks *outlooks, const struct recents_found *found,
	       struct top_view *v, long sections[SECTIONS]);
/* One line: what watching took and missed. */
void frame_observer(const struct screen *s, const struct live *l, bool all);
/* Puts text in a style, cut to `room` columns; returns those used. */
int frame_put(const struct screen *s, int style, int room, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
