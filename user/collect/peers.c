/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who the other ends are: addresses as text, names, classes; and the agent's table of peers. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collect/peers.h"

#define RESOLVED_MAX 8192 /* addresses with a name that are remembered; the oldest go first */
#define PEERS_IDLE_MAX 1024 /* peers without a connection that an agent remembers */
#define HOLD_GAPS 4 /* an answer is taken as over after this many times the usual gap */
#define FIRST_GAPS 2 /* the same for the gap after the first burst: a model may think between the head of its answer and the first token */
#define STREAMS_MOSTLY 128 /* of 256 */
#define PEERS_SLACK 4 /* times the peers kept that an interval may hold */
#define OVERLAPS_MIN 3
#define OVERLAPS_SHARE 2 /* a sign in one of so many exchanges: a preempted client, too, sends a request in two parts now and then */

/* "10.0.0.5", "::1"; IPv4 within IPv6 as IPv4. */
static void address_text(int family, const uint8_t address[16], char buf[INET6_ADDRSTRLEN])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	*buf = 0; /* another family has no text */
	if (family == AF_INET6 && !memcmp(address, mapped, sizeof(mapped)))
		inet_ntop(AF_INET, address + sizeof(mapped), buf, INET6_ADDRSTRLEN);
	else
		inet_ntop(family, address, buf, INET6_ADDRSTRLEN);
}

static struct resolved_key resolved_key(int agent, int family, const uint8_t address[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct resolved_key k;

	memset(&k, 0, sizeof(k)); /* padding is hashed too */
	k.agent = agent;
	if (family == AF_INET6 && !memcmp(address, mapped, sizeof(mapped))) {
		k.family = AF_INET;
		memcpy(k.address, address + sizeof(mapped), 4);
	} else {
		k.family = family;
		memcpy(k.address, address, family == AF_INET ? 4 : 16);
	}
	return k;
}

static void resolved_free(struct world *w, struct resolved *r)
{
	HASH_DEL(w->resolved, r);
	free(r->name);
	free(r);
}

void peers_resolved(struct world *w, const struct agent *a, const char *name, int family, const uint8_t address[16])
{
	struct resolved_key k = resolved_key(a->info.id, family, address);
	struct resolved *r;

	HASH_FIND(hh, w->resolved, &k, sizeof(k), r);
	if (r)
		resolved_free(w, r);
	else if (HASH_COUNT(w->resolved) >= RESOLVED_MAX)
		resolved_free(w, w->resolved);
	r = calloc(1, sizeof(*r));
	if (!r)
		return;
	r->key = k;
	r->name = strdup(name);
	if (!r->name) {
		free(r);
		return;
	}
	HASH_ADD(hh, w->resolved, key, sizeof(r->key), r);
}

static const char *resolved_name(const struct world *w, const struct conn *c)
{
	struct resolved_key k = resolved_key(w->agents[c->agent]->info.id, c->family, c->remote);
	struct resolved *r;

	HASH_FIND(hh, w->resolved, &k, sizeof(k), r);
	return r ? r->name : "";
}

struct identity {
	char address[INET6_ADDRSTRLEN + SO_PATH_BYTES];
	char text[INET6_ADDRSTRLEN + SO_PATH_BYTES + 16];
	const char *name;
	enum class_id class;
};

static void identify(const struct world *w, const struct conn *c, struct identity *ret)
{
	bool server = c->role == SO_ROLE_SERVER;
	struct peer_facts facts = { .address = ret->address, .name = c->name ? c->name : "", .protocol = c->protocol, .http = c->http };
	const char *given = NULL;

	if (c->family == AF_UNIX) {
		snprintf(ret->address, sizeof(ret->address), "%s", c->path ? c->path : c->role == SO_ROLE_PAIR ? "socketpair" : "unix");
		snprintf(ret->text, sizeof(ret->text), "%s", ret->address);
	} else {
		facts.port = server ? c->local_port : c->remote_port;
		address_text(c->family, server ? c->local : c->remote, ret->address);
		snprintf(ret->text, sizeof(ret->text), strchr(ret->address, ':') ? "[%s]:%d" : "%s:%d", ret->address, facts.port);
		if (!*facts.name && !server)
			facts.name = resolved_name(w, c);
	}
	ret->class = peer_classify(w->rules, &facts, &given);
	ret->name = given ? given : facts.name;
}

enum class_id peers_class(const struct world *w, const struct conn *c)
{
	struct identity id;

	if (c->peer)
		return c->peer->class;
	if (c->class >= 0)
		return c->class;
	identify(w, c, &id);
	return id.class;
}

static void peer_free(struct agent *a, struct peer *p)
{
	HASH_DEL(a->peers, p);
	free(p->key);
	free(p->text);
	free(p->name);
	free(p->repeats);
	free(p);
}

/* Named peers are one by name and port, whatever the address. */
static char *peer_key(const struct conn *c, const struct identity *id)
{
	bool server = c->role == SO_ROLE_SERVER;
	char *key = NULL;

	if (*id->name && c->family != AF_UNIX && !server)
		key = asprintf(&key, "c%d %s", c->remote_port, id->name) < 0 ? NULL : key;
	else
		key = asprintf(&key, "%c%s", server ? 's' : 'c', id->text) < 0 ? NULL : key;
	return key;
}

static struct peer *peer_new(struct agent *a, const struct conn *c, const struct identity *id, char *key)
{
	struct peer *p = calloc(1, sizeof(*p));

	if (!p || !(p->text = strdup(id->text)) || !(p->name = strdup(id->name))) {
		if (p)
			free(p->text);
		free(p);
		free(key);
		return NULL;
	}
	p->key = key;
	p->class = id->class;
	p->server = c->role == SO_ROLE_SERVER;
	p->epoch = a->peers_epoch - 1;
	HASH_ADD_KEYPTR(hh, a->peers, p->key, strlen(p->key), p);
	return p;
}

struct peer *peers_of(struct world *w, struct agent *a, struct conn *c)
{
	struct identity id;
	struct peer *p;
	char *key;

	if (c->peer)
		return c->peer;
	identify(w, c, &id);
	key = peer_key(c, &id);
	if (!key)
		return NULL;
	HASH_FIND(hh, a->peers, key, strlen(key), p);
	if (p)
		free(key);
	else if (!(p = peer_new(a, c, &id, key)))
		return NULL;
	p->refs++;
	return c->peer = p;
}

void peers_leave(struct conn *c)
{
	if (c->peer)
		c->peer->refs--;
	c->peer = NULL;
}

static bool peer_overlaps(const struct peer *p)
{
	return p->exchanges && p->overlaps >= OVERLAPS_MIN && p->overlaps * OVERLAPS_SHARE >= p->exchanges;
}

struct metric_set *peers_metrics(struct world *w, struct agent *a, struct peer *p)
{
	struct peer_data *d;

	if (p->epoch == a->peers_epoch)
		return &a->cur.peers[p->index].metrics;
	if (a->cur.peers_len >= PEERS_SLACK * w->peers_kept && a->cur.peers_len >= PEERS_SLACK * PEERS_KEPT) { /* bounded, however many there are */
		agent_data_peers_trim(&a->cur, w->peers_kept);
		a->peers_epoch++;
	}
	d = agent_data_peer(&a->cur, p->server, p->text, p->name);
	if (!d)
		return NULL;
	d->class = p->class;
	p->index = d - a->cur.peers;
	p->epoch = a->peers_epoch;
	d->multiplexed = peer_overlaps(p);
	return &d->metrics;
}

void peers_overlap(struct agent *a, struct peer *p)
{
	p->overlaps++;
	if (p->epoch == a->peers_epoch && peer_overlaps(p))
		a->cur.peers[p->index].multiplexed = true;
}

uint64_t peers_hold_ns(const struct peer *p, unsigned bursts)
{
	if (!p)
		return 0;
	if (bursts <= 1)
		return p->streams >= STREAMS_MOSTLY ? FIRST_GAPS * p->first_gap_ns : 0;
	return HOLD_GAPS * p->gap_ns;
}

/* The new value counts an eighth; what rises, at once, since to call an answer over too early is the worse mistake. */
static uint64_t smooth(uint64_t old, uint64_t new)
{
	return new > old ? (old ? old + (new - old) / 2 : new) : old - (old - new) / 8;
}

void peers_learn_gap(struct peer *p, bool first, uint64_t gap_ns)
{
	if (first)
		p->first_gap_ns = smooth(p->first_gap_ns, gap_ns);
	if (!first || !p->gap_ns)
		p->gap_ns = smooth(p->gap_ns, gap_ns);
}

void peers_learn_end(struct peer *p, unsigned bursts)
{
	p->exchanges++;
	p->streams += ((bursts > 1) * 256 - (int)p->streams) / 4;
}

void peers_close(struct world *w, struct agent *a)
{
	agent_data_peers_trim(&a->cur, w->peers_kept);
	a->peers_epoch++;
}

void peers_next(struct agent *a)
{
	struct peer *p, *pp;
	unsigned idle = 0;

	for (int i = 0; i < a->cur.peers_len; i++) {
		metric_set_fini(&a->cur.peers[i].metrics);
		free(a->cur.peers[i].peer);
		free(a->cur.peers[i].name);
	}
	free(a->cur.peers);
	a->cur.peers = NULL;
	a->cur.peers_len = 0;
	a->peers_epoch++;
	if (HASH_COUNT(a->peers) < PEERS_IDLE_MAX)
		return;
	HASH_ITER(hh, a->peers, p, pp)
		idle += !p->refs;
	HASH_ITER(hh, a->peers, p, pp)
		if (!p->refs && idle-- > PEERS_IDLE_MAX) /* the oldest */
			peer_free(a, p);
}

void peers_agent_fini(struct agent *a)
{
	struct peer *p, *pp;

	HASH_ITER(hh, a->peers, p, pp)
		peer_free(a, p);
}

void peers_fini(struct world *w)
{
	struct resolved *r, *rr;

	HASH_ITER(hh, w->resolved, r, rr)
		resolved_free(w, r);
}

size_t peers_bytes(const struct world *w)
{
	struct peer *p, *pp;
	size_t n = HASH_COUNT(w->resolved) * (sizeof(struct resolved) + 32);

	for (int i = 0; i < w->len; i++)
		HASH_ITER(hh, w->agents[i]->peers, p, pp)
			n += sizeof(*p) + 64 + (p->repeats ? sizeof(*p->repeats) : 0);
	return n;
}
