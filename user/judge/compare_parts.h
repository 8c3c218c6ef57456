/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the files of the comparison share; nobody else includes it. */
#ifndef STAKEOUT_COMPARE_PARTS_H
#define STAKEOUT_COMPARE_PARTS_H

#include <uthash.h>

#include "judge/compare.h"

#define LANES 8 /* of sums, for vectors */
#define BLOCKS 32 /* of a recording at most: when they are full, neighbours become one */
#define MEASURE_KINDS (OF_TOOL + 1)
enum ledger_book { LEDGER_MAIN, LEDGER_THREADS, LEDGER_CRITICAL, LEDGERS };

struct kept { /* of the metrics: what measures of one kind read */
	enum metric_id value[METRIC_IDS], hist[METRIC_IDS];
	int values_len, hists_len;
	int index[METRIC_IDS]; /* among values, or among hists; -1: not kept */
};

struct measures {
	struct expression *expression[MEASURE_COUNT];
	bool quantile[MEASURE_COUNT]; /* it is one: metric and share follow */
	enum metric_id metric[MEASURE_COUNT];
	double share[MEASURE_COUNT];
	struct kept kept[MEASURE_KINDS];
};

struct kept_value {
	double sum; /* of a counter; of a gauge: times seconds; of a peak: the highest */
	double seconds; /* of a gauge: while it had a value */
};

struct series { /* an agent, its peers of a class or a tool of it, block by block */
	enum measure_of of;
	char *subject; /* owned */
	struct kept_value *values; /* [BLOCKS][values_len] */
	struct hist *hists; /* [BLOCKS][hists_len] */
};

struct run_agent { /* all agents of one name in one recording */
	char *name; /* owned */
	UT_hash_handle hh;
	double seconds[BLOCKS]; /* watched; of several at once their sum */
	uint64_t intervals[BLOCKS];
	struct ledger ledgers[BLOCKS][LEDGERS];
	struct series **series; /* the first is its own */
	int len;
	struct series *classes[CLASS_COUNT]; /* among them */
	int processes; /* that go by the name */
	const char *unjudged[FINDING_COUNT]; /* why that finding could not be looked for; NULL: it could */
	struct finding findings[FINDING_COUNT]; /* the dearest of each */
	bool found[FINDING_COUNT];
};

struct run { /* one recording */
	struct run_agent *agents; /* by name */
	struct run_agent **by_position; /* as in the interval before */
	int *ids;
	int positions;
	uint64_t every, filled; /* intervals a block; in the last one */
	int blocks;
	struct outlooks outlooks;
	uint64_t intervals;
	double interval_s, duration_s, lost;
	int cpus;
	uint32_t probes_off, probes_reduced;
	bool missing; /* intervals */
};

struct compare_side {
	struct measures measures;
	struct run **runs;
	int len;
};

/* One figure on one side, ready to be resampled: its blocks of all recordings, one a column. */
struct figure {
	enum measure_id id;
	const struct measures *measures;
	int columns, runs;
	int stride; /* columns, and what is missing to a multiple of LANES: of no weight */
	int *run_from; /* [runs + 1]: each recording's first column */
	int *start; /* [runs]: how many of them are the start, which every sample has once */
	bool *full; /* [columns]: there are data in it */
	double value; /* of all of it; NAN: no data */
	uint64_t n; /* values that it rests on */
	int columns_full, runs_full;
	struct column {
		const struct run_agent *agent;
		const struct series *series; /* NULL: nothing of it in this recording */
		int block;
	} * column; /* [columns] */
	/* Of a percentile: how many values lie at or below bucket i, per column, and where the buckets are. */
	float *below; /* [buckets][stride]; the first bucket are the zeros */
	int near; /* the bucket that it lies in of all of it */
	int buckets;
	int32_t offset;
	int scale;
	/* Of others. */
	struct kept_value *values; /* [values_len][columns] */
	int values_len;
	const enum metric_id *metrics;
	double *seconds; /* [columns] */
	double *states; /* [states_len][columns], ns */
	int *state; /* which: a book's number * STATE_COUNT + the state; those in which it never was are left out */
	int states_len;
	struct metric_set *scratch; /* lent */
};

/* The figure of the agent called name, or of its class or tool. What is there must be freed by figure_fini in any case. 0 or -ENOMEM. */
int figure_init(struct figure *f, const struct compare_side *s, const char *name, enum measure_of of, const char *subject,
        enum measure_id id, struct metric_set *scratch);
void figure_fini(struct figure *f);

/* Of the blocks of a percentile; before figure_at(). 0 or -ENOMEM. */
int figure_below(struct figure *f);
/* The logarithm, or (absolute) the value itself, when blocks count weight times each ([stride]). NAN: no data. */
double figure_at(const struct figure *f, bool absolute, const float *weight);

/* compare_spread.c: */

#define SAMPLES 400
#define SAMPLES_FEW 100 /* enough where there is no doubt */

struct samples { /* how often each block was drawn: the same for all figures of an agent on one side. {.seed} */
	uint64_t seed;
	float *weight; /* [SAMPLES][stride]; NULL: not drawn yet */
};
void samples_fini(struct samples *s);

/* How a figure would vary. */
struct spread { /* zero-initialised */
	double variance; /* of its logarithm; of itself where absolute is asked for */
	double freedom; /* degrees, Student's */
	bool known; /* there were data in most samples */
	int samples, with_data; /* so far */
	double mean, squares;
	double alike; /* neighbouring blocks; NAN: not known yet */
};
/* Goes on to sample `upto`. 0 or -ENOMEM. */
int figure_spread(struct figure *f, bool absolute, struct samples *samples, int upto, struct spread *s);
/* What it comes to without the start: its logarithm, or (absolute) itself; NAN: nothing then. After figure_spread(). 0 or -ENOMEM. */
int figure_later(const struct figure *f, bool absolute, double *ret);

/* compare_row.c and compare.c: */

#define CONFIDENCE 0.95
extern const char *const side_names[2]; /* "base", "new" */

struct work {
	const struct compare_side *side[2];
	const struct compare_limits *limits;
	struct comparisons *c;
	struct owner *owner;
	int rows_cap;
	uint64_t seed;
	struct samples samples[2]; /* of the agents at hand */
	struct metric_set scratch;
};

/* A text as long as the comparisons live; the same one is kept once. */
const char *keep(struct work *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* NULL when out of memory, which the owner knows then. */
struct comparison *row_add(struct work *w);
/* The row of one measure of an agent, its class or its tool, if either side has any. agent: as it is told. 0 or -ENOMEM. */
int measure_compare(struct work *w, const char *agents[2], const char *agent, enum measure_of of, const char *subject, enum measure_id id);

/* Benjamini and Hochberg: up to which p a row is kept. p is sorted; returns -1 where none is. */
double false_discovery_limit(double *p, int len, double rate);

#endif
