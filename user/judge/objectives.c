// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "judge/objectives.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "lib/util.h"

#define KEY_LEN 200

const char *const objective_names[OBJECTIVE_VERDICTS] = { "missed", "met", "no data" };

struct agent_note { /* an agent of the recording */
	int id;
	char *name;
	UT_hash_handle hh;
	struct agent_rule {
		bool had, missed;
	} rules[];
};

struct miss { /* found by rule, agent and subject */
	char key[KEY_LEN];
	struct objective_miss told;
	char subject[KEY_LEN];
	bool open;
	UT_hash_handle hh;
};

struct rule_note {
	struct miss *misses;
	uint64_t misses_more;
	double worst;
	const char *worst_agent; /* of its note */
	char worst_subject[KEY_LEN];
};

struct objectives {
	const struct rules *rules;
	struct rule_watch *watch;
	struct agent_note *agents;
	struct rule_note *notes; /* by rule */
	struct objective *told;
	struct objective_miss **misses; /* of them, by rule */
	char **whys;
	double end_s;
};

static struct agent_note *note_of(const struct objectives *o, int id)
{
	struct agent_note *a;

	HASH_FIND_INT(o->agents, &id, a);
	return a;
}

static bool worse(const struct rule *r, double a, double b)
{
	return isnan(b) || (r->comparison == RULE_ABOVE || r->comparison == RULE_AT_LEAST ? a > b : a < b);
}

static int on_value(void *ctx, int rule, int agent, const char *subject, double at_s, double value)
{
	struct objectives *o = ctx;
	struct rule_note *n = &o->notes[rule];
	struct agent_note *a = note_of(o, agent);

	(void)at_s;
	a->rules[rule].had = true;
	if (worse(&o->rules->at[rule], value, n->worst)) {
		n->worst = value;
		n->worst_agent = a->name;
		snprintf(n->worst_subject, sizeof(n->worst_subject), "%s", subject);
	}
	return 0;
}

static int on_event(void *ctx, const struct rule_event *e)
{
	struct objectives *o = ctx;
	int rule = (int)(e->rule - o->rules->at);
	struct rule_note *n = &o->notes[rule];
	struct agent_note *a = note_of(o, e->agent);
	char key[KEY_LEN];
	struct miss *m;

	a->rules[rule].missed = true;
	snprintf(key, sizeof(key), "%d %s", e->agent, e->subject);
	HASH_FIND_STR(n->misses, key, m);
	if (!m && HASH_COUNT(n->misses) >= OBJECTIVE_MISSES_MAX) {
		n->misses_more += e->what == RULE_RAISED;
		return 0;
	}
	if (!m) {
		m = calloc(1, sizeof(*m));
		if (!m)
			return -ENOMEM;
		snprintf(m->key, sizeof(m->key), "%s", key);
		snprintf(m->subject, sizeof(m->subject), "%s", e->subject);
		m->told = (struct objective_miss){ .agent = e->agent, .agent_name = a->name, .since_s = e->since_s, .worst = NAN };
		HASH_ADD_STR(n->misses, key, m);
	}
	if (worse(e->rule, e->worst, m->told.worst))
		m->told.worst = e->worst;
	m->open = e->what == RULE_RAISED;
	if (m->open)
		m->told.times++;
	else
		m->told.seconds += e->at_s - e->since_s;
	return 0;
}

struct objectives *objectives_new(const struct rules *rules)
{
	struct objectives *o = calloc(1, sizeof(*o));
	size_t n = (size_t)rules->len + 1;

	if (!o)
		return NULL;
	o->rules = rules;
	o->watch = rule_watch_new(rules, on_event, o);
	o->notes = calloc(n, sizeof(*o->notes));
	o->told = calloc(n, sizeof(*o->told));
	o->misses = calloc(n, sizeof(*o->misses));
	o->whys = calloc(n, sizeof(*o->whys));
	if (!o->watch || !o->notes || !o->told || !o->misses || !o->whys) {
		objectives_free(o);
		return NULL;
	}
	for (int r = 0; r < rules->len; r++)
		o->notes[r].worst = NAN;
	rule_watch_values(o->watch, on_value);
	return o;
}

static int agents_note(struct objectives *o, const struct interval_data *i)
{
	for (int n = 0; n < i->agents_len; n++) {
		const struct agent_info *info = i->infos[n];
		struct agent_note *a = note_of(o, info->id);

		if (a)
			continue;
		a = calloc(1, sizeof(*a) + (size_t)o->rules->len * sizeof(a->rules[0]));
		if (!a)
			return -ENOMEM;
		a->id = info->id;
		a->name = strdup(info->name);
		HASH_ADD_INT(o->agents, id, a);
		if (!a->name)
			return -ENOMEM;
	}
	return 0;
}

int objectives_interval(void *objectives, const struct interval_data *i)
{
	struct objectives *o = objectives;
	int err = agents_note(o, i);

	o->end_s = i->end_s;
	return err ? err : rule_watch_interval(o->watch, i);
}

/* ---- the end ---- */

/* What is still raised lasts until now. */
static int on_left(void *ctx, const struct rule_event *e)
{
	struct objectives *o = ctx;
	char key[KEY_LEN];
	struct miss *m;

	snprintf(key, sizeof(key), "%d %s", e->agent, e->subject);
	HASH_FIND_STR(o->notes[e->rule - o->rules->at].misses, key, m);
	if (m && m->open) {
		m->told.seconds += o->end_s - e->since_s;
		m->told.ongoing = true;
		m->open = false;
		if (worse(e->rule, e->worst, m->told.worst))
			m->told.worst = e->worst;
	}
	return 0;
}

static int miss_compare(const void *a, const void *b)
{
	const struct objective_miss *x = a, *y = b;

	if (x->seconds != y->seconds)
		return x->seconds < y->seconds ? 1 : -1;
	if (x->agent != y->agent)
		return x->agent < y->agent ? -1 : 1;
	return strcmp(x->subject, y->subject);
}

static int misses_tell(struct objectives *o, int rule)
{
	struct rule_note *n = &o->notes[rule];
	struct objective *t = &o->told[rule];
	struct miss *m, *next;

	free(o->misses[rule]);
	o->misses[rule] = calloc(HASH_COUNT(n->misses) + 1, sizeof(*o->misses[rule]));
	if (!o->misses[rule])
		return -ENOMEM;
	t->misses = o->misses[rule];
	HASH_ITER(hh, n->misses, m, next) {
		m->told.subject = m->subject;
		o->misses[rule][t->misses_len++] = m->told;
	}
	qsort(o->misses[rule], (size_t)t->misses_len, sizeof(*o->misses[rule]), miss_compare);
	t->misses_more = n->misses_more;
	return 0;
}

static void agents_tell(struct objectives *o, int rule)
{
	struct objective *t = &o->told[rule];
	const char *pattern = t->rule->agent;
	struct agent_note *a, *next;

	HASH_ITER(hh, o->agents, a, next) {
		if (pattern && fnmatch(pattern, a->name, 0))
			continue;
		if (a->rules[rule].missed)
			t->missed++;
		else if (a->rules[rule].had)
			t->met++;
		else
			t->silent++;
	}
}

int objectives_judge(struct objectives *o, const struct objective **ret)
{
	int err = rule_watch_raised(o->watch, on_left, o);

	for (int r = 0; r < o->rules->len && !err; r++) {
		struct objective *t = &o->told[r];
		const struct rule_note *n = &o->notes[r];
		const char *why = rule_watch_silent(o->watch, r);

		*t = (struct objective){ .rule = &o->rules->at[r], .worst = n->worst, .worst_agent = n->worst_agent ? n->worst_agent : "", .worst_subject = n->worst_subject };
		err = misses_tell(o, r);
		agents_tell(o, r);
		free(o->whys[r]);
		o->whys[r] = why ? strdup(o->end_s > 0 ? why : "no intervals") : NULL;
		if (why && !o->whys[r])
			err = -ENOMEM;
		t->why = o->whys[r];
		t->verdict = t->missed ? OBJECTIVE_MISSED : t->met ? OBJECTIVE_MET : OBJECTIVE_SILENT;
	}
	*ret = o->told;
	return err;
}

bool objectives_missed(const struct objective *all, int len)
{
	for (int i = 0; i < len; i++)
		if (all[i].verdict == OBJECTIVE_MISSED && all[i].rule->severity != SEVERITY_INFO)
			return true;
	return false;
}

uint64_t objectives_unjudged(const struct objectives *o)
{
	return rule_watch_unjudged(o->watch);
}

void objectives_free(struct objectives *o)
{
	struct agent_note *a, *next;
	struct miss *m, *m_next;

	if (!o)
		return;
	rule_watch_free(o->watch);
	for (int r = 0; r < o->rules->len; r++) {
		if (o->notes)
			HASH_ITER(hh, o->notes[r].misses, m, m_next) {
				HASH_DEL(o->notes[r].misses, m);
				free(m);
			}
		if (o->misses)
			free(o->misses[r]);
		if (o->whys)
			free(o->whys[r]);
	}
	HASH_ITER(hh, o->agents, a, next) {
		HASH_DEL(o->agents, a);
		free(a->name);
		free(a);
	}
	free(o->notes);
	free(o->told);
	free(o->misses);
	free(o->whys);
	free(o);
}
