/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who has series of its own, and the sums of those that have none. Part of prometheus.c. */
#ifndef STAKEOUT_PROMETHEUS_FOLD_H
#define STAKEOUT_PROMETHEUS_FOLD_H

#include "model/live.h"

enum level { LEVEL_AGENT, LEVEL_TOOL, LEVEL_PEER, LEVELS };

struct fold_part { /* a tool or a peer */
	uint64_t label; /* hash of its labels, as they are told: what is not text may make two names one */
	uint64_t name; /* of its names as they are */
	bool folded; /* for good */
	bool seen; /* at this update */
};

struct fold_agent {
	int id;
	bool folded; /* for good, with all its parts */
	bool fresh; /* not there at the last update */
	bool findings; /* there is room for what is found of it now */
	struct fold_part *parts;
	int parts_len, parts_cap;
	struct metric_set *tools, *peers[2]; /* of folded ones; peers by `server`. NULL: none */
};

struct fold {
	bool native; /* a histogram is one series */
	uint64_t max_series;
	bool probe_on[PROBE_COUNT];
	struct fold_agent **agents; /* in order of ids */
	int len, cap;
	struct agent_data rest; /* of folded agents, parts left out */
	bool rest_used;
	uint64_t intervals; /* of live, at the last update */
	uint64_t series_folded; /* that a page would have, were there no limit */
	uint64_t folded[LEVELS]; /* how many of each are folded now */
};

void fold_fini(struct fold *f);
/* reserved: series of the page that are of no agent. 0 or -ENOMEM. */
int fold_update(struct fold *f, const struct live *l, uint64_t reserved);
struct fold_agent *fold_find(const struct fold *f, int id);
/* Whether the tool or peer (the other is NULL) of a has series of its own. */
bool fold_apart(const struct fold_agent *a, const struct tool_data *tool, const struct peer_data *peer);
/* Whether a counter or gauge with this value shows, where these probes are on. Histograms do once they have a value. */
bool fold_shows(const bool *probe_on, enum level level, enum metric_id m, uint64_t value);

#endif
