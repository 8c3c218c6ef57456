/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The records themselves, as the kernel side makes them: for tests that look at single records instead of at what the collector makes of them.
 * One tape a test, put away by tape_teardown, also after a failed assertion.
 */
#ifndef STAKEOUT_LIB_TAPE_H
#define STAKEOUT_LIB_TAPE_H

#include "lib_live.h"

/* Loads and attaches only the probe `sock`, and makes the processes agents, in slots 1, 2, .. */
void tape_open(const pid_t *pids, int n);
/* Takes in all there is by now. The processes must be quiet or gone: a record that is made meanwhile may be missing. Nothing may be lost. */
void tape_read(void);

/* Runs a scene, a worker that pauses before and after what it has to show, as the only agent, and takes it in. */
struct worker *tape_scene(worker_fn scene, void *arg);

/* What the tape says of a connection. */
struct link_view {
	const struct so_open *open;
	int opens, sends, receives, ends; /* ends: receives of 0 bytes, the end of file */
	uint64_t sent_bytes, received_bytes;
	int connects, accepts, closes;
	const struct so_connect *connect; /* the last one, as all of these */
	const struct so_accept *accept;
	const struct so_close *close;
	const struct so_transfer *sent, *received; /* received: with bytes */
	const struct so_transfer *first_received;
	bool in_order; /* nothing of it comes before its so_open */
};
/* The n-th (from 0) connection that process tgid opened with this role, in order of time. Fails the test when there is none. */
struct link_view tape_link(pid_t tgid, enum so_role role, int n);
struct link_view tape_number(uint32_t number);
/* It was opened once, before all else of it, by this worker, the only agent. */
void link_open_check(const struct link_view *v, const struct worker *w, int family, int type);
void link_moved_check(const struct link_view *v, int sends, uint64_t sent_bytes, int receives, uint64_t received_bytes, int ends);
/* It was closed once; error: a positive errno, or 0. */
void link_close_check(const struct link_view *v, int error);
/* How many connections with that role; -1: any role. tgid 0: of any process. */
int tape_opens(pid_t tgid, int role);
/* Records of a kind, of all connections and of none; tid 0: by anybody. */
int tape_count(enum so_kind kind, uint32_t tid);
/* The n-th record of a kind, or NULL. */
const struct so_head *tape_record(enum so_kind kind, int n);
/* Numbers of connections that agents hold open now, and whether this one is among them. */
int tape_held(uint32_t number, bool *ret_is);

int tape_setup(void **state);
int tape_teardown(void **state);
#define TAPE_TEST(f) cmocka_unit_test_setup_teardown(f, tape_setup, tape_teardown)

#endif
