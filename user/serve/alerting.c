/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/alerting.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge/rule.h"
#include "lib/log.h"
#include "lib/timestamp.h"
#include "lib/util.h"
#include "model/json_tree.h"
#include "serve/alert_findings.h"
#include "serve/alert_sinks.h"
#include "serve/ways.h"

#define STATE_NAME "alerts.json"
#define STATE_MAX (16 << 20) /* bytes of a state file */
#define CLOSE_S 5
#define PATIENCE_INTERVALS 3 /* a rule that fired before a restart has its span, and so many intervals, to fire again */

#define FINDINGS_PATIENCE_S 120.0 /* a finding has as long as what is judged reaches back */

enum { PROMPT, RESOLVED, PARTS }; /* rules by when they can be judged */

struct alerting {
	const struct config *config;
	struct rules *rules;
	struct rules *part; /* PARTS, of them; they own nothing but the arrays; lent to the watches */
	struct rule_watch *watch[PARTS];
	struct alerts *alerts;
	struct alert_findings findings;
	struct alert_sinks sinks;
	struct sender *state; /* NULL: none is kept */
	uint64_t saved; /* generation of alerts that the state has */
	bool state_ailing;
	uint64_t start_ns;
	char host[256];
	int64_t now_ns; /* of the interval at hand */
	double interval_s;
};

/* ---- rules ---- */

/* What is known only when an interval has been resolved. */
static bool is_prompt(const struct rule *r)
{
	if (expression_uses_share(r->value) || expression_uses(r->value, M_OUTSTANDING_MAX))
		return false;
	for (int m = 0; m < METRIC_IDS; m++)
		if (metric_infos[m].probe == PROBE_SCHED && metric_infos[m].type == METRIC_HIST && expression_uses(r->value, (enum metric_id)m))
			return false;
	return true;
}

static void parts_free(struct rules *part)
{
	for (int p = 0; part && p < PARTS; p++)
		free(part[p].at);
	free(part);
}

/* NULL when out of memory. */
static struct rules *rules_part(const struct rules *all)
{
	struct rules *part = calloc(PARTS, sizeof(*part));

	for (int p = 0; part && p < PARTS; p++)
		part[p].at = calloc((size_t)all->len + 1, sizeof(*all->at));
	if (!part || !part[PROMPT].at || !part[RESOLVED].at) {
		parts_free(part);
		return NULL;
	}
	for (int i = 0; i < all->len; i++) {
		struct rules *of = &part[is_prompt(&all->at[i]) ? PROMPT : RESOLVED];

		of->at[of->len++] = all->at[i];
	}
	return part;
}

static const struct rule *rule_find(const struct rules *rules, const char *name)
{
	for (int i = 0; i < rules->len; i++)
		if (!strcmp(rules->at[i].name, name))
			return &rules->at[i];
	return NULL;
}

static double patience(void *ctx, const char *name)
{
	const struct alerting *a = ctx;
	const struct rule *r = rule_find(a->rules, name);

	if (!strncmp(name, ALERT_FINDINGS_MARK, strlen(ALERT_FINDINGS_MARK)))
		return a->config->alerts.findings < SEVERITY_COUNT ? FINDINGS_PATIENCE_S : -1;
	return r ? r->over_s + r->for_s + PATIENCE_INTERVALS * a->interval_s : -1;
}

/* By metrics, so that a mean and a percentile are of the same; else (shares, ages) by its words. */
static void measure_of(const struct rule *r, char *buf, size_t len)
{
	size_t used = 0;

	*buf = '\0';
	for (int m = 0; m < METRIC_IDS && used < len; m++)
		if (expression_uses(r->value, (enum metric_id)m))
			used += (size_t)snprintf(buf + used, len - used, "%s%s", used ? " " : "", metric_infos[m].name);
	if (!used)
		snprintf(buf, len, "%.*s", (int)(strlen(r->text) - (r->limit_text ? strlen(r->limit_text) : 0)), r->text);
}

/* ---- events ---- */

/* Of a time since the header's start; by the wall clock as it is now, however it was set since. */
static int64_t wall_ns(const struct alerting *a, double at_s)
{
	return timestamp_now() - ((int64_t)(clock_ns() - a->start_ns) - (int64_t)(at_s * 1e9));
}

static int on_rule(void *ctx, const struct rule_event *e)
{
	struct alerting *a = ctx;
	char measure[256];
	enum quantity_kind kind = expression_kind(e->rule->value);
	struct alert_news news = { .raised = e->what == RULE_RAISED, .id = e->agent };
	bool ratio;

	expression_unit(e->rule->value, &ratio);
	measure_of(e->rule, measure, sizeof(measure));
	news.about = (struct alert){ .rule = (char *)e->rule->name,
				     .agent = (char *)e->agent_name,
				     .subject = (char *)e->subject,
				     .measure = measure,
				     .summary = (char *)e->rule->text,
				     .help = (char *)e->rule->help,
				     .severity = e->rule->severity,
				     .since_ns = wall_ns(a, e->since_s),
				     .ended_ns = wall_ns(a, e->at_s),
				     .value = e->value,
				     .worst = e->worst,
				     .ratio = ratio,
				     .seconds = !ratio && kind == QUANTITY_TIME,
				     .bytes = !ratio && kind == QUANTITY_BYTES };
	return alerts_event(a->alerts, &news, a->now_ns);
}

static int on_finding(void *ctx, struct alert_news *news)
{
	struct alerting *a = ctx;

	news->about.since_ns = wall_ns(a, (double)news->about.since_ns / 1e9);
	news->about.ended_ns = wall_ns(a, (double)news->about.ended_ns / 1e9);
	return alerts_event(a->alerts, news, a->now_ns);
}

static struct alert_context context_of(const struct alerting *a)
{
	return (struct alert_context){ .host = a->host, .labels = a->config->labels, .labels_len = a->config->labels_len, .now_ns = a->now_ns,
				       .resend_s = a->config->alerts.resend_s };
}

static int on_notice(void *ctx, const struct notice *n)
{
	struct alerting *a = ctx;
	struct alert_context c = context_of(a);

	return alert_sinks_put(&a->sinks, &c, n);
}

/* ---- state ---- */

/* *ret is the caller's; NULL: none is to be kept. 0 or -ENOMEM. */
static int state_path(const struct config *c, char **ret)
{
	const char *folder = getenv("STATE_DIRECTORY");

	*ret = NULL;
	if (c->alerts.state)
		*ret = strdup(c->alerts.state);
	else if (folder && *folder == '/') /* the first, should there be several */
		return asprintf(ret, "%.*s/%s", (int)strcspn(folder, ":"), folder, STATE_NAME) < 0 ? -ENOMEM : 0;
	return c->alerts.state && !*ret ? -ENOMEM : 0;
}

static int file_text(const char *path, char **ret, size_t *ret_len)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char *text;

	if (!f)
		return -errno;
	text = malloc(STATE_MAX + JSON_TEXT_PADDING);
	if (!text)
		return -ENOMEM;
	*ret_len = fread(text, 1, STATE_MAX, f);
	if (ferror(f) || !feof(f)) {
		int err = ferror(f) ? -errno : -EFBIG;

		free(text);
		return err;
	}
	memset(text + *ret_len, 0, JSON_TEXT_PADDING);
	*ret = text;
	return 0;
}

static int state_load(struct alerting *a, const char *path)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int err = file_text(path, &text, &len);

	if (err == -ENOENT)
		return 0;
	if (!err)
		err = alerts_load(a->alerts, text, len, a->now_ns, patience, a);
	if (err && err != -ENOMEM)
		log_warn("alerts: %s: %s; it is begun anew", path, err == -EBADMSG ? "not a state of alerts" : strerror(-err));
	return err == -ENOMEM ? err : 0;
}

static int state_save(struct alerting *a)
{
	struct json_text j = { 0 };

	if (!a->state || a->saved == alerts_generation(a->alerts))
		return 0;
	alerts_save(a->alerts, &j);
	if (j.failed) {
		json_text_fini(&j);
		return -ENOMEM;
	}
	a->saved = alerts_generation(a->alerts);
	return sender_put(a->state, (uint8_t *)j.text, j.len);
}

static void state_look(struct alerting *a)
{
	char why[512];
	int err = a->state ? sender_state(a->state, why, sizeof(why)) : 0;

	if (err && !a->state_ailing)
		log_err(0, "alerts: state: %s", why);
	else if (!err && a->state_ailing)
		log_info("alerts: state: works again");
	a->state_ailing = err;
}

static int state_change(struct alerting *a, const struct config *c)
{
	_cleanup_free_ char *path = NULL;
	int err = state_path(c, &path);

	if (err)
		return err;
	if (!path) {
		if (a->state)
			sender_close(a->state, CLOSE_S);
		a->state = NULL;
		return 0;
	}
	a->saved = UINT64_MAX; /* it may be another file */
	if (a->state)
		return sender_change(a->state, replace_way_new(path));
	err = state_load(a, path);
	if (!err)
		a->state = sender_new(replace_way_new(path), &err);
	return err;
}

/* ---- life ---- */

static struct alerts_options options_of(const struct config_alerts *c)
{
	return (struct alerts_options){ .group_wait_s = c->group_wait_s, .repeat_s = c->repeat_s, .silences = c->silences, .silences_len = c->silences_len };
}

static int watches_open(struct alerting *a, const struct header_data *h)
{
	int err = 0;

	a->part = rules_part(a->rules);
	if (!a->part)
		return -ENOMEM;
	for (int p = 0; p < PARTS && !err; p++) {
		a->watch[p] = rule_watch_new(&a->part[p], on_rule, a);
		if (a->watch[p])
			rule_watch_probes(a->watch[p], h);
		else
			err = -ENOMEM;
	}
	return err;
}

int alerting_open(struct config *c, uint64_t start_ns, const struct header_data *h, struct alerting **ret, char *why, size_t why_len)
{
	struct alerting *a = calloc(1, sizeof(*a));
	struct alerts_options options = options_of(&c->alerts);
	int err;

	*why = '\0';
	if (!a)
		return snprintf(why, why_len, "out of memory"), -ENOMEM;
	a->config = c;
	a->rules = c->alerts.loaded;
	c->alerts.loaded = NULL;
	a->start_ns = start_ns;
	a->interval_s = h->interval_s;
	a->now_ns = timestamp_now();
	snprintf(a->host, sizeof(a->host), "%s", h->host.name);
	a->alerts = alerts_new(&options);
	err = a->alerts ? watches_open(a, h) : -ENOMEM;
	if (!err)
		err = state_change(a, c);
	if (!err)
		err = alert_sinks_change(&a->sinks, c, why, why_len);
	if (!err) {
		*ret = a;
		return 0;
	}
	if (!*why)
		snprintf(why, why_len, "%s", strerror(-err));
	alerting_close(a);
	return err;
}

/* The rules of c in place of those there are. */
static int rules_change(struct alerting *a, struct config *c)
{
	struct rules *part = rules_part(c->alerts.loaded), *old = a->rules;
	int err = 0;

	if (!part)
		return -ENOMEM;
	for (int p = 0; p < PARTS && !err; p++) {
		err = rule_watch_rules(a->watch[p], &part[p]);
		if (err && p) /* the first part has them already: back, or it would go on with what is freed */
			rule_watch_rules(a->watch[PROMPT], &a->part[PROMPT]);
	}
	if (err) {
		parts_free(part);
		return err;
	}
	parts_free(a->part);
	a->part = part;
	a->rules = c->alerts.loaded;
	c->alerts.loaded = NULL;
	rules_free(old);
	return 0;
}

int alerting_change(struct alerting *a, struct config *c, char *why, size_t why_len)
{
	struct alerts_options options = options_of(&c->alerts);
	int err;

	*why = '\0';
	a->now_ns = timestamp_now();
	err = rules_change(a, c);
	if (!err) {
		a->config = c;
		alerts_change(a->alerts, &options);
		err = state_change(a, c);
	}
	if (!err)
		err = alert_sinks_change(&a->sinks, c, why, why_len);
	if (err && !*why)
		snprintf(why, why_len, "%s", strerror(-err));
	return err;
}

bool alerting_uses(const struct alerting *a, const struct config *c)
{
	return a && a->config == c;
}

bool alerting_leave(struct alerting *a)
{
	bool left = alert_sinks_leave(&a->sinks);

	if (!a->state)
		return left;
	state_save(a);
	sender_end(a->state, CLOSE_S);
	return left && sender_ended(a->state);
}

void alerting_close(struct alerting *a)
{
	if (!a)
		return;
	for (int p = 0; p < PARTS; p++)
		rule_watch_free(a->watch[p]);
	if (a->state) {
		state_save(a);
		sender_close(a->state, CLOSE_S);
	}
	alert_sinks_close(&a->sinks);
	alert_findings_fini(&a->findings);
	alerts_free(a->alerts);
	parts_free(a->part);
	rules_free(a->rules);
	free(a);
}

/* ---- intervals ---- */

static int look(struct alerting *a)
{
	struct alert_context c;
	int err;

	a->now_ns = timestamp_now();
	c = context_of(a);
	err = alerts_look(a->alerts, a->now_ns, on_notice, a);
	if (!err)
		err = state_save(a);
	alert_sinks_look(&a->sinks, &c, a->alerts);
	state_look(a);
	return err;
}

static int interval(struct alerting *a, const struct interval_data *i, int part)
{
	int err;

	a->now_ns = timestamp_now();
	err = rule_watch_interval(a->watch[part], i);
	return err ? err : look(a);
}

int alerting_closed(struct alerting *a, const struct interval_data *i)
{
	return interval(a, i, PROMPT);
}

int alerting_interval(struct alerting *a, const struct interval_data *i)
{
	return interval(a, i, RESOLVED);
}

int alerting_found(struct alerting *a, const struct recents *r, const struct live *l)
{
	a->now_ns = timestamp_now();
	return alert_findings_look(&a->findings, r, l, a->config->alerts.findings, on_finding, a);
}

static int firing_tell(void *ctx, const struct alert *of)
{
	return live_alert_add(ctx, of->rule, of->agent, of->subject, severity_names[of->severity]);
}

int alerting_tell(struct alerting *a, struct live *l)
{
	int err;

	live_alerts_reset(l);
	l->judged = true;
	err = alerts_firing(a->alerts, firing_tell, l);
	return err ? err : alert_sinks_tell(&a->sinks, l);
}
