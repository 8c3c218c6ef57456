/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What recordings are made of, as JSON. */
#ifndef STAKEOUT_RECORDING_PUT_H
#define STAKEOUT_RECORDING_PUT_H

#include "model/json_put.h"
#include "model/recording.h"

/* Members of the object that is open. */
void put_agent_info(struct json_text *j, const struct agent_info *a);
void put_observer(struct json_text *j, const struct observer_data *o);
void put_cost(struct json_text *j, const struct cost_data *c);
/* An element of the array that is open. info: in the total, else NULL. */
void put_agent_data(struct json_text *j, const struct agent_data *a, const struct agent_info *info, const bool probe_on[PROBE_COUNT]);
/* Frames, or stacks, from this number on as members of the object that is open, until the text is len_max long. Returns the number of the next one. */
uint32_t put_frames(struct json_text *j, const struct stacks *s, uint32_t from, size_t len_max);
uint32_t put_stacks(struct json_text *j, const struct stacks *s, uint32_t from, size_t len_max);

#endif
