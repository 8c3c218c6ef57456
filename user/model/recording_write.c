/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Writing recordings: each line is composed in memory and written whole. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/outfile.h"
#include "model/recording_put.h"

#define STACKS_LINE_BYTES (1u << 20) /* a line of stacks gets no longer than this and one of them */

struct recording_writer {
	struct outfile *file;
	bool grows;
	int err; /* the first one; nothing is written after it */
	struct json_text json; /* the line */
	uint32_t frames_told, stacks_told; /* numbers below are written */
	bool probe_on[PROBE_COUNT];
};

static void line_begin(struct recording_writer *w, const char *kind)
{
	json_text_reset(&w->json);
	put_open(&w->json, NULL, "{");
	put_string(&w->json, "kind", kind);
}

static int line_end(struct recording_writer *w)
{
	put_close(&w->json, "}");
	put_raw(&w->json, "\n", 1);
	if (w->json.failed)
		return w->err = -ENOMEM;
	if (w->json.len > UINT32_MAX)
		return w->err = -EFBIG; /* zlib counts a call's input in 32 bits; no reader would take such a line anyway */
	w->err = outfile_write(w->file, w->json.text, w->json.len);
	if (!w->err && w->grows)
		w->err = outfile_flush(w->file);
	return w->err;
}

int recording_write_header(struct recording_writer *w, const struct header_data *h)
{
	struct json_text *j = &w->json;

	if (w->err)
		return w->err;
	line_begin(w, "header");
	put_string(j, "format", "stakeout/1");
	put_open(j, "host", "{");
	put_string(j, "name", h->host.name);
	put_string(j, "kernel", h->host.kernel);
	put_string(j, "arch", h->host.arch);
	put_int(j, "cpus", h->host.cpus);
	put_string(j, "boot_id", h->host.boot_id);
	put_close(j, "}");
	put_string(j, "start", h->start);
	put_fraction(j, "interval_s", h->interval_s);
	if (h->first_seq)
		put_u64(j, "first_seq", h->first_seq);
	for (int p = 0; p < PROBE_COUNT; p++)
		w->probe_on[p] = header_probe_on(h, (enum probe_id)p, false);
	put_open(j, "probes", "[");
	for (int i = 0; i < h->probes_len; i++) {
		put_open(j, NULL, "{");
		put_string(j, "name", h->probes[i].name);
		put_string(j, "state", h->probes[i].state);
		put_string(j, "why", h->probes[i].why);
		put_close(j, "}");
	}
	put_close(j, "]");
	put_open(j, "agents", "[");
	for (int i = 0; i < h->agents_len; i++) {
		put_open(j, NULL, "{");
		put_agent_info(j, &h->agents[i]);
		put_close(j, "}");
	}
	put_close(j, "]");
	if (h->merged_files) {
		put_open(j, "merged", "{");
		put_int(j, "files", h->merged_files);
		put_open(j, "hosts", "[");
		for (int i = 0; i < h->merged_hosts_len; i++)
			put_string(j, NULL, h->merged_hosts[i]);
		put_close(j, "]");
		put_close(j, "}");
	}
	return line_end(w);
}

int recording_write_agent(struct recording_writer *w, const struct agent_info *a)
{
	if (w->err)
		return w->err;
	line_begin(w, "agent");
	put_agent_info(&w->json, a);
	return line_end(w);
}

static int write_interval(struct recording_writer *w, const char *kind, const struct interval_data *i,
			  const struct agent_info *const *infos)
{
	struct json_text *j = &w->json;

	if (w->err)
		return w->err;
	line_begin(w, kind);
	put_u64(j, "seq", i->seq);
	put_fraction(j, "start_s", i->start_s);
	put_fraction(j, "end_s", i->end_s);
	put_open(j, "agents", "[");
	for (int n = 0; n < i->agents_len; n++)
		put_agent_data(j, i->agents[n], infos ? infos[n] : NULL, w->probe_on);
	put_close(j, "]");
	put_observer(j, &i->observer);
	return line_end(w);
}

int recording_write_stacks(struct recording_writer *w, const struct stacks *s)
{
	while (!w->err && (w->frames_told < stacks_frames_len(s) || w->stacks_told < stacks_len(s))) {
		line_begin(w, "stacks");
		if (w->frames_told < stacks_frames_len(s))
			w->frames_told = put_frames(&w->json, s, w->frames_told, STACKS_LINE_BYTES);
		if (w->stacks_told < stacks_len(s) && w->json.len < STACKS_LINE_BYTES) /* behind all frames */
			w->stacks_told = put_stacks(&w->json, s, w->stacks_told, STACKS_LINE_BYTES);
		line_end(w);
	}
	return w->err;
}

int recording_write_interval(struct recording_writer *w, const struct interval_data *i)
{
	return write_interval(w, "interval", i, NULL);
}

int recording_write_total(struct recording_writer *w, const struct interval_data *i, const struct agent_info *const *infos)
{
	return write_interval(w, "total", i, infos);
}

static struct recording_writer *writer_open(const char *path, const struct outfile_options *o, int *ret_err)
{
	struct recording_writer *w = calloc(1, sizeof(*w));

	*ret_err = -ENOMEM;
	if (!w)
		return NULL;
	for (int p = 0; p < PROBE_COUNT; p++)
		w->probe_on[p] = true; /* until the header says which are */
	w->frames_told = w->stacks_told = 1; /* number 0 is the same everywhere */
	w->grows = o->grows;
	w->file = outfile_open(path, o, ret_err);
	if (w->file)
		return w;
	free(w);
	return NULL;
}

struct recording_writer *recording_open_write(const char *path, bool force, int *ret_err)
{
	return writer_open(path, &(struct outfile_options){ .force = force, .grows = true }, ret_err);
}

struct recording_writer *recording_open_whole(const char *path, bool force, int *ret_err)
{
	return writer_open(path, &(struct outfile_options){ .force = force }, ret_err);
}

uint64_t recording_bytes(const struct recording_writer *w)
{
	return outfile_bytes(w->file);
}

static void writer_free(struct recording_writer *w)
{
	json_text_fini(&w->json);
	free(w);
}

int recording_close(struct recording_writer *w)
{
	int err, closed = 0;

	if (!w)
		return 0;
	if (w->err && !w->grows)
		outfile_discard(w->file);
	else
		closed = outfile_commit(w->file);
	err = w->err ? w->err : closed;
	writer_free(w);
	return err;
}

void recording_discard(struct recording_writer *w)
{
	if (!w)
		return;
	outfile_discard(w->file);
	writer_free(w);
}
