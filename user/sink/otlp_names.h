/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How OpenTelemetry's semantic conventions call what stakeout measures, where they have a name for it. */
#ifndef STAKEOUT_OTLP_NAMES_H
#define STAKEOUT_OTLP_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "model/recording.h"

struct otlp_convention { /* one row a metric (and the class of peer) */
	const char *name, *unit, *description;
	const char *key, *value; /* attribute that sets it apart from others of the name; NULL: none */
	bool up_down; /* a gauge that the convention makes a sum that is not monotonic */
};

/* Of an agent's metric; NULL when it is stakeout's own. */
const struct otlp_convention *otlp_convention_agent(enum metric_id m);
/* Of a metric of a peer that the agent calls. */
const struct otlp_convention *otlp_convention_peer(enum metric_id m, const struct peer_data *p);
/* "stakeout." SCOPE METRIC, without the unit at its end. scope: "", "tool.", "peer.". Returns buf. */
const char *otlp_name(const char *scope, enum metric_id m, char *buf, size_t buf_len);
const char *otlp_unit(enum metric_unit unit);

struct otlp_peer { /* a peer's address in parts */
	char address[128]; /* IP address, path, or what else there is */
	int port; /* -1: none */
};
void otlp_peer_parse(const char *peer, struct otlp_peer *ret);
/* Values of gen_ai.provider.name and db.system.name, as far as the address tells; NULL: not known. */
const char *otlp_provider(const struct peer_data *p);
const char *otlp_db_system(const struct peer_data *p, const struct otlp_peer *at);
/* As in host.arch: "amd64". */
const char *otlp_arch(const char *machine);

#endif
