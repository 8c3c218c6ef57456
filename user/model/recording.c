/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The data of an interval: what recordings are written from and read into. */
#include "model/recording.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void agent_info_fini(struct agent_info *info)
{
	free(info->name);
	free(info->cmdline);
	free(info->cgroup);
}

int agent_info_copy(struct agent_info *into, const struct agent_info *from)
{
	*into = *from;
	into->name = strdup(from->name);
	into->cmdline = strdup(from->cmdline);
	into->cgroup = strdup(from->cgroup);
	if (into->name && into->cmdline && into->cgroup)
		return 0;
	agent_info_fini(into);
	return -ENOMEM;
}

void observer_data_lost(struct observer_data *o, const char *reason, uint64_t count)
{
	int i;

	for (i = 0; i < o->losses; i++)
		if (!strcmp(o->lost[i].reason, reason))
			break;
	if (i == OBSERVER_LOSSES) {
		i = OBSERVER_LOSSES - 1;
		o->lost[i].reason = "other";
	} else if (i == o->losses) {
		o->lost[i].reason = reason;
		o->lost[i].count = 0;
		o->losses++;
	}
	o->lost[i].count += count;
}

uint64_t observer_data_lost_sum(const struct observer_data *o)
{
	uint64_t sum = 0;

	for (int i = 0; i < o->losses; i++)
		sum += o->lost[i].count;
	return sum;
}

bool header_probe_on(const struct header_data *h, enum probe_id probe, bool unsaid)
{
	for (int i = 0; i < h->probes_len; i++)
		if (h->probes[i].name && !strcmp(h->probes[i].name, probe_infos[probe].name))
			return h->probes[i].state && !strcmp(h->probes[i].state, "on");
	return unsaid;
}

void observer_data_merge(struct observer_data *into, const struct observer_data *from)
{
	if (from->bpf_s >= 0)
		into->bpf_s = into->bpf_s >= 0 ? into->bpf_s + from->bpf_s : from->bpf_s;
	into->cpu_s += from->cpu_s;
	into->records += from->records;
	into->rss_bytes = from->rss_bytes;
	cost_merge(&into->cost, &from->cost);
	for (int i = 0; i < from->losses; i++)
		observer_data_lost(into, from->lost[i].reason, from->lost[i].count);
}

static void peer_fini(struct peer_data *p)
{
	metric_set_fini(&p->metrics);
	free(p->peer);
	free(p->name);
}

void agent_data_fini(struct agent_data *a)
{
	metric_set_fini(&a->metrics);
	for (int i = 0; i < a->tools_len; i++) {
		metric_set_fini(&a->tools[i].metrics);
		free(a->tools[i].name);
	}
	free(a->tools);
	for (int i = 0; i < a->peers_len; i++)
		peer_fini(&a->peers[i]);
	free(a->peers);
	agent_data_extras_reset(a);
	for (int i = 0; i < SAMPLE_COUNT; i++)
		sample_set_fini(&a->samples[i]);
	free(a->notes);
	memset(a, 0, sizeof(*a));
}

void agent_data_extras_reset(struct agent_data *a)
{
	for (int i = 0; i < SAMPLE_COUNT; i++)
		sample_set_reset(&a->samples[i]);
	memset(&a->heap, 0, sizeof(a->heap));
	memset(a->rivals, 0, sizeof(a->rivals));
	a->rivals_other_ns = 0;
	memset(a->wakers, 0, sizeof(a->wakers));
	for (int i = 0; i < a->notes_len; i++)
		free(a->notes[i]);
	a->notes_len = 0;
}

/* A sum that wrapped round to 0 would end the list. */
static uint64_t capped_sum(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

void agent_data_rival(struct agent_data *a, const char name[16], uint64_t ns)
{
	struct rival *r = a->rivals, *end = a->rivals + RIVALS_KEPT;

	if (!ns)
		return;
	while (r < end && r->ns && memcmp(r->name, name, sizeof(r->name)))
		r++;
	if (r == end) {
		r--;
		if (ns <= r->ns) {
			a->rivals_other_ns = capped_sum(a->rivals_other_ns, ns);
			return;
		}
		a->rivals_other_ns = capped_sum(a->rivals_other_ns, r->ns);
		r->ns = 0;
	}
	if (!r->ns)
		memcpy(r->name, name, sizeof(r->name));
	r->ns = capped_sum(r->ns, ns);
	for (; r > a->rivals && r->ns > r[-1].ns; r--) {
		struct rival up = *r;

		*r = r[-1];
		r[-1] = up;
	}
}

#define SAME_PERIOD 4 /* periods that differ by less than one part in this are one */

static bool waker_is(const struct waker *a, const struct waker *b)
{
	double x = (double)a->gaps_ns / (double)a->wakes, y = (double)b->gaps_ns / (double)b->wakes;

	return !memcmp(a->name, b->name, sizeof(a->name)) && (x > y ? x - y : y - x) <= (x > y ? x : y) / SAME_PERIOD;
}

void agent_data_waker(struct agent_data *a, const struct waker *add)
{
	struct waker *w = a->wakers, *end = a->wakers + WAKERS_KEPT;

	if (!add->wakes)
		return;
	while (w < end && w->wakes && !waker_is(w, add))
		w++;
	if (w == end) {
		w--;
		if (add->cpu_ns <= w->cpu_ns)
			return;
		w->wakes = 0;
	}
	if (!w->wakes) {
		*w = *add;
	} else {
		w->wakes = capped_sum(w->wakes, add->wakes);
		w->gaps_ns = capped_sum(w->gaps_ns, add->gaps_ns);
		w->cpu_ns = capped_sum(w->cpu_ns, add->cpu_ns);
	}
	for (; w > a->wakers && w->cpu_ns > w[-1].cpu_ns; w--) {
		struct waker up = *w;

		*w = w[-1];
		w[-1] = up;
	}
}

/* Room for one more in an array of which only the length is kept: it grows at 0, 1, 2, 4, 8 .., so that its capacity is
 * always at least the next power of two. Returns the array, moved maybe, or NULL. */
static void *array_grow(void *array, int len, size_t size)
{
	if (len & (len - 1))
		return array;
	return reallocarray(array, len ? (size_t)len * 2 : 1, size);
}

/* The array moves when a tool is added: a tool found earlier must be looked up again. */
struct tool_data *agent_data_tool(struct agent_data *a, const char *name)
{
	struct tool_data *tool;

	for (int i = 0; i < a->tools_len; i++)
		if (!strcmp(a->tools[i].name, name))
			return &a->tools[i];
	tool = array_grow(a->tools, a->tools_len, sizeof(*tool));
	if (!tool)
		return NULL;
	a->tools = tool;
	tool += a->tools_len;
	memset(tool, 0, sizeof(*tool));
	tool->name = strdup(name);
	if (!tool->name)
		return NULL;
	a->tools_len++;
	return tool;
}

int agent_data_note(struct agent_data *a, const char *text)
{
	char **notes;

	for (int i = 0; i < a->notes_len; i++)
		if (!strcmp(a->notes[i], text))
			return 0;
	if (a->notes_len == NOTES_KEPT)
		return 0;
	if (!a->notes) {
		notes = calloc(NOTES_KEPT, sizeof(*notes));
		if (!notes)
			return -ENOMEM;
		a->notes = notes;
	}
	a->notes[a->notes_len] = strdup(text);
	return a->notes[a->notes_len] ? a->notes_len++, 0 : -ENOMEM;
}

struct peer_data *agent_data_peer(struct agent_data *a, bool server, const char *peer, const char *name)
{
	struct peer_data *p;

	for (int i = 0; i < a->peers_len; i++) {
		p = &a->peers[i];
		if (p->server == server && !strcmp(p->peer, peer) && !strcmp(p->name, name))
			return p;
	}
	p = array_grow(a->peers, a->peers_len, sizeof(*p));
	if (!p)
		return NULL;
	a->peers = p;
	p += a->peers_len;
	memset(p, 0, sizeof(*p));
	p->server = server;
	p->class = CLASS_OTHER;
	p->peer = strdup(peer);
	p->name = strdup(name);
	if (!p->peer || !p->name) {
		peer_fini(p);
		return NULL;
	}
	a->peers_len++;
	return p;
}

uint64_t peer_exchanges(const struct peer_data *p)
{
	return p->metrics.value[M_EXCHANGES] + p->metrics.value[M_EXCHANGES_SERVED];
}

bool peer_is_rest(const struct peer_data *p)
{
	return *p->peer == *PEER_REST && !strcmp(p->peer, PEER_REST) && !*p->name;
}

bool peer_active(const struct peer_data *p)
{
	for (int m = 0; m < METRIC_IDS; m++)
		if (p->metrics.value[m] || (p->metrics.hist[m] && p->metrics.hist[m]->count))
			return true;
	return false;
}

static int descending(uint64_t x, uint64_t y)
{
	return (x < y) - (x > y);
}

/* qsort: the rests, then the busiest first; the same order each time. */
static int peer_compare(const void *a, const void *b)
{
	const struct peer_data *x = a, *y = b;
	const uint64_t *v = x->metrics.value, *w = y->metrics.value;
	int order = peer_is_rest(y) - peer_is_rest(x);

	if (!order)
		order = descending(peer_exchanges(x), peer_exchanges(y));
	if (!order)
		order = descending(v[M_CONNECTS] + v[M_ACCEPTS], w[M_CONNECTS] + w[M_ACCEPTS]);
	if (!order)
		order = descending(v[M_SENT_BYTES] + v[M_RECEIVED_BYTES], w[M_SENT_BYTES] + w[M_RECEIVED_BYTES]);
	if (!order)
		order = peer_active(y) - peer_active(x);
	if (!order)
		order = x->server - y->server;
	if (!order)
		order = strcmp(x->peer, y->peer);
	return order ? order : strcmp(x->name, y->name);
}

static int peer_merge(struct peer_data *into, const struct peer_data *from)
{
	into->multiplexed |= from->multiplexed;
	into->summed += from->summed;
	return metric_set_merge(&into->metrics, &from->metrics);
}

/* Makes the peer the rest that those after it are added to. */
static int peer_to_rest(struct peer_data *p)
{
	char *peer = strdup(PEER_REST), *name = strdup("");

	if (!peer || !name) {
		free(peer);
		free(name);
		return -ENOMEM;
	}
	free(p->peer);
	free(p->name);
	p->peer = peer;
	p->name = name;
	p->class = CLASS_OTHER;
	p->summed = 1;
	return 0;
}

int agent_data_peers_trim(struct agent_data *a, int keep)
{
	struct peer_data *rest[2] = { NULL }, fresh[2]; /* by side */
	int len = 0, rests = 0, err = 0;

	if (a->peers_len <= keep)
		return 0;
	qsort(a->peers, (size_t)a->peers_len, sizeof(*a->peers), peer_compare);
	for (; rests < a->peers_len && peer_is_rest(&a->peers[rests]); rests++)
		rest[a->peers[rests].server] = &a->peers[rests];
	for (int i = 0; i < a->peers_len; i++) {
		struct peer_data *p = &a->peers[i];

		if (i < rests + keep || err) {
			a->peers[len++] = *p;
			continue;
		}
		if (!peer_active(p)) { /* adds nothing to any sum */
			peer_fini(p);
			continue;
		}
		if (!rest[p->server]) {
			err = peer_to_rest(p);
			if (!err) {
				fresh[p->server] = *p;
				rest[p->server] = &fresh[p->server];
			}
		} else {
			p->summed = 1;
			err = peer_merge(rest[p->server], p);
			if (!err)
				peer_fini(p);
		}
		if (err)
			a->peers[len++] = *p;
	}
	for (int side = 0; side < 2; side++)
		if (rest[side] == &fresh[side]) /* there is room: it came from a place that is free by now */
			a->peers[len++] = fresh[side];
	a->peers_len = len;
	return err;
}

static int peers_merge(struct agent_data *into, const struct agent_data *from)
{
	int keep = from->peers_len, err = 0;

	/* The recorder may have been asked to keep more than by default: then an interval has more. */
	for (int i = 0; i < from->peers_len; i++)
		keep -= peer_is_rest(&from->peers[i]);
	keep = keep < PEERS_KEPT ? PEERS_KEPT : keep > PEERS_KEPT_MAX ? PEERS_KEPT_MAX : keep;
	for (int i = 0; i < from->peers_len && !err; i++) {
		const struct peer_data *p = &from->peers[i];
		struct peer_data *peer = agent_data_peer(into, p->server, p->peer, p->name);

		if (!peer)
			return -ENOMEM;
		peer->class = p->class;
		err = peer_merge(peer, p);
		if (!err && into->peers_len > 4 * keep)
			err = agent_data_peers_trim(into, keep);
	}
	return err;
}

static int tools_merge(struct agent_data *into, const struct agent_data *from)
{
	for (int i = 0; i < from->tools_len; i++) {
		struct tool_data *tool = agent_data_tool(into, from->tools[i].name);
		int err = tool ? metric_set_merge(&tool->metrics, &from->tools[i].metrics) : -ENOMEM;

		if (err)
			return err;
		ledger_merge(&tool->main, &from->tools[i].main);
		tool->runs_live = from->tools[i].runs_live;
	}
	return 0;
}

int agent_data_merge(struct agent_data *into, const struct agent_data *from)
{
	int err = metric_set_merge(&into->metrics, &from->metrics);

	if (err)
		return err;
	into->id = from->id;
	into->alive = from->alive;
	into->observed_s += from->observed_s;
	ledger_merge(&into->main, &from->main);
	ledger_merge(&into->threads, &from->threads);
	ledger_merge(&into->critical, &from->critical);
	for (int c = 0; c < CLASS_COUNT; c++) {
		into->concurrency[c].outstanding_ns += from->concurrency[c].outstanding_ns;
		into->concurrency[c].busy_ns += from->concurrency[c].busy_ns;
		if (into->concurrency[c].max < from->concurrency[c].max)
			into->concurrency[c].max = from->concurrency[c].max;
	}
	/* At its end a program may tidy up what leaked all the time (CPython does): the candidates stand as they were before. */
	for (int i = 0; i < SAMPLE_COUNT && !err; i++)
		if (i != SAMPLE_LEAK_BYTES || from->alive || !into->samples[i].len)
			err = sample_set_merge(&into->samples[i], &from->samples[i], sample_infos[i].last);
	heap_data_merge(&into->heap, &from->heap);
	for (const struct rival *r = from->rivals; r < from->rivals + RIVALS_KEPT && r->ns; r++)
		agent_data_rival(into, r->name, r->ns);
	for (const struct waker *w = from->wakers; w < from->wakers + WAKERS_KEPT && w->wakes; w++)
		agent_data_waker(into, w);
	into->rivals_other_ns = capped_sum(into->rivals_other_ns, from->rivals_other_ns);
	for (int i = 0; i < from->notes_len && !err; i++)
		err = agent_data_note(into, from->notes[i]);
	if (!err)
		err = tools_merge(into, from);
	return err ? err : peers_merge(into, from);
}
