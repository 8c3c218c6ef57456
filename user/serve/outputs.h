/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* All outputs of a configuration together. */
#ifndef STAKEOUT_OUTPUTS_H
#define STAKEOUT_OUTPUTS_H

#include "serve/output.h"

#define OUTPUTS_MAX 8

struct outputs { /* zero-initialised: none are open */
	struct output_slot {
		void *output; /* NULL: not asked for, or it could not be opened */
		struct output_context context; /* as it knows it */
		bool ailing; /* it failed, and that has been told */
		bool missing; /* it could not be opened: it is tried again */
	} slots[OUTPUTS_MAX];
	struct output_leaving *leaving; /* no longer asked for, but not at its end yet */
};

/* Opens all that the configuration asks for. What can't be opened is told, by its last line in why, and tried again with each interval. 0, or the first negative errno. */
int outputs_open(struct outputs *o, const struct output_context *c);
/* A new interval is in live. What fails is told once, and once that it works again. */
void outputs_interval(struct outputs *o);
/* Another configuration from now on: outputs it says the same of go on as they are, with the one that they know. */
void outputs_change(struct outputs *o, const struct output_context *c);
/* Whether an output still uses it. */
bool outputs_use(const struct outputs *o, const struct config *c);
void outputs_close(struct outputs *o);

#endif
