/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What records and snapshots tell of scripted lives. */
#ifndef LIB_LIVES_H
#define LIB_LIVES_H

#include "lib_world.h"

#define HEAD(k, n, a, t, ns) { .kind = SO_##k, .slots = n, .agent = a, .tid = t, .time_ns = ns }

static inline void cycle(struct world *w, int slot, unsigned tid, uint64_t base, uint64_t now, uint64_t runq, uint64_t stint, int wait, int next, int flags)
{
	struct so_cycle r = { HEAD(CYCLE, 1, slot, tid, now), now - base, runq, stint, wait, next, flags };

	world_record(w, &r.head);
}

static inline void do_fork(struct world *w, int slot, unsigned tid, unsigned child, unsigned tgid, uint64_t ns)
{
	struct so_fork r = { .head = HEAD(FORK, 1, slot, tid, ns), .child_tid = child, .child_tgid = tgid };

	world_record(w, &r.head);
}

static inline void do_exec(struct world *w, int slot, unsigned tgid, unsigned old_tid, const char *comm, uint64_t ns)
{
	struct so_exec r = { .head = HEAD(EXEC, 2, slot, tgid, ns), .tgid = tgid, .old_tid = old_tid, .since_fork_ns = MS };

	memcpy(r.comm, comm, strlen(comm));
	world_record(w, &r.head);
}

static inline void do_exit(struct world *w, int slot, unsigned tid, unsigned tgid, int code, bool group_dead, uint64_t ns)
{
	struct so_exit r = { .head = HEAD(EXIT, 4, slot, tid, ns), .tgid = tgid, .code = code, .group_dead = group_dead };

	world_record(w, &r.head);
}

static inline struct so_snap snap(int slot, unsigned tid, unsigned tgid, uint64_t base, uint64_t now)
{
	return (struct so_snap){ .tid = tid, .tgid = tgid, .agent = slot, .wait = SO_WAIT_POLL, .base_ns = base, .now_ns = now,
				 .flags = tid == tgid ? SO_SNAP_LEADER : 0 };
}

static inline const struct agent_data *closed(struct world *w, int id)
{
	const struct agent_data *const *all;
	int len;

	all = world_interval(w, &len);
	for (int i = 0; i < len; i++)
		if (all[i]->id == id)
			return all[i];
	return NULL;
}

static inline const struct tool_data *tool(const struct agent_data *a, const char *name)
{
	for (int i = 0; i < a->tools_len; i++)
		if (!strcmp(a->tools[i].name, name))
			return &a->tools[i];
	return NULL;
}

static inline void assert_closes(const struct agent_data *a)
{
	assert_non_null(a);
	assert_int_equal(ledger_sum(&a->main), (uint64_t)(a->observed_s * 1e9 + 0.5));
}

/* One snapshot of the root, waiting since `base`. */
static inline void close_waiting(struct world *w, int slot, unsigned root, uint64_t base, uint64_t end)
{
	struct so_snap s = snap(slot, root, root, base, end + MS);

	world_close_begin(w, end);
	world_snap(w, &s);
	world_close_end(w, false);
}

#endif
