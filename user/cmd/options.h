/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Options of `record` and `top`: one table row an option; parsing, limits, help and error messages come from the row. */
#ifndef STAKEOUT_OPTIONS_H
#define STAKEOUT_OPTIONS_H

#include <stdbool.h>

#include "watch/session.h"

struct record_options {
	struct watch_options watch;
	bool no_names; /* --no-names: as --probe -names: no contents are read, not even the first bytes of a connection */
	/* From here on of `record` only. */
	const char *output; /* -o; NULL: stakeout-YYYYmmdd-HHMMSS.ndjson in the current directory; "-": stdout */
	bool force; /* --force: overwrite the file */
	bool quiet; /* -q: no progress, no report at the end */
	bool top; /* set by `top`: the options above can't be given */
};

/* Parses argv[1..]. Returns -1 to go on, or the exit status to end with (0 after --help, 2 after one line on stderr that says
 * what was wrong and what is possible). o->watch.target.pids is the caller's to free. */
int record_options_parse(int argc, char **argv, struct record_options *o);
/* The same for `top`. */
int top_options_parse(int argc, char **argv, struct watch_options *w);

#endif
