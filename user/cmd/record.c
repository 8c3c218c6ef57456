/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* stakeout record: a session told to a recording, and the report of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/options.h"
#include "judge/finding.h"
#include "judge/objectives.h"
#include "lib/log.h"
#include "lib/util.h"
#include "sink/terminal.h"

struct record {
	struct record_options opt;
	struct recording_writer *writer;
	char path[4096];
	uint64_t written; /* intervals in the file */
	bool progress; /* the line is shown */
	/* For the report and the line at the end. */
	struct outlooks outlooks;
	struct rules *rules;
	struct objectives *objectives; /* NULL: not asked for */
};

static int output_open(struct record *r)
{
	int err = 0;

	if (r->opt.output) {
		snprintf(r->path, sizeof(r->path), "%s", r->opt.output);
	} else {
		time_t now = time(NULL);
		struct tm tm;

		localtime_r(&now, &tm);
		strftime(r->path, sizeof(r->path), "stakeout-%Y%m%d-%H%M%S.ndjson", &tm);
	}
	r->writer = recording_open_write(r->path, r->opt.force, &err);
	if (r->writer)
		return 0;
	if (err == -EEXIST)
		return log_err(0, "%s is there already; --force overwrites it", r->path), err;
	return log_err(err, "cannot write %s", r->path);
}

/* Leaves nothing behind when nothing of use was written. */
static void output_discard(struct record *r)
{
	struct stat st;

	recording_close(r->writer);
	r->writer = NULL;
	if (strcmp(r->path, "-") && !lstat(r->path, &st) && S_ISREG(st.st_mode)) /* never a device */
		unlink(r->path);
}

static int file_err(const struct record *r, int err)
{
	if (err)
		log_err(err, "cannot write %s", r->path);
	return err;
}

static int on_start(void *ctx, const struct header_data *h)
{
	struct record *r = ctx;

	return file_err(r, recording_write_header(r->writer, h));
}

static int on_agent(void *ctx, const struct agent_info *a)
{
	struct record *r = ctx;

	return file_err(r, recording_write_agent(r->writer, a));
}

static bool shows_report(const struct record *r)
{
	return !r->opt.quiet && strcmp(r->path, "-");
}

static int on_interval(void *ctx, const struct interval_data *i, const struct stacks *stacks)
{
	struct record *r = ctx;
	int err = recording_write_stacks(r->writer, stacks);

	if (!err)
		err = recording_write_interval(r->writer, i);
	if (!err && !r->opt.quiet)
		err = outlooks_interval(&r->outlooks, i);
	if (!err && r->objectives)
		err = objectives_interval(r->objectives, i);
	r->written += !err;
	return file_err(r, err);
}

static int on_total(void *ctx, const struct interval_data *i, const struct agent_info *const *infos)
{
	struct record *r = ctx;

	return file_err(r, recording_write_total(r->writer, i, infos));
}

static void on_progress(void *ctx, const struct session_progress *p)
{
	const struct record *r = ctx;
	const struct observer_data *d = p->observer;
	double bpf_s = d->bpf_s > 0 ? d->bpf_s : d->cost.part_s[COST_BPF];

	if (!r->progress)
		return;
	fprintf(stderr, "\r%.0f s  %d agents  %.0f records/s  %llu lost  cost %.2f %% of a CPU%s%s\033[K", p->elapsed_s, p->agents_alive,
		d->records / p->interval_s, (unsigned long long)p->lost, 100 * (d->cpu_s + bpf_s) / p->interval_s,
		cost_reduced_s(&d->cost) > 0 ? "  detail " : "", cost_reduced_s(&d->cost) > 0 ? rung_infos[cost_lowest(&d->cost)].name : "");
}

static void report_show(const struct record *r, const struct recording *view)
{
	struct terminal_options o;

	terminal_options_detect(&o, stdout);
	o.title = r->path;
	o.outlooks = &r->outlooks;
	terminal_report(stdout, view, &o);
}

static void findings_count(const struct record *r, const struct recording *view, char *buf, size_t buf_len)
{
	struct finding *list = NULL;
	int len = 0, worst = 0;
	bool judged = false;

	for (int i = 0; i < view->agents_len; i++)
		judged |= view->agents[i].total.observed_s >= FINDING_SECONDS_MIN;
	*buf = '\0';
	if (!judged)
		snprintf(buf, buf_len, "too short for findings");
	else if (!findings_recording(view, &r->outlooks, &list, &len) && !len)
		snprintf(buf, buf_len, "no findings");
	while (worst < len && list[worst].severity == list[0].severity) /* the worst come first */
		worst++;
	if (len && worst < len)
		snprintf(buf, buf_len, "%d findings, %d of them %s", len, worst, severity_names[list[0].severity]);
	else if (len)
		snprintf(buf, buf_len, "%d finding%s, %s", len, len > 1 ? "s" : "", severity_names[list[0].severity]);
	free(list);
}

static void objectives_count(const struct record *r, char *buf, size_t buf_len)
{
	const struct objective *at;
	int missed = 0, judged = 0;

	*buf = '\0';
	if (!r->objectives || objectives_judge(r->objectives, &at))
		return;
	for (int i = 0; i < r->rules->len; i++) {
		missed += at[i].verdict == OBJECTIVE_MISSED;
		judged += at[i].verdict != OBJECTIVE_SILENT;
	}
	if (judged)
		snprintf(buf, buf_len, "%d of %d objectives missed", missed, judged);
	else
		snprintf(buf, buf_len, "no data for objectives");
}

/* The last line, on standard error: what there is to be looked at. */
static void verdict_tell(const struct record *r, const struct recording *view)
{
	char findings[64], objectives[64];
	bool file = strcmp(r->path, "-") != 0;

	findings_count(r, view, findings, sizeof(findings));
	objectives_count(r, objectives, sizeof(objectives));
	if (*findings && *objectives)
		log_info("%s; %s%s%s", findings, objectives, file ? ": stakeout report " : "", file ? r->path : "");
}

static void end_show(const struct record *r, const struct session *s)
{
	struct recording *view = session_view(s);

	if (!view)
		return;
	if (shows_report(r))
		report_show(r, view);
	verdict_tell(r, view);
	session_view_free(view);
}

/* Without memory there is no line about them, which is not worth an error. */
static void objectives_begin(struct record *r)
{
	r->rules = r->opt.quiet ? NULL : rules_default();
	r->objectives = r->rules ? objectives_new(r->rules) : NULL;
}

static int run(struct record *r, struct session *s)
{
	int status = session_prepare(s), err;

	if (status)
		return status;
	if (output_open(r))
		return EXIT_OUTPUT;
	status = session_begin(s);
	if (status) {
		output_discard(r);
		return status;
	}
	status = session_run(s);
	if (r->progress)
		fputs("\r\033[K", stderr);
	if (status == EXIT_OUTPUT && !r->written)
		output_discard(r);
	err = recording_close(r->writer);
	r->writer = NULL;
	if (!status && file_err(r, err))
		status = EXIT_OUTPUT;
	if (!status && !r->opt.quiet)
		end_show(r, s);
	return status;
}

int cmd_record(int argc, char **argv)
{
	struct record r = {};
	struct session_listener l = {
		.ctx = &r, .start = on_start, .agent = on_agent, .interval = on_interval, .total = on_total, .progress = on_progress
	};
	struct session *s = NULL;
	int status = record_options_parse(argc, argv, &r.opt);

	if (status < 0) {
		s = session_new(&r.opt.watch, &l);
		objectives_begin(&r);
		r.progress = !r.opt.quiet && isatty(STDERR_FILENO);
		status = s ? run(&r, s) : (log_err(-ENOMEM, "cannot start"), EXIT_DENIED);
	}
	recording_close(r.writer);
	session_free(s);
	outlooks_fini(&r.outlooks);
	objectives_free(r.objectives);
	rules_free(r.rules);
	free((void *)r.opt.watch.target.pids);
	return status;
}
