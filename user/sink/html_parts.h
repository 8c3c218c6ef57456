/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the files of the HTML report share; nobody else includes it. */
#ifndef STAKEOUT_HTML_PARTS_H
#define STAKEOUT_HTML_PARTS_H

#include "model/json_put.h"
#include "sink/html_bins.h"

/* Adds "flames" to an open object: by kind of samples a tree of functions, outermost first, as arrays in preorder ("depth", "frame", "value"), and the frames
 * that they refer to by number. What is too small to be seen is left out; its callers keep their values. 0 or -ENOMEM. */
int html_flames(struct json_text *j, const struct stacks *s, const struct agent_data *a);

#endif
