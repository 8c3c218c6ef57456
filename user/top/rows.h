/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The list of agents: its columns, and which agents it has in which order. Pure. */
#ifndef STAKEOUT_ROWS_H
#define STAKEOUT_ROWS_H

#include "model/live.h"
#include "sink/format.h"
#include "top/view.h"

struct top_column { /* one row of the table in rows.c */
	const char *title;
	char key; /* a capital letter, or digit, that sorts by it */
	int width; /* of the title or the widest figure, the greater */
	int drop; /* where columns are too many, the highest goes first; 0: never */
	const char *help;
};

/* The figure of an agent of l with three digits and its unit, without blanks: "446ms", "88.4M", "1.20k"; "-" where there is none, or nobody looked
 * since detail was reduced throughout. Returns buf. */
const char *column_text(int column, const struct live *l, const struct live_agent *a, bool all, char buf[FORMAT_LEN]);
/* How it is shown, see style_begin(); 0: plainly. */
int column_style(int column, const struct live_agent *a);
const struct top_column *column_info(int column); /* from 0, the name, on; NULL beyond the last */
int column_default(void);
/* -1: none. */
int column_by_key(uint32_t key);
/* The next one (step 1) or the one before (-1), around the ends. */
int column_beside(int column, int step);

/* Whether there was any time in which the metric was looked at: the budget may have taken it away (see governor.def). */
bool looked_at(const struct live *l, bool all, enum metric_id m);

struct top_rows {
	const struct live_agent **agents; /* in order */
	int len;
	int all; /* before the filter */
	int ended; /* of all */
};

/* What a line of the list, or of an agent's page, is about. */
const struct agent_data *agent_figures(const struct live_agent *a, bool all);
/* 0 or -ENOMEM; to be freed by top_rows_fini. */
int top_rows_init(struct top_rows *r, const struct live *l, const struct top_view *v);
void top_rows_fini(struct top_rows *r);
/* Where the agent with this id is, or -1. */
int top_rows_at(const struct top_rows *r, int id);

#endif
