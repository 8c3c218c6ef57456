/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "serve/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>

#include "lib/log.h"
#include "lib/util.h"
#include "serve/alerting.h"
#include "serve/diagnoses.h"
#include "serve/notify.h"
#include "serve/outputs.h"
#include "serve/recordings.h"
#include "watch/session.h"

#define KEEP_S 120 /* agents that have ended are told of for so long at least: two scrapes a minute apart see their last figures */

struct daemon {
	const char *path; /* of the configuration */
	struct config *config;
	struct config *first; /* the one that the session began with: it borrows from that */
	struct config **old; /* those that were in force before, as long as somebody uses them */
	int old_len;
	struct recordings *recordings; /* NULL: none are asked for */
	struct alerting *alerting; /* NULL: no alerts are asked for */
	struct alerting *alerting_before; /* not asked for any more, but not at its end yet; NULL: none */
	struct session *session;
	struct diagnoses diagnoses;
	struct live live;
	pthread_mutex_t lock;
	struct outputs outputs;
	uint64_t watchdog_ns; /* 0: none */
	uint64_t closed_ns; /* when the last interval was closed */
	int watchdog_fd;
	bool alerting_ailing; /* and that has been told */
};

static struct output_context context_of(const struct daemon *d)
{
	return (struct output_context){ .config = d->config, .live = &d->live, .lock = (pthread_mutex_t *)&d->lock };
}

static int live_err(int err)
{
	return err ? log_err(err, "cannot keep the agents' sums") : 0;
}

static int on_start(void *ctx, const struct header_data *h)
{
	struct daemon *d = ctx;
	int err;

	pthread_mutex_lock(&d->lock);
	err = live_start(&d->live, h);
	pthread_mutex_unlock(&d->lock);
	return live_err(err);
}

static int on_agent(void *ctx, const struct agent_info *a)
{
	struct daemon *d = ctx;
	int err;

	pthread_mutex_lock(&d->lock);
	err = live_agent(&d->live, a);
	pthread_mutex_unlock(&d->lock);
	return live_err(err);
}

static void recordings_tell(struct daemon *d, const struct interval_data *i, const struct stacks *stacks)
{
	uint64_t missed = recordings_missed(d->recordings);

	recordings_interval(d->recordings, &d->live.header, i, stacks);
	missed = recordings_missed(d->recordings) - missed;
	if (!missed)
		return;
	pthread_mutex_lock(&d->lock);
	d->live.unrecorded += missed;
	pthread_mutex_unlock(&d->lock);
}

/* What is told elsewhere may be told late; that rules are judged is not to end the daemon. */
static void alerts_err(struct daemon *d, int err)
{
	if (err && !d->alerting_ailing)
		log_err(err, "alerts");
	d->alerting_ailing = err;
}

/* The page's alerts are those of now. */
static int alerts_tell(struct daemon *d)
{
	int err;

	pthread_mutex_lock(&d->lock);
	err = alerting_tell(d->alerting, &d->live);
	pthread_mutex_unlock(&d->lock);
	return err;
}

static void alerts_leave(struct daemon *d)
{
	if (!d->alerting_before || !alerting_leave(d->alerting_before))
		return;
	alerting_close(d->alerting_before);
	d->alerting_before = NULL;
}

/* Judging costs; nobody else asks for it. */
static bool diagnoses_wanted(const struct config *c)
{
	bool alerts = c->alerts.on && c->alerts.findings < SEVERITY_COUNT;

	return c->findings && (alerts || c->prometheus.textfile || c->prometheus.listen || c->otlp.file || c->otlp.endpoint);
}

static int on_closed(void *ctx, const struct interval_data *i)
{
	struct daemon *d = ctx;

	if (d->alerting)
		alerts_err(d, alerting_closed(d->alerting, i));
	return 0;
}

static int on_interval(void *ctx, const struct interval_data *i, const struct stacks *stacks)
{
	struct daemon *d = ctx;
	bool judged = diagnoses_wanted(d->config);
	int err = judged ? diagnoses_interval(&d->diagnoses, &d->live.header, i) : 0;

	if (!judged)
		diagnoses_fini(&d->diagnoses);
	pthread_mutex_lock(&d->lock);
	if (!err)
		err = live_interval(&d->live, i);
	if (!err)
		err = recents_tell(&d->diagnoses.recents, &d->live);
	pthread_mutex_unlock(&d->lock);
	if (d->recordings)
		recordings_tell(d, i, stacks);
	if (d->alerting) {
		int failed = alerting_found(d->alerting, &d->diagnoses.recents, &d->live);

		if (!failed)
			failed = alerting_interval(d->alerting, i);

		alerts_err(d, failed ? failed : alerts_tell(d));
	}
	alerts_leave(d);
	if (!err)
		outputs_interval(&d->outputs);
	return live_err(err);
}

static void on_progress(void *ctx, const struct session_progress *p)
{
	struct daemon *d = ctx;

	d->closed_ns = clock_ns();
	notify_send("STATUS=%d agents, %llu records lost", p->agents_alive, (unsigned long long)p->lost);
}

/* Called from the loop; when that closes no intervals any more, systemd is to start us anew. */
static int on_watchdog(void *ctx)
{
	struct daemon *d = ctx;
	uint64_t expired, silence_ns = clock_ns() - d->closed_ns;

	if (read(d->watchdog_fd, &expired, sizeof(expired)) < 0)
		return 0;
	if (silence_ns < (uint64_t)(d->first->watch.interval_s * 1e9) + d->watchdog_ns)
		notify_send("WATCHDOG=1");
	return 0;
}

static int watchdog_start(struct daemon *d)
{
	struct itimerspec every = {};
	uint64_t half_ns;

	d->watchdog_ns = notify_watchdog_ns();
	if (!d->watchdog_ns)
		return 0;
	half_ns = d->watchdog_ns / 2;
	every.it_interval.tv_sec = every.it_value.tv_sec = (time_t)(half_ns / NS_PER_S);
	every.it_interval.tv_nsec = every.it_value.tv_nsec = (long)(half_ns % NS_PER_S);
	d->watchdog_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (d->watchdog_fd < 0 || timerfd_settime(d->watchdog_fd, 0, &every, NULL))
		return -errno;
	return session_fd_add(d->session, d->watchdog_fd, on_watchdog, d);
}

/* 0, or negative errno after telling. Those that there are go on when it fails. */
static int recordings_apply(struct daemon *d, const struct config *c)
{
	char why[512];
	int err = 0;

	if (!c->recordings.directory) {
		recordings_close(d->recordings);
		d->recordings = NULL;
	} else if (d->recordings) {
		err = recordings_change(d->recordings, &c->recordings, why, sizeof(why));
	} else {
		err = recordings_open(&c->recordings, session_start_ns(d->session), &d->recordings, why, sizeof(why));
	}
	return err ? log_err(0, "recordings: %s", why), err : 0;
}

static int alerts_apply(struct daemon *d, struct config *c)
{
	char why[512];
	int err = 0;

	if (!c->alerts.on && d->alerting) {
		alerting_close(d->alerting_before);
		d->alerting_before = d->alerting;
		d->alerting = NULL;
		alerts_leave(d);
		pthread_mutex_lock(&d->lock);
		live_alerts_reset(&d->live);
		d->live.judged = false;
		pthread_mutex_unlock(&d->lock);
	} else if (d->alerting) {
		err = alerting_change(d->alerting, c, why, sizeof(why));
	} else if (c->alerts.on) {
		err = alerting_open(c, session_start_ns(d->session), &d->live.header, &d->alerting, why, sizeof(why));
	}
	return err ? log_err(0, "alerts: %s", why), err : 0;
}

static void targets_await(struct config *c)
{
	for (int i = 0; i < c->targets_len; i++)
		c->targets[i].awaited = true;
}

/* For how long agents that have ended are told of: two pushes are at most otlp.interval and an interval apart, see otlp_teller_due(), and each sees all who were there since the last. */
static double keep_s(const struct daemon *d, const struct config *c)
{
	double pushed_s = c->otlp.interval_s + 2 * d->first->watch.interval_s;

	return pushed_s > KEEP_S ? pushed_s : KEEP_S;
}

/* The session keeps what it began with, outputs what they were opened with. */
static void config_replace(struct daemon *d, struct config *fresh)
{
	struct config **old = reallocarray(d->old, d->old_len + 1, sizeof(*old));
	struct output_context c;
	int kept = 0;

	if (old) { /* else it leaks, which is not our worst problem then */
		d->old = old;
		d->old[d->old_len++] = d->config;
	}
	d->config = fresh;
	pthread_mutex_lock(&d->lock);
	d->live.keep_s = keep_s(d, fresh);
	pthread_mutex_unlock(&d->lock);
	c = context_of(d);
	outputs_change(&d->outputs, &c);
	for (int i = 0; i < d->old_len; i++)
		if (d->old[i] == d->first || alerting_uses(d->alerting, d->old[i]) || alerting_uses(d->alerting_before, d->old[i]) || outputs_use(&d->outputs, d->old[i]))
			d->old[kept++] = d->old[i];
		else
			config_free(d->old[i]);
	d->old_len = kept;
}

static void reload(struct daemon *d)
{
	struct config *fresh;
	char why[1024], fixed[256];

	if (config_load(d->path, &fresh, why, sizeof(why))) {
		log_warn("%s; the configuration stays as it was", why);
		return;
	}
	fresh->watch.interval_s = d->first->watch.interval_s; /* outputs look at it; see config_fixed() */
	targets_await(fresh);
	if (session_targets(d->session, fresh->targets, fresh->targets_len, why, sizeof(why))) {
		log_warn("%s: %s; the configuration stays as it was", d->path, why);
		config_free(fresh);
		return;
	}
	recordings_apply(d, fresh);
	alerts_apply(d, fresh);
	config_replace(d, fresh);
	if (*config_fixed(d->first, fresh, fixed, sizeof(fixed)))
		log_warn("%s: read anew, but a restart is needed for changes of: %s", d->path, fixed);
	else
		log_info("%s: read anew", d->path);
}

static int on_signal(void *ctx, int signo)
{
	struct daemon *d = ctx;

	if (signo != SIGHUP) {
		notify_send("STOPPING=1");
		return 1;
	}
	notify_send("RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(clock_ns() / 1000));
	reload(d);
	notify_send("READY=1");
	return 0;
}

static int session_start(struct daemon *d, const struct session_listener *l)
{
	struct watch_options watch = d->config->watch;
	char why[512];
	int status;

	watch.stays = true;
	targets_await(d->config);
	d->session = session_new(&watch, l);
	if (!d->session)
		return log_err(-ENOMEM, "cannot start"), EXIT_DENIED;
	if (session_targets(d->session, d->config->targets, d->config->targets_len, why, sizeof(why)))
		return log_err(0, "%s: %s", d->path, why), EXIT_USAGE;
	status = session_prepare(d->session);
	return status ? status : session_begin(d->session);
}

static int run(struct daemon *d)
{
	const struct session_listener l = {
		.ctx = d, .start = on_start, .agent = on_agent, .closed = on_closed, .interval = on_interval, .progress = on_progress, .signal = on_signal
	};
	struct output_context c = context_of(d);
	int status = session_start(d, &l), err;

	if (status)
		return status;
	if (recordings_apply(d, d->config) || alerts_apply(d, d->config) || outputs_open(&d->outputs, &c))
		return EXIT_OUTPUT;
	d->closed_ns = clock_ns();
	err = watchdog_start(d);
	if (err)
		log_warn("cannot serve the watchdog: %s", strerror(-err));
	notify_send("READY=1");
	return session_run(d->session);
}

int daemon_run(const char *path)
{
	struct daemon d = { .path = path, .lock = PTHREAD_MUTEX_INITIALIZER, .watchdog_fd = -1 };
	char why[1024];
	int status;

	if (config_load(path, &d.config, why, sizeof(why)))
		return log_err(0, "%s", why), EXIT_USAGE;
	d.first = d.config;
	live_init(&d.live, keep_s(&d, d.config));
	status = run(&d);
	outputs_close(&d.outputs);
	recordings_close(d.recordings);
	alerting_close(d.alerting);
	alerting_close(d.alerting_before);
	session_free(d.session);
	live_fini(&d.live);
	diagnoses_fini(&d.diagnoses);
	cleanup_close(&d.watchdog_fd);
	for (int i = 0; i < d.old_len; i++)
		config_free(d.old[i]);
	free(d.old);
	config_free(d.config);
	return status;
}
