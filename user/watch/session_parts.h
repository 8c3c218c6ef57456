/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a session is made of. For session*.c. session.c: agents, the loop, begin and end; session_tell.c: what the listener is told. */
#ifndef STAKEOUT_SESSION_PARTS_H
#define STAKEOUT_SESSION_PARTS_H

#include "collect/collector.h"
#include "probe/observer.h"
#include "watch/session.h"

struct session_fd {
	int fd;
	session_fd_fn fn;
	void *ctx;
};

struct session {
	struct watch_options opt;
	const struct session_listener *to;
	struct targets *targets;
	struct target_child child; /* pid 0: none */
	struct observer *observer;
	struct part_reports reports;
	struct world *world;
	struct collector *collector;
	struct header_data header;
	uint64_t start_ns, last_end_ns, seq;
	struct interval_data held; /* closed, but told a little later: see world_hold() */
	uint64_t held_until_ns; /* 0: none */
	int announced; /* agents that the listener knows of: ids below */
	uint32_t seed_tgids[SO_MAX_AGENTS], seed_slots[SO_MAX_AGENTS];
	int seeds;
	uint64_t by[SO_MAX_AGENTS]; /* by slot: the target that an agent came by */
	bool released, rescan; /* agents were let go at the last close; it is forgotten whose their processes were: look whether they are somebody's */
	struct observer_data observed; /* sum of all intervals */
	struct session_fd fds[SESSION_FDS];
	int fds_len;
	int epoll, sigfd;
	bool full_told;
	bool told_badly; /* the listener failed */
	int err; /* of a callback */
};

/* session.c. 0 or negative errno. */
/* Seeds the processes of agents that were added. */
int session_seed(struct session *s);
/* After a close: has agents let go that are watched no longer. A process is its old agent's until the next close. */
int session_release(struct session *s);

/* session_tell.c. 0, or what the listener returned, or negative errno. */
/* Notes, when err is one, that it was the listener that failed. Returns err. */
int session_told(struct session *s, int err);
int session_start_tell(struct session *s);
/* Closes an interval. It is told a little later, by session_held_tell(); the last one at once. */
int session_interval_end(struct session *s, bool last);
/* Tells the interval that is held back, if there is one. */
int session_held_tell(struct session *s);
int session_total_tell(struct session *s);

#endif
