/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * One watching, from its targets to its last interval: who is watched, the programs in the kernel, the collector and the loop that drives them. It writes nothing:
 * what there is to tell goes to a listener, in the order of a recording.
 */
#ifndef STAKEOUT_SESSION_H
#define STAKEOUT_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "model/recording.h"
#include "watch/options.h"

struct session_progress {
	double elapsed_s, interval_s; /* since the beginning; of the interval just closed */
	int agents_alive;
	const struct observer_data *observer; /* of the interval */
	uint64_t lost; /* records, since the beginning */
};

/*
 * Calls come from session_begin() and session_run(), in this order: start, then any number of agent and interval, then total. Each returns 0, or a negative errno after
 * having reported it: the session ends then, without further calls. Members may be NULL. What is pointed to is valid during the call.
 */
struct session_listener {
	void *ctx;
	int (*start)(void *ctx, const struct header_data *h); /* with the agents known by then */
	int (*agent)(void *ctx, const struct agent_info *a); /* came later; before the first interval that has it */
	/* stacks: all so far, to which the agents' samples refer. An interval comes up to a second after its end: see world_hold(). */
	int (*interval)(void *ctx, const struct interval_data *i, const struct stacks *stacks);
	/* An interval at its end, at once; it comes again through interval(). What its waits were for is not known yet: ledgers, concurrency and critical paths are those of the
	 * records so far, and so are the waits' histograms. Not of the last one. */
	int (*closed)(void *ctx, const struct interval_data *i);
	int (*total)(void *ctx, const struct interval_data *i, const struct agent_info *const *infos);
	void (*progress)(void *ctx, const struct session_progress *p); /* at the end of an interval, at once */
	/* SIGINT, SIGTERM or SIGHUP came. 1: the session ends well; 0: it goes on; negative errno. NULL: it ends. */
	int (*signal)(void *ctx, int signo);
};

struct session;

/* NULL when out of memory. o is copied (the lists in it are not); l must outlive the session. Signals INT, TERM and HUP are blocked from session_begin() on. */
struct session *session_new(const struct watch_options *o, const struct session_listener *l);
/* Before session_prepare(): these targets, one at least, in place of the options' one. From a call of the listener, or of session_fd_add()'s fn: these from now on. Who came by a
 * target that is not among them any more, and is meant by none of them, is let go at the end of the interval, which tells that it ended (`alive` is false). 0, or as targets_new(); nothing is changed then. */
int session_targets(struct session *s, const struct target_spec *specs, int len, char *why, size_t why_len);
/* Finds the targets (starts the command), loads and attaches the programs. EXIT_DONE, or the exit status to end with; what was wrong is logged. */
int session_prepare(struct session *s);
/* fn is called from the loop when fd can be read: 0 to go on, 1 to end the session well, or a negative errno after reporting it. Before session_run();
 * at most SESSION_FDS. The descriptor stays the caller's. 0 or negative errno. */
#define SESSION_FDS 8
typedef int (*session_fd_fn)(void *ctx);
int session_fd_add(struct session *s, int fd, session_fd_fn fn, void *ctx);
/* Watching begins; an agent of a command runs from here on. Exit status as above; EXIT_OUTPUT when the listener failed. */
int session_begin(struct session *s);
/* Until all agents are gone, the time is over, or somebody ends it; then the last interval and the total. Exit status as above. */
int session_run(struct session *s);
/* All so far as a recording, after session_run(), for reports. It lends what the session has: free it by session_view_free(), before the session. NULL when out of memory. */
struct recording *session_view(const struct session *s);
void session_view_free(struct recording *r);
/* When watching began (CLOCK_MONOTONIC): the header's start. */
uint64_t session_start_ns(const struct session *s);
/* Says so when a command that was started outlives the watching. */
void session_free(struct session *s);

#endif
