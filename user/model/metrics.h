/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The metrics of include/metrics.def as values: one set an agent, a tool, an interval. */
#ifndef STAKEOUT_METRICS_H
#define STAKEOUT_METRICS_H

#include "model/hist.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_PEAK, METRIC_HIST };
enum metric_unit { UNIT_NS, UNIT_BYTES, UNIT_COUNT };

enum probe_id {
#define PROBE(id, name, on, help) PROBE_##id,
#include "probes.def"
#undef PROBE
	PROBE_COUNT
};

enum metric_id {
#define METRIC(id, name, probe, type, unit, help) M_##id,
#include "metrics.def"
#undef METRIC
	METRIC_IDS
};

struct metric_info {
	const char *name;
	enum probe_id probe;
	enum metric_type type;
	enum metric_unit unit;
	const char *help;
};

struct probe_info {
	const char *name;
	bool on; /* by default */
	const char *help;
};

extern const struct metric_info metric_infos[METRIC_IDS];
extern const struct probe_info probe_infos[PROBE_COUNT];

/* Index of the metric or probe called name, or -1. */
int metric_find(const char *name);
/* The same, quick where names come in the order of the table: m is what the one before was, or -1. */
int metric_find_after(const char *name, int m);
int probe_find(const char *name);

struct metric_set {
	uint64_t value[METRIC_IDS]; /* counters and gauges; unused for histograms */
	struct hist *hist[METRIC_IDS]; /* NULL until the first value */
};

void metric_set_fini(struct metric_set *s);
/* Zeroes counters, gauges and peaks, and empties histograms, keeping their storage. */
void metric_set_reset(struct metric_set *s);
static inline void metric_add(struct metric_set *s, enum metric_id m, uint64_t n)
{
	s->value[m] += n;
}
/* Records one value in a histogram; creates it on first use. 0 or -ENOMEM. */
int metric_record(struct metric_set *s, enum metric_id m, uint64_t value);
/* into += from: counters and histograms add up, gauges take the later value, peaks the higher. 0 or -ENOMEM. */
int metric_set_merge(struct metric_set *into, const struct metric_set *from);
/* Heap bytes, the struct itself excluded. */
size_t metric_set_bytes(const struct metric_set *s);

#endif
