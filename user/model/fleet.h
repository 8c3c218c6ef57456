/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Many recordings as one. All intervals are laid on one grid of wall-clock time, each whole, where its middle lies: nothing is split, so sums stay
 * exact. Agents of one name are one agent. Files are read by turns, a window of the grid at a time: memory grows with the number of files by their
 * descriptors' worth, with the result's agents, and not with the length of the recordings.
 */
#ifndef STAKEOUT_FLEET_H
#define STAKEOUT_FLEET_H

#include "model/recording.h"

struct fleet_options {
	bool apart; /* agents are HOST/NAME */
	int threads; /* from 1 */
	bool close_files; /* between turns: there are more files than may be open */
	size_t window_bytes; /* about what a window's intervals may take in memory */
};
#define FLEET_WINDOW_BYTES (24u << 20)

/* Told of each file that is not whole, or not like the others; once it is read. */
typedef void (*fleet_note_fn)(void *ctx, const char *path, const char *note);

struct fleet_result {
	int files, hosts, agents;
	uint64_t intervals_read, intervals_written;
	double interval_s; /* of the grid */
};

/* Writes the sum of the recordings at paths. 0 or negative errno: then ret_why says what was wrong, and *ret_path, unless NULL, of which file; NULL means
 * that writing failed. */
int fleet_merge(const char *const *paths, int paths_len, const struct fleet_options *o, struct recording_writer *w,
        fleet_note_fn note, void *ctx, struct fleet_result *ret, const char **ret_path, char *ret_why, size_t why_len);

#endif
