/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The parts of the report in the terminal. Each prints a section about one agent, an empty line before it, or nothing where there is
 * nothing to say; those that return something return 0 or -ENOMEM. */
#ifndef STAKEOUT_TERMINAL_PARTS_H
#define STAKEOUT_TERMINAL_PARTS_H

#include "judge/finding.h"
#include "judge/objectives.h"
#include "judge/trend.h"
#include "lib/util.h"
#include "model/recording.h"
#include "sink/table.h"

#define STYLE_BAD 31 /* failures */

/* Peers as a person tells them apart: the addresses behind one name, port and class are one row. */
struct peer_row {
	const struct peer_data *peer; /* the first of them */
	uint64_t addresses;
	bool multiplexed;
	struct metric_set metrics; /* their sum */
};
struct peer_rows {
	struct peer_row *rows; /* client side first, on each side those that took most time first, the rest that the recording summed last */
	int len;
};
/* 0 or -ENOMEM; to be freed by peer_rows_fini in either case. */
int peer_rows_init(struct peer_rows *p, const struct agent_data *a);
void peer_rows_fini(struct peer_rows *p);
#define PEER_LABEL_BYTES 512
/* A row's name, with the port where two rows of its side share the name; or its address. Not sanitized. Returns buf. */
const char *peer_label(const struct peer_rows *rows, const struct peer_row *row, char buf[PEER_LABEL_BYTES]);
/* How long its exchanges were; NULL: there were none. */
const struct hist *peer_time(const struct peer_row *row);

/* What is to be changed, of all agents, the dearest first; an empty line after it, not before. */
int terminal_findings(const struct screen *s, const struct recording *r, const struct outlooks *outlooks);
/* Objectives: the missed ones, and how many others there are; an empty line after it, not before. */
int terminal_objectives(const struct screen *s, const struct recording *r, const struct objective_list *l);
/* What isn't steady, of all agents that are reported; an empty line after it, not before; nothing where all is steady. */
int terminal_trends(const struct screen *s, const struct recording *r, const struct trend_list *l);
/* Number i of the findings; what is to be changed is told with the first of a kind. agent: whose, NULL: that is plain. No empty line before it. */
void terminal_finding(const struct screen *s, const struct finding *list, int i, const char *agent);
/* Where the time went: bars and table of the ledgers. */
int terminal_ledger(const struct screen *s, const struct agent_data *a, const struct peer_rows *peers);
/* A ledger as a bar of `width` columns, or of none where it is empty; returns the columns. */
int ledger_bar(const struct screen *s, const struct ledger *l, int width);
/* How a bar shows a state: `columns` of its block or letter. */
void state_mark(const struct screen *s, enum state_id state, unsigned columns);
/* Peers as the client, errors and connecting, concurrency; addresses served. */
int terminal_peers(const struct screen *s, const struct agent_data *a, const struct peer_rows *peers);
int terminal_tools(const struct screen *s, const struct agent_data *a);
/* The event loop, polling and spinning. */
int terminal_loop(const struct screen *s, const struct metric_set *m);
/* Which code was on a CPU; which code waited. */
int terminal_profile(const struct screen *s, const struct stacks *stacks, const struct agent_data *a);
int terminal_waits(const struct screen *s, const struct stacks *stacks, const struct agent_data *a);
int terminal_heap(const struct screen *s, const struct stacks *stacks, const struct agent_data *a);
int terminal_gc(const struct screen *s, const struct agent_data *a);
/* Why it waited for a CPU, where that is worth asking. */
void terminal_limits(const struct screen *s, const struct agent_data *a);
/* Where memory is heading, unless it is steady or there is no telling; what could not be observed. Paragraphs, without an empty line before. */
void terminal_outlook(const struct screen *s, const struct outlook *o);
void terminal_notes(const struct screen *s, const struct agent_data *a);
/* Which container it is in, and its pid there; a paragraph, or nothing. */
void terminal_container(const struct screen *s, const struct agent_info *info);
/* The budget of watching, and what detail it left. Paragraphs. */
void terminal_cost(const struct screen *s, const struct recording *r);
/* The table of all other histograms. */
int terminal_hists(const struct screen *s, const struct metric_set *m);
/* One histogram, drawn; no empty line before it. */
int terminal_hist(const struct screen *s, const struct recording_agent *agent, enum metric_id m);
/* The same without saying whose; h may be NULL. */
int terminal_hist_drawn(const struct screen *s, const struct hist *h, enum metric_id m);

void para_count(struct para *p, uint64_t n, const char *what);
/* A quantile of durations, or "-" where there are none. */
void cell_quantile(struct table *t, const struct screen *s, const struct hist *h, double q);
/* part of whole in percent. */
void cell_share(struct table *t, const struct screen *s, uint64_t part, uint64_t whole);
/* Two cells: function, and where it is; empty ones where f is NULL. */
void cell_frame(struct table *t, const struct screen *s, const struct frame *f);
/* A table of the places of a set, by their stacks, `most` rows at most; waits: of waits, in ns, with what they are in; else of bytes. 0 or -ENOMEM. */
int print_sites(const struct screen *s, const struct stacks *stacks, const struct sample_set *set, bool waits, size_t most);
/* It waited for a CPU for a share of its time that is worth a word, or was throttled. */
bool agent_starved(const struct agent_data *a);

/* Sum of the values of h, which may be NULL. */
static inline double hist_total(const struct hist *h)
{
	return h ? (double)h->sum : 0;
}

#endif
