/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/outputs.h"

#include <errno.h>
#include <stdlib.h>
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

struct output_leaving {
	struct output_leaving *next;
	const struct output_kind *kind;
	void *output;
};

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

/* Closes those that are at their end; all: that is waited for. */
static void leaving_look(struct outputs *o, bool all)
{
	for (struct output_leaving **at = &o->leaving, *l; (l = *at);) {
		if (!all && !l->kind->leave(l->output)) {
			at = &l->next;
			continue;
		}
		l->kind->close(l->output);
		*at = l->next;
		free(l);
	}
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
	leaving_look(o, false);
}

static void slot_close(struct outputs *o, size_t i)
{
	if (o->slots[i].output)
		rows[i].kind->close(o->slots[i].output);
	o->slots[i] = (struct output_slot){};
}

/* Nobody waits, unless there is no memory to remember it by. */
static void slot_leave(struct outputs *o, size_t i)
{
	struct output_slot *s = &o->slots[i];
	struct output_leaving *l = NULL;

	if (s->output && rows[i].kind->leave && !rows[i].kind->leave(s->output))
		l = malloc(sizeof(*l));
	if (l) {
		*l = (struct output_leaving){ o->leaving, rows[i].kind, s->output };
		o->leaving = l;
		s->output = NULL;
	}
	slot_close(o, i);
}

/* Whether the output is there and goes on. */
static bool slot_change(struct outputs *o, size_t i, const struct output_context *c)
{
	struct output_slot *s = &o->slots[i];
	char why[512] = "";
	int err;

	if (!s->output || !rows[i].kind->change)
		return false;
	err = rows[i].kind->change(s->output, c, why, sizeof(why));
	if (err > 0)
		return false;
	if (err)
		log_err(*why ? 0 : err, "%s: it goes on as it was%s%s", rows[i].kind->name, *why ? ": " : "", why);
	else
		s->context = *c;
	return true;
}

void outputs_change(struct outputs *o, const struct output_context *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct output_slot *s = &o->slots[i];

		if (s->output && config_same(s->context.config, c->config, rows[i].section))
			continue;
		if (slot_change(o, i, c))
			continue;
		slot_leave(o, i);
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
	leaving_look(o, true);
}
