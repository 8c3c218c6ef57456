/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Is it worse than before? Two sets of recordings, agent by agent (by name) and measure by measure (include/measures.def): the values, the change, how sure it is.
 * A verdict needs a change beyond the measure's limit and statistical support: the interval of confidence of the change, by bootstrap over blocks of intervals (and over
 * recordings where a side has several), lies beyond no change, with the false discovery rate kept over all that is compared (Benjamini and Hochberg). Pure.
 */
#ifndef STAKEOUT_COMPARE_H
#define STAKEOUT_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "judge/finding.h"
#include "judge/measure.h"
#include "model/recording.h"

enum verdict { VERDICT_IMPROVED, VERDICT_STABLE, VERDICT_DEGRADED, VERDICT_INSUFFICIENT, VERDICT_COUNT };
extern const char *const verdict_names[VERDICT_COUNT]; /* "improved", "stable", "degraded", "insufficient data" */

struct compare_limits { /* relative but for errors, whose is absolute */
	double limit[MEASURE_GROUPS]; /* 0.10, 0.10, 0.20, 0.01 */
	double measure[MEASURE_COUNT]; /* of single ones; 0: that of the group */
	bool detectable; /* told of all rows that are stable, not of the first 1,000 only: it takes time */
	double false_rate; /* 0.05: of the verdicts that something has changed, those that chance may bring about; being beyond the limit, too, keeps far below it */
};
extern const struct compare_limits compare_defaults;
double compare_limit(const struct compare_limits *limits, enum measure_id measure);

struct comparison { /* one row */
	const char *agent; /* owned by the comparisons */
	char subject[160]; /* class or tool; "" */
	enum measure_id measure;
	enum verdict verdict;
	double base, new; /* NAN: none */
	/* Relative (0.2: a fifth more; INFINITY from nothing), absolute for errors; NAN: none. Its interval of confidence of 95 %; NAN where the change is within the limit: no need was. */
	double change, low, high;
	double p; /* two-sided: how likely such a change is where there is none; NAN likewise */
	/* The smallest change for the worse, as `change`, that such recordings would have shown nine times out of ten; NAN: not known. */
	double detectable;
	/* Of the change as it is compared, of its logarithm, of errors itself: how it varies (freedom 0: not known; INFINITY: not at all), and from which size on it counts (0: any). */
	struct {
		double variance, freedom;
	} spread;
	double least;
	uint64_t base_n, new_n; /* values behind it */
	const char *why; /* of insufficient data; else NULL. Owned by the comparisons. */
};

/* One side, block by block, as its recordings are read: memory is bounded by agents and measures, not by length. Sides may be filled by a thread each. */
struct compare_side;
struct compare_side *compare_side_new(void);
int compare_side_begin(struct compare_side *s); /* the next recording of this side; before its first interval */
int compare_side_interval(void *side, const struct interval_data *i); /* suits recording_read() */
/* The recording just read: its probes, agents, findings. */
int compare_side_end(struct compare_side *s, const struct recording *r);
void compare_side_free(struct compare_side *s);

struct comparisons {
	struct comparison *rows; /* degraded first, then improved, insufficient, stable; each by agent, then by size of change */
	int len;
	int counts[VERDICT_COUNT];
	int recordings[2]; /* of base, and new */
	/* Findings by agent's name and finding: what went away, what came, what stayed. */
	struct comparison_finding {
		const char *agent;
		struct finding base, new; /* as far as there */
		bool in_base, in_new; /* in at least half of the side's recordings */
		const char *unjudged; /* where it is not there it could not be judged, and why; NULL: it is gone, or new */
	} *findings;
	int findings_len;
	const char *const *warnings; /* what makes the two sides unlike: probes, interval, hosts' CPUs; agents only in one. Names in it are any bytes. */
	int warnings_len;
	void *owner;
};

struct compare_agents { /* which: NULL: all, each with that of its name */
	const char *base, *new;
};

/* 0, or negative errno: -ENOENT where there is no such agent. agents may be NULL. */
int compare(const struct compare_side *base, const struct compare_side *new, const struct compare_limits *limits, const struct compare_agents *agents,
	struct comparisons **ret);
void comparisons_free(struct comparisons *c);

#endif
