// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "sink/terminal_parts.h"
#include "top/frame.h"

#define TITLE_LINES 3
#define LIST_FOOTER 3 /* states, observer, keys */
#define PAGE_FOOTER 2
#define NAME_MOST 24
#define NAME_FAIR 15 /* columns go before a name is cut below this */
#define NAME_LEAST 8
#define BAR_LEAST 13 /* at 80 columns; wider terminals have wider bars */
#define STYLE_ALERT 33
#define COLUMNS_MAX 32

struct list_layout {
	int name, bar; /* columns of the terminal */
	bool shown[COLUMNS_MAX];
};

struct builder {
	struct screen s;
	struct top_frame *f;
	const struct live *l;
	struct top_view *v;
	struct top_rows rows;
	const struct outlooks *outlooks;
	const struct recents *recents;
};

int frame_put(const struct screen *s, int style, int room, const char *fmt, ...)
{
	char text[512], fit[2048];
	va_list ap;
	int columns;

	if (room <= 0)
		return 0;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	columns = text_fit(fit, sizeof(fit), text, room, s->utf8);
	style_begin(s, style);
	fputs(fit, s->out);
	style_end(s, style);
	return columns;
}

/* The same for plain text, all or nothing. */
static int put_if_fits(const struct screen *s, int room, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int put_if_fits(const struct screen *s, int room, const char *fmt, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if ((int)strlen(text) > room)
		return 0;
	fputs(text, s->out);
	return (int)strlen(text);
}

static const char *duration_text(double s, char buf[FORMAT_LEN])
{
	unsigned t = s > 0 && s < 1e9 ? (unsigned)(s + 0.5) : 0; /* intervals end a little off the second */

	snprintf(buf, FORMAT_LEN, "%u:%02u:%02u", t / 3600, t / 60 % 60, t % 60);
	return buf;
}

/* --- footer --- */

void frame_observer(const struct screen *s, const struct live *l, bool all)
{
	const struct observer_data *o = all ? &l->observer : &l->observer_last;
	double time_s = fmax(all ? l->now_s : l->interval_s, 1e-3), bpf_s = o->bpf_s >= 0 ? o->bpf_s : o->cost.part_s[COST_BPF];
	uint64_t lost = observer_data_lost_sum(o), ever = observer_data_lost_sum(&l->observer);
	int room = s->width;

	room -= frame_put(s, STYLE_DIM, room, "observer  ");
	room -= frame_put(s, 0, room, "%.2f %% CPU, %s records/s", 100 * (o->cpu_s + bpf_s) / time_s, rate_text((double)o->records / time_s));
	if (lost)
		room -= frame_put(s, STYLE_BAD, room, ", %s lost", count_text((double)lost));
	else if (ever)
		room -= frame_put(s, STYLE_BAD, room, ", %s lost before", count_text((double)ever));
	else
		room -= frame_put(s, 0, room, ", nothing lost");
	if (o->cost.governed && cost_reduced_s(&o->cost) > 0)
		room -= frame_put(s, STYLE_ALERT, room, ", detail: %s", rung_infos[cost_lowest(&o->cost)].name);
	else
		room -= frame_put(s, 0, room, ", full detail");
	room -= put_if_fits(s, room, ", %s", bytes_text((double)o->rss_bytes));
	if (o->cost.governed && o->cost.budget_s > 0)
		put_if_fits(s, room, ", budget %.0f %% used", 100 * cost_sum_s(&o->cost) / o->cost.budget_s);
	fputc('\n', s->out);
}

/* What the bars of the list are made of, the most time first, as far as there is room. */
static void put_states(const struct builder *b)
{
	const struct screen *s = &b->s;
	struct ledger sum = { { 0 } };
	int room = s->width;

	for (int i = 0; i < b->rows.len; i++)
		ledger_merge(&sum, &agent_figures(b->rows.agents[i], b->v->all)->critical);
	for (;;) {
		int most = 0, need;

		for (int i = 1; i < STATE_COUNT; i++)
			if (sum.ns[i] > sum.ns[most])
				most = i;
		need = (int)strlen(state_infos[most].name) + 4;
		if (!sum.ns[most] || need > room)
			break;
		state_mark(s, (enum state_id)most, 1);
		fprintf(s->out, " %s  ", state_infos[most].name);
		room -= need;
		sum.ns[most] = 0;
	}
	fputc('\n', s->out);
}

static void put_keys(const struct builder *b, const char *keys)
{
	if (b->v->message[0])
		frame_put(&b->s, STYLE_ALERT, b->s.width, "%s", b->v->message);
	else
		frame_put(&b->s, STYLE_DIM, b->s.width, "%s", keys);
	fputc('\n', b->s.out);
}

/* --- the list --- */

static struct list_layout layout_of(const struct builder *b)
{
	struct list_layout y = { .name = (int)strlen(column_info(0)->title) };
	int least = BAR_LEAST + (b->s.width > 80 ? (b->s.width - 80) / 6 : 0), rest = b->s.width - 2;
	const struct top_column *c;

	for (int i = 0; i < b->rows.len; i++) {
		char fit[256];
		int columns = text_fit(fit, sizeof(fit), b->rows.agents[i]->info.name, NAME_MOST, b->s.utf8);

		y.name = columns > y.name ? columns : y.name;
	}
	for (int i = 1; (c = column_info(i)) && i < COLUMNS_MAX; i++) {
		y.shown[i] = true;
		rest -= c->width + 1;
	}
	while (y.name > NAME_FAIR && rest - y.name < least)
		y.name--;
	while (rest - y.name < least) {
		int at = 0;

		for (int i = 1; (c = column_info(i)) && i < COLUMNS_MAX; i++)
			if (y.shown[i] && c->drop && (!at || c->drop > column_info(at)->drop))
				at = i;
		if (!at)
			break;
		y.shown[at] = false;
		rest += column_info(at)->width + 1;
	}
	while (y.name > NAME_LEAST && rest - y.name < least)
		y.name--;
	y.bar = rest - y.name > 0 ? rest - y.name : 0;
	return y;
}

static void put_title(const struct builder *b)
{
	const struct top_view *v = b->v;
	const struct live *l = b->l;
	const struct screen *s = &b->s;
	int room = s->width;

	room -= frame_put(s, STYLE_BOLD, room, "stakeout top");
	room -= frame_put(s, 0, room < 24 ? room : 24, "  %s", l->header.host.name);
	room -= frame_put(s, 0, room, "  %d %s", b->rows.all, b->rows.all == 1 ? "agent" : "agents");
	if (b->rows.ended)
		room -= frame_put(s, 0, room, ", %d ended", b->rows.ended);
	room -= frame_put(s, 0, room, "  %s", duration_text(l->now_s, (char[FORMAT_LEN]){ 0 }));
	if (v->all)
		room -= frame_put(s, 0, room, "  since the beginning");
	else
		room -= frame_put(s, 0, room, "  last %s", ns_text(l->interval_s * 1e9));
	frame_put(s, 0, room, "  by %s%s", column_info(v->sort)->title, v->reverse ? ", reversed" : "");
	fputc('\n', s->out);
}

/* What is typed, or in force; returns the columns. */
static int put_filter(const struct builder *b, int room)
{
	const struct top_view *v = b->v;
	int used = 0;

	if (v->typing)
		used = frame_put(&b->s, STYLE_ALERT, room, "filter: %s_  %d of %d  ", v->typed, b->rows.len, b->rows.all);
	else if (v->filter[0])
		used = frame_put(&b->s, STYLE_ALERT, room, "filter: %s  %d of %d  ", v->filter, b->rows.len, b->rows.all);
	return used;
}

/* The sums of all that is shown. */
static void put_sums(const struct builder *b)
{
	double cpu = 0, runq = 0, waits = 0, calls = 0, rss = 0;
	const struct screen *s = &b->s;
	int room = s->width;

	for (int i = 0; i < b->rows.len; i++) {
		const struct agent_data *d = agent_figures(b->rows.agents[i], b->v->all);
		const uint64_t *v = d->metrics.value;

		if (!(d->observed_s > 0))
			continue;
		cpu += ((double)v[M_CPU_USER_NS] + (double)v[M_CPU_SYSTEM_NS]) / 1e9 / d->observed_s;
		runq += hist_total(d->metrics.hist[M_RUNQ_NS]) / 1e9 / d->observed_s;
		waits += (double)v[M_SWITCHES_VOLUNTARY] / d->observed_s;
		calls += (double)v[M_EXCHANGES] / d->observed_s;
		rss += b->rows.agents[i]->ended ? 0 : (double)v[M_RSS_BYTES];
	}
	if (b->v->paused)
		room -= frame_put(s, STYLE_ALERT, room, "PAUSED  ");
	room -= put_filter(b, room);
	room -= frame_put(s, 0, room, "sum: CPU %.1f %%, ", 100 * cpu);
	if (runq > 0 || looked_at(b->l, b->v->all, M_RUNQ_NS))
		room -= frame_put(s, 0, room, "run queue %.1f %%, ", 100 * runq);
	room -= frame_put(s, 0, room, "%s waits/s, ", rate_text(waits));
	if (calls > 0 || looked_at(b->l, b->v->all, M_EXCHANGES))
		room -= frame_put(s, 0, room, "%s calls/s, ", rate_text(calls));
	frame_put(s, 0, room, "%s", bytes_text(rss));
	fputc('\n', s->out);
}

static void put_heads(const struct builder *b, const struct list_layout *y)
{
	const struct screen *s = &b->s;
	const struct top_column *c;

	for (int i = 0; (c = column_info(i)) && i < COLUMNS_MAX; i++) {
		int style = i == b->v->sort ? STYLE_BOLD : STYLE_DIM;

		if (i && !y->shown[i])
			continue;
		fprintf(s->out, "%*s", i ? c->width - (int)strlen(c->title) + 1 : 1, "");
		style_begin(s, style);
		fputs(c->title, s->out);
		style_end(s, style);
		if (!i)
			fprintf(s->out, "%*s", y->name - (int)strlen(c->title), "");
	}
	fputc(' ', s->out);
	frame_put(s, STYLE_DIM, y->bar, "%s", y->bar >= 19 ? "where the time goes" : "time");
	fputc('\n', s->out);
}

static void put_cell(const struct builder *b, int column, const struct live_agent *a)
{
	const char *text = column_text(column, b->l, a, b->v->all, (char[FORMAT_LEN]){ 0 });
	int style = column_style(column, a);

	fprintf(b->s.out, "%*s", column_info(column)->width + 1 - (int)strlen(text), "");
	style_begin(&b->s, style);
	fputs(text, b->s.out);
	style_end(&b->s, style);
}

static void put_row(const struct builder *b, const struct list_layout *y, const struct live_agent *a, bool selected)
{
	const struct agent_data *d = agent_figures(a, b->v->all);
	const struct ledger *l = ledger_sum(&d->critical) ? &d->critical : &d->main;
	const struct screen *s = &b->s;
	const struct top_column *c;
	int used;

	fputc(selected ? '>' : ' ', s->out);
	used = frame_put(s, a->ended ? STYLE_DIM : 0, y->name, "%s", a->info.name);
	fprintf(s->out, "%*s", y->name - used, "");
	for (int i = 1; (c = column_info(i)) && i < COLUMNS_MAX; i++)
		if (y->shown[i])
			put_cell(b, i, a);
	fputc(' ', s->out);
	if (a->ended && !ledger_sum(l))
		frame_put(s, STYLE_DIM, y->bar, "ended");
	else
		ledger_bar(s, l, y->bar);
	fputc('\n', s->out);
}

static void put_none(const struct builder *b)
{
	if (!b->l->intervals)
		screen_line(&b->s, 0, "  waiting for the first interval");
	else if (b->rows.all)
		screen_line(&b->s, 0, "  none of %d agents suits the filter (Escape clears it)", b->rows.all);
	else
		screen_line(&b->s, 0, "  no agent: waiting for one that matches");
}

static int clamp(int n, int low, int high)
{
	return n > high ? (high < low ? low : high) : n < low ? low : n;
}

/* The selected agent stays selected wherever it goes; the place stays when the agent goes. */
static void settle_selection(struct builder *b, int body)
{
	struct top_view *v = b->v;
	int at = top_rows_at(&b->rows, v->selected);

	if (!b->l->intervals) /* the order says nothing yet */
		return;
	if (at < 0)
		at = v->selected_at;
	at = clamp(at + v->move + v->page_move * body, 0, b->rows.len - 1);
	v->move = v->page_move = 0;
	v->selected_at = at;
	v->selected = b->rows.len ? b->rows.agents[at]->info.id : -1;
	v->first = clamp(v->first, at - body + 1, at);
	v->first = clamp(v->first, 0, b->rows.len - body);
}

static int build_list(struct builder *b)
{
	int body = b->v->height - TITLE_LINES - LIST_FOOTER;
	struct list_layout y = layout_of(b);

	settle_selection(b, body);
	put_title(b);
	put_sums(b);
	put_heads(b, &y);
	for (int i = 0; i < body; i++) {
		int at = b->v->first + i;

		if (at < b->rows.len && b->l->intervals) {
			bool selected = at == b->v->selected_at;

			if (selected)
				b->f->selected = TITLE_LINES + i;
			put_row(b, &y, b->rows.agents[at], selected);
		} else if (!i) {
			put_none(b);
		} else {
			fputc('\n', b->s.out);
		}
	}
	put_states(b);
	frame_observer(&b->s, b->l, b->v->all);
	put_keys(b, b->v->typing ? "Enter: keep the filter  Escape: as it was  Ctrl-U: empty" :
				   "Enter agent  / filter  < > sort  r reverse  s sums  p pause  h help  q quit");
	return 0;
}

/* --- pages that scroll --- */

/* Prints `body` lines of text from v->scroll on, which is kept within it. */
static void put_window(const struct builder *b, char *text, int body)
{
	struct top_view *v = b->v;
	char *line = text, *end;
	int lines = 0, printed = 0;

	for (const char *c = text; *c; c++)
		lines += *c == '\n';
	v->scroll = clamp(v->scroll + v->move + v->page_move * body, 0, lines - body);
	v->move = v->page_move = 0;
	for (int i = 0; i < lines && printed < body; i++, line = end + 1) {
		end = strchr(line, '\n');
		if (i >= v->scroll)
			printed += fprintf(b->s.out, "%.*s\n", (int)(end - line), line) > 0;
	}
	for (; printed < body; printed++)
		fputc('\n', b->s.out);
}

static void put_agent_title(const struct builder *b, const struct live_agent *a)
{
	const struct screen *s = &b->s;
	const struct top_column *c;
	int room = s->width, style = a->ended ? STYLE_DIM : 0;

	if (b->v->paused)
		room -= frame_put(s, STYLE_ALERT, room, "PAUSED  ");
	room -= frame_put(s, STYLE_BOLD, room < 40 ? room : room / 2, "%s", a->info.name);
	room -= frame_put(s, 0, room, "  pid %d%s  %s", a->info.pid, a->ended ? ", ended" : "",
			  duration_text(agent_figures(a, true)->observed_s, (char[FORMAT_LEN]){ 0 }));
	if (b->v->all)
		frame_put(s, 0, room, "  since the beginning");
	else
		frame_put(s, 0, room, "  last %s", ns_text(b->l->interval_s * 1e9));
	fputc('\n', s->out);
	screen_line(s, STYLE_DIM, "%s", a->info.cmdline);
	room = s->width;
	for (int i = 2; (c = column_info(i)) && room > 0; i++) {
		char text[FORMAT_LEN];
		int need = (int)strlen(c->title) + 1 + (int)strlen(column_text(i, b->l, a, b->v->all, text));

		if (!strcmp(text, "-") || (!strcmp(text, "0") && c->drop) || c->drop > 8 || need > room)
			continue;
		frame_put(s, STYLE_DIM, room, "%s ", c->title);
		frame_put(s, style, room, "%s", text);
		fputs(need + 2 <= room ? "  " : "", s->out);
		room -= need + 2;
	}
	fputc('\n', s->out);
}

static int build_agent(struct builder *b, const struct live_agent *a)
{
	int body = b->v->height - TITLE_LINES - PAGE_FOOTER, err;
	_cleanup_free_ char *text = NULL;
	long sections[SECTIONS] = { 0 };
	struct screen s = b->s;
	size_t size = 0;

	s.out = open_memstream(&text, &size);
	if (!s.out)
		return -ENOMEM;
	err = agent_page(&s, b->l, a, b->outlooks, recents_of(b->recents, a->info.id), b->v, sections);
	if (fclose(s.out) || err)
		return -ENOMEM;
	if (b->v->section > 0 && b->v->section <= SECTIONS) {
		b->v->scroll = 1; /* past the empty line before it */
		for (long i = 0; i < sections[b->v->section - 1]; i++)
			b->v->scroll += text[i] == '\n';
	}
	b->v->section = 0;
	put_agent_title(b, a);
	put_window(b, text, body);
	frame_observer(&b->s, b->l, b->v->all);
	put_keys(b, "Esc list  1 time 2 peers 3 tools 4 loop 5 histograms 6 memory 7 figures  h help");
	return 0;
}

static int build_help(struct builder *b)
{
	static const char *const keys[][2] = {
		{ "Up Down PgUp PgDn Home End", "move; also j and k" },
		{ "Enter", "the agent's page; Escape: back to the list" },
		{ "Left Right < >", "sort by another column; on a page: another agent" },
		{ "r", "reverse the order" },
		{ "s", "sums since the beginning, or the last interval" },
		{ "/", "filter by name, command line, container or pid" },
		{ "1 to 7", "on a page: go to a section" },
		{ "n N", "on a page: draw another histogram" },
		{ "p, space", "pause: the screen stands, watching goes on" },
		{ "Ctrl-L", "paint all anew" },
		{ "q, Ctrl-C", "quit" },
	};
	_cleanup_free_ char *text = NULL;
	struct screen s = b->s;
	const struct top_column *c;
	size_t size = 0;

	s.out = open_memstream(&text, &size);
	if (!s.out)
		return -ENOMEM;
	screen_line(&s, STYLE_BOLD, "Keys");
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		screen_line(&s, 0, "  %-28s%s", keys[i][0], keys[i][1]);
	fputc('\n', s.out);
	screen_line(&s, STYLE_BOLD, "Columns, and the capital letter or digit that sorts by them (again: reversed)");
	for (int i = 0; (c = column_info(i)); i++)
		screen_line(&s, 0, "  %c  %-9s%s", c->key, c->title, c->help);
	fputc('\n', s.out);
	screen_line(&s, STYLE_BOLD, "Where the time goes: the whole agent, tools included");
	for (int i = 0; i < STATE_COUNT; i++) {
		fputs("  ", s.out);
		state_mark(&s, (enum state_id)i, 1);
		frame_put(&s, 0, s.width - 3, "  %-12s%s", state_infos[i].name, state_infos[i].help);
		fputc('\n', s.out);
	}
	if (fclose(s.out))
		return -ENOMEM;
	put_window(b, text, b->v->height - 1);
	put_keys(b, "Up, Down: scroll  any other key: back");
	return 0;
}

/* --- all of it --- */

/* Which agent's page there is to show, if any. */
static const struct live_agent *settle_agent(struct builder *b)
{
	struct top_view *v = b->v;
	const struct live_agent *a;
	int at;

	if (v->enter && v->selected >= 0) {
		v->agent = v->selected;
		v->scroll = 0;
	}
	v->enter = false;
	if (v->agent < 0)
		return NULL;
	if (v->agent_step && b->rows.len) {
		at = top_rows_at(&b->rows, v->agent);
		at = ((at < 0 ? 0 : at + v->agent_step) % b->rows.len + b->rows.len) % b->rows.len;
		v->agent = v->selected = b->rows.agents[at]->info.id;
		v->selected_at = at;
	}
	v->agent_step = 0;
	a = live_find(b->l, v->agent);
	if (!a) {
		snprintf(v->message, sizeof(v->message), "the agent ended more than %.0f s ago: its page is closed", b->l->keep_s);
		v->agent = -1;
		v->scroll = 0;
	}
	return a;
}

static int build(struct builder *b)
{
	struct top_view *v = b->v;
	const struct live_agent *a;

	if (v->width < FRAME_WIDTH_MIN || v->height < FRAME_HEIGHT_MIN) {
		frame_put(&b->s, 0, b->s.width, "%dx%d is too small: at least %dx%d", v->width, v->height, FRAME_WIDTH_MIN, FRAME_HEIGHT_MIN);
		return 0;
	}
	if (v->help)
		return build_help(b);
	a = settle_agent(b);
	return a ? build_agent(b, a) : build_list(b);
}

/* Text into lines, as many as the terminal has. */
static int lines_split(struct top_frame *f, int height)
{
	char *c = f->text, *end = f->text + f->size;

	f->lines = calloc((size_t)height, sizeof(*f->lines));
	if (!f->lines)
		return -ENOMEM;
	for (f->len = 0; f->len < height; f->len++) {
		f->lines[f->len] = c;
		c += strcspn(c, "\n");
		if (c < end)
			*c++ = '\0';
	}
	return 0;
}

int top_frame_init(struct top_frame *f, const struct live *l, const struct outlooks *outlooks, const struct recents *recents, struct top_view *v)
{
	struct builder b = { .f = f, .l = l, .v = v, .outlooks = outlooks, .recents = recents };
	int err;

	*f = (struct top_frame){ .selected = -1 };
	b.s = (struct screen){ .width = v->width, .color = v->color, .utf8 = v->utf8, .letters = v->letters, .live = true };
	b.s.out = open_memstream(&f->text, &f->size);
	if (!b.s.out)
		return -ENOMEM;
	err = top_rows_init(&b.rows, l, v);
	if (!err)
		err = build(&b);
	top_rows_fini(&b.rows);
	if (fclose(b.s.out) && !err)
		err = -ENOMEM;
	return err ? err : lines_split(f, v->height > 0 ? v->height : 1);
}

void top_frame_fini(struct top_frame *f)
{
	free(f->text);
	free(f->lines);
	*f = (struct top_frame){ .selected = -1 };
}
