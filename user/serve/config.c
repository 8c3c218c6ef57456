/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * libcyaml loads all values as texts, after a schema that config.def expands to; rows of the same table then make them times, sizes and numbers.
 */
#include "serve/config.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/util.h"
#include "lib/yaml_file.h"
#include "serve/config_value.h"

/* --- what libcyaml fills --- */

struct raw_target {
#define KEY_TARGET(key, ...) const char *key;
#include "serve/config.def"
};

struct raw_recordings {
#define KEY_RECORDINGS(key, ...) const char *key;
#include "serve/config.def"
};

struct raw_prometheus {
#define KEY_PROMETHEUS(key, ...) const char *key;
#include "serve/config.def"
};

struct raw_otlp {
#define KEY_OTLP(key, ...) const char *key;
#include "serve/config.def"
	char unused; /* headers are read from the file itself: libcyaml has no mappings of any keys */
};

struct raw_silence {
#define KEY_SILENCE(key, ...) const char *key;
#include "serve/config.def"
};

struct raw_alerts {
#define KEY_ALERTS(key, ...) const char *key;
#include "serve/config.def"
	struct raw_silence *silences;
	unsigned silences_count;
};

struct raw_config {
#define KEY_WATCH(key, ...) const char *key;
#include "serve/config.def"
	struct raw_target *targets;
	unsigned targets_count;
	const char **probes, **peers;
	unsigned probes_count, peers_count;
	struct raw_recordings *recordings;
	struct raw_prometheus *prometheus;
	struct raw_otlp *otlp;
	struct raw_alerts *alerts;
};

#define SECTION_FLAGS (CYAML_FLAG_POINTER_NULL | CYAML_FLAG_OPTIONAL)
#define TEXT_FIELD(section, key) CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_##section, key, 0, CYAML_UNLIMITED),

static const cyaml_schema_field_t target_fields[] = {
#define KEY_TARGET(key, ...) TEXT_FIELD(target, key)
#include "serve/config.def"
	CYAML_FIELD_END
};
static const cyaml_schema_field_t recordings_fields[] = {
#define KEY_RECORDINGS(key, ...) TEXT_FIELD(recordings, key)
#include "serve/config.def"
	CYAML_FIELD_END
};
static const cyaml_schema_field_t prometheus_fields[] = {
#define KEY_PROMETHEUS(key, ...) TEXT_FIELD(prometheus, key)
#include "serve/config.def"
	CYAML_FIELD_END
};
static const cyaml_schema_field_t otlp_fields[] = {
#define KEY_OTLP(key, ...) TEXT_FIELD(otlp, key)
#include "serve/config.def"
	CYAML_FIELD_IGNORE("headers", CYAML_FLAG_OPTIONAL),
	CYAML_FIELD_END
};
static const cyaml_schema_field_t silence_fields[] = {
#define KEY_SILENCE(key, ...) TEXT_FIELD(silence, key)
#include "serve/config.def"
	CYAML_FIELD_END
};
static const cyaml_schema_value_t silence_value = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_silence, silence_fields) };
static const cyaml_schema_field_t alerts_fields[] = {
#define KEY_ALERTS(key, ...) TEXT_FIELD(alerts, key)
#include "serve/config.def"
	CYAML_FIELD_SEQUENCE("silences", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_alerts, silences, &silence_value, 0, CYAML_UNLIMITED),
	CYAML_FIELD_END
};
static const cyaml_schema_value_t target_value = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_target, target_fields) };
static const cyaml_schema_value_t text_value = { CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, CYAML_UNLIMITED) };
static const cyaml_schema_field_t config_fields[] = {
	CYAML_FIELD_SEQUENCE("targets", CYAML_FLAG_POINTER, struct raw_config, targets, &target_value, 1, CYAML_UNLIMITED),
	CYAML_FIELD_SEQUENCE("probes", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_config, probes, &text_value, 0, CYAML_UNLIMITED),
	CYAML_FIELD_SEQUENCE("peers", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct raw_config, peers, &text_value, 0, CYAML_UNLIMITED),
#define KEY_WATCH(key, ...) TEXT_FIELD(config, key)
#include "serve/config.def"
	CYAML_FIELD_MAPPING_PTR("recordings", SECTION_FLAGS, struct raw_config, recordings, recordings_fields),
	CYAML_FIELD_MAPPING_PTR("prometheus", SECTION_FLAGS, struct raw_config, prometheus, prometheus_fields),
	CYAML_FIELD_MAPPING_PTR("otlp", SECTION_FLAGS, struct raw_config, otlp, otlp_fields),
	CYAML_FIELD_MAPPING_PTR("alerts", SECTION_FLAGS, struct raw_config, alerts, alerts_fields),
	CYAML_FIELD_IGNORE("labels", CYAML_FLAG_OPTIONAL),
	CYAML_FIELD_END
};
static const cyaml_schema_value_t config_value = { CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_config, config_fields) };

static void nothing_logged(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
	(void)level, (void)ctx, (void)fmt, (void)args;
}

static const cyaml_config_t cyaml = { .log_fn = nothing_logged, .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR };

/* --- what becomes of it --- */

struct key {
	const char *name;
	enum value_kind kind;
	size_t raw, member; /* offsets */
	double min, max;
};

#define KEY_ROW(section, target, key, kind, member, min, max) { #key, VALUE_##kind, offsetof(struct raw_##section, key), offsetof(struct target, member), min, max },
static const struct key watch_keys[] = {
#define KEY_WATCH(key, kind, member, min, max, help) KEY_ROW(config, config, key, kind, member, min, max)
#include "serve/config.def"
	{}
};
static const struct key target_keys[] = {
#define KEY_TARGET(key, kind, member, min, max, help) KEY_ROW(target, target_spec, key, kind, member, min, max)
#include "serve/config.def"
	{}
};
static const struct key recordings_keys[] = {
#define KEY_RECORDINGS(key, kind, member, min, max, help) KEY_ROW(recordings, config, key, kind, member, min, max)
#include "serve/config.def"
	{}
};
static const struct key prometheus_keys[] = {
#define KEY_PROMETHEUS(key, kind, member, min, max, help) KEY_ROW(prometheus, config, key, kind, member, min, max)
#include "serve/config.def"
	{}
};
static const struct key otlp_keys[] = {
#define KEY_OTLP(key, kind, member, min, max, help) KEY_ROW(otlp, config, key, kind, member, min, max)
#include "serve/config.def"
	{}
};

static const struct key alerts_keys[] = {
#define KEY_ALERTS(key, kind, member, min, max, help) KEY_ROW(alerts, config, key, kind, member, min, max)
#include "serve/config.def"
	{}
};
static const struct key silence_keys[] = {
#define KEY_SILENCE(key, kind, member, min, max, help) KEY_ROW(silence, silence, key, kind, member, min, max)
#include "serve/config.def"
	{}
};

struct owner {
	struct config config;
	struct yaml_file *file;
	struct raw_config *raw;
	char **headers; /* composed */
};

struct load {
	struct owner *o;
	char *why;
	size_t why_len;
};

#define BLAME(l, at, ...) yaml_file_blame((l)->o->file, at, (l)->why, (l)->why_len, __VA_ARGS__)

static int keys_take(const struct load *l, const char *section, const struct key *keys, yaml_place at, const void *raw, void *into)
{
	char reason[384];

	for (; raw && keys->name; keys++) {
		const char *text = *(const char *const *)((const char *)raw + keys->raw);
		int err;

		if (!text)
			continue;
		err = value_set(keys->kind, text, keys->min, keys->max, (char *)into + keys->member, reason, sizeof(reason));
		if (err == -ENOMEM)
			return err;
		if (err)
			return BLAME(l, yaml_file_key(l->o->file, at, keys->name), "%s%s%s %s%.200s%s%s", section, *section ? "." : "", keys->name,
				     *text ? "'" : "", text, *text ? "' " : "", *text ? reason : "has no value");
	}
	return 0;
}

static int targets_take(const struct load *l, yaml_place list)
{
	struct config *c = &l->o->config;
	int err = 0;

	c->targets = calloc(l->o->raw->targets_count, sizeof(*c->targets));
	if (!c->targets)
		return -ENOMEM;
	for (unsigned i = 0; i < l->o->raw->targets_count && !err; i++) {
		struct target_spec *t = &c->targets[c->targets_len++];
		yaml_place at = yaml_file_entry(l->o->file, list, (int)i);

		err = keys_take(l, "targets", target_keys, at, &l->o->raw->targets[i], t);
		if (!err && (t->regex != NULL) + (t->cgroup != NULL) + (t->container != NULL) + (t->pids != NULL) != 1)
			err = BLAME(l, at, "a target needs one of match, pid, cgroup and container, and only one");
	}
	return err;
}

static int probes_take(const struct load *l, yaml_place list)
{
	char reason[384];

	for (unsigned i = 0; i < l->o->raw->probes_count; i++)
		if (watch_probes_set(&l->o->config.watch, l->o->raw->probes[i], reason, sizeof(reason)))
			return BLAME(l, yaml_file_entry(l->o->file, list, (int)i), "probes: %s", reason);
	return 0;
}

static int peers_take(const struct load *l, yaml_place list)
{
	char reason[256];

	for (unsigned i = 0; i < l->o->raw->peers_count; i++) {
		int err = peer_rules_add(&l->o->config.watch.peers, l->o->raw->peers[i], reason, sizeof(reason));

		if (err == -ENOMEM)
			return err;
		if (err)
			return BLAME(l, yaml_file_entry(l->o->file, list, (int)i), "peers '%.100s': %s", l->o->raw->peers[i], reason);
	}
	return 0;
}

static int labels_take(const struct load *l, yaml_place mapping)
{
	struct config *c = &l->o->config;
	const char *name, *value;

	for (int i = 0; yaml_file_pair(l->o->file, mapping, i, &name, &value); i++) {
		struct config_label *grown;

		if (!label_name_valid(name))
			return BLAME(l, mapping, "labels: '%.64s' can't be a label's name: letters, digits and _, no digit first, not __", name);
		grown = reallocarray(c->labels, i + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		c->labels = grown;
		c->labels[c->labels_len++] = (struct config_label){ name, value };
	}
	return 0;
}

static int headers_take(const struct load *l, yaml_place mapping)
{
	const char *name, *value;
	int n = 0;

	for (; yaml_file_pair(l->o->file, mapping, n, &name, &value); n++) {
		char **grown = reallocarray(l->o->headers, n + 2, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		l->o->headers = grown;
		grown[n] = grown[n + 1] = NULL;
		if (!*name || strpbrk(name, ":\r\n ") || strpbrk(value, "\r\n"))
			return BLAME(l, mapping, "otlp.headers: '%.64s' is no header: a name without blanks or colons, a value of one line", name);
		if (asprintf(&grown[n], "%s: %s", name, value) < 0)
			return grown[n] = NULL, -ENOMEM;
	}
	l->o->config.otlp.headers = (const char *const *)l->o->headers;
	l->o->config.otlp.headers_len = n;
	return 0;
}

static int silences_take(const struct load *l, yaml_place list)
{
	const struct raw_alerts *raw = l->o->raw->alerts;
	struct config_alerts *a = &l->o->config.alerts;
	int err = 0;

	a->silences = calloc(raw->silences_count + 1, sizeof(*a->silences));
	if (!a->silences)
		return -ENOMEM;
	for (unsigned i = 0; i < raw->silences_count && !err; i++) {
		yaml_place at = yaml_file_entry(l->o->file, list, (int)i);

		err = keys_take(l, "alerts.silences", silence_keys, at, &raw->silences[i], &a->silences[a->silences_len++]);
		if (!err && !raw->silences[i].rule && !raw->silences[i].agent)
			err = BLAME(l, at, "a silence needs rule or agent; '*' is any");
	}
	return err;
}

static int rules_take(const struct load *l, yaml_place at)
{
	struct config_alerts *a = &l->o->config.alerts;
	char reason[512];
	int err;

	if (!a->rules) {
		a->loaded = rules_default();
		return a->loaded ? 0 : -ENOMEM;
	}
	err = rules_load(a->rules, &a->loaded, reason, sizeof(reason));
	return err && err != -ENOMEM ? BLAME(l, yaml_file_key(l->o->file, at, "rules"), "alerts.rules: %s", reason) : err;
}

static int alerts_take(const struct load *l, yaml_place at)
{
	struct config_alerts *a = &l->o->config.alerts;
	int err = keys_take(l, "alerts", alerts_keys, at, l->o->raw->alerts, &l->o->config);

	a->on = at != 0;
	if (!l->o->raw->alerts)
		return a->on && !err ? rules_take(l, at) : err;
	if (!err && a->findings < SEVERITY_COUNT && !l->o->config.findings)
		return BLAME(l, yaml_file_key(l->o->file, at, "findings"), "alerts.findings: nothing is found where findings are off");
	if (!err)
		err = silences_take(l, yaml_file_key(l->o->file, at, "silences"));
	return err ? err : rules_take(l, at);
}

static int pairs_check(const struct load *l, yaml_place root)
{
	struct config *c = &l->o->config;
	yaml_place prometheus = yaml_file_key(l->o->file, root, "prometheus");

	if (!c->prometheus.user != !c->prometheus.password_file)
		return BLAME(l, prometheus, "prometheus.user and prometheus.password_file go together");
	if (!c->prometheus.tls_certificate != !c->prometheus.tls_key)
		return BLAME(l, prometheus, "prometheus.tls_certificate and prometheus.tls_key go together");
	if (l->o->raw->recordings && !l->o->raw->recordings->rotate_size && c->recordings.rotate_bytes > c->recordings.max_bytes / 4)
		c->recordings.rotate_bytes = c->recordings.max_bytes / 4; /* the default is not to be in anybody's way */
	if (c->recordings.directory && c->recordings.max_bytes < c->recordings.rotate_bytes)
		return BLAME(l, yaml_file_key(l->o->file, root, "recordings"), "recordings.max_size is less than recordings.rotate_size: not even one file has room");
	if (l->o->raw->recordings && !c->recordings.directory)
		return BLAME(l, yaml_file_key(l->o->file, root, "recordings"), "recordings needs a directory");
	return 0;
}

static void defaults_set(struct config *c)
{
	watch_options_default(&c->watch);
	c->findings = true;
	c->recordings = (struct config_recordings){ .rotate_s = 3600, .rotate_bytes = 256 << 20, .max_bytes = 1 << 30, .compress = true };
	c->prometheus = (struct config_prometheus){ .max_series = 20000, .max_connections = 64, .timeout_s = 10 };
	c->otlp = (struct config_otlp){ .file_bytes = 100 << 20, .interval_s = 10, .timeout_s = 10, .queue = 60 };
	c->alerts = (struct config_alerts){ .findings = SEVERITY_COUNT, .command_user = "nobody", .command_timeout_s = 10, .resend_s = 60, .timeout_s = 10, .queue = 100, .repeat_s = 4 * 3600 };
}

static int config_take(const struct load *l)
{
	struct owner *o = l->o;
	yaml_place root = yaml_file_root(o->file);
	int err;

#define AT(key) yaml_file_key(o->file, root, key)
	defaults_set(&o->config);
	err = keys_take(l, "", watch_keys, root, o->raw, &o->config);
	if (!err)
		err = targets_take(l, AT("targets"));
	if (!err)
		err = probes_take(l, AT("probes"));
	if (!err)
		err = peers_take(l, AT("peers"));
	if (!err)
		err = keys_take(l, "recordings", recordings_keys, AT("recordings"), o->raw->recordings, &o->config);
	if (!err)
		err = keys_take(l, "prometheus", prometheus_keys, AT("prometheus"), o->raw->prometheus, &o->config);
	if (!err)
		err = keys_take(l, "otlp", otlp_keys, AT("otlp"), o->raw->otlp, &o->config);
	if (!err)
		err = headers_take(l, yaml_file_key(o->file, AT("otlp"), "headers"));
	if (!err)
		err = alerts_take(l, AT("alerts"));
	if (!err)
		err = labels_take(l, AT("labels"));
#undef AT
	return err ? err : pairs_check(l, root);
}

int config_load(const char *path, struct config **ret, char *why, size_t why_len)
{
	struct owner *o = calloc(1, sizeof(*o));
	const struct load l = { o, why, why_len };
	const unsigned char *text;
	cyaml_err_t loaded;
	size_t len;
	int err;

	if (!o)
		return snprintf(why, why_len, "out of memory"), -ENOMEM;
	o->config.owner = o;
	err = yaml_file_read(path, &o->file, why, why_len);
	if (!err)
		err = yaml_file_check(o->file, &config_value, why, why_len);
	if (!err) {
		text = yaml_file_text(o->file, &len);
		loaded = cyaml_load_data(text, len, &cyaml, &config_value, (cyaml_data_t **)&o->raw, NULL);
		if (loaded) /* the check has let nothing through that it doesn't like, so that is rare */
			err = BLAME(&l, 0, "%s", cyaml_strerror(loaded));
	}
	*why = err ? *why : '\0';
	if (!err)
		err = config_take(&l);
	if (err) {
		if (!*why)
			snprintf(why, why_len, "%s: %s", path, strerror(-err));
		config_free(&o->config);
		return err;
	}
	*ret = &o->config;
	return 0;
}

/* --- what changed --- */

static bool texts_same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static bool key_same(const struct key *k, const void *a, const void *b)
{
	const char *in_a = a ? *(const char *const *)((const char *)a + k->raw) : NULL;
	const char *in_b = b ? *(const char *const *)((const char *)b + k->raw) : NULL;

	return texts_same(in_a, in_b);
}

static bool keys_same(const struct key *keys, const void *a, const void *b)
{
	for (; keys->name; keys++)
		if (!key_same(keys, a, b))
			return false;
	return true;
}

static bool lists_same(const char *const *a, unsigned a_len, const char *const *b, unsigned b_len)
{
	if (a_len != b_len)
		return false;
	for (unsigned i = 0; i < a_len; i++)
		if (!texts_same(a[i], b[i]))
			return false;
	return true;
}

static bool labels_same(const struct config *a, const struct config *b)
{
	if (a->labels_len != b->labels_len)
		return false;
	for (int i = 0; i < a->labels_len; i++)
		if (strcmp(a->labels[i].name, b->labels[i].name) || strcmp(a->labels[i].value, b->labels[i].value))
			return false;
	return true;
}

bool config_same(const struct config *a, const struct config *b, enum config_section section)
{
	const struct raw_config *in_a = ((struct owner *)a->owner)->raw, *in_b = ((struct owner *)b->owner)->raw;

	if (!labels_same(a, b))
		return false;
	switch (section) {
	case CONFIG_RECORDINGS:
		return keys_same(recordings_keys, in_a->recordings, in_b->recordings);
	case CONFIG_PROMETHEUS:
		return !b->prometheus.password_file && !b->prometheus.tls_key && keys_same(prometheus_keys, in_a->prometheus, in_b->prometheus);
	case CONFIG_OTLP:
		return keys_same(otlp_keys, in_a->otlp, in_b->otlp) &&
		       lists_same(a->otlp.headers, (unsigned)a->otlp.headers_len, b->otlp.headers, (unsigned)b->otlp.headers_len);
	}
	return false;
}

const char *config_fixed(const struct config *a, const struct config *b, char *buf, size_t buf_len)
{
	const struct raw_config *in_a = ((struct owner *)a->owner)->raw, *in_b = ((struct owner *)b->owner)->raw;
	const char *names[ARRAY_SIZE(watch_keys) + 2];
	int n = 0;

	for (const struct key *k = watch_keys; k->name; k++)
		if (!key_same(k, in_a, in_b) && k->member != offsetof(struct config, findings))
			names[n++] = k->name;
	if (!lists_same(in_a->probes, in_a->probes_count, in_b->probes, in_b->probes_count))
		names[n++] = "probes";
	if (!lists_same(in_a->peers, in_a->peers_count, in_b->peers, in_b->peers_count))
		names[n++] = "peers";
	*buf = '\0';
	for (int i = 0; i < n; i++)
		snprintf(buf + strlen(buf), buf_len - strlen(buf), "%s%s", i ? ", " : "", names[i]);
	return buf;
}

void config_free(struct config *c)
{
	struct owner *o = c ? c->owner : NULL;

	if (!o)
		return;
	for (int i = 0; i < c->targets_len; i++)
		free((void *)c->targets[i].pids);
	free(c->targets);
	free(c->labels);
	rules_free(c->alerts.loaded);
	free(c->alerts.silences);
	for (char **h = o->headers; h && *h; h++)
		free(*h);
	free(o->headers);
	peer_rules_fini(&c->watch.peers);
	if (o->raw)
		cyaml_free(&cyaml, &config_value, o->raw, 0);
	yaml_file_free(o->file);
	free(o);
}
