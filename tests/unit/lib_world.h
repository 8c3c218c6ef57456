/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Worlds for tests, and scenes of one agent of one thread. */
#ifndef LIB_WORLD_H
#define LIB_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collect/world.h"

#define US 1000ULL
#define MS 1000000ULL
#define S 1000000000ULL
#define ROOT 100 /* the agent's process, and its main thread */

/* With all probes. */
static inline struct world *world_make(uint64_t start_ns)
{
	bool on[PROBE_COUNT];
	struct world *w;

	memset(on, 1, sizeof(on));
	w = world_new(on);
	assert_non_null(w);
	world_start(w, start_ns);
	return w;
}

/* Its slot, or negative errno. */
static inline int agent_make(struct world *w, int pid)
{
	struct agent_info info = {.name = strdup("a"), .pid = pid, .cmdline = strdup(""), .cgroup = strdup("")};
	int slot = world_agent_add(w, &info);

	agent_info_fini(&info); /* empty, but after an error */
	return slot;
}

struct scene {
	struct world *w;
	uint64_t now; /* the last switch-out */
};

/* Begins at second 1; the agent is in slot 1. */
static inline struct scene scene_start(void)
{
	struct so_snap s = {.tid = ROOT, .tgid = ROOT, .agent = 1, .base_ns = S, .now_ns = S, .flags = SO_SNAP_LEADER | SO_SNAP_ROOT};
	struct scene y = {.w = world_make(S), .now = S};

	assert_int_equal(agent_make(y.w, ROOT), 1);
	world_snap(y.w, &s);
	return y;
}

/* What its interval says of the agent, which waits (enum so_wait) at the interval's end. */
static inline const struct agent_data *scene_finish(struct scene *y, unsigned wait, bool last)
{
	struct so_snap s = {
	        .tid = ROOT, .tgid = ROOT, .agent = 1, .wait = wait, .base_ns = y->now, .now_ns = y->now + MS, .flags = SO_SNAP_LEADER};
	const struct agent_data *const *all;
	int len;

	world_close_begin(y->w, y->now + MS);
	world_snap(y->w, &s);
	world_close_end(y->w, last);
	all = world_interval(y->w, &len);
	assert_int_equal(len, 1);
	return all[0];
}

static inline void assert_hist(const struct metric_set *m, enum metric_id id, uint64_t count, uint64_t sum)
{
	assert_int_equal(m->hist[id] ? m->hist[id]->count : 0, count);
	assert_int_equal(m->hist[id] ? m->hist[id]->sum : 0, sum);
}

#endif
