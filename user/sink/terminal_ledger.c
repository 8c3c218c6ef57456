// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Where the time went: the ledgers of an agent side by side. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sink/format.h"
#include "sink/terminal_parts.h"

#define LEAST_NS (NS_PER_S / 2000) /* less would read 0.000 */
#define BAR_LABEL 13 /* columns, indent and gap aside */
#define SOLE 0.99 /* a peer with this share of a class's exchange time is as good as alone */
#define MOSTLY 0.5

/* Terminals have 14 colours that are neither black nor the text's own; the states seen least share one, and are shaded. */
static const struct state_style {
	int color;
	const char *block;
} state_styles[STATE_COUNT] = {
	[STATE_RUNNING] = { 32, "\u2588" },   [STATE_RUNNABLE] = { 33, "\u2588" },  [STATE_NET_LLM] = { 35, "\u2588" },
	[STATE_NET_DB] = { 34, "\u2588" },    [STATE_NET_CACHE] = { 36, "\u2588" }, [STATE_NET_VECTOR] = { 95, "\u2588" },
	[STATE_NET_HTTP] = { 94, "\u2588" },  [STATE_NET_OTHER] = { 96, "\u2588" }, [STATE_DISK] = { 91, "\u2588" },
	[STATE_LOCK] = { 31, "\u2588" },      [STATE_PIPE] = { 93, "\u2588" },	    [STATE_CHILD] = { 92, "\u2588" },
	[STATE_SLEEP] = { 90, "\u2588" },     [STATE_INPUT] = { 37, "\u2588" },	    [STATE_FAULT] = { 91, "\u2592" },
	[STATE_IDLE] = { 90, "\u2591" },      [STATE_POLL] = { 36, "\u2592" },	    [STATE_OTHER] = { 37, "\u2592" },
};

/* Seconds, plainly, so that a column of them adds up. */
static void cell_seconds(struct table *t, const struct screen *s, uint64_t ns)
{
	table_cell(t, s, 0, "%.*f", ns < 1000 * NS_PER_S ? 3 : 1, (double)ns / 1e9);
}

/* tenths of a percent; a share that rounds to nothing must not read as none */
static void cell_percent(struct table *t, const struct screen *s, uint64_t ns, unsigned tenths)
{
	if (ns && !tenths)
		table_cell(t, s, 0, "<0.1");
	else
		table_cell(t, s, 0, "%u.%u", tenths / 10, tenths % 10);
}

void state_mark(const struct screen *s, enum state_id state, unsigned columns)
{
	style_begin(s, state_styles[state].color);
	for (unsigned n = 0; n < columns; n++) {
		if (s->color && s->utf8 && !s->letters)
			fputs(state_styles[state].block, s->out);
		else
			fputc(state_infos[state].bar, s->out);
	}
	style_end(s, state_styles[state].color);
}

int ledger_bar(const struct screen *s, const struct ledger *l, int width)
{
	unsigned cells[STATE_COUNT];

	if (!ledger_sum(l) || width <= 0)
		return 0;
	format_split(l->ns, STATE_COUNT, (unsigned)width, cells);
	for (int i = 0; i < STATE_COUNT; i++)
		if (cells[i])
			state_mark(s, (enum state_id)i, cells[i]);
	return width;
}

static void print_bar(const struct screen *s, const char *label, const struct ledger *l)
{
	if (!ledger_sum(l))
		return;
	fputs("  ", s->out);
	style_begin(s, STYLE_DIM);
	fprintf(s->out, "%-*s", BAR_LABEL, label);
	style_end(s, STYLE_DIM);
	ledger_bar(s, l, s->width - 4 - BAR_LABEL);
	fputc('\n', s->out);
}

/* The peer of class c that the agent spent most time on as the client, by its exchanges; *ret_share: its share of the class's, *ret_peers:
 * how many took any. */
static const struct peer_row *class_main_peer(const struct peer_rows *peers, enum class_id c, double *ret_share, uint64_t *ret_peers)
{
	const struct peer_row *most = NULL;
	double sum = 0, high = 0;
	uint64_t n = 0;

	for (int i = 0; i < peers->len; i++) {
		const struct peer_row *row = &peers->rows[i];
		double ns = hist_total(peer_time(row));
		bool rest = peer_is_rest(row->peer);

		if (row->peer->server || row->peer->class != c || !(ns > 0))
			continue;
		sum += ns;
		n += rest ? row->peer->summed : 1;
		if (!rest && ns > high) {
			high = ns;
			most = row;
		}
	}
	*ret_share = sum > 0 ? high / sum : 0;
	*ret_peers = n;
	return most;
}

/* What a state means; for one of the network, rather who the other end is. */
static void cell_note(struct table *t, const struct screen *s, const struct peer_rows *peers, enum state_id state)
{
	const struct peer_row *row = NULL;
	char label[PEER_LABEL_BYTES];
	double share = 0;
	uint64_t n = 0;

	if (state >= STATE_NET_LLM && state < STATE_NET_LLM + CLASS_COUNT)
		row = class_main_peer(peers, (enum class_id)(state - STATE_NET_LLM), &share, &n);
	if (!row) {
		table_cell(t, s, STYLE_DIM, "%s", state_infos[state].help);
		return;
	}
	peer_label(peers, row, label);
	if (share < MOSTLY)
		table_cell(t, s, 0, "%s peers, above all %s", count_text((double)n), label);
	else if (share < SOLE && n > 1)
		table_cell(t, s, 0, "mostly %s", label);
	else if (row->peer->name[0] && row->addresses == 1)
		table_cell(t, s, 0, "%s: %s", label, row->peer->peer);
	else
		table_cell(t, s, 0, "%s", label);
}

/* The ledgers close by construction; where one doesn't, the reader must know. */
static void print_gap(const struct screen *s, const char *whose, uint64_t ns, double observed_s)
{
	double sum_s = (double)ns / 1e9;

	if (ns && observed_s > 0 && fabs(sum_s - observed_s) > 0.005 * observed_s)
		screen_line(s, STYLE_BOLD, "  (%saccounts for %.3f s of %.3f s observed)", whose, sum_s, observed_s);
}

int terminal_ledger(const struct screen *s, const struct agent_data *a, const struct peer_rows *peers)
{
	static const struct table_column columns[] = {
		{ .title = "", .left = true },
		{ .title = "state", .left = true },
		{ .title = "main s" },
		{ .title = "%" },
		{ .title = "agent s", .drop = 2 },
		{ .title = "threads s", .drop = 3 },
		{ .title = "", .left = true, .drop = 4, .flex = true, .clauses = true },
	};
	uint64_t main_ns = ledger_sum(&a->main), threads_ns = ledger_sum(&a->threads), critical_ns = ledger_sum(&a->critical);
	unsigned main_share[STATE_COUNT];
	struct table t;

	if (!main_ns && !threads_ns && !critical_ns)
		return 0;
	format_split(a->main.ns, STATE_COUNT, 1000, main_share);
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, "  Where the time went");
	print_bar(s, "main thread", &a->main);
	print_bar(s, "whole agent", &a->critical);
	fputc('\n', s->out);
	table_init(&t, columns, ARRAY_SIZE(columns));
	for (int i = 0; i < STATE_COUNT; i++) {
		if (a->main.ns[i] < LEAST_NS && a->threads.ns[i] < LEAST_NS && a->critical.ns[i] < LEAST_NS && !main_share[i])
			continue;
		if (s->color && s->utf8 && !s->letters)
			table_cell(&t, s, state_styles[i].color, "%s%s", state_styles[i].block, state_styles[i].block);
		else
			table_cell(&t, s, state_styles[i].color, "%c", state_infos[i].bar);
		table_cell(&t, s, 0, "%s", state_infos[i].name);
		cell_seconds(&t, s, a->main.ns[i]);
		cell_percent(&t, s, a->main.ns[i], main_share[i]);
		if (critical_ns)
			cell_seconds(&t, s, a->critical.ns[i]);
		else
			table_cell(&t, s, 0, "%s", "");
		cell_seconds(&t, s, a->threads.ns[i]);
		cell_note(&t, s, peers, (enum state_id)i);
	}
	table_cell(&t, s, 0, "%s", "");
	table_cell(&t, s, STYLE_BOLD, "sum");
	cell_seconds(&t, s, main_ns);
	cell_percent(&t, s, main_ns, main_ns ? 1000 : 0);
	if (critical_ns)
		cell_seconds(&t, s, critical_ns);
	else
		table_cell(&t, s, 0, "%s", "");
	cell_seconds(&t, s, threads_ns);
	table_cell(&t, s, 0, "%s", "");
	if (table_print(&t, s))
		return -ENOMEM;
	print_gap(s, "", main_ns, a->observed_s);
	print_gap(s, "the whole agent's ", critical_ns, a->observed_s);
	return 0;
}
