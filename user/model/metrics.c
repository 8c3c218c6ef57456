/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"

const struct metric_info metric_infos[METRIC_IDS] = {
#define METRIC(id, n, p, t, u, h) [M_##id] = { n, PROBE_##p, METRIC_##t, UNIT_##u, h },
#include "metrics.def"
#undef METRIC
};

const struct probe_info probe_infos[PROBE_COUNT] = {
#define PROBE(id, n, is_on, h) [PROBE_##id] = { n, is_on, h },
#include "probes.def"
#undef PROBE
};

/* Lengths of the names: comparing these first leaves few of the names to look at. */
static const uint8_t name_lens[METRIC_IDS] = {
#define METRIC(id, n, p, t, u, h) [M_##id] = sizeof(n) - 1,
#include "metrics.def"
#undef METRIC
};

/* Metrics by type: a set is gone through without a look at the type of each. */
_Static_assert(METRIC_IDS <= UINT8_MAX + 1, "a metric's number takes a byte");
#define METRIC(id, n, p, t, u, h) PICK_##t(id)
static const uint8_t counters[] = {
#define PICK_COUNTER(id) M_##id,
#define PICK_GAUGE(id)
#define PICK_PEAK(id)
#define PICK_HIST(id)
#include "metrics.def"
};
static const uint8_t gauges[] = {
#undef PICK_COUNTER
#define PICK_COUNTER(id)
#undef PICK_GAUGE
#define PICK_GAUGE(id) M_##id,
#include "metrics.def"
};
static const uint8_t peaks[] = {
#undef PICK_GAUGE
#define PICK_GAUGE(id)
#undef PICK_PEAK
#define PICK_PEAK(id) M_##id,
#include "metrics.def"
};
static const uint8_t hists[] = {
#undef PICK_PEAK
#define PICK_PEAK(id)
#undef PICK_HIST
#define PICK_HIST(id) M_##id,
#include "metrics.def"
};
#undef METRIC

int metric_find(const char *name)
{
	return metric_find_after(name, -1);
}

int metric_find_after(const char *name, int m)
{
	const size_t len = strlen(name);

	for (int left = METRIC_IDS; left; left--) {
		m = m + 1 < METRIC_IDS ? m + 1 : 0;
		if (name_lens[m] == len && !memcmp(metric_infos[m].name, name, len))
			return m;
	}
	return -1;
}

int probe_find(const char *name)
{
	for (int p = 0; p < PROBE_COUNT; p++)
		if (!strcmp(probe_infos[p].name, name))
			return p;
	return -1;
}

void metric_set_fini(struct metric_set *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(hists); i++) {
		struct hist *h = s->hist[hists[i]];

		if (!h)
			continue;
		hist_fini(h);
		free(h);
	}
	memset(s, 0, sizeof(*s));
}

void metric_set_reset(struct metric_set *s)
{
	memset(s->value, 0, sizeof(s->value));
	for (size_t i = 0; i < ARRAY_SIZE(hists); i++)
		if (s->hist[hists[i]])
			hist_reset(s->hist[hists[i]]);
}

static struct hist *metric_hist(struct metric_set *s, enum metric_id m)
{
	if (!s->hist[m]) {
		s->hist[m] = aligned_alloc(HIST_LINE_BYTES, HIST_LINE_BYTES);
		if (s->hist[m])
			hist_init(s->hist[m]);
	}
	return s->hist[m];
}

int metric_record(struct metric_set *s, enum metric_id m, uint64_t value)
{
	struct hist *h = metric_hist(s, m);

	return h ? hist_record(h, value) : -ENOMEM;
}

int metric_set_merge(struct metric_set *into, const struct metric_set *from)
{
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		into->value[counters[i]] += from->value[counters[i]];
	for (size_t i = 0; i < ARRAY_SIZE(gauges); i++)
		into->value[gauges[i]] = from->value[gauges[i]];
	for (size_t i = 0; i < ARRAY_SIZE(peaks); i++)
		if (into->value[peaks[i]] < from->value[peaks[i]])
			into->value[peaks[i]] = from->value[peaks[i]];
	for (size_t i = 0; i < ARRAY_SIZE(hists); i++) {
		const struct hist *h = from->hist[hists[i]];
		struct hist *to;
		int err;

		if (!h || !h->count)
			continue;
		to = metric_hist(into, hists[i]);
		err = to ? hist_merge(to, h) : -ENOMEM;
		if (err)
			return err;
	}
	return 0;
}

size_t metric_set_bytes(const struct metric_set *s)
{
	size_t bytes = 0;

	for (size_t i = 0; i < ARRAY_SIZE(hists); i++)
		if (s->hist[hists[i]])
			bytes += sizeof(*s->hist[hists[i]]) + hist_bytes(s->hist[hists[i]]);
	return bytes;
}
