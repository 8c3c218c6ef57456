/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a parsed expression is: private to expression*.c. */
#ifndef STAKEOUT_EXPRESSION_PARTS_H
#define STAKEOUT_EXPRESSION_PARTS_H

#include "judge/expression.h"

#define NESTING_MAX 32
#define STACK_MAX (2 * NESTING_MAX + 3) /* each level of brackets holds at most the left sides of a sum and of a product */

enum op {
	OP_NUMBER,
	OP_ADD,
	OP_SUBTRACT,
	OP_MULTIPLY,
	OP_DIVIDE,
	OP_QUANTILE,
	OP_MEAN,
	OP_MAX,
	OP_MIN,
	OP_COUNT,
	OP_SUM,
	OP_RATE,
	OP_TOTAL,
	OP_LAST,
	OP_SHARE,
	OP_AGE
};
enum book { BOOK_MAIN, BOOK_THREADS, BOOK_CRITICAL };

struct step {
	enum op op;
	bool counts; /* of a division: its divisor counts events */
	double number; /* or the quantile, 0..1 */
	enum metric_id metric;
	enum book book;
	uint32_t states; /* 1 << enum state_id */
};
_Static_assert(STATE_COUNT <= 32 && PROBE_COUNT <= 32, "bits of sets");

/* What a value is. */
struct kind {
	int time, bytes; /* exponents of the units */
	bool data; /* it depends on what was observed */
	bool ratio;
	bool counts; /* a number of events */
};

struct expression { /* steps for a stack of values */
	struct kind kind;
	bool metrics[METRIC_IDS];
	bool share, spans;
	unsigned probes;
	int steps_len;
	struct step steps[];
};

#endif
