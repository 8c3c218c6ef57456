/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* stakeout top: a session told to a screen. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/options.h"
#include "lib/log.h"
#include "lib/util.h"
#include "model/live.h"
#include "top/frame.h"
#include "top/paint.h"

#define KEYS_MOST 128 /* at once: more is a paste that was not meant for us, and records wait meanwhile */
#define KEEP_S 15 /* how long an agent that ended is still shown */

struct top {
	struct watch_options opt;
	struct live live, frozen; /* frozen: what is shown in a pause */
	struct outlooks outlooks;
	struct recents recents, recents_frozen; /* likewise */
	struct top_view view;
	bool open; /* the screen is ours */
};

/* Without painting, what keys asked for is done all the same, so that the next key meets it. */
static int frame(struct top *t, bool painted)
{
	const struct live *l = t->view.paused ? &t->frozen : &t->live;
	struct top_frame f;
	int err = top_frame_init(&f, l, &t->outlooks, t->view.paused ? &t->recents_frozen : &t->recents, &t->view);

	if (!err && painted)
		paint_frame(&f);
	top_frame_fini(&f);
	return err ? log_err(err, "cannot show the agents") : 0;
}

static int show(struct top *t)
{
	return t->open ? frame(t, true) : 0;
}

static int model_err(int err)
{
	return err ? log_err(err, "cannot keep the agents' figures") : 0;
}

static int on_start(void *ctx, const struct header_data *h)
{
	struct top *t = ctx;

	return model_err(live_start(&t->live, h));
}

static int on_agent(void *ctx, const struct agent_info *a)
{
	struct top *t = ctx;

	return model_err(live_agent(&t->live, a));
}

static int on_interval(void *ctx, const struct interval_data *i, const struct stacks *stacks)
{
	struct top *t = ctx;
	int err = live_interval(&t->live, i);

	(void)stacks;
	if (!err)
		err = outlooks_interval(&t->outlooks, i);
	if (!err)
		err = recents_interval(&t->recents, &t->live.header, &t->outlooks, i);
	if (!err)
		err = recents_tell(&t->recents, &t->live);
	if (err)
		return model_err(err);
	if (t->open && paint_message(t->view.message, sizeof(t->view.message)))
		text_sanitize(t->view.message);
	return t->view.paused ? 0 : show(t);
}

/* A pause shows what there was when it began. 0 or -ENOMEM. */
static int freeze(struct top *t, bool was_paused)
{
	int err;

	if (t->view.paused == was_paused)
		return 0;
	live_fini(&t->frozen);
	recents_fini(&t->recents_frozen);
	err = t->view.paused ? live_copy(&t->frozen, &t->live) : 0;
	return err || !t->view.paused ? err : recents_copy(&t->recents_frozen, &t->recents);
}

static int on_keys(void *ctx)
{
	struct top *t = ctx;
	bool changed = false, gone = false;
	uint32_t key;
	int err = 0;

	for (int n = 0; (key = paint_key(&gone)) != TOP_KEY_NONE; n++) {
		bool was_paused = t->view.paused;

		if (n == KEYS_MOST) {
			paint_keys_drop();
			break;
		}
		if (changed)
			err = frame(t, false);
		if (key == 'L' - '@')
			paint_forget();
		changed = view_key(&t->view, key) || changed;
		if (!err)
			err = model_err(freeze(t, was_paused));
		if (err)
			return err;
		if (t->view.quit)
			return 1;
	}
	if (gone)
		return 1;
	return changed ? show(t) : 0;
}

static int on_resize(void *ctx)
{
	struct top *t = ctx;

	paint_resized(&t->view);
	return show(t);
}

static int screen_begin(struct top *t, struct session *s)
{
	int err = paint_open(&t->view);

	if (err)
		return log_err(err, "cannot use this terminal");
	t->open = true;
	err = session_fd_add(s, STDIN_FILENO, on_keys, t);
	if (!err)
		err = session_fd_add(s, paint_resize_fd(), on_resize, t);
	if (err)
		return log_err(err, "cannot wait for keys");
	return show(t);
}

static int run(struct top *t, struct session *s)
{
	int status = session_prepare(s);

	if (!status)
		status = session_begin(s);
	if (status)
		return status;
	status = screen_begin(t, s) ? EXIT_DENIED : session_run(s);
	t->open = false;
	paint_close();
	if (!status && !t->view.quit)
		log_info("%s after %.0f s: %s", "top ended", t->live.now_s,
			 t->opt.duration_s > 0 && t->live.now_s >= t->opt.duration_s ? "the time is over" : "no agent is left, or a signal came");
	return status;
}

int cmd_top(int argc, char **argv)
{
	struct top t = {};
	struct session_listener l = { .ctx = &t, .start = on_start, .agent = on_agent, .interval = on_interval };
	struct session *s = NULL;
	char why[256];
	int status = top_options_parse(argc, argv, &t.opt), err;

	view_init(&t.view);
	live_init(&t.live, KEEP_S);
	live_init(&t.frozen, KEEP_S);
	t.opt.target.no_terminal = true;
	if (status < 0) {
		err = paint_check(why, sizeof(why));
		if (err) {
			log_err(0, "%s", why);
			status = err == -ENOTTY ? EXIT_USAGE : EXIT_DENIED;
		} else {
			s = session_new(&t.opt, &l);
			status = s ? run(&t, s) : (log_err(-ENOMEM, "cannot start"), EXIT_DENIED);
		}
	}
	session_free(s);
	live_fini(&t.live);
	live_fini(&t.frozen);
	outlooks_fini(&t.outlooks);
	recents_fini(&t.recents);
	recents_fini(&t.recents_frozen);
	free((void *)t.opt.target.pids);
	return status;
}
