/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Objectives for people and programs. */
#ifndef STAKEOUT_SINK_OBJECTIVES_H
#define STAKEOUT_SINK_OBJECTIVES_H

#include "judge/objectives.h"
#include "model/json_put.h"
#include "sink/table.h"

/* A value of this rule: "3.20 s", "85.0 %", "1.20 GiB", "-" for NAN. Returns buf. */
const char *rule_value_text(const struct rule *r, double value, char *buf, size_t len);
/* The table, missed ones first; start: the header's, for times of day. 0 or -ENOMEM. */
int objectives_table(const struct screen *s, const struct objective *all, int len, const char *start);
/* As an array. */
void objectives_put(struct json_text *j, const char *key, const struct objective *all, int len);

#endif
