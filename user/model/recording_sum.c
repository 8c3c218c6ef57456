/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/recording_sum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/recording_parse.h"

static bool has_tool(const struct agent_data *a, const char *name)
{
	for (int i = 0; i < a->tools_len; i++)
		if (!strcmp(a->tools[i].name, name))
			return true;
	return false;
}

/* Tools whose names the total has no room for are renamed before they are added, so that they are summed in one. */
static int tools_bound(const struct totals *sum, const struct agent_data *total, struct agent_data *a)
{
	int64_t fresh = 0;
	uint64_t live = 0;

	for (int i = 0; i < a->tools_len; i++) {
		struct tool_data *t = &a->tools[i];
		bool known = has_tool(total, t->name);

		if (!known && (total->tools_len + fresh >= AGENT_TOOLS_MAX || sum->tools + fresh >= TOOLS_MAX)) {
			char *name = strdup(TOOL_REST);

			if (!name)
				return -ENOMEM;
			free(t->name);
			t->name = name;
		} else if (!known) {
			fresh++;
		}
		if (!strcmp(t->name, TOOL_REST)) /* merging takes the last: that has the sum */
			live = t->runs_live += live;
	}
	return 0;
}

static int peers_apart(const struct agent_data *a)
{
	int n = 0;

	for (int i = 0; i < a->peers_len; i++)
		n += !peer_is_rest(&a->peers[i]);
	return n;
}

/* When all agents together have too many peers, each keeps its share of three quarters of the room, so that this is seldom. */
static int peers_bound(struct totals *sum, struct recording *rec)
{
	const int keep = PEERS_MAX / 4 * 3 / (rec->agents_len + 1);
	int err = 0;

	if (sum->peers <= PEERS_MAX)
		return 0;
	sum->peers = 0;
	for (int i = 0; i < rec->agents_len && !err; i++) {
		err = agent_data_peers_trim(&rec->agents[i].total, keep);
		sum->peers += peers_apart(&rec->agents[i].total);
	}
	return err;
}

static int64_t samples_len(const struct agent_data *a)
{
	int64_t n = 0;

	for (int i = 0; i < SAMPLE_COUNT; i++)
		n += a->samples[i].len;
	return n;
}

/* The same for stacks with a weight. */
static int samples_bound(struct totals *sum, struct recording *rec)
{
	const uint32_t keep = SAMPLES_MAX / 4 * 3 / SAMPLE_COUNT / (uint32_t)(rec->agents_len + 1);
	int err = 0;

	if (sum->samples <= SAMPLES_MAX)
		return 0;
	sum->samples = 0;
	for (int i = 0; i < rec->agents_len && !err; i++) {
		for (int k = 0; k < SAMPLE_COUNT && !err; k++)
			err = sample_set_trim(&rec->agents[i].total.samples[k], keep);
		sum->samples += samples_len(&rec->agents[i].total);
	}
	return err;
}

static void notes_bound(const struct totals *sum, struct agent_data *a)
{
	while (a->notes_len && sum->notes + a->notes_len > NOTES_MAX)
		free(a->notes[--a->notes_len]);
}

int totals_add(struct totals *sum, struct recording *rec, struct agent_data *total, struct agent_data *a)
{
	int err = tools_bound(sum, total, a);

	notes_bound(sum, a);
	sum->tools -= total->tools_len;
	sum->peers -= peers_apart(total);
	sum->samples -= samples_len(total);
	sum->notes -= total->notes_len;
	if (!err)
		err = agent_data_merge(total, a);
	sum->tools += total->tools_len;
	sum->peers += peers_apart(total);
	sum->samples += samples_len(total);
	sum->notes += total->notes_len;
	if (!err)
		err = peers_bound(sum, rec);
	return err ? err : samples_bound(sum, rec);
}
