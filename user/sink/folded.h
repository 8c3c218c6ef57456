/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Folded stacks, as flamegraph.pl, inferno and speedscope read them: "process;outermost;..;innermost VALUE", a stack a line. Frames of the kernel end
 * in "_[k]", those of a JIT in "_[j]", which is how flamegraph.pl tells them by colour (--color=java); where the source is known, they are
 * "function (file:line)".
 */
#ifndef STAKEOUT_FOLDED_H
#define STAKEOUT_FOLDED_H

#include "model/recording.h"

/* All agents of r, in its order; each stack begins with the agent's name where `prefixed`. Stacks that read the same are one line. 0, -ENOMEM, or what
 * writing to out met. */
int folded_report(FILE *out, const struct recording *r, enum sample_id sample, bool prefixed);

#define FOLDED_FRAME 1024 /* bytes of a frame's text at most */
/* The text of one frame, harmless within a line: separators, control characters and what isn't UTF-8 are replaced. Returns buf. */
const char *folded_frame(const struct frame *f, char buf[FOLDED_FRAME]);

#endif
