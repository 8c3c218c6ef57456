/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Reading recordings, also such as were cut off, damaged or made up to do harm: a line is taken whole or not at all, and
 * what was left out is said in the note. Memory is bounded by the longest line accepted and by the number of agents, tools, peers and stacks.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "lib/util.h"
#include "model/recording_take.h"

static void parsed_reset(struct parsed *line)
{
	parsed_fini(line);
	memset(line, 0, sizeof(*line));
}

/* Lines up to the next interval. Those that are refused are counted; only other errors end it. */
static int read_lines(struct recording_reader *r)
{
	struct lines *l = r->lines;
	const char *line;
	size_t len;
	int got;

	while ((got = r->second_header ? 0 : lines_next(l, &line, &len)) > 0) {
		struct parser *p = &r->parser;
		const struct json_node *obj;
		int took = line ? json_tree_split(&p->line, line, len, "agents", AGENTS_MAX, &obj, &p->agents) : -EFBIG;

		parsed_reset(&r->line);
		if (!took)
			took = obj->kind == NODE_OBJECT ? reader_take(r, obj) : refuse(&p->refusal, "not JSON");
		else if (took != -ENOMEM)
			took = refuse(&r->parser.refusal, took == -EFBIG ? "too long" : "not JSON");
		if (took == READER_LATER)
			lines_unread(l);
		if (took == -EBADMSG) {
			if (!r->rec.bad_lines++)
				snprintf(r->first_bad, sizeof(r->first_bad), "line %llu: %s",
					 (unsigned long long)l->number, r->parser.refusal.text);
			*r->parser.refusal.text = '\0';
		} else if (took) {
			return took;
		}
	}
	return got;
}

static int read_header(struct recording_reader *r)
{
	struct lines *l = r->lines;
	const char *line;
	size_t len;
	const struct json_node *obj = NULL;
	int err, got = lines_next(l, &line, &len);

	if (got < 0)
		return got;
	if (!got && !l->tail && !l->truncated && !l->damaged) {
		refuse(&r->parser.refusal, "it is empty");
		return -ENODATA;
	}
	if (!got && l->damaged)
		return refuse(&r->parser.refusal, "its compressed data is damaged from the start");
	if (!got)
		return refuse(&r->parser.refusal, l->tail && l->first != '{' ? "it is not a recording" : "it is cut off within its header");
	err = line ? json_tree_read(&r->parser.line, line, len, &obj) : -EBADMSG;
	if (err == -ENOMEM)
		return err;
	return json_is(obj, NODE_OBJECT) ? reader_take_header(r, obj) : refuse(&r->parser.refusal, "its first line is not a stakeout header");
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

static void note_write(struct recording_reader *r)
{
	const struct lines *l = r->lines;
	struct recording *rec = &r->rec;
	const unsigned long long intervals = rec->intervals;

	if (l->damaged)
		note_add(rec, "compressed data damaged after %llu intervals", intervals);
	else if (l->tail)
		note_add(rec, "cut off after %llu intervals; last %llu bytes unusable", intervals, (unsigned long long)l->tail);
	else if (l->truncated && !rec->complete)
		note_add(rec, "cut off after %llu intervals", intervals);
	else if (!rec->complete)
		note_add(rec, "ends after %llu intervals without its total: still being written, or the recorder was killed", intervals);
	if (rec->gap)
		note_add(rec, "%llu intervals missing", (unsigned long long)r->missing);
	if (rec->bad_lines)
		note_add(rec, "%llu bad lines skipped, first %s", (unsigned long long)rec->bad_lines, r->first_bad);
	if (stacks_refused(rec->stacks))
		note_add(rec, "%llu frames or stacks found no room", (unsigned long long)stacks_refused(rec->stacks));
	if (r->parser.numbers.unknown)
		note_add(rec, "%llu uses of frames or stacks that are missing", (unsigned long long)r->parser.numbers.unknown);
	if (r->total_differs)
		note_add(rec, "the total differs from the sum of the intervals");
	text_sanitize(rec->note);
}

/* The line that says what went wrong. Returns err. */
static int why_write(const struct recording_reader *r, int err, char *ret_why, size_t why_len)
{
	const char *why = r ? r->parser.refusal.text : "";

	snprintf(ret_why, why_len, "%s", *why ? why : err < 0 ? strerror(-err) : "stopped");
	if (why_len)
		text_sanitize(ret_why);
	return err;
}

struct recording_reader *recording_reader_open(const char *path, const struct reader_options *o, int *ret_err, char *ret_why, size_t why_len)
{
	struct recording_reader *r = calloc(1, sizeof(*r));
	int err = -ENOMEM;

	snprintf(ret_why, why_len, "%s", "");
	if (r) {
		r->options = *o;
		r->rec.observer.bpf_s = -1;
		r->rec.stacks = r->parser.numbers.table = o->stacks ? o->stacks : stacks_new();
		r->lines = r->rec.stacks ? lines_open(path, &err) : NULL;
	}
	if (r && r->lines)
		err = read_header(r);
	*ret_err = err;
	if (!err)
		return r;
	why_write(r, err, ret_why, why_len);
	recording_reader_free(r);
	return NULL;
}

int recording_reader_next(struct recording_reader *r, double until_s, struct parsed **ret, char *ret_why, size_t why_len)
{
	int got;

	r->until_s = until_s;
	got = read_lines(r);
	*ret = &r->line;
	if (got == READER_END) {
		r->rec.duration_s = r->last_end - r->first_start;
		note_write(r);
	}
	return got < 0 ? why_write(r, got, ret_why, why_len) : got;
}

double recording_reader_later_s(const struct recording_reader *r)
{
	return r->later_s;
}

struct recording *recording_reader_recording(struct recording_reader *r)
{
	return &r->rec;
}

void recording_reader_suspend(struct recording_reader *r, bool close_fd)
{
	parsed_reset(&r->line);
	parser_trim(&r->parser);
	lines_suspend(r->lines, close_fd);
}

void recording_reader_close(struct recording_reader *r)
{
	parsed_reset(&r->line);
	parser_trim(&r->parser);
	lines_close(r->lines);
	r->lines = NULL;
}

void recording_reader_free(struct recording_reader *r)
{
	if (!r)
		return;
	recording_reader_close(r);
	for (int i = 0; i < r->rec.agents_len; i++) {
		agent_info_fini(&r->rec.agents[i].info);
		agent_data_fini(&r->rec.agents[i].total);
	}
	parser_fini(&r->parser);
	if (!r->options.stacks)
		stacks_free(r->rec.stacks);
	for (int i = 0; i < r->rec.hosts_len; i++)
		free(r->rec.hosts[i]);
	free(r->rec.hosts);
	free(r->rec.agents);
	free(r->slots);
	free(r->announced);
	free(r->checks);
	free(r->infos);
	free(r);
}

static int tell_interval(struct recording_reader *r, struct parsed *line, recording_interval_fn fn, void *ctx)
{
	if (line->len > r->infos_cap) {
		const struct agent_info **infos = reallocarray(r->infos, (size_t)line->len, sizeof(*infos));

		if (!infos)
			return -ENOMEM;
		r->infos = infos;
		r->infos_cap = line->len;
	}
	for (int i = 0; i < line->len; i++)
		r->infos[i] = &r->rec.agents[recording_reader_agent(r, line->agents[i].id)].info;
	line->data.infos = r->infos;
	line->data.header = &r->rec.header;
	return fn(ctx, &line->data);
}

int recording_read(const char *path, recording_interval_fn fn, void *ctx, struct recording **ret_recording, char *ret_why, size_t why_len)
{
	const struct reader_options options = { .sums = true };
	struct parsed *line;
	int err, got;
	struct recording_reader *r = recording_reader_open(path, &options, &err, ret_why, why_len);

	if (!r)
		return err;
	while ((got = recording_reader_next(r, INFINITY, &line, ret_why, why_len)) == READER_INTERVAL) {
		err = fn ? tell_interval(r, line, fn, ctx) : 0;
		if (!err)
			continue;
		why_write(r, err, ret_why, why_len);
		got = err;
		break;
	}
	if (got) {
		recording_reader_free(r);
		return got;
	}
	recording_reader_close(r);
	*ret_recording = &r->rec;
	return 0;
}

void recording_free(struct recording *rec)
{
	recording_reader_free((struct recording_reader *)rec);
}
