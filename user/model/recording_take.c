/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What each line adds to what is known of a recording. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "lib/util.h"
#include "model/recording_take.h"

#define FORMAT "stakeout/1"
#define FORMAT_PREFIX "stakeout/"

static struct slot *agent_slot(const struct recording_reader *r, int id)
{
	uint32_t at = (uint32_t)id * 2654435761u; /* Knuth's multiplicative hash: neighbouring ids spread */

	for (at ^= at >> 16;; at++) {
		struct slot *slot = &r->slots[at & (r->slots_len - 1)];

		if (!slot->index || r->rec.agents[slot->index - 1].info.id == id)
			return slot;
	}
}

int recording_reader_agent(const struct recording_reader *r, int id)
{
	return r->slots_len ? agent_slot(r, id)->index - 1 : -1;
}

static int agents_grow(struct recording_reader *r)
{
	int cap = r->agents_cap ? r->agents_cap * 2 : 2;
	struct recording_agent *agents = reallocarray(r->rec.agents, (size_t)cap, sizeof(*agents));
	uint64_t *checks;
	bool *announced;

	if (!agents)
		return -ENOMEM;
	r->rec.agents = agents;
	announced = reallocarray(r->announced, (size_t)cap, sizeof(*announced));
	if (!announced)
		return -ENOMEM;
	r->announced = announced;
	checks = reallocarray(r->checks, (size_t)cap, sizeof(*checks));
	if (!checks)
		return -ENOMEM;
	r->checks = checks;
	free(r->slots);
	r->slots_len = 0;
	r->slots = calloc((size_t)cap * 2, sizeof(*r->slots));
	if (!r->slots)
		return -ENOMEM;
	r->slots_len = (uint32_t)cap * 2;
	for (int i = 0; i < r->rec.agents_len; i++)
		agent_slot(r, agents[i].info.id)->index = i + 1;
	r->agents_cap = cap;
	return 0;
}

/* Adds an agent, taking over the strings of *info. */
static int agent_add(struct recording_reader *r, const struct agent_info *info, bool announced)
{
	int err, n = r->rec.agents_len;

	if (n >= AGENTS_MAX)
		return refuse(&r->parser.refusal, "more than %d agents", AGENTS_MAX);
	if (n == r->agents_cap) {
		err = agents_grow(r);
		if (err)
			return err;
	}
	memset(&r->rec.agents[n], 0, sizeof(r->rec.agents[n]));
	r->rec.agents[n].info = *info;
	r->rec.agents[n].total.id = info->id;
	r->announced[n] = announced;
	r->checks[n] = 0;
	agent_slot(r, info->id)->index = n + 1;
	r->rec.agents_len++;
	return 0;
}

/* An agent whose announcement was lost with a damaged line still counts. */
static int agent_need(struct recording_reader *r, int id)
{
	struct agent_info info = { .id = id };
	char name[32];
	int err;

	if (recording_reader_agent(r, id) >= 0)
		return 0;
	snprintf(name, sizeof(name), "agent %d", id);
	info.name = strdup(name);
	info.cmdline = strdup("");
	info.cgroup = strdup("");
	err = info.name && info.cmdline && info.cgroup ? agent_add(r, &info, false) : -ENOMEM;
	if (err)
		agent_info_fini(&info);
	return err;
}

static int take_agent(struct recording_reader *r, const struct json_node *obj)
{
	struct agent_info info;
	int err = parse_agent_info(&r->parser, obj, &info), at;

	if (err)
		goto out;
	at = recording_reader_agent(r, info.id);
	if (at < 0) {
		err = agent_add(r, &info, true);
	} else if (r->announced[at]) {
		err = refuse(&r->parser.refusal, "agent %d is announced twice", info.id);
	} else {
		agent_info_fini(&r->rec.agents[at].info);
		r->rec.agents[at].info = info;
		r->announced[at] = true;
	}
out:
	if (err)
		agent_info_fini(&info);
	return err;
}

/* After all checks: from here on the line counts. */
static int agents_need(struct recording_reader *r, const struct parsed *line)
{
	int err = 0;

	for (int i = 0; i < line->len && !err; i++)
		err = agent_need(r, line->agents[i].id);
	return err;
}

static void span_note(struct recording_reader *r, const struct interval_data *d)
{
	if (!r->any_interval || d->start_s < r->first_start)
		r->first_start = d->start_s;
	if (!r->any_interval || d->end_s > r->last_end)
		r->last_end = d->end_s;
	r->any_interval = true;
}

/* A sum of all counts, each by a factor of its own, modulo 2^64: of all intervals together it is that of their total. */
static uint64_t agent_check(const struct agent_data *a)
{
	uint64_t factor = 1, sum = 0;

	for (int m = 0; m < METRIC_IDS; m++, factor *= 6364136223846793005u) { /* Knuth's, of a linear congruential generator */
		if (metric_infos[m].type == METRIC_COUNTER)
			sum += factor * a->metrics.value[m];
		else if (metric_infos[m].type == METRIC_HIST && a->metrics.hist[m])
			sum += factor * a->metrics.hist[m]->count;
	}
	for (int i = 0; i < SAMPLE_COUNT; i++, factor *= 6364136223846793005u)
		if (!sample_infos[i].last)
			sum += factor * sample_set_sum(&a->samples[i]);
	return sum;
}

static int interval_add(struct recording_reader *r, struct agent_data *a)
{
	int at = recording_reader_agent(r, a->id);

	r->checks[at] += agent_check(a);
	return r->options.sums ? totals_add(&r->totals, &r->rec, &r->rec.agents[at].total, a) : 0;
}

/* READER_INTERVAL, READER_LATER, or an error. */
static int take_interval(struct recording_reader *r, const struct json_node *obj)
{
	struct parsed *line = &r->line;
	int err;

	if (r->rec.complete)
		return refuse(&r->parser.refusal, "an interval after the total");
	err = parse_interval(&r->parser, obj, line);
	if (!err && line->data.seq < r->next_seq)
		err = refuse(&r->parser.refusal, "interval %llu is there twice or out of order", (unsigned long long)line->data.seq);
	r->later_s = (line->data.start_s + line->data.end_s) / 2;
	if (!err && !(r->later_s < r->until_s))
		return READER_LATER;
	if (!err)
		err = agents_need(r, line);
	if (err)
		return err;
	if (line->data.seq > r->next_seq) {
		r->rec.gap = true;
		r->missing += line->data.seq - r->next_seq;
	}
	r->next_seq = line->data.seq + 1;
	for (int i = 0; i < line->len; i++) {
		err = interval_add(r, &line->agents[i]);
		if (err)
			return err;
	}
	observer_data_merge(&r->rec.observer, &line->data.observer);
	span_note(r, &line->data);
	r->rec.intervals++;
	return READER_INTERVAL;
}

static bool samples_agree(const struct sample_set *a, const struct sample_set *b)
{
	for (int i = 0; i < SAMPLE_COUNT; i++)
		if (!sample_infos[i].last && sample_set_sum(&a[i]) != sample_set_sum(&b[i]))
			return false;
	return true;
}

static bool metrics_agree(const struct metric_set *a, const struct metric_set *b)
{
	for (int m = 0; m < METRIC_IDS; m++) {
		if (metric_infos[m].type == METRIC_COUNTER && a->value[m] != b->value[m])
			return false;
		if (metric_infos[m].type == METRIC_HIST &&
		    (a->hist[m] ? a->hist[m]->count : 0) != (b->hist[m] ? b->hist[m]->count : 0))
			return false;
	}
	return true;
}

static bool total_agrees(const struct recording_reader *r, int at, const struct agent_data *total)
{
	const struct agent_data *sum = &r->rec.agents[at].total;

	if (!r->options.sums)
		return r->checks[at] == agent_check(total);
	return metrics_agree(&sum->metrics, &total->metrics) && samples_agree(sum->samples, total->samples);
}

/* The total replaces the sum of the intervals: it also has what intervals that are missing here would have added. */
static int take_total(struct recording_reader *r, const struct json_node *obj)
{
	struct parsed line = { 0 };
	const bool whole = !r->rec.gap && !r->rec.bad_lines;
	int err;

	if (r->rec.complete)
		return refuse(&r->parser.refusal, "a second total");
	err = parse_interval(&r->parser, obj, &line);
	if (!err)
		err = agents_need(r, &line);
	if (err)
		goto out;
	for (int i = 0; i < line.len; i++) {
		int at = recording_reader_agent(r, line.agents[i].id);
		struct recording_agent *agent = &r->rec.agents[at];
		struct agent_data sum = agent->total;

		if (!total_agrees(r, at, &line.agents[i])) {
			r->total_differs |= whole;
			r->rec.beyond |= !r->options.sums;
		}
		if (r->options.sums) {
			agent->total = line.agents[i];
			line.agents[i] = sum; /* freed with the rest */
		}
		agent->info.has_exit = line.exits[i].has;
		agent->info.exit_code = line.exits[i].code;
		agent->info.merged = line.exits[i].merged;
	}
	if (r->options.sums && json_get(obj, "observer"))
		r->rec.observer = line.data.observer;
	span_note(r, &line.data);
	r->rec.complete = true;
out:
	parsed_fini(&line);
	return err;
}

int reader_take_header(struct recording_reader *r, const struct json_node *obj)
{
	struct refusal *why = &r->parser.refusal;
	const char *kind = "", *format = "";
	const struct json_node *agents, *value;
	struct json_walk walk;
	int err = take_string(why, obj, "kind", &kind);

	if (!err)
		err = take_string(why, obj, "format", &format);
	if (err)
		return err;
	if (strcmp(kind, "header") || strncmp(format, FORMAT_PREFIX, strlen(FORMAT_PREFIX)))
		return refuse(why, "its first line is not a stakeout header");
	if (strcmp(format, FORMAT)) {
		refuse(why, "its format is \"%.40s\", this program reads " FORMAT, format);
		return -EPROTONOSUPPORT;
	}
	err = parse_header(&r->parser, obj, &r->rec.header);
	r->next_seq = r->rec.header.first_seq;
	if (!err)
		err = parse_merged(&r->parser, obj, &r->rec);
	if (!err)
		err = take_child(why, obj, "agents", NODE_ARRAY, &agents);
	if (err)
		return err;
	for (walk = json_walk(agents); json_element(&walk, &value);) {
		err = take_agent(r, value);
		if (err)
			return err;
	}
	return 0;
}

static int take_stacks(struct recording_reader *r, const struct json_node *obj)
{
	pthread_mutex_t *lock = r->options.stacks_lock;
	int err;

	if (lock)
		pthread_mutex_lock(lock);
	err = parse_stacks(&r->parser, obj);
	if (lock)
		pthread_mutex_unlock(lock);
	return err;
}

int reader_take(struct recording_reader *r, const struct json_node *obj)
{
	const char *kind = NULL;
	int err = take_string(&r->parser.refusal, obj, "kind", &kind);

	if (err)
		return err;
	if (!kind)
		return refuse(&r->parser.refusal, "no \"kind\"");
	if (!strcmp(kind, "interval"))
		return take_interval(r, obj);
	if (!strcmp(kind, "total"))
		return take_total(r, obj);
	if (!strcmp(kind, "agent"))
		return take_agent(r, obj);
	if (!strcmp(kind, "stacks"))
		return take_stacks(r, obj);
	if (!strcmp(kind, "header")) {
		r->second_header = true;
		return refuse(&r->parser.refusal, "a second recording begins");
	}
	return 0; /* a kind of a later program: none of ours depends on it */
}
