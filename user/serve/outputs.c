/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/outputs.h"

#include <errno.h>
#include <string.h>

#include "lib/log.h"
#include "lib/util.h"

/* One row an output. */
static const struct {
	const struct output_kind *kind;
	enum config_section section; /* that it depends on */
} rows[] = {
	{ &textfile_output, CONFIG_PROMETHEUS },
	{ &http_output, CONFIG_PROMETHEUS },
	{ &otlp_file_output, CONFIG_OTLP },
	{ &otlp_push_output, CONFIG_OTLP },
};
_Static_assert(ARRAY_SIZE(rows) <= OUTPUTS_MAX, "a slot each");

/* By the context that the slot has. */
static int slot_open(struct outputs *o, size_t i)
{
	struct output_slot *s = &o->slots[i];
	char why[512] = "";
	int err;

	err = rows[i].kind->open(&s->context, &s->output, why, sizeof(why));
	if (err) {
		s->output = NULL;
		if (!s->missing)
			log_err(*why ? 0 : err, "%s%s%s", rows[i].kind->name, *why ? ": " : "", why);
	} else if (s->missing) {
		log_info("%s: works again", rows[i].kind->name);
	}
	s->missing = err;
	return err;
}

int outputs_open(struct outputs *o, const struct output_context *c)
{
	int first = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int err;

		o->slots[i].context = *c;
		err = slot_open(o, i);
		first = first ? first : err;
	}
	return first;
}

void outputs_interval(struct outputs *o)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct output_slot *s = &o->slots[i];
		char why[512] = "";
		int err;

		if (s->missing)
			slot_open(o, i);
		if (!s->output || !rows[i].kind->interval)
			continue;
		err = rows[i].kind->interval(s->output, why, sizeof(why));
		if (err && !s->ailing)
			log_err(*why ? 0 : err, "%s%s%s", rows[i].kind->name, *why ? ": " : "", why);
		else if (!err && s->ailing)
			log_info("%s: works again", rows[i].kind->name);
		s->ailing = err;
	}
}

static void slot_close(struct outputs *o, size_t i)
{
	if (o->slots[i].output)
		rows[i].kind->close(o->slots[i].output);
	o->slots[i] = (struct output_slot){};
}

void outputs_change(struct outputs *o, const struct output_context *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct output_slot *s = &o->slots[i];

		if (s->output && config_same(s->context.config, c->config, rows[i].section))
			continue;
		slot_close(o, i);
		s->context = *c;
		slot_open(o, i);
	}
}

bool outputs_use(const struct outputs *o, const struct config *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (o->slots[i].output && o->slots[i].context.config == c)
			return true;
	return false;
}

void outputs_close(struct outputs *o)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		slot_close(o, i);
}

int outputs_count(const struct outputs *o)
{
	int n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		n += o->slots[i].output != NULL;
	return n;
}
