/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Names of agents by which each can be told apart in a file, although several may be called the same. */
#ifndef STAKEOUT_TAGS_H
#define STAKEOUT_TAGS_H

#include <stddef.h>

#include "model/recording.h"

#define TAG_LEN 256 /* bytes of a tag with its end */

struct tags;
struct tags *tags_new(void);
/* The first agent with a name has it as it is, the next ones NAME-ID. It stays the agent's, and valid, until tags_free. NULL: out of memory. */
const char *tags_agent(struct tags *t, const struct agent_info *info);
/* NULL is accepted. */
void tags_free(struct tags *t);
/* name as one word: blanks, commas, slashes, quotes, control characters and what isn't UTF-8 are replaced; cut to size. "" becomes "-". Returns buf. */
char *tag_text(const char *name, char *buf, size_t size);

#endif
