/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "judge/alerts.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "judge/alerts_parts.h"
#include "lib/util.h"

struct alerts *alerts_new(const struct alerts_options *o)
{
	struct alerts *a = calloc(1, sizeof(*a));

	if (a)
		a->options = *o;
	return a;
}

static void alert_free(struct alert *of)
{
	if (!of)
		return;
	free(of->rule);
	free(of->agent);
	free(of->subject);
	free(of->measure);
	free(of->summary);
	free(of->help);
	free(of->ids);
	free(of);
}

void alerts_free(struct alerts *a)
{
	if (!a)
		return;
	for (int i = 0; i < a->len; i++)
		alert_free(a->at[i]);
	free(a->at);
	free(a->due);
	free(a);
}

void alerts_change(struct alerts *a, const struct alerts_options *o)
{
	a->options = *o;
}

int alerts_count(const struct alerts *a)
{
	int n = 0;

	for (int i = 0; i < a->len; i++)
		n += a->at[i]->firing;
	return n;
}

uint64_t alerts_generation(const struct alerts *a)
{
	return a->generation;
}

int alerts_firing(const struct alerts *a, int (*fn)(void *ctx, const struct alert *of), void *ctx)
{
	int err = 0;

	for (int i = 0; i < a->len && !err; i++)
		if (a->at[i]->firing)
			err = fn(ctx, a->at[i]);
	return err;
}

/* ---- what rules say ---- */

static struct alert *find(const struct alerts *a, const char *rule, const char *agent, const char *subject)
{
	for (int i = 0; i < a->len; i++)
		if (!strcmp(a->at[i]->rule, rule) && !strcmp(a->at[i]->agent, agent) && !strcmp(a->at[i]->subject, subject))
			return a->at[i];
	return NULL;
}

static char *text_of(const char *s)
{
	return strdup(s ? s : "");
}

/* Grows to hold n pointers. */
static bool room(void *list, int *cap, int n)
{
	void **at = list, *grown;

	if (n <= *cap)
		return true;
	grown = reallocarray(*at, (size_t)n * 2, sizeof(void *));
	if (!grown)
		return false;
	*at = grown;
	*cap = n * 2;
	return true;
}

struct alert *alerts_add(struct alerts *a, const struct alert *like)
{
	struct alert *of = calloc(1, sizeof(*of));

	if (!of)
		return NULL;
	of->rule = text_of(like->rule);
	of->agent = text_of(like->agent);
	of->subject = text_of(like->subject);
	of->measure = text_of(like->measure);
	of->summary = text_of(like->summary);
	of->help = text_of(like->help);
	of->severity = like->severity;
	of->since_ns = like->since_ns;
	of->value = like->value;
	of->worst = like->worst;
	of->bytes = like->bytes;
	of->seconds = like->seconds;
	of->ratio = like->ratio;
	if (!of->rule || !of->agent || !of->subject || !of->measure || !of->summary || !of->help || !room(&a->at, &a->cap, a->len + 1)) {
		alert_free(of);
		return NULL;
	}
	a->at[a->len++] = of;
	return of;
}

/* A group that waits has the agent's name of one of its alerts. */
static void drop(struct alerts *a, int i)
{
	struct alert *of = a->at[i];

	a->at[i] = a->at[--a->len];
	for (int g = 0; g < a->groups_len; g++) {
		const char *other = NULL;

		for (int n = 0; n < a->len && !other && a->groups[g].agent == of->agent; n++)
			other = strcmp(a->at[n]->agent, of->agent) ? NULL : a->at[n]->agent;
		if (other)
			a->groups[g].agent = other;
		else if (a->groups[g].agent == of->agent)
			a->groups[g--] = a->groups[--a->groups_len];
	}
	alert_free(of);
}

static int id_add(struct alert *of, int id)
{
	int *grown;

	for (int i = 0; i < of->ids_len; i++)
		if (of->ids[i] == id)
			return 0;
	grown = reallocarray(of->ids, (size_t)of->ids_len + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	of->ids = grown;
	grown[of->ids_len++] = id;
	return 0;
}

static void id_remove(struct alert *of, int id)
{
	for (int i = 0; i < of->ids_len; i++)
		if (of->ids[i] == id)
			of->ids[i--] = of->ids[--of->ids_len];
}

static void end(struct alerts *a, struct alert *of, int64_t at_ns)
{
	of->firing = of->left = false;
	of->ended_ns = at_ns;
	a->generation++;
}

/* The rule's own words may have changed with its file. */
static int words_take(struct alert *of, const struct alert *from)
{
	char *summary = text_of(from->summary), *help = text_of(from->help), *measure = text_of(from->measure);

	if (!summary || !help || !measure) {
		free(summary);
		free(help);
		free(measure);
		return -ENOMEM;
	}
	free(of->summary);
	free(of->help);
	free(of->measure);
	of->summary = summary;
	of->help = help;
	of->measure = measure;
	of->severity = from->severity;
	of->bytes = from->bytes;
	of->seconds = from->seconds;
	of->ratio = from->ratio;
	return 0;
}

static int raise(struct alerts *a, const struct alert_news *e)
{
	const struct alert *about = &e->about;
	struct alert *of = find(a, about->rule, about->agent, about->subject);
	int err;

	if (!of)
		of = alerts_add(a, about);
	if (!of)
		return -ENOMEM;
	err = id_add(of, e->id);
	if (!err)
		err = words_take(of, about);
	if (err)
		return err;
	if (!of->firing && !of->told_ns) /* one that is over, but not told so yet, goes on as if nothing had been */
		of->since_ns = about->since_ns;
	if (!of->firing || of->left)
		a->generation++;
	of->firing = true;
	of->left = false;
	of->ended_ns = 0;
	of->value = about->value;
	of->worst = about->worst;
	return 0;
}

int alerts_event(struct alerts *a, const struct alert_news *e, int64_t now_ns)
{
	struct alert *of;

	if (e->raised)
		return raise(a, e);
	of = find(a, e->about.rule, e->about.agent, e->about.subject);
	if (!of || !of->firing)
		return 0;
	id_remove(of, e->id);
	if (of->ids_len || of->left)
		return 0;
	of->value = e->about.value;
	of->worst = e->about.worst;
	end(a, of, e->about.ended_ns ? e->about.ended_ns : now_ns);
	return 0;
}

void alerts_value(struct alerts *a, const char *rule, const char *agent, const char *subject, double value)
{
	struct alert *of = find(a, rule, agent, subject);

	if (of && of->firing)
		of->value = value;
}

/* ---- what is told ---- */

static bool glob_matches(const char *glob, const char *text)
{
	return !glob || !fnmatch(glob, text, 0);
}

static bool silenced(const struct alerts_options *o, const struct alert *of, int64_t now_ns)
{
	for (int i = 0; i < o->silences_len; i++) {
		const struct silence *s = &o->silences[i];

		if ((!s->until_ns || now_ns < s->until_ns) && glob_matches(s->rule, of->rule) && glob_matches(s->agent, of->agent))
			return true;
	}
	return false;
}

static bool inhibits(const struct alert *by, const struct alert *of)
{
	return by->firing && by->severity == SEVERITY_CRITICAL && of->severity < SEVERITY_CRITICAL && !strcmp(by->agent, of->agent) &&
	       !strcmp(by->subject, of->subject) && !strcmp(by->measure, of->measure);
}

/* What speaks against telling: a critical one that is itself silenced tells nobody anything, but still means that the warning is no news. */
static void standing_look(struct alerts *a, int64_t now_ns)
{
	for (int i = 0; i < a->len; i++) {
		struct alert *of = a->at[i];

		of->silenced = silenced(&a->options, of, now_ns);
		of->inhibited = false;
		for (int n = 0; n < a->len && !of->inhibited; n++)
			of->inhibited = inhibits(a->at[n], of);
	}
}

static bool due(const struct alerts_options *o, const struct alert *of, int64_t now_ns)
{
	if (!of->firing)
		return of->told_ns != 0;
	if (of->silenced || of->inhibited)
		return false;
	return !of->told_ns || (o->repeat_s > 0 && now_ns - of->told_ns >= (int64_t)(o->repeat_s * 1e9));
}

/* Those of the agent that are due, firing ones first, into a->due. Returns how many fire, or -ENOMEM. */
static int gather(struct alerts *a, const char *agent, int64_t now_ns, int *ret_len)
{
	int firing = 0;

	*ret_len = 0;
	for (int fires = 1; fires >= 0; fires--) {
		for (int i = 0; i < a->len; i++) {
			if (a->at[i]->firing != fires || strcmp(a->at[i]->agent, agent) || !due(&a->options, a->at[i], now_ns))
				continue;
			if (!room(&a->due, &a->due_cap, *ret_len + 1))
				return -ENOMEM;
			a->due[(*ret_len)++] = a->at[i];
		}
		if (fires)
			firing = *ret_len;
	}
	return firing;
}

static int tell(struct alerts *a, const char *agent, int64_t now_ns, notice_fn fn, void *ctx)
{
	int len, firing = gather(a, agent, now_ns, &len), err;

	if (firing < 0)
		return firing;
	err = fn(ctx, &(struct notice){ agent, (const struct alert *const *)a->due, len, firing });
	for (int i = 0; i < len; i++)
		a->due[i]->told_ns = i < firing ? now_ns : 0;
	a->generation++;
	return err;
}

/* Whether there may be more to come of the agent. */
static bool group_waits(struct alerts *a, struct alert *of, int64_t now_ns)
{
	if (a->options.group_wait_s <= 0)
		return false;
	for (int i = 0; i < a->groups_len; i++)
		if (!strcmp(a->groups[i].agent, of->agent))
			return now_ns < a->groups[i].until_ns;
	if (a->groups_len == ALERT_GROUPS_WAITING)
		return false; /* so many at once: it is told now */
	a->groups[a->groups_len++] = (struct alert_group){ of->agent, now_ns + (int64_t)(a->options.group_wait_s * 1e9) };
	return true;
}

static void group_over(struct alerts *a, const char *agent)
{
	for (int i = 0; i < a->groups_len; i++)
		if (!strcmp(a->groups[i].agent, agent))
			a->groups[i--] = a->groups[--a->groups_len];
}

static void left_look(struct alerts *a, int64_t now_ns)
{
	for (int i = 0; i < a->len; i++)
		if (a->at[i]->left && now_ns >= a->at[i]->left_until_ns)
			end(a, a->at[i], now_ns);
}

/* Nobody is to be told of them any more, or ever was. */
static void over_drop(struct alerts *a)
{
	for (int i = 0; i < a->len; i++)
		if (!a->at[i]->firing && !a->at[i]->told_ns)
			drop(a, i--);
}

int alerts_look(struct alerts *a, int64_t now_ns, notice_fn fn, void *ctx)
{
	int err = 0;

	left_look(a, now_ns);
	standing_look(a, now_ns);
	for (int i = 0; i < a->len; i++) {
		int told;

		if (!due(&a->options, a->at[i], now_ns) || group_waits(a, a->at[i], now_ns))
			continue;
		group_over(a, a->at[i]->agent);
		told = tell(a, a->at[i]->agent, now_ns, fn, ctx);
		err = err ? err : told;
	}
	over_drop(a);
	return err;
}
