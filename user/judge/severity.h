/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef STAKEOUT_SEVERITY_H
#define STAKEOUT_SEVERITY_H

enum severity { SEVERITY_INFO, SEVERITY_WARNING, SEVERITY_CRITICAL, SEVERITY_COUNT };
extern const char *const severity_names[SEVERITY_COUNT]; /* "info", "warning", "critical" */

/* By its name, or -1. */
int severity_find(const char *name);

#endif
