/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/outputs.h"

#include <errno.h>
#include <string.h>

#include "lib/log.h"
#include "lib/util.h"

/* One row an output. */
static const struct output_kind *const kinds[] = {
	&textfile_output, &http_output,
};
_Static_assert(ARRAY_SIZE(kinds) <= OUTPUTS_MAX, "a slot each");

static int slot_open(struct outputs *o, size_t i)
{
	struct output_slot *s = &o->slots[i];
	char why[512] = "";
	int err;

	if (!kinds[i])
		return 0;
	err = kinds[i]->open(&o->context, &s->output, why, sizeof(why));
	if (err) {
		s->output = NULL;
		if (!s->missing)
			log_err(*why ? 0 : err, "%s%s%s", kinds[i]->name, *why ? ": " : "", why);
	} else if (s->missing) {
		log_info("%s: works again", kinds[i]->name);
	}
	s->missing = err;
	return err;
}

int outputs_open(struct outputs *o, const struct output_context *c)
{
	int first = 0;

	o->context = *c;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		int err = slot_open(o, i);

		first = first ? first : err;
	}
	return first;
}

void outputs_interval(struct outputs *o)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct output_slot *s = &o->slots[i];
		char why[512] = "";
		int err;

		if (s->missing)
			slot_open(o, i);
		if (!s->output || !kinds[i]->interval)
			continue;
		err = kinds[i]->interval(s->output, why, sizeof(why));
		if (err && !s->ailing)
			log_err(*why ? 0 : err, "%s%s%s", kinds[i]->name, *why ? ": " : "", why);
		else if (!err && s->ailing)
			log_info("%s: works again", kinds[i]->name);
		s->ailing = err;
	}
}

static void slot_close(struct outputs *o, size_t i)
{
	if (o->slots[i].output)
		kinds[i]->close(o->slots[i].output);
	o->slots[i] = (struct output_slot){};
}

void outputs_change(struct outputs *o, const struct output_context *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		slot_close(o, i);
	outputs_open(o, c);
}

void outputs_close(struct outputs *o)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		slot_close(o, i);
}

int outputs_count(const struct outputs *o)
{
	int n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		n += o->slots[i].output != NULL;
	return n;
}
