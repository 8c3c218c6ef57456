/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What an interval says of an agent: metrics, ledgers, tools, peers. */
#include "model/recording_parse.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

#define NAME_MAX_BYTES 256 /* of a tool or peer, with its NUL: longer ones are cut */

static int parse_hist_counts(struct refusal *r, const struct json_node *array, int offset, struct hist *h)
{
	size_t len;
	const uint64_t range = (uint64_t)(hist_index(UINT64_MAX, HIST_SCALE) - hist_index(1, HIST_SCALE) + 1);
	const uint64_t *counts = json_numbers(array, &len);
	uint64_t sum = h->zero_count;

	if (array && !counts)
		return refuse(r, "a bucket is not a whole number from 0");
	if (len > range)
		return refuse(r, "more buckets than 64-bit values can fill");
	for (size_t i = 0; i < len; i++) {
		if (__builtin_add_overflow(sum, counts[i], &sum))
			return refuse(r, "bucket counts beyond 64 bits");
	}
	if (sum != h->count)
		return refuse(r, "bucket counts do not add up");
	switch (hist_set_buckets(h, offset, counts, (uint32_t)len)) {
	case 0:
		return 0;
	case -ENOMEM:
		return -ENOMEM;
	default:
		return refuse(r, "buckets beyond the range of 64-bit values");
	}
}

static int parse_hist(struct refusal *r, const struct json_node *obj, struct hist *h)
{
	enum { SCALE, COUNT, SUM, MIN, MAX, ZERO_COUNT, OFFSET, BUCKET_COUNTS, FIELDS };
	static const struct json_key keys[FIELDS] = {JSON_KEY("scale"), JSON_KEY("count"), JSON_KEY("sum"), JSON_KEY("min"),
	        JSON_KEY("max"), JSON_KEY("zero_count"), JSON_KEY("offset"), JSON_KEY("bucket_counts")};
	uint64_t *const sums[FIELDS] = {[COUNT] = &h->count, [SUM] = &h->sum, [MIN] = &h->min, [MAX] = &h->max, [ZERO_COUNT] = &h->zero_count};
	const struct json_node *fields[FIELDS];
	int scale = INT_MIN, offset = 0, err;

	if (obj->kind != NODE_OBJECT)
		return refuse(r, "a histogram is not an object");
	json_pick(obj, keys, FIELDS, fields);
	err = to_int(r, fields[SCALE], "scale", HIST_SCALE_MIN, HIST_SCALE, &scale);
	if (!err && scale == INT_MIN)
		err = refuse(r, "a histogram without \"scale\"");
	for (int i = COUNT; i <= ZERO_COUNT && !err; i++)
		err = to_u64(r, fields[i], keys[i].name, sums[i]);
	if (!err)
		err = to_int(r, fields[OFFSET], "offset", INT_MIN, INT_MAX, &offset);
	if (!err && fields[BUCKET_COUNTS] && fields[BUCKET_COUNTS]->kind != NODE_ARRAY && fields[BUCKET_COUNTS]->kind != NODE_NUMBERS)
		err = refuse(r, "\"bucket_counts\" is not an array");
	if (!err && h->min > h->max)
		err = refuse(r, "a histogram's \"min\" is above its \"max\"");
	if (!err && h->zero_count && h->min)
		err = refuse(r, "a histogram has zeros and a \"min\" above 0");
	if (err)
		return err;
	h->scale = (int8_t)scale;
	return parse_hist_counts(r, fields[BUCKET_COUNTS], offset, h);
}

/* Moves the histogram to the set, or adds it to the one that is there: a tool may be listed twice. */
static int hist_keep(struct metric_set *s, enum metric_id m, struct hist *h)
{
	if (s->hist[m])
		return hist_merge(s->hist[m], h);
	s->hist[m] = malloc(sizeof(*h));
	if (!s->hist[m])
		return -ENOMEM;
	hist_init(s->hist[m]);
	if (h->count) { /* of none only the number of buckets could be left */
		*s->hist[m] = *h;
		hist_init(h);
	}
	return 0;
}

static int parse_hists(struct refusal *r, const struct json_node *hists, struct metric_set *s)
{
	struct json_walk walk = json_walk(hists);
	const struct json_node *value;
	const char *key;
	int m = -1;

	while (json_member(&walk, &key, &value)) {
		int err;
		struct hist h;

		m = metric_find_after(key, m);
		if (m < 0 || metric_infos[m].type != METRIC_HIST)
			continue;
		hist_init(&h);
		err = parse_hist(r, value, &h);
		if (!err)
			err = hist_keep(s, (enum metric_id)m, &h);
		hist_fini(&h);
		if (err)
			return err;
	}
	return 0;
}

static int parse_values(struct refusal *r, const struct json_node *values, bool gauges, struct metric_set *s)
{
	struct json_walk walk = json_walk(values);
	const struct json_node *value;
	const char *key;
	int m = -1;

	while (json_member(&walk, &key, &value)) {
		m = metric_find_after(key, m);
		if (m < 0 || metric_infos[m].type == METRIC_HIST || (metric_infos[m].type != METRIC_COUNTER) != gauges)
			continue;
		if (value->kind != NODE_INTEGER || value->integer < 0)
			return refuse(r, "%s is not a whole number from 0", metric_infos[m].name);
		s->value[m] += (uint64_t)value->integer;
	}
	return 0;
}

static int parse_metrics(struct refusal *r, const struct json_node *obj, struct metric_set *s)
{
	const struct json_node *counters, *gauges, *hists;
	int err = take_child(r, obj, "counters", NODE_OBJECT, &counters);

	if (!err)
		err = take_child(r, obj, "gauges", NODE_OBJECT, &gauges);
	if (!err)
		err = take_child(r, obj, "hist", NODE_OBJECT, &hists);
	if (!err)
		err = parse_values(r, counters, false, s);
	if (!err)
		err = parse_values(r, gauges, true, s);
	return err ? err : parse_hists(r, hists, s);
}

/* A state of an older or newer program still counts: "net", before there were classes, and classes unknown here are net.other. */
static enum state_id state_of(const char *name)
{
	int state = state_find(name);

	if (state >= 0)
		return (enum state_id)state;
	return !strcmp(name, "net") || !strncmp(name, "net.", 4) ? STATE_NET_OTHER : STATE_OTHER;
}

static int parse_ledger(struct refusal *r, const struct json_node *ledger, const char *key, struct ledger *l)
{
	const struct json_node *states, *value;
	struct json_walk walk;
	const char *name;
	int err = take_child(r, ledger, key, NODE_OBJECT, &states);

	if (err)
		return err;
	for (walk = json_walk(states); json_member(&walk, &name, &value);) {
		uint64_t ns;

		if (to_ns(value, &ns))
			return refuse(r, "\"%.60s\" is not a time in seconds", name);
		l->ns[state_of(name)] += ns;
	}
	return 0;
}

static int parse_concurrency(struct refusal *r, const struct json_node *agent, struct concurrency *all)
{
	const struct json_node *classes, *value;
	struct json_walk walk;
	const char *name;
	int err = take_child(r, agent, "concurrency", NODE_OBJECT, &classes);

	if (err)
		return err;
	for (walk = json_walk(classes); json_member(&walk, &name, &value);) {
		int class = class_find(name);
		struct concurrency c = { 0 }, *into = &all[class >= 0 ? class : CLASS_OTHER];

		if (value->kind != NODE_OBJECT)
			return refuse(r, "a class's concurrency is not an object");
		err = take_ns(r, value, "outstanding_s", &c.outstanding_ns);
		if (!err)
			err = take_ns(r, value, "busy_s", &c.busy_ns);
		if (!err)
			err = take_u64(r, value, "max", &c.max);
		if (err)
			return err;
		into->outstanding_ns += c.outstanding_ns;
		into->busy_ns += c.busy_ns;
		if (into->max < c.max)
			into->max = c.max;
	}
	return 0;
}

/* ---- agents ---- */

static bool tool_known(const struct agent_data *a, const char *name)
{
	for (int i = 0; i < a->tools_len; i++)
		if (!strcmp(a->tools[i].name, name))
			return true;
	return false;
}

static int parse_tool(struct refusal *r, const struct json_node *obj, struct agent_data *a, struct room *used)
{
	const char *name = NULL;
	char cut[NAME_MAX_BYTES];
	struct tool_data *tool;
	const struct json_node *ledger;
	uint64_t live = 0;
	int err, before = a->tools_len;

	if (obj->kind != NODE_OBJECT)
		return refuse(r, "a tool is not an object");
	err = take_string(r, obj, "name", &name);
	if (!err && !name)
		err = refuse(r, "a tool without \"name\"");
	if (!err)
		err = take_u64(r, obj, "runs_live", &live);
	if (!err)
		err = take_child(r, obj, "ledger", NODE_OBJECT, &ledger);
	if (err)
		return err;
	snprintf(cut, sizeof(cut), "%s", name);
	if ((a->tools_len >= AGENT_TOOLS_MAX || used->tools >= TOOLS_MAX) && !tool_known(a, cut))
		snprintf(cut, sizeof(cut), "%s", TOOL_REST);
	tool = agent_data_tool(a, cut);
	if (!tool)
		return -ENOMEM;
	used->tools += (uint64_t)(a->tools_len - before);
	tool->runs_live += live;
	err = parse_metrics(r, obj, &tool->metrics);
	return err ? err : parse_ledger(r, ledger, "main_s", &tool->main);
}

static bool peer_known(const struct agent_data *a, bool server, const char *peer, const char *name)
{
	for (int i = 0; i < a->peers_len; i++)
		if (a->peers[i].server == server && !strcmp(a->peers[i].peer, peer) && !strcmp(a->peers[i].name, name))
			return true;
	return false;
}

static int parse_peer(struct refusal *r, const struct json_node *obj, struct agent_data *a, struct room *used)
{
	const char *side = "client", *class = "";
	char peer[NAME_MAX_BYTES] = "", name[NAME_MAX_BYTES] = "";
	bool server, multiplexed = false;
	uint64_t summed = 0;
	struct peer_data *p;
	int err, before = a->peers_len;

	if (obj->kind != NODE_OBJECT)
		return refuse(r, "a peer is not an object");
	err = take_text(r, obj, "peer", peer, sizeof(peer));
	if (!err && !json_get(obj, "peer"))
		err = refuse(r, "a peer without \"peer\"");
	if (!err)
		err = take_text(r, obj, "name", name, sizeof(name));
	if (!err)
		err = take_string(r, obj, "class", &class);
	if (!err)
		err = take_string(r, obj, "side", &side);
	if (!err)
		err = take_bool(r, obj, "multiplexed", &multiplexed);
	if (!err)
		err = take_u64(r, obj, "summed", &summed);
	if (err)
		return err;
	server = !strcmp(side, "server");
	if (!server && strcmp(side, "client"))
		return refuse(r, "a peer's \"side\" is neither client nor server");
	if ((a->peers_len >= AGENT_PEERS_MAX || used->peers >= PEERS_MAX) && !peer_known(a, server, peer, name)) {
		summed = summed ? summed : 1;
		snprintf(peer, sizeof(peer), "%s", PEER_REST);
		*name = '\0';
		class = "";
	}
	p = agent_data_peer(a, server, peer, name);
	if (!p)
		return -ENOMEM;
	used->peers += (uint64_t)(a->peers_len - before);
	p->class = class_find(class) >= 0 ? (enum class_id)class_find(class) : CLASS_OTHER;
	p->multiplexed |= multiplexed;
	p->summed += peer_is_rest(p) ? summed : 0;
	return parse_metrics(r, obj, &p->metrics);
}

int parse_agent_data(struct parser *p, const struct json_node *obj, struct agent_data *a, struct agent_exit *exit, struct room *used)
{
	struct refusal *r = &p->refusal;
	const struct json_node *ledger, *tools, *peers, *value;
	struct json_walk walk;
	int err;

	if (obj->kind != NODE_OBJECT)
		return refuse(r, "an agent is not an object");
	err = take_bool(r, obj, "alive", &a->alive);
	a->id = -1;
	if (!err)
		err = take_int(r, obj, "id", 0, INT_MAX, &a->id);
	if (!err && a->id < 0)
		err = refuse(r, "an agent without \"id\"");
	if (!err)
		err = take_int(r, obj, "exit_code", INT_MIN, INT_MAX, &exit->code);
	exit->has = json_get(obj, "exit_code");
	if (!err)
		err = take_int(r, obj, "merged", 0, INT_MAX / 2, &exit->merged);
	if (!err)
		err = take_seconds(r, obj, "observed_s", &a->observed_s);
	if (!err)
		err = parse_metrics(r, obj, &a->metrics);
	if (!err)
		err = take_child(r, obj, "ledger", NODE_OBJECT, &ledger);
	if (!err)
		err = parse_ledger(r, ledger, "main_s", &a->main);
	if (!err)
		err = parse_ledger(r, ledger, "threads_s", &a->threads);
	if (!err)
		err = parse_ledger(r, ledger, "critical_s", &a->critical);
	if (!err)
		err = parse_concurrency(r, obj, a->concurrency);
	if (!err)
		err = take_child(r, obj, "tools", NODE_ARRAY, &tools);
	if (!err)
		err = take_child(r, obj, "peers", NODE_ARRAY, &peers);
	if (err)
		return err;
	for (walk = json_walk(tools); json_element(&walk, &value);) {
		err = parse_tool(r, value, a, used);
		if (err)
			return err;
	}
	for (walk = json_walk(peers); json_element(&walk, &value);) {
		err = parse_peer(r, value, a, used);
		if (err)
			return err;
	}
	return parse_extras(p, obj, a, used);
}
