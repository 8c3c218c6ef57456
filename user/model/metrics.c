/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "model/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

int metric_find(const char *name)
{
	for (int m = 0; m < METRIC_IDS; m++)
		if (!strcmp(metric_infos[m].name, name))
			return m;
	return -1;
}

int metric_find_after(const char *name, int m)
{
	for (int i = m + 1; i < METRIC_IDS; i++)
		if (!strcmp(metric_infos[i].name, name))
			return i;
	return metric_find(name);
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
	for (int m = 0; m < METRIC_IDS; m++) {
		hist_fini(s->hist[m]);
		free(s->hist[m]);
	}
	memset(s, 0, sizeof(*s));
}

void metric_set_reset(struct metric_set *s)
{
	memset(s->value, 0, sizeof(s->value));
	for (int m = 0; m < METRIC_IDS; m++)
		if (s->hist[m])
			hist_reset(s->hist[m]);
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
	for (int m = 0; m < METRIC_IDS; m++) {
		switch (metric_infos[m].type) {
		case METRIC_COUNTER:
			into->value[m] += from->value[m];
			break;
		case METRIC_GAUGE:
			into->value[m] = from->value[m];
			break;
		case METRIC_PEAK:
			if (into->value[m] < from->value[m])
				into->value[m] = from->value[m];
			break;
		case METRIC_HIST:
			if (from->hist[m] && from->hist[m]->count) {
				struct hist *h = metric_hist(into, m);
				int err = h ? hist_merge(h, from->hist[m]) : -ENOMEM;

				if (err)
					return err;
			}
			break;
		}
	}
	return 0;
}

size_t metric_set_bytes(const struct metric_set *s)
{
	size_t bytes = 0;

	for (int m = 0; m < METRIC_IDS; m++)
		if (s->hist[m])
			bytes += sizeof(*s->hist[m]) + hist_bytes(s->hist[m]);
	return bytes;
}
