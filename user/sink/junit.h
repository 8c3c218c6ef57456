/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Pieces of JUnit XML. Errors are left to the stream. */
#ifndef STAKEOUT_JUNIT_H
#define STAKEOUT_JUNIT_H

#include <stdio.h>

/* Escaped; what XML 1.0 can't hold becomes '?'. */
void junit_text(FILE *out, const char *text);
void junit_attribute(FILE *out, const char *name, const char *value);
void junit_number(FILE *out, const char *name, int n);

#endif
