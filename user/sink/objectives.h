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

/* JUnit XML: a suite a recording, between a beginning and an end; a case a rule, which fails when one of severity warning or critical was missed, and is skipped where
 * there are no data. why: the recording couldn't be read. Errors are left to the stream. */
void objectives_junit_begin(FILE *out);
void objectives_junit_suite(FILE *out, const char *file, const struct objective *all, int len);
void objectives_junit_unread(FILE *out, const char *file, const char *why);
void objectives_junit_end(FILE *out);

#endif
