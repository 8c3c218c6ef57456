// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Peers: how long each took to answer, what failed, what connecting cost, and how many were asked at once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sink/format.h"
#include "sink/terminal_parts.h"

#define PEERS_SHOWN 20
#define NEARLY_SERIAL 1.05 /* mean of outstanding exchanges */

/* ":5432" of an address with a port, else "". */
static const char *peer_port(const char *peer)
{
	const char *colon = strrchr(peer, ':');

	return colon && colon[1] && peer[0] != '/' && peer[0] != '@' && !colon[1 + strspn(colon + 1, "0123456789")] ? colon : "";
}

/* Rows that stand for the same peer. */
static bool same_peer(const struct peer_data *a, const struct peer_data *b)
{
	return a->name[0] && a->server == b->server && a->class == b->class && !strcmp(a->name, b->name) &&
	       !strcmp(peer_port(a->peer), peer_port(b->peer)) && !peer_is_rest(a) && !peer_is_rest(b);
}

static int peer_order(const void *a, const void *b)
{
	const struct peer_row *x = a, *y = b;
	double tx = hist_total(peer_time(x)), ty = hist_total(peer_time(y));
	int by_name;

	if (x->peer->server != y->peer->server)
		return x->peer->server ? 1 : -1;
	if (peer_is_rest(x->peer) != peer_is_rest(y->peer))
		return peer_is_rest(x->peer) ? 1 : -1;
	if (tx < ty || tx > ty)
		return tx < ty ? 1 : -1;
	by_name = strcmp(x->peer->name, y->peer->name);
	return by_name ? by_name : strcmp(x->peer->peer, y->peer->peer);
}

int peer_rows_init(struct peer_rows *p, const struct agent_data *a)
{
	*p = (struct peer_rows){ .rows = calloc((size_t)a->peers_len + 1, sizeof(*p->rows)) };
	if (!p->rows)
		return -ENOMEM;
	for (int i = 0; i < a->peers_len; i++) {
		const struct peer_data *peer = &a->peers[i];
		int at = 0, err;

		while (at < p->len && !same_peer(p->rows[at].peer, peer))
			at++;
		if (at == p->len)
			p->rows[p->len++].peer = peer;
		p->rows[at].addresses++;
		p->rows[at].multiplexed = p->rows[at].multiplexed || peer->multiplexed;
		err = metric_set_merge(&p->rows[at].metrics, &peer->metrics);
		if (err)
			return err;
	}
	qsort(p->rows, (size_t)p->len, sizeof(*p->rows), peer_order);
	return 0;
}

void peer_rows_fini(struct peer_rows *p)
{
	for (int i = 0; i < p->len; i++)
		metric_set_fini(&p->rows[i].metrics);
	free(p->rows);
	*p = (struct peer_rows){ 0 };
}

const struct hist *peer_time(const struct peer_row *row)
{
	return row->metrics.hist[row->peer->server ? M_SERVE_NS : M_EXCHANGE_NS];
}

const char *peer_label(const struct peer_rows *rows, const struct peer_row *row, char buf[PEER_LABEL_BYTES])
{
	bool shared = false;

	for (int i = 0; i < rows->len; i++)
		shared = shared || (&rows->rows[i] != row && rows->rows[i].peer->server == row->peer->server &&
				    !strcmp(rows->rows[i].peer->name, row->peer->name));
	if (row->peer->name[0])
		snprintf(buf, PEER_LABEL_BYTES, "%s%s", row->peer->name, shared ? peer_port(row->peer->peer) : "");
	else
		snprintf(buf, PEER_LABEL_BYTES, "%s", row->peer->peer);
	return buf;
}

static bool is_error(int metric)
{
	return !strncmp(metric_infos[metric].name, "errors_", 7);
}

static uint64_t errors_sum(const struct metric_set *m)
{
	uint64_t sum = 0;

	for (int i = 0; i < METRIC_IDS; i++)
		sum += is_error(i) ? m->value[i] : 0;
	return sum;
}

static void cell_label(struct table *t, const struct screen *s, const struct peer_rows *peers, const struct peer_row *row)
{
	char label[PEER_LABEL_BYTES];

	if (peer_is_rest(row->peer))
		table_cell(t, s, STYLE_DIM, "%s %s, summed", count_text((double)row->peer->summed), row->peer->summed == 1 ? "other" : "others");
	else
		table_cell(t, s, 0, "%s", peer_label(peers, row, label));
}

static void cell_address(struct table *t, const struct screen *s, const struct peer_row *row)
{
	if (row->addresses > 1)
		table_cell(t, s, 0, "%s addresses", count_text((double)row->addresses));
	else
		table_cell(t, s, 0, "%s", row->peer->name[0] && !peer_is_rest(row->peer) ? row->peer->peer : "");
}

static void cell_errors(struct table *t, const struct screen *s, const struct metric_set *m)
{
	uint64_t errors = errors_sum(m);

	table_cell(t, s, errors ? STYLE_BAD : 0, "%s", errors ? count_text((double)errors) : "-");
}

static void cell_rate(struct table *t, const struct screen *s, uint64_t n, double observed_s)
{
	table_cell(t, s, 0, "%s", observed_s > 0 ? rate_text((double)n / observed_s) : "-");
}

static void client_row(struct table *t, const struct screen *s, const struct peer_row *row, double observed_s)
{
	const struct metric_set *m = &row->metrics;
	uint64_t n = m->value[M_EXCHANGES], connects = m->value[M_CONNECTS];

	cell_address(t, s, row);
	table_cell(t, s, 0, "%s%s", row->multiplexed ? "~" : "", count_text((double)n));
	cell_rate(t, s, n, observed_s);
	cell_quantile(t, s, m->hist[M_EXCHANGE_NS], 0.5);
	cell_quantile(t, s, m->hist[M_EXCHANGE_NS], 0.95);
	cell_quantile(t, s, m->hist[M_EXCHANGE_NS], 0.99);
	cell_quantile(t, s, m->hist[M_TTFB_NS], 0.5);
	cell_quantile(t, s, m->hist[M_TTFB_NS], 0.99);
	cell_quantile(t, s, m->hist[M_PICKUP_NS], 0.99);
	table_cell(t, s, 0, "%s", connects ? rate_text((double)n / (double)connects) : "-");
	cell_errors(t, s, m);
}

static void server_row(struct table *t, const struct screen *s, const struct peer_row *row, double observed_s)
{
	const struct metric_set *m = &row->metrics;
	uint64_t n = m->value[M_EXCHANGES_SERVED];

	table_cell(t, s, 0, "%s%s", row->multiplexed ? "~" : "", count_text((double)n));
	cell_rate(t, s, n, observed_s);
	cell_quantile(t, s, m->hist[M_SERVE_NS], 0.5);
	cell_quantile(t, s, m->hist[M_SERVE_NS], 0.95);
	cell_quantile(t, s, m->hist[M_SERVE_NS], 0.99);
	cell_quantile(t, s, m->hist[M_SERVE_PICKUP_NS], 0.99);
	table_cell(t, s, 0, "%s", count_text((double)m->value[M_ACCEPTS]));
	cell_errors(t, s, m);
}

/* The first PEERS_SHOWN peers of a side, and the rest that the recording summed. */
static int print_side(const struct screen *s, const struct peer_rows *peers, double observed_s, bool server, const char *title,
		      const struct table_column *columns, int columns_len)
{
	bool multiplexed = false;
	int shown = 0, hidden = 0;
	struct table t;

	table_init(&t, columns, columns_len);
	for (int i = 0; i < peers->len; i++) {
		const struct peer_row *row = &peers->rows[i];
		bool rest = peer_is_rest(row->peer);

		if (row->peer->server != server)
			continue;
		if (!rest && shown == PEERS_SHOWN) {
			hidden++;
			continue;
		}
		shown += !rest;
		multiplexed = multiplexed || row->multiplexed;
		if (!server)
			table_cell(&t, s, 0, "%s", rest ? "" : class_infos[row->peer->class].name);
		cell_label(&t, s, peers, row);
		(server ? server_row : client_row)(&t, s, row, observed_s);
	}
	if (!t.used)
		return 0;
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, "%s", title);
	if (table_print(&t, s))
		return -ENOMEM;
	if (multiplexed)
		screen_line(s, STYLE_DIM, "  ~ requests overlap on a connection: an estimate from its bursts");
	if (hidden)
		screen_line(s, STYLE_DIM, "  and %d more%s", hidden, s->live ? "" : " (--json lists all)");
	return 0;
}

static int print_clients(const struct screen *s, const struct peer_rows *peers, double observed_s)
{
	static const struct table_column columns[] = {
		{ .title = "class", .left = true, .drop = 1 },
		{ .title = "peer", .left = true, .flex = true },
		{ .title = "address", .left = true, .drop = 9 },
		{ .title = "count" },
		{ .title = "/s", .drop = 6 },
		{ .title = "p50" },
		{ .title = "p95", .drop = 7 },
		{ .title = "p99", .drop = 2 },
		{ .title = "ttfb p50", .drop = 4 },
		{ .title = "ttfb p99", .drop = 8 },
		{ .title = "pickup p99", .drop = 7 },
		{ .title = "reuse", .drop = 5 },
		{ .title = "errors", .drop = 3 },
	};

	return print_side(s, peers, observed_s, false, "  Peers (from first byte sent to last received; reuse: exchanges a connect)", columns,
			  ARRAY_SIZE(columns));
}

static int print_served(const struct screen *s, const struct peer_rows *peers, double observed_s)
{
	static const struct table_column columns[] = {
		{ .title = "address", .left = true, .flex = true },
		{ .title = "count" },
		{ .title = "/s", .drop = 4 },
		{ .title = "p50" },
		{ .title = "p95", .drop = 5 },
		{ .title = "p99", .drop = 1 },
		{ .title = "pickup p99", .drop = 3 },
		{ .title = "accepts", .drop = 6 },
		{ .title = "errors", .drop = 2 },
	};

	return print_side(s, peers, observed_s, true, "  Served (from request arrived to last byte of the answer sent)", columns, ARRAY_SIZE(columns));
}

/* "22 connects took 1.98 ms (p99 178 us)" */
static void para_took(struct para *p, const struct hist *h, const char *what)
{
	if (h && h->count)
		para_part(p, "%s %s took %s (p99 %s)", count_text((double)h->count), what, ns_text((double)h->sum), ns_text(hist_quantile(h, 0.99)));
}

static void print_troubles(const struct screen *s, const struct metric_set *m)
{
	const struct hist *connect = m->hist[M_CONNECT_NS], *handshake = m->hist[M_HANDSHAKE_NS];
	bool connecting = (connect && connect->count) || (handshake && handshake->count), errors = errors_sum(m) > 0;
	struct para p;

	if (connecting || errors)
		fputc('\n', s->out);
	if (connecting) {
		para_begin(&p, s, "connecting");
		para_took(&p, connect, "connects");
		para_took(&p, handshake, "TLS handshakes");
		para_end(&p);
	}
	if (!errors)
		return;
	para_begin(&p, s, "errors");
	for (int i = 0; i < METRIC_IDS; i++) {
		char kind[32];

		if (!is_error(i) || !m->value[i])
			continue;
		snprintf(kind, sizeof(kind), "%s", metric_infos[i].name + 7);
		for (char *c = kind; *c; c++)
			*c = *c == '_' ? ' ' : *c;
		para_count(&p, m->value[i], kind);
	}
	para_end(&p);
}

static int print_concurrency(const struct screen *s, const struct agent_data *a)
{
	static const struct table_column columns[] = {
		{ .title = "class", .left = true }, { .title = "mean" }, { .title = "max" }, { .title = "busy", .drop = 2 },
		{ .title = "", .left = true, .drop = 1, .clauses = true, .flex = true },
	};
	struct table t;

	table_init(&t, columns, ARRAY_SIZE(columns));
	for (int i = 0; i < CLASS_COUNT; i++) {
		const struct concurrency *c = &a->concurrency[i];
		double mean = c->busy_ns ? (double)c->outstanding_ns / (double)c->busy_ns : 0;

		if (!c->busy_ns)
			continue;
		table_cell(&t, s, 0, "%s", class_infos[i].name);
		table_cell(&t, s, 0, "%.2f", mean);
		table_cell(&t, s, 0, "%s", count_text((double)c->max));
		table_cell(&t, s, 0, "%s", ns_text((double)c->busy_ns));
		table_cell(&t, s, 0, "%s", c->max <= 1 ? "serial: one at a time" : mean < NEARLY_SERIAL ? "nearly serial" : "");
	}
	if (!t.used)
		return 0;
	fputc('\n', s->out);
	screen_line(s, STYLE_BOLD, "  Concurrency (exchanges outstanding while there were any)");
	return table_print(&t, s);
}

int terminal_peers(const struct screen *s, const struct agent_data *a, const struct peer_rows *peers)
{
	int err = print_clients(s, peers, a->observed_s);

	if (!err)
		print_troubles(s, &a->metrics);
	if (!err)
		err = print_concurrency(s, a);
	if (!err)
		err = print_served(s, peers, a->observed_s);
	return err;
}
