/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the commands whose options getopt_long() takes apart say of bad ones. argv[0] is the command's name. */
#ifndef STAKEOUT_USAGE_H
#define STAKEOUT_USAGE_H

/* Says which option getopt_long() complains of: c is what it returned, ':' (as its short options begin with one) or '?'. Returns EXIT_USAGE. */
int usage_bad_option(char **argv, int c);
/* The value of --width, in columns. -1 to go on, or EXIT_USAGE after a line that says what is possible. */
int usage_width(const char *text, int *ret);

#endif
