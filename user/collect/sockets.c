/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The lives of connections: opened, connected, accepted, named, closed. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "collect/connections.h"
#include "collect/names.h"
#include "collect/peers.h"

static enum metric_id error_metric(unsigned error)
{
	switch (error) {
	case ECONNREFUSED:
		return M_ERRORS_REFUSED;
	case ETIMEDOUT:
		return M_ERRORS_TIMED_OUT;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EHOSTDOWN:
	case ENETDOWN:
		return M_ERRORS_UNREACHABLE;
	case ECONNRESET:
	case ECONNABORTED:
	case EPIPE:
		return M_ERRORS_RESET;
	}
	return M_ERRORS_OTHER;
}

/* A unix socket's path as text; an abstract one begins with @. */
static char *path_text(const struct so_open *r)
{
	unsigned len = r->path_bytes <= SO_PATH_BYTES ? r->path_bytes : SO_PATH_BYTES;
	char *path;

	if (!len)
		return NULL;
	path = strndup(r->path[0] ? r->path : "@", r->path[0] ? len : 1);
	if (path && !r->path[0]) {
		char *full = calloc(1, len + 1);

		free(path);
		if (!full)
			return NULL;
		full[0] = '@';
		memcpy(full + 1, r->path + 1, len - 1);
		path = full;
	}
	return path;
}

static void apply_open(struct world *w, const struct so_open *r)
{
	struct agent *a = agent_by_slot(w, r->head.agent);
	struct task *t = task_find(w, r->thread);
	struct conn *c = conn_find(w, r->socket);

	if (!a) {
		w->orphans++;
		return;
	}
	if (c)
		conn_free(w, c);
	c = calloc(1, sizeof(*c));
	if (!c)
		return;
	c->number = r->socket;
	c->agent = a->place;
	c->family = r->family;
	c->type = r->type;
	c->role = r->role;
	c->protocol = c->class = -1;
	c->local_port = r->local_port;
	c->remote_port = r->remote_port;
	memcpy(c->local, r->local, sizeof(c->local));
	memcpy(c->remote, r->remote, sizeof(c->remote));
	if (r->family == AF_UNIX) {
		c->path = path_text(r);
		c->connected = r->role == SO_ROLE_CLIENT && r->thread;
	} else if (r->role == SO_ROLE_CLIENT) {
		c->connecting_ns = c->opened_ns = r->head.time_ns;
	} else if (r->role == SO_ROLE_LISTENER) {
		w->listening[r->local_port / 8] |= 1 << r->local_port % 8;
	}
	if (!conn_is_stream(c))
		c->class = peers_class(w, c); /* now: each transfer asks */
	HASH_ADD(hh, w->conns, number, sizeof(c->number), c);
	w->endless += conn_is_endless(c);
	c->proc = proc_find(w, r->head.tid);
	if (c->proc && c->proc->agent != c->agent)
		c->proc = NULL;
	if (c->proc)
		DL_APPEND(c->proc->conns, c);
	else
		DL_APPEND(w->stray, c);
	if (t)
		t->net_last = t->net_opened = conn_state(w, c);
}

static void apply_connect(struct world *w, const struct so_connect *r)
{
	struct conn *c = r->socket ? conn_find(w, r->socket) : NULL;
	struct task *t = task_find(w, r->head.tid);
	struct proc *p = t ? t->proc : proc_find(w, r->head.tid);
	struct agent *a = c ? w->agents[c->agent] : agent_by_slot(w, r->head.agent);
	struct sets s;

	if (!a) {
		w->orphans++;
		return;
	}
	s = sets_of(a, p);
	count(w, s, r->error ? M_CONNECTS_FAILED : M_CONNECTS, 1);
	if (c && c->connecting_ns) {
		conn_span(w, c, c->connecting_ns, r->head.time_ns, OWNER_CONNECTING);
		c->connecting_ns = 0;
	}
	if (!r->error) {
		if (r->duration_ns)
			record(w, s, M_CONNECT_NS, r->duration_ns);
		if (c) {
			c->connected = true;
			c->connect_ns = r->duration_ns;
		}
		return;
	}
	count(w, s, error_metric(r->error), 1);
	if (!c)
		return;
	s = conn_peer_sets(w, c);
	count(w, s, M_CONNECTS_FAILED, 1);
	count(w, s, error_metric(r->error), 1);
	conn_free(w, c);
}

static void apply_accept(struct world *w, const struct so_accept *r)
{
	struct conn *c = r->socket ? conn_find(w, r->socket) : NULL;
	struct task *t = task_find(w, r->head.tid);
	struct proc *p = t ? t->proc : proc_find(w, r->head.tid);
	struct agent *a = agent_by_slot(w, r->head.agent);

	if (!r->head.agent) { /* a unix listener: the kernel side knows only its process */
		if (!p)
			return;
		a = w->agents[p->agent];
	}
	if (!a) {
		w->orphans++;
		return;
	}
	count(w, sets_of(a, p), M_ACCEPTS, 1);
	if (c)
		c->connected = true;
}

static void apply_close(struct world *w, const struct so_close *r)
{
	struct conn *c = conn_find(w, r->socket);
	bool by_peer;

	if (!c)
		return;
	c->closed = true;
	c->closed_ns = r->head.time_ns;
	c->closed_by_peer |= r->by_peer;
	by_peer = c->closed_by_peer || r->error;
	if (r->error && c->role != SO_ROLE_LISTENER)
		count(w, conn_sets(w, c, c->proc), error_metric(r->error), 1);
	/* What is in the queue may still be read: the agent closed its side only, perhaps, or the peer answered and reset at once. */
	if (c->exchange.state == EXCHANGE_ASKED && (!by_peer || r->unread))
		return;
	conn_end(w, c, r->head.time_ns, r->error, by_peer);
	if (c->connected)
		conn_sets(w, c, c->proc); /* it carried nothing, but was one of the peer's */
	conn_free(w, c);
}

struct dns_call {
	struct world *w;
	struct agent *a;
};

static void on_dns(void *ctx, const char *name, int family, const uint8_t addr[16])
{
	struct dns_call *d = ctx;

	peers_resolved(d->w, d->a, name, family, addr);
}

static void apply_content(struct world *w, const struct so_content *r)
{
	struct conn *c = conn_find(w, r->socket);
	size_t bytes = r->bytes <= SO_CONTENT_BYTES ? r->bytes : SO_CONTENT_BYTES;
	struct first_bytes first;

	if (!c || !bytes)
		return;
	if (r->received) {
		dns_parse(r->data, bytes, on_dns, &(struct dns_call){ w, w->agents[c->agent] });
		return;
	}
	if (!conn_is_stream(c) || c->name)
		return;
	first_bytes_parse(r->data, bytes, &first);
	if (*first.name)
		c->name = strdup(first.name);
	c->http = first.http || first.tls;
	c->http1 = first.http && !first.http2;
	c->protocol = first.class;
	c->exchange.framed = first.may_http2;
	if (first.tls && !c->peer)
		exchange_tls(&c->exchange);
}

/* A name out of the agent's memory: what is no host name is left out. */
static void apply_resolved(struct world *w, const struct so_resolved *r)
{
	struct agent *a = agent_by_slot(w, r->head.agent);
	char name[sizeof(r->name) + 1] = "";
	size_t len = strnlen(r->name, sizeof(r->name));
	bool letters = false;

	if (!a) {
		w->orphans++;
		return;
	}
	for (size_t i = 0; i < len; i++) {
		unsigned char ch = r->name[i];

		if (!isascii(ch) || (!isalnum(ch) && ch != '.' && ch != '-' && ch != '_'))
			return; /* an IPv6 address among others */
		letters |= isalpha(ch) != 0;
		name[i] = tolower(ch);
	}
	if (letters)
		peers_resolved(w, a, name, r->family, r->address);
}

static void apply_retransmit(struct world *w, const struct so_retransmit *r)
{
	struct conn *c = conn_find(w, r->socket);
	struct agent *a = agent_by_slot(w, r->head.agent);

	if (c)
		count(w, conn_sets(w, c, c->proc), M_RETRANSMITS, 1);
	else if (a)
		count(w, sets_of(a, proc_find(w, r->head.tid)), M_RETRANSMITS, 1);
	else
		w->orphans++;
}

void sockets_record(struct world *w, const struct so_head *h)
{
	switch (h->kind) {
	case SO_SEND:
	case SO_RECV:
		conn_transfer(w, (const void *)h);
		break;
	case SO_OPEN:
		apply_open(w, (const void *)h);
		break;
	case SO_CONNECT:
		apply_connect(w, (const void *)h);
		break;
	case SO_ACCEPT:
		apply_accept(w, (const void *)h);
		break;
	case SO_CLOSE:
		apply_close(w, (const void *)h);
		break;
	case SO_CONTENT:
		apply_content(w, (const void *)h);
		break;
	case SO_RESOLVED:
		apply_resolved(w, (const void *)h);
		break;
	case SO_DIGEST: {
		const struct so_digest *r = (const void *)h;
		struct conn *c = r->socket ? conn_find(w, r->socket) : NULL;
		struct task *t = task_find(w, h->tid);

		if (c)
			habit_digest(c, t, r);
		else if (t && !r->socket)
			habit_plain(t, r);
		break;
	}
	case SO_RETRANSMIT:
		apply_retransmit(w, (const void *)h);
		break;
	}
}
