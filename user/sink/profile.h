/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Weighed stacks summed up by function and by place: what the reports show of a profile. Pure. */
#ifndef STAKEOUT_PROFILE_H
#define STAKEOUT_PROFILE_H

#include "model/stacks.h"
#include "sink/frames.h"

struct function_row {
	const struct frame *frame; /* all code of a module that has no name is one row: one of its frames stands for it */
	uint64_t self, total; /* on top of the stack; anywhere in it, recursion counted once */
};

struct site_row {
	struct site site;
	uint64_t value;
};

struct process_row {
	const char *name; /* valid as long as the table */
	uint64_t value;
};

/* Each returns rows to be freed by the caller, the largest first, and their number; NULL when out of memory (an array of none is not NULL). */
/* In a stack with Python functions the interpreter's own count for the one that it runs. */
struct function_row *profile_functions(const struct stacks *s, const struct sample_set *set, size_t *ret_len);
/* By the innermost function of the program's own (ROLE_OWN), as `self`; stacks without one are nobody's. */
struct function_row *profile_owners(const struct stacks *s, const struct sample_set *set, size_t *ret_len);
/* Stacks with the same function, caller and (where `waits`) reason are one row. */
struct site_row *profile_sites(const struct stacks *s, const struct sample_set *set, bool waits, size_t *ret_len);
/* By the process that the outermost frame names. */
struct process_row *profile_processes(const struct stacks *s, const struct sample_set *set, size_t *ret_len);

/* How much of the set's sum is of stacks of which nothing, or whose innermost function, is not known. */
struct profile_unknown {
	uint64_t whole; /* no function of it has a name, or it found no room */
	uint64_t leaf; /* the innermost has none, others have */
	uint64_t cut; /* whose outer callers are not known */
};
void profile_unknown(const struct stacks *s, const struct sample_set *set, struct profile_unknown *ret);

#endif
