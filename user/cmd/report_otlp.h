/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef STAKEOUT_REPORT_OTLP_H
#define STAKEOUT_REPORT_OTLP_H

#include <stdbool.h>

#include "model/recording.h"

/* Writes r, which came from the file `file` and is read from there once more, as OTLP/JSON lines to path ("-": standard output). An existing file is replaced only
 * with force. Says what went wrong; returns the exit status. */
int report_otlp(const char *path, bool force, const struct recording *r, const char *file);

#endif
