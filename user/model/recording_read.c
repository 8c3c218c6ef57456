/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Reading recordings, also such as were cut off, damaged or made up to do harm: a line is taken whole or not at all, and
 * what was left out is said in the note. Memory is bounded by the longest line accepted and by the number of agents and tools.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <zlib.h>

#include "lib/util.h"
#include "model/recording.h"

#define FORMAT "stakeout/1"
#define FORMAT_PREFIX "stakeout/"
#define LINE_BYTES_MAX (64u << 20) /* 1,000 agents in full use make lines of some 20 MB */
#define AGENTS_MAX 65536
#define TOOLS_MAX 65536 /* of all agents; further names are summed up as TOOL_REST */
#define AGENT_TOOLS_MAX 4096
#define TOOL_REST "(other)"
#define STRING_MAX 4096 /* longer names and command lines are cut */
#define REASONS_MAX 64
#define SECONDS_MAX 9e9 /* what 64 bits of nanoseconds hold, with room to add */

struct input {
	int fd;
	bool gzip;
	bool truncated, damaged; /* of the compressed stream */
	bool member_done; /* between members of a gzip file */
	z_stream inflate;
	size_t raw_len, raw_at;
	unsigned char raw[65536];
};

struct lines {
	struct input *in;
	char *buf;
	size_t cap, start, scan, end;
	bool skipping; /* the line is too long: to its end */
	uint64_t number;
	uint64_t tail; /* bytes after the last newline, known at the end */
};

struct slot { /* of the agent table: open addressing, index + 1, 0 is free */
	int index;
};

struct reader {
	struct recording rec; /* first: recording_free gets its address */
	struct slot *slots;
	uint32_t slots_len; /* a power of two */
	bool *announced; /* per agent */
	int agents_cap;
	uint64_t tools;
	char *reasons[REASONS_MAX];
	int reasons_len;
	bool any_interval, observer_seen;
	uint64_t next_seq, missing;
	double first_start, last_end;
	bool total_differs, second_header;
	char reason[160]; /* why the present line is refused */
	char first_bad[200];
	recording_interval_fn fn;
	void *ctx;
};

/* ---- bytes and lines ---- */

static ssize_t raw_fill(struct input *in)
{
	ssize_t n;

	do
		n = read(in->fd, in->raw, sizeof(in->raw));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	in->raw_at = 0;
	in->raw_len = (size_t)n;
	return n;
}

/* Looks at the first two bytes. 0 or negative errno. */
static int input_start(struct input *in)
{
	ssize_t n;

	do { /* a pipe may hand over a single byte first */
		do
			n = read(in->fd, in->raw + in->raw_len, sizeof(in->raw) - in->raw_len);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			return -errno;
		in->raw_len += (size_t)n;
	} while (n && in->raw_len < 2);
	in->gzip = in->raw_len >= 2 && in->raw[0] == 0x1f && in->raw[1] == 0x8b;
	if (in->gzip && inflateInit2(&in->inflate, 15 + 16) != Z_OK)
		return -ENOMEM;
	return 0;
}

static ssize_t input_inflate(struct input *in, char *buf, size_t size)
{
	z_stream *z = &in->inflate;
	ssize_t n;
	int ret;

	z->next_out = (unsigned char *)buf;
	z->avail_out = (uInt)size;
	while (z->avail_out == size && !in->damaged) {
		if (in->raw_at == in->raw_len) {
			n = raw_fill(in);
			if (n < 0)
				return n;
			if (!n) {
				in->truncated = !in->member_done;
				break;
			}
		}
		if (in->member_done) { /* gzip files may be concatenated */
			inflateReset(z);
			in->member_done = false;
		}
		z->next_in = in->raw + in->raw_at;
		z->avail_in = (uInt)(in->raw_len - in->raw_at);
		ret = inflate(z, Z_NO_FLUSH);
		in->raw_at = in->raw_len - z->avail_in;
		if (ret == Z_STREAM_END)
			in->member_done = true;
		else if (ret == Z_MEM_ERROR)
			return -ENOMEM;
		else if (ret != Z_OK && ret != Z_BUF_ERROR)
			in->damaged = true;
	}
	return (ssize_t)(size - z->avail_out);
}

static ssize_t input_read(struct input *in, char *buf, size_t size)
{
	size_t len;
	ssize_t n;

	if (in->gzip)
		return input_inflate(in, buf, size);
	if (in->raw_at == in->raw_len) {
		n = raw_fill(in);
		if (n <= 0)
			return n;
	}
	len = in->raw_len - in->raw_at < size ? in->raw_len - in->raw_at : size;
	memcpy(buf, in->raw + in->raw_at, len);
	in->raw_at += len;
	return (ssize_t)len;
}

static int lines_make_room(struct lines *l)
{
	if (l->start) {
		memmove(l->buf, l->buf + l->start, l->end - l->start);
		l->end -= l->start;
		l->scan -= l->start;
		l->start = 0;
	}
	if (l->skipping || (l->end == l->cap && l->cap >= LINE_BYTES_MAX)) {
		l->skipping = true;
		l->tail += l->end;
		l->scan = l->end = 0;
	}
	if (l->end == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 65536;
		char *buf = realloc(l->buf, cap);

		if (!buf)
			return -ENOMEM;
		l->buf = buf;
		l->cap = cap;
	}
	return 0;
}

/* The next whole line, without its newline; *line is NULL when it was too long. 1, 0 at the end, or negative errno. */
static int lines_next(struct lines *l, const char **line, size_t *len)
{
	for (;;) {
		char *newline = l->end > l->scan ? memchr(l->buf + l->scan, '\n', l->end - l->scan) : NULL;
		ssize_t n;

		if (newline) {
			*line = l->skipping ? NULL : l->buf + l->start;
			*len = (size_t)(newline - (l->buf + l->start));
			l->start = l->scan = (size_t)(newline - l->buf) + 1;
			l->skipping = false;
			l->tail = 0;
			l->number++;
			return 1;
		}
		l->scan = l->end;
		n = lines_make_room(l);
		if (!n)
			n = input_read(l->in, l->buf + l->end, l->cap - l->end);
		if (n <= 0) {
			l->tail += l->end - l->start;
			return (int)n;
		}
		l->end += (size_t)n;
	}
}

/* ---- typed access: an absent key leaves the default, a wrong type refuses the line ---- */

static int refuse(struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int refuse(struct reader *r, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(r->reason, sizeof(r->reason), fmt, args);
	va_end(args);
	return -EBADMSG;
}

static int take_u64(struct reader *r, const json_t *obj, const char *key, uint64_t *ret)
{
	const json_t *v = json_object_get(obj, key);

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return refuse(r, "\"%s\" is not a whole number from 0", key);
	*ret = (uint64_t)json_integer_value(v);
	return 0;
}

static int take_int(struct reader *r, const json_t *obj, const char *key, int min, int max, int *ret)
{
	const json_t *v = json_object_get(obj, key);

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
		return refuse(r, "\"%s\" is not a whole number from %d to %d", key, min, max);
	*ret = (int)json_integer_value(v);
	return 0;
}

static int take_seconds(struct reader *r, const json_t *obj, const char *key, double *ret)
{
	const json_t *v = json_object_get(obj, key);
	double s = json_number_value(v);

	if (!v)
		return 0;
	if (!json_is_number(v) || !(s >= 0 && s <= SECONDS_MAX))
		return refuse(r, "\"%s\" is not a time in seconds", key);
	*ret = s;
	return 0;
}

/* *ret stays borrowed from obj. */
static int take_string(struct reader *r, const json_t *obj, const char *key, const char **ret)
{
	const json_t *v = json_object_get(obj, key);

	if (!v)
		return 0;
	if (!json_is_string(v))
		return refuse(r, "\"%s\" is not a string", key);
	*ret = json_string_value(v);
	return 0;
}

static int take_text(struct reader *r, const json_t *obj, const char *key, char *buf, size_t size)
{
	const char *s = "";
	int err = take_string(r, obj, key, &s);

	if (!err)
		snprintf(buf, size, "%s", s);
	return err;
}

/* *ret is a fresh copy, of at most STRING_MAX bytes. */
static int take_copy(struct reader *r, const json_t *obj, const char *key, char **ret)
{
	const char *s = "";
	int err = take_string(r, obj, key, &s);

	if (err)
		return err;
	*ret = strndup(s, STRING_MAX);
	return *ret ? 0 : -ENOMEM;
}

/* An object or array, or NULL when absent. */
static int take_child(struct reader *r, const json_t *obj, const char *key, json_type type, json_t **ret)
{
	*ret = json_object_get(obj, key);
	if (*ret && json_typeof(*ret) != type)
		return refuse(r, "\"%s\" is not %s", key, type == JSON_ARRAY ? "an array" : "an object");
	return 0;
}

/* ---- agents ---- */

static struct slot *agent_slot(struct reader *r, int id)
{
	uint32_t at = (uint32_t)id * 2654435761u; /* Knuth's multiplicative hash: neighbouring ids spread */

	for (at ^= at >> 16;; at++) {
		struct slot *slot = &r->slots[at & (r->slots_len - 1)];

		if (!slot->index || r->rec.agents[slot->index - 1].info.id == id)
			return slot;
	}
}

static int agent_find(struct reader *r, int id)
{
	return r->slots_len ? agent_slot(r, id)->index - 1 : -1;
}

static int agents_grow(struct reader *r)
{
	int cap = r->agents_cap ? r->agents_cap * 2 : 16;
	struct recording_agent *agents = reallocarray(r->rec.agents, (size_t)cap, sizeof(*agents));
	bool *announced;

	if (!agents)
		return -ENOMEM;
	r->rec.agents = agents;
	announced = reallocarray(r->announced, (size_t)cap, sizeof(*announced));
	if (!announced)
		return -ENOMEM;
	r->announced = announced;
	free(r->slots);
	r->slots_len = 0;
	r->slots = calloc((size_t)cap * 2, sizeof(*r->slots));
	if (!r->slots)
		return -ENOMEM;
	r->slots_len = (uint32_t)cap * 2;
	for (int i = 0; i < r->rec.agents_len; i++)
		agent_slot(r, agents[i].info.id)->index = i + 1;
	r->agents_cap = cap;
	return 0;
}

static void agent_info_fini(struct agent_info *info)
{
	free(info->name);
	free(info->cmdline);
	free(info->cgroup);
}

/* Adds an agent, taking over the strings of *info. */
static int agent_add(struct reader *r, const struct agent_info *info, bool announced)
{
	int err, n = r->rec.agents_len;

	if (n >= AGENTS_MAX)
		return refuse(r, "more than %d agents", AGENTS_MAX);
	if (n == r->agents_cap) {
		err = agents_grow(r);
		if (err)
			return err;
	}
	memset(&r->rec.agents[n], 0, sizeof(r->rec.agents[n]));
	r->rec.agents[n].info = *info;
	r->rec.agents[n].total.id = info->id;
	r->announced[n] = announced;
	agent_slot(r, info->id)->index = n + 1;
	r->rec.agents_len++;
	return 0;
}

/* An agent whose announcement was lost with a damaged line still counts. */
static int agent_need(struct reader *r, int id)
{
	struct agent_info info = { .id = id };
	char name[32];
	int err;

	if (agent_find(r, id) >= 0)
		return 0;
	snprintf(name, sizeof(name), "agent %d", id);
	info.name = strdup(name);
	info.cmdline = strdup("");
	info.cgroup = strdup("");
	err = info.name && info.cmdline && info.cgroup ? agent_add(r, &info, false) : -ENOMEM;
	if (err)
		agent_info_fini(&info);
	return err;
}

static int parse_agent_info(struct reader *r, const json_t *obj)
{
	struct agent_info info = { .id = -1 };
	int err, at;

	if (!json_is_object(obj))
		return refuse(r, "an agent is not an object");
	err = take_int(r, obj, "id", 0, INT_MAX, &info.id);
	if (!err && info.id < 0)
		err = refuse(r, "an agent without \"id\"");
	if (!err)
		err = take_int(r, obj, "pid", 0, INT_MAX, &info.pid);
	if (!err)
		err = take_u64(r, obj, "start_ticks", &info.start_ticks);
	if (!err)
		err = take_copy(r, obj, "name", &info.name);
	if (!err)
		err = take_copy(r, obj, "cmdline", &info.cmdline);
	if (!err)
		err = take_copy(r, obj, "cgroup", &info.cgroup);
	if (err)
		goto out;
	at = agent_find(r, info.id);
	if (at < 0) {
		err = agent_add(r, &info, true);
	} else if (r->announced[at]) {
		err = refuse(r, "agent %d is announced twice", info.id);
	} else {
		agent_info_fini(&r->rec.agents[at].info);
		r->rec.agents[at].info = info;
		r->announced[at] = true;
	}
out:
	if (err)
		agent_info_fini(&info);
	return err;
}

/* ---- metrics ---- */

static int parse_hist_counts(struct reader *r, const json_t *array, int offset, struct hist *h)
{
	size_t len = json_array_size(array);
	const uint64_t range = (uint64_t)(hist_index(UINT64_MAX, HIST_SCALE) - hist_index(1, HIST_SCALE) + 1);
	_cleanup_free_ uint64_t *counts = NULL;
	uint64_t sum = h->zero_count;

	if (len > range)
		return refuse(r, "more buckets than 64-bit values can fill");
	counts = calloc(len + 1, sizeof(*counts));
	if (!counts)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		const json_t *n = json_array_get(array, i);

		if (!json_is_integer(n) || json_integer_value(n) < 0)
			return refuse(r, "a bucket is not a whole number from 0");
		counts[i] = (uint64_t)json_integer_value(n);
		if (__builtin_add_overflow(sum, counts[i], &sum))
			return refuse(r, "bucket counts beyond 64 bits");
	}
	if (sum != h->count)
		return refuse(r, "bucket counts do not add up");
	switch (hist_set_buckets(h, offset, counts, (uint32_t)len)) {
	case 0:
		return 0;
	case -ENOMEM:
		return -ENOMEM;
	default:
		return refuse(r, "buckets beyond the range of 64-bit values");
	}
}

static int parse_hist(struct reader *r, const json_t *obj, struct hist *h)
{
	json_t *counts;
	int scale = INT_MIN, offset = 0, err;

	if (!json_is_object(obj))
		return refuse(r, "a histogram is not an object");
	err = take_int(r, obj, "scale", HIST_SCALE_MIN, HIST_SCALE, &scale);
	if (!err && scale == INT_MIN)
		err = refuse(r, "a histogram without \"scale\"");
	if (!err)
		err = take_u64(r, obj, "count", &h->count);
	if (!err)
		err = take_u64(r, obj, "sum", &h->sum);
	if (!err)
		err = take_u64(r, obj, "min", &h->min);
	if (!err)
		err = take_u64(r, obj, "max", &h->max);
	if (!err)
		err = take_u64(r, obj, "zero_count", &h->zero_count);
	if (!err)
		err = take_int(r, obj, "offset", INT_MIN, INT_MAX, &offset);
	if (!err)
		err = take_child(r, obj, "bucket_counts", JSON_ARRAY, &counts);
	if (!err && h->min > h->max)
		err = refuse(r, "a histogram's \"min\" is above its \"max\"");
	if (!err && h->zero_count && h->min)
		err = refuse(r, "a histogram has zeros and a \"min\" above 0");
	if (err)
		return err;
	h->scale = (int8_t)scale;
	return parse_hist_counts(r, counts, offset, h);
}

static int parse_hists(struct reader *r, json_t *hists, struct metric_set *s)
{
	const char *key;
	json_t *value;

	json_object_foreach(hists, key, value) {
		int err, m = metric_find(key);
		struct hist h;

		if (m < 0 || metric_infos[m].type != METRIC_HIST)
			continue;
		hist_init(&h);
		err = parse_hist(r, value, &h);
		if (!err) {
			/* Through merging, since a tool may be listed twice. */
			if (!s->hist[m]) {
				s->hist[m] = malloc(sizeof(h));
				if (s->hist[m])
					hist_init(s->hist[m]);
			}
			err = s->hist[m] ? hist_merge(s->hist[m], &h) : -ENOMEM;
		}
		hist_fini(&h);
		if (err)
			return err;
	}
	return 0;
}

static int parse_values(struct reader *r, json_t *values, bool gauges, struct metric_set *s)
{
	const char *key;
	json_t *value;

	json_object_foreach(values, key, value) {
		int m = metric_find(key);

		if (m < 0 || metric_infos[m].type == METRIC_HIST || (metric_infos[m].type != METRIC_COUNTER) != gauges)
			continue;
		if (!json_is_integer(value) || json_integer_value(value) < 0)
			return refuse(r, "%s is not a whole number from 0", metric_infos[m].name);
		s->value[m] += (uint64_t)json_integer_value(value);
	}
	return 0;
}

static int parse_metrics(struct reader *r, const json_t *obj, struct metric_set *s)
{
	json_t *counters, *gauges, *hists;
	int err = take_child(r, obj, "counters", JSON_OBJECT, &counters);

	if (!err)
		err = take_child(r, obj, "gauges", JSON_OBJECT, &gauges);
	if (!err)
		err = take_child(r, obj, "hist", JSON_OBJECT, &hists);
	if (!err)
		err = parse_values(r, counters, false, s);
	if (!err)
		err = parse_values(r, gauges, true, s);
	return err ? err : parse_hists(r, hists, s);
}

static int parse_ledger(struct reader *r, const json_t *ledger, const char *key, struct ledger *l)
{
	json_t *states, *value;
	const char *name;
	int err = take_child(r, ledger, key, JSON_OBJECT, &states);

	if (err)
		return err;
	json_object_foreach(states, name, value) {
		double s = json_number_value(value);
		int state = state_find(name);

		if (state < 0)
			continue;
		if (!json_is_number(value) || !(s >= 0 && s <= SECONDS_MAX))
			return refuse(r, "%s is not a time in seconds", state_infos[state].name);
		l->ns[state] = (uint64_t)llround(s * 1e9);
	}
	return 0;
}

/* ---- intervals ---- */

static bool tool_known(const struct agent_data *a, const char *name)
{
	for (int i = 0; i < a->tools_len; i++)
		if (!strcmp(a->tools[i].name, name))
			return true;
	return false;
}

static int parse_tools(struct reader *r, const json_t *tools, struct agent_data *a, uint64_t *line_tools)
{
	int at = agent_find(r, a->id);
	const struct agent_data *total = at < 0 ? NULL : &r->rec.agents[at].total;
	size_t i;
	json_t *value;

	json_array_foreach(tools, i, value) {
		struct tool_data *tool;
		const char *name = NULL;
		char cut[256];
		int err;

		if (!json_is_object(value))
			return refuse(r, "a tool is not an object");
		err = take_string(r, value, "name", &name);
		if (err)
			return err;
		if (!name)
			return refuse(r, "a tool without \"name\"");
		snprintf(cut, sizeof(cut), "%s", name);
		if (!tool_known(a, cut) && !(total && tool_known(total, cut))) {
			if ((total ? total->tools_len : 0) + a->tools_len >= AGENT_TOOLS_MAX ||
			    r->tools + *line_tools >= TOOLS_MAX)
				snprintf(cut, sizeof(cut), "%s", TOOL_REST);
			else
				++*line_tools;
		}
		tool = agent_data_tool(a, cut);
		if (!tool)
			return -ENOMEM;
		err = take_u64(r, value, "runs_live", &tool->runs_live);
		if (!err)
			err = parse_metrics(r, value, &tool->metrics);
		if (err)
			return err;
	}
	return 0;
}

static int parse_agent(struct reader *r, const json_t *obj, struct agent_data *a, uint64_t *line_tools)
{
	json_t *ledger, *tools, *alive = json_object_get(obj, "alive");
	int err;

	if (!json_is_object(obj))
		return refuse(r, "an agent is not an object");
	if (alive && !json_is_boolean(alive))
		return refuse(r, "\"alive\" is neither true nor false");
	a->alive = json_is_true(alive);
	a->id = -1;
	err = take_int(r, obj, "id", 0, INT_MAX, &a->id);
	if (!err && a->id < 0)
		err = refuse(r, "an agent without \"id\"");
	if (!err)
		err = take_seconds(r, obj, "observed_s", &a->observed_s);
	if (!err)
		err = parse_metrics(r, obj, &a->metrics);
	if (!err)
		err = take_child(r, obj, "ledger", JSON_OBJECT, &ledger);
	if (!err)
		err = parse_ledger(r, ledger, "main_s", &a->main);
	if (!err)
		err = parse_ledger(r, ledger, "threads_s", &a->threads);
	if (!err)
		err = take_child(r, obj, "tools", JSON_ARRAY, &tools);
	return err ? err : parse_tools(r, tools, a, line_tools);
}

/* A lasting copy of a reason's name, or "other" when there are too many of them. */
static const char *reason_intern(struct reader *r, const char *name)
{
	char *copy;

	for (int i = 0; i < r->reasons_len; i++)
		if (!strcmp(r->reasons[i], name))
			return r->reasons[i];
	if (r->reasons_len == REASONS_MAX || strlen(name) > 64)
		return "other";
	copy = strdup(name);
	if (copy)
		r->reasons[r->reasons_len++] = copy;
	return copy;
}

/* Adds a loss; when the places are used up the last one becomes "other", so that the sum stays right. */
static void loss_add(struct observer_data *o, const char *reason, uint64_t count)
{
	int i;

	for (i = 0; i < o->losses; i++)
		if (!strcmp(o->lost[i].reason, reason))
			break;
	if (i == OBSERVER_LOSSES) {
		i = OBSERVER_LOSSES - 1;
		o->lost[i].reason = "other";
	} else if (i == o->losses) {
		o->lost[i].reason = reason;
		o->lost[i].count = 0;
		o->losses++;
	}
	o->lost[i].count += count;
}

static int parse_observer(struct reader *r, const json_t *obj, struct observer_data *o)
{
	json_t *lost, *value;
	const char *key;
	int err = take_seconds(r, obj, "cpu_s", &o->cpu_s);

	o->bpf_s = -1;
	if (!err && !json_is_null(json_object_get(obj, "bpf_s")))
		err = take_seconds(r, obj, "bpf_s", &o->bpf_s);
	if (!err)
		err = take_u64(r, obj, "records", &o->records);
	if (!err)
		err = take_u64(r, obj, "rss_bytes", &o->rss_bytes);
	if (!err)
		err = take_child(r, obj, "lost", JSON_OBJECT, &lost);
	if (err)
		return err;
	json_object_foreach(lost, key, value) {
		const char *reason;

		if (!json_is_integer(value) || json_integer_value(value) < 0)
			return refuse(r, "a loss is not a whole number from 0");
		reason = reason_intern(r, key);
		if (!reason)
			return -ENOMEM;
		loss_add(o, reason, (uint64_t)json_integer_value(value));
	}
	return 0;
}

static void observer_merge(struct reader *r, const struct observer_data *from)
{
	struct observer_data *into = &r->rec.observer;

	if (!r->observer_seen)
		into->bpf_s = from->bpf_s;
	else if (from->bpf_s >= 0)
		into->bpf_s = into->bpf_s >= 0 ? into->bpf_s + from->bpf_s : from->bpf_s;
	r->observer_seen = true;
	into->cpu_s += from->cpu_s;
	into->records += from->records;
	into->rss_bytes = from->rss_bytes;
	for (int i = 0; i < from->losses; i++)
		loss_add(into, from->lost[i].reason, from->lost[i].count);
}

struct parsed { /* an interval or total line, whole, before any of it counts */
	struct interval_data data;
	struct agent_data *agents;
	const struct agent_data **pointers;
	int len;
	uint64_t new_tools;
};

static void parsed_fini(struct parsed *p)
{
	for (int i = 0; i < p->len; i++)
		agent_data_fini(&p->agents[i]);
	free(p->agents);
	free(p->pointers);
}

static int id_compare(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static int agents_distinct(struct reader *r, const struct parsed *p)
{
	_cleanup_free_ int *ids = calloc((size_t)p->len + 1, sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	for (int i = 0; i < p->len; i++)
		ids[i] = p->agents[i].id;
	qsort(ids, (size_t)p->len, sizeof(*ids), id_compare);
	for (int i = 1; i < p->len; i++)
		if (ids[i] == ids[i - 1])
			return refuse(r, "agent %d is there twice", ids[i]);
	return 0;
}

static int parse_interval(struct reader *r, const json_t *obj, struct parsed *p)
{
	json_t *agents, *observer, *value;
	size_t len, i;
	int err = take_u64(r, obj, "seq", &p->data.seq);

	if (!err)
		err = take_seconds(r, obj, "start_s", &p->data.start_s);
	if (!err)
		err = take_seconds(r, obj, "end_s", &p->data.end_s);
	if (!err && p->data.end_s < p->data.start_s)
		err = refuse(r, "\"end_s\" is before \"start_s\"");
	if (!err)
		err = take_child(r, obj, "observer", JSON_OBJECT, &observer);
	if (!err)
		err = parse_observer(r, observer, &p->data.observer);
	if (!err)
		err = take_child(r, obj, "agents", JSON_ARRAY, &agents);
	if (err)
		return err;
	len = json_array_size(agents);
	if (len > AGENTS_MAX)
		return refuse(r, "more than %d agents", AGENTS_MAX);
	p->agents = calloc(len + 1, sizeof(*p->agents));
	p->pointers = calloc(len + 1, sizeof(*p->pointers));
	if (!p->agents || !p->pointers)
		return -ENOMEM;
	json_array_foreach(agents, i, value) {
		p->pointers[i] = &p->agents[i];
		p->len++;
		err = parse_agent(r, value, &p->agents[i], &p->new_tools);
		if (err)
			return err;
	}
	p->data.agents = p->pointers;
	p->data.agents_len = p->len;
	return agents_distinct(r, p);
}

/* After all checks: from here on the line counts. */
static int agents_need(struct reader *r, const struct parsed *p)
{
	int err = 0;

	for (int i = 0; i < p->len && !err; i++)
		err = agent_need(r, p->agents[i].id);
	return err;
}

static void span_note(struct reader *r, const struct interval_data *d)
{
	if (!r->any_interval || d->start_s < r->first_start)
		r->first_start = d->start_s;
	if (!r->any_interval || d->end_s > r->last_end)
		r->last_end = d->end_s;
	r->any_interval = true;
}

static int take_interval(struct reader *r, const json_t *obj)
{
	struct parsed p = { 0 };
	int err = 0;

	if (r->rec.complete)
		return refuse(r, "an interval after the total");
	err = parse_interval(r, obj, &p);
	if (!err && p.data.seq < r->next_seq)
		err = refuse(r, "interval %llu is there twice or out of order", (unsigned long long)p.data.seq);
	if (!err)
		err = agents_need(r, &p);
	if (err)
		goto out;
	if (p.data.seq > r->next_seq) {
		r->rec.gap = true;
		r->missing += p.data.seq - r->next_seq;
	}
	r->next_seq = p.data.seq + 1;
	for (int i = 0; i < p.len; i++) {
		struct agent_data *total = &r->rec.agents[agent_find(r, p.agents[i].id)].total;
		int before = total->tools_len;

		err = agent_data_merge(total, &p.agents[i]);
		if (err)
			goto out;
		r->tools += (uint64_t)(total->tools_len - before);
	}
	observer_merge(r, &p.data.observer);
	span_note(r, &p.data);
	r->rec.intervals++;
	if (r->fn)
		err = r->fn(r->ctx, &p.data);
	if (err == -EBADMSG) /* the callback's own error, not a line to be skipped */
		err = -ECANCELED;
out:
	parsed_fini(&p);
	return err;
}

static bool metrics_agree(const struct metric_set *a, const struct metric_set *b)
{
	for (int m = 0; m < METRIC_IDS; m++) {
		if (metric_infos[m].type == METRIC_COUNTER && a->value[m] != b->value[m])
			return false;
		if (metric_infos[m].type == METRIC_HIST &&
		    (a->hist[m] ? a->hist[m]->count : 0) != (b->hist[m] ? b->hist[m]->count : 0))
			return false;
	}
	return true;
}

/* The total replaces the sum of the intervals: it also has what intervals that are missing here would have added. */
static int take_total(struct reader *r, const json_t *obj)
{
	struct parsed p = { 0 };
	const bool whole = !r->rec.gap && !r->rec.bad_lines;
	json_t *agents = json_object_get(obj, "agents");
	int err;

	if (r->rec.complete)
		return refuse(r, "a second total");
	err = parse_interval(r, obj, &p);
	for (int i = 0; i < p.len && !err; i++) {
		struct agent_info scratch = { 0 };

		err = take_int(r, json_array_get(agents, (size_t)i), "exit_code", INT_MIN, INT_MAX, &scratch.exit_code);
	}
	if (!err)
		err = agents_need(r, &p);
	if (err)
		goto out;
	for (int i = 0; i < p.len; i++) {
		struct recording_agent *agent = &r->rec.agents[agent_find(r, p.agents[i].id)];
		const json_t *code = json_object_get(json_array_get(agents, (size_t)i), "exit_code");
		struct agent_data sum = agent->total;

		if (whole && !metrics_agree(&sum.metrics, &p.agents[i].metrics))
			r->total_differs = true;
		agent->total = p.agents[i];
		p.agents[i] = sum; /* freed with the rest */
		agent->info.has_exit = code != NULL;
		agent->info.exit_code = (int)json_integer_value(code);
	}
	if (json_object_get(obj, "observer"))
		r->rec.observer = p.data.observer;
	span_note(r, &p.data);
	r->rec.complete = true;
out:
	parsed_fini(&p);
	return err;
}

/* ---- the header, and lines by kind ---- */

static int parse_probe(struct reader *r, const json_t *obj)
{
	static const char *const states[] = { "on", "off", "unavailable" };
	struct header_data *h = &r->rec.header;
	const char *name = "", *state = "";
	struct probe_state *p;
	int err, id;

	if (!json_is_object(obj))
		return refuse(r, "a probe is not an object");
	err = take_string(r, obj, "name", &name);
	if (!err)
		err = take_string(r, obj, "state", &state);
	if (err)
		return err;
	id = probe_find(name);
	if (id < 0 || h->probes_len == PROBE_COUNT)
		return 0;
	p = &h->probes[h->probes_len];
	p->state = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(states); i++)
		if (!strcmp(state, states[i]))
			p->state = states[i];
	if (!p->state)
		return 0;
	p->name = probe_infos[id].name;
	err = take_text(r, obj, "why", p->why, sizeof(p->why));
	if (!err)
		h->probes_len++;
	return err;
}

static int parse_host(struct reader *r, const json_t *host)
{
	struct host_info *h = &r->rec.header.host;
	int err = take_text(r, host, "name", h->name, sizeof(h->name));

	if (!err)
		err = take_text(r, host, "kernel", h->kernel, sizeof(h->kernel));
	if (!err)
		err = take_text(r, host, "arch", h->arch, sizeof(h->arch));
	if (!err)
		err = take_text(r, host, "boot_id", h->boot_id, sizeof(h->boot_id));
	return err ? err : take_int(r, host, "cpus", 0, INT_MAX, &h->cpus);
}

static int take_header(struct reader *r, const json_t *obj)
{
	const char *kind = "", *format = "";
	json_t *host, *probes, *agents, *value;
	size_t i;
	int err = take_string(r, obj, "kind", &kind);

	if (!err)
		err = take_string(r, obj, "format", &format);
	if (err)
		return err;
	if (strcmp(kind, "header") || strncmp(format, FORMAT_PREFIX, strlen(FORMAT_PREFIX)))
		return refuse(r, "its first line is not a stakeout header");
	if (strcmp(format, FORMAT)) {
		refuse(r, "its format is \"%.40s\", this program reads " FORMAT, format);
		return -EPROTONOSUPPORT;
	}
	err = take_child(r, obj, "host", JSON_OBJECT, &host);
	if (!err)
		err = parse_host(r, host);
	if (!err)
		err = take_text(r, obj, "start", r->rec.header.start, sizeof(r->rec.header.start));
	if (!err)
		err = take_seconds(r, obj, "interval_s", &r->rec.header.interval_s);
	if (!err)
		err = take_child(r, obj, "probes", JSON_ARRAY, &probes);
	if (!err)
		err = take_child(r, obj, "agents", JSON_ARRAY, &agents);
	if (err)
		return err;
	json_array_foreach(probes, i, value) {
		err = parse_probe(r, value);
		if (err)
			return err;
	}
	json_array_foreach(agents, i, value) {
		err = parse_agent_info(r, value);
		if (err)
			return err;
	}
	return 0;
}

static int take_line(struct reader *r, const json_t *obj)
{
	const json_t *kind = json_object_get(obj, "kind");

	if (!json_is_object(obj))
		return refuse(r, "not a JSON object");
	if (!json_is_string(kind))
		return refuse(r, "no \"kind\"");
	if (!strcmp(json_string_value(kind), "interval"))
		return take_interval(r, obj);
	if (!strcmp(json_string_value(kind), "total"))
		return take_total(r, obj);
	if (!strcmp(json_string_value(kind), "agent"))
		return parse_agent_info(r, obj);
	if (!strcmp(json_string_value(kind), "header")) {
		r->second_header = true;
		return refuse(r, "a second recording begins");
	}
	return 0; /* a kind of a later program: none of ours depends on it */
}

/* Everything after the header. Lines that are refused are counted; only other errors end it. */
static int read_lines(struct reader *r, struct lines *l)
{
	const char *line;
	size_t len;
	int got;

	while ((got = lines_next(l, &line, &len)) > 0) {
		json_t *obj = line ? json_loadb(line, len, 0, NULL) : NULL;
		int err = obj ? take_line(r, obj) : refuse(r, line ? "not JSON" : "too long");

		json_decref(obj);
		if (err == -EBADMSG) {
			if (!r->rec.bad_lines++)
				snprintf(r->first_bad, sizeof(r->first_bad), "line %llu: %s",
					 (unsigned long long)l->number, r->reason);
			*r->reason = '\0';
			if (r->second_header)
				return 0;
		} else if (err) {
			return err;
		}
	}
	return got;
}

static int read_header(struct reader *r, struct lines *l)
{
	const char *line;
	size_t len;
	json_t *obj;
	int err, got = lines_next(l, &line, &len);

	if (got < 0)
		return got;
	if (!got && !l->tail && !l->in->truncated && !l->in->damaged) {
		refuse(r, "it is empty");
		return -ENODATA;
	}
	if (!got && l->in->damaged)
		return refuse(r, "its compressed data is damaged from the start");
	if (!got)
		return refuse(r, l->tail && *l->buf != '{' ? "it is not a recording" : "it is cut off within its header");
	obj = line ? json_loadb(line, len, 0, NULL) : NULL;
	err = json_is_object(obj) ? take_header(r, obj) : refuse(r, "its first line is not a stakeout header");
	json_decref(obj);
	return err;
}

static void note_add(struct recording *rec, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note_add(struct recording *rec, const char *fmt, ...)
{
	size_t len = strlen(rec->note);
	va_list args;

	if (len)
		len += (size_t)snprintf(rec->note + len, sizeof(rec->note) - len, "; ");
	if (len >= sizeof(rec->note))
		return;
	va_start(args, fmt);
	vsnprintf(rec->note + len, sizeof(rec->note) - len, fmt, args);
	va_end(args);
}

static void note_write(struct reader *r, const struct lines *l)
{
	struct recording *rec = &r->rec;
	const unsigned long long intervals = rec->intervals;

	if (l->in->damaged)
		note_add(rec, "compressed data damaged after %llu intervals", intervals);
	else if (l->tail)
		note_add(rec, "cut off after %llu intervals; last %llu bytes unusable", intervals, (unsigned long long)l->tail);
	else if (l->in->truncated && !rec->complete)
		note_add(rec, "cut off after %llu intervals", intervals);
	else if (!rec->complete)
		note_add(rec, "ends after %llu intervals without its total: still being written, or the recorder was killed", intervals);
	if (rec->gap)
		note_add(rec, "%llu intervals missing", (unsigned long long)r->missing);
	if (rec->bad_lines)
		note_add(rec, "%llu bad lines skipped, first %s", (unsigned long long)rec->bad_lines, r->first_bad);
	if (r->total_differs)
		note_add(rec, "the total differs from the sum of the intervals");
	text_sanitize(rec->note);
}

int recording_read(const char *path, recording_interval_fn fn, void *ctx, struct recording **ret_recording, char *ret_why, size_t why_len)
{
	_cleanup_free_ struct input *in = calloc(1, sizeof(*in));
	struct reader *r = calloc(1, sizeof(*r));
	struct lines l = { .in = in };
	bool owns_fd = strcmp(path, "-");
	int err = -ENOMEM;

	snprintf(ret_why, why_len, "%s", "");
	if (!in || !r)
		goto out;
	r->fn = fn;
	r->ctx = ctx;
	r->rec.observer.bpf_s = -1;
	in->fd = owns_fd ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) : STDIN_FILENO;
	err = in->fd < 0 ? -errno : input_start(in);
	if (!err)
		err = read_header(r, &l);
	if (!err)
		err = read_lines(r, &l);
	if (!err) {
		r->rec.duration_s = r->last_end - r->first_start;
		note_write(r, &l);
		*ret_recording = &r->rec;
	}
	if (in->gzip)
		inflateEnd(&in->inflate);
	if (owns_fd && in->fd >= 0)
		close(in->fd);
out:
	if (err) {
		if (why_len) {
			snprintf(ret_why, why_len, "%s", r && *r->reason ? r->reason : err < 0 ? strerror(-err) : "stopped");
			text_sanitize(ret_why);
		}
		if (r)
			recording_free(&r->rec);
	}
	free(l.buf);
	return err;
}

void recording_free(struct recording *rec)
{
	struct reader *r = (struct reader *)rec;

	if (!r)
		return;
	for (int i = 0; i < rec->agents_len; i++) {
		agent_info_fini(&rec->agents[i].info);
		agent_data_fini(&rec->agents[i].total);
	}
	for (int i = 0; i < r->reasons_len; i++)
		free(r->reasons[i]);
	free(rec->agents);
	free(r->slots);
	free(r->announced);
	free(r);
}
