/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A recording's stacks as a profile for pprof and whatever else reads its format (profile.proto, gzip). */
#ifndef STAKEOUT_PPROF_H
#define STAKEOUT_PPROF_H

#include "model/recording.h"

/* Kinds of stacks that any agent of r has. */
int pprof_samples(const struct recording *r, bool ret_present[SAMPLE_COUNT]);
/*
 * Writes the stacks of all agents of r to fd (which stays open): each kind that there is becomes a sample type, each sample has the labels `agent`,
 * `process`, and `tool` where that is one. 0, -ENOMEM, or what writing met.
 */
int pprof_write(int fd, const struct recording *r);

#endif
