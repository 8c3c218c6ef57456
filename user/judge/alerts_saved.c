/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a restart must know: alerts that fire, and those whose end hasn't been told. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "judge/alerts_parts.h"
#include "lib/util.h"
#include "model/json_tree.h"

#define FORMAT "stakeout-alerts/1"

static void alert_save(struct json_text *j, const struct alert *of)
{
	put_open(j, NULL, "{");
	put_string(j, "rule", of->rule);
	put_string(j, "agent", of->agent);
	put_string(j, "subject", of->subject);
	put_string(j, "severity", severity_names[of->severity]);
	put_string(j, "measure", of->measure);
	put_string(j, "summary", of->summary);
	put_string(j, "help", of->help);
	put_bool(j, "firing", of->firing);
	put_int(j, "since_ns", of->since_ns);
	put_int(j, "ended_ns", of->ended_ns);
	put_int(j, "told_ns", of->told_ns);
	put_string(j, "unit", of->ratio ? "ratio" : of->seconds ? "s" : of->bytes ? "bytes" : "");
	if (!isnan(of->value))
		put_real(j, "value", of->value);
	if (!isnan(of->worst))
		put_real(j, "worst", of->worst);
	put_close(j, "}");
}

void alerts_save(const struct alerts *a, struct json_text *j)
{
	put_open(j, NULL, "{");
	put_string(j, "format", FORMAT);
	put_open(j, "alerts", "[");
	for (int i = 0; i < a->len; i++)
		if (a->at[i]->told_ns)
			alert_save(j, a->at[i]);
	put_close(j, "]");
	put_close(j, "}");
	put_raw(j, "\n", 1);
}

static const char *text(const struct json_node *of, const char *key)
{
	const struct json_node *n = json_get(of, key);

	return json_is(n, NODE_STRING) ? n->string : NULL;
}

static int64_t integer(const struct json_node *of, const char *key)
{
	const struct json_node *n = json_get(of, key);

	return json_is(n, NODE_INTEGER) ? n->integer : 0;
}

static double real(const struct json_node *of, const char *key)
{
	const struct json_node *n = json_get(of, key);

	return json_is(n, NODE_REAL) ? n->real : json_is(n, NODE_INTEGER) ? (double)n->integer : NAN;
}

/* False: it isn't one. The strings are the tree's. */
static bool alert_read(const struct json_node *n, struct alert *ret)
{
	const char *severity = text(n, "severity"), *unit = text(n, "unit");
	int known = severity ? severity_find(severity) : -1;

	*ret = (struct alert){ .rule = (char *)text(n, "rule"),
			       .agent = (char *)text(n, "agent"),
			       .subject = (char *)text(n, "subject"),
			       .measure = (char *)text(n, "measure"),
			       .summary = (char *)text(n, "summary"),
			       .help = (char *)text(n, "help"),
			       .firing = json_is(json_get(n, "firing"), NODE_TRUE),
			       .since_ns = integer(n, "since_ns"),
			       .ended_ns = integer(n, "ended_ns"),
			       .told_ns = integer(n, "told_ns"),
			       .value = real(n, "value"),
			       .worst = real(n, "worst"),
			       .ratio = unit && !strcmp(unit, "ratio"),
			       .seconds = unit && !strcmp(unit, "s"),
			       .bytes = unit && !strcmp(unit, "bytes") };
	if (!ret->rule || !ret->agent || !ret->subject || known < 0 || ret->told_ns <= 0)
		return false;
	ret->severity = (enum severity)known;
	return true;
}

static int alert_load(struct alerts *a, const struct alert *saved, int64_t now_ns, double patience_s)
{
	struct alert *of = alerts_add(a, saved);

	if (!of)
		return -ENOMEM;
	of->firing = of->left = saved->firing;
	of->ended_ns = saved->ended_ns;
	of->told_ns = saved->told_ns < now_ns ? saved->told_ns : now_ns;
	of->left_until_ns = patience_s < 0 ? now_ns : now_ns + (int64_t)(patience_s * 1e9);
	return 0;
}

int alerts_load(struct alerts *a, const char *saved, size_t len, int64_t now_ns, double (*patience)(void *ctx, const char *rule), void *ctx)
{
	struct json_tree tree = { 0 };
	const struct json_node *root, *n;
	int err = json_tree_read(&tree, saved, len, &root);
	struct json_walk walk;
	const char *format;
	struct alert one;

	format = err ? NULL : text(root, "format");
	if (!err && (!format || strcmp(format, FORMAT)))
		err = -EBADMSG;
	walk = json_walk(err ? NULL : json_get(root, "alerts"));
	while (!err && json_element(&walk, &n))
		if (!alert_read(n, &one))
			err = -EBADMSG;
	walk = json_walk(err ? NULL : json_get(root, "alerts"));
	while (!err && json_element(&walk, &n)) {
		alert_read(n, &one);
		err = alert_load(a, &one, now_ns, patience(ctx, one.rule));
	}
	json_tree_fini(&tree);
	return err == -EFBIG ? -EBADMSG : err;
}
