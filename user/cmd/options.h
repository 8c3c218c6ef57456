/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Options of `record` (and later of `top`): one table row an option; parsing, limits, help and error messages come from the row. */
#ifndef STAKEOUT_OPTIONS_H
#define STAKEOUT_OPTIONS_H

#include <stdbool.h>

#include "model/classes.h"
#include "model/metrics.h"
#include "probe/targets.h"

#define BUDGET_PERCENT 1 /* unless given */

struct record_options {
	struct target_spec target;
	double duration_s; /* -d; 0: until all agents are gone or a signal comes */
	double interval_s; /* -i, default 1, 0.1 to 3600 */
	const char *output; /* -o; NULL: stakeout-YYYYmmdd-HHMMSS.ndjson in the current directory; "-": stdout */
	bool force; /* --force: overwrite the file */
	bool quiet; /* -q: no progress, no report at the end */
	bool probe_on[PROBE_COUNT]; /* --probe +a,-b */
	bool heap_full; /* --probe +heap=full */
	double heap_percent; /* --probe +heap=PERCENT: of the agents' time that sampling may cost, 0.01 to 50, default 1 */
	double profile_hz; /* --probe +profile=HZ, 1 to 1000, default 49 */
	double offcpu_ms; /* --probe +offcpu=MIN_MS, 1 to 60000, default 10 */
	double leak_age_s; /* --leak-age SECONDS: blocks older than this may be leaks, 0.1 to 1e6, default 10 */
	unsigned ring_bytes; /* --ring-size BYTES[K|M], a power of two, 64K to 1G, default 8M */
	double budget_percent; /* --budget PERCENT|off: of the agents' CPU time that watching may cost, 0: off, to 100; below 0: not given */
	double drain_ms; /* --drain MS, longest time between drains under load, 1 to 1000, default 100 */
	bool no_names; /* --no-names: as --probe -names: no contents are read, not even the first bytes of a connection */
	struct peer_rules peers; /* --peer HOST[:PORT]=CLASS[/NAME], repeatable */
	double peers_kept; /* --peers N: the busiest that are kept apart, 1 to 1000, default PEERS_KEPT */
	bool bpf_stats; /* --bpf-stats: measure our BPF programs' run time by the kernel's accounting (costs some ns an event) */
};

/* Parses argv[1..]. Returns -1 to go on, or the exit status to end with (0 after --help, 2 after one line on stderr that says
 * what was wrong and what is possible). o->target.pids is the caller's to free. */
int record_options_parse(int argc, char **argv, struct record_options *o);

/* For messages about a mistyped word: " (did you mean 'NAME'?)" in buf when one of the names is near, else "". Returns buf. */
const char *name_hint(const char *word, const char *const *names, int names_len, char *buf, size_t buf_len);

#endif
