/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/tags.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "lib/util.h"

struct tag { /* of an agent; in both tables */
	int id;
	char text[TAG_LEN / 2];
	UT_hash_handle by_id, by_text;
};

struct tags {
	struct tag *ids, *texts;
};

struct tags *tags_new(void)
{
	return calloc(1, sizeof(struct tags));
}

char *tag_text(const char *name, char *buf, size_t size)
{
	snprintf(buf, size, "%s", *name ? name : "-");
	text_sanitize(buf); /* also what the cut left of a character */
	for (char *c = buf; *c; c++)
		if (strchr(" ,\"'#=", *c))
			*c = '_';
	return buf;
}

const char *tags_agent(struct tags *t, const struct agent_info *info)
{
	struct tag *tag, *same;

	HASH_FIND(by_id, t->ids, &info->id, sizeof(info->id), tag);
	if (tag)
		return tag->text;
	tag = calloc(1, sizeof(*tag));
	if (!tag)
		return NULL;
	tag->id = info->id;
	tag_text(info->name, tag->text, sizeof(tag->text) / 2); /* the rest is for what tells it apart */
	for (char *c = tag->text; *c; c++)
		if (*c == '/')
			*c = '_';
	for (;;) {
		size_t len = strlen(tag->text);

		HASH_FIND(by_text, t->texts, tag->text, len, same);
		if (!same)
			break;
		/* An agent may have been called like what we make of another's name. */
		snprintf(tag->text + len, sizeof(tag->text) - len, "-%d", info->id);
	}
	HASH_ADD(by_id, t->ids, id, sizeof(tag->id), tag);
	HASH_ADD_KEYPTR(by_text, t->texts, tag->text, strlen(tag->text), tag);
	return tag->text;
}

void tags_free(struct tags *t)
{
	struct tag *tag, *next;

	if (!t)
		return;
	HASH_CLEAR(by_text, t->texts);
	HASH_ITER(by_id, t->ids, tag, next)
	{
		HASH_DELETE(by_id, t->ids, tag);
		free(tag);
	}
	free(t);
}
