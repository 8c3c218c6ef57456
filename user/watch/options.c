/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "watch/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/util.h"
#include "model/recording.h"

void watch_options_default(struct watch_options *o)
{
	*o = (struct watch_options){
		.interval_s = 1,
		.ring_bytes = 8 << 20,
		.budget_percent = -1,
		.drain_ms = 100,
		.peers_kept = PEERS_KEPT,
		.heap_percent = 1,
		.profile_hz = 49,
		.offcpu_ms = 10,
		.leak_age_s = 10,
	};
	for (int i = 0; i < PROBE_COUNT; i++)
		o->probe_on[i] = probe_infos[i].on;
}

/* Probes that take a value: a number, or a word. */
static const struct probe_value {
	enum probe_id probe;
	const char *unit;
	size_t offset; /* of a double in struct watch_options */
	double min, max;
	const char *word; /* NULL: none */
	size_t word_offset; /* of a bool that it sets, and a number clears */
} probe_values[] = {
	{ PROBE_HEAP, "percent", offsetof(struct watch_options, heap_percent), 0.01, 50, "full", offsetof(struct watch_options, heap_full) },
	{ PROBE_PROFILE, "samples a second", offsetof(struct watch_options, profile_hz), 1, 1000, NULL, 0 },
	{ PROBE_OFFCPU, "milliseconds", offsetof(struct watch_options, offcpu_ms), 1, 60000, NULL, 0 },
};

static void probe_list(char *buf, size_t size)
{
	*buf = 0;
	for (int i = 0; i < PROBE_COUNT; i++)
		if (i != PROBE_CORE)
			snprintf(buf + strlen(buf), size - strlen(buf), "%s%s", *buf ? ", " : "", probe_infos[i].name);
}

/* value: behind "NAME=". */
static int value_set(struct watch_options *o, int probe, const char *value, char *why, size_t why_len)
{
	const char *name = probe_infos[probe].name;
	const struct probe_value *v = probe_values;
	char *at = (char *)o, word[32] = "";
	bool is_word;
	int err;

	while (v < probe_values + ARRAY_SIZE(probe_values) && (int)v->probe != probe)
		v++;
	if (v == probe_values + ARRAY_SIZE(probe_values)) {
		snprintf(why, why_len, "probe '%s' takes no value", name);
		return -EINVAL;
	}
	is_word = v->word && !strcmp(value, v->word);
	if (v->word)
		*(bool *)(at + v->word_offset) = is_word;
	err = is_word ? 0 : parse_seconds(value, v->min, v->max, (double *)(at + v->offset));
	if (!err)
		return 0;
	if (v->word)
		snprintf(word, sizeof(word), ", or '%s'", v->word);
	snprintf(why, why_len, "+%s=%s is %s (%s from %.10g to %.10g%s)", name, value, err == -ERANGE ? "out of range" : "not a number", v->unit, v->min, v->max, word);
	return -EINVAL;
}

static int probe_unknown(const char *word, char *why, size_t why_len)
{
	const char *names[PROBE_COUNT];
	char list[256], hint[64];

	for (int i = 0; i < PROBE_COUNT; i++)
		names[i] = probe_infos[i].name;
	probe_list(list, sizeof(list));
	snprintf(why, why_len, "unknown probe '%s'%s; probes: %s", word, name_hint(word, names, PROBE_COUNT, hint, sizeof(hint)), list);
	return -EINVAL;
}

static int probe_set(struct watch_options *o, char *word, bool on, char *why, size_t why_len)
{
	char *equals = strchr(word, '='), list[256];
	int probe;

	if (equals)
		*equals = '\0';
	probe = probe_find(word);
	if (probe < 0)
		return probe_unknown(word, why, why_len);
	if (probe == PROBE_CORE && !on) {
		probe_list(list, sizeof(list));
		snprintf(why, why_len, "probe '%s' can't be switched off; these can: %s", word, list);
		return -EINVAL;
	}
	if (equals && !on) {
		snprintf(why, why_len, "probe '%s' is switched off: it takes no value then", word);
		return -EINVAL;
	}
	if (equals && value_set(o, probe, equals + 1, why, why_len))
		return -EINVAL;
	o->probe_on[probe] = on;
	return 0;
}

int watch_probes_set(struct watch_options *o, const char *text, char *why, size_t why_len)
{
	const char *end;

	for (const char *s = text;; s = end + 1) {
		bool on = *s != '-';
		char word[64];

		end = strchrnul(s, ',');
		if (s < end && (*s == '+' || *s == '-'))
			s++;
		snprintf(word, sizeof(word), "%.*s", (int)(end - s), s);
		if (probe_set(o, word, on, why, why_len))
			return -EINVAL;
		if (!*end)
			return 0;
	}
}
