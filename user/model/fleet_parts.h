/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the merging of recordings is made of: who is in them, the intervals of the grid, and the merging itself. For fleet*.c. */
#ifndef STAKEOUT_FLEET_PARTS_H
#define STAKEOUT_FLEET_PARTS_H

#include <pthread.h>

#include "model/fleet.h"
#include "model/recording_reader.h"
#include "model/recording_sum.h"

/* ---- who: hosts, agents of the result, and the processes that they stand for ---- */

enum gauge_id {
#define PICK_COUNTER(id)
#define PICK_PEAK(id)
#define PICK_HIST(id)
#define PICK_GAUGE(id) GAUGE_##id,
#define METRIC(id, name, probe, type, unit, help) PICK_##type(id)
#include "metrics.def"
#undef METRIC
	GAUGE_COUNT
};

/* What does not add up over time, but over members at one time. There are many of them at a time, most of which have gauges only. */
struct state {
	bool alive;
	uint64_t gauges[GAUGE_COUNT];
	struct state_tool { /* with a process alive */
		char *name; /* owned */
		uint64_t live;
	} * tools; /* owned */
	int tools_len;
	struct sample_set *last; /* owned; SAMPLE_COUNT of them, of which those count that are states; NULL: all empty */
};

struct member { /* an agent of some recording, by host, process and name: recordings of one process go on where others end */
	int agent; /* of the result */
	struct state state; /* the last one */
	int merged; /* agents that it says it is the sum of; 0: itself */
	uint64_t counted; /* mark of the last sum that has it */
};

struct names { /* texts by number */
	struct name *by_text; /* uthash */
	char **texts;
	int len, cap;
};
/* Number of the text, which is added if new; -1: out of memory. */
int names_number(struct names *n, const char *text);
void names_fini(struct names *n);

struct census { /* shared by all threads */
	pthread_mutex_t lock;
	struct names hosts, agents, members;
	struct agent_info *infos; /* of the result's agents, by number */
	struct member *members_at;
	int infos_len, members_len; /* that are filled in */
};

void census_init(struct census *c);
void census_fini(struct census *c);
/* The member that this agent of a recording of this host is; prefix: before its name, with a '/', or NULL. -1: out of memory. Locks. */
int census_member(struct census *c, const struct host_info *host, const struct agent_info *info, const char *prefix);

void state_fini(struct state *s);
/* Moves what is a state from a to *ret, which is empty before. 0 or -ENOMEM. */
int state_take(struct state *ret, struct agent_data *a);
/* Adds the state to a, whose states were empty before the first. 0 or -ENOMEM. */
int state_add(struct agent_data *a, const struct state *s);
/* Makes it as if none had been added. */
void states_clear(struct agent_data *a);

/* ---- when: intervals of the grid ---- */

struct sighting { /* of a member, in an interval of a source */
	int source, member; /* member -1: the source was there, with no agent */
	uint64_t rss_bytes; /* of the observer; where member is -1 */
	struct state state;
};

struct slot { /* an interval of the grid, as far as one thread read it */
	struct recording sum; /* its agents and observer */
	struct totals totals;
	int *place; /* by the result's agent: where in sum.agents, + 1 */
	int place_len, agents_cap;
	struct sighting *sightings;
	size_t sightings_len, sightings_cap;
};

void slot_fini(struct slot *s);
/* Empties it. */
void slot_reset(struct slot *s);
/* The agent's sums, added if new; NULL: out of memory. */
struct agent_data *slot_agent(struct slot *s, int agent);
/* Adds a (whose states were taken) to the agent. a may be changed. 0 or -ENOMEM. */
int slot_add(struct slot *s, int agent, struct agent_data *a);
/* A new one, empty but for the source; NULL: out of memory. */
struct sighting *slot_sighting(struct slot *s, int source);
/* Adds from to into, and empties from. 0 or -ENOMEM. */
int slot_merge(struct slot *into, struct slot *from);
size_t slot_bytes(const struct slot *s);

/* into += from, whose states do not count: times stay whole nanoseconds, so that their sums are exact up to 2^53 of them (104 days). 0 or -ENOMEM. */
int sum_add(struct totals *t, struct recording *rec, struct agent_data *into, struct agent_data *from);
void observer_add(struct observer_data *into, const struct observer_data *from);

/* ---- the merging ---- */

#define SLOTS_MAX 256 /* of a window */

struct source {
	const char *path;
	struct recording_reader *reader;
	const struct recording *rec;
	struct host_info host; /* by which its agents are known */
	double offset_s; /* of its start from the grid's */
	int64_t next; /* slot that its next interval is in, at the earliest; INT64_MAX: it is read */
	int64_t last; /* slot that its last interval was in, of those it is read to */
	int *members; /* by its agents; -1: not known yet */
	int members_len;
	int *current, current_len; /* members that its last written interval had */
	uint64_t rss_bytes; /* of its observer, then */
};

struct fleet {
	const struct fleet_options *options;
	struct recording_writer *writer;
	fleet_note_fn note;
	void *ctx;
	struct source *sources;
	int sources_len;
	struct census census;
	struct stacks *stacks;
	pthread_mutex_t stacks_lock;
	double step_s;
	int64_t start_ns;
	struct slot *slots; /* by thread, then by number in the window: SLOTS_MAX each */
	int64_t first, end; /* the window */
	int width; /* of the next one */
	size_t slot_bytes; /* the most that one of this window takes */
	/* The result. */
	struct slot total;
	int announced; /* of its agents */
	uint64_t mark, seq;
	int64_t last; /* slot written */
	uint64_t intervals_read;
	bool write_failed;
	const char *failed; /* path */
	char why[512];
};

/* fleet.c */
/* The member that its agent `id` is; -1: out of memory. */
int source_member(struct fleet *f, struct source *s, int id);
/* Notes, when err is one, that it was the writing that failed. Returns err. */
int fleet_written(struct fleet *f, int err);

/* fleet_open.c. 0 or negative errno, and f->why. */
int fleet_open(struct fleet *f, const char *const *paths);
int fleet_header_write(struct fleet *f);
/* Tells what was found wrong with files that have been read. */
void fleet_notes_tell(struct fleet *f);
/* How many agents of recordings each of the result's stands for; one that was merged before says so itself. */
void fleet_members_count(struct fleet *f);

/* fleet_sweep.c. 0 or negative errno, and f->why. */
/* Reads all sources and writes the intervals of the result. */
int fleet_sweep(struct fleet *f);
int fleet_total_write(struct fleet *f);

#endif
