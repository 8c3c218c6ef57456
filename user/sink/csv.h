/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A table in which each variable is a column and each observation a row, as spreadsheets and data frames want it: a row an interval and agent (or peer, tool, or
 * the observer itself), with a column for each metric there is, so that the columns of a version of stakeout are the same for all recordings. What was not
 * measured is empty; 0 is a measured 0. Quoted as RFC 4180 says; lines end in LF, and no cell has one within.
 */
#ifndef STAKEOUT_CSV_H
#define STAKEOUT_CSV_H

#include "sink/export.h"

void *csv_new(FILE *out, const struct export_options *options);
int csv_interval(void *csv, const struct interval_data *i);
int csv_end(void *csv, const struct recording *r);
void csv_free(void *csv);

/* s as one cell: control characters and what isn't UTF-8 replaced, quoted where needed; a text that a spreadsheet would take for a formula gets an
 * apostrophe in front. */
void csv_text(FILE *out, const char *s);

#endif
