/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The page of metrics as a file for node_exporter's textfile collector. It is written beside its place and moved there, by a thread of its own, since disks make one wait.
 * It isn't synced: after a crash of the machine its figures would be old ones anyway. It goes when the daemon ends, or its last figures would be told for ever.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/outfile.h"
#include "lib/util.h"
#include "serve/metrics_page.h"
#include "serve/output.h"

#define WRITE_S 5 /* at least between two; node_exporter is rarely asked more often */

struct textfile {
	char *path; /* owned */
	const struct live *live;
	struct prometheus *prometheus;
	double written_s; /* of live's time: the last page taken; below 0: none */
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t wake;
	struct prometheus_page *page; /* to be written; NULL: none */
	bool writing, stop;
	int err; /* of the last writing */
};

/* To be read by node_exporter, which isn't root; and who may write to its directory can't have what isn't his overwritten. */
static const struct outfile_options file_options = {.force = true, .replaces = true, .mode = 0644};

/* Whether it can be written is to be known at the beginning, not in some seconds. */
static int page_try(const struct textfile *t)
{
	int err;
	struct outfile *out = outfile_open(t->path, &file_options, &err);

	outfile_discard(out);
	return err;
}

static int page_write(const struct textfile *t, struct prometheus_page *page)
{
	_cleanup_free_ char *text = NULL;
	struct outfile *out;
	size_t len;
	int err = prometheus_render(page, &text, &len);

	if (err)
		return err;
	out = outfile_open(t->path, &file_options, &err);
	if (out)
		err = outfile_write(out, text, len);
	return outfile_end(out, err);
}

static void *textfile_run(void *arg)
{
	struct textfile *t = arg;

	pthread_mutex_lock(&t->lock);
	for (;;) {
		struct prometheus_page *page = t->page;
		int err;

		if (!page) {
			if (t->stop)
				break;
			pthread_cond_wait(&t->wake, &t->lock);
			continue;
		}
		t->page = NULL;
		t->writing = true;
		pthread_mutex_unlock(&t->lock);
		err = page_write(t, page);
		pthread_mutex_lock(&t->lock);
		t->writing = false;
		t->err = err;
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static void textfile_free(struct textfile *t)
{
	prometheus_page_free(t->page);
	prometheus_free(t->prometheus);
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->lock);
	free(t->path);
	free(t);
}

static struct textfile *textfile_new(const struct output_context *c)
{
	const char *path = c->config->prometheus.textfile;
	struct textfile *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->wake, NULL);
	t->live = c->live;
	t->written_s = -1;
	t->path = strdup(path);
	t->prometheus = prometheus_of(c->config, false);
	if (t->path && t->prometheus)
		return t;
	textfile_free(t);
	return NULL;
}

static int textfile_open(const struct output_context *c, void **ret, char *why, size_t why_len)
{
	const char *path = c->config->prometheus.textfile;
	struct textfile *t;
	sigset_t all, before;
	int err;

	*ret = NULL;
	if (!path)
		return 0;
	t = textfile_new(c);
	if (!t) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	err = page_try(t);
	if (!err) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
		err = -pthread_create(&t->thread, NULL, textfile_run, t);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	if (err) {
		snprintf(why, why_len, "cannot write %s: %s", path, strerror(-err));
		textfile_free(t);
		return err;
	}
	*ret = t;
	return 0;
}

static int textfile_interval(void *output, char *why, size_t why_len)
{
	struct textfile *t = output;
	struct prometheus_page *page = NULL;
	int err = prometheus_update(t->prometheus, t->live), told;
	bool busy;

	pthread_mutex_lock(&t->lock);
	busy = t->writing || t->page;
	told = t->err;
	pthread_mutex_unlock(&t->lock);
	if (!err && !busy && (t->written_s < 0 || t->live->now_s - t->written_s >= WRITE_S)) {
		err = prometheus_take(t->prometheus, t->live, PROMETHEUS_TEXT, &page);
		t->written_s = t->live->now_s;
	}
	if (page) {
		pthread_mutex_lock(&t->lock);
		t->page = page;
		pthread_cond_signal(&t->wake);
		pthread_mutex_unlock(&t->lock);
	}
	if (!err)
		err = told;
	if (err)
		snprintf(why, why_len, "cannot write %s: %s", t->path, strerror(-err));
	return err;
}

static void textfile_close(void *output)
{
	struct textfile *t = output;

	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	unlink(t->path);
	textfile_free(t);
}

const struct output_kind textfile_output = {
        .name = "textfile", .open = textfile_open, .interval = textfile_interval, .close = textfile_close};
