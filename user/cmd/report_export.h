/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* `stakeout report` --csv, --hlog and --trace: what a recording has of each interval, as a file for another program. */
#ifndef STAKEOUT_REPORT_EXPORT_H
#define STAKEOUT_REPORT_EXPORT_H

#include <stdbool.h>

#include "sink/export.h"

/* Whether the word after --csv, or NULL, is meant as its value: "-", or the name of such a file. */
bool export_csv_word(const char *word);
/* --rows ('r'), --from ('b') or --to ('e'). 0, or -EINVAL after the line that says what is possible. */
int export_option(int option, const char *value, struct export_options *o);
/* Returns the exit status. out "-": standard output. */
int report_export(const char *recording, enum export_id format, const char *out, bool force, const struct export_options *o);

#endif
