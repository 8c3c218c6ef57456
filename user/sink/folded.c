/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "sink/folded.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/util.h"
#include "sink/frames.h"

/*
 * Both readers take what follows the last blank as the value, and flamegraph.pl takes a second number before it as that of another run
 * (its differential format): a name that ends so must not look like it. Semicolons become colons, as in stackcollapse-perf.pl.
 */
static char *harmless(char *text)
{
	size_t len, digits;

	text_sanitize(text);
	for (char *c = text; *c; c++)
		*c = *c == ';' ? ':' : *c;
	len = strlen(text);
	for (digits = len; digits && (isdigit((unsigned char)text[digits - 1]) || text[digits - 1] == '.'); digits--)
		;
	if (digits < len && digits && text[digits - 1] == ' ')
		text[digits - 1] = '_';
	if (len && text[len - 1] == ' ')
		text[len - 1] = '_';
	return text;
}

const char *folded_frame(const struct frame *f, char buf[FOLDED_FRAME])
{
	const char *mark = f->kind == FRAME_KERNEL ? "_[k]" : f->kind == FRAME_JIT ? "_[j]" : "";
	char name[FRAME_TEXT], where[FRAME_TEXT];

	if (f->file[0])
		snprintf(buf, FOLDED_FRAME, "%.400s (%s)%s", f->name[0] ? f->name : "(anonymous)", frame_where(f, where), mark);
	else
		snprintf(buf, FOLDED_FRAME, "%s%s", frame_function(f, name), mark);
	return harmless(buf);
}

struct line {
	char *text; /* owned */
	uint64_t value;
};

static int line_compare(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->text, ((const struct line *)b)->text);
}

/* The frames' texts by their number, made when first asked for: a frame is in many stacks. */
struct texts {
	char **at;
	size_t len;
};

static const char *text_of(struct texts *t, const struct stacks *s, uint32_t frame)
{
	char buf[FOLDED_FRAME];

	if (frame >= t->len)
		return "[unknown]";
	if (!t->at[frame])
		t->at[frame] = strdup(folded_frame(stacks_frame_at(s, frame), buf));
	return t->at[frame];
}

/* NULL: out of memory. */
static char *line_text(struct texts *t, const struct stacks *s, const char *prefix, uint32_t stack)
{
	size_t len = 0, used = strlen(prefix), room = used + 1;
	const uint32_t *frames = stacks_at(s, stack, &len);
	char *line, *at;

	for (size_t i = 0; i < len; i++) {
		const char *text = text_of(t, s, frames[i]);

		if (!text)
			return NULL;
		room += strlen(text) + 1;
	}
	line = malloc(room + sizeof("[unknown]"));
	if (!line)
		return NULL;
	at = stpcpy(line, prefix);
	for (size_t i = len; i-- > 0;) {
		at = stpcpy(at, text_of(t, s, frames[i]));
		if (i)
			*at++ = ';';
	}
	if (!len)
		at = stpcpy(at, "[unknown]");
	*at = '\0';
	return line;
}

static int lines_make(struct line *lines, size_t *ret_len, struct texts *t, const struct stacks *s, const char *prefix, const struct sample_set *set)
{
	for (uint32_t i = 0; i < set->cap && *ret_len < set->len; i++) {
		struct line *line = &lines[*ret_len];

		if (!set->at[i].value)
			continue;
		line->text = line_text(t, s, prefix, set->at[i].stack);
		if (!line->text)
			return -ENOMEM;
		line->value = set->at[i].value;
		++*ret_len;
	}
	return 0;
}

static void lines_print(FILE *out, struct line *lines, size_t len)
{
	qsort(lines, len, sizeof(*lines), line_compare);
	for (size_t i = 0, end; i < len; i = end) {
		uint64_t sum = 0;

		for (end = i; end < len && !strcmp(lines[end].text, lines[i].text); end++)
			sum += lines[end].value;
		fprintf(out, "%s %ju\n", lines[i].text, (uintmax_t)sum);
	}
}

static int agent_folded(FILE *out, const struct recording *r, const struct recording_agent *agent, enum sample_id sample, bool prefixed, struct texts *t)
{
	const struct sample_set *set = &agent->total.samples[sample];
	struct line *lines = calloc((size_t)set->len + 1, sizeof(*lines));
	char name[FOLDED_FRAME], prefix[FOLDED_FRAME + 1] = "";
	size_t len = 0;
	int err;

	if (!lines)
		return -ENOMEM;
	snprintf(name, sizeof(name), "%s", agent->info.name);
	if (prefixed)
		snprintf(prefix, sizeof(prefix), "%s;", harmless(name));
	err = lines_make(lines, &len, t, r->stacks, prefix, set);
	if (!err)
		lines_print(out, lines, len);
	for (size_t i = 0; i < len; i++)
		free(lines[i].text);
	free(lines);
	return err;
}

int folded_report(FILE *out, const struct recording *r, enum sample_id sample, bool prefixed)
{
	struct texts t = { .len = stacks_frames_len(r->stacks) };
	int err = 0;

	t.at = calloc(t.len + 1, sizeof(*t.at));
	if (!t.at)
		return -ENOMEM;
	errno = 0;
	for (int i = 0; i < r->agents_len && !err; i++)
		err = agent_folded(out, r, &r->agents[i], sample, prefixed, &t);
	for (size_t i = 0; i < t.len; i++)
		free(t.at[i]);
	free(t.at);
	if (!err && (fflush(out) || ferror(out)))
		err = errno ? -errno : -EIO;
	return err;
}
