/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/recording_parse.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "lib/util.h"

/* Of an agent that is in one. */
static int parse_container(struct refusal *r, const struct json_node *agent, struct container *c)
{
	const struct json_node *obj;
	int err = take_child(r, agent, "container", NODE_OBJECT, &obj);

	if (err || !obj)
		return err;
	err = take_text(r, obj, "id", c->id, sizeof(c->id));
	if (!err)
		err = take_text(r, obj, "runtime", c->runtime, sizeof(c->runtime));
	if (!err)
		err = take_text(r, obj, "pod", c->pod, sizeof(c->pod));
	return err ? err : take_text(r, obj, "qos", c->qos, sizeof(c->qos));
}

int parse_agent_info(struct parser *p, const struct json_node *obj, struct agent_info *info)
{
	struct refusal *r = &p->refusal;
	int err;

	memset(info, 0, sizeof(*info));
	info->id = -1;
	if (obj->kind != NODE_OBJECT)
		return refuse(r, "an agent is not an object");
	err = take_int(r, obj, "id", 0, INT_MAX, &info->id);
	if (!err && info->id < 0)
		err = refuse(r, "an agent without \"id\"");
	if (!err)
		err = take_int(r, obj, "pid", 0, INT_MAX, &info->pid);
	if (!err)
		err = take_u64(r, obj, "start_ticks", &info->start_ticks);
	if (!err)
		err = take_copy(r, obj, "name", &info->name);
	if (!err)
		err = take_copy(r, obj, "cmdline", &info->cmdline);
	if (!err)
		err = take_copy(r, obj, "cgroup", &info->cgroup);
	if (!err)
		err = parse_container(r, obj, &info->container);
	return err ? err : take_int(r, obj, "ns_pid", 0, INT_MAX, &info->ns_pid);
}

/* ---- the observer ---- */

/* A lasting copy of a loss's name, or "other" when there are too many of them. */
static const char *loss_name(struct parser *p, const char *name)
{
	char *copy;

	for (int i = 0; i < p->losses_len; i++)
		if (!strcmp(p->losses[i], name))
			return p->losses[i];
	if (p->losses_len == LOSS_NAMES_MAX || strlen(name) > 64)
		return "other";
	copy = strdup(name);
	if (copy)
		p->losses[p->losses_len++] = copy;
	return copy;
}

void parser_fini(struct parser *p)
{
	for (int i = 0; i < p->losses_len; i++)
		free(p->losses[i]);
	stack_numbers_fini(&p->numbers);
	parser_trim(p);
}

void parser_trim(struct parser *p)
{
	json_tree_fini(&p->line);
	json_list_fini(&p->agents);
}

static int parse_observer(struct parser *p, const struct json_node *obj, struct observer_data *o)
{
	const struct json_node *lost, *value;
	struct json_walk walk;
	const char *key;
	int err = take_seconds(&p->refusal, obj, "cpu_s", &o->cpu_s);

	o->bpf_s = -1;
	if (!err && !json_is(json_get(obj, "bpf_s"), NODE_NULL))
		err = take_seconds(&p->refusal, obj, "bpf_s", &o->bpf_s);
	if (!err)
		err = take_u64(&p->refusal, obj, "records", &o->records);
	if (!err)
		err = take_u64(&p->refusal, obj, "rss_bytes", &o->rss_bytes);
	if (!err)
		err = parse_cost(&p->refusal, obj, &o->cost);
	if (!err)
		err = take_child(&p->refusal, obj, "lost", NODE_OBJECT, &lost);
	if (err)
		return err;
	for (walk = json_walk(lost); json_member(&walk, &key, &value);) {
		const char *reason;

		if (value->kind != NODE_INTEGER || value->integer < 0)
			return refuse(&p->refusal, "a loss is not a whole number from 0");
		reason = loss_name(p, key);
		if (!reason)
			return -ENOMEM;
		observer_data_lost(o, reason, (uint64_t)value->integer);
	}
	return 0;
}

/* ---- intervals ---- */

void parsed_fini(struct parsed *line)
{
	for (int i = 0; i < line->len; i++)
		agent_data_fini(&line->agents[i]);
	free(line->agents);
	free(line->pointers);
	free(line->exits);
}

static int id_compare(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static int agents_distinct(struct refusal *r, const struct parsed *line)
{
	_cleanup_free_ int *ids = calloc((size_t)line->len + 1, sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	for (int i = 0; i < line->len; i++)
		ids[i] = line->agents[i].id;
	qsort(ids, (size_t)line->len, sizeof(*ids), id_compare);
	for (int i = 1; i < line->len; i++)
		if (ids[i] == ids[i - 1])
			return refuse(r, "agent %d is there twice", ids[i]);
	return 0;
}

static int parse_agents(struct parser *p, struct parsed *line)
{
	const size_t len = p->agents.len;
	const struct json_node *agent;
	struct refusal *r = &p->refusal;
	struct room used = { 0 };
	int got;

	line->agents = calloc(len + 1, sizeof(*line->agents));
	line->pointers = calloc(len + 1, sizeof(*line->pointers));
	line->exits = calloc(len + 1, sizeof(*line->exits));
	if (!line->agents || !line->pointers || !line->exits)
		return -ENOMEM;
	while ((got = json_list_next(&p->agents, &agent)) > 0) {
		const int i = line->len++;
		int err;

		line->pointers[i] = &line->agents[i];
		err = parse_agent_data(p, agent, &line->agents[i], &line->exits[i], &used);
		if (err)
			return err;
	}
	if (got)
		return got == -EBADMSG ? refuse(r, "not JSON") : got;
	line->data.agents = line->pointers;
	line->data.agents_len = line->len;
	return agents_distinct(r, line);
}

int parse_interval(struct parser *p, const struct json_node *obj, struct parsed *line)
{
	struct refusal *r = &p->refusal;
	const struct json_node *observer, *agents;
	int err = take_u64(r, obj, "seq", &line->data.seq);

	if (!err)
		err = take_seconds(r, obj, "start_s", &line->data.start_s);
	if (!err)
		err = take_seconds(r, obj, "end_s", &line->data.end_s);
	if (!err && line->data.end_s < line->data.start_s)
		err = refuse(r, "\"end_s\" is before \"start_s\"");
	if (!err)
		err = take_child(r, obj, "observer", NODE_OBJECT, &observer);
	if (!err)
		err = parse_observer(p, observer, &line->data.observer);
	if (!err)
		err = take_child(r, obj, "agents", NODE_ARRAY, &agents); /* when it is no array */
	if (!err && agents && agents->len)
		err = refuse(r, "\"agents\" is written with escapes"); /* and was not found when the line was split */
	return err ? err : parse_agents(p, line);
}

/* ---- the header ---- */

static int parse_probe(struct refusal *r, const struct json_node *obj, struct header_data *h)
{
	static const char *const states[] = { "on", "off", "unavailable" };
	const char *name = "", *state = "";
	struct probe_state *p;
	int err, id;

	if (obj->kind != NODE_OBJECT)
		return refuse(r, "a probe is not an object");
	err = take_string(r, obj, "name", &name);
	if (!err)
		err = take_string(r, obj, "state", &state);
	if (err)
		return err;
	id = probe_find(name);
	if (id < 0 || h->probes_len == PROBE_COUNT)
		return 0;
	p = &h->probes[h->probes_len];
	p->state = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(states); i++)
		if (!strcmp(state, states[i]))
			p->state = states[i];
	if (!p->state)
		return 0;
	p->name = probe_infos[id].name;
	err = take_text(r, obj, "why", p->why, sizeof(p->why));
	if (!err)
		h->probes_len++;
	return err;
}

static int parse_host(struct refusal *r, const struct json_node *host, struct host_info *h)
{
	int err = take_text(r, host, "name", h->name, sizeof(h->name));

	if (!err)
		err = take_text(r, host, "kernel", h->kernel, sizeof(h->kernel));
	if (!err)
		err = take_text(r, host, "arch", h->arch, sizeof(h->arch));
	if (!err)
		err = take_text(r, host, "boot_id", h->boot_id, sizeof(h->boot_id));
	return err ? err : take_int(r, host, "cpus", 0, INT_MAX, &h->cpus);
}

int parse_header(struct parser *p, const struct json_node *obj, struct header_data *h)
{
	struct refusal *r = &p->refusal;
	const struct json_node *host, *probes, *value;
	struct json_walk walk;
	int err = take_child(r, obj, "host", NODE_OBJECT, &host);

	if (!err)
		err = parse_host(r, host, &h->host);
	if (!err)
		err = take_text(r, obj, "start", h->start, sizeof(h->start));
	if (!err)
		err = take_seconds(r, obj, "interval_s", &h->interval_s);
	if (!err)
		err = take_u64(r, obj, "first_seq", &h->first_seq);
	if (!err)
		err = take_child(r, obj, "probes", NODE_ARRAY, &probes);
	if (err)
		return err;
	for (walk = json_walk(probes); json_element(&walk, &value);) {
		err = parse_probe(r, value, h);
		if (err)
			return err;
	}
	return 0;
}

int parse_merged(struct parser *p, const struct json_node *obj, struct recording *rec)
{
	struct refusal *r = &p->refusal;
	const struct json_node *merged, *hosts, *value;
	struct json_walk walk;
	int err = take_child(r, obj, "merged", NODE_OBJECT, &merged);

	if (!err)
		err = take_int(r, merged, "files", 0, INT_MAX / 2, &rec->header.merged_files);
	if (!err)
		err = take_child(r, merged, "hosts", NODE_ARRAY, &hosts);
	if (err || !hosts || !hosts->len)
		return err;
	rec->hosts = calloc(hosts->len, sizeof(*rec->hosts));
	if (!rec->hosts)
		return -ENOMEM;
	for (walk = json_walk(hosts); json_element(&walk, &value);) {
		if (value->kind != NODE_STRING)
			return refuse(r, "a host's name is not a string");
		if (rec->hosts_len == MERGED_HOSTS_MAX)
			break;
		rec->hosts[rec->hosts_len] = strndup(value->string, sizeof(rec->header.host.name) - 1);
		if (!rec->hosts[rec->hosts_len])
			return -ENOMEM;
		rec->hosts_len++;
	}
	return 0;
}
